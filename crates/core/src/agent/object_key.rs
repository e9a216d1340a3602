//! The identity of an object by name: what jobs are ordered by.

use std::fmt;
use vworkspace_protocol::ObjectRef;

/// Kind, namespace and name. Jobs for equal keys take effect one after the other (contract, section 2).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Kind, for example `ApplicationInstance`.
    pub kind: String,
    /// Namespace; empty for cluster-scoped objects.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl From<&ObjectRef> for ObjectKey {
    fn from(object: &ObjectRef) -> Self {
        Self { kind: object.kind.clone(), namespace: object.namespace.clone(), name: object.name.clone() }
    }
}

impl fmt::Display for ObjectKey {
    /// `applicationinstance/org-a/web`, the form used in idempotency keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.kind.to_lowercase(), self.namespace, self.name)
    }
}
