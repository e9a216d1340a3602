//! What goes wrong, and how often: drawn per seed, so that some worlds are calm in one respect and rough in another.

use super::dice::Dice;
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    time::Duration,
};

/// What lasts longer than the rough time, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Long {
    /// Strangers stand on the lines.
    Strangers(Duration),
    /// A control plane that knows nobody answers under the same name.
    Empty(Duration),
    /// The control plane itself forbids everything.
    Forbidden(Duration),
}

/// Rates are per thousand times that it could happen.
#[derive(Debug)]
pub struct Weather {
    /// A message or its answer is lost.
    pub lose: u64,
    /// A request arrives twice.
    pub duplicate: u64,
    /// The control plane has too much to do: 429, 500, 503.
    pub refuse: u64,
    /// A stranger stands on a line from the beginning.
    pub stranger_first: u64,
    /// A stranger answers a single call.
    pub strangers: u64,
    /// Mean time between two spells in which a stranger stands on a cluster's line.
    pub stranger_spells: Duration,
    /// What is played for long once the rough time is over.
    pub long: Option<Long>,
    /// The control plane is set back to a backup of its own.
    pub restores: bool,
    /// Whoever sets it back says so to it: what was open then is held until people release it.
    pub says_restored: bool,
    /// A credential is copied to another cluster.
    pub twins: bool,
    /// Time between two looks of Flux at an application that is at rest.
    pub interval: Duration,
    /// Longest way of a message.
    pub way: Duration,
    /// The API server refuses, is overloaded or sees a conflict.
    pub api_refuse: u64,
    /// The API server's answer is lost after the effect.
    pub api_lose: u64,
    /// An API call is given up and arrives all the same, later: after its repetition perhaps, or the end of its process.
    pub api_late: u64,
    /// Longest time of an API call.
    pub api_way: Duration,
    /// Mean time between two crashes of an agent.
    pub agent_lives: Duration,
    /// Mean time between two pauses of the process that leads.
    pub leader_runs: Duration,
    /// Mean time between two crashes of the control plane.
    pub control_lives: Duration,
    /// Mean time between two cuts of a cluster's line.
    pub line_holds: Duration,
    /// Processes of each cluster's operator; one of them leads.
    pub replicas: usize,
    /// The control plane never offers an acked job again, as a plain v1 one.
    pub never_offers_again: bool,
    /// The control plane ends the old credential as soon as a new one is asked for, as a plain v1 one.
    pub strict_rotation: bool,
    /// The control plane forgets that a job is over, and offers it again.
    pub forget: u64,
    /// The journal is lost with the process, as if there were none: only the control plane knows what was acked.
    pub lose_journal: u64,
    /// A credential that rotation gave is dropped when it was not used for so long.
    pub unused_life: Duration,
    /// A cluster leaves.
    pub leave: u64,
    /// Longest time the disk takes to sync.
    pub sync: Duration,
    /// Clocks are wrong by up to this.
    pub clock_error: Duration,
    /// Mean time between two turns of the control plane's clock, beside that at each start.
    pub clock_holds: Duration,
    healed: Cell<bool>,
    /// When the control plane's memory was last another one than the one it had grown itself.
    upheaval: Cell<Option<Duration>>,
    /// A registration token was refused in form: nothing is known yet by which a stranger could be told.
    token_refused: Cell<bool>,
    fired: RefCell<BTreeMap<&'static str, u64>>,
}

impl Long {
    /// Mostly nothing: hours cost much.
    fn draw(dice: &Dice) -> Option<Self> {
        let minutes = |least: u64, most: u64| Duration::from_secs(60 * (least + dice.roll(most - least + 1)));
        match dice.roll(200) {
            0..5 => Some(Self::Strangers(minutes(10, 50))),
            5 => Some(Self::Strangers(minutes(60, 360))),
            6..12 => Some(Self::Empty(minutes(1, 60))),
            12..15 => Some(Self::Forbidden(minutes(1, 60))),
            _ => None,
        }
    }
}

impl Weather {
    /// The weather of a seed.
    pub fn draw(dice: &Dice) -> Self {
        let rate = |most: u64| if dice.happens(350) { 0 } else { dice.roll(most + 1) };
        let time = |choices: &[u64]| Duration::from_millis(dice.pick(choices).copied().unwrap_or(1));
        let long = Long::draw(dice);
        let never_offers_again = dice.happens(300);
        Self {
            lose: rate(150),
            duplicate: rate(150),
            refuse: rate(150),
            stranger_first: 150,
            strangers: rate(60),
            stranger_spells: time(&[10_000, 30_000, 600_000, 600_000]),
            long,
            restores: dice.happens(250),
            says_restored: dice.happens(650),
            twins: dice.happens(80) && long.is_none(),
            interval: time(&[10_000, 40_000, 150_000]),
            way: time(&[5, 50, 400, 3_000]),
            api_refuse: rate(200),
            api_lose: rate(150),
            api_late: rate(100),
            api_way: time(&[5, 30, 300, 2_000]),
            agent_lives: time(&[3_000, 8_000, 20_000, 600_000]),
            leader_runs: time(&[10_000, 40_000, 600_000, 600_000]),
            control_lives: time(&[5_000, 15_000, 40_000, 600_000]),
            line_holds: time(&[6_000, 20_000, 60_000, 600_000]),
            // A lease that is renewed three times a second makes hours cost much.
            replicas: 1 + usize::from(dice.happens(250) && long.is_none()),
            never_offers_again,
            strict_rotation: never_offers_again && dice.happens(500),
            forget: rate(200),
            lose_journal: if dice.happens(900) { 0 } else { 400 },
            unused_life: time(&[1_000, 5_000, 20_000, 86_400_000]),
            leave: if dice.happens(700) { 0 } else { 400 },
            sync: time(&[1, 10, 200]),
            clock_error: time(&[0, 0, 5_000, 3_600_000]),
            clock_holds: time(&[7_000, 30_000, 600_000]),
            healed: Cell::new(false),
            upheaval: Cell::new(None),
            token_refused: Cell::new(false),
            fired: RefCell::default(),
        }
    }

    /// Ends all faults.
    pub fn heal(&self) {
        self.healed.set(true);
    }

    /// Whether faults have ended.
    pub fn is_healed(&self) -> bool {
        self.healed.get()
    }

    /// The control plane's memory is another one from now on.
    pub fn handle_upheaval(&self, now: Duration) {
        self.upheaval.set(Some(now));
    }

    /// When the control plane's memory last was exchanged for another, if it ever was.
    pub fn upheaval(&self) -> Option<Duration> {
        self.upheaval.get()
    }

    /// A registration token was refused in form.
    pub fn handle_token_refused(&self) {
        self.token_refused.set(true);
    }

    /// Whether some cluster may wait for as long as one does that was rejected.
    pub fn may_wait_long(&self) -> bool {
        self.upheaval.get().is_some() || self.token_refused.get()
    }

    /// Whether a fault strikes now.
    pub fn strikes(&self, dice: &Dice, fault: &'static str, per_thousand: u64) -> bool {
        let strikes = !self.healed.get() && per_thousand > 0 && dice.happens(per_thousand);
        if strikes {
            self.count(fault);
        }
        strikes
    }

    /// Counts a fault that was brought about elsewhere.
    pub fn count(&self, fault: &'static str) {
        *self.fired.borrow_mut().entry(fault).or_default() += 1;
    }

    /// How often each fault struck.
    pub fn fired(&self) -> BTreeMap<&'static str, u64> {
        self.fired.borrow().clone()
    }
}
