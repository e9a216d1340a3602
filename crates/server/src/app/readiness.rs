//! Whether this server should be given requests, check by check.

use std::fmt;
use vworkspace_store::WriteState;

/// How a check stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// All is well.
    Ok,
    /// Some requests fail. The server still serves the others.
    Degraded(&'static str),
    /// The server cannot do its work.
    Failed(&'static str),
}

/// The checks behind `/readyz`, in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// The server is not stopping.
    pub running: Standing,
    /// The database answers reads.
    pub database_read: Standing,
    /// The database accepts writes.
    pub database_write: Standing,
}

impl Readiness {
    /// Judges the checks. Only a server that is stopping, and one that has written nothing for 30 seconds of failures,
    /// is not ready: a disk that is full for large writes still serves polls and events.
    pub fn new(is_stopping: bool, reads: bool, writes: WriteState) -> Self {
        Self {
            running: if is_stopping { Standing::Failed("the server is stopping") } else { Standing::Ok },
            database_read: if reads { Standing::Ok } else { Standing::Degraded("a read was not answered") },
            database_write: of_writes(writes),
        }
    }

    /// Returns `true` if the server should be given requests.
    pub fn is_ready(&self) -> bool {
        !self.checks().iter().any(|(_, standing)| matches!(standing, Standing::Failed(_)))
    }

    /// The checks by name.
    pub fn checks(&self) -> [(&'static str, Standing); 3] {
        [
            ("running", self.running),
            ("database-read", self.database_read),
            ("database-write", self.database_write),
        ]
    }
}

/// How a database in this state stands.
pub fn of_writes(state: WriteState) -> Standing {
    match state {
        WriteState::Good => Standing::Ok,
        WriteState::Degraded(fault) => Standing::Degraded(fault.text()),
        WriteState::Failed(fault) => Standing::Failed(fault.text()),
    }
}

impl fmt::Display for Readiness {
    /// One line for each check: its name, how it stands, and why.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, standing) in self.checks() {
            match standing {
                Standing::Ok => writeln!(f, "{name}: ok")?,
                Standing::Degraded(why) => writeln!(f, "{name}: degraded: {why}")?,
                Standing::Failed(why) => writeln!(f, "{name}: failed: {why}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vworkspace_store::WriteFault;

    #[test]
    fn every_check_has_a_line_and_degraded_is_still_ready() {
        let degraded = Readiness::new(false, false, WriteState::Degraded(WriteFault::DiskFull));
        assert!(degraded.is_ready());
        let lines = "running: ok\ndatabase-read: degraded: a read was not answered\n\
                     database-write: degraded: the disk is full\n";
        assert_eq!(degraded.to_string(), lines);
    }

    #[test]
    fn stopping_or_writing_nothing_is_not_ready() {
        let locked = Readiness::new(false, true, WriteState::Failed(WriteFault::Locked));
        assert!(!locked.is_ready());
        assert!(locked.to_string().ends_with("database-write: failed: another process holds the database\n"));
        assert!(!Readiness::new(true, true, WriteState::Good).is_ready());
        assert!(Readiness::new(false, true, WriteState::Good).is_ready());
    }
}
