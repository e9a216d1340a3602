//! Clusters and their registration tokens.

use super::{App, Error, access::Person, page::PageParams};
use std::time::Duration;
use vworkspace_core::control::{Actor, DnsLabel};
use vworkspace_protocol::{
    ClusterId,
    admin::{
        Cluster, ClusterPage, CreateCluster, CreateRegistrationToken, CreatedRegistrationToken, Presence,
    },
    id::OrganizationId,
};
use vworkspace_store::{Manage, Read};

/// Default and longest life of an unused registration token, in seconds (contract, section 4).
const TOKEN_SECONDS: u32 = 24 * 3600;

/// The clusters the caller may see, all or one organization's.
///
/// # Errors
/// The organization is not there, or not the caller's; an unreadable page.
pub async fn list(
    app: &App,
    by: &Person,
    organization: Option<&OrganizationId>,
    page: &PageParams,
) -> Result<ClusterPage, Error> {
    let now = app.clock.now();
    let mut clusters = match organization {
        Some(id) => {
            let organization = app.store.lookup_organization::<Read>(&by.caller, id).await?;
            app.store.clusters_of(&organization, &page.parse()?, now).await?
        }
        None => {
            let installation = app.store.installation::<Read>(&by.caller)?;
            app.store.clusters(&installation, &page.parse()?, now).await?
        }
    };
    clusters.items.iter_mut().for_each(|cluster| see_open_poll(app, cluster));
    Ok(clusters)
}

/// Makes the record of a cluster.
///
/// # Errors
/// The organization is not there, or not the caller's; the name is none or taken.
pub async fn create(app: &App, by: &Person, body: CreateCluster) -> Result<Cluster, Error> {
    let id = match (body.organization_id, by.caller.actor()) {
        (Some(id), _) => id,
        (None, Actor::Organization(own)) => own.clone(),
        (None, Actor::Admin | Actor::Agent(_)) => {
            return Err(Error::invalid("organizationId must say which organization the cluster is for"));
        }
    };
    let organization = app.store.lookup_organization::<Manage>(&by.caller, &id).await?;
    let name = DnsLabel::parse("name", &body.name)?;
    Ok(app.store.create_cluster(&organization, &name, app.clock.now()).await?)
}

/// One cluster.
///
/// # Errors
/// It is not there, or not the caller's.
pub async fn read(app: &App, by: &Person, id: &ClusterId) -> Result<Cluster, Error> {
    let handle = app.store.lookup_cluster::<Read>(&by.caller, id).await?;
    let mut cluster = app.store.cluster(&handle, app.clock.now()).await?;
    see_open_poll(app, &mut cluster);
    Ok(cluster)
}

/// Issues a registration token.
///
/// # Errors
/// The cluster is not there, or not the caller's; a life out of range.
pub async fn create_registration_token(
    app: &App,
    by: &Person,
    id: &ClusterId,
    body: &CreateRegistrationToken,
) -> Result<CreatedRegistrationToken, Error> {
    let cluster = app.store.lookup_cluster::<Manage>(&by.caller, id).await?;
    let seconds = body.ttl_seconds.unwrap_or(TOKEN_SECONDS);
    if !(1..=TOKEN_SECONDS).contains(&seconds) {
        return Err(Error::invalid(format!("ttlSeconds must be 1 to {TOKEN_SECONDS}")));
    }
    let life = Duration::from_secs(seconds.into());
    Ok(app.store.issue_registration_token(&cluster, life, app.clock.now()).await?)
}

/// An agent whose poll is open is there now, however long ago the poll began.
fn see_open_poll(app: &App, cluster: &mut Cluster) {
    if cluster.presence == Presence::Disconnected && app.polls.is_waiting(&cluster.id) {
        cluster.presence = Presence::Connected;
        cluster.last_seen = Some(cluster.as_of);
    }
}
