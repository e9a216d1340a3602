//! Identifiers on the wire: opaque strings, kept apart by type. They go wherever a job goes, so a clone shares the text.

use serde::{Deserialize, Serialize};
use std::{fmt, sync::Arc};

macro_rules! opaque_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[serde(transparent)]
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps an identifier as it was received; an identifier is opaque, so nothing is checked.
            pub fn new(id: impl Into<Arc<str>>) -> Self {
                Self(id.into())
            }

            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<String> for $name {
            fn from(id: String) -> Self {
                Self(id.into())
            }
        }

        impl From<$name> for Arc<str> {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    };
}

opaque_id! {
    /// The control plane's identity of one cluster: the unit of authorisation.
    ClusterId
}
opaque_id! {
    /// One unit of intent for one cluster. The same id on every delivery.
    JobId
}
opaque_id! {
    /// A tenant: owns clusters and tokens.
    OrganizationId
}
opaque_id! {
    /// One run of an operator process (`X-Vworkspace-Session`): a new one at every start.
    SessionId
}
opaque_id! {
    /// The public part of a token of ours: names it in lists and revocations, proves nothing.
    TokenId
}
