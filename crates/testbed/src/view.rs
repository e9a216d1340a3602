//! What the control plane shows of a cluster's applications, and what is there: asked of both sides and compared.

use kube::{Api, Client as KubeClient, ResourceExt as _, api::ListParams};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};
use vworkspace_client::Client;
use vworkspace_crds::ApplicationInstance;
use vworkspace_protocol::{ClusterId, Condition};

/// An application, by its place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// One application: in the cluster, or as the control plane shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Which.
    pub target: Target,
    /// Which life of it.
    pub uid: String,
    /// Ordered by type.
    pub conditions: Vec<Condition>,
}

/// One application that is shown otherwise than it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Which.
    pub target: Target,
    /// How.
    pub what: String,
}

/// Where the control plane's view is not the cluster's. Pure.
pub fn differences(shown: &[Standing], truth: &[Standing]) -> Vec<Difference> {
    let shown_by: BTreeMap<&Target, &Standing> = shown.iter().map(|s| (&s.target, s)).collect();
    let true_by: BTreeMap<&Target, &Standing> = truth.iter().map(|s| (&s.target, s)).collect();
    let wrong = true_by.iter().filter_map(|(target, standing)| {
        let what = match shown_by.get(target) {
            Some(shown) if shown == standing => return None,
            Some(shown) => format!("it is {standing:?} and shown as {shown:?}"),
            // Nobody has looked at it yet: there is nothing to show.
            None if standing.conditions.is_empty() => return None,
            None => format!("it is {standing:?} and not shown"),
        };
        Some(Difference { target: (*target).clone(), what })
    });
    let gone = shown_by.keys().filter(|target| !true_by.contains_key(*target));
    let gone =
        gone.map(|target| Difference { target: (*target).clone(), what: "it is gone and shown".to_owned() });
    wrong.chain(gone).collect()
}

/// The applications of these namespaces as they are, with the generation of each.
///
/// # Errors
/// The API server does not answer.
pub async fn truth(admin: &KubeClient, namespaces: &[String]) -> anyhow::Result<Vec<(Standing, i64)>> {
    let mut truth = Vec::new();
    for namespace in namespaces {
        let api: Api<ApplicationInstance> = Api::namespaced(admin.clone(), namespace);
        for object in api.list(&ListParams::default()).await? {
            let target = Target { namespace: namespace.clone(), name: object.name_any() };
            let uid = object.uid().unwrap_or_default();
            let generation = object.metadata.generation.unwrap_or_default();
            let conditions = object.status.map(|status| status.conditions).unwrap_or_default();
            // Both sides write conditions the same way.
            let conditions = serde_json::from_value(serde_json::to_value(conditions)?)?;
            truth.push((Standing { target, uid, conditions: by_type(conditions) }, generation));
        }
    }
    Ok(truth)
}

/// The applications of these namespaces as the control plane shows them.
///
/// # Errors
/// The control plane does not answer.
pub async fn shown(
    client: &Client,
    cluster: &ClusterId,
    namespaces: &[String],
) -> anyhow::Result<Vec<Standing>> {
    let ours: BTreeSet<&str> = namespaces.iter().map(String::as_str).collect();
    let page = client.resources(cluster, "ApplicationInstance", "", "").await?;
    let shown =
        page.items.into_iter().filter(|resource| ours.contains(resource.resource_ref.namespace.as_str()));
    let standing = shown.map(|resource| {
        let (object, conditions) = (resource.resource_ref, by_type(resource.conditions));
        let target = Target { namespace: object.namespace, name: object.name };
        Standing { target, uid: object.uid, conditions }
    });
    Ok(standing.collect())
}

fn by_type(mut conditions: Vec<Condition>) -> Vec<Condition> {
    conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
    conditions
}
