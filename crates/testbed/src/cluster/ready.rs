//! Waiting for the API server by asking it.

use super::{control_plane::ControlPlane, kubeconfig::client_config};
use anyhow::Context as _;
use kube::Client;
use std::{
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};
use tokio::net::TcpStream;

/// It takes about 4 s; a slow machine under load gets this much.
const WITHIN: Duration = Duration::from_secs(120);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(50);

/// Waits until `/readyz` says so; fails at once when a program ends.
pub(super) async fn api_server(control_plane: &mut ControlPlane, kubeconfig: &Path) -> anyhow::Result<()> {
    let client = Client::try_from(client_config(kubeconfig).await?)?;
    let start = Instant::now();
    loop {
        let answer = ask(&client, control_plane.address).await;
        control_plane.still_runs()?;
        match answer {
            Ok(()) => return Ok(()),
            Err(error) if start.elapsed() > WITHIN => {
                return Err(error)
                    .with_context(|| format!("the API server is not ready after {} s", WITHIN.as_secs()));
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Looks for its port first: before it listens, the client would log every try as an error.
async fn ask(client: &Client, address: SocketAddr) -> anyhow::Result<()> {
    drop(TcpStream::connect(address).await?);
    client.request_text(http::Request::get("/readyz").body(Vec::new())?).await?;
    Ok(())
}
