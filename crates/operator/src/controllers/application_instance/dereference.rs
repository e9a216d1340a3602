//! Step 1: what the instance points at, freshly read. Needs a client.

use super::{
    build::{source_kind, source_name},
    error::{Error, is_absent, is_denied},
    live::{self, Live},
};
use crate::{
    controllers::gate::Gates,
    flux::{
        observed::{HelmRelease, Source},
        written::FluxKind,
    },
};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client};
use vworkspace_crds::{
    ApplicationInstance,
    application_instance::{SourceType, Values, ValuesSource},
    key::is_name,
};

/// What the instance points at.
#[derive(Clone, Debug, Default)]
pub struct Dereferenced {
    /// Whether the namespace is open.
    pub is_gate_open: bool,
    /// The HelmRelease, if it is there.
    pub release: Option<Live<HelmRelease>>,
    /// The HelmRepository or OCIRepository, if it is there.
    pub source: Option<Live<Source>>,
    /// The HelmChart that Flux made, if it is there.
    pub chart: Option<Source>,
    /// The state of the referenced values object, if there is one.
    pub values_revision: Option<String>,
}

/// A Secret or ConfigMap with values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValuesObject {
    /// Which of the two.
    pub kind: ValuesKind,
    /// Its name, in the instance's namespace.
    pub name: String,
}

/// Kinds of objects that hold values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValuesKind {
    /// A Secret.
    Secret,
    /// A ConfigMap.
    ConfigMap,
}

/// Reads everything. In a closed namespace, and for a spec that names nothing, nothing is read.
///
/// # Errors
/// A kind that is not served, missing rights, and what passes by itself.
pub async fn dereference(
    client: &Client,
    gates: &Gates,
    instance: &ApplicationInstance,
) -> Result<Dereferenced, Error> {
    let namespace = instance.metadata.namespace.as_deref().unwrap_or_default();
    let is_gate_open = gates.is_open(namespace);
    let (Some(chart), Some(release), true) = (&instance.spec.chart, &instance.spec.release, is_gate_open)
    else {
        return Ok(Dereferenced { is_gate_open, ..Dereferenced::default() });
    };
    let source_name = source_name(&release.name);
    let (release, source, chart, values_revision) = tokio::try_join!(
        live::read(client, FluxKind::HelmRelease, namespace, &release.name),
        live::read(client, source_kind(chart.source_type), namespace, &source_name),
        helm_chart(client, chart.source_type, namespace, &release.name),
        values_revision(client, namespace, values_object(instance)),
    )?;
    Ok(Dereferenced { is_gate_open, release, source, chart: chart.map(|chart| chart.view), values_revision })
}

/// The values object that the spec names.
pub fn values_object(instance: &ApplicationInstance) -> Option<ValuesObject> {
    let Values { source, inline: _, secret_ref, config_map_ref } = instance.spec.values.as_ref()?;
    let (kind, key) = match source {
        ValuesSource::Inline => return None,
        ValuesSource::SecretRef => (ValuesKind::Secret, secret_ref),
        ValuesSource::ConfigMapRef => (ValuesKind::ConfigMap, config_map_ref),
    };
    key.as_ref().map(|key| ValuesObject { kind, name: key.name.clone() })
}

/// Name of the HelmChart that Flux makes for a release.
pub fn helm_chart_name(namespace: &str, release: &str) -> String {
    format!("{namespace}-{release}")
}

async fn helm_chart(
    client: &Client,
    source_type: SourceType,
    namespace: &str,
    release: &str,
) -> Result<Option<Live<Source>>, Error> {
    match source_type {
        SourceType::Oci => Ok(None),
        SourceType::Helm => {
            live::read(client, FluxKind::HelmChart, namespace, &helm_chart_name(namespace, release)).await
        }
    }
}

/// The object's uid and resourceVersion: its content is never read, only Flux needs it. An absent object, or one that
/// we may not see, has no state; Flux tells what it lacks. A name that is none is refused later.
async fn values_revision(
    client: &Client,
    namespace: &str,
    object: Option<ValuesObject>,
) -> Result<Option<String>, Error> {
    let Some(ValuesObject { kind, name }) = object.filter(|object| is_name(&object.name)) else {
        return Ok(None);
    };
    let (what, metadata) = match kind {
        ValuesKind::Secret => {
            let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
            (format!("Secret {name}"), secrets.get_metadata(&name).await.map(|object| object.metadata))
        }
        ValuesKind::ConfigMap => {
            let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
            (format!("ConfigMap {name}"), config_maps.get_metadata(&name).await.map(|object| object.metadata))
        }
    };
    match metadata {
        Ok(metadata) => {
            let version = metadata.resource_version.unwrap_or_default();
            Ok(Some(format!("{}@{version}", what.replace(' ', "/").to_lowercase())))
        }
        Err(error) if is_absent(&error) || is_denied(&error) => Ok(None),
        Err(source) => Err(Error::Call { action: "read", what, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::client::Body;
    use serde_json::json;
    use tower::BoxError;

    /// What it is told then is the validation's to say.
    #[tokio::test]
    async fn values_under_a_name_that_is_none_are_not_looked_for() {
        let absent = tower::service_fn(async |_| {
            let status =
                json!({"kind": "Status", "code": 404, "reason": "NotFound", "details": {"name": "n"}});
            let answer = http::Response::builder().status(404);
            Ok::<_, BoxError>(answer.body(Body::from(status.to_string().into_bytes()))?)
        });
        let instance = json!({
            "apiVersion": "apps.vworkspace.io/v1alpha1", "kind": "ApplicationInstance",
            "metadata": {"name": "shop", "namespace": "team"},
            "spec": {
                "appRef": {"catalogId": "hello"},
                "chart": {"sourceType": "helm", "url": "https://x", "name": "hello", "version": "1.0.0"},
                "release": {"name": "shop", "namespace": "team"},
                "values": {"source": "secretRef", "secretRef": {"name": "my values", "key": "k"}},
            },
        });
        let instance = serde_json::from_value(instance).unwrap();
        let found = dereference(&Client::new(absent, "n"), &Gates::fixed(["team"]), &instance).await;
        assert!(found.is_ok_and(|found| found.values_revision.is_none()));
    }
}
