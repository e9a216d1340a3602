//! The end that a person or a script asks for.

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

/// Ends with Ctrl-C or SIGTERM. From the call on neither ends the process by itself, also where SIGINT was ignored
/// before, as a shell does for what it starts in the background.
///
/// # Errors
/// The signals cannot be listened for.
pub fn until_told_to_stop() -> anyhow::Result<impl Future<Output = ()>> {
    let mut ended = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupted = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?;
    Ok(async move {
        tokio::select! { _ = interrupted.recv() => (), _ = ended.recv() => () }
    })
}

/// Runs a whole program, and waits for nothing once it is done: a program that is being built is built on a thread that
/// cannot be told to stop, and ends with the process.
///
/// # Errors
/// Those of `work`, or there is no runtime to run it in.
pub fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    done
}
