use super::*;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};

fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    CertificateParams::new(names).unwrap()
}

/// The chain of a certificate and its authority, PEM each, and the key.
fn issued(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> (String, String, String) {
    let (mut ca, ca_key) = (params(&[]), KeyPair::generate().unwrap());
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name.push(rcgen::DnType::CommonName, "the authority");
    let authority = ca.self_signed(&ca_key).unwrap().pem();
    let (mut params, key) = (params(names), KeyPair::generate().unwrap());
    change(&mut params);
    let own = params.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap().pem();
    (own, authority, key.serialize_pem())
}

fn fault(cert: &[u8], key: &[u8]) -> String {
    read(cert, key).err().unwrap().to_string()
}

fn warned(pem: &str, now: Timestamp) -> Vec<Warning> {
    warnings(&chain(pem.as_bytes()).unwrap(), now)
}

#[test]
fn what_is_wrong_with_the_files_is_told_in_words() {
    let (own, authority, key) = issued(&["cp.example"], |_| ());
    let other_key = KeyPair::generate().unwrap().serialize_pem();
    let der = pem_to_der(&own);
    let encrypted = key.replace("BEGIN PRIVATE", "BEGIN ENCRYPTED PRIVATE");
    for (cert, key, expected) in [
        ("", &*key, "the certificate file is empty"),
        (&*own, " \n", "the key file is empty"),
        (&key, &own, "swapped"),
        (&own, &own, "the key file holds a certificate"),
        ("hello", &key, "holds no PEM certificate"),
        (&own, "hello", "holds no PEM private key"),
        (&own, &encrypted, "encrypted"),
        (&own, &other_key, "does not belong to the certificate"),
        (&format!("{authority}{own}"), &key, "belongs to certificate 2 of the file"),
        ("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", &key, "cannot be read"),
    ] {
        let told = fault(cert.as_bytes(), key.as_bytes());
        assert!(told.contains(expected), "{told} / {expected}");
    }
    assert!(fault(&der, key.as_bytes()).contains("openssl x509 -inform der"));
    assert!(read(format!("{own}{authority}").as_bytes(), key.as_bytes()).is_ok());
}

fn pem_to_der(text: &str) -> Vec<u8> {
    CertificateDer::from_pem_slice(text.as_bytes()).unwrap().to_vec()
}

#[test]
fn what_clients_will_refuse_is_told() {
    let now: Timestamp = "2026-11-29T00:00:00Z".parse().unwrap();
    let (good, authority, _) = issued(&["cp.example"], |_| ());
    assert_eq!(warned(&format!("{good}{authority}"), now), []);
    assert_eq!(warned(&authority, now), [Warning::Authority, Warning::NoName]);
    assert_eq!(warned(&issued(&[], |_| ()).0, now), [Warning::NoName]);
    let ended = issued(&["a"], |params| {
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 2, 3));
    });
    assert_eq!(warned(&ended.0, now), [Warning::Expired("2021-02-03T00:00:00Z".parse().unwrap())]);
    let before = "2021-01-20T00:00:00Z".parse().unwrap();
    assert_eq!(warned(&ended.0, before), [Warning::EndsSoon("2021-02-03T00:00:00Z".parse().unwrap())]);
    let early = issued(&["a"], |params| params.not_before = date_time_ymd(2099, 1, 1));
    assert_eq!(warned(&early.0, now), [Warning::NotYetValid("2099-01-01T00:00:00Z".parse().unwrap())]);
    let (stranger, ..) = issued(&["other"], |params| {
        params.distinguished_name.push(rcgen::DnType::CommonName, "a stranger");
    });
    assert_eq!(warned(&format!("{good}{stranger}"), now), [Warning::Order(2)]);
}
