//! Tenants.

use crate::{
    Archived, Caller, Error, Handle, Installation, Manage, Organization, PageRequest, Read, Right, Store,
    audit::Record,
    codec::{known_id, micros, new_id, time, whole_micros},
    connection::Statements,
};
use jiff::Timestamp;
use rusqlite::{Connection, Row, params};
use uuid::Uuid;
use vworkspace_core::control::DnsLabel;
use vworkspace_protocol::{admin, id::OrganizationId};

impl Store {
    /// The right `A` on the whole server. Reading it lists what the caller may see.
    ///
    /// # Errors
    /// [`Error::Forbidden`].
    pub fn installation<A: Right>(&self, caller: &Caller) -> Result<Handle<Installation, A>, Error> {
        caller.on_installation()
    }

    /// The right `A` on an organization.
    ///
    /// # Errors
    /// [`Error::NotFound`] for another tenant's as for none, [`Error::Forbidden`].
    pub async fn lookup_organization<A: Right>(
        &self,
        caller: &Caller,
        id: &OrganizationId,
    ) -> Result<Handle<Organization, A>, Error> {
        let key = known_id(id.as_str())?;
        let find = move |connection: &Connection| {
            connection.row("SELECT row FROM organization WHERE id = ?1", [key], |row| row.get(0))
        };
        let row = self.read(find).await?.ok_or(Error::NotFound)?;
        caller.on_organization(row, id.clone())
    }

    /// Makes a tenant.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`]: a tenant in use has the name.
    pub async fn create_organization(
        &self,
        installation: &Handle<Installation, Manage>,
        name: &DnsLabel,
        now: Timestamp,
    ) -> Result<admin::Organization, Error> {
        let now = whole_micros(now);
        let id = new_id(now);
        let audit = Record::new(&installation.by, "create_organization", name.as_str());
        let made = admin::Organization {
            id: OrganizationId::new(id.to_string()),
            name: name.to_string(),
            created_at: now,
            archived_at: None,
        };
        let name = name.clone();
        self.write(move |connection| {
            refuse_taken(connection, &name)?;
            let row = connection.add(
                "INSERT INTO organization (id, name, created_at) VALUES (?1, ?2, ?3)",
                params![id, name.as_str(), micros(now)],
            )?;
            audit.clone().organization(row).write(connection, now)
        })
        .await?;
        Ok(made)
    }

    /// The tenants the caller may see, in order of making.
    ///
    /// # Errors
    /// [`Error::InvalidPage`].
    pub async fn organizations(
        &self,
        installation: &Handle<Installation, Read>,
        archived: Archived,
        page: &PageRequest,
    ) -> Result<admin::OrganizationPage, Error> {
        let (within, rows) = (installation.on.within, page.rows());
        let list = self.inner.cursors.list("organizations", within);
        let after = page.after::<i64>(&list)?.unwrap_or_default();
        let shown = archived == Archived::Shown;
        let select = move |connection: &Connection| {
            connection.rows(
                "SELECT id, name, created_at, archived_at, row FROM organization
                 WHERE row > ?1 AND (?2 IS NULL OR row = ?2) AND (?4 OR archived_at IS NULL)
                 ORDER BY row LIMIT ?3",
                params![after, within, rows, shown],
                |row| Ok((row.get::<_, i64>(4)?, record(row)?)),
            )
        };
        let (items, next_cursor) = page.finish(&list, self.read(select).await?, |(row, _)| *row)?;
        Ok(admin::OrganizationPage { items: items.into_iter().map(|(_, item)| item).collect(), next_cursor })
    }

    /// One tenant's record.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn organization(
        &self,
        organization: &Handle<Organization, Read>,
    ) -> Result<admin::Organization, Error> {
        let row = organization.row;
        let select = move |connection: &Connection| {
            let select = "SELECT id, name, created_at, archived_at FROM organization WHERE row = ?1";
            connection.row(select, [row], record)
        };
        self.read(select).await?.ok_or(Error::NotFound)
    }
}

fn refuse_taken(connection: &Connection, name: &DnsLabel) -> Result<(), Error> {
    let select = "SELECT 1 FROM organization WHERE name = ?1 AND archived_at IS NULL";
    match connection.row(select, [name.as_str()], |row| row.get::<_, i64>(0))? {
        Some(_) => Err(Error::AlreadyExists { subject: "an organization of this name" }),
        None => Ok(()),
    }
}

fn record(row: &Row<'_>) -> rusqlite::Result<admin::Organization> {
    Ok(admin::Organization {
        id: OrganizationId::new(row.get::<_, Uuid>(0)?.to_string()),
        name: row.get(1)?,
        created_at: time(row.get(2)?),
        archived_at: row.get::<_, Option<i64>>(3)?.map(time),
    })
}
