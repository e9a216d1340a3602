//! Typed client of the control plane's admin API.
//!
//! One method per route under `/api/v1`; bodies are those of [`vworkspace_protocol::admin`]. Nothing is retried:
//! whoever calls knows what a repeat would mean.

mod error;
mod http;

pub use error::Error;

use http::Http;
use serde_json::json;
use std::time::Duration;
use url::Url;
use vworkspace_protocol::{
    ClusterId, JobId, Secret,
    admin::{
        Cluster, ClusterPage, CreateApiToken, CreateCluster, CreateOrganization, CreateRegistrationToken,
        CreatedApiToken, CreatedRegistrationToken, EnqueueJob, EventPage, Job, JobPage, JobState, Organization,
        OrganizationPage, ResourcePage, Whoami,
    },
    id::OrganizationId,
};

/// Longest wait the server allows for a job watch.
pub const MAX_WATCH: Duration = Duration::from_secs(60);

/// Which part of a list to read.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// At most this many items (server: default 50, at most 200).
    pub limit: Option<u32>,
    /// `nextCursor` of the page before.
    pub cursor: Option<String>,
}

/// A connection to one control plane as one bearer; cheap to clone.
#[derive(Clone)]
pub struct Client {
    http: Http,
}

impl Client {
    /// A client of the control plane at `server`. With `ca` (PEM) only certificates signed by it are trusted;
    /// without, those the operating system trusts.
    ///
    /// # Errors
    /// The URL is not an HTTP one, the PEM holds no certificate, or no root certificates can be found.
    pub fn new(server: &str, token: Secret, ca: Option<&[u8]>) -> Result<Self, Error> {
        Ok(Self { http: Http::new(server, token, ca)? })
    }

    /// The base URL.
    pub fn server(&self) -> &Url {
        self.http.base()
    }

    /// Who the bearer is.
    ///
    /// # Errors
    /// [`Error`]; the same for every method below.
    pub async fn whoami(&self) -> Result<Whoami, Error> {
        self.http.get(&["whoami"], &[]).await
    }

    /// Makes an organization.
    pub async fn create_organization(&self, request: &CreateOrganization) -> Result<Organization, Error> {
        self.http.post(&["organizations"], request).await
    }

    /// Lists organizations.
    pub async fn organizations(&self, page: &Page) -> Result<OrganizationPage, Error> {
        self.http.get(&["organizations"], &page.query()).await
    }

    /// One organization.
    pub async fn organization(&self, id: &OrganizationId) -> Result<Organization, Error> {
        self.http.get(&["organizations", id.as_str()], &[]).await
    }

    /// Issues an API token for one organization.
    pub async fn create_api_token(
        &self,
        id: &OrganizationId,
        request: &CreateApiToken,
    ) -> Result<CreatedApiToken, Error> {
        self.http.post(&["organizations", id.as_str(), "api-tokens"], request).await
    }

    /// Makes a cluster.
    pub async fn create_cluster(&self, request: &CreateCluster) -> Result<Cluster, Error> {
        self.http.post(&["clusters"], request).await
    }

    /// Lists clusters.
    pub async fn clusters(&self, page: &Page) -> Result<ClusterPage, Error> {
        self.http.get(&["clusters"], &page.query()).await
    }

    /// One cluster.
    pub async fn cluster(&self, id: &ClusterId) -> Result<Cluster, Error> {
        self.http.get(&["clusters", id.as_str()], &[]).await
    }

    /// Issues a registration token for a cluster.
    pub async fn create_registration_token(
        &self,
        id: &ClusterId,
        request: &CreateRegistrationToken,
    ) -> Result<CreatedRegistrationToken, Error> {
        self.http.post(&["clusters", id.as_str(), "registration-tokens"], request).await
    }

    /// Hands in a job.
    pub async fn enqueue_job(&self, cluster: &ClusterId, request: &EnqueueJob) -> Result<Job, Error> {
        self.http.post(&["clusters", cluster.as_str(), "jobs"], request).await
    }

    /// Lists a cluster's jobs, newest first.
    pub async fn jobs(&self, cluster: &ClusterId, state: Option<JobState>, page: &Page) -> Result<JobPage, Error> {
        let mut query = page.query();
        query.extend(state.map(|state| ("state", state.as_str().to_owned())));
        self.http.get(&["clusters", cluster.as_str(), "jobs"], &query).await
    }

    /// One job with its timeline.
    pub async fn job(&self, id: &JobId) -> Result<Job, Error> {
        self.http.get(&["jobs", id.as_str()], &[]).await
    }

    /// One job, once its timeline has an entry after `after`, or `wait` (at most [`MAX_WATCH`]) has passed.
    pub async fn watch_job(&self, id: &JobId, after: u32, wait: Duration) -> Result<Job, Error> {
        let wait = wait.min(MAX_WATCH);
        let query = [("after", after.to_string()), ("wait", wait.as_secs().to_string())];
        self.http.get_within(&["jobs", id.as_str()], &query, wait).await
    }

    /// Withdraws a job.
    pub async fn cancel_job(&self, id: &JobId) -> Result<Job, Error> {
        self.http.post(&["jobs", id.as_str(), "cancel"], &json!({})).await
    }

    /// Current conditions of a cluster's objects; an empty filter text means any.
    pub async fn resources(
        &self,
        cluster: &ClusterId,
        kind: &str,
        namespace: &str,
        name: &str,
    ) -> Result<ResourcePage, Error> {
        self.resources_page(cluster, kind, namespace, name, &Page::default()).await
    }

    /// As [`Client::resources`], a further page.
    pub async fn resources_page(
        &self,
        cluster: &ClusterId,
        kind: &str,
        namespace: &str,
        name: &str,
        page: &Page,
    ) -> Result<ResourcePage, Error> {
        let mut query = page.query();
        let filters = [("kind", kind), ("namespace", namespace), ("name", name)];
        query.extend(filters.into_iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| (k, v.to_owned())));
        self.http.get(&["clusters", cluster.as_str(), "resources"], &query).await
    }

    /// Events a cluster's agent reported, newest first.
    pub async fn events(&self, cluster: &ClusterId, page: &Page) -> Result<EventPage, Error> {
        self.http.get(&["clusters", cluster.as_str(), "events"], &page.query()).await
    }
}

impl Page {
    fn query(&self) -> Vec<(&'static str, String)> {
        let limit = self.limit.map(|limit| ("limit", limit.to_string()));
        let cursor = self.cursor.clone().map(|cursor| ("cursor", cursor));
        limit.into_iter().chain(cursor).collect()
    }
}
