//! Calls that take their time, side by side, and calls that nobody waits for any more.

use crate::{
    adapter::{Adapter, connected},
    port::{Told, Verb},
    sample,
};
use futures::{FutureExt as _, future::join_all};
use std::{pin::pin, time::Duration};
use vworkspace_protocol::limits::MAX_WAIT;
use vworkspace_transport::AgentLink as _;

pub async fn a_poll_is_held_until_the_port_answers<A: Adapter>() {
    let (link, mut calls) = connected::<A>().await;
    let cluster = sample::cluster();
    let mut poll = pin!(link.jobs(&cluster, Duration::from_secs(30)));
    let held = tokio::select! {
        held = calls.next() => held,
        answer = &mut poll => panic!("{} jobs out of nowhere", answer.unwrap().len()),
    };
    // A whole round trip later it is held still.
    calls.answer(Ok(Told::Done), sample::ask(&link, Verb::Ack)).await.0.unwrap();
    assert!(poll.as_mut().now_or_never().is_none());
    held.answer(Ok(Told::Jobs(vec![sample::job("j")])));
    assert_eq!(poll.await.unwrap()[0].id.as_str(), "j");
}

pub async fn a_poll_without_jobs_is_an_empty_list<A: Adapter>() {
    let (link, mut calls) = connected::<A>().await;
    let cluster = sample::cluster();
    for wait in [Duration::ZERO, Duration::from_secs(30)] {
        let (answer, _) = calls.answer(Ok(Told::Jobs(Vec::new())), link.jobs(&cluster, wait)).await;
        assert!(answer.unwrap().is_empty());
    }
}

pub async fn a_wait_is_never_longer_than_asked_for<A: Adapter>() {
    let (link, mut calls) = connected::<A>().await;
    let cluster = sample::cluster();
    for millis in [0, 1, 999, 1_000, 29_999, 30_000, 300_000, 300_001, 86_400_000] {
        let asked_for = Duration::from_millis(millis);
        let (_, asked) = calls.answer(Ok(Told::Jobs(Vec::new())), link.jobs(&cluster, asked_for)).await;
        let wait = Duration::from_millis(asked.what["waitMs"].as_u64().unwrap());
        let most = asked_for.min(MAX_WAIT);
        assert!(wait <= most && wait + Duration::from_secs(1) > most, "{wait:?} of {asked_for:?}");
    }
}

pub async fn calls_under_way_do_not_wait_for_one_another<A: Adapter>() {
    let (link, mut calls) = connected::<A>().await;
    // Each verb four times, all at the port before any of them is answered; then the last one first.
    let verbs = Verb::ALL.into_iter().cycle().take(Verb::ALL.len() * 4);
    let asking = join_all(verbs.clone().map(|verb| sample::ask(&link, verb)));
    let control = async {
        let mut held = Vec::new();
        for _ in verbs.clone() {
            held.push(calls.next().await);
        }
        while let Some(call) = held.pop() {
            let answer = sample::told(call.asked.verb);
            call.answer(Ok(answer));
        }
    };
    let (answers, ()) = tokio::join!(asking, control);
    assert!(answers.into_iter().all(|answer| answer.is_ok()));
}

pub async fn a_dropped_call_ends_the_waiting_of_the_port<A: Adapter>() {
    let (link, mut calls) = connected::<A>().await;
    for verb in Verb::ALL {
        let mut held = {
            let mut asking = pin!(sample::ask(&link, verb));
            tokio::select! {
                held = calls.next() => held,
                answer = &mut asking => panic!("{verb:?} was answered: {answer:?}"),
            }
        };
        held.abandoned().await;
    }
}

pub async fn a_dropped_call_harms_no_later_one<A: Adapter>() {
    let (link, mut calls) = connected::<A>().await;
    for verb in Verb::ALL {
        // Dropped before it began, or as soon as it began.
        assert!(sample::ask(&link, verb).now_or_never().is_none(), "{verb:?}");
        let answer = async {
            loop {
                let call = calls.next().await;
                let marked = call.asked.what["job"] == "after";
                let answer = sample::told(call.asked.verb);
                call.answer(Ok(answer));
                if marked {
                    break;
                }
            }
        };
        let after = vworkspace_protocol::JobId::new("after");
        let (told, ()) = tokio::join!(link.ack(&after), answer);
        told.unwrap();
    }
}
