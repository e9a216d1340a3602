//! What a private source asks for, out of the Secrets that its object names, by Flux's rules: user and password for a chart
//! repository, a docker config for a registry, certificates for both.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::api::core::v1::Secret;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

use super::Flux;
use super::status::SourceFailure;

/// A reference to a Secret of the same namespace.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct SecretRef {
    pub(super) name: String,
}

/// What a request carries.
#[derive(Clone, Default)]
pub(super) struct Access {
    /// User and password.
    pub(super) basic: Option<(String, String)>,
    /// PEM of the authorities to trust besides the system's.
    pub(super) ca: Option<Vec<u8>>,
    /// PEM of a client certificate and its key.
    pub(super) identity: Option<Vec<u8>>,
}

/// The Secrets that a source names.
pub(super) struct Named<'a> {
    pub(super) namespace: &'a str,
    pub(super) credentials: Option<&'a SecretRef>,
    pub(super) certificates: Option<&'a SecretRef>,
    /// `host:port` of a registry; `None` for a chart repository.
    pub(super) registry: Option<&'a str>,
}

impl Named<'_> {
    /// Reads them.
    pub(super) async fn read(&self, flux: &Flux) -> anyhow::Result<Result<Access, SourceFailure>> {
        let mut access = Access::default();
        if let Some(reference) = self.certificates {
            let Some(data) = self.secret(flux, reference).await? else {
                return Ok(Err(self.missing("TLS authentication", reference)));
            };
            let part = |key: &str| data.1.get(key).cloned();
            access.ca = part("ca.crt");
            access.identity = part("tls.crt").zip(part("tls.key")).map(|(crt, key)| [crt, key].concat());
            if access.ca.is_none() && access.identity.is_none() {
                let name = &reference.name;
                return Ok(Err(failed(format!("secret '{}/{name}': holds no certificates", self.namespace))));
            }
        }
        if let Some(reference) = self.credentials {
            let Some((type_, data)) = self.secret(flux, reference).await? else {
                return Ok(Err(self.missing("authentication", reference)));
            };
            let text = |key: &str| data.get(key).and_then(|bytes| String::from_utf8(bytes.clone()).ok());
            access.basic = match self.registry {
                None => text("username").zip(text("password")),
                Some(registry) if type_ == "kubernetes.io/dockerconfigjson" => {
                    text(".dockerconfigjson").and_then(|config| of_docker_config(&config, registry))
                }
                Some(_) => None,
            };
        }
        Ok(Ok(access))
    }

    async fn secret(
        &self,
        flux: &Flux,
        reference: &SecretRef,
    ) -> anyhow::Result<Option<(String, BTreeMap<String, Vec<u8>>)>> {
        let found = flux.api::<Secret>(self.namespace).get_opt(&reference.name).await?;
        Ok(found.map(|secret| {
            let data = secret.data.unwrap_or_default().into_iter().map(|(key, bytes)| (key, bytes.0));
            (secret.type_.unwrap_or_default(), data.collect())
        }))
    }

    fn missing(&self, what: &str, SecretRef { name }: &SecretRef) -> SourceFailure {
        let namespace = self.namespace;
        failed(format!("failed to get {what} secret '{namespace}/{name}': secrets \"{name}\" not found"))
    }
}

fn of_docker_config(config: &str, registry: &str) -> Option<(String, String)> {
    let config: Value = serde_json::from_str(config).ok()?;
    let entry = &config["auths"][registry];
    let text = |member: &str| entry[member].as_str().map(str::to_owned);
    let encoded = || {
        let decoded = String::from_utf8(STANDARD.decode(entry["auth"].as_str()?).ok()?).ok()?;
        decoded.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
    };
    text("username").zip(text("password")).or_else(encoded)
}

const fn failed(message: String) -> SourceFailure {
    SourceFailure { reason: "AuthenticationFailed", message, terminal: false }
}
