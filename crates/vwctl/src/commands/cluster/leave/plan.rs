//! Decides the next step of a cluster's leaving from what is there. Pure: the caller looks, acts, and looks again.

use serde::Serialize;

/// Finalizer of Flux on a HelmRelease.
const FLUX_FINALIZER: &str = "finalizers.fluxcd.io";

/// The kinds that leaving is about, in the order in which their finalizers are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) enum Kind {
    ApplicationInstance,
    Operation,
    Cluster,
    HelmRelease,
    Namespace,
}

impl Kind {
    /// The finalizer that the operator puts on objects of this kind.
    pub(super) const fn finalizer(self) -> Option<&'static str> {
        match self {
            Self::ApplicationInstance => Some("apps.vworkspace.io/finalizer"),
            Self::Operation => Some("ops.vworkspace.io/finalizer"),
            Self::Cluster => Some("ops.vworkspace.io/cluster-cleanup"),
            Self::HelmRelease | Self::Namespace => None,
        }
    }

    /// Its name in the object's own spelling.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::ApplicationInstance => "ApplicationInstance",
            Self::Operation => "Operation",
            Self::Cluster => "Cluster",
            Self::HelmRelease => "HelmRelease",
            Self::Namespace => "Namespace",
        }
    }
}

/// One object as far as leaving is concerned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Object {
    pub kind: Kind,
    /// Empty for kinds of the whole cluster.
    pub namespace: String,
    pub name: String,
    #[serde(skip)]
    pub uid: String,
    #[serde(skip)]
    pub resource_version: String,
    /// Its deletion was asked for, or Kubernetes collects it because its owner is gone.
    pub deleting: bool,
    /// A Namespace that waits for its content has none in its metadata.
    pub finalizers: Vec<String>,
}

impl Object {
    /// Returns `true` if the operator's finalizer is on it.
    pub(super) fn is_held(&self) -> bool {
        self.kind.finalizer().is_some_and(|ours| self.finalizers.iter().any(|finalizer| finalizer == ours))
    }

    /// Returns `true` if something waits for it, or would once it is deleted.
    pub(super) fn is_in_the_way(&self) -> bool {
        self.deleting || self.is_held()
    }

    /// Who must act before the object can go.
    pub(super) fn holder(&self) -> String {
        if self.kind == Kind::Namespace {
            return "the objects in it".to_owned();
        }
        let name = |finalizer: &String| match finalizer.as_str() {
            FLUX_FINALIZER => "Flux".to_owned(),
            ours if self.kind.finalizer() == Some(ours) => "vworkspace-operator".to_owned(),
            other => other.to_owned(),
        };
        self.finalizers.iter().map(name).collect::<Vec<_>>().join(", ")
    }
}

/// What was found in the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Found {
    /// A replica of the operator renews the leader-election lease.
    pub operator_runs: bool,
    /// The kinds of [`Kind`]; of namespaces those that end and still hold one of the others.
    pub objects: Vec<Object>,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Ask for the deletion of these.
    Delete(Vec<Object>),
    /// Take the operator's finalizer off these: no operator will.
    Release(Vec<Object>),
    /// Others have to act first.
    Wait(&'static str),
    /// Nothing is left to do.
    Done,
}

/// Returns the next step. Applications go only if that was asked for; without an operator nothing waits for one.
pub(super) fn next(found: &Found, delete_applications: bool) -> Step {
    let all = |fits: &dyn Fn(&Object) -> bool| {
        found.objects.iter().filter(|o| fits(o)).cloned().collect::<Vec<_>>()
    };
    let living = |kind: Kind| all(&|object| object.kind == kind && !object.deleting);
    let instances = living(Kind::ApplicationInstance);
    if delete_applications && !instances.is_empty() {
        return Step::Delete(instances);
    }
    // While the operator runs it ends the applications first: it reports their ends as long as it is registered.
    let is_ending = |object: &Object| object.kind == Kind::ApplicationInstance && object.deleting;
    if found.operator_runs && found.objects.iter().any(|object| is_ending(object) && object.is_held()) {
        return Step::Wait("the operator removes the applications that are being deleted");
    }
    let clusters = living(Kind::Cluster);
    if !clusters.is_empty() {
        return Step::Delete(clusters);
    }
    if found.operator_runs {
        let is_left = found.objects.iter().any(|object| object.kind == Kind::Cluster);
        return if is_left { Step::Wait("the operator ends its registration") } else { Step::Done };
    }
    let mut held = all(&Object::is_held);
    held.sort_by_key(|object| object.kind);
    if !held.is_empty() {
        return Step::Release(held);
    }
    if found.objects.iter().any(|object| object.deleting) {
        return Step::Wait("Kubernetes and Flux remove what is being deleted");
    }
    Step::Done
}

#[cfg(test)]
mod tests {
    use super::*;
    use vworkspace_crds::key;

    fn object(kind: Kind, deleting: bool, held: bool) -> Object {
        Object {
            kind,
            namespace: String::new(),
            name: "n".to_owned(),
            uid: "u".to_owned(),
            resource_version: "1".to_owned(),
            deleting,
            finalizers: kind.finalizer().filter(|_| held).map(str::to_owned).into_iter().collect(),
        }
    }

    fn found(operator_runs: bool, objects: &[Object]) -> Found {
        Found { operator_runs, objects: objects.to_vec() }
    }

    #[test]
    fn finalizers_are_those_of_the_operator() {
        assert_eq!(Kind::ApplicationInstance.finalizer(), Some(key::APPLICATION_INSTANCE_FINALIZER));
        assert_eq!(Kind::Operation.finalizer(), Some(key::OPERATION_FINALIZER));
        assert_eq!(Kind::Cluster.finalizer(), Some(key::CLUSTER_FINALIZER));
    }

    #[test]
    fn running_operator_is_waited_for_and_applications_stay() {
        let (app, cluster) =
            (object(Kind::ApplicationInstance, false, true), object(Kind::Cluster, false, true));
        let ending = object(Kind::Cluster, true, true);
        assert_eq!(next(&found(true, &[app.clone(), cluster.clone()]), false), Step::Delete(vec![cluster]));
        assert!(matches!(next(&found(true, &[app.clone(), ending]), false), Step::Wait(_)));
        assert_eq!(next(&found(true, &[app]), false), Step::Done);
    }

    #[test]
    fn applications_go_before_the_cluster_when_asked() {
        let (app, cluster) =
            (object(Kind::ApplicationInstance, false, true), object(Kind::Cluster, false, true));
        let all = [app.clone(), cluster.clone()];
        assert_eq!(next(&found(true, &all), true), Step::Delete(vec![app]));
        let ending = [object(Kind::ApplicationInstance, true, true), cluster.clone()];
        assert!(matches!(next(&found(true, &ending), true), Step::Wait(_)));
        assert_eq!(next(&found(true, std::slice::from_ref(&cluster)), true), Step::Delete(vec![cluster]));
    }

    #[test]
    fn without_an_operator_applications_are_released_first() {
        let cluster = object(Kind::Cluster, true, true);
        let app = object(Kind::ApplicationInstance, true, true);
        let living = object(Kind::ApplicationInstance, false, true);
        let all = [cluster.clone(), app.clone(), living.clone()];
        assert_eq!(next(&found(false, &all), false), Step::Release(vec![app, living, cluster]));
    }

    #[test]
    fn objects_of_others_are_waited_for_and_never_released() {
        let mut release = object(Kind::HelmRelease, true, false);
        release.finalizers = vec![FLUX_FINALIZER.to_owned()];
        assert_eq!(release.holder(), "Flux");
        assert!(matches!(next(&found(false, &[release.clone()]), false), Step::Wait(_)));
        release.deleting = false;
        assert_eq!(next(&found(false, &[release]), false), Step::Done);
    }
}
