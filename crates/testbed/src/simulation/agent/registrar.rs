//! How the cluster gets its first credential, and its next.

use super::{Agent, CALL};
use crate::simulation::api::{ApiError, Credential};
use std::{rc::Rc, time::Duration};
use vworkspace_core::agent::rotation::{Life, Rotation, rotation};
use vworkspace_protocol::credential::RegisterRequest;
use vworkspace_transport::AgentLink as _;

impl Agent {
    pub(super) async fn keep_registered(self: Rc<Self>) {
        loop {
            let stored = self.site.api.state().credential.clone();
            let done = match stored {
                None => self.register().await,
                Some(stored) => self.rotate_if_due(stored).await,
            };
            let pause = if done.is_some() { 1_000 } else { 1_000 + self.site.world.dice.roll(2_000) };
            self.site.world.sleep(Duration::from_millis(pause)).await;
        }
    }

    /// The id is stored before the first try, so that a repeated exchange is the same one.
    async fn register(&self) -> Option<()> {
        let token = self.site.registration_token.borrow().clone()?;
        let api = &self.site.api;
        let fresh = format!("{}-registration-{}", self.site.name, self.site.world.dice.roll(1 << 30));
        let id = api.call(|state| state.registration_id.get_or_insert(fresh).clone()).await.ok()?;
        let request = RegisterRequest {
            registration_token: token,
            cluster_id: None,
            display_name: self.site.name.clone(),
            registration_id: id,
        };
        let caller = self.caller_with(None);
        let answer = self.site.wire.call(&caller, CALL, move |link| {
            let request = request.clone();
            async move { link.register(&request).await }
        });
        let answer = answer.await.ok()?;
        self.note("is registered");
        let issued_at = self.now();
        let life = answer.expires_at.map(|expires_at| Life { issued_at, expires_at });
        let credential = Credential { token: answer.token, cluster: answer.cluster_id, life, rotated: None };
        self.store(credential).await
    }

    /// Both credentials work until the new one is used, which is after it is stored.
    async fn rotate_if_due(&self, stored: Credential) -> Option<()> {
        let wish = self.site.api.state().wish;
        match rotation(stored.life, wish, stored.rotated, self.now()) {
            Rotation::No => Some(()),
            Rotation::Fulfilled => {
                let taken_back: Result<(), ApiError> = self.site.api.call(|state| state.wish = None).await;
                taken_back.ok()
            }
            Rotation::Due => {
                let caller = self.caller_with(Some(stored.token.clone()));
                let answer = self.site.wire.call(&caller, CALL, |link| async move { link.rotate().await });
                let answer = answer.await.ok()?;
                self.note("has a rotated credential");
                let issued_at = self.now();
                let life = answer.expires_at.map(|expires_at| Life { issued_at, expires_at });
                let rotated = wish.or(stored.rotated);
                self.store(Credential { token: answer.token, life, rotated, ..stored }).await
            }
        }
    }

    async fn store(&self, credential: Credential) -> Option<()> {
        self.site.api.call(|state| state.replace_credential(credential)).await.ok()
    }
}
