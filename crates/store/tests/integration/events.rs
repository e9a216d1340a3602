use crate::world::{Agent, Tenant, World, at};
use vworkspace_protocol::{
    Condition, ConditionStatus, ObjectRef,
    admin::Presence,
    condition::reasons,
    event::{Event, kind},
};
use vworkspace_store::{Contact, PageRequest, ResourceFilter};

fn object(name: &str, uid: &str) -> ObjectRef {
    ObjectRef {
        api_version: "apps.vworkspace.io/v1alpha1".into(),
        kind: "ApplicationInstance".into(),
        namespace: "org-a".into(),
        name: name.into(),
        uid: uid.into(),
        generation: 1,
    }
}

fn event(kind: &str, key: &str, object: ObjectRef, conditions: Vec<Condition>) -> Event {
    Event {
        event_key: key.into(),
        kind: kind.into(),
        resource_ref: object,
        conditions,
        operator_version: String::new(),
        kubernetes_version: String::new(),
        sequence: 0,
        timestamp: Some(at(0)),
    }
}

fn condition(type_: &str, status: ConditionStatus, reason: &str, second: i64) -> Condition {
    Condition {
        type_: type_.into(),
        status,
        observed_generation: 1,
        last_transition_time: Some(at(second)),
        reason: reason.into(),
        message: "m".into(),
    }
}

fn transition(key: &str, object: ObjectRef, condition: Condition) -> Event {
    event(kind::CONDITION_TRANSITION, key, object, vec![condition])
}

async fn stored(world: &World, tenant: &Tenant, agent: &Agent) -> usize {
    let cluster = world.reading(tenant, agent).await;
    let page = PageRequest::parse(Some(200), None).unwrap();
    world.store.events(&cluster, None, &page).await.unwrap().items.len()
}

async fn resources(
    world: &World,
    tenant: &Tenant,
    agent: &Agent,
) -> Vec<vworkspace_protocol::admin::Resource> {
    let cluster = world.reading(tenant, agent).await;
    let filter = ResourceFilter::default();
    world.store.resources(&cluster, &filter, &PageRequest::default()).await.unwrap().items
}

pub async fn a_replayed_batch_adds_nothing_and_a_flap_is_not_a_replay(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let up = || condition("Ready", ConditionStatus::True, "R", 1);
    let down = || condition("Ready", ConditionStatus::False, "R", 2);
    let back = || condition("Ready", ConditionStatus::True, "R", 3);
    let plain_v1 = || {
        vec![
            transition("ready/True@1", object("web", "u"), up()),
            transition("ready/False@1", object("web", "u"), down()),
            transition("ready/True@1", object("web", "u"), back()),
        ]
    };
    world.report(&agent, plain_v1(), 1).await;
    world.report(&agent, plain_v1(), 2).await;
    assert_eq!(stored(&world, &tenant, &agent).await, 3);
    assert_eq!(resources(&world, &tenant, &agent).await[0].conditions, [back()]);

    let ours = || vec![transition("ready/True@1#aa", object("api", "v"), up())];
    world.report(&agent, ours(), 3).await;
    world.report(&agent, ours(), 4).await;
    assert_eq!(stored(&world, &tenant, &agent).await, 4);
    assert_eq!(resources(&world, &tenant, &agent).await[0].as_of, at(3));
}

/// What an agent sent before it died may arrive after what the next one sent. Found by the simulation.
pub async fn a_report_that_arrives_late_is_kept_and_is_no_news(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let told = |key: &str, uid: &str, status, sequence| {
        let ready = condition("Ready", status, "R", 1);
        Event { sequence, ..transition(key, object("web", uid), ready) }
    };
    world.report(&agent, vec![told("a#2", "u", ConditionStatus::True, 20)], 1).await;
    world.report(&agent, vec![told("a#1", "u", ConditionStatus::False, 10)], 2).await;
    let shown = async || resources(&world, &tenant, &agent).await;
    assert_eq!(shown().await[0].conditions[0].status, ConditionStatus::True);
    assert_eq!(stored(&world, &tenant, &agent).await, 2);

    world.report(&agent, vec![told("b#3", "v", ConditionStatus::False, 30)], 3).await;
    world.report(&agent, vec![told("a#0", "u", ConditionStatus::True, 5)], 4).await;
    assert_eq!(shown().await[0].resource_ref.uid, "v");
    world
        .report(&agent, vec![event(kind::OBJECT_DELETED, "ObjectDeleted/v", object("web", "v"), vec![])], 5)
        .await;
    world.report(&agent, vec![told("b#2", "v", ConditionStatus::Unknown, 25)], 6).await;
    assert!(shown().await.is_empty(), "a life that is over came back");
}

pub async fn the_same_key_of_another_cluster_is_another_event(world: World) {
    let tenant = world.tenant("o").await;
    let (one, two) = (world.agent(&tenant, "one").await, world.agent(&tenant, "two").await);
    for agent in [&one, &two] {
        let ready = condition("Ready", ConditionStatus::True, "R", 1);
        world.report(agent, vec![transition("k#1", object("web", "u"), ready)], 1).await;
        assert_eq!(stored(&world, &tenant, agent).await, 1);
    }
}

pub async fn current_conditions_follow_the_reports(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let ready = condition("Ready", ConditionStatus::True, "R", 1);
    let blocked = condition("Blocked", ConditionStatus::True, "V", 1);
    world
        .report(
            &agent,
            vec![
                transition("a#1", object("web", "u"), ready.clone()),
                transition("a#2", object("web", "u"), blocked.clone()),
            ],
            1,
        )
        .await;
    assert_eq!(resources(&world, &tenant, &agent).await[0].conditions, [blocked.clone(), ready.clone()]);

    let removed = condition("Blocked", ConditionStatus::Unknown, reasons::CONDITION_REMOVED, 2);
    world.report(&agent, vec![transition("a#3", object("web", "u"), removed)], 2).await;
    assert_eq!(resources(&world, &tenant, &agent).await[0].conditions, [ready]);

    // A new life of the name keeps nothing of the old one; the old one's end does not touch it.
    world
        .report(
            &agent,
            vec![
                transition("b#1", object("web", "new"), blocked.clone()),
                event(kind::OBJECT_DELETED, "d#1", object("web", "u"), vec![]),
            ],
            3,
        )
        .await;
    let now = resources(&world, &tenant, &agent).await;
    assert_eq!((now[0].conditions.clone(), now[0].resource_ref.uid.as_str()), (vec![blocked], "new"));
    world.report(&agent, vec![event(kind::OBJECT_DELETED, "d#2", object("web", "new"), vec![])], 4).await;
    assert!(resources(&world, &tenant, &agent).await.is_empty());
}

pub async fn resources_are_ordered_filtered_and_paged(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let ready = condition("Ready", ConditionStatus::True, "R", 1);
    let names = ["d", "b", "a", "c"];
    let report = names.iter().map(|n| transition(&format!("{n}#"), object(n, n), ready.clone())).collect();
    world.report(&agent, report, 1).await;
    let cluster = world.reading(&tenant, &agent).await;
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let page = PageRequest::parse(Some(3), cursor.as_deref()).unwrap();
        let answer = world.store.resources(&cluster, &ResourceFilter::default(), &page).await.unwrap();
        found.extend(answer.items.into_iter().map(|resource| resource.resource_ref.name));
        match answer.next_cursor {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    assert_eq!(found, ["a", "b", "c", "d"]);
    let page = PageRequest::default();
    let filter = ResourceFilter { name: Some("b".into()), ..ResourceFilter::default() };
    assert_eq!(world.store.resources(&cluster, &filter, &page).await.unwrap().items.len(), 1);
    let filter = ResourceFilter { namespace: Some("other".into()), ..ResourceFilter::default() };
    assert!(world.store.resources(&cluster, &filter, &page).await.unwrap().items.is_empty());
}

pub async fn events_are_listed_newest_first_by_kind(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let ready = condition("Ready", ConditionStatus::True, "R", 1);
    world
        .report(
            &agent,
            vec![
                transition("a#", object("web", "u"), ready.clone()),
                event(kind::CREDENTIAL_ROTATED, "r#", object("cluster", "u"), vec![]),
                event("Audit", "", object("web", "u"), vec![]),
                event("Audit", "", object("web", "u"), vec![]),
            ],
            1,
        )
        .await;
    let cluster = world.reading(&tenant, &agent).await;
    let page = PageRequest::parse(Some(3), None).unwrap();
    let newest = world.store.events(&cluster, None, &page).await.unwrap();
    let kinds: Vec<_> = newest.items.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["Audit", "Audit", kind::CREDENTIAL_ROTATED]);
    let page = PageRequest::parse(Some(3), newest.next_cursor.as_deref()).unwrap();
    let rest = world.store.events(&cluster, None, &page).await.unwrap();
    assert_eq!((rest.items[0].conditions.clone(), rest.next_cursor), (vec![ready], None));
    assert_eq!((rest.items[0].received_at, rest.items[0].timestamp), (at(1), Some(at(0))));
    let rotated = world.store.events(&cluster, Some(kind::CREDENTIAL_ROTATED), &PageRequest::default()).await;
    assert_eq!(rotated.unwrap().items.len(), 1);
}

pub async fn every_rotation_is_kept_as_an_event_and_changes_no_condition(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let cluster = || ObjectRef { kind: "Cluster".into(), ..object("c", "u") };
    let accepted = condition("Authenticated", ConditionStatus::True, reasons::CREDENTIAL_ACCEPTED, 1);
    world.report(&agent, vec![transition("condition/a", cluster(), accepted)], 1).await;
    let rotated = |suffix: &str| {
        let condition = Condition {
            last_transition_time: None,
            ..condition("Authenticated", ConditionStatus::True, reasons::CREDENTIAL_ROTATED, 0)
        };
        event(kind::CREDENTIAL_ROTATED, &format!("condition/a#{suffix}"), cluster(), vec![condition])
    };
    for suffix in ["1", "2", "2"] {
        world.report(&agent, vec![rotated(suffix)], 2).await;
    }
    assert_eq!(stored(&world, &tenant, &agent).await, 3);
    let conditions = &resources(&world, &tenant, &agent).await[0].conditions;
    assert_eq!(conditions[0].reason, reasons::CREDENTIAL_ACCEPTED);
}

pub async fn change_of_content_is_kept_and_is_no_condition(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let ready = condition("Ready", ConditionStatus::True, "HelmReleaseReady", 1);
    world.report(&agent, vec![transition("condition/r", object("web", "u"), ready.clone())], 1).await;
    let changed = condition("ApplicationChanged", ConditionStatus::True, reasons::APPLICATION_CHANGED, 1);
    let event =
        || event(kind::APPLICATION_CHANGED, "condition/c#1", object("web", "u"), vec![changed.clone()]);
    for second in [2, 3] {
        world.report(&agent, vec![event()], second).await;
    }
    assert_eq!(stored(&world, &tenant, &agent).await, 2, "reported again, it is the same event");
    assert_eq!(resources(&world, &tenant, &agent).await[0].conditions.len(), 1);
}

pub async fn a_heartbeat_is_shown_on_the_cluster_and_is_no_event(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let connected = condition("Connected", ConditionStatus::True, "RoundTripOK", 1);
    let beat = Event {
        operator_version: "0.1.0".into(),
        kubernetes_version: "v1.33.0".into(),
        ..event(kind::CLUSTER_HEARTBEAT, "", object("c", ""), vec![connected.clone()])
    };
    let contact = Contact {
        session: None,
        user_agent: "vworkspace-operator/0.1.0".into(),
        capabilities: vec!["status".into(), "deadline".into()],
        ..Contact::default()
    };
    world.store.sighted(&agent.serve, &contact, at(10));
    world.report(&agent, vec![beat], 10).await;
    assert_eq!(stored(&world, &tenant, &agent).await, 0);
    world.store.flush_presence().await.unwrap();
    for world in [world.reopened().await] {
        let reading = world.reading(&tenant, &agent).await;
        let shown = world.store.cluster(&reading, at(70)).await.unwrap();
        assert_eq!((shown.presence, shown.last_seen), (Presence::Connected, Some(at(10))));
        assert_eq!(
            (shown.conditions, shown.kubernetes_version.as_str()),
            (vec![connected.clone()], "v1.33.0")
        );
        assert_eq!(
            (shown.agent, shown.capabilities),
            (contact.user_agent.clone(), contact.capabilities.clone())
        );
        let later = world.store.cluster(&reading, at(71)).await.unwrap();
        assert_eq!(later.presence, Presence::Disconnected);
    }
}

/// A removal is news like any other: what was sent before it and arrives after it does not undo it.
pub async fn a_condition_that_was_removed_does_not_come_back_with_a_late_report(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let told =
        |key: &str, sequence, condition| Event { sequence, ..transition(key, object("web", "u"), condition) };
    let ready = condition("Ready", ConditionStatus::True, "R", 1);
    let blocked = condition("Blocked", ConditionStatus::True, "V", 1);
    let removed = condition("Blocked", ConditionStatus::Unknown, reasons::CONDITION_REMOVED, 2);
    world.report(&agent, vec![told("a#1", 10, ready.clone()), told("a#3", 30, removed)], 1).await;
    world.report(&agent, vec![told("a#2", 20, blocked.clone())], 2).await;
    assert_eq!(resources(&world, &tenant, &agent).await[0].conditions, std::slice::from_ref(&ready));
    world.report(&agent, vec![told("a#4", 40, blocked.clone())], 3).await;
    assert_eq!(resources(&world, &tenant, &agent).await[0].conditions, [blocked, ready]);
}

pub async fn however_long_names_are_the_next_page_is_found(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let ready = || condition("Ready", ConditionStatus::True, "R", 1);
    let long = "\u{1}".repeat(1023);
    let named = |name: &str| ObjectRef {
        api_version: format!("{long}/"),
        kind: long.clone(),
        namespace: long.clone(),
        ..object(&format!("{}{name}", &long[1..]), name)
    };
    world
        .report(&agent, vec![transition("a#", named("a"), ready()), transition("b#", named("b"), ready())], 1)
        .await;
    let cluster = world.reading(&tenant, &agent).await;
    let all = ResourceFilter::default();
    let one = PageRequest::parse(Some(1), None).unwrap();
    let first = world.store.resources(&cluster, &all, &one).await.unwrap();
    let next = PageRequest::parse(Some(1), first.next_cursor.as_deref()).unwrap();
    assert_eq!(world.store.resources(&cluster, &all, &next).await.unwrap().items[0].resource_ref.uid, "b");
}

/// The agent tells its last events while it leaves: the two requests may pass each other.
pub async fn what_a_cluster_tells_while_it_leaves_does_not_bring_its_object_back(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let told = |key: &str| {
        let object = ObjectRef { kind: "Cluster".into(), namespace: String::new(), ..object("c", "u") };
        transition(key, object, condition("Connected", ConditionStatus::True, "R", 1))
    };
    let beat = event(kind::CLUSTER_HEARTBEAT, "", ObjectRef::default(), told("").conditions);
    world.store.sighted(&agent.serve, &Contact::default(), at(1));
    world.report(&agent, vec![told("a#1"), beat.clone()], 1).await;
    world.store.flush_presence().await.unwrap();
    world.store.decommission(&agent.serve, &agent.credential, at(2)).await.unwrap();
    world.report(&agent, vec![told("a#2"), beat], 3).await;
    assert_eq!(resources(&world, &tenant, &agent).await, []);
    let conditions = async |world: &World| {
        let reading = world.reading(&tenant, &agent).await;
        world.store.cluster(&reading, at(4)).await.unwrap().conditions
    };
    assert_eq!(conditions(&world).await, []);
    let world = world.crashed().await;
    assert_eq!(conditions(&world).await, [], "what was noted before is no longer true");
}

pub async fn a_page_is_bounded_by_size_and_no_object_has_conditions_without_end(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let large = |n: usize| Condition {
        message: "m".repeat(16 * 1024),
        ..condition(&format!("T{n}"), ConditionStatus::True, "R", 1)
    };
    for n in 0..20 {
        let object = object(&format!("o{n:02}"), "u");
        let conditions = (0..32).map(large).collect();
        world
            .report(&agent, vec![event(kind::CONDITION_TRANSITION, &format!("{n}#"), object, conditions)], 1)
            .await;
    }
    let cluster = world.reading(&tenant, &agent).await;
    let page = PageRequest::parse(Some(200), None).unwrap();
    let all = ResourceFilter::default();
    let events = world.store.events(&cluster, None, &page).await.unwrap();
    let objects = world.store.resources(&cluster, &all, &page).await.unwrap();
    let rest = PageRequest::parse(Some(200), events.next_cursor.as_deref()).unwrap();
    let other_events = world.store.events(&cluster, None, &rest).await.unwrap();
    let rest = PageRequest::parse(Some(200), objects.next_cursor.as_deref()).unwrap();
    let other_objects = world.store.resources(&cluster, &all, &rest).await.unwrap();
    for (items, others) in
        [(events.items.len(), other_events.items.len()), (objects.items.len(), other_objects.items.len())]
    {
        assert!(items == 7 && others == 7, "4 MiB a page: {items}, {others}");
    }
    let other_objects = other_objects.items.iter().map(|found| found.resource_ref.name.as_str());
    assert_eq!(other_objects.collect::<Vec<_>>()[..2], ["o07", "o08"]);

    for n in 0..100 {
        let more = condition(&format!("More{n}"), ConditionStatus::True, "R", 1);
        world.report(&agent, vec![transition(&format!("more{n}#"), object("o00", "u"), more)], 2).await;
    }
    let one = PageRequest::parse(Some(1), None).unwrap();
    let first = world.store.resources(&cluster, &all, &one).await.unwrap();
    assert_eq!(first.items[0].conditions.len(), 64);
}

pub async fn conditions_that_are_gone_take_no_room_from_one_that_comes(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let told = |sequence, condition: Condition| Event {
        sequence,
        ..transition(&format!("{}{sequence}#", condition.type_), object("web", "u"), condition)
    };
    let removed = |n| condition(&format!("T{n}"), ConditionStatus::Unknown, reasons::CONDITION_REMOVED, 1);
    for n in 0..64 {
        world.report(&agent, vec![told(n + 1, removed(n))], 1).await;
    }
    let ready = condition("Ready", ConditionStatus::True, "R", 2);
    world.report(&agent, vec![told(100, ready.clone())], 2).await;
    assert_eq!(resources(&world, &tenant, &agent).await[0].conditions, std::slice::from_ref(&ready));

    let late = condition("T1", ConditionStatus::True, "R", 1);
    world.report(&agent, vec![told(1, late)], 3).await;
    assert_eq!(resources(&world, &tenant, &agent).await[0].conditions, [ready], "only the oldest gave way");
}

pub async fn the_types_of_conditions_count_for_the_size_of_a_page(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let long = |n: usize| condition(&format!("{n:01024}"), ConditionStatus::True, "R", 1);
    let told = |n: usize| {
        let object = object(&format!("o{n:03}"), "u");
        event(kind::CONDITION_TRANSITION, &format!("{n}#"), object, (0..32).map(long).collect())
    };
    world.report(&agent, (0..100).map(told).collect(), 1).await;
    world.report(&agent, (100..130).map(told).collect(), 1).await;
    let cluster = world.reading(&tenant, &agent).await;
    let page = PageRequest::parse(Some(200), None).unwrap();
    let page = world.store.resources(&cluster, &ResourceFilter::default(), &page).await.unwrap();
    assert!(page.items.len() < 128 && page.next_cursor.is_some(), "{}", page.items.len());
}

pub async fn what_the_last_agent_told_of_its_cluster_is_over_with_the_next_registration(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let connected = condition("Connected", ConditionStatus::True, "R", 1);
    let beat = || event(kind::CLUSTER_HEARTBEAT, "", ObjectRef::default(), vec![connected.clone()]);
    let conditions = async |world: &World| {
        let reading = world.reading(&tenant, &agent).await;
        world.store.cluster(&reading, at(9)).await.unwrap().conditions
    };
    world.store.sighted(&agent.serve, &Contact::default(), at(1));
    world.report(&agent, vec![beat()], 1).await;
    world.store.flush_presence().await.unwrap();
    let token = world.registration_token(&tenant, &agent.id).await;
    world.store.register(&token, "", at(2)).await.unwrap();
    assert_eq!(conditions(&world).await, []);
    let world = world.crashed().await;
    assert_eq!(conditions(&world).await, [], "no note of it was written");

    world.store.sighted(&agent.serve, &Contact::default(), at(3));
    world.report(&agent, vec![beat()], 3).await;
    world.store.flush_presence().await.unwrap();
    assert_eq!(conditions(&world.crashed().await).await, std::slice::from_ref(&connected));
}
