//! Leader election on a `coordination.k8s.io` Lease, guarded by its resource version.
//!
//! Whether a holder is alive is judged by how long *we* have seen its record unchanged, never by comparing clocks of
//! two machines. The holder gives up well before others may take over.

use crate::{cause::cause, clock, fence::Fence};
use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use std::time::Duration;
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout};

/// When a holder counts as dead, and when it gives up by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    duration: Duration,
    renew_deadline: Duration,
    retry: Duration,
}

/// Times with which two replicas could work side by side, or none would ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "the leader-election times must be: lease duration > renew deadline > retry period > 0, and the lease duration at least 1s"
)]
pub struct UnsafeTimes;

impl Times {
    /// A record unchanged for `duration` is that of a dead holder; one that could not renew for `renew_deadline` gives
    /// up; `retry` is the time between two tries.
    ///
    /// # Errors
    /// A holder must give up before others may take over, and must have tried before it gives up; the lease itself
    /// counts in whole seconds.
    pub fn try_new(
        duration: Duration,
        renew_deadline: Duration,
        retry: Duration,
    ) -> Result<Self, UnsafeTimes> {
        let safe = duration > renew_deadline && renew_deadline > retry && !retry.is_zero();
        if safe && duration.as_secs() > 0 {
            Ok(Self { duration, renew_deadline, retry })
        } else {
            Err(UnsafeTimes)
        }
    }

    /// What others are to wait at least.
    fn whole_seconds(&self) -> i32 {
        let begun = u64::from(self.duration.subsec_nanos() > 0);
        i32::try_from(self.duration.as_secs().saturating_add(begun)).unwrap_or(i32::MAX)
    }
}

/// What decides who holds the lease.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Record {
    holder: String,
    renewed: Option<Timestamp>,
    /// How long the holder may go on without a renewal.
    lasts: Duration,
    transitions: i32,
}

impl Record {
    fn of(lease: &Lease) -> Self {
        let spec = lease.spec.clone().unwrap_or_default();
        Self {
            holder: spec.holder_identity.unwrap_or_default(),
            renewed: spec.renew_time.map(|time| time.0),
            lasts: Duration::from_secs(
                spec.lease_duration_seconds.and_then(|seconds| seconds.try_into().ok()).unwrap_or_default(),
            ),
            transitions: spec.lease_transitions.unwrap_or_default(),
        }
    }
}

/// The record as last seen, and since when it has been so.
#[derive(Clone, Debug)]
struct Seen {
    record: Record,
    since: Instant,
}

/// Whether `me` may write itself into the lease, when a record unchanged for `duration` is a dead holder's: not sooner
/// than the holder itself gives up, whose times may be others. Pure.
fn may_take(seen: &Seen, me: &str, duration: Duration, now: Instant) -> bool {
    let Record { holder, lasts, .. } = &seen.record;
    holder.is_empty() || holder == me || now.duration_since(seen.since) >= duration.max(*lasts)
}

/// One candidate.
pub struct Elector {
    api: Api<Lease>,
    name: String,
    identity: String,
    times: Times,
    seen: Option<Seen>,
    /// Open for as long as nobody can have taken over.
    fence: Fence,
}

impl Elector {
    /// A candidate with a unique identity that starts with the pod's name.
    pub fn new(client: Client, namespace: &str, name: &str, times: Times) -> Self {
        let pod = std::env::var("POD_NAME").or_else(|_| std::env::var("HOSTNAME"));
        let pod = pod.unwrap_or_else(|_| "vworkspace-operator".to_owned());
        let identity = format!("{pod}_{}", uuid::Uuid::new_v4());
        let (api, fence) = (Api::namespaced(client, namespace), Fence::default());
        Self { api, name: name.to_owned(), identity, times, seen: None, fence }
    }

    /// What lets this process write while it holds the lease.
    pub fn fence(&self) -> &Fence {
        &self.fence
    }

    /// Waits until the lease is ours.
    pub async fn acquire(&mut self) {
        tracing::info!(identity = self.identity, "waiting for the leader-election lease");
        loop {
            let asked = Instant::now();
            match timeout(self.times.renew_deadline, self.attempt()).await {
                Ok(Ok(true)) => {
                    self.fence.open_until(asked + self.times.renew_deadline);
                    break;
                }
                Ok(Ok(false)) => {}
                Ok(Err(error)) => {
                    let error = cause(&error);
                    tracing::warn!(error, "cannot read or write the leader-election lease, retrying");
                }
                Err(_) => tracing::warn!("the API server did not answer about the leader-election lease"),
            }
            sleep(self.times.retry).await;
        }
        tracing::info!(identity = self.identity, "leading");
    }

    /// Keeps the lease; returns when it is lost.
    pub async fn hold(&mut self) {
        let mut renewed = Instant::now();
        loop {
            sleep(self.times.retry).await;
            let left = self.times.renew_deadline.saturating_sub(renewed.elapsed());
            let asked = Instant::now();
            match timeout(left, self.attempt()).await {
                Ok(Ok(true)) => {
                    renewed = asked;
                    self.fence.open_until(asked + self.times.renew_deadline);
                }
                Ok(Ok(false)) if self.is_taken() => {
                    tracing::error!("another replica has taken the leader-election lease");
                    return;
                }
                // A lost race for one write; the next try sees who won.
                Ok(Ok(false)) => {}
                Ok(Err(error)) => {
                    let error = cause(&error);
                    tracing::warn!(error, "cannot renew the leader-election lease, retrying");
                }
                Err(_) => {
                    tracing::error!("the leader-election lease could not be renewed in time");
                    return;
                }
            }
        }
    }

    /// Gives the lease back, so that another replica need not wait; nothing is written any more.
    pub async fn release(&self) {
        let Some(seen) = self.seen.as_ref().filter(|seen| seen.record.holder == self.identity) else {
            return;
        };
        // From then on anybody may take it at once.
        self.fence.open_until(Instant::now());
        let give_back = async {
            let mut lease = self.api.get(&self.name).await?;
            if Record::of(&lease).holder != seen.record.holder {
                return Ok(());
            }
            lease.spec =
                Some(LeaseSpec { holder_identity: Some(String::new()), ..lease.spec.unwrap_or_default() });
            self.api.replace(&self.name, &PostParams::default(), &lease).await.map(drop)
        };
        let answer: Result<Result<(), kube::Error>, _> = timeout(self.times.retry, give_back).await;
        let error = match answer {
            Ok(Ok(())) => return,
            Ok(Err(error)) => cause(&error),
            Err(_) => "the API server did not answer in time".to_owned(),
        };
        tracing::warn!(error, "cannot release the leader-election lease; it will expire");
    }

    fn is_taken(&self) -> bool {
        self.seen.as_ref().is_some_and(|seen| seen.record.holder != self.identity)
    }

    /// One try to take or renew; whether the lease is ours now.
    async fn attempt(&mut self) -> Result<bool, kube::Error> {
        let Some(lease) = self.api.get_opt(&self.name).await? else {
            let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
            let lease = Lease { metadata, spec: Some(self.spec(&Record::default())) };
            return self.written(self.api.create(&PostParams::default(), &lease).await);
        };
        let now = Instant::now();
        let record = Record::of(&lease);
        if self.seen.as_ref().is_none_or(|seen| seen.record != record) {
            self.seen = Some(Seen { record: record.clone(), since: now });
        }
        if !self.seen.as_ref().is_some_and(|seen| may_take(seen, &self.identity, self.times.duration, now)) {
            return Ok(false);
        }
        let mut mine = lease;
        let former = mine.spec.take().unwrap_or_default();
        mine.spec = Some(LeaseSpec {
            acquire_time: if record.holder == self.identity {
                former.acquire_time
            } else {
                Some(micro_now())
            },
            ..self.spec(&record)
        });
        self.written(self.api.replace(&self.name, &PostParams::default(), &mine).await)
    }

    /// A 409 is another candidate that was faster.
    fn written(&mut self, answer: Result<Lease, kube::Error>) -> Result<bool, kube::Error> {
        match answer {
            Ok(lease) => {
                self.seen = Some(Seen { record: Record::of(&lease), since: Instant::now() });
                Ok(true)
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn spec(&self, record: &Record) -> LeaseSpec {
        let changes_hands = !record.holder.is_empty() && record.holder != self.identity;
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(self.times.whole_seconds()),
            acquire_time: Some(micro_now()),
            renew_time: Some(micro_now()),
            lease_transitions: Some(record.transitions.saturating_add(i32::from(changes_hands))),
            ..LeaseSpec::default()
        }
    }
}

/// Rises with every renewal, so that a record that was renewed never looks unchanged.
fn micro_now() -> MicroTime {
    MicroTime(clock::now())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::client::Body;
    use std::sync::{Arc, Mutex};
    use tower::BoxError;

    const LEASE: Duration = Duration::from_secs(15);

    fn seen(holder: &str, ago: Duration, now: Instant) -> Seen {
        let record = Record { holder: holder.to_owned(), ..Record::default() };
        Seen { record, since: now.checked_sub(ago).unwrap() }
    }

    /// As during a rollout that shortens the times: the older replica may write for as long as its own times say.
    #[tokio::test]
    async fn a_holder_whose_lease_lasts_longer_than_ours_is_given_its_own_time() {
        let now = Instant::now() + 10 * LEASE;
        let longer = Times::try_new(4 * LEASE, 3 * LEASE, LEASE).unwrap();
        let client = || {
            Client::new(
                tower::service_fn(async |_| Err::<http::Response<Body>, BoxError>("no way".into())),
                "n",
            )
        };
        let holder = Elector::new(client(), "n", "lease", longer);
        let lease = Lease { spec: Some(holder.spec(&Record::default())), ..Lease::default() };
        let seen = |ago| Seen { record: Record::of(&lease), since: now.checked_sub(ago).unwrap() };
        assert!(!may_take(&seen(2 * LEASE), "me", LEASE, now));
        assert!(may_take(&seen(4 * LEASE), "me", LEASE, now));
    }

    #[test]
    fn others_wait_for_the_second_that_has_begun() {
        let seconds = |ms| Times { duration: Duration::from_millis(ms), ..whole() }.whole_seconds();
        assert_eq!([seconds(1_000), seconds(1_001), seconds(1_999)], [1, 2, 2]);
    }

    fn whole() -> Times {
        Times::try_new(LEASE, Duration::from_secs(10), Duration::from_secs(2)).unwrap()
    }

    #[test]
    fn a_lease_is_taken_when_free_ours_or_long_unchanged() {
        let now = Instant::now() + LEASE;
        assert!(may_take(&seen("", Duration::ZERO, now), "me", LEASE, now));
        assert!(may_take(&seen("me", Duration::ZERO, now), "me", LEASE, now));
        assert!(!may_take(&seen("other", Duration::from_secs(14), now), "me", LEASE, now));
        assert!(may_take(&seen("other", LEASE, now), "me", LEASE, now));
    }

    #[tokio::test]
    async fn whoever_has_given_the_lease_back_writes_nothing_any_more() {
        let there = Arc::new(Mutex::new(None));
        let answers = tower::service_fn(move |request: http::Request<Body>| {
            let there = there.clone();
            async move {
                let (head, body) = request.into_parts();
                if head.method != http::Method::GET {
                    *there.lock().unwrap() = Some(body.collect_bytes().await?);
                }
                let (status, body) = match there.lock().unwrap().clone() {
                    Some(lease) => (200, lease.to_vec()),
                    None => (404, br#"{"code": 404, "reason": "NotFound"}"#.to_vec()),
                };
                let answer = http::Response::builder().status(status);
                Ok::<_, BoxError>(answer.body(Body::from(body))?)
            }
        });
        let ms = Duration::from_millis;
        let times = Times::try_new(LEASE, ms(10_000), ms(1_000)).unwrap();
        let mut elector = Elector::new(Client::new(answers, "n"), "n", "lease", times);
        elector.acquire().await;
        assert!(elector.fence().is_open(Instant::now()));
        elector.release().await;
        assert!(!elector.fence().is_open(Instant::now()));
    }

    #[test]
    fn a_holder_gives_up_before_others_may_take_over() {
        let times = |duration, deadline, retry| {
            Times::try_new(
                Duration::from_millis(duration),
                Duration::from_millis(deadline),
                Duration::from_millis(retry),
            )
        };
        assert!(times(15_000, 10_000, 2_000).is_ok() && times(1_000, 999, 1).is_ok());
        for (duration, deadline, retry) in
            [(10_000, 10_000, 2_000), (15_000, 2_000, 2_000), (3, 2, 1), (9, 1, 0)]
        {
            assert_eq!(times(duration, deadline, retry), Err(UnsafeTimes));
        }
    }
}
