//! Keys of labels, annotations, finalizers, and names of objects that both operators share
//! (reference contract, sections 3.3, 5.1 and 6.4), and what a name is.

/// Label: who put the object there.
pub const MANAGED_BY: &str = "app.vworkspace.io/managed-by";
/// Value of [`MANAGED_BY`] on objects that a job applied.
pub const MANAGED_BY_CONTROL_PLANE: &str = "control-plane";
/// Value of [`MANAGED_BY`] on objects that the operator made by itself.
pub const MANAGED_BY_OPERATOR: &str = "vworkspace-operator";
/// Label: the cluster identity.
pub const CLUSTER_ID: &str = "app.vworkspace.io/cluster-id";
/// Label on Flux objects: the ApplicationInstance they serve.
pub const APPLICATION_INSTANCE: &str = "app.vworkspace.io/application-instance";

/// Label on a Namespace that opens it to the operator, set by the cluster's admin only.
pub const NAMESPACE_GATE: &str = "managed-by";
/// Value of [`NAMESPACE_GATE`] that opens.
pub const NAMESPACE_GATE_OPEN: &str = "vworkspace";

/// Annotation on a Cluster that forces a new registration.
pub const FORCE_REGISTRATION: &str = "ops.vworkspace.io/rotate-credentials";
/// Flux's annotation that asks for a reconcile without changing the generation.
pub const FLUX_REQUESTED_AT: &str = "reconcile.fluxcd.io/requestedAt";
/// Flux's annotation that clears the failures of a HelmRelease, so that it is tried again; counts with the same value as
/// [`FLUX_REQUESTED_AT`].
pub const FLUX_RESET_AT: &str = "reconcile.fluxcd.io/resetAt";
/// Flux's annotation that upgrades a HelmRelease though nothing changed; counts with the same value as
/// [`FLUX_REQUESTED_AT`].
pub const FLUX_FORCE_AT: &str = "reconcile.fluxcd.io/forceAt";
/// Annotation on an ApplicationInstance: the job whose request Flux must handle before the job ends. On Flux objects: the
/// request that was passed on to them last.
pub const REQUEST: &str = "apps.vworkspace.io/request";
/// Annotation on an ApplicationInstance: the job that wants an upgrade even if nothing changed.
pub const FORCED_REQUEST: &str = "apps.vworkspace.io/forced-request";
/// Annotation on Flux objects: SHA-256 of what was applied, so that an unchanged wish is not sent again.
pub const APPLIED_DIGEST: &str = "apps.vworkspace.io/applied-digest";
/// Annotation on a HelmRelease: revision of the referenced values that Flux was last asked to read, a keyed digest.
pub const VALUES_REVISION: &str = "apps.vworkspace.io/values-revision";

/// Finalizer of ApplicationInstance.
pub const APPLICATION_INSTANCE_FINALIZER: &str = "apps.vworkspace.io/finalizer";
/// Finalizer of Operation.
pub const OPERATION_FINALIZER: &str = "ops.vworkspace.io/finalizer";
/// Finalizer of Cluster.
pub const CLUSTER_FINALIZER: &str = "ops.vworkspace.io/cluster-cleanup";

/// Field manager of what jobs apply.
pub const AGENT_FIELD_MANAGER: &str = "vworkspace-agent";
/// Field manager of what the reconcilers write.
pub const OPERATOR_FIELD_MANAGER: &str = "vworkspace-operator";

/// Secret with the credential; keys [`SECRET_URL`], [`SECRET_CLUSTER_ID`], [`SECRET_TOKEN`], [`SECRET_CA`], and additive
/// ones, of which v1 knows nothing.
pub const CREDENTIALS_SECRET: &str = "vworkspace-agent-credentials";
/// Key of [`CREDENTIALS_SECRET`]: base URL of the control plane.
pub const SECRET_URL: &str = "control-plane-base-url";
/// Key of [`CREDENTIALS_SECRET`]: cluster identity.
pub const SECRET_CLUSTER_ID: &str = "cluster-id";
/// Key of [`CREDENTIALS_SECRET`]: bearer credential.
pub const SECRET_TOKEN: &str = "token";
/// Key of [`CREDENTIALS_SECRET`]: PEM certificates that sign the control plane's (additive).
pub const SECRET_CA: &str = "ca.crt";
/// Key of [`CREDENTIALS_SECRET`]: when the credential was issued, RFC 3339 (additive).
pub const SECRET_ISSUED_AT: &str = "issued-at";
/// Key of [`CREDENTIALS_SECRET`]: when it ends unless rotated, RFC 3339 (additive).
pub const SECRET_EXPIRES_AT: &str = "expires-at";
/// Key of [`CREDENTIALS_SECRET`]: a credential that rotation gave and no answer confirmed yet, with what is known of it,
/// as JSON; absent while no rotation is under way (additive). [`SECRET_TOKEN`] is the one it follows.
pub const SECRET_NEXT: &str = "next-credential";
/// Key of [`CREDENTIALS_SECRET`]: generation of the Cluster whose wish for a rotation was fulfilled last (additive).
pub const SECRET_ROTATED: &str = "rotated-generation";
/// Key of [`CREDENTIALS_SECRET`]: id of the last job whose wish for a rotation was fulfilled (additive).
pub const SECRET_ROTATED_JOB: &str = "rotated-job";
/// Key of [`CREDENTIALS_SECRET`]: id of the rotation that gave this credential; absent after a registration (additive).
pub const SECRET_ROTATION: &str = "rotation-id";
/// Key of [`CREDENTIALS_SECRET`]: former credentials and what else is remembered of this control plane, as JSON, bound to
/// URL, CA, identity and current credential (additive).
pub const SECRET_HISTORY: &str = "credential-history";
/// Default key of the registration token in its Secret.
pub const REGISTRATION_TOKEN_KEY: &str = "registrationToken";

/// Secret with the key of the digests in [`VALUES_REVISION`]; created on first use.
pub const VALUES_KEY_SECRET: &str = "vworkspace-values-key";
/// Key of [`VALUES_KEY_SECRET`]: 32 random bytes.
pub const VALUES_KEY: &str = "hmac.key";

/// ConfigMap with the keys of the jobs that took effect.
pub const APPLIED_JOBS: &str = "vworkspace-applied-jobs";
/// Key of [`APPLIED_JOBS`]: JSON array of idempotency keys, as the reference reads it.
pub const APPLIED_KEYS: &str = "applied-keys.json";
/// Label on what outlives the agent's process: the Secrets of open jobs, the ConfigMaps of shards.
pub const JOURNAL: &str = "agent.vworkspace.io/journal";
/// Value of [`JOURNAL`] on the Secrets: one per open job.
pub const JOURNAL_OF_JOBS: &str = "jobs";
/// Value of [`JOURNAL`] on the ledger's shards, and part of their names: `vworkspace-ledger-<number>`.
pub const JOURNAL_OF_LEDGER: &str = "ledger";
/// Value of [`JOURNAL`] on the shards of what was told, and part of their names: `vworkspace-events-<number>`.
pub const JOURNAL_OF_EVENTS: &str = "events";
/// The only key of a shard: its records, as a JSON array.
pub const JOURNAL_SHARD: &str = "records.json";
/// Start of the names of the Secrets; a digest of the job's id follows.
pub const JOURNAL_SECRET_PREFIX: &str = "vworkspace-job-";
/// Their only key: the job and how far it got, as JSON.
pub const JOURNAL_RECORD: &str = "record.json";
/// Namespace of the operator when `POD_NAMESPACE` does not say.
pub const DEFAULT_NAMESPACE: &str = "vworkspace-system";
/// Leader-election lease.
pub const LEASE: &str = "dad03b25.vworkspace.io";

/// Whether a text is a name that an object can have. Names become segments of a path: whatever else a text may hold could
/// lead to another object, to all there are, or to no path at all.
pub fn is_name(text: &str) -> bool {
    let is_inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(byte);
    let is_outer = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.iter().all(is_inner) && is_outer(bytes.first()) && is_outer(bytes.last())
}

#[cfg(test)]
mod tests {
    use super::is_name;

    #[test]
    fn a_name_is_a_segment_of_a_path_and_nothing_else() {
        assert!(["a", "web-1", "a.b", "0"].into_iter().all(is_name));
        for none in ["", ".", "..", "a/b", "a b", "a?", "a#", "A", "-a", "a-", "\u{e4}", "%61"] {
            assert!(!is_name(none), "{none}");
        }
    }
}
