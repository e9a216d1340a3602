//! Says why a call to the API server failed.
//!
//! `kube`'s own texts hide it: of a call that did not get through they stop at `client error (Connect)`, whether the
//! connection was refused, the name unknown or the certificate rejected; of a refused one they append the whole answer.

use kube::core::Status;
use std::error::Error;

/// Why the call failed, in one line: the API server's status, reason and message, or all causes, innermost last.
pub fn cause(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => answer(status),
        other => chain(other),
    }
}

/// What the API server answered.
pub fn answer(status: &Status) -> String {
    match (status.reason.as_str(), status.message.as_str()) {
        ("", message) => format!("{} {message}", status.code),
        (reason, message) => format!("{} {reason}: {message}", status.code),
    }
}

/// An error's text and those of its causes, each once.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(inner) = next {
        let words = inner.to_string();
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        next = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::{Client, Config};
    use serde_json::json;
    use tokio::net::TcpListener;

    async fn cause_of(url: &str) -> String {
        let client = Client::try_from(Config::new(url.parse().unwrap())).unwrap();
        cause(&client.apiserver_version().await.unwrap_err())
    }

    #[tokio::test]
    async fn refused_connection_and_rejected_certificate_are_told_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let not_tls = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let words = b"HTTP/1.1 400 Bad Request\r\n\r\n";
            tokio::io::AsyncWriteExt::write_all(&mut stream, words).await.unwrap();
            stream
        };
        let (url, _provider) = (
            format!("https://127.0.0.1:{port}"),
            rustls::crypto::aws_lc_rs::default_provider().install_default(),
        );
        let (no_tls, _stream) = tokio::join!(cause_of(&url), not_tls);
        assert!(no_tls.contains("InvalidMessage") || no_tls.contains("corrupt message"), "{no_tls}");
        drop(listener);
        let refused = cause_of(&format!("http://127.0.0.1:{port}")).await;
        assert!(refused.contains("refused"), "{refused}");
        assert_eq!(refused.matches("client error").count(), 1, "{refused}");
    }

    #[test]
    fn answer_of_the_api_server_is_its_own_words() {
        let status =
            json!({"code": 403, "reason": "Forbidden", "message": "no", "details": {"name": "long"}});
        let status: Status = serde_json::from_value(status).unwrap();
        assert_eq!(cause(&kube::Error::Api(status.boxed())), "403 Forbidden: no");
        let status: Status = serde_json::from_value(json!({"code": 502, "message": "bad gateway"})).unwrap();
        assert_eq!(answer(&status), "502 bad gateway");
    }
}
