//! JSON log lines on stderr.

use tracing_subscriber::{EnvFilter, fmt, prelude::*};

/// Starts logging for the whole process; a second call changes nothing.
///
/// # Errors
/// A filter that cannot be read.
pub fn start(filter: &str) -> Result<(), tracing_subscriber::filter::ParseError> {
    let filter = EnvFilter::builder().parse(filter)?;
    let lines = fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_writer(std::io::stderr);
    if tracing_subscriber::registry().with(filter).with(lines).try_init().is_ok() {
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            tracing::error!(place, "a task panicked");
        }));
    }
    Ok(())
}

/// Notes on the current request's span who authenticated: `admin`, `organization`, `agent` or `registration`, and
/// the cluster of the latter two.
pub fn note_actor(kind: &'static str, cluster: Option<&str>) {
    // Both at once: the formatter writes the span's fields anew each time.
    tracing::record_all!(tracing::Span::current(), actor = kind, cluster_id = cluster);
}
