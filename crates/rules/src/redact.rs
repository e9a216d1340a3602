//! Foreign texts without the credentials that they quote.
//!
//! Messages of Flux, Helm, registries and API servers name addresses, and quote what they were given. They pass through
//! here before they become a condition, a job's error, an event or a line of a log.
//!
//! Caveats: a secret in the path of an address looks like any other path, and stays.

use base64::{Engine as _, engine::general_purpose};
use regex::{Captures, Regex};
use std::{borrow::Cow, sync::LazyLock};

/// What stands in the place of a secret.
const MASK: &str = "***";
/// Names of parameters that are secrets.
const NAMES: &str = r"[\w.-]*(?:token|secret|passw|passphrase|pwd|credential|signature|api[_-]?key|access[_-]?key|private[_-]?key)[\w.-]*|sig|key|auth|jwt|pass";

/// What is replaced, in order; the first group stays, and so does the second where there is one.
static PATTERNS: LazyLock<[Regex; 5]> = LazyLock::new(|| {
    [
        r"(:(?://|\\/\\/))[^\s/?#]*(?:@|%40)",
        // A password may hold what ends a host: what stands after the colon is no port then.
        r#"(://)[^\s/?#@:\["]+:[0-9]*[^\s@"0-9/][^@"\n]{0,256}@"#,
        r"(?i)(%(?:25)*3a%(?:25)*2f%(?:25)*2f)(?:[^\s%/?&#]|%[0-9a-f]{2})*?%(?:25)*40",
        &format!(r#"(?i)((?:[?&;#]|%3f|%26|%23|\\u0026)(?:{NAMES})(?:=|%3d))[^\s&;#"'<>,)\\]+"#),
        r#"(?i)(\b(?:(?:proxy-)?authorization|(?:private|job|deploy)-token|x-[a-z-]*(?:token|key)|(?:set-)?cookie)\\?["']?\s*[:=]\s*\\?["']?(?:(?:basic|bearer|token|digest) +)?)[^\s"',;\\]+"#,
    ]
    .map(compiled)
});
/// Credentials with the scheme of a header, without its name.
static SCHEME: LazyLock<Regex> =
    LazyLock::new(|| compiled(r"(?i)\b((?:basic|bearer)\s+)([a-z0-9+/=_.~-]{6,})"));
/// What may be `user:password`, encoded.
static ENCODED: LazyLock<Regex> = LazyLock::new(|| compiled(r"[A-Za-z0-9+/_-]{8,}={0,2}"));

fn compiled(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the patterns above compile")
}

/// The text with each credential replaced by `***`.
///
/// # Guarantees
/// Redacting a redacted text changes nothing.
pub fn redact(text: &str) -> Cow<'_, str> {
    let mut redacted = Cow::Borrowed(text);
    for pattern in PATTERNS.iter() {
        replace(&mut redacted, pattern, |found| Some(format!("{}{MASK}{}", &found[1], kept_end(&found[0]))));
    }
    replace(&mut redacted, &SCHEME, |found| looks_random(&found[2]).then(|| format!("{}{MASK}", &found[1])));
    replace(&mut redacted, &ENCODED, |found| is_encoded_pair(&found[0]).then(|| MASK.to_owned()));
    redacted
}

/// Replaces what `by` has something for.
fn replace(text: &mut Cow<'_, str>, pattern: &Regex, by: impl Fn(&Captures<'_>) -> Option<String>) {
    let replaced =
        pattern.replace_all(text, |found: &Captures<'_>| by(found).unwrap_or_else(|| found[0].to_owned()));
    if let Cow::Owned(replaced) = replaced {
        *text = Cow::Owned(replaced);
    }
}

/// The sign between user and host.
fn kept_end(found: &str) -> &str {
    if found.ends_with('@') {
        return "@";
    }
    let start = found.len().saturating_sub(3);
    found.get(start..).filter(|end| *end == "%40").unwrap_or_default()
}

/// Told from a word as in "basic authentication".
fn looks_random(token: &str) -> bool {
    let has = |test: fn(&char) -> bool| token.chars().any(|one| test(&one));
    let is_mixed = token.chars().skip(1).any(char::is_uppercase) && has(|one| one.is_lowercase());
    is_mixed || has(char::is_ascii_digit) || token.ends_with('=')
}

/// Whether the text is base64 of a user and a password.
fn is_encoded_pair(text: &str) -> bool {
    let decoded = [&general_purpose::STANDARD, &general_purpose::URL_SAFE];
    let decoded = decoded.into_iter().find_map(|engine| engine.decode(text).ok());
    decoded.is_some_and(|bytes| {
        let is_text = bytes.iter().all(|byte| byte.is_ascii_graphic());
        let pair = bytes.iter().position(|byte| *byte == b':');
        is_text && pair.is_some_and(|colon| colon > 0 && colon + 1 < bytes.len())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn credentials_are_masked_in_every_spelling() {
        for (text, expected) in [
            (
                r#"Get "https://user:pw@c.example/index.yaml": EOF"#,
                r#"Get "https://***@c.example/index.yaml": EOF"#,
            ),
            ("https://us:er:p@w@c.example:8443/x", "https://***@c.example:8443/x"),
            (r#"parse "https://user:p/w?x@c.example": bad"#, r#"parse "https://***@c.example": bad"#),
            (r#"parse "https://user:p w@c.example": bad"#, r#"parse "https://***@c.example": bad"#),
            ("https://user%3Apw%40c.example/x", "https://***%40c.example/x"),
            ("to=https%3A%2F%2Fuser%3Apw%40c.example%2Fx", "to=https%3A%2F%2F***%40c.example%2Fx"),
            (r#"{"url":"https:\/\/user:pw@c.example"}"#, r#"{"url":"https:\/\/***@c.example"}"#),
            ("https://c.example/x?private_token=abc&page=2", "https://c.example/x?private_token=***&page=2"),
            (
                "https://c.example/x?page=2&X-Amz-Signature=abc: 403",
                "https://c.example/x?page=2&X-Amz-Signature=*** 403",
            ),
            ("https://c.example/x#access_token=abc", "https://c.example/x#access_token=***"),
            ("Authorization: Basic dXNlcjpwdw==", "Authorization: Basic ***"),
            (r#""Authorization":"Bearer abc.def""#, r#""Authorization":"Bearer ***""#),
            ("PRIVATE-TOKEN: abc", "PRIVATE-TOKEN: ***"),
            ("sent bearer eyJhbGciOi.x.y and failed", "sent bearer *** and failed"),
            ("auth dXNlcjpwYXNz in the docker config", "auth *** in the docker config"),
        ] {
            assert_eq!(redact(text), expected);
        }
    }

    #[test]
    fn what_is_no_credential_stays() {
        for text in [
            "GET https://r.example:5000/v2/charts/web/manifests/1.0.0: 401 Unauthorized: basic authentication required",
            "oci://r.example/charts/web@sha256:41afb7f0efcc41afb7f0efcc41afb7f0efcc41afb7f0efcc41afb7f0efcc41af",
            "dial tcp 127.0.0.1:18099: connect: connection refused",
            "could not get Source object: OCIRepository 'team/web-source' not found",
            "Helm install failed for release team/web with chart hello@1.0.0+41afb7f0efcc: no bearer of it",
            "a token is missing; key=value pairs; user@example.org",
            "Get \"https://[::1]:8080/a\": mail a@b",
        ] {
            assert_eq!(redact(text), text);
        }
    }

    proptest! {
        #[test]
        fn redacting_twice_changes_nothing_and_no_text_panics(text in "\\PC{0,60}(://|%3A%2F%2F|\\?token=|Basic )?\\PC{0,40}@?\\PC{0,20}") {
            let once = redact(&text).into_owned();
            prop_assert_eq!(redact(&once), once.as_str());
        }
    }
}
