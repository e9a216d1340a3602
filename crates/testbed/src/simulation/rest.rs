//! An application at rest: while nobody asks for anything, nothing is written to it and nothing is told of it.

use super::{agent::Site, history::History, world::World};
use std::{rc::Rc, time::Duration};

/// What a controller has begun when a job is over ends within this.
const CALMS_WITHIN: Duration = Duration::from_secs(15);
/// So many times Flux looks at each application, at least.
const LOOKS: u32 = 3;

/// What was written to a cluster's applications, and told of them.
#[derive(PartialEq, Eq)]
struct Count {
    writes: u64,
    events: usize,
}

/// Lets some intervals pass in which nobody asks for anything.
pub fn check<W>(world: &World, sites: &[(Rc<Site>, W)]) {
    let sites: Vec<_> = sites.iter().filter(|(site, _)| !site.has_twin()).collect();
    let run = |time| world.executor.run(world.executor.now() + time, || world.history.broken().is_some());
    run(CALMS_WITHIN);
    let before: Vec<Count> = sites.iter().map(|(site, _)| Count::of(site)).collect();
    run(world.weather.interval * LOOKS);
    for ((site, _), before) in sites.iter().zip(before) {
        before.compare(site, &world.history);
    }
}

impl Count {
    fn of(site: &Site) -> Self {
        Self { writes: site.api.state().versions, events: site.seen.borrow().told_events.len() }
    }

    fn compare(&self, site: &Site, history: &History) {
        let now = Self::of(site);
        history.holds("I12 rest", *self == now, || {
            format!(
                "while nobody asked for anything, {} writes and {} events were made in {}",
                now.writes - self.writes,
                now.events - self.events,
                site.name
            )
        });
    }
}
