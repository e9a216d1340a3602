//! Bodies of the admin API under `/api/v1` (contract, sections 2 and 6).
//!
//! Lists are pages: `limit` (default 50, at most 200) and `cursor`, answered with `items` and, where more
//! follow, `nextCursor`.

mod cluster;
mod event;
mod explanation;
mod identity;
mod job;
mod organization;
mod resource;
mod restore;
mod token;

pub use cluster::{Cluster, ClusterPage, CreateCluster, Presence};
pub use event::{EventPage, EventRecord};
pub use explanation::{Explanation, Holder, NextStep};
pub use identity::{AgentSession, IdentityConflict, KeepSession, KeptSession};
pub use job::{EnqueueJob, Job, JobPage, JobState, JobTarget, TimelineEntry};
pub use organization::{CreateOrganization, Organization, OrganizationPage, Role, Whoami};
pub use resource::{Resource, ResourcePage};
pub use restore::{ReleasedJobs, UnknownResult, UnknownResultPage};
pub use token::{
    ApiToken, ApiTokenPage, CreateApiToken, CreateRegistrationToken, CreatedApiToken,
    CreatedRegistrationToken, RegistrationToken, RegistrationTokenPage,
};
