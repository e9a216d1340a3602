//! The ledger of jobs that took effect, kept in a ConfigMap.
//!
//! `applied-keys.json` holds the newest keys as the reference reads and writes them; `ledger.json` holds our entries
//! with outcome and object. Written at most once a second.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::Notify;
use vworkspace_core::{
    agent::{
        ObjectKey,
        dedup::{Entry, JobKey, Ledger},
    },
    backoff::Backoff,
};
use vworkspace_crds::key::{APPLIED_JOBS, APPLIED_KEYS, OPERATOR_FIELD_MANAGER};
use vworkspace_protocol::{JobId, outcome::JobResult};

/// Our own key beside the reference's.
const ENTRIES: &str = "ledger.json";
/// Most keys shown to the reference (contract, section 2).
const MAX_KEYS: usize = 1_000;
/// Most bytes of those keys.
const KEYS_BYTES: usize = 256 * 1024;
/// Most bytes of our entries: together with the keys well below the 1 MiB of a ConfigMap. The newest stay.
const ENTRIES_BYTES: usize = 512 * 1024;
/// Shortest time between two writes.
const WRITE_INTERVAL: Duration = Duration::from_secs(1);

/// The ledger and the ConfigMap it lives in.
pub struct LedgerStore {
    api: Api<ConfigMap>,
    ledger: Mutex<Ledger>,
    changed: Notify,
}

impl LedgerStore {
    /// Reads the ledger; tries until the API server answers. A part that cannot be read is logged and left out.
    pub async fn load(client: Client, namespace: &str) -> Self {
        let api = Api::<ConfigMap>::namespaced(client, namespace);
        let mut backoff = Backoff::default();
        let stored = loop {
            match api.get_opt(APPLIED_JOBS).await {
                Ok(stored) => break stored,
                Err(error) => {
                    tracing::warn!(%error, "the ledger of applied jobs was not read; no job is taken before it is");
                    tokio::time::sleep(backoff.handle_failure(None, rand::random())).await;
                }
            }
        };
        let ledger = restore(&stored.unwrap_or_default());
        Self { api, ledger: Mutex::new(ledger), changed: Notify::new() }
    }

    /// The result of a job that took effect before.
    pub fn replay(&self, job: &JobId, key: &JobKey, object: &ObjectKey) -> Option<JobResult> {
        self.ledger().replay(job, key, object)
    }

    /// Records a job that took effect.
    pub fn record(&self, entry: Entry) {
        self.ledger().handle_done(entry, Timestamp::now());
        self.changed.notify_one();
    }

    /// Writes what was recorded, for ever: drop it to end it.
    pub async fn run(&self) {
        loop {
            self.changed.notified().await;
            self.write().await;
            tokio::time::sleep(WRITE_INTERVAL).await;
        }
    }

    /// Writes the ledger as it is now; a failure is logged and tried again.
    pub async fn write(&self) {
        let (entries, keys) = {
            let ledger = self.ledger();
            let mut entries = newest_that_fit(ledger.entries(), usize::MAX, ENTRIES_BYTES);
            entries.reverse();
            (json_array(&entries), json_array(&newest_that_fit(ledger.keys(), MAX_KEYS, KEYS_BYTES)))
        };
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": APPLIED_JOBS},
            "data": {APPLIED_KEYS: keys, ENTRIES: entries},
        });
        // The ConfigMap is ours alone, or was the reference's: taking its fields over is the purpose.
        let params = PatchParams::apply(OPERATOR_FIELD_MANAGER).force();
        if let Err(error) = self.api.patch(APPLIED_JOBS, &params, &Patch::Apply(&map)).await {
            tracing::warn!(%error, "the ledger of applied jobs was not written; it is tried again");
            self.changed.notify_one();
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // Every change of the ledger is one call: it is whole even after a panic.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn restore(stored: &ConfigMap) -> Ledger {
    let part = |key: &str| stored.data.as_ref().and_then(|data| data.get(key)).map_or("[]", String::as_str);
    let entries = serde_json::from_str::<Vec<Entry>>(part(ENTRIES)).unwrap_or_else(|error| {
        tracing::error!(%error, "the ledger's own entries cannot be read and are left out");
        Vec::new()
    });
    let keys = serde_json::from_str::<Vec<String>>(part(APPLIED_KEYS)).unwrap_or_else(|error| {
        tracing::error!(%error, "the ledger's keys cannot be read and are left out");
        Vec::new()
    });
    Ledger::restore(entries, keys, Timestamp::now())
}

/// As JSON texts, as many from the front as the bounds allow.
fn newest_that_fit<T: serde::Serialize>(
    items: impl Iterator<Item = T>,
    most: usize,
    bytes: usize,
) -> Vec<String> {
    let mut room = bytes;
    let texts = items.take(most).filter_map(|item| serde_json::to_string(&item).ok());
    texts
        .take_while(|text| {
            let fits = text.len() < room;
            room = room.saturating_sub(text.len() + 1);
            fits
        })
        .collect()
}

fn json_array(texts: &[String]) -> String {
    format!("[{}]", texts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_stay_within_the_bound() {
        let texts = newest_that_fit(["aa", "bb", "cc"].into_iter(), 9, 11);
        assert_eq!(json_array(&texts), r#"["aa","bb"]"#);
        assert_eq!(newest_that_fit(0..10, 3, 1_000).len(), 3);
    }

    #[test]
    fn unreadable_parts_are_left_out() {
        let data = [(APPLIED_KEYS.to_owned(), r#"["k"]"#.to_owned()), (ENTRIES.to_owned(), "{".to_owned())];
        let stored = ConfigMap { data: Some(data.into()), ..ConfigMap::default() };
        assert_eq!(restore(&stored).keys().collect::<Vec<_>>(), ["k"]);
    }
}
