//! Rest is rest: writes and Events of a healthy application, counted at a real API server, while Flux looks again.
//!
//! The test is Flux here: it writes the statuses of the recordings, passing states included, line by line, and waits after
//! each until the operator has looked.

mod play;
mod recordings;
mod stage;
mod surroundings;
mod tape;
mod values;

use crate::world::PATIENCE;
use anyhow::Context as _;
use kube::{Api, core::DynamicObject, runtime::wait::await_condition};
use vworkspace_crds::ApplicationInstance;

async fn exists(api: Api<DynamicObject>, name: &str) -> anyhow::Result<()> {
    let is_there = |object: Option<&DynamicObject>| object.is_some();
    let found = tokio::time::timeout(PATIENCE, await_condition(api, name, is_there)).await;
    found.with_context(|| format!("{name} never came"))??;
    Ok(())
}

fn is_ready(instance: &ApplicationInstance) -> bool {
    crate::world::words_of(instance).iter().any(|word| word == "Ready=True/HelmReleaseReady")
}
