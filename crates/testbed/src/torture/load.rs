//! Those who use the control plane meanwhile: one for each object, so that the order of its jobs is known.

use super::{
    history::{Asked, Deed, History},
    recorder::carried,
};
use crate::{simulation::dice::Dice, view::Target};
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    time::Duration,
};
use tokio::time::{Instant, sleep};
use vworkspace_client::{Client, Error};
use vworkspace_protocol::{
    ClusterId, JobId, WaitFor,
    admin::{EnqueueJob, JobState},
};

/// How long every job may wait for its goal: longer than any of the cuts.
const DEADLINE_SECONDS: u32 = 60;
/// With more open jobs than this nothing is handed in: the machine, not the product, would be tested.
const MOST_OPEN: usize = 200;
/// How often the open jobs are counted.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// Between two tries of the same job.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(150);
/// After so long without an answer a keyed job counts as unknown.
const TRY_FOR: Duration = Duration::from_secs(120);
/// Jobs of one object that may be withdrawn, or asked for once more.
const REMEMBERED: usize = 8;

/// An object and what it is made of.
pub(super) struct Object {
    pub(super) target: Target,
    /// URL of the chart repository, for one that is really installed; without, it only reserves the name.
    pub(super) charts: Option<String>,
}

/// What all users share.
pub(super) struct Load {
    pub(super) client: Client,
    pub(super) cluster: ClusterId,
    pub(super) history: Rc<RefCell<History>>,
    /// Set: nothing new is begun.
    pub(super) stop: Rc<Cell<bool>>,
    /// Mean time between two acts of one user.
    pub(super) pace: Duration,
    next: Cell<u64>,
    is_full: Cell<bool>,
}

/// A job that was acknowledged, to come back to.
struct Known {
    id: JobId,
    n: u64,
    deed: Deed,
    request: EnqueueJob,
}

impl Load {
    pub(super) fn new(
        client: Client,
        cluster: ClusterId,
        history: Rc<RefCell<History>>,
        stop: Rc<Cell<bool>>,
        pace: Duration,
    ) -> Self {
        Self { client, cluster, history, stop, pace, next: Cell::new(1), is_full: Cell::new(false) }
    }

    /// Works until told to stop.
    pub(super) async fn run(&self, objects: &[Object], seed: u64) {
        let users = objects.iter().zip(1..).map(|(object, n)| self.live(object, Dice::new(seed ^ (n << 32))));
        futures::join!(join_all(users), self.count());
    }

    async fn live(&self, object: &Object, dice: Dice) {
        let mut known = VecDeque::new();
        while !self.stop.get() {
            sleep(dice.between(Duration::ZERO, self.pace * 2)).await;
            if self.is_full.get() {
                continue;
            }
            match dice.roll(100) {
                0..=4 => self.withdraw_one(&dice, &known).await,
                5..=9 => self.ask_once_more(object, &dice, &known).await,
                _ => {
                    known.extend(self.hand_in(object, &dice).await);
                    known.drain(..known.len().saturating_sub(REMEMBERED));
                }
            }
        }
    }

    /// Hands in one job. One with a key is asked for until there is an answer.
    async fn hand_in(&self, object: &Object, dice: &Dice) -> Option<Known> {
        let n = self.next.replace(self.next.get() + 1);
        let deed = if dice.happens(150) { Deed::Delete } else { Deed::Apply };
        let request = request(object, n, deed, dice);
        let given_up = Instant::now() + TRY_FOR;
        loop {
            let job = self.enqueue(&request).await;
            self.note(object, n, deed, job.clone());
            if let Some(id) = job {
                return Some(Known { id, n, deed, request });
            }
            if request.idempotency_key.is_none() || Instant::now() > given_up {
                return None;
            }
            sleep(TRY_AGAIN_AFTER).await;
        }
    }

    /// An acknowledged job, asked for by its key once more: it must be the same job.
    async fn ask_once_more(&self, object: &Object, dice: &Dice, known: &VecDeque<Known>) {
        let keyed: Vec<_> = known.iter().filter(|known| known.request.idempotency_key.is_some()).collect();
        if let Some(known) = dice.pick(&keyed)
            && let Some(job) = self.enqueue(&known.request).await
        {
            self.note(object, known.n, known.deed, Some(job));
        }
    }

    async fn withdraw_one(&self, dice: &Dice, known: &VecDeque<Known>) {
        let ids: Vec<_> = known.iter().map(|known| &known.id).collect();
        let Some(id) = dice.pick(&ids) else { return };
        match self.client.cancel_job(id).await {
            Ok(_) => {
                self.history.borrow_mut().withdrawn.insert((*id).clone());
            }
            // It is over already, or nobody answers.
            Err(error) if error.status().is_none_or(|status| status == 409 || status >= 500) => {}
            Err(error) => self.mishap(format!("job {id} could not be withdrawn: {error}")),
        }
    }

    async fn enqueue(&self, request: &EnqueueJob) -> Option<JobId> {
        match self.client.enqueue_job(&self.cluster, request).await {
            Ok(job) => Some(job.id),
            // May have happened: no answer, half an answer, or a failure on the way.
            Err(Error::Unreachable { .. } | Error::Malformed { .. }) => None,
            Err(error @ Error::Refused { .. }) => {
                if error.status().is_some_and(|status| status < 500 && status != 429) {
                    self.mishap(format!("a job was refused: {error}"));
                }
                None
            }
        }
    }

    fn note(&self, object: &Object, n: u64, deed: Deed, job: Option<JobId>) {
        let asked = Asked { at: Timestamp::now(), n, target: object.target.clone(), deed, job };
        self.history.borrow_mut().asked.push(asked);
    }

    fn mishap(&self, what: String) {
        self.history.borrow_mut().mishaps.push(what);
    }

    async fn count(&self) {
        while !self.stop.get() {
            sleep(COUNT_EVERY).await;
            if let Ok(open) = open_jobs(&self.client, &self.cluster, MOST_OPEN + 1).await {
                self.is_full.set(open.len() > MOST_OPEN);
            }
        }
    }
}

/// Jobs that are not over, at most `most` of each state.
pub(super) async fn open_jobs(
    client: &Client,
    cluster: &ClusterId,
    most: usize,
) -> Result<Vec<JobId>, Error> {
    let mut open = Vec::new();
    for state in [JobState::Queued, JobState::Leased, JobState::Acked] {
        let page = client.jobs(cluster, Some(state), most).await?;
        open.extend(page.items.into_iter().map(|job| job.id));
    }
    Ok(open)
}

fn request(object: &Object, n: u64, deed: Deed, dice: &Dice) -> EnqueueJob {
    let as_intent = dice.happens(500);
    let (kind, payload) = match deed {
        Deed::Apply if as_intent => {
            let instance = manifest(object, n);
            ("intent", json!({ "intent": "ensure-application-instance", "applicationInstance": instance }))
        }
        Deed::Apply => ("apply", manifest(object, n)),
        Deed::Delete if as_intent => {
            let Target { namespace, name } = &object.target;
            (
                "intent",
                json!({ "intent": "delete-application-instance", "namespace": namespace, "name": name }),
            )
        }
        Deed::Delete => ("delete", named(object)),
    };
    let has_key = dice.happens(400);
    // One that is asked for again would be refused once its time has passed.
    let expires = !has_key && deed == Deed::Apply && dice.happens(120);
    let life = SignedDuration::from_millis(500 + i64::try_from(dice.roll(9_500)).unwrap_or(0));
    EnqueueJob {
        idempotency_key: has_key.then(|| format!("torture-{n}")),
        expires_at: expires.then(|| Timestamp::now().saturating_add(life).unwrap_or(Timestamp::MAX)),
        wait_for: (deed == Deed::Apply && dice.happens(300)).then_some(WaitFor::Accepted),
        deadline_seconds: Some(DEADLINE_SECONDS),
        ..EnqueueJob::new(kind, payload)
    }
}

fn named(object: &Object) -> Value {
    let Target { namespace, name } = &object.target;
    json!({ "apiVersion": "apps.vworkspace.io/v1alpha1", "kind": "ApplicationInstance", "namespace": namespace, "name": name })
}

fn manifest(object: &Object, n: u64) -> Value {
    let Target { namespace, name } = &object.target;
    let mut spec = json!({
        "appRef": { "catalogId": "hello" },
        "mode": "placeholder",
        "integrations": { "ingress": { "enabled": false, "host": carried(n) } },
    });
    if let Some(charts) = &object.charts {
        spec["mode"] = json!("managed");
        spec["chart"] = json!({ "sourceType": "helm", "url": charts, "name": "hello", "version": "1.0.0" });
        spec["release"] = json!({ "name": name, "namespace": namespace, "timeout": "20s" });
        spec["values"] = json!({ "source": "inline", "inline": { "job": n } });
    }
    json!({
        "apiVersion": "apps.vworkspace.io/v1alpha1", "kind": "ApplicationInstance",
        "metadata": { "name": name, "namespace": namespace },
        "spec": spec,
    })
}
