//! The controllers of a cluster, ours and Flux's: what becomes of an application that was applied or deleted.

use super::api::{Api, Object, PROBE};
use std::{rc::Rc, time::Duration};
use vworkspace_core::planted::{Bug, planted};
use vworkspace_protocol::{Condition, ConditionStatus, ObjectRef};

impl Api {
    /// The controller: works for a while, then the application is ready, now and then never.
    pub(super) async fn reconcile(self: Rc<Self>, object: ObjectRef) {
        let (dice, healed) = (&self.world.dice, self.world.weather.is_healed());
        let slow = Duration::from_millis(if healed { 500 } else { 3_000 });
        self.world.sleep_between(Duration::from_millis(10), slow).await;
        self.set_ready(&object, ConditionStatus::False, "Progressing");
        self.world.sleep_between(Duration::from_millis(10), slow).await;
        // Some applications never become ready, faults or not; the one that is asked for last does.
        let value = self.state().objects.get(&object.name).map(|found| found.value);
        let is_hopeless = value.is_some_and(|value| self.state().hopeless.contains(&value));
        if is_hopeless || object.name != PROBE && dice.happens(40) {
            return;
        }
        self.set_ready(&object, ConditionStatus::True, "HelmReleaseReady");
        if !healed && dice.happens(150) {
            self.world.weather.count("condition flaps");
            for _ in 0..=dice.roll(4) {
                self.world.sleep_between(Duration::from_millis(1), Duration::from_millis(900)).await;
                self.set_ready(&object, ConditionStatus::False, "Progressing");
                self.world.sleep_between(Duration::from_millis(1), Duration::from_millis(900)).await;
                self.set_ready(&object, ConditionStatus::True, "HelmReleaseReady");
            }
        }
        self.rest(&object).await;
    }

    /// Flux looks again at each interval (facts 15 and 16): for 15 to 25 ms the release is `Reconciling=True` beside
    /// `Ready=True`. Our controller looks whenever the release does anything, and writes what it reads off it.
    async fn rest(self: &Rc<Self>, object: &ObjectRef) {
        let Some(mine) = self.begin_to_look(object) else { return };
        let interval = self.world.weather.interval;
        loop {
            self.world.sleep_between(interval / 2, interval).await;
            let is_at_rest = {
                let state = self.state();
                let found = state.objects.get(&object.name).filter(|found| found.is_life_of(object));
                found.is_some_and(|found| found.looks == mine && !found.deleting)
            };
            if !is_at_rest {
                return;
            }
            self.look(object, true);
            self.world.sleep_between(Duration::from_millis(15), Duration::from_millis(25)).await;
            self.look(object, false);
        }
    }

    fn begin_to_look(&self, object: &ObjectRef) -> Option<u64> {
        let mut mine = None;
        self.edit(|state| {
            let found = state.objects.get_mut(&object.name).filter(|found| found.is_life_of(object));
            mine = found.map(|found| {
                found.looks += 1;
                found.looks
            });
        });
        mine
    }

    /// What our controller makes of a release that is `Ready=True` at the generation asked for: `Reconciling` beside that
    /// is no news.
    fn look(&self, object: &ObjectRef, reconciling: bool) {
        if reconciling && planted(Bug::ReportFluxFlap) {
            return self.set_ready(object, ConditionStatus::Unknown, "Progressing");
        }
        self.set_ready(object, ConditionStatus::True, "HelmReleaseReady");
    }

    /// The finalizer: uninstalls, then the object is gone.
    pub(super) async fn finalize(self: Rc<Self>, object: ObjectRef) {
        self.world.sleep_between(Duration::from_millis(10), Duration::from_secs(2)).await;
        self.edit(|state| {
            if state.objects.get(&object.name).is_some_and(|found| found.uid == object.uid) {
                state.objects.remove(&object.name);
            }
        });
    }

    fn set_ready(&self, object: &ObjectRef, status: ConditionStatus, reason: &str) {
        let now = vworkspace_protocol::time::whole_seconds(self.now());
        self.edit(|state| {
            let Some(found) = state.objects.get_mut(&object.name) else { return };
            if !found.is_life_of(object) || found.deleting {
                return;
            }
            if status == ConditionStatus::True {
                found.was_ready = true;
                state.reached.insert((object.name.clone(), found.value));
            }
            let before = found.conditions.first();
            let kept = before.filter(|before| before.status == status).and_then(|b| b.last_transition_time);
            let conditions = vec![Condition {
                type_: "Ready".to_owned(),
                status,
                observed_generation: found.generation,
                last_transition_time: kept.or(Some(now)),
                reason: reason.to_owned(),
                message: String::new(),
            }];
            let answered =
                if status == ConditionStatus::True { &found.request } else { &found.handled_request };
            // A write that changes nothing makes no other version of the object, and is not made.
            if found.conditions != conditions || found.handled_request != *answered {
                found.handled_request.clone_from(&answered.clone());
                found.conditions = conditions;
                state.touch(&object.name);
            }
        });
    }
}

impl Object {
    /// Whether nothing was applied or made anew since this reference was taken.
    fn is_life_of(&self, object: &ObjectRef) -> bool {
        self.uid == object.uid && self.generation == object.generation
    }
}
