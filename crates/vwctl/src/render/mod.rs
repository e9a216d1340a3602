//! Bodies of the admin API as text for people. Pure: no clock, no terminal. Ages are those at the moment the answer
//! speaks about.

mod application;
mod cluster;
mod event;
#[cfg(test)]
pub(crate) mod fixture;
mod identity;
mod job;
mod organization;
mod table;
#[cfg(test)]
mod tests;
mod text;
mod token;
mod values;

pub(crate) use application::{application, applications};
pub(crate) use cluster::{absence, awaited, cluster, clusters};
pub(crate) use event::events;
pub(crate) use identity::{released, unknown_results};
pub(crate) use job::{
    explanation, followed_job, job, job_standing, jobs, repetition, replayed, timeline_entry, trouble,
};
pub(crate) use organization::{organization, organizations, whoami};
pub(crate) use table::table as columns;
pub(crate) use text::{plain, plain_line, when, with_causes};
pub(crate) use token::{api_tokens, registration_tokens};
pub(crate) use values::{AppValues, Asked, app_values};
