//! One cluster with everything around it, and what tests ask of it.

use crate::{
    charts::{Charts, GivenCharts, PrivateCharts},
    cluster::{self, Cluster},
    flux_controllers::FluxControllers,
    process,
    programs::{Program, Programs},
    work_dir::WorkDir,
};
use anyhow::Context as _;
use kube::Client;
use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// What runs already. Everything absent is started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// A cluster with Flux, as its admin: nothing of Kubernetes or Flux is started.
    pub kubeconfig: Option<PathBuf>,
    /// In that cluster, the operator's account. Absent: our definitions and roles are applied and a token is asked for.
    pub operator_kubeconfig: Option<PathBuf>,
    /// The sample charts.
    pub charts: GivenCharts,
    /// In a cluster that is started: nobody honours Flux's API, and a test writes the statuses itself.
    pub without_flux: bool,
}

impl Options {
    /// As `docs/TESTING.md` names the variables.
    pub fn from_env() -> Self {
        let path = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let text = |name| env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            kubeconfig: path("VWORKSPACE_TEST_KUBECONFIG"),
            operator_kubeconfig: path("VWORKSPACE_TEST_OPERATOR_KUBECONFIG"),
            charts: GivenCharts {
                url: text("VWORKSPACE_TEST_CHARTS_URL"),
                registry: text("VWORKSPACE_TEST_REGISTRY"),
            },
            without_flux: false,
        }
    }
}

/// A real cluster with Flux's API, both kinds of chart source, and the operator's account. What it started ends with
/// it, in the order of the fields.
#[derive(Debug)]
pub struct Testbed {
    config: kube::Config,
    admin_kubeconfig: PathBuf,
    operator_kubeconfig: PathBuf,
    programs: Programs,
    versions: Vec<(&'static str, String)>,
    flux: Option<FluxControllers>,
    cluster: Option<Cluster>,
    charts: Charts,
    work_dir: WorkDir,
}

impl Testbed {
    /// As the environment says; a `kubeconfig` given here comes first.
    ///
    /// # Errors
    /// As [`Testbed::start_with`].
    pub async fn start(kubeconfig: Option<&Path>) -> anyhow::Result<Self> {
        let mut options = Options::from_env();
        if let Some(given) = kubeconfig {
            options = Options { kubeconfig: Some(given.to_owned()), ..options };
        }
        Self::start_with(options).await
    }

    /// Builds the programs where needed, starts what `options` does not give, and waits until all is ready.
    ///
    /// # Errors
    /// Go is missing, a build fails, or a program ends early: the error carries what it said.
    pub async fn start_with(options: Options) -> anyhow::Result<Self> {
        let programs = Programs::locate()?;
        let work_dir = WorkDir::make()?;
        match options.kubeconfig {
            None => Self::start_cluster(programs, work_dir, options.charts, options.without_flux).await,
            Some(kubeconfig) => {
                Self::join_cluster(
                    programs,
                    work_dir,
                    kubeconfig,
                    options.operator_kubeconfig,
                    options.charts,
                )
                .await
            }
        }
    }

    async fn start_cluster(
        programs: Programs,
        work_dir: WorkDir,
        charts: GivenCharts,
        without_flux: bool,
    ) -> anyhow::Result<Self> {
        programs.build(&Program::ALL).await?;
        let dir = work_dir.path();
        let (cluster, charts, mut versions) = tokio::try_join!(
            Cluster::start(&programs, dir),
            Charts::serve(&programs, dir, charts),
            programs.versions(&Program::ALL),
        )?;
        let config = cluster::client_config(&cluster.admin_kubeconfig).await?;
        let operator_kubeconfig = dir.join("operator.kubeconfig");
        let client = Client::try_from(config.clone())?;
        cluster::write_operator_kubeconfig(&client, &cluster.admin_kubeconfig, &operator_kubeconfig).await?;
        let admin_kubeconfig = cluster.admin_kubeconfig.clone();
        let flux = if without_flux {
            None
        } else {
            let flux = FluxControllers::start(programs.path(Program::Helm), &admin_kubeconfig, dir).await?;
            versions.push(("flux", flux.describe()));
            Some(flux)
        };
        Ok(Self {
            config,
            admin_kubeconfig,
            operator_kubeconfig,
            programs,
            versions,
            flux,
            cluster: Some(cluster),
            charts,
            work_dir,
        })
    }

    async fn join_cluster(
        programs: Programs,
        work_dir: WorkDir,
        admin_kubeconfig: PathBuf,
        operator_kubeconfig: Option<PathBuf>,
        charts: GivenCharts,
    ) -> anyhow::Result<Self> {
        if charts.url.is_none() || charts.registry.is_none() {
            programs.build(&[Program::Helm, Program::Crane]).await?;
        }
        let charts = Charts::serve(&programs, work_dir.path(), charts).await?;
        let config = cluster::client_config(&admin_kubeconfig).await?;
        let operator_kubeconfig = match operator_kubeconfig {
            Some(given) => given,
            None => {
                let client = Client::try_from(config.clone())?;
                cluster::apply_shipped(&client).await?;
                let path = work_dir.path().join("operator.kubeconfig");
                cluster::write_operator_kubeconfig(&client, &admin_kubeconfig, &path).await?;
                path
            }
        };
        Ok(Self {
            config,
            admin_kubeconfig,
            operator_kubeconfig,
            programs,
            versions: Vec::new(),
            flux: None,
            cluster: None,
            charts,
            work_dir,
        })
    }

    /// Fails when a program of the cluster it started has ended.
    ///
    /// # Errors
    /// With the tail of that program's log.
    pub fn still_runs(&mut self) -> anyhow::Result<()> {
        self.flux.iter_mut().try_for_each(FluxControllers::still_runs)?;
        self.cluster.iter_mut().try_for_each(Cluster::still_runs)?;
        self.charts.still_runs()
    }

    /// Ends the API server of the cluster it started, starts it again, and waits until it is ready.
    ///
    /// # Errors
    /// It does not start, or the cluster was given.
    pub async fn restart_api_server(&mut self) -> anyhow::Result<()> {
        let cluster = self.cluster.as_mut().context("the cluster was given")?;
        cluster.restart_api_server().await
    }

    /// A client of the cluster's admin. Each call makes one: a client belongs to the runtime it was made in, and every
    /// test has its own.
    pub fn admin(&self) -> Client {
        Client::try_from(self.config.clone())
            .expect("a client was made from the same configuration at the start")
    }

    /// A client of the operator's account.
    ///
    /// # Errors
    /// Its kubeconfig is gone.
    pub async fn operator(&self) -> anyhow::Result<Client> {
        let config = cluster::client_config(&self.operator_kubeconfig).await?;
        Client::try_from(config).context("cannot make a client of the operator's account")
    }

    /// Kubeconfig of the cluster's admin.
    pub fn kubeconfig(&self) -> &Path {
        &self.admin_kubeconfig
    }

    /// Kubeconfig of the ServiceAccount `vworkspace-system/vworkspace-operator`.
    pub fn operator_kubeconfig(&self) -> &Path {
        &self.operator_kubeconfig
    }

    /// URL of the classic chart repository.
    pub fn charts_url(&self) -> &str {
        &self.charts.url
    }

    /// `host:port` of the OCI registry, plain HTTP; charts are under `/charts`.
    pub fn registry(&self) -> &str {
        &self.charts.registry
    }

    /// The same charts behind an address that asks for a user and a password, with an authority of its own.
    ///
    /// # Errors
    /// It cannot be served.
    pub fn private_charts(&self) -> anyhow::Result<PrivateCharts> {
        let dir = tempfile::tempdir_in(self.work_dir())?.keep();
        PrivateCharts::serve(&self.charts.url, &self.charts.registry, &dir)
    }

    /// A folder that goes with the testbed.
    pub fn work_dir(&self) -> &Path {
        self.work_dir.path()
    }

    /// Where `helm` is.
    pub fn helm_path(&self) -> PathBuf {
        self.programs.path(Program::Helm)
    }

    /// Where `kubectl` is. With a given cluster it is there once [`Testbed::kubectl`] was called.
    pub fn kubectl_path(&self) -> PathBuf {
        self.programs.path(Program::Kubectl)
    }

    /// What `kubectl` prints, as the cluster's admin.
    ///
    /// # Errors
    /// It failed: with what it said.
    pub async fn kubectl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.programs.build(&[Program::Kubectl]).await?;
        let mut command = Command::new(self.kubectl_path());
        command.arg("--kubeconfig").arg(&self.admin_kubeconfig).args(arguments);
        process::output(command).await
    }

    /// Names of the programs it runs, and what each says of its own version. A given cluster's are not known.
    pub fn versions(&self) -> &[(&'static str, String)] {
        &self.versions
    }
}
