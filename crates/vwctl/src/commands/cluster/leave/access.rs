//! The cluster itself, with its admin's kubeconfig.

use super::{
    lease::Reading,
    plan::{Kind, Object},
};
use crate::Error;
use kube::{
    Api, Client, Config,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, Preconditions},
    config::{KubeConfigOptions, Kubeconfig},
    core::{ApiResource, GroupVersionKind, ObjectMeta, PartialObjectMeta},
};
use serde_json::json;
use std::{collections::BTreeSet, path::Path, time::Duration};

/// Name of the operator's leader-election lease.
const LEASE: &str = "dad03b25.vworkspace.io";
/// Objects in one answer of the API server.
const PAGE: u32 = 500;
/// Longest time for one answer of the API server.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// The API of a cluster.
pub(super) struct Access {
    client: Client,
    /// Its URL, for people.
    pub url: String,
}

impl Access {
    /// Reads the kubeconfig: the file given, else what `KUBECONFIG` names, else the user's own.
    pub(super) async fn new(file: Option<&Path>, context: Option<String>) -> Result<Self, Error> {
        let unusable = |source: kube::config::KubeconfigError| Error::Kubeconfig(source.to_string());
        let kubeconfig = match file {
            Some(file) => Kubeconfig::read_from(file),
            None => Kubeconfig::read(),
        };
        let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
        let kubeconfig = kubeconfig.map_err(unusable)?;
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(unusable)?;
        config.read_timeout = Some(ANSWER_WITHIN);
        let url = config.cluster_url.to_string();
        let client = Client::try_from(config).map_err(|source| Error::Kubeconfig(source.to_string()))?;
        Ok(Self { client, url })
    }

    /// Reads everything that leaving is about.
    pub(super) async fn objects(&self) -> Result<Vec<Object>, Error> {
        let mut objects = Vec::new();
        for kind in [Kind::ApplicationInstance, Kind::Operation, Kind::Cluster] {
            objects.extend(self.list(kind).await?.into_iter().map(|meta| object(kind, meta)));
        }
        let owners: BTreeSet<String> = objects.iter().map(|object| object.uid.clone()).collect();
        for meta in self.list(Kind::HelmRelease).await? {
            let references = meta.owner_references.iter().flatten();
            let mut owner = references.filter(|owner| owner.kind == Kind::ApplicationInstance.name());
            let Some(owner) = owner.next() else { continue };
            let is_orphan = !owners.contains(&owner.uid);
            let mut release = object(Kind::HelmRelease, meta);
            release.deleting |= is_orphan;
            objects.push(release);
        }
        let inside: BTreeSet<String> = objects.iter().map(|object| object.namespace.clone()).collect();
        let namespaces =
            self.list(Kind::Namespace).await?.into_iter().map(|meta| object(Kind::Namespace, meta));
        objects.extend(namespaces.filter(|namespace| namespace.deleting && inside.contains(&namespace.name)));
        Ok(objects)
    }

    /// Reads the leader-election lease, in whichever namespace the operator has its own. Of several, the newest.
    pub(super) async fn lease(&self) -> Result<Option<Reading>, Error> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("coordination.k8s.io", "v1", "Lease"));
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
        let params = ListParams::default().fields(&format!("metadata.name={LEASE}"));
        let leases = api.list(&params).await.map_err(failed("list", "Leases"))?;
        let newest = leases
            .items
            .into_iter()
            .max_by_key(|lease| lease.data["spec"]["renewTime"].as_str().unwrap_or_default().to_owned());
        Ok(newest.map(|lease| {
            let spec = &lease.data["spec"];
            Reading {
                version: lease.metadata.resource_version.clone().unwrap_or_default(),
                is_held: spec["holderIdentity"].as_str().is_some_and(|holder| !holder.is_empty()),
                duration_seconds: spec["leaseDurationSeconds"].as_i64().and_then(|s| i32::try_from(s).ok()),
            }
        }))
    }

    /// Asks for the deletion of this object and of none that took its name since.
    pub(super) async fn delete(&self, object: &Object) -> Result<(), Error> {
        let uid = Some(object.uid.clone());
        let preconditions = Some(Preconditions { uid, resource_version: None });
        let params = DeleteParams { preconditions, ..DeleteParams::default() };
        let deleted = self.api(object).delete(&object.name, &params).await.map(drop);
        ignore_stale(deleted).map_err(failed("delete", &named(object)))
    }

    /// Takes the operator's finalizer off this object if it is still as it was read.
    pub(super) async fn release(&self, object: &Object) -> Result<(), Error> {
        let ours = object.kind.finalizer();
        let kept: Vec<_> = object.finalizers.iter().filter(|f| Some(f.as_str()) != ours).collect();
        let patch = json!({ "metadata": {
            "uid": object.uid, "resourceVersion": object.resource_version, "finalizers": kept } });
        let params = PatchParams { field_manager: Some("vwctl".to_owned()), ..PatchParams::default() };
        let patched = self.api(object).patch_metadata(&object.name, &params, &Patch::Merge(patch)).await;
        ignore_stale(patched.map(drop)).map_err(failed("remove the finalizer of", &named(object)))
    }

    fn api(&self, object: &Object) -> Api<DynamicObject> {
        let resource = resource(object.kind);
        if object.namespace.is_empty() {
            Api::all_with(self.client.clone(), &resource)
        } else {
            Api::namespaced_with(self.client.clone(), &object.namespace, &resource)
        }
    }

    /// The metadata of all objects of a kind; none where the cluster does not know the kind.
    async fn list(&self, kind: Kind) -> Result<Vec<ObjectMeta>, Error> {
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource(kind));
        let mut params = ListParams::default().limit(PAGE);
        let mut found = Vec::new();
        loop {
            let page = match api.list_metadata(&params).await {
                Err(kube::Error::Api(status)) if status.code == 404 => return Ok(found),
                page => page.map_err(failed("list", kind.name()))?,
            };
            found.extend(page.items.into_iter().map(|item: PartialObjectMeta<DynamicObject>| item.metadata));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => return Ok(found),
            }
        }
    }
}

fn resource(kind: Kind) -> ApiResource {
    let (group, version) = match kind {
        Kind::ApplicationInstance => ("apps.vworkspace.io", "v1alpha1"),
        Kind::Operation | Kind::Cluster => ("ops.vworkspace.io", "v1alpha1"),
        Kind::HelmRelease => ("helm.toolkit.fluxcd.io", "v2"),
        Kind::Namespace => ("", "v1"),
    };
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind.name()))
}

fn object(kind: Kind, meta: ObjectMeta) -> Object {
    Object {
        kind,
        namespace: meta.namespace.unwrap_or_default(),
        name: meta.name.unwrap_or_default(),
        uid: meta.uid.unwrap_or_default(),
        resource_version: meta.resource_version.unwrap_or_default(),
        deleting: meta.deletion_timestamp.is_some(),
        finalizers: meta.finalizers.unwrap_or_default(),
    }
}

/// An object that is gone or has changed meanwhile is looked at again.
fn ignore_stale(outcome: kube::Result<()>) -> kube::Result<()> {
    match outcome {
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        outcome => outcome,
    }
}

fn named(object: &Object) -> String {
    let place = if object.namespace.is_empty() { String::new() } else { format!("{}/", object.namespace) };
    format!("{} {place}{}", object.kind.name(), object.name)
}

fn failed(action: &'static str, what: &str) -> impl FnOnce(kube::Error) -> Error {
    let what = what.to_owned();
    move |source| Error::Kubernetes { action, what, source: Box::new(source) }
}
