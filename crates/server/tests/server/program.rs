//! The real binary.

use crate::support::{Client, PATIENCE, scrape};
use serde_json::{Value, json};
use std::{
    fs::File,
    io::{BufRead, BufReader},
    os::unix::fs::FileExt as _,
    path::Path,
    process::{Child, Command, Stdio},
};

/// A started program; killed when dropped, so that a failing test leaves nothing behind.
struct Program {
    child: Child,
    lines: Vec<String>,
    url: String,
    metrics: String,
    /// What it logs.
    log: File,
}

impl Program {
    fn start(data: &Path) -> Self {
        let log = tempfile::tempfile().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_vworkspace-server"))
            .args(["serve", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--data-dir"])
            .arg(data)
            .stdout(Stdio::piped())
            .stderr(log.try_clone().unwrap())
            .spawn()
            .unwrap();
        let mut program = Self { child, lines: Vec::new(), url: String::new(), metrics: String::new(), log };
        for line in BufReader::new(program.child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            program.lines.push(line.clone());
            if let Some(url) = line.strip_prefix("metrics: ") {
                program.metrics = url.to_owned();
            }
            if let Some(url) = line.strip_prefix("listening: ") {
                program.url = url.to_owned();
                return program;
            }
        }
        panic!("ended without listening; stdout: {:?}", program.lines);
    }

    fn terminate(&mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    /// The whole lines it has logged. Reads by position: the program shares the file's offset.
    fn logged(&self) -> Vec<Value> {
        let mut text = vec![0; usize::try_from(self.log.metadata().unwrap().len()).unwrap()];
        self.log.read_exact_at(&mut text, 0).unwrap();
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        text[..whole].lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
    }

    async fn exit_code(&mut self) -> Option<i32> {
        crate::support::eventually(async || self.child.try_wait().unwrap()).await.code()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn the_admin_token_is_shown_once_and_never_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = Program::start(folder.path());
    assert_eq!(first.lines.len(), 3, "{:?}", first.lines);
    let token = first.lines[0].strip_prefix("admin token (shown once): ").unwrap().to_owned();
    assert!(token.starts_with("vwksp-adm-"));
    Client::plain(&first.url, Some(&token)).get("/api/v1/whoami").await.expect(200);
    first.terminate();
    assert_eq!(first.exit_code().await, Some(0));

    let second = Program::start(folder.path());
    let expected = [format!("metrics: {}", second.metrics), format!("listening: {}", second.url)];
    assert_eq!(second.lines, expected);
    let whoami = Client::plain(&second.url, Some(&token)).get("/api/v1/whoami").await.expect(200);
    assert_eq!(whoami["role"], "admin");
}

#[tokio::test]
async fn sigterm_answers_an_open_poll_and_exits_with_zero() {
    let folder = tempfile::tempdir().unwrap();
    let mut program = Program::start(folder.path());
    let token = program.lines[0].strip_prefix("admin token (shown once): ").unwrap();
    let admin = Client::plain(&program.url, Some(token));
    let organization = admin.post("/api/v1/organizations", json!({ "name": "one" })).await.expect(201);
    let body = json!({ "name": "one", "organizationId": organization["id"] });
    let cluster = admin.post("/api/v1/clusters", body).await.expect(201)["id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/clusters/{cluster}/registration-tokens");
    let reg = admin.post(&path, json!({})).await.expect(201);
    let identity = Client::plain(&program.url, reg["token"].as_str())
        .post("/api/agent/register", json!({}))
        .await
        .expect(200);
    let agent = Client::plain(&program.url, identity["token"].as_str());

    let path = format!("/api/agent/jobs?cluster={cluster}&wait=300");
    let mut poll = Box::pin(agent.get(&path));
    let open = crate::support::eventually(async || {
        let metrics = scrape(&program.metrics).await;
        metrics.lines().any(|line| line == "vworkspace_server_long_polls_open 1").then_some(())
    });
    tokio::select! {
        answer = &mut poll => panic!("nothing to answer yet: {answer:?}"),
        () = open => {}
    }
    program.terminate();
    let answer = tokio::time::timeout(PATIENCE, poll).await.unwrap();
    assert_eq!(answer.expect(200), json!({ "jobs": [] }));
    assert_eq!(program.exit_code().await, Some(0));
}

#[tokio::test]
async fn the_request_id_of_an_answer_finds_its_log_line() {
    let folder = tempfile::tempdir().unwrap();
    let mut program = Program::start(folder.path());
    let answer = Client::plain(&program.url, Some("vwksp-agt-nobody")).get("/api/v1/clusters").await;
    let answer = answer.refused(401, "unauthenticated");
    program.terminate();
    assert_eq!(program.exit_code().await, Some(0));
    let lines = program.logged();
    let named = lines.iter().filter(|line| line["span"]["request_id"] == answer.json()["requestId"]);
    let told: Vec<_> = named.map(|line| (&line["status"], &line["code"], &line["span"]["route"])).collect();
    assert_eq!(told, [(&json!(401), &json!("unauthenticated"), &json!("/api/v1/clusters"))], "{lines:?}");
}

#[tokio::test]
async fn database_held_by_another_process_is_degraded() {
    let folder = tempfile::tempdir().unwrap();
    let mut program = Program::start(folder.path());
    let token = program.lines[0].strip_prefix("admin token (shown once): ").unwrap();
    let admin = Client::plain(&program.url, Some(token));
    let other = rusqlite::Connection::open(folder.path().join("vworkspace.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    for name in ["one", "two"] {
        admin.post("/api/v1/organizations", json!({ "name": name })).await.refused(503, "unavailable");
    }
    let ready = admin.get("/readyz").await;
    let lines = "running: ok\ndatabase-read: ok\n\
                 database-write: degraded: another process holds the database\n";
    assert_eq!((ready.status.as_u16(), ready.text.as_str()), (200, lines));
    admin.get("/api/v1/whoami").await.expect(200);
    let metrics = scrape(&program.metrics).await;
    assert!(metrics.contains("vworkspace_server_database_degraded 1\n"), "{metrics}");
    let what = "database writes fail; requests that need them are answered 503";
    let told = |lines: &[Value]| lines.iter().filter(|line| line["message"] == what).count();
    crate::support::eventually(async || (told(&program.logged()) > 0).then_some(())).await;

    other.execute_batch("ROLLBACK").unwrap();
    admin.post("/api/v1/organizations", json!({ "name": "three" })).await.expect(201);
    program.terminate();
    assert_eq!(program.exit_code().await, Some(0));
    let warnings: Vec<_> = program
        .logged()
        .into_iter()
        .filter(|line| line["level"] == "WARN" || line["level"] == "ERROR")
        .collect();
    assert_eq!((warnings.len(), told(&warnings)), (1, 1), "{warnings:?}");
}

#[tokio::test]
async fn archived_jobs_left_open_add_no_warning_while_writes_fail() {
    let folder = tempfile::tempdir().unwrap();
    let mut program = Program::start(folder.path());
    let token = program.lines[0].strip_prefix("admin token (shown once): ").unwrap();
    let admin = Client::plain(&program.url, Some(token));
    let organization = admin.post("/api/v1/organizations", json!({ "name": "one" })).await.expect(201);
    let body = json!({ "name": "c", "organizationId": organization["id"] });
    admin.post("/api/v1/clusters", body).await.expect(201);
    // As after a crash between archiving and the last batch. The background task may be faster than the lock: once more.
    let other = rusqlite::Connection::open(folder.path().join("vworkspace.db")).unwrap();
    let is_left =
        || other.query_row("SELECT count(*) FROM archival", [], |row| row.get::<_, i64>(0)) == Ok(1);
    loop {
        other
            .execute_batch("INSERT INTO archival SELECT row, 'admin', 'a' FROM cluster; BEGIN IMMEDIATE")
            .unwrap();
        if is_left() {
            break;
        }
        other.execute_batch("ROLLBACK").unwrap();
    }
    let what = "database writes fail; requests that need them are answered 503";
    let warnings = |lines: Vec<Value>| -> Vec<Value> {
        lines.into_iter().filter(|line| line["level"] == "WARN" || line["level"] == "ERROR").collect()
    };
    crate::support::eventually(async || (!warnings(program.logged()).is_empty()).then_some(())).await;
    admin.post("/api/v1/organizations", json!({ "name": "two" })).await.refused(503, "unavailable");

    other.execute_batch("ROLLBACK").unwrap();
    crate::support::eventually(async || {
        (other.query_row("SELECT count(*) FROM archival", [], |row| row.get::<_, i64>(0)) == Ok(0))
            .then_some(())
    })
    .await;
    program.terminate();
    assert_eq!(program.exit_code().await, Some(0));
    let told = warnings(program.logged());
    assert!(told.len() == 1 && told[0]["message"] == what, "{told:?}");
}

#[test]
fn a_wrong_flag_or_address_is_told_in_one_line() {
    let run = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_vworkspace-server")).args(args).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(run(&["serve", "--data-dri", "x"]).contains("--data-dir"));
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    assert!(run(&["serve", "--data-dir", data, "--listen", "0.0.0.0:0"]).contains("--allow-insecure-http"));
}

#[test]
fn made_certificate_serves_and_a_swapped_pair_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("tls");
    let program = || Command::new(env!("CARGO_BIN_EXE_vworkspace-server"));
    let made = program().args(["certificate", "--name", "127.0.0.1", "--out"]).arg(&out).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let data = folder.path().join("data");
    let serve = |cert: &str, key: &str| {
        let mut command = program();
        command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(&data);
        command.arg("--tls-cert").arg(out.join(cert)).arg("--tls-key").arg(out.join(key));
        command
    };
    let swapped = serve("tls.key", "tls.crt").output().unwrap();
    let told = String::from_utf8(swapped.stderr).unwrap();
    assert!(!swapped.status.success() && told.contains("are the two files swapped?"), "{told}");
    let mut served =
        serve("tls.crt", "tls.key").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(served.stdout.take().unwrap()).lines();
    let url = lines.find_map(|line| line.unwrap().strip_prefix("listening: ").map(str::to_owned)).unwrap();
    let root = reqwest::Certificate::from_pem(&std::fs::read(out.join("ca.crt")).unwrap()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let status = runtime.block_on(async {
        let client = reqwest::Client::builder().tls_certs_only([root]).no_proxy().build().unwrap();
        client.get(format!("{url}/livez")).send().await.map(|answer| answer.status())
    });
    served.kill().unwrap();
    served.wait().unwrap();
    assert_eq!(status.unwrap(), 200);
}
