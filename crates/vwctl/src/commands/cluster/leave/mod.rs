//! `vwctl cluster leave`: ends vWorkspace in a cluster, with the kubeconfig of the cluster's admin.
//!
//! Neither a job nor an intent: the control plane cannot ask a cluster to leave. See
//! `docs/walkthroughs/uninstall.md`.

mod access;
mod lease;
mod plan;

use crate::{
    Error,
    duration::Span,
    output::{Format, print, say},
    render,
};
use access::Access;
use clap::Args;
use lease::LeaseSight;
use plan::{Found, Kind, Object, Step, next};
use std::{
    io::{IsTerminal as _, stdin},
    path::PathBuf,
    time::{Duration, Instant},
};

/// Time between two looks at the cluster.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

#[derive(Args, Debug)]
pub(super) struct Leave {
    /// Kubeconfig of the cluster's admin; defaults to KUBECONFIG, then to ~/.kube/config.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; defaults to its current one.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Show what is in the way and change nothing.
    #[arg(long, conflicts_with_all = ["yes", "delete_applications"])]
    check: bool,
    /// Delete all applications too; without it they keep running.
    #[arg(long)]
    delete_applications: bool,
    /// Do not ask for confirmation.
    #[arg(short, long)]
    yes: bool,
    /// Time to wait for the operator, Flux and Kubernetes.
    #[arg(long, value_name = "DURATION", default_value = "3m")]
    timeout: Span,
}

/// One run of the command.
struct Leaving {
    access: Access,
    sight: LeaseSight,
}

impl Leave {
    pub(super) async fn run(self, format: Format) -> Result<(), Error> {
        let access = Access::new(self.kubeconfig.as_deref(), self.context.clone()).await?;
        let mut leaving = Leaving { access, sight: LeaseSight::default() };
        let found = leaving.look().await?;
        if self.check {
            say(operator_text(found.operator_runs));
            return print(&format.render(&in_the_way(&found), table)?);
        }
        self.confirm(&leaving.access, &found)?;
        self.carry_out(&mut leaving, found).await
    }

    /// Says what will happen and asks whether it should.
    fn confirm(&self, access: &Access, found: &Found) -> Result<(), Error> {
        let instances = count(found, Kind::ApplicationInstance);
        say(&format!("The cluster at {} leaves its control plane.", access.url));
        say(operator_text(found.operator_runs));
        say(&if self.delete_applications {
            format!("Its {instances} applications are deleted.")
        } else {
            format!("Its {instances} applications keep running.")
        });
        if self.yes {
            return Ok(());
        }
        if !stdin().is_terminal() {
            return Err(Error::NotConfirmed);
        }
        say("Continue? [y/N]");
        let mut answer = String::new();
        stdin().read_line(&mut answer).map_err(Error::Stdin)?;
        let is_yes = matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes");
        if is_yes { Ok(()) } else { Err(Error::NotConfirmed) }
    }

    /// Looks, decides and acts until nothing is left to do.
    async fn carry_out(&self, leaving: &mut Leaving, mut found: Found) -> Result<(), Error> {
        let start = Instant::now();
        let (mut waiting_for, mut was_cut_off) = ("", false);
        loop {
            match next(&found, self.delete_applications) {
                Step::Done => break,
                Step::Delete(objects) => {
                    say(&format!("Deleting {}.", listed(&objects)));
                    for object in &objects {
                        leaving.access.delete(object).await?;
                    }
                }
                Step::Release(objects) => {
                    was_cut_off |= objects.iter().any(|object| object.kind == Kind::Cluster);
                    say(&format!("Removing the operator's finalizer from {}.", listed(&objects)));
                    for object in &objects {
                        leaving.access.release(object).await?;
                    }
                }
                Step::Wait(what) if what != waiting_for => {
                    waiting_for = what;
                    say(&format!("Waiting: {what}."));
                }
                Step::Wait(_) => {}
            }
            if start.elapsed() >= Duration::from_secs(self.timeout.seconds().into()) {
                say(table(&in_the_way(&found)).trim_end());
                return Err(Error::StillInTheWay { count: in_the_way(&found).objects.len() });
            }
            tokio::time::sleep(LOOK_AGAIN).await;
            found = leaving.look().await?;
        }
        say_what_is_left(&found, was_cut_off);
        Ok(())
    }
}

impl Leaving {
    /// Reads the cluster, and the lease until it is known whether an operator runs.
    async fn look(&mut self) -> Result<Found, Error> {
        let mut is_told = false;
        let operator_runs = loop {
            let lease = self.access.lease().await?;
            if let Some(runs) = self.sight.handle_reading(lease.as_ref(), Instant::now()) {
                break runs;
            }
            if let Some(lease) = lease.filter(|_| !std::mem::replace(&mut is_told, true)) {
                say(&format!(
                    "Watching for up to {} s whether an operator renews its leader-election lease.",
                    lease.duration().as_secs()
                ));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        };
        Ok(Found { operator_runs, objects: self.access.objects().await? })
    }
}

fn operator_text(runs: bool) -> &'static str {
    if runs {
        "The operator runs: it decommissions the cluster at the control plane and removes its own finalizers."
    } else {
        "No operator renews the leader-election lease. One that was started without --leader-elect has none: stop it \
         first."
    }
}

fn say_what_is_left(found: &Found, was_cut_off: bool) {
    if was_cut_off {
        say(
            "The cluster was not decommissioned at the control plane, because no operator runs: end the cluster's credentials there with \
             `vwctl cluster revoke NAME`.",
        );
    }
    let held = found.objects.iter().filter(|object| object.is_held()).count();
    if held > 0 {
        say(&format!(
            "{held} objects still carry the operator's finalizer. Stop the operator and repeat this command before you \
             delete its namespace or the definitions."
        ));
    } else if found.operator_runs {
        say("The cluster has left. Stop the operator, then delete its namespace.");
    } else {
        say("The cluster has left. Nothing waits for the operator any more.");
    }
}

fn in_the_way(found: &Found) -> Found {
    let mut objects: Vec<_> = found.objects.iter().filter(|object| object.is_in_the_way()).cloned().collect();
    objects.sort_by_key(|object| !object.deleting);
    Found { operator_runs: found.operator_runs, objects }
}

fn count(found: &Found, kind: Kind) -> usize {
    found.objects.iter().filter(|object| object.kind == kind).count()
}

/// For example `3 ApplicationInstances, Cluster control-plane`.
fn listed(objects: &[Object]) -> String {
    let mut kinds: Vec<_> = objects.iter().map(|object| object.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let of = |kind: Kind| {
        let all: Vec<_> = objects.iter().filter(|object| object.kind == kind).collect();
        match all.as_slice() {
            [one] => format!("{} {}", kind.name(), one.name),
            all => format!("{} {}s", all.len(), kind.name()),
        }
    };
    kinds.into_iter().map(of).collect::<Vec<_>>().join(", ")
}

fn table(found: &Found) -> String {
    let rows = found.objects.iter().map(|object| {
        let state = if object.deleting { "deleting" } else { "in use" };
        let held_by = object.holder();
        [
            object.kind.name().to_owned(),
            object.namespace.clone(),
            object.name.clone(),
            state.to_owned(),
            held_by,
        ]
    });
    render::columns(["KIND", "NAMESPACE", "NAME", "STATE", "HELD BY"], rows)
}
