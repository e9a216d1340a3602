//! Tenants and their API tokens.

use crate::{
    Caller, Error, Handle, Installation, Manage, Organization, PageRequest, Read, Right, Store,
    audit::Record,
    codec::{known_id, micros, new_id, time, whole_micros},
    connection::Statements,
    token::draw,
};
use jiff::Timestamp;
use rusqlite::{Connection, Row, params};
use uuid::Uuid;
use vworkspace_core::control::{DnsLabel, token::Kind};
use vworkspace_protocol::{Secret, admin, id::OrganizationId};

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
    /// [`Error::AlreadyExists`]: the name is taken.
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
        page: &PageRequest,
    ) -> Result<admin::OrganizationPage, Error> {
        let after = page.after::<i64>()?.unwrap_or_default();
        let (within, rows) = (installation.on.within, page.rows());
        let select = move |connection: &Connection| {
            connection.rows(
                "SELECT id, name, created_at, row FROM organization
                 WHERE row > ?1 AND (?2 IS NULL OR row = ?2) ORDER BY row LIMIT ?3",
                params![after, within, rows],
                |row| Ok((row.get::<_, i64>(3)?, record(row)?)),
            )
        };
        let (items, next_cursor) = page.finish(self.read(select).await?, |(row, _)| *row);
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
            connection.row("SELECT id, name, created_at FROM organization WHERE row = ?1", [row], record)
        };
        self.read(select).await?.ok_or(Error::NotFound)
    }

    /// Makes a token of the admin API that is good for this tenant. It is shown only here.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn create_api_token(
        &self,
        organization: &Handle<Organization, Manage>,
        description: &str,
        now: Timestamp,
    ) -> Result<Secret, Error> {
        let (text, kept) = draw(Kind::Admin)?;
        let (row, description) = (organization.row, description.to_owned());
        let audit = Record::new(&organization.by, "create_api_token", description.as_str()).organization(row);
        self.write(move |connection| {
            connection.run(
                "INSERT INTO api_token (lookup, digest, organization, description, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
                params![kept.lookup, kept.digest, row, description, micros(now)],
            )?;
            audit.write(connection, now)
        })
        .await?;
        Ok(text)
    }
}

fn refuse_taken(connection: &Connection, name: &DnsLabel) -> Result<(), Error> {
    let select = "SELECT 1 FROM organization WHERE name = ?1";
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
    })
}
