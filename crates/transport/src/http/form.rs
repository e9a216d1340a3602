//! Whether an HTTP answer has the form that a control plane gives it (contract, section 4). Pure.
//!
//! A success has the documented shape, an error is an object with text members `error` and `message`, both as JSON by
//! their content type; a 204 is empty. Anything else was said by something in between.

use serde_json::Value;
use vworkspace_protocol::{Problem, headers::MEDIA_TYPE, limits};

/// Most characters of a foreign body that are shown.
pub const EXCERPT_CHARACTERS: usize = 200;
/// Longest code and request id of an error in form; ours have at most 32 characters.
pub const CODE_BYTES: usize = 128;
/// Longest message of an error in form: it is shown in conditions, logs and Events.
pub const MESSAGE_BYTES: usize = 1024;
/// Every credential of ours begins so.
const SECRET_PREFIX: &str = "vwksp-";
const CUT_OUT: &str = "[removed]";

/// What a good answer to a call holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Nothing: 204, or another 2xx with JSON that nobody reads.
    Nothing,
    /// An object.
    Object,
    /// An object with the array `jobs`, which may be null or absent; or a 204.
    Jobs,
}

impl Expected {
    /// Whether the call is a poll for jobs.
    pub fn is_poll(self) -> bool {
        self == Self::Jobs
    }
}

/// Whether the content type is JSON or the protocol's own; parameters do not matter.
pub fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json") || essence.eq_ignore_ascii_case(MEDIA_TYPE)
}

/// Whether a 2xx answer has the documented shape. `content_type` is empty if there is none.
pub fn is_success(status: u16, content_type: &str, body: &[u8], expected: Expected) -> bool {
    if status == 204 {
        return body.is_empty() && expected != Expected::Object;
    }
    if !is_json(content_type) {
        return false;
    }
    let value = || serde_json::from_slice::<Value>(body);
    match expected {
        Expected::Nothing => body.is_empty() || value().is_ok(),
        Expected::Object => value().is_ok_and(|value| value.is_object()),
        Expected::Jobs => value().is_ok_and(|value| {
            let jobs = value.get("jobs");
            value.is_object() && jobs.is_none_or(|jobs| jobs.is_array() || jobs.is_null())
        }),
    }
}

/// The error of an answer that is not 2xx, if it is in form. Its texts are bounded and hold no credential: a gateway can
/// answer in form, too, and may quote the request. `secrets` are those of the request.
pub fn problem(content_type: &str, body: &[u8], secrets: &[&str]) -> Option<Problem> {
    if !is_json(content_type) {
        return None;
    }
    let value: Value = serde_json::from_slice(body).ok()?;
    let text = |member: &str, most| {
        let text = value.get(member)?.as_str()?;
        Some(bounded(text, most, secrets))
    };
    let (error, message) = (text("error", CODE_BYTES)?, text("message", MESSAGE_BYTES)?);
    Some(Problem { error, message, request_id: text("requestId", CODE_BYTES).unwrap_or_default() })
}

/// The text without credentials, cut to `most` bytes.
pub(super) fn bounded(text: &str, most: usize, secrets: &[&str]) -> String {
    limits::clip(&redacted(text, secrets), most).to_owned()
}

/// The beginning of a foreign text, for people: one line of printable characters, with every credential cut out.
/// `secrets` are those of the request; whatever looks like one of ours goes, too.
pub fn excerpt(body: &[u8], secrets: &[&str]) -> String {
    let text = redacted(&String::from_utf8_lossy(body), secrets);
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let line = words.collect::<Vec<_>>().join(" ");
    let printable = line.chars().filter(|c| !is_invisible(*c));
    printable.take(EXCERPT_CHARACTERS).collect()
}

/// The text with each of the secrets, and whatever looks like one of ours, cut out.
fn redacted(text: &str, secrets: &[&str]) -> String {
    let mut text = text.to_owned();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret, CUT_OUT);
    }
    let mut pieces = text.split(SECRET_PREFIX);
    let mut kept = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        kept.push_str(CUT_OUT);
        kept.push_str(piece.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || "-_".contains(c)));
    }
    kept
}

/// Characters that show nothing, or that change how others are shown.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{fffd}')
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = "application/json; charset=utf-8";

    #[test]
    fn content_type_counts_without_its_parameters() {
        assert!(is_json(JSON) && is_json(MEDIA_TYPE) && is_json("Application/JSON"));
        for other in ["", "text/html", "text/plain", "application/jsonp", "application/problem+json"] {
            assert!(!is_json(other), "{other}");
        }
    }

    #[test]
    fn success_needs_json_or_an_empty_204() {
        let good = |status, content_type, body: &str, expected| {
            is_success(status, content_type, body.as_bytes(), expected)
        };
        assert!(good(204, "", "", Expected::Nothing) && good(204, "", "", Expected::Jobs));
        assert!(!good(204, "", "", Expected::Object), "no credential can be in it");
        assert!(good(200, JSON, "", Expected::Nothing) && good(202, JSON, "{}", Expected::Nothing));
        for jobs in [r#"{"jobs":[]}"#, r#"{"jobs":null}"#, "{}", r#"{"more":1}"#] {
            assert!(good(200, MEDIA_TYPE, jobs, Expected::Jobs), "{jobs}");
        }
        for foreign in ["", "<html>", "[]", r#"{"jobs":7}"#, r#"{"jobs":["#] {
            assert!(!good(200, JSON, foreign, Expected::Jobs), "{foreign}");
        }
        assert!(!good(200, "text/html", "{}", Expected::Jobs));
        assert!(!good(200, "", "", Expected::Nothing), "a captive portal may answer so");
    }

    #[test]
    fn error_needs_both_text_members() {
        let read = |content_type, body: &str| problem(content_type, body.as_bytes(), &[]);
        let whole = read(JSON, r#"{"error":"e","message":"m","requestId":"r"}"#).unwrap();
        assert_eq!(
            (whole.error.as_str(), whole.message.as_str(), whole.request_id.as_str()),
            ("e", "m", "r")
        );
        assert!(read(JSON, r#"{"error":"e","message":""}"#).is_some());
        for foreign in
            ["", "<html>", "{}", r#"{"error":"e"}"#, r#"{"error":1,"message":"m"}"#, r#"{"error":"e""#]
        {
            assert!(read(JSON, foreign).is_none(), "{foreign}");
        }
        assert!(read("text/html", r#"{"error":"e","message":"m"}"#).is_none());
    }

    #[test]
    fn error_in_form_is_bounded_and_without_credentials() {
        let long = format!("bad token vwksp-reg-0aF_- of hunter2\n{}", "é".repeat(40_000));
        let body = serde_json::json!({"error": long, "message": long, "requestId": long}).to_string();
        let read = problem(JSON, body.as_bytes(), &["hunter2", ""]).unwrap();
        for (text, most) in
            [(read.error, CODE_BYTES), (read.message, MESSAGE_BYTES), (read.request_id, CODE_BYTES)]
        {
            assert!(text.starts_with("bad token [removed] of [removed]\né"), "{text}");
            assert!(text.len() <= most, "{}", text.len());
        }
    }

    #[test]
    fn excerpt_is_short_printable_and_without_credentials() {
        let body = "<h1>Sorry</h1>\r\n\u{7}Bearer vwksp-agt-0a-b_C! hunter2\u{202e}x";
        assert_eq!(excerpt(body.as_bytes(), &["hunter2"]), "<h1>Sorry</h1> Bearer [removed]! [removed]x");
        assert_eq!(excerpt("é".repeat(500).as_bytes(), &[""]).chars().count(), EXCERPT_CHARACTERS);
        assert_eq!(excerpt(&[0xff, 0xfe, b'a'], &[]), "a");
    }
}
