//! `vwctl job create`: a job as the admin API takes it, from a file.

use crate::{
    Error,
    commands::{ClusterArg, enqueue::Waiting},
    connect::Context,
    files, resolve, yaml,
};
use clap::Args;
use std::path::{Path, PathBuf};
use vworkspace_client::Client;
use vworkspace_protocol::admin::EnqueueJob;

/// Largest file read: the largest payload, and room for its indentation and its other members.
const FILE_BYTES: u64 = 2 * 1024 * 1024;

#[derive(Args, Debug)]
pub(super) struct Create {
    #[command(flatten)]
    cluster: ClusterArg,
    /// File (- is standard input) that holds the job as YAML or JSON.
    ///
    /// Its members are kind (apply, delete or intent) and payload, and where wanted waitFor, deadlineSeconds, expiresAt
    /// and idempotencyKey. A payload of JSON travels as it is written.
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    waiting: Waiting,
}

impl Create {
    pub(super) async fn run(self, context: &Context, client: &Client) -> Result<(), Error> {
        let job = read(&files::text(&self.file, FILE_BYTES)?, &self.file)?;
        let cluster = resolve::cluster(client, &self.cluster.cluster).await?;
        self.waiting.hand_in(context, client, &cluster, job).await
    }
}

/// JSON is read as such, so that its numbers and the order of its members stay as they are.
fn read(text: &str, path: &Path) -> Result<EnqueueJob, Error> {
    let job = if text.trim_start().starts_with('{') {
        serde_json::from_str(text)
    } else {
        serde_json::from_value(yaml::read(text, path)?)
    };
    job.map_err(|error| Error::JobFile { path: path.to_owned(), detail: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<EnqueueJob, Error> {
        super::read(text, Path::new("job.yaml"))
    }

    #[test]
    fn payload_of_json_travels_as_it_is_written() {
        let job = read(r#"{"kind": "apply", "payload": {"b": 1.0, "a": 12345678901234567890123}}"#).unwrap();
        assert_eq!(job.payload.get(), r#"{"b": 1.0, "a": 12345678901234567890123}"#);
        let job = read("\"kind\": delete\npayload: {name: a}\ndeadlineSeconds: 7\n").unwrap();
        assert_eq!((job.kind.as_str(), job.deadline_seconds), ("delete", Some(7)));
        assert_eq!(job.payload.get(), r#"{"name":"a"}"#);
    }

    #[test]
    fn what_is_no_job_is_refused_by_member() {
        for (text, expected) in [
            ("kind: apply", "missing field `payload`"),
            ("apiVersion: v1\nkind: ConfigMap\n", "unknown field `apiVersion`"),
            (r#"{"kind": 1, "payload": {}}"#, "invalid type"),
            ("[]", "invalid"),
        ] {
            let told = read(text).unwrap_err().to_string();
            assert!(told.starts_with("job.yaml is no job: ") && told.contains(expected), "{told}");
        }
        assert!(matches!(read("a: ["), Err(Error::Yaml { .. })));
    }
}
