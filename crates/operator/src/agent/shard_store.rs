//! Shards in ConfigMaps of the operator's own namespace: one each, found by label.
//!
//! Which shard holds what is decided in `core/agent/shards`.

use crate::{agent::own_objects::OwnObjects, cause::cause};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Client, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::json;
use std::time::Duration;
use tokio::time::timeout;
use vworkspace_core::{
    agent::shards::{Number, Stored, Write},
    backoff::Backoff,
};
use vworkspace_crds::key::{JOURNAL, JOURNAL_SHARD};

/// ConfigMaps per page when they are read: a few MiB at most.
const PAGE: u32 = 16;
/// Longest time the API server gets for one call.
const API_CALL: Duration = Duration::from_secs(30);

/// The shards of one kind; cheap to clone.
#[derive(Clone)]
pub struct ShardStore {
    maps: OwnObjects<ConfigMap>,
    /// Value of their label, and end of their names' beginning.
    of: &'static str,
}

impl ShardStore {
    /// The shards with the label value `of` in the operator's namespace.
    pub fn new(client: Client, namespace: &str, of: &'static str) -> Self {
        Self { maps: OwnObjects::new(client, namespace), of }
    }

    /// Every shard, in rising order; tries until the API server answers. One that cannot be read is logged and left
    /// where it is, for people.
    pub async fn load<T: DeserializeOwned>(&self) -> Vec<Stored<T>> {
        let mut backoff = Backoff::default();
        loop {
            match self.maps.list(&format!("{JOURNAL}={}", self.of), PAGE).await {
                Ok(maps) => {
                    let mut shards: Vec<_> = maps.iter().filter_map(|map| self.read(map)).collect();
                    shards.sort_by_key(|shard| shard.number);
                    return shards;
                }
                Err(error) => {
                    let error = cause(&error);
                    tracing::warn!(
                        error,
                        shards = self.of,
                        "cannot load shards, retrying; nothing continues until they are loaded"
                    );
                    tokio::time::sleep(backoff.handle_failure(None, rand::random())).await;
                }
            }
        }
    }

    /// Does every step in order; answers whether all were done.
    pub async fn write(&self, writes: &[Write]) -> bool {
        for write in writes {
            let done = timeout(API_CALL, self.step(write)).await;
            let problem = match done {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => cause(&error),
                Err(_) => "the API server did not answer in time".to_owned(),
            };
            let shard = self.name_of(write.number());
            tracing::warn!(problem, shard, "a shard was not written; it is tried again");
            return false;
        }
        true
    }

    async fn step(&self, write: &Write) -> kube::Result<()> {
        let name = self.name_of(write.number());
        match write {
            Write::Put { text, .. } => {
                let map = json!({
                    "apiVersion": "v1", "kind": "ConfigMap",
                    "metadata": {"name": name, "labels": {JOURNAL: self.of}},
                    "data": {JOURNAL_SHARD: text},
                });
                self.maps.put(&name, &map).await
            }
            Write::Delete { .. } => self.maps.delete(&name).await,
        }
    }

    fn name_of(&self, number: Number) -> String {
        format!("vworkspace-{}-{number}", self.of)
    }

    /// `None`: it bears the label, and a name that is none of ours.
    fn read<T: DeserializeOwned>(&self, map: &ConfigMap) -> Option<Stored<T>> {
        let name = map.name_any();
        let number = name.rsplit('-').next().and_then(|number| number.parse().ok());
        let Some(number) = number.filter(|number| self.name_of(*number) == name) else {
            tracing::warn!(
                name,
                "a ConfigMap bears the label of our shards and not their name; it is left out"
            );
            return None;
        };
        let text = map.data.as_ref().and_then(|data| data.get(JOURNAL_SHARD)).map_or("", String::as_str);
        let records = serde_json::from_str(text);
        if let Err(error) = &records {
            let (line, column) = (error.line(), error.column());
            tracing::error!(shard = name, line, column, "a shard cannot be read and is left out");
        }
        Some(Stored { number, records: records.ok() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> ShardStore {
        let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        ShardStore::new(Client::try_from(config).unwrap(), "n", "ledger")
    }

    fn map(name: &str, text: &str) -> ConfigMap {
        let mut map = ConfigMap::default();
        map.metadata.name = Some(name.to_owned());
        map.data = Some([(JOURNAL_SHARD.to_owned(), text.to_owned())].into());
        map
    }

    #[tokio::test]
    async fn a_shard_is_read_by_its_name_and_an_unreadable_one_keeps_its_number() {
        let store = store();
        let read = |name: &str, text: &str| store.read::<u32>(&map(name, text));
        assert_eq!(
            read("vworkspace-ledger-7", "[1,2]"),
            Some(Stored { number: 7, records: Some(vec![1, 2]) })
        );
        assert_eq!(read("vworkspace-ledger-8", "["), Some(Stored { number: 8, records: None }));
        assert_eq!(read("vworkspace-ledger-08", "[]"), None);
        assert_eq!(read("somebody-9", "[]"), None);
    }
}
