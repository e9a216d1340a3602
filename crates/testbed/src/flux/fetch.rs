//! Reading chart repositories and OCI registries over HTTP. Errors are sentences for an object's status.

use std::collections::BTreeMap;
use std::error::Error as _;

use anyhow::Context as _;
use reqwest::header::ACCEPT;
use reqwest::{StatusCode, Url};
use serde::Deserialize;

use super::access::Access;
use super::store::sha256;

/// The largest body that is read; a larger one is an error.
const BODY_LIMIT: usize = 32 << 20;
/// Time for one request.
const REQUEST_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(20);
/// The kinds of manifest that a chart may come in.
const MANIFESTS: &str =
    "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";
/// The layer that is a Helm chart.
const CHART_LAYER: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";

/// Clients for repositories and registries; this one trusts the system's authorities.
pub(super) struct Http(reqwest::Client);

/// A chart as an OCI registry holds it.
pub(super) struct OciChart {
    /// The manifest's digest.
    pub(super) digest: String,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) bytes: Vec<u8>,
}

/// Where a manifest is: scheme and host, path of the repository, tag or digest.
pub(super) struct OciAddress<'a> {
    pub(super) base: &'a str,
    pub(super) repository: &'a str,
    pub(super) reference: &'a str,
    pub(super) access: &'a Access,
}

#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layer {
    media_type: String,
    digest: String,
}

#[derive(Deserialize)]
struct Tags {
    tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct RegistryErrors {
    errors: Vec<RegistryError>,
}

#[derive(Deserialize)]
struct RegistryError {
    code: String,
    #[serde(default)]
    message: String,
}

impl Http {
    pub(super) fn new() -> anyhow::Result<Self> {
        let builder = || reqwest::Client::builder().timeout(REQUEST_TIMEOUT);
        // Without a certificate store on the machine only plain HTTP can be spoken, which is what the testbed serves.
        builder()
            .build()
            .or_else(|_| builder().tls_certs_only([]).build())
            .map(Self)
            .context("make an HTTP client")
    }

    /// The body at this address.
    pub(super) async fn get(&self, url: Url, access: &Access) -> Result<Vec<u8>, String> {
        let (status, body) = self.request(url.clone(), "*/*", access).await?;
        if status == StatusCode::OK { Ok(body) } else { Err(format!("failed to fetch {url} : {status}")) }
    }

    /// The manifest at this address and its chart layer.
    pub(super) async fn oci_chart(
        &self,
        at: &OciAddress<'_>,
        layer_type: Option<&str>,
    ) -> Result<OciChart, String> {
        let manifest = self.registry(at, &format!("manifests/{}", at.reference)).await;
        let manifest = manifest.map_err(|error| format!("failed to determine artifact digest: {error}"))?;
        let digest = sha256(&manifest);
        let manifest: Manifest = serde_json::from_slice(&manifest)
            .map_err(|error| format!("failed to read the manifest: {error}"))?;
        let wanted = layer_type.unwrap_or(CHART_LAYER);
        let layer = manifest.layers.iter().find(|layer| layer.media_type == wanted);
        let layer =
            layer.ok_or_else(|| format!("failed to find layer with media type '{wanted}' in artifact"))?;
        let bytes = self.registry(at, &format!("blobs/{}", layer.digest)).await?;
        if sha256(&bytes) != layer.digest {
            return Err(format!("the layer does not have the digest {}", layer.digest));
        }
        Ok(OciChart { digest, annotations: manifest.annotations, bytes })
    }

    /// The tags of the repository; one page of them.
    pub(super) async fn oci_tags(&self, at: &OciAddress<'_>) -> Result<Vec<String>, String> {
        let tags = self.registry(at, "tags/list").await?;
        let tags: Tags =
            serde_json::from_slice(&tags).map_err(|error| format!("failed to read the tags: {error}"))?;
        Ok(tags.tags.unwrap_or_default())
    }

    async fn registry(&self, at: &OciAddress<'_>, what: &str) -> Result<Vec<u8>, String> {
        let url = format!("{}/v2/{}/{what}", at.base, at.repository);
        let parsed = Url::parse(&url).map_err(|error| format!("{url}: {error}"))?;
        let (status, body) = self.request(parsed, MANIFESTS, at.access).await?;
        if status == StatusCode::OK {
            return Ok(body);
        }
        let answer = serde_json::from_slice::<RegistryErrors>(&body)
            .ok()
            .and_then(|answer| answer.errors.into_iter().next());
        Err(match answer {
            Some(RegistryError { code, message }) => format!("GET {url}: {code}: {message}"),
            None => format!("GET {url}: {status}"),
        })
    }

    /// The client for a source with certificates of its own.
    fn client(&self, access: &Access) -> Result<reqwest::Client, reqwest::Error> {
        if access.ca.is_none() && access.identity.is_none() {
            return Ok(self.0.clone());
        }
        let mut builder = reqwest::Client::builder().timeout(REQUEST_TIMEOUT);
        if let Some(ca) = &access.ca {
            builder = builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(ca)?);
        }
        if let Some(identity) = &access.identity {
            builder = builder.identity(reqwest::Identity::from_pem(identity)?);
        }
        builder.build()
    }

    async fn request(
        &self,
        url: Url,
        accept: &str,
        access: &Access,
    ) -> Result<(StatusCode, Vec<u8>), String> {
        let client = self.client(access).map_err(|error| whole_story(&error))?;
        let mut request = client.get(url).header(ACCEPT, accept);
        if let Some((user, password)) = &access.basic {
            request = request.basic_auth(user, Some(password));
        }
        let mut answer = request.send().await.map_err(|error| whole_story(&error))?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| whole_story(&error))? {
            if body.len() + chunk.len() > BODY_LIMIT {
                return Err(format!("{} is larger than {BODY_LIMIT} bytes", answer.url()));
            }
            body.extend_from_slice(&chunk);
        }
        Ok((answer.status(), body))
    }
}

/// The error with its causes: the first alone does not say "connection refused".
fn whole_story(error: &reqwest::Error) -> String {
    let mut story = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        story = format!("{story}: {next}");
        cause = next.source();
    }
    story
}
