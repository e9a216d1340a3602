//! Every route of the OpenAPI document, asked by everybody who must not get an answer.

use crate::support::{Agent, Answer, Client, Tenant, TestServer, manifest};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What a route needs to be asked well, apart from the bearer.
enum Route {
    /// Needs no bearer.
    Public,
    /// For people; `query` and `body` are good ones.
    Person { query: &'static str, body: fn(&Owned) -> Option<Value>, stranger: Stranger },
    /// Exchanges a registration token; any other bearer is unknown there.
    Registration,
    /// For agents.
    Agent { query: fn(&Owned) -> String, body: fn(&Owned) -> Option<Value>, stranger: Stranger },
}

/// How the route answers a good bearer of somebody else.
enum Stranger {
    /// 404, equal to what does not exist.
    NotFound,
    /// 403 with this code, equal for what does not exist.
    Forbidden(&'static str),
    /// A good answer that holds nothing of the owner.
    OwnView,
    /// The caller, and nobody else, is nobody afterwards.
    Leaves,
}

/// What the owner has; the ids fill the paths.
struct Owned {
    organization: String,
    cluster: String,
    job: String,
    /// Ids of tokens, each with the part of a path that it belongs to.
    tokens: [(&'static str, String); 3],
}

impl Owned {
    /// The id of the token that `path` names.
    fn token(&self, path: &str) -> &str {
        let is_of = |(kind, _): &&(&str, String)| path.contains(kind);
        self.tokens.iter().find(is_of).map_or("", |(_, id)| id)
    }
}

fn person(stranger: Stranger) -> Route {
    Route::Person { query: "", body: |_| None, stranger }
}

fn person_with(stranger: Stranger, body: fn(&Owned) -> Option<Value>) -> Route {
    Route::Person { query: "", body, stranger }
}

fn agent(stranger: Stranger, body: fn(&Owned) -> Option<Value>) -> Route {
    Route::Agent { query: |_| String::new(), body, stranger }
}

type Routes = BTreeMap<(&'static str, &'static str), Route>;

/// One entry for each operation of the document: one that is missing here fails the walk.
fn routes() -> Routes {
    [routes_of_everybody(), routes_of_clusters(), routes_of_agents()].into_iter().flatten().collect()
}

fn routes_of_everybody() -> Routes {
    use Stranger::{Forbidden, NotFound, OwnView};
    BTreeMap::from([
        (("get", "/livez"), Route::Public),
        (("get", "/readyz"), Route::Public),
        (("get", "/api/v1/openapi.json"), Route::Public),
        (("get", "/api/v1/whoami"), person(OwnView)),
        (("get", "/api/v1/organizations"), person(OwnView)),
        (
            ("post", "/api/v1/organizations"),
            person_with(Forbidden("forbidden"), |_| Some(json!({ "name": "new" }))),
        ),
        (("get", "/api/v1/organizations/{organizationId}"), person(NotFound)),
        (("post", "/api/v1/organizations/{organizationId}/archive"), person(NotFound)),
        (("get", "/api/v1/api-tokens"), person(Forbidden("forbidden"))),
        (
            ("post", "/api/v1/api-tokens"),
            person_with(Forbidden("forbidden"), |_| Some(json!({ "description": "more" }))),
        ),
        (
            ("delete", "/api/v1/api-tokens/{tokenId}"),
            Route::Person { query: "?force=true", body: |_| None, stranger: Forbidden("forbidden") },
        ),
        (("get", "/api/v1/organizations/{organizationId}/api-tokens"), person(NotFound)),
        (
            ("post", "/api/v1/organizations/{organizationId}/api-tokens"),
            person_with(NotFound, |_| Some(json!({ "description": "more" }))),
        ),
        (
            ("delete", "/api/v1/organizations/{organizationId}/api-tokens/{tokenId}"),
            Route::Person { query: "?force=true", body: |_| None, stranger: NotFound },
        ),
    ])
}

fn routes_of_clusters() -> Routes {
    use Stranger::{NotFound, OwnView};
    BTreeMap::from([
        (("get", "/api/v1/clusters"), person(OwnView)),
        (
            ("post", "/api/v1/clusters"),
            person_with(NotFound, |owned| {
                Some(json!({ "name": "new", "organizationId": owned.organization }))
            }),
        ),
        (("get", "/api/v1/clusters/{clusterId}"), person(NotFound)),
        (("post", "/api/v1/clusters/{clusterId}/revoke"), person(NotFound)),
        (("post", "/api/v1/clusters/{clusterId}/archive"), person(NotFound)),
        (("get", "/api/v1/clusters/{clusterId}/registration-tokens"), person(NotFound)),
        (
            ("post", "/api/v1/clusters/{clusterId}/registration-tokens"),
            person_with(NotFound, |_| Some(json!({}))),
        ),
        (("delete", "/api/v1/clusters/{clusterId}/registration-tokens/{tokenId}"), person(NotFound)),
        (("get", "/api/v1/clusters/{clusterId}/jobs"), person(NotFound)),
        (("post", "/api/v1/clusters/{clusterId}/jobs"), person_with(NotFound, |_| Some(manifest("web", 9)))),
        (
            ("get", "/api/v1/jobs/{jobId}"),
            Route::Person { query: "?after=99&wait=60", body: |_| None, stranger: NotFound },
        ),
        (("get", "/api/v1/jobs/{jobId}/explain"), person(NotFound)),
        (("get", "/api/v1/jobs/{jobId}/payload"), person(NotFound)),
        (("post", "/api/v1/jobs/{jobId}/cancel"), person(NotFound)),
        (("post", "/api/v1/jobs/{jobId}/release"), person(NotFound)),
        (("post", "/api/v1/clusters/{clusterId}/release-jobs"), person(NotFound)),
        (("post", "/api/v1/organizations/{organizationId}/release-jobs"), person(NotFound)),
        (("get", "/api/v1/clusters/{clusterId}/unknown-results"), person(NotFound)),
        (
            ("post", "/api/v1/clusters/{clusterId}/keep-session"),
            person_with(NotFound, |_| Some(json!({ "session": "s" }))),
        ),
        (("get", "/api/v1/clusters/{clusterId}/resources"), person(NotFound)),
        (("get", "/api/v1/clusters/{clusterId}/events"), person(NotFound)),
    ])
}

fn routes_of_agents() -> Routes {
    use Stranger::{Forbidden, Leaves, NotFound, OwnView};
    BTreeMap::from([
        (("post", "/api/agent/register"), Route::Registration),
        (
            ("get", "/api/agent/jobs"),
            Route::Agent {
                query: |owned| format!("?wait=60&cluster={}", owned.cluster),
                body: |_| None,
                stranger: Forbidden("wrong_cluster"),
            },
        ),
        (("post", "/api/agent/jobs/{jobId}/ack"), agent(NotFound, |_| None)),
        (
            ("post", "/api/agent/jobs/{jobId}/status"),
            agent(NotFound, |_| Some(json!({ "phase": "Reconciling" }))),
        ),
        (
            ("post", "/api/agent/jobs/{jobId}/result"),
            agent(NotFound, |_| Some(json!({ "outcome": "failed" }))),
        ),
        (("post", "/api/agent/events"), agent(OwnView, |_| Some(json!({ "events": [] })))),
        (("post", "/api/agent/credentials/rotate"), agent(OwnView, |_| Some(json!({})))),
        (("post", "/api/agent/cluster/decommission"), agent(Leaves, |_| Some(json!({})))),
    ])
}

/// Two organizations that know nothing of each other.
struct World {
    server: TestServer,
    owner: Tenant,
    owners_agent: Agent,
    owned: Owned,
    stranger: Tenant,
    strange_agent: Agent,
}

impl World {
    async fn new() -> Self {
        let server = TestServer::start().await;
        let (owner, owners_agent) = server.tenant_and_agent().await;
        let job = owner.enqueue(&owners_agent.cluster, manifest("web", 1)).await;
        owners_agent.poll(0).await;
        let tokens = tokens(&server, &owner, &owners_agent.cluster).await;
        let owned =
            Owned { organization: owner.id.clone(), cluster: owners_agent.cluster.clone(), job, tokens };
        let stranger = server.organization("org-b").await;
        let strange_agent = server.agent(&stranger, "cluster-b").await;
        Self { server, owner, owners_agent, owned, stranger, strange_agent }
    }

    /// Ids of things that never existed, of the same shape as real ones.
    fn nothing() -> Owned {
        let id = || "0190a0a0-0000-7000-8000-000000000000".to_owned();
        let tokens = TOKENS.map(|kind| (kind, "00112233445566ff".to_owned()));
        Owned { organization: id(), cluster: id(), job: id(), tokens }
    }
}

/// What stands in the path before the id of a token, the longest first.
const TOKENS: [&str; 3] = ["/registration-tokens", "{organizationId}/api-tokens", "/v1/api-tokens"];

/// One token of each kind, by its path.
async fn tokens(server: &TestServer, owner: &Tenant, cluster: &str) -> [(&'static str, String); 3] {
    let registration = format!("/api/v1/clusters/{cluster}/registration-tokens");
    let of_owner = format!("/api/v1/organizations/{}/api-tokens", owner.id);
    let made = [
        owner.client.post(&registration, json!({})).await.expect(201),
        owner.client.post(&of_owner, json!({ "description": "walk" })).await.expect(201),
        server.admin.post("/api/v1/api-tokens", json!({ "description": "walk" })).await.expect(201),
    ];
    let ids = made.map(|made| made["id"].as_str().unwrap().to_owned());
    let mut kinds = TOKENS.into_iter();
    ids.map(|id| (kinds.next().unwrap(), id))
}

async fn ask(client: &Client, method: &str, path: &str, route: &Route, owned: &Owned) -> Answer {
    let path = path
        .replace("{tokenId}", owned.token(path))
        .replace("{organizationId}", &owned.organization)
        .replace("{clusterId}", &owned.cluster)
        .replace("{jobId}", &owned.job);
    let (query, body) = match route {
        Route::Public => (String::new(), None),
        Route::Registration => (String::new(), Some(json!({}))),
        Route::Person { query, body, .. } => ((*query).to_owned(), body(owned)),
        Route::Agent { query, body, .. } => (query(owned), body(owned)),
    };
    let method: Method = method.to_uppercase().parse().unwrap();
    client.send(method, &format!("{path}{query}"), body.map(|body| body.to_string())).await
}

fn document_operations(document: &Value) -> Vec<(String, String)> {
    let paths = document["paths"].as_object().unwrap();
    let of = |(path, item): (&String, &Value)| -> Vec<_> {
        item.as_object().unwrap().keys().map(|method| (method.clone(), path.clone())).collect()
    };
    paths.iter().flat_map(of).collect()
}

#[tokio::test]
async fn no_route_answers_a_stranger() {
    let world = World::new().await;
    let document = world.server.client(None).get("/api/v1/openapi.json").await.expect(200);
    let mut routes: BTreeMap<String, Route> =
        routes().into_iter().map(|((method, path), route)| (format!("{method} {path}"), route)).collect();
    for (method, path) in document_operations(&document) {
        let name = format!("{method} {path}");
        let route = routes.remove(&name).unwrap_or_else(|| panic!("{name} is not covered by the walk"));
        println!("{name}");
        walk(&world, &method, &path, &route).await;
    }
    assert!(routes.is_empty(), "not in the document: {:?}", routes.keys());
    untouched(&world).await;
}

async fn walk(world: &World, method: &str, path: &str, route: &Route) {
    let asked_by = async |client: &Client| ask(client, method, path, route, &world.owned).await;
    let anonymous = world.server.client(None);
    if matches!(route, Route::Public) {
        assert_eq!(asked_by(&anonymous).await.status, 200);
        return;
    }
    let refused = asked_by(&anonymous).await.refused(401, "unauthenticated");
    assert_eq!(refused.headers["www-authenticate"], "Bearer");

    let mut unknown = ["vwksp-adm-0000", "vwksp-agt-0000", "nonsense"]
        .map(|bearer| world.server.client(Some(bearer)))
        .to_vec();
    let people = [&world.owner.client, &world.stranger.client, &world.server.admin];
    let agents = [&world.owners_agent.client, &world.strange_agent.client];
    match route {
        Route::Public => {}
        Route::Registration => unknown.extend(people.into_iter().chain(agents).cloned()),
        Route::Person { stranger, .. } => {
            all_equal(&asked_by, &agents, 403, "forbidden").await;
            meet_stranger(world, &world.stranger.client, stranger, (method, path, route)).await;
        }
        Route::Agent { stranger, .. } => {
            all_equal(&asked_by, &people, 403, "forbidden").await;
            meet_stranger(world, &world.strange_agent.client, stranger, (method, path, route)).await;
        }
    }
    all_equal(&asked_by, &unknown.iter().collect::<Vec<_>>(), 401, "unauthenticated").await;
}

/// All these bearers get one and the same refusal.
async fn all_equal(asked_by: &impl AsyncFn(&Client) -> Answer, bearers: &[&Client], status: u16, code: &str) {
    let mut texts = Vec::new();
    for bearer in bearers {
        texts.push(asked_by(bearer).await.refused(status, code).without_request_id());
    }
    texts.dedup();
    assert_eq!(texts.len(), 1, "{texts:?}");
}

async fn meet_stranger(
    world: &World,
    stranger: &Client,
    expected: &Stranger,
    (method, path, route): (&str, &str, &Route),
) {
    if let Stranger::Leaves = expected {
        let leaver = world.server.agent(&world.stranger, "leaver").await.client;
        assert_eq!(ask(&leaver, method, path, route, &world.owned).await.status, 204);
        ask(&leaver, method, path, route, &world.owned).await.refused(401, "unauthenticated");
        return;
    }
    let answer = ask(stranger, method, path, route, &world.owned).await;
    let nothing = ask(stranger, method, path, route, &World::nothing()).await;
    match expected {
        Stranger::NotFound => {
            assert_eq!(answer.without_request_id(), nothing.without_request_id(), "{method} {path}");
            answer.refused(404, "not_found");
        }
        Stranger::Forbidden(code) => {
            assert_eq!(answer.without_request_id(), nothing.without_request_id(), "{method} {path}");
            answer.refused(403, code);
        }
        Stranger::Leaves => {}
        Stranger::OwnView => {
            assert!(answer.status.is_success(), "{method} {path}: {}", answer.text);
            for id in [&world.owned.organization, &world.owned.cluster, &world.owned.job] {
                assert!(!answer.text.contains(id.as_str()), "{method} {path} shows {id}");
            }
        }
    }
}

/// After the walk the owner finds everything as it was.
async fn untouched(world: &World) {
    let job = world.owner.job(&world.owned.job).await;
    assert_eq!(job["state"], "leased");
    assert_eq!(job["timeline"].as_array().unwrap().len(), 2);
    assert_eq!(world.owners_agent.ack(&world.owned.job).await.status, 204);
    let of_owner = format!("/api/v1/organizations/{}/api-tokens", world.owned.organization);
    let registration = format!("/api/v1/clusters/{}/registration-tokens", world.owned.cluster);
    for (path, count) in [("/api/v1/clusters", 1), (&of_owner, 2), (&registration, 1)] {
        let found = world.owner.client.get(path).await.expect(200);
        assert_eq!(found["items"].as_array().unwrap().len(), count, "{path}");
    }
    let admins = world.server.admin.get("/api/v1/api-tokens").await.expect(200);
    assert_eq!(admins["items"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn an_admin_sees_every_organization_and_a_tenant_its_own() {
    let world = World::new().await;
    let count = |page: Value| page["items"].as_array().unwrap().len();
    for path in ["/api/v1/organizations", "/api/v1/clusters"] {
        assert_eq!(count(world.server.admin.get(path).await.expect(200)), 2, "{path}");
        assert_eq!(count(world.stranger.client.get(path).await.expect(200)), 1, "{path}");
    }
    let of_stranger = format!("/api/v1/clusters?organization={}", world.stranger.id);
    assert_eq!(count(world.server.admin.get(&of_stranger).await.expect(200)), 1);
    world.owner.client.get(&of_stranger).await.refused(404, "not_found");
    let whoami = world.owner.client.get("/api/v1/whoami").await.expect(200);
    assert_eq!(
        (&whoami["role"], &whoami["organizationId"]),
        (&json!("organization"), &json!(world.owner.id))
    );
}
