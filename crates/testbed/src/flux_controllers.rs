//! Who honours Flux's API in our cluster: its own controllers where they are given, else the stand-in.

use crate::process::{Process, free_ports};
use anyhow::Context as _;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Folder with Flux's own `source-controller` and `helm-controller`.
const GIVEN: &str = "VWORKSPACE_FLUX_BIN";
/// What Flux takes for its own namespace; it reads nothing there here.
const NAMESPACE: &str = "flux-system";

/// Running; ends with this value.
#[derive(Debug)]
pub(crate) enum FluxControllers {
    /// Flux's own programs.
    Real(Vec<Process>),
    /// Ours, on a thread of its own.
    StandIn(stand_in::StandIn),
}

impl FluxControllers {
    /// Starts the real ones if `VWORKSPACE_FLUX_BIN` names their folder, else the stand-in.
    pub async fn start(helm: PathBuf, kubeconfig: &Path, dir: &Path) -> anyhow::Result<Self> {
        match std::env::var_os(GIVEN).filter(|folder| !folder.is_empty()) {
            Some(folder) => Ok(Self::Real(real(Path::new(&folder), kubeconfig, dir)?)),
            None => Ok(Self::StandIn(stand_in::StandIn::start(helm, kubeconfig, dir).await?)),
        }
    }

    /// What honours Flux's API, for people to read.
    pub fn describe(&self) -> String {
        match self {
            Self::Real(_) => format!("its own controllers, from {GIVEN}"),
            Self::StandIn(_) => {
                format!("a stand-in, a prop measured against the real one; {GIVEN} runs that")
            }
        }
    }

    /// Fails when one has ended.
    pub fn still_runs(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Real(programs) => programs.iter_mut().try_for_each(Process::still_runs),
            Self::StandIn(stand_in) => stand_in.still_runs(),
        }
    }
}

/// Both programs. The source controller serves what it fetched to the other, on loopback.
fn real(programs: &Path, kubeconfig: &Path, dir: &Path) -> anyhow::Result<Vec<Process>> {
    let [storage, source_health, helm_health] = free_ports()?;
    let stored = dir.join("flux-artifacts");
    fs::create_dir_all(&stored).with_context(|| format!("cannot make {}", stored.display()))?;
    let command = |name: &str, health: u16| {
        let mut command = Command::new(programs.join(name));
        command
            .env("KUBECONFIG", kubeconfig)
            .env("RUNTIME_NAMESPACE", NAMESPACE)
            .args(["--events-addr=", "--enable-leader-election=false", "--watch-all-namespaces=true"])
            .arg("--metrics-addr=127.0.0.1:0")
            .arg(format!("--health-addr=127.0.0.1:{health}"));
        command
    };
    let mut source = command("source-controller", source_health);
    source
        .arg(format!("--storage-path={}", stored.display()))
        .arg(format!("--storage-addr=127.0.0.1:{storage}"))
        .arg(format!("--storage-adv-addr=127.0.0.1:{storage}"));
    Ok(vec![
        Process::start("source-controller", source, dir)?,
        Process::start("helm-controller", command("helm-controller", helm_health), dir)?,
    ])
}

mod stand_in {
    use crate::{cluster::client_config, flux};
    use std::{
        path::{Path, PathBuf},
        thread::{self, JoinHandle},
    };
    use tokio::sync::oneshot;

    /// The stand-in with a runtime of its own: tests that share it each have one that ends with them.
    #[derive(Debug)]
    pub struct StandIn {
        ends_when_dropped: Option<oneshot::Sender<()>>,
        thread: Option<JoinHandle<()>>,
    }

    impl StandIn {
        /// Starts it.
        pub async fn start(helm: PathBuf, kubeconfig: &Path, dir: &Path) -> anyhow::Result<Self> {
            let config = client_config(kubeconfig).await?;
            let (kubeconfig, work_dir) = (kubeconfig.to_owned(), dir.join("flux-stand-in"));
            let (sender, ended) = oneshot::channel::<()>();
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
            let run = async move {
                let client = kube::Client::try_from(config)?;
                let run = flux::run(flux::Config { client, helm, kubeconfig, work_dir });
                tokio::select! { done = run => done, _ = ended => Ok(()) }
            };
            let thread = thread::Builder::new().name("flux-stand-in".to_owned()).spawn(move || {
                if let Err(error) = runtime.block_on(run) {
                    tracing::error!("the Flux stand-in ended: {error:#}");
                }
            })?;
            Ok(Self { ends_when_dropped: Some(sender), thread: Some(thread) })
        }

        /// Fails when it has ended; its log says why.
        pub fn still_runs(&self) -> anyhow::Result<()> {
            let runs = self.ends_when_dropped.as_ref().is_some_and(|sender| !sender.is_closed());
            anyhow::ensure!(runs, "the Flux stand-in ended");
            Ok(())
        }
    }

    impl Drop for StandIn {
        /// Waits for it, so that nothing is written into its folder any more.
        fn drop(&mut self) {
            drop(self.ends_when_dropped.take());
            if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
                tracing::error!("the Flux stand-in panicked");
            }
        }
    }
}
