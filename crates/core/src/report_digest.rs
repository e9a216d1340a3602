//! Digest of the reported conditions of one cluster, computed by both sides (contract, section 3).
//!
//! ```text
//!   agent:          what it reported last, per condition ──► lines ──► sum ─┐
//!                                                                          ├─ equal? then nothing was forgotten
//!   control plane:  what it holds now, per condition ──────► lines ──► sum ─┘
//! ```
//!
//! A line is 128 bits of SHA-256 over one condition of one object; the digest is the sum of all lines modulo 2^128. The
//! sum does not depend on the order, and either side keeps it current by adding and removing lines, without reading
//! the others again. It finds what was forgotten. It is no proof against somebody who wants two states to look equal.

use crate::canonical::sha256_of_parts;
use std::{fmt, str::FromStr};
use thiserror::Error;
use vworkspace_protocol::{
    Condition, ConditionStatus, ObjectRef,
    condition::reasons,
    limits::{MESSAGE_BYTES, clip},
};

/// Names the form of a line: a side that computes it otherwise must use another prefix, so that nobody compares.
const FORM: &str = "v1-";

/// One condition of one object as it counts in a digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportLine(u128);

impl ReportLine {
    /// The line of `condition` of `object`. The message counts as the control plane stores it, cut to its bound; a
    /// removed condition counts nothing; generation of the object and transition time do not count.
    pub fn new(object: &ObjectRef, condition: &Condition) -> Self {
        if condition.status == ConditionStatus::Unknown && condition.reason == reasons::CONDITION_REMOVED {
            return Self::default();
        }
        let digest = sha256_of_parts(&[
            object.group().as_bytes(),
            object.kind.as_bytes(),
            object.namespace.as_bytes(),
            object.name.as_bytes(),
            object.uid.as_bytes(),
            condition.type_.as_bytes(),
            condition.status.as_str().as_bytes(),
            condition.reason.as_bytes(),
            clip(&condition.message, MESSAGE_BYTES).as_bytes(),
            &condition.observed_generation.to_be_bytes(),
        ]);
        Self(u128::from_be_bytes(*digest.first_chunk().unwrap_or(&[0; 16])))
    }
}

/// The sum of the lines of a cluster's objects; also the difference between two such sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ReportDigest(u128);

impl ReportDigest {
    /// Counts one more line.
    pub fn add(&mut self, line: ReportLine) {
        self.0 = self.0.wrapping_add(line.0);
    }

    /// Counts a line no more that was added before.
    pub fn remove(&mut self, line: ReportLine) {
        self.0 = self.0.wrapping_sub(line.0);
    }

    /// The sum with what changed since.
    #[must_use]
    pub fn plus(self, change: Self) -> Self {
        Self(self.0.wrapping_add(change.0))
    }

    /// As a database stores it.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// The inverse of [`ReportDigest::to_bytes`].
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }
}

impl fmt::Display for ReportDigest {
    /// As it is sent: the form and 32 hex digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{FORM}{:032x}", self.0)
    }
}

/// A text that is no digest, or one of a form this program does not compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a report digest of the form {FORM}<32 hex digits>")]
pub struct UnknownForm;

impl FromStr for ReportDigest {
    type Err = UnknownForm;

    fn from_str(text: &str) -> Result<Self, UnknownForm> {
        let hex = text.strip_prefix(FORM).filter(|hex| hex.len() == 32).ok_or(UnknownForm)?;
        if !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(UnknownForm);
        }
        u128::from_str_radix(hex, 16).map(Self).map_err(|_| UnknownForm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn object(name: &str) -> ObjectRef {
        ObjectRef {
            api_version: "apps.vworkspace.io/v1alpha1".into(),
            kind: "ApplicationInstance".into(),
            namespace: "n".into(),
            name: name.into(),
            uid: format!("uid-{name}"),
            generation: 1,
        }
    }

    fn condition(type_: &str, message: &str) -> Condition {
        Condition {
            type_: type_.into(),
            status: ConditionStatus::True,
            observed_generation: 1,
            last_transition_time: None,
            reason: "R".into(),
            message: message.into(),
        }
    }

    fn digest_of(lines: &[ReportLine]) -> ReportDigest {
        lines.iter().fold(ReportDigest::default(), |mut sum, line| {
            sum.add(*line);
            sum
        })
    }

    proptest! {
        #[test]
        fn digest_ignores_the_order_and_undoes_removed_lines(
            names in prop::collection::btree_set("[a-z]{1,4}", 1..20),
            shuffled in any::<prop::sample::Index>(),
        ) {
            let line = |name: &String| ReportLine::new(&object(name), &condition("Ready", name));
            let mut lines: Vec<_> = names.iter().map(line).collect();
            let all = digest_of(&lines);
            let turned = shuffled.index(lines.len());
            lines.rotate_left(turned);
            prop_assert_eq!(digest_of(&lines), all);
            let last = lines.pop().unwrap();
            prop_assert_ne!(digest_of(&lines), all);
            let mut removed = all;
            removed.remove(last);
            prop_assert_eq!(removed, digest_of(&lines));
            prop_assert_eq!(all.to_string().parse(), Ok(all));
            prop_assert_eq!(ReportDigest::from_bytes(all.to_bytes()), all);
        }
    }

    #[test]
    fn line_changes_with_every_member_that_counts() {
        let (web, ready) = (object("web"), condition("Ready", "m"));
        let changes: [(&str, ObjectRef, Condition); 10] = [
            ("group", ObjectRef { api_version: "other/v1".into(), ..web.clone() }, ready.clone()),
            ("kind", ObjectRef { kind: "Operation".into(), ..web.clone() }, ready.clone()),
            ("namespace", ObjectRef { namespace: "o".into(), ..web.clone() }, ready.clone()),
            ("name", ObjectRef { name: "api".into(), ..web.clone() }, ready.clone()),
            ("uid", ObjectRef { uid: "v".into(), ..web.clone() }, ready.clone()),
            ("type", web.clone(), Condition { type_: "Blocked".into(), ..ready.clone() }),
            ("status", web.clone(), Condition { status: ConditionStatus::False, ..ready.clone() }),
            ("reason", web.clone(), Condition { reason: "S".into(), ..ready.clone() }),
            ("message", web.clone(), Condition { message: "n".into(), ..ready.clone() }),
            ("observedGeneration", web.clone(), Condition { observed_generation: 2, ..ready.clone() }),
        ];
        for (member, object, condition) in changes {
            assert_ne!(ReportLine::new(&object, &condition), ReportLine::new(&web, &ready), "{member}");
        }
        let same = ObjectRef { generation: 9, api_version: "apps.vworkspace.io/v2".into(), ..web.clone() };
        let later = Condition { last_transition_time: Some(jiff::Timestamp::UNIX_EPOCH), ..ready.clone() };
        assert_eq!(ReportLine::new(&same, &later), ReportLine::new(&web, &ready));
    }

    #[test]
    fn message_counts_as_the_control_plane_stores_it() {
        let stored = "ü".repeat(MESSAGE_BYTES / 2);
        let sent = format!("{stored}and what is cut off");
        let line = |message: &str| ReportLine::new(&object("web"), &condition("Ready", message));
        assert_eq!(line(&sent), line(&stored));
        // One byte earlier the bound falls into a character.
        let odd = format!("x{sent}");
        assert_eq!(line(&odd), line(clip(&odd, MESSAGE_BYTES)));
        assert!(clip(&odd, MESSAGE_BYTES).len() < MESSAGE_BYTES);
    }

    #[test]
    fn removed_condition_counts_nothing() {
        let removed = Condition {
            status: ConditionStatus::Unknown,
            reason: reasons::CONDITION_REMOVED.into(),
            ..condition("Ready", "")
        };
        assert_eq!(ReportLine::new(&object("web"), &removed), ReportLine::default());
        let unknown = Condition { reason: "Progressing".into(), ..removed };
        assert_ne!(ReportLine::new(&object("web"), &unknown), ReportLine::default());
    }

    #[test]
    fn another_form_is_no_digest() {
        let text = ReportDigest::default().to_string();
        for other in ["", "v1-", "v2-00000000000000000000000000000000", &text[3..], &format!("{text}0")] {
            assert_eq!(other.parse::<ReportDigest>(), Err(UnknownForm), "{other}");
        }
        assert_eq!("v1-+0000000000000000000000000000000".parse::<ReportDigest>(), Err(UnknownForm));
    }
}
