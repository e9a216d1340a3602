//! Logs: JSON lines on stderr, one event each.

use tracing_subscriber::EnvFilter;

/// Starts logging; `directives` as in `info` or `info,kube=debug`. Unreadable ones count as `info`.
pub fn init(directives: &str) {
    let filter = EnvFilter::try_new(directives).unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Told on stderr itself, where nobody may listen any more: that would end the task that logs.
        .log_internal_errors(false)
        .init();
}
