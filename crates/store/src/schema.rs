//! Migrations: append-only, each in one transaction. `schema.sql` beside this crate's manifest is what they add up to.

use crate::{Error, connection::Statements};
use rusqlite::Connection;

/// In order; the place in the list plus one is the version. Never change one that was released: add another.
const MIGRATIONS: &[&str] = &[
    include_str!("../migrations/0001_initial.sql"),
    include_str!("../migrations/0002_several_pending_credentials.sql"),
    include_str!("../migrations/0003_retention.sql"),
    include_str!("../migrations/0004_sequence_and_unused_credentials.sql"),
    include_str!("../migrations/0005_unused_rotated_credentials.sql"),
    include_str!("../migrations/0006_superseding_by_object.sql"),
    include_str!("../migrations/0007_report_digest.sql"),
    include_str!("../migrations/0008_identity_and_restore.sql"),
    include_str!("../migrations/0009_revocation.sql"),
    include_str!("../migrations/0010_retry_and_force.sql"),
];

/// Brings a database to the newest version.
pub(crate) fn migrate(connection: &Connection) -> Result<(), Error> {
    migrate_to(connection, MIGRATIONS.len())
}

fn migrate_to(connection: &Connection, target: usize) -> Result<(), Error> {
    connection
        .execute_batch("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL) STRICT")?;
    let found = connection
        .row("SELECT version FROM schema_version", [], |row| row.get::<_, u32>(0))?
        .unwrap_or_default();
    let known = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
    if found > known {
        return Err(Error::TooNew { found, known });
    }
    // A table that others refer to can be rebuilt only while references are not enforced; they are checked before each
    // commit instead. SQLite ignores this setting within a transaction.
    connection.execute_batch("PRAGMA foreign_keys = OFF")?;
    let migrated = (1u32..)
        .zip(&MIGRATIONS[..target])
        .skip(found as usize)
        .try_for_each(|(version, sql)| migrate_by_one(connection, version, sql));
    if migrated.is_err() && !connection.is_autocommit() {
        connection.execute_batch("ROLLBACK")?;
    }
    connection.execute_batch("PRAGMA foreign_keys = ON")?;
    migrated
}

fn migrate_by_one(connection: &Connection, version: u32, sql: &str) -> Result<(), Error> {
    connection.execute_batch(&format!(
        "BEGIN IMMEDIATE; {sql}
         DELETE FROM schema_version; INSERT INTO schema_version VALUES ({version});"
    ))?;
    if connection.row("SELECT 1 FROM pragma_foreign_key_check LIMIT 1", [], |_| Ok(()))?.is_some() {
        return Err(Error::Corrupt { what: "reference between tables" });
    }
    connection.execute_batch("COMMIT")?;
    tracing::info!(version, "database migrated to schema version {version}");
    Ok(())
}

/// The statements that make the current schema, as SQLite keeps them, ordered by name.
///
/// # Errors
/// Those of reading.
pub(crate) fn dump(connection: &Connection) -> Result<String, Error> {
    let statements =
        connection.rows("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name", [], |row| {
            row.get::<_, String>(0)
        })?;
    Ok(statements.into_iter().map(|sql| format!("{sql};\n\n")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn migrated_from(version: usize) -> String {
        let connection = Connection::open_in_memory().unwrap();
        migrate_to(&connection, version).unwrap();
        migrate(&connection).unwrap();
        dump(&connection).unwrap()
    }

    #[test]
    fn every_earlier_version_migrates_to_what_a_fresh_database_is() {
        let fresh = migrated_from(0);
        for version in 1..=MIGRATIONS.len() {
            assert_eq!(migrated_from(version), fresh, "from version {version}");
        }
    }

    #[test]
    fn what_an_earlier_program_stored_is_still_there() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("PRAGMA foreign_keys = ON").unwrap();
        migrate_to(&connection, 1).unwrap();
        connection
            .execute_batch(
                "INSERT INTO organization VALUES (1, x'01', 'o', 0);
                 INSERT INTO cluster VALUES (1, x'02', 1, 'c', 0, NULL);
                 INSERT INTO job (seq, id, cluster, state, kind, lane, bytes) VALUES (7, x'0a', 1, 3, 0, x'00', 1);
                 INSERT INTO job_step VALUES (7, 1, 99, 3, '');
                 INSERT INTO job_key VALUES (1, 'key', 7, x'00');
                 INSERT INTO audit VALUES (1, 0, 'admin', '', 'enqueue', NULL, 1, 7, ''),
                                          (2, 0, 'server', '', 'bootstrap', NULL, NULL, NULL, '');",
            )
            .unwrap();
        migrate(&connection).unwrap();
        let audit = "SELECT count(*), max(job) FROM audit";
        let kept = connection.row(audit, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        assert_eq!(kept, Some((2, vec![0x0a])));
        let ended_at = connection.row("SELECT ended_at FROM job", [], |row| row.get(0)).unwrap();
        assert_eq!(ended_at, Some(99));
        assert_eq!(connection.row("SELECT job FROM job_key", [], |row| row.get(0)).unwrap(), Some(7));
        let owner = "SELECT o.name FROM cluster c JOIN organization o ON o.row = c.organization
             WHERE c.name = 'c' AND c.archived_at IS NULL AND o.archived_at IS NULL";
        assert_eq!(connection.row(owner, [], |row| row.get(0)).unwrap(), Some("o".to_owned()));
    }

    #[test]
    fn migration_that_breaks_a_reference_is_undone() {
        let connection = Connection::open_in_memory().unwrap();
        migrate(&connection).unwrap();
        let dangling =
            "INSERT INTO cluster (row, id, organization, name, created_at) VALUES (1, x'02', 9, 'c', 0);";
        connection.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
        assert!(matches!(migrate_by_one(&connection, 99, dangling), Err(Error::Corrupt { .. })));
        connection.execute_batch("ROLLBACK").unwrap();
        migrate(&connection).unwrap();
        let enforced = connection.execute_batch(dangling);
        assert!(enforced.unwrap_err().to_string().contains("FOREIGN KEY"));
    }

    #[test]
    fn queued_jobs_of_an_earlier_program_know_their_object() {
        let connection = Connection::open_in_memory().unwrap();
        migrate_to(&connection, 5).unwrap();
        connection
            .execute_batch(
                "INSERT INTO organization VALUES (1, x'01', 'o', 0);
                 INSERT INTO cluster VALUES (1, x'02', 1, 'c', 0, NULL);",
            )
            .unwrap();
        let instance = r#"{"apiVersion":"apps.vworkspace.io/v1alpha1"}"#;
        for (seq, kind, payload) in [
            (1, 0, r#"{"apiVersion":"velero.io/v1"}"#.to_owned()),
            (2, 0, r#"{"apiVersion":"v1"}"#.to_owned()),
            (3, 1, r#"{"apiVersion":"apps.vworkspace.io/v1alpha1"}"#.to_owned()),
            (4, 2, format!(r#"{{"intent":"ensure-application-instance","applicationInstance":{instance}}}"#)),
            (5, 2, r#"{"intent":"delete-application-instance","name":"web"}"#.to_owned()),
            (6, 2, format!(r#"{{"intent":"request-operation","apiVersion":"x/v1","operation":{instance}}}"#)),
        ] {
            let job = "INSERT INTO job (seq, id, cluster, state, kind, lane, bytes) VALUES (?1, CAST(?1 AS BLOB), 1, 0, ?2, x'00', 1)";
            connection.run(job, [seq, kind]).unwrap();
            let spec =
                "INSERT INTO job_spec (job, created_at, target_kind, target_namespace, target_name, payload)
                        VALUES (?1, 0, '', '', '', ?2)";
            connection.run(spec, rusqlite::params![seq, payload]).unwrap();
        }
        migrate(&connection).unwrap();
        let sql = "SELECT api_group, effect FROM job ORDER BY seq";
        let read =
            |row: &rusqlite::Row<'_>| Ok((row.get::<_, Option<String>>(0)?, row.get::<_, Option<i64>>(1)?));
        let of = |group: &str, effect| (Some(group.to_owned()), Some(effect));
        let expected = [
            of("velero.io", 0),
            of("", 0),
            of("apps.vworkspace.io", 1),
            of("apps.vworkspace.io", 0),
            of("apps.vworkspace.io", 1),
            (None, None),
        ];
        assert_eq!(connection.rows(sql, [], read).unwrap(), expected);
    }

    #[test]
    fn the_committed_dump_is_the_schema() {
        let hint = "run: cargo run -p vworkspace-store --example schema > crates/store/schema.sql";
        assert_eq!(migrated_from(0), include_str!("../schema.sql"), "{hint}");
    }

    #[test]
    fn a_database_of_a_newer_program_is_left_alone() {
        let connection = Connection::open_in_memory().unwrap();
        migrate(&connection).unwrap();
        connection.execute_batch("UPDATE schema_version SET version = 99").unwrap();
        assert!(matches!(migrate(&connection), Err(Error::TooNew { found: 99, .. })));
    }
}
