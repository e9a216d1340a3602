//! Flux, as far as we write it and read it.
//!
//! ```text
//!   written: HelmRepository | OCIRepository  ◄── HelmRelease          (ours, by server-side apply)
//!   observed: the same two, and the HelmChart that Flux makes from them
//!   reading:  wanted + observed + reported ──► what to report          (pure)
//!             ├─ release_view: where the release stands
//!             └─ sources:      what its sources say
//! ```
//!
//! Facts are those read off recordings of the real controllers, kept in `fixtures/flux`.

pub mod observed;
pub mod reading;
mod release_view;
pub mod sources;
pub mod version;
pub mod written;
