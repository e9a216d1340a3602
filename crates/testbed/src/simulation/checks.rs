//! What must hold in the end (`I1` … `I11`): the control plane's view against what the people asked for and what the
//! cluster went through.

use super::{
    agent::{Agent, Site, body_of},
    api::Left,
    control::Control,
    ends::Reasons,
    history::History,
    people::{Wish, Wishes},
};
use crate::timeline;
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::Arc,
    time::Duration,
};
use vworkspace_protocol::{
    ClusterId, JobId, Outcome, Secret,
    admin::{Cluster, EventRecord, Job, JobState, Presence, Resource, TimelineEntry},
    credential::RegisterRequest,
    event::{EventsRequest, kind},
};
use vworkspace_server::app::{self, App, access::Person, page::PageParams};
use vworkspace_store::ResourceFilter;
use vworkspace_transport::{AgentCall, AgentLink as _, LinkError, MemoryLink};

/// A credential that was exchanged for another works no more once that was used, and none of a cluster that has left
/// (I8). `None`: nobody answered.
pub async fn former_credentials_are_refused(
    control: &Rc<Control>,
    cluster: &ClusterId,
    site: &Site,
    history: &History,
) -> Option<()> {
    let (former, left) = {
        let state = site.api.state();
        let held = state.credential.as_ref();
        let is_former = |token: &&Secret| held.is_some_and(|h| h.token != **token && h.next().is_none());
        let kept = held.iter().flat_map(|held| held.tokens()).filter(is_former);
        (kept.chain(&state.former).cloned().collect::<Vec<_>>(), state.left)
    };
    let came_back = {
        let state = site.api.state();
        state.credential.as_ref().is_some_and(|held| state.replaced.contains(&held.token))
    };
    history.holds("I11 rotation", !came_back, || {
        format!("{} goes on with a credential that was replaced once", site.name)
    });
    if left == Some(Left::Untold) {
        return Some(());
    }
    for token in former {
        let cluster = cluster.clone();
        let caller = AgentCall {
            bearer: Some(token),
            session: None,
            capabilities: Vec::new(),
            user_agent: String::new(),
            address: None,
        };
        let call = |app: Arc<App>| {
            let link = MemoryLink::new(app.agent_port(), caller);
            async move { link.jobs(&cluster, Duration::ZERO).await }
        };
        let answer = control.within(call).await?;
        let refused = matches!(answer, Err(LinkError::Refused { status: 401, .. }));
        history.holds("I8 fencing", refused, || format!("a former credential of {} still works", site.name));
    }
    if left.is_some() { token_is_spent(control, site, history).await } else { Some(()) }
}

/// The token with which a cluster joined that has left brings no credential back, not even under the id it was exchanged
/// with (I8). `None`: nobody answered.
async fn token_is_spent(control: &Rc<Control>, site: &Site, history: &History) -> Option<()> {
    let Some(token) = site.registration_token.borrow().clone() else { return Some(()) };
    let request = RegisterRequest {
        registration_token: token,
        cluster_id: None,
        display_name: site.name.clone(),
        registration_id: site.api.state().registration_id.clone().unwrap_or_default(),
    };
    let caller = AgentCall {
        bearer: None,
        session: None,
        capabilities: Vec::new(),
        user_agent: String::new(),
        address: None,
    };
    let call = |app: Arc<App>| {
        let link = MemoryLink::new(app.agent_port(), caller);
        async move { link.register(&request).await }
    };
    let answer = control.within(call).await?;
    let refused = matches!(answer, Err(LinkError::Refused { status: 401, .. }));
    history.holds("I8 fencing", refused, || format!("the token of {} works again", site.name));
    Some(())
}

/// The control plane's digest is that of the agent, which nothing waits for any more (I5). `None`: nobody answered.
pub async fn digests_agree(control: &Rc<Control>, agent: &Agent, history: &History) -> Option<()> {
    let (caller, reported) = (agent.caller()?, agent.settled());
    let call = |app: Arc<App>| {
        let link = MemoryLink::new(app.agent_port(), caller);
        async move { link.events(&EventsRequest::default()).await }
    };
    let held = control.within(call).await?.ok()?.report_digest;
    let reported = reported.map(|settled| settled.digest.to_string());
    history.holds("I5 events", reported.is_some() && held == reported, || {
        format!("reported was {reported:?}, held is {held:?}")
    });
    Some(())
}

/// What the control plane says about a cluster.
pub struct Central {
    cluster: Cluster,
    /// Oldest first, with their timelines.
    jobs: Vec<Job>,
    resources: Vec<Resource>,
    /// What is kept under which key.
    events: Vec<(String, String)>,
    /// What it said about two agents under the identity, which no cluster here has.
    conflicts: Vec<String>,
}

/// Asks the control plane for all it says about a cluster. `None`: it did not answer.
pub async fn ask(control: &Rc<Control>, cluster: ClusterId) -> Option<Central> {
    let asked = control.as_admin(move |app, by| async move { read(&app, &by, &cluster).await });
    asked.await?.ok()
}

async fn read(app: &App, by: &Person, cluster: &ClusterId) -> Result<Central, app::Error> {
    let (mut jobs, mut resources, mut events) = (Vec::new(), Vec::new(), Vec::new());
    let mut conflicts = Vec::new();
    let mut cursor = None;
    loop {
        let page = app::jobs::list(app, by, cluster, None, &page(cursor.as_deref())).await?;
        for job in page.items {
            jobs.push(app::jobs::watch(app, by, &job.id, 0, Duration::ZERO).await?);
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    jobs.reverse();
    loop {
        let filter = ResourceFilter::default();
        let page = app::reports::resources(app, by, cluster, &filter, &page(cursor.as_deref())).await?;
        resources.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    loop {
        let page = app::reports::events(app, by, cluster, None, &page(cursor.as_deref())).await?;
        let body = |event: &EventRecord| body_of(&event.kind, &event.resource_ref, &event.conditions);
        let told = page.items.iter().filter(|event| event.kind == kind::IDENTITY_CONFLICT);
        conflicts.extend(told.map(|event| format!("{}: {:?}", event.received_at, event.conditions)));
        events.extend(page.items.into_iter().map(|event| (event.event_key.clone(), body(&event))));
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    let cluster = app::clusters::read(app, by, cluster).await?;
    Ok(Central { cluster, jobs, resources, events, conflicts })
}

fn page(cursor: Option<&str>) -> PageParams {
    serde_json::from_value(json!({"limit": 200, "cursor": cursor})).unwrap_or_default()
}

impl Central {
    /// Whether nothing is left to be done, and what is shown is what is.
    pub fn is_settled(&self, site: &Site) -> bool {
        self.open().is_empty() && self.differences(site).is_empty() && site.api.state().journal.is_empty()
    }

    /// Why it is not settled, for people.
    pub fn unsettled(&self, site: &Site, history: &History) -> String {
        let open: Vec<String> = self.open().iter().map(|job| told(job, history)).collect();
        let journal: Vec<String> = site.api.state().journal.keys().map(|id| history.name(id)).collect();
        format!(
            "{}: open jobs {open:#?}; journal {journal:?}; shown otherwise than it is: {:?}",
            site.name,
            self.differences(site)
        )
    }

    /// Jobs that are held since a restore, oldest first.
    pub fn held(&self) -> Vec<JobId> {
        self.jobs.iter().filter(|job| job.held_since.is_some()).map(|job| job.id.clone()).collect()
    }

    fn open(&self) -> Vec<&Job> {
        self.jobs.iter().filter(|job| !job.state.is_terminal()).collect()
    }

    /// Objects whose conditions are not what the control plane shows.
    fn differences(&self, site: &Site) -> Vec<String> {
        let state = site.api.state();
        let shown: BTreeMap<&str, &Resource> =
            self.resources.iter().map(|resource| (resource.resource_ref.name.as_str(), resource)).collect();
        let mut differences: Vec<String> = state
            .objects
            .iter()
            .filter(|(_, object)| !object.conditions.is_empty())
            .filter(|(name, object)| {
                shown.get(name.as_str()).is_none_or(|resource| {
                    resource.conditions != object.conditions
                        || resource.resource_ref.uid != object.uid
                        || resource.resource_ref.generation != object.generation
                })
            })
            .map(|(name, object)| {
                let shown = shown.get(name.as_str()).map(|resource| &resource.conditions);
                format!("{name} is {:?}, shown as {shown:?}", object.conditions)
            })
            .collect();
        let gone = shown.keys().filter(|name| !state.objects.contains_key(**name));
        differences.extend(gone.map(|name| format!("{name} is gone and shown")));
        differences
    }
}

/// Checks everything about one cluster.
pub fn check(central: &Central, site: &Site, wishes: &Wishes, lease: Duration, history: &History) {
    let checks = Checks { central, site, wishes, lease, history };
    checks.every_job_taken_is_there();
    checks.results_stand();
    checks.every_timeline_is_legal();
    checks.every_end_has_a_reason();
    checks.a_key_names_one_job();
    // Without a journal all that is promised is that each job comes to an end: it was offered again.
    if !site.api.state().lost_journal {
        checks.changes_go_forward();
        checks.effects_fit_states();
        checks.a_job_rotates_once();
        if !site.was_set_back_in_silence() {
            checks.objects_are_what_was_asked_for();
        }
    }
    checks.events_are_there_once();
    checks.nothing_was_offered_elsewhere();
    history.holds("I8 fencing", central.conflicts.is_empty(), || {
        format!("{} is said to have two agents under its identity: {:?}", site.name, central.conflicts)
    });
    let connected = central.cluster.presence == Presence::Connected;
    history.holds("I7 liveness", connected || site.is_deleted(), || {
        format!("{} is shown as {:?}", site.name, central.cluster.presence)
    });
}

struct Checks<'a> {
    central: &'a Central,
    site: &'a Site,
    wishes: &'a Wishes,
    lease: Duration,
    history: &'a History,
}

impl Checks<'_> {
    fn every_job_taken_is_there(&self) {
        let there: BTreeSet<&JobId> = self.central.jobs.iter().map(|job| &job.id).collect();
        let lost = self.wishes.lost.borrow();
        for id in self.wishes.taken.borrow().keys().filter(|id| !lost.contains(*id)) {
            let name = || format!("{} was taken and is gone", self.history.name(id));
            self.history.holds("I1 durable ack", there.contains(id), name);
        }
    }

    fn results_stand(&self) {
        let seen = self.site.seen.borrow();
        for job in &self.central.jobs {
            let Some(taken) = seen.taken_results.get(&job.id) else { continue };
            let stands = job.state == JobState::Closed
                && job.outcome.is_some_and(|outcome| outcome.as_str() == taken.as_str());
            self.history.holds("I2 one end", stands, || {
                format!(
                    "{taken} was taken for {}, shown is {}",
                    self.history.name(&job.id),
                    told(job, self.history)
                )
            });
        }
    }

    fn every_timeline_is_legal(&self) {
        let was_set_back = self.site.seen.borrow().set_backs > 0;
        for job in &self.central.jobs {
            self.history.holds("I2 one end", timeline::is_legal(job, was_set_back), || {
                format!("it went a way that there is not: {}", told(job, self.history))
            });
        }
    }

    fn every_end_has_a_reason(&self) {
        let state = self.site.api.state();
        let is_on_time = self.site.world.weather.clock_error.is_zero();
        let seen = self.site.seen.borrow();
        let reasons = Reasons {
            jobs: &self.central.jobs,
            wishes: self.wishes,
            state: &state,
            done_before: &seen.done_before,
            lease: self.lease,
            is_on_time,
        };
        for job in &self.central.jobs {
            let told = || told(job, self.history);
            if let Some(wrong) = reasons.wrong(job) {
                self.history.broke("I2 one end", &format!("{wrong}: {}", told()));
            }
            self.history.holds("I2 one end", !reasons.is_offered_too_soon(job), || {
                format!("it was handed out again within {:?}: {}", self.lease, told())
            });
        }
    }

    fn a_key_names_one_job(&self) {
        let mut named = BTreeSet::new();
        for job in &self.central.jobs {
            let is_first = named.insert(&job.idempotency_key);
            self.history.holds("I3 one effect", is_first, || {
                format!("{} names {} and one more", job.idempotency_key, self.history.name(&job.id))
            });
        }
    }

    /// Each job has its effect at most once, and never after a later one's, unless the control plane was set back.
    fn changes_go_forward(&self) {
        let (mut last, mut done): (BTreeMap<String, u64>, BTreeSet<u64>) = Default::default();
        for change in &self.site.api.state().changes {
            let before = last.insert(change.object.clone(), change.by).unwrap_or(0);
            let is_later = before < change.by || self.site.was_set_back_in_silence();
            let is_first = done.insert(change.by);
            self.history.holds("I3 one effect, I4 order", is_first && is_later, || {
                format!("{} of {} went from change {before} to {}", change.object, self.site.name, change.by)
            });
        }
    }

    fn effects_fit_states(&self) {
        let changed: BTreeSet<u64> = self.site.api.state().changes.iter().map(|change| change.by).collect();
        let known = self.known();
        let took_effect = known.iter().filter(|(job, _)| job.outcome.is_some_and(is_effect));
        let took_effect: BTreeSet<u64> = took_effect.map(|(_, wish)| wish.n).collect();
        for (job, wish) in known {
            let acked = job.timeline.iter().any(|entry| entry.state == JobState::Acked);
            let name = || format!("{} {wish:?}", told(&job, self.history));
            if job.outcome == Some(Outcome::Succeeded) && !wish.deletes {
                self.history.holds("I3 one effect", changed.contains(&wish.n), || {
                    format!("it had no effect: {}", name())
                });
            }
            if job.outcome == Some(Outcome::Succeeded) && !wish.deletes && !wish.at_once {
                // Of an effect whose answer was lost nobody knows any more when the job was withdrawn, or met a conflict
                // when it was tried again.
                let by = self.site.api.state().overtaken.get(&wish.n).copied();
                let overtaken = by.is_some_and(|by| took_effect.contains(&by));
                let state = self.site.api.state();
                let mut reached = state.reached_since(&wish.object, wish.n);
                let reached = reached.any(|by| by == wish.n || !took_effect.contains(&by));
                self.history
                    .holds("I2 one end", reached && !overtaken, || format!("it never was ready: {}", name()));
            }
            let is_told_of = job.state == JobState::Closed || acked;
            let was_done_before =
                wish.was_asked_before || self.site.seen.borrow().done_before.contains(&job.id);
            if !is_told_of && !was_done_before {
                self.history.holds("I3 one effect", !changed.contains(&wish.n), || {
                    format!("it was never acked and had an effect: {}", name())
                });
            }
            if job.outcome == Some(Outcome::Conflict) {
                let overtaken = self.site.api.state().is_overtaken(&wish.object, wish.n);
                // Told once more after a restore it names no fields: the ledger keeps none.
                let is_named =
                    !job.conflicts.is_empty() || self.site.seen.borrow().done_before.contains(&job.id);
                let told = is_named && (overtaken || !changed.contains(&wish.n));
                self.history.holds("I9 ownership", told, || format!("a conflict that is none: {}", name()));
            }
        }
    }

    fn a_job_rotates_once(&self) {
        let rotated = self.site.api.state().rotated_for.clone();
        let mut once = BTreeSet::new();
        for job in &rotated {
            let name = || format!("{} was rotated for {} twice", self.site.name, self.history.name(job));
            self.history.holds("I3 one effect", once.insert(job), name);
        }
        let taken = self.wishes.taken.borrow();
        let rotations = self.central.jobs.iter().filter(|job| taken.get(&job.id).is_some_and(|w| w.rotates));
        for job in rotations.filter(|job| job.outcome == Some(Outcome::Succeeded)) {
            self.history.holds("I3 one effect", once.contains(&job.id), || {
                format!("nothing was rotated for {}", told(job, self.history))
            });
        }
    }

    fn objects_are_what_was_asked_for(&self) {
        let state = self.site.api.state();
        let mut last: BTreeMap<&str, (u64, bool)> = BTreeMap::new();
        for (job, wish) in self.known() {
            if job.outcome != Some(Outcome::Succeeded) {
                continue;
            }
            if let Some(object) = state.changes.iter().find(|change| change.object == wish.object) {
                let entry = last.entry(&object.object).or_default();
                *entry = (*entry).max((wish.n, wish.deletes));
            }
        }
        for (object, (n, deletes)) in last {
            let later = state.changes.iter().rev().find(|change| change.object == object);
            let newest = later.map_or(0, |change| change.by);
            let is = state.objects.get(object).map(|object| object.value);
            let holds = if newest > n {
                true
            } else if deletes {
                is.is_none()
            } else {
                is == Some(n)
            };
            self.history.holds("I4 order", holds, || {
                format!(
                    "{object} of {} is {is:?}; the last success was {n}, deleting: {deletes}",
                    self.site.name
                )
            });
        }
    }

    fn events_are_there_once(&self) {
        let mut there = BTreeSet::new();
        let seen = self.site.seen.borrow();
        for (key, body) in self.central.events.iter().filter(|(key, _)| !key.is_empty()) {
            self.history.holds("I5 event identity", there.insert(key), || format!("{key} is there twice"));
            self.history.holds("I5 event identity", seen.told_events.get(key) == Some(body), || {
                format!("{key} stands for {body}, told was {:?}", seen.told_events.get(key))
            });
        }
        for key in seen.taken_events.iter().filter(|key| !key.is_empty()) {
            self.history.holds("I1 durable ack", there.contains(key), || {
                format!("event {key} was taken and is gone")
            });
        }
    }

    fn nothing_was_offered_elsewhere(&self) {
        let taken = self.wishes.taken.borrow();
        // An answer that comes late may offer a job that the control plane has forgotten by then.
        let own: BTreeSet<&JobId> = self.central.jobs.iter().map(|job| &job.id).chain(taken.keys()).collect();
        let seen = self.site.seen.borrow();
        for id in seen.offered.difference(&seen.done_before) {
            self.history.holds("I6 isolation", own.contains(id), || {
                format!("{} was offered {} of another cluster", self.site.name, self.history.name(id))
            });
        }
    }

    /// Jobs about objects.
    fn known(&self) -> Vec<(Job, Wish)> {
        let taken = self.wishes.taken.borrow();
        let known =
            self.central.jobs.iter().filter_map(|job| Some((job.clone(), taken.get(&job.id)?.clone())));
        known.filter(|(_, wish)| !wish.rotates).collect()
    }
}

fn is_effect(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Succeeded | Outcome::Failed)
}

fn told(job: &Job, history: &History) -> String {
    let step =
        |entry: &TimelineEntry| format!("{} {} ({})", entry.at, entry.state, named(&entry.cause, history));
    let steps: Vec<String> = job.timeline.iter().map(step).collect();
    let (name, state, error) = (history.name(&job.id), job.state, named(&job.error, history));
    format!("{name}: {state}, outcome {:?} {error}, {steps:#?}", job.outcome)
}

/// The text with the short name of the job that it ends with: ids are random.
fn named(text: &str, history: &History) -> String {
    match text.rsplit_once("by job ") {
        Some((before, rest)) => {
            let (id, rest) = rest.split_once(',').unwrap_or((rest, ""));
            format!("{before}by {} {rest}", history.name(&JobId::new(id)))
        }
        None => text.to_owned(),
    }
}
