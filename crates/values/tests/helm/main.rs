//! Our reader beside the real Helm, on generated texts. Without a `helm` program it fails.
//!
//! `VWORKSPACE_VALUES_SEED=N` repeats the run of that seed.

mod generate;
mod helm;

use generate::{CONSTRUCTS, Generator};
use helm::Helm;
use serde_json::Value;
use std::collections::BTreeMap;
use vworkspace_values::{Map, read_file, set, yaml};

/// Texts of one run.
const TEXTS: usize = 200;
/// Files that are read by `helm template -f` each, beside all texts at once.
const FILES: usize = 16;

fn seed() -> u64 {
    let given = std::env::var("VWORKSPACE_VALUES_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(1, |now| u64::from(now.subsec_nanos()))
    })
}

#[test]
fn our_reader_equals_helm_on_generated_texts() -> anyhow::Result<()> {
    let helm = Helm::find()?;
    let seed = seed();
    eprintln!("VWORKSPACE_VALUES_SEED={seed}");
    let mut generator = Generator::new(seed);
    let texts: Vec<String> = (0..TEXTS).map(|number| generator.text(number)).collect();
    for construct in CONSTRUCTS {
        let count = generator.count(construct);
        assert!(count >= 5, "seed {seed}: {construct:?} occurs {count} times");
    }
    let read = helm.read_all(&texts)?;
    let readable = read.values().filter(|values| values.is_ok()).count();
    assert!(readable > TEXTS / 2, "seed {seed}: Helm takes {readable} texts");
    let differing = compare(&texts, &read);
    assert!(differing.is_empty(), "seed {seed}:\n{}", differing.join("\n"));

    for number in 0..FILES {
        let file = generator.file(number);
        let ours = read_file(&file).map_err(|error| error.to_string());
        same(&file, &ours, &helm.template(&file, &[])?)
            .map_err(|text| anyhow::anyhow!("seed {seed}: {text}"))?;
    }
    Ok(())
}

#[test]
fn our_reader_equals_helm_on_chosen_texts() -> anyhow::Result<()> {
    let helm = Helm::find()?;
    let texts: Vec<String> = include_str!("chosen.txt").split("\n=====\n").map(str::to_owned).collect();
    let differing = compare(&texts, &helm.read_all(&texts)?);
    assert!(differing.is_empty(), "{}", differing.join("\n"));
    Ok(())
}

#[test]
fn our_set_equals_helm() -> anyhow::Result<()> {
    let helm = Helm::find()?;
    let base = "a: {x: 1}\nl: [{p: 1}, 2]\ns: text\nn: null\n";
    for flag in include_str!("set.txt").lines() {
        let mut ours = read_file(base).map_err(anyhow::Error::from)?;
        let ours =
            set::apply(flag, set::Typing::Guessed, &mut ours).map(|()| ours).map_err(|e| e.to_string());
        same(flag, &ours, &helm.template(base, &["--set", flag])?).map_err(anyhow::Error::msg)?;
    }
    Ok(())
}

fn compare(texts: &[String], helm: &BTreeMap<usize, Result<Map, String>>) -> Vec<String> {
    let each = texts.iter().enumerate().filter_map(|(number, text)| {
        let ours = yaml::read(text).map_err(|error| error.to_string());
        match helm.get(&number) {
            Some(theirs) => same(text, &ours, theirs).err(),
            None => Some(format!("Helm says nothing of {text:?}")),
        }
    });
    each.collect()
}

fn same(text: &str, ours: &Result<Map, String>, helm: &Result<Map, String>) -> Result<(), String> {
    let is_same = match (ours, helm) {
        (Ok(ours), Ok(helm)) => equal(&Value::Object(ours.clone()), &Value::Object(helm.clone())),
        (Err(_), Err(_)) => true,
        _ => false,
    };
    if is_same { Ok(()) } else { Err(format!("text {text:?}\n  ours {ours:?}\n  helm {helm:?}")) }
}

/// Numbers are equal as doubles, which is all that Helm holds.
fn equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| equal(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, value)| other.get(key).is_some_and(|other| equal(value, other)))
        }
        _ => one == other,
    }
}
