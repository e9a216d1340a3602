//! The network between one agent and the control plane: it delays, loses, doubles, reorders, refuses and is cut, in
//! one direction or both.

use super::{control::Control, executor::Group, world::World};
use std::{
    cell::{Cell, RefCell},
    future::Future,
    rc::Rc,
    time::Duration,
};
use tokio::sync::oneshot;
use vworkspace_core::agent::session::Failure;
use vworkspace_server::app::AgentPort;
use vworkspace_transport::{AgentCall, LinkError, MemoryLink};

/// One cluster's line.
pub struct Wire {
    world: World,
    control: Rc<Control>,
    /// What is on its way, whoever dies at the ends.
    group: Group,
    cut: Cell<Cut>,
}

/// What does not go through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Requests.
    pub out: bool,
    /// Answers.
    pub back: bool,
}

type Answer<T> = Rc<RefCell<Option<oneshot::Sender<Result<T, Failure>>>>>;

impl Wire {
    /// A line that holds.
    pub fn new(world: &World, control: &Rc<Control>) -> Rc<Self> {
        let group = world.executor.group();
        Rc::new(Self { world: world.clone(), control: control.clone(), group, cut: Cell::default() })
    }

    /// Cuts or mends the line.
    pub fn set_cut(&self, cut: Cut) {
        self.cut.set(cut);
    }

    /// The control plane's time of day, as the agent reads it off answers.
    pub fn control_now(&self) -> jiff::Timestamp {
        self.control.now()
    }

    /// Makes a call and waits for its answer, at most `patience`.
    ///
    /// # Errors
    /// What the failure means to the agent.
    pub async fn call<T, F, C>(
        self: &Rc<Self>,
        caller: &AgentCall,
        patience: Duration,
        call: C,
    ) -> Result<T, Failure>
    where
        T: 'static,
        C: Fn(MemoryLink<AgentPort>) -> F + 'static,
        F: Future<Output = Result<T, LinkError>> + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let (answer, call) = (Rc::new(RefCell::new(Some(answer))), Rc::new(call));
        let copies = 1 + u32::from(self.world.strikes("request doubled", self.world.weather.duplicate));
        for _ in 0..copies {
            let carried = self.clone().carry(caller.clone(), call.clone(), answer.clone());
            self.world.executor.spawn(self.group, carried);
        }
        drop(answer);
        let unavailable = Err(Failure::Unavailable { retry_after: None });
        tokio::select! {
            biased;
            told = answered => match told {
                Ok(told) => told,
                // Lost: the connection is reset, or half open until patience ends.
                Err(_) => {
                    if self.world.strikes("half-open connection", 300) {
                        self.world.sleep(patience).await;
                    }
                    unavailable
                }
            },
            () = self.world.sleep(patience) => unavailable,
        }
    }

    async fn carry<T, F, C>(self: Rc<Self>, caller: AgentCall, call: Rc<C>, answer: Answer<T>)
    where
        T: 'static,
        C: Fn(MemoryLink<AgentPort>) -> F + 'static,
        F: Future<Output = Result<T, LinkError>> + 'static,
    {
        let lose = self.world.weather.lose;
        self.way().await;
        if self.cut.get().out || self.world.strikes("request lost", lose) {
            return;
        }
        let told = match self.refusal() {
            Some(refusal) => Err(refusal),
            None => {
                let at_control = |app: std::sync::Arc<vworkspace_server::app::App>| {
                    let work = call(MemoryLink::new(app.agent_port(), caller));
                    async move { work.await.map_err(|error| failure_of(&error)) }
                };
                let Some(told) = self.control.within(at_control).await else { return };
                told
            }
        };
        self.way().await;
        if self.cut.get().back || self.world.strikes("answer lost", lose) {
            return;
        }
        let told = if self.world.strikes("answer replaced by 502", self.world.weather.refuse / 3) {
            Err(Failure::of_status(502, None))
        } else {
            told
        };
        if let Some(answer) = answer.borrow_mut().take() {
            // Who asked may have gone.
            let _ = answer.send(told);
        }
    }

    /// Something between the two refuses.
    fn refusal(&self) -> Option<Failure> {
        if !self.world.strikes("refused on the way", self.world.weather.refuse) {
            return None;
        }
        let after = Some(Duration::from_secs(1 + self.world.dice.roll(4)));
        self.world
            .dice
            .pick(&[(429, after), (503, after), (503, None), (500, None), (429, None)])
            .map(|(status, after)| Failure::of_status(*status, *after))
    }

    async fn way(&self) {
        let most =
            if self.world.weather.is_healed() { Duration::from_millis(5) } else { self.world.weather.way };
        self.world.sleep_between(Duration::from_micros(100), most).await;
    }
}

/// What a failed call means to the agent.
fn failure_of(error: &LinkError) -> Failure {
    match error {
        LinkError::Refused { status, retry_after, .. } => Failure::of_status(*status, *retry_after),
        LinkError::Unreachable { .. } | LinkError::Malformed { .. } => {
            Failure::Unavailable { retry_after: None }
        }
    }
}
