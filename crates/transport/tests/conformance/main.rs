//! What every transport owes, asked of each through its public interface alone: the obligations stated at `AgentLink`
//! and `ControlPort`, one case each. The control plane is a script: each call is handed to the case, which answers it
//! when it likes.
//!
//! A new transport implements `Adapter` and is named at the end of this file.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, its helpers too"
)]

mod adapter;
mod bounds;
mod fidelity;
mod http;
mod memory;
mod port;
mod refusals;
mod sample;
mod waiting;

/// Runs every case with one adapter. A case that is not listed here does not compile.
macro_rules! conformance {
    ($adapter:ty) => {
        conformance! { @ $adapter;
            fidelity {
                every_call_tells_who_calls,
                every_member_arrives_unchanged,
                every_member_of_an_answer_comes_back_unchanged,
                any_job_id_and_any_cluster_arrive_as_they_are,
                a_job_id_that_cannot_be_told_is_not_found_and_reaches_nothing_else,
                events_answer_brings_the_report_digest_back,
                lists_keep_their_order,
                calls_arrive_in_the_order_they_were_answered_in,
                a_repeated_call_arrives_again,
            }
            refusals {
                every_refusal_of_every_call_arrives_as_the_same_data,
                when_to_come_back_is_never_told_too_early,
                a_refused_call_is_not_made_again,
                a_call_without_a_credential_is_refused,
                an_answer_without_a_credential_is_malformed,
                no_error_tells_the_bearer,
            }
            waiting {
                a_poll_is_held_until_the_port_answers,
                a_poll_without_jobs_is_an_empty_list,
                a_wait_is_never_longer_than_asked_for,
                calls_under_way_do_not_wait_for_one_another,
                a_dropped_call_ends_the_waiting_of_the_port,
                a_dropped_call_harms_no_later_one,
            }
            bounds {
                the_largest_legal_poll_passes,
                an_answer_over_the_bound_is_malformed,
                the_largest_legal_request_passes,
                a_request_over_the_bound_is_refused_and_does_not_reach_the_port,
                an_empty_batch_passes,
            }
        }
    };
    (@ $adapter:ty; $($area:ident { $($case:ident,)+ })+) => {$(
        mod $area {$(
            #[tokio::test]
            async fn $case() {
                $crate::within_a_minute($crate::$area::$case::<$adapter>()).await;
            }
        )+}
    )+};
}

/// A transport that never answers fails its case instead of holding up the others.
async fn within_a_minute(case: impl Future<Output = ()>) {
    let minute = std::time::Duration::from_secs(60);
    tokio::time::timeout(minute, case).await.expect("the case hangs");
}

mod of_memory {
    conformance!(crate::memory::Memory);
}

mod of_http {
    conformance!(crate::http::Http);
}
