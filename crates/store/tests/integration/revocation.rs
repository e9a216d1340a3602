//! Tokens and credentials are taken back.

use crate::world::{Tenant, World, at, begin, ids};
use futures::FutureExt as _;
use std::pin::pin;
use vworkspace_core::control::{Actor, token::public_id};
use vworkspace_protocol::{
    ClusterId, Secret,
    admin::{CreatedApiToken, Presence},
    id::TokenId,
};
use vworkspace_store::{Cluster, Error, Handle, Installation, Manage, Organization, PageRequest, Read};

async fn works(world: &World, token: &Secret) -> bool {
    match world.store.authenticate(token, at(0)).await {
        Ok(_) => true,
        Err(Error::Unauthenticated) => false,
        Err(error) => panic!("{error}"),
    }
}

async fn managing(world: &World, tenant: &Tenant) -> Handle<Organization, Manage> {
    world.store.lookup_organization(&tenant.caller, &tenant.id).await.unwrap()
}

async fn managed(world: &World, tenant: &Tenant, cluster: &ClusterId) -> Handle<Cluster, Manage> {
    world.store.lookup_cluster(&tenant.caller, cluster).await.unwrap()
}

async fn api_token(world: &World, tenant: &Tenant, description: &str) -> CreatedApiToken {
    let organization = managing(world, tenant).await;
    world.store.create_api_token(&organization, description, at(0)).await.unwrap()
}

/// Ids of the tenant's tokens.
async fn listed(world: &World, tenant: &Tenant) -> Vec<TokenId> {
    let organization = world.store.lookup_organization::<Read>(&tenant.caller, &tenant.id).await.unwrap();
    let page = world.store.api_tokens(&organization, &PageRequest::default()).await.unwrap();
    page.items.into_iter().map(|token| token.id).collect()
}

fn installation(world: &World) -> Handle<Installation, Manage> {
    world.store.installation(&world.admin).unwrap()
}

async fn admin_tokens(world: &World) -> Vec<TokenId> {
    let page = world.store.admin_tokens(&installation(world), &PageRequest::default()).await.unwrap();
    page.items.into_iter().map(|token| token.id).collect()
}

pub async fn revoked_api_token_is_refused_at_once_and_no_other(world: World) {
    let tenant = world.tenant("o").await;
    let (leaked, stays) =
        (api_token(&world, &tenant, "leaked").await, api_token(&world, &tenant, "ci").await);
    assert!(works(&world, &leaked.token).await && works(&world, &stays.token).await, "both are known by now");
    let organization = managing(&world, &tenant).await;
    world.store.revoke_api_token(&organization, &leaked.id, false, at(1)).await.unwrap();
    assert!(!works(&world, &leaked.token).await && works(&world, &stays.token).await);
    let again = world.store.revoke_api_token(&organization, &leaked.id, true, at(1)).await;
    assert!(matches!(again, Err(Error::NotFound)));
    let world = world.crashed().await;
    assert!(!works(&world, &leaked.token).await && works(&world, &stays.token).await);
}

pub async fn last_api_token_of_an_organization_goes_only_by_force(world: World) {
    let (tenant, other) = (world.tenant("o").await, world.tenant("p").await);
    let organization = managing(&world, &tenant).await;
    let [last] = listed(&world, &tenant).await.try_into().unwrap();
    let refused = world.store.revoke_api_token(&organization, &last, false, at(1)).await;
    assert!(matches!(refused, Err(Error::LastToken)), "{refused:?}");
    assert_eq!(listed(&world, &tenant).await, std::slice::from_ref(&last));
    world.store.revoke_api_token(&organization, &last, true, at(1)).await.unwrap();
    assert!(listed(&world, &other).await.len() == 1, "another tenant keeps its own");
    // An administrator opens it again.
    let organization = world.store.lookup_organization::<Manage>(&world.admin, &tenant.id).await.unwrap();
    let new = world.store.create_api_token(&organization, "new", at(2)).await.unwrap();
    assert!(works(&world, &new.token).await);
}

pub async fn last_administrators_token_goes_only_by_force(world: World) {
    let all = installation(&world);
    let [first] = admin_tokens(&world).await.try_into().unwrap();
    let refused = world.store.revoke_admin_token(&all, &first, false, at(1)).await;
    assert!(matches!(refused, Err(Error::LastToken)), "{refused:?}");
    let second = world.store.create_admin_token(&all, "second", at(1)).await.unwrap();
    let caller = world.store.authenticate(&second.token, at(1)).await.unwrap();
    assert!(matches!(caller.actor(), Actor::Admin) && second.organization_id.is_none());
    world.store.revoke_admin_token(&all, &first, false, at(2)).await.unwrap();
    assert_eq!(admin_tokens(&world).await, std::slice::from_ref(&second.id));
    world.store.revoke_admin_token(&all, &second.id, true, at(3)).await.unwrap();
    assert!(!works(&world, &second.token).await);
    assert!(world.store.bootstrap_admin(at(4)).await.unwrap().is_none(), "a restart opens no door");
}

pub async fn api_tokens_are_listed_and_revoked_by_their_owner_alone(world: World) {
    let (mine, theirs) = (world.tenant("mine").await, world.tenant("theirs").await);
    let made = api_token(&world, &theirs, "ci").await;
    assert!(made.token.expose().contains(made.id.as_str()), "a found token is recognised by its id");
    let organization = managing(&world, &mine).await;
    let shown = listed(&world, &theirs).await;
    assert!(shown.len() == 2 && shown.contains(&made.id));
    let admins = admin_tokens(&world).await;
    let nobodys = [public_id(7), TokenId::new("x"), TokenId::new("")];
    for id in shown.iter().chain(&admins).chain(&nobodys) {
        let refused = world.store.revoke_api_token(&organization, id, true, at(1)).await;
        assert!(matches!(refused, Err(Error::NotFound)), "{id}");
        if !admins.contains(id) {
            let refused = world.store.revoke_admin_token(&installation(&world), id, true, at(1)).await;
            assert!(matches!(refused, Err(Error::NotFound)), "{id}");
        }
    }
    assert!(matches!(world.store.installation::<Manage>(&mine.caller), Err(Error::Forbidden)));
    assert!(works(&world, &made.token).await);
}

pub async fn wait_for_a_revocation_ends_with_the_token(world: World) {
    let tenant = world.tenant("o").await;
    let (held, other) = (api_token(&world, &tenant, "held").await, api_token(&world, &tenant, "other").await);
    let mut waiting = pin!(world.store.until_revoked(&held.token, at(0)));
    assert!(works(&world, &held.token).await && works(&world, &other.token).await);
    assert!(waiting.as_mut().now_or_never().is_none());
    let organization = managing(&world, &tenant).await;
    world.store.revoke_api_token(&organization, &other.id, false, at(1)).await.unwrap();
    assert!(waiting.as_mut().now_or_never().is_none(), "another one ended");
    world.store.revoke_api_token(&organization, &held.id, false, at(1)).await.unwrap();
    tokio::time::timeout(std::time::Duration::from_secs(30), waiting).await.expect("the wait went on");
}

pub async fn revoked_cluster_is_refused_whatever_it_holds(world: World) {
    let tenant = world.tenant("o").await;
    let cluster = world.cluster(&tenant, "c").await;
    let used = world.registration_token(&tenant, &cluster.id).await;
    let registered = world.store.register(&used, "r", at(0)).await.unwrap();
    let caller = world.store.authenticate(&registered.token, at(0)).await.unwrap();
    let serve = world.store.own_cluster(&caller).unwrap();
    let rotated = world.store.rotate(&serve, &registered.token, at(0)).await.unwrap();
    let open = world.registration_token(&tenant, &cluster.id).await;
    let neighbour = world.agent(&tenant, "d").await;

    let handle = managed(&world, &tenant, &cluster.id).await;
    assert!(world.store.revoke_cluster(&handle, at(1)).await.unwrap());
    for dead in [&registered.token, &rotated.token] {
        assert!(!works(&world, dead).await);
    }
    let again = world.store.register(&used, "r", at(2)).await.map(drop);
    assert!(matches!(again, Err(Error::TokenConsumed)), "{again:?}");
    assert!(matches!(world.store.register(&open, "r", at(2)).await, Err(Error::Unauthenticated)));
    let reading = world.store.lookup_cluster::<Read>(&tenant.caller, &cluster.id).await.unwrap();
    let shown = world.store.cluster(&reading, at(2)).await.unwrap();
    assert_eq!((shown.presence, shown.registered_at), (Presence::Unregistered, None));
    assert!(works(&world, &neighbour.credential).await);
    assert!(!world.store.revoke_cluster(&handle, at(3)).await.unwrap(), "a repeat changes nothing");
}

pub async fn revoked_cluster_comes_back_with_its_jobs(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let acked = world.apply(&tenant, &agent, "acked", 0).await;
    world.poll(&agent, "s", 1).await;
    world.ack(&agent, &acked, "s", 2).await.unwrap();
    let queued = world.apply(&tenant, &agent, "queued", 2).await;
    let handle = managed(&world, &tenant, &agent.id).await;
    world.store.revoke_cluster(&handle, at(3)).await.unwrap();

    let token = world.registration_token(&tenant, &agent.id).await;
    let back = world.store.register(&token, "r2", at(4)).await.unwrap();
    assert_eq!(back.cluster_id, agent.id);
    let caller = world.store.authenticate(&back.token, at(4)).await.unwrap();
    let serve = world.store.own_cluster(&caller).unwrap();
    let agent = crate::world::Agent { id: back.cluster_id, caller, serve, credential: back.token };
    assert_eq!(
        ids(&world.poll(&agent, "t", 5).await),
        std::slice::from_ref(&acked),
        "what was acked is offered first"
    );
    world.ack(&agent, &acked, "t", 5).await.unwrap();
    assert_eq!(ids(&world.poll(&agent, "t", 6).await), [queued]);
}

/// The agent was proved before the revocation; what it asked for is written after it.
pub async fn rotation_that_waits_behind_a_revocation_gives_none(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let handle = managed(&world, &tenant, &agent.id).await;
    begin(world.store.revoke_cluster(&handle, at(1)));
    let rotated = world.store.rotate(&agent.serve, &agent.credential, at(1)).await.map(drop);
    assert!(matches!(rotated, Err(Error::Unauthenticated)), "{rotated:?}");
    assert!(!works(&world, &agent.credential).await);
}

pub async fn open_registration_tokens_are_listed_and_revoked(world: World) {
    const DAY: i64 = 86_400;
    let (tenant, other) = (world.tenant("o").await, world.tenant("p").await);
    let cluster = world.cluster(&tenant, "c").await;
    let strange = world.cluster(&other, "c").await;
    let handle = managed(&world, &tenant, &cluster.id).await;
    let issue = async |seconds| {
        let life = std::time::Duration::from_secs(seconds);
        world.store.issue_registration_token(&handle, life, at(0)).await.unwrap()
    };
    let (used, short, open) = (issue(600).await, issue(60).await, issue(600).await);
    world.store.register(&used.token, "r", at(1)).await.unwrap();
    let reading = world.store.lookup_cluster::<Read>(&tenant.caller, &cluster.id).await.unwrap();
    let listed = async |second| {
        let page = PageRequest::default();
        let page = world.store.registration_tokens(&reading, &page, at(second)).await.unwrap();
        page.items.into_iter().map(|token| token.id).collect::<Vec<_>>()
    };
    let shown = listed(59).await;
    assert!(shown.len() == 2 && shown.contains(&short.id) && shown.contains(&open.id), "{shown:?}");
    assert_eq!(listed(60).await, std::slice::from_ref(&open.id));
    assert!(listed(DAY).await.is_empty());

    let stranger = managed(&world, &other, &strange.id).await;
    for (by, id) in [(&stranger, &open.id), (&handle, &used.id), (&handle, &TokenId::new("x"))] {
        let refused = world.store.revoke_registration_token(by, id, at(2)).await;
        assert!(matches!(refused, Err(Error::NotFound)), "{id}");
    }
    world.store.revoke_registration_token(&handle, &open.id, at(2)).await.unwrap();
    assert!(matches!(world.store.register(&open.token, "s", at(3)).await, Err(Error::Unauthenticated)));
    assert_eq!(listed(3).await, [short.id]);
}

pub async fn api_tokens_are_bounded(world: World) {
    let (tenant, other) = (world.tenant("o").await, world.tenant("p").await);
    let organization = managing(&world, &tenant).await;
    for n in 1..100 {
        world.store.create_api_token(&organization, &format!("t{n}"), at(n)).await.unwrap();
    }
    let refused = world.store.create_api_token(&organization, "more", at(100)).await.map(drop);
    assert!(matches!(refused, Err(Error::LimitReached { most: 100, .. })), "{refused:?}");
    api_token(&world, &other, "its own bound").await;
    let [one, ..] = &listed(&world, &tenant).await[..] else { panic!("nothing is listed") };
    world.store.revoke_api_token(&organization, one, false, at(101)).await.unwrap();
    let tenant = world.store.lookup_organization::<Manage>(&world.admin, &tenant.id).await.unwrap();
    world.store.create_api_token(&tenant, "in its place", at(102)).await.unwrap();
}
