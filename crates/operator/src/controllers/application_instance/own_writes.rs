//! What we wrote last, until the watch has brought it back.
//!
//! A reconcile may start before the store has learned of our own last write, and would be refused for a stale read.
//! It then works on what that write answered.

use kube::ResourceExt as _;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};
use vworkspace_crds::ApplicationInstance;

/// Most superseded versions remembered per instance; a reconcile writes at most twice. The oldest goes first: using
/// it again is refused by the API server and read afresh.
const SUPERSEDED: usize = 8;

/// Our last write per instance.
#[derive(Default)]
pub(super) struct OwnWrites(Mutex<BTreeMap<(String, String), Written>>);

struct Written {
    /// Versions that the store may still show.
    superseded: Vec<String>,
    answer: Arc<ApplicationInstance>,
}

impl OwnWrites {
    /// The instance as far as is known: as the store has it, or as our last write left exactly that.
    pub(super) fn newest(&self, stored: Arc<ApplicationInstance>) -> Arc<ApplicationInstance> {
        let mut writes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = key(&stored);
        let version = stored.resource_version().unwrap_or_default();
        match writes.get(&key) {
            Some(written) if written.superseded.contains(&version) => written.answer.clone(),
            Some(_) => {
                writes.remove(&key);
                stored
            }
            None => stored,
        }
    }

    /// Remembers that a write on `before` was answered with `answer`.
    pub(super) fn record(&self, before: &ApplicationInstance, answer: Arc<ApplicationInstance>) {
        let mut writes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut superseded =
            writes.remove(&key(before)).map(|written| written.superseded).unwrap_or_default();
        if superseded.len() >= SUPERSEDED {
            superseded.remove(0);
        }
        superseded.push(before.resource_version().unwrap_or_default());
        writes.insert(key(before), Written { superseded, answer });
    }

    /// Forgets an instance that is gone.
    pub(super) fn forget(&self, instance: &ApplicationInstance) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&key(instance));
    }
}

fn key(instance: &ApplicationInstance) -> (String, String) {
    (instance.namespace().unwrap_or_default(), instance.name_any())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(version: &str) -> Arc<ApplicationInstance> {
        let metadata = json!({"name": "shop", "namespace": "team", "resourceVersion": version});
        let spec = json!({"appRef": {"catalogId": "hello"}});
        Arc::new(serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap())
    }

    fn version(instance: &ApplicationInstance) -> String {
        instance.resource_version().unwrap()
    }

    #[test]
    fn a_late_store_is_made_up_for_and_a_newer_one_is_believed() {
        let writes = OwnWrites::default();
        writes.record(&at("1"), at("2"));
        writes.record(&at("2"), at("3"));
        assert_eq!(version(&writes.newest(at("1"))), "3");
        assert_eq!(version(&writes.newest(at("2"))), "3");
        assert_eq!(version(&writes.newest(at("7"))), "7");
        assert_eq!(version(&writes.newest(at("1"))), "1", "forgotten once the store has caught up");
    }
}
