//! Every call against every answer (contract, section 4): what the agent learns of it.

use super::{settings, *};
use crate::EchoMark;
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use vworkspace_protocol::Outcome;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Register,
    Jobs,
    Ack,
    Status,
    Result,
    Events,
    Rotate,
    Decommission,
}

const CALLS: [Call; 8] = [
    Call::Register,
    Call::Jobs,
    Call::Ack,
    Call::Status,
    Call::Result,
    Call::Events,
    Call::Rotate,
    Call::Decommission,
];

/// How long the poll of these tests waits for jobs.
const WAIT: Duration = Duration::from_secs(120);

impl Call {
    async fn ask(self, link: &HttpLink) -> Result<(), LinkError> {
        let job = JobId::new("j");
        match self {
            Self::Register => {
                let request = RegisterRequest {
                    registration_token: Secret::new("vwksp-reg-test"),
                    cluster_id: None,
                    display_name: String::new(),
                    registration_id: String::new(),
                };
                link.register(&request).await.map(drop)
            }
            Self::Jobs => link.jobs(&ClusterId::new("c"), WAIT).await.map(drop),
            Self::Ack => link.ack(&job).await,
            Self::Status => {
                let update = StatusUpdate {
                    phase: "Applying".to_owned(),
                    conditions: Vec::new(),
                    message: String::new(),
                    timestamp: None,
                };
                link.status(&job, &update).await
            }
            Self::Result => link.result(&job, &Outcome::Succeeded.into()).await,
            Self::Events => link.events(&EventsRequest::default()).await.map(drop),
            Self::Rotate => link.rotate().await.map(drop),
            Self::Decommission => link.decommission().await,
        }
    }

    async fn make(self, link: &HttpLink) -> Meaning {
        match self.ask(link).await {
            Ok(()) => Meaning::Good,
            Err(LinkError::Refused { status, retry_after, .. }) => {
                Meaning::Refused(status, retry_after.map(|after| after.as_secs()))
            }
            Err(LinkError::Unexpected { status, .. }) => Meaning::Unexpected(status),
            Err(LinkError::Unreachable { .. }) => Meaning::Unreachable,
            Err(LinkError::Malformed { .. }) => Meaning::Malformed,
        }
    }

    /// Whether a good answer carries something that must be read.
    fn needs_body(self) -> bool {
        matches!(self, Self::Register | Self::Jobs | Self::Rotate)
    }
}

/// What the agent learns.
#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    Good,
    /// Status and seconds to wait.
    Refused(u16, Option<u64>),
    /// Nothing: something in between answered.
    Unexpected(u16),
    Unreachable,
    Malformed,
}

/// What the other side does once it has read a request.
#[derive(Clone, Debug)]
enum Script {
    /// Writes this and closes.
    Say(String),
    /// Writes this and keeps the connection open without another word.
    SayAndHang(String),
}

impl Script {
    /// Whether it looks like an error of a control plane.
    fn is_problem(&self) -> bool {
        matches!(self, Self::Say(text) if text.contains(r#"{"error":"e","message":"m"}"#))
    }
}

/// A control plane that does the same to everybody.
async fn scripted(script: Script) -> HttpLink {
    HttpLink::new(&settings(&listen(script).await)).unwrap()
}

async fn listen(script: Script) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(play(stream, script.clone()));
        }
    });
    format!("http://{address}")
}

fn link_at(address: SocketAddr) -> HttpLink {
    HttpLink::new(&settings(&format!("http://{address}"))).unwrap()
}

/// As [`scripted`], for a control plane of which this is known.
async fn linked(script: Script, witness: &Arc<Witness>) -> HttpLink {
    let base_url = listen(script).await;
    HttpLink::new(&LinkSettings { witness: witness.clone(), ..settings(&base_url) }).unwrap()
}

async fn play(mut stream: TcpStream, script: Script) {
    read_request(&mut stream).await;
    let (text, hangs) = match &script {
        Script::Say(text) => (text, false),
        Script::SayAndHang(text) => (text, true),
    };
    // Whoever has heard enough closes.
    let _closed = stream.write_all(text.as_bytes()).await;
    if hangs {
        std::future::pending::<()>().await;
    }
    let _closed = stream.shutdown().await;
    let _rest = stream.read_to_end(&mut Vec::new()).await;
}

async fn read_request(stream: &mut TcpStream) {
    let mut seen = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let n = stream.read(&mut chunk).await.unwrap_or(0);
        seen.extend_from_slice(&chunk[..n]);
        let text = String::from_utf8_lossy(&seen).to_lowercase();
        let body = text.split_once("\r\n\r\n").map(|(head, body)| {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            body.len() >= length.and_then(|length| length.parse().ok()).unwrap_or(0)
        });
        if n == 0 || body == Some(true) {
            return;
        }
    }
}

/// An answer whose head promises `length` bytes and whose body is `body`.
fn answer(status: &str, headers: &str, length: usize, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
}

#[tokio::test]
async fn a_refusal_in_form_means_the_same_for_every_call() {
    let at = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    let with_date = format!("{at}Retry-After: Sun, 06 Nov 1994 08:49:54 GMT\r\n");
    let passed = format!("{at}Retry-After: Sun, 06 Nov 1994 08:00:00 GMT\r\n");
    let seconds = "Retry-After: 7\r\n";
    let table: [(&str, &str, Meaning); 16] = [
        ("302 Found", "Location: http://127.0.0.1:1/\r\n", Meaning::Refused(302, None)),
        ("400 Bad Request", "", Meaning::Refused(400, None)),
        ("401 Unauthorized", "", Meaning::Refused(401, None)),
        ("403 Forbidden", "", Meaning::Refused(403, None)),
        ("404 Not Found", "", Meaning::Refused(404, None)),
        ("409 Conflict", "", Meaning::Refused(409, None)),
        ("413 Payload Too Large", "", Meaning::Refused(413, None)),
        ("429 Too Many Requests", "", Meaning::Refused(429, None)),
        ("429 Too Many Requests", seconds, Meaning::Refused(429, Some(7))),
        ("429 Too Many Requests", &with_date, Meaning::Refused(429, Some(17))),
        ("429 Too Many Requests", &passed, Meaning::Refused(429, None)),
        ("429 Too Many Requests", "Retry-After: 0\r\n", Meaning::Refused(429, None)),
        ("500 Internal Server Error", seconds, Meaning::Refused(500, Some(7))),
        ("502 Bad Gateway", "", Meaning::Refused(502, None)),
        ("503 Service Unavailable", "Retry-After: soon\r\n", Meaning::Refused(503, None)),
        ("503 Service Unavailable", &with_date, Meaning::Refused(503, Some(17))),
    ];
    let problem = r#"{"error":"x","message":"m"}"#;
    for (status, headers, meaning) in table {
        for content_type in ["application/json", headers::MEDIA_TYPE] {
            let headers = format!("Content-Type: {content_type}\r\n{headers}");
            let link = scripted(Script::Say(answer(status, &headers, problem.len(), problem))).await;
            for call in CALLS {
                assert_eq!(call.make(&link).await, meaning, "{call:?} {status} {headers}");
            }
        }
    }
}

const STATUSES: [u16; 16] = [200, 204, 301, 302, 400, 401, 403, 404, 407, 409, 413, 429, 500, 502, 503, 504];

/// What something in between may say under one status.
fn foreign_answers(status: u16) -> Vec<Script> {
    let line = format!("{status} Whatever");
    let more =
        "Retry-After: 3600\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nLocation: http://127.0.0.1:1/\r\n";
    if status == 204 {
        return vec![Script::Say(format!("HTTP/1.1 {line}\r\n{more}\r\n"))];
    }
    let html = format!("{more}Content-Type: text/html\r\n");
    let json = format!("{more}Content-Type: application/json\r\n");
    let big = "x".repeat(2 * PROBLEM_BYTES);
    let said = |headers: &str, body: &str| Script::Say(answer(&line, headers, body.len(), body));
    vec![
        said(&html, "<h1>Login</h1>"),
        said(more, ""),
        said(&json, "nope"),
        said(&json, r#"{"error""#),
        said(&json, r#"{"detail":"no!"}"#),
        said(&json, r#"{"error":"e","message":"m"}"#),
        Script::SayAndHang(answer(&line, &html, 4 * PROBLEM_BYTES, &big)),
    ]
}

#[tokio::test]
async fn answer_without_echo_teaches_nothing_whatever_it_says() {
    for status in STATUSES {
        for script in foreign_answers(status) {
            let witness = Arc::new(Witness::new(EchoMark::stored(true)));
            let link = linked(script.clone(), &witness).await;
            for call in CALLS {
                assert_eq!(call.make(&link).await, Meaning::Unexpected(status), "{call:?} {script:?}");
            }
            assert!(link.control_plane_now().is_none(), "{script:?} has set the clock");
            assert!(witness.mark().is_set());
        }
    }
}

#[tokio::test]
async fn refusal_out_of_form_teaches_nothing_without_a_mark() {
    for status in STATUSES.into_iter().filter(|status| *status >= 300) {
        // The one in form may be a plain v1 control plane's word.
        for script in foreign_answers(status).into_iter().filter(|script| !script.is_problem()) {
            let link = scripted(script.clone()).await;
            for call in CALLS {
                assert_eq!(call.make(&link).await, Meaning::Unexpected(status), "{call:?} {script:?}");
            }
            assert!(link.control_plane_now().is_none(), "{script:?} has set the clock");
        }
    }
}

#[tokio::test]
async fn first_echo_sets_the_mark_that_later_answers_need() {
    let witness = Arc::new(Witness::default());
    let echo = "HTTP/1.1 204 No Content\r\nX-Vworkspace-Session: s-1\r\n\r\n".to_owned();
    let control_plane = linked(Script::Say(echo), &witness).await;
    assert_eq!(Call::Events.make(&control_plane).await, Meaning::Good);
    assert!(witness.mark().is_set());
    let portal = linked(Script::Say("HTTP/1.1 204 No Content\r\n\r\n".to_owned()), &witness).await;
    assert_eq!(Call::Events.make(&portal).await, Meaning::Unexpected(204));
    let other = "HTTP/1.1 204 No Content\r\nX-Vworkspace-Session: s-2\r\n\r\n".to_owned();
    let another_session = linked(Script::Say(other), &witness).await;
    assert_eq!(Call::Events.make(&another_session).await, Meaning::Unexpected(204));
}

/// The hour after which a missing echo counts is one in which every poll was answered.
#[tokio::test]
async fn unanswered_poll_is_noted_by_the_witness() {
    let bare = "HTTP/1.1 204 No Content\r\n\r\n".to_owned();
    let half = answer("200 OK", "Content-Type: application/json\r\n", 500, "{");
    for silence in [String::new(), half] {
        let witness = Arc::new(Witness::new(EchoMark::stored(true)));
        let restarted = witness.mark();
        assert_eq!(
            Call::Jobs.make(&linked(Script::Say(bare.clone()), &witness).await).await,
            Meaning::Unexpected(204)
        );
        assert_ne!(witness.mark(), restarted);
        let dead = linked(Script::Say(silence), &witness).await;
        assert_eq!(Call::Events.make(&dead).await, Meaning::Unreachable);
        assert_ne!(witness.mark(), restarted, "not a poll");
        assert_eq!(Call::Jobs.make(&dead).await, Meaning::Unreachable);
        assert_eq!(witness.mark(), restarted);
    }
}

#[tokio::test]
async fn foreign_body_is_shown_without_the_bearer() {
    let body = "<p>vwksp-agt-test and vwksp-agt-other</p>";
    let script = Script::Say(answer("403 Forbidden", "Content-Type: text/html\r\n", body.len(), body));
    let error = scripted(script).await.ack(&JobId::new("j")).await.unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(text.contains("403") && text.contains("text/html") && text.contains("<p>"), "{text}");
    assert!(!text.contains("vwksp"), "{text}");
}

/// Before the first echo a gateway that answers in form is believed, and may quote the request.
#[tokio::test]
async fn error_in_form_is_shown_without_the_callers_credentials() {
    let message = "bad token vwksp-reg-test or vwksp-agt-test of vwksp-agt-other";
    let body = format!(r#"{{"error":"vwksp-agt-test","message":"{message}"}}"#);
    let head = "Content-Type: application/json\r\nX-Request-Id: vwksp-agt-test\r\n";
    let link = scripted(Script::Say(answer("401 Unauthorized", head, body.len(), &body))).await;
    for call in CALLS {
        let error = call.ask(&link).await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(text.contains("bad token [removed] or [removed] of [removed]"), "{call:?}: {text}");
        assert!(!text.contains("vwksp"), "{call:?}: {text}");
    }
}

/// An error of the JSON reader quotes what it read.
#[tokio::test]
async fn unreadable_jobs_are_shown_without_credentials() {
    let body = r#"{"jobs":["vwksp-agt-test"]}"#;
    let script = Script::Say(answer("200 OK", "Content-Type: application/json\r\n", body.len(), body));
    let error = scripted(script).await.jobs(&ClusterId::new("c"), WAIT).await.unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(text.contains("[removed]") && !text.contains("vwksp"), "{text}");
}

#[tokio::test]
async fn no_answer_at_all_is_unreachable_for_every_call() {
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let links = [
        link_at(nobody),
        scripted(Script::Say(String::new())).await,
        scripted(Script::Say("HTTP/1.1 20".to_owned())).await,
        scripted(Script::Say("SSH-2.0-nothing of ours\r\n\r\n".to_owned())).await,
    ];
    for link in links {
        for call in CALLS {
            assert_eq!(call.make(&link).await, Meaning::Unreachable, "{call:?}");
        }
    }
}

#[tokio::test]
async fn a_good_answer_is_json_or_an_empty_204() {
    let json = "Content-Type: application/json\r\n";
    let huge = "x".repeat(ANSWER_BYTES + 1);
    for (script, where_needed, elsewhere) in [
        (Script::Say(answer("200 OK", json, 500, "{")), Meaning::Unreachable, Meaning::Unreachable),
        (Script::Say(answer("200 OK", json, huge.len(), &huge)), Meaning::Malformed, Meaning::Malformed),
        (Script::Say(answer("200 OK", json, 2, "17")), Meaning::Unexpected(200), Meaning::Good),
        (Script::Say(answer("202 Accepted", json, 0, "")), Meaning::Unexpected(202), Meaning::Good),
        (Script::Say(answer("200 OK", "", 6, "<html>")), Meaning::Unexpected(200), Meaning::Unexpected(200)),
        (Script::Say(answer("200 OK", "", 0, "")), Meaning::Unexpected(200), Meaning::Unexpected(200)),
    ] {
        let link = scripted(script.clone()).await;
        for call in CALLS {
            let expected = if call.needs_body() { &where_needed } else { &elsewhere };
            assert_eq!(&call.make(&link).await, expected, "{call:?} {script:?}");
        }
    }
    let link = scripted(Script::Say("HTTP/1.1 204 No Content\r\n\r\n".to_owned())).await;
    for call in CALLS {
        let expected = match call {
            Call::Register | Call::Rotate => Meaning::Unexpected(204),
            // No body is no jobs.
            _ => Meaning::Good,
        };
        assert_eq!(call.make(&link).await, expected, "{call:?}");
    }
    let link = scripted(Script::Say(answer("200 OK", json, 2, "{}"))).await;
    assert_eq!(Call::Rotate.make(&link).await, Meaning::Malformed, "no credential in it");
}

/// In virtual time: nothing is waited for.
#[tokio::test(start_paused = true)]
async fn a_connection_that_never_answers_is_given_up_and_a_poll_not_before_its_wait_is_over() {
    let link = scripted(Script::SayAndHang(String::new())).await;
    for call in CALLS {
        let start = tokio::time::Instant::now();
        assert_eq!(call.make(&link).await, Meaning::Unreachable, "{call:?}");
        let bound = if call == Call::Jobs { WAIT + POLL_MARGIN } else { CALL_TIMEOUT };
        assert!(start.elapsed() >= bound, "{call:?} was given up after {:?}", start.elapsed());
        assert!(start.elapsed() < bound + Duration::from_secs(1), "{call:?} took {:?}", start.elapsed());
    }
}
