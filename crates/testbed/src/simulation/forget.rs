//! A control plane that is set back to a backup while nothing is wrong: the cut is too short to be noticed, no job is
//! open, and nothing but the digest of what was reported says that something is missing.

use super::{
    agent::Site,
    api::PROBE,
    control::Control,
    nemesis::Pods,
    play::{Sites, all_settled},
    world::World,
};
use std::{rc::Rc, time::Duration};

/// An application that comes after the backup.
const NEW: &str = "made-since";
/// What happens in the cluster is reported within this.
const REPORTED_WITHIN: Duration = Duration::from_secs(30);
/// Two heartbeats and a snapshot; where that does not help, another one a minute later.
const FOUND_WITHIN: Duration = Duration::from_secs(180);
/// One call fails at most: two in a row are a cut, after which a snapshot follows in any case.
const LONGEST_AWAY: Duration = Duration::from_millis(500);

/// Sets the control plane back: an application that came since is missing, one that went is there again, until the
/// agents have found that.
///
/// # Errors
/// Those of the store.
pub fn check(world: &World, control: &Rc<Control>, sites: &Sites, pods: &[Rc<Pods>]) -> anyhow::Result<()> {
    let backup = control.backup()?;
    for (site, _) in sites.iter().filter(|(site, _)| !site.is_deleted()) {
        replace_one(site);
    }
    if !all_settled(world, control, sites, pods, REPORTED_WITHIN) {
        return Ok(());
    }
    world.weather.count("control plane forgets in silence");
    world.weather.handle_upheaval(world.executor.now());
    world.history.note("CHECK", "the control plane is set back in silence");
    control.change_disk(backup);
    sites.iter().for_each(|(site, _)| site.wire.reset());
    let away = world.dice.between(Duration::from_millis(20), LONGEST_AWAY);
    world.executor.run(world.executor.now() + away, || false);
    control.start()?;
    all_settled(world, control, sites, pods, FOUND_WITHIN);
    Ok(())
}

/// Somebody in the cluster deletes an application and makes another one.
fn replace_one(site: &Site) {
    site.api.edit(|state| {
        if let Some(mut object) = state.objects.remove(PROBE) {
            object.uid = format!("uid-{NEW}");
            state.objects.insert(NEW.to_owned(), object);
        }
    });
}
