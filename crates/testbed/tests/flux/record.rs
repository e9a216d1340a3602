//! Records what a watch sees of Flux's objects in one namespace, in the form of the recordings.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::Context as _;
use futures::StreamExt as _;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, ResourceExt as _};
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::recording::{Event, Line, Object, Recording, Step};

/// The kinds that the recordings show.
const KINDS: [(&str, &str, &str); 4] = [
    ("helm.toolkit.fluxcd.io", "v2", "HelmRelease"),
    ("source.toolkit.fluxcd.io", "v1", "HelmChart"),
    ("source.toolkit.fluxcd.io", "v1", "HelmRepository"),
    ("source.toolkit.fluxcd.io", "v1", "OCIRepository"),
];

/// A recording under way; ends when it is dropped.
pub struct Recorder {
    tape: Arc<Tape>,
    _watches: JoinSet<anyhow::Result<()>>,
}

struct Tape {
    start: Instant,
    lines: Mutex<Vec<Line>>,
    /// When the newest line came; tells of each one.
    touched: watch::Sender<Instant>,
}

impl Recorder {
    /// Begins once all kinds are watched.
    pub async fn start(client: &Client, namespace: &str) -> anyhow::Result<Self> {
        let start = Instant::now();
        let tape = Arc::new(Tape { start, lines: Mutex::default(), touched: watch::Sender::new(start) });
        let mut watches = JoinSet::new();
        let (watching, mut watched) = watch::channel(0);
        for (group, version, kind) in KINDS {
            let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
            let api = Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &resource);
            watches.spawn(record(Arc::clone(&tape), kind, api, watching.clone()));
        }
        watched.wait_for(|count| *count == KINDS.len()).await.context("watch Flux's objects")?;
        Ok(Self { tape, _watches: watches })
    }

    /// Notes what is about to be done from outside.
    pub fn step(&self, step: &Step) {
        self.tape.note(Event::Step(step.clone()));
    }

    /// What was recorded up to now.
    pub fn recording(&self) -> Recording {
        Recording(self.tape.lines().clone())
    }

    /// What was recorded up to now, with an end.
    pub fn end(&self) -> Recording {
        self.tape.note(Event::End { action: "watched at least until here".to_owned() });
        self.recording()
    }

    /// Tells when the newest line came.
    pub fn touched(&self) -> watch::Receiver<Instant> {
        self.tape.touched.subscribe()
    }
}

impl Tape {
    fn lines(&self) -> MutexGuard<'_, Vec<Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, event: Event) {
        let mut lines = self.lines();
        lines.push(Line { t_ms: self.start.elapsed().as_millis().try_into().unwrap_or(u64::MAX), event });
        drop(lines);
        self.touched.send_replace(Instant::now());
    }
}

async fn record(
    tape: Arc<Tape>,
    kind: &'static str,
    api: Api<DynamicObject>,
    watching: watch::Sender<usize>,
) -> anyhow::Result<()> {
    let mut seen: BTreeMap<String, Object> = BTreeMap::new();
    let mut events = pin!(watcher(api, watcher::Config::default()).default_backoff());
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => {
                let object = seen_as(kind, &object);
                match seen.insert(object.name.clone(), object.clone()) {
                    None => tape.note(Event::Added(object)),
                    Some(before) if before != object => tape.note(Event::Modified(object)),
                    Some(_) => {}
                }
            }
            Ok(watcher::Event::Delete(object)) => {
                let object = seen_as(kind, &object);
                seen.remove(&object.name);
                tape.note(Event::Deleted(object));
            }
            Ok(watcher::Event::InitDone) => watching.send_modify(|count| *count += 1),
            Ok(watcher::Event::Init) => {}
            Err(error) => eprintln!("watch of {kind}: {error}"),
        }
    }
    anyhow::bail!("the watch of {kind} ended")
}

fn seen_as(kind: &str, object: &DynamicObject) -> Object {
    let annotations =
        object.annotations().iter().filter(|(name, _)| name.starts_with("reconcile.fluxcd.io/"));
    Object {
        kind: kind.to_owned(),
        name: object.name_any(),
        generation: object.metadata.generation.unwrap_or_default(),
        deleting: object.metadata.deletion_timestamp.as_ref().map(|_| Value::Bool(true)),
        finalizers: object.finalizers().to_vec(),
        annotations: annotations.map(|(name, value)| (name.clone(), json!(value))).collect::<Map<_, _>>(),
        status: object.data.get("status").cloned().unwrap_or_else(|| json!({})),
    }
}
