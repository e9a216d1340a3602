//! The classic chart repository: a folder over HTTP.

use anyhow::Context as _;
use axum::Router;
use std::{
    net::{Ipv4Addr, TcpListener},
    path::Path,
    thread,
};
use tokio::sync::oneshot;
use tower_http::services::ServeDir;

/// A running server; it ends with this value.
///
/// It has a thread and a runtime of its own: tests that share it each have a runtime that ends with them.
#[derive(Debug)]
pub(super) struct Repository {
    /// Where it listens.
    pub url: String,
    _ends_when_dropped: oneshot::Sender<()>,
}

impl Repository {
    /// Serves `folder`.
    pub fn serve(folder: &Path) -> anyhow::Result<Self> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen for the chart repository")?;
        listener.set_nonblocking(true)?;
        let url = format!("http://{}", listener.local_addr()?);
        let (sender, ended) = oneshot::channel::<()>();
        let routes = Router::new().fallback_service(ServeDir::new(folder));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let serve = async move {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            axum::serve(listener, routes).with_graceful_shutdown(async move { drop(ended.await) }).await
        };
        thread::Builder::new().name("testbed-charts".to_owned()).spawn(move || {
            if let Err(error) = runtime.block_on(serve) {
                tracing::error!(%error, "the chart repository ended");
            }
        })?;
        Ok(Self { url, _ends_when_dropped: sender })
    }
}
