//! `vwctl app deploy`.

use super::{
    super::enqueue::Waiting,
    manifest::{self, Chart, KeyRef, Values, Wanted},
};
use crate::{Error, connect::Context, duration::Span, files, resolve};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

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
    /// The application's id in the catalog; without: the chart's name.
    #[arg(long, value_name = "ID")]
    catalog_id: Option<String>,
    /// How long Helm may take, for example 10m; without: 5m.
    #[arg(long, value_name = "DURATION")]
    timeout: Option<Span>,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Values (at most one; without: the chart's own)")]
#[group(multiple = false)]
struct ValuesFlags {
    /// YAML file with the chart's values. Secrets do not belong there.
    #[arg(long, value_name = "FILE")]
    values: Option<PathBuf>,
    /// Secret in the application's namespace that holds the values.
    #[arg(long, value_name = "NAME/KEY")]
    values_secret: Option<KeyRef>,
    /// ConfigMap in the application's namespace that holds the values.
    #[arg(long, value_name = "NAME/KEY")]
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

impl Deploy {
    pub async fn run(self, context: &Context) -> Result<(), Error> {
        let instance = self.instance()?;
        let client = context.client()?;
        let cluster = resolve::cluster(&client, &self.cluster).await?;
        let intent = json!({ "intent": "ensure-application-instance", "applicationInstance": instance });
        self.waiting.hand_in(context, &client, &cluster, intent).await
    }

    fn instance(&self) -> Result<Value, Error> {
        if let Some(path) = &self.file {
            let text = files::text(path, FILE_BYTES)?;
            return manifest::from_text(&text, path, self.namespace.as_deref());
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
        };
        Ok(manifest::build(Wanted {
            name: text(&self.name),
            namespace: text(&self.namespace),
            catalog_id: self.chart.catalog_id.clone(),
            chart,
            timeout: self.chart.timeout.as_ref().map(ToString::to_string),
            values: self.values.read()?,
        }))
    }
}

impl ValuesFlags {
    fn read(&self) -> Result<Option<Values>, Error> {
        let inline = |path: &PathBuf| mapping(path).map(Values::Inline);
        if let Some(path) = &self.values {
            return inline(path).map(Some);
        }
        let secret = self.values_secret.clone().map(Values::Secret);
        Ok(secret.or_else(|| self.values_configmap.clone().map(Values::ConfigMap)))
    }
}

fn mapping(path: &Path) -> Result<Value, Error> {
    manifest::values(&files::text(path, FILE_BYTES)?, path)
}
