use super::*;
use vworkspace_core::control::DnsLabel;
use vworkspace_protocol::admin;

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
        caller.on_organization(0, id.clone())
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
        let _ = (installation, name, now);
        Err(Error::Stopped)
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
        let _ = (installation, page);
        Err(Error::Stopped)
    }

    /// One tenant's record.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn organization(&self, organization: &Handle<Organization, Read>) -> Result<admin::Organization, Error> {
        let _ = organization;
        Err(Error::Stopped)
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
        let _ = (organization, description, now);
        Err(Error::Stopped)
    }
}
