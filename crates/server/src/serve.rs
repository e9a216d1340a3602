//! Start to end of one server: open the store, bind, serve, stop.

use crate::{
    api,
    app::App,
    args::Serve,
    background,
    listen::{self, GRACE, Listener},
    tls,
};
use axum_server::Handle;
use std::{io, io::Write, net::SocketAddr, sync::Arc};
use thiserror::Error;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinSet,
};
use vworkspace_protocol::Secret;
use vworkspace_store as store;

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
    /// The socket broke.
    #[error("serving ended")]
    Serve(#[source] io::Error),
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
    /// On the very first start of a data folder only: the admin's token, to be shown once.
    pub first_admin_token: Option<Secret>,
    app: Arc<App>,
    handle: Handle<SocketAddr>,
    tasks: JoinSet<io::Result<()>>,
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
        let config = certificate.as_ref().map(|(config, _)| config.clone());
        let listener = Listener::bind(settings.listen, config, settings.allow_insecure_http)?;
        let (app, first_admin_token) = App::open(&settings).await.map_err(Error::Store)?;
        let app = Arc::new(app);

        let mut tasks = JoinSet::new();
        if let Some((config, files)) = certificate {
            let fresh = tls::keep_fresh(config, files, settings.tls_reload_every, app.stop.clone());
            tasks.spawn(async move {
                fresh.await;
                Ok(())
            });
        }
        background::spawn(&mut tasks, &app);
        let url = listener.url();
        let handle = Handle::new();
        tasks.spawn(listener.serve(api::router(app.clone()), handle.clone(), settings.max_requests));
        tracing::info!(url, version = env!("CARGO_PKG_VERSION"), "serving");
        Ok(Self { url, first_admin_token, app, handle, tasks })
    }

    /// Returns only when serving ends by itself, which it should not.
    async fn broken(&mut self) -> Error {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err(error))) => return Error::Serve(error),
                Some(Err(panicked)) => return Error::Serve(io::Error::other(panicked)),
                None => return Error::Serve(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }

    /// Ends open long polls at once with an empty answer, lets answers that are being written finish for at most
    /// [`GRACE`], writes what is only in memory, and closes the store.
    ///
    /// # Errors
    /// [`Error::Serve`] when the socket broke on the way.
    pub async fn stop(mut self) -> Result<(), Error> {
        tracing::info!("stopping");
        self.app.stop.cancel();
        self.handle.graceful_shutdown(Some(GRACE));
        let mut ended = Ok(());
        while let Some(task) = self.tasks.join_next().await {
            if let Ok(Err(error)) = task {
                ended = Err(Error::Serve(error));
            }
        }
        background::flush_sightings(self.app.clone()).await;
        tracing::info!("stopped");
        ended
    }
}

/// The only lines ever written to stdout.
fn announce(running: &Running) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if let Some(token) = &running.first_admin_token {
        writeln!(out, "admin token (shown once): {}", token.expose())?;
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
