//! Bounds both sides agree on (contract, sections 2 and 3).

use std::time::Duration;

/// Largest job payload: a Secret, hence a journal entry, holds 1 MiB in all.
pub const JOB_PAYLOAD_BYTES: usize = 512 * 1024;
/// Longest idempotency key.
pub const IDEMPOTENCY_KEY_BYTES: usize = 512;
/// Most jobs one poll returns.
pub const JOBS_PER_POLL: usize = 50;
/// Most payload bytes one poll returns; a single job always fits.
pub const BYTES_PER_POLL: usize = 4 * 1024 * 1024;
/// Most events in one request.
pub const EVENTS_PER_BATCH: usize = 100;
/// Largest request body an agent or admin route reads.
pub const REQUEST_BODY_BYTES: usize = 2 * 1024 * 1024;
/// How long a poll waits when it does not say.
pub const DEFAULT_WAIT: Duration = Duration::from_secs(30);
/// Longest wait a poll may ask for; more is cut to this.
pub const MAX_WAIT: Duration = Duration::from_secs(300);
/// How long a job may wait for its goal when it does not say.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(1800);
/// Longest deadline that may be asked for.
pub const MAX_DEADLINE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Longest `error` or `message` text kept.
pub const MESSAGE_BYTES: usize = 16 * 1024;

/// Longest report digest in an answer; ours have 35 characters.
pub const REPORT_DIGEST_BYTES: usize = 128;

/// Cuts a text to `max` bytes at a character boundary.
pub fn clip(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}
