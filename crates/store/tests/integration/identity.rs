use crate::world::{World, at};
use std::{collections::BTreeSet, time::Duration};
use vworkspace_core::control::Actor;
use vworkspace_protocol::Secret;
use vworkspace_store::{Error, Manage, Read};

const DAY: i64 = 86_400;

async fn works(world: &World, token: &Secret, second: i64) -> bool {
    match world.store.authenticate(token, at(second)).await {
        Ok(_) => true,
        Err(Error::Unauthenticated) => false,
        Err(error) => panic!("{error}"),
    }
}

pub async fn the_first_admin_token_is_made_exactly_once(world: World) {
    assert!(world.store.bootstrap_admin(at(1)).await.unwrap().is_none());
    let world = world.reopened().await;
    assert!(world.store.bootstrap_admin(at(2)).await.unwrap().is_none());
}

pub async fn bearers_nobody_issued_and_registration_tokens_prove_nothing(world: World) {
    let tenant = world.tenant("o").await;
    let cluster = world.cluster(&tenant, "c").await;
    let registration = world.registration_token(&tenant, &cluster.id).await;
    assert!(!works(&world, &registration, 0).await);
    for text in [
        "",
        "x",
        "vwksp-agt-00",
        &format!("vwksp-agt-{}", "0".repeat(80)),
        &format!("vwksp-adm-{}", "0".repeat(80)),
    ] {
        assert!(!works(&world, &Secret::new(text), 0).await, "{text}");
    }
    let register = world.store.register(&Secret::new("vwksp-reg-00"), "r", at(0)).await;
    assert!(matches!(register, Err(Error::Unauthenticated)));
}

pub async fn a_tokens_neighbour_with_the_same_lookup_part_is_refused(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let text = agent.credential.expose();
    let last = if text.ends_with('0') { "1" } else { "0" };
    assert!(!works(&world, &Secret::new(&format!("{}{last}", &text[..text.len() - 1])), 0).await);
}

pub async fn the_same_registration_answers_again_with_a_fresh_credential(world: World) {
    let tenant = world.tenant("o").await;
    let cluster = world.cluster(&tenant, "c").await;
    let token = world.registration_token(&tenant, &cluster.id).await;
    let first = world.store.register(&token, "r", at(1)).await.unwrap();
    let again = world.store.register(&token, "r", at(2)).await.unwrap();
    assert_eq!((&first.cluster_id, &again.cluster_id), (&cluster.id, &cluster.id));
    let caller = world.store.authenticate(&again.token, at(3)).await.unwrap();
    assert!(!works(&world, &first.token, 3).await);
    assert_eq!(caller.actor(), &Actor::Agent(cluster.id));
    for other in ["s", ""] {
        assert!(matches!(world.store.register(&token, other, at(3)).await, Err(Error::TokenConsumed)));
    }
    assert!(matches!(world.store.register(&token, "r", at(DAY + 1)).await, Err(Error::TokenConsumed)));
    assert!(works(&world, &again.token, DAY + 2).await);
}

pub async fn an_unused_token_ends_and_one_without_registration_id_is_single_use(world: World) {
    let tenant = world.tenant("o").await;
    let cluster = world.cluster(&tenant, "c").await;
    let late = world.registration_token(&tenant, &cluster.id).await;
    assert!(matches!(world.store.register(&late, "r", at(DAY)).await, Err(Error::TokenExpired)));
    let plain = world.registration_token(&tenant, &cluster.id).await;
    assert!(world.store.register(&plain, "", at(1)).await.is_ok());
    assert!(matches!(world.store.register(&plain, "", at(2)).await, Err(Error::TokenConsumed)));
}

pub async fn of_32_concurrent_first_connects_one_gets_the_identity(world: World) {
    let tenant = world.tenant("o").await;
    let cluster = world.cluster(&tenant, "c").await;
    let token = world.registration_token(&tenant, &cluster.id).await;
    let tries = (0..32).map(|n| {
        let (store, token) = (world.store.clone(), token.clone());
        tokio::spawn(async move { store.register(&token, &format!("r{n}"), at(1)).await })
    });
    let mut good = Vec::new();
    for attempt in tries.collect::<Vec<_>>() {
        match attempt.await.unwrap() {
            Ok(answer) => good.push(answer),
            Err(Error::TokenConsumed) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(good.len(), 1);
    assert!(works(&world, &good[0].token, 2).await);
}

pub async fn of_32_concurrent_repeats_all_get_one_identity_and_one_credential_lives(world: World) {
    let tenant = world.tenant("o").await;
    let cluster = world.cluster(&tenant, "c").await;
    let token = world.registration_token(&tenant, &cluster.id).await;
    let tries = (0..32).map(|_| {
        let (store, token) = (world.store.clone(), token.clone());
        tokio::spawn(async move { store.register(&token, "r", at(1)).await.unwrap() })
    });
    let mut answers = Vec::new();
    for attempt in tries.collect::<Vec<_>>() {
        answers.push(attempt.await.unwrap());
    }
    let identities: BTreeSet<_> = answers.iter().map(|answer| &answer.cluster_id).collect();
    let mut alive = 0;
    for round in 0..2 {
        alive = 0;
        for answer in &answers {
            alive += usize::from(works(&world, &answer.token, 2 + round).await);
        }
    }
    assert_eq!((identities.len(), alive), (1, 1));
}

pub async fn rotation_overlaps_until_the_new_credential_is_used(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let new = world.store.rotate(&agent.serve, &agent.credential, at(10)).await.unwrap().token;
    assert!(works(&world, &agent.credential, 11).await);
    assert!(works(&world, &new, 12).await);
    assert!(!works(&world, &agent.credential, 13).await);
    assert!(works(&world, &new, 14).await);
}

pub async fn a_repeated_rotation_takes_the_place_of_the_unused_new_credential(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let mut unused = Vec::new();
    for second in 10..30 {
        unused.push(world.store.rotate(&agent.serve, &agent.credential, at(second)).await.unwrap().token);
    }
    let newest = unused.pop().unwrap();
    for replaced in &unused {
        assert!(!works(&world, replaced, 31).await);
    }
    assert!(works(&world, &agent.credential, 31).await);
    assert!(works(&world, &newest, 32).await);
    assert!(!works(&world, &agent.credential, 33).await);
}

pub async fn a_new_credential_that_is_not_used_within_a_day_is_dropped_and_the_old_one_stays(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let in_time = world.store.rotate(&agent.serve, &agent.credential, at(0)).await.unwrap().token;
    assert!(works(&world, &in_time, DAY - 1).await);
    let late = world.store.rotate(&agent.serve, &in_time, at(DAY)).await.unwrap().token;
    assert!(!works(&world, &late, 2 * DAY).await);
    assert!(works(&world, &in_time, 2 * DAY).await);
    let again = world.store.rotate(&agent.serve, &in_time, at(2 * DAY)).await.unwrap().token;
    assert!(works(&world, &again, 2 * DAY + 1).await);
    assert!(works(&world, &again, 90 * DAY).await, "one that was used lives on");
}

/// Its holder was told, and went back to the old one.
pub async fn a_new_credential_that_was_refused_never_works_again_wherever_the_clock_is(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let new = world.store.rotate(&agent.serve, &agent.credential, at(0)).await.unwrap().token;
    assert!(!works(&world, &new, DAY).await);
    assert!(!works(&world, &new, 1).await);
    assert!(works(&world, &agent.credential, 2).await);
}

/// Whoever registers holds one answer, and nothing beside it.
pub async fn a_credential_of_a_repeated_registration_is_not_dropped_and_outlives_an_unused_rotation(
    world: World,
) {
    let tenant = world.tenant("o").await;
    let cluster = world.cluster(&tenant, "c").await;
    let token = world.registration_token(&tenant, &cluster.id).await;
    let first = world.store.register(&token, "r", at(0)).await.unwrap().token;
    let held = world.store.register(&token, "r", at(1)).await.unwrap().token;
    let caller = world.store.authenticate(&first, at(2)).await.unwrap();
    let serve = world.store.own_cluster(&caller).unwrap();
    world.store.rotate(&serve, &first, at(3)).await.unwrap();
    assert!(works(&world, &held, 80 * DAY).await);
    assert!(!works(&world, &first, 80 * DAY).await);
}

/// The handle was made before; what ended every credential is not outlived by a rotation that was on its way.
pub async fn a_rotation_that_comes_after_the_end_of_its_credential_gives_none(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    world.store.decommission(&agent.serve, &agent.credential, at(5)).await.unwrap();
    let late = world.store.rotate(&agent.serve, &agent.credential, at(6)).await;
    assert!(matches!(late, Err(Error::Unauthenticated)));
}

pub async fn a_new_registration_token_moves_the_identity(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let token = world.registration_token(&tenant, &agent.id).await;
    let moved = world.store.register(&token, "other", at(5)).await.unwrap();
    assert_eq!(moved.cluster_id, agent.id);
    assert!(!works(&world, &agent.credential, 6).await);
    let reading = world.store.lookup_cluster::<Read>(&tenant.caller, &agent.id).await.unwrap();
    assert_eq!(world.store.cluster(&reading, at(6)).await.unwrap().registered_at, Some(at(5)));
}

pub async fn a_registration_token_lives_as_long_as_was_asked(world: World) {
    let tenant = world.tenant("o").await;
    let cluster = world.cluster(&tenant, "c").await;
    let handle = world.store.lookup_cluster::<Manage>(&tenant.caller, &cluster.id).await.unwrap();
    let issued = world.store.issue_registration_token(&handle, Duration::from_secs(60), at(0)).await.unwrap();
    assert_eq!(issued.expires_at, at(60));
    assert!(matches!(world.store.register(&issued.token, "r", at(60)).await, Err(Error::TokenExpired)));
}

pub async fn a_decommission_that_comes_late_does_not_end_who_registered_since(world: World) {
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let token = world.registration_token(&tenant, &agent.id).await;
    let fresh = world.store.register(&token, "again", at(1)).await.unwrap().token;
    let late = world.store.decommission(&agent.serve, &agent.credential, at(2)).await;
    assert!(matches!(late, Err(Error::Unauthenticated)));
    assert!(works(&world, &fresh, 3).await);
    world.store.decommission(&agent.serve, &fresh, at(4)).await.unwrap();
    assert!(!works(&world, &fresh, 5).await);
    assert!(matches!(world.store.register(&token, "again", at(6)).await, Err(Error::TokenConsumed)));
    let shown = world.store.cluster(&world.reading(&tenant, &agent).await, at(6)).await.unwrap();
    assert_eq!(shown.registered_at, None);
}

/// The identity has moved; who held it before does not get it back with the token it once used.
pub async fn the_token_of_an_earlier_registration_does_not_bring_the_identity_back(world: World) {
    let tenant = world.tenant("o").await;
    let cluster = world.cluster(&tenant, "c").await;
    let earlier = world.registration_token(&tenant, &cluster.id).await;
    world.store.register(&earlier, "one", at(1)).await.unwrap();
    let later = world.registration_token(&tenant, &cluster.id).await;
    let held = world.store.register(&later, "two", at(2)).await.unwrap().token;
    let back = world.store.register(&earlier, "one", at(3)).await;
    assert!(matches!(back, Err(Error::TokenConsumed)));
    assert!(works(&world, &held, 4).await);
}
