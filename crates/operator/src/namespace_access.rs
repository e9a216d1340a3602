//! Whether the operator's account may work in a namespace: access reviews, shared by the applier and the reconcilers.
//!
//! A cluster's admin opens a namespace in two steps, the label and the RoleBinding. Where the second is missing, nobody
//! finds out by trying: the agent's own kinds are allowed cluster-wide, and only Flux's are refused. A
//! SelfSubjectAccessReview, which every account may create, says so at once.

use crate::{cause::cause, clock};
use k8s_openapi::api::{
    authentication::v1::SelfSubjectReview,
    authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec},
};
use kube::{Api, Client, api::PostParams};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::{OnceCell, watch};
use vworkspace_core::namespace_access::{NamespaceAccess as Record, Standing};
use vworkspace_protocol::limits::clip;

/// The ClusterRole of `deploy/rbac.yaml` that is bound per namespace.
pub const NAMESPACE_ROLE: &str = "vworkspace-operator-namespace";
/// Name of the RoleBinding, and of the ServiceAccount, in `deploy/rbac.yaml`.
pub const ACCOUNT: &str = "vworkspace-operator";

/// Most namespaces whose answers are kept. One more is answered afresh each time.
const NAMESPACES: usize = 4_096;
/// Most bytes of what the authorizer adds to a refusal.
const DETAIL_BYTES: usize = 512;

/// Namespaces in which the last review said no.
pub type Refused = BTreeMap<String, Standing>;

/// What is known of each namespace; cheap to clone.
#[derive(Clone)]
pub struct NamespaceAccess(Arc<Inner>);

struct Inner {
    client: Client,
    entries: Mutex<BTreeMap<String, Arc<Entry>>>,
    refused: watch::Sender<Refused>,
    subject: OnceCell<Subject>,
}

#[derive(Default)]
struct Entry {
    /// One review at a time: those who wait use its answer.
    asking: tokio::sync::Mutex<()>,
    record: Mutex<Record>,
    /// What the authorizer added when it first said no.
    detail: Mutex<String>,
}

/// Who the API server takes us for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Subject {
    ServiceAccount { namespace: String, name: String },
    User(String),
}

impl NamespaceAccess {
    /// Asks under the client's identity.
    pub fn new(client: Client) -> Self {
        Self(Arc::new(Inner {
            client,
            entries: Mutex::default(),
            refused: watch::Sender::default(),
            subject: OnceCell::default(),
        }))
    }

    /// What the last review said.
    pub fn standing(&self, namespace: &str) -> Standing {
        self.0.entries().get(namespace).map(|entry| entry.record().standing()).unwrap_or_default()
    }

    /// Asks the API server, unless its last answer is younger than `age`.
    ///
    /// # Errors
    /// The API server's. [`is_no_answer`] tells those that say nothing about the namespace.
    pub async fn ask(&self, namespace: &str, age: Duration) -> Result<Standing, kube::Error> {
        let entry = self.0.entry(namespace);
        let fresh = || {
            let record = *entry.record();
            record.is_fresh(clock::now(), age).then(|| record.standing())
        };
        if let Some(standing) = fresh() {
            return Ok(standing);
        }
        let _one_at_a_time = entry.asking.lock().await;
        if let Some(standing) = fresh() {
            return Ok(standing);
        }
        let reviews: Api<SelfSubjectAccessReview> = Api::all(self.0.client.clone());
        let answer = reviews.create(&PostParams::default(), &question(namespace)).await?;
        let status = answer.status.unwrap_or_default();
        let before = entry.record().standing();
        let standing = entry.record().handle_answer(status.allowed, clock::now());
        if standing.is_refused() && !before.is_refused() {
            let words = [status.reason, status.evaluation_error].into_iter().flatten();
            let words = words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join("; ");
            clip(&words, DETAIL_BYTES).clone_into(&mut entry.detail());
        }
        self.0.publish(namespace, standing);
        Ok(standing)
    }

    /// Follows which namespaces are refused.
    pub fn refused(&self) -> watch::Receiver<Refused> {
        self.0.refused.subscribe()
    }

    /// Forgets all namespaces but these.
    pub fn keep_only(&self, open: &BTreeSet<String>) {
        self.0.entries().retain(|namespace, _| open.contains(namespace));
        self.0.refused.send_if_modified(|refused| {
            let before = refused.len();
            refused.retain(|namespace, _| open.contains(namespace));
            refused.len() != before
        });
    }

    /// What the cluster's admin has to do, with the command. The same words for as long as nothing changes.
    pub async fn remedy(&self, namespace: &str) -> String {
        let subject = self.0.subject.get_or_try_init(|| who_am_i(self.0.client.clone())).await;
        let subject = subject.cloned().unwrap_or_else(|error| {
            let error = cause(&error);
            tracing::debug!(
                error,
                "cannot ask the API server for the operator's own name; using the shipped one"
            );
            Subject::shipped()
        });
        let detail = self.0.entry(namespace).detail().clone();
        remedy(namespace, &subject, &detail)
    }
}

impl Inner {
    fn entry(&self, namespace: &str) -> Arc<Entry> {
        let mut entries = self.entries();
        if let Some(entry) = entries.get(namespace) {
            return entry.clone();
        }
        let entry = Arc::<Entry>::default();
        if entries.len() < NAMESPACES {
            entries.insert(namespace.to_owned(), entry.clone());
        }
        entry
    }

    fn publish(&self, namespace: &str, standing: Standing) {
        self.refused.send_if_modified(|refused| {
            if !standing.is_refused() {
                return refused.remove(namespace).is_some();
            }
            let is_kept = refused.contains_key(namespace) || refused.len() < NAMESPACES;
            is_kept && refused.insert(namespace.to_owned(), standing) != Some(standing)
        });
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Entry>>> {
        whole(&self.entries)
    }
}

impl Entry {
    fn record(&self) -> MutexGuard<'_, Record> {
        whole(&self.record)
    }

    fn detail(&self) -> MutexGuard<'_, String> {
        whole(&self.detail)
    }
}

/// Each change is one assignment, insertion or removal: the value is whole even after a panic.
fn whole<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a review failed in a way that says nothing about the namespace and that no repetition changes: reviews are
/// not served, or this account may not create them. Then only trying helps.
pub fn is_no_answer(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 403..=405))
}

/// Creating a HelmRelease is what nearly every job leads to, and only the RoleBinding allows it.
fn question(namespace: &str) -> SelfSubjectAccessReview {
    let attributes = ResourceAttributes {
        group: Some("helm.toolkit.fluxcd.io".to_owned()),
        resource: Some("helmreleases".to_owned()),
        verb: Some("create".to_owned()),
        namespace: Some(namespace.to_owned()),
        ..ResourceAttributes::default()
    };
    let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
    SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() }
}

async fn who_am_i(client: Client) -> Result<Subject, kube::Error> {
    let reviews: Api<SelfSubjectReview> = Api::all(client);
    let answer = reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await?;
    let user = answer.status.and_then(|status| status.user_info).and_then(|user| user.username);
    Ok(user.map_or_else(Subject::shipped, Subject::of_user))
}

impl Subject {
    /// As `deploy/rbac.yaml` names it.
    fn shipped() -> Self {
        let namespace = vworkspace_crds::key::DEFAULT_NAMESPACE.to_owned();
        Self::ServiceAccount { namespace, name: ACCOUNT.to_owned() }
    }

    fn of_user(user: String) -> Self {
        let account = user.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
        match account {
            Some((namespace, name)) => {
                Self::ServiceAccount { namespace: namespace.to_owned(), name: name.to_owned() }
            }
            None => Self::User(user),
        }
    }

    fn words(&self) -> String {
        match self {
            Self::ServiceAccount { namespace, name } => format!("ServiceAccount {namespace}/{name}"),
            Self::User(name) => format!("user {name}"),
        }
    }

    fn flag(&self) -> String {
        match self {
            Self::ServiceAccount { namespace, name } => format!("--serviceaccount {namespace}:{name}"),
            Self::User(name) => format!("--user '{name}'"),
        }
    }
}

fn remedy(namespace: &str, subject: &Subject, detail: &str) -> String {
    let (words, flag) = (subject.words(), subject.flag());
    let mut text = format!(
        "{words} has no rights in namespace {namespace}: a RoleBinding to ClusterRole {NAMESPACE_ROLE} is missing \
         there. The cluster's admin makes it with: kubectl create rolebinding {ACCOUNT} --namespace {namespace} \
         --clusterrole {NAMESPACE_ROLE} {flag} (with --dry-run=client --output=yaml to print it only)"
    );
    if !detail.is_empty() {
        text.push_str("; the API server adds: ");
        text.push_str(detail);
    }
    text
}

#[cfg(test)]
mod tests;
