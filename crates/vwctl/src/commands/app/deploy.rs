//! `vwctl app deploy`.

use super::{
    super::enqueue::Waiting,
    Patience,
    manifest::{self, Chart, KeyRef, Values, Wanted},
};
use crate::{Error, chart_values::Given, connect::Context, duration::Span, files, resolve};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use vworkspace_protocol::headers::VALUES_TEXT;

/// Largest file read; a job holds at most 512 KiB.
const FILE_BYTES: u64 = 1024 * 1024;

/// Install or change an application.
#[derive(Args, Debug)]
pub(super) struct Deploy {
    /// Name of the application and of its Helm release.
    #[arg(required_unless_present = "file", requires_all = ["chart_url", "chart_version", "namespace"])]
    name: Option<String>,
    /// Name or id of the cluster.
    #[arg(short, long, env = "VWCTL_CLUSTER", hide_env_values = true, value_name = "CLUSTER")]
    cluster: String,
    /// Its namespace; with --file, used where the file names none.
    #[arg(short, long, env = "VWCTL_NAMESPACE", hide_env_values = true)]
    namespace: Option<String>,
    /// The whole ApplicationInstance, YAML or JSON, instead of name and chart; `-` is standard input.
    #[arg(short, long, conflicts_with_all = ["name", "ChartFlags", "ValuesFlags"])]
    file: Option<PathBuf>,
    #[command(flatten)]
    chart: ChartFlags,
    #[command(flatten)]
    values: ValuesFlags,
    /// Send what the cluster will refuse, or warn of: names, misspelt members, values that look like secrets.
    #[arg(long)]
    no_validate: bool,
    #[command(flatten)]
    patience: Patience,
    #[command(flatten)]
    waiting: Waiting,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Chart")]
struct ChartFlags {
    /// Chart repository (https://…) or OCI registry (oci://…).
    #[arg(long, value_name = "URL")]
    chart_url: Option<String>,
    /// Kind of source; without: oci for an oci:// URL, else helm.
    #[arg(long, value_enum, value_name = "TYPE")]
    chart_type: Option<ChartType>,
    /// Name of the chart; without: the last part of an OCI URL.
    #[arg(long, value_name = "CHART")]
    chart_name: Option<String>,
    /// Version of the chart.
    #[arg(long, value_name = "VERSION")]
    chart_version: Option<String>,
    /// Speak plain HTTP to the OCI registry.
    #[arg(long)]
    chart_insecure: bool,
    /// Secret in the application's namespace with what a private source asks for: `username` and `password`, `ca.crt`,
    /// `tls.crt` and `tls.key`; for a registry a docker config.
    #[arg(long, value_name = "NAME")]
    chart_secret: Option<String>,
    /// The application's id in the catalog; without: the chart's name.
    #[arg(long, value_name = "ID")]
    catalog_id: Option<String>,
    /// How long Helm may take, for example 10m; without: 5m.
    #[arg(long, value_name = "DURATION")]
    timeout: Option<Span>,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Values (without: the chart's own)")]
struct ValuesFlags {
    /// YAML file with the chart's values, read by Helm itself; several are laid over each other in order. Secrets do not
    /// belong there.
    #[arg(long, value_name = "FILE")]
    values: Vec<PathBuf>,
    /// Set values as `helm --set` does: `a.b=1,c[0]=x,d={x,y}`.
    #[arg(long, value_name = "PATH=VALUE")]
    set: Vec<String>,
    /// Set texts as `helm --set-string` does.
    #[arg(long, value_name = "PATH=TEXT")]
    set_string: Vec<String>,
    /// Set the contents of files as `helm --set-file` does.
    #[arg(long, value_name = "PATH=FILE")]
    set_file: Vec<String>,
    /// Secret in the application's namespace that holds the values, instead of all of these.
    #[arg(long, value_name = "NAME/KEY", conflicts_with_all = ["values", "set", "set_string", "set_file"])]
    values_secret: Option<KeyRef>,
    /// ConfigMap in the application's namespace that holds the values, instead of all of these.
    #[arg(long, value_name = "NAME/KEY", conflicts_with_all = ["values", "set", "set_string", "set_file", "values_secret"])]
    values_configmap: Option<KeyRef>,
}

/// Where charts come from.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChartType {
    /// A classic chart repository.
    Helm,
    /// An OCI registry.
    Oci,
}

/// What is wanted, before it is known what the cluster can take.
enum Read {
    Instance(Value),
    Flags { wanted: Box<Wanted>, given: Given },
}

impl Deploy {
    pub async fn run(self, context: &Context) -> Result<(), Error> {
        let read = self.read()?;
        let client = context.client()?;
        let cluster = resolve::cluster(&client, &self.cluster).await?;
        let instance = match read {
            Read::Instance(instance) => instance,
            Read::Flags { mut wanted, given } => {
                let takes_texts = cluster.capabilities.iter().any(|one| one == VALUES_TEXT);
                if let Some(values) = given.values(takes_texts)? {
                    wanted.values = Some(Values::Given(values));
                }
                manifest::build(*wanted)
            }
        };
        manifest::check(&instance, self.no_validate)?;
        let intent = json!({ "intent": "ensure-application-instance", "applicationInstance": instance });
        let wishes = self.patience.wishes(false);
        self.waiting.hand_in_intent(context, &client, &cluster, intent, wishes).await
    }

    fn read(&self) -> Result<Read, Error> {
        if let Some(path) = &self.file {
            let text = files::text(path, FILE_BYTES)?;
            return manifest::from_text(&text, path, self.namespace.as_deref()).map(Read::Instance);
        }
        // clap has made sure that those without a default are there.
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let url = text(&self.chart.chart_url);
        let chart_type = self.chart.chart_type.unwrap_or_else(|| manifest::chart_type(&url));
        let name = self.chart.chart_name.clone().or_else(|| manifest::chart_name(chart_type, &url));
        let chart = Chart {
            chart_type,
            url,
            name: name.ok_or(Error::NoChartName)?,
            version: text(&self.chart.chart_version),
            insecure: self.chart.chart_insecure,
            secret: self.chart.chart_secret.clone(),
        };
        let wanted = Wanted {
            name: text(&self.name),
            namespace: text(&self.namespace),
            catalog_id: self.chart.catalog_id.clone(),
            chart,
            timeout: self.chart.timeout.as_ref().map(ToString::to_string),
            values: self.values.reference(),
        };
        let given = self.values.given()?;
        given.check()?;
        Ok(Read::Flags { wanted: Box::new(wanted), given })
    }
}

impl ValuesFlags {
    fn reference(&self) -> Option<Values> {
        let secret = self.values_secret.clone().map(Values::Secret);
        secret.or_else(|| self.values_configmap.clone().map(Values::ConfigMap))
    }

    fn given(&self) -> Result<Given, Error> {
        let mut given =
            Given { set: self.set.clone(), set_string: self.set_string.clone(), ..Given::default() };
        for path in &self.values {
            given.files.push((path.clone(), files::text(path, FILE_BYTES)?));
        }
        for flag in &self.set_file {
            given.add_set_file(flag, |path| files::text(Path::new(path), FILE_BYTES))?;
        }
        Ok(given)
    }
}
