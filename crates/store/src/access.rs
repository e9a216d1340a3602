//! Authorised handles: the only values the rest of the store accepts.
//!
//! ```text
//!   Secret ── authenticate ──► Caller ── lookup::<Right> ──► Handle<What, Right> ──► every other method
//! ```
//!
//! A [`Caller`] and a [`Handle`] can be made in this module alone, so no method can be reached with a bare id, and
//! a handle for reading does not compile where one for managing is needed. What another tenant owns and what nobody
//! owns are the same [`Error::NotFound`].

use crate::{Error, known::JobPlace};
use std::{marker::PhantomData, sync::Arc};
use vworkspace_core::{
    control::{
        Action, Actor, Decision,
        access::{self, Resource},
    },
    planted::{Bug, planted},
};
use vworkspace_protocol::{ClusterId, JobId, id::OrganizationId};

/// Who calls, as proved by a token.
#[derive(Clone, Debug)]
pub struct Caller {
    actor: Actor,
    /// Row of the agent's cluster or of the tenant; 0 for the admin.
    row: i64,
    /// Set for agents and tenants.
    organization: Option<OrganizationId>,
    description: String,
}

impl Caller {
    pub(crate) fn admin(description: String) -> Self {
        Self { actor: Actor::Admin, row: 0, organization: None, description }
    }

    pub(crate) fn organization(row: i64, id: OrganizationId, description: String) -> Self {
        Self { actor: Actor::Organization(id.clone()), row, organization: Some(id), description }
    }

    pub(crate) fn agent(row: i64, id: ClusterId, organization: OrganizationId) -> Self {
        Self { actor: Actor::Agent(id), row, organization: Some(organization), description: String::new() }
    }

    /// Row of the cluster whose agent it is.
    pub(crate) fn agent_row(&self) -> Option<i64> {
        match self.actor {
            Actor::Agent(_) => Some(self.row),
            Actor::Admin | Actor::Organization(_) => None,
        }
    }

    /// What kind of caller it is, and of what.
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// What its token is for, for people; nothing for an agent's.
    pub fn description(&self) -> &str {
        &self.description
    }

    fn authorise<R, A: Right>(&self, resource: Resource<'_>, row: i64, on: R) -> Result<Handle<R, A>, Error> {
        match access::decide(&self.actor, A::ACTION, resource) {
            Decision::Allow => Ok(Handle { row, by: AuditActor::of(self), on, right: PhantomData }),
            Decision::Forbid => Err(Error::Forbidden),
            Decision::Hide => Err(Error::NotFound),
        }
    }

    pub(crate) fn on_installation<A: Right>(&self) -> Result<Handle<Installation, A>, Error> {
        let within = match self.actor {
            Actor::Admin => None,
            Actor::Organization(_) => Some(self.row),
            Actor::Agent(_) => return Err(Error::Forbidden),
        };
        self.authorise(Resource::Installation, 0, Installation { within })
    }

    pub(crate) fn on_own_cluster(&self) -> Result<Handle<Cluster, Serve>, Error> {
        match (&self.actor, &self.organization) {
            (Actor::Agent(id), Some(organization)) => {
                self.on_cluster(self.row, id.clone(), organization.clone())
            }
            _ => Err(Error::Forbidden),
        }
    }

    pub(crate) fn on_organization<A: Right>(
        &self,
        row: i64,
        id: OrganizationId,
    ) -> Result<Handle<Organization, A>, Error> {
        let resource = id.clone();
        self.authorise(Resource::Organization(&resource), row, Organization { id })
    }

    pub(crate) fn on_cluster<A: Right>(
        &self,
        row: i64,
        id: ClusterId,
        organization: OrganizationId,
    ) -> Result<Handle<Cluster, A>, Error> {
        let cluster = Cluster { id, organization };
        let (id, organization) = (cluster.id.clone(), cluster.organization.clone());
        self.authorise(Resource::Cluster { id: &id, organization: &organization }, row, cluster)
    }

    /// A right on a job that is known to be of the agent's own cluster; `None` for another cluster's, or no agent.
    pub(crate) fn on_own_job<A: Right>(
        &self,
        place: JobPlace,
        id: &JobId,
    ) -> Option<Result<Handle<Job, A>, Error>> {
        let (Actor::Agent(cluster), Some(organization)) = (&self.actor, &self.organization) else {
            return None;
        };
        let cluster = Cluster { id: cluster.clone(), organization: organization.clone() };
        let job = Job { id: id.clone(), cluster, cluster_row: place.cluster };
        (place.cluster == self.row).then(|| self.on_job(place.seq, job))
    }

    pub(crate) fn on_job<A: Right>(&self, row: i64, job: Job) -> Result<Handle<Job, A>, Error> {
        let (mut id, organization) = (job.cluster.id.clone(), job.cluster.organization.clone());
        if let Actor::Agent(own) = &self.actor
            && planted(Bug::AnyJob)
        {
            id = own.clone();
        }
        self.authorise(Resource::Cluster { id: &id, organization: &organization }, row, job)
    }
}

/// A right that a handle carries, one per [`Action`].
pub trait Right: sealed::Sealed + Send + Sync + 'static {
    /// The action it stands for.
    const ACTION: Action;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! right {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name;
        impl sealed::Sealed for $name {}
        impl Right for $name {
            const ACTION: Action = Action::$name;
        }
    };
}

right! {
    /// The right to see: [`Action::Read`].
    Read
}
right! {
    /// The right to hand in and withdraw intent: [`Action::Command`].
    Command
}
right! {
    /// The right to make what it holds: [`Action::Manage`].
    Manage
}
right! {
    /// The right of the cluster's own agent: [`Action::Serve`].
    Serve
}

/// The whole server.
#[derive(Clone, Debug)]
pub struct Installation {
    /// The tenant whose share is seen; `None` sees all.
    pub(crate) within: Option<i64>,
}

/// A tenant.
#[derive(Clone, Debug)]
pub struct Organization {
    pub(crate) id: OrganizationId,
}

/// A cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    pub(crate) id: ClusterId,
    pub(crate) organization: OrganizationId,
}

/// A job and the cluster it is for.
#[derive(Clone, Debug)]
pub struct Job {
    pub(crate) id: JobId,
    pub(crate) cluster: Cluster,
    pub(crate) cluster_row: i64,
}

/// Proof that a caller may do `A` on one `R`.
#[derive(Clone, Debug)]
pub struct Handle<R, A> {
    pub(crate) row: i64,
    pub(crate) by: AuditActor,
    pub(crate) on: R,
    right: PhantomData<A>,
}

impl<A> Handle<Organization, A> {
    /// The tenant.
    pub fn id(&self) -> &OrganizationId {
        &self.on.id
    }
}

impl<A> Handle<Cluster, A> {
    /// The cluster.
    pub fn id(&self) -> &ClusterId {
        &self.on.id
    }

    /// The tenant it belongs to.
    pub fn organization_id(&self) -> &OrganizationId {
        &self.on.organization
    }
}

impl<A> Handle<Job, A> {
    /// The job.
    pub fn id(&self) -> &JobId {
        &self.on.id
    }

    /// The cluster it is for.
    pub fn cluster_id(&self) -> &ClusterId {
        &self.on.cluster.id
    }
}

/// Who an audit record names.
#[derive(Clone, Debug)]
pub(crate) struct AuditActor {
    /// `admin`, `organization`, `agent` or `server`.
    pub(crate) kind: &'static str,
    /// The tenant's or cluster's id, or the token's description.
    pub(crate) name: Arc<str>,
}

impl AuditActor {
    /// The server itself, for what no caller asked for.
    pub(crate) fn server() -> Self {
        Self { kind: "server", name: Arc::default() }
    }

    /// A cluster's agent before it has a credential: it registers.
    pub(crate) fn agent(id: &ClusterId) -> Self {
        Self { kind: "agent", name: id.clone().into() }
    }

    /// As an earlier transaction stored it.
    pub(crate) fn stored(kind: &str, name: &str) -> Result<Self, Error> {
        let known = ["admin", "organization", "agent", "server"].into_iter().find(|known| *known == kind);
        Ok(Self { kind: known.ok_or(Error::Corrupt { what: "actor" })?, name: name.into() })
    }

    fn of(caller: &Caller) -> Self {
        match &caller.actor {
            Actor::Admin => Self { kind: "admin", name: caller.description.as_str().into() },
            Actor::Organization(id) => {
                Self { kind: "organization", name: format!("{id}: {}", caller.description).into() }
            }
            Actor::Agent(id) => Self::agent(id),
        }
    }
}
