//! The witness at the API server: every change of the objects, whoever made it.

use super::history::{Change, History, Seen};
use crate::view::Target;
use futures::TryStreamExt as _;
use jiff::Timestamp;
use kube::{
    Api, Client, ResourceExt as _,
    runtime::{WatchStreamExt as _, watcher},
};
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    rc::Rc,
};
use vworkspace_crds::ApplicationInstance;

/// What the number of a job is written behind, in `spec.integrations.ingress.host`: stored, and acted on by nobody.
const CARRIED_AS: &str = "job-";

/// The text that carries a number.
pub(super) fn carried(n: u64) -> String {
    format!("{CARRIED_AS}{n}")
}

/// An object as last seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Last {
    pub(super) uid: String,
    pub(super) generation: i64,
    n: u64,
    is_deleting: bool,
}

/// Writes the changes of some namespaces into the history.
pub(super) struct Recorder {
    client: Client,
    namespaces: BTreeSet<String>,
    history: Rc<RefCell<History>>,
    last: RefCell<BTreeMap<Target, Last>>,
}

impl Recorder {
    /// A recorder that has seen nothing; the namespaces are empty.
    pub(super) fn new(client: Client, namespaces: &[String], history: Rc<RefCell<History>>) -> Self {
        let namespaces = namespaces.iter().cloned().collect();
        Self { client, namespaces, history, last: RefCell::default() }
    }

    /// Watches until dropped.
    pub(super) async fn run(&self) {
        let api: Api<ApplicationInstance> = Api::all(self.client.clone());
        let mut events = pin!(watcher(api, watcher::Config::default()).default_backoff());
        let mut lists = 0;
        loop {
            match events.try_next().await {
                Ok(Some(watcher::Event::Init)) => {
                    lists += 1;
                    // A second list shows what is, not what was in between.
                    self.history.borrow_mut().gaps += u64::from(lists > 1);
                }
                Ok(Some(watcher::Event::InitApply(object) | watcher::Event::Apply(object))) => {
                    self.put(&object);
                }
                Ok(Some(watcher::Event::Delete(object))) => self.take(&object),
                Ok(Some(watcher::Event::InitDone)) => {}
                Ok(None) => return,
                // Taken up again where it stopped; where that cannot be, a list follows.
                Err(error) => tracing::warn!(%error, "the watch of the recorder broke"),
            }
        }
    }

    /// The objects as last seen.
    pub(super) fn last(&self) -> BTreeMap<Target, Last> {
        self.last.borrow().clone()
    }

    fn put(&self, object: &ApplicationInstance) {
        let Some(target) = self.ours(object) else { return };
        let now = Last {
            uid: object.uid().unwrap_or_default(),
            generation: object.metadata.generation.unwrap_or_default(),
            n: number(object),
            is_deleting: object.metadata.deletion_timestamp.is_some(),
        };
        let before = self.last.borrow_mut().insert(target.clone(), now.clone());
        for change in changes(before.as_ref(), &now) {
            self.note(&target, &now.uid, change);
        }
    }

    fn take(&self, object: &ApplicationInstance) {
        let Some(target) = self.ours(object) else { return };
        let uid = object.uid().unwrap_or_default();
        let before = self.last.borrow_mut().remove(&target);
        if before.is_none_or(|before| !before.is_deleting) {
            self.note(&target, &uid, Change::Deleting);
        }
        self.note(&target, &uid, Change::Gone);
    }

    fn ours(&self, object: &ApplicationInstance) -> Option<Target> {
        let namespace = object.namespace().filter(|namespace| self.namespaces.contains(namespace))?;
        Some(Target { namespace, name: object.name_any() })
    }

    fn note(&self, target: &Target, uid: &str, change: Change) {
        let seen = Seen { at: Timestamp::now(), target: target.clone(), uid: uid.to_owned(), change };
        self.history.borrow_mut().seen.push(seen);
    }
}

/// What changed between two sights of a name. Asking for the deletion raises the generation as well.
fn changes(before: Option<&Last>, now: &Last) -> Vec<Change> {
    let before = before.filter(|before| before.uid == now.uid);
    let marked = now.is_deleting && before.is_none_or(|before| !before.is_deleting);
    let raised =
        before.map_or(1, |before| now.generation - before.generation) - i64::from(marked && before.is_some());
    let is_set = raised > 0 || before.is_none_or(|before| before.n != now.n);
    let set = is_set.then_some(Change::Set { n: now.n, generation: now.generation });
    set.into_iter().chain(marked.then_some(Change::Deleting)).collect()
}

fn number(object: &ApplicationInstance) -> u64 {
    let ingress = object.spec.integrations.as_ref().and_then(|integrations| integrations.ingress.as_ref());
    let host = ingress.and_then(|ingress| ingress.host.as_deref()).unwrap_or_default();
    host.strip_prefix(CARRIED_AS).and_then(|n| n.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(uid: &str, generation: i64, n: u64, is_deleting: bool) -> Last {
        Last { uid: uid.to_owned(), generation, n, is_deleting }
    }

    #[test]
    fn a_status_is_no_change_and_a_raised_generation_is_one() {
        let set = |n, generation| vec![Change::Set { n, generation }];
        let one = last("u", 1, 5, false);
        assert_eq!(changes(None, &one), set(5, 1));
        assert_eq!(changes(Some(&one), &one), []);
        assert_eq!(changes(Some(&one), &last("u", 2, 6, false)), set(6, 2));
        assert_eq!(changes(Some(&one), &last("u", 2, 5, false)), set(5, 2), "the same job, once more");
        assert_eq!(changes(Some(&one), &last("v", 1, 5, false)), set(5, 1), "another life");
    }

    #[test]
    fn asking_for_the_deletion_is_told_once_and_is_no_change_of_the_wish() {
        let (one, two) = (last("u", 1, 5, false), last("u", 2, 5, true));
        assert_eq!(changes(Some(&one), &two), [Change::Deleting]);
        assert_eq!(changes(Some(&two), &two), []);
        let later = last("u", 3, 6, true);
        assert_eq!(changes(Some(&one), &later), [Change::Set { n: 6, generation: 3 }, Change::Deleting]);
    }
}
