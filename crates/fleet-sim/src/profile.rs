//! Where a busy server's time goes, by its own counters and the kernel's.

use crate::{report::Report, usage::Spent};
use std::time::Duration;

/// Adds the profile of a run to its report: what `count` pieces of work of this `name` cost each.
pub fn add_to(report: &mut Report, spent: &Spent, name: &str, count: f64) {
    let each = Each { name, count: count.max(1.0) };
    cpu(report, spent, each);
    writer(report, spent, each);
    routes(report, spent);
}

/// What figures are divided by.
#[derive(Clone, Copy)]
struct Each<'a> {
    name: &'a str,
    count: f64,
}

fn cpu(report: &mut Report, spent: &Spent, each: Each<'_>) {
    let micros = |cpu: Duration| cpu.as_secs_f64() * 1e6 / each.count;
    let work = each.name;
    for (name, cpu) in [("server CPU", spent.server_cpu), ("generator CPU", spent.generator_cpu)] {
        let (seconds, wall) = (cpu.as_secs_f64(), spent.wall.as_secs_f64());
        report.line(name, format_args!("{seconds:.2} s in {wall:.2} s, {:.1} µs each {work}", micros(cpu)));
    }
    for (thread, cpu) in &spent.server_threads {
        let name = format!("  in threads named {thread}");
        report.line(&name, format_args!("{:.2} s, {:.1} µs each", cpu.as_secs_f64(), micros(*cpu)));
    }
    report
        .line("CPU of others, stolen time included", format_args!("{:.2} s", spent.others_cpu.as_secs_f64()));
    let kib = spent.written as f64 / 1024.0;
    report.line(
        "written to storage",
        format_args!("{:.1} MiB, {:.2} KiB each {work}", kib / 1024.0, kib / each.count),
    );
}

fn writer(report: &mut Report, spent: &Spent, each: Each<'_>) {
    let grown = |name: &str| spent.counters.value(&format!("vworkspace_server_writer_{name}_total"));
    let (groups, calls) = (grown("groups"), grown("calls"));
    let wall = spent.wall.as_secs_f64();
    report.line(
        "writes",
        format_args!(
            "{:.2} each {}, {:.1} in a group, {:.0} groups /s",
            calls / each.count,
            each.name,
            calls / groups.max(1.0),
            groups / wall
        ),
    );
    for (name, seconds) in [("statements", grown("work_seconds")), ("commits", grown("commit_seconds"))] {
        let (share, group) = (seconds / wall * 100.0, seconds * 1000.0 / groups.max(1.0));
        report.line(
            &format!("  writer thread in {name}"),
            format_args!("{share:.0} % of the time, {group:.2} ms a group"),
        );
    }
}

fn routes(report: &mut Report, spent: &Spent) {
    let seconds = spent.counters.by_label("vworkspace_server_request_seconds_total", "route");
    for (route, answered) in spent.counters.by_label("vworkspace_server_requests_total", "route") {
        let mean = seconds.get(&route).copied().unwrap_or_default() * 1000.0 / answered;
        report.line(&format!("  {route}"), format_args!("{answered:.0} answered, {mean:.2} ms each"));
    }
}
