//! Who calls.

use super::{App, Error};
use vworkspace_core::control::Actor;
use vworkspace_protocol::{
    Secret,
    admin::{Role, Whoami},
    problem::code,
};
use vworkspace_store::{self as store, Caller};
use vworkspace_transport::Refusal;

/// A caller of the admin API: an admin or an organization, never an agent.
pub struct Person {
    pub(super) caller: Caller,
    bearer: Secret,
    role: Role,
}

/// Proves who a bearer is, for the admin API.
///
/// # Errors
/// 401 when there is none or nobody issued it, 403 when it is an agent's.
pub async fn authenticate_person(app: &App, bearer: Option<&Secret>) -> Result<Person, Error> {
    let bearer = bearer.ok_or_else(bearer_missing)?;
    let caller = authenticate(app, bearer).await?;
    let role = match caller.actor() {
        Actor::Admin => Role::Admin,
        Actor::Organization(_) => Role::Organization,
        Actor::Agent(_) => {
            let message = "this is an agent's credential; the admin API takes API tokens";
            return Err(Error::Told(Refusal::new(403, code::FORBIDDEN, message)));
        }
    };
    Ok(Person { caller, bearer: bearer.clone(), role })
}

/// Proves who a bearer is, whoever it is.
pub(super) async fn authenticate(app: &App, bearer: &Secret) -> Result<Caller, Error> {
    Ok(app.store.authenticate(bearer, app.clock.now()).await?)
}

/// Returns once the caller's token has been revoked: whatever it waits for is not to be told any more.
pub(super) async fn revoked(app: &App, person: &Person) -> Error {
    app.store.until_revoked(&person.bearer, app.clock.now()).await;
    Error::Store(store::Error::Unauthenticated)
}

/// The answer to a request that says not who calls.
pub(super) fn bearer_missing() -> Error {
    let message = "send the header Authorization: Bearer <token>";
    Error::Told(Refusal::new(401, code::UNAUTHENTICATED, message))
}

/// What the caller is told about itself.
pub fn whoami(person: &Person) -> Whoami {
    let organization_id = match person.caller.actor() {
        Actor::Organization(id) => Some(id.clone()),
        Actor::Admin | Actor::Agent(_) => None,
    };
    Whoami {
        role: person.role,
        organization_id,
        description: person.caller.description().to_owned(),
        server_version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

impl Person {
    /// What log lines call it.
    pub fn kind(&self) -> &'static str {
        match self.role {
            Role::Admin => "admin",
            Role::Organization => "organization",
        }
    }
}
