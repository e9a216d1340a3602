//! The command line. Every flag has an environment twin, `VWORKSPACE_SERVER_…`; the flag wins.

use crate::address::Network;
use clap::{Args, Parser, Subcommand, builder::RangedI64ValueParser, value_parser};
use jiff::SignedDuration;
use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// The vWorkspace control plane: identities, jobs, audit, isolation of tenants.
#[derive(Parser, Debug)]
#[command(name = "vworkspace-server", version)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program can do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run the control plane until SIGTERM or Ctrl-C.
    Serve(Serve),
    /// Make a certificate for `serve`, and an authority to issue it where the folder has none.
    ///
    /// Clients trust the authority's certificate, ca.crt: `vwctl --ca`, and the Secret that a Cluster's
    /// spec.controlPlaneCASecretRef names. Keep ca.key away from the server: whoever has it can pose as the control plane.
    Certificate(Certificate),
    /// Print the OpenAPI document of both APIs.
    Openapi,
}

/// Settings of `certificate`.
#[derive(Args, Clone, Debug)]
pub struct Certificate {
    /// Host name or IP address that clients use; may be repeated.
    #[arg(long = "name", value_name = "NAME", required = true)]
    pub names: Vec<String>,
    /// Folder of ca.crt, ca.key, tls.crt and tls.key; made when absent.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Days that the certificate is valid.
    #[arg(long, default_value_t = 397, value_parser = value_parser!(u16).range(1..=3650))]
    pub days: u16,
    /// Replace tls.crt and tls.key; the authority stays. A running server takes the new ones up by itself.
    #[arg(long)]
    pub replace: bool,
}

/// Settings of `serve`.
#[derive(Args, Clone, Debug)]
pub struct Serve {
    /// Folder of the database; made when absent, readable by its owner alone.
    #[arg(long, env = "VWORKSPACE_SERVER_DATA_DIR")]
    pub data_dir: PathBuf,
    /// Address to listen on; port 0 picks a free one, which is printed.
    #[arg(long, env = "VWORKSPACE_SERVER_LISTEN", default_value = "127.0.0.1:8443")]
    pub listen: SocketAddr,
    /// Certificate chain, PEM; read again when it changes.
    #[arg(long, env = "VWORKSPACE_SERVER_TLS_CERT", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Private key, PEM; read again when it changes.
    #[arg(long, env = "VWORKSPACE_SERVER_TLS_KEY", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Address of /metrics, which counts over all tenants; defaults to off. Plain HTTP on loopback, else the certificate.
    #[arg(long, env = "VWORKSPACE_SERVER_METRICS_LISTEN")]
    pub metrics_listen: Option<SocketAddr>,
    /// How often the certificate files are looked at.
    #[arg(long, env = "VWORKSPACE_SERVER_TLS_RELOAD_EVERY", default_value = "10s", value_parser = duration)]
    pub tls_reload_every: Duration,
    /// Serve plain HTTP on an address that is not loopback. Tokens then travel readable.
    #[arg(long, env = "VWORKSPACE_SERVER_ALLOW_INSECURE_HTTP")]
    pub allow_insecure_http: bool,
    /// How long a delivered job stays hidden before it is redelivered, unless acked.
    #[arg(long, env = "VWORKSPACE_SERVER_JOB_LEASE", default_value = "30s", value_parser = duration)]
    pub job_lease: Duration,
    /// How long an agent's session may be silent before its acked jobs are offered again.
    #[arg(long, env = "VWORKSPACE_SERVER_STALE_SESSION", default_value = "10m", value_parser = duration)]
    pub stale_session: Duration,
    /// How long a cluster may be silent before it is shown as disconnected.
    #[arg(long, env = "VWORKSPACE_SERVER_DISCONNECT_AFTER", default_value = "60s", value_parser = duration)]
    pub disconnect_after: Duration,
    /// Days that ended jobs are kept, with their timelines and their idempotency keys.
    #[arg(long, env = "VWORKSPACE_SERVER_KEEP_JOBS_DAYS", default_value_t = 30, value_parser = days())]
    pub keep_jobs_days: u32,
    /// Days that events are kept; objects' current conditions stay.
    #[arg(long, env = "VWORKSPACE_SERVER_KEEP_EVENTS_DAYS", default_value_t = 30, value_parser = days())]
    pub keep_events_days: u32,
    /// Days that audit records are kept.
    #[arg(long, env = "VWORKSPACE_SERVER_KEEP_AUDIT_DAYS", default_value_t = 365, value_parser = days())]
    pub keep_audit_days: u32,
    /// Days that credentials and registration tokens are kept after they expired, or after they were dropped unused.
    #[arg(long, env = "VWORKSPACE_SERVER_KEEP_TOKENS_DAYS", default_value_t = 30, value_parser = days())]
    pub keep_tokens_days: u32,
    /// Most requests at a time, waiting polls included; one more is answered 503. Of connections there may be 1,000 more,
    /// which wait for their next request or ask for the probes.
    #[arg(long, env = "VWORKSPACE_SERVER_MAX_REQUESTS", default_value_t = 20_000)]
    pub max_requests: usize,
    /// Network of a proxy whose X-Forwarded-For is believed, for example 10.0.0.0/8; may be repeated.
    #[arg(
        long = "trusted-proxy",
        env = "VWORKSPACE_SERVER_TRUSTED_PROXIES",
        value_name = "CIDR",
        value_delimiter = ','
    )]
    pub trusted_proxies: Vec<Network>,
    /// The data directory was restored from a backup: hold every open job until it is released or cancelled. Give it for the
    /// first start alone; held jobs stay held.
    #[arg(long, env = "VWORKSPACE_SERVER_RESTORED")]
    pub restored: bool,
    /// Most clusters of one organization, archived ones not counted.
    #[arg(
        long,
        env = "VWORKSPACE_SERVER_MAX_CLUSTERS_PER_ORGANIZATION",
        default_value_t = 1_000,
        value_name = "N"
    )]
    pub max_clusters_per_organization: u32,
    /// Most registration tokens of one organization that wait to be used.
    #[arg(long, env = "VWORKSPACE_SERVER_MAX_REGISTRATION_TOKENS_PER_ORGANIZATION", default_value_t = 1_000)]
    #[arg(value_name = "N")]
    pub max_registration_tokens_per_organization: u32,
    /// Most API tokens of one organization, and of the administrators.
    #[arg(long, env = "VWORKSPACE_SERVER_MAX_API_TOKENS_PER_ORGANIZATION", default_value_t = 100)]
    #[arg(value_name = "N")]
    pub max_api_tokens_per_organization: u32,
    /// What is logged, for example `info` or `info,vworkspace_server=debug`.
    #[arg(long, env = "VWORKSPACE_SERVER_LOG", default_value = "info")]
    pub log: String,
}

/// One day to a hundred years.
fn days() -> RangedI64ValueParser<u32> {
    value_parser!(u32).range(1..=36_500)
}

fn duration(text: &str) -> Result<Duration, String> {
    text.parse::<SignedDuration>()
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "write a positive duration such as 30s, 10m or 1h30m".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn durations_are_positive_and_have_units() {
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        for wrong in ["", "30", "-1s", "0s", "soon"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_certificate_needs_its_key() {
        let line = ["vworkspace-server", "serve", "--data-dir", "d", "--tls-cert", "c"];
        assert!(Arguments::try_parse_from(line).is_err());
    }
}
