//! Namespaces for tests, made and opened as a cluster's admin would.

use crate::{Testbed, cluster::OPERATOR_ACCOUNT};
use anyhow::{Context as _, ensure};
use k8s_openapi::api::{
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
    core::v1::Namespace,
    rbac::v1::RoleBinding,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use std::time::{Duration, Instant};
use vworkspace_crds::key;

/// The ClusterRole of `deploy/rbac.yaml` that is bound per namespace.
const NAMESPACE_ROLE: &str = "vworkspace-operator-namespace";
/// The cluster's admin as a field manager.
const ADMIN: &str = "cluster-admin";
/// The API server learns of a binding by a watch of its own: within milliseconds.
const EFFECTIVE_WITHIN: Duration = Duration::from_secs(30);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(20);
/// Digits that make a name unique.
const UNIQUE_DIGITS: usize = 8;

impl Testbed {
    /// Makes a namespace of a fresh, unique name that starts with `prefix`. It is closed to the operator.
    ///
    /// # Panics
    /// The API server refuses it: nothing a test could do would make sense then.
    pub async fn namespace(&self, prefix: &str) -> String {
        let name = unique(prefix);
        make(&self.admin(), &name, false)
            .await
            .expect("the testbed's API server makes a namespace for its admin");
        name
    }

    /// Makes one and opens it to the operator, as [`Testbed::open_namespace`].
    ///
    /// # Panics
    /// As [`Testbed::namespace`].
    pub async fn gated_namespace(&self, prefix: &str) -> String {
        let name = unique(prefix);
        self.open_namespace(&name).await.expect("the testbed's API server opens a namespace for its admin");
        name
    }

    /// Opens the namespace `name` to the operator, and makes it if need be: binds the role, waits until the binding has
    /// effect, and sets the label last. The operator asks for its rights as soon as it sees the label, and remembers a
    /// refusal for a while.
    ///
    /// # Errors
    /// The API server refuses something.
    pub async fn open_namespace(&self, name: &str) -> anyhow::Result<()> {
        let client = self.admin();
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let existing = namespaces.get_opt(name).await;
        if existing.with_context(|| format!("cannot read namespace {name}"))?.is_none() {
            make(&client, name, false).await?;
        }
        bind(&client, name).await.with_context(|| format!("cannot open namespace {name}"))?;
        let start = Instant::now();
        while !is_open(&client, name).await? {
            ensure!(start.elapsed() < EFFECTIVE_WITHIN, "the role bound in namespace {name} has no effect");
            tokio::time::sleep(PAUSE).await;
        }
        make(&client, name, true).await
    }
}

fn unique(prefix: &str) -> String {
    let mut digits = uuid::Uuid::new_v4().simple().to_string();
    digits.truncate(UNIQUE_DIGITS);
    format!("{prefix}-{digits}")
}

async fn make(client: &Client, name: &str, is_open: bool) -> anyhow::Result<()> {
    let labels = if is_open { json!({ key::NAMESPACE_GATE: key::NAMESPACE_GATE_OPEN }) } else { json!({}) };
    let namespace =
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": labels } });
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let made = namespaces.patch(name, &PatchParams::apply(ADMIN).force(), &Patch::Apply(namespace)).await;
    made.with_context(|| format!("cannot make namespace {name}"))?;
    Ok(())
}

async fn bind(client: &Client, namespace: &str) -> anyhow::Result<()> {
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": { "name": OPERATOR_ACCOUNT },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": NAMESPACE_ROLE },
        "subjects": [{ "kind": "ServiceAccount", "name": OPERATOR_ACCOUNT, "namespace": key::DEFAULT_NAMESPACE }],
    });
    let bindings: Api<RoleBinding> = Api::namespaced(client.clone(), namespace);
    bindings.patch(OPERATOR_ACCOUNT, &PatchParams::apply(ADMIN).force(), &Patch::Apply(binding)).await?;
    Ok(())
}

/// Whether the API server lets the operator do what the bound role allows.
async fn is_open(client: &Client, namespace: &str) -> anyhow::Result<bool> {
    let question = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(format!("system:serviceaccount:{}:{OPERATOR_ACCOUNT}", key::DEFAULT_NAMESPACE)),
            resource_attributes: Some(ResourceAttributes {
                group: Some("helm.toolkit.fluxcd.io".to_owned()),
                resource: Some("helmreleases".to_owned()),
                verb: Some("create".to_owned()),
                namespace: Some(namespace.to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    let answer = reviews.create(&PostParams::default(), &question).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}
