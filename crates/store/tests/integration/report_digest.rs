//! The stored digest of a cluster's current conditions is what a fresh computation over them gives, whatever happens.

use crate::world::{Agent, Tenant, World, at};
use vworkspace_core::report_digest::{ReportDigest, ReportLine};
use vworkspace_protocol::{
    Condition, ConditionStatus, ObjectRef,
    condition::reasons,
    event::{Event, kind},
    limits::MESSAGE_BYTES,
};
use vworkspace_store::{PageRequest, ResourceFilter};

/// Choices that look random and are the same in every run.
struct Choices(u64);

impl Choices {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }

    fn object(&mut self) -> ObjectRef {
        ObjectRef {
            api_version: self.pick(&["apps.vworkspace.io/v1alpha1", "apps.vworkspace.io/v1", "v1"]).into(),
            kind: self.pick(&["ApplicationInstance", "Cluster"]).into(),
            namespace: "org-a".into(),
            name: self.pick(&["web", "api"]).into(),
            uid: self.pick(&["", "u", "v", "w"]).into(),
            generation: 1,
        }
    }

    fn condition(&mut self) -> Condition {
        let is_removed = self.below(4) == 0;
        Condition {
            type_: self.pick(&["Ready", "Blocked", "Reconciling"]).into(),
            status: if is_removed {
                ConditionStatus::Unknown
            } else {
                ConditionStatus::from(self.below(2) == 0)
            },
            observed_generation: 1,
            last_transition_time: Some(at(1)),
            reason: if is_removed { reasons::CONDITION_REMOVED } else { self.pick(&["R", "S"]) }.into(),
            message: self.pick(&["", "m", &"ü".repeat(MESSAGE_BYTES)]).into(),
        }
    }

    fn event(&mut self, n: u64) -> Event {
        let (object, kind) = (self.object(), self.below(8));
        let (kind, key, conditions) = match kind {
            0 => (kind::OBJECT_DELETED, format!("deleted/{}", object.uid), Vec::new()),
            1 => (kind::CREDENTIAL_ROTATED, format!("rotated#{n}"), vec![self.condition()]),
            2 => (kind::CLUSTER_HEARTBEAT, String::new(), vec![self.condition()]),
            _ => (kind::CONDITION_TRANSITION, format!("k#{}", self.below(n + 1)), vec![self.condition()]),
        };
        Event {
            event_key: key,
            kind: kind.into(),
            resource_ref: object,
            conditions,
            operator_version: String::new(),
            kubernetes_version: String::new(),
            sequence: self.below(2) * (1 + self.below(n + 1)),
            timestamp: Some(at(0)),
        }
    }
}

async fn held(world: &World, agent: &Agent) -> ReportDigest {
    world.store.report_digest(&agent.serve).await.unwrap()
}

/// Over what people are shown.
async fn recomputed(world: &World, tenant: &Tenant, agent: &Agent) -> ReportDigest {
    let cluster = world.reading(tenant, agent).await;
    let page = PageRequest::parse(Some(200), None).unwrap();
    let page = world.store.resources(&cluster, &ResourceFilter::default(), &page).await.unwrap();
    assert_eq!(page.next_cursor, None);
    let mut digest = ReportDigest::default();
    for resource in &page.items {
        for condition in &resource.conditions {
            digest.add(ReportLine::new(&resource.resource_ref, condition));
        }
    }
    digest
}

pub async fn report_digest_is_that_of_what_is_shown_after_each_report(world: World) {
    let tenant = world.tenant("o").await;
    let (agent, other) = (world.agent(&tenant, "c").await, world.agent(&tenant, "d").await);
    let (mut choices, mut values) = (Choices(13), std::collections::BTreeSet::new());
    for n in 0..150 {
        let events = (0..1 + choices.below(4)).map(|_| choices.event(n)).collect();
        world.report(&agent, events, 1).await;
        let digest = held(&world, &agent).await;
        assert_eq!(digest, recomputed(&world, &tenant, &agent).await, "after report {n}");
        assert_eq!(held(&world, &agent).await, digest, "from memory");
        values.insert(digest.to_string());
    }
    assert!(values.len() > 50, "the reports changed it: {}", values.len());
    assert_eq!(held(&world, &other).await, ReportDigest::default());
}

pub async fn report_digest_is_the_same_after_reopen_and_crash(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let mut choices = Choices(5);
    world.report(&agent, (0..20).map(|n| choices.event(n)).collect(), 1).await;
    let digest = held(&world, &agent).await;
    assert_ne!(digest, ReportDigest::default());
    let world = world.reopened().await;
    assert_eq!(held(&world, &agent).await, digest);
    let world = world.crashed().await;
    assert_eq!(held(&world, &agent).await, digest);
    world.report(&agent, (20..40).map(|n| choices.event(n)).collect(), 1).await;
    assert_eq!(held(&world, &agent).await, recomputed(&world, &tenant, &agent).await);
}

/// The Cluster object goes with the membership, without a report of its end.
pub async fn report_digest_forgets_the_cluster_object_that_left(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let mut choices = Choices(7);
    world.report(&agent, (0..40).map(|n| choices.event(n)).collect(), 1).await;
    let before = held(&world, &agent).await;
    world.store.decommission(&agent.serve, &agent.credential, at(2)).await.unwrap();
    let after = held(&world, &agent).await;
    assert_ne!(after, before);
    assert_eq!(after, recomputed(&world, &tenant, &agent).await);
    world.report(&agent, (40..60).map(|n| choices.event(n)).collect(), 3).await;
    assert_eq!(held(&world, &agent).await, recomputed(&world, &tenant, &agent).await);
}
