//! The text a benchmark prints.

use crate::{args::Setup, baseline::Baseline, latency::Summary, server::ServerProcess, usage::Spent};
use std::{
    fmt::{self, Write as _},
    process::Command,
    thread,
    time::Duration,
};

/// Width of the names on the left.
const NAMES: usize = 42;

/// Lines under a title.
pub struct Report(String);

impl Report {
    /// A report with nothing but its title.
    pub fn new(title: &str) -> Self {
        Self(format!("\n{title}\n"))
    }

    /// The whole text.
    pub fn text(self) -> String {
        self.0
    }

    /// A name and a value.
    pub fn line(&mut self, name: &str, value: fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "  {name:<NAMES$} {value}");
    }

    /// What was measured, and where.
    pub fn setup(&mut self, server: &ServerProcess, setup: &Setup) {
        let cores = thread::available_parallelism().map_or(0, usize::from);
        let scheme = server.url().split("://").next().unwrap_or_default();
        let file_system = file_system(server);
        self.line("agents", format_args!("{} for {} s over {scheme}", setup.agents, setup.seconds));
        self.line("machine", format_args!("{cores} cores, {file_system}, server and generator share them"));
    }

    /// The columns of the latencies that follow.
    pub fn latency_header(&mut self) {
        let [p50, p90, p99, max, samples] = ["p50", "p90", "p99", "max", "samples"];
        self.line("ms", format_args!("{p50:>8} {p90:>8} {p99:>8} {max:>8} {samples:>9}"));
    }

    /// One row of latencies.
    pub fn latency(&mut self, name: &str, summary: Summary) {
        let ms = |took: Duration| took.as_secs_f64() * 1000.0;
        let Summary { samples, p50, p90, p99, max } = summary;
        self.line(
            name,
            format_args!("{:>8.2} {:>8.2} {:>8.2} {:>8.2} {samples:>9}", ms(p50), ms(p90), ms(p99), ms(max)),
        );
    }

    /// What the disk allows.
    pub fn baseline(&mut self, baseline: &Baseline) {
        let (p50, p99) = (baseline.commit.p50.as_secs_f64() * 1e3, baseline.commit.p99.as_secs_f64() * 1e3);
        self.line(
            "baseline: raw SQLite commits of one row",
            format_args!("{:.0} /s, p50 {p50:.2} ms, p99 {p99:.2} ms", baseline.per_second),
        );
    }

    /// What was used up, in all and for each lifecycle, and where.
    pub fn spent(&mut self, spent: &Spent, lifecycles: usize) {
        let each = |total: f64| total / lifecycles.max(1) as f64;
        for (name, cpu) in [("server CPU", spent.server_cpu), ("generator CPU", spent.generator_cpu)] {
            let seconds = cpu.as_secs_f64();
            self.line(
                name,
                format_args!(
                    "{seconds:.2} s in {:.2} s, {:.0} µs each lifecycle",
                    spent.wall.as_secs_f64(),
                    each(seconds * 1e6)
                ),
            );
        }
        for (thread, cpu) in &spent.server_threads {
            self.line(&format!("  of the server: {thread}"), format_args!("{:.2} s", cpu.as_secs_f64()));
        }
        let kib = spent.written as f64 / 1024.0;
        self.line(
            "written to storage",
            format_args!("{:.1} MiB, {:.1} KiB each lifecycle", kib / 1024.0, each(kib)),
        );
        self.counters(spent, each);
    }

    fn counters(&mut self, spent: &Spent, each: impl Fn(f64) -> f64) {
        self.line(
            "growth of the server's counters",
            format_args!("{:>12} {:>15}", "in all", "each lifecycle"),
        );
        for (series, by) in &spent.counters {
            let name = series.trim_start_matches("vworkspace_server_");
            self.line(&format!("  {name}"), format_args!("{by:>12.2} {:>15.4}", each(*by)));
        }
    }
}

/// The kind of file system below the database; "unknown file system" where `stat` cannot tell.
fn file_system(server: &ServerProcess) -> String {
    let output = Command::new("stat").args(["-f", "-c", "%T"]).arg(server.folder()).output();
    let name = output.ok().and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    if name.trim().is_empty() { "unknown file system".to_owned() } else { name.trim().to_owned() }
}
