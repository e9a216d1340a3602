//! Start to end of one server: open the store, bind, serve, stop.

use crate::{
    api,
    app::App,
    args::Serve,
    background,
    listen::{self, Listener},
    tls,
};
use std::{io, io::Write, net::SocketAddr, sync::Arc};
use thiserror::Error;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::{JoinError, JoinSet},
};
use vworkspace_protocol::Secret;
use vworkspace_store as store;

/// Connections of the metrics listener: a few scrapers, not a fleet.
const MOST_SCRAPES: usize = 64;

/// Why the server does not run, or ran into trouble.
#[derive(Debug, Error)]
pub enum Error {
    /// The database cannot be opened.
    #[error("the store cannot be opened")]
    Store(#[source] store::Error),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// The socket cannot be opened.
    #[error(transparent)]
    Listen(#[from] listen::Error),
    /// A task of the server panicked.
    #[error("serving ended")]
    Task(#[source] JoinError),
    /// stdout cannot be written; the first admin token would be lost.
    #[error("cannot write to stdout")]
    Stdout(#[source] io::Error),
    /// Signals cannot be awaited.
    #[error("cannot listen for signals")]
    Signal(#[source] io::Error),
}

/// A server that runs until stopped.
pub struct Running {
    /// Where it listens, for example `https://127.0.0.1:8443`.
    pub url: String,
    /// Where `/metrics` is, if it is served.
    pub metrics_url: Option<String>,
    /// On the very first start of a data folder only: the admin's token, to be shown once.
    pub first_admin_token: Option<Secret>,
    app: Arc<App>,
    tasks: JoinSet<()>,
}

/// Runs the program: start, tell on stdout, stop on SIGTERM or Ctrl-C.
///
/// # Errors
/// See [`enum@Error`].
pub async fn until_signalled(settings: Serve) -> Result<(), Error> {
    let mut running = Running::start(settings).await?;
    // Whoever reads that we listen may tell us to stop.
    let mut signals = StopSignals::catch().map_err(Error::Signal)?;
    announce(&running).map_err(Error::Stdout)?;
    tokio::select! {
        () = signals.first() => {}
        broken = running.broken() => return Err(broken),
    }
    running.stop().await
}

impl Running {
    /// Opens the store, binds the socket and serves.
    ///
    /// # Errors
    /// See [`enum@Error`].
    pub async fn start(settings: Serve) -> Result<Self, Error> {
        let certificate = match (settings.tls_cert.clone(), settings.tls_key.clone()) {
            (Some(cert), Some(key)) => Some(tls::load(cert, key).await?),
            _ => None,
        };
        let (certificate, files) = certificate.unzip();
        let metrics = match settings.metrics_listen {
            Some(address) => Some(bind_metrics(address, certificate.clone(), &settings).await?),
            None => None,
        };
        let listener = Listener::bind(settings.listen, certificate, settings.allow_insecure_http).await?;
        let (app, first_admin_token) = App::open(&settings).await.map_err(Error::Store)?;
        let app = Arc::new(app);

        let mut tasks = JoinSet::new();
        if let Some(files) = files {
            tasks.spawn(tls::keep_fresh(files, settings.tls_reload_every, app.stop.clone()));
        }
        background::spawn(&mut tasks, &app);
        let url = listener.url();
        let most = settings.max_requests.saturating_add(listen::SPARE);
        tasks.spawn(listener.serve(api::router(app.clone()), app.stop.clone(), most));
        let metrics_url = metrics.as_ref().map(|listener| format!("{}/metrics", listener.url()));
        if let Some(listener) = metrics {
            tasks.spawn(listener.serve(api::metrics_router(app.clone()), app.stop.clone(), MOST_SCRAPES));
        }
        tracing::info!(url, version = env!("CARGO_PKG_VERSION"), "serving");
        Ok(Self { url, metrics_url, first_admin_token, app, tasks })
    }

    /// Returns only when a task panicked: none ends by itself.
    async fn broken(&mut self) -> Error {
        loop {
            match self.tasks.join_next().await {
                Some(Err(panicked)) => return Error::Task(panicked),
                Some(Ok(())) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// Ends open long polls at once with an empty answer, lets answers that are being written finish for at most
    /// [`GRACE`](crate::connections::GRACE), writes what is only in memory, and closes the store.
    ///
    /// # Errors
    /// [`Error::Task`] when a task panicked on the way.
    pub async fn stop(mut self) -> Result<(), Error> {
        tracing::info!("stopping");
        self.app.stop.cancel();
        let mut ended = Ok(());
        while let Some(task) = self.tasks.join_next().await {
            ended = ended.and(task.map_err(Error::Task));
        }
        background::flush_sightings(self.app.clone()).await;
        tracing::info!("stopped");
        ended
    }
}

/// On loopback without TLS, so that a scraper on the machine needs no certificate authority.
async fn bind_metrics(
    address: SocketAddr,
    certificate: Option<tls::Certificate>,
    settings: &Serve,
) -> Result<Listener, listen::Error> {
    let certificate = certificate.filter(|_| !address.ip().is_loopback());
    Listener::bind(address, certificate, settings.allow_insecure_http).await
}

/// The only lines ever written to stdout.
fn announce(running: &Running) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if let Some(token) = &running.first_admin_token {
        writeln!(out, "admin token (shown once): {}", token.expose())?;
    }
    if let Some(url) = &running.metrics_url {
        writeln!(out, "metrics: {url}")?;
    }
    writeln!(out, "listening: {}", running.url)?;
    out.flush()
}

/// What tells the program to stop; caught from the moment there is this value.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn catch() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the first of them.
    async fn first(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
