//! The reconciler of ApplicationInstance: one instance becomes one HelmRelease and its chart source, in its own
//! namespace, and shows how Flux fares with them (contract, sections 5 and 7).

pub mod apply;
pub mod build;
pub mod chart_secret;
mod delete;
pub mod dereference;
mod drift;
pub mod error;
pub mod failing;
pub mod live;
mod namespaces;
mod own_writes;
mod patience;
mod request;
mod retry;
mod rights;
pub mod running;
pub mod situation;
pub mod status;
pub mod validate;
mod values;
mod values_content;
mod values_key;
pub mod values_revision;
mod values_secret;
pub mod values_text;
mod warning;
mod watch;

#[cfg(test)]
mod replay;

pub use error::{Category, Error};

use crate::{
    announce::Announcer,
    cause::{cause, chain},
    clock,
    context::Context,
    metrics::{Controller, End},
};
use apply::Applied;
use futures::{StreamExt as _, stream};
use kube::{
    Resource as _, ResourceExt as _,
    runtime::{
        applier,
        controller::{Action, Config},
        reflector::{self, ObjectRef, Store},
    },
};
use situation::Situation;
use std::{convert::Infallible, sync::Arc, time::Instant};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use validate::Validated;
use vworkspace_crds::ApplicationInstance;

/// Most instances reconciled side by side; one instance never runs twice at a time.
const CONCURRENCY: u16 = 16;
/// How this controller signs its Kubernetes Events.
const SIGNATURE: &str = "vworkspace-operator/applicationinstance";

/// What the reconciler works with.
struct Shared {
    context: Context,
    announcer: Announcer,
    instances: Store<ApplicationInstance>,
    values: Arc<values::ValuesWatches>,
    failures: Arc<retry::Failures>,
    own_writes: Arc<own_writes::OwnWrites>,
    values_key: values_key::ValuesKey,
    patience: patience::Patience,
    changes: running::ReportedChanges,
}

/// Runs the controller until `shutdown`; reconciles that have begun are finished.
///
/// # Errors
/// The input of the controller ended by itself, which a watch never does.
pub async fn run(context: Context, shutdown: CancellationToken) -> Result<(), Error> {
    context.gates.ready().await;
    let (wakes, woken) = mpsc::channel(watch::WAKES);
    let (instances, writer) = reflector::store();
    let values = values::ValuesWatches::new(context.client.clone(), wakes.clone(), shutdown.clone());
    let (own_writes, failures, values) = (Arc::default(), Arc::default(), Arc::new(values));
    let kept = watch::Kept { own_writes, failures, values };
    let own = watch::instances(context.client.clone(), writer, context.reporter.clone(), kept.clone());
    let watch::Kept { own_writes, failures, values } = kept;
    let announcer = Announcer::new(context.client.clone(), SIGNATURE);
    let shared = Arc::new(Shared {
        context,
        announcer,
        instances: instances.clone(),
        values,
        failures,
        own_writes,
        values_key: values_key::ValuesKey::default(),
        patience: patience::Patience::default(),
        changes: running::ReportedChanges::default(),
    });
    let namespaces = namespaces::namespaces(shared.clone(), wakes, shutdown.clone());
    tokio::spawn(shutdown.clone().run_until_cancelled_owned(namespaces));
    let woken = stream::unfold(woken, |mut woken| async { woken.recv().await.map(|wake| (wake, woken)) });
    let queue =
        stream::select(own, woken).map(Ok::<_, Infallible>).take_until(shutdown.clone().cancelled_owned());
    let config = Config::default().concurrency(CONCURRENCY);
    applier(
        |instance, shared| Box::pin(reconcile(instance, shared)),
        |instance, error, shared| retry_after(&instance, error, &shared),
        shared,
        instances,
        queue.boxed(),
        config,
    )
    // The outcome of each reconcile has been told where it happened.
    .for_each(|_| std::future::ready(()))
    .await;
    if shutdown.is_cancelled() { Ok(()) } else { Err(Error::InputEnded) }
}

/// Makes the cluster hold what the instance asks for, and the instance tell what the cluster holds.
async fn reconcile(instance: Arc<ApplicationInstance>, shared: Arc<Shared>) -> Result<Action, Error> {
    let started = Instant::now();
    let ended = advance(instance, &shared).await;
    let end = match &ended {
        Ok(action) if *action == Action::await_change() => End::Success,
        Ok(_) => End::RequeueAfter,
        Err(_) => End::Error,
    };
    shared.context.metrics.reconciled(Controller::ApplicationInstance, end, started.elapsed());
    ended
}

async fn advance(instance: Arc<ApplicationInstance>, shared: &Shared) -> Result<Action, Error> {
    let instance = shared.own_writes.newest(instance);
    let action = if instance.metadata.deletion_timestamp.is_some() {
        finalize(shared, &instance).await?
    } else {
        keep(shared, instance.clone()).await?
    };
    shared.failures.forget(&instance.namespace().unwrap_or_default(), &instance.name_any());
    Ok(action)
}

async fn keep(shared: &Shared, instance: Arc<ApplicationInstance>) -> Result<Action, Error> {
    let (instance, situation, applied) = match establish(shared, instance.clone()).await {
        Ok(Established::Applied(applied)) => {
            (applied.instance.clone(), status::read(&applied), Some(applied))
        }
        Ok(Established::Placeholder) => (instance, Situation::Placeholder, None),
        Ok(Established::Unauthorized(situation)) => (instance, situation, None),
        Err(error) => match rights::situation_of(shared, &instance, &error).await {
            // It may have got its finalizer before the error.
            Some(situation) => (shared.own_writes.newest(instance), situation, None),
            None => return Err(error),
        },
    };
    let (namespace, name) = (instance.namespace().unwrap_or_default(), instance.name_any());
    let reported = running::reported(&instance);
    let waits = shared.patience.remaining((&namespace, &name), &reported, &situation, Instant::now());
    if let Some(remaining) = waits {
        tracing::debug!(namespace, application_instance = name, ?remaining, "something is missing, waiting");
        return Ok(Action::requeue(remaining));
    }
    let mut told = status::status(&instance, &situation, applied.as_ref(), clock::now());
    told.values_secrets = values_secret::settle(shared, &instance, &situation).await;
    status::write(shared, &instance, told).await?;
    Ok(retry::action(&situation))
}

/// What stands after the first four steps.
enum Established {
    Placeholder,
    /// Nothing was read: the operator has no rights in the namespace.
    Unauthorized(Situation),
    Applied(Applied),
}

/// dereference → validate → build → apply.
async fn establish(shared: &Shared, instance: Arc<ApplicationInstance>) -> Result<Established, Error> {
    if let Some(situation) = rights::known_missing(shared, &instance).await {
        return Ok(Established::Unauthorized(situation));
    }
    let client = &shared.context.client;
    let found = dereference::dereference(shared, &instance).await?;
    let validated = validate::validate(&instance, found.is_gate_open, shared.context.secrets_in_values);
    let watched = if validated.is_ok() { dereference::watched_objects(&instance) } else { Vec::new() };
    shared.values.keep(&ObjectRef::from_obj(&*instance), watched);
    let prepared = match validated? {
        Validated::Placeholder => return Ok(Established::Placeholder),
        Validated::Managed(managed) => build::build(&managed, &found.access),
    };
    let instance = with_finalizer(shared, instance).await?;
    let instance = values_secret::announce(shared, instance).await?;
    apply::apply(client, instance, prepared, found).await.map(Established::Applied)
}

/// Before anything else exists, the instance is held: it goes only after what we made for it.
async fn with_finalizer(
    shared: &Shared,
    instance: Arc<ApplicationInstance>,
) -> Result<Arc<ApplicationInstance>, Error> {
    let Some(held) = apply::add_finalizer(&shared.context.client, &instance).await? else {
        return Ok(instance);
    };
    let held = Arc::new(held);
    shared.own_writes.record(&instance, held.clone());
    Ok(held)
}

async fn finalize(shared: &Shared, instance: &ApplicationInstance) -> Result<Action, Error> {
    shared.values.keep(&ObjectRef::from_obj(instance), Vec::new());
    shared.patience.forget((&instance.namespace().unwrap_or_default(), &instance.name_any()));
    let message = match delete::advance(shared, instance).await {
        Ok(Some(message)) => message,
        Ok(None) => return Ok(Action::await_change()),
        Err(error) => match rights::situation_of(shared, instance, &error).await {
            Some(Situation::Unavailable { message, .. }) => message,
            _ => return Err(error),
        },
    };
    let deleting = Situation::Deleting { message };
    let told = status::status(instance, &deleting, None, clock::now());
    status::write(shared, instance, told).await?;
    Ok(retry::action(&deleting))
}

/// An error that is worth telling has been told on the instance; what arrives here passes by itself.
fn retry_after(instance: &ApplicationInstance, error: &Error, shared: &Shared) -> Action {
    let (namespace, name) = (instance.namespace().unwrap_or_default(), instance.name_any());
    let delay = shared.failures.count(&namespace, &name);
    let cause = std::error::Error::source(error)
        .map(|source| source.downcast_ref().map_or_else(|| chain(source), cause));
    tracing::warn!(
        namespace,
        application_instance = name,
        controller = ApplicationInstance::kind(&()).as_ref(),
        category = ?error.category(),
        %error,
        cause,
        retry_in_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
        "a reconcile failed and is tried again"
    );
    Action::requeue(delay)
}
