//! Brings the faults about that are not the fate of a single message: crashes and cuts.

use super::{
    agent::{Agent, Site},
    control::Control,
    people::Wishes,
    restore::Backup,
    stranger::Spell,
    wire::Cut,
    world::World,
};
use std::{cell::RefCell, rc::Rc, time::Duration};

/// The operator's processes of one cluster, which come and go.
pub struct Pods {
    /// Where they run.
    pub site: Rc<Site>,
    running: RefCell<Vec<Rc<Agent>>>,
}

impl Pods {
    /// With all processes started.
    pub fn new(site: &Rc<Site>) -> Rc<Self> {
        let pods = Rc::new(Self { site: site.clone(), running: RefCell::default() });
        pods.ensure();
        pods
    }

    /// Starts processes in the place of those that ended.
    pub fn ensure(&self) {
        let mut running = self.running.borrow_mut();
        running.retain(|agent| !agent.is_over());
        while running.len() < self.site.world.weather.replicas {
            running.push(Agent::start(&self.site));
        }
    }

    /// Whether a process leads that has nothing left to do or to tell.
    pub fn is_idle(&self) -> bool {
        self.running.borrow().iter().any(|agent| agent.is_leading() && agent.is_idle())
    }

    /// Lets every process go on that stands still.
    pub fn resume_all(&self) {
        self.running.borrow().iter().for_each(|agent| agent.resume());
    }

    /// The process that leads, if one does.
    pub fn leader(&self) -> Option<Rc<Agent>> {
        self.running.borrow().iter().find(|agent| agent.is_leading()).cloned()
    }

    fn lose_journal(&self) {
        let world = &self.site.world;
        if world.strikes("journal lost", world.weather.lose_journal) {
            world.history.note(&self.site.name, "its journal is lost");
            self.site.api.edit(|state| {
                state.journal.clear();
                state.lost_journal = true;
            });
        }
    }

    fn kill_one(&self) {
        let mut running = self.running.borrow_mut();
        let chosen = self.site.world.dice.roll(running.len() as u64);
        if let Some(chosen) = usize::try_from(chosen).ok().filter(|chosen| *chosen < running.len()) {
            running.remove(chosen).kill();
        }
    }
}

/// Starts processes again that ended by themselves, as Kubernetes does, for as long as the world goes on.
pub async fn restart(world: World, pods: Rc<Pods>) {
    loop {
        world.sleep(Duration::from_secs(1)).await;
        if pods.running.borrow().iter().any(|agent| agent.is_over()) {
            pods.ensure();
        }
    }
}

/// Kills the operator again and again, until the faults end.
pub async fn kill_operators(world: World, pods: Rc<Pods>) {
    loop {
        world.sleep_between(Duration::ZERO, world.weather.agent_lives * 2).await;
        if world.weather.is_healed() {
            return;
        }
        pods.kill_one();
        world.weather.count("operator killed");
        // Another process that leads would go on with what it has in memory; and a control plane that offers nothing again
        // has lost what its agent has lost.
        if world.weather.replicas == 1 && !world.weather.never_offers_again {
            pods.lose_journal();
        }
        world.sleep_between(Duration::from_millis(50), Duration::from_secs(3)).await;
        pods.ensure();
    }
}

/// Lets the process that leads stand still, for less or longer than its lease holds, until the faults end. Where it is
/// the only one, it finds the world as it left it.
pub async fn pause_leaders(world: World, pods: Rc<Pods>) {
    loop {
        world.sleep_between(Duration::ZERO, world.weather.leader_runs * 2).await;
        if world.weather.is_healed() {
            return;
        }
        let Some(leader) = pods.leader() else { continue };
        leader.pause();
        world.weather.count("leader stands still");
        world.sleep_between(Duration::from_millis(100), Duration::from_secs(12)).await;
        leader.resume();
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

/// Deletes a Cluster object while jobs flow.
pub async fn delete_cluster(world: World, pods: Rc<Pods>) {
    world.sleep_between(Duration::from_secs(5), Duration::from_secs(60)).await;
    world.weather.count("Cluster object deleted");
    world.history.note(&pods.site.name, "its Cluster object is deleted");
    pods.site.api.delete_cluster();
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

/// Lets strangers stand on a line for moments, until the faults end.
pub async fn let_strangers_in(world: World, pods: Rc<Pods>) {
    let mut wait = !world.dice.happens(world.weather.stranger_first);
    loop {
        if std::mem::replace(&mut wait, true) {
            world.sleep_between(Duration::ZERO, world.weather.stranger_spells * 2).await;
        }
        if world.weather.is_healed() {
            return;
        }
        let spell = Spell::draw(&world.dice, !world.weather.never_offers_again);
        world.weather.count("a stranger stands on a line");
        world.history.note(&pods.site.name, &format!("on its line stands {spell:?}"));
        pods.site.wire.set_stranger(Some(spell));
        world.sleep_between(Duration::from_millis(200), Duration::from_secs(20)).await;
        pods.site.wire.set_stranger(None);
        world.history.note(&pods.site.name, "the stranger goes");
    }
}

/// Takes a backup of the control plane at some moment, and sets it back to that at another.
pub async fn restore_control(world: World, control: Rc<Control>, sites: Vec<(Rc<Site>, Rc<Wishes>)>) {
    let backup = loop {
        world.sleep_between(Duration::from_millis(500), Duration::from_secs(15)).await;
        if let Some(backup) = Backup::take(&control, &sites) {
            break backup;
        }
    };
    world.history.note("control", "is backed up");
    world.sleep_between(Duration::from_millis(100), Duration::from_secs(40)).await;
    if !world.weather.is_healed() && backup.is_known_to(&sites) {
        let away = world.dice.between(Duration::from_millis(50), Duration::from_secs(5));
        backup.put_back(&world, &control, &sites, away).await;
    }
}

/// Cuts a line again and again, one way or both, until the faults end.
pub async fn cut_line(world: World, pods: Rc<Pods>) {
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
        world.history.note(&pods.site.name, fault);
        pods.site.wire.set_cut(cut);
        world.sleep_between(Duration::from_millis(200), Duration::from_secs(15)).await;
        pods.site.wire.set_cut(Cut::default());
        world.history.note(&pods.site.name, "line mended");
    }
}
