//! The ledger of jobs that are over, kept in shards, and their keys as a plain v1 operator knows them.
//!
//! Which shard holds what is decided in `core/agent/dedup`, when it is written in `core/agent/work`.

use crate::{agent::shard_store::ShardStore, cause::cause};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;
use std::time::Duration;
use tokio::time::timeout;
use vworkspace_core::{
    agent::{dedup::Ledger, shards::Write},
    backoff::Backoff,
};
use vworkspace_crds::key::{APPLIED_JOBS, APPLIED_KEYS, JOURNAL_OF_LEDGER, OPERATOR_FIELD_MANAGER};

/// Most keys shown to the reference (contract, section 2).
const MAX_KEYS: usize = 1_000;
/// Most bytes of those keys: well below the 1 MiB of a ConfigMap.
const KEYS_BYTES: usize = 512 * 1024;
/// Longest time the API server gets for the keys.
const API_CALL: Duration = Duration::from_secs(30);

/// The ConfigMaps the ledger lives in; cheap to clone.
#[derive(Clone)]
pub struct LedgerShelf {
    shards: ShardStore,
    api: Api<ConfigMap>,
}

impl LedgerShelf {
    /// The shelf in the operator's namespace.
    pub fn new(client: Client, namespace: &str) -> Self {
        let shards = ShardStore::new(client.clone(), namespace, JOURNAL_OF_LEDGER);
        Self { shards, api: Api::namespaced(client, namespace) }
    }

    /// Reads the ledger; tries until the API server answers. A part that cannot be read is logged and left out.
    pub async fn load(&self) -> Ledger {
        let (shards, applied) = futures::join!(self.shards.load(), self.load_applied_jobs());
        Ledger::restore(shards, keys_of(&applied))
    }

    /// Makes the ledger durable; answers whether all of it is. The keys go last: the reference's are
    /// replaced only once ours are in shards.
    pub async fn store(&self, writes: &[Write], keys: &str) -> bool {
        self.shards.write(writes).await && self.store_keys(keys).await
    }

    async fn store_keys(&self, keys: &str) -> bool {
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": APPLIED_JOBS},
            "data": {APPLIED_KEYS: keys},
        });
        // The ConfigMap is ours alone, or was the reference's: taking its fields over is the purpose.
        let params = PatchParams::apply(OPERATOR_FIELD_MANAGER).force();
        let patch = Patch::Apply(&map);
        let problem = match timeout(API_CALL, self.api.patch_metadata(APPLIED_JOBS, &params, &patch)).await {
            Ok(Ok(_)) => return true,
            Ok(Err(error)) => cause(&error),
            Err(_) => "the API server did not answer in time".to_owned(),
        };
        tracing::warn!(problem, "the keys of applied jobs were not written; it is tried again");
        false
    }

    async fn load_applied_jobs(&self) -> ConfigMap {
        let mut backoff = Backoff::default();
        loop {
            match self.api.get_opt(APPLIED_JOBS).await {
                Ok(stored) => return stored.unwrap_or_default(),
                Err(error) => {
                    let error = cause(&error);
                    tracing::warn!(
                        error,
                        "cannot load the keys of applied jobs, retrying; no jobs are accepted until they are loaded"
                    );
                    tokio::time::sleep(backoff.handle_failure(None, rand::random())).await;
                }
            }
        }
    }
}

/// The newest keys that fit, as the reference reads them.
pub fn keys_text(ledger: &Ledger) -> String {
    let mut room = KEYS_BYTES;
    let texts = ledger.keys().take(MAX_KEYS).filter_map(|key| serde_json::to_string(key).ok());
    let fitting = texts.take_while(|text| {
        let fits = text.len() < room;
        room = room.saturating_sub(text.len() + 1);
        fits
    });
    format!("[{}]", fitting.collect::<Vec<_>>().join(","))
}

/// The keys that a plain v1 operator, or one before this, recorded.
fn keys_of(stored: &ConfigMap) -> Vec<String> {
    let text = stored.data.as_ref().and_then(|data| data.get(APPLIED_KEYS)).map_or("[]", String::as_str);
    serde_json::from_str(text).unwrap_or_else(|error| {
        tracing::error!(%error, "the keys of applied jobs cannot be read and are left out");
        Vec::new()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_sees_the_newest_keys_within_the_bound() {
        let keys = |n: usize, bytes: usize| (0..n).map(|i| format!("{i:0bytes$}")).collect::<Vec<_>>();
        let read = |keys: Vec<String>| {
            let ledger = Ledger::restore(Vec::new(), keys);
            let text = keys_text(&ledger);
            (text.len(), serde_json::from_str::<Vec<String>>(&text).unwrap())
        };
        assert_eq!(read(keys(1_200, 4)).1, keys(1_000, 4));
        let (bytes, shown) = read(keys(1_200, 600));
        assert!(bytes <= KEYS_BYTES && shown.len() > 800 && shown == keys(shown.len(), 600), "{bytes}");
    }

    #[test]
    fn unreadable_keys_are_left_out() {
        let read = |text: &str| {
            let data = [(APPLIED_KEYS.to_owned(), text.to_owned())].into();
            keys_of(&ConfigMap { data: Some(data), ..ConfigMap::default() })
        };
        assert_eq!(read(r#"["k"]"#), ["k"]);
        assert!(read("{").is_empty() && keys_of(&ConfigMap::default()).is_empty());
    }
}
