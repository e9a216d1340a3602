//! What can go wrong around a reconcile, and what each kind of error leads to.

use super::{situation::Situation, validate::Refusal};
use kube::core::Status;
use thiserror::Error;
use vworkspace_protocol::condition::reasons;

/// A failed step.
#[derive(Debug, Error)]
pub enum Error {
    /// A call to the API server failed.
    #[error("cannot {action} {what}")]
    Call {
        /// What was tried: `read`, `apply`, `delete`, ….
        action: &'static str,
        /// With which object.
        what: String,
        /// Why not.
        #[source]
        source: kube::Error,
    },
    /// An object of Flux is not shaped as its API says.
    #[error("{what} cannot be understood")]
    Unreadable {
        /// Which object.
        what: String,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// Referenced values, or the Secret with the key of their digests, are not shaped as Kubernetes says. The cause is
    /// left out: it may quote a secret.
    #[error("{what} cannot be understood")]
    UnreadableValues {
        /// Which object.
        what: String,
    },
    /// The Secret with the key of the digests of values comes and goes.
    #[error("the key of the digests of values can neither be read nor created")]
    NoValuesKey,
    /// A rule that only the live objects show.
    #[error("refused")]
    Refused(#[from] Refusal),
    /// The watch of our own objects ended although nobody asked for it.
    #[error("the controller's input ended")]
    InputEnded,
}

/// What an error calls for; also its label in metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Category {
    /// The user has to change something: told, and not tried again before a change.
    User,
    /// The cluster's admin has to change something: told, and tried again slowly.
    Environment,
    /// Another field manager holds a field: told, and not looped.
    Conflict,
    /// Passes by itself: tried again with back-off.
    Transient,
}

impl Error {
    /// What the error calls for.
    pub fn category(&self) -> Category {
        match self {
            Self::Refused(_) => Category::User,
            Self::Unreadable { .. }
            | Self::UnreadableValues { .. }
            | Self::NoValuesKey
            | Self::InputEnded => Category::Transient,
            Self::Call { source, .. } => status_of(source).map_or(Category::Transient, category),
        }
    }

    /// What to tell of it on the instance; `None` where only trying again helps.
    pub fn situation(&self) -> Option<Situation> {
        match self {
            Self::Refused(refusal) => Some(Situation::Refused(refusal.clone())),
            Self::Unreadable { .. }
            | Self::UnreadableValues { .. }
            | Self::NoValuesKey
            | Self::InputEnded => None,
            Self::Call { action, what, source } => situation(action, what, status_of(source)?),
        }
    }
}

fn situation(action: &str, what: &str, status: &Status) -> Option<Situation> {
    match category(status) {
        Category::Transient => None,
        Category::User => {
            let message = status.message.clone();
            Some(Situation::Refused(Refusal::ApiServer { what: what.to_owned(), message }))
        }
        Category::Conflict => Some(Situation::Unavailable {
            reason: reasons::FIELD_CONFLICT,
            message: format!("cannot {action} {what} without force: {}", conflicts(status)),
        }),
        Category::Environment if status.code == 404 => Some(Situation::Unavailable {
            reason: reasons::DEPENDENCY_MISSING,
            message: format!("Flux is absent or too old: the API server does not serve {what}"),
        }),
        Category::Environment => Some(Situation::Unavailable {
            reason: reasons::ACCESS_DENIED,
            message: format!("cannot {action} {what}: {}", status.message),
        }),
    }
}

fn category(status: &Status) -> Category {
    match status.code {
        // A conflict without causes is a stale read; the next one is fresh.
        409 if status.details.as_ref().is_some_and(|details| !details.causes.is_empty()) => {
            Category::Conflict
        }
        403 => Category::Environment,
        404 if names_no_object(status) => Category::Environment,
        400 | 422 => Category::User,
        _ => Category::Transient,
    }
}

/// `.spec.chart is owned by kubectl, …`, from the causes of a refused server-side apply.
fn conflicts(status: &Status) -> String {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let words = causes.map(|cause| format!("{} has {}", owner(&cause.message), cause.field));
    words.collect::<Vec<_>>().join("; ")
}

/// The manager's name out of `conflict with "name" using apiVersion`.
fn owner(message: &str) -> &str {
    message.split('"').nth(1).unwrap_or("another manager")
}

fn status_of(error: &kube::Error) -> Option<&Status> {
    match error {
        kube::Error::Api(status) => Some(status),
        _ => None,
    }
}

/// Whether the object is absent, while its kind is served.
pub fn is_absent(error: &kube::Error) -> bool {
    status_of(error).is_some_and(|status| status.code == 404 && !names_no_object(status))
}

/// Whether the kind itself is not served.
pub fn is_unserved(error: &kube::Error) -> bool {
    status_of(error).is_some_and(|status| status.code == 404 && names_no_object(status))
}

/// A kind that is not served answers 404 as an absent object does, but names no object.
fn names_no_object(status: &Status) -> bool {
    status.details.as_ref().is_none_or(|details| details.name.is_empty())
}

/// Whether the operator has no right to do it.
pub fn is_denied(error: &kube::Error) -> bool {
    status_of(error).is_some_and(|status| status.code == 403)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn call(status: serde_json::Value) -> Error {
        let status: Status = serde_json::from_value(status).unwrap();
        Error::Call {
            action: "apply",
            what: "HelmRelease shop".into(),
            source: kube::Error::Api(status.boxed()),
        }
    }

    #[test]
    fn a_field_conflict_names_manager_and_field() {
        let error = call(json!({"code": 409, "reason": "Conflict", "details": {"causes": [
            {"reason": "FieldManagerConflict", "message": "conflict with \"kubectl\" using v2", "field": ".spec.timeout"},
        ]}}));
        assert_eq!(error.category(), Category::Conflict);
        let Some(Situation::Unavailable { reason, message }) = error.situation() else {
            unreachable!("not told")
        };
        assert_eq!(reason, "FieldConflict");
        assert_eq!(message, "cannot apply HelmRelease shop without force: kubectl has .spec.timeout");
    }

    #[test]
    fn a_stale_read_is_only_tried_again() {
        let error = call(json!({"code": 409, "reason": "Conflict"}));
        assert_eq!((error.category(), error.situation()), (Category::Transient, None));
        assert_eq!(call(json!({"code": 503})).situation(), None);
    }

    #[test]
    fn an_absent_object_is_not_an_absent_kind() {
        let Error::Call { source, .. } =
            call(json!({"code": 404, "reason": "NotFound", "details": {"name": "shop"}}))
        else {
            unreachable!("a call");
        };
        assert!(is_absent(&source) && !is_unserved(&source));
        let Error::Call { source, .. } = call(json!({"code": 404, "message": "404 page not found"})) else {
            unreachable!("a call");
        };
        assert!(is_unserved(&source) && !is_absent(&source));
    }

    #[test]
    fn missing_rights_and_refused_objects_are_told_apart() {
        let denied = call(json!({"code": 403, "message": "forbidden"}));
        assert_eq!(denied.category(), Category::Environment);
        assert!(matches!(denied.situation(), Some(Situation::Unavailable { reason: "AccessDenied", .. })));
        let refused = call(json!({"code": 422, "message": "invalid"}));
        assert!(matches!(refused.situation(), Some(Situation::Refused(Refusal::ApiServer { .. }))));
    }
}
