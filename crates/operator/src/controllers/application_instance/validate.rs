//! Step 2: what our rules say. Pure.
//!
//! The schema's own rules are repeated where a server without CEL would let them pass (contract, section 5);
//! everything a later step needs is in [`Validated`].

use super::{values_text, warning};
use crate::args::SecretsInValues;
use serde_json::{Map, Value};
use thiserror::Error;
use vworkspace_crds::{
    ApplicationInstance,
    application_instance::{Chart, KeyRef, Mode, Release, SourceType, Values, ValuesSource, ValuesText},
    key::is_name,
};
use vworkspace_protocol::condition::reasons;
use vworkspace_rules::address;

/// A catalog entry of the reference that is no Helm chart and that this operator does not serve.
const SEAWEEDFS: &str = "seaweedfs";

/// An instance that keeps our rules.
#[derive(Clone, Copy, Debug)]
pub enum Validated<'a> {
    /// Nothing is to be installed.
    Placeholder,
    /// A chart is to be installed.
    Managed(Managed<'a>),
}

/// What is to be installed, in the instance's own namespace.
#[derive(Clone, Copy, Debug)]
pub struct Managed<'a> {
    /// The instance.
    pub instance: &'a ApplicationInstance,
    /// The namespace of everything.
    pub namespace: &'a str,
    /// The chart.
    pub chart: &'a Chart,
    /// The release.
    pub release: &'a Release,
    /// The values.
    pub values: ChartValues<'a>,
}

/// Values of the chart: exactly one source.
#[derive(Clone, Copy, Debug)]
pub enum ChartValues<'a> {
    /// The chart's own.
    Default,
    /// Written inline, without secrets.
    Inline(&'a Map<String, Value>),
    /// Texts that Helm reads, without secrets.
    Texts(&'a [ValuesText]),
    /// A key of a Secret.
    Secret(&'a KeyRef),
    /// A key of a ConfigMap.
    ConfigMap(&'a KeyRef),
}

/// A rule that stands against the instance.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The namespace's admin has not opened it.
    #[error(
        "namespace {namespace} is not opened to the operator: its admin sets the label managed-by=vworkspace"
    )]
    NamespaceNotGated {
        /// The namespace.
        namespace: String,
    },
    /// A rule of the spec.
    #[error("{0}")]
    Spec(&'static str),
    /// Release identity is fixed for life.
    #[error("release.name was {was} and cannot change; make a new instance")]
    ReleaseRenamed {
        /// The release that this instance already has.
        was: String,
    },
    /// The release belongs elsewhere.
    #[error("release.namespace {asked} is not the instance's own namespace {own}")]
    ForeignNamespace {
        /// What the spec says.
        asked: String,
        /// Where the instance is.
        own: String,
    },
    /// A secret does not belong into a spec that everybody may read.
    #[error("{0}")]
    InlineSecret(String),
    /// The texts are too large for a Secret.
    #[error(
        "values.texts hold {bytes} bytes, and at most {most} are allowed; put them into a Secret of your own and refer to it by values.secretRef"
    )]
    TextsTooLarge {
        /// Size of all texts.
        bytes: usize,
        /// The bound.
        most: usize,
    },
    /// A Secret that the operator did not make has the name that it needs for the texts.
    #[error("Secret {name} was not made by the operator for this instance; delete it, or change the values")]
    ForeignValuesSecret {
        /// Its name.
        name: String,
    },
    /// Another object has the name that the release needs.
    #[error("{kind} {name} belongs to {owner}")]
    NameTaken {
        /// Kind of the object.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Who has it.
        owner: String,
    },
    /// The API server does not take what the spec leads to.
    #[error("the API server refuses {what}: {message}")]
    ApiServer {
        /// What was written.
        what: String,
        /// Its words.
        message: String,
    },
}

impl Refusal {
    /// The rule, as the reason of `Blocked`.
    pub const fn rule(&self) -> &'static str {
        match self {
            Self::NamespaceNotGated { .. } => reasons::NAMESPACE_NOT_GATED,
            Self::InlineSecret(_) => reasons::INLINE_SECRET_MATERIAL_REJECTED,
            Self::Spec(_)
            | Self::ReleaseRenamed { .. }
            | Self::ForeignNamespace { .. }
            | Self::NameTaken { .. }
            | Self::TextsTooLarge { .. }
            | Self::ForeignValuesSecret { .. }
            | Self::ApiServer { .. } => reasons::VALIDATION_FAILED,
        }
    }
}

/// Applies the rules.
///
/// # Errors
/// The first rule that is broken.
pub fn validate(
    instance: &ApplicationInstance,
    is_gate_open: bool,
    secrets: SecretsInValues,
) -> Result<Validated<'_>, Refusal> {
    let namespace = instance.metadata.namespace.as_deref().unwrap_or_default();
    if !is_gate_open {
        return Err(Refusal::NamespaceNotGated { namespace: namespace.to_owned() });
    }
    let spec = &instance.spec;
    if let Some(release) = spec.release.as_ref().filter(|release| release.namespace != namespace) {
        return Err(Refusal::ForeignNamespace {
            asked: release.namespace.clone(),
            own: namespace.to_owned(),
        });
    }
    match spec.mode {
        Mode::Placeholder => placeholder(instance),
        Mode::Managed => managed(instance, namespace, secrets).map(Validated::Managed),
    }
}

fn placeholder(instance: &ApplicationInstance) -> Result<Validated<'_>, Refusal> {
    let has_release = instance.status.as_ref().is_some_and(|status| status.helm_release_ref.is_some());
    if has_release {
        return Err(Refusal::Spec("a managed instance cannot become a placeholder; delete it instead"));
    }
    if instance.spec.chart.is_some() || instance.spec.values.is_some() {
        return Err(Refusal::Spec("a placeholder has neither spec.chart nor spec.values"));
    }
    Ok(Validated::Placeholder)
}

fn managed<'a>(
    instance: &'a ApplicationInstance,
    namespace: &'a str,
    secrets: SecretsInValues,
) -> Result<Managed<'a>, Refusal> {
    let spec = &instance.spec;
    if spec.app_ref.catalog_id == SEAWEEDFS {
        return Err(Refusal::Spec(
            "catalog entry seaweedfs is not served by this operator; give a chart under another id",
        ));
    }
    let (Some(chart), Some(release)) = (&spec.chart, &spec.release) else {
        return Err(Refusal::Spec("a managed instance needs spec.chart and spec.release"));
    };
    let known = instance.status.as_ref().and_then(|status| status.helm_release_ref.as_ref());
    if let Some(known) = known.filter(|known| known.name != release.name) {
        return Err(Refusal::ReleaseRenamed { was: known.name.clone() });
    }
    let is_http = ["https://", "http://"].iter().any(|scheme| chart.url.starts_with(scheme));
    if chart.source_type == SourceType::Helm && !is_http {
        return Err(Refusal::Spec("chart.url of a helm source starts with https:// or http://"));
    }
    if address::holds_credentials(&chart.url) && !warning::is_known(instance, chart) {
        return Err(Refusal::Spec(address::NO_CREDENTIALS_MESSAGE));
    }
    let values = spec.values.as_ref().map_or(Ok(ChartValues::Default), chart_values)?;
    if secrets == SecretsInValues::Refuse
        && !warning::is_served(instance)
        && let Some(message) = warning::secrets(instance)
    {
        return Err(Refusal::InlineSecret(message));
    }
    Ok(Managed { instance, namespace, chart, release, values })
}

fn chart_values(values: &Values) -> Result<ChartValues<'_>, Refusal> {
    let Values { source, inline, texts, secret_ref, config_map_ref } = values;
    let chosen = match (source, inline, texts, secret_ref, config_map_ref) {
        (ValuesSource::Inline, Some(inline), None, None, None) => ChartValues::Inline(inline),
        (ValuesSource::Text, None, Some(texts), None, None) => ChartValues::Texts(texts),
        (ValuesSource::SecretRef, None, None, Some(key), None) => ChartValues::Secret(key),
        (ValuesSource::ConfigMapRef, None, None, None, Some(key)) => ChartValues::ConfigMap(key),
        _ => {
            return Err(Refusal::Spec("values need exactly the member that values.source names"));
        }
    };
    match chosen {
        ChartValues::Texts(texts) => values_text::check(texts).map(|()| chosen),
        ChartValues::Secret(key) if !is_name(&key.name) => {
            Err(Refusal::Spec("values.secretRef.name is no name of a Secret"))
        }
        ChartValues::ConfigMap(key) if !is_name(&key.name) => {
            Err(Refusal::Spec("values.configMapRef.name is no name of a ConfigMap"))
        }
        ChartValues::Default
        | ChartValues::Inline(_)
        | ChartValues::Secret(_)
        | ChartValues::ConfigMap(_) => Ok(chosen),
    }
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
