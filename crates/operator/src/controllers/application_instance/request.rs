//! A job's request: Flux looks at what it reconciles for the instance, and says when it has (contract, section 7). Pure.
//!
//! ```text
//!   job ─► ApplicationInstance  request: J ─► source       requestedAt: J, request: J ─► lastHandledReconcileAt ─┐
//!                                          └► HelmRelease  requestedAt: J, request: J ─► lastHandledReconcileAt ─┤
//!   job ◄─ status.handledRequest: J ◄──────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! An unchanged spec keeps its generation, and with it Flux's old conditions. So each job that waits for its goal is a
//! request of its own.
//!
//! # Guarantees
//! A request is passed on once to each object, in one write with the mark that says so. Other requests, from people or for
//! changed values, replace `requestedAt` and are not overwritten; the one that stands counts.

use crate::flux::observed::HelmRelease;
use std::collections::BTreeMap;
use vworkspace_crds::{ApplicationInstance, key};

/// What a job asks Flux for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The job.
    pub id: &'a str,
    /// Upgrade even if nothing changed.
    pub is_forced: bool,
}

/// Annotations as they are written.
pub type Annotations = BTreeMap<&'static str, String>;

/// The request that an instance carries.
pub fn of(instance: &ApplicationInstance) -> Option<Request<'_>> {
    let annotations = instance.metadata.annotations.as_ref()?;
    let id = annotations.get(key::REQUEST)?;
    Some(Request { id, is_forced: annotations.get(key::FORCED_REQUEST) == Some(id) })
}

impl Request<'_> {
    /// What a source gets; empty if it has the request already.
    pub fn for_source(&self, carried: Option<&BTreeMap<String, String>>) -> Annotations {
        let is_passed_on =
            carried.and_then(|carried| carried.get(key::REQUEST)).is_some_and(|id| id == self.id);
        if is_passed_on {
            return Annotations::new();
        }
        BTreeMap::from([key::REQUEST, key::FLUX_REQUESTED_AT].map(|name| (name, self.id.to_owned())))
    }

    /// What the release gets; empty if it has the request already. Failures are cleared, so that Flux tries again.
    pub fn for_release(&self, release: &HelmRelease) -> Annotations {
        let mut annotations = self.for_source(release.metadata.annotations.as_ref());
        if annotations.is_empty() {
            return annotations;
        }
        if release.has_failed() {
            annotations.insert(key::FLUX_RESET_AT, self.id.to_owned());
        }
        if self.is_forced {
            annotations.insert(key::FLUX_FORCE_AT, self.id.to_owned());
        }
        annotations
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const REQUEST: Request<'_> = Request { id: "j2", is_forced: false };

    fn release(annotations: &Value, status: &Value) -> HelmRelease {
        let metadata = json!({"name": "app", "generation": 1, "annotations": annotations});
        serde_json::from_value(json!({"metadata": metadata, "status": status})).unwrap()
    }

    fn names(annotations: &Annotations) -> Vec<&str> {
        assert!(annotations.values().all(|value| value == "j2"));
        annotations.keys().copied().collect()
    }

    #[test]
    fn request_is_passed_on_once_whoever_asks_after_it() {
        let carried = |request: &str, at: &str| json!({key::REQUEST: request, key::FLUX_REQUESTED_AT: at});
        let annotations = |carried: &Value| REQUEST.for_release(&release(carried, &json!({})));
        let both = [key::REQUEST, key::FLUX_REQUESTED_AT];
        assert_eq!(names(&annotations(&json!({}))), both);
        assert_eq!(names(&annotations(&carried("j1", "j1"))), both);
        assert!(annotations(&carried("j2", "j2")).is_empty());
        assert!(annotations(&carried("j2", "2026-11-29T12:00:00Z")).is_empty());
    }

    #[test]
    fn failures_are_cleared_only_where_there_are_some() {
        let stalled = json!({"conditions": [{"type": "Stalled", "status": "True", "observedGeneration": 1}]});
        let retrying = json!({"failures": 2});
        for status in [stalled, retrying] {
            let annotations = REQUEST.for_release(&release(&json!({}), &status));
            assert!(annotations.contains_key(key::FLUX_RESET_AT), "{status}");
        }
        let healthy = json!({"failures": 0, "conditions": [{"type": "Ready", "status": "True"}]});
        assert!(!REQUEST.for_release(&release(&json!({}), &healthy)).contains_key(key::FLUX_RESET_AT));
    }

    #[test]
    fn upgrade_is_forced_only_when_this_job_asks_for_it() {
        let instance = |annotations: Value| -> ApplicationInstance {
            serde_json::from_value(json!({
                "metadata": {"name": "app", "annotations": annotations}, "spec": {"appRef": {"catalogId": "x"}},
            }))
            .unwrap()
        };
        let forced = instance(json!({key::REQUEST: "j2", key::FORCED_REQUEST: "j2"}));
        let annotations = of(&forced).unwrap().for_release(&release(&json!({}), &json!({})));
        assert!(annotations.contains_key(key::FLUX_FORCE_AT));
        let of_another_job = instance(json!({key::REQUEST: "j2", key::FORCED_REQUEST: "j1"}));
        assert_eq!(of(&of_another_job), Some(REQUEST));
        assert_eq!(of(&instance(json!({}))), None);
    }
}
