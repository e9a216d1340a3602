use super::*;
use serde_json::{Value, json};
use vworkspace_core::agent::{
    credentials::{Fetched, Held},
    rotation::Fulfilled,
};
use vworkspace_protocol::ClusterId;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn cluster(spec: Value, status: Value) -> Cluster {
    let metadata = json!({"name": "c", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"});
    let kind = json!({"apiVersion": "ops.vworkspace.io/v1alpha1", "kind": "Cluster"});
    let mut object = kind;
    object["metadata"] = metadata;
    object["spec"] = spec;
    object["status"] = status;
    serde_json::from_value(object).unwrap()
}

fn found(spec: Value, status: Value) -> Found {
    Found {
        cluster: cluster(spec, status),
        is_in_charge: true,
        token: Ok(Some(Secret::new("vwksp-reg-1"))),
        ca_pem: Ok(None),
        stored: None,
        seed_url: String::new(),
        secret_name: "s".into(),
        secret_namespace: "n".into(),
    }
}

fn stored(owner: Option<&str>) -> Option<Stored> {
    Some(Stored {
        base_url: "https://x".into(),
        held: Held::new(ClusterId::new("id"), Secret::new("t"), None),
        ca_pem: None,
        owner: owner.map(str::to_owned),
        version: None,
    })
}

/// The credential of [`stored`] works.
fn accepted() -> Verdicts {
    let mut verdicts = Verdicts::default();
    verdicts.handle_accepted(&Secret::new("t"));
    verdicts
}

fn endpoint_only() -> Value {
    json!({"controlPlaneEndpoint": "https://x"})
}

#[test]
fn the_fingerprint_is_the_references() {
    assert_eq!(fingerprint(&Secret::new("abc")), "ba7816bf8f01cfea");
}

#[test]
fn a_token_without_a_credential_registers() {
    let plan = plan(&found(endpoint_only(), json!({})), None, &Verdicts::default(), NOW);
    assert!(matches!(plan, Plan::Register(r) if r.base_url == "https://x"));
}

#[test]
fn a_lost_secret_registers_again_even_with_a_known_token() {
    let status = json!({"observedToken": fingerprint(&Secret::new("vwksp-reg-1"))});
    assert!(matches!(
        plan(&found(endpoint_only(), status), None, &Verdicts::default(), NOW),
        Plan::Register(_)
    ));
}

#[test]
fn a_known_token_is_not_exchanged_again_but_a_new_one_is() {
    let status = json!({"observedToken": fingerprint(&Secret::new("vwksp-reg-1")),
        "credentialsSecretRef": {"name": "s"}});
    let mut registered = found(endpoint_only(), status);
    registered.stored = stored(Some("u"));
    assert!(plan(&registered, None, &Verdicts::default(), NOW) == Plan::Keep);
    registered.token = Ok(Some(Secret::new("vwksp-reg-2")));
    assert!(matches!(plan(&registered, None, &Verdicts::default(), NOW), Plan::Register(_)));
    registered.token = Err("gone".into());
    assert!(plan(&registered, None, &Verdicts::default(), NOW) == Plan::Keep);
}

#[test]
fn a_wish_for_a_rotation_is_fulfilled_and_then_taken_back() {
    let status = json!({"credentialsSecretRef": {"name": "s"}});
    let mut registered = found(json!({"rotateCredentials": true}), status);
    registered.token = Ok(None);
    registered.cluster.metadata.generation = Some(4);
    registered.stored = stored(Some("u"));
    assert!(plan(&registered, None, &accepted(), NOW) == Plan::Rotate(Cause::Wish(4)));
    let fulfilled = Fulfilled { wish: Some(4), job: None };
    if let Some(stored) = &mut registered.stored {
        stored.held.fulfilled = fulfilled;
    }
    assert!(plan(&registered, None, &Verdicts::default(), NOW) == Plan::TakeBackWish);
}

#[test]
fn no_rotation_begins_while_one_is_under_way() {
    let status = json!({"credentialsSecretRef": {"name": "s"}});
    let mut registered = found(json!({"rotateCredentials": true}), status);
    registered.token = Ok(None);
    registered.cluster.metadata.generation = Some(4);
    let fetched = Fetched { token: Secret::new("u"), life: None, rotation: "r".into() };
    let both = |stored: Stored| Stored { held: stored.held.fetched(fetched, &Cause::Age), ..stored };
    registered.stored = stored(Some("u")).map(both);
    assert!(plan(&registered, None, &Verdicts::default(), NOW) == Plan::Keep);
}

#[test]
fn a_credential_of_nobody_is_adopted_and_that_of_a_former_cluster_is_not() {
    let mut strange = found(endpoint_only(), json!({}));
    strange.stored = stored(None);
    assert!(matches!(plan(&strange, None, &Verdicts::default(), NOW), Plan::Adopt { .. }));
    strange.stored = stored(Some("a former uid"));
    assert!(matches!(plan(&strange, None, &Verdicts::default(), NOW), Plan::Register(_)));
}

#[test]
fn only_the_identity_of_the_cluster_in_charge_goes_with_it() {
    let mut going = found(endpoint_only(), json!({}));
    going.cluster.metadata.deletion_timestamp =
        serde_json::from_value(json!("2026-01-03T00:00:00Z")).unwrap();
    going.cluster.metadata.finalizers = Some(vec![CLUSTER_FINALIZER.to_owned()]);
    let ends = |found: &Found| matches!(plan(found, None, &Verdicts::default(), NOW), Plan::Finalize { ways } if !ways.is_empty());
    assert!(!ends(&going), "there is none");
    going.stored = stored(Some("u"));
    assert!(ends(&going));
    going.is_in_charge = false;
    assert!(!ends(&going), "another Cluster is in charge");
    going.is_in_charge = true;
    going.stored = stored(Some("a former uid"));
    assert!(!ends(&going), "it was a former Cluster's");
}

#[test]
fn a_credential_that_works_is_kept_and_rotated_beside_a_token_that_was_rejected() {
    let status = json!({"observedToken": "another", "credentialsSecretRef": {"name": "s"}});
    let mut registered = found(endpoint_only(), status);
    registered.stored = stored(Some("u"));
    registered.cluster.metadata.generation = Some(4);
    let rejected = rejected(&registered);
    assert!(plan(&registered, Some(&rejected), &Verdicts::default(), NOW) == Plan::Keep);
    registered.cluster.spec.rotate_credentials = Some(true);
    assert!(plan(&registered, Some(&rejected), &accepted(), NOW) == Plan::Rotate(Cause::Wish(4)));
}

#[test]
fn a_rejected_token_waits_unless_token_or_object_changes() {
    let mut found = found(endpoint_only(), json!({}));
    let rejected = rejected(&found);
    let planned = |found: &Found, now| plan(found, Some(&rejected), &Verdicts::default(), now);
    assert!(matches!(planned(&found, NOW), Plan::Blocked(Blocked::TokenRejected { message, at })
        if message.contains("spent") && message.contains(&at.to_string())));
    assert!(matches!(planned(&found, rejected.retry_at), Plan::Register(_)), "nothing stops for good");
    let annotate = |found: &mut Found, value: Option<&str>| {
        let annotation = |value: &str| [("touched".to_owned(), value.to_owned())].into();
        found.cluster.metadata.annotations = value.map(annotation);
    };
    annotate(&mut found, Some("by hand"));
    assert!(matches!(planned(&found, NOW), Plan::Register(_)));
    annotate(&mut found, None);
    found.token = Ok(Some(Secret::new("vwksp-reg-2")));
    assert!(matches!(plan(&found, Some(&rejected), &Verdicts::default(), NOW), Plan::Register(_)));
}

#[test]
fn a_token_that_was_rejected_elsewhere_is_tried_where_the_object_says_now() {
    let at_wrong_url = found(json!({"controlPlaneEndpoint": "https://wrong"}), json!({}));
    let rejected = rejected(&at_wrong_url);
    let mut found = found(endpoint_only(), json!({}));
    assert!(matches!(plan(&found, Some(&rejected), &Verdicts::default(), NOW), Plan::Register(_)));
    found.ca_pem = Ok(Some(b"another".to_vec()));
    assert!(matches!(plan(&found, Some(&rejected), &Verdicts::default(), NOW), Plan::Register(_)));
}

/// The exchange that is to be made, refused.
fn rejected(found: &Found) -> RejectedToken {
    let (_, all_refused) = lost();
    match plan(found, None, &all_refused, NOW) {
        Plan::Register(registration) | Plan::RegisterAgain(registration) => {
            RejectedToken::new(None, &registration, &found.cluster, "spent".into(), NOW, 1.0)
        }
        _ => unreachable!("there is an exchange to be made"),
    }
}

/// A registered cluster that lost the answer to a rotation; every credential is refused.
fn lost() -> (Found, Verdicts) {
    let status = json!({"observedToken": fingerprint(&Secret::new("vwksp-reg-1")),
        "credentialsSecretRef": {"name": "s"}});
    let mut found = found(endpoint_only(), status);
    let asked = |stored: Stored| Stored { held: stored.held.asking_for_rotation().unwrap(), ..stored };
    found.stored = stored(Some("u")).map(asked);
    let mut refused = Verdicts::default();
    if let Some(stored) = &found.stored {
        refused.handle_refused(&stored.held.token, &stored.held);
    }
    (found, refused)
}

#[test]
fn used_token_is_exchanged_again_after_a_lost_rotation() {
    let (mut found, refused) = lost();
    assert!(plan(&found, None, &Verdicts::default(), NOW) == Plan::Keep);
    assert!(matches!(plan(&found, None, &refused, NOW), Plan::RegisterAgain(r) if r.base_url == "https://x"));
    let forbidden = rejected(&found);
    assert!(plan(&found, Some(&forbidden), &refused, NOW) == Plan::Keep, "it is asked seldom");
    let later = plan(&found, Some(&forbidden), &refused, forbidden.retry_at);
    assert!(matches!(later, Plan::RegisterAgain(_)), "nothing stops for good");
    found.token = Err("gone".into());
    assert!(plan(&found, None, &refused, NOW) == Plan::Keep);
}

/// Of another cluster's record, perhaps: what it is exchanged for counts.
#[test]
fn new_token_is_registered_and_not_spent_on_a_lost_rotation() {
    let (mut found, refused) = lost();
    found.token = Ok(Some(Secret::new("vwksp-reg-2")));
    assert!(matches!(plan(&found, None, &refused, NOW), Plan::Register(_)));
    let rejected = rejected(&found);
    assert!(plan(&found, Some(&rejected), &refused, NOW) == Plan::Keep);
}

#[test]
fn refused_credential_is_not_rotated_whoever_asks() {
    let (mut found, refused) = lost();
    found.cluster.spec.rotate_credentials = Some(true);
    found.cluster.metadata.generation = Some(4);
    found.token = Ok(None);
    assert!(plan(&found, None, &refused, NOW) == Plan::Keep);
    assert!(plan(&found, None, &accepted(), NOW) == Plan::Rotate(Cause::Wish(4)));
}

#[test]
fn what_is_missing_is_said() {
    assert!(
        plan(&found(json!({}), json!({})), None, &Verdicts::default(), NOW)
            == Plan::Blocked(Blocked::NoEndpoint)
    );
    let mut nothing = found(endpoint_only(), json!({}));
    nothing.token = Ok(None);
    assert!(plan(&nothing, None, &Verdicts::default(), NOW) == Plan::Blocked(Blocked::NoToken));
}

#[test]
fn the_oldest_is_in_charge() {
    let mut younger = cluster(json!({}), json!({}));
    younger.metadata.name = Some("a".into());
    younger.metadata.creation_timestamp = serde_json::from_value(json!("2026-01-02T00:00:00Z")).unwrap();
    let clusters = [younger, cluster(json!({}), json!({}))];
    assert_eq!(in_charge(&clusters).and_then(|c| c.metadata.name.as_deref()), Some("c"));
}
