//! Leader election between two replicas, by the rule of the real one (`crates/operator/src/lease.rs`): who leads renews
//! the lease and ends itself when it could not for too long; who does not lead takes a lease over that nobody renewed
//! for as long as one lasts, by its own clock.

use super::Agent;
use crate::simulation::api::Lease;
use std::{rc::Rc, time::Duration};

/// How long a lease holds without being renewed.
const LASTS: Duration = Duration::from_secs(5);
/// A leader that could not renew for so long is none: earlier than anybody takes over, calls on their way included.
const RENEW_DEADLINE: Duration = Duration::from_millis(1_500);
/// Time between two tries, to renew or to take over.
const RETRY: Duration = Duration::from_millis(300);

impl Agent {
    /// Waits until this replica leads.
    pub(super) async fn lead(&self) {
        let mut seen = (Lease::default(), self.site.world.executor.now());
        loop {
            let asked = self.site.world.executor.now();
            let (me, former) = (self.replica, seen.0);
            let stale = asked.saturating_sub(seen.1) >= LASTS;
            let held = self.site.api.call_unfenced(move |state| {
                if state.lease.holder.is_none() || (stale && state.lease == former) {
                    state.lease = Lease { holder: Some(me), renewals: state.lease.renewals + 1 };
                }
                state.lease
            });
            match held.await {
                Ok(lease) if lease.holder == Some(me) => {
                    self.site.api.fence(asked + RENEW_DEADLINE);
                    return self.note("leads");
                }
                Ok(lease) if lease != seen.0 => seen = (lease, self.site.world.executor.now()),
                Ok(_) | Err(_) => {}
            }
            self.site.world.sleep(RETRY).await;
        }
    }

    /// Renews the lease; ends the process where that fails for too long.
    pub(super) async fn keep_leading(self: Rc<Self>) {
        let mut renewed = self.site.world.executor.now();
        loop {
            let asked = self.site.world.executor.now();
            let me = self.replica;
            let renewing = self.site.api.call_unfenced(move |state| {
                let mine = state.lease.holder == Some(me);
                state.lease.renewals += u64::from(mine);
                mine
            });
            let leads = tokio::select! {
                biased;
                renewing = renewing => renewing.ok(),
                () = self.site.world.sleep(RENEW_DEADLINE) => None,
            };
            match leads {
                Some(true) => {
                    renewed = asked;
                    self.site.api.fence(asked + RENEW_DEADLINE);
                }
                Some(false) => return self.resign(),
                None if self.site.world.executor.now().saturating_sub(renewed) >= RENEW_DEADLINE => {
                    return self.resign();
                }
                None => {}
            }
            self.site.world.sleep(RETRY).await;
        }
    }

    fn resign(&self) {
        self.note("leads no more and ends");
        self.is_over.set(true);
        self.kill();
    }
}
