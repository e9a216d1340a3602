//! One `vwctl job create --wait`, in a pipe or in a terminal.

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::json;
use std::{
    fs::{self, File, OpenOptions},
    io::{BufRead as _, BufReader, Read},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::JoinHandle,
    time::{Duration, Instant},
};
use vworkspace_protocol::{ClusterId, Secret};
use vworkspace_testbed::stack::programs;

/// Where its output goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// Two pipes, as JSON.
    Pipe,
    /// One terminal, as a table.
    Terminal,
}

/// A command that has not started.
pub struct Run {
    command: Command,
    place: Where,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub place: Where,
    pub code: i32,
    /// Empty where both went to a terminal.
    pub stdout: String,
    /// All that a terminal shows, without what only moves its cursor.
    pub stderr: String,
}

impl Run {
    /// A command that hands in job `number` at `url`, and waits for it.
    pub fn new(
        url: &str,
        ca: &Path,
        token: &Secret,
        cluster: &ClusterId,
        number: u64,
        place: Where,
        work: &Path,
    ) -> Self {
        let file = work.join(format!("job-{number}.json"));
        fs::write(&file, job(number).to_string()).unwrap();
        let mut command = Command::new(programs().unwrap().join("vwctl"));
        command.env_clear().env("VWCTL_TOKEN", token.expose()).env("HOME", work);
        command.args(["--server", url, "--ca"]).arg(ca);
        command.args(["job", "create", "--wait", "--cluster", cluster.as_str(), "--file"]).arg(&file);
        if place == Where::Pipe {
            command.args(["--output", "json"]);
        }
        command.stdin(Stdio::null());
        Self { command, place }
    }

    /// Runs it to its end; fails when that takes longer than `longest`.
    pub fn finish(mut self, longest: Duration) -> Ended {
        match self.place {
            Where::Pipe => {
                let mut child = self.command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
                let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
                let (stdout, stderr) = (read_all(stdout), read_all(stderr));
                let code = code(&mut child, longest);
                let (stdout, stderr) = (stdout.join().unwrap(), stderr.join().unwrap());
                Ended { place: self.place, code, stdout, stderr }
            }
            Where::Terminal => {
                let (terminal, user) = terminal();
                self.command.env("TERM", "xterm");
                self.command.stdout(user.try_clone().unwrap()).stderr(user.try_clone().unwrap());
                let mut child = self.command.spawn().unwrap();
                // The terminal ends for its reader with the last of its users.
                drop((self.command, user));
                let shown = read_all(terminal);
                let code = code(&mut child, longest);
                let stderr = plain(&shown.join().unwrap());
                Ended { place: self.place, code, stdout: String::new(), stderr }
            }
        }
    }

    /// The same in a process that ignores SIGHUP.
    pub fn ignoring_hang_ups(self) -> Self {
        self.started_by(&["sh", "-c", "trap '' HUP; exec \"$@\"", "sh"])
    }

    /// The same in a process that ignores no signal, whatever these tests are to ignore.
    pub fn ignoring_nothing(self) -> Self {
        self.started_by(&["env", "--default-signal=HUP,INT,TERM"])
    }

    fn started_by(self, starter: &[&str]) -> Self {
        let mut command = Command::new(starter[0]);
        command.env_clear().args(&starter[1..]).arg(self.command.get_program()).args(self.command.get_args());
        command.envs(self.command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.stdin(Stdio::null());
        Self { command, place: self.place }
    }

    /// Runs it until it tells `line`, and then sends it a signal.
    pub fn signalled_once(mut self, line: &str, signal: &str) -> Ended {
        let mut child = self.command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = read_all(child.stdout.take().unwrap());
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut told = String::new();
        while !told.contains(line) {
            assert_ne!(stderr.read_line(&mut told).unwrap(), 0, "it ended: {told}");
        }
        let id = child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{signal}"), &id]).status().unwrap().success());
        stderr.read_to_string(&mut told).unwrap();
        let code = code(&mut child, Duration::from_secs(60));
        Ended { place: self.place, code, stdout: stdout.join().unwrap(), stderr: told }
    }
}

/// The body of a job: kind and payload.
fn job(number: u64) -> serde_json::Value {
    json!({
        "kind": "apply",
        "payload": {
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "namespace": "demo", "name": format!("config-{number}") },
            "data": { "n": number.to_string() },
        },
    })
}

fn code(child: &mut Child, longest: Duration) -> i32 {
    let by = Instant::now() + longest;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().unwrap_or_else(|| panic!("ended by a signal: {status}"));
        }
        if Instant::now() > by {
            child.kill().unwrap();
            panic!("it did not end within {longest:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A terminal: what stands before it, and what programs write to.
fn terminal() -> (File, File) {
    let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&controller).unwrap();
    unlockpt(&controller).unwrap();
    let name = ptsname(&controller, Vec::new()).unwrap();
    let name = PathBuf::from(std::ffi::OsStr::from_bytes(name.as_bytes()));
    let user = OpenOptions::new().read(true).write(true).open(name).unwrap();
    (File::from(controller), user)
}

fn read_all(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // A terminal that nobody uses any more fails instead of ending.
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// What is left of a terminal's lines, without colours and moves of the cursor.
fn plain(shown: &str) -> String {
    let text = console::strip_ansi_codes(shown).replace("\r\n", "\n");
    // A spinner draws its line again and again.
    let lines = text.split('\n').map(|line| line.rsplit('\r').find(|part| !part.is_empty()).unwrap_or(""));
    lines.collect::<Vec<_>>().join("\n")
}
