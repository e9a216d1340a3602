//! Clients that send far more than the server reads, over real sockets. All but the last write everything before they
//! read anything, as many simple clients do.

use crate::{
    support::{TestServer, settings},
    tls::{trusting, write_certificate},
};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use std::sync::Arc;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, rustls};
use vworkspace_server::serve::Running;

/// Far over what the server reads of a body, and over what the sockets buffer.
const BODY: usize = 40 * 1024 * 1024;
const CHUNK: usize = 1024 * 1024;
/// A route that reads a body.
const PATH: &str = "/api/v1/organizations";

/// Sends the request to its last byte, then reads the answer to its end.
async fn write_then_read(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    path: &str,
    bearer: &str,
    chunked: bool,
) -> String {
    let framing =
        if chunked { "Transfer-Encoding: chunked".to_owned() } else { format!("Content-Length: {BODY}") };
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: server\r\nAuthorization: Bearer {bearer}\r\n{framing}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = vec![b'x'; CHUNK];
    for _ in 0..BODY / CHUNK {
        if chunked {
            stream.write_all(format!("{CHUNK:x}\r\n").as_bytes()).await.unwrap();
        }
        stream.write_all(&chunk).await.unwrap();
        if chunked {
            stream.write_all(b"\r\n").await.unwrap();
        }
    }
    if chunked {
        stream.write_all(b"0\r\n\r\n").await.unwrap();
    }
    stream.flush().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[track_caller]
fn assert_refused(answer: &str, status: u16, code: &str) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    assert!(answer.contains(&format!("\"error\":\"{code}\"")), "{answer}");
}

#[tokio::test]
async fn refusal_reaches_a_client_that_is_still_sending() {
    let server = TestServer::start().await;
    let address = server.running.url.strip_prefix("http://").unwrap();
    let token = server.running.first_admin_token.clone().unwrap();
    for (path, bearer, chunked, status, code) in [
        (PATH, token.expose(), false, 413, "payload_too_large"),
        (PATH, token.expose(), true, 413, "payload_too_large"),
        (PATH, "vwksp-adm-nobody", false, 401, "unauthenticated"),
        ("/nowhere", "", false, 404, "not_found"),
    ] {
        let stream = TcpStream::connect(address).await.unwrap();
        assert_refused(&write_then_read(stream, path, bearer, chunked).await, status, code);
    }
}

#[tokio::test]
async fn refusal_reaches_a_client_that_is_still_sending_tls() {
    // Another test may have installed it already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let root = write_certificate(folder.path());
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let flags = ["--tls-cert", cert.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    let running = Running::start(settings(&folder, &flags)).await.unwrap();

    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(root.as_bytes()).unwrap()).unwrap();
    let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let socket = TcpStream::connect(running.url.strip_prefix("https://").unwrap()).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, socket).await.unwrap();
    let token = running.first_admin_token.clone().unwrap();
    let answer = write_then_read(stream, PATH, token.expose(), false).await;
    assert_refused(&answer, 413, "payload_too_large");

    let client = trusting(&root, &running.url).with_bearer(token.expose());
    client.send(reqwest::Method::POST, PATH, Some("x".repeat(BODY))).await.refused(413, "payload_too_large");
    running.stop().await.unwrap();
}
