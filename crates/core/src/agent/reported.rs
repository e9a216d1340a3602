//! Digest of everything that was reported, kept current line by line.

use crate::report_digest::{ReportDigest, ReportLine};

/// The sum of the lines of all conditions that were reported and not taken back.
#[derive(Debug, Default)]
pub(super) struct Reported {
    digest: ReportDigest,
    /// Conditions that an earlier process reported, whose lines are not known yet.
    unknown: usize,
    /// Something was forgotten for want of room: the control plane holds more than is known here.
    is_partial: bool,
}

impl Reported {
    /// Counts one more condition; `None`: its line is not known yet.
    pub(super) fn add(&mut self, line: Option<ReportLine>) {
        match line {
            Some(line) => self.digest.add(line),
            None => self.unknown += 1,
        }
    }

    /// Counts a condition no more that was added with this line.
    pub(super) fn remove(&mut self, line: Option<ReportLine>) {
        match line {
            Some(line) => self.digest.remove(line),
            None => self.unknown = self.unknown.saturating_sub(1),
        }
    }

    /// As [`Reported::remove`], of a condition that the control plane still holds: from here on nothing can be compared.
    pub(super) fn forget(&mut self, line: Option<ReportLine>) {
        self.remove(line);
        self.is_partial = true;
    }

    /// Whether every line is known.
    pub(super) fn is_complete(&self) -> bool {
        self.unknown == 0
    }

    /// The sum; `None` while it is not that of everything the control plane was told.
    pub(super) fn digest(&self) -> Option<ReportDigest> {
        (self.unknown == 0 && !self.is_partial).then_some(self.digest)
    }
}
