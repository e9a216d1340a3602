//! Answers of the database that nearly every request needs, kept in memory for as long as they are true.
//!
//! ```text
//!   writer: statement touches a row ──► touched ──COMMIT──► forgotten, epoch + 1 ──► calls answered
//!   reader: epoch? ──► reads a snapshot ──► kept, if the epoch is still that one
//! ```
//!
//! SQLite itself tells which rows a write touches, whoever wrote the statement. What they said is forgotten after the
//! commit and before any of its calls is answered: whoever was told that a credential has ended never sees it work.
//! A reader whose snapshot is older than a commit finds another epoch and keeps nothing.
//!
//! Two kinds of statements SQLite does not tell of: a deletion of all rows without `WHERE`, and rows that give way to
//! others by `REPLACE`. A test sees to it that this crate has none on these tables.
//!
//! Only what was found is kept, so that a stranger cannot fill the memory.

use crate::{Caller, Error};
use jiff::Timestamp;
use rusqlite::{Connection, hooks::Action};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;
use uuid::Uuid;
use vworkspace_core::{
    control::token::{Kept, Presented},
    report_digest::ReportDigest,
};
use vworkspace_protocol::id::OrganizationId;

/// Most callers, and most clusters. Overflow rule: everything is forgotten and found again.
const MOST: usize = 200_000;
/// Most jobs. Overflow rule: the one kept longest is forgotten.
const MOST_JOBS: usize = 16_384;

/// What is known without asking the database.
#[derive(Default)]
pub(crate) struct Known {
    facts: Mutex<Facts>,
    /// Tells waiting callers that an API token has ended.
    revoked: watch::Sender<()>,
}

/// How often something was forgotten: proves that what was read meanwhile is still true.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Epoch(u64);

/// Where a cluster lies.
#[derive(Clone)]
pub(crate) struct ClusterPlace {
    pub(crate) row: i64,
    pub(crate) organization: OrganizationId,
}

/// Where a job lies. Neither ever changes, and no job gets the number of another.
#[derive(Clone, Copy)]
pub(crate) struct JobPlace {
    pub(crate) seq: i64,
    pub(crate) cluster: i64,
}

#[derive(Default)]
struct Facts {
    epoch: u64,
    touched: Vec<Touched>,
    /// By the token's public part.
    callers: HashMap<i64, Bearer>,
    /// The one of each cluster, by its row.
    agents: HashMap<i64, i64>,
    clusters: HashMap<Uuid, ClusterPlace>,
    cluster_ids: HashMap<i64, Uuid>,
    jobs: HashMap<Uuid, JobPlace>,
    jobs_by_age: VecDeque<Uuid>,
    /// Of the reports of each cluster, by its row. Reports come all the time: they have an epoch of their own.
    digests: HashMap<i64, ReportDigest>,
    digest_epoch: u64,
}

struct Bearer {
    kept: Kept,
    /// When it stops working by itself.
    expires_at: Option<Timestamp>,
    caller: Caller,
}

/// A row that an uncommitted write changed or deleted.
#[derive(Clone, Copy)]
enum Touched {
    /// An agent's.
    Credential(i64),
    ApiToken(i64),
    Cluster(i64),
    /// Of the cluster with this row.
    Digest(i64),
    /// Of a tenant, whose tokens and clusters are many: rare, so everything goes.
    Organization,
}

impl Known {
    /// Notes what is written through `connection` from now on.
    pub(crate) fn watch(self: &Arc<Self>, connection: &Connection) -> Result<(), Error> {
        let known = Arc::clone(self);
        Ok(connection.update_hook(Some(move |action: Action, _: &str, table: &str, row: i64| {
            if let Some(touched) = Touched::of(table, row)
                && (action != Action::SQLITE_INSERT || touched.may_be_known_before())
            {
                known.facts().touched.push(touched);
            }
        }))?)
    }

    /// Forgets what was touched. To be called after each commit, good or not, before its calls are answered.
    pub(crate) fn settle(&self) {
        let mut facts = self.facts();
        if facts.touched.is_empty() {
            return;
        }
        let touched = std::mem::take(&mut facts.touched);
        facts.digest_epoch += u64::from(touched.iter().any(|one| one.may_be_known_before()));
        facts.epoch += u64::from(touched.iter().any(|one| !one.may_be_known_before()));
        let is_revoked = touched.iter().any(|one| matches!(one, Touched::ApiToken(_)));
        for touched in touched {
            facts.forget(touched);
        }
        drop(facts);
        if is_revoked {
            self.revoked.send_replace(());
        }
    }

    /// Changes whenever an API token has ended, after it was forgotten here.
    pub(crate) fn revocations(&self) -> watch::Receiver<()> {
        self.revoked.subscribe()
    }

    /// To be asked for before the database is.
    pub(crate) fn epoch(&self) -> Epoch {
        Epoch(self.facts().epoch)
    }

    /// Who presents this token, if it is known to work.
    pub(crate) fn caller(&self, presented: &Presented, now: Timestamp) -> Option<Caller> {
        let facts = self.facts();
        let bearer = facts.callers.get(&presented.kept.lookup)?;
        let works = bearer.expires_at.is_none_or(|end| now < end) && bearer.kept.matches(presented);
        works.then(|| bearer.caller.clone())
    }

    /// Keeps who presents this token, which was proved and works until `expires_at`.
    pub(crate) fn keep_caller(
        &self,
        epoch: Epoch,
        presented: &Presented,
        expires_at: Option<Timestamp>,
        caller: &Caller,
    ) {
        let Some(mut facts) = self.facts_of(epoch) else { return };
        if facts.callers.len() >= MOST {
            facts.callers.clear();
            facts.agents.clear();
        }
        let lookup = presented.kept.lookup;
        if let Some(cluster) = caller.agent_row()
            && let Some(other) = facts.agents.insert(cluster, lookup)
            && other != lookup
        {
            facts.callers.remove(&other);
        }
        facts.callers.insert(lookup, Bearer { kept: presented.kept, expires_at, caller: caller.clone() });
    }

    /// Where this cluster lies.
    pub(crate) fn cluster(&self, id: Uuid) -> Option<ClusterPlace> {
        self.facts().clusters.get(&id).cloned()
    }

    /// Keeps where this cluster lies.
    pub(crate) fn keep_cluster(&self, epoch: Epoch, id: Uuid, place: &ClusterPlace) {
        let Some(mut facts) = self.facts_of(epoch) else { return };
        if facts.clusters.len() >= MOST {
            facts.clusters.clear();
            facts.cluster_ids.clear();
        }
        facts.cluster_ids.insert(place.row, id);
        facts.clusters.insert(id, place.clone());
    }

    /// Where this job lies, if it was handed out lately.
    pub(crate) fn job(&self, id: Uuid) -> Option<JobPlace> {
        self.facts().jobs.get(&id).copied()
    }

    /// Keeps where jobs lie that were just handed out: their agent names them in its next calls.
    pub(crate) fn keep_jobs(&self, jobs: impl Iterator<Item = (Uuid, JobPlace)>) {
        let mut facts = self.facts();
        for (id, place) in jobs {
            if facts.jobs.insert(id, place).is_none() {
                facts.jobs_by_age.push_back(id);
            }
            if facts.jobs_by_age.len() > MOST_JOBS
                && let Some(oldest) = facts.jobs_by_age.pop_front()
            {
                facts.jobs.remove(&oldest);
            }
        }
    }

    /// The digest of this cluster's reports.
    pub(crate) fn digest(&self, cluster: i64) -> Option<ReportDigest> {
        self.facts().digests.get(&cluster).copied()
    }

    /// To be asked for before the database is asked for a digest.
    pub(crate) fn digest_epoch(&self) -> Epoch {
        Epoch(self.facts().digest_epoch)
    }

    /// Keeps the digest of this cluster's reports.
    pub(crate) fn keep_digest(&self, epoch: Epoch, cluster: i64, digest: ReportDigest) {
        let mut facts = self.facts();
        if facts.digest_epoch != epoch.0 {
            return;
        }
        if facts.digests.len() >= MOST {
            facts.digests.clear();
        }
        facts.digests.insert(cluster, digest);
    }

    /// None when something was forgotten since.
    fn facts_of(&self, epoch: Epoch) -> Option<MutexGuard<'_, Facts>> {
        Some(self.facts()).filter(|facts| facts.epoch == epoch.0)
    }

    /// They stay whole whatever a panicking thread did: each change is a few infallible steps.
    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Touched {
    /// What is kept of a table's rows; the row of a token's table is its public part.
    fn of(table: &str, row: i64) -> Option<Self> {
        match table {
            "credential" => Some(Self::Credential(row)),
            "api_token" => Some(Self::ApiToken(row)),
            "cluster" => Some(Self::Cluster(row)),
            "organization" => Some(Self::Organization),
            "report_digest" => Some(Self::Digest(row)),
            _ => None,
        }
    }

    /// Whether it is known also while there is no row: then an insertion changes it, too.
    fn may_be_known_before(self) -> bool {
        match self {
            Self::Digest(_) => true,
            Self::Credential(_) | Self::ApiToken(_) | Self::Cluster(_) | Self::Organization => false,
        }
    }
}

impl Facts {
    fn forget(&mut self, touched: Touched) {
        match touched {
            Touched::Credential(lookup) | Touched::ApiToken(lookup) => {
                self.callers.remove(&lookup);
            }
            Touched::Cluster(row) => {
                if let Some(lookup) = self.agents.remove(&row) {
                    self.callers.remove(&lookup);
                }
                if let Some(id) = self.cluster_ids.remove(&row) {
                    self.clusters.remove(&id);
                }
            }
            Touched::Digest(row) => {
                self.digests.remove(&row);
            }
            Touched::Organization => {
                self.callers.clear();
                self.agents.clear();
                self.clusters.clear();
                self.cluster_ids.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use vworkspace_core::control::token::{Kind, RANDOM_BYTES, mint, read};
    use vworkspace_protocol::ClusterId;

    fn token(byte: u8) -> Presented {
        read(&mint(Kind::Agent, &[byte; RANDOM_BYTES]).0).unwrap()
    }

    fn agent(row: i64) -> Caller {
        Caller::agent(row, ClusterId::new(format!("c{row}")), OrganizationId::new("o".to_owned()))
    }

    fn database(known: &Arc<Known>) -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "CREATE TABLE credential (lookup INTEGER PRIMARY KEY, n INTEGER);
                 CREATE TABLE cluster (row INTEGER PRIMARY KEY, n INTEGER)",
            )
            .unwrap();
        known.watch(&connection).unwrap();
        connection
    }

    #[test]
    fn a_touched_credential_is_forgotten_once_settled_and_no_other() {
        let known = Arc::<Known>::default();
        let connection = database(&known);
        let (gone, stays) = (token(1), token(2));
        for (row, presented) in [(1, &gone), (2, &stays)] {
            connection.execute("INSERT INTO credential VALUES (?1, 0)", [presented.kept.lookup]).unwrap();
            known.keep_caller(known.epoch(), presented, None, &agent(row));
        }
        known.settle();
        let now = Timestamp::UNIX_EPOCH;
        assert!(known.caller(&gone, now).is_some());
        connection.execute("DELETE FROM credential WHERE lookup = ?1", [gone.kept.lookup]).unwrap();
        known.settle();
        assert!(known.caller(&gone, now).is_none() && known.caller(&stays, now).is_some());
        connection.execute("INSERT INTO cluster VALUES (2, 0)", []).unwrap();
        connection.execute("UPDATE cluster SET n = 1", []).unwrap();
        known.settle();
        assert!(known.caller(&stays, now).is_none());
    }

    #[test]
    fn what_was_read_before_a_commit_is_not_kept_after_it() {
        let known = Arc::<Known>::default();
        let connection = database(&known);
        let presented = token(1);
        connection.execute("INSERT INTO credential VALUES (?1, 0)", [presented.kept.lookup]).unwrap();
        let before = known.epoch();
        connection.execute("DELETE FROM credential WHERE lookup = ?1", [presented.kept.lookup]).unwrap();
        known.settle();
        known.keep_caller(before, &presented, None, &agent(1));
        assert!(known.caller(&presented, Timestamp::UNIX_EPOCH).is_none());
    }

    #[test]
    fn a_known_token_needs_its_secret_and_ends_with_its_life() {
        let known = Known::default();
        let end = Timestamp::UNIX_EPOCH + Duration::from_secs(10);
        known.keep_caller(known.epoch(), &token(1), Some(end), &agent(1));
        assert!(known.caller(&token(1), Timestamp::UNIX_EPOCH).is_some());
        assert!(known.caller(&token(1), end).is_none());
        let mut random = [1; RANDOM_BYTES];
        random[RANDOM_BYTES - 1] = 2;
        let near = read(&mint(Kind::Agent, &random).0).unwrap();
        assert_eq!(near.kept.lookup, token(1).kept.lookup);
        assert!(known.caller(&near, Timestamp::UNIX_EPOCH).is_none());
    }

    #[test]
    fn old_jobs_make_room_for_new_ones() {
        let known = Known::default();
        let id = |n: i64| Uuid::from_u128(n.unsigned_abs().into());
        let last = i64::try_from(MOST_JOBS).unwrap();
        known.keep_jobs((0..=last).map(|n| (id(n), JobPlace { seq: n, cluster: 1 })));
        assert!(known.job(id(0)).is_none());
        assert_eq!(known.job(id(last)).map(|place| place.seq), Some(last));
    }

    /// The statement of a source, in lower case and with single spaces, that SQLite would not tell [`Known`] of.
    fn untold(source: &str) -> Option<&str> {
        let is_watched = |table: &str| Touched::of(table, 0).is_some();
        let after =
            |words: &'static str| source.match_indices(words).map(move |(at, _)| &source[at + words.len()..]);
        let word = |text: &str, n: usize| {
            let mut words =
                text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
            words.nth(n).unwrap_or_default().to_owned()
        };
        let everything =
            after("delete from ").find(|rest| is_watched(&word(rest, 0)) && word(rest, 1) != "where");
        let replacing = after("replace into ").chain(after("update or replace "));
        everything.or_else(|| replacing.into_iter().find(|rest| is_watched(&word(rest, 0))))
    }

    fn sources(folder: &std::path::Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else {
                let source = std::fs::read_to_string(&path).unwrap().to_lowercase();
                let source = source.split("#[cfg(test)]").next().unwrap_or_default();
                found.push(source.split_whitespace().collect::<Vec<_>>().join(" "));
            }
        }
    }

    #[test]
    fn no_statement_touches_a_watched_row_untold() {
        for (statement, is_untold) in [
            ("delete from credential where lookup = ?1", false),
            ("delete from credential", true),
            ("delete from cluster; delete from job", true),
            ("insert or replace into presence values (1)", false),
            ("insert or replace into api_token values (1)", true),
            ("update or replace organization set name = ?1", true),
        ] {
            assert_eq!(untold(statement).is_some(), is_untold, "{statement}");
        }
        let mut found = Vec::new();
        sources(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
        assert!(found.len() > 10 && found.iter().any(|source| source.contains("delete from credential")));
        assert_eq!(found.iter().find_map(|source| untold(source)), None);
    }
}
