//! One seed, from an empty disk to the last check.

use super::{
    acts,
    agent::{ControlClock, Seen, Site},
    api::Api,
    checks,
    control::Control,
    executor::Executor,
    forget,
    nemesis::{self, Pods},
    people::{self, Wishes},
    rest, twins,
    wire::{Cut, Wire},
    world::World,
};
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    time::Duration,
};
use vworkspace_protocol::{
    ClusterId, Secret,
    admin::{CreateCluster, CreateOrganization, CreateRegistrationToken},
};
use vworkspace_server::app::{self, App, access::Person};

/// How long faults last.
const ROUGH: Duration = Duration::from_secs(60);
/// What the faults left behind may last so long: the longest back-off, and a poll that nobody answers.
const LINGERS: Duration = Duration::from_secs(60 + 40);
/// A credential that the control plane itself has refused is presented again within this (contract, section 4).
const ASKS_AGAIN_WITHIN: Duration = Duration::from_secs(16 * 60);
/// Within this after that everything is done: a call that hangs, a lease and a job's deadline, one after the other.
const SETTLES_WITHIN: Duration = Duration::from_secs(30 + 15 + 35);
/// Within this a connected cluster does a job when nothing is wrong (I7).
const PROBE_WITHIN: Duration = Duration::from_secs(10);
/// How often is looked whether all is done.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What came of a seed.
pub struct Played {
    /// The seed.
    pub seed: u64,
    /// The first promise that was broken.
    pub broken: Option<String>,
    /// How much time passed in the world.
    pub simulated: Duration,
    /// Says what happened: equal for equal seeds.
    pub hash: u64,
    /// What happened, in words.
    pub history: String,
    /// How often each fault struck.
    pub fired: BTreeMap<&'static str, u64>,
    /// Jobs handed in.
    pub jobs: u64,
    /// Things noted.
    pub steps: u64,
}

/// Plays a seed.
pub fn play(seed: u64) -> Played {
    let world = World::new(seed);
    let mut jobs = 0;
    if let Err(error) = stage(&world, &mut jobs) {
        world.history.broke("the world itself", &format!("{error:#}"));
    }
    if world.executor.is_stuck() {
        world.history.broke("I7 liveness", "something goes round and round");
    }
    world.executor.end();
    Played {
        seed,
        broken: world.history.broken(),
        simulated: world.executor.now(),
        hash: world.history.hash(),
        history: world.history.text(),
        fired: world.weather.fired(),
        jobs,
        steps: world.history.steps(),
    }
}

fn stage(world: &World, jobs: &mut u64) -> anyhow::Result<()> {
    let control = Rc::new(Control::new(world)?);
    control.start()?;
    let clusters = 1 + world.dice.roll(3);
    let made = in_time(world, Duration::from_secs(30), prepare(control.clone(), clusters));
    let made = made.ok_or_else(|| anyhow::anyhow!("clusters could not be made"))??;
    let mut sites = Vec::new();
    for (n, (cluster, token)) in made.into_iter().enumerate() {
        sites.push((site(world, &control, n, token), Wishes::new(cluster)));
    }
    let pods: Vec<Rc<Pods>> = sites.iter().map(|(site, _)| Pods::new(site)).collect();
    let executor = &world.executor;
    let fate = executor.group();
    executor.spawn(fate, nemesis::kill_control(world.clone(), control.clone()));
    executor.spawn(fate, nemesis::turn_clock(world.clone(), control.clone()));
    // Of a plain v1 control plane nobody asks for what was acked before it was set back.
    if world.weather.restores && !world.weather.never_offers_again {
        executor.spawn(fate, nemesis::restore_control(world.clone(), control.clone(), sites.clone()));
    }
    if world.weather.twins
        && !world.weather.restores
        && !world.weather.never_offers_again
        && let Some((site, _)) = sites.first()
    {
        executor.spawn(fate, twins::appear(world.clone(), control.clone(), site.clone()));
    }
    let always = executor.group();
    for (n, pod) in pods.iter().enumerate() {
        executor.spawn(always, nemesis::restart(world.clone(), pod.clone()));
        executor.spawn(fate, nemesis::kill_operators(world.clone(), pod.clone()));
        executor.spawn(fate, nemesis::pause_leaders(world.clone(), pod.clone()));
        executor.spawn(fate, nemesis::cut_line(world.clone(), pod.clone()));
        executor.spawn(fate, nemesis::let_strangers_in(world.clone(), pod.clone()));
        if world.dice.happens(world.weather.leave) {
            executor.spawn(fate, nemesis::delete_cluster(world.clone(), pod.clone()));
        }
        let (site, wishes) = &sites[n];
        executor.spawn(fate, wishes.clone().live(world.clone(), control.clone(), site.clone()));
        let (victim, others) = &sites[(n + 1) % sites.len()];
        if sites.len() > 1 {
            executor.spawn(fate, people::steal(world.clone(), site.clone(), others.clone(), victim.clone()));
        }
    }
    let broken = || world.history.broken().is_some();
    executor.run(executor.now() + ROUGH, broken);
    executor.kill(fate);
    for (site, _) in &sites {
        site.wire.set_cut(Cut::default());
        site.wire.set_stranger(None);
    }
    control.start()?;
    pods.iter().for_each(|pod| pod.resume_all());
    if let Some(act) = world.weather.long {
        acts::play(world, &control, &sites, act)?;
    }
    world.history.note("CHECK", "faults end");
    world.weather.heal();
    pods.iter().for_each(|pod| pod.ensure());
    settle(world, &control, &sites, &pods);
    *jobs = sites.iter().map(|(_, wishes)| wishes.taken.borrow().len() as u64).sum();
    Ok(())
}

fn site(world: &World, control: &Rc<Control>, n: usize, token: Secret) -> Rc<Site> {
    let name = format!("c{}", n + 1);
    Rc::new(Site {
        world: world.clone(),
        api: Api::new(world, &name),
        wire: Wire::new(world, control),
        name,
        registration_token: RefCell::new(Some(token)),
        clock: ControlClock::default(),
        seen: RefCell::new(Seen::default()),
        is_twin: Cell::default(),
        twin: RefCell::default(),
    })
}

/// The clusters and what their people asked for.
pub(super) type Sites = [(Rc<Site>, Rc<Wishes>)];

/// Waits until all is done, probes every cluster, and checks.
fn settle(world: &World, control: &Rc<Control>, sites: &Sites, pods: &[Rc<Pods>]) {
    world.executor.run(world.executor.now() + LINGERS, || world.history.broken().is_some());
    let asks_again = if world.weather.may_wait_long() { ASKS_AGAIN_WITHIN } else { Duration::ZERO };
    let within = asks_again + SETTLES_WITHIN;
    if world.history.broken().is_some() || !all_settled(world, control, sites, pods, within) {
        return;
    }
    for (site, wishes) in sites.iter().filter(|(site, _)| !site.is_deleted() && !site.has_twin()) {
        let asked = {
            let (world, wishes) = (world.clone(), wishes.clone());
            let (control, site) = (control.clone(), site.clone());
            async move { wishes.probe(&world, &control, &site).await }
        };
        if in_time(world, PROBE_WITHIN, asked).flatten().is_none() {
            world.history.broke("I7 liveness", "a job could not be handed in");
        }
    }
    world.history.note("CHECK", "each cluster was handed two more jobs");
    if world.history.broken().is_some() || !all_settled(world, control, sites, pods, PROBE_WITHIN) {
        return;
    }
    let is_whole = |site: &Rc<Site>| !site.is_deleted() && !site.has_twin();
    for (pod, _) in pods.iter().zip(sites).filter(|(_, (site, _))| is_whole(site)) {
        let (answering, history, leader) = (control.clone(), world.history.clone(), pod.leader());
        let compared = async move { checks::digests_agree(&answering, &*leader?, &history).await };
        if in_time(world, PROBE_WITHIN, compared).flatten().is_none() {
            world.history.broke("I7 liveness", "the control plane does not answer");
        }
    }
    for (site, wishes) in sites.iter().filter(|(site, _)| !site.is_deleted()) {
        twins::check(world, control, site, wishes);
    }
    if world.dice.happens(400) {
        rest::check(world, sites);
    }
    for (site, wishes) in sites.iter().filter(|(site, _)| !site.has_twin()) {
        let (answering, cluster) = (control.clone(), wishes.cluster.clone());
        let asked = async move { checks::ask(&answering, cluster).await };
        match in_time(world, PROBE_WITHIN, asked).flatten() {
            Some(central) => checks::check(&central, site, wishes, control.lease(), &world.history),
            None => world.history.broke("I7 liveness", "the control plane does not answer"),
        }
        let (answering, checked, history) = (control.clone(), site.clone(), world.history.clone());
        let cluster = wishes.cluster.clone();
        let fenced = async move {
            checks::former_credentials_are_refused(&answering, &cluster, &checked, &history).await
        };
        if in_time(world, PROBE_WITHIN, fenced).flatten().is_none() {
            world.history.broke("I7 liveness", "the control plane does not answer");
        }
    }
    if world.history.broken().is_none()
        && world.dice.happens(250)
        && let Err(error) = forget::check(world, control, sites, pods)
    {
        world.history.broke("the world itself", &format!("{error:#}"));
    }
}

/// Whether, within the time, nothing is left to do; what is left is noted as broken.
pub(super) fn all_settled(
    world: &World,
    control: &Rc<Control>,
    sites: &Sites,
    pods: &[Rc<Pods>],
    within: Duration,
) -> bool {
    let (start, end) = (world.executor.now(), world.executor.now() + within);
    loop {
        let mut left = String::new();
        for ((site, wishes), pod) in sites.iter().zip(pods) {
            if site.has_twin() {
                continue;
            }
            if site.is_deleted() {
                if site.api.state().left.is_none() {
                    left = format!("{}: its Cluster object is still there", site.name);
                }
                continue;
            }
            // The poll that a rotation gives up may take jobs with it, which are offered again once their lease is over.
            if site.api.state().credential.as_ref().is_some_and(|held| held.next().is_some()) {
                left = format!("{}: its credential is being rotated", site.name);
                continue;
            }
            let (asked, cluster) = (control.clone(), wishes.cluster.clone());
            let central =
                in_time(world, LOOK_EVERY, async move { checks::ask(&asked, cluster).await }).flatten();
            match central {
                Some(central) if central.is_settled(site) && pod.is_idle() => {}
                Some(central) => left = central.unsettled(site, &world.history),
                None => left = "the control plane does not answer".to_owned(),
            }
        }
        if world.history.broken().is_some() || world.executor.is_stuck() {
            return false;
        }
        if left.is_empty() {
            return true;
        }
        if world.executor.now() >= end {
            world.history.broke("I7 liveness", &format!("after {within:?} without faults: {left}"));
            return false;
        }
        let waited = world.executor.now().saturating_sub(start);
        let pause = if waited < SETTLES_WITHIN { LOOK_EVERY } else { LOOK_EVERY * 10 };
        world.executor.run(world.executor.now() + pause, || world.history.broken().is_some());
    }
}

/// Runs the world until `work` is done, at most that long.
fn in_time<T: 'static>(world: &World, most: Duration, work: impl Future<Output = T> + 'static) -> Option<T> {
    let executor: &Executor = &world.executor;
    let (done, result) = (Rc::new(Cell::new(false)), Rc::new(RefCell::new(None)));
    let (told, kept) = (done.clone(), result.clone());
    let group = executor.group();
    executor.spawn(group, async move {
        *kept.borrow_mut() = Some(work.await);
        told.set(true);
    });
    executor.run(executor.now() + most, || done.get());
    executor.kill(group);
    result.take()
}

async fn prepare(control: Rc<Control>, clusters: u64) -> anyhow::Result<Vec<(ClusterId, Secret)>> {
    control.bootstrap().await;
    let made = control.as_admin(move |app, by| async move {
        let mut made = Vec::new();
        for n in 1..=clusters {
            made.push(make_cluster(&app, &by, n).await?);
        }
        Ok::<_, app::Error>(made)
    });
    let made = made.await.ok_or_else(|| anyhow::anyhow!("the control plane is not there"))?;
    made.map_err(|_| anyhow::anyhow!("the control plane makes no clusters"))
}

/// Every cluster has a tenant of its own.
async fn make_cluster(app: &App, by: &Person, n: u64) -> Result<(ClusterId, Secret), app::Error> {
    let organization = CreateOrganization { name: format!("org-{n}") };
    let organization = app::organizations::create(app, by, organization).await?;
    let cluster = CreateCluster { name: "cluster".to_owned(), organization_id: Some(organization.id) };
    let cluster = app::clusters::create(app, by, cluster).await?;
    let token = CreateRegistrationToken::default();
    let token = app::tokens::create_registration(app, by, &cluster.id, &token).await?;
    Ok((cluster.id, token.token))
}
