use super::*;
use crate::agent::{
    events::{Snapshot, Told},
    links::connection_to_nowhere,
};
use clap::Parser as _;
use futures::FutureExt as _;
use jiff::SignedDuration;
use kube::client::Body;
use std::time::Duration;
use tower::BoxError;
use vworkspace_core::agent::{
    credentials::{Fetched, Held, Verdicts},
    rotation::Cause,
    work::MAX_QUEUED,
};
use vworkspace_protocol::Secret;

fn identity(port: u16, held: Held) -> Identity {
    let (base_url, marks) = (format!("http://127.0.0.1:{port}"), String::new());
    Identity { base_url, held, ca_pem: None, marks }
}

/// A driver that reaches nobody, what gives it connections, and what it wants told.
fn driver() -> (Driver, watch::Sender<Option<Arc<Connection>>>, mpsc::Receiver<Snapshot>) {
    let args = Arc::new(Args::try_parse_from(["vworkspace-operator"]).unwrap());
    let unreached = tower::service_fn(async |_| Err::<http::Response<Body>, BoxError>("no way".into()));
    let (connections, links) = watch::channel(None);
    let (snapshots, wanted) = mpsc::channel(1);
    let (metrics, gauges) = Metrics::new();
    let conversation = Conversation::new(Duration::from_secs(60), watch::Sender::default(), gauges.link);
    let (follow, check) = (Follow::default(), Arc::<ReportCheck>::default());
    let driver = Driver {
        access: NamespaceAccess::new(Client::new(unreached, "n")),
        client: Client::new(unreached, "n"),
        seed: Seed::of(&args),
        args,
        metrics,
        conversation: Arc::new(conversation),
        identity: watch::Sender::new(None),
        links: Links::new(links),
        follow: follow.clone(),
        rotations: Rotations::channel().0,
        snapshots: Snapshots::new(follow, snapshots, check.clone()),
        check,
        job_ended: Arc::default(),
    };
    (driver, connections, wanted)
}

#[tokio::test]
async fn a_snapshot_that_was_cut_in_two_by_another_connection_is_told_again() {
    let (driver, connections, mut wanted) = driver();
    let connect = || {
        let connection = connection_to_nowhere();
        connections.send_replace(Some(connection.clone()));
        driver.conversation.credential(true, "");
        connection
    };
    for (is_cut, then) in [(true, Step::Resync), (false, Step::Poll)] {
        let connection = connect();
        let taken = async {
            let snapshot = wanted.recv().await.unwrap();
            let _other = is_cut.then(connect);
            assert!(snapshot.done.send(Ok(Told::Taken)).is_ok());
        };
        futures::join!(driver.resync(&connection), taken);
        assert_eq!(driver.conversation.step(), then, "cut: {is_cut}");
    }
}

#[tokio::test]
async fn a_refusal_that_counts_no_longer_keeps_the_poll_loop_waiting_for_no_other_credential() {
    let (driver, connections, _wanted) = driver();
    let current = Held::new(ClusterId::new("c"), Secret::new("old"), None);
    let fetched = Fetched { token: Secret::new("new"), life: None, rotation: "r".to_owned() };
    let held = current.fetched(fetched, &Cause::Age);
    let identity = identity(1, held);
    driver.identity.send_replace(Some(identity.clone()));
    let presented = identity.presented(&Verdicts::default());
    let args = &driver.args;
    let connection = Connection::new(&presented, &SessionId::new("s"), args, Arc::default()).unwrap();
    let connection = Arc::new(connection);
    connections.send_replace(Some(connection.clone()));
    let written_anew = async {
        let mut link = driver.conversation.watch();
        assert!(link.wait_for(|link| link.verdicts != Verdicts::default()).await.is_ok());
        driver.conversation.identity_changed();
    };
    let failed = driver.failed(&connection, Failure::Unauthorized, "".into(), None);
    let both = async { futures::join!(failed, written_anew) };
    assert!(tokio::time::timeout(Duration::from_secs(30), both).await.is_ok(), "it waits for ever");
}

/// What else changes at that moment must not hide it: whichever is noticed first, sixty-four times.
#[tokio::test]
async fn an_identity_that_is_written_anew_counts_whatever_changes_with_it() {
    for _ in 0..64 {
        // Each round may look as often as a task of its own.
        tokio::task::yield_now().await;
        let (driver, connections, _wanted) = driver();
        let args = Args::try_parse_from(["vworkspace-operator", "--agent-enabled=true"]).unwrap();
        let driver = Arc::new(Driver { args: Arc::new(args), ..driver });
        let current = Held::new(ClusterId::new("c"), Secret::new("old"), None);
        let fetched = Fetched { token: Secret::new("new"), life: None, rotation: "r".to_owned() };
        let held = current.fetched(fetched, &Cause::Age);
        let at = |port| identity(port, held.clone());
        driver.identity.send_replace(Some(at(1)));
        driver.conversation.refused(&Secret::new("new"), &held);
        let keeping = driver.clone().keep_connections(
            connections.clone(),
            watch::Sender::new(None),
            SessionId::new("s"),
        );
        let mut keeping = std::pin::pin!(keeping);
        assert!(keeping.as_mut().now_or_never().is_none());
        let presented = || driver.links.now().unwrap().credentials.token.expose().to_owned();
        driver.conversation.refused(&Secret::new("new"), &held);
        assert!(keeping.as_mut().now_or_never().is_none());
        assert_eq!(presented(), "old");
        driver.identity.send_replace(Some(at(2)));
        driver.conversation.good(&Secret::new("old"));
        assert!(keeping.as_mut().now_or_never().is_none());
        assert_eq!(presented(), "new", "another control plane has refused nothing yet");
    }
}

#[tokio::test]
async fn a_rejected_credential_is_presented_again_when_somebody_changes_the_cluster() {
    let (driver, connections, _wanted) = driver();
    let driver = Arc::new(driver);
    let held = Held::new(ClusterId::new("c"), Secret::new("t"), None);
    driver.identity.send_replace(Some(identity(1, held)));
    driver.follow.show_cluster(1, "");
    let keeping = driver.clone().keep_connections(connections, watch::Sender::new(None), SessionId::new("s"));
    let mut keeping = std::pin::pin!(keeping);
    let mut may_talk_at = |generation, marks| {
        driver.follow.show_cluster(generation, marks);
        assert!(keeping.as_mut().now_or_never().is_none());
        driver.conversation.may_talk()
    };
    assert!(may_talk_at(1, ""));
    for (generation, marks) in [(2, ""), (2, "an annotation")] {
        driver.conversation.failed(Failure::Unauthorized, "rejected".into());
        assert!(!driver.conversation.may_talk());
        assert!(may_talk_at(generation, marks), "{generation} {marks}");
    }
    driver.conversation.failed(Failure::Unauthorized, "rejected".into());
    assert!(!may_talk_at(2, "an annotation"), "nobody has changed anything");
}

#[tokio::test]
async fn own_notes_in_the_secret_do_not_end_a_rejection() {
    let (driver, connections, _wanted) = driver();
    let driver = Arc::new(driver);
    let held = Held::new(ClusterId::new("c"), Secret::new("t"), None);
    driver.identity.send_replace(Some(identity(1, held.clone())));
    driver.follow.show_cluster(1, "");
    let keeping = driver.clone().keep_connections(connections, watch::Sender::new(None), SessionId::new("s"));
    let mut keeping = std::pin::pin!(keeping);
    let mut write = |identity: Identity| {
        driver.identity.send_replace(Some(identity));
        assert!(keeping.as_mut().now_or_never().is_none());
        (driver.conversation.may_talk(), held.is_refused(&driver.conversation.verdicts()))
    };
    assert_eq!(write(identity(1, held.clone())), (true, false));
    driver.conversation.refused(&held.token, &held);
    driver.conversation.failed(Failure::Unauthorized, "rejected".into());
    let asking = held.asking_for_rotation().unwrap();
    for own in [asking.clone(), held.clone(), asking.with_echo(true)] {
        assert_eq!(write(identity(1, own)), (false, true));
    }
    let touched = Identity { marks: "by hand".to_owned(), ..identity(1, held.clone()) };
    assert_eq!(write(touched), (true, false), "somebody else has changed it");
}

/// Nothing is told of jobs before status went first, so none of them makes room.
#[tokio::test]
async fn status_goes_first_over_another_connection_also_while_there_is_no_room_for_jobs() {
    let empty = tower::service_fn(async |request: http::Request<Body>| {
        let kind = request.uri().path().rsplit('/').next();
        let (status, body) = if matches!(kind, Some("secrets" | "configmaps")) {
            (200, r#"{"metadata": {}, "items": []}"#)
        } else {
            (404, r#"{"code": 404, "reason": "NotFound"}"#)
        };
        let answer = http::Response::builder().status(status);
        Ok::<_, BoxError>(answer.body(Body::from(body.as_bytes().to_vec()))?)
    });
    let (driver, connections, mut wanted) = driver();
    let driver = Driver { client: Client::new(empty, "n"), ..driver };
    let jobs = Jobs::load(driver.means(Metrics::new().1.jobs, &CancellationToken::new())).await;
    let many =
        (0..MAX_QUEUED).map(|n| serde_json::json!({"id": n.to_string(), "kind": "apply", "payload": {}}));
    jobs.handle(many.map(|job| serde_json::from_value(job).unwrap()).collect(), &ClusterId::new("c"));
    connections.send_replace(Some(connection_to_nowhere()));
    driver.conversation.credential(true, "");
    driver.conversation.resynced(true, 0);
    let polling = driver.poll_for_ever(&jobs);
    let mut polling = std::pin::pin!(polling);
    assert!(polling.as_mut().now_or_never().is_none());
    assert!(wanted.try_recv().is_err(), "all is told");
    connections.send_replace(Some(connection_to_nowhere()));
    driver.conversation.credential(true, "");
    assert!(polling.as_mut().now_or_never().is_none());
    assert!(wanted.try_recv().is_ok());
}

#[tokio::test]
async fn the_poll_loop_notices_at_once_that_something_got_through() {
    let conversation =
        Conversation::new(Duration::from_secs(60), watch::Sender::default(), Metrics::new().1.link);
    let connection = connection_to_nowhere();
    let (_connected, links) = watch::channel(Some(connection.clone()));
    let (links, at) = (Links::new(links), clock::now() + SignedDuration::from_hours(1));
    let rested = || rest(&links, &connection, &conversation, at).now_or_never();
    assert_eq!(rested(), None);
    conversation.good(&connection.credentials.token);
    assert_eq!(rested(), Some(()), "an event got through, even before the wait began");
    assert_eq!(rested(), None);
    conversation.heartbeat(&connection.credentials.token);
    assert_eq!(rested(), Some(()));
}
