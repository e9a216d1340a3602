//! How a cluster leaves its control plane, as `crates/operator/src/controllers/cluster/leave.rs`: whoever deletes the
//! Cluster object ends its identity; a control plane that cannot be told holds it up for a while.

use super::{Agent, CALL};
use crate::simulation::api::Left;
use std::{rc::Rc, time::Duration};
use vworkspace_core::agent::{
    credentials::Held,
    departure::{self, Farewell, SeenDeleted, TRY_FOR, departure},
    spacing::Spacing,
};
use vworkspace_protocol::Secret;
use vworkspace_transport::AgentLink as _;

impl Agent {
    /// Keeps the identity while there is a Cluster object, and ends it with that. One loop, as there: whatever it does
    /// about a credential is over before it leaves.
    pub(super) async fn keep_identity(self: Rc<Self>) {
        tokio::select! {
            biased;
            () = self.deleted() => {}
            () = self.clone().keep_registered() => {}
        }
        // What was on its way to the API server when the registrar was stopped has arrived.
        self.site.world.sleep(self.site.world.weather.api_way * 2).await;
        let (mut seen, mut spacing) = (SeenDeleted::default(), Spacing::default());
        while self.site.api.state().left.is_none() {
            let held = self.site.api.state().credential.clone();
            let left = match held {
                Some(held) => self.decommission(&held, &mut seen, &mut spacing).await,
                None => Some(Left::Untold),
            };
            if let Some(left) = left {
                // It is tried again if that fails, by then with a credential that is dead.
                let gone = self.site.api.call(move |state| state.leave(left)).await;
                self.note(&format!("has left: {left:?}, {}", gone.is_ok()));
            }
            self.site.world.sleep(Duration::from_millis(200)).await;
        }
    }

    async fn deleted(&self) {
        let mut changed = self.site.api.watch();
        // The sender lives in the API server: waiting cannot fail.
        let _never_fails = changed.wait_for(|_| self.site.api.state().deleted_at.is_some()).await;
    }

    /// Tells the control plane, with each credential until one is not dead; `None`: it is to be told again.
    async fn decommission(
        &self,
        held: &Held,
        seen: &mut SeenDeleted,
        spacing: &mut Spacing<Secret>,
    ) -> Option<Left> {
        // Of a plain v1 control plane that rotated and was not heard nobody holds the credential that works.
        let is_unknown = self.site.world.weather.strict_rotation && held.lost_rotation().is_some();
        let mut farewell = Farewell::default();
        for token in held.tokens() {
            let now = self.now();
            let deleted_at = self.site.api.state().deleted_at.unwrap_or(now);
            let ends = seen.gives_up_at("cluster", deleted_at, now);
            if spacing.not_before(token, now).is_some() && now < ends {
                return None;
            }
            let rest = Duration::try_from(ends.duration_since(now)).unwrap_or(Duration::ZERO);
            let (caller, patience) = (self.caller_with(Some(token.clone())), rest.max(TRY_FOR).min(CALL));
            let told = self.ask(&caller, patience, |link| async move { link.decommission().await }).await;
            let told = departure(told);
            self.note(&format!("tells that it leaves: {told:?}"));
            match farewell.handle_answer(told, (), self.now() < ends) {
                None => {}
                Some(departure::Left::Again(asked, ())) => {
                    spacing.handle_failure(token.clone(), asked, self.now(), self.random());
                    return None;
                }
                Some(departure::Left::Decommissioned) => return Some(Left::Told),
                Some(departure::Left::NotDecommissioned(())) => return Some(Left::Untold),
            }
        }
        let is_told = farewell.finish() == departure::Left::Decommissioned && !is_unknown;
        Some(if is_told { Left::Told } else { Left::Untold })
    }
}
