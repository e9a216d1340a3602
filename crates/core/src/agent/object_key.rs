//! The identity of an object by name: what jobs are ordered by.

use std::fmt;
use vworkspace_protocol::{ObjectRef, limits};

/// Longest part of a reference: no name in Kubernetes is longer.
pub(super) const NAME_BYTES: usize = 253;

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

impl From<&ObjectKey> for ObjectRef {
    /// Whichever life of it.
    fn from(object: &ObjectKey) -> Self {
        let ObjectKey { kind, namespace, name } = object.clone();
        Self { kind, namespace, name, ..Self::default() }
    }
}

impl fmt::Display for ObjectKey {
    /// `applicationinstance/org-a/web`, the form used in idempotency keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.kind.to_lowercase(), self.namespace, self.name)
    }
}

/// The reference with every part cut to [`NAME_BYTES`]: what is stored is bounded whatever it was made from.
pub(super) fn bounded_ref(mut object: ObjectRef) -> ObjectRef {
    let ObjectRef { api_version, kind, namespace, name, uid, generation: _ } = &mut object;
    for part in [api_version, kind, namespace, name, uid] {
        part.truncate(limits::clip(part, NAME_BYTES).len());
    }
    object
}
