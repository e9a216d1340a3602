//! Follows the open namespaces: the watches of Flux's kinds run exactly there.
//!
//! Rights may come later than the label, and Flux later than both. A watch tries again, ever less often, for as long as
//! the namespace is open; what it missed is made up for at its next start. Once an access review says that the rights
//! are there, the watches of that namespace start anew at once.

use super::{
    Shared,
    watch::{Wake, instances_of, send, wake_all},
};
use crate::{
    cause::cause,
    controllers::gate::OpenNamespaces,
    flux::written::FluxKind,
    namespace_access::Refused,
    steady_watch::{is_forbidden, steady_unless, text},
};
use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Api,
    core::{DynamicObject, PartialObjectMeta},
    runtime::{
        events::EventType,
        watcher::{self, Event, watcher},
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    sync::Arc,
    time::Duration,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use vworkspace_protocol::condition::reasons;

/// Within this time the kinds of one namespace share an answer about its rights.
const SHARED_FOR: Duration = Duration::from_secs(1);

/// Runs until the gates end.
pub(super) async fn namespaces(shared: Arc<Shared>, wakes: mpsc::Sender<Wake>, shutdown: CancellationToken) {
    let mut watches = Watches { shared: shared.clone(), wakes, shutdown, running: BTreeMap::new() };
    let mut refusals = shared.context.access.refused();
    let (mut seen, mut refused) = (OpenNamespaces::default(), Refused::default());
    loop {
        tokio::select! {
            open = shared.context.gates.changed_from(&seen) => {
                let Some(open) = open else { return };
                watches.follow_gates(&seen, &open).await;
                shared.context.access.keep_only(&open);
                seen = open;
            }
            changed = refusals.changed() => {
                if changed.is_err() {
                    return;
                }
                let now = refusals.borrow_and_update().clone();
                watches.follow_rights(&seen, &refused, &now).await;
                refused = now;
            }
        }
    }
}

struct Watches {
    shared: Arc<Shared>,
    wakes: mpsc::Sender<Wake>,
    shutdown: CancellationToken,
    running: BTreeMap<String, CancellationToken>,
}

impl Watches {
    async fn follow_gates(&mut self, before: &BTreeSet<String>, open: &BTreeSet<String>) {
        for namespace in before.symmetric_difference(open) {
            if open.contains(namespace) {
                self.start(namespace);
            } else {
                self.stop(namespace);
            }
            wake_all(&self.shared.instances, namespace, &self.wakes).await;
        }
    }

    async fn follow_rights(&mut self, open: &BTreeSet<String>, before: &Refused, now: &Refused) {
        let changed = |namespace: &&String| before.get(*namespace) != now.get(*namespace);
        let namespaces: BTreeSet<&String> = before.keys().chain(now.keys()).filter(changed).collect();
        for namespace in namespaces.into_iter().filter(|namespace| open.contains(*namespace)) {
            match (before.contains_key(namespace), now.contains_key(namespace)) {
                (false, true) => announce(&self.shared, namespace).await,
                (true, false) => {
                    tracing::info!(
                        namespace,
                        "the operator has its rights in the namespace; watches start anew"
                    );
                    self.start(namespace);
                }
                (true, true) | (false, false) => {}
            }
            wake_all(&self.shared.instances, namespace, &self.wakes).await;
        }
    }

    /// Starts the watches of a namespace, in place of those that run.
    fn start(&mut self, namespace: &str) {
        self.stop(namespace);
        let watches = self.shutdown.child_token();
        for kind in FluxKind::ALL {
            let follow = follow(self.shared.clone(), kind, namespace.to_owned(), self.wakes.clone());
            tokio::spawn(watches.clone().run_until_cancelled_owned(follow));
        }
        self.running.insert(namespace.to_owned(), watches);
    }

    fn stop(&mut self, namespace: &str) {
        if let Some(watches) = self.running.remove(namespace) {
            watches.cancel();
        }
    }
}

/// Says once that the rights are missing: in the log, and as an Event in the namespace, which may hold no instance yet.
async fn announce(shared: &Shared, namespace: &str) {
    let remedy = shared.context.access.remedy(namespace).await;
    tracing::warn!(namespace, remedy, "the operator has no rights in an open namespace");
    let object = ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Namespace".to_owned()),
        name: Some(namespace.to_owned()),
        namespace: Some(namespace.to_owned()),
        ..ObjectReference::default()
    };
    let reason = reasons::NAMESPACE_NOT_AUTHORIZED;
    shared.announcer.tell(&object, EventType::Warning, reason, &remedy).await;
}

/// Follows one kind in one namespace.
async fn follow(shared: Arc<Shared>, kind: FluxKind, namespace: String, wakes: mpsc::Sender<Wake>) {
    let api = Api::<PartialObjectMeta<DynamicObject>>::namespaced_with(
        shared.context.client.clone(),
        &namespace,
        &kind.resource(),
    );
    let name = format!("{} in {namespace}", kind.as_str());
    let mut events = pin!(steady_unless(&name, watcher(api, watcher::Config::default()), is_forbidden));
    let (mut is_broken, mut is_denied) = (false, false);
    loop {
        match events.try_next().await {
            Ok(Some(Event::Init)) => {}
            Ok(Some(Event::InitDone)) => {
                is_denied = false;
                if std::mem::take(&mut is_broken) {
                    wake_all(&shared.instances, &namespace, &wakes).await;
                    ask_again(&shared, &namespace).await;
                }
            }
            Ok(Some(Event::Apply(object) | Event::InitApply(object) | Event::Delete(object))) => {
                for wake in instances_of(kind, &object, &shared.instances) {
                    send(&wakes, wake).await;
                }
            }
            Ok(None) => return,
            Err(error) => {
                is_broken = true;
                if is_forbidden(&error) && !std::mem::replace(&mut is_denied, true) {
                    explain(&shared, kind, &namespace, &error).await;
                }
            }
        }
    }
}

/// A list works again: perhaps the rights have come.
async fn ask_again(shared: &Shared, namespace: &str) {
    let access = &shared.context.access;
    if access.standing(namespace).is_refused()
        && let Err(error) = access.ask(namespace, SHARED_FOR).await
    {
        let error = cause(&error);
        tracing::debug!(error, namespace, "access review failed");
    }
}

/// A kind cannot be listed. Where all rights are missing, one line and one Event for the namespace say so.
async fn explain(shared: &Shared, kind: FluxKind, namespace: &str, error: &watcher::Error) {
    let asked = shared.context.access.ask(namespace, SHARED_FOR).await;
    if !asked.is_ok_and(|standing| standing.is_refused()) {
        let kind = kind.as_str();
        tracing::warn!(
            namespace,
            kind,
            error = text(error),
            "the operator may not watch this kind; retrying with back-off"
        );
    }
}
