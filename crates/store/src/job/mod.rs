use super::*;
use vworkspace_core::control::AdmittedJob;
use vworkspace_protocol::{
    admin::{self, JobState},
    id::SessionId,
    outcome::{JobResult, StatusUpdate},
};

/// What an enqueue did.
#[derive(Debug)]
pub struct Enqueued {
    /// The job, with its timeline.
    pub job: admin::Job,
    /// False: the caller's key named this job before, nothing was done.
    pub created: bool,
    /// Older jobs whose place it took: whoever watches them is to be woken, besides the cluster.
    pub superseded: Vec<JobId>,
}

/// What a poll gets.
#[derive(Debug, Default)]
pub struct Leased {
    /// In enqueue order.
    pub jobs: Vec<vworkspace_protocol::Job>,
    /// The earliest moment at which, without a wake-up, asking again may give more (a lease ends).
    pub next_due: Option<Timestamp>,
    /// Jobs found over (expired, undeliverable): whoever watches them is to be woken.
    pub ended: Vec<JobId>,
}

impl Store {
    /// The right `A` on a job.
    ///
    /// # Errors
    /// [`Error::NotFound`] for another tenant's or cluster's as for none, [`Error::Forbidden`].
    pub async fn lookup_job<A: Right>(&self, caller: &Caller, id: &JobId) -> Result<Handle<Job, A>, Error> {
        let _ = (caller, id);
        Err(Error::Stopped)
    }

    /// Stores a job and its audit record. A repeat of an explicit key with equal kind and payload answers the job
    /// that stands; an `apply` takes the place of older ones of its object that were never handed out.
    ///
    /// After this answer the caller wakes the cluster.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`]: the key stands for something else.
    pub async fn enqueue(
        &self,
        cluster: &Handle<Cluster, Command>,
        job: AdmittedJob,
        now: Timestamp,
    ) -> Result<Enqueued, Error> {
        let _ = (cluster, job, now);
        Err(Error::Stopped)
    }

    /// Hands out jobs in enqueue order under a lease. Writes nothing where there is nothing. Does not wait: register
    /// for wake-ups first, then call this, then wait for a wake-up or `next_due`.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn lease(
        &self,
        cluster: &Handle<Cluster, Serve>,
        session: Option<&SessionId>,
        limits: Limits,
        now: Timestamp,
    ) -> Result<Leased, Error> {
        let _ = (cluster, session, limits, now);
        Err(Error::Stopped)
    }

    /// The agent holds the job durably. A repeat changes nothing.
    ///
    /// # Errors
    /// [`Error::JobClosed`]: it must not start it.
    pub async fn ack(
        &self,
        job: &Handle<Job, Serve>,
        session: Option<&SessionId>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let _ = (job, session, now);
        Err(Error::Stopped)
    }

    /// Records progress. The timeline of one job keeps a bounded number of such entries; the job's current phase
    /// and conditions are always those told last.
    ///
    /// # Errors
    /// [`Error::JobClosed`].
    pub async fn record_status(
        &self,
        job: &Handle<Job, Serve>,
        update: StatusUpdate,
        now: Timestamp,
    ) -> Result<(), Error> {
        let _ = (job, update, now);
        Err(Error::Stopped)
    }

    /// Closes the job with the agent's result.
    ///
    /// # Errors
    /// [`Error::ResultRecorded`], [`Error::JobClosed`].
    pub async fn close(&self, job: &Handle<Job, Serve>, result: JobResult, now: Timestamp) -> Result<(), Error> {
        let _ = (job, result, now);
        Err(Error::Stopped)
    }

    /// Withdraws an open job. A repeat changes nothing.
    ///
    /// # Errors
    /// [`Error::JobClosed`] or [`Error::ResultRecorded`]: it ended some other way.
    pub async fn cancel(&self, job: &Handle<Job, Command>, now: Timestamp) -> Result<(), Error> {
        let _ = (job, now);
        Err(Error::Stopped)
    }

    /// Ends jobs whose time passed before they started, of clusters that never ask. Bounded per call; answers the
    /// jobs it ended, whose watchers are to be woken.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn expire_due(&self, now: Timestamp) -> Result<Vec<JobId>, Error> {
        let _ = now;
        Err(Error::Stopped)
    }

    /// A job with its timeline.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn job(&self, job: &Handle<Job, Read>, now: Timestamp) -> Result<admin::Job, Error> {
        let _ = (job, now);
        Err(Error::Stopped)
    }

    /// A cluster's jobs, newest first, all or in one state, without timelines.
    ///
    /// # Errors
    /// [`Error::InvalidPage`].
    pub async fn jobs(
        &self,
        cluster: &Handle<Cluster, Read>,
        state: Option<JobState>,
        page: &PageRequest,
        now: Timestamp,
    ) -> Result<admin::JobPage, Error> {
        let _ = (cluster, state, page, now);
        Err(Error::Stopped)
    }
}
