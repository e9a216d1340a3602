//! What a cluster's admin applies to join the cluster to the control plane. Pure.

use crate::{Error, output::Format};
use serde_json::{Value, json};
use vworkspace_protocol::Secret;

/// Name of the Cluster object.
const CLUSTER: &str = "control-plane";
/// Name of the Secret with the registration token.
const TOKEN_SECRET: &str = "vworkspace-registration";
/// Its key.
const TOKEN_KEY: &str = "registrationToken";
/// Name of the Secret with the control plane's CA.
const CA_SECRET: &str = "vworkspace-control-plane-ca";
/// Its key.
const CA_KEY: &str = "ca.crt";

/// What the cluster has to know.
pub(super) struct Join<'a> {
    /// URL of the control plane as seen from the cluster.
    pub endpoint: &'a str,
    /// The operator's namespace.
    pub namespace: &'a str,
    /// The certificates to trust, PEM; absent: those of the operator's system.
    pub ca: Option<&'a str>,
    /// The single-use token.
    pub token: &'a Secret,
}

impl Join<'_> {
    /// One YAML document for each object.
    pub fn yaml(&self) -> Result<String, Error> {
        self.objects().iter().map(|object| Format::Yaml.render_one_of(object, |_| String::new())).collect()
    }

    /// The same as one Kubernetes list.
    pub fn list(&self) -> Value {
        json!({ "apiVersion": "v1", "kind": "List", "items": self.objects() })
    }

    /// The Secrets first: the operator looks for them once it sees the Cluster.
    fn objects(&self) -> Vec<Value> {
        let mut objects = vec![self.secret(TOKEN_SECRET, TOKEN_KEY, self.token.expose())];
        objects.extend(self.ca.map(|ca| self.secret(CA_SECRET, CA_KEY, ca)));
        objects.push(self.cluster());
        objects
    }

    fn secret(&self, name: &str, key: &str, content: &str) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": { "name": name, "namespace": self.namespace },
            "stringData": { key: content },
        })
    }

    fn cluster(&self) -> Value {
        let mut spec = json!({
            "controlPlaneEndpoint": self.endpoint,
            "registrationTokenSecretRef": { "name": TOKEN_SECRET },
        });
        if self.ca.is_some() {
            spec["controlPlaneCASecretRef"] = json!({ "name": CA_SECRET });
        }
        json!({
            "apiVersion": "ops.vworkspace.io/v1alpha1",
            "kind": "Cluster",
            "metadata": { "name": CLUSTER },
            "spec": spec,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vworkspace_crds::{Cluster, key};

    fn documents(ca: Option<&str>) -> Vec<Value> {
        let token = Secret::new("vwksp-reg-0f");
        let join =
            Join { endpoint: "https://c.example", namespace: key::DEFAULT_NAMESPACE, ca, token: &token };
        let text = join.yaml().unwrap();
        let documents = text.strip_prefix("---\n").unwrap().split_inclusive("\n---\n");
        let contents = documents.map(|document| document.strip_suffix("---\n").unwrap_or(document));
        contents.map(|content| serde_saphyr::from_str(content).unwrap()).collect()
    }

    #[test]
    fn the_objects_are_those_the_operator_looks_for() {
        let ca = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let [token, authority, cluster] = documents(Some(ca)).try_into().unwrap();
        assert_eq!(token["stringData"][key::REGISTRATION_TOKEN_KEY], "vwksp-reg-0f");
        assert_eq!(authority["stringData"][key::SECRET_CA], ca);
        let cluster: Cluster = serde_json::from_value(cluster).unwrap();
        let spec = cluster.spec;
        assert_eq!(spec.control_plane_endpoint.unwrap(), "https://c.example");
        assert_eq!(spec.registration_token_secret_ref.unwrap().name, token["metadata"]["name"]);
        assert_eq!(spec.control_plane_ca_secret_ref.unwrap().name, authority["metadata"]["name"]);
    }

    #[test]
    fn without_a_ca_of_its_own_there_is_nothing_to_name() {
        let [_, cluster] = documents(None).try_into().unwrap();
        let cluster: Cluster = serde_json::from_value(cluster).unwrap();
        assert!(cluster.spec.control_plane_ca_secret_ref.is_none());
    }
}
