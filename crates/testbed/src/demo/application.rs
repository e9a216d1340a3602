//! Deploying one application through the control plane and following its job there.

use super::tour::detail;
use crate::stack::Stack;
use anyhow::Context as _;
use serde_json::{Value, json};
use std::time::Duration;
use vworkspace_protocol::{
    Condition, JobId,
    admin::{EnqueueJob, Job, Resource},
};

/// Where a sample chart comes from.
pub enum Source<'a> {
    /// A classic chart repository.
    Helm(&'a str),
    /// An OCI registry, `host:port`, plain HTTP.
    Oci(&'a str),
}

/// One application to deploy.
pub struct Application<'a> {
    /// Name of the instance and of its release.
    pub name: &'a str,
    /// Where the chart comes from.
    pub source: Source<'a>,
    /// Name of the chart.
    pub chart: &'a str,
    /// Version of the chart.
    pub version: &'a str,
    /// Helm's time-out.
    pub timeout: &'a str,
    /// How long the job may wait for its goal.
    pub deadline: Duration,
}

impl Application<'_> {
    /// The full object.
    pub fn manifest(&self, namespace: &str) -> Value {
        let (source_type, url) = match self.source {
            Source::Helm(url) => ("helm", url.to_owned()),
            Source::Oci(registry) => ("oci", format!("oci://{registry}/charts")),
        };
        json!({
            "apiVersion": "apps.vworkspace.io/v1alpha1",
            "kind": "ApplicationInstance",
            "metadata": { "name": self.name, "namespace": namespace },
            "spec": {
                "appRef": { "catalogId": self.chart },
                "chart": {
                    "sourceType": source_type, "url": url, "name": self.chart, "version": self.version,
                    "insecure": source_type == "oci",
                },
                "release": { "name": self.name, "namespace": namespace, "timeout": self.timeout },
            },
        })
    }

    /// Enqueues the intent and follows the job to its end, telling each line of its timeline.
    pub async fn deploy(&self, stack: &Stack, namespace: &str) -> anyhow::Result<Job> {
        let job = self.enqueue(stack, namespace).await?;
        follow(stack, &job, self.name).await
    }

    /// Enqueues the intent.
    pub async fn enqueue(&self, stack: &Stack, namespace: &str) -> anyhow::Result<JobId> {
        let intent = json!({ "intent": "ensure-application-instance", "applicationInstance": self.manifest(namespace) });
        let deadline_seconds = Some(u32::try_from(self.deadline.as_secs())?);
        let request = EnqueueJob { deadline_seconds, ..EnqueueJob::new("intent", intent) };
        let job = stack.client.enqueue_job(&stack.cluster, &request).await;
        Ok(job.with_context(|| format!("cannot enqueue {}", self.name))?.id)
    }
}

/// Follows a job to its end by its live timeline.
pub async fn follow(stack: &Stack, id: &JobId, name: &str) -> anyhow::Result<Job> {
    let mut seen = 0;
    loop {
        let job = stack.client.watch_job(id, seen, Duration::from_secs(20)).await?;
        for entry in job.timeline.iter().filter(|entry| entry.seq > seen) {
            detail(&format!("{name}: {:<7} {}", entry.state, entry.cause));
        }
        seen = job.timeline.iter().map(|entry| entry.seq).max().unwrap_or(seen);
        if job.state.is_terminal() {
            return Ok(job);
        }
    }
}

/// The instance as the control plane sees it now.
pub async fn seen_at_control_plane(
    stack: &Stack,
    namespace: &str,
    name: &str,
) -> anyhow::Result<Option<Resource>> {
    let page = stack.client.resources(&stack.cluster, "ApplicationInstance", namespace, name).await?;
    Ok(page.items.into_iter().next())
}

/// The condition of that type, if it was reported.
pub fn condition<'a>(resource: &'a Resource, type_: &str) -> Option<&'a Condition> {
    resource.conditions.iter().find(|condition| condition.type_ == type_)
}
