//! Flags and their environment twins (reference contract, section 10.1; additions in contract, sections 4 and 8).

use clap::{ArgAction, Parser, ValueEnum};
use jiff::SignedDuration;
use std::{path::PathBuf, time::Duration};
use vworkspace_core::canonical::sha256_hex;
use vworkspace_protocol::{
    Secret,
    headers::{AGENT_CAPABILITIES, SCHEMA_PREFIX, SECRETS_REFUSED},
};
use vworkspace_rules::schema;

/// Digits of the schema's digest that are announced.
const SCHEMA_DIGITS: usize = 16;

/// What the program is told at start. Booleans are written as `--flag`, `--flag=true` or `--flag=false`.
#[derive(Clone, Parser)]
#[command(name = "vworkspace-operator", version, about, long_about = None)]
pub struct Args {
    /// Talk to a control plane even without a Cluster object; needs URL, cluster id and token from flags,
    /// environment or the credentials Secret
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    pub agent_enabled: bool,
    /// Base URL of the control plane; wins over the credentials Secret
    #[arg(long, env = "CONTROL_PLANE_BASE_URL", default_value = "", hide_default_value = true)]
    pub control_plane_base_url: String,
    /// Identity of this cluster; wins over the credentials Secret
    #[arg(long, env = "VWORKSPACE_CLUSTER_ID", default_value = "", hide_default_value = true)]
    pub cluster_id: String,
    /// Bearer credential; wins over the credentials Secret
    #[arg(long, env = "VWORKSPACE_AGENT_TOKEN", value_parser = secret, hide_env_values = true)]
    pub agent_token: Option<Secret>,
    /// How long one poll waits for jobs, at most 5m and half of --disconnect-after
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub agent_poll_interval: Duration,
    /// Secret with URL, cluster id, token and CA
    #[arg(long, default_value = vworkspace_crds::key::CREDENTIALS_SECRET)]
    pub agent_credentials_secret: String,
    /// Namespace of that Secret, and of everything else the operator keeps for itself
    #[arg(long, env = "POD_NAMESPACE", default_value = vworkspace_crds::key::DEFAULT_NAMESPACE)]
    pub agent_credentials_namespace: String,
    /// Time without a successful request after which the cluster counts as Disconnected; a poll waits for half of it at most
    #[arg(long, default_value = "60s", value_parser = duration)]
    pub disconnect_after: Duration,
    /// Send the credential over http:// to other machines too
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    pub allow_insecure_http: bool,

    /// What happens to applications whose values look like secrets: everybody may read them who may read the application
    #[arg(long, env = "VWORKSPACE_SECRETS_IN_VALUES", value_enum, default_value_t)]
    pub secrets_in_values: SecretsInValues,

    /// Serve the validating webhooks (not in this version)
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    pub webhooks_enabled: bool,
    /// Shared secret of approval claims (not in this version)
    #[arg(long, env = "VWORKSPACE_APPROVAL_CLAIM_SECRET", value_parser = secret, hide_env_values = true)]
    pub approval_claim_secret: Option<Secret>,
    /// Namespace of Velero (not in this version)
    #[arg(long, env = "VELERO_NAMESPACE", default_value = "velero")]
    pub velero_namespace: String,
    /// Watch SeaweedFS objects (not in this version)
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    pub seaweed_watches_enabled: bool,

    /// Address of /metrics, for example :8443; 0 switches it off
    #[arg(long, default_value = "0")]
    pub metrics_bind_address: String,
    /// Serve /metrics over HTTPS, to callers that may get the path by RBAC
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true")]
    pub metrics_secure: bool,
    /// Folder of the certificate of /metrics; absent: one that signs itself
    #[arg(long)]
    pub metrics_cert_path: Option<PathBuf>,
    /// File name of that certificate
    #[arg(long, default_value = "tls.crt")]
    pub metrics_cert_name: String,
    /// File name of its key
    #[arg(long, default_value = "tls.key")]
    pub metrics_cert_key: String,
    /// Folder of the webhooks' certificate (not in this version)
    #[arg(long)]
    pub webhook_cert_path: Option<PathBuf>,
    /// File name of that certificate
    #[arg(long, default_value = "tls.crt")]
    pub webhook_cert_name: String,
    /// File name of its key
    #[arg(long, default_value = "tls.key")]
    pub webhook_cert_key: String,
    /// Address of /livez, /readyz and /healthz; 0 switches them off
    #[arg(long, default_value = ":8081")]
    pub health_probe_bind_address: String,
    /// Work only while holding the leader-election lease
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    pub leader_elect: bool,
    /// A lease that was not renewed for so long is a dead replica's
    #[arg(long, default_value = "15s", value_parser = duration)]
    pub leader_elect_lease_duration: Duration,
    /// A leader that could not renew for so long gives up; less than the lease duration
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub leader_elect_renew_deadline: Duration,
    /// Time between two tries to get or renew the lease
    #[arg(long, default_value = "2s", value_parser = duration)]
    pub leader_elect_retry_period: Duration,
    /// Offer HTTP/2 on /metrics
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    pub enable_http2: bool,

    /// Log level: error, warn, info, debug, trace, or directives such as `info,kube=debug`
    #[arg(long, env = "RUST_LOG", default_value = "info")]
    pub zap_log_level: String,
    /// Accepted for compatibility; logs are always JSON
    #[arg(long, hide = true, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    pub zap_devel: bool,
    /// Accepted for compatibility; logs are always JSON
    #[arg(long, hide = true)]
    pub zap_encoder: Option<String>,
    /// Accepted for compatibility
    #[arg(long, hide = true)]
    pub zap_stacktrace_level: Option<String>,
    /// Accepted for compatibility; times are always RFC 3339
    #[arg(long, hide = true)]
    pub zap_time_encoding: Option<String>,
}

/// What happens to applications whose values look like secrets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum SecretsInValues {
    /// They are installed, with the condition `Insecure`
    #[default]
    Warn,
    /// They are refused
    Refuse,
}

impl Args {
    /// What the agent announces to the control plane.
    pub fn capabilities(&self) -> String {
        let digest: String = sha256_hex(schema::TEXT.as_bytes()).chars().take(SCHEMA_DIGITS).collect();
        let common = format!("{AGENT_CAPABILITIES}, {SCHEMA_PREFIX}{digest}");
        match self.secrets_in_values {
            SecretsInValues::Warn => common,
            SecretsInValues::Refuse => format!("{common}, {SECRETS_REFUSED}"),
        }
    }

    /// The credential, if one is given here.
    pub fn given_token(&self) -> Option<&Secret> {
        self.agent_token.as_ref().filter(|token| !token.is_empty())
    }

    /// Flags that were given but do nothing in this version, to be told in the log.
    pub fn without_effect(&self) -> Vec<&'static str> {
        let given = [
            ("--webhooks-enabled", self.webhooks_enabled),
            ("--approval-claim-secret", self.approval_claim_secret.is_some()),
            ("--seaweed-watches-enabled", self.seaweed_watches_enabled),
        ];
        given.into_iter().filter_map(|(flag, given)| given.then_some(flag)).collect()
    }
}

fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text))
}

/// A duration as Go writes it: `30s`, `1h30m`, `500ms`.
fn duration(text: &str) -> Result<Duration, String> {
    let span: SignedDuration =
        text.parse().map_err(|_| format!("{text:?} is not a duration such as 30s or 1h30m"))?;
    Duration::try_from(span).map_err(|_| format!("{text:?} is negative"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn parse(args: &[&str]) -> Args {
        Args::try_parse_from([&["vworkspace-operator"], args].concat()).unwrap()
    }

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn schema_and_mode_of_the_guard_are_announced() {
        let warns = parse(&[]).capabilities();
        assert!(warns.starts_with(AGENT_CAPABILITIES) && warns.contains(", schema-"), "{warns}");
        assert!(!warns.contains("secrets-refused"));
        let refuses = parse(&["--secrets-in-values=refuse"]).capabilities();
        assert_eq!(refuses, format!("{warns}, secrets-refused"));
    }

    #[test]
    fn booleans_are_written_as_go_writes_them() {
        assert!(parse(&["--agent-enabled=true"]).agent_enabled);
        assert!(parse(&["--agent-enabled"]).agent_enabled);
        assert!(!parse(&["--metrics-secure=false"]).metrics_secure);
        assert!(parse(&["--leader-elect", "--agent-poll-interval=1m30s"]).leader_elect);
    }

    #[test]
    fn durations_are_written_as_go_writes_them() {
        assert_eq!(parse(&["--agent-poll-interval=1m30s"]).agent_poll_interval, Duration::from_secs(90));
        assert!(Args::try_parse_from(["x", "--agent-poll-interval=soon"]).is_err());
    }

    #[test]
    fn an_unknown_flag_names_the_nearest() {
        let error = Args::try_parse_from(["x", "--agent-enable=true"]).err().unwrap().to_string();
        assert!(error.contains("--agent-enabled"), "{error}");
    }
}
