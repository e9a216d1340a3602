//! Step 2: decides what a Cluster needs. Pure.

use super::dereference::{Found, Stored, Way};
use crate::marks::marks;
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;
use vworkspace_core::{
    agent::{
        credentials::{LostRotation, Verdicts},
        rotation::{Cause, Rotation, rotation},
        session::rejection_delay,
    },
    canonical::sha256_hex,
};
use vworkspace_crds::{
    Cluster,
    key::{CLUSTER_FINALIZER, FORCE_REGISTRATION},
};
use vworkspace_protocol::Secret;
use vworkspace_transport::{EchoMark, Witness};

/// What is to be done.
#[derive(Clone, PartialEq, Eq)]
pub enum Plan {
    /// Another Cluster is in charge: say so, do nothing.
    NotInCharge,
    /// The object is going away.
    Finalize {
        /// The ways to end the identity that goes with it, in the order in which they are to be tried; none: it never
        /// had one, or another Cluster's is in use.
        ways: Vec<Way>,
    },
    /// Nothing can be done before the object, or a Secret it names, changes.
    Blocked(Blocked),
    /// Exchange the token for an identity.
    Register(Registration),
    /// A credential is there that nobody recorded here, for example from the reference: record it.
    Adopt {
        /// Of the token that stands in the object now, if any.
        fingerprint: Option<String>,
    },
    /// Registered: keep the Secret as the object says.
    Keep,
    /// Every credential is rejected and the answer to a rotation was lost: exchange the token once more, for the same
    /// identity.
    RegisterAgain(Registration),
    /// Fetch a new credential beside the current one, which goes on working until that is used.
    Rotate(Cause),
    /// The wish for a rotation was fulfilled: take it back.
    TakeBackWish,
}

/// Why nothing can be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// The token's Secret or key is missing.
    TokenMissing(String),
    /// There is neither a token nor a credential.
    NoToken,
    /// Nobody said where the control plane is.
    NoEndpoint,
    /// The CA's Secret or key is missing.
    CaMissing(String),
    /// The control plane rejected this token.
    TokenRejected {
        /// For people.
        message: String,
        /// When it is tried again.
        at: Timestamp,
    },
}

/// An exchange to be made.
#[derive(Clone, PartialEq, Eq)]
pub struct Registration {
    /// Where.
    pub base_url: String,
    /// The token.
    pub token: Secret,
    /// First 16 hex digits of its SHA-256.
    pub fingerprint: String,
    /// PEM certificates to trust.
    pub ca_pem: Option<Vec<u8>>,
}

impl Registration {
    /// The witness of its control plane, which is known if what is `stored` leads there, too.
    pub fn witness(&self, stored: Option<&Stored>) -> Arc<Witness> {
        let is_same = |stored: &&Stored| stored.base_url == self.base_url && stored.ca_pem == self.ca_pem;
        let echoes = stored.filter(is_same).is_some_and(|stored| stored.held.echoes());
        Arc::new(Witness::new(EchoMark::stored(echoes)))
    }
}

/// A token that the control plane rejected, and why; kept in memory. It is tried again after a growing delay, and at once
/// when anything about the exchange or the object changes: another token, URL or CA, a label, an annotation.
#[derive(Clone, PartialEq, Eq)]
pub struct RejectedToken {
    registration: Registration,
    /// The object's generation, labels and annotations.
    shape: (Option<i64>, String),
    reason: String,
    /// When it is tried again.
    pub retry_at: Timestamp,
    /// So many rejections in a row.
    count: u32,
}

impl RejectedToken {
    /// Once it was rejected `now`, and perhaps before. `random` is uniform in 0..1.
    pub fn new(
        earlier: Option<Self>,
        registration: &Registration,
        cluster: &Cluster,
        reason: String,
        now: Timestamp,
        random: f64,
    ) -> Self {
        let (registration, shape) = (registration.clone(), shape(cluster));
        let earlier =
            earlier.filter(|earlier| earlier.registration == registration && earlier.shape == shape);
        let before = earlier.map_or(0, |earlier| earlier.count);
        let delay = SignedDuration::try_from(rejection_delay(before, random)).unwrap_or_default();
        let retry_at = now.saturating_add(delay).unwrap_or(now);
        Self { registration, shape, reason, retry_at, count: before.saturating_add(1) }
    }

    /// For people.
    pub fn message(&self) -> String {
        let at = vworkspace_protocol::time::whole_seconds(self.retry_at);
        format!("{}; tried again at {at}, or at once with another token", self.reason)
    }

    fn holds_back(&self, registration: &Registration, cluster: &Cluster, now: Timestamp) -> bool {
        self.registration == *registration && self.shape == shape(cluster) && now < self.retry_at
    }
}

fn shape(cluster: &Cluster) -> (Option<i64>, String) {
    (cluster.metadata.generation, marks(&cluster.metadata))
}

/// The one Cluster in charge: the oldest, by name where that is not enough.
pub fn in_charge(clusters: &[Cluster]) -> Option<&Cluster> {
    clusters.iter().min_by_key(|cluster| {
        let created = cluster.metadata.creation_timestamp.as_ref().map(|time| time.0.as_second());
        (created, cluster.metadata.name.clone())
    })
}

/// Decides by reference contract, section 5.2, amended by contract, section 4.
pub fn plan(found: &Found, rejected: Option<&RejectedToken>, verdicts: &Verdicts, now: Timestamp) -> Plan {
    let metadata = &found.cluster.metadata;
    if metadata.deletion_timestamp.is_some() {
        let stored = found.stored.as_ref().filter(|_| found.is_in_charge && has_finalizer(&found.cluster));
        let stored = stored.filter(|stored| belongs(stored, &found.cluster));
        return Plan::Finalize { ways: stored.map(Way::all).unwrap_or_default() };
    }
    if !found.is_in_charge {
        return Plan::NotInCharge;
    }
    let stored = found.stored.as_ref().filter(|stored| belongs(stored, &found.cluster));
    let token = match (&found.token, stored) {
        (Ok(token), _) => token.clone(),
        // Registered long ago: nobody needs the token any more.
        (Err(_), Some(_)) => None,
        (Err(missing), None) => return Plan::Blocked(Blocked::TokenMissing(missing.clone())),
    };
    if let Some(exchange) = stored.and_then(|stored| after_lost_rotation(found, stored, verdicts)) {
        return exchange;
    }
    let Some(token) = token else {
        return stored.map_or(Plan::Blocked(Blocked::NoToken), |stored| recorded(found, stored, None, now));
    };
    let fingerprint = fingerprint(&token);
    let observed = found.cluster.status.as_ref().and_then(|status| status.observed_token.clone());
    let forced = is_forced(&found.cluster);
    let is_known = observed.is_none() || observed.as_deref() == Some(&fingerprint);
    if let Some(stored) = stored.filter(|_| is_known && !forced) {
        return recorded(found, stored, Some(fingerprint), now);
    }
    let exchange = registration(found, token, fingerprint);
    let holds_back = |rejected: &&RejectedToken| matches!(&exchange, Plan::Register(registration) if rejected.holds_back(registration, &found.cluster, now));
    match (rejected.filter(holds_back), stored) {
        (None, _) => exchange,
        // Only another token is of no use: the credential goes on working, and is rotated in time.
        (Some(_), Some(stored)) => recorded(found, stored, None, now),
        (Some(rejected), None) => {
            Plan::Blocked(Blocked::TokenRejected { message: rejected.message(), at: rejected.retry_at })
        }
    }
}

/// Whether a registration is to get the cluster out of a rotation whose answer was lost (contract, section 4): once, with
/// the token it holds.
fn after_lost_rotation(found: &Found, stored: &Stored, verdicts: &Verdicts) -> Option<Plan> {
    let token = found.token.as_ref().ok()?.clone()?;
    let is_lost = stored.held.lost_rotation() == Some(LostRotation::Asked);
    if !is_lost || !stored.held.is_refused(verdicts) {
        return None;
    }
    let fingerprint = fingerprint(&token);
    match registration(found, token, fingerprint) {
        Plan::Register(registration) => Some(Plan::RegisterAgain(registration)),
        _ => None,
    }
}

fn registration(found: &Found, token: Secret, fingerprint: String) -> Plan {
    let Some(base_url) = endpoint(found) else {
        return Plan::Blocked(Blocked::NoEndpoint);
    };
    match &found.ca_pem {
        Ok(ca_pem) => Plan::Register(Registration { base_url, token, fingerprint, ca_pem: ca_pem.clone() }),
        Err(missing) => Plan::Blocked(Blocked::CaMissing(missing.clone())),
    }
}

/// A credential without a record of how it came here is adopted; else all is well but for its age.
fn recorded(found: &Found, stored: &Stored, fingerprint: Option<String>, now: Timestamp) -> Plan {
    let status = found.cluster.status.as_ref();
    let is_recorded = status.is_some_and(|status| {
        status.credentials_secret_ref.is_some()
            && (fingerprint.is_none() || status.observed_token == fingerprint)
    });
    if !is_recorded {
        return Plan::Adopt { fingerprint };
    }
    let held = &stored.held;
    if held.next().is_some() {
        // A rotation is under way: its wish is fulfilled, or due again, once it is settled.
        return Plan::Keep;
    }
    let asked = found.cluster.spec.rotate_credentials == Some(true);
    let wish = found.cluster.metadata.generation.filter(|_| asked);
    match rotation(held.life, wish, held.fulfilled.wish, now) {
        Rotation::No if held.came_back() => Plan::Rotate(Cause::CameBack),
        Rotation::No => Plan::Keep,
        Rotation::Due => Plan::Rotate(wish.map_or(Cause::Age, Cause::Wish)),
        Rotation::Fulfilled => Plan::TakeBackWish,
    }
}

/// A Secret of a Cluster that is no more will be collected soon: it does not count.
pub fn belongs(stored: &Stored, cluster: &Cluster) -> bool {
    stored.owner.is_none() || stored.owner == cluster.metadata.uid
}

/// Flag over object; the deprecated name is the last resort.
pub fn endpoint(found: &Found) -> Option<String> {
    let spec = &found.cluster.spec;
    let seed = Some(found.seed_url.clone()).filter(|url| !url.is_empty());
    seed.or_else(|| spec.control_plane_endpoint.clone()).or_else(|| spec.control_plane_base_url.clone())
}

/// First 16 hex digits of SHA-256 (reference contract, section 5.2).
pub fn fingerprint(token: &Secret) -> String {
    let mut digest = sha256_hex(token.expose().as_bytes());
    digest.truncate(16);
    digest
}

fn is_forced(cluster: &Cluster) -> bool {
    let annotation = cluster.metadata.annotations.as_ref().and_then(|a| a.get(FORCE_REGISTRATION));
    annotation.is_some_and(|value| !value.trim().is_empty() && !value.trim().eq_ignore_ascii_case("false"))
}

/// Whether our finalizer is on the object.
pub fn has_finalizer(cluster: &Cluster) -> bool {
    cluster.metadata.finalizers.as_deref().unwrap_or_default().iter().any(|f| f == CLUSTER_FINALIZER)
}

#[cfg(test)]
mod tests {
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
        assert!(plan(&registered, None, &Verdicts::default(), NOW) == Plan::Rotate(Cause::Wish(4)));
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
        assert!(
            plan(&registered, Some(&rejected), &Verdicts::default(), NOW) == Plan::Rotate(Cause::Wish(4))
        );
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
        match plan(found, None, &Verdicts::default(), NOW) {
            Plan::Register(registration) => {
                RejectedToken::new(None, &registration, &found.cluster, "spent".into(), NOW, 1.0)
            }
            _ => unreachable!("there is an exchange to be made"),
        }
    }

    #[test]
    fn cluster_registers_once_more_after_a_lost_rotation() {
        let status = json!({"observedToken": fingerprint(&Secret::new("vwksp-reg-1")),
            "credentialsSecretRef": {"name": "s"}});
        let mut registered = found(endpoint_only(), status);
        registered.stored = stored(Some("u"));
        let mut refused = Verdicts::default();
        let mut planned = |lost: Option<LostRotation>, is_refused: bool| {
            let mut found = found(json!({}), json!({}));
            found.cluster = registered.cluster.clone();
            let with = |stored: Stored| {
                let held = lost.map_or(stored.held.clone(), |lost| stored.held.with_lost_rotation(lost));
                Stored { held, ..stored }
            };
            found.stored = registered.stored.clone().map(with);
            if let Some(stored) = found.stored.as_ref().filter(|_| is_refused) {
                refused.handle_refused(&stored.held.token, &stored.held);
            }
            plan(&found, None, &refused, NOW)
        };
        assert!(planned(Some(LostRotation::Asked), false) == Plan::Keep);
        assert!(matches!(planned(Some(LostRotation::Asked), true), Plan::RegisterAgain(_)));
        assert!(planned(None, true) == Plan::Keep, "a revoked cluster does not register by itself");
        assert!(planned(Some(LostRotation::RegisteredAgain), true) == Plan::Keep, "only once");
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
}
