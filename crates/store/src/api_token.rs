//! Tokens of the admin API: an organization's, and those of the installation's administrators.

use crate::{
    Error, Handle, Installation, Manage, Organization, PageRequest, Read, Store,
    access::AuditActor,
    audit::Record,
    codec::{micros, time, whole_micros},
    connection::Statements,
    token::draw,
};
use jiff::Timestamp;
use rusqlite::{Connection, params};
use vworkspace_core::control::token::{Kept, Kind, public_id, read_id};
use vworkspace_protocol::{
    admin::{ApiToken, ApiTokenPage, CreatedApiToken},
    id::TokenId,
};

impl Store {
    /// Makes a token that is good for this tenant. It is shown only here.
    ///
    /// # Errors
    /// [`Error::LimitReached`], [`Error::Archived`].
    pub async fn create_api_token(
        &self,
        organization: &Handle<Organization, Manage>,
        description: &str,
        now: Timestamp,
    ) -> Result<CreatedApiToken, Error> {
        let made = self.create_token(&organization.by, Some(organization.row), description, now).await?;
        Ok(CreatedApiToken { organization_id: Some(organization.id().clone()), ..made })
    }

    /// Makes an administrator's token. It is shown only here.
    ///
    /// # Errors
    /// [`Error::LimitReached`].
    pub async fn create_admin_token(
        &self,
        installation: &Handle<Installation, Manage>,
        description: &str,
        now: Timestamp,
    ) -> Result<CreatedApiToken, Error> {
        self.create_token(&installation.by, None, description, now).await
    }

    /// The tenant's tokens that work, oldest first.
    ///
    /// # Errors
    /// [`Error::InvalidPage`].
    pub async fn api_tokens(
        &self,
        organization: &Handle<Organization, Read>,
        page: &PageRequest,
    ) -> Result<ApiTokenPage, Error> {
        self.tokens_of(Some(organization.row), page).await
    }

    /// The administrators' tokens that work, oldest first.
    ///
    /// # Errors
    /// [`Error::InvalidPage`].
    pub async fn admin_tokens(
        &self,
        _installation: &Handle<Installation, Manage>,
        page: &PageRequest,
    ) -> Result<ApiTokenPage, Error> {
        self.tokens_of(None, page).await
    }

    /// Ends one of the tenant's tokens: once this is answered, nobody is authenticated by it any more.
    ///
    /// # Errors
    /// [`Error::NotFound`]: the tenant has no such token (any more). [`Error::LastToken`] unless `force`.
    pub async fn revoke_api_token(
        &self,
        organization: &Handle<Organization, Manage>,
        id: &TokenId,
        force: bool,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.revoke_token(&organization.by, Some(organization.row), id, force, now).await
    }

    /// Ends one of the administrators' tokens.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::LastToken`] unless `force`.
    pub async fn revoke_admin_token(
        &self,
        installation: &Handle<Installation, Manage>,
        id: &TokenId,
        force: bool,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.revoke_token(&installation.by, None, id, force, now).await
    }

    async fn create_token(
        &self,
        by: &AuditActor,
        organization: Option<i64>,
        description: &str,
        now: Timestamp,
    ) -> Result<CreatedApiToken, Error> {
        let (token, kept) = draw(Kind::Admin)?;
        let now = whole_micros(now);
        let description = description.to_owned();
        let audit = Record::new(by, "create_api_token", description.as_str());
        let bounds = self.inner.settings.bounds;
        self.write(move |connection| {
            if let Some(organization) = organization {
                refuse_archived(connection, organization)?;
            }
            bounds.admit_api_token(connection, organization)?;
            insert(connection, &kept, organization, &description, now)?;
            Record { organization, ..audit.clone() }.write(connection, now)
        })
        .await?;
        Ok(CreatedApiToken { token, id: public_id(kept.lookup), organization_id: None })
    }

    async fn tokens_of(&self, organization: Option<i64>, page: &PageRequest) -> Result<ApiTokenPage, Error> {
        let list = self.inner.cursors.list("api tokens", organization);
        let (since, after) = page.after::<(i64, i64)>(&list)?.unwrap_or((i64::MIN, i64::MIN));
        let rows = page.rows();
        let select = move |connection: &Connection| {
            connection.rows(
                "SELECT created_at, lookup, description FROM api_token
                 WHERE organization IS ?1 AND (created_at, lookup) > (?2, ?3)
                 ORDER BY created_at, lookup LIMIT ?4",
                params![organization, since, after, rows],
                |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get(2)?)),
            )
        };
        let found = self.read(select).await?;
        let (items, next_cursor) = page.finish(&list, found, |(at, lookup, _)| (*at, *lookup))?;
        let shown =
            |(at, lookup, description)| ApiToken { id: public_id(lookup), description, created_at: time(at) };
        Ok(ApiTokenPage { items: items.into_iter().map(shown).collect(), next_cursor })
    }

    async fn revoke_token(
        &self,
        by: &AuditActor,
        organization: Option<i64>,
        id: &TokenId,
        force: bool,
        now: Timestamp,
    ) -> Result<(), Error> {
        let lookup = read_id(id).ok_or(Error::NotFound)?;
        let audit = Record { organization, ..Record::new(by, "revoke_api_token", id.as_str()) };
        self.write(move |connection| {
            let description = describe(connection, organization, lookup)?.ok_or(Error::NotFound)?;
            if !force && is_last(connection, organization)? {
                return Err(Error::LastToken);
            }
            connection.run("DELETE FROM api_token WHERE lookup = ?1", [lookup])?;
            let detail = format!("{}: {description}", audit.detail);
            Record { detail, ..audit.clone() }.write(connection, now)
        })
        .await
    }
}

/// Stores a token of an organization, or an administrator's for `None`.
fn insert(
    connection: &Connection,
    kept: &Kept,
    organization: Option<i64>,
    description: &str,
    now: Timestamp,
) -> Result<(), Error> {
    connection.run(
        "INSERT INTO api_token (lookup, digest, organization, description, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5)",
        params![kept.lookup, kept.digest, organization, description, micros(now)],
    )?;
    Ok(())
}

/// Refuses what would be made in an archived organization.
pub(crate) fn refuse_archived(connection: &Connection, organization: i64) -> Result<(), Error> {
    let select = "SELECT 1 FROM organization WHERE row = ?1 AND archived_at IS NOT NULL";
    match connection.row(select, [organization], |_| Ok(()))? {
        Some(()) => Err(Error::Archived { what: "organization" }),
        None => Ok(()),
    }
}

fn describe(
    connection: &Connection,
    organization: Option<i64>,
    lookup: i64,
) -> Result<Option<String>, Error> {
    connection.row(
        "SELECT description FROM api_token WHERE lookup = ?1 AND organization IS ?2",
        params![lookup, organization],
        |row| row.get(0),
    )
}

fn is_last(connection: &Connection, organization: Option<i64>) -> Result<bool, Error> {
    let count = "SELECT count(*) FROM api_token WHERE organization IS ?1";
    Ok(connection.row(count, [organization], |row| row.get::<_, i64>(0))? == Some(1))
}
