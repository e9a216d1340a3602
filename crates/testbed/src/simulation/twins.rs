//! Two clusters with one credential, as a restore of one cluster's objects into another makes them.
//!
//! Nothing tells which of the two is the right one. Right is that one of them is given jobs and goes on being given them,
//! and that the control plane says what it sees; both work until that is plain.

use super::{
    agent::{ControlClock, Seen, Site},
    api::Api,
    control::Control,
    nemesis::Pods,
    people::Wishes,
    wire::Wire,
    world::World,
};
use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    rc::Rc,
    time::Duration,
};
use vworkspace_protocol::JobId;

/// Jobs that are handed in to see who is given them.
const TRIED: u64 = 6;
/// Time between two of them: long enough for the other one to poll.
const APART: Duration = Duration::from_secs(7);
/// A session that was not heard for ten minutes is forgotten: by then no process that has ended is in the way.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(11 * 60);
/// Within this the last of them is handed out.
const GIVEN_WITHIN: Duration = Duration::from_secs(20);

/// Copies the credentials Secret and the Cluster object to a cluster of its own, and starts an operator there.
pub async fn appear(world: World, control: Rc<Control>, site: Rc<Site>) {
    while site.api.state().credential.is_none() {
        world.sleep_between(Duration::from_millis(500), Duration::from_secs(20)).await;
    }
    world.sleep_between(Duration::ZERO, Duration::from_secs(20)).await;
    if world.weather.is_healed() || site.is_deleted() {
        return;
    }
    let name = format!("{}'", site.name);
    let api = Api::new(&world, &name);
    api.edit(|state| {
        let original = site.api.state();
        state.credential.clone_from(&original.credential);
        state.registration_id.clone_from(&original.registration_id);
        state.generation = original.generation;
    });
    let twin = Rc::new(Site {
        api,
        wire: Wire::new(&world, &control),
        registration_token: RefCell::new(site.registration_token.borrow().clone()),
        clock: ControlClock::default(),
        seen: RefCell::new(Seen::default()),
        is_twin: Cell::new(true),
        twin: RefCell::default(),
        world: world.clone(),
        name,
    });
    world.weather.count("credential copied to another cluster");
    world.history.note(&site.name, "its credential is copied to another cluster");
    site.is_twin.set(true);
    *site.twin.borrow_mut() = Some(Pods::new(&twin));
}

/// Checks that never both of the two are given jobs.
pub fn check(world: &World, control: &Rc<Control>, site: &Rc<Site>, wishes: &Rc<Wishes>) {
    let Some(twin) = site.twin.borrow().as_ref().map(|pods| pods.site.clone()) else { return };
    let (given, group) = (Rc::new(RefCell::new(BTreeSet::new())), world.executor.group());
    let done = Rc::new(Cell::new(false));
    let (jobs, told, shared, wishes) = (given.clone(), done.clone(), world.clone(), wishes.clone());
    let control = control.clone();
    world.executor.spawn(group, async move {
        shared.sleep(FORGOTTEN_AFTER).await;
        for n in 0..TRIED {
            let job = wishes.try_out(&shared, &control, &format!("twin-{n}")).await;
            jobs.borrow_mut().extend(job);
            shared.sleep(APART).await;
        }
        shared.sleep(GIVEN_WITHIN).await;
        told.set(true);
    });
    let over = || done.get() || world.history.broken().is_some();
    world.executor.run(world.executor.now() + FORGOTTEN_AFTER * 2, over);
    world.executor.kill(group);
    judge(world, site, &twin, &given.borrow());
}

fn judge(world: &World, site: &Site, twin: &Site, given: &BTreeSet<JobId>) {
    let of = |site: &Site| given.intersection(&site.seen.borrow().offered).count();
    let (first, second) = (of(site), of(twin));
    let all = given.len();
    world
        .history
        .note("CHECK", &format!("of {all} jobs {} was given {first}, {} {second}", site.name, twin.name));
    world.history.holds("I13 one identity", first == 0 || second == 0, || {
        format!("{} was given {first} jobs and {} {second}, of {all}", site.name, twin.name)
    });
    world.history.holds("I7 liveness", first + second >= all, || {
        format!("of {all} jobs {} was given {first}, {} {second}", site.name, twin.name)
    });
}
