//! Deleting an instance: the release goes first, and is really gone before the instance is.
//!
//! The sources go with the instance, by ownership. Ownership alone removes the release, too, where it cannot be followed
//! any more: Flux is not served, the admin has closed the namespace, or the namespace ends. Nothing of ours keeps a
//! namespace from ending.
//!
//! Where our rights are missing in an open namespace that stays, the instance waits and says which command gives them
//! back: a delete job succeeds only once the release is gone, which nobody could see. Whoever wants to give the release
//! up instead closes the namespace.

use super::{
    Shared, apply,
    error::{Error, is_denied, is_unserved},
    live::{self, Live, owner_other_than},
    status,
};
use crate::flux::{
    observed::{HelmRelease, Observed as _},
    written::FluxKind,
};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, ResourceExt as _};
use vworkspace_crds::{ApplicationInstance, key};

/// One step towards the end: what is waited for, or `None` when the instance is let go.
pub(super) async fn advance(
    shared: &Shared,
    instance: &ApplicationInstance,
) -> Result<Option<String>, Error> {
    if !instance.finalizers().iter().any(|finalizer| finalizer == key::APPLICATION_INSTANCE_FINALIZER) {
        return Ok(None);
    }
    let Some(release) = release_in_the_way(shared, instance).await? else {
        let_go(shared, instance).await?;
        return Ok(None);
    };
    if release.metadata.deletion_timestamp.is_none() {
        let namespace = instance.namespace().unwrap_or_default();
        apply::delete(&shared.context.client, FluxKind::HelmRelease, &namespace, &release.metadata).await?;
    }
    let name = release.metadata.name.as_deref().unwrap_or_default();
    Ok(Some(match release.current_false("Ready").filter(|_| release.metadata.deletion_timestamp.is_some()) {
        Some(ready) => format!("waiting for HelmRelease {name} to be gone: {}", ready.message),
        None => format!("waiting for HelmRelease {name} to be gone"),
    }))
}

/// The release that is still there and that is this instance's.
async fn release_in_the_way(
    shared: &Shared,
    instance: &ApplicationInstance,
) -> Result<Option<HelmRelease>, Error> {
    let namespace = instance.namespace().unwrap_or_default();
    let uid = instance.uid().unwrap_or_default();
    let client = &shared.context.client;
    let release = instance.spec.release.as_ref().filter(|_| shared.context.gates.is_open(&namespace));
    let Some(release) = release else { return Ok(None) };
    match live::read(client, FluxKind::HelmRelease, &namespace, &release.name).await {
        Ok(found) => Ok(found.map(|live: Live<HelmRelease>| live.view).filter(|release| {
            let has_owner = release.metadata.owner_references.iter().flatten().any(|owner| owner.uid == uid);
            has_owner && owner_other_than(&release.metadata, &uid).is_none()
        })),
        Err(Error::Call { source, .. }) if is_unserved(&source) => Ok(None),
        Err(Error::Call { source, .. }) if is_denied(&source) && is_ending(shared, &namespace).await? => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// A namespace that ends takes our RoleBinding with it, often before its other objects.
async fn is_ending(shared: &Shared, namespace: &str) -> Result<bool, Error> {
    let api: Api<Namespace> = Api::all(shared.context.client.clone());
    match api.get_metadata(namespace).await {
        Ok(found) => Ok(found.metadata.deletion_timestamp.is_some()),
        Err(source) => Err(Error::Call { action: "read", what: format!("Namespace {namespace}"), source }),
    }
}

async fn let_go(shared: &Shared, instance: &ApplicationInstance) -> Result<(), Error> {
    let others =
        instance.finalizers().iter().filter(|finalizer| *finalizer != key::APPLICATION_INSTANCE_FINALIZER);
    let others: Vec<String> = others.cloned().collect();
    match apply::write_finalizers(&shared.context.client, instance, &others).await {
        Ok(_) => {}
        Err(Error::Call { source, .. }) if super::error::is_absent(&source) => {}
        Err(error) => return Err(error),
    }
    shared.own_writes.forget(instance);
    // Whom others hold is there until they let go too: its end is seen then.
    if others.is_empty() {
        shared.context.reporter.deleted(status::object_ref(instance));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        announce::Announcer,
        context::Context,
        controllers::{
            application_instance::{
                patience::Patience, running::ReportedChanges, values::ValuesWatches, values_key::ValuesKey,
            },
            gate::Gates,
        },
        metrics::Metrics,
        namespace_access::NamespaceAccess,
        report::{Observation, Reporter},
    };
    use kube::{Client, client::Body};
    use serde_json::{Value, json};
    use std::sync::Arc;
    use tokio::sync::{mpsc, watch};
    use tokio_util::sync::CancellationToken;
    use tower::BoxError;

    fn instance(finalizers: &[&str]) -> Value {
        json!({
            "apiVersion": "apps.vworkspace.io/v1alpha1", "kind": "ApplicationInstance",
            "metadata": {"name": "shop", "namespace": "team", "uid": "u", "finalizers": finalizers},
            "spec": {"appRef": {"catalogId": "hello"}},
        })
    }

    /// What is told when this one is let go by an API server that takes everything.
    async fn told_of(finalizers: &[&str]) -> Option<Observation> {
        let answers = tower::service_fn(async |_| {
            let body = Body::from(instance(&[]).to_string().into_bytes());
            Ok::<_, BoxError>(http::Response::new(body))
        });
        let (shared, mut observations) = shared(&Client::new(answers, "n"), &["team"]);
        let instance = serde_json::from_value(instance(finalizers)).unwrap();
        assert_eq!(advance(&shared, &instance).await.unwrap(), None);
        observations.try_recv().ok()
    }

    fn shared(client: &Client, open: &[&str]) -> (Shared, mpsc::Receiver<Observation>) {
        let (reporter, observations) = Reporter::channel();
        let (wakes, _woken) = mpsc::channel(1);
        let shared = Shared {
            announcer: Announcer::new(client.clone(), "c"),
            instances: kube::runtime::reflector::store().0,
            values: Arc::new(ValuesWatches::new(client.clone(), wakes, CancellationToken::new())),
            context: Context {
                client: client.clone(),
                own_namespace: "n".to_owned(),
                cluster_id: watch::channel(None).1,
                reporter,
                gates: Gates::fixed(open.iter().copied()),
                access: NamespaceAccess::new(client.clone()),
                secrets_in_values: crate::args::SecretsInValues::Warn,
                metrics: Metrics::new().0,
            },
            failures: Arc::default(),
            own_writes: Arc::default(),
            values_key: ValuesKey::default(),
            patience: Patience::default(),
            changes: ReportedChanges::default(),
        };
        (shared, observations)
    }

    /// Whether an instance with a release is let go by an API server that denies everything about the release.
    async fn is_let_go_without_rights(namespace_ends: bool, open: &[&str]) -> bool {
        let answers = tower::service_fn(move |request: http::Request<Body>| async move {
            let path = request.uri().path();
            let (code, body) = if path.contains("helmreleases") {
                let message = "helmreleases is forbidden";
                (
                    403,
                    json!({"kind": "Status", "status": "Failure", "reason": "Forbidden", "code": 403, "message": message}),
                )
            } else if path.contains("applicationinstances") {
                (200, instance(&[]))
            } else {
                let ends = namespace_ends.then_some("2026-01-01T00:00:00Z");
                (200, json!({"metadata": {"name": "team", "deletionTimestamp": ends}}))
            };
            let body = Body::from(body.to_string().into_bytes());
            Ok::<_, BoxError>(http::Response::builder().status(code).body(body).unwrap())
        });
        let (shared, mut observations) = shared(&Client::new(answers, "n"), open);
        let mut instance = instance(&[key::APPLICATION_INSTANCE_FINALIZER]);
        instance["spec"]["release"] = json!({"name": "shop", "namespace": "team"});
        let ended = advance(&shared, &serde_json::from_value(instance).unwrap()).await;
        let is_denied = matches!(&ended, Err(Error::Call { source, .. }) if is_denied(source));
        assert!(is_denied || matches!(ended, Ok(None)), "{ended:?}");
        assert_eq!(observations.try_recv().is_ok(), !is_denied);
        !is_denied
    }

    #[tokio::test]
    async fn missing_rights_hold_an_instance_unless_its_namespace_ends_or_closes() {
        assert!(!is_let_go_without_rights(false, &["team"]).await);
        assert!(is_let_go_without_rights(true, &["team"]).await);
        assert!(is_let_go_without_rights(false, &[]).await);
    }

    #[tokio::test]
    async fn an_instance_that_others_still_hold_is_not_told_to_be_gone() {
        let gone = told_of(&[key::APPLICATION_INSTANCE_FINALIZER]).await;
        assert!(matches!(gone, Some(Observation::Deleted { object }) if object.uid == "u"));
        assert_eq!(told_of(&["foregroundDeletion", key::APPLICATION_INSTANCE_FINALIZER]).await, None);
    }
}
