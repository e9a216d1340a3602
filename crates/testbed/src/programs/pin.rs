//! What is built, and from which pinned module.

use anyhow::Context as _;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A program the testbed runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The API server's store.
    Etcd,
    /// The API server.
    KubeApiserver,
    /// Deployments, ReplicaSets, garbage collection, service accounts.
    KubeControllerManager,
    /// Puts pods on the node.
    KubeScheduler,
    /// The command line, for people.
    Kubectl,
    /// The fake node and its pods.
    Kwok,
    /// Packages and installs charts.
    Helm,
    /// The OCI registry, in memory.
    Crane,
    /// Prints Flux's definitions from its API modules.
    ControllerGen,
}

impl Program {
    /// All, in the order they are built.
    pub const ALL: [Self; 9] = [
        Self::Etcd,
        Self::KubeApiserver,
        Self::KubeControllerManager,
        Self::KubeScheduler,
        Self::Kubectl,
        Self::Kwok,
        Self::Helm,
        Self::Crane,
        Self::ControllerGen,
    ];

    /// Its name as a command.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::KubeScheduler => "kube-scheduler",
            Self::Kubectl => "kubectl",
            Self::Kwok => "kwok",
            Self::Helm => "helm",
            Self::Crane => "crane",
            Self::ControllerGen => "controller-gen",
        }
    }

    /// Folder under `testbed/` with the `go.mod` that pins it.
    pub(super) const fn module(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::KubeApiserver | Self::KubeControllerManager | Self::KubeScheduler | Self::Kubectl => {
                "kubernetes"
            }
            Self::Kwok => "kwok",
            Self::Helm => "helm",
            Self::Crane => "registry",
            Self::ControllerGen => "crds",
        }
    }

    /// The Go package of its `main`.
    pub(super) const fn package(self) -> &'static str {
        match self {
            Self::Etcd => "go.etcd.io/etcd/server/v3",
            Self::KubeApiserver => "k8s.io/kubernetes/cmd/kube-apiserver",
            Self::KubeControllerManager => "k8s.io/kubernetes/cmd/kube-controller-manager",
            Self::KubeScheduler => "k8s.io/kubernetes/cmd/kube-scheduler",
            Self::Kubectl => "k8s.io/kubernetes/cmd/kubectl",
            Self::Kwok => "sigs.k8s.io/kwok/cmd/kwok",
            Self::Helm => "helm.sh/helm/v4/cmd/helm",
            Self::Crane => "github.com/google/go-containerregistry/cmd/crane",
            Self::ControllerGen => "sigs.k8s.io/controller-tools/cmd/controller-gen",
        }
    }

    /// Whether `KUBEBUILDER_ASSETS` may give it.
    pub(super) const fn is_an_asset(self) -> bool {
        matches!(self, Self::Etcd | Self::KubeApiserver | Self::Kubectl)
    }

    /// Flags of the linker, given the pinned version. Kubernetes calls itself a broken version without them, and then
    /// Helm and kubectl refuse to talk to it.
    pub(super) fn linker_flags(self, version: &str) -> String {
        let mut numbers = version.split('.');
        let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
        let own = match self.module() {
            "kubernetes" => format!(
                " -X k8s.io/component-base/version.gitVersion=v{version} \
                 -X k8s.io/component-base/version.gitMajor={major} \
                 -X k8s.io/component-base/version.gitMinor={minor}"
            ),
            "helm" => format!(" -X helm.sh/helm/v4/internal/version.version=v{version}"),
            _ => String::new(),
        };
        format!("-s -w{own}")
    }
}

/// A program's pin as its `go.mod` has it.
#[derive(Clone, Debug)]
pub(super) struct Pin {
    /// Folder of the `go.mod`.
    pub folder: PathBuf,
    /// Version without the leading `v`.
    pub version: String,
}

impl Pin {
    /// Reads it.
    pub fn read(program: Program) -> anyhow::Result<Self> {
        let folder = module_folder(program.module());
        let file = folder.join("go.mod");
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let version = version_in(&text, program.package());
        let version =
            version.with_context(|| format!("{} requires no {}", file.display(), program.package()))?;
        Ok(Self { folder, version: version.to_owned() })
    }
}

/// Folder of a `go.mod` in the clone this was built from: the testbed is never shipped.
pub(super) fn module_folder(module: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testbed").join(module)
}

/// Version that `go_mod` requires of the module that holds `package`: the longest that is a prefix of it.
fn version_in<'a>(go_mod: &'a str, package: &str) -> Option<&'a str> {
    let requirements = go_mod.lines().filter_map(|line| {
        let mut words = line.trim().trim_start_matches("require ").split_whitespace();
        Some((words.next()?, words.next()?.strip_prefix('v')?))
    });
    let holding = requirements.filter(|(module, _)| {
        package.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    holding.max_by_key(|(module, _)| module.len()).map(|(_, version)| version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_has_a_pin() {
        for program in Program::ALL {
            let pin = Pin::read(program).unwrap();
            assert!(pin.version.split('.').count() >= 3, "{}: {}", program.name(), pin.version);
        }
    }

    #[test]
    fn the_module_that_holds_the_package_is_the_longest_prefix() {
        let text = "require example.org/a v1.0.0\nrequire (\n\texample.org/a/b v2.0.0 // indirect\n\texample.org/a/bc v3.0.0\n)";
        assert_eq!(version_in(text, "example.org/a/b/cmd/x"), Some("2.0.0"));
        assert_eq!(version_in(text, "example.org/a/cmd"), Some("1.0.0"));
        assert_eq!(version_in(text, "example.org/z"), None);
    }

    #[test]
    fn kubernetes_is_linked_with_its_version() {
        let flags = Program::KubeApiserver.linker_flags("1.36.3");
        assert!(flags.contains("gitVersion=v1.36.3 "), "{flags}");
        assert!(flags.ends_with("gitMinor=36"), "{flags}");
    }
}
