//! Listings: page after page into one, up to a bound.

use crate::{connection::Connection, error::Error};
use serde::de::DeserializeOwned;
use vworkspace_protocol::admin::{
    ApiToken, ApiTokenPage, Cluster, ClusterPage, EventPage, EventRecord, Job, JobPage, Organization,
    OrganizationPage, RegistrationToken, RegistrationTokenPage, Resource, ResourcePage, UnknownResult,
    UnknownResultPage,
};

/// Most items one listing returns. A listing that was cut here keeps its `next_cursor`.
pub const MOST_ITEMS: usize = 10_000;
/// Most items the server puts on a page.
const PAGE: usize = 200;
/// Most pages asked for, should a server answer with ever new cursors and hardly an item.
const MOST_PAGES: usize = 1_000;

/// A page as the server sends it: items, and where the next one starts.
pub(crate) trait Page: DeserializeOwned {
    /// What is listed.
    type Item;
    /// Items and cursor, to be put together with those of other pages.
    fn parts(&mut self) -> (&mut Vec<Self::Item>, &mut Option<String>);
}

macro_rules! pages {
    ($($page:ty => $item:ty),*) => { $(
        impl Page for $page {
            type Item = $item;
            fn parts(&mut self) -> (&mut Vec<$item>, &mut Option<String>) {
                (&mut self.items, &mut self.next_cursor)
            }
        }
    )* };
}

pages! {
    OrganizationPage => Organization,
    ClusterPage => Cluster,
    JobPage => Job,
    ResourcePage => Resource,
    EventPage => EventRecord,
    UnknownResultPage => UnknownResult,
    ApiTokenPage => ApiToken,
    RegistrationTokenPage => RegistrationToken
}

/// The pages of a listing as one, with at most `most` items. Filters with an empty value are left out.
pub(crate) async fn all<P: Page>(
    connection: &Connection,
    path: &[&str],
    filter: &[(&str, &str)],
    most: usize,
) -> Result<P, Error> {
    let most = most.min(MOST_ITEMS);
    let mut whole: P = page(connection, path, filter, most, None).await?;
    for _ in 1..MOST_PAGES {
        let (items, cursor) = whole.parts();
        let room = most.saturating_sub(items.len());
        let Some(next) = cursor.clone().filter(|_| room > 0) else {
            break;
        };
        let mut more: P = page(connection, path, filter, room, Some(&next)).await?;
        let (further, after) = more.parts();
        items.append(further);
        *cursor = after.take();
    }
    Ok(whole)
}

async fn page<P: Page>(
    connection: &Connection,
    path: &[&str],
    filter: &[(&str, &str)],
    room: usize,
    cursor: Option<&str>,
) -> Result<P, Error> {
    let limit = room.clamp(1, PAGE).to_string();
    let mut query: Vec<_> = filter.iter().filter(|(_, value)| !value.is_empty()).copied().collect();
    query.push(("limit", &limit));
    query.extend(cursor.map(|cursor| ("cursor", cursor)));
    connection.get(path, &query).await
}
