//! The agent's side of the conversation: what every transport asks of the control plane.

use super::{
    App, Error,
    access::{authenticate, bearer_missing},
    identity,
    pause::{Pause, pause},
};
use crate::{logs::note_actor, wake::Seat};
use std::{sync::Arc, time::Duration};
use vworkspace_core::{
    control::{Actor, identity::Standing, ingest, job::Step, lease::Limits},
    planted::{Bug, planted},
};
use vworkspace_protocol::{
    ClusterId, Job, JobId, Secret,
    admin::JobState,
    credential::{RegisterRequest, RegisterResponse, RotateResponse},
    event::{EventsAnswer, EventsRequest},
    id::SessionId,
    limits::EVENTS_PER_BATCH,
    outcome::{JobResult, StatusUpdate},
    problem::code,
};
use vworkspace_store::{self as store, Caller, Cluster, Contact, Handle, Leased, Serve, Sighted};
use vworkspace_transport::{AgentCall, ControlPort, Refusal};

/// Longest registration id; ours are uuids.
const REGISTRATION_ID_BYTES: usize = 128;

/// The use-cases as a transport sees them.
#[derive(Clone)]
pub struct AgentPort {
    app: Arc<App>,
}

/// An agent whose bearer is good.
pub(super) struct Agent {
    bearer: Secret,
    caller: Caller,
    pub(super) cluster: Handle<Cluster, Serve>,
    pub(super) session: Option<SessionId>,
    standing: Standing,
}

impl AgentPort {
    /// The port of this server.
    pub fn new(app: Arc<App>) -> Self {
        Self { app }
    }

    /// Proves who calls and notes that it was seen. A process that ends does not poll (`is_poll`).
    async fn agent(&self, call: AgentCall, is_poll: bool) -> Result<Agent, Error> {
        let AgentCall { bearer, session, capabilities, user_agent, address } = call;
        let bearer = bearer.ok_or_else(bearer_missing)?;
        let caller = authenticate(&self.app, &bearer).await?;
        if !matches!(caller.actor(), Actor::Agent(_)) {
            let message = "this is an API token; the agent API takes an agent's credential";
            return Err(Error::Told(Refusal::new(403, code::FORBIDDEN, message)));
        }
        let cluster = self.app.store.own_cluster(&caller)?;
        note_actor("agent", Some(cluster.id().as_str()));
        let contact = Contact { session, user_agent, capabilities, address, is_poll };
        match self.app.store.sighted(&cluster, &contact, self.app.clock.now()) {
            Sighted::NotKept => Err(store::Error::Unauthenticated.into()),
            Sighted::Known(standing, change) => {
                identity::note(&self.app, cluster.id(), change);
                Ok(Agent { bearer, caller, cluster, session: contact.session, standing })
            }
        }
    }

    async fn exchange(&self, call: AgentCall, request: RegisterRequest) -> Result<RegisterResponse, Error> {
        let own = Some(request.registration_token).filter(|token| !token.is_empty());
        let token = own.or(call.bearer).ok_or_else(bearer_missing)?;
        if request.registration_id.len() > REGISTRATION_ID_BYTES {
            return Err(Error::invalid("registrationId must be at most 128 bytes"));
        }
        let registered =
            self.app.store.register(&token, &request.registration_id, self.app.clock.now()).await?;
        note_actor("registration", Some(registered.cluster_id.as_str()));
        Ok(registered)
    }

    /// What is boxed is over before the sleep: thousands sleep at a time, and each would keep room for it.
    async fn wait_for_jobs(&self, agent: &Agent, wait: Duration) -> Result<Vec<Job>, Error> {
        let mut patience = self.app.clock.sleep(wait);
        let seat = if wait.is_zero() { None } else { Some(self.seat(agent)?) };
        loop {
            if identity::standing(&self.app, agent)? == Standing::Refused {
                return Err(identity::refuse(agent));
            }
            let Leased { jobs, next_due, .. } = Box::pin(self.lease(agent)).await?;
            let Some(seat) = seat.as_ref().filter(|_| jobs.is_empty()) else {
                return Ok(jobs);
            };
            drop(jobs);
            // The credential may have ended between its proof and the seat, or a hint may have come before the commit
            // that ended it. The lease was a write of its own: whatever was begun before it is known now.
            if Box::pin(authenticate(&self.app, &agent.bearer)).await.is_err() {
                return Ok(Vec::new());
            }
            let over = pause(&self.app, seat, &mut patience, next_due).await == Pause::Over;
            // A credential that ended during the sleep gets nothing more; asking again tells its holder why.
            if over || Box::pin(authenticate(&self.app, &agent.bearer)).await.is_err() {
                return Ok(Vec::new());
            }
        }
    }

    async fn job(&self, agent: &Agent, id: &JobId) -> Result<Handle<store::Job, Serve>, Error> {
        Ok(self.app.store.lookup_job(&agent.caller, id).await?)
    }

    fn seat(&self, agent: &Agent) -> Result<Seat<ClusterId>, Error> {
        self.app.polls.sit(agent.cluster.id()).ok_or_else(|| {
            let mut refusal = Refusal::new(503, code::UNAVAILABLE, "too many open polls, come back later");
            refusal.retry_after = Some(Duration::from_secs(1));
            Error::Told(refusal)
        })
    }

    async fn lease(&self, agent: &Agent) -> Result<Leased, Error> {
        let session = agent.session.as_ref();
        let leased =
            self.app.store.lease(&agent.cluster, session, Limits::default(), self.app.clock.now()).await?;
        self.app.metrics.transition(JobState::Leased, leased.jobs.len());
        leased.jobs.iter().for_each(|job| self.app.watches.wake(&job.id));
        for (job, state) in &leased.ended {
            self.app.metrics.transition(*state, 1);
            self.app.watches.wake(job);
        }
        Ok(leased)
    }

    async fn store_events(&self, agent: &Agent, request: EventsRequest) -> Result<EventsAnswer, Error> {
        // Admitted whole before anything is stored, so that a refused batch leaves nothing behind.
        let batches = in_batches(request).map(ingest::admit).collect::<Result<Vec<_>, _>>()?;
        let mut digest = None;
        for batch in batches {
            let sent = batch.events.len();
            let ingested = self.app.store.ingest_events(&agent.cluster, batch, self.app.clock.now()).await?;
            self.app.metrics.events(ingested.new, sent - ingested.new);
            digest = ingested.digest.or(digest);
        }
        // A heartbeat alone stores nothing. That the digest cannot be read refuses nobody whose events were taken.
        let digest = match digest {
            Some(digest) => Some(digest),
            None => self.app.store.report_digest(&agent.cluster).await.ok(),
        };
        Ok(EventsAnswer { report_digest: digest.map(|digest| digest.to_string()) })
    }
}

impl ControlPort for AgentPort {
    async fn register(&self, call: AgentCall, request: RegisterRequest) -> Result<RegisterResponse, Refusal> {
        Ok(self.exchange(call, request).await?)
    }

    fn jobs(
        &self,
        call: AgentCall,
        cluster: ClusterId,
        wait: Duration,
    ) -> impl Future<Output = Result<Vec<Job>, Refusal>> + Send {
        // Made here and boxed: a poll that sleeps keeps neither what it came with nor the room that proving it took.
        let agent = Box::pin(self.agent(call, true));
        async move {
            let agent = agent.await?;
            if *agent.cluster.id() != cluster && !planted(Bug::AnyCluster) {
                let message = "the credential belongs to another cluster";
                return Err(Refusal::new(403, code::WRONG_CLUSTER, message));
            }
            if agent.standing == Standing::Refused {
                return Err(Box::pin(identity::hold(&self.app, &agent, wait)).await.into());
            }
            Ok(self.wait_for_jobs(&agent, wait).await?)
        }
    }

    async fn ack(&self, call: AgentCall, job: JobId) -> Result<(), Refusal> {
        let agent = self.agent(call, false).await?;
        let handle = self.job(&agent, &job).await?;
        // A later job for the same object may go out then.
        let _waking = (!planted(Bug::LoseAckWakeUp)).then(|| self.app.polls.waking(agent.cluster.id()));
        let _telling = self.app.watches.waking(&job);
        let session = agent.session.as_ref();
        let step = self.app.store.ack(&handle, session, self.app.clock.now()).await.map_err(Error::from)?;
        if step == Step::Taken {
            self.app.metrics.transition(JobState::Acked, 1);
        }
        Ok(())
    }

    async fn status(&self, call: AgentCall, job: JobId, update: StatusUpdate) -> Result<(), Refusal> {
        let agent = self.agent(call, false).await?;
        let handle = self.job(&agent, &job).await?;
        let (session, now) = (agent.session.as_ref(), self.app.clock.now());
        let _telling = self.app.watches.waking(&job);
        Ok(self.app.store.record_status(&handle, session, update, now).await.map_err(Error::from)?)
    }

    async fn result(&self, call: AgentCall, job: JobId, result: JobResult) -> Result<(), Refusal> {
        let agent = self.agent(call, false).await?;
        let handle = match self.job(&agent, &job).await {
            Err(unknown @ Error::Store(store::Error::NotFound)) => {
                // As after a restore from a backup. Whether it is another cluster's job makes no difference.
                let now = self.app.clock.now();
                let kept = self.app.store.keep_unknown_result(&agent.cluster, &job, result, now).await;
                return Err(kept.map_or_else(Error::from, |()| unknown).into());
            }
            found => found?,
        };
        // A later job for the same object may go out then.
        let _waking = self.app.polls.waking(agent.cluster.id());
        let _telling = self.app.watches.waking(&job);
        self.app.store.close(&handle, result, self.app.clock.now()).await.map_err(Error::from)?;
        self.app.metrics.transition(JobState::Closed, 1);
        Ok(())
    }

    async fn events(&self, call: AgentCall, batch: EventsRequest) -> Result<EventsAnswer, Refusal> {
        let agent = self.agent(call, false).await?;
        if agent.standing == Standing::Refused {
            return Err(identity::refuse(&agent).into());
        }
        Ok(self.store_events(&agent, batch).await?)
    }

    async fn rotate(&self, call: AgentCall) -> Result<RotateResponse, Refusal> {
        let agent = self.agent(call, true).await?;
        if agent.standing != Standing::Served {
            return Err(identity::refuse_rotation(&agent).into());
        }
        let (bearer, now) = (&agent.bearer, self.app.clock.now());
        let rotated = self.app.store.rotate(&agent.cluster, bearer, now).await.map_err(Error::from)?;
        // A conflict, or the decision who keeps the identity, may have come during the write: then nobody gets to know this
        // credential, and it is dropped unused.
        match identity::standing(&self.app, &agent)? {
            Standing::Served => Ok(rotated),
            Standing::ServedInConflict | Standing::Refused => Err(identity::refuse_rotation(&agent).into()),
        }
    }

    async fn decommission(&self, call: AgentCall) -> Result<(), Refusal> {
        let agent = self.agent(call, false).await?;
        if agent.standing == Standing::Refused {
            return Err(identity::refuse(&agent).into());
        }
        let (bearer, now) = (&agent.bearer, self.app.clock.now());
        self.app.store.decommission(&agent.cluster, bearer, now).await.map_err(Error::from)?;
        // Its open poll finds the credential dead.
        self.app.polls.wake(agent.cluster.id());
        Ok(())
    }
}

/// Cuts a request into batches of the size the protocol promises, in order.
fn in_batches(request: EventsRequest) -> impl Iterator<Item = EventsRequest> {
    let mut rest = request.events.into_iter();
    std::iter::from_fn(move || {
        let events: Vec<_> = rest.by_ref().take(EVENTS_PER_BATCH).collect();
        (!events.is_empty()).then_some(EventsRequest { events })
    })
}
