//! `vwctl app values`: what was asked for, and what runs.

use super::{KIND, Place, SYNC};
use crate::{
    Error,
    connect::Context,
    error::Thing,
    output::{print, say},
    render::{self, AppValues, Asked},
    resolve,
};
use clap::Args;
use serde_json::Value;
use vworkspace_client::Client;
use vworkspace_protocol::{
    ConditionStatus, Outcome,
    admin::{Cluster, Job, JobState},
    condition::types::DRIFTED,
};

/// Newest jobs of a cluster that are looked through.
const MOST_JOBS: usize = 1_000;
/// Newest jobs of the application whose payload is looked at.
const MOST_LOOKED_AT: usize = 100;

#[derive(Args, Debug)]
pub(super) struct Values {
    /// Name of the application.
    name: String,
    #[command(flatten)]
    place: Place,
}

impl Values {
    pub async fn run(self, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        let cluster = resolve::cluster(&client, &self.place.cluster).await?;
        let jobs = self.jobs(&client, &cluster).await?;
        let (mut newest, mut succeeded) = (None, None);
        for job in jobs.iter().take(MOST_LOOKED_AT) {
            if !had_or_may_have_an_effect(&client, job).await? {
                continue;
            }
            let Some(asked) = asked(&client, job).await? else { continue };
            newest.get_or_insert_with(|| (job, asked.clone()));
            if job.outcome == Some(Outcome::Succeeded) {
                succeeded = Some(asked);
                break;
            }
        }
        let Some((job, asked)) = newest else { return Err(self.unknown(&client, &cluster).await?) };
        self.say_drift(&client, &cluster, job).await?;
        print(&context.format.render(&AppValues { asked, succeeded }, render::app_values)?)
    }

    /// The jobs about the application, newest first.
    async fn jobs(&self, client: &Client, cluster: &Cluster) -> Result<Vec<Job>, Error> {
        let page = client.jobs(&cluster.id, None, MOST_JOBS).await?;
        let is_of_it = |job: &Job| {
            let namespace = self.place.namespace.as_ref();
            let target = &job.target;
            target.kind == KIND
                && target.name == self.name
                && namespace.is_none_or(|namespace| *namespace == target.namespace)
        };
        let jobs: Vec<Job> = page.items.into_iter().filter(is_of_it).collect();
        let mut namespaces: Vec<&str> = jobs.iter().map(|job| job.target.namespace.as_str()).collect();
        namespaces.sort_unstable();
        namespaces.dedup();
        match namespaces.len() {
            0 | 1 => Ok(jobs),
            count => Err(Error::Ambiguous { what: self.thing(), name: self.name.clone(), count }),
        }
    }

    /// Somebody in the cluster may have changed what runs since.
    async fn say_drift(&self, client: &Client, cluster: &Cluster, job: &Job) -> Result<(), Error> {
        let found = client.resources(&cluster.id, KIND, &job.target.namespace, &self.name).await?.items;
        let conditions = found.iter().flat_map(|resource| &resource.conditions);
        for drifted in conditions.filter(|one| one.type_ == DRIFTED && one.status == ConditionStatus::True) {
            say(&render::plain(&format!("Something else runs: {drifted}")));
        }
        Ok(())
    }

    /// Why nothing can be shown.
    async fn unknown(&self, client: &Client, cluster: &Cluster) -> Result<Error, Error> {
        let namespace = self.place.namespace.as_deref().unwrap_or_default();
        let is_there = !client.resources(&cluster.id, KIND, namespace, &self.name).await?.items.is_empty();
        let name = self.name.clone();
        Ok(if is_there {
            Error::JobsForgotten { name, most: MOST_JOBS }
        } else {
            Error::Unknown { what: self.thing(), name }
        })
    }

    fn thing(&self) -> Thing {
        Thing::Application { cluster: self.place.cluster.clone() }
    }
}

/// Not one that ended before the cluster had it.
async fn had_or_may_have_an_effect(client: &Client, job: &Job) -> Result<bool, Error> {
    match job.state {
        JobState::Queued | JobState::Leased | JobState::Acked | JobState::Closed => Ok(true),
        JobState::Expired | JobState::Cancelled | JobState::Superseded | JobState::Undeliverable => {
            // Lists leave the timeline out.
            let whole = client.job(&job.id).await?;
            Ok(whole.timeline.iter().any(|entry| entry.state == JobState::Acked))
        }
    }
}

/// `None` of a job that asks for nothing new: that Flux looks again.
async fn asked(client: &Client, job: &Job) -> Result<Option<Asked>, Error> {
    let payload = client.job_payload(&job.id).await?;
    let payload: Value = serde_json::from_str(payload.get()).map_err(|e| Error::Encode(e.to_string()))?;
    if payload.get("intent").and_then(Value::as_str) == Some(SYNC) {
        return Ok(None);
    }
    // That of an intent, or the object itself.
    let spec = payload.pointer("/applicationInstance/spec").or_else(|| payload.get("spec"));
    let of = |member: &str| spec.and_then(|spec| spec.get(member)).cloned().unwrap_or_default();
    Ok(Some(Asked {
        job_id: job.id.clone(),
        at: job.created_at,
        state: job.state,
        outcome: job.outcome,
        deletes: spec.is_none(),
        chart: of("chart"),
        values: of("values"),
    }))
}
