//! Something between operator and control plane answers in the control plane's place, then lets everything pass again.
//! Nobody touches the cluster meanwhile.

use crate::{
    crash::world,
    membership::{clusters, follow_to, in_charge},
    proxy::{Foreign, Proxy},
    rotation::{rotation_job, succeeds},
    support::World,
};
use std::{fs, time::Duration};
use vworkspace_crds::Cluster;

/// How long it answers in the control plane's place, at least.
const INTERRUPTION: Duration = Duration::from_secs(3);
/// By then the operator is back.
const BACK_WITHIN: Duration = Duration::from_secs(60);

const HTML: (&str, &str) = ("content-type", "text/html");
const JSON: (&str, &str) = ("content-type", "application/json");
const TEXT: (&str, &str) = ("content-type", "text/plain");
const AN_HOUR: (&str, &str) = ("retry-after", "3600");
const PAGE: &str = "<html><body><h1>Blocked by the firewall</h1></body></html>";

/// Of each kind the worst.
const FIRST: [Foreign; 3] = [
    Foreign { name: "403 HTML", status: 403, headers: &[HTML], body: PAGE },
    Foreign {
        name: "401 Basic",
        status: 401,
        headers: &[("www-authenticate", "Basic realm=\"proxy\"")],
        body: "",
    },
    Foreign { name: "200 {}", status: 200, headers: &[JSON], body: "{}" },
];

/// All others.
const OTHERS: [Foreign; 12] = [
    Foreign {
        name: "407",
        status: 407,
        headers: &[("proxy-authenticate", "Basic realm=\"proxy\""), HTML],
        body: PAGE,
    },
    Foreign { name: "302", status: 302, headers: &[("location", "http://localhost:1/portal")], body: "" },
    Foreign { name: "200 HTML", status: 200, headers: &[HTML], body: PAGE },
    Foreign { name: "204", status: 204, headers: &[], body: "" },
    Foreign { name: "404 HTML", status: 404, headers: &[HTML], body: PAGE },
    Foreign { name: "409 text", status: 409, headers: &[TEXT], body: "conflict" },
    Foreign {
        name: "413 of a web server",
        status: 413,
        headers: &[HTML],
        body: "<html><head><title>413 Request Entity Too Large</title></head></html>",
    },
    Foreign { name: "429 for an hour", status: 429, headers: &[AN_HOUR, TEXT], body: "slow down" },
    Foreign { name: "503 for an hour", status: 503, headers: &[AN_HOUR, HTML], body: PAGE },
    Foreign { name: "400 empty", status: 400, headers: &[], body: "" },
    Foreign { name: "truncated JSON", status: 200, headers: &[JSON], body: "{\"jobs\": [{\"id\":" },
    Foreign {
        name: "500 foreign JSON",
        status: 500,
        headers: &[JSON],
        body: "{\"code\": 13, \"details\": []}",
    },
];

#[tokio::test]
async fn cluster_is_back_by_itself_after_a_rejection_or_success_of_a_proxy() {
    is_back_after(&FIRST).await;
}

#[tokio::test]
#[ignore = "part of cargo xtask test --full"]
async fn cluster_is_back_by_itself_after_every_other_foreign_answer() {
    is_back_after(&OTHERS).await;
}

async fn is_back_after(ways: &[Foreign]) {
    let (world, _turn) = world().await;
    let cluster = in_charge(&world).await;
    let home = &world.stack.server;
    let ca = fs::read(&home.ca).unwrap();
    let proxy = Proxy::start(&home.url, &ca).await;
    follow_to(&world, &cluster, &proxy.url, &ca).await;
    let seen = tokio::time::timeout(BACK_WITHIN, proxy.let_pass()).await;
    seen.unwrap_or_else(|_| {
        panic!("the operator does not use the proxy; its log:\n{}", world.stack.operator.log())
    });
    succeeds(&world, &rotation_job(&world).await).await;

    for foreign in ways {
        let before = generation(&world).await;
        proxy.answer(*foreign).await;
        // Its acknowledgement, the rotation itself, progress and result all have to get through.
        let job = rotation_job(&world).await;
        tokio::time::sleep(INTERRUPTION).await;
        let back = tokio::time::timeout(BACK_WITHIN, proxy.let_pass()).await;
        let name = foreign.name;
        back.unwrap_or_else(|_| {
            panic!("{name}: not back; the operator's log:\n{}", world.stack.operator.log())
        });
        succeeds(&world, &job).await;
        assert_eq!(generation(&world).await, before, "{name}: somebody changed the Cluster");
    }
    follow_to(&world, &cluster, &home.url, &ca).await;
    succeeds(&world, &rotation_job(&world).await).await;
}

async fn generation(world: &World) -> Option<i64> {
    let cluster: Cluster = in_charge(world).await;
    let name = cluster.metadata.name.as_deref().unwrap();
    clusters(world).get_metadata(name).await.unwrap().metadata.generation
}
