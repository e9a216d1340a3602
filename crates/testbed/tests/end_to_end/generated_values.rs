//! Generated texts of values on the whole path: what Helm has in the end is what it reads by itself.
//!
//! `VWORKSPACE_VALUES_SEED=N` repeats the run of that seed. With `VWORKSPACE_FLUX_BIN`, the real Flux reads them.

#[path = "../../../values/tests/helm/generate.rs"]
#[allow(dead_code, reason = "the tests of the reader ask more of it")]
mod generate;

use crate::{
    support::{World, world},
    values::{expected_or_refused, values_of},
    vwctl::{told, vwctl},
};
use futures::{StreamExt as _, stream};
use generate::{CONSTRUCTS, Generator};
use std::path::Path;

/// Applications at the same time. Each is given one text after the other.
const APPS: usize = 4;

#[tokio::test]
async fn generated_texts_reach_helm_unread() {
    compare(30).await;
}

#[tokio::test]
#[ignore = "takes minutes; `cargo xtask test --full` runs it"]
async fn two_hundred_generated_texts_reach_helm_unread() {
    compare(200).await;
}

async fn compare(texts: usize) {
    let given = std::env::var("VWORKSPACE_VALUES_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| u64::from(jiff::Timestamp::now().subsec_nanosecond().unsigned_abs()));
    println!("VWORKSPACE_VALUES_SEED={seed}");
    let mut generator = Generator::new(seed);
    let texts: Vec<String> = (0..texts).map(|number| generator.text(number)).collect();
    for construct in CONSTRUCTS.iter().filter(|_| texts.len() >= 200) {
        assert!(generator.count(*construct) >= 5, "seed {seed}: {construct:?} occurs too seldom");
    }
    let world = &world().await;
    let (namespace, folder) = (&world.namespace().await, tempfile::tempdir().unwrap());
    let app = |app: usize| {
        let (texts, folder) = (&texts, folder.path().join(format!("app-{app}")));
        async move {
            std::fs::create_dir(&folder).unwrap();
            let mut taken = 0;
            for (number, text) in texts.iter().enumerate().filter(|(number, _)| number % APPS == app) {
                let name = format!("app-{app}");
                let is_taken = one(world, namespace, &name, text, &folder).await;
                taken += usize::from(
                    is_taken.unwrap_or_else(|why| panic!("seed {seed}, text {number}: {why}\n{text}")),
                );
            }
            taken
        }
    };
    let taken: usize =
        stream::iter(0..APPS).map(app).buffer_unordered(APPS).fold(0, async |all, one| all + one).await;
    println!("{taken} of {} texts were taken by Helm", texts.len());
    assert!(taken > texts.len() / 2, "seed {seed}: Helm takes {taken} texts");
}

/// Whether Helm takes the text.
///
/// # Errors
/// The whole path makes something else of it.
async fn one(world: &World, namespace: &str, name: &str, text: &str, folder: &Path) -> Result<bool, String> {
    let file = folder.join("values.yaml");
    std::fs::write(&file, text).unwrap();
    let file = file.display().to_string();
    let flags = ["--values".to_owned(), file.clone()];
    let expected = expected_or_refused(world, folder, &flags).await;
    let arguments = [
        "app",
        "deploy",
        name,
        "--cluster",
        &world.stack.cluster_name,
        "--namespace",
        namespace,
        "--chart-url",
        world.testbed.charts_url(),
        "--chart-name",
        "echo",
        "--chart-version",
        "1.0.0",
        "--wait",
        "--deadline",
        "80s",
        "--values",
        &file,
    ];
    let deployed = vwctl(world, &arguments).await;
    match (expected, deployed.status.code()) {
        (None, Some(2)) => Ok(false),
        (Some(expected), Some(0)) => {
            let held = values_of(world, namespace, name).await;
            if held == expected { Ok(true) } else { Err(format!("held {held}, Helm reads {expected}")) }
        }
        (expected, code) => Err(format!("ended {code:?}, Helm reads {expected:?}: {}", told(&deployed))),
    }
}
