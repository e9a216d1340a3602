//! Echoes the agent's session id on every answer of the agent API.
//!
//! An agent reads from the echo that its own control plane answered, and not something in between (contract, section
//! 4, "whose word is it"). So the echo is on refusals, on empty answers and on paths without a route as well, and no
//! answer may be stored by a cache, which would give it again in the control plane's place.

use axum::{
    extract::Request,
    http::{HeaderName, HeaderValue, Response, header::CACHE_CONTROL},
};
use vworkspace_protocol::headers::SESSION;

/// Longest session id that is echoed, in bytes.
const ECHO_BYTES: usize = 256;

/// The session id of one request, kept until its answer leaves. A copy: the header's own bytes would keep the
/// connection's read buffer in memory for as long as a poll waits.
#[derive(Clone, Debug, Default)]
pub struct Echo {
    session: Option<Box<[u8]>>,
    is_agents: bool,
}

impl Echo {
    /// Reads the first session header of a request; one that is empty, too long or not visible ASCII is not echoed.
    pub(super) fn of(request: &Request) -> Self {
        let value = request.headers().get(SESSION).filter(|value| {
            let size = value.len();
            size > 0 && size <= ECHO_BYTES && value.to_str().is_ok()
        });
        Self { session: value.map(|value| value.as_bytes().into()), is_agents: true }
    }

    /// Writes the session id, as it was received, into the answer, and that it must not be stored.
    pub(super) fn write<B>(self, response: &mut Response<B>) {
        if self.is_agents {
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        let value = self.session.and_then(|bytes| HeaderValue::from_bytes(&bytes).ok());
        if let Some(value) = value {
            response.headers_mut().insert(HeaderName::from_static(SESSION), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn echoed(session: &[u8]) -> Option<Vec<u8>> {
        let request = Request::builder().header(SESSION, session).body(Body::empty()).unwrap();
        let mut response = Response::new(());
        Echo::of(&request).write(&mut response);
        response.headers().get(SESSION).map(|value| value.as_bytes().to_vec())
    }

    #[test]
    fn session_is_echoed_as_received_up_to_the_bound() {
        for session in [&b"11111111-2222-3333-4444-555555555555"[..], b"a, b", &[b'x'; ECHO_BYTES]] {
            assert_eq!(echoed(session).as_deref(), Some(session));
        }
    }

    #[test]
    fn session_that_is_no_visible_text_is_not_echoed() {
        for session in [&b""[..], &[b'x'; ECHO_BYTES + 1], "größe".as_bytes()] {
            assert_eq!(echoed(session), None, "{session:?}");
        }
    }

    #[test]
    fn request_without_a_session_gets_no_echo() {
        let mut response = Response::new(());
        Echo::of(&Request::new(Body::empty())).write(&mut response);
        assert!(response.headers().get(SESSION).is_none());
        assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
    }
}
