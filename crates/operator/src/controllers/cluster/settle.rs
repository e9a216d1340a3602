//! What is stored of the answers that the agent got: which of the credentials held works, and whether the control plane
//! echoes.

use super::{
    Error,
    apply::Registrar,
    build::object_ref_or_identity,
    dereference::{Stored, Way, credential},
    rotate::{is_of, tell},
};
use crate::{agent::conversation::LinkState, announce::Announcer, clock};
use kube::runtime::events::EventType;
use vworkspace_core::agent::credentials::{Held, Settled};
use vworkspace_crds::Cluster;
use vworkspace_transport::EchoMark;

impl Registrar {
    /// Stores how a rotation ended, if that is known by now, a return to a former credential, and the mark of the echo, in
    /// one write; reports the rotation that gave the current credential. `cluster` is the one in charge, if there is one.
    pub(super) async fn settle(
        &mut self,
        cluster: Option<&Cluster>,
        link: &LinkState,
        announcer: &Announcer,
    ) -> Result<(), Error> {
        let stored = credential(&self.client, &self.args).await?;
        let Some(mut stored) = stored.filter(|stored| is_of(stored, cluster)) else { return Ok(()) };
        let settled = stored.held.settled(&link.verdicts, clock::now());
        let held = settled.as_ref().map_or(&stored.held, Settled::held);
        let held = with_echo(held.clone(), &stored, link);
        if held != stored.held {
            let written = Stored { held, ..stored.clone() };
            self.write_secret(cluster, &written).await?;
            if let Some(settled) = &settled {
                self.handle_settled(settled, cluster, &stored, announcer).await;
            }
            stored = written;
        }
        self.tell_rotation(cluster, &stored);
        Ok(())
    }

    async fn handle_settled(
        &mut self,
        settled: &Settled,
        cluster: Option<&Cluster>,
        before: &Stored,
        announcer: &Announcer,
    ) {
        let cluster_id = &before.held.cluster;
        match settled {
            Settled::Promoted(_) => {
                self.rotating.handle_success();
                let note = "the new credential works; the old one is dead";
                tracing::info!(%cluster_id, "{note}");
                tell(announcer, cluster, EventType::Normal, "CredentialRotated", note).await;
            }
            Settled::Dropped(_) => {
                let at = self.rotating.handle_failure(Way::of(before), None, clock::now(), rand::random());
                let note =
                    "the control plane dropped the new credential before it was used; the old one stays";
                tracing::warn!(%cluster_id, %at, "{note}");
                tell(announcer, cluster, EventType::Warning, "RotationFailed", note).await;
            }
            Settled::CameBack(_) => {
                let note = "the control plane rejects the newer credential and accepts a former one, as one that was \
                            restored from a backup does; a rotation follows";
                tracing::warn!(%cluster_id, "{note}");
                tell(announcer, cluster, EventType::Warning, "FormerCredentialAccepted", note).await;
            }
        }
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

/// With the mark of the echo as the link knows it, if it is of the control plane that is stored.
fn with_echo(held: Held, stored: &Stored, link: &LinkState) -> Held {
    match &link.echo {
        Some(echo) if echo.target == stored.target() => held.with_echo(EchoMark::is_set(echo.mark)),
        Some(_) | None => held,
    }
}
