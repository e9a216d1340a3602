//! References to Kubernetes objects.

use serde::{Deserialize, Serialize};
use std::fmt;

/// `appliedRef` and `resourceRef`: the first four members are always present, `namespace` is empty for
/// cluster-scoped objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectRef {
    /// Group and version, for example `apps.vworkspace.io/v1alpha1`.
    pub api_version: String,
    /// Kind, for example `ApplicationInstance`.
    pub kind: String,
    /// Namespace, empty for cluster-scoped objects.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// The API server's identity of the object, where known.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Revision of the spec; 0 means unknown.
    #[serde(skip_serializing_if = "is_zero")]
    pub generation: i64,
}

impl ObjectRef {
    /// `apps.vworkspace.io` of `apps.vworkspace.io/v1alpha1`; empty for the core group.
    pub fn group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }
}

impl fmt::Display for ObjectRef {
    /// `Kind namespace/name`, for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {}", self.kind, self.name)
        } else {
            write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}

pub(crate) fn is_zero(n: &i64) -> bool {
    *n == 0
}
