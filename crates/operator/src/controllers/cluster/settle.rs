//! The end of a rotation: of two credentials the one that works stays. Which one that is the agent found out.

use super::{
    Error,
    apply::Registrar,
    build::object_ref_or_identity,
    dereference::{Stored, Way, credential},
    rotate::{is_of, tell},
};
use crate::{announce::Announcer, clock};
use kube::runtime::events::EventType;
use vworkspace_core::agent::credentials::{Settled, Verdicts};
use vworkspace_crds::Cluster;

impl Registrar {
    /// Stores how a rotation ended, if that is known by now, and reports the one that gave the current credential.
    /// `cluster` is the one in charge, if there is one.
    pub(super) async fn settle(
        &mut self,
        cluster: Option<&Cluster>,
        verdicts: &Verdicts,
        announcer: &Announcer,
    ) -> Result<(), Error> {
        let stored = credential(&self.client, &self.args).await?;
        let Some(mut stored) = stored.filter(|stored| is_of(stored, cluster)) else { return Ok(()) };
        match stored.held.settled(verdicts) {
            Some(Settled::Promoted(held)) => {
                self.write_secret(cluster, &Stored { held: held.clone(), ..stored.clone() }).await?;
                self.rotating.handle_success();
                tracing::info!(cluster_id = %held.cluster, "the new credential works; the old one is dead");
                let note = "the new credential works; the old one is dead";
                tell(announcer, cluster, EventType::Normal, "CredentialRotated", note).await;
                stored.held = held;
            }
            Some(Settled::Dropped(held)) => {
                self.write_secret(cluster, &Stored { held: held.clone(), ..stored.clone() }).await?;
                let at = self.rotating.handle_failure(Way::of(&stored), None, clock::now(), rand::random());
                tracing::warn!(%at, "the control plane dropped the new credential; the old one stays");
                let note =
                    "the control plane dropped the new credential before it was used; the old one stays";
                tell(announcer, cluster, EventType::Warning, "RotationFailed", note).await;
                stored.held = held;
            }
            None => {}
        }
        self.tell_rotation(cluster, &stored);
        Ok(())
    }

    /// Reports the rotation that gave the current credential, once per process: whether an earlier process got so far
    /// is not known, and told again it is the same event.
    fn tell_rotation(&mut self, cluster: Option<&Cluster>, stored: &Stored) {
        let held = &stored.held;
        let Some(rotation) = held.rotation.as_ref().filter(|id| self.told_rotation.as_ref() != Some(*id))
        else {
            return;
        };
        let object = object_ref_or_identity(cluster, held.cluster.as_str());
        let at = held.life.map_or_else(clock::now, |life| life.issued_at);
        if self.reporter.rotated(object, rotation.clone(), at) {
            self.told_rotation = Some(rotation.clone());
        }
    }
}
