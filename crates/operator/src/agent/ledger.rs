//! The ledger of jobs that took effect, kept in a ConfigMap.
//!
//! `applied-keys.json` holds the newest keys as the reference reads and writes them; `ledger.json` holds our entries
//! with outcome and object. When it is written is decided in `core/agent/work`.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;
use vworkspace_core::{
    agent::dedup::{Entry, Ledger},
    backoff::Backoff,
};
use vworkspace_crds::key::{APPLIED_JOBS, APPLIED_KEYS, OPERATOR_FIELD_MANAGER};

/// Our own key beside the reference's.
const ENTRIES: &str = "ledger.json";
/// Most keys shown to the reference (contract, section 2).
const MAX_KEYS: usize = 1_000;
/// Most bytes of those keys.
const KEYS_BYTES: usize = 256 * 1024;
/// Most bytes of our entries: together with the keys well below the 1 MiB of a ConfigMap. The newest stay.
const ENTRIES_BYTES: usize = 512 * 1024;

/// The ConfigMap the ledger lives in; cheap to clone.
#[derive(Clone)]
pub struct LedgerShelf {
    api: Api<ConfigMap>,
}

impl LedgerShelf {
    /// The shelf in the operator's namespace.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self { api: Api::namespaced(client, namespace) }
    }

    /// Reads the ledger; tries until the API server answers. A part that cannot be read is logged and left out.
    pub async fn load(&self) -> Ledger {
        let mut backoff = Backoff::default();
        loop {
            match self.api.get_opt(APPLIED_JOBS).await {
                Ok(stored) => return restore(&stored.unwrap_or_default()),
                Err(error) => {
                    tracing::warn!(%error, "the ledger of applied jobs was not read; no job is taken before it is");
                    tokio::time::sleep(backoff.handle_failure(None, rand::random())).await;
                }
            }
        }
    }

    /// Makes the ledger durable; answers whether it is.
    pub async fn store(&self, stored: Stored) -> bool {
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": APPLIED_JOBS},
            "data": {APPLIED_KEYS: stored.keys, ENTRIES: stored.entries},
        });
        // The ConfigMap is ours alone, or was the reference's: taking its fields over is the purpose.
        let params = PatchParams::apply(OPERATOR_FIELD_MANAGER).force();
        match self.api.patch(APPLIED_JOBS, &params, &Patch::Apply(&map)).await {
            Ok(_) => true,
            Err(error) => {
                tracing::warn!(%error, "the ledger of applied jobs was not written; it is tried again");
                false
            }
        }
    }
}

/// A ledger as its ConfigMap holds it.
pub struct Stored {
    keys: String,
    entries: String,
}

impl Stored {
    /// The newest entries and keys that fit.
    pub fn of(ledger: &Ledger) -> Self {
        let mut entries = newest_that_fit(ledger.entries(), usize::MAX, ENTRIES_BYTES);
        entries.reverse();
        let keys = newest_that_fit(ledger.keys(), MAX_KEYS, KEYS_BYTES);
        Self { keys: json_array(&keys), entries: json_array(&entries) }
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
