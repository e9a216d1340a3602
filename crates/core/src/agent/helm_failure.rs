//! Failures of Helm that Flux retries without end, and when a job stops waiting for them (contract, section 7).
//!
//! Helm fails before it stores a release in two ways. A fact of chart and values (a template, `required`, the schema of the
//! values, `kubeVersion`, a record that is too large) is the same at every try: two equal failures are enough. What depends
//! on the cluster (an unknown kind, a webhook, a quota, a right, the network) may pass: three equal failures and five
//! minutes. Only the job ends; Flux goes on, and a recovery is reported.
//!
//! Pure: the reconciler counts, the job decides.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Longest cause that is kept and compared, in bytes.
const MAX_CAUSE: usize = 1_024;
/// Equal failures after which a fact of chart and values is believed.
const TRIES_OF_CHART: u32 = 2;
/// Equal failures after which a failure that depends on the cluster is believed, once [`PATIENCE`] has passed. No more are
/// counted, so that a failing application at rest causes no writes.
const TRIES_OF_CLUSTER: u32 = 3;
/// How long a failure that depends on the cluster may last.
const PATIENCE: SignedDuration = SignedDuration::from_mins(5);

/// The first failure is kept in whole seconds, cut off: so much is added to a time that is counted from it.
const CUT_OFF: SignedDuration = SignedDuration::from_secs(1);

/// What precedes Helm's own words in Flux's message.
const HELM_SAYS: [&str; 2] = ["Helm install failed for release ", "Helm upgrade failed for release "];
/// How Helm's words begin where they are about chart and values alone.
const ABOUT_CHART: [&str; 9] = [
    "execution error at (",
    "parse error at (",
    "template: ",
    "YAML parse error on ",
    "values don't meet the specifications of the schema(s)",
    "chart requires kubeVersion:",
    "library charts are not installable",
    "validation: chart.metadata",
    "an error occurred while checking for chart dependencies",
];

/// What a failure depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailureKind {
    /// On chart and values alone.
    Chart,
    /// On what the cluster holds or does.
    Cluster,
}

/// Equal failures in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failing {
    /// What they depend on.
    pub kind: FailureKind,
    /// What they have in common: the message without digits, addresses and times.
    pub cause: String,
    /// How many there were, at most as many as decide.
    pub tries: u32,
    /// Flux's count at the last of them.
    pub counted: i64,
    /// When the first was seen.
    pub since: Timestamp,
}

impl Failing {
    /// Counts a failure, unless it is the one that was counted last.
    ///
    /// # Guarantees
    /// Returns `before` unchanged where nothing can change a decision any more.
    pub fn advance(before: Option<Self>, message: &str, counted: i64, now: Timestamp) -> Self {
        let (kind, cause) = (kind_of(message), cause_of(message));
        match before.filter(|before| before.kind == kind && before.cause == cause) {
            Some(before) if before.counted == counted || before.tries >= TRIES_OF_CLUSTER => before,
            Some(before) => Self { tries: before.tries + 1, counted, ..before },
            None => Self { kind, cause, tries: 1, counted, since: now },
        }
    }

    /// When a job stops waiting, given the seconds for which its caller wants to wait; `None`: at its deadline, or after
    /// more failures.
    pub fn gives_up_at(&self, retry_seconds: Option<u32>) -> Option<Timestamp> {
        let (tries, patience) = match self.kind {
            FailureKind::Chart => (TRIES_OF_CHART, SignedDuration::ZERO),
            FailureKind::Cluster => (TRIES_OF_CLUSTER, PATIENCE + CUT_OFF),
        };
        let patience = match retry_seconds {
            Some(0) => return None,
            Some(seconds) => SignedDuration::from_secs(seconds.into()) + CUT_OFF,
            None => patience,
        };
        let at = self.since.saturating_add(patience).unwrap_or(Timestamp::MAX);
        (self.tries >= tries).then_some(at)
    }
}

/// What a failure depends on, by Helm's words. What is not recognised depends on the cluster: a job waits for it longer.
fn kind_of(message: &str) -> FailureKind {
    let words = helm_words(message);
    let is_template_trace = || words.lines().nth(1).is_some_and(|line| line.starts_with("  executing \""));
    let is_record_too_large =
        || words.contains("\"sh.helm.release.v1.") && words.contains("Too long: may not be more than");
    if ABOUT_CHART.iter().any(|start| words.starts_with(start))
        || is_template_trace()
        || is_record_too_large()
    {
        FailureKind::Chart
    } else {
        FailureKind::Cluster
    }
}

/// Helm's own words: after `Helm install failed for release NAMESPACE/NAME with chart NAME@VERSION: `.
fn helm_words(message: &str) -> &str {
    let rest = HELM_SAYS.iter().find_map(|start| message.strip_prefix(start));
    rest.and_then(|rest| rest.split_once(": ")).map_or(message, |(_, words)| words)
}

/// The message without what differs between two equal failures: digits, addresses and times become `#`.
pub fn cause_of(message: &str) -> String {
    let mut cause = String::with_capacity(message.len().min(MAX_CAUSE));
    for word in message.split_inclusive(|c: char| !is_in_word(c)) {
        let text = word.trim_end_matches(|c: char| !is_in_word(c));
        let end = &word[text.len()..];
        if is_value(text) {
            cause.push('#');
        } else {
            push_without_digits(&mut cause, text);
        }
        cause.push_str(end);
        if cause.len() >= MAX_CAUSE {
            break;
        }
    }
    cause.truncate(vworkspace_protocol::limits::clip(&cause, MAX_CAUSE).len());
    cause
}

fn is_in_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, ':' | '.' | '-' | '+')
}

/// Whether a word is a number, an address, a time, a duration or a hexadecimal text.
fn is_value(word: &str) -> bool {
    let word = word.trim_end_matches([':', '.']);
    let is_hex = |word: &str| word.chars().all(|c| c.is_ascii_hexdigit() || matches!(c, ':' | '.' | '-'));
    let is_time = |word: &str| word.chars().all(|c| c.is_ascii_digit() || ":.-+TZhmsnuµx".contains(c));
    let is_address = word.matches(':').count() > 1 && is_hex(word);
    let has_digit = word.chars().any(|c| c.is_ascii_digit());
    is_address || has_digit && (is_hex(word) || is_time(word) || word.strip_prefix("0x").is_some_and(is_hex))
}

fn push_without_digits(cause: &mut String, word: &str) {
    for c in word.chars() {
        if !c.is_ascii_digit() {
            cause.push(c);
        } else if !cause.ends_with('#') {
            cause.push('#');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn failed(words: &str) -> String {
        format!("Helm install failed for release team/web with chart web@1.0.0: {words}")
    }

    fn after(words: &str, tries: i64) -> Failing {
        let message = failed(words);
        let first = Failing::advance(None, &message, 1, at(10));
        (2..=tries)
            .fold(first, |before, count| Failing::advance(Some(before), &message, count, at(10 * count)))
    }

    /// Each as the real Helm says it.
    const OF_CHART: [&str; 12] = [
        "execution error at (needs/templates/cm.yaml:4:16): host is required",
        "values don't meet the specifications of the schema(s) in the following chart(s):\nschema:\n- at '/replicas': got string, want integer",
        "chart requires kubeVersion: < 1.22.0 which is incompatible with Kubernetes v1.36.3",
        "create: failed to create: Secret \"sh.helm.release.v1.app.v1\" is invalid: data: Too long: may not be more than 1048576 bytes",
        "parse error at (func/templates/cm.yaml:1): function \"foobar\" not defined",
        "nilp/templates/cm.yaml:1:13\n  executing \"nilp/templates/cm.yaml\" at <.Values.a.b.c>:\n    nil pointer evaluating interface {}.b",
        "template: tojs/templates/cm.yaml:2:3: executing \"tojs/templates/cm.yaml\" at <index .Values.list 3>: error calling index: index of untyped nil",
        "YAML parse error on yamlbad/templates/cm.yaml: error converting YAML to JSON: yaml: mapping values are not allowed in this context",
        "library charts are not installable",
        "an error occurred while checking for chart dependencies. You may need to run 'helm dependency build' to fetch missing dependencies: found in Chart.yaml, but missing in charts/ directory: x",
        "validation: chart.metadata.version \"x\" is invalid",
        "execution error at (failf/templates/cm.yaml:1:3): no way",
    ];
    const OF_CLUSTER: [&str; 6] = [
        "unable to build kubernetes objects from release manifest: resource mapping not found for name: \"app\" namespace: \"\" from \"\": no matches for kind \"Foo\" in version \"example.org/v1\"\nensure CRDs are installed first",
        "unable to continue with install: could not get information about the resource ConfigMap \"app-outside\" in namespace \"default\": configmaps \"app-outside\" is forbidden",
        "server-side apply failed for object team/web /v1, Kind=Service: admission webhook \"x.example\" denied the request: chart requires kubeVersion: 9",
        "timeout waiting for: [Deployment/team/web status: 'InProgress']",
        "context deadline exceeded",
        "something that no Helm ever said",
    ];

    #[test]
    fn facts_of_chart_and_values_are_told_from_what_depends_on_the_cluster() {
        for words in OF_CHART {
            assert_eq!(kind_of(&failed(words)), FailureKind::Chart, "{words}");
            assert_eq!(after(words, 1).gives_up_at(None), None);
            assert_eq!(after(words, 2).gives_up_at(None), Some(at(10)), "{words}");
        }
        for words in OF_CLUSTER {
            assert_eq!(kind_of(&failed(words)), FailureKind::Cluster, "{words}");
            assert_eq!(after(words, 2).gives_up_at(None), None);
            assert_eq!(after(words, 3).gives_up_at(None), Some(at(311)), "{words}");
        }
    }

    #[test]
    fn caller_decides_how_long_a_failure_is_waited_out() {
        for (words, tries) in [(OF_CHART[0], 2), (OF_CLUSTER[0], 3)] {
            let failing = after(words, tries);
            assert_eq!(failing.gives_up_at(Some(0)), None);
            assert_eq!(failing.gives_up_at(Some(40)), Some(at(51)));
            assert_eq!(after(words, tries - 1).gives_up_at(Some(40)), None);
        }
    }

    #[test]
    fn one_failure_counts_once_however_often_it_is_seen() {
        let once = after(OF_CHART[0], 1);
        assert_eq!(Failing::advance(Some(once.clone()), &failed(OF_CHART[0]), 1, at(99)), once);
        let thrice = after(OF_CLUSTER[0], 3);
        assert_eq!(after(OF_CLUSTER[0], 9), thrice, "no more writes than decide");
    }

    #[test]
    fn another_failure_is_counted_from_one() {
        let mended = Failing::advance(Some(after(OF_CHART[0], 2)), &failed(OF_CHART[1]), 3, at(30));
        assert_eq!((mended.tries, mended.since), (1, at(30)));
    }

    #[test]
    fn digits_addresses_and_times_make_no_other_failure() {
        for (one, other, cause) in [
            ("dial tcp 10.0.0.1:443: refused", "dial tcp 10.11.12.13:8443: refused", "dial tcp # refused"),
            ("dial tcp [fd00::1]:443: refused", "dial tcp [fe80::a:b]:80: refused", "dial tcp [#]# refused"),
            (
                "after 1m30s at 2026-11-29T09:55:57Z",
                "after 45.2s at 2026-11-30T01:00:00+01:00",
                "after # at #",
            ),
            ("object 0xc00012ab of v1.36.3", "object 0xc0fe of v1.9.0", "object # of v#.#.#"),
            ("uid 6f1f5d2c-9b1e-4a55-8c1d-0242ac120002", "uid 00000000-9b1e-4a55-8c1d-ffffffffffff", "uid #"),
        ] {
            assert_eq!((cause_of(one).as_str(), cause_of(other).as_str()), (cause, cause));
        }
        assert_ne!(cause_of("host is required"), cause_of("port is required"));
        assert_eq!(cause_of("no dead beef here"), "no dead beef here");
    }

    proptest! {
        #[test]
        fn every_text_has_a_bounded_cause_and_a_kind(message in ".{0,3000}") {
            prop_assert!(cause_of(&message).len() <= MAX_CAUSE);
            kind_of(&message);
        }
    }
}
