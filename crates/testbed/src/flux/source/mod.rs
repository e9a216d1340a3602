//! The source controller's part: what the three kinds of sources share.

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::Resource;
use kube::core::NamespaceResourceScope;
use serde::de::DeserializeOwned;

use super::Flux;
use super::objects::{SourceStatus, duration_or, requested_at};
use super::queue::{Key, Next};
use super::status::{self, At, SourceFailure};
use super::write::{StatusWriter, add_finalizer, remove_finalizer};

mod helm_chart;
mod helm_repository;
mod index;
mod oci_repository;

/// How often a source is looked at again when it does not say.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(10 * 60);

/// A kind of source. The outer error of its functions is the cluster's, the inner one is for the object's status.
pub(super) trait Source:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()>
    + Clone
    + Debug
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// What the spec says about when to look.
    fn schedule(&self) -> Schedule<'_>;

    /// The status, if it was ever written.
    fn status(&self) -> Option<&SourceStatus>;

    /// Fetches what the spec names; may note in the status what it was fetched from.
    fn fetch(
        &self,
        flux: &Flux,
        key: &Key,
        status: &mut SourceStatus,
    ) -> impl Future<Output = anyhow::Result<Result<Fetched, SourceFailure>>> + Send;

    /// The objects of the same namespace that use this source. (Others find a new artifact when they look again.)
    fn users(flux: &Flux, key: &Key) -> impl Future<Output = anyhow::Result<Vec<Key>>> + Send;
}

/// When to look at a source.
pub(super) struct Schedule<'a> {
    pub(super) suspended: bool,
    pub(super) interval: Option<&'a str>,
}

/// What a source fetched, and Flux's words for it.
pub(super) struct Fetched {
    pub(super) bytes: Vec<u8>,
    pub(super) revision: String,
    pub(super) metadata: Option<std::collections::BTreeMap<String, String>>,
    /// Reason of `Ready` once stored.
    pub(super) reason: &'static str,
    /// Reason of `ArtifactOutdated` before that.
    pub(super) outdated: &'static str,
    pub(super) found: String,
    pub(super) stored: String,
}

/// Looks at one source.
pub(super) async fn reconcile<S: Source>(flux: &Arc<Flux>, key: &Key) -> anyhow::Result<Next> {
    let api = flux.api::<S>(&key.namespace);
    let Some(source) = api.get_opt(&key.name).await? else {
        flux.store.forget(key).await?;
        return Ok(Next::Gone);
    };
    if source.meta().deletion_timestamp.is_some() {
        remove_finalizer(&api, &source).await?;
        return Ok(Next::Wait);
    }
    if add_finalizer(&api, &source).await? {
        return Ok(Next::Retry);
    }
    let Schedule { suspended, interval } = source.schedule();
    if suspended {
        return Ok(Next::Wait);
    }
    let mut writer = StatusWriter::new(api, &key.name, source.status().cloned().unwrap_or_default());
    let at = At { generation: source.meta().generation.unwrap_or_default(), now: Timestamp::now() };
    announce(&mut writer, at).await?;
    let again = Next::After(duration_or(interval, DEFAULT_INTERVAL));
    let next = match source.fetch(flux, key, &mut writer.status).await? {
        Ok(fetched) => {
            if keep(flux, key, at, &mut writer, fetched).await? {
                for user in S::users(flux, key).await? {
                    flux.wake(user);
                }
            }
            again
        }
        Err(failure) => {
            status::fetch_failed(&mut writer.status, at, &failure);
            writer.write().await?;
            if failure.terminal {
                writer.status.observed_generation.0 = at.generation;
                again
            } else {
                Next::Retry
            }
        }
    };
    writer.status.last_handled_reconcile_at = requested_at(&source);
    writer.write().await?;
    Ok(next)
}

/// Says that a generation not observed yet is looked at, and that an artifact is made where there is none.
async fn announce<S: Source>(writer: &mut StatusWriter<S, SourceStatus>, at: At) -> anyhow::Result<()> {
    if writer.status.observed_generation.0 != at.generation {
        status::processing(&mut writer.status, at);
        writer.write().await?;
    }
    if writer.status.artifact.is_none() {
        status::building(&mut writer.status, at);
        writer.write().await?;
    }
    Ok(())
}

/// Stores what was fetched and says so in the status; tells whether it is something new.
async fn keep<S: Source>(
    flux: &Flux,
    key: &Key,
    at: At,
    writer: &mut StatusWriter<S, SourceStatus>,
    fetched: Fetched,
) -> anyhow::Result<bool> {
    let Fetched { bytes, revision, metadata, reason, outdated, found, stored } = fetched;
    let new = writer.status.artifact.as_ref().is_none_or(|artifact| artifact.revision != revision);
    let artifact = flux.store.keep(key, revision, &bytes).await?;
    if new {
        status::found(&mut writer.status, at, outdated, &found);
        writer.write().await?;
    }
    status::stored(&mut writer.status, at, reason, &stored);
    writer.write().await?;
    let artifact = match writer.status.artifact.clone() {
        Some(kept) if !new && kept.digest == artifact.digest && kept.url == artifact.url => kept,
        Some(_) | None => super::objects::Artifact { metadata, ..artifact },
    };
    status::artifact_named(&mut writer.status, at, &artifact);
    writer.write().await?;
    Ok(new)
}
