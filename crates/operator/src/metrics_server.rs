//! `/metrics`: plain HTTP, or HTTPS for callers whom the API server allows to get the path.
//!
//! The secure form asks the API server who the caller is (TokenReview) and whether it may `get` `/metrics`
//! (SubjectAccessReview); the operator's ServiceAccount needs the cluster role `system:auth-delegator` for that.

use crate::{
    args::Args,
    cause::cause,
    metrics::Metrics,
    probes::{self, AddressError},
};
use axum::{
    Router,
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use axum_server::tls_rustls::RustlsConfig;
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec, UserInfo},
    authorization::v1::{NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::{Api, Client, api::PostParams};
use std::net::SocketAddr;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

/// OpenMetrics, as `prometheus-client` writes it.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// What callers must be allowed to get.
const PATH: &str = "/metrics";

/// Why `/metrics` cannot be served.
#[derive(Debug, Error)]
pub enum Error {
    /// The address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The certificate or its key.
    #[error("the certificate of /metrics cannot be used: {detail}")]
    Certificate {
        /// What is wrong with it.
        detail: String,
    },
}

/// Serves `/metrics` by the flags, until `shutdown`.
///
/// # Errors
/// See [`enum@Error`].
pub async fn start(
    args: &Args,
    client: &Client,
    metrics: &Metrics,
    shutdown: &CancellationToken,
) -> Result<(), Error> {
    let Some(address) = probes::address(&args.metrics_bind_address)? else { return Ok(()) };
    let router = Router::new().route(PATH, get(text)).with_state(metrics.clone());
    if args.metrics_secure {
        let tls = tls(args).await?;
        let router = router.layer(from_fn_with_state(client.clone(), allowed_only));
        serve_tls(address, tls, router, shutdown.clone());
    } else {
        let listener = probes::listen(address).await?;
        let ended = shutdown.clone().cancelled_owned();
        tokio::spawn(async move { axum::serve(listener, router).with_graceful_shutdown(ended).await });
    }
    Ok(())
}

async fn text(State(metrics): State<Metrics>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], metrics.text())
}

fn serve_tls(address: SocketAddr, tls: RustlsConfig, router: Router, shutdown: CancellationToken) {
    tokio::spawn(async move {
        let server = axum_server::bind_rustls(address, tls).serve(router.into_make_service());
        if let Some(Err(error)) = shutdown.run_until_cancelled(server).await {
            tracing::error!(%error, "/metrics is not served");
        }
    });
}

async fn tls(args: &Args) -> Result<RustlsConfig, Error> {
    let unusable = |detail: String| Error::Certificate { detail };
    match &args.metrics_cert_path {
        Some(folder) => {
            let (certificate, key) =
                (folder.join(&args.metrics_cert_name), folder.join(&args.metrics_cert_key));
            RustlsConfig::from_pem_file(certificate, key).await.map_err(|error| unusable(error.to_string()))
        }
        None => {
            let made = rcgen::generate_simple_self_signed(vec!["vworkspace-operator".to_owned()])
                .map_err(|error| unusable(error.to_string()))?;
            let (certificate, key) =
                (made.cert.pem().into_bytes(), made.signing_key.serialize_pem().into_bytes());
            RustlsConfig::from_pem(certificate, key).await.map_err(|error| unusable(error.to_string()))
        }
    }
}

async fn allowed_only(State(client): State<Client>, request: Request, next: Next) -> Response {
    let bearer = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(token) = bearer.and_then(|value| value.strip_prefix("Bearer ")) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    match may_get(&client, token).await {
        Ok(StatusCode::OK) => next.run(request).await,
        Ok(refusal) => refusal.into_response(),
        Err(error) => {
            let error = cause(&error);
            tracing::warn!(
                error,
                "cannot review a caller of /metrics; check that system:auth-delegator is bound"
            );
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn may_get(client: &Client, token: &str) -> Result<StatusCode, kube::Error> {
    let review = TokenReview {
        spec: TokenReviewSpec { token: Some(token.to_owned()), ..TokenReviewSpec::default() },
        ..TokenReview::default()
    };
    let answer = Api::<TokenReview>::all(client.clone()).create(&PostParams::default(), &review).await?;
    let status = answer.status.unwrap_or_default();
    let Some(user) = status.user.filter(|_| status.authenticated == Some(true)) else {
        return Ok(StatusCode::UNAUTHORIZED);
    };
    let review = access_review(user);
    let answer =
        Api::<SubjectAccessReview>::all(client.clone()).create(&PostParams::default(), &review).await?;
    let allowed = answer.status.is_some_and(|status| status.allowed);
    Ok(if allowed { StatusCode::OK } else { StatusCode::FORBIDDEN })
}

fn access_review(user: UserInfo) -> SubjectAccessReview {
    let attributes = NonResourceAttributes { path: Some(PATH.to_owned()), verb: Some("get".to_owned()) };
    SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: user.username,
            groups: user.groups,
            uid: user.uid,
            extra: user.extra,
            non_resource_attributes: Some(attributes),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    }
}
