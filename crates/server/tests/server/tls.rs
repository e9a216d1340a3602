use crate::support::{Client, eventually, settings};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::{fs, path::Path};
use vworkspace_server::serve::Running;

/// A certificate authority of its own and a server certificate from it, written to `cert.pem` and `key.pem`.
/// Answers the authority's certificate.
pub fn write_certificate(folder: &Path) -> String {
    let mut authority = CertificateParams::new([]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let root = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
    fs::write(folder.join("cert.pem"), leaf.pem()).unwrap();
    root
}

pub fn trusting(root: &str, url: &str) -> Client {
    let root = reqwest::Certificate::from_pem(root.as_bytes()).unwrap();
    let http = reqwest::Client::builder().tls_certs_only([root]).no_proxy().build().unwrap();
    Client::over(http, url, None)
}

#[tokio::test]
async fn tls_is_served_and_a_new_certificate_is_taken_up() {
    // Another test may have installed it already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let old_root = write_certificate(folder.path());
    let flags = [
        "--tls-cert",
        cert.to_str().unwrap(),
        "--tls-key",
        key.to_str().unwrap(),
        "--tls-reload-every",
        "20ms",
    ];
    let running = Running::start(settings(&folder, &flags)).await.unwrap();
    assert!(running.url.starts_with("https://127.0.0.1:"));
    assert_eq!(trusting(&old_root, &running.url).get("/livez").await.status, 200);

    let new_root = write_certificate(folder.path());
    eventually(async || {
        // A fresh client each time: an open connection keeps the certificate it began with.
        let answer = trusting(&new_root, &running.url).try_send(reqwest::Method::GET, "/livez", None).await;
        answer.is_ok().then_some(())
    })
    .await;
    running.stop().await.unwrap();
}

#[tokio::test]
async fn plain_http_to_a_tls_port_is_told_to_use_https() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    write_certificate(folder.path());
    let flags = ["--tls-cert", cert.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    let running = Running::start(settings(&folder, &flags)).await.unwrap();
    let plain = running.url.replace("https://", "http://");
    let answer =
        reqwest::Client::new().post(format!("{plain}/api/v1/organizations")).body(vec![b'x'; 1 << 20]);
    let answer = answer.send().await.unwrap();
    assert_eq!(answer.status(), 400);
    let problem: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(problem["error"], "https_required");
    running.stop().await.unwrap();
}
