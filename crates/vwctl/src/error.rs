//! What can go wrong, each with what to do next.

use std::{io, path::PathBuf};
use thiserror::Error;
use vworkspace_client as client;
use vworkspace_protocol::{JobId, problem::code};
use vworkspace_rules::Broken;

/// Why a command did not do what was asked.
#[derive(Debug, Error)]
pub enum Error {
    /// The control plane was asked and did not do it.
    #[error(transparent)]
    Call(#[from] client::Error),
    /// No client can be made.
    #[error(transparent)]
    Settings(#[from] client::SettingsError),
    /// Nothing says which control plane is meant.
    #[error("no control plane is known")]
    NoServer,
    /// There is no token for the control plane meant.
    #[error("there is no token for {server}")]
    NoToken {
        /// Its URL.
        server: String,
    },
    /// There is no stored login where `VWCTL_CONFIG` says that it is.
    #[error("VWCTL_CONFIG names {}, and there is no such file", path.display())]
    NoConfigFile {
        /// The file.
        path: PathBuf,
    },
    /// `login` was not told where.
    #[error("--server says where to log in, and is missing")]
    LoginServer,
    /// `login` got no token.
    #[error("there is no token to log in with")]
    LoginToken,
    /// Neither `VWCTL_CONFIG`, `XDG_CONFIG_HOME` nor `HOME` is set.
    #[error("there is no place to store the login: VWCTL_CONFIG, XDG_CONFIG_HOME and HOME are not set")]
    NoConfigPath,
    /// The stored login cannot be understood.
    #[error("{} is not a vwctl configuration{place}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// Where the fault is, with a comma before it; may be empty.
        place: String,
    },
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is over its bound.
    #[error("{} holds {bytes} bytes or more, and at most {most} are taken", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size, as far as it is known.
        bytes: u64,
        /// The bound.
        most: u64,
    },
    /// A certificate in the binary form.
    #[error("{} holds a certificate as DER, not as PEM", path.display())]
    DerCa {
        /// The file.
        path: PathBuf,
    },
    /// A file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Standard input cannot be read.
    #[error("cannot read standard input")]
    Stdin(#[source] io::Error),
    /// Standard output cannot be written.
    #[error("cannot write to standard output")]
    Stdout(#[source] io::Error),
    /// Something cannot be written as JSON or YAML.
    #[error("cannot write the answer: {0}")]
    Encode(String),
    /// No such thing, or it is not yours.
    #[error("there is no {what} {name:?}{}", or_not_yours(what))]
    Unknown {
        /// What was looked for.
        what: Thing,
        /// As given.
        name: String,
    },
    /// Several have that name.
    #[error("{count} {what}s are named {name:?}")]
    Ambiguous {
        /// What was looked for.
        what: Thing,
        /// As given.
        name: String,
        /// How many.
        count: usize,
    },
    /// An admin's token belongs to no organization.
    #[error("nothing says which organization the cluster is for")]
    NoOrganization,
    /// A file cannot be read as YAML.
    #[error("{} cannot be read as YAML: {reason}", path.display())]
    Yaml {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
        /// The lines around it; may be empty.
        excerpt: String,
    },
    /// The chart's values cannot be used.
    #[error(transparent)]
    Values(#[from] crate::chart_values::Error),
    /// `--file` is not an ApplicationInstance.
    #[error("{} is not an ApplicationInstance: {detail}", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The application is there, and no job about it is known any more.
    #[error(
        "no job about application {name:?} is known any more: jobs are kept for a time, and the newest {most} are looked through"
    )]
    JobsForgotten {
        /// Its name.
        name: String,
        /// How many.
        most: usize,
    },
    /// The file of `job create` holds no job.
    #[error("{} is no job: {detail}", path.display())]
    JobFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The application breaks rules of the cluster.
    #[error("the cluster would refuse the application: {}", listed(faults))]
    Invalid {
        /// Each with its path.
        faults: Vec<Broken>,
    },
    /// The address of the chart holds a password or token, and would show it to everybody.
    #[error("spec.chart.url holds credentials, which everybody may read there; nothing was sent")]
    CredentialsInUrl {
        /// The application.
        name: String,
        /// Its namespace.
        namespace: String,
    },
    /// Values look like secrets.
    #[error("spec.{words}; nothing was sent")]
    SecretsInValues {
        /// Which.
        words: String,
        /// The application.
        name: String,
        /// Its namespace.
        namespace: String,
    },
    /// Neither flag nor URL names the chart.
    #[error("--chart-name is missing: a chart repository holds many charts")]
    NoChartName,
    /// The kubeconfig is missing or cannot be used.
    #[error("cannot use the kubeconfig: {0}")]
    Kubeconfig(String),
    /// The API server of the cluster did not do what it was asked.
    #[error("cannot {action} {what}")]
    Kubernetes {
        /// What was asked for.
        action: &'static str,
        /// The object or kind.
        what: String,
        /// Why.
        source: Box<kube::Error>,
    },
    /// The person did not say yes.
    #[error("not confirmed; nothing was changed")]
    NotConfirmed,
    /// Objects are still there after the time to wait.
    #[error("{count} objects are still in the way")]
    StillInTheWay {
        /// How many.
        count: usize,
    },
    /// Somebody ended this program while it followed a job.
    #[error("ended by {}; job {id} goes on", signal.name)]
    Interrupted {
        /// The job.
        id: JobId,
        /// What ended it.
        signal: Signal,
    },
    /// Somebody ended this program before the control plane answered.
    #[error("ended by {} before the control plane answered; the job may be handed in", .0.name)]
    InterruptedEarly(Signal),
    /// Signals cannot be awaited.
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
    /// A job that was waited for did not succeed.
    #[error("job {id} {how}")]
    JobEnded {
        /// The job.
        id: JobId,
        /// How it ended, with its own error.
        how: String,
    },
}

/// A signal that asks a program to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal {
    /// Its name.
    pub name: &'static str,
    /// Its number.
    pub number: u8,
}

fn listed(faults: &[Broken]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// What names are looked up for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Thing {
    /// A tenant.
    Organization,
    /// A cluster.
    Cluster,
    /// An application in a cluster.
    Application {
        /// The cluster's name or id, as given.
        cluster: String,
    },
    /// A job.
    Job,
    /// A token of the admin API.
    ApiToken,
    /// An open registration token.
    RegistrationToken {
        /// The cluster's name or id, as given.
        cluster: String,
    },
}

impl std::fmt::Display for Thing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Organization => "organization",
            Self::Cluster => "cluster",
            Self::Application { .. } => "application",
            Self::Job => "job",
            Self::ApiToken => "API token",
            Self::RegistrationToken { .. } => "open registration token",
        })
    }
}

/// Ids of jobs are unique in the installation: another tenant's job answers as if it did not exist.
const fn or_not_yours(what: &Thing) -> &'static str {
    match what {
        Thing::Job => ", or it is not yours",
        Thing::Organization
        | Thing::Cluster
        | Thing::Application { .. }
        | Thing::ApiToken
        | Thing::RegistrationToken { .. } => "",
    }
}

/// The exit codes, told by `vwctl --help`. clap ends with [`USAGE`](exit::USAGE) by itself.
pub mod exit {
    /// The control plane refused, or it cannot be done.
    pub const FAILED: u8 = 1;
    /// The command line is wrong, or a file or variable that it names.
    pub const USAGE: u8 = 2;
    /// A job that was waited for did not succeed.
    pub const JOB_ENDED: u8 = 3;
    /// The control plane cannot be reached or is overloaded: the same command may work later.
    pub const AWAY: u8 = 4;
}

impl Error {
    /// The program's exit code, one of [`exit`].
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::JobEnded { .. } => exit::JOB_ENDED,
            // As a shell tells of a program that a signal ended.
            Self::Interrupted { signal, .. } | Self::InterruptedEarly(signal) => 128 + signal.number,
            Self::NoServer
            | Self::NoToken { .. }
            | Self::NoConfigFile { .. }
            | Self::Config { .. }
            | Self::LoginServer
            | Self::LoginToken
            | Self::NoConfigPath
            | Self::Read { .. }
            | Self::TooLarge { .. }
            | Self::DerCa { .. }
            | Self::NoOrganization
            | Self::Yaml { .. }
            | Self::Values(_)
            | Self::Manifest { .. }
            | Self::JobFile { .. }
            | Self::Invalid { .. }
            | Self::CredentialsInUrl { .. }
            | Self::SecretsInValues { .. }
            | Self::NoChartName
            | Self::Kubeconfig(_)
            | Self::Settings(
                client::SettingsError::Url { .. }
                | client::SettingsError::Credentials { .. }
                | client::SettingsError::ApiPath { .. }
                | client::SettingsError::Insecure { .. }
                | client::SettingsError::Ca
                | client::SettingsError::Proxy(_)
                | client::SettingsError::Header { .. },
            ) => exit::USAGE,
            Self::Call(client::Error::Unreachable { tls: None, .. })
            | Self::Call(client::Error::Refused { status: 429 | 502..=504, .. }) => exit::AWAY,
            _ => exit::FAILED,
        }
    }

    /// The lines of a file that the error is about; may be empty.
    pub fn excerpt(&self) -> &str {
        match self {
            Self::Yaml { excerpt, .. } => excerpt,
            _ => "",
        }
    }

    /// This error of a call about one job, told as [`Error::Unknown`] where there is no such job.
    pub(crate) fn about_job(self, id: &JobId) -> Self {
        self.about(Thing::Job, id.as_str())
    }

    /// This error of a call about one thing, told as [`Error::Unknown`] where there is no such thing.
    pub(crate) fn about(self, what: Thing, name: &str) -> Self {
        match self {
            // A proxy that answers 404 knows nothing about our things.
            Self::Call(client::Error::Refused { status: 404, problem, .. })
                if problem.error == code::NOT_FOUND =>
            {
                Self::Unknown { what, name: name.to_owned() }
            }
            other => other,
        }
    }

    /// What to do next.
    pub fn hint(&self) -> String {
        match self {
            Self::Call(error) => after_call(error),
            Self::Settings(error) => after_settings(error).to_owned(),
            Self::NoServer | Self::NoToken { .. } | Self::Config { .. } => {
                "log in with `vwctl login --server URL`, or set VWCTL_SERVER and VWCTL_TOKEN".to_owned()
            }
            Self::NoConfigFile { .. } => {
                "log in with `vwctl login --server URL`, which makes it, or correct VWCTL_CONFIG".to_owned()
            }
            Self::LoginServer => "add --server https://…, or set VWCTL_SERVER".to_owned(),
            Self::LoginToken => "pass it on standard input with --token-stdin, or set VWCTL_TOKEN".to_owned(),
            Self::NoConfigPath => "set VWCTL_CONFIG to a file".to_owned(),
            Self::Read { .. } => "check that the file exists and is yours to read".to_owned(),
            Self::DerCa { path } => {
                format!("`openssl x509 -inform der -in {} -out ca.pem` writes it as PEM", path.display())
            }
            Self::TooLarge { .. } => "check that it is the file you mean".to_owned(),
            Self::Write { .. } => {
                "check the folder's owner and free space, or set VWCTL_CONFIG to another file".to_owned()
            }
            Self::Stdin(_) | Self::Stdout(_) => {
                "check what vwctl is piped from and to, and repeat".to_owned()
            }
            Self::Encode(_) => "use another --output, and report this as a fault of vwctl".to_owned(),
            Self::Unknown { what, .. } => format!("`{}` shows what there is", list(what)),
            Self::Ambiguous { what: Thing::Application { .. }, .. } => {
                "say which one with --namespace".to_owned()
            }
            Self::Ambiguous { what, .. } => {
                format!("give the id instead of the name; `{}` shows it", list(what))
            }
            Self::NoOrganization => "add --org ORG; `vwctl org list` shows what there is".to_owned(),
            Self::Yaml { .. } => "correct the file, and repeat".to_owned(),
            Self::Values(error) => error.hint().to_owned(),
            Self::Manifest { .. } => {
                "correct the file, or use the flags of `vwctl app deploy --help`".to_owned()
            }
            Self::JobsForgotten { .. } => {
                "`vwctl app get` shows how it is; the cluster's own `helm get values` shows its values".to_owned()
            }
            Self::JobFile { .. } => {
                "a job has the members kind (apply, delete or intent) and payload; an object to apply is the payload"
                    .to_owned()
            }
            Self::Invalid { .. } => {
                "correct what is named, or repeat with --no-validate if the cluster has other rules"
                    .to_owned()
            }
            Self::CredentialsInUrl { name, namespace } => format!(
                "`kubectl create secret generic {name}-chart --namespace {namespace} --from-literal=username=… \
                 --from-literal=password=…` makes a Secret (for a registry: `kubectl create secret docker-registry …`); \
                 leave the credentials out of the URL and add --chart-secret {name}-chart"
            ),
            Self::SecretsInValues { name, namespace, .. } => format!(
                "`kubectl create secret generic {name}-values --namespace {namespace} --from-file=values.yaml=FILE` makes \
                 a Secret of a file with all values; use --values-secret {name}-values/values.yaml instead of --values \
                 and --set, or repeat with --no-validate if these are no secrets"
            ),
            Self::NoChartName => "add --chart-name CHART".to_owned(),
            Self::Kubeconfig(_) => "pass the cluster admin's kubeconfig with --kubeconfig".to_owned(),
            Self::Kubernetes { source, .. } => after_kubernetes(source).to_owned(),
            Self::NotConfirmed => {
                "pass --yes to go on without a question, or --check to see what is there".to_owned()
            }
            Self::StillInTheWay { .. } => {
                "see docs/walkthroughs/uninstall.md for each holder, then repeat the command".to_owned()
            }
            Self::InterruptedEarly(_) => {
                "`vwctl job list` shows whether it is; an --idempotency-key makes a repeat safe".to_owned()
            }
            Self::Interrupted { id, .. } => format!("`vwctl job watch {id}` follows it again"),
            Self::Signals(_) => "repeat without --wait, and follow with `vwctl job get`".to_owned(),
            Self::JobEnded { id, .. } => format!("`vwctl job get {id}` shows conditions and timeline"),
        }
    }
}

/// The command that lists what there is.
fn list(what: &Thing) -> String {
    match what {
        Thing::Organization => "vwctl org list".to_owned(),
        Thing::Cluster => "vwctl cluster list".to_owned(),
        Thing::Application { cluster } => format!("vwctl app list --cluster {cluster}"),
        // A job's id does not say which cluster it is for.
        Thing::Job => "vwctl job list --cluster NAME".to_owned(),
        Thing::ApiToken => "vwctl token list".to_owned(),
        Thing::RegistrationToken { cluster } => format!("vwctl cluster tokens {cluster}"),
    }
}

fn after_call(error: &client::Error) -> String {
    let (status, problem, retry_after) = match error {
        client::Error::Refused { status, problem, retry_after } => (*status, problem, *retry_after),
        client::Error::Unreachable { tls: Some(fault), .. } => return after_tls_fault(fault).to_owned(),
        client::Error::Unreachable { tls: None, server, .. } => {
            return format!(
                "is the control plane running at {server}? If it is elsewhere, say so with --server"
            );
        }
        client::Error::Malformed { .. } => {
            return "check --server: something else may answer there, or vwctl and server are of different age".to_owned();
        }
    };
    match (status, problem.error.as_str()) {
        (401, _) => "log in again with `vwctl login --server URL`, or correct VWCTL_TOKEN".to_owned(),
        (403, _) => "use a token that may do this, for example the admin's".to_owned(),
        (404, code::NOT_FOUND) => {
            "check the id: what is not yours answers as if it did not exist; `vwctl cluster list` shows what \
             there is"
                .to_owned()
        }
        (409, code::JOB_CLOSED) => "nothing is left to do; `vwctl job get` shows how it ended".to_owned(),
        (409, code::ARCHIVED) => "use one that is not archived: `vwctl cluster list` shows them".to_owned(),
        (409, code::LIMIT_REACHED) => {
            "archive clusters or revoke tokens that nobody needs, or have the bound raised at the server"
                .to_owned()
        }
        (409, code::LAST_TOKEN) => {
            "make another one first with `vwctl token create`, or repeat with --force".to_owned()
        }
        (409, _) => "choose another name or key".to_owned(),
        (413, _) => {
            "make it smaller: large values belong in a Secret or ConfigMap, see --values-secret".to_owned()
        }
        (400 | 422, _) => "change what the message names, and repeat".to_owned(),
        (429 | 502..=504, _) => match retry_after {
            Some(pause) => format!("try again in {} s", pause.as_secs()),
            None => "try again in a moment".to_owned(),
        },
        (500..=599, _) => {
            "give the request id to the control plane's admin: it finds the log line".to_owned()
        }
        _ => "check --server: something else may answer there, such as a proxy".to_owned(),
    }
}

const fn after_tls_fault(fault: &client::TlsFault) -> &'static str {
    match fault {
        client::TlsFault::Authority => {
            "have the control plane's admin make a server certificate: `vworkspace-server certificate --help`"
        }
        client::TlsFault::OtherName { .. } => {
            "give --server a name that the certificate is for, or have one made for this name: \
             `vworkspace-server certificate --help`"
        }
        client::TlsFault::Expired { .. } | client::TlsFault::NotYetValid { .. } => {
            "check this machine's clock, and have the control plane's admin renew the certificate"
        }
        client::TlsFault::UnknownIssuer | client::TlsFault::Certificate { .. } => {
            "give --ca the certificate of the control plane's own authority"
        }
        client::TlsFault::PlainHttp => {
            "write --server with http://, or have the control plane serve with --tls-cert and --tls-key"
        }
        client::TlsFault::NotHttp => "write --server with https://",
    }
}

fn after_kubernetes(error: &kube::Error) -> &'static str {
    match error {
        kube::Error::Api(status) if matches!(status.code, 401 | 403) => {
            "use the kubeconfig of the cluster's admin"
        }
        _ => {
            "check the kubeconfig with `kubectl get namespaces`, and repeat: the command goes on where it stopped"
        }
    }
}

const fn after_settings(error: &client::SettingsError) -> &'static str {
    match error {
        client::SettingsError::Url { .. } => "write --server as https://host[:port]",
        client::SettingsError::Credentials { .. } => {
            "write --server without them: the token says who you are"
        }
        client::SettingsError::ApiPath { .. } => "write --server without /api/v1: vwctl adds it",
        client::SettingsError::Insecure { .. } => {
            "use https, or --allow-insecure-http on a network you trust"
        }
        client::SettingsError::Proxy(_) => "mend the variable, or unset it",
        client::SettingsError::Ca => "give --ca a PEM file with certificates",
        client::SettingsError::Header { .. } => {
            "check the token: it may hold a line end or other strange characters"
        }
        client::SettingsError::Client { .. } => "give --ca the certificates to trust",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use vworkspace_protocol::Problem;

    fn refused(status: u16, error: &str) -> Error {
        let problem = Problem { error: error.to_owned(), ..Problem::default() };
        Error::Call(client::Error::Refused { status, problem, retry_after: Some(Duration::from_secs(7)) })
    }

    fn unreachable(tls: Option<client::TlsFault>) -> Error {
        let (server, detail) = ("https://c.example/".to_owned(), "why".to_owned());
        Error::Call(client::Error::Unreachable { server, tls, detail })
    }

    #[test]
    fn who_cannot_be_reached_is_named_and_a_ca_is_asked_for_only_because_of_a_certificate() {
        assert!(unreachable(None).to_string().contains("https://c.example/"));
        let hint = unreachable(None).hint();
        assert!(hint.contains("running at https://c.example/") && !hint.contains("--ca"), "{hint}");
        assert!(unreachable(Some(client::TlsFault::UnknownIssuer)).hint().contains("--ca"));
    }

    #[test]
    fn what_is_not_there_is_named_with_the_command_that_shows_what_is() {
        let no_app = Thing::Application { cluster: "clinic-1".to_owned() };
        let no_app = Error::Unknown { what: no_app, name: "web".to_owned() };
        assert!(no_app.hint().contains("`vwctl app list --cluster clinic-1`"), "{}", no_app.hint());
        let id = JobId::new("bogus");
        let no_job = refused(404, code::NOT_FOUND).about_job(&id);
        assert_eq!(no_job.to_string(), "there is no job \"bogus\", or it is not yours");
        assert!(no_job.hint().contains("vwctl job list --cluster"), "{}", no_job.hint());
        let no_token = refused(404, code::NOT_FOUND).about(Thing::ApiToken, "01");
        assert_eq!(no_token.to_string(), "there is no API token \"01\"");
        assert!(no_token.hint().contains("vwctl token list"), "{}", no_token.hint());
        for other in [refused(404, "http"), refused(403, code::FORBIDDEN)] {
            assert!(matches!(other.about_job(&id), Error::Call(_)));
        }
    }

    #[test]
    fn an_organization_that_is_missing_is_asked_for_by_its_flag() {
        let hint = Error::NoOrganization.hint();
        assert!(hint.contains("--org") && hint.contains("vwctl org list"), "{hint}");
    }

    #[test]
    fn exit_codes_tell_refusal_failure_and_absence_apart() {
        assert_eq!(refused(404, code::NOT_FOUND).exit_code(), 1);
        assert_eq!(refused(503, code::UNAVAILABLE).exit_code(), 4);
        assert_eq!(unreachable(None).exit_code(), 4);
        assert_eq!(unreachable(Some(client::TlsFault::NotHttp)).exit_code(), 1, "repeating does not help");
        assert_eq!(Error::JobEnded { id: JobId::new("j"), how: String::new() }.exit_code(), 3);
    }

    #[test]
    fn a_refusal_says_what_to_do_whoever_answered() {
        for (status, error, expected) in [
            (401, "unauthenticated", "vwctl login"),
            (403, "forbidden", "a token that may"),
            (404, "not_found", "check the id"),
            (404, "http", "check --server"),
            (409, "job_closed", "job get"),
            (409, "already_exists", "another name"),
            (409, "archived", "vwctl cluster list"),
            (409, "limit_reached", "revoke tokens"),
            (409, "last_token", "--force"),
            (413, "payload_too_large", "--values-secret"),
            (400, "invalid_request", "the message names"),
            (429, "rate_limited", "in 7 s"),
            (500, "internal", "request id"),
            (307, "http", "check --server"),
        ] {
            let hint = refused(status, error).hint();
            assert!(hint.contains(expected), "{status} {error}: {hint}");
        }
    }
}
