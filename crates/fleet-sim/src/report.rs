//! The text a benchmark prints.

use crate::{args::Setup, baseline::Baseline, latency::Summary, process::Resident, server::ServerProcess};
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

    /// Memory in RAM, and what it is.
    pub fn resident(&mut self, name: &str, Resident { all, anonymous, file }: Resident) {
        let mib = |bytes: u64| bytes as f64 / 1024.0 / 1024.0;
        let (all, anonymous, file) = (mib(all), mib(anonymous), mib(file));
        self.line(name, format_args!("{all:.1} MiB: {anonymous:.1} its own, {file:.1} of files"));
    }

    /// What each agent added.
    pub fn resident_per_agent(&mut self, before: Resident, after: Resident, agents: u32) {
        let kib = |before: u64, after: u64| after.saturating_sub(before) as f64 / f64::from(agents) / 1024.0;
        let (all, anonymous) = (kib(before.all, after.all), kib(before.anonymous, after.anonymous));
        self.line(
            "server memory per idle agent",
            format_args!("{all:.1} KiB resident, {anonymous:.1} KiB its own"),
        );
    }

    /// What the disk allowed before and after what was measured.
    pub fn baseline(&mut self, before: &Baseline, after: &Baseline) {
        for (when, baseline) in [("before", before), ("after", after)] {
            let ms = |took: Duration| took.as_secs_f64() * 1000.0;
            let (per_second, p50, p99) = (baseline.per_second, baseline.commit.p50, baseline.commit.p99);
            self.line(
                &format!("baseline, {when}: raw SQLite commits"),
                format_args!("{per_second:.0} /s, p50 {:.2} ms, p99 {:.2} ms", ms(p50), ms(p99)),
            );
        }
    }
}

/// The kind of file system below the database; "unknown file system" where `df` cannot tell.
fn file_system(server: &ServerProcess) -> String {
    let output = Command::new("df").arg("--output=fstype").arg(server.folder()).output();
    let text = output.ok().and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    // Below its heading.
    text.lines().nth(1).map_or_else(|| "unknown file system".to_owned(), |name| name.trim().to_owned())
}
