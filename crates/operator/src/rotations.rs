//! Rotations that jobs ask for: the agent hands them to the one who keeps the credential, the Cluster's reconciler.
//!
//! All rotations are made by that one loop: two at the same time would each end the other's new credential.

use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use vworkspace_protocol::{JobId, ObjectRef};

/// Orders that wait; the jobs' lane gives one at a time, and who finds it full waits.
const QUEUE: usize = 1;

/// Why a rotation was not made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RotationError {
    /// It never will be; the text is the job's error.
    #[error("RotationFailed: {0}")]
    Refused(String),
    /// It may be, later.
    #[error("the credential is not rotated yet: {0}")]
    Later(String),
}

/// What became of an order: the Cluster whose credential it was.
pub type Answer = Result<ObjectRef, RotationError>;

/// One rotation, for one job.
pub struct Order {
    /// The job: a repeated order of the same job is the same rotation.
    pub job: JobId,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Answer>,
}

/// The agent's end; cheap to clone.
#[derive(Clone)]
pub struct Rotations(mpsc::Sender<Order>);

impl Rotations {
    /// Both ends.
    pub fn channel() -> (Self, mpsc::Receiver<Order>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self(sender), receiver)
    }

    /// Has the credential rotated for `job`, once however often this is called. Answers when the new one is in use.
    ///
    /// # Errors
    /// See [`RotationError`].
    pub async fn rotate(&self, job: &JobId) -> Answer {
        let ends = || RotationError::Later("the operator ends".to_owned());
        let (answer, answered) = oneshot::channel();
        self.0.send(Order { job: job.clone(), answer }).await.map_err(|_| ends())?;
        answered.await.unwrap_or_else(|_| Err(ends()))
    }
}
