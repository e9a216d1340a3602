//! How much one organization may have, so that a caller in a loop cannot fill the server.

use crate::{Error, connection::Statements};
use jiff::Timestamp;
use rusqlite::{Connection, params};

/// Most of each kind that one organization may have; one more is refused with [`Error::LimitReached`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Clusters, archived ones not counted. Default 1,000.
    pub clusters: u32,
    /// Registration tokens that wait to be used, of all its clusters together. Default 1,000.
    pub registration_tokens: u32,
    /// API tokens; the administrators' tokens of the installation have the same bound. Default 100.
    pub api_tokens: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { clusters: 1_000, registration_tokens: 1_000, api_tokens: 100 }
    }
}

impl Bounds {
    /// Refuses one more cluster where the organization has all it may have.
    pub(crate) fn admit_cluster(&self, connection: &Connection, organization: i64) -> Result<(), Error> {
        let count = "SELECT count(*) FROM cluster WHERE organization = ?1 AND archived_at IS NULL";
        let found = connection.row(count, [organization], |row| row.get(0))?;
        refuse_beyond(found, "clusters", self.clusters)
    }

    /// Refuses one more registration token.
    pub(crate) fn admit_registration_token(
        &self,
        connection: &Connection,
        organization: i64,
        now: Timestamp,
    ) -> Result<(), Error> {
        let found = connection.row(
            "SELECT count(*) FROM registration_token
             WHERE organization = ?1 AND consumed_at IS NULL AND expires_at > ?2",
            params![organization, crate::codec::micros(now)],
            |row| row.get(0),
        )?;
        refuse_beyond(found, "open registration tokens", self.registration_tokens)
    }

    /// Refuses one more API token of the organization, or of the administrators for `None`.
    pub(crate) fn admit_api_token(
        &self,
        connection: &Connection,
        organization: Option<i64>,
    ) -> Result<(), Error> {
        let count = "SELECT count(*) FROM api_token WHERE organization IS ?1";
        let found = connection.row(count, [organization], |row| row.get(0))?;
        refuse_beyond(found, "API tokens", self.api_tokens)
    }
}

fn refuse_beyond(found: Option<u32>, what: &'static str, most: u32) -> Result<(), Error> {
    if found.unwrap_or_default() >= most { Err(Error::LimitReached { what, most }) } else { Ok(()) }
}
