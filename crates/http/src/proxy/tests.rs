use super::*;
use proptest::prelude::*;

const PROXY: &str = "http://proxy.example:3128";

fn rules(variables: &[(&str, &str)]) -> Result<Rules, NotAProxy> {
    Rules::read(|name| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned()))
}

fn way(variables: &[(&str, &str)], peer: &str) -> String {
    rules(variables).unwrap().way_to(&Url::parse(peer).unwrap()).to_string()
}

fn is_direct(exceptions: &str, peer: &str) -> bool {
    way(&[("HTTPS_PROXY", PROXY), ("NO_PROXY", exceptions)], peer) == "directly"
}

#[test]
fn each_scheme_has_its_variable_and_the_upper_case_name_goes_first() {
    let both = [("HTTPS_PROXY", "http://s:1"), ("https_proxy", "http://x:9"), ("http_proxy", "http://p:2")];
    assert_eq!(way(&both, "https://example.org"), "through the proxy http://s:1");
    assert_eq!(way(&both, "http://example.org"), "through the proxy http://p:2");
    assert_eq!(way(&[("HTTP_PROXY", PROXY)], "https://example.org"), "directly");
    assert_eq!(
        way(&[("HTTPS_PROXY", ""), ("https_proxy", PROXY)], "https://a"),
        "through the proxy http://proxy.example:3128"
    );
}

#[test]
fn proxy_is_a_url_or_a_host_with_a_port() {
    for (text, shown) in [
        ("proxy.example:3128", "http://proxy.example:3128"),
        ("10.0.0.1:3128", "http://10.0.0.1:3128"),
        ("socks5://p:1080", "socks5://p:1080"),
        ("https://p", "https://p"),
    ] {
        assert_eq!(way(&[("HTTPS_PROXY", text)], "https://a"), format!("through the proxy {shown}"));
    }
    for text in ["ftp://p", "http://", "a b", "://"] {
        let error = rules(&[("https_proxy", text)]).unwrap_err().to_string();
        assert!(error.starts_with("https_proxy is no URL of a proxy"), "{text}: {error}");
    }
}

#[test]
fn user_and_password_of_a_proxy_are_not_shown() {
    let found = rules(&[("HTTPS_PROXY", "http://user:hunter2@p:3128")]).unwrap();
    let way = found.way_to(&Url::parse("https://a").unwrap());
    assert_eq!(format!("{way} {way:?}"), "through the proxy http://p:3128 through the proxy http://p:3128");
    let error = rules(&[("HTTPS_PROXY", "ftp://user:hunter2@p")]).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

#[test]
fn this_machine_is_reached_directly_whatever_is_listed() {
    for peer in [
        "https://localhost:1",
        "https://127.0.0.1",
        "https://127.9.9.9",
        "https://[::1]:8",
        "https://[::ffff:127.0.0.1]",
    ] {
        assert!(is_direct("", peer), "{peer}");
    }
}

#[test]
fn exceptions_are_read_as_go_reads_them() {
    for (exceptions, direct, proxied) in [
        ("*", "https://anything.example", ""),
        ("example.com", "https://example.com", "https://badexample.com"),
        ("example.com", "https://a.b.example.com:8443", "https://example.com.evil"),
        (".example.com", "https://a.example.com", "https://example.com"),
        ("*.example.com", "https://a.example.com", "https://example.com"),
        ("EXAMPLE.com", "https://Example.COM", "https://example.org"),
        ("example.com:8443", "https://a.example.com:8443", "https://a.example.com"),
        ("example.com:443", "https://example.com", "https://example.com:8443"),
        ("10.0.0.0/8", "https://10.96.0.1", "https://11.0.0.1"),
        ("10.96.0.1", "https://10.96.0.1:6443", "https://10.96.0.2"),
        ("10.96.0.1:443", "https://10.96.0.1", "https://10.96.0.1:6443"),
        ("fd00::/8", "https://[fd00::1]", "https://[fe80::1]"),
        ("fd00::1", "https://[fd00::1]:6443", "https://[fd00::2]"),
        ("[fd00::1]:443", "https://[fd00::1]", "https://[fd00::1]:6443"),
        (".svc,.cluster.local", "https://kubernetes.default.svc", "https://svc"),
        (" a.example , 10.0.0.0/8 ,, b.example,", "https://b.example", "https://c.example"),
        ("müller.example", "https://xn--mller-kva.example", "https://mller.example"),
    ] {
        assert!(is_direct(exceptions, direct), "{exceptions}: {direct}");
        assert!(proxied.is_empty() || !is_direct(exceptions, proxied), "{exceptions}: {proxied}");
    }
}

#[test]
fn entries_that_are_none_except_nothing_and_stop_nothing() {
    for exceptions in ["", ",", ":443", ".", "*.", "10.0.0.0/99", "a b", "[", "]:1", "example.com:port"] {
        assert!(!is_direct(exceptions, "https://example.com"), "{exceptions}");
        assert!(is_direct(&format!("{exceptions},example.com"), "https://example.com"), "{exceptions}");
    }
}

proptest! {
    #[test]
    fn no_text_in_the_environment_is_a_panic(proxy in ".*", exceptions in ".*", peer in "[a-z]{1,9}") {
        if let Ok(rules) = rules(&[("HTTPS_PROXY", &proxy), ("NO_PROXY", &exceptions)]) {
            rules.way_to(&Url::parse(&format!("https://{peer}.example")).unwrap());
        }
    }
}
