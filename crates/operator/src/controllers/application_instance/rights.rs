//! Says on an instance that the operator's RoleBinding is missing in its namespace, instead of what the API server
//! answered to whichever call came first.

use super::{
    Shared,
    error::{Error, is_denied},
    situation::Situation,
};
use crate::cause::cause;
use std::time::Duration;
use vworkspace_core::namespace_access::Standing;
use vworkspace_crds::ApplicationInstance;
use vworkspace_protocol::condition::reasons;

/// All instances of a namespace share one answer for so long.
const SHARED_FOR: Duration = Duration::from_secs(10);

/// The situation where the last review said no and the next one still does. Spares the calls that would be refused.
pub(super) async fn known_missing(shared: &Shared, instance: &ApplicationInstance) -> Option<Situation> {
    let namespace = instance.metadata.namespace.as_deref().unwrap_or_default();
    let needs_rights = instance.spec.chart.is_some() && instance.spec.release.is_some();
    let is_known = shared.context.access.standing(namespace).is_refused();
    if !needs_rights || !is_known || !shared.context.gates.is_open(namespace) {
        return None;
    }
    ask(shared, namespace).await
}

/// What to tell of an error; `None` where only trying again helps.
pub(super) async fn situation_of(
    shared: &Shared,
    instance: &ApplicationInstance,
    error: &Error,
) -> Option<Situation> {
    let namespace = instance.metadata.namespace.as_deref().unwrap_or_default();
    if let Error::Call { source, .. } = error
        && is_denied(source)
        && let Some(missing) = ask(shared, namespace).await
    {
        return Some(missing);
    }
    error.situation()
}

async fn ask(shared: &Shared, namespace: &str) -> Option<Situation> {
    let access = &shared.context.access;
    let asked = access.ask(namespace, SHARED_FOR).await;
    let standing = asked.unwrap_or_else(|error| {
        let error = cause(&error);
        tracing::debug!(error, namespace, "access review failed");
        Standing::Unknown
    });
    let reason = match standing {
        Standing::Unknown | Standing::Granted => return None,
        Standing::Refused => reasons::ACCESS_DENIED,
        Standing::Confirmed => reasons::NAMESPACE_NOT_AUTHORIZED,
    };
    Some(Situation::Unavailable { reason, message: access.remedy(namespace).await })
}
