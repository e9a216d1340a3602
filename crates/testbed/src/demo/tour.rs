//! What the demo says while it works: one line when a step starts, one with its duration when it ends.

use std::{future::Future, time::Instant};

/// Counts the steps and the whole time.
pub struct Tour {
    start: Instant,
    step: u32,
}

impl Tour {
    /// Starts the clock.
    pub fn new() -> Self {
        Self { start: Instant::now(), step: 0 }
    }

    /// Does `work` between a start line and an end line.
    pub async fn step<T>(
        &mut self,
        what: &str,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        self.step += 1;
        say(&format!("[{}] {what} …", self.step));
        let start = Instant::now();
        let done = work.await;
        let verdict = if done.is_ok() { "ok" } else { "FAILED" };
        say(&format!("[{}] {what}: {verdict} in {:.1} s", self.step, start.elapsed().as_secs_f64()));
        done
    }

    /// Seconds since the tour began.
    pub fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }
}

/// One line for whoever watches.
#[allow(clippy::print_stdout, reason = "the demo talks on standard output")]
pub fn say(line: &str) {
    println!("{line}");
}

/// A detail of the step that runs.
pub fn detail(line: &str) {
    say(&format!("      {line}"));
}
