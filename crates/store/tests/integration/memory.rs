//! What a database in memory owes besides: its groups are committed by hand, so that a crash can come at any moment.

use crate::world::at;
use futures::FutureExt as _;
use std::pin::pin;
use vworkspace_core::control::DnsLabel;
use vworkspace_protocol::admin;
use vworkspace_store::{
    Archived, Caller, Committer, Error, Manage, Memory, PageRequest, Read, Settings, Store,
};

/// A store whose admin is known, and what commits for it.
async fn opened(memory: &Memory) -> (Store, Committer, Caller) {
    let (store, mut committer) = Store::open_in(memory, &Settings::default()).unwrap();
    let token = committed(&mut committer, store.bootstrap_admin(at(0))).await.unwrap().unwrap();
    let admin = committed(&mut committer, store.authenticate(&token, at(0))).await.unwrap();
    (store, committer, admin)
}

/// Commits whatever the call asks for until it is answered.
async fn committed<T>(committer: &mut Committer, call: impl Future<Output = T>) -> T {
    let mut call = pin!(call);
    loop {
        tokio::select! {
            answer = &mut call => return answer,
            Some(group) = committer.gather() => committer.commit(group),
        }
    }
}

async fn make(store: &Store, admin: &Caller, name: &str) -> Result<admin::Organization, Error> {
    let all = store.installation::<Manage>(admin)?;
    store.create_organization(&all, &DnsLabel::parse("name", name).unwrap(), at(0)).await
}

async fn names(store: &Store, admin: &Caller) -> Vec<String> {
    let all = store.installation::<Read>(admin).unwrap();
    let page = store.organizations(&all, Archived::Hidden, &PageRequest::default()).await.unwrap();
    page.items.into_iter().map(|organization| organization.name).collect()
}

#[tokio::test]
async fn nothing_is_answered_nor_seen_before_its_group_is_committed() {
    let (store, mut committer, admin) = opened(&Memory::new().unwrap()).await;
    let mut call = pin!(make(&store, &admin, "o"));
    assert!(call.as_mut().now_or_never().is_none());
    let group = committer.gather().await.unwrap();
    assert!(call.as_mut().now_or_never().is_none());
    assert!(names(&store, &admin).await.is_empty());
    committer.commit(group);
    assert_eq!(call.await.unwrap().name, "o");
    assert_eq!(names(&store, &admin).await, ["o"]);
}

#[tokio::test]
async fn what_was_not_committed_is_gone_after_a_crash_and_nobody_is_told_it_is_there() {
    let memory = Memory::new().unwrap();
    let (store, mut committer, admin) = opened(&memory).await;
    committed(&mut committer, make(&store, &admin, "answered")).await.unwrap();
    let mut gathered = pin!(async { tokio::join!(make(&store, &admin, "one"), make(&store, &admin, "two")) });
    assert!(gathered.as_mut().now_or_never().is_none());
    let group = committer.gather().await.unwrap();
    let mut queued = pin!(make(&store, &admin, "three"));
    assert!(queued.as_mut().now_or_never().is_none());
    drop((group, committer));
    let (one, two) = gathered.await;
    for lost in [one, two, queued.await, make(&store, &admin, "four").await] {
        assert!(matches!(lost, Err(Error::Stopped)));
    }
    let (restarted, _committer) = Store::open_in(&memory, &Settings::default()).unwrap();
    assert_eq!(names(&restarted, &admin).await, ["answered"]);
}

#[tokio::test]
async fn a_group_is_committed_whole_and_before_the_next_one() {
    let memory = Memory::new().unwrap();
    let (store, mut committer, admin) = opened(&memory).await;
    let mut calls = pin!(async { tokio::join!(make(&store, &admin, "one"), make(&store, &admin, "two")) });
    assert!(calls.as_mut().now_or_never().is_none());
    let first = committer.gather().await.unwrap();
    let mut later = pin!(make(&store, &admin, "three"));
    assert!(later.as_mut().now_or_never().is_none());
    committer.commit(first);
    let (one, two) = calls.await;
    assert!(one.is_ok() && two.is_ok());
    // The process dies between the two groups.
    drop(committer);
    assert!(matches!(later.await, Err(Error::Stopped)));
    let (restarted, _committer) = Store::open_in(&memory, &Settings::default()).unwrap();
    assert_eq!(names(&restarted, &admin).await, ["one", "two"]);
}

#[tokio::test]
async fn a_call_that_fails_spoils_nobody_elses() {
    let (store, mut committer, admin) = opened(&Memory::new().unwrap()).await;
    let calls = async {
        tokio::join!(make(&store, &admin, "o"), make(&store, &admin, "o"), make(&store, &admin, "p"))
    };
    let (one, again, other) = committed(&mut committer, calls).await;
    assert!(one.is_ok() && other.is_ok());
    assert!(matches!(again, Err(Error::AlreadyExists { .. })));
    assert_eq!(names(&store, &admin).await, ["o", "p"]);
}

#[tokio::test]
async fn a_committer_outlives_no_store() {
    let (store, mut committer, _) = opened(&Memory::new().unwrap()).await;
    let clone = store.clone();
    drop(store);
    assert!(committer.gather().now_or_never().is_none());
    drop(clone);
    assert!(committer.gather().await.is_none());
}
