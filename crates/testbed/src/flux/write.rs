//! Writing to Flux's objects: their status, piece by piece as Flux does, and its finalizer.

use std::fmt::Debug;

use kube::api::{Patch, PatchParams};
use kube::{Api, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::objects::FINALIZER;

/// Who the stand-in is as a field manager.
pub(super) const FIELD_MANAGER: &str = "flux-stand-in";

/// An object's status: changed in memory, then written. Nobody else writes it.
pub(super) struct StatusWriter<K, S> {
    api: Api<K>,
    name: String,
    written: S,
    /// The status as it is to be written next.
    pub(super) status: S,
}

impl<K, S> StatusWriter<K, S>
where
    K: Clone + DeserializeOwned + Debug,
    S: Clone + PartialEq + Serialize,
{
    pub(super) fn new(api: Api<K>, name: &str, status: S) -> Self {
        Self { api, name: name.to_owned(), written: status.clone(), status }
    }

    /// Writes the status if it changed since it was written last. An object that is gone needs none.
    pub(super) async fn write(&mut self) -> anyhow::Result<()> {
        if self.status == self.written {
            return Ok(());
        }
        let patch = json!([{"op": "add", "path": "/status", "value": self.status}]);
        let patch = Patch::Json::<()>(serde_json::from_value(patch)?);
        match self.api.patch_status(&self.name, &PatchParams::default(), &patch).await {
            Ok(_) => {}
            Err(kube::Error::Api(answer)) if answer.code == 404 => {}
            Err(error) => return Err(error.into()),
        }
        self.written = self.status.clone();
        Ok(())
    }
}

/// Adds Flux's finalizer; tells whether it had to.
pub(super) async fn add_finalizer<K>(api: &Api<K>, object: &K) -> anyhow::Result<bool>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    if object.finalizers().iter().any(|finalizer| finalizer == FINALIZER) {
        return Ok(false);
    }
    let mut finalizers = object.finalizers().to_vec();
    finalizers.push(FINALIZER.to_owned());
    set_finalizers(api, object, &finalizers).await?;
    Ok(true)
}

/// Removes Flux's finalizer, which lets a deleted object go.
pub(super) async fn remove_finalizer<K>(api: &Api<K>, object: &K) -> anyhow::Result<()>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let others: Vec<_> =
        object.finalizers().iter().filter(|finalizer| *finalizer != FINALIZER).cloned().collect();
    if others.len() == object.finalizers().len() {
        return Ok(());
    }
    match set_finalizers(api, object, &others).await {
        Err(kube::Error::Api(answer)) if answer.code == 404 => Ok(()),
        Err(error) => Err(error.into()),
        Ok(()) => Ok(()),
    }
}

/// Fails with a conflict when somebody else changed the finalizers meanwhile.
async fn set_finalizers<K>(api: &Api<K>, object: &K, finalizers: &[String]) -> Result<(), kube::Error>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let mut metadata = json!({"finalizers": finalizers});
    if object.finalizers().iter().any(|finalizer| finalizer != FINALIZER) {
        metadata["resourceVersion"] = json!(object.resource_version());
    }
    let patch = Patch::Merge(json!({"metadata": metadata}));
    api.patch(&object.name_any(), &PatchParams::default(), &patch).await.map(|_| ())
}
