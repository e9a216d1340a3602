//! A control plane that is set back to a backup of itself, and what nobody can ask of it afterwards.
//!
//! A restored control plane knows what it knew at the backup. Jobs, results and events that it took since are unknown to
//! it, though it answered for them: the promises about those end here, and only about those.

use super::{agent::Site, control::Control, people::Wishes, world::World};
use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::Duration,
};
use vworkspace_protocol::JobId;
use vworkspace_store::Memory;

/// Rotations since a backup of which one credential that it knows is left: the contract keeps four former ones.
const MOST_ROTATIONS: u64 = 4;

/// A backup, and what was promised by then.
pub struct Backup {
    memory: Memory,
    clusters: Vec<Promised>,
}

/// What the control plane had answered for one cluster.
struct Promised {
    taken: BTreeSet<JobId>,
    results: BTreeMap<JobId, String>,
    events: BTreeSet<String>,
    promoted: u64,
}

type Clusters = [(Rc<Site>, Rc<Wishes>)];

impl Backup {
    /// Takes one. `None` where a cluster has no credential yet, or leaves: to a backup without it, its identity is lost.
    pub fn take(control: &Control, clusters: &Clusters) -> Option<Self> {
        let promised = |(site, wishes): &(Rc<Site>, Rc<Wishes>)| {
            let state = site.api.state();
            let is_registered = state.credential.is_some() && state.deleted_at.is_none();
            let seen = site.seen.borrow();
            is_registered.then(|| Promised {
                taken: wishes.taken.borrow().keys().cloned().collect(),
                results: seen.taken_results.clone(),
                events: seen.taken_events.clone(),
                promoted: state.promoted,
            })
        };
        let clusters = clusters.iter().map(promised).collect::<Option<Vec<_>>>()?;
        Some(Self { memory: control.backup().ok()?, clusters })
    }

    /// Whether each cluster still holds a credential that this backup knows.
    pub fn is_known_to(&self, clusters: &Clusters) -> bool {
        let mut pairs = self.clusters.iter().zip(clusters);
        pairs.all(|(then, (site, _))| {
            let state = site.api.state();
            state.deleted_at.is_none() && state.promoted - then.promoted <= MOST_ROTATIONS
        })
    }

    /// Sets the control plane back and starts it again after `away`.
    pub async fn put_back(self, world: &World, control: &Rc<Control>, clusters: &Clusters, away: Duration) {
        control.change_disk(self.memory);
        if world.weather.says_restored {
            control.say_restored();
        }
        for (then, (site, wishes)) in self.clusters.into_iter().zip(clusters) {
            site.wire.reset();
            let seen = &mut *site.seen.borrow_mut();
            seen.set_backs += 1;
            seen.done_before.extend(seen.offered.iter().cloned());
            seen.taken_results = then.results;
            seen.taken_events = then.events;
            let since: Vec<JobId> =
                wishes.taken.borrow().keys().filter(|job| !then.taken.contains(*job)).cloned().collect();
            wishes.handle_lost(since.into_iter());
        }
        world.weather.count("control plane restored from a backup");
        world.weather.handle_upheaval(world.executor.now());
        world.history.note("control", "is set back to a backup");
        if world.weather.says_restored {
            // They do it in the end, whatever goes wrong meanwhile.
            let people = world.executor.group();
            for (_, wishes) in clusters {
                let (world, control, wishes) = (world.clone(), control.clone(), wishes.clone());
                world.clone().executor.spawn(people, async move { wishes.release(&world, &control).await });
            }
        }
        world.sleep(away).await;
        if let Err(error) = control.start() {
            world.history.broke("the world itself", &format!("a backup does not open: {error}"));
        }
    }
}
