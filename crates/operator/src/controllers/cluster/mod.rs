//! The reconciler of Cluster: the identity of this cluster and the state of its link, told in one object.
//!
//! There is one Cluster in charge per cluster (contract, section 4), so there is no queue: whatever wakes the loop, it
//! looks at everything that is. Own status writes do not wake it.

pub mod apply;
pub mod build;
pub mod dereference;
mod leave;
mod register;
mod rejected_token;
mod rotate;
mod settle;
pub mod status;
pub mod validate;
mod wake;

use crate::{
    agent::conversation::{LinkState, until},
    announce::Announcer,
    args::Args,
    clock,
    context::Context,
    metrics::{self, CredentialGauge, End},
    rotations::{Order, RotationError},
};
use apply::{Exchange, Registrar};
use jiff::Timestamp;
use kube::{Api, api::ListParams};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use validate::{Blocked, Plan};
use vworkspace_core::backoff::Backoff;
use vworkspace_crds::Cluster;
use vworkspace_protocol::id::SessionId;

/// How this controller signs its Kubernetes Events.
const SIGNATURE: &str = "vworkspace-operator/cluster";
/// How long nothing is looked at again when nothing wakes the loop.
const RESYNC: Duration = Duration::from_secs(300);

/// Why a reconcile could not be finished; it is tried again.
#[derive(Debug, Error)]
pub enum Error {
    /// The API server did not do it.
    #[error("{action} failed")]
    Api {
        /// What was tried.
        action: &'static str,
        /// The API server's words.
        #[source]
        source: Box<kube::Error>,
    },
}

impl Error {
    fn api(action: &'static str) -> impl FnOnce(kube::Error) -> Self {
        move |source| Self::Api { action, source: Box::new(source) }
    }
}

/// What the reconciler works with.
pub struct Controller {
    /// Shared with the other reconcilers.
    pub context: Context,
    /// Flags and environment.
    pub args: Arc<Args>,
    /// How the link is.
    pub link: watch::Receiver<LinkState>,
    /// How old the credential is.
    pub credential: CredentialGauge,
    /// The run of this process, as the control plane knows it.
    pub session: SessionId,
    /// Rotations that jobs ask for.
    pub orders: mpsc::Receiver<Order>,
}

struct Shared {
    context: Context,
    args: Arc<Args>,
    link: watch::Receiver<LinkState>,
    credential: CredentialGauge,
    announcer: Announcer,
    registrar: Registrar,
}

/// Runs the controller until `shutdown`.
pub async fn run(controller: Controller, shutdown: CancellationToken) {
    let Controller { context, args, link, credential, session, mut orders } = controller;
    let announcer = Announcer::new(context.client.clone(), SIGNATURE);
    let registrar = Registrar::new(context.client.clone(), context.reporter.clone(), args.clone(), session);
    let mut wakes = wake::Wakes::new(context.client.clone(), &args.agent_credentials_namespace, link.clone());
    let mut shared = Shared { context, args, link, credential, announcer, registrar };
    let (mut backoff, mut waiting) = (Backoff::default(), None);
    let work = async {
        loop {
            let again = match shared.reconcile_all().await {
                Ok(again) => again,
                Err(error) => failed(&error),
            };
            if let Some(order) = waiting.take() {
                waiting = shared.fulfil(order).await;
            }
            let delay = match again {
                Again::OnChange => {
                    backoff.handle_success();
                    RESYNC
                }
                Again::Failed => backoff.handle_failure(None, rand::random()),
                Again::At(at) => until(at, clock::now()).min(RESYNC),
            };
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = wakes.next() => {}
                Some(order) = orders.recv(), if waiting.is_none() => waiting = shared.fulfil(order).await,
                () = given_up(&mut waiting) => waiting = None,
            }
        }
    };
    let _cut_off = shutdown.run_until_cancelled(work).await;
}

/// Waits until whoever gave the order waits no more; without one for ever.
async fn given_up(waiting: &mut Option<Order>) {
    match waiting {
        Some(order) => order.answer.closed().await,
        None => std::future::pending().await,
    }
}

/// When to look again, the soonest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Again {
    /// After a growing delay: something did not work that may work later.
    Failed,
    /// At this time: a call to the control plane is due again.
    At(Timestamp),
    /// When something changes.
    OnChange,
}

/// Handles every object, also when one before it fails; answers when to look again at any.
async fn each<T>(all: Vec<T>, mut reconcile: impl AsyncFnMut(T) -> Result<Again, Error>) -> Again {
    let mut again = Again::OnChange;
    for one in all {
        again = again.min(reconcile(one).await.unwrap_or_else(|error| failed(&error)));
    }
    again
}

fn failed(error: &Error) -> Again {
    tracing::warn!(error = error as &dyn std::error::Error, "a Cluster could not be reconciled");
    Again::Failed
}

impl Shared {
    async fn reconcile_all(&mut self) -> Result<Again, Error> {
        let clusters = self.clusters().await?;
        let in_charge = validate::in_charge(&clusters);
        let link = self.link.borrow().clone();
        let settled = self.registrar.settle(in_charge, &link, &self.announcer).await;
        let settled = settled.map_or_else(|error| failed(&error), |()| Again::OnChange);
        let in_charge = in_charge.map(|cluster| cluster.metadata.uid.clone());
        let reconcile = async |cluster: Cluster| {
            let is_in_charge = Some(&cluster.metadata.uid) == in_charge.as_ref();
            let started = Instant::now();
            let ended = self.reconcile(cluster, is_in_charge).await;
            let end = match ended {
                Ok(Again::OnChange) => End::Success,
                Ok(Again::At(_)) => End::RequeueAfter,
                Ok(Again::Failed) | Err(_) => End::Error,
            };
            self.context.metrics.reconciled(metrics::Controller::Cluster, end, started.elapsed());
            ended
        };
        Ok(settled.min(each(clusters, reconcile).await))
    }

    /// dereference → validate → build → apply → status.
    async fn reconcile(&mut self, cluster: Cluster, is_in_charge: bool) -> Result<Again, Error> {
        let found = dereference::dereference(&self.context.client, &self.args, cluster, is_in_charge).await?;
        let verdicts = self.link.borrow().verdicts.clone();
        let plan = validate::plan(&found, self.registrar.rejected.as_ref(), &verdicts, clock::now());
        if let Plan::Finalize { ways } = &plan {
            let again = self.registrar.leave(&found.cluster, ways, &self.announcer).await?;
            return Ok(again.map_or(Again::OnChange, Again::At));
        }
        let exchange = self.registrar.apply(&found, &plan, &self.announcer).await?;
        let link = self.link.borrow().clone();
        let told = status::status(&found, &plan, &exchange, &link, &self.registrar.session, clock::now());
        status::write(&self.context, &self.announcer, &found.cluster, told, &self.credential).await?;
        Ok(match (exchange, plan) {
            (Exchange::Waits { at } | Exchange::Failed { at, .. } | Exchange::Rejected { at, .. }, _)
            | (_, Plan::Blocked(Blocked::TokenRejected { at, .. })) => Again::At(at),
            (Exchange::None | Exchange::Done { .. }, _) => Again::OnChange,
        })
    }

    /// Rotates for a job. Whoever gave up waiting asks again. Gives the order back while it waits for a rotation that is
    /// under way.
    async fn fulfil(&mut self, order: Order) -> Option<Order> {
        if order.answer.is_closed() {
            return None;
        }
        let answer = match self.clusters().await {
            Ok(clusters) => {
                let cluster = validate::in_charge(&clusters);
                let verdicts = self.link.borrow().verdicts.clone();
                self.registrar.rotate_for(&order.job, cluster, &verdicts, &self.announcer).await
            }
            Err(error) => Some(Err(RotationError::Later(error.to_string()))),
        };
        let Some(answer) = answer else { return Some(order) };
        let _gone = order.answer.send(answer);
        None
    }

    async fn clusters(&self) -> Result<Vec<Cluster>, Error> {
        let api = Api::<Cluster>::all(self.context.client.clone());
        Ok(api.list(&ListParams::default()).await.map_err(Error::api("listing Clusters"))?.items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_cluster_that_fails_keeps_no_other_waiting() {
        let mut handled = Vec::new();
        let reconcile = async |name: &'static str| {
            handled.push(name);
            let gone = || kube::Error::LinesCodecMaxLineLengthExceeded;
            if name == "second" { Err(Error::api("deleting")(gone())) } else { Ok(Again::OnChange) }
        };
        assert_eq!(each(vec!["first", "second", "third"], reconcile).await, Again::Failed);
        assert_eq!(handled, ["first", "second", "third"]);
    }
}
