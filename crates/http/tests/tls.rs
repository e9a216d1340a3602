//! What is wrong with a port's TLS, told by a client that really talks to it.

#![allow(clippy::unwrap_used, reason = "helpers of tests stop the test")]

use axum::{Router, routing::get};
use axum_server::tls_rustls::RustlsConfig;
use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use vworkspace_http::{TlsFault, causes, client_builder, proxy::Way, tls_fault};

struct Made {
    authority: String,
    certificate: Certificate,
    key: KeyPair,
}

fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    CertificateParams::new(names).unwrap()
}

/// A certificate for `names`, changed by `change`, and the authority that issued it.
fn made(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Made {
    let (mut ca, ca_key) = (params(&[]), KeyPair::generate().unwrap());
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = ca.self_signed(&ca_key).unwrap().pem();
    let (mut params, key) = (params(names), KeyPair::generate().unwrap());
    change(&mut params);
    let certificate = params.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
    Made { authority, certificate, key }
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn router() -> Router {
    Router::new().route("/", get(|| async { "here" }))
}

async fn serve_tls(certificate: &str, key: &KeyPair) -> SocketAddr {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let (listener, address) = listener();
    let pem = certificate.as_bytes().to_vec();
    let config = RustlsConfig::from_pem(pem, key.serialize_pem().into_bytes()).await.unwrap();
    let server = axum_server::from_tcp_rustls(listener, config).unwrap();
    tokio::spawn(server.serve(router().into_make_service()));
    address
}

/// The fault that `scheme://localhost` at this address has for somebody who trusts `ca`, and its text.
async fn fault_of(scheme: &str, address: SocketAddr, ca: &str) -> (Option<TlsFault>, String) {
    let url: url::Url = format!("{scheme}://localhost:{}/", address.port()).parse().unwrap();
    let client = client_builder(&url, &Way::Direct, Some(ca.as_bytes())).unwrap().build().unwrap();
    let error = client.get(url).send().await.unwrap_err();
    (tls_fault(&error), causes(&error))
}

async fn fault_with(made: Made) -> (Option<TlsFault>, String) {
    let address = serve_tls(&made.certificate.pem(), &made.key).await;
    fault_of("https", address, &made.authority).await
}

#[tokio::test]
async fn certificate_for_another_name_is_told_with_both_names() {
    let (_, text) = fault_with(made(&["cp.example", "10.0.0.1"], |_| ())).await;
    assert_eq!(text, "the server's certificate is for cp.example, 10.0.0.1, not for localhost");
    let (_, text) = fault_with(made(&[], |_| ())).await;
    let none =
        "the server's certificate names no host at all (no subject alternative name), hence not localhost";
    assert_eq!(text, none);
}

#[tokio::test]
async fn certificate_outside_its_time_is_told_with_the_date() {
    let ended = made(&["localhost"], |params| {
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 2, 3));
    });
    let (_, text) = fault_with(ended).await;
    assert_eq!(text, "the server's certificate expired on 2021-02-03T00:00:00Z");
    let (_, text) =
        fault_with(made(&["localhost"], |params| params.not_before = date_time_ymd(2099, 1, 1))).await;
    assert_eq!(text, "the server's certificate is not valid before 2099-01-01T00:00:00Z; is a clock wrong?");
}

/// `openssl req -x509` makes these.
#[tokio::test]
async fn self_signed_authority_as_server_certificate_is_told() {
    let (mut params, key) = (params(&["localhost"]), KeyPair::generate().unwrap());
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).unwrap().pem();
    let address = serve_tls(&pem, &key).await;
    assert_eq!(fault_of("https", address, &pem).await.0, Some(TlsFault::Authority));
}

#[tokio::test]
async fn stranger_as_issuer_is_told() {
    let (served, other) = (made(&["localhost"], |_| ()), made(&[], |_| ()));
    let (fault, _) = fault_with(Made { authority: other.authority, ..served }).await;
    assert_eq!(fault, Some(TlsFault::UnknownIssuer));
}

#[tokio::test]
async fn https_to_a_plain_port_and_the_reverse_are_told() {
    let served = made(&["localhost"], |_| ());
    let (listener, plain) = listener();
    tokio::spawn(axum_server::from_tcp(listener).unwrap().serve(router().into_make_service()));
    assert_eq!(fault_of("https", plain, &served.authority).await.0, Some(TlsFault::PlainHttp));
    let tls = serve_tls(&served.certificate.pem(), &served.key).await;
    assert_eq!(fault_of("http", tls, &served.authority).await.0, Some(TlsFault::NotHttp));
}

#[tokio::test]
async fn nobody_there_is_no_fault_of_tls() {
    let (listener, address) = listener();
    drop(listener);
    let (fault, text) = fault_of("https", address, &made(&[], |_| ()).authority).await;
    assert_eq!(fault, None);
    assert!(text.contains("refused"), "{text}");
}
