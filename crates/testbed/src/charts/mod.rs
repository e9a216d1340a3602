//! The sample charts, packaged by the real `helm`, in both kinds of source: a classic HTTP repository and an OCI
//! registry (`oci://<registry>/charts/<name>`).

mod package;
mod private;
mod registry;
mod repository;

use crate::programs::Programs;
pub use private::PrivateCharts;
use registry::Registry;
use repository::Repository;
use std::path::Path;

/// Both sources; they end with this value.
#[derive(Debug)]
pub struct Charts {
    /// URL of the classic repository.
    pub url: String,
    /// `host:port` of the registry, plain HTTP.
    pub registry: String,
    _repository: Option<Repository>,
    registry_process: Option<Registry>,
}

/// Sources that run already, and are not started.
#[derive(Clone, Debug, Default)]
pub struct GivenCharts {
    /// URL of a classic repository with our charts.
    pub url: Option<String>,
    /// `host:port` of a registry with our charts.
    pub registry: Option<String>,
}

impl Charts {
    /// Packages the charts into `dir` and serves them, except where `given` has a source.
    ///
    /// # Errors
    /// `helm` refuses a chart, or a server does not start.
    pub async fn serve(programs: &Programs, dir: &Path, given: GivenCharts) -> anyhow::Result<Self> {
        if let GivenCharts { url: Some(url), registry: Some(registry) } = given {
            return Ok(Self { url, registry, _repository: None, registry_process: None });
        }
        let helm = package::Helm::new(programs, dir);
        let packages = helm.package_all().await?;
        let repository = match &given.url {
            Some(_) => None,
            None => {
                helm.index().await?;
                Some(Repository::serve(helm.packages())?)
            }
        };
        let registry = match &given.registry {
            Some(_) => None,
            None => {
                let registry = Registry::start(programs, dir).await?;
                helm.push_all(&packages, &registry.address).await?;
                Some(registry)
            }
        };
        let own =
            |given: Option<String>, own: Option<&String>| given.or_else(|| own.cloned()).unwrap_or_default();
        Ok(Self {
            url: own(given.url, repository.as_ref().map(|repository| &repository.url)),
            registry: own(given.registry, registry.as_ref().map(|registry| &registry.address)),
            _repository: repository,
            registry_process: registry,
        })
    }

    /// Fails with the tail of its log when the registry has ended.
    pub fn still_runs(&mut self) -> anyhow::Result<()> {
        self.registry_process.iter_mut().try_for_each(Registry::still_runs)
    }
}
