//! Starts everything, in order, and ends it.
//!
//! ```text
//!   probes ─► API server ─► lease ─► gates ─► controllers, agent ─► (signal, lost lease) ─► flush ─► end
//! ```

use crate::{
    agent::{self, Agent, conversation::LinkState},
    api_server::{SILENCE, giving_up_after, reached_by},
    args::Args,
    cause::cause,
    context::Context,
    controllers::{application_instance, cluster, gate::Gates},
    lease::{Elector, Times, UnsafeTimes},
    metrics::{Gauges, Metrics},
    metrics_server,
    namespace_access::NamespaceAccess,
    probes,
    probes::{AddressError, Readiness},
    report::Reporter,
    rotations::Rotations,
};
use kube::{Client, Config};
use std::{sync::Arc, time::Duration};
use thiserror::Error;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use tokio_util::sync::CancellationToken;
use vworkspace_core::backoff::Backoff;
use vworkspace_crds::key::LEASE;
use vworkspace_http::proxy::{NotAProxy, Rules};
use vworkspace_protocol::id::SessionId;

/// How long everything may take to end.
const GRACE: Duration = Duration::from_secs(8);

/// Why the program ends other than by a signal.
#[derive(Debug, Error)]
pub enum Error {
    /// No configuration of a Kubernetes API was found, or it cannot be used.
    #[error("no Kubernetes API to talk to")]
    Client(#[source] Box<kube::Error>),
    /// The environment names something else as proxy.
    #[error(transparent)]
    Proxy(#[from] NotAProxy),
    /// Probes or metrics cannot be served.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// `/metrics` has no usable certificate.
    #[error(transparent)]
    Metrics(#[from] metrics_server::Error),
    /// Two replicas could work side by side.
    #[error(transparent)]
    Lease(#[from] UnsafeTimes),
    /// Signals cannot be received.
    #[error("signals cannot be received")]
    Signals(#[source] std::io::Error),
    /// Another replica may be leading: everything must stop here.
    #[error("the leader-election lease was lost")]
    LeaseLost,
    /// A controller ended, which it never does by itself.
    #[error("the ApplicationInstance controller ended")]
    Controller(#[source] application_instance::Error),
}

/// Runs the operator until a signal.
///
/// # Errors
/// See [`enum@Error`].
pub async fn run(args: Args) -> Result<(), Error> {
    let shutdown = CancellationToken::new();
    end_on_signals(&shutdown)?;
    let without_effect = args.without_effect();
    if !without_effect.is_empty() {
        tracing::warn!(flags = ?without_effect, "these flags have no effect in this version");
    }
    let times = Times::try_new(
        args.leader_elect_lease_duration,
        args.leader_elect_renew_deadline,
        args.leader_elect_retry_period,
    )?;
    let args = Arc::new(args);
    let ((metrics, gauges), readiness) = (Metrics::new(), watch::Sender::new(Readiness::default()));
    let unusable = |error: kube::Error| Error::Client(Box::new(error));
    let config = Config::infer().await.map_err(|error| unusable(kube::Error::InferConfig(error)))?;
    let (config, way) = reached_by(giving_up_after(config, SILENCE), &Rules::from_env()?);
    let host = config.cluster_url.host().unwrap_or_default();
    tracing::info!(host, "the API server is reached {way}");
    let client = Client::try_from(config.clone()).map_err(unusable)?;
    serve_probes(&args, &readiness, &shutdown).await?;
    metrics_server::start(&args, &client, &metrics, &shutdown).await?;
    let Some(version) = shutdown.run_until_cancelled(api_server_version(&client)).await else {
        return Ok(());
    };
    readiness.send_modify(|readiness| readiness.api_server = true);
    tracing::info!(operator = env!("CARGO_PKG_VERSION"), kubernetes = version, "vworkspace-operator runs");
    let namespace = args.agent_credentials_namespace.clone();
    let mut elector = args.leader_elect.then(|| Elector::new(client.clone(), &namespace, LEASE, times));
    if let Some(elector) = &mut elector
        && shutdown.run_until_cancelled(elector.acquire()).await.is_none()
    {
        return Ok(());
    }
    readiness.send_modify(|readiness| readiness.leading = true);
    let client = match &elector {
        Some(elector) => elector.fence().client(config).map_err(unusable)?,
        None => client,
    };
    let work = Work { client, args, metrics, gauges, version };
    lead(work, elector, &shutdown).await
}

struct Work {
    client: Client,
    args: Arc<Args>,
    metrics: Metrics,
    gauges: Gauges,
    version: String,
}

/// Works while the lease is held.
async fn lead(work: Work, mut elector: Option<Elector>, shutdown: &CancellationToken) -> Result<(), Error> {
    let working = shutdown.child_token();
    let mut all = Box::pin(work.run(working.clone()));
    tokio::select! {
        ended = &mut all => return ended,
        // Another replica may be at work this very moment: nothing is finished in peace.
        () = hold(elector.as_mut()) => return Err(Error::LeaseLost),
        () = shutdown.cancelled() => {}
    }
    tracing::info!("ending: no more polls, what is queued goes out");
    working.cancel();
    tokio::select! {
        ended = tokio::time::timeout(GRACE, all) => if ended.is_err() {
            tracing::warn!("not everything ended in time");
        },
        // Held to the end: what is still written has to pass the fence.
        () = hold(elector.as_mut()) => return Err(Error::LeaseLost),
    }
    if let Some(elector) = &elector {
        elector.release().await;
    }
    tracing::info!("ended");
    Ok(())
}

async fn hold(elector: Option<&mut Elector>) {
    match elector {
        Some(elector) => elector.hold().await,
        None => std::future::pending().await,
    }
}

impl Work {
    /// Controllers and agent, until `shutdown`.
    async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        let Self { client, args, metrics, gauges, version } = self;
        let (reporter, observations) = Reporter::channel();
        let (rotations, orders) = Rotations::channel();
        let (link_state, link) = watch::channel(LinkState::default());
        let (cluster_id, cluster_id_seen) = watch::channel(None);
        let session = SessionId::new(uuid::Uuid::new_v4().to_string());
        let access = NamespaceAccess::new(client.clone());
        let context = Context {
            client: client.clone(),
            own_namespace: args.agent_credentials_namespace.clone(),
            cluster_id: cluster_id_seen,
            reporter: reporter.clone(),
            gates: Gates::watch(client.clone(), shutdown.clone()),
            access: access.clone(),
            secrets_in_values: args.secrets_in_values,
            metrics: metrics.clone(),
        };
        let clusters = cluster::Controller {
            context: context.clone(),
            args: args.clone(),
            link,
            credential: gauges.credential,
            session: session.clone(),
            orders,
        };
        let kubernetes_version = version;
        let agent = Agent {
            client,
            access,
            args,
            metrics,
            link_gauges: gauges.link,
            job_gauges: gauges.jobs,
            observations,
            rotations,
            reporter,
            link_state,
            cluster_id,
            kubernetes_version,
            session,
        };
        let instances = async {
            let ended = application_instance::run(context, shutdown.clone()).await;
            // Whether by a signal or by itself: without this controller the rest is of no use.
            shutdown.cancel();
            ended
        };
        let agent = agent::run(agent, shutdown.clone());
        let clusters = cluster::run(clusters, shutdown.clone());
        let (instances, (), ()) = futures::join!(instances, agent, clusters);
        instances.map_err(Error::Controller)
    }
}

async fn serve_probes(
    args: &Args,
    readiness: &watch::Sender<Readiness>,
    shutdown: &CancellationToken,
) -> Result<(), Error> {
    if let Some(address) = probes::address(&args.health_probe_bind_address)? {
        let listener = probes::listen(address).await?;
        if let Ok(address) = listener.local_addr() {
            tracing::info!(%address, "probes are served");
        }
        tokio::spawn(probes::serve(listener, readiness.subscribe(), shutdown.clone()));
    }
    Ok(())
}

/// Asks until the API server answers.
async fn api_server_version(client: &Client) -> String {
    let mut backoff = Backoff::default();
    loop {
        match client.apiserver_version().await {
            Ok(version) => return version.git_version,
            Err(error) => {
                let error = cause(&error);
                tracing::warn!(error, "the API server does not answer, retrying");
                tokio::time::sleep(backoff.handle_failure(None, rand::random())).await;
            }
        }
    }
}

/// The first SIGTERM or SIGINT ends in order; a second one kills, as ever.
fn end_on_signals(shutdown: &CancellationToken) -> Result<(), Error> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signals)?;
    let shutdown = shutdown.clone();
    tokio::spawn(async move {
        for _ in 0..2 {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if shutdown.is_cancelled() {
                std::process::exit(130);
            }
            shutdown.cancel();
        }
    });
    Ok(())
}
