use super::*;
use vworkspace_protocol::credential::{RegisterResponse, RotateResponse};
use access::*;

impl Store {
    /// The first admin token: `Some` exactly once in the life of a database.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn bootstrap_admin(&self, now: Timestamp) -> Result<Option<Secret>, Error> {
        let _ = now;
        Err(Error::Stopped)
    }

    /// Whose bearer this is. The first use of a rotated credential ends the older one.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`]: nobody issued it, it is a registration token, or its life is over.
    pub async fn authenticate(&self, bearer: &Secret, now: Timestamp) -> Result<Caller, Error> {
        let _ = (bearer, now, &self.inner);
        Err(Error::Stopped)
    }

    /// Exchanges a registration token for the identity it was issued for. Earlier credentials of the cluster end.
    /// The same token with the same `registration_id` (not empty) answers again, with a fresh credential, for as
    /// long as the token lives.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`], [`Error::TokenConsumed`], [`Error::TokenExpired`].
    pub async fn register(
        &self,
        token: &Secret,
        registration_id: &str,
        now: Timestamp,
    ) -> Result<RegisterResponse, Error> {
        let _ = (token, registration_id, now);
        Err(Error::Stopped)
    }

    /// Issues a new credential beside the current one, in the place of an unused earlier one.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn rotate(
        &self,
        cluster: &Handle<Cluster, Serve>,
        now: Timestamp,
    ) -> Result<RotateResponse, Error> {
        let _ = (cluster, now);
        Err(Error::Stopped)
    }
}
