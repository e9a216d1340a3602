//! What stands between a command and its control plane: it cuts connections, at once or in the middle, and delays them.

use std::{
    hash::{BuildHasher as _, RandomState},
    io,
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A running one; ends with this value.
pub struct Gateway {
    /// Where commands are to send their requests.
    pub url: String,
    serving: JoinHandle<()>,
}

impl Gateway {
    /// Starts one before the server at `upstream`, an `https` URL of this machine.
    pub async fn start(upstream: &str) -> Self {
        let upstream = upstream.trim_start_matches("https://").trim_end_matches('/').to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(pass(socket, upstream.clone()));
            }
        });
        Self { url, serving }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A number below `most`.
pub fn roll(most: u64) -> u64 {
    RandomState::new().hash_one(()) % most
}

async fn pass(mut socket: TcpStream, upstream: String) -> io::Result<()> {
    match roll(10) {
        0 => return Ok(()),
        1 => tokio::time::sleep(Duration::from_millis(roll(3_000))).await,
        _ => {}
    }
    let mut server = TcpStream::connect(upstream).await?;
    let copy = tokio::io::copy_bidirectional(&mut socket, &mut server);
    if roll(3) == 0 {
        // Whatever is on its way then is lost.
        let _ = tokio::time::timeout(Duration::from_millis(roll(2_000)), copy).await;
        return Ok(());
    }
    copy.await.map(drop)
}
