//! Drawing tokens: the one place that uses the system's random source.

use crate::Error;
use vworkspace_core::control::token::{self, Kept, Kind, RANDOM_BYTES};
use vworkspace_protocol::Secret;

/// Makes a token: its text, to be shown once, and what is kept of it.
pub(crate) fn draw(kind: Kind) -> Result<(Secret, Kept), Error> {
    let mut random = [0; RANDOM_BYTES];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| Error::Defect)?;
    Ok(token::mint(kind, &random))
}
