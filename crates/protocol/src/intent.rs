//! Intents: small records the operator turns into custom resources locally.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Payload of an `intent` job. The set is open: a name this build does not know is a clear error for that
/// job alone (reference contract, section 3.2).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "intent", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Intent {
    /// Apply this ApplicationInstance.
    EnsureApplicationInstance {
        /// The full object, with `apiVersion` and `kind`.
        application_instance: Value,
    },
    /// Apply this Operation.
    RequestOperation {
        /// The full object, with `apiVersion` and `kind`.
        operation: Value,
    },
    /// Delete this ApplicationInstance and wait until it is gone.
    DeleteApplicationInstance {
        /// Name of the instance.
        name: String,
        /// Namespace of the instance.
        #[serde(default)]
        namespace: String,
    },
    /// Exchange the cluster's bearer credential for a new one.
    RotateOperatorCredentials,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_members_are_those_of_v1() {
        let intent: Intent =
            serde_json::from_str(r#"{"intent":"delete-application-instance","name":"a","namespace":"n"}"#)
                .unwrap();
        assert_eq!(intent, Intent::DeleteApplicationInstance { name: "a".into(), namespace: "n".into() });
        let text =
            serde_json::to_string(&Intent::EnsureApplicationInstance { application_instance: 1.into() })
                .unwrap();
        assert_eq!(text, r#"{"intent":"ensure-application-instance","applicationInstance":1}"#);
    }
}
