//! The Secret of a private chart source: which of Flux's members refer to it, and what it lacks. Flux alone uses what is
//! in it; here only its type and the names of its keys are looked at.
//!
//! Flux takes credentials by `secretRef` and certificates by `certSecretRef`, and refuses a reference to a Secret without
//! them. For a chart repository it sends `username` and `password` only; for a registry it reads a docker config only.

use super::{
    error::{Error, is_absent, is_denied},
    values_content,
};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use serde::{Deserialize, de::IgnoredAny};
use std::collections::BTreeMap;
use vworkspace_crds::{
    application_instance::{Chart, SourceType},
    key::is_name,
};

/// Type of a Secret with a docker config.
const DOCKER_CONFIG: &str = "kubernetes.io/dockerconfigjson";

/// What Flux is told of the Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceAccess {
    /// Its name, if it holds credentials.
    pub credentials: Option<String>,
    /// Its name, if it holds certificates.
    pub certificates: Option<String>,
    /// What it lacks, for people; `None` if nothing.
    pub lacks: Option<String>,
}

/// The members of a Secret that are looked at.
#[derive(Debug, Default, Deserialize)]
struct Shape {
    #[serde(rename = "type", default)]
    type_: String,
    /// `null` where there is none.
    data: Option<BTreeMap<String, IgnoredAny>>,
}

/// Looks at the Secret that the chart names.
///
/// # Errors
/// What passes by itself.
pub(super) async fn access(client: &Client, namespace: &str, chart: &Chart) -> Result<SourceAccess, Error> {
    let Some(name) = chart.secret_ref.as_ref().map(|secret| &secret.name).filter(|name| is_name(name)) else {
        return Ok(SourceAccess::default());
    };
    let what = || format!("Secret {name}");
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let found = match values_content::text(client, &api, name).await {
        // The parser's own message may quote the content.
        Ok(text) => serde_json::from_str(&text).map_err(|_| Error::UnreadableValues { what: what() })?,
        Err(error) if is_absent(&error) => {
            return Ok(unread(name, Some(format!("Secret {name} of chart.secretRef does not exist"))));
        }
        Err(error) if is_denied(&error) => return Ok(unread(name, None)),
        Err(source) => return Err(Error::Call { action: "read", what: what(), source }),
    };
    Ok(judge(chart.source_type, name, &found))
}

/// Flux is not sent on without credentials.
fn unread(name: &str, lacks: Option<String>) -> SourceAccess {
    SourceAccess { credentials: Some(name.to_owned()), certificates: None, lacks }
}

fn judge(source_type: SourceType, name: &str, secret: &Shape) -> SourceAccess {
    let has = |key: &str| secret.data.as_ref().is_some_and(|data| data.contains_key(key));
    let (has_user, has_password) = (has("username"), has("password"));
    let (has_certificate, has_key) = (has("tls.crt"), has("tls.key"));
    let has_token = ["token", "bearerToken"].into_iter().any(has);
    let has_docker_config = secret.type_ == DOCKER_CONFIG;
    let has_credentials = match source_type {
        SourceType::Helm => has_user && has_password,
        SourceType::Oci => has_docker_config,
    };
    let is_cut = has_certificate != has_key;
    let has_certificates = !is_cut && (has_certificate || has("ca.crt"));
    let lacks = if is_cut {
        Some("has only one of tls.crt and tls.key; a client certificate needs both".to_owned())
    } else if has_credentials {
        None
    } else {
        match source_type {
            SourceType::Helm if has_user || has_password => {
                Some("has only one of username and password; a chart repository needs both".to_owned())
            }
            SourceType::Helm if has_token => Some(
                "holds a token; a chart repository gets it as password, so put it under password, with any username"
                    .to_owned(),
            ),
            SourceType::Oci if has_user || has_password || has_token => Some(format!(
                "is not of type {DOCKER_CONFIG}, which a registry needs; `kubectl create secret docker-registry` makes one"
            )),
            _ if has_certificates => None,
            SourceType::Helm => Some("holds neither username and password nor ca.crt nor tls.crt and tls.key".to_owned()),
            SourceType::Oci => {
                Some(format!("is not of type {DOCKER_CONFIG} and holds neither ca.crt nor tls.crt and tls.key"))
            }
        }
    };
    let named = |is: bool| is.then(|| name.to_owned());
    SourceAccess {
        credentials: named(has_credentials),
        certificates: named(has_certificates),
        lacks: lacks.map(|lacks| format!("Secret {name} of chart.secretRef {lacks}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(source_type: SourceType, type_: &str, keys: &[&str]) -> (bool, bool, String) {
        let data = keys.iter().map(|key| ((*key).to_owned(), IgnoredAny)).collect();
        let shape = Shape { type_: type_.to_owned(), data: Some(data) };
        let SourceAccess { credentials, certificates, lacks } = judge(source_type, "s", &shape);
        (credentials.is_some(), certificates.is_some(), lacks.unwrap_or_default())
    }

    #[test]
    fn each_member_of_flux_refers_to_a_secret_that_has_what_it_reads() {
        let none = String::new;
        let helm = |keys: &[&str]| judged(SourceType::Helm, "Opaque", keys);
        let oci = |keys: &[&str]| judged(SourceType::Oci, DOCKER_CONFIG, keys);
        assert_eq!(helm(&["username", "password"]), (true, false, none()));
        assert_eq!(helm(&["username", "password", "ca.crt"]), (true, true, none()));
        assert_eq!(helm(&["ca.crt"]), (false, true, none()));
        assert_eq!(helm(&["tls.crt", "tls.key"]), (false, true, none()));
        assert_eq!(oci(&[".dockerconfigjson"]), (true, false, none()));
        assert_eq!(oci(&[".dockerconfigjson", "ca.crt"]), (true, true, none()));
        assert_eq!(
            judged(SourceType::Oci, "kubernetes.io/tls", &["tls.crt", "tls.key"]),
            (false, true, none())
        );
    }

    #[test]
    fn what_flux_would_not_use_is_named_with_the_way_out() {
        for (source_type, type_, keys, words) in [
            (SourceType::Helm, "Opaque", &["username"][..], "only one of username and password"),
            (SourceType::Helm, "Opaque", &["token", "ca.crt"], "under password"),
            (SourceType::Helm, "Opaque", &[], "holds neither"),
            (
                SourceType::Helm,
                "Opaque",
                &["username", "password", "tls.crt"],
                "only one of tls.crt and tls.key",
            ),
            (SourceType::Helm, DOCKER_CONFIG, &[".dockerconfigjson"], "holds neither"),
            (SourceType::Oci, "Opaque", &["username", "password"], "docker-registry"),
            (SourceType::Oci, "Opaque", &["bearerToken"], "docker-registry"),
            (SourceType::Oci, "Opaque", &["x"], "holds neither"),
        ] {
            let (_, _, lacks) = judged(source_type, type_, keys);
            assert!(lacks.contains(words) && lacks.starts_with("Secret s of chart.secretRef"), "{lacks}");
        }
    }

    #[test]
    fn secret_is_read_whatever_its_values_are() {
        let shape: Shape =
            serde_json::from_str(r#"{"type": "Opaque", "data": {"a": 7, "b": "eA=="}}"#).unwrap();
        assert_eq!(shape.data.unwrap().len(), 2);
        assert!(serde_json::from_str::<Shape>(r#"{"data": null}"#).unwrap().data.is_none());
    }
}
