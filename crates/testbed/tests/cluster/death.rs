//! Nothing that the testbed started outlives it, however it ends.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Generous: the kernel kills at once.
const GONE_WITHIN: Duration = Duration::from_secs(30);

/// A process and when it started, so that a reused id is not taken for it.
type Started = (u32, String);

struct Run {
    command: Child,
    folder: PathBuf,
    children: Vec<Started>,
}

fn up() -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vworkspace-testbed"))
        .args(["up", "--json"])
        .env_remove("VWORKSPACE_TEST_KUBECONFIG")
        .env_remove("VWORKSPACE_TEST_CHARTS_URL")
        .env_remove("VWORKSPACE_TEST_REGISTRY")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(command.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let said: serde_json::Value = serde_json::from_str(&line).unwrap();
    let folder = Path::new(said["kubeconfig"].as_str().unwrap()).parent().unwrap().to_owned();
    let children = children(command.id());
    assert!(children.len() >= 6, "store, API server, controllers, scheduler, kwok, registry: {children:?}");
    Run { command, folder, children }
}

/// Children of all threads of `parent`.
fn children(parent: u32) -> Vec<Started> {
    let mut found = Vec::new();
    for task in fs::read_dir(format!("/proc/{parent}/task")).unwrap() {
        let listed = fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default();
        found.extend(listed.split_whitespace().map(|id| id.parse::<u32>().unwrap()));
    }
    found.into_iter().filter_map(|id| Some((id, started(id)?))).collect()
}

/// When process `id` was started, unless it is gone or only waits to be buried.
fn started(id: u32) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let mut fields = status.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    (state != "Z").then(|| fields.nth(18).unwrap_or_default().to_owned())
}

fn all_are_gone(children: &[Started]) {
    let start = Instant::now();
    let alive = |(id, then): &&Started| started(*id).as_ref() == Some(then);
    while let Some(survivor) = children.iter().find(alive) {
        assert!(start.elapsed() < GONE_WITHIN, "{survivor:?} outlives the testbed");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn end(run: &mut Run, signal: &str) {
    let status = Command::new("kill").args([signal, &run.command.id().to_string()]).status().unwrap();
    assert!(status.success());
    run.command.wait().unwrap();
}

#[test]
#[cfg(target_os = "linux")]
fn a_killed_testbed_leaves_no_program_behind_and_the_next_one_removes_its_folder() {
    let mut killed = up();
    end(&mut killed, "-KILL");
    all_are_gone(&killed.children);
    assert!(killed.folder.exists(), "nobody could remove it");

    let mut next = up();
    assert!(!killed.folder.exists(), "the next start removes it");
    end(&mut next, "-TERM");
    all_are_gone(&next.children);
    assert!(!next.folder.exists(), "a testbed told to end removes its folder");
}
