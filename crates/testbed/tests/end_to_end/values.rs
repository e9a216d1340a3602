//! Values given as texts: what Helm has in the end is what it reads by itself.

use crate::{
    support::{World, world},
    vwctl::{deploy, told, vwctl},
};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api, ResourceExt as _,
    api::{ObjectMeta, PostParams},
};
use serde_json::Value;
use std::{collections::BTreeMap, path::Path, process::Command, time::Duration};

const FIRST: &str = "\
replicas: 0b10
mode: 0440
other: 0644
signed: -010
on: {push: true}
y: 1
0x10: k
yEs: yEs
flag: off
float: 1_000.5
version: 1.10
day: 2024-01-02
twice: 1
twice: 2
base: &b {a: 1, list: [1, 2]}
derived: {<<: *b, a: 2}
---
second: 01234
base: {c: 1_0}
---
";
const SECOND: &str = "# over the first\nmode: 0755\nlist: [{p: 1}, {p: 2}]\n";

/// The command line of values, for `vwctl` and Helm alike.
fn flags(folder: &Path) -> Vec<String> {
    let path = |name: &str| folder.join(name).display().to_string();
    let (first, second, file) = (path("first.yaml"), path("second.yaml"), path("motd"));
    std::fs::write(&first, FIRST).unwrap();
    std::fs::write(&second, SECOND).unwrap();
    std::fs::write(&file, "{a,b}\n\"0440\"\n").unwrap();
    let files = format!("motd={file},list[1].motd={file}");
    let flags = [
        ["--values", &first],
        ["--values", &second],
        ["--set", "list[0].p=0440,list[1].q=true,id=1234567,empty=,nothing=null"],
        ["--set", "names={x,0y},a\\.b=c\\,d,quoted=\"1\""],
        ["--set-string", "text=0440,list[1].r=true"],
        ["--set-file", &files],
    ];
    flags.into_iter().flatten().map(str::to_owned).collect()
}

/// What Helm prints; `None`: it refuses.
async fn helm(world: &World, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(world.testbed.helm_path());
    command.env("KUBECONFIG", world.testbed.kubeconfig()).args(arguments);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

/// What `helm template` makes of the flags.
async fn expected(world: &World, folder: &Path, flags: &[String]) -> Value {
    expected_or_refused(world, folder, flags).await.unwrap()
}

/// As [`expected`]; `None`: Helm refuses them.
pub async fn expected_or_refused(world: &World, folder: &Path, flags: &[String]) -> Option<Value> {
    let chart = folder.join("echo");
    std::fs::create_dir_all(chart.join("templates")).unwrap();
    std::fs::write(chart.join("Chart.yaml"), "apiVersion: v2\nname: echo\nversion: 1.0.0\n").unwrap();
    std::fs::write(chart.join("templates/v.yaml"), "# values {{ toJson .Values }}\n").unwrap();
    let chart = chart.display().to_string();
    let flags = flags.iter().map(String::as_str);
    let printed =
        helm(world, &["template", "e", &chart].into_iter().chain(flags).collect::<Vec<_>>()).await?;
    let line = printed.lines().find_map(|line| line.strip_prefix("# values ")).unwrap();
    Some(serde_json::from_str(line).unwrap())
}

pub async fn values_of(world: &World, namespace: &str, name: &str) -> Value {
    let printed = helm(world, &["get", "values", name, "-n", namespace, "-o", "json"]).await;
    serde_json::from_str(&printed.unwrap()).unwrap()
}

fn secrets(world: &World, namespace: &str) -> Api<Secret> {
    Api::namespaced(world.testbed.admin(), namespace)
}

/// Names of the Secrets with texts.
async fn made(world: &World, namespace: &str) -> Vec<String> {
    let all = secrets(world, namespace).list(&Default::default()).await.unwrap();
    let names = all.iter().map(|secret| secret.name_any());
    names.filter(|name| name.starts_with("web-values-")).collect()
}

#[tokio::test]
async fn values_of_a_command_line_reach_helm_unread() {
    let world = world().await;
    let namespace = world.namespace().await;
    let folder = tempfile::tempdir().unwrap();
    let flags = flags(folder.path());
    let command: Vec<&str> = flags.iter().map(String::as_str).collect();
    let command = [&deploy(&world, &namespace, "web", "1.0.0")[..], &command].concat();

    let deployed = vwctl(&world, &command).await;
    assert_eq!(deployed.status.code(), Some(0), "{}", told(&deployed));
    assert_eq!(values_of(&world, &namespace, "web").await, expected(&world, folder.path(), &flags).await);
    let first = made(&world, &namespace).await;
    let secret = secrets(&world, &namespace).get(&first[0]).await.unwrap();
    assert_eq!((first.len(), secret.immutable), (1, Some(true)));
    assert_eq!(secret.owner_references()[0].kind, "ApplicationInstance");
    let data = secret.data.clone().unwrap();
    assert!(
        FIRST.starts_with(std::str::from_utf8(&data["values-000"].0).unwrap()),
        "the first document as it was"
    );
    let release = world.releases(&namespace).get("web").await.unwrap();
    assert!(release.data["spec"]["values"].is_null());
    assert_eq!(release.data["spec"]["valuesFrom"][0]["name"].as_str(), Some(first[0].as_str()));

    // The same again changes nothing; other values have another Secret, and the former one goes.
    assert_eq!(vwctl(&world, &command).await.status.code(), Some(0));
    let again = secrets(&world, &namespace).get(&first[0]).await.unwrap();
    assert_eq!(
        (made(&world, &namespace).await, again.resource_version()),
        (first.clone(), secret.resource_version())
    );
    let changed = vwctl(&world, &[&command[..], &["--set", "mode=1"]].concat()).await;
    assert_eq!(changed.status.code(), Some(0), "{}", told(&changed));
    assert_eq!(values_of(&world, &namespace, "web").await["mode"], 1);
    let second = made(&world, &namespace).await;
    assert!(second.len() == 1 && second != first, "{first:?} {second:?}");

    // A Secret of that name that somebody else made is refused and left alone.
    let foreign = Secret {
        metadata: ObjectMeta { name: Some(first[0].clone()), ..ObjectMeta::default() },
        data: Some(BTreeMap::from([("values-000".to_owned(), ByteString(b"replicas: 9".to_vec()))])),
        ..Secret::default()
    };
    secrets(&world, &namespace).create(&PostParams::default(), &foreign).await.unwrap();
    let refused = vwctl(&world, &command).await;
    assert_eq!(refused.status.code(), Some(3), "{}", told(&refused));
    assert!(told(&refused).contains("was not made by the operator"), "{}", told(&refused));
    let kept = secrets(&world, &namespace).get(&first[0]).await.unwrap();
    assert_eq!(kept.data, foreign.data);
    // Gone again, it stands in nobody's way: the watch wakes the instance.
    secrets(&world, &namespace).delete(&first[0], &Default::default()).await.unwrap();
    let mend = async {
        while vwctl(&world, &command).await.status.code() != Some(0) {
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), mend).await.expect("the instance stays refused");
    assert_eq!(values_of(&world, &namespace, "web").await["mode"], 0o755);

    let without = vwctl(&world, &deploy(&world, &namespace, "web", "1.0.0")).await;
    assert_eq!(without.status.code(), Some(0), "{}", told(&without));
    assert_eq!(
        values_of(&world, &namespace, "web").await,
        Value::Null,
        "what is not asked for again is gone"
    );
}

#[tokio::test]
async fn values_that_helm_refuses_are_refused_before_they_travel() {
    let world = world().await;
    let namespace = world.namespace().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("values.yaml");
    for (content, words) in
        [("a: [\n", "line 2"), ("a:\n  b: .inf\n", "a.b is no finite number"), ("- a\n", "mapping")]
    {
        std::fs::write(&path, content).unwrap();
        let values = ["--values", path.to_str().unwrap()];
        let refused =
            vwctl(&world, &[&deploy(&world, &namespace, "web", "1.0.0")[..], &values].concat()).await;
        assert_eq!(refused.status.code(), Some(2), "{}", told(&refused));
        assert!(told(&refused).contains(words), "{words}: {}", told(&refused));
    }
}
