//! Step 1: reads what a Cluster refers to. Needs a client; decides nothing.

use super::Error;
use crate::{
    agent::credentials::{bytes, held, target, text},
    args::Args,
};
use k8s_openapi::api::core::v1::Secret as KubeSecret;
use kube::{Api, Client};
use vworkspace_core::agent::credentials::{Held, History};
use vworkspace_crds::{
    Cluster,
    cluster::SecretKeyRef,
    key::{REGISTRATION_TOKEN_KEY, SECRET_CA, SECRET_URL, is_name},
};
use vworkspace_http::check_ca;
use vworkspace_protocol::Secret;

/// A Cluster with everything it refers to.
pub struct Found {
    /// The object.
    pub cluster: Cluster,
    /// Whether it is the one in charge.
    pub is_in_charge: bool,
    /// The registration token, or why there is none where one was promised.
    pub token: Result<Option<Secret>, String>,
    /// The CA, or why there is none where one was promised.
    pub ca_pem: Result<Option<Vec<u8>>, String>,
    /// What the credentials Secret holds, if it is whole.
    pub stored: Option<Stored>,
    /// Base URL by flag, which wins over the object's.
    pub seed_url: String,
    /// Name of the credentials Secret.
    pub secret_name: String,
    /// Namespace of the credentials Secret.
    pub secret_namespace: String,
}

/// A whole credentials Secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Stored {
    /// Base URL.
    pub base_url: String,
    /// Cluster identity and bearer credentials.
    pub held: Held,
    /// PEM certificates.
    pub ca_pem: Option<Vec<u8>>,
    /// Uid of the Cluster that owns it.
    pub owner: Option<String>,
    /// Resource version of what was read: it is written over if it is that still. Absent: whatever is there.
    pub version: Option<String>,
}

impl Stored {
    /// Names the control plane, see [`target`].
    pub fn target(&self) -> String {
        target(&self.base_url, self.ca_pem.as_deref())
    }

    /// What is remembered beside the credentials, as it is to be written.
    pub fn history(&self) -> Option<History> {
        self.held.history(&self.target())
    }
}

/// One identity's way to its control plane: what a call with the credential is made of.
#[derive(Clone, PartialEq, Eq)]
pub struct Way {
    /// Base URL.
    pub base_url: String,
    /// Bearer credential.
    pub token: Secret,
    /// PEM certificates.
    pub ca_pem: Option<Vec<u8>>,
    /// Whether the control plane is known to echo the session.
    pub echoes: bool,
}

impl Way {
    /// The way that is stored, with the current credential.
    pub fn of(stored: &Stored) -> Self {
        Self::with(stored, &stored.held.token)
    }

    /// The way that is stored, with each credential that is held, in the order in which they are to be tried.
    pub fn all(stored: &Stored) -> Vec<Self> {
        stored.held.tokens().map(|token| Self::with(stored, token)).collect()
    }

    /// The way that is stored, with this credential.
    pub fn with(stored: &Stored, token: &Secret) -> Self {
        Self {
            base_url: stored.base_url.clone(),
            token: token.clone(),
            ca_pem: stored.ca_pem.clone(),
            echoes: stored.held.echoes(),
        }
    }
}

/// Reads the Secrets of the operator's own namespace that the Cluster is about.
pub(super) async fn dereference(
    client: &Client,
    args: &Args,
    cluster: Cluster,
    is_in_charge: bool,
) -> Result<Found, Error> {
    let secrets = Api::<KubeSecret>::namespaced(client.clone(), &args.agent_credentials_namespace);
    let token = match &cluster.spec.registration_token_secret_ref {
        Some(reference) => key_of(&secrets, reference, REGISTRATION_TOKEN_KEY)
            .await?
            .and_then(|bytes| String::from_utf8(bytes).map_err(|_| format!("{} is not text", reference.name)))
            .map(|token| Some(Secret::new(&token))),
        None => {
            Ok(cluster.spec.registration_token.as_deref().map(Secret::new).filter(|token| !token.is_empty()))
        }
    };
    let ca_pem = match &cluster.spec.control_plane_ca_secret_ref {
        Some(reference) => {
            key_of(&secrets, reference, SECRET_CA).await?.and_then(|pem| match check_ca(&pem) {
                Ok(()) => Ok(Some(pem)),
                Err(error) => {
                    let key = reference.key.as_deref().unwrap_or(SECRET_CA);
                    Err(format!("{error} in key {key} of Secret {}", reference.name))
                }
            })
        }
        None => Ok(None),
    };
    let stored = credential(client, args).await?;
    let seed_url = args.control_plane_base_url.trim().to_owned();
    Ok(Found {
        cluster,
        is_in_charge,
        token,
        ca_pem,
        stored,
        seed_url,
        secret_name: args.agent_credentials_secret.clone(),
        secret_namespace: args.agent_credentials_namespace.clone(),
    })
}

/// Reads the credentials Secret.
pub(super) async fn credential(client: &Client, args: &Args) -> Result<Option<Stored>, Error> {
    let secrets = Api::<KubeSecret>::namespaced(client.clone(), &args.agent_credentials_namespace);
    let secret = secrets.get_opt(&args.agent_credentials_secret).await;
    let secret = secret.map_err(Error::api("reading the credentials Secret"))?;
    Ok(secret.and_then(|secret| stored(&secret)))
}

async fn key_of(
    secrets: &Api<KubeSecret>,
    reference: &SecretKeyRef,
    default_key: &str,
) -> Result<Result<Vec<u8>, String>, Error> {
    if !is_name(&reference.name) {
        return Ok(Err(format!("{:?} is no name of a Secret", reference.name)));
    }
    let key = reference.key.as_deref().unwrap_or(default_key);
    let secret = secrets.get_opt(&reference.name).await.map_err(Error::api("reading a Secret"))?;
    let Some(secret) = secret else {
        return Ok(Err(format!("Secret {} does not exist", reference.name)));
    };
    let found = bytes(&secret, key).filter(|bytes| !bytes.trim_ascii().is_empty());
    Ok(found.ok_or_else(|| format!("Secret {} has no key {key}, or it is empty", reference.name)))
}

fn stored(secret: &KubeSecret) -> Option<Stored> {
    let owners = secret.metadata.owner_references.as_deref().unwrap_or_default();
    Some(Stored {
        base_url: text(secret, SECRET_URL).filter(|text| !text.is_empty())?,
        held: held(secret)?,
        ca_pem: bytes(secret, SECRET_CA).filter(|pem| !pem.is_empty()),
        owner: owners.iter().find(|owner| owner.kind == "Cluster").map(|owner| owner.uid.clone()),
        version: secret.metadata.resource_version.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;
    use kube::client::Body;
    use serde_json::json;
    use tower::BoxError;

    /// Also of one that is to go: whatever it says must not hold it for ever.
    #[tokio::test]
    async fn a_secret_under_a_name_that_is_none_is_missing_and_holds_nothing_up() {
        let absent = tower::service_fn(async |_| {
            let answer = http::Response::builder().status(404);
            let status = json!({"kind": "Status", "code": 404, "reason": "NotFound"}).to_string();
            Ok::<_, BoxError>(answer.body(Body::from(status.into_bytes()))?)
        });
        let args = Args::try_parse_from(["vworkspace-operator"]).unwrap();
        let cluster = json!({
            "apiVersion": "ops.vworkspace.io/v1alpha1", "kind": "Cluster", "metadata": {"name": "c"},
            "spec": {
                "registrationTokenSecretRef": {"name": "my token"},
                "controlPlaneCASecretRef": {"name": "a/b"},
            },
        });
        let cluster = serde_json::from_value(cluster).unwrap();
        let found = dereference(&Client::new(absent, "n"), &args, cluster, true).await.unwrap();
        assert!(found.token.is_err_and(|missing| missing.contains("\"my token\" is no name")));
        assert!(found.ca_pem.is_err_and(|missing| missing.contains("\"a/b\" is no name")));
    }
}
