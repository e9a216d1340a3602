//! From what a person writes to what the admin API wants: names to ids.

use crate::{Error, error::Thing};
use vworkspace_client::Client;
use vworkspace_protocol::{
    ClusterId,
    admin::{Cluster, Organization},
    id::OrganizationId,
};

/// The cluster with this id, else the one with this name.
pub(crate) async fn cluster(client: &Client, name_or_id: &str) -> Result<Cluster, Error> {
    match client.cluster(&ClusterId::new(name_or_id)).await {
        Err(error) if error.status() == Some(404) => {}
        found => return Ok(found?),
    }
    let named = client.clusters(None).await?.items.into_iter().filter(|cluster| cluster.name == name_or_id);
    only(Thing::Cluster, name_or_id, named.collect())
}

/// The organization with this id, else the one with this name.
pub(crate) async fn organization(client: &Client, name_or_id: &str) -> Result<Organization, Error> {
    match client.organization(&OrganizationId::new(name_or_id)).await {
        Err(error) if error.status() == Some(404) => {}
        found => return Ok(found?),
    }
    let named = client.organizations().await?.items.into_iter().filter(|org| org.name == name_or_id);
    only(Thing::Organization, name_or_id, named.collect())
}

/// The one that was found.
///
/// # Errors
/// There is none, or more than one.
pub(crate) fn only<T>(what: Thing, name: &str, mut found: Vec<T>) -> Result<T, Error> {
    let count = found.len();
    match found.pop() {
        None => Err(Error::Unknown { what, name: name.to_owned() }),
        Some(one) if count == 1 => Ok(one),
        Some(_) => Err(Error::Ambiguous { what, name: name.to_owned(), count }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_must_mean_one_thing() {
        let only = |found| only(Thing::Cluster, "a", found);
        assert_eq!(only(vec![1]).unwrap(), 1);
        assert_eq!(only(vec![]).unwrap_err().to_string(), "there is no cluster \"a\"");
        assert_eq!(only(vec![1, 2]).unwrap_err().to_string(), "2 clusters are named \"a\"");
    }
}
