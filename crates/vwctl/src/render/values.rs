use super::{plain, plain_line, table::below, text::when};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use vworkspace_protocol::{JobId, Outcome, admin::JobState};

/// The values of one application, as jobs brought them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AppValues {
    /// By the newest job that the cluster has, or may get.
    pub asked: Asked,
    /// By the newest job that succeeded; absent: none that is known has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub succeeded: Option<Asked>,
}

/// What one job asks for.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Asked {
    /// The job.
    pub job_id: JobId,
    /// When it was handed in.
    pub at: Timestamp,
    /// Where it stands.
    pub state: JobState,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// It uninstalls the application.
    pub deletes: bool,
    /// `spec.chart`.
    pub chart: Value,
    /// `spec.values`; null: the chart's own.
    pub values: Value,
}

pub(crate) fn app_values(values: &AppValues) -> String {
    let AppValues { asked, succeeded } = values;
    let succeeded = match succeeded {
        None => "succeeded last: no job that is known here\n".to_owned(),
        Some(last) if last.job_id == asked.job_id && last.deletes => "runs: nothing\n".to_owned(),
        Some(last) if last.job_id == asked.job_id => "runs: what was asked\n".to_owned(),
        Some(last) => part("succeeded last", last),
    };
    below([part("asked", asked), succeeded])
}

fn part(name: &str, asked: &Asked) -> String {
    let Asked { job_id, at, deletes, chart, values, .. } = asked;
    let by = format!("by job {job_id} of {}{}", when(*at), standing(asked));
    if *deletes {
        return format!("{name}: to be uninstalled, {by}\n");
    }
    let text = |member: &str| plain(chart.get(member).and_then(Value::as_str).unwrap_or_default());
    let head = format!("{name}: {} {}, {by}", text("name"), text("version"));
    let lines = written(values);
    let lines = lines.lines().map(|line| format!("  {}\n", plain_line(line)));
    format!("{head}\n{}", lines.collect::<String>())
}

/// What is to be known of a job that did not succeed: its change may be in the cluster all the same.
fn standing(asked: &Asked) -> String {
    match (asked.state, asked.outcome) {
        (JobState::Closed, Some(Outcome::Succeeded)) => String::new(),
        (JobState::Queued | JobState::Leased | JobState::Acked, _) => format!(" ({})", asked.state),
        (JobState::Closed, outcome) => {
            let how = outcome.map(|outcome| outcome.to_string()).unwrap_or_default();
            format!(" ({how}; its change may have stayed in the cluster)")
        }
        (state, _) => format!(" ({state}; the cluster had it before)"),
    }
}

/// The values as a person would write them.
fn written(values: &Value) -> String {
    let yaml = |value: &Value| serde_saphyr::to_string(value).unwrap_or_else(|_| value.to_string());
    if let Some(inline) = values.get("inline") {
        return yaml(inline);
    }
    let texts = values.get("texts").and_then(Value::as_array);
    match texts {
        Some(texts) => texts.iter().map(one_text).collect::<Vec<_>>().join("---\n"),
        None if values.is_null() => "the chart's own values".to_owned(),
        None => yaml(values),
    }
}

fn one_text(entry: &Value) -> String {
    let text = |member: &str| entry.get(member).and_then(Value::as_str);
    let content = text("text").unwrap_or_default();
    let is_literal = entry.get("literal").and_then(Value::as_bool) == Some(true);
    match text("targetPath") {
        Some(path) => {
            let flag = if is_literal { "--set-literal" } else { "--set" };
            let lines = format!("{flag} {path}={content}");
            lines.lines().map(|line| format!("# {line}\n")).collect()
        }
        None if content.ends_with('\n') => content.to_owned(),
        None => format!("{content}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::fixture;
    use serde_json::json;

    fn asked(job: &str, values: Value) -> Asked {
        let chart = json!({"name": "hello", "version": "1.0.0"});
        let (state, outcome) = (JobState::Closed, Some(Outcome::Succeeded));
        Asked { job_id: JobId::new(job), at: fixture::at(9), state, outcome, deletes: false, chart, values }
    }

    #[test]
    fn values_are_shown_as_they_were_written() {
        let texts = json!({"source": "text", "texts": [
            {"text": "mode: 0440\n"}, {"text": "7", "targetPath": "replicas"},
            {"text": "a\nb", "targetPath": "motd[0]", "literal": true}]});
        let now = Asked { outcome: Some(Outcome::Failed), ..asked("job-2", texts) };
        let before = asked("job-1", json!({"source": "inline", "inline": {"a": {"b": 1}}}));
        insta::assert_snapshot!("values", app_values(&AppValues { asked: now, succeeded: Some(before) }));
    }

    #[test]
    fn what_runs_is_said_only_where_the_newest_job_succeeded() {
        let now = asked("job-2", Value::Null);
        let shown = |asked: &Asked, succeeded: Option<&Asked>| {
            app_values(&AppValues { asked: asked.clone(), succeeded: succeeded.cloned() })
        };
        let same = shown(&now, Some(&now));
        assert!(
            same.contains("  the chart's own values\n") && same.ends_with("runs: what was asked\n"),
            "{same}"
        );
        assert!(shown(&now, None).ends_with("succeeded last: no job that is known here\n"));
        let cancelled = Asked { state: JobState::Cancelled, outcome: None, ..now.clone() };
        let told = shown(&cancelled, None);
        assert!(told.contains("(cancelled; the cluster had it before)"), "{told}");
        let gone = Asked { deletes: true, ..now };
        let told = shown(&gone, Some(&gone));
        assert!(
            told.contains("to be uninstalled, by job job-2") && told.ends_with("runs: nothing\n"),
            "{told}"
        );
    }
}
