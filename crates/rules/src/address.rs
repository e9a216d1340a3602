//! Addresses of charts: credentials do not belong into them.

use regex::Regex;
use std::sync::LazyLock;

/// The rule of the CRD, in CEL, on `chart.url`: no user and no password before the host, and no parameter whose name
/// says that it is a secret. [`holds_credentials`] applies the pattern that stands in it.
pub const NO_CREDENTIALS: &str = concat!(
    "!self.matches('",
    "(?i)^[ ]*([a-z][a-z0-9+.-]*://)?[^/?#]*(@|%40)",
    "|[?&;#]([^=&;#]*(token|secret|passw|passphrase|pwd|credential|signature|api[_-]?key|access[_-]?key|private[_-]?key)",
    "[^=&;#]*|sig|key|auth|jwt|pass)=",
    "')"
);

/// What the API server says when [`NO_CREDENTIALS`] is broken, and everybody else.
pub const NO_CREDENTIALS_MESSAGE: &str = "chart.url holds credentials; put them into a Secret of the same namespace and name it in chart.secretRef";

/// The rule of the CRD, in CEL, on `chart.url`: a repository is asked for, not one of its files.
pub const NO_FILE: &str = "!self.matches('(?i)([.]tgz|/index[.]yaml)/?([?#].*)?$')";

/// What the API server says when [`NO_FILE`] is broken, and everybody else.
pub const NO_FILE_MESSAGE: &str =
    "chart.url names a file; give the address of the repository, without index.yaml or the chart's archive";

static CREDENTIALS: LazyLock<Regex> =
    LazyLock::new(|| pattern_of(NO_CREDENTIALS).expect("the rule is one negated pattern that compiles"));

/// Returns `true` if the address holds a user, a password or a token.
pub fn holds_credentials(url: &str) -> bool {
    CREDENTIALS.is_match(url)
}

/// The pattern of a rule `!self.matches('…')`; `None` for any other rule.
pub(crate) fn pattern_of(rule: &str) -> Option<Regex> {
    let pattern = rule.strip_prefix("!self.matches('")?.strip_suffix("')")?;
    Regex::new(pattern).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_found_wherever_an_address_may_hold_them() {
        for url in [
            "https://user:pw@charts.example",
            "https://token@charts.example/x",
            "HTTPS://user:pw@charts.example",
            "https://user%3Apw%40charts.example/",
            "https://us%40er:p%2Fw@charts.example/",
            "oci://user:pw@registry.example/charts/web",
            "user:pw@registry.example/charts/web",
            "https://charts.example/x?private_token=abc",
            "https://charts.example/x?a=1&access-token=abc",
            "https://charts.example/x?sv=1&sig=abc",
            "https://charts.example/x?X-Amz-Signature=abc",
            "https://charts.example/x#apiKey=abc",
        ] {
            assert!(holds_credentials(url), "{url}");
        }
    }

    #[test]
    fn digests_ports_and_plain_parameters_are_no_credentials() {
        for url in [
            "https://charts.example:8443/stable",
            "oci://registry.example/charts/web@sha256:0123",
            "registry.example:5000/charts",
            "https://charts.example/x?ref=main&page=2",
            "https://charts.example/~user@home/x",
            "https://[::1]:8080/a",
            "",
        ] {
            assert!(!holds_credentials(url), "{url}");
        }
    }
}
