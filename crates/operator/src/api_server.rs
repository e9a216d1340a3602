//! How long the Kubernetes API is waited for.

use kube::Config;
use std::time::Duration;

/// Longest silence of an API server while a call, or a watch, waits for it. It ends a watch of which there is nothing to
/// tell sooner than that, after 290 s.
pub const SILENCE: Duration = Duration::from_secs(295);

/// The configuration of a client whose calls fail after so long a silence, so that they are made again. A connection that
/// is dead on its other side tells nothing by itself, and the client would wait for ever, and whoever waits for it.
pub fn giving_up_after(mut config: Config, silence: Duration) -> Config {
    config.read_timeout = Some(silence);
    // Counted from each call, not from when its connection was used last.
    config.reset_reader_on_write = true;
    config
}
