//! What lasts for minutes and hours, after the rough time: strangers on the lines, and a control plane that knows nobody.

use super::{agent::Site, control::Control, people::Wishes, stranger::Spell, weather::Long, world::World};
use std::{rc::Rc, time::Duration};
use vworkspace_store::Memory;

/// From here on a stranger that answers polls in form passes for a proxy that strips the echo (contract, section 4).
const BELIEVED_AFTER: Duration = Duration::from_secs(55 * 60);

/// A cluster that leaves has left within this, told or not.
const LEAVES_WITHIN: Duration = Duration::from_secs(180);

/// Plays a long act to its end. Jobs are handed in now and then meanwhile.
///
/// # Errors
/// Those of the store.
pub fn play(
    world: &World,
    control: &Rc<Control>,
    sites: &[(Rc<Site>, Rc<Wishes>)],
    act: Long,
) -> anyhow::Result<()> {
    world.history.note("CHECK", &format!("{act:?}"));
    let people = world.executor.group();
    for (site, wishes) in sites {
        let lingering = wishes.clone().linger(world.clone(), control.clone(), site.clone());
        world.executor.spawn(people, lingering);
    }
    match act {
        Long::Strangers(time) => strangers(world, sites, time),
        Long::Empty(time) => empty(world, control, sites, time)?,
        Long::Forbidden(time) => forbidden(world, sites, time),
    }
    world.executor.kill(people);
    Ok(())
}

fn strangers(world: &World, sites: &[(Rc<Site>, Rc<Wishes>)], time: Duration) {
    world.weather.count("strangers for long");
    for (site, _) in sites {
        let is_v1 = world.weather.never_offers_again;
        let spell = Spell::draw(&world.dice, time < BELIEVED_AFTER && !is_v1);
        site.wire.set_stranger(Some(if is_v1 { spell.total() } else { spell }));
    }
    run(world, time);
    sites.iter().for_each(|(site, _)| site.wire.set_stranger(None));
}

/// The control plane says that no cluster may do anything, and changes its mind later.
fn forbidden(world: &World, sites: &[(Rc<Site>, Rc<Wishes>)], time: Duration) {
    world.weather.count("forbidden for long");
    sites.iter().for_each(|(site, _)| site.wire.set_forbidden(true));
    world.weather.handle_upheaval(world.executor.now());
    run(world, time);
    sites.iter().for_each(|(site, _)| site.wire.set_forbidden(false));
}

/// Another control plane answers under the same name, of our make and with an empty database; then the own one again.
fn empty(
    world: &World,
    control: &Rc<Control>,
    sites: &[(Rc<Site>, Rc<Wishes>)],
    time: Duration,
) -> anyhow::Result<()> {
    world.weather.count("empty control plane for long");
    // To one that is just leaving the empty one would say that its identity has ended.
    let is_leaving = |site: &Site| site.is_deleted() && site.api.state().left.is_none();
    let over = || world.history.broken().is_some() || !sites.iter().any(|(site, _)| is_leaving(site));
    world.executor.run(world.executor.now() + LEAVES_WITHIN, over);
    let change = |memory: Memory| -> anyhow::Result<Memory> {
        let former = control.change_disk(memory);
        sites.iter().for_each(|(site, _)| site.wire.reset());
        world.weather.handle_upheaval(world.executor.now());
        control.start()?;
        Ok(former)
    };
    let own = change(Memory::new()?)?;
    run(world, time);
    change(own)?;
    Ok(())
}

fn run(world: &World, time: Duration) {
    world.executor.run(world.executor.now() + time, || world.history.broken().is_some());
}
