use super::*;
use kube::client::Body;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use tower::BoxError;

const NOW: Duration = Duration::ZERO;
const LATER: Duration = Duration::from_secs(600);

/// An API server that gives these answers to access reviews in turn, the last one again and again, and knows who we are.
fn api_server(answers: Vec<(u16, Value)>) -> (Client, Arc<AtomicUsize>) {
    let asked = Arc::<AtomicUsize>::default();
    let count = asked.clone();
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let (answers, count) = (answers.clone(), count.clone());
        async move {
            let user = json!({"status": {"userInfo": {"username": "system:serviceaccount:ops:pull"}}});
            let (status, body) = if request.uri().path().ends_with("/selfsubjectreviews") {
                (201, user)
            } else {
                let number = count.fetch_add(1, Ordering::SeqCst);
                answers[number.min(answers.len() - 1)].clone()
            };
            let response = http::Response::builder().status(status);
            Ok::<_, BoxError>(response.body(Body::from(body.to_string().into_bytes()))?)
        }
    });
    (Client::new(service, "n"), asked)
}

fn review(allowed: bool) -> (u16, Value) {
    (201, json!({"spec": {}, "status": {"allowed": allowed}}))
}

#[tokio::test]
async fn fresh_answer_is_used_again_and_an_old_one_is_not() {
    let (client, asked) = api_server(vec![review(false), review(true)]);
    let access = NamespaceAccess::new(client);
    assert_eq!(access.standing("team"), Standing::Unknown);
    for _ in 0..3 {
        assert_eq!(access.ask("team", LATER).await.unwrap(), Standing::Refused);
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert_eq!(access.ask("team", NOW).await.unwrap(), Standing::Granted);
    assert_eq!((access.standing("team"), asked.load(Ordering::SeqCst)), (Standing::Granted, 2));
}

#[tokio::test]
async fn concurrent_askers_share_one_review() {
    let (client, asked) = api_server(vec![review(false)]);
    let access = NamespaceAccess::new(client);
    let all = futures::future::join_all((0..16).map(|_| access.ask("team", LATER))).await;
    assert!(all.into_iter().all(|standing| standing.unwrap() == Standing::Refused));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn refusals_are_published_and_taken_back() {
    let (client, _) = api_server(vec![review(false), review(true), review(false)]);
    let access = NamespaceAccess::new(client);
    let mut refused = access.refused();
    let mut published = |access: &NamespaceAccess| {
        let is_news = refused.has_changed().unwrap();
        (is_news, refused.borrow_and_update().keys().cloned().collect::<Vec<_>>(), access.standing("team"))
    };
    access.ask("team", NOW).await.unwrap();
    assert_eq!(published(&access), (true, vec!["team".to_owned()], Standing::Refused));
    access.ask("team", NOW).await.unwrap();
    assert_eq!(published(&access), (true, vec![], Standing::Granted));
    access.ask("team", NOW).await.unwrap();
    assert_eq!(published(&access).1, ["team"]);
    access.keep_only(&BTreeSet::new());
    assert_eq!(published(&access), (true, vec![], Standing::Unknown));
}

#[tokio::test]
async fn failed_review_says_nothing_about_the_namespace() {
    let refusal = |code: u16| (code, json!({"kind": "Status", "code": code, "reason": "r", "message": "m"}));
    for (code, is_none) in [(403, true), (404, true), (429, false), (500, false), (503, false)] {
        let access = NamespaceAccess::new(api_server(vec![refusal(code)]).0);
        let error = access.ask("team", NOW).await.unwrap_err();
        assert_eq!((is_no_answer(&error), access.standing("team")), (is_none, Standing::Unknown), "{code}");
    }
}

#[tokio::test]
async fn remedy_names_the_binding_the_account_and_the_command() {
    let with_detail =
        json!({"spec": {}, "status": {"allowed": false, "evaluationError": "clusterrole not found"}});
    let access = NamespaceAccess::new(api_server(vec![(201, with_detail), review(false)]).0);
    access.ask("team", NOW).await.unwrap();
    let first = access.remedy("team").await;
    let command = "kubectl create rolebinding vworkspace-operator --namespace team \
                   --clusterrole vworkspace-operator-namespace --serviceaccount ops:pull";
    assert!(first.contains(command) && first.ends_with("adds: clusterrole not found"), "{first}");
    access.ask("team", NOW).await.unwrap();
    assert_eq!(access.remedy("team").await, first, "the words stay while nothing changes");
}

#[test]
fn account_that_is_no_service_account_is_bound_as_a_user() {
    assert_eq!(Subject::of_user("jane".to_owned()).flag(), "--user 'jane'");
    assert_eq!(Subject::shipped().flag(), "--serviceaccount vworkspace-system:vworkspace-operator");
}
