//! Step 3: the Flux objects that the instance leads to. Pure and infallible.

use super::{
    chart_secret::SourceAccess,
    validate::{ChartValues, Managed},
    values_text,
};
use crate::flux::{
    version,
    written::{
        ChartTemplate, FluxKind, HelmReleaseSpec, KindAndName, LayerSelector, OciReference,
        OciRepositorySpec, ReleaseChart, SourceSecrets, SourceSpec, ValuesReference,
    },
};
use aws_lc_rs::digest::{SHA256, digest};
use k8s_openapi::api::core::v1::Secret;
use kube::{Resource as _, ResourceExt as _, core::ObjectMeta};
use serde::Serialize;
use std::collections::BTreeMap;
use vworkspace_crds::{
    application_instance::{AppliedChart, Chart, SecretName, SourceType},
    key,
};
use vworkspace_rules::redact;

/// How often Flux looks at a source by itself.
const SOURCE_INTERVAL: &str = "1m0s";
/// How often Flux looks at a release by itself.
const RELEASE_INTERVAL: &str = "5m0s";
/// Scheme of an OCI repository.
const OCI_SCHEME: &str = "oci://";

/// An object to be applied.
#[derive(Clone, Debug)]
pub struct Desired {
    /// Its kind.
    pub kind: FluxKind,
    /// Its name.
    pub name: String,
    /// All of it, as sent; carries its own digest in an annotation.
    pub manifest: serde_json::Value,
}

/// Everything to be applied.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// Namespace of everything.
    pub namespace: String,
    /// The HelmRepository or OCIRepository.
    pub source: Desired,
    /// The Secret with the texts of values; created once, never applied again.
    pub values_secret: Option<Secret>,
    /// The HelmRelease.
    pub release: Desired,
    /// The chart asked for, as the status shows it.
    pub chart: AppliedChart,
}

/// Name of the source that belongs to a release.
pub fn source_name(release: &str) -> String {
    format!("{release}-source")
}

/// Kind of the source that a chart comes from.
pub const fn source_kind(source_type: SourceType) -> FluxKind {
    match source_type {
        SourceType::Helm => FluxKind::HelmRepository,
        SourceType::Oci => FluxKind::OciRepository,
    }
}

/// Builds the objects.
pub fn build(managed: &Managed<'_>, access: &SourceAccess) -> Prepared {
    let source = source_spec(managed.chart, secrets(access));
    let release = HelmReleaseSpec {
        interval: RELEASE_INTERVAL,
        timeout: managed.release.timeout.clone(),
        chart: release_chart(managed),
        values: match managed.values {
            ChartValues::Inline(values) => Some(values.clone()),
            ChartValues::Default
            | ChartValues::Texts(_)
            | ChartValues::Secret(_)
            | ChartValues::ConfigMap(_) => None,
        },
        values_from: values_from(managed),
    };
    let values_secret = match managed.values {
        ChartValues::Texts(texts) => {
            Some(values_text::secret(managed, texts, |name| metadata(managed, name)))
        }
        _ => None,
    };
    Prepared {
        namespace: managed.namespace.to_owned(),
        source: desired(managed, source.kind(), source_name(&managed.release.name), &source),
        values_secret,
        release: desired(managed, FluxKind::HelmRelease, managed.release.name.clone(), &release),
        chart: applied_chart(managed.chart),
    }
}

fn secrets(access: &SourceAccess) -> SourceSecrets {
    let named = |name: &Option<String>| name.clone().map(|name| SecretName { name });
    SourceSecrets { secret_ref: named(&access.credentials), cert_secret_ref: named(&access.certificates) }
}

fn source_spec(chart: &Chart, secrets: SourceSecrets) -> SourceSpec {
    match chart.source_type {
        SourceType::Helm => {
            SourceSpec::HelmRepository { interval: SOURCE_INTERVAL, url: chart.url.clone(), secrets }
        }
        SourceType::Oci => SourceSpec::OciRepository(OciRepositorySpec {
            interval: SOURCE_INTERVAL,
            url: oci_url(&chart.url, &chart.name),
            reference: reference(&chart.version),
            layer_selector: LayerSelector::CHART,
            insecure: chart.insecure,
            secrets,
        }),
    }
}

fn reference(version: &str) -> OciReference {
    let version = version.trim();
    if version::is_range(version) {
        OciReference::Semver(version.to_owned())
    } else {
        OciReference::Tag(version::tag_of(version))
    }
}

/// The address that Flux asks, and how the one that may be meant is written; `None` for a chart repository.
///
/// The other one is not tried: it may be somebody else's.
pub fn address_hint(chart: &AppliedChart) -> Option<String> {
    if chart.source_type != SourceType::Oci {
        return None;
    }
    let (asked, name) = (oci_url(&chart.url, &chart.name), &chart.name);
    let (parent, last) = asked.trim_start_matches(OCI_SCHEME).rsplit_once('/').unwrap_or_default();
    let other = if oci_path(&chart.url).ends_with(&format!("/{last}")) || !parent.contains('/') {
        format!("a chart at {asked}/{name} is written with chart.url {asked}/{name}")
    } else {
        let (_, chart_name) = parent.rsplit_once('/').unwrap_or_default();
        format!("a chart at {OCI_SCHEME}{parent} is written with chart.name {chart_name}")
    };
    Some(format!("asked was {asked}; {other}"))
}

/// Without scheme, which may be written in capitals.
fn oci_path(url: &str) -> &str {
    let url = url.trim();
    let scheme = url.get(..OCI_SCHEME.len()).filter(|scheme| scheme.eq_ignore_ascii_case(OCI_SCHEME));
    url.get(scheme.map_or(0, str::len)..).unwrap_or(url).trim_end_matches('/')
}

/// With scheme, and with the chart's name as last segment (contract, section 7).
fn oci_url(url: &str, name: &str) -> String {
    let path = oci_path(url);
    let has_name = path.rsplit_once('/').is_some_and(|(_, last)| last == name);
    if has_name { format!("{OCI_SCHEME}{path}") } else { format!("{OCI_SCHEME}{path}/{name}") }
}

fn release_chart(managed: &Managed<'_>) -> ReleaseChart {
    let kind = source_kind(managed.chart.source_type).as_str();
    let source = KindAndName { kind, name: source_name(&managed.release.name) };
    match managed.chart.source_type {
        SourceType::Oci => ReleaseChart::Reference(source),
        SourceType::Helm => ReleaseChart::Template {
            spec: ChartTemplate {
                chart: managed.chart.name.clone(),
                version: managed.chart.version.trim().to_owned(),
                source_ref: source,
            },
        },
    }
}

fn values_from(managed: &Managed<'_>) -> Vec<ValuesReference> {
    let (kind, key) = match managed.values {
        ChartValues::Texts(texts) => return values_text::references(managed, texts),
        ChartValues::Secret(key) => ("Secret", key),
        ChartValues::ConfigMap(key) => ("ConfigMap", key),
        ChartValues::Default | ChartValues::Inline(_) => return Vec::new(),
    };
    let (name, values_key) = (key.name.clone(), key.key.clone());
    vec![ValuesReference { kind, name, values_key, target_path: None, literal: false }]
}

/// Metadata of every object we make: labels of the reference contract, section 6.4, and the owner on all of them, so
/// that nothing is orphaned.
fn metadata(managed: &Managed<'_>, name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(managed.namespace.to_owned()),
        labels: Some(labels(managed)),
        owner_references: managed.instance.controller_owner_ref(&()).map(|owner| vec![owner]),
        ..ObjectMeta::default()
    }
}

fn labels(managed: &Managed<'_>) -> BTreeMap<String, String> {
    let of_instance = managed.instance.labels();
    let managed_by = of_instance.get(key::MANAGED_BY).map_or(key::MANAGED_BY_OPERATOR, String::as_str);
    let cluster_id = of_instance.get(key::CLUSTER_ID).map(|id| (key::CLUSTER_ID.to_owned(), id.clone()));
    // A label's value is bounded more tightly than a name; a longer name is found by the owner reference instead.
    let name = Some(managed.instance.name_any()).filter(|name| name.len() <= 63);
    let name = name.map(|name| (key::APPLICATION_INSTANCE.to_owned(), name));
    [Some((key::MANAGED_BY.to_owned(), managed_by.to_owned())), cluster_id, name]
        .into_iter()
        .flatten()
        .collect()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest<'a, S> {
    api_version: String,
    kind: &'static str,
    metadata: ObjectMeta,
    spec: &'a S,
}

fn desired<S: Serialize>(managed: &Managed<'_>, kind: FluxKind, name: String, spec: &S) -> Desired {
    let manifest = Manifest {
        api_version: kind.resource().api_version,
        kind: kind.as_str(),
        metadata: metadata(managed, &name),
        spec,
    };
    let mut manifest =
        serde_json::to_value(&manifest).expect("string keys and plain members always serialise");
    let digest = hex::encode(digest(&SHA256, manifest.to_string().as_bytes()));
    manifest["metadata"]["annotations"] = serde_json::json!({ key::APPLIED_DIGEST: digest });
    Desired { kind, name, manifest }
}

fn applied_chart(chart: &Chart) -> AppliedChart {
    AppliedChart {
        source_type: chart.source_type,
        url: redact(&chart.url).into_owned(),
        name: chart.name.clone(),
        version: chart.version.trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::SecretsInValues;
    use crate::controllers::application_instance::validate::{Validated, validate};
    use serde_json::{Value, json};
    use vworkspace_crds::ApplicationInstance;

    fn built(chart: &Value, values: &Value) -> Prepared {
        let mut spec = json!({
            "appRef": {"catalogId": "hello"},
            "chart": chart,
            "release": {"name": "shop", "namespace": "team", "timeout": "90s"},
        });
        if !values.is_null() {
            spec["values"] = values.clone();
        }
        let labels = json!({"app.vworkspace.io/cluster-id": "c1", "team": "x"});
        let instance: ApplicationInstance = serde_json::from_value(json!({
            "apiVersion": "apps.vworkspace.io/v1alpha1",
            "kind": "ApplicationInstance",
            "metadata": {"name": "shop", "namespace": "team", "uid": "u-1", "labels": labels},
            "spec": spec,
        }))
        .unwrap();
        let Ok(Validated::Managed(managed)) = validate(&instance, true, SecretsInValues::Warn) else {
            unreachable!("refused")
        };
        build(&managed, &SourceAccess::default())
    }

    fn shown(prepared: &Prepared) -> Value {
        json!([prepared.source.manifest, prepared.release.manifest])
    }

    #[test]
    fn a_chart_repository_with_values_from_a_secret() {
        let chart =
            json!({"sourceType": "helm", "url": "https://charts.example", "name": "hello", "version": "1.x"});
        let values = json!({"source": "secretRef", "secretRef": {"name": "v", "key": "values.yaml"}});
        insta::assert_json_snapshot!(shown(&built(&chart, &values)));
    }

    #[test]
    fn a_registry_with_inline_values() {
        let chart = json!({
            "sourceType": "oci", "url": "registry.example/charts", "name": "hello", "version": "1.0.0+b1",
            "insecure": true,
        });
        insta::assert_json_snapshot!(shown(&built(
            &chart,
            &json!({"source": "inline", "inline": {"replicas": 2}})
        )));
    }

    #[test]
    fn each_secret_of_a_private_source_stands_where_flux_reads_it() {
        let chart = json!({
            "sourceType": "helm", "url": "https://charts.example", "name": "hello", "version": "1.0.0",
            "secretRef": {"name": "s"},
        });
        let chart: Chart = serde_json::from_value(chart).unwrap();
        let spec = |source_type, access: &SourceAccess| {
            let spec = source_spec(&Chart { source_type, ..chart.clone() }, secrets(access));
            let spec = serde_json::to_value(spec).unwrap();
            json!([spec["secretRef"]["name"], spec["certSecretRef"]["name"]])
        };
        for source_type in [SourceType::Helm, SourceType::Oci] {
            let name = || Some("s".to_owned());
            let both = SourceAccess { credentials: name(), certificates: name(), lacks: None };
            assert_eq!(spec(source_type, &both), json!(["s", "s"]));
            let only = SourceAccess { certificates: name(), ..SourceAccess::default() };
            assert_eq!(spec(source_type, &only), json!([null, "s"]));
        }
    }

    #[test]
    fn registry_looks_for_ranges_and_is_asked_for_whole_versions() {
        let written = |version: &str| serde_json::to_value(reference(version)).unwrap();
        assert_eq!(written(" 1.1.0 "), json!({"tag": "1.1.0"}));
        assert_eq!(written("1.1.0+b1"), json!({"tag": "1.1.0_b1"}));
        assert_eq!(written("latest"), json!({"tag": "latest"}));
        assert_eq!(written(" ^1.0.0"), json!({"semver": "^1.0.0"}));
        assert_eq!(written("v1.1.0"), json!({"semver": "v1.1.0"}));
    }

    #[test]
    fn address_that_was_asked_is_named_with_the_other_one() {
        let hint = |url: &str, name: &str| {
            let (url, name, version) = (url.to_owned(), name.to_owned(), "1.0.0".to_owned());
            address_hint(&AppliedChart { source_type: SourceType::Oci, url, name, version }).unwrap()
        };
        assert_eq!(
            hint("oci://r.example/web", "web"),
            "asked was oci://r.example/web; a chart at oci://r.example/web/web is written with chart.url oci://r.example/web/web"
        );
        assert_eq!(
            hint("OCI://r.example/charts/web/", "web"),
            "asked was oci://r.example/charts/web; a chart at oci://r.example/charts/web/web is written with chart.url oci://r.example/charts/web/web"
        );
        assert_eq!(
            hint("r.example/charts", "web"),
            "asked was oci://r.example/charts/web; a chart at oci://r.example/charts is written with chart.name charts"
        );
    }

    #[test]
    fn texts_are_referred_to_in_order_by_an_immutable_secret_of_the_instance() {
        let chart =
            json!({"sourceType": "helm", "url": "https://charts.example", "name": "hello", "version": "1.x"});
        let texts = json!([{"text": "a: 0440\n"}, {"text": "b: on\n"}, {"text": "0440", "targetPath": "c.d", "literal": true}]);
        let prepared = built(&chart, &json!({"source": "text", "texts": texts}));
        let secret = serde_json::to_value(prepared.values_secret).unwrap();
        insta::assert_json_snapshot!(json!([secret, prepared.release.manifest["spec"]["valuesFrom"]]));
    }

    #[test]
    fn the_name_of_the_chart_ends_the_url_once() {
        assert_eq!(oci_url("oci://r.example/charts/hello", "hello"), "oci://r.example/charts/hello");
        assert_eq!(oci_url("r.example/charts/", "hello"), "oci://r.example/charts/hello");
        assert_eq!(oci_url("oci://hello", "hello"), "oci://hello/hello");
        assert_eq!(oci_url("OCI://r.example/charts/hello", "hello"), "oci://r.example/charts/hello");
    }
}
