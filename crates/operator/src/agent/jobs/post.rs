//! What a job tells the control plane: acknowledgement and result, each until it is taken or nobody wants it.

use super::Inner;
use crate::agent::links::failure_of;
use std::time::Duration;
use vworkspace_core::{agent::session::Failure, backoff::Backoff};
use vworkspace_protocol::{JobId, outcome::JobResult};
use vworkspace_transport::{AgentLink as _, LinkError, http::client::HttpLink};

/// How long a call waits after 401 or 403, unless there is another credential before: the session decides, not this.
const REJECTED_PAUSE: Duration = Duration::from_secs(60);

/// What became of a message about a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Posted {
    /// Taken.
    Taken,
    /// The control plane has closed or forgotten the job, or never will take the message.
    Unwanted,
}

#[derive(Clone, Copy)]
enum Message<'a> {
    Ack,
    Result(&'a JobResult),
}

impl Message<'_> {
    const fn name(self) -> &'static str {
        match self {
            Self::Ack => "acknowledgement",
            Self::Result(_) => "result",
        }
    }

    async fn post(self, link: &HttpLink, job: &JobId) -> Result<(), LinkError> {
        match self {
            Self::Ack => link.ack(job).await,
            Self::Result(result) => link.result(job, result).await,
        }
    }
}

impl Inner {
    /// Acknowledges, for as long as it takes.
    pub(super) async fn ack(&self, job: &JobId) -> Posted {
        self.until_taken(job, Message::Ack).await
    }

    /// Acknowledges once more; a failure does not matter.
    pub(super) async fn ack_once(&self, job: &JobId) {
        if let Some(connection) = self.links.now()
            && let Err(error) = connection.link.ack(job).await
        {
            tracing::debug!(%error, job_id = %job, "a repeated acknowledgement was not taken");
        }
    }

    /// Tells the result, for as long as it takes, and closes the job here.
    pub(super) async fn deliver(&self, job: &JobId, result: &JobResult) {
        let posted = self.until_taken(job, Message::Result(result)).await;
        if posted == Posted::Taken {
            tracing::info!(job_id = %job, outcome = %result.outcome, error = result.error, "job result delivered");
        }
        self.close(job);
    }

    async fn until_taken(&self, job: &JobId, message: Message<'_>) -> Posted {
        let what = message.name();
        let mut backoff = Backoff::default();
        loop {
            let Some(connection) = self.links.connected().await else {
                return Posted::Unwanted;
            };
            let Err(error) = message.post(&connection.link, job).await else {
                return Posted::Taken;
            };
            let failure = failure_of(&error);
            let delay = match failure {
                Failure::NotFound | Failure::Closed => {
                    tracing::info!(%error, job_id = %job, "the control plane takes no {what} for this job any more");
                    return Posted::Unwanted;
                }
                Failure::Refused => {
                    tracing::error!(%error, job_id = %job, "the control plane refuses the {what}; it is dropped");
                    return Posted::Unwanted;
                }
                Failure::Unauthorized | Failure::Forbidden => REJECTED_PAUSE,
                Failure::RateLimited { .. } | Failure::Unavailable { .. } => {
                    backoff.handle_failure(failure.retry_after(), rand::random())
                }
            };
            tracing::warn!(%error, job_id = %job, ?delay, "the {what} was not delivered and is tried again");
            self.links.pause(&connection, delay).await;
        }
    }
}
