//! What the port refuses arrives as data, and nothing is tried again.

use crate::{
    adapter::{Adapter, BEARER, connected, connected_as},
    port::{Told, Verb},
    sample,
};
use std::time::Duration;
use vworkspace_protocol::{
    Secret,
    credential::{RegisterResponse, RotateResponse},
    problem::code,
};
use vworkspace_transport::{AgentLink as _, LinkError, Refusal};

/// Every code of the protocol with a status it comes with.
const REFUSALS: [(u16, &str); 16] = [
    (400, code::MALFORMED_BODY),
    (400, code::INVALID_REQUEST),
    (401, code::UNAUTHENTICATED),
    (401, code::TOKEN_CONSUMED),
    (401, code::TOKEN_EXPIRED),
    (403, code::WRONG_CLUSTER),
    (403, code::FORBIDDEN),
    (404, code::NOT_FOUND),
    (405, code::METHOD_NOT_ALLOWED),
    (409, code::RESULT_RECORDED),
    (409, code::JOB_CLOSED),
    (409, code::ALREADY_EXISTS),
    (413, code::PAYLOAD_TOO_LARGE),
    (429, code::RATE_LIMITED),
    (500, code::INTERNAL),
    (503, code::UNAVAILABLE),
];

pub async fn every_refusal_of_every_call_arrives_as_the_same_data<A: Adapter>() {
    let (link, mut calls) = connected::<A>().await;
    for verb in Verb::ALL {
        for (status, code) in REFUSALS {
            let refusal = Refusal::new(status, code, sample::TEXT);
            let (answer, _) = calls.answer(Err(refusal), sample::ask(&link, verb)).await;
            let error = answer.unwrap_err();
            let LinkError::Refused { status: read, problem, retry_after } = error else {
                panic!("{verb:?} {status}: {error}")
            };
            let read = (read, problem.error.as_str(), problem.message.as_str(), retry_after);
            assert_eq!(read, (status, code, sample::TEXT, None), "{verb:?}");
        }
    }
}

pub async fn when_to_come_back_is_never_told_too_early<A: Adapter>() {
    let (link, mut calls) = connected::<A>().await;
    for millis in [1, 999, 1_000, 7_000, 7_500, 3_600_000] {
        let told = Duration::from_millis(millis);
        let busy = Refusal { retry_after: Some(told), ..Refusal::new(429, code::RATE_LIMITED, "later") };
        let (answer, _) = calls.answer(Err(busy), link.rotate()).await;
        let Err(LinkError::Refused { retry_after: Some(read), .. }) = answer else { panic!("{millis} ms") };
        assert!(read >= told && read < told + Duration::from_secs(1), "{read:?} of {told:?}");
    }
}

pub async fn a_refused_call_is_not_made_again<A: Adapter>() {
    let (link, mut calls) = connected::<A>().await;
    for verb in Verb::ALL {
        for status in [429, 500, 503] {
            let refusal = Refusal::new(status, code::UNAVAILABLE, "not now");
            let (answer, _) = calls.answer(Err(refusal), sample::ask(&link, verb)).await;
            assert!(answer.is_err());
            assert!(calls.is_empty(), "{verb:?} was tried again after {status}");
        }
    }
}

pub async fn a_call_without_a_credential_is_refused<A: Adapter>() {
    let (link, mut calls) = connected_as::<A>(None).await;
    for verb in Verb::ALL.into_iter().filter(|verb| *verb != Verb::Register) {
        let error = sample::ask(&link, verb).await.unwrap_err();
        let LinkError::Refused { status, problem, .. } = error else { panic!("{verb:?}: {error}") };
        assert_eq!((status, problem.error.as_str()), (401, code::UNAUTHENTICATED), "{verb:?}");
    }
    // A registration brings its own.
    let asking = sample::ask(&link, Verb::Register);
    calls.answer(Ok(sample::told(Verb::Register)), asking).await.0.unwrap();
}

pub async fn an_answer_without_a_credential_is_malformed<A: Adapter>() {
    let (link, mut calls) = connected::<A>().await;
    let none = || Secret::new(" ");
    let broken = [
        (Verb::Register, Told::Registered(RegisterResponse { token: none(), ..sample::registered() })),
        (
            Verb::Register,
            Told::Registered(RegisterResponse { cluster_id: " ".to_owned().into(), ..sample::registered() }),
        ),
        (Verb::Rotate, Told::Rotated(RotateResponse { token: none(), ..sample::rotated() })),
    ];
    for (verb, answer) in broken {
        let (answer, _) = calls.answer(Ok(answer), sample::ask(&link, verb)).await;
        assert!(matches!(answer, Err(LinkError::Malformed { .. })), "{verb:?}");
    }
}

pub async fn no_error_tells_the_bearer<A: Adapter>() {
    let (link, mut calls) = connected::<A>().await;
    for verb in Verb::ALL {
        let refusal = Refusal::new(401, code::UNAUTHENTICATED, "unknown");
        let error = calls.answer(Err(refusal), sample::ask(&link, verb)).await.0.unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains(BEARER) && !shown.contains(sample::TOKEN), "{shown}");
    }
}
