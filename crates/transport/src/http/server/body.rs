use super::Refused;
use crate::Refusal;
use axum::body::{Body, HttpBody as _};
use bytes::Bytes;
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use std::time::Duration;
use vworkspace_protocol::{limits::REQUEST_BODY_BYTES, problem::code};

/// How long a request body may take to arrive.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// How much of an oversized body is read and thrown away, so that the connection can be used again. After a larger one
/// the server closes the connection; how it does so that the sender reads the 413 is the server's concern.
const DISCARDED_BYTES: usize = 8 * 1024 * 1024;

/// Reads a request body of at most [`REQUEST_BODY_BYTES`] within [`BODY_TIMEOUT`].
///
/// # Errors
/// 413 when it is larger, 408 when it is slower, 400 when the connection breaks.
pub async fn read_body(body: Body) -> Result<Bytes, Refused> {
    read_within(body, BODY_TIMEOUT).await
}

/// Reads a request body as JSON; unknown members are the type's affair.
///
/// # Errors
/// Those of [`read_body`], and 400 `malformed_body` that says what is wrong and where.
pub async fn read_json<T: DeserializeOwned>(body: Body) -> Result<T, Refused> {
    parse(&read_body(body).await?)
}

pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refused> {
    serde_json::from_slice(bytes)
        .map_err(|error| refused(400, code::MALFORMED_BODY, format!("the body cannot be read: {error}")))
}

async fn read_within(body: Body, time: Duration) -> Result<Bytes, Refused> {
    tokio::time::timeout(time, collect(body)).await.unwrap_or_else(|_| {
        let message = format!("the body did not arrive within {} seconds", time.as_secs());
        Err(refused(408, code::INVALID_REQUEST, message))
    })
}

async fn collect(mut body: Body) -> Result<Bytes, Refused> {
    // The announced length: without a read a client that expects `100 Continue` sends nothing at all.
    if body.size_hint().lower() > (REQUEST_BODY_BYTES + DISCARDED_BYTES) as u64 {
        return Err(too_large());
    }
    let mut kept = Vec::new();
    let mut seen = 0_usize;
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|_| refused(400, code::MALFORMED_BODY, "the body broke off before its end"))?;
        let Ok(data) = frame.into_data() else { continue };
        seen = seen.saturating_add(data.len());
        if seen <= REQUEST_BODY_BYTES {
            kept.extend_from_slice(&data);
        } else if seen > REQUEST_BODY_BYTES + DISCARDED_BYTES {
            break;
        }
    }
    if seen > REQUEST_BODY_BYTES {
        return Err(too_large());
    }
    Ok(kept.into())
}

fn too_large() -> Refused {
    refused(413, code::PAYLOAD_TOO_LARGE, format!("the body is over {REQUEST_BODY_BYTES} bytes"))
}

fn refused(status: u16, code: &'static str, message: impl Into<String>) -> Refused {
    Refused(Refusal::new(status, code, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_at_the_bound_is_read_and_one_over_it_refused() {
        assert_eq!(read_body(vec![0; REQUEST_BODY_BYTES].into()).await.unwrap().len(), REQUEST_BODY_BYTES);
        let Refused(refusal) = read_body(vec![0; REQUEST_BODY_BYTES + 1].into()).await.unwrap_err();
        assert_eq!((refusal.status, refusal.code), (413, code::PAYLOAD_TOO_LARGE));
    }

    #[tokio::test]
    async fn a_body_that_never_ends_is_given_up() {
        let endless = Body::from_stream(futures::stream::pending::<Result<Bytes, axum::Error>>());
        let Refused(refusal) = read_within(endless, Duration::from_millis(1)).await.unwrap_err();
        assert_eq!(refusal.status, 408);
    }
}
