//! Brings the faults about that are not the fate of a single message: crashes and cuts.

use super::{
    agent::{Agent, Site},
    control::Control,
    wire::Cut,
    world::World,
};
use std::{cell::RefCell, rc::Rc, time::Duration};

/// The process of one cluster, which comes and goes.
pub struct Pod {
    /// Where it runs.
    pub site: Rc<Site>,
    running: RefCell<Option<Rc<Agent>>>,
}

impl Pod {
    /// With a process started.
    pub fn new(site: &Rc<Site>) -> Rc<Self> {
        let running = RefCell::new(Some(Agent::start(site)));
        Rc::new(Self { site: site.clone(), running })
    }

    /// Starts a process where none runs.
    pub fn ensure(&self) {
        let mut running = self.running.borrow_mut();
        if running.is_none() {
            *running = Some(Agent::start(&self.site));
        }
    }

    /// Whether a process runs that has nothing left to do or to tell.
    pub fn is_idle(&self) -> bool {
        self.running.borrow().as_ref().is_some_and(|agent| agent.is_idle())
    }

    fn kill(&self) {
        if let Some(agent) = self.running.borrow_mut().take() {
            agent.kill();
        }
    }
}

/// Kills the operator again and again, until the faults end.
pub async fn kill_operators(world: World, pod: Rc<Pod>) {
    loop {
        world.sleep_between(Duration::ZERO, world.weather.agent_lives * 2).await;
        if world.weather.is_healed() {
            return;
        }
        pod.kill();
        world.weather.count("operator killed");
        world.sleep_between(Duration::from_millis(50), Duration::from_secs(3)).await;
        pod.ensure();
    }
}

/// Kills the control plane again and again, until the faults end.
pub async fn kill_control(world: World, control: Rc<Control>) {
    loop {
        world.sleep_between(Duration::ZERO, world.weather.control_lives * 2).await;
        if world.weather.is_healed() {
            return;
        }
        control.kill();
        world.weather.count("control plane killed");
        world.sleep_between(Duration::from_millis(50), Duration::from_secs(5)).await;
        if let Err(error) = control.start() {
            world.history.broke("I1 durable ack", &format!("the store does not open again: {error}"));
        }
    }
}

/// Turns the control plane's clock while it runs, until the faults end.
pub async fn turn_clock(world: World, control: Rc<Control>) {
    loop {
        world.sleep_between(Duration::ZERO, world.weather.clock_holds * 2).await;
        if world.weather.is_healed() {
            return;
        }
        control.turn_clock();
        world.weather.count("control plane's clock turned");
    }
}

/// Cuts a line again and again, one way or both, until the faults end.
pub async fn cut_line(world: World, pod: Rc<Pod>) {
    loop {
        world.sleep_between(Duration::ZERO, world.weather.line_holds * 2).await;
        if world.weather.is_healed() {
            return;
        }
        let (fault, cut) = match world.dice.roll(3) {
            0 => ("line cut both ways", Cut { out: true, back: true }),
            1 => ("line cut one way: requests", Cut { out: true, back: false }),
            _ => ("line cut one way: answers", Cut { out: false, back: true }),
        };
        world.weather.count(fault);
        world.history.note(&pod.site.name, fault);
        pod.site.wire.set_cut(cut);
        world.sleep_between(Duration::from_millis(200), Duration::from_secs(15)).await;
        pod.site.wire.set_cut(Cut::default());
        world.history.note(&pod.site.name, "line mended");
    }
}
