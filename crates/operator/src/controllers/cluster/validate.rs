//! Step 2: decides what a Cluster needs. Pure.

use super::{
    dereference::{Found, Stored, Way},
    rejected_token::RejectedToken,
};
use jiff::Timestamp;
use std::sync::Arc;
use vworkspace_core::{
    agent::{
        credentials::Verdicts,
        identity_step::{IdentityStep, Known, Token, next_step},
        rotation::Cause,
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

/// The one Cluster in charge: the oldest, by name where that is not enough.
pub fn in_charge(clusters: &[Cluster]) -> Option<&Cluster> {
    clusters.iter().min_by_key(|cluster| {
        let created = cluster.metadata.creation_timestamp.as_ref().map(|time| time.0.as_second());
        (created, cluster.metadata.name.clone())
    })
}

/// Decides by reference contract, section 5.2, amended by contract, section 4. What follows for the identity is decided by
/// [`next_step`].
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
    let (token, exchange) = judge_token(found, stored, rejected, now);
    let used = found.token.as_ref().ok().and_then(Option::as_ref).filter(|_| token == Token::Used);
    let used = used.map(fingerprint);
    let status = found.cluster.status.as_ref();
    let is_recorded = status.is_some_and(|status| {
        status.credentials_secret_ref.is_some() && (used.is_none() || status.observed_token == used)
    });
    let is_asked = found.cluster.spec.rotate_credentials == Some(true);
    let wish = metadata.generation.filter(|_| is_asked);
    let held = stored.map(|stored| &stored.held);
    match next_step(&Known { held, verdicts, token, is_recorded, wish, now }) {
        IdentityStep::Wait | IdentityStep::Register => exchange.map_or_else(Plan::Blocked, Plan::Register),
        IdentityStep::RegisterAgain => exchange.map_or(Plan::Keep, Plan::RegisterAgain),
        IdentityStep::Adopt => Plan::Adopt { fingerprint: used },
        IdentityStep::Rotate(cause) => Plan::Rotate(cause),
        IdentityStep::TakeBackWish => Plan::TakeBackWish,
        IdentityStep::Keep => Plan::Keep,
    }
}

/// What the registration token is to the identity that is `stored`, and its exchange, or why there can be none now.
fn judge_token(
    found: &Found,
    stored: Option<&Stored>,
    rejected: Option<&RejectedToken>,
    now: Timestamp,
) -> (Token, Result<Registration, Blocked>) {
    let token = match &found.token {
        Ok(Some(token)) => token,
        Ok(None) => return (Token::None, Err(Blocked::NoToken)),
        Err(missing) => return (Token::None, Err(Blocked::TokenMissing(missing.clone()))),
    };
    let fingerprint = fingerprint(token);
    let observed = found.cluster.status.as_ref().and_then(|status| status.observed_token.as_ref());
    let is_used = observed.is_none_or(|observed| *observed == fingerprint) && !is_forced(&found.cluster);
    let is_known = stored.is_some() && is_used;
    match (registration(found, token.clone(), fingerprint), rejected) {
        (Ok(registration), Some(rejected)) if rejected.holds_back(&registration, &found.cluster, now) => {
            let (message, at) = (rejected.message(), rejected.retry_at);
            (if is_known { Token::Used } else { Token::None }, Err(Blocked::TokenRejected { message, at }))
        }
        (registration, _) => (if is_known { Token::Used } else { Token::New }, registration),
    }
}

fn registration(found: &Found, token: Secret, fingerprint: String) -> Result<Registration, Blocked> {
    let base_url = endpoint(found).ok_or(Blocked::NoEndpoint)?;
    let ca_pem = found.ca_pem.clone().map_err(Blocked::CaMissing)?;
    Ok(Registration { base_url, token, fingerprint, ca_pem })
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
mod tests;
