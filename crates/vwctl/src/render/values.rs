use super::{plain, plain_line, table::below, text::when};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use vworkspace_protocol::JobId;

/// The values of one application, as jobs brought them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AppValues {
    /// By the newest job that may have an effect.
    pub asked: Asked,
    /// By the newest job that succeeded; absent: none has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runs: Option<Asked>,
}

/// What one job asks for.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Asked {
    /// The job.
    pub job_id: JobId,
    /// When it was handed in.
    pub at: Timestamp,
    /// It uninstalls the application.
    pub deletes: bool,
    /// `spec.chart`.
    pub chart: Value,
    /// `spec.values`; null: the chart's own.
    pub values: Value,
}

pub(crate) fn app_values(values: &AppValues) -> String {
    let AppValues { asked, runs } = values;
    let runs = match runs {
        None => "runs: nothing that a job known here brought\n".to_owned(),
        Some(Asked { deletes: true, job_id, at, .. }) => {
            format!("runs: nothing; uninstalled by job {job_id} of {}\n", when(*at))
        }
        Some(runs) if runs.job_id == asked.job_id => "runs: what was asked\n".to_owned(),
        Some(runs) => part("runs", runs),
    };
    below([part("asked", asked), runs])
}

fn part(name: &str, asked: &Asked) -> String {
    let Asked { job_id, at, deletes, chart, values } = asked;
    if *deletes {
        return format!("{name}: to be uninstalled, by job {job_id} of {}\n", when(*at));
    }
    let text = |member: &str| plain(chart.get(member).and_then(Value::as_str).unwrap_or_default());
    let head = format!("{name}: {} {}, by job {job_id} of {}", text("name"), text("version"), when(*at));
    let lines = written(values);
    let lines = lines.lines().map(|line| format!("  {}\n", plain_line(line)));
    format!("{head}\n{}", lines.collect::<String>())
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
        Asked { job_id: JobId::new(job), at: fixture::at(9), deletes: false, chart, values }
    }

    #[test]
    fn values_are_shown_as_they_were_written() {
        let texts = json!({"source": "text", "texts": [
            {"text": "mode: 0440\n"}, {"text": "7", "targetPath": "replicas"},
            {"text": "a\nb", "targetPath": "motd[0]", "literal": true}]});
        let now = asked("job-2", texts);
        let before = asked("job-1", json!({"source": "inline", "inline": {"a": {"b": 1}}}));
        insta::assert_snapshot!("values", app_values(&AppValues { asked: now.clone(), runs: Some(before) }));
        let same = app_values(&AppValues { asked: now.clone(), runs: Some(now.clone()) });
        assert!(same.ends_with("runs: what was asked\n"), "{same}");
        let none = app_values(&AppValues { asked: asked("job-3", Value::Null), runs: None });
        assert!(none.contains("  the chart's own values\n") && none.contains("runs: nothing"), "{none}");
        let gone = Asked { deletes: true, ..now };
        let shown = app_values(&AppValues { asked: gone.clone(), runs: None });
        assert!(shown.contains("to be uninstalled, by job job-2"), "{shown}");
        let shown = app_values(&AppValues { asked: asked("job-3", Value::Null), runs: Some(gone) });
        assert!(shown.contains("runs: nothing; uninstalled by job job-2"), "{shown}");
    }
}
