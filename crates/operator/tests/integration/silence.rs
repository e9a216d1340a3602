//! An API server that takes calls and never answers, as one behind a connection that is dead on its other side.

use anyhow::ensure;
use kube::{Client, Config};
use std::time::Duration;
use tokio::{net::TcpListener, runtime::Runtime, time::timeout};
use vworkspace_operator::api_server::giving_up_after;

#[test]
fn an_api_server_that_never_answers_a_call_is_given_up() -> anyhow::Result<()> {
    Runtime::new()?.block_on(async {
        // Connections are made by the system, and nobody looks at them.
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let config = Config::new(format!("http://{}", listener.local_addr()?).parse()?);
        let client = Client::try_from(giving_up_after(config, Duration::from_millis(100)))?;
        let answer = timeout(Duration::from_secs(60), client.apiserver_version()).await;
        ensure!(matches!(answer, Ok(Err(_))), "it is waited for");
        Ok(())
    })
}
