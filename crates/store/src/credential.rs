//! Who a bearer is; registration and rotation of clusters' credentials.

use crate::{
    Caller, Cluster, Error, Handle, Serve, Store,
    access::AuditActor,
    audit::Record,
    codec::{micros, time, whole_micros},
    connection::Statements,
    identity::{end_kept_session, forget_sessions, in_conflict},
    token::draw,
};
use jiff::Timestamp;
use rusqlite::{Connection, Row, params};
use uuid::Uuid;
use vworkspace_core::{
    control::{
        Actor,
        credential::{Credential, Standing, Usage, standing},
        token::{self, Kept, Kind, Presented},
    },
    planted::{Bug, planted},
};
use vworkspace_protocol::{
    ClusterId, Secret,
    credential::{RegisterResponse, RotateResponse},
    id::OrganizationId,
};

/// Most credentials of a cluster that repeated registrations gave and nobody used; one more drops the oldest.
const MOST_REGISTERED: u32 = 8;

impl Store {
    /// The first admin token: `Some` exactly once in the life of a database.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn bootstrap_admin(&self, now: Timestamp) -> Result<Option<Secret>, Error> {
        let (text, kept) = draw(Kind::Admin)?;
        let first = self.write(move |connection| insert_first_admin(connection, &kept, now)).await?;
        Ok(first.then_some(text))
    }

    /// Whose bearer this is. The first use of a new credential ends all others of its cluster. One that was refused
    /// because its first use came too late never works again.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`]: nobody issued it, it is a registration token, or its life is over.
    pub async fn authenticate(&self, bearer: &Secret, now: Timestamp) -> Result<Caller, Error> {
        let presented = token::read(bearer).ok_or(Error::Unauthenticated)?;
        let known = &self.inner.known;
        if let Some(caller) = known.caller(&presented, now) {
            return Ok(caller);
        }
        let epoch = known.epoch();
        match presented.kind {
            Kind::Registration => Err(Error::Unauthenticated),
            Kind::Admin => {
                let caller = self.read(move |connection| api_caller(connection, &presented)).await?;
                known.keep_caller(epoch, &presented, None, &caller);
                Ok(caller)
            }
            Kind::Agent => {
                let Proved { caller, standing, expires_at } =
                    self.read(move |connection| agent_caller(connection, &presented, now)).await?;
                match standing {
                    Standing::Current => {
                        known.keep_caller(epoch, &presented, Some(expires_at), &caller);
                        Ok(caller)
                    }
                    Standing::FirstUse | Standing::Dropped => {
                        let settled =
                            self.write(move |connection| settle(connection, &presented, now)).await?;
                        let caller = settled.ok_or(Error::Unauthenticated)?;
                        if let Some(cluster) = caller.agent_row() {
                            self.inner.presence.settled(cluster, now);
                        }
                        Ok(caller)
                    }
                    Standing::Ended => Err(Error::Unauthenticated),
                }
            }
        }
    }

    /// Returns once `bearer`, an API token, does not work any more; to be waited for beside whatever its holder waits
    /// for. While the database does not answer, nothing is known and the wait goes on.
    pub async fn until_revoked(&self, bearer: &Secret, now: Timestamp) {
        let mut revocations = self.inner.known.revocations();
        while !matches!(self.authenticate(bearer, now).await, Err(Error::Unauthenticated)) {
            // The sender lives as long as this store does.
            if revocations.changed().await.is_err() {
                return;
            }
        }
    }

    /// Exchanges a registration token for the identity it was issued for. Earlier credentials of the cluster end.
    /// The same token with the same `registration_id` (not empty) answers again, with a fresh credential, for as
    /// long as the token lives and no other one of the cluster's is exchanged; what it answered earlier ends when the fresh one is first used, so that an exchange
    /// that arrives twice takes nothing from who holds the first answer. Open jobs that were acked before are offered
    /// again: the agent may be another one.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`], [`Error::TokenConsumed`], [`Error::TokenExpired`]. [`Error::IdentityConflict`]: it repeats
    /// an exchange while two agents use the identity, and either may hold the token's copy.
    pub async fn register(
        &self,
        token: &Secret,
        registration_id: &str,
        now: Timestamp,
    ) -> Result<RegisterResponse, Error> {
        let presented = token::read(token).filter(|presented| presented.kind == Kind::Registration);
        let presented = presented.ok_or(Error::Unauthenticated)?;
        let (text, kept) = draw(Kind::Agent)?;
        let now = whole_micros(now);
        let expires_at = now + self.inner.settings.credential_life;
        let registration_id = registration_id.to_owned();
        let (cluster, cluster_id, repeated) = self
            .write(move |connection| {
                let (cluster, id, repeated) = redeem(connection, &presented, &registration_id, now)?;
                if repeated {
                    if in_conflict(connection, cluster)? {
                        return Err(Error::IdentityConflict);
                    }
                    make_room(connection, cluster)?;
                } else {
                    end_kept_session(connection, cluster)?;
                    connection.run("DELETE FROM credential WHERE cluster = ?1", [cluster])?;
                }
                let usage = if repeated { Usage::Registered } else { Usage::Used };
                insert_credential(connection, cluster, &kept, Credential { expires_at, usage }, now)?;
                record_registration(connection, cluster, &id, now)?;
                Ok((cluster, id, repeated))
            })
            .await?;
        self.inner.presence.registered(cluster, repeated, now);
        Ok(RegisterResponse { cluster_id, token: text, expires_at: Some(expires_at) })
    }

    /// Issues a new credential beside the current one, which ends when the new one is first used. A new one that was
    /// issued before and not used ends now; this one is dropped when it is not used in time. `bearer` is the credential
    /// of the cluster's that asks.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`]: `bearer` ended meanwhile; what ends every credential of a cluster must not be outlived
    /// by one that was asked for before.
    pub async fn rotate(
        &self,
        cluster: &Handle<Cluster, Serve>,
        bearer: &Secret,
        now: Timestamp,
    ) -> Result<RotateResponse, Error> {
        let presented = token::read(bearer).ok_or(Error::Unauthenticated)?;
        let (text, kept) = draw(Kind::Agent)?;
        let now = whole_micros(now);
        let settings = &self.inner.settings;
        let expires_at = now + settings.credential_life;
        let usage = Usage::Rotated { drop_at: now + settings.unused_life };
        let audit = Record::new(&cluster.by, "rotate", "new credential issued").cluster(cluster.row);
        let (row, own) = (cluster.row, Actor::Agent(cluster.id().clone()));
        self.write(move |connection| {
            let Proved { caller, standing, expires_at: _ } = agent_caller(connection, &presented, now)?;
            let works = match standing {
                Standing::Current | Standing::FirstUse => true,
                Standing::Dropped | Standing::Ended => false,
            };
            if !works || *caller.actor() != own {
                return Err(Error::Unauthenticated);
            }
            connection.run("DELETE FROM credential WHERE cluster = ?1 AND drop_at IS NOT NULL", [row])?;
            if planted(Bug::DiscardCredentialTooEarly) {
                connection.run("DELETE FROM credential WHERE cluster = ?1", [row])?;
            }
            insert_credential(connection, row, &kept, Credential { expires_at, usage }, now)?;
            audit.write(connection, now)
        })
        .await?;
        Ok(RotateResponse { token: text, expires_at: Some(expires_at) })
    }
}

fn insert_first_admin(connection: &Connection, kept: &Kept, now: Timestamp) -> Result<bool, Error> {
    let first = connection.run(
        "INSERT OR IGNORE INTO installation (singleton, bootstrapped_at) VALUES (1, ?1)",
        [micros(now)],
    )?;
    if first == 0 {
        return Ok(false);
    }
    connection.run(
        "INSERT INTO api_token (lookup, digest, description, created_at) VALUES (?1, ?2, 'first admin token', ?3)",
        params![kept.lookup, kept.digest, micros(now)],
    )?;
    Record::new(&AuditActor::server(), "bootstrap", "first admin token made").write(connection, now)?;
    Ok(true)
}

fn api_caller(connection: &Connection, presented: &Presented) -> Result<Caller, Error> {
    let found = connection.row(
        "SELECT t.digest, t.description, o.row, o.id
         FROM api_token t LEFT JOIN organization o ON o.row = t.organization WHERE t.lookup = ?1",
        [presented.kept.lookup],
        |row| {
            let tenant = row.get::<_, Option<i64>>(2)?.zip(row.get::<_, Option<Uuid>>(3)?);
            Ok((row.get(0)?, row.get::<_, String>(1)?, tenant))
        },
    )?;
    let (digest, description, tenant) = found.ok_or(Error::Unauthenticated)?;
    proved(digest, presented)?;
    Ok(match tenant {
        Some((row, id)) => Caller::organization(row, OrganizationId::new(id.to_string()), description),
        None => Caller::admin(description),
    })
}

/// An agent whose credential was found and matches.
struct Proved {
    caller: Caller,
    standing: Standing,
    expires_at: Timestamp,
}

fn agent_caller(connection: &Connection, presented: &Presented, now: Timestamp) -> Result<Proved, Error> {
    let found = connection.row(
        "SELECT c.digest, c.expires_at, c.pending, k.row, k.id, o.id, c.drop_at
         FROM credential c JOIN cluster k ON k.row = c.cluster JOIN organization o ON o.row = k.organization
         WHERE c.lookup = ?1",
        [presented.kept.lookup],
        |row| Ok((row.get(0)?, credential(row)?, agent(row)?)),
    )?;
    let (digest, credential, caller) = found.ok_or(Error::Unauthenticated)?;
    proved(digest, presented)?;
    let standing = standing(credential, now);
    Ok(Proved { caller, standing, expires_at: credential.expires_at })
}

fn credential(row: &Row<'_>) -> rusqlite::Result<Credential> {
    let drop_at = row.get::<_, Option<i64>>(6)?.map(time);
    let usage = match (row.get::<_, bool>(2)?, drop_at) {
        (false, _) => Usage::Used,
        (true, None) => Usage::Registered,
        (true, Some(drop_at)) => Usage::Rotated { drop_at },
    };
    Ok(Credential { expires_at: time(row.get(1)?), usage })
}

fn agent(row: &Row<'_>) -> rusqlite::Result<Caller> {
    let id = ClusterId::new(row.get::<_, Uuid>(4)?.to_string());
    Ok(Caller::agent(row.get(3)?, id, OrganizationId::new(row.get::<_, Uuid>(5)?.to_string())))
}

fn proved(digest: [u8; 32], presented: &Presented) -> Result<(), Error> {
    let kept = Kept { lookup: presented.kept.lookup, digest };
    if kept.matches(presented) { Ok(()) } else { Err(Error::Unauthenticated) }
}

/// A new credential is used for the first time: it becomes the current one, all others end. Or it came too late: it is
/// forgotten, and nobody is there.
fn settle(connection: &Connection, presented: &Presented, now: Timestamp) -> Result<Option<Caller>, Error> {
    // Judged again: another request may have done it, or replaced it, meanwhile.
    let Proved { caller, standing, expires_at: _ } = agent_caller(connection, presented, now)?;
    let lookup = presented.kept.lookup;
    match standing {
        Standing::Current => Ok(Some(caller)),
        Standing::Ended => Ok(None),
        Standing::Dropped => {
            connection.run("DELETE FROM credential WHERE lookup = ?1", [lookup])?;
            Ok(None)
        }
        Standing::FirstUse => {
            let ended = if planted(Bug::KeepOldCredential) {
                "UPDATE credential SET pending = 1 WHERE lookup <> ?1
                 AND cluster = (SELECT cluster FROM credential WHERE lookup = ?1)"
            } else {
                "DELETE FROM credential WHERE lookup <> ?1
                 AND cluster = (SELECT cluster FROM credential WHERE lookup = ?1)"
            };
            connection.run(ended, [lookup])?;
            if let Some(cluster) = caller.agent_row() {
                end_kept_session(connection, cluster)?;
                forget_sessions(connection, cluster)?;
            }
            connection
                .run("UPDATE credential SET pending = 0, drop_at = NULL WHERE lookup = ?1", [lookup])?;
            Ok(Some(caller))
        }
    }
}

fn record_registration(
    connection: &Connection,
    cluster: i64,
    id: &ClusterId,
    now: Timestamp,
) -> Result<(), Error> {
    connection.run("UPDATE cluster SET registered_at = ?2 WHERE row = ?1", [cluster, micros(now)])?;
    // What was acked is held by nobody any more, wherever the clock goes.
    connection.run(
        "UPDATE job SET held_at = NULL WHERE cluster = ?1 AND state = 2 AND ended_at IS NULL",
        [cluster],
    )?;
    let record = Record::new(&AuditActor::agent(id), "register", "registration token exchanged");
    record.cluster(cluster).write(connection, now)
}

/// For one more credential of a repeated registration: of those that nobody used the newest few stay. Whoever registers
/// holds one answer, and may hold any of them when a request arrives twice or late.
fn make_room(connection: &Connection, cluster: i64) -> Result<(), Error> {
    connection.run(
        "DELETE FROM credential WHERE lookup IN (SELECT lookup FROM credential
             WHERE cluster = ?1 AND pending = 1 AND drop_at IS NULL ORDER BY created_at DESC LIMIT -1 OFFSET ?2)",
        params![cluster, MOST_REGISTERED - 1],
    )?;
    Ok(())
}

/// Uses the token up, or finds that it was used up by the very same registration: then the last answer is true.
fn redeem(
    connection: &Connection,
    presented: &Presented,
    registration_id: &str,
    now: Timestamp,
) -> Result<(i64, ClusterId, bool), Error> {
    let found = connection.row(
        "SELECT t.digest, t.expires_at, t.consumed_at IS NOT NULL, t.registration_id, c.row, c.id,
                c.registered_at IS NOT NULL
         FROM registration_token t JOIN cluster c ON c.row = t.cluster WHERE t.lookup = ?1",
        [presented.kept.lookup],
        |row| {
            let token =
                (row.get(0)?, time(row.get(1)?), row.get::<_, bool>(2)?, row.get::<_, Option<String>>(3)?);
            Ok((token, row.get::<_, i64>(4)?, row.get::<_, Uuid>(5)?, row.get::<_, bool>(6)?))
        },
    )?;
    let ((digest, ends, consumed, earlier), cluster, id, is_registered) =
        found.ok_or(Error::Unauthenticated)?;
    proved(digest, presented)?;
    let is_known = earlier.as_deref() == Some(registration_id) && !planted(Bug::ForgetRegistrationId);
    let repeated = !registration_id.is_empty() && is_known;
    match (consumed, ends <= now) {
        (true, false) if repeated || planted(Bug::RegisterTwice) => {}
        (true, _) => return Err(Error::TokenConsumed),
        (false, true) => return Err(Error::TokenExpired),
        (false, false) => {
            connection.run(
                "UPDATE registration_token SET consumed_at = ?2, registration_id = ?3 WHERE lookup = ?1",
                params![presented.kept.lookup, micros(now), registration_id],
            )?;
            if is_registered {
                forget_earlier_exchanges(connection, cluster, presented.kept.lookup)?;
            }
        }
    }
    Ok((cluster, ClusterId::new(id.to_string()), consumed))
}

/// The identity is another agent's from now on: who had it before does not get it back by repeating its exchange.
fn forget_earlier_exchanges(connection: &Connection, cluster: i64, lookup: i64) -> Result<(), Error> {
    connection.run(
        "UPDATE registration_token SET registration_id = NULL
         WHERE cluster = ?1 AND lookup <> ?2 AND consumed_at IS NOT NULL",
        [cluster, lookup],
    )?;
    Ok(())
}

fn insert_credential(
    connection: &Connection,
    cluster: i64,
    kept: &Kept,
    credential: Credential,
    now: Timestamp,
) -> Result<(), Error> {
    let (pending, drop_at) = match credential.usage {
        Usage::Used => (false, None),
        Usage::Registered => (true, None),
        Usage::Rotated { drop_at } => (true, Some(micros(drop_at))),
    };
    connection.run(
        "INSERT INTO credential (lookup, digest, cluster, pending, created_at, expires_at, drop_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            kept.lookup,
            kept.digest,
            cluster,
            pending,
            micros(now),
            micros(credential.expires_at),
            drop_at
        ],
    )?;
    Ok(())
}
