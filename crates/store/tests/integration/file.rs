//! What only a database in a file owes.

use crate::world::{World, admitted, at, begin, database_in, manifest};
use std::{os::unix::fs::PermissionsExt, time::Duration};
use vworkspace_core::report_digest::ReportDigest;
use vworkspace_protocol::admin::{EnqueueJob, JobState};
use vworkspace_store::{Command, Error, Manage, PageRequest, Settings, Store};

#[tokio::test]
async fn one_process_at_a_time_owns_the_database_and_only_its_owner_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = database_in(&folder);
    let store = Store::open(&path, &Settings::default()).unwrap();
    let Err(error) = Store::open(&path, &Settings::default()) else { panic!("opened twice") };
    assert!(matches!(error, Error::InUse { .. }), "{error}");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    store.barrier().await.unwrap();
    drop(store);
    Store::open(&path, &Settings::default()).unwrap();
}

#[tokio::test]
async fn what_was_queued_is_written_before_the_last_store_is_gone() {
    let world = World::on_file().await;
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let cluster = world.command(&tenant, &agent).await;
    let job = || admitted(EnqueueJob::new("apply", manifest("web")));
    for _ in 0..20 {
        begin(world.store.enqueue(&cluster, job(), at(1)));
    }
    let world = world.reopened().await;
    let reading = world.reading(&tenant, &agent).await;
    let jobs = world.store.jobs(&reading, None, &PageRequest::default(), at(2)).await.unwrap();
    assert_eq!(jobs.items.len(), 20);
}

#[tokio::test]
async fn tokens_are_stored_as_hashes_only() {
    let world = World::on_file().await;
    let tenant = world.tenant("acme-gmbh").await;
    let agent = world.agent(&tenant, "c").await;
    let registration = world.registration_token(&tenant, &agent.id).await;
    let rotated = world.store.rotate(&agent.serve, &agent.credential, at(1)).await.unwrap().token;
    let mut written = Vec::new();
    for file in std::fs::read_dir(world.folder()).unwrap().map(Result::unwrap) {
        written.extend(std::fs::read(file.path()).unwrap());
    }
    let holds = |bytes: &[u8]| written.windows(bytes.len()).any(|window| window == bytes);
    assert!(holds(b"acme-gmbh"), "the files were not read");
    for token in [&agent.credential, &registration, &rotated] {
        // The prefix and the part by which a token is found are no secret; the last 256 bits are.
        let (_, secret) = token.expose().split_at(token.expose().len() - 64);
        assert!(!holds(secret.as_bytes()) && !holds(&hex::decode(secret).unwrap()));
    }
}

/// No method reads the audit records yet, so the file is read as an auditor would.
#[tokio::test]
async fn who_asked_for_what_is_audited_and_so_is_what_the_server_decides() {
    let world = World::on_file().await;
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    let lost = world.apply(&tenant, &agent, "lost", 0).await;
    for n in 0..=10 {
        world.poll(&agent, "s", n * 30).await;
    }
    let withdrawn = world.apply(&tenant, &agent, "web", 400).await;
    let handle = world.store.lookup_job::<Command>(&tenant.caller, &withdrawn).await.unwrap();
    world.store.cancel(&handle, at(401)).await.unwrap();
    world.store.rotate(&agent.serve, &agent.credential, at(402)).await.unwrap();
    assert_eq!(world.show(&tenant, &lost).await.state, JobState::Undeliverable);

    let records = audit_records(&world);
    let actions: Vec<_> = records.iter().map(|(_, action, _)| action.as_str()).collect();
    assert_eq!(
        actions,
        [
            "bootstrap",
            "create_organization",
            "create_api_token",
            "create_cluster",
            "issue_registration_token",
            "register",
            "enqueue",
            "undeliverable",
            "enqueue",
            "cancel",
            "rotate",
        ]
    );
    assert!(records.iter().all(|(actor, ..)| !actor.is_empty()));
}

/// Kind of actor, action and detail of every audit record, in order.
fn audit_records(world: &World) -> Vec<(String, String, String)> {
    let database = rusqlite::Connection::open(world.folder().join("db.sqlite")).unwrap();
    let mut records = database.prepare("SELECT actor_kind, action, detail FROM audit ORDER BY seq").unwrap();
    let records = records.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    records.map(Result::unwrap).collect()
}

#[tokio::test]
async fn taking_back_is_audited_with_what_ended() {
    let world = World::on_file().await;
    let tenant = world.tenant("o").await;
    let (revoked, archived) = (world.agent(&tenant, "c").await, world.agent(&tenant, "d").await);
    world.apply(&tenant, &archived, "web", 0).await;
    let before = audit_records(&world).len();

    let organization = world.store.lookup_organization::<Manage>(&tenant.caller, &tenant.id).await.unwrap();
    let token = world.store.create_api_token(&organization, "ci", at(1)).await.unwrap();
    world.store.revoke_api_token(&organization, &token.id, false, at(2)).await.unwrap();
    let cluster = world.store.lookup_cluster::<Manage>(&tenant.caller, &revoked.id).await.unwrap();
    let open = world.store.issue_registration_token(&cluster, Duration::from_secs(60), at(2)).await.unwrap();
    world.store.revoke_registration_token(&cluster, &open.id, at(3)).await.unwrap();
    world.store.revoke_cluster(&cluster, at(4)).await.unwrap();
    world.store.revoke_cluster(&cluster, at(5)).await.unwrap();
    let cluster = world.store.lookup_cluster::<Manage>(&tenant.caller, &archived.id).await.unwrap();
    world.store.archive_cluster(&cluster, at(6)).await.unwrap();
    world.store.archive_cluster(&cluster, at(7)).await.unwrap();
    world.store.cancel_archived(at(8)).await.unwrap();
    let organization = world.store.lookup_organization::<Manage>(&world.admin, &tenant.id).await.unwrap();
    let all = world.store.installation::<Manage>(&world.admin).unwrap();
    world.store.archive_organization(&organization, &all, at(9)).await.unwrap();

    let records = audit_records(&world).split_off(before);
    let records: Vec<_> = records.iter().map(|(who, what, detail)| (&**who, &**what, &**detail)).collect();
    let ended = format!("{}: ci", token.id);
    assert_eq!(
        records,
        [
            ("organization", "create_api_token", "ci"),
            ("organization", "revoke_api_token", &*ended),
            ("organization", "issue_registration_token", open.id.as_str()),
            ("organization", "revoke_registration_token", open.id.as_str()),
            ("organization", "revoke_cluster", "ended 1 credentials and 0 open registration tokens"),
            ("organization", "archive_cluster", ""),
            ("organization", "cancel", "the cluster was archived"),
            ("admin", "archive_cluster", ""),
            ("admin", "archive_organization", ""),
        ]
    );
}

#[tokio::test]
async fn report_digest_of_an_idle_cluster_writes_no_row() {
    let world = World::on_file().await;
    let tenant = world.tenant("o").await;
    let agent = world.agent(&tenant, "c").await;
    for _ in 0..3 {
        world.report(&agent, Vec::new(), 1).await;
        let digest = world.store.report_digest(&agent.serve).await.unwrap();
        assert_eq!(digest, ReportDigest::default());
    }
    assert_eq!(world.count("SELECT count(*) FROM report_digest"), 0);
}
