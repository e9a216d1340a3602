use crate::world::{Tenant, World, at};
use vworkspace_core::control::DnsLabel;
use vworkspace_protocol::{ClusterId, JobId, id::OrganizationId};
use vworkspace_store::{Archived, Command, Error, Manage, PageRequest, Read, Serve};

const NOBODYS: &str = "018f0000-0000-7000-8000-000000000000";

pub async fn another_tenants_objects_are_as_absent_as_none(world: World) {
    let (mine, theirs) = (world.tenant("mine").await, world.tenant("theirs").await);
    let agent = world.agent(&theirs, "c").await;
    let job = world.apply(&theirs, &agent, "web", 0).await;
    let store = &world.store;
    for id in [theirs.id.clone(), OrganizationId::new(NOBODYS), OrganizationId::new("x")] {
        let found = store.lookup_organization::<Read>(&mine.caller, &id).await;
        assert!(matches!(found, Err(Error::NotFound)), "{id}");
    }
    for id in [agent.id.clone(), ClusterId::new(NOBODYS), ClusterId::new("x")] {
        assert!(matches!(store.lookup_cluster::<Read>(&mine.caller, &id).await, Err(Error::NotFound)));
        assert!(matches!(store.lookup_cluster::<Command>(&mine.caller, &id).await, Err(Error::NotFound)));
        assert!(matches!(store.lookup_cluster::<Manage>(&mine.caller, &id).await, Err(Error::NotFound)));
        assert!(matches!(store.lookup_cluster::<Serve>(&mine.caller, &id).await, Err(Error::NotFound)));
    }
    for id in [job, JobId::new(NOBODYS), JobId::new("")] {
        assert!(matches!(store.lookup_job::<Read>(&mine.caller, &id).await, Err(Error::NotFound)));
        assert!(matches!(store.lookup_job::<Command>(&mine.caller, &id).await, Err(Error::NotFound)));
    }
}

pub async fn an_agent_serves_its_own_cluster_and_sees_nothing_else(world: World) {
    let tenant = world.tenant("o").await;
    let (one, two) = (world.agent(&tenant, "one").await, world.agent(&tenant, "two").await);
    let job = world.apply(&tenant, &two, "web", 0).await;
    let store = &world.store;
    assert!(matches!(store.lookup_job::<Serve>(&one.caller, &job).await, Err(Error::NotFound)));
    assert!(store.lookup_job::<Serve>(&two.caller, &job).await.is_ok());
    assert!(matches!(store.lookup_job::<Read>(&two.caller, &job).await, Err(Error::Forbidden)));
    assert!(matches!(store.lookup_cluster::<Serve>(&one.caller, &two.id).await, Err(Error::NotFound)));
    assert!(matches!(store.lookup_organization::<Read>(&one.caller, &tenant.id).await, Err(Error::NotFound)));
    assert!(matches!(store.installation::<Read>(&one.caller), Err(Error::Forbidden)));
    assert!(world.poll(&one, "s", 1).await.jobs.is_empty());
}

pub async fn people_do_not_do_the_agents_side(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    for caller in [&world.admin, &tenant.caller] {
        assert!(matches!(world.store.own_cluster(caller), Err(Error::Forbidden)));
        let found = world.store.lookup_cluster::<Serve>(caller, &agent.id).await;
        assert!(matches!(found, Err(Error::Forbidden)));
    }
}

pub async fn lists_hold_what_the_caller_may_see(world: World) {
    let (one, two) = (world.tenant("one").await, world.tenant("two").await);
    let cluster = world.cluster(&one, "c").await;
    world.cluster(&two, "c").await;
    let page = PageRequest::default();
    let all = world.store.installation::<Read>(&world.admin).unwrap();
    let own = world.store.installation::<Read>(&one.caller).unwrap();
    assert_eq!(world.store.organizations(&all, Archived::Hidden, &page).await.unwrap().items.len(), 2);
    let seen = world.store.organizations(&own, Archived::Hidden, &page).await.unwrap().items;
    assert_eq!(seen.iter().map(|o| &o.id).collect::<Vec<_>>(), [&one.id]);
    assert_eq!(world.store.clusters(&all, Archived::Hidden, &page, at(0)).await.unwrap().items.len(), 2);
    assert_eq!(
        world.store.clusters(&own, Archived::Hidden, &page, at(0)).await.unwrap().items,
        std::slice::from_ref(&cluster)
    );
    let filter = world.store.lookup_organization::<Read>(&world.admin, &one.id).await.unwrap();
    assert_eq!(
        world.store.clusters_of(&filter, Archived::Hidden, &page, at(0)).await.unwrap().items,
        [cluster]
    );
}

pub async fn only_the_admin_makes_tenants_and_names_are_unique(world: World) {
    let tenant = world.tenant("o").await;
    world.cluster(&tenant, "c").await;
    assert!(matches!(world.store.installation::<Manage>(&tenant.caller), Err(Error::Forbidden)));
    let all = world.store.installation::<Manage>(&world.admin).unwrap();
    let (o, c) = (DnsLabel::parse("name", "o").unwrap(), DnsLabel::parse("name", "c").unwrap());
    let taken = world.store.create_organization(&all, &o, at(0)).await;
    assert!(matches!(taken, Err(Error::AlreadyExists { .. })));
    let own = world.store.lookup_organization::<Manage>(&tenant.caller, &tenant.id).await.unwrap();
    assert!(matches!(world.store.create_cluster(&own, &c, at(0)).await, Err(Error::AlreadyExists { .. })));
}

pub async fn pages_follow_one_another_without_gap_or_repeat(world: World) {
    let tenant = world.tenant("o").await;
    for n in 0..5 {
        world.cluster(&tenant, &format!("c{n}")).await;
    }
    let own = world.store.installation::<Read>(&tenant.caller).unwrap();
    let (mut names, mut cursor) = (Vec::new(), None);
    loop {
        let page = PageRequest::parse(Some(2), cursor.as_deref()).unwrap();
        let answer = world.store.clusters(&own, Archived::Hidden, &page, at(0)).await.unwrap();
        names.extend(answer.items.into_iter().map(|cluster| cluster.name));
        match answer.next_cursor {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    assert_eq!(names, ["c0", "c1", "c2", "c3", "c4"]);
}

pub async fn cursor_leads_on_in_its_own_list_alone(world: World) {
    let (one, two) = (world.tenant("one").await, world.tenant("two").await);
    for tenant in [&one, &two] {
        world.cluster(tenant, "c0").await;
        world.cluster(tenant, "c1").await;
    }
    let first = PageRequest::parse(Some(1), None).unwrap();
    let list = async |tenant: &Tenant, page: &PageRequest| {
        let own = world.store.installation::<Read>(&tenant.caller).unwrap();
        world.store.clusters(&own, Archived::Hidden, page, at(0)).await
    };
    let cursor = list(&one, &first).await.unwrap().next_cursor.unwrap();
    let next = PageRequest::parse(Some(1), Some(&cursor)).unwrap();
    assert_eq!(list(&one, &next).await.unwrap().items[0].name, "c1");
    assert!(matches!(list(&two, &next).await, Err(Error::InvalidPage { .. })));
    let all = world.store.installation::<Read>(&one.caller).unwrap();
    let other = world.store.organizations(&all, Archived::Hidden, &next).await;
    assert!(matches!(other, Err(Error::InvalidPage { .. })));
    assert!(list(&two, &first).await.unwrap().next_cursor.unwrap() != cursor);
}
