//! The control plane's database, looked at while nobody has it open.

use super::check::Stored;
use anyhow::Context as _;
use rusqlite::Connection;
use std::{fs, path::Path};

/// Its file, and the log that belongs to it.
const FILES: [&str; 2] = ["vworkspace.db", "vworkspace.db-wal"];
/// Most keys and lines of damage that are named.
const MOST_NAMED: u32 = 20;
/// First of the states that are ends, as the store numbers them.
const FIRST_END: i64 = 3;

/// Checks a copy of the database in `data`: the server must find what it left, log included, and nobody else's hand.
/// Blocks.
///
/// # Errors
/// It cannot be copied or opened at all.
pub(super) fn read(data: &Path) -> anyhow::Result<Stored> {
    let copy = tempfile::tempdir().context("no room for a copy of the database")?;
    for file in FILES.iter().filter(|file| data.join(file).exists()) {
        fs::copy(data.join(file), copy.path().join(file)).with_context(|| format!("cannot copy {file}"))?;
    }
    let connection = Connection::open(copy.path().join(FILES[0])).context("cannot open the database")?;
    let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, u32>(0)).map(u64::from);
    let texts = |sql: &str| -> rusqlite::Result<Vec<String>> {
        connection.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
    };
    let mut damage = texts("PRAGMA integrity_check")?;
    damage.retain(|line| line != "ok");
    damage
        .extend(texts("SELECT 'a row of ' || \"table\" || ' points nowhere' FROM pragma_foreign_key_check")?);
    Ok(Stored {
        jobs: count("SELECT count(*) FROM job")?,
        open: count(&format!("SELECT count(*) FROM job WHERE state < {FIRST_END}"))?,
        ended_twice: count(&format!(
            "SELECT count(*) FROM (SELECT 1 FROM job_step WHERE state >= {FIRST_END} GROUP BY job HAVING count(*) > 1)"
        ))?,
        events: count("SELECT count(*) FROM event")?,
        repeated_keys: texts(&format!(
            "SELECT event_key FROM event WHERE event_key <> '' GROUP BY cluster, event_key HAVING count(*) > 1
             LIMIT {MOST_NAMED}"
        ))?,
        damage,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use vworkspace_store::{Settings, Store};

    #[test]
    fn a_sound_database_is_sound_and_a_broken_one_is_not() {
        let data = tempfile::tempdir().unwrap();
        let file = data.path().join(FILES[0]);
        drop(Store::open(&file, &Settings::default()).unwrap());
        assert_eq!(read(data.path()).unwrap(), Stored::default());

        let connection = Connection::open(&file).unwrap();
        connection
            .execute_batch(
                "PRAGMA foreign_keys = OFF;
                 INSERT INTO event (cluster, event_key, kind, resource, conditions, received_at)
                 VALUES (7, 'twice', '', '', '', 0), (7, 'twice', '', '', '', 0)",
            )
            .unwrap();
        drop(connection);
        let stored = read(data.path()).unwrap();
        assert_eq!((stored.events, stored.repeated_keys), (2, vec!["twice".to_owned()]));
        assert_eq!(stored.damage, ["a row of event points nowhere"; 2]);

        let mut bytes = fs::read(&file).unwrap();
        let half = bytes.len() / 2;
        bytes[half..].fill(0xA5);
        fs::write(&file, bytes).unwrap();
        assert!(read(data.path()).map_or(true, |stored| !stored.damage.is_empty()));
    }
}
