//! What a user sees of a deploy that fails: `docs/FAILING-DEPLOYS.md` is written by this test, and compared with it.
//!
//! `VWORKSPACE_UPDATE_DOCS=1` writes the document anew.

mod cases;

use crate::{
    support::{World, world},
    vwctl::{told, vwctl},
};
use cases::{CASES, Case, Namespace};
use futures::{StreamExt as _, stream};
use serde_json::Value;
use std::{fmt, fs, path::Path};
use vworkspace_protocol::{JobId, admin::Job};

/// Deploys at the same time.
const AT_ONCE: usize = 4;
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/FAILING-DEPLOYS.md");
const HEAD: &str = "# Deploys that fail

What a user sees of `vwctl app deploy NAME … --wait`, and when. A test runs every row against the real cluster and writes this
file: `VWORKSPACE_UPDATE_DOCS=1 cargo test -p vworkspace-testbed --test end_to_end failing_deploys`. Names that differ from run to run are
replaced. *When* is one of:

- **before it is sent**: `vwctl` refuses it, and nothing travelled;
- **by the control plane**: it refuses the job, and the cluster never hears of it;
- **when the cluster takes it**: the operator or the API server refuses it;
- **once it is known**: Flux or Helm has said so, and trying again would not help;
- **at the deadline**: it may still come right by itself, so it is waited for; the cause is told while it waits.

| what is wrong | what is told | when | exit code |
|---|---|---|---|
";

/// Where one case happens.
struct Place<'a> {
    world: &'a World,
    namespace: String,
    /// The test made the namespace.
    is_own: bool,
    files: &'a Path,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    BeforeItIsSent,
    ByTheControlPlane,
    AsItIsTaken,
    OnceItIsKnown,
    AtTheDeadline,
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BeforeItIsSent => "before it is sent",
            Self::ByTheControlPlane => "by the control plane",
            Self::AsItIsTaken => "when the cluster takes it",
            Self::OnceItIsKnown => "once it is known",
            Self::AtTheDeadline => "at the deadline",
        })
    }
}

struct Seen {
    told: String,
    when: When,
    code: i32,
}

#[tokio::test]
async fn what_a_user_sees_of_a_failing_deploy_is_what_the_document_says() {
    let world = &world().await;
    let files = tempfile::tempdir().unwrap();
    let seen = stream::iter(CASES).map(|case| run(world, case, files.path())).buffered(AT_ONCE);
    let seen: Vec<(&Case, Seen)> = seen.collect().await;
    let rows: String = seen.iter().map(|(case, seen)| row(case, seen)).collect();
    let document = format!("{HEAD}{rows}");
    if std::env::var_os("VWORKSPACE_UPDATE_DOCS").is_some() {
        fs::write(DOCUMENT, &document).unwrap();
    }
    for (case, seen) in &seen {
        assert_ne!(seen.code, 0, "{}: it does not fail", case.what);
        assert_eq!(seen.when == When::AtTheDeadline, case.may_come_right, "{}: {}", case.what, seen.told);
    }
    let written = fs::read_to_string(DOCUMENT).unwrap();
    // The words are those of the stand-in for Flux; when they come, and the exit code, must be the same with the real one.
    let is_real = std::env::var_os("VWORKSPACE_FLUX_BIN").is_some();
    let compared = |line: &str| if is_real { end_of_row(line) } else { line.to_owned() };
    for (seen, written) in document.lines().zip(written.lines()) {
        assert_eq!(compared(seen), compared(written));
    }
    assert_eq!(document.lines().count(), written.lines().count());
}

/// The columns of a row that no other program words.
fn end_of_row(row: &str) -> String {
    row.rsplit(" | ").take(2).collect::<Vec<_>>().join(" | ")
}

async fn run<'c>(world: &World, case: &'c Case, files: &Path) -> (&'c Case, Seen) {
    let namespace = match case.namespace {
        Namespace::Open => world.namespace().await,
        Namespace::Closed => world.testbed.namespace("closed").await,
        Namespace::Named(name) => name.to_owned(),
    };
    let is_own = !matches!(case.namespace, Namespace::Named(_));
    let place = Place { world, namespace, is_own, files };
    for object in (case.objects)(&place) {
        create(&place, &object).await;
    }
    (case, deploy(&place, case).await)
}

fn row(case: &Case, seen: &Seen) -> String {
    format!("| {} | {} | {} | {} |\n", case.what, cell(&seen.told), seen.when, seen.code)
}

async fn deploy(place: &Place<'_>, case: &Case) -> Seen {
    let common = [
        "--cluster",
        &place.world.stack.cluster_name,
        "--wait",
        "--timeout",
        "10s",
        "--deadline",
        case.deadline(),
    ];
    let common = common.map(str::to_owned);
    let own = (case.arguments)(place);
    // With a file there is no chart to give a time to.
    let common: Vec<String> = match own.iter().any(|argument| argument == "--file") {
        true => common.into_iter().filter(|argument| argument != "--timeout" && argument != "10s").collect(),
        false => common.into(),
    };
    let arguments: Vec<&str> =
        ["app", "deploy"].into_iter().chain(own.iter().chain(&common).map(String::as_str)).collect();
    let output = vwctl(place.world, &arguments).await;
    let text = told(&output);
    let code = output.status.code().unwrap();
    let error = text
        .lines()
        .find_map(|line| line.strip_prefix("error: "))
        .unwrap_or_else(|| panic!("{}: ended {code} without a last word: {text}", case.what));
    let job =
        text.lines().find_map(|line| line.strip_prefix("Following job ")?.split_once(';')).map(|(id, _)| id);
    let when = match job {
        None if code == 2 => When::BeforeItIsSent,
        None => When::ByTheControlPlane,
        Some(id) => {
            let job = place.world.client.job(&JobId::new(id)).await.unwrap();
            when_in_the_cluster(&job, error, &text)
        }
    };
    Seen { told: place.masked(error, job), when, code }
}

fn when_in_the_cluster(job: &Job, error: &str, text: &str) -> When {
    if let Some((_, cause)) = error.split_once("DeadlineExceeded: ") {
        // The reason is told before the last line, too.
        let cause = cause.split_once('/').map_or(cause, |(_, cause)| cause);
        let words: String = cause.chars().take_while(|c| *c != ':').collect();
        assert!(text.matches(&words).count() > 1, "the cause is told only at the end: {text}");
        return When::AtTheDeadline;
    }
    if job.applied_ref.is_none() { When::AsItIsTaken } else { When::OnceItIsKnown }
}

impl Place<'_> {
    /// The text without what differs from run to run.
    fn masked(&self, text: &str, job: Option<&str>) -> String {
        let testbed = self.world.testbed;
        let mut text = text.to_owned();
        // One that the test made has a name of its own.
        if self.is_own {
            text = text.replace(&self.namespace, "demo");
        }
        text = text.replace(testbed.charts_url(), "https://charts.example");
        text = text.replace(testbed.registry(), "registry.example");
        text = text.replace(&self.files.display().to_string(), "…");
        if let Some(job) = job {
            text = text.replace(job, "JOB");
        }
        // How often it was tried until we looked.
        let text = text.replace("the same failure 3 times", "the same failure 2 times");
        without_ids(&text)
    }
}

/// Long hexadecimal words and request ids are replaced.
fn without_ids(text: &str) -> String {
    let is_id = |word: &str| {
        word.len() >= 8
            && word.chars().all(|c| c.is_ascii_hexdigit() || c == '-')
            && word.contains(|c: char| c.is_ascii_digit())
    };
    let boundary = |c: char| !(c.is_ascii_alphanumeric() || c == '-');
    text.split_inclusive(boundary)
        .map(|piece| {
            let word = piece.trim_end_matches(boundary);
            if is_id(word) { piece.replacen(word, "ID", 1) } else { piece.to_owned() }
        })
        .collect()
}

/// A cell of a table in Markdown.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}

async fn create(place: &Place<'_>, object: &Value) {
    use kube::{
        Api,
        api::{DynamicObject, PostParams},
        core::{ApiResource, GroupVersionKind, TypeMeta},
    };
    let types: TypeMeta = serde_json::from_value(object.clone()).unwrap();
    let resource = ApiResource::from_gvk(&GroupVersionKind::try_from(types).unwrap());
    let api: Api<DynamicObject> =
        Api::namespaced_with(place.world.testbed.admin(), &place.namespace, &resource);
    let by = PostParams { field_manager: Some("a-person".to_owned()), ..PostParams::default() };
    api.create(&by, &serde_json::from_value(object.clone()).unwrap()).await.unwrap();
}
