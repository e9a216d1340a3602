//! The network between one agent and the control plane: it delays, loses, doubles, reorders, refuses, is cut in one
//! direction or both, and lets strangers answer.

use super::{
    control::Control,
    executor::Group,
    stranger::{RawAnswer, Spell, Stranger},
    world::{World, time_of_day},
};
use jiff::{SignedDuration, Timestamp};
use std::{
    cell::{Cell, RefCell},
    future::Future,
    rc::Rc,
    time::Duration,
};
use tokio::sync::oneshot;
use vworkspace_protocol::{Problem, Secret, event::EventsRequest};
use vworkspace_server::app::AgentPort;
use vworkspace_transport::{AgentCall, AgentLink as _, LinkError, MemoryLink};

/// One cluster's line.
pub struct Wire {
    world: World,
    control: Rc<Control>,
    /// What is on its way, whoever dies at the ends.
    group: Group,
    cut: Cell<Cut>,
    stranger: Cell<Option<Spell>>,
    /// The control plane refuses this cluster everything.
    is_forbidden: Cell<bool>,
}

/// What does not go through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Requests.
    pub out: bool,
    /// Answers.
    pub back: bool,
}

/// An answer that came.
#[derive(Debug)]
pub enum Reply<T> {
    /// The control plane's own, with its time of day. It echoes the session of whoever told one.
    Control(Result<T, LinkError>, Timestamp),
    /// Somebody else's.
    Stranger(RawAnswer),
}

/// Whether strangers may answer a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Strangers {
    Some,
    None,
}

type Answer<T> = Rc<RefCell<Option<oneshot::Sender<Reply<T>>>>>;

impl Wire {
    /// A line that holds.
    pub fn new(world: &World, control: &Rc<Control>) -> Rc<Self> {
        let group = world.executor.group();
        let (cut, stranger, is_forbidden) = (Cell::default(), Cell::default(), Cell::default());
        let (world, control) = (world.clone(), control.clone());
        Rc::new(Self { world, control, group, cut, stranger, is_forbidden })
    }

    /// Cuts or mends the line.
    pub fn set_cut(&self, cut: Cut) {
        self.cut.set(cut);
    }

    /// Lets a stranger stand between the two, or sends it away.
    pub fn set_stranger(&self, spell: Option<Spell>) {
        self.stranger.set(spell);
    }

    /// Lets the control plane refuse every call with 403, or no more.
    pub fn set_forbidden(&self, is_forbidden: bool) {
        self.is_forbidden.set(is_forbidden);
    }

    /// The control plane ends the credential before this one at once, as a plain v1 one may that knows no overlap.
    pub async fn use_at_once(&self, token: Secret) {
        let caller = AgentCall {
            bearer: Some(token),
            session: None,
            capabilities: Vec::new(),
            user_agent: String::new(),
            address: None,
        };
        let call = |app: std::sync::Arc<vworkspace_server::app::App>| {
            let link = MemoryLink::new(app.agent_port(), caller);
            async move { link.events(&EventsRequest { events: Vec::new() }).await.is_ok() }
        };
        // Where the process dies meanwhile both work on.
        let _used = self.control.within(call).await;
    }

    /// Drops whatever is on its way, as the end of all connections does.
    pub fn reset(&self) {
        self.world.executor.kill(self.group);
    }

    /// Time since the beginning at which an answer is read.
    pub fn now(&self) -> Duration {
        self.world.executor.now()
    }

    /// Makes a call and waits for its answer, at most `patience`. `None`: none came.
    pub async fn call<T, F, C>(
        self: &Rc<Self>,
        caller: &AgentCall,
        patience: Duration,
        call: C,
    ) -> Option<Reply<T>>
    where
        T: 'static,
        C: Fn(MemoryLink<AgentPort>) -> F + 'static,
        F: Future<Output = Result<T, LinkError>> + 'static,
    {
        self.make(caller, patience, Strangers::Some, call).await
    }

    /// The same, of a call that no stranger answers.
    pub async fn call_past_strangers<T, F, C>(
        self: &Rc<Self>,
        caller: &AgentCall,
        patience: Duration,
        call: C,
    ) -> Option<Result<T, LinkError>>
    where
        T: 'static,
        C: Fn(MemoryLink<AgentPort>) -> F + 'static,
        F: Future<Output = Result<T, LinkError>> + 'static,
    {
        match self.make(caller, patience, Strangers::None, call).await? {
            Reply::Control(told, _) => Some(told),
            Reply::Stranger(_) => None,
        }
    }

    async fn make<T, F, C>(
        self: &Rc<Self>,
        caller: &AgentCall,
        patience: Duration,
        strangers: Strangers,
        call: C,
    ) -> Option<Reply<T>>
    where
        T: 'static,
        C: Fn(MemoryLink<AgentPort>) -> F + 'static,
        F: Future<Output = Result<T, LinkError>> + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let (answer, call) = (Rc::new(RefCell::new(Some(answer))), Rc::new(call));
        let copies = 1 + u32::from(self.world.strikes("request doubled", self.world.weather.duplicate));
        for _ in 0..copies {
            let carried = self.clone().carry(caller.clone(), strangers, call.clone(), answer.clone());
            self.world.executor.spawn(self.group, carried);
        }
        drop(answer);
        tokio::select! {
            biased;
            told = answered => match told {
                Ok(told) => Some(told),
                // Lost: the connection is reset, or half open until patience ends.
                Err(_) => {
                    if self.world.strikes("half-open connection", 300) {
                        self.world.sleep(patience).await;
                    }
                    None
                }
            },
            () = self.world.sleep(patience) => None,
        }
    }

    async fn carry<T, F, C>(
        self: Rc<Self>,
        caller: AgentCall,
        strangers: Strangers,
        call: Rc<C>,
        answer: Answer<T>,
    ) where
        T: 'static,
        C: Fn(MemoryLink<AgentPort>) -> F + 'static,
        F: Future<Output = Result<T, LinkError>> + 'static,
    {
        let lose = self.world.weather.lose;
        self.way().await;
        if self.cut.get().out || self.world.strikes("request lost", lose) {
            return;
        }
        let reply = if let Some(stranger) = self.stranger(strangers) {
            Reply::Stranger(stranger.answer())
        } else if let Some(refusal) = self.refusal() {
            Reply::Control(Err(refusal), self.control.now())
        } else {
            let at_control = |app: std::sync::Arc<vworkspace_server::app::App>| {
                call(MemoryLink::new(app.agent_port(), caller))
            };
            let Some(told) = self.control.within(at_control).await else { return };
            Reply::Control(told, self.control.now())
        };
        self.way().await;
        if self.cut.get().back || self.world.strikes("answer lost", lose) {
            return;
        }
        // In place of an answer that is on its way: what was asked for has happened.
        let reply = match self.stranger(strangers) {
            Some(stranger) => Reply::Stranger(stranger.answer()),
            None => reply,
        };
        if let Some(answer) = answer.borrow_mut().take() {
            // Who asked may have gone.
            let _ = answer.send(reply);
        }
    }

    /// Who answers in the control plane's place, if anybody does.
    fn stranger(&self, strangers: Strangers) -> Option<Stranger> {
        if strangers == Strangers::None {
            return None;
        }
        let (dice, weather) = (&self.world.dice, &self.world.weather);
        let standing = self.stranger.get().and_then(|spell| spell.answers(dice));
        let stranger = match standing {
            Some(stranger) => stranger,
            None if self.world.strikes("answered by a stranger", weather.strangers) => {
                Stranger::draw(dice, !weather.never_offers_again)
            }
            None => return None,
        };
        weather.count(stranger.name());
        Some(stranger)
    }

    /// The control plane itself forbids it, or has too much to do.
    fn refusal(&self) -> Option<LinkError> {
        if self.is_forbidden.get() {
            return Some(refused(403, "forbidden", None));
        }
        if !self.world.strikes("refused by a busy control plane", self.world.weather.refuse) {
            return None;
        }
        let after = Some(Duration::from_secs(1 + self.world.dice.roll(4)));
        let ways = [(429, after), (503, after), (503, None), (500, None), (429, None)];
        let told = self.world.dice.pick(&ways);
        let (status, retry_after) = told.copied().unwrap_or((503, None));
        Some(refused(status, "busy", retry_after))
    }

    async fn way(&self) {
        let most =
            if self.world.weather.is_healed() { Duration::from_millis(5) } else { self.world.weather.way };
        self.world.sleep_between(Duration::from_micros(100), most).await;
    }
}

/// What the control plane refuses.
pub fn refused(status: u16, error: &str, retry_after: Option<Duration>) -> LinkError {
    let (message, request_id) = ("as the control plane says".to_owned(), String::new());
    LinkError::Refused {
        status,
        problem: Problem { error: error.to_owned(), message, request_id },
        retry_after,
    }
}

impl RawAnswer {
    /// The time of day that it tells.
    pub fn date(&self, since: Duration) -> Timestamp {
        time_of_day(since, SignedDuration::ZERO).saturating_add(self.clock_error).unwrap_or(Timestamp::MAX)
    }
}
