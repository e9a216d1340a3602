//! Which part of a list a caller wants.

use serde::Deserialize;
use utoipa::IntoParams;
use vworkspace_store::{Archived, Error, PageRequest};

/// Which part of a list.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageParams {
    /// Items at a time, 1 to 200; absent: 50. A page of large ones holds fewer.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
}

impl PageParams {
    /// The page asked for.
    ///
    /// # Errors
    /// A limit out of range, a cursor that is not ours.
    pub fn parse(&self) -> Result<PageRequest, Error> {
        PageRequest::parse(self.limit, self.cursor.as_deref())
    }
}

/// Whether a list shows what was archived.
#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ArchivedParams {
    /// Show archived ones as well.
    #[serde(default)]
    archived: bool,
}

impl ArchivedParams {
    /// What is asked for.
    pub fn parse(self) -> Archived {
        if self.archived { Archived::Shown } else { Archived::Hidden }
    }
}
