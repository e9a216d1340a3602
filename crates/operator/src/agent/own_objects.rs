//! Objects of the operator's own namespace, which are its alone to write: each write is for what is known to be there, so
//! one that comes late, after its repetition or after the next, changes nothing (Kubernetes API conventions, concurrency
//! control). But one: a creation that comes after the object was taken away makes it again.

use http::{HeaderValue, header::ACCEPT};
use k8s_openapi::NamespaceResourceScope;
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions},
    core::{PartialObjectMeta, Request},
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use vworkspace_crds::key::OPERATOR_FIELD_MANAGER;

/// Most tries of one write: what is there is found out after the first.
const MAX_TRIES: u32 = 3;
/// Asks for no more of the answer than metadata: it would hold all that was sent.
const METADATA_ONLY: HeaderValue =
    HeaderValue::from_static("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1");

/// One kind of them; cheap to clone.
#[derive(Clone)]
pub struct OwnObjects<K> {
    client: Client,
    api: Api<K>,
    /// What is known to be there, by name.
    known: Arc<Mutex<BTreeMap<String, Version>>>,
}

/// Which life of an object, and which state of that.
#[derive(Clone, Debug)]
struct Version {
    uid: Option<String>,
    resource_version: Option<String>,
}

impl<K> OwnObjects<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    /// Those of that namespace.
    pub fn new(client: Client, namespace: &str) -> Self {
        let api = Api::namespaced(client.clone(), namespace);
        Self { client, api, known: Arc::default() }
    }

    /// All that bear the labels, read in pages of `page`.
    ///
    /// # Errors
    /// Those of the API server; it was not reached.
    pub async fn list(&self, labels: &str, page: u32) -> kube::Result<Vec<K>> {
        let mut params = ListParams::default().labels(labels).limit(page);
        let mut listed = Vec::new();
        loop {
            let page = self.api.list(&params).await?;
            page.items.iter().for_each(|object| self.know(&object.name_any(), Some(object)));
            listed.extend(page.items);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(listed),
            }
        }
    }

    /// Puts the object there, whatever is there under its name now.
    ///
    /// # Errors
    /// Those of the API server; it was not reached.
    pub async fn put(&self, name: &str, object: &Value) -> kube::Result<()> {
        let mut tries = 0;
        loop {
            tries += 1;
            let written = match self.version(name) {
                Some(version) => self.replace(name, object.clone(), version).await,
                None => self.create(object).await,
            };
            match written {
                Err(kube::Error::Api(status)) if status.code == 409 && tries < MAX_TRIES => {
                    self.look(name).await?;
                }
                written => {
                    self.know(name, Some(&written?));
                    return Ok(());
                }
            }
        }
    }

    /// Takes the object away. One that is not there is no error.
    ///
    /// # Errors
    /// Those of the API server; it was not reached.
    pub async fn delete(&self, name: &str) -> kube::Result<()> {
        let mut tries = 0;
        loop {
            tries += 1;
            if self.version(name).is_none() {
                self.look(name).await?;
            }
            let Some(Version { uid, resource_version }) = self.version(name) else { return Ok(()) };
            let preconditions = Some(Preconditions { uid, resource_version });
            let params = DeleteParams { preconditions, ..DeleteParams::default() };
            match self.api.delete(name, &params).await {
                Err(kube::Error::Api(status)) if status.code == 409 && tries < MAX_TRIES => {
                    self.look(name).await?;
                }
                Err(kube::Error::Api(status)) if status.is_not_found() => break,
                deleted => {
                    deleted?;
                    break;
                }
            }
        }
        self.know(name, None::<&K>);
        Ok(())
    }

    async fn create(&self, object: &Value) -> kube::Result<PartialObjectMeta<K>> {
        let params =
            PostParams { field_manager: Some(OPERATOR_FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let body = serde_json::to_vec(object).map_err(kube::Error::SerdeError)?;
        let request = Request::new(self.api.resource_url()).create(&params, body);
        let mut request = request.map_err(kube::Error::BuildRequest)?;
        request.headers_mut().insert(ACCEPT, METADATA_ONLY);
        self.client.request(request).await
    }

    async fn replace(
        &self,
        name: &str,
        mut object: Value,
        Version { uid, resource_version }: Version,
    ) -> kube::Result<PartialObjectMeta<K>> {
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("uid".to_owned(), uid.into());
            metadata.insert("resourceVersion".to_owned(), resource_version.into());
        }
        // Whoever changed a field by hand loses it.
        let params = PatchParams::apply(OPERATOR_FIELD_MANAGER).force();
        self.api.patch_metadata(name, &params, &Patch::Apply(&object)).await
    }

    /// What is there is not what was known: an earlier write was done whose answer was lost, or somebody else's.
    async fn look(&self, name: &str) -> kube::Result<()> {
        let found = self.api.get_metadata_opt(name).await?;
        self.know(name, found.as_ref());
        Ok(())
    }

    fn version(&self, name: &str) -> Option<Version> {
        self.known().get(name).cloned()
    }

    fn know<T: Resource>(&self, name: &str, now: Option<&T>) {
        let mut known = self.known();
        match now {
            Some(now) => {
                let (uid, resource_version) = (now.uid(), now.resource_version());
                known.insert(name.to_owned(), Version { uid, resource_version });
            }
            None => drop(known.remove(name)),
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Version>> {
        // Each change is one insertion or removal: the map is whole even after a panic.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
