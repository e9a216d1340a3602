//! A control plane that does what the case says.

use serde::Serialize;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use vworkspace_protocol::{
    ClusterId, Job, JobId,
    credential::{RegisterRequest, RegisterResponse, RotateResponse},
    event::{EventsAnswer, EventsRequest},
    outcome::{JobResult, StatusUpdate},
    problem::code,
};
use vworkspace_transport::{AgentCall, ControlPort, Refusal};

/// Most calls that wait to be looked at.
const MOST_CALLS: usize = 64;

/// Hands each call to the case and answers as that says. Like every control plane it refuses a call without bearer.
#[derive(Clone)]
pub struct ScriptedPort(mpsc::Sender<Call>);

/// What arrived at the port, in order.
pub struct Calls(mpsc::Receiver<Call>);

/// A call that waits for its answer.
pub struct Call {
    pub asked: Asked,
    answer: oneshot::Sender<Answer>,
}

/// What a call was about.
pub struct Asked {
    pub who: AgentCall,
    pub verb: Verb,
    /// Path, query and body as JSON, each under its name.
    pub what: Value,
}

/// The calls of the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Register,
    Jobs,
    Ack,
    Status,
    Result,
    Events,
    Rotate,
    Decommission,
}

/// What the port says to a call.
pub type Answer = Result<Told, Refusal>;

/// A good answer.
pub enum Told {
    Done,
    Jobs(Vec<Job>),
    Events(EventsAnswer),
    Registered(RegisterResponse),
    Rotated(RotateResponse),
}

impl Verb {
    pub const ALL: [Self; 8] = [
        Self::Register,
        Self::Jobs,
        Self::Ack,
        Self::Status,
        Self::Result,
        Self::Events,
        Self::Rotate,
        Self::Decommission,
    ];
}

impl Calls {
    /// The next call.
    pub async fn next(&mut self) -> Call {
        self.0.recv().await.expect("the port is gone")
    }

    /// Lets `asking` happen and answers the one call it makes.
    pub async fn answer<T>(&mut self, answer: Answer, asking: impl Future<Output = T>) -> (T, Asked) {
        let control = async { self.next().await.answer(answer) };
        tokio::join!(asking, control)
    }

    /// Whether no further call arrived.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Call {
    /// Answers, if somebody still waits for it.
    pub fn answer(self, answer: Answer) -> Asked {
        let _ = self.answer.send(answer);
        self.asked
    }

    /// Waits until nobody waits for the answer any more.
    pub async fn abandoned(&mut self) {
        self.answer.closed().await;
    }
}

impl ScriptedPort {
    pub fn new() -> (Self, Calls) {
        let (sender, receiver) = mpsc::channel(MOST_CALLS);
        (Self(sender), Calls(receiver))
    }

    async fn ask(&self, who: AgentCall, verb: Verb, what: Value) -> Answer {
        if who.bearer.is_none() {
            return Err(Refusal::new(401, code::UNAUTHENTICATED, "no bearer"));
        }
        let (answer, answered) = oneshot::channel();
        let gone = || Refusal::new(503, code::UNAVAILABLE, "the case is over");
        self.0.send(Call { asked: Asked { who, verb, what }, answer }).await.map_err(|_| gone())?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }

    async fn job(&self, who: AgentCall, verb: Verb, job: JobId, body: impl Serialize) -> Result<(), Refusal> {
        self.ask(who, verb, json!({"job": job, "body": body})).await.map(drop)
    }
}

impl ControlPort for ScriptedPort {
    async fn register(&self, call: AgentCall, request: RegisterRequest) -> Result<RegisterResponse, Refusal> {
        match self.ask(call, Verb::Register, json!({"body": request})).await? {
            Told::Registered(answer) => Ok(answer),
            _ => panic!("no answer to a registration"),
        }
    }

    async fn jobs(&self, call: AgentCall, cluster: ClusterId, wait: Duration) -> Result<Vec<Job>, Refusal> {
        let what = json!({"cluster": cluster, "waitMs": wait.as_millis()});
        match self.ask(call, Verb::Jobs, what).await? {
            Told::Jobs(jobs) => Ok(jobs),
            _ => panic!("no answer to a poll"),
        }
    }

    async fn ack(&self, call: AgentCall, job: JobId) -> Result<(), Refusal> {
        self.job(call, Verb::Ack, job, ()).await
    }

    async fn status(&self, call: AgentCall, job: JobId, update: StatusUpdate) -> Result<(), Refusal> {
        self.job(call, Verb::Status, job, update).await
    }

    async fn result(&self, call: AgentCall, job: JobId, result: JobResult) -> Result<(), Refusal> {
        self.job(call, Verb::Result, job, result).await
    }

    async fn events(&self, call: AgentCall, batch: EventsRequest) -> Result<EventsAnswer, Refusal> {
        match self.ask(call, Verb::Events, json!({"body": batch})).await? {
            Told::Events(answer) => Ok(answer),
            _ => Ok(EventsAnswer::default()),
        }
    }

    async fn rotate(&self, call: AgentCall) -> Result<RotateResponse, Refusal> {
        match self.ask(call, Verb::Rotate, json!({})).await? {
            Told::Rotated(answer) => Ok(answer),
            _ => panic!("no answer to a rotation"),
        }
    }

    async fn decommission(&self, call: AgentCall) -> Result<(), Refusal> {
        self.ask(call, Verb::Decommission, json!({})).await.map(drop)
    }
}
