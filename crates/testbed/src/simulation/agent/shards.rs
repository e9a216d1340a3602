//! Shards in the cluster: written one by one, each of which may be refused or its answer lost.

use super::Agent;
use crate::simulation::api::State;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use vworkspace_core::agent::shards::{Number, Stored, Write};

/// Shards as they are stored, in rising order.
pub(super) fn read<T: DeserializeOwned>(shards: &BTreeMap<Number, String>) -> Vec<Stored<T>> {
    let read = |(number, text): (&Number, &String)| Stored {
        number: *number,
        records: serde_json::from_str(text).ok(),
    };
    shards.iter().map(read).collect()
}

impl Agent {
    /// Does every step in order; answers whether all were done.
    pub(super) async fn write_shards(
        &self,
        writes: Vec<Write>,
        shards: fn(&mut State) -> &mut BTreeMap<Number, String>,
    ) -> bool {
        for write in writes {
            let step = self.site.api.call(move |state| match write {
                Write::Put { number, text } => drop(shards(state).insert(number, text)),
                Write::Delete { number } => drop(shards(state).remove(&number)),
            });
            if step.await.is_err() {
                return false;
            }
        }
        true
    }
}
