//! From an enqueue request to a job that can be stored: every rule about its shape is here.

use crate::canonical::{self, sha256};
use jiff::Timestamp;
use serde_json::{Value, value::RawValue};
use thiserror::Error;
use vworkspace_protocol::{
    JobKind, WaitFor,
    admin::{EnqueueJob, JobTarget},
    limits::{IDEMPOTENCY_KEY_BYTES, JOB_PAYLOAD_BYTES, MAX_DEADLINE},
    problem::code,
};

/// Longest name or namespace of a Kubernetes object.
const NAME_BYTES: usize = 253;
/// The kind that every named intent but one is about.
const APPLICATION_INSTANCE: &str = "ApplicationInstance";

/// The API of [`APPLICATION_INSTANCE`], whose group `delete-application-instance` leaves unsaid.
const APPLICATION_INSTANCE_API: &str = "apps.vworkspace.io/v1alpha1";

/// A job that keeps every rule of the contract.
#[derive(Clone, Debug)]
pub struct AdmittedJob {
    kind: JobKind,
    payload: Box<RawValue>,
    target: JobTarget,
    lane: Lane,
    explicit: Option<ExplicitKey>,
    write: Option<ObjectWrite>,
    expires_at: Option<Timestamp>,
    wait_for: Option<WaitFor>,
    deadline_seconds: Option<u32>,
    retry_seconds: Option<u32>,
    force: bool,
}

/// Digest of a job's target: jobs of one lane take effect in enqueue order.
pub type Lane = [u8; 16];

/// A job that decides about a whole object, so that earlier queued jobs may have become pointless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectWrite {
    /// API group of the object. With the lane it identifies the object: two groups may use one kind.
    pub api_group: String,
    /// What the job does to the object.
    pub effect: Effect,
}

/// What an [`ObjectWrite`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Gives the object a whole new content (`apply`, `ensure-application-instance`). Supersedes older jobs of this
    /// effect that no agent was ever given.
    Replace,
    /// Deletes the object. A later job supersedes nothing that was enqueued before the deletion.
    Delete,
}

/// A key the caller chose, with what must be equal for a repeat to be the same job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplicitKey {
    /// The key.
    pub key: String,
    /// Digest of kind and payload.
    pub content: [u8; 32],
}

/// Why a request is not a job.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refused {
    /// Not `apply`, `delete` or `intent`.
    #[error("kind {0:?} is unknown; use apply, delete or intent")]
    UnknownKind(String),
    /// An intent this control plane does not offer.
    #[error(
        "intent {0:?} is unknown; use ensure-application-instance, request-operation, \
         sync-application-instance, delete-application-instance or rotate-operator-credentials"
    )]
    UnknownIntent(String),
    /// A member the kind needs is absent, empty, too long or not of its type.
    #[error("payload of kind {kind} needs {member}: {rule}")]
    Member {
        /// The job's kind, or the intent's name.
        kind: String,
        /// Path of the member.
        member: &'static str,
        /// What would be right.
        rule: &'static str,
    },
    /// A member stands twice, or the payload is nested too deep.
    #[error("the payload is not accepted: {0}")]
    Ambiguous(String),
    /// A number that the cluster's API server would round.
    #[error(
        "the payload is not accepted: {path} is {number}, which no Kubernetes API server holds exactly; write it as a text"
    )]
    InexactNumber {
        /// Where it stands.
        path: String,
        /// As it is written, cut to 64 bytes.
        number: String,
    },
    /// Over 512 KiB.
    #[error("the payload is {0} bytes; at most {JOB_PAYLOAD_BYTES} are accepted")]
    PayloadTooLarge(usize),
    /// Over 512 bytes.
    #[error("idempotencyKey is {0} bytes; at most {IDEMPOTENCY_KEY_BYTES} are accepted")]
    KeyTooLong(usize),
    /// An explicit key must say something.
    #[error("idempotencyKey must not be empty; leave it out to get a unique one")]
    EmptyKey,
    /// Outside 1 to 604,800.
    #[error("deadlineSeconds must be 1 to {}", MAX_DEADLINE.as_secs())]
    Deadline,
    /// Over 604,800.
    #[error("retrySeconds must be 0 to {}", MAX_DEADLINE.as_secs())]
    Retry,
    /// Not in the future.
    #[error("expiresAt must lie in the future")]
    Expired,
}

impl Refused {
    /// The stable code of this refusal, one of [`vworkspace_protocol::problem::code`].
    pub const fn code(&self) -> &'static str {
        match self {
            Self::PayloadTooLarge(_) | Self::KeyTooLong(_) => code::PAYLOAD_TOO_LARGE,
            Self::Ambiguous(_)
            | Self::InexactNumber { .. }
            | Self::UnknownKind(_)
            | Self::UnknownIntent(_)
            | Self::Member { .. }
            | Self::EmptyKey
            | Self::Deadline
            | Self::Retry
            | Self::Expired => code::INVALID_REQUEST,
        }
    }
}

/// Admits a request. Whether its time has passed is for [`AdmittedJob::start_by`] to say, once it is known that the
/// request is no repeat.
///
/// # Errors
/// The first rule it breaks.
pub fn admit(request: EnqueueJob) -> Result<AdmittedJob, Refused> {
    let kind = known_kind(&request.kind)?;
    let payload = request.payload.get();
    if payload.len() > JOB_PAYLOAD_BYTES {
        return Err(Refused::PayloadTooLarge(payload.len()));
    }
    let canonical = canonical_form(payload)?;
    let value = serde_json::from_str(payload).map_err(|error| Refused::Ambiguous(error.to_string()))?;
    let (target, write) = target(&kind, &value)?;
    if request.deadline_seconds.is_some_and(|s| !(1..=MAX_DEADLINE.as_secs()).contains(&s.into())) {
        return Err(Refused::Deadline);
    }
    if request.retry_seconds.is_some_and(|seconds| u64::from(seconds) > MAX_DEADLINE.as_secs()) {
        return Err(Refused::Retry);
    }
    let explicit = match request.idempotency_key {
        Some(key) => Some(explicit_key(key, &kind, &canonical)?),
        None => None,
    };
    Ok(AdmittedJob {
        lane: lane(&target),
        write,
        kind,
        payload: request.payload,
        target,
        explicit,
        expires_at: request.expires_at,
        wait_for: request.wait_for,
        deadline_seconds: request.deadline_seconds,
        retry_seconds: request.retry_seconds,
        force: request.force,
    })
}

impl AdmittedJob {
    /// `apply`, `delete` or `intent`.
    pub fn kind(&self) -> &JobKind {
        &self.kind
    }

    /// JSON, as it came.
    pub fn payload(&self) -> &str {
        self.payload.get()
    }

    /// The object it is about.
    pub fn target(&self) -> &JobTarget {
        &self.target
    }

    /// What it is ordered by.
    pub fn lane(&self) -> &Lane {
        &self.lane
    }

    /// The caller's own key, if it gave one.
    pub fn explicit_key(&self) -> Option<&ExplicitKey> {
        self.explicit.as_ref()
    }

    /// Whether the job may still start at `now`. A repeat of a job that stands need not: its first answer was lost.
    ///
    /// # Errors
    /// [`Refused::Expired`].
    pub fn start_by(&self, now: Timestamp) -> Result<(), Refused> {
        if self.expires_at.is_some_and(|expiry| expiry <= now) { Err(Refused::Expired) } else { Ok(()) }
    }

    /// After this the job must not start.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }

    /// What success means, if the caller said.
    pub fn wait_for(&self) -> Option<WaitFor> {
        self.wait_for
    }

    /// How long it may wait for its goal, if the caller said.
    pub fn deadline_seconds(&self) -> Option<u32> {
        self.deadline_seconds
    }

    /// How long a failure that may pass is waited out, if the caller said.
    pub fn retry_seconds(&self) -> Option<u32> {
        self.retry_seconds
    }

    /// Whether the application is upgraded even if nothing changed.
    pub fn force(&self) -> bool {
        self.force
    }

    /// The write of a whole object; `None` for `request-operation`, `sync-application-instance` and `rotate-operator-credentials`, which supersede
    /// nothing and are superseded by nothing.
    pub fn object_write(&self) -> Option<&ObjectWrite> {
        self.write.as_ref()
    }
}

fn known_kind(kind: &str) -> Result<JobKind, Refused> {
    match JobKind::from(kind.to_owned()) {
        JobKind::Other(kind) => Err(Refused::UnknownKind(clipped(&kind))),
        kind @ (JobKind::Apply | JobKind::Delete | JobKind::Intent) => Ok(kind),
    }
}

/// The object a job is about, and the write if the job decides about the whole of it.
type Aim = (JobTarget, Option<ObjectWrite>);

impl ObjectWrite {
    fn new(effect: Effect, api_version: &str) -> Self {
        Self { api_group: group(api_version).to_owned(), effect }
    }
}

fn target(kind: &JobKind, payload: &Value) -> Result<Aim, Refused> {
    match kind {
        JobKind::Apply => replaced(payload, "apply", ""),
        JobKind::Delete => delete(payload),
        JobKind::Intent => intent(payload),
        JobKind::Other(kind) => Err(Refused::UnknownKind(clipped(kind))),
    }
}

/// The object that a full manifest replaces.
fn replaced(object: &Value, kind: &str, at: &'static str) -> Result<Aim, Refused> {
    let target = manifest(object, kind, at)?;
    let api_version = object.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    Ok((target, Some(ObjectWrite::new(Effect::Replace, api_version))))
}

/// Reads the target off a full manifest that stands at `at` ("" for the payload itself).
fn manifest(object: &Value, kind: &str, at: &'static str) -> Result<JobTarget, Refused> {
    let within = Within { kind, object };
    if !object.is_object() {
        return Err(within.wrong(
            if at.is_empty() { "a manifest" } else { at },
            "a JSON object with apiVersion, kind and metadata",
        ));
    }
    within.required("/apiVersion", "apiVersion")?;
    Ok(JobTarget {
        kind: within.required("/kind", "kind")?,
        namespace: within.optional("/metadata/namespace", "metadata.namespace")?,
        name: within.required("/metadata/name", "metadata.name")?,
    })
}

fn delete(payload: &Value) -> Result<Aim, Refused> {
    let within = Within { kind: "delete", object: payload };
    let api_version = within.required("/apiVersion", "apiVersion")?;
    let target = JobTarget {
        kind: within.required("/kind", "kind")?,
        namespace: within.optional("/namespace", "namespace")?,
        name: within.required("/name", "name")?,
    };
    Ok((target, Some(ObjectWrite::new(Effect::Delete, &api_version))))
}

fn intent(payload: &Value) -> Result<Aim, Refused> {
    let within = Within { kind: "intent", object: payload };
    let name = within.required("/intent", "intent")?;
    match name.as_str() {
        "ensure-application-instance" => {
            replaced(&payload["applicationInstance"], &name, "applicationInstance")
        }
        "request-operation" => Ok((manifest(&payload["operation"], &name, "operation")?, None)),
        "delete-application-instance" => {
            let target = named_instance(&name, payload)?;
            Ok((target, Some(ObjectWrite::new(Effect::Delete, APPLICATION_INSTANCE_API))))
        }
        "sync-application-instance" => Ok((named_instance(&name, payload)?, None)),
        // The cluster itself; the agent knows which object that is.
        "rotate-operator-credentials" => {
            Ok((JobTarget { kind: "Cluster".to_owned(), ..JobTarget::default() }, None))
        }
        _ => Err(Refused::UnknownIntent(clipped(&name))),
    }
}

/// The instance that an intent names without its manifest.
fn named_instance(intent: &str, payload: &Value) -> Result<JobTarget, Refused> {
    let within = Within { kind: intent, object: payload };
    Ok(JobTarget {
        kind: APPLICATION_INSTANCE.to_owned(),
        namespace: within.optional("/namespace", "namespace")?,
        name: within.required("/name", "name")?,
    })
}

/// Returns `apps.vworkspace.io` for `apps.vworkspace.io/v1alpha1`, and the empty text for the core group's `v1`.
pub fn group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

/// One object being read, and the kind that errors speak about.
struct Within<'a> {
    kind: &'a str,
    object: &'a Value,
}

impl Within<'_> {
    fn required(&self, pointer: &str, member: &'static str) -> Result<String, Refused> {
        match self.optional(pointer, member)? {
            text if text.is_empty() => Err(self.wrong(member, "a text that is not empty")),
            text => Ok(text),
        }
    }

    fn optional(&self, pointer: &str, member: &'static str) -> Result<String, Refused> {
        match self.object.pointer(pointer) {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::String(text)) if text.len() <= NAME_BYTES => Ok(text.clone()),
            Some(Value::String(_)) => Err(self.wrong(member, "at most 253 bytes")),
            Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                Err(self.wrong(member, "a text"))
            }
        }
    }

    fn wrong(&self, member: &'static str, rule: &'static str) -> Refused {
        Refused::Member { kind: self.kind.to_owned(), member, rule }
    }
}

/// What is equal for equal payloads. Numbers that would be rounded on the way to the cluster are refused, and so is what
/// each reader may read in another way.
fn canonical_form(payload: &str) -> Result<Vec<u8>, Refused> {
    let form = canonical::read(payload).map_err(|error| Refused::Ambiguous(error.to_string()))?;
    match form.inexact {
        Some(found) => Err(Refused::InexactNumber { path: found.path, number: clipped(&found.number) }),
        None => Ok(form.bytes),
    }
}

fn explicit_key(key: String, kind: &JobKind, canonical: &[u8]) -> Result<ExplicitKey, Refused> {
    match key.len() {
        0 => Err(Refused::EmptyKey),
        1..=IDEMPOTENCY_KEY_BYTES => {
            let content = sha256(&[kind.as_str().as_bytes(), b"\0", canonical].concat());
            Ok(ExplicitKey { key, content })
        }
        long => Err(Refused::KeyTooLong(long)),
    }
}

fn lane(target: &JobTarget) -> Lane {
    let digest = sha256(format!("{}\0{}\0{}", target.kind, target.namespace, target.name).as_bytes());
    let mut lane = Lane::default();
    lane.copy_from_slice(&digest[..16]);
    lane
}

/// Foreign text in an error: enough to recognise it.
fn clipped(text: &str) -> String {
    vworkspace_protocol::limits::clip(text, 64).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn admit_payload(kind: &str, payload: Value) -> Result<AdmittedJob, Refused> {
        admit(EnqueueJob::new(kind, payload))
    }

    fn instance() -> Value {
        json!({"apiVersion": "apps.vworkspace.io/v1alpha1", "kind": "ApplicationInstance",
               "metadata": {"namespace": "org-a", "name": "web"}, "spec": {}})
    }

    #[test]
    fn every_kind_and_intent_names_the_same_object_the_same_way() {
        let apply = admit_payload("apply", instance()).unwrap();
        let target =
            JobTarget { kind: "ApplicationInstance".into(), namespace: "org-a".into(), name: "web".into() };
        assert_eq!(apply.target(), &target);
        let others = [
            (
                "delete",
                json!({"apiVersion": "a/v1", "kind": "ApplicationInstance", "namespace": "org-a", "name": "web"}),
            ),
            ("intent", json!({"intent": "ensure-application-instance", "applicationInstance": instance()})),
            ("intent", json!({"intent": "delete-application-instance", "namespace": "org-a", "name": "web"})),
        ];
        for (kind, payload) in others {
            let job = admit_payload(kind, payload).unwrap();
            assert_eq!((job.target(), job.lane()), (&target, apply.lane()));
        }
    }

    #[test]
    fn apply_and_ensure_write_one_object_and_operations_none() {
        let write =
            |kind: &str, payload: Value| admit_payload(kind, payload).unwrap().object_write().cloned();
        let of = |api_group: &str, effect| Some(ObjectWrite { api_group: api_group.to_owned(), effect });
        let replaces = of("apps.vworkspace.io", Effect::Replace);
        let deletes = of("apps.vworkspace.io", Effect::Delete);
        let core = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "n"}});
        let operation = json!({"apiVersion": "ops.vworkspace.io/v1alpha1", "kind": "Operation",
                               "metadata": {"namespace": "org-a", "name": "backup"}});
        for (kind, payload, expected) in [
            ("apply", instance(), replaces.clone()),
            (
                "intent",
                json!({"intent": "ensure-application-instance", "applicationInstance": instance()}),
                replaces,
            ),
            ("apply", core, of("", Effect::Replace)),
            (
                "delete",
                json!({"apiVersion": "apps.vworkspace.io/v1", "kind": "A", "name": "n"}),
                deletes.clone(),
            ),
            ("intent", json!({"intent": "delete-application-instance", "name": "web"}), deletes),
            ("intent", json!({"intent": "request-operation", "operation": operation}), None),
            ("intent", json!({"intent": "rotate-operator-credentials"}), None),
        ] {
            assert_eq!(write(kind, payload), expected);
        }
    }

    #[test]
    fn rotating_credentials_is_about_the_cluster() {
        let job = admit_payload("intent", json!({"intent": "rotate-operator-credentials"})).unwrap();
        assert_eq!(job.target().kind, "Cluster");
    }

    #[test]
    fn unknown_kinds_and_intents_are_named() {
        let error = admit_payload("dance", json!({})).unwrap_err();
        assert_eq!(
            (error.code(), error.to_string()),
            (code::INVALID_REQUEST, "kind \"dance\" is unknown; use apply, delete or intent".into())
        );
        let error = admit_payload("intent", json!({"intent": "sing"})).unwrap_err();
        assert!(matches!(&error, Refused::UnknownIntent(name) if name == "sing"));
    }

    #[test]
    fn missing_members_are_named() {
        for (payload, member) in [
            (json!(7), "a manifest"),
            (json!({"kind": "A", "metadata": {"name": "n"}}), "apiVersion"),
            (json!({"apiVersion": "a", "metadata": {"name": "n"}}), "kind"),
            (json!({"apiVersion": "a", "kind": "A", "metadata": {"generateName": "n-"}}), "metadata.name"),
            (json!({"apiVersion": "a", "kind": "A", "metadata": {"name": 5}}), "metadata.name"),
            (json!({"apiVersion": "a", "kind": "A", "metadata": {"name": "x".repeat(254)}}), "metadata.name"),
        ] {
            let error = admit_payload("apply", payload).unwrap_err();
            assert!(error.to_string().contains(member), "{error}");
            assert_eq!(error.code(), code::INVALID_REQUEST);
        }
        let error = admit_payload("intent", json!({"intent": "ensure-application-instance"})).unwrap_err();
        assert!(error.to_string().contains("needs applicationInstance"), "{error}");
    }

    #[test]
    fn sizes_are_bounded_and_say_so() {
        let mut payload = instance();
        payload["spec"]["blob"] = json!("x".repeat(JOB_PAYLOAD_BYTES));
        let error = admit_payload("apply", payload).unwrap_err();
        assert_eq!(error.code(), code::PAYLOAD_TOO_LARGE);
        let mut long = EnqueueJob::new("apply", instance());
        long.idempotency_key = Some("k".repeat(IDEMPOTENCY_KEY_BYTES + 1));
        assert_eq!(admit(long).unwrap_err(), Refused::KeyTooLong(513));
        let mut empty = EnqueueJob::new("apply", instance());
        empty.idempotency_key = Some(String::new());
        assert_eq!(admit(empty).unwrap_err(), Refused::EmptyKey);
    }

    #[test]
    fn deadline_and_expiry_have_bounds() {
        for (seconds, good) in [(0, false), (1, true), (604_800, true), (604_801, false)] {
            let mut job = EnqueueJob::new("apply", instance());
            job.deadline_seconds = Some(seconds);
            assert_eq!(admit(job).is_ok(), good, "{seconds}");
        }
        let mut late = EnqueueJob::new("apply", instance());
        late.expires_at = Some(Timestamp::UNIX_EPOCH);
        assert_eq!(admit(late).unwrap().start_by(Timestamp::UNIX_EPOCH), Err(Refused::Expired));
    }

    fn as_text(payload: &str) -> EnqueueJob {
        let payload = RawValue::from_string(payload.to_owned()).unwrap();
        EnqueueJob { payload, ..EnqueueJob::new("apply", Value::Null) }
    }

    #[test]
    fn payload_stays_as_it_came() {
        let text =
            r#"{ "kind": "A","apiVersion":"a", "metadata": {"name":"n"}, "n": [1.0, 9007199254740993] }"#;
        assert_eq!(admit(as_text(text)).unwrap().payload(), text);
    }

    #[test]
    fn numbers_that_would_be_rounded_and_repeated_members_are_refused_by_path() {
        let with = |spec: &str| {
            let text = format!(r#"{{"apiVersion":"a","kind":"A","metadata":{{"name":"n"}},"spec":{spec}}}"#);
            admit(as_text(&text)).unwrap_err().to_string()
        };
        let rounded = with(r#"{"n": [123456789012345678901]}"#);
        assert!(rounded.contains("spec.n[0] is 123456789012345678901"), "{rounded}");
        let repeated = with(r#"{"a": {"x": 1, "x": 2}}"#);
        assert!(repeated.contains("spec.a.x stands twice"), "{repeated}");
    }

    #[test]
    fn equal_content_under_one_key_does_not_depend_on_member_order() {
        let with_key = |text: &str| {
            let mut job = EnqueueJob::new("apply", serde_json::from_str::<Value>(text).unwrap());
            job.idempotency_key = Some("k".into());
            admit(job).unwrap().explicit_key().unwrap().content
        };
        let one = with_key(r#"{"apiVersion":"a","kind":"A","metadata":{"name":"n"}}"#);
        let two = with_key(r#"{"metadata":{"name":"n"},"kind":"A","apiVersion":"a"}"#);
        let other = with_key(r#"{"metadata":{"name":"m"},"kind":"A","apiVersion":"a"}"#);
        assert_eq!(one, two);
        assert_ne!(one, other);
    }
}
