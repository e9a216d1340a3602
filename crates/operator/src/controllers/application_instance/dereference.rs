//! Step 1: what the instance points at, freshly read. Needs a client.

use super::{
    Shared,
    build::{source_kind, source_name},
    chart_secret::{self, SourceAccess},
    error::Error,
    live::{self, Live},
    values_content, values_text,
};
use crate::flux::{
    observed::{HelmRelease, Source},
    written::FluxKind,
};
use kube::Client;
use vworkspace_crds::{
    ApplicationInstance,
    application_instance::{SourceType, Values, ValuesSource},
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
    /// Revision of the referenced values, if there are any.
    pub values_revision: Option<String>,
    /// What Flux is told of the source's Secret.
    pub access: SourceAccess,
    /// What the spec names and the cluster lacks, nearest the source first.
    pub lacks: Vec<Lack>,
}

/// Something that the spec names and that is not there, or not as it is needed. Flux waits for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lack {
    /// Of the source's Secret.
    ChartSecret(String),
    /// Of the referenced values.
    Values(String),
}

/// A Secret or ConfigMap that the spec names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValuesObject {
    /// Which of the two.
    pub kind: ValuesKind,
    /// Its name, in the instance's namespace.
    pub name: String,
    /// The key within it; empty if all of it counts.
    pub key: String,
}

/// Kinds of objects that hold values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValuesKind {
    /// A Secret.
    Secret,
    /// A ConfigMap.
    ConfigMap,
}

impl ValuesKind {
    /// The kind's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
        }
    }
}

/// Reads everything. In a closed namespace, and for a spec that names nothing, nothing is read.
///
/// The release is read before its sources: a release that takes up a new chart is never seen beside a source that does
/// not have it yet.
///
/// # Errors
/// A kind that is not served, missing rights, and what passes by itself.
pub(super) async fn dereference(
    shared: &Shared,
    instance: &ApplicationInstance,
) -> Result<Dereferenced, Error> {
    let client = &shared.context.client;
    let namespace = instance.metadata.namespace.as_deref().unwrap_or_default();
    let is_gate_open = shared.context.gates.is_open(namespace);
    let (Some(chart), Some(wanted), true) = (&instance.spec.chart, &instance.spec.release, is_gate_open)
    else {
        return Ok(Dereferenced { is_gate_open, ..Dereferenced::default() });
    };
    let namespaces = (shared.context.own_namespace.as_str(), namespace);
    let (release, values, access) = tokio::try_join!(
        live::read(client, FluxKind::HelmRelease, namespace, &wanted.name),
        values_content::revision(client, &shared.values_key, namespaces, values_object(instance)),
        chart_secret::access(client, namespace, chart),
    )?;
    let source_name = source_name(&wanted.name);
    let (source, chart) = tokio::try_join!(
        live::read(client, source_kind(chart.source_type), namespace, &source_name),
        helm_chart(client, chart.source_type, namespace, &wanted.name),
    )?;
    let of_chart = access.lacks.clone().map(Lack::ChartSecret);
    let lacks = of_chart.into_iter().chain(values.lacks.map(Lack::Values)).collect();
    let (chart, values_revision) = (chart.map(|chart| chart.view), values.revision);
    Ok(Dereferenced { is_gate_open, release, source, chart, values_revision, access, lacks })
}

/// The objects whose changes wake the instance: those that the spec names, and the one that holds its texts.
pub fn watched_objects(instance: &ApplicationInstance) -> Vec<ValuesObject> {
    let secret = |name: String| ValuesObject { kind: ValuesKind::Secret, name, key: String::new() };
    let of_chart = instance.spec.chart.as_ref().and_then(|chart| chart.secret_ref.clone());
    let of_texts = || values_text::secret_name(instance).map(secret);
    let of_values = values_object(instance).or_else(of_texts);
    of_chart.map(|of_chart| secret(of_chart.name)).into_iter().chain(of_values).collect()
}

/// The values object that the spec names.
pub fn values_object(instance: &ApplicationInstance) -> Option<ValuesObject> {
    let Values { source, inline: _, texts: _, secret_ref, config_map_ref } = instance.spec.values.as_ref()?;
    let (kind, key) = match source {
        ValuesSource::Inline | ValuesSource::Text => return None,
        ValuesSource::SecretRef => (ValuesKind::Secret, secret_ref),
        ValuesSource::ConfigMapRef => (ValuesKind::ConfigMap, config_map_ref),
    };
    key.as_ref().map(|key| ValuesObject { kind, name: key.name.clone(), key: key.key.clone() })
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
