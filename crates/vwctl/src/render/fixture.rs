//! Bodies as a control plane might answer them.

use jiff::Timestamp;
use vworkspace_protocol::{
    ClusterId, Condition, ConditionStatus, JobId, ObjectRef,
    admin::{
        ApiToken, Cluster, Job, JobState, JobTarget, Organization, Presence, RegistrationToken, Resource,
        TimelineEntry,
    },
    id::{OrganizationId, TokenId},
};

/// So many seconds into the story.
pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + second).unwrap()
}

pub(crate) fn organization() -> Organization {
    Organization {
        id: OrganizationId::new("org-1"),
        name: "acme".to_owned(),
        created_at: at(0),
        archived_at: None,
    }
}

pub(crate) fn cluster() -> Cluster {
    Cluster {
        id: ClusterId::new("cl-1"),
        organization_id: OrganizationId::new("org-1"),
        name: "clinic-1".to_owned(),
        presence: Presence::Connected,
        last_seen: Some(at(88)),
        registered_at: Some(at(10)),
        agent: "vworkspace-operator/0.1.0".to_owned(),
        capabilities: vec!["status".to_owned(), "deadline".to_owned()],
        operator_version: "0.1.0".to_owned(),
        kubernetes_version: "v1.33.1".to_owned(),
        conditions: vec![condition("Connected", ConditionStatus::True, "RoundTripOK", "")],
        identity_conflict: None,
        kept_session: None,
        held_jobs: 0,
        unknown_results: 0,
        created_at: at(5),
        archived_at: None,
        as_of: at(100),
    }
}

pub(crate) fn api_token() -> ApiToken {
    ApiToken { id: TokenId::new("0123456789abcdef"), description: "deploy bot".to_owned(), created_at: at(3) }
}

pub(crate) fn registration_token() -> RegistrationToken {
    RegistrationToken {
        id: TokenId::new("fedcba9876543210"),
        cluster_id: ClusterId::new("cl-1"),
        created_at: at(3),
        expires_at: at(86_403),
    }
}

pub(crate) fn condition(type_: &str, status: ConditionStatus, reason: &str, message: &str) -> Condition {
    Condition {
        type_: type_.to_owned(),
        status,
        observed_generation: 1,
        last_transition_time: Some(at(20)),
        reason: reason.to_owned(),
        message: message.to_owned(),
    }
}

/// A job that is being worked on.
pub(crate) fn job() -> Job {
    let entry = |seq, state, cause: &str| TimelineEntry {
        seq,
        at: at(i64::from(seq)),
        state,
        cause: cause.to_owned(),
    };
    Job {
        id: JobId::new("job-1"),
        cluster_id: ClusterId::new("cl-1"),
        kind: "intent".to_owned(),
        target: JobTarget {
            kind: "ApplicationInstance".to_owned(),
            namespace: "demo".to_owned(),
            name: "web".to_owned(),
        },
        state: JobState::Acked,
        outcome: None,
        error: String::new(),
        conflicts: Vec::new(),
        applied_ref: None,
        idempotency_key: "key-1".to_owned(),
        deliveries: 0,
        phase: "Reconciling".to_owned(),
        conditions: vec![condition("Ready", ConditionStatus::Unknown, "Progressing", "running 'install'")],
        held_since: None,
        created_at: at(1),
        expires_at: None,
        timeline: vec![
            entry(1, JobState::Queued, "enqueued by admin"),
            entry(2, JobState::Leased, "leased to session 8f2"),
            entry(3, JobState::Acked, "acked"),
        ],
        as_of: at(60),
    }
}

pub(crate) fn application() -> Resource {
    Resource {
        cluster_id: ClusterId::new("cl-1"),
        resource_ref: ObjectRef {
            api_version: "apps.vworkspace.io/v1alpha1".to_owned(),
            kind: "ApplicationInstance".to_owned(),
            namespace: "demo".to_owned(),
            name: "web".to_owned(),
            uid: "uid-1".to_owned(),
            generation: 1,
        },
        conditions: vec![
            condition("Ready", ConditionStatus::True, "HelmReleaseReady", "Helm install succeeded"),
            condition("Reconciling", ConditionStatus::False, "Stable", ""),
        ],
        as_of: at(60),
    }
}
