//! The key of the digests of referenced values, in a Secret of the operator's own namespace. Needs a client.

use super::{
    error::{Error, is_absent},
    values_revision::RevisionKey,
};
use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams, Preconditions},
};
use serde::Deserialize;
use std::{collections::BTreeMap, sync::Arc};
use tokio::sync::OnceCell;
use vworkspace_crds::key;

/// How often reading and creating take turns before the reconcile is given up and retried.
const TRIES: usize = 3;

/// The key, read or created on first use and then kept: without referenced values nothing is read and nothing made.
#[derive(Default)]
pub(super) struct ValuesKey(OnceCell<Arc<RevisionKey>>);

/// The members of the Secret that are read.
#[derive(Deserialize)]
struct KeySecret {
    metadata: KeyMetadata,
    #[serde(default)]
    data: BTreeMap<String, ByteString>,
}

#[derive(Deserialize)]
struct KeyMetadata {
    uid: Option<String>,
}

impl ValuesKey {
    /// The key.
    ///
    /// # Errors
    /// The Secret can neither be read nor created.
    pub(super) async fn get(&self, client: &Client, namespace: &str) -> Result<Arc<RevisionKey>, Error> {
        self.0.get_or_try_init(|| load(client, namespace)).await.cloned()
    }
}

async fn load(client: &Client, namespace: &str) -> Result<Arc<RevisionKey>, Error> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    for _ in 0..TRIES {
        match read(client, &api).await? {
            Some(found) => {
                let key = found.data.get(key::VALUES_KEY).and_then(|bytes| RevisionKey::try_new(&bytes.0));
                match key {
                    Some(key) => return Ok(Arc::new(key)),
                    None => remove(&api, found.metadata.uid).await?,
                }
            }
            // Somebody else may have been first: what counts is what is read.
            None => create(&api).await?,
        }
    }
    Err(Error::NoValuesKey)
}

/// Reads the text by itself: the client would log the whole of a Secret that it cannot parse.
async fn read(client: &Client, api: &Api<Secret>) -> Result<Option<KeySecret>, Error> {
    match super::values_content::text(client, api, key::VALUES_KEY_SECRET).await {
        Ok(text) => match serde_json::from_str(&text) {
            Ok(secret) => Ok(Some(secret)),
            Err(_) => Err(Error::UnreadableValues { what: what() }),
        },
        Err(error) if is_absent(&error) => Ok(None),
        Err(source) => Err(Error::Call { action: "read", what: what(), source }),
    }
}

async fn create(api: &Api<Secret>) -> Result<(), Error> {
    let bytes: [u8; RevisionKey::LENGTH] = rand::random();
    let managed_by = (key::MANAGED_BY.to_owned(), key::MANAGED_BY_OPERATOR.to_owned());
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(key::VALUES_KEY_SECRET.to_owned()),
            labels: Some(BTreeMap::from([managed_by])),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(key::VALUES_KEY.to_owned(), ByteString(bytes.to_vec()))])),
        immutable: Some(true),
        ..Secret::default()
    };
    let params =
        PostParams { field_manager: Some(key::OPERATOR_FIELD_MANAGER.to_owned()), ..PostParams::default() };
    match api.create(&params, &secret).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(source) => Err(Error::Call { action: "create", what: what(), source }),
    }
}

/// A Secret of that name without a usable key is of no use to anybody.
async fn remove(api: &Api<Secret>, uid: Option<String>) -> Result<(), Error> {
    tracing::warn!(name = key::VALUES_KEY_SECRET, "the Secret holds no usable key, replacing it");
    let same = Preconditions { uid, resource_version: None };
    match api.delete(key::VALUES_KEY_SECRET, &DeleteParams::default().preconditions(same)).await {
        Ok(_) => Ok(()),
        Err(error) if is_absent(&error) => Ok(()),
        Err(source) => Err(Error::Call { action: "delete", what: what(), source }),
    }
}

fn what() -> String {
    format!("Secret {}", key::VALUES_KEY_SECRET)
}
