//! What the store owes, asked of each backend through its public interface alone. The cases are the same; what only
//! one backend owes stands in `file` and `memory`.
//!
//! A new backend makes a `World` and is named at the end of this file.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, its helpers too"
)]

mod archive;
mod conflict;
mod delivery;
mod durability;
mod enqueue;
mod events;
mod file;
mod identity;
mod memory;
mod report;
mod report_digest;
mod retention;
mod revocation;
mod tenancy;
mod world;

/// Runs every case in worlds of one backend. A case that is not listed here does not compile.
macro_rules! conformance {
    ($world:path) => {
        conformance! { @ $world;
            enqueue {
                an_enqueued_job_reads_back_as_it_was_answered,
                every_enqueue_without_a_key_gets_one_of_its_own,
                the_agent_gets_the_payload_and_every_member,
                an_explicit_key_stands_for_one_payload_of_one_cluster,
                a_newer_apply_takes_the_place_of_those_never_handed_out,
                applies_and_ensure_intents_of_one_object_supersede,
                no_job_supersedes_across_a_queued_delete,
                a_cancelled_delete_keeps_no_job_from_superseding,
                operation_requests_are_never_superseded,
                jobs_are_listed_newest_first_by_state_and_page,
                a_keyed_enqueue_that_is_repeated_after_its_time_answers_the_job_that_stands,
                an_object_of_another_api_group_is_another_object_and_superseded_by_none,
                the_key_that_a_job_was_given_stands_for_that_job_alone,
            }
            delivery {
                an_unacked_job_is_offered_again_when_its_lease_ends,
                an_idle_poll_gets_nothing_and_knows_no_due_time,
                an_acked_job_is_offered_again_to_a_new_session_once,
                a_new_session_that_acks_by_itself_is_not_offered_the_job,
                an_acked_job_is_offered_again_after_ten_silent_minutes,
                a_started_server_offers_once_more_what_was_acked,
                a_later_job_for_the_object_never_overtakes_one_that_may_be_lost,
                ten_unacked_deliveries_park_the_job_and_an_ack_sets_the_count_back,
                a_job_whose_time_passed_is_not_handed_out,
                a_poll_is_bounded_by_number_and_by_size,
                concurrent_polls_never_get_the_same_job,
                a_clock_that_was_ahead_for_a_moment_holds_up_no_new_job,
                what_the_last_agent_acked_is_offered_to_the_one_that_registers_next,
                what_was_acked_before_a_crash_is_offered_to_the_next_session_though_the_clock_went_back,
                a_poll_that_found_only_jobs_that_are_over_looks_again_at_once,
                what_a_session_acks_after_the_next_one_called_is_offered_to_that_one,
                an_ack_that_waited_for_longer_than_the_next_sessions_poll_is_offered_to_that_one,
                an_ack_whose_session_went_away_during_the_write_is_offered_to_the_next_one,
                what_a_session_tells_of_a_job_after_the_next_one_called_keeps_it_from_nobody,
                a_job_whose_progress_was_told_has_started_and_does_not_expire,
            }
            conflict {
                conflict_is_known_after_a_restart_whoever_calls_first,
                acked_job_of_the_later_session_is_redelivered_at_the_end,
                kept_session_is_known_after_a_crash,
                whoever_holds_the_only_good_credential_is_served,
                cluster_without_access_is_in_no_conflict,
                unknown_results_are_bounded_and_the_oldest_goes,
            }
            report {
                the_timeline_tells_the_whole_life,
                a_second_result_changes_nothing_and_is_told_so,
                a_repeated_ack_is_good_and_leaves_no_trace,
                a_result_without_an_ack_counts,
                a_cancelled_job_is_not_handed_out_and_takes_no_result,
                progress_without_end_keeps_a_bounded_timeline,
                a_page_of_jobs_is_bounded_by_size,
            }
            events {
                a_replayed_batch_adds_nothing_and_a_flap_is_not_a_replay,
                a_report_that_arrives_late_is_kept_and_is_no_news,
                the_same_key_of_another_cluster_is_another_event,
                current_conditions_follow_the_reports,
                resources_are_ordered_filtered_and_paged,
                events_are_listed_newest_first_by_kind,
                every_rotation_is_kept_as_an_event_and_changes_no_condition,
                change_of_content_is_kept_and_is_no_condition,
                a_heartbeat_is_shown_on_the_cluster_and_is_no_event,
                a_condition_that_was_removed_does_not_come_back_with_a_late_report,
                however_long_names_are_the_next_page_is_found,
                what_a_cluster_tells_while_it_leaves_does_not_bring_its_object_back,
                a_page_is_bounded_by_size_and_no_object_has_conditions_without_end,
                conditions_that_are_gone_take_no_room_from_one_that_comes,
                the_types_of_conditions_count_for_the_size_of_a_page,
                what_the_last_agent_told_of_its_cluster_is_over_with_the_next_registration,
            }
            report_digest {
                report_digest_is_that_of_what_is_shown_after_each_report,
                report_digest_is_the_same_after_reopen_and_crash,
                report_digest_forgets_the_cluster_object_that_left,
            }
            identity {
                the_first_admin_token_is_made_exactly_once,
                bearers_nobody_issued_and_registration_tokens_prove_nothing,
                a_tokens_neighbour_with_the_same_lookup_part_is_refused,
                the_same_registration_answers_again_with_a_fresh_credential,
                an_unused_token_ends_and_one_without_registration_id_is_single_use,
                of_32_concurrent_first_connects_one_gets_the_identity,
                of_32_concurrent_repeats_all_get_one_identity_and_one_credential_lives,
                rotation_overlaps_until_the_new_credential_is_used,
                a_repeated_rotation_takes_the_place_of_the_unused_new_credential,
                a_new_credential_that_is_not_used_within_a_day_is_dropped_and_the_old_one_stays,
                a_new_credential_that_was_refused_never_works_again_wherever_the_clock_is,
                a_credential_of_a_repeated_registration_is_not_dropped_and_outlives_an_unused_rotation,
                a_rotation_that_comes_after_the_end_of_its_credential_gives_none,
                a_new_registration_token_moves_the_identity,
                a_registration_token_lives_as_long_as_was_asked,
                a_decommission_that_comes_late_does_not_end_who_registered_since,
                the_token_of_an_earlier_registration_does_not_bring_the_identity_back,
            }
            retention {
                the_newest_job_stays_so_that_its_number_is_not_given_again,
                one_batch_is_bounded_and_a_pass_goes_on_past_what_stays,
                an_idempotency_key_is_remembered_as_long_as_its_job,
                events_are_kept_for_thirty_days_and_what_objects_are_like_for_as_long_as_they_are_there,
                what_is_dated_in_the_future_keeps_nothing_behind_it_from_being_deleted,
                tokens_are_deleted_thirty_days_after_their_life,
                a_credential_that_was_dropped_unused_is_deleted_thirty_days_later,
            }
            revocation {
                revoked_api_token_is_refused_at_once_and_no_other,
                last_api_token_of_an_organization_goes_only_by_force,
                last_administrators_token_goes_only_by_force,
                api_tokens_are_listed_and_revoked_by_their_owner_alone,
                wait_for_a_revocation_ends_with_the_token,
                revoked_cluster_is_refused_whatever_it_holds,
                revoked_cluster_comes_back_with_its_jobs,
                rotation_that_waits_behind_a_revocation_gives_none,
                open_registration_tokens_are_listed_and_revoked,
                api_tokens_are_bounded,
            }
            archive {
                archived_cluster_ends_its_access_and_frees_its_name,
                archiving_cancels_open_jobs_and_leaves_ended_ones,
                archived_organization_ends_with_all_that_is_its_own,
                nothing_new_is_made_in_what_is_archived,
                many_jobs_are_cancelled_in_batches_across_a_crash,
                archived_cluster_makes_room_within_the_bound,
            }
            tenancy {
                another_tenants_objects_are_as_absent_as_none,
                an_agent_serves_its_own_cluster_and_sees_nothing_else,
                people_do_not_do_the_agents_side,
                lists_hold_what_the_caller_may_see,
                only_the_admin_makes_tenants_and_names_are_unique,
                pages_follow_one_another_without_gap_or_repeat,
                cursor_leads_on_in_its_own_list_alone,
            }
            durability {
                what_was_answered_is_there_after_the_store_is_opened_again,
                what_was_answered_survives_a_crash,
                an_abandoned_write_happens_whole_all_the_same,
                a_refused_write_leaves_nothing_behind,
                concurrent_enqueues_are_all_there_in_one_order,
                a_crash_loses_what_was_noted_of_agents_since_the_last_flush_and_nothing_else,
            }
        }
    };
    (@ $world:path; $($area:ident { $($case:ident,)+ })+) => {$(
        mod $area {$(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                $crate::$area::$case($world().await).await;
            }
        )+}
    )+};
}

mod on_file {
    conformance!(crate::world::World::on_file);
}

mod in_memory {
    conformance!(crate::world::World::in_memory);
}
