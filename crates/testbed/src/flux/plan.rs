//! What to do with a release: what is wanted, against what was tried and what Helm has. Pure.

use super::objects::ReleaseStatus;

/// What a HelmRelease asks for, resolved.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wanted {
    pub(super) chart_name: String,
    /// With `+` and the first 12 digits of the artifact's digest when the chart came from an OCI registry.
    pub(super) chart_version: String,
    pub(super) oci_digest: Option<String>,
    pub(super) config_digest: String,
}

/// The newest revision that Helm's storage has of a release.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stored {
    pub(super) version: i64,
    pub(super) status: String,
}

/// What Helm can be asked to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Action {
    Install,
    Upgrade,
}

/// What to do next.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// Have Helm do this.
    Run(Action),
    /// A Helm that was killed left this revision half done: forget it, then decide again.
    Forget(i64),
    /// The release is as wanted.
    InSync,
    /// This action left a failed revision, and no attempt is left.
    Exhausted(Action),
}

impl Wanted {
    /// Whether the last attempt was for just this.
    pub(super) fn was_attempted(&self, status: &ReleaseStatus, generation: i64) -> bool {
        status.last_attempted_generation == Some(generation)
            && status.last_attempted_revision.as_deref() == Some(&self.chart_version)
            && status.last_attempted_config_digest.as_deref() == Some(&self.config_digest)
    }

    /// Name and version out of Helm's `name-version`.
    pub(super) fn split_chart(&self, chart: &str) -> (String, String) {
        let own = chart.strip_prefix(&self.chart_name).and_then(|rest| rest.strip_prefix('-'));
        match own.map(|version| (self.chart_name.as_str(), version)).or_else(|| chart.rsplit_once('-')) {
            Some((name, version)) => (name.to_owned(), version.to_owned()),
            None => (chart.to_owned(), String::new()),
        }
    }
}

impl Action {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Install => "install",
            Self::Upgrade => "upgrade",
        }
    }

    pub(super) const fn succeeded(self) -> &'static str {
        match self {
            Self::Install => "InstallSucceeded",
            Self::Upgrade => "UpgradeSucceeded",
        }
    }

    pub(super) const fn failed(self) -> &'static str {
        match self {
            Self::Install => "InstallFailed",
            Self::Upgrade => "UpgradeFailed",
        }
    }
}

/// Decides from the status as it was before this reconcile. Helm's storage is the truth about what is there; the
/// status knows which configuration that was made from. Retries after a failed revision (`remediation`) are not served.
pub(super) fn next_step(
    status: &ReleaseStatus,
    generation: i64,
    stored: Option<&Stored>,
    wanted: &Wanted,
) -> Step {
    let Some(stored) = stored else { return Step::Run(Action::Install) };
    if stored.status.starts_with("pending-") {
        return Step::Forget(stored.version);
    }
    let newest = status.history.first().filter(|snapshot| snapshot.version == stored.version);
    let same = newest.is_some_and(|snapshot| {
        snapshot.chart_name == wanted.chart_name
            && snapshot.chart_version == wanted.chart_version
            && snapshot.config_digest == wanted.config_digest
    });
    match stored.status.as_str() {
        "deployed" if same => Step::InSync,
        "failed" if same && wanted.was_attempted(status, generation) && status.upgrade_failures > 0 => {
            Step::Exhausted(Action::Upgrade)
        }
        "failed" if same && wanted.was_attempted(status, generation) && status.install_failures > 0 => {
            Step::Exhausted(Action::Install)
        }
        _ => Step::Run(Action::Upgrade),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::super::objects::Snapshot;
    use super::*;

    fn wanted(version: &str) -> Wanted {
        Wanted {
            chart_name: "hello".into(),
            chart_version: version.into(),
            oci_digest: None,
            config_digest: "sha256:c".into(),
        }
    }

    fn stored(status: &str) -> Stored {
        Stored { version: 1, status: status.into() }
    }

    fn after(status: &str, wanted: &Wanted) -> ReleaseStatus {
        ReleaseStatus {
            last_attempted_generation: Some(1),
            last_attempted_revision: Some(wanted.chart_version.clone()),
            last_attempted_config_digest: Some(wanted.config_digest.clone()),
            install_failures: i64::from(status == "failed"),
            history: vec![Snapshot {
                name: "app".into(),
                namespace: "ns".into(),
                version: 1,
                status: status.into(),
                chart_name: wanted.chart_name.clone(),
                chart_version: wanted.chart_version.clone(),
                app_version: None,
                config_digest: wanted.config_digest.clone(),
                digest: "sha256:d".into(),
                first_deployed: Timestamp::UNIX_EPOCH,
                last_deployed: Timestamp::UNIX_EPOCH,
                oci_digest: None,
                action: None,
            }],
            ..ReleaseStatus::default()
        }
    }

    #[test]
    fn storage_decides_what_is_there() {
        let one = wanted("1.0.0");
        assert_eq!(next_step(&after("deployed", &one), 1, None, &one), Step::Run(Action::Install));
        assert_eq!(next_step(&after("deployed", &one), 1, Some(&stored("deployed")), &one), Step::InSync);
        assert_eq!(
            next_step(&ReleaseStatus::default(), 1, Some(&stored("deployed")), &one),
            Step::Run(Action::Upgrade)
        );
        assert_eq!(
            next_step(&ReleaseStatus::default(), 1, Some(&stored("pending-install")), &one),
            Step::Forget(1)
        );
    }

    #[test]
    fn a_failed_revision_is_not_tried_again_before_something_changes() {
        let one = wanted("1.0.0");
        let failed = after("failed", &one);
        assert_eq!(next_step(&failed, 1, Some(&stored("failed")), &one), Step::Exhausted(Action::Install));
        assert_eq!(next_step(&failed, 2, Some(&stored("failed")), &one), Step::Run(Action::Upgrade));
        assert_eq!(
            next_step(&failed, 1, Some(&stored("failed")), &wanted("1.1.0")),
            Step::Run(Action::Upgrade)
        );
    }

    #[test]
    fn chart_names_may_have_dashes() {
        let wanted = Wanted { chart_name: "my-app".into(), ..wanted("1.0.0-rc.1") };
        assert_eq!(wanted.split_chart("my-app-1.0.0-rc.1"), ("my-app".into(), "1.0.0-rc.1".into()));
    }
}
