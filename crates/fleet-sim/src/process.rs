//! What the kernel counted for a process, read from `/proc`.

use anyhow::Context as _;
use std::{collections::BTreeMap, fs, path::Path, time::Duration};

/// The unit of CPU times in `/proc`: fixed by the kernel's interface to programs, whatever its own tick is.
const TICKS_PER_SECOND: u64 = 100;

/// Memory of a process that lies in RAM, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resident {
    /// All of it.
    pub all: u64,
    /// What the process made itself: heap and stacks.
    pub anonymous: u64,
    /// Pages of files, most of them the program's own; the kernel may drop them at any time.
    pub file: u64,
}

/// Resident memory.
pub fn resident(pid: u32) -> anyhow::Result<Resident> {
    parse_resident(&fs::read_to_string(format!("/proc/{pid}/status"))?).context("no VmRSS in /proc")
}

/// Bytes the process has caused to be written to storage so far.
pub fn written_bytes(pid: u32) -> anyhow::Result<u64> {
    field(&fs::read_to_string(format!("/proc/{pid}/io"))?, "write_bytes:").context("no write_bytes in /proc")
}

/// CPU time so far, of all threads, those that ended included.
pub fn cpu(pid: u32) -> anyhow::Result<Duration> {
    cpu_in(format!("/proc/{pid}/stat"))
}

/// CPU time so far of everything on the machine, what a hypervisor took away included.
pub fn machine_cpu() -> anyhow::Result<Duration> {
    parse_machine(&fs::read_to_string("/proc/stat")?).context("/proc/stat has an unknown form")
}

/// CPU time so far of the threads that live, added up by thread name.
pub fn cpu_by_thread(pid: u32) -> anyhow::Result<BTreeMap<String, Duration>> {
    let mut threads = BTreeMap::<String, Duration>::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?.path();
        // A thread may end between listing and reading.
        if let (Ok(name), Ok(cpu)) = (fs::read_to_string(task.join("comm")), cpu_in(task.join("stat"))) {
            *threads.entry(name.trim().to_owned()).or_default() += cpu;
        }
    }
    Ok(threads)
}

fn parse_resident(status: &str) -> Option<Resident> {
    let bytes = |name| Some(field(status, name)? * 1024);
    Some(Resident { all: bytes("VmRSS:")?, anonymous: bytes("RssAnon:")?, file: bytes("RssFile:")? })
}

fn cpu_in(path: impl AsRef<Path>) -> anyhow::Result<Duration> {
    parse_cpu(&fs::read_to_string(path)?).context("a stat file in /proc has an unknown form")
}

/// User plus system time: the 14th and 15th field. The second, a name in parentheses, may hold anything.
fn parse_cpu(stat: &str) -> Option<Duration> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut times = after_name.split_ascii_whitespace().skip(11);
    let (user, system): (u64, u64) = (times.next()?.parse().ok()?, times.next()?.parse().ok()?);
    Some(Duration::from_millis((user + system) * 1000 / TICKS_PER_SECOND))
}

/// The first line: user, nice, system, idle, waiting for disks, interrupts (two), stolen; then guests, who are in
/// the first two already.
fn parse_machine(stat: &str) -> Option<Duration> {
    let times = stat.lines().next()?.strip_prefix("cpu ")?.split_ascii_whitespace();
    let ticks: Vec<u64> = times.map_while(|ticks| ticks.parse().ok()).take(8).collect();
    let [user, nice, system, _idle, _waiting, interrupts, soft_interrupts, stolen] = ticks[..] else {
        return None;
    };
    let busy = user + nice + system + interrupts + soft_interrupts + stolen;
    Some(Duration::from_millis(busy * 1000 / TICKS_PER_SECOND))
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_past_a_name_with_spaces_and_parentheses() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 3 0 100 1 1";
        assert_eq!(parse_cpu(stat), Some(Duration::from_secs(3)));
        assert_eq!(parse_cpu("7 (a) S 1"), None);
    }

    #[test]
    fn the_machine_is_busy_with_all_but_idling_and_waiting() {
        let stat = "cpu  100 10 50 9999 9999 1 2 37 5 5\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        assert_eq!(parse_machine(stat), Some(Duration::from_secs(2)));
        assert_eq!(parse_machine("cpu  1 2 3\n"), None);
    }

    #[test]
    fn resident_memory_is_told_apart() {
        let status = "VmRSS:\t  30 kB\nRssAnon:\t  10 kB\nRssFile:\t  20 kB\nRssShmem:\t 0 kB\n";
        let expected = Resident { all: 30 * 1024, anonymous: 10 * 1024, file: 20 * 1024 };
        assert_eq!(parse_resident(status), Some(expected));
        assert_eq!(parse_resident("VmRSS:\t 1 kB\n"), None);
    }

    #[test]
    fn a_field_is_found_by_its_name() {
        assert_eq!(field("VmPeak:\t 9 kB\nVmRSS:\t  123 kB\n", "VmRSS:"), Some(123));
        assert_eq!(field("VmPeak:\t 9 kB\n", "VmRSS:"), None);
    }
}
