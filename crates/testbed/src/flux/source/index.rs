//! The index of a chart repository. Pure.

use std::collections::BTreeMap;

use semver::{Version, VersionReq};
use serde::Deserialize;

/// A repository's `index.yaml`.
#[derive(Deserialize)]
pub(super) struct Index {
    #[serde(default)]
    entries: BTreeMap<String, Vec<Entry>>,
}

/// One version of a chart.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct Entry {
    pub(super) version: String,
    /// Absolute, or relative to the repository.
    #[serde(default)]
    pub(super) urls: Vec<String>,
}

impl Index {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
        serde_saphyr::from_str(text).map_err(|error| error.to_string())
    }

    /// The named version, else the newest that the range allows; no version means the newest that is no pre-release.
    pub(super) fn pick(&self, chart: &str, version: Option<&str>) -> Result<&Entry, String> {
        let entries = self.entries.get(chart).ok_or("no chart name found")?;
        let wanted = version.filter(|version| !version.is_empty()).unwrap_or("*");
        let plain = exact_version(wanted);
        let exact = entries.iter().find(|entry| {
            entry.version == wanted || (plain.is_some() && exact_version(&entry.version) == plain)
        });
        exact
            .or_else(|| newest_within(entries, wanted))
            .ok_or_else(|| format!("no '{chart}' chart with version matching '{wanted}' found"))
    }
}

/// The newest of these versions that the range allows.
pub(super) fn newest_tag(tags: Vec<String>, range: &str) -> Result<String, String> {
    let entry = |tag: String| Entry { version: tag.replace('_', "+"), urls: Vec::new() };
    let entries: Vec<_> = tags.into_iter().map(entry).collect();
    let newest =
        newest_within(&entries, range).ok_or_else(|| format!("no match found for semver: {range}"))?;
    Ok(newest.version.replace('+', "_"))
}

/// Helm writes ranges with blanks or commas between the comparators.
fn newest_within<'a>(entries: &'a [Entry], range: &str) -> Option<&'a Entry> {
    let parts = range.split([' ', ',']).filter(|part| !part.is_empty()).map(comparison);
    let range = VersionReq::parse(&parts.collect::<Vec<_>>().join(", ")).ok()?;
    let versions = entries
        .iter()
        .filter_map(|entry| Some((Version::parse(entry.version.trim_start_matches('v')).ok()?, entry)));
    versions
        .filter(|(version, _)| range.matches(version))
        .max_by(|a, b| a.0.cmp(&b.0))
        .map(|(_, entry)| entry)
}

/// A whole version, with and without the letter.
fn exact_version(text: &str) -> Option<Version> {
    Version::parse(text.trim_start_matches('=').trim_start_matches('v')).ok()
}

/// What stands without an operator is a caret range for Cargo, and for Helm the version itself, or all that begin so.
fn comparison(part: &str) -> String {
    let operator = part.len() - part.trim_start_matches(['=', '<', '>', '~', '^', '!']).len();
    let (operator, version) = part.split_at(operator);
    let version = version.trim_start_matches('v');
    match operator {
        "" | "=" if version.contains(['x', 'X', '*']) => version.to_owned(),
        "" | "=" if Version::parse(version).is_ok() => format!("={version}"),
        "" | "=" => format!("~{version}"),
        operator => format!("{operator}{version}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picks_the_version_or_says_what_is_missing() {
        let index = Index::parse(b"entries: {hello: [{version: 1.0.0}, {version: 1.10.0}, {version: 1.9.0}, {version: 2.0.0-rc.1}]}").unwrap();
        let pick = |chart, version| index.pick(chart, version).map(|entry| entry.version.as_str());
        assert_eq!(pick("hello", Some("1.0.0")), Ok("1.0.0"));
        assert_eq!(pick("hello", None), Ok("1.10.0"));
        assert_eq!(pick("hello", Some(">=1.0.0 <1.10.0")), Ok("1.9.0"));
        assert_eq!(pick("hello", Some("1.9")), Ok("1.9.0"));
        assert_eq!(pick("hello", Some("v1.0.0")), Ok("1.0.0"));
        assert_eq!(pick("hello", Some("=v1.0.0")), Ok("1.0.0"));
        assert_eq!(
            pick("hello", Some("1.2.0")),
            Err("no 'hello' chart with version matching '1.2.0' found".to_owned())
        );
        assert_eq!(pick("nope", None), Err("no chart name found".to_owned()));
    }
}
