//! Logs: JSON lines on stderr, one event each, without the credentials that an error quotes.

use std::io::{self, Write};
use tracing_subscriber::EnvFilter;
use vworkspace_rules::redact;

/// Of `kube`: what it logs at every single try besides the error that it returns, and the bodies it cannot parse, which
/// may be Secrets. Whoever handles the error logs it.
const SILENCED: [&str; 3] =
    ["kube_runtime::watcher=off", "kube_client::client=off", "kube_client::client::tls=warn"];

/// Starts logging; `directives` as in `info` or `info,kube=debug`. Unreadable ones count as `info`, and are named.
pub fn init(directives: &str) {
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_env_filter(filter(directives))
        .with_writer(|| Redacting(io::stderr()))
        // Told on stderr itself, where nobody may listen any more: that would end the task that logs.
        .log_internal_errors(false)
        .init();
    if let Err(error) = EnvFilter::try_new(directives) {
        tracing::warn!(directives, %error, "cannot read --zap-log-level, logging at info");
    }
}

/// Takes the credentials out of each line; a line comes in one write.
pub(crate) struct Redacting<W>(pub W);

impl<W: Write> Write for Redacting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match std::str::from_utf8(bytes) {
            Ok(line) => self.0.write_all(redact(line).as_bytes())?,
            Err(_) => self.0.write_all(bytes)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The filter for these directives. A silenced module speaks only to those who name it.
pub(crate) fn filter(directives: &str) -> EnvFilter {
    let filter = EnvFilter::try_new(directives).unwrap_or_else(|_| EnvFilter::new("info"));
    SILENCED.into_iter().fold(filter, |filter, silence| {
        let is_named = silence.split_once('=').is_some_and(|(module, _)| directives.contains(module));
        match silence.parse() {
            Ok(silence) if !is_named => filter.add_directive(silence),
            Ok(_) | Err(_) => filter,
        }
    })
}

#[cfg(test)]
pub(crate) mod recorded;

#[cfg(test)]
mod tests {
    use super::recorded::{Lines, recording};
    use super::*;
    use k8s_openapi::api::core::v1::Secret;
    use kube::{Api, Client, api::ListParams, client::Body};
    use tower::BoxError;

    #[test]
    fn silenced_modules_speak_only_when_named() {
        let quiet = filter("info,kube_client=debug").to_string();
        assert!(SILENCED.iter().all(|silence| quiet.contains(silence)), "{quiet}");
        let asked = filter("info,kube_runtime::watcher=debug").to_string();
        assert!(!asked.contains(SILENCED[0]) && asked.contains(SILENCED[1]), "{asked}");
        assert!(filter("info=shouting").to_string().contains("info"));
    }

    #[test]
    fn lines_lose_the_credentials_that_an_error_quotes() {
        let lines = Lines::default();
        let _logging = recording(&lines, "info");
        tracing::warn!(error = "Get \"https://user:hunter2@c.example\": EOF", "cannot fetch");
        let text = lines.text();
        assert!(text.contains("https://***@c.example") && !text.contains("hunter2"), "{text}");
    }

    #[tokio::test]
    async fn secrets_that_cannot_be_parsed_are_not_logged() {
        let answers = tower::service_fn(async |_| {
            let body = r#"{"items": [{"data": {"password": "aHVudGVyMg=="}, "metadata": 7}]}"#;
            Ok::<_, BoxError>(http::Response::new(Body::from(body.as_bytes().to_vec())))
        });
        let lines = Lines::default();
        let _logging = recording(&lines, "info");
        let secrets = Api::<Secret>::all(Client::new(answers, "n"));
        let read = secrets.list(&ListParams::default()).await;
        assert!(read.is_err());
        tracing::warn!("the last line");
        let text = lines.text();
        assert!(text.contains("the last line") && !text.contains("aHVudGVyMg"), "{text}");
    }
}
