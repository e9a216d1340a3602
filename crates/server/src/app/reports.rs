//! What agents reported: current conditions and events.

use super::{App, Error, access::Person, page::PageParams};
use vworkspace_protocol::{
    ClusterId,
    admin::{EventPage, ResourcePage},
};
use vworkspace_store::{Read, ResourceFilter};

/// A cluster's objects with their current conditions.
///
/// # Errors
/// The cluster is not there, or not the caller's; an unreadable page.
pub async fn resources(
    app: &App,
    by: &Person,
    cluster: &ClusterId,
    filter: &ResourceFilter,
    page: &PageParams,
) -> Result<ResourcePage, Error> {
    let cluster = app.store.lookup_cluster::<Read>(&by.caller, cluster).await?;
    let mut resources = app.store.resources(&cluster, filter, &page.parse()?).await?;
    if app.polls.is_waiting(cluster.id()) {
        resources.as_of = Some(app.clock.now());
    }
    Ok(resources)
}

/// A cluster's events.
///
/// # Errors
/// The cluster is not there, or not the caller's; an unreadable page.
pub async fn events(
    app: &App,
    by: &Person,
    cluster: &ClusterId,
    kind: Option<&str>,
    page: &PageParams,
) -> Result<EventPage, Error> {
    let cluster = app.store.lookup_cluster::<Read>(&by.caller, cluster).await?;
    Ok(app.store.events(&cluster, kind, &page.parse()?).await?)
}
