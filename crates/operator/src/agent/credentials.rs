//! Where URL, cluster id, token and CA come from: flags and environment over the Secret (seed, "Operator
//! configuration"), each field by itself. A Cluster object writes the Secret; it is not read here.

use crate::{args::Args, marks::marks, steady_watch::steady};
use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::Secret as KubeSecret;
use kube::{Api, Client, runtime::watcher};
use std::pin::pin;
use tokio::sync::watch;
use vworkspace_core::{
    agent::{
        credentials::{Held, Verdicts},
        rotation::{Fulfilled, Life},
    },
    canonical::sha256_hex,
};
use vworkspace_crds::key::{
    SECRET_CA, SECRET_CLUSTER_ID, SECRET_EXPIRES_AT, SECRET_HISTORY, SECRET_ISSUED_AT, SECRET_NEXT,
    SECRET_ROTATED, SECRET_ROTATED_JOB, SECRET_ROTATION, SECRET_TOKEN, SECRET_URL,
};
use vworkspace_protocol::{ClusterId, JobId, Secret};

/// What this cluster may speak with.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// Base URL of the control plane.
    pub base_url: String,
    /// The identity, and the credentials for it.
    pub held: Held,
    /// PEM certificates that sign the control plane's; absent: those of the operating system.
    pub ca_pem: Option<Vec<u8>>,
    /// Digest of the Secret's labels and annotations: who changes them asks for another try.
    pub marks: String,
}

impl Identity {
    /// Names the control plane, see [`target`].
    pub fn target(&self) -> String {
        target(&self.base_url, self.ca_pem.as_deref())
    }

    /// Whether it is the same cluster at the same control plane as before, with whatever credential.
    pub fn continues(&self, earlier: &Self) -> bool {
        self.target() == earlier.target() && self.held.cluster == earlier.held.cluster
    }

    /// Whether more has changed than what the operator notes down about the credentials it holds.
    fn is_news(&self, earlier: &Self) -> bool {
        !self.continues(earlier) || self.marks != earlier.marks || self.held.is_news(&earlier.held)
    }

    /// What it speaks with, now that these answers were given.
    pub fn presented(&self, verdicts: &Verdicts) -> Credentials {
        Credentials {
            base_url: self.base_url.clone(),
            cluster_id: self.held.cluster.clone(),
            token: self.held.presented(verdicts).clone(),
            ca_pem: self.ca_pem.clone(),
        }
    }
}

/// Whether what was refused is worth another try, now that the Secret was written: somebody else has changed it, or there
/// is a credential that was not held before.
pub fn is_news(written: Option<&Identity>, known: Option<&Identity>) -> bool {
    match (written, known) {
        (Some(written), Some(known)) => written.is_news(known),
        (written, known) => written.is_some() != known.is_some(),
    }
}

/// Everything needed to speak for this cluster.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Base URL of the control plane.
    pub base_url: String,
    /// The identity.
    pub cluster_id: ClusterId,
    /// The bearer credential.
    pub token: Secret,
    /// PEM certificates that sign the control plane's; absent: those of the operating system.
    pub ca_pem: Option<Vec<u8>>,
}

impl Credentials {
    /// Names the control plane, see [`target`].
    pub fn target(&self) -> String {
        target(&self.base_url, self.ca_pem.as_deref())
    }
}

/// What flags and environment say; empty means: the Secret decides.
#[derive(Clone)]
pub struct Seed {
    base_url: String,
    cluster_id: String,
    token: Option<Secret>,
}

impl Seed {
    /// The seed in the arguments.
    pub fn of(args: &Args) -> Self {
        Self {
            base_url: args.control_plane_base_url.trim().to_owned(),
            cluster_id: args.cluster_id.trim().to_owned(),
            token: args.given_token().cloned(),
        }
    }

    /// Seed over Secret, per field; absent while a field is missing in both. A next credential follows that of the
    /// Secret: a seed's has none.
    pub fn merge(&self, secret: Option<&KubeSecret>) -> Option<Identity> {
        let stored = |key: &str| secret.and_then(|secret| text(secret, key)).unwrap_or_default();
        let either = |seed: &str, key: &str| {
            if seed.is_empty() { stored(key) } else { seed.to_owned() }
        };
        let token = self.token.clone().unwrap_or_else(|| Secret::new(&stored(SECRET_TOKEN)));
        let (base_url, cluster_id) =
            (either(&self.base_url, SECRET_URL), either(&self.cluster_id, SECRET_CLUSTER_ID));
        if base_url.is_empty() || cluster_id.is_empty() || token.is_empty() {
            return None;
        }
        let ca_pem = secret.and_then(|secret| bytes(secret, SECRET_CA)).filter(|pem| !pem.is_empty());
        let held =
            secret.and_then(held).filter(|held| held.token == token && held.cluster.as_str() == cluster_id);
        let held = held.unwrap_or_else(|| Held::new(ClusterId::new(cluster_id), token, None));
        let held = if base_url == stored(SECRET_URL) { held } else { held.moved() };
        let marks = secret.map(|secret| marks(&secret.metadata)).unwrap_or_default();
        Some(Identity { base_url, held, ca_pem, marks })
    }
}

/// Names a control plane by its URL and the certificates that sign its own.
pub fn target(base_url: &str, ca_pem: Option<&[u8]>) -> String {
    format!("{base_url} {}", ca_pem.map(sha256_hex).unwrap_or_default())
}

/// The credentials that a Secret holds, and whose they are; absent while one of the two is missing.
pub fn held(secret: &KubeSecret) -> Option<Held> {
    let whole = |key| text(secret, key).filter(|text| !text.is_empty());
    let (cluster, token) = (ClusterId::new(whole(SECRET_CLUSTER_ID)?), Secret::new(&whole(SECRET_TOKEN)?));
    let mut current = Held::new(cluster, token, life(secret));
    current.rotation = whole(SECRET_ROTATION);
    current.fulfilled = Fulfilled {
        wish: whole(SECRET_ROTATED).and_then(|text| text.parse().ok()),
        job: whole(SECRET_ROTATED_JOB).map(JobId::new),
    };
    // One that cannot be read is none: the current one works as long as no other was used.
    let next = bytes(secret, SECRET_NEXT).and_then(|json| serde_json::from_slice(&json).ok());
    let history = bytes(secret, SECRET_HISTORY).and_then(|json| serde_json::from_slice(&json).ok());
    let ca_pem = bytes(secret, SECRET_CA).filter(|pem| !pem.is_empty());
    let target = target(&text(secret, SECRET_URL).unwrap_or_default(), ca_pem.as_deref());
    Some(current.beside(next).after(history, &target))
}

fn life(secret: &KubeSecret) -> Option<Life> {
    let time = |key| text(secret, key)?.parse().ok();
    Some(Life { issued_at: time(SECRET_ISSUED_AT)?, expires_at: time(SECRET_EXPIRES_AT)? })
}

/// A key of a Secret as trimmed text.
pub fn text(secret: &KubeSecret, key: &str) -> Option<String> {
    Some(String::from_utf8(bytes(secret, key)?).ok()?.trim().to_owned())
}

/// A key of a Secret as it is.
pub fn bytes(secret: &KubeSecret, key: &str) -> Option<Vec<u8>> {
    Some(secret.data.as_ref()?.get(key)?.0.clone())
}

/// Keeps `sender` at what seed and Secret say, until dropped.
pub async fn watch_secret(
    client: Client,
    namespace: &str,
    name: &str,
    seed: &Seed,
    sender: &watch::Sender<Option<Identity>>,
) {
    let api = Api::<KubeSecret>::namespaced(client, namespace);
    let mut changes = pin!(steady("the credentials Secret", watcher::watch_object(api, name)));
    loop {
        match changes.try_next().await {
            Ok(Some(secret)) => publish(sender, seed.merge(secret.as_ref())),
            Ok(None) => return,
            // Logged where it is retried.
            Err(_) => {}
        }
    }
}

/// Reads the Secret once more, past the watch: for a credential that was just rejected.
///
/// # Errors
/// The API server's.
pub async fn read_secret(
    client: Client,
    namespace: &str,
    name: &str,
    seed: &Seed,
    sender: &watch::Sender<Option<Identity>>,
) -> Result<(), kube::Error> {
    let secret = Api::<KubeSecret>::namespaced(client, namespace).get_opt(name).await?;
    publish(sender, seed.merge(secret.as_ref()));
    Ok(())
}

fn publish(sender: &watch::Sender<Option<Identity>>, identity: Option<Identity>) {
    sender.send_if_modified(|current| {
        let changed = *current != identity;
        *current = identity;
        changed
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;
    use k8s_openapi::ByteString;
    use vworkspace_core::agent::{credentials::Fetched, rotation::Cause};

    fn secret(entries: &[(&str, &str)]) -> KubeSecret {
        let data =
            entries.iter().map(|(k, v)| ((*k).to_owned(), ByteString(v.as_bytes().to_vec()))).collect();
        KubeSecret { data: Some(data), ..KubeSecret::default() }
    }

    fn seed(args: &[&str]) -> Seed {
        Seed::of(&Args::try_parse_from([&["x"], args].concat()).unwrap())
    }

    #[test]
    fn a_flag_wins_over_the_secret_field_by_field() {
        let secret =
            secret(&[(SECRET_URL, "https://stored\n"), (SECRET_CLUSTER_ID, "stored"), (SECRET_TOKEN, "t\n")]);
        let merged = seed(&["--control-plane-base-url=https://flag"]).merge(Some(&secret)).unwrap();
        assert_eq!((merged.base_url.as_str(), merged.held.cluster.as_str()), ("https://flag", "stored"));
        assert_eq!(merged.held.token.expose(), "t");
    }

    #[test]
    fn a_next_credential_is_used_with_the_one_it_follows_and_not_with_one_from_a_flag_or_another_hand() {
        let stored = Held::new(ClusterId::new("c"), Secret::new("t"), None);
        let fetched = Fetched { token: Secret::new("next"), life: None, rotation: "r".to_owned() };
        let next = serde_json::to_string(stored.fetched(fetched, &Cause::Age).next().unwrap()).unwrap();
        let presented = |flags: &[&str], token: &str, next: &str| {
            let entries = [
                (SECRET_URL, "https://x"),
                (SECRET_CLUSTER_ID, "c"),
                (SECRET_TOKEN, token),
                (SECRET_NEXT, next),
            ];
            let identity = seed(flags).merge(Some(&secret(&entries))).unwrap();
            identity.presented(&Verdicts::default()).token.expose().to_owned()
        };
        assert_eq!(presented(&[], "t", &next), "next");
        assert_eq!(presented(&["--control-plane-base-url=https://y"], "t", &next), "next");
        assert_eq!(presented(&[], "by hand", &next), "by hand");
        assert_eq!(presented(&["--agent-token=flag"], "t", &next), "flag");
        assert_eq!(presented(&["--cluster-id=other"], "t", &next), "t");
        assert_eq!(presented(&[], "t", "{"), "t");
    }

    #[test]
    fn all_three_are_needed_from_wherever() {
        assert!(seed(&[]).merge(None).is_none());
        assert!(seed(&["--cluster-id=c", "--agent-token=t"]).merge(None).is_none());
        let flags = ["--cluster-id=c", "--agent-token=t", "--control-plane-base-url=https://x"];
        assert!(seed(&flags).merge(None).is_some());
    }
}
