//! Clusters.

use super::{App, Error, access::Person, page::PageParams};
use vworkspace_core::control::{Actor, DnsLabel};
use vworkspace_protocol::{
    ClusterId,
    admin::{Cluster, ClusterPage, CreateCluster, Presence},
    id::OrganizationId,
};
use vworkspace_store::{Archived, Manage, Read};

/// The clusters the caller may see, all or one organization's.
///
/// # Errors
/// The organization is not there, or not the caller's; an unreadable page.
pub async fn list(
    app: &App,
    by: &Person,
    organization: Option<&OrganizationId>,
    archived: Archived,
    page: &PageParams,
) -> Result<ClusterPage, Error> {
    let now = app.clock.now();
    let mut clusters = match organization {
        Some(id) => {
            let organization = app.store.lookup_organization::<Read>(&by.caller, id).await?;
            app.store.clusters_of(&organization, archived, &page.parse()?, now).await?
        }
        None => {
            let installation = app.store.installation::<Read>(&by.caller)?;
            app.store.clusters(&installation, archived, &page.parse()?, now).await?
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

/// Ends a cluster's credentials and open registration tokens, and its open polls.
///
/// # Errors
/// It is not there, or not the caller's.
pub async fn revoke(app: &App, by: &Person, id: &ClusterId) -> Result<Cluster, Error> {
    let cluster = app.store.lookup_cluster::<Manage>(&by.caller, id).await?;
    {
        // Its open polls find the credential dead, also when the caller goes away before there is an answer.
        let _waking = app.polls.waking(id);
        app.store.revoke_cluster(&cluster, app.clock.now()).await?;
    }
    read(app, by, id).await
}

/// An agent whose poll is open is there now, however long ago the poll began.
fn see_open_poll(app: &App, cluster: &mut Cluster) {
    if cluster.presence == Presence::Disconnected && app.polls.is_waiting(&cluster.id) {
        cluster.presence = Presence::Connected;
        cluster.last_seen = Some(cluster.as_of);
    }
}
