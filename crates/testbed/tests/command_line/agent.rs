//! The agent of the one cluster: it ends two jobs of three well and the third not, each after a moment.

use crate::gateway::roll;
use std::{fs, sync::Arc, time::Duration};
use tokio::task::JoinHandle;
use vworkspace_protocol::{
    Job, Outcome, Secret, credential::RegisterRequest, id::SessionId, outcome::JobResult,
};
use vworkspace_testbed::stack::Server;
use vworkspace_transport::{
    AgentLink as _,
    http::client::{HttpLink, LinkSettings},
};

/// How long it waits for jobs.
const WAIT: Duration = Duration::from_secs(5);
/// Rest after a call that failed.
const REST: Duration = Duration::from_millis(300);

/// A running one; ends with this value.
pub struct Agent {
    serving: JoinHandle<()>,
}

impl Agent {
    /// Registers by this token, and serves from then on.
    pub async fn start(server: &Server, token: Secret) -> Self {
        let (url, ca) = (server.url.clone(), fs::read(&server.ca).unwrap());
        let link = move |bearer| {
            HttpLink::new(&LinkSettings {
                base_url: url.clone(),
                ca_pem: Some(ca.clone()),
                bearer,
                session: SessionId::new("5c1a4f0e-0000-4000-8000-000000000001"),
                user_agent: "command-line-tests".to_owned(),
                allow_insecure_http: false,
                witness: Arc::default(),
                capabilities: vworkspace_protocol::headers::AGENT_CAPABILITIES.to_owned(),
            })
            .unwrap()
        };
        let request = RegisterRequest {
            registration_token: token,
            cluster_id: None,
            display_name: String::new(),
            registration_id: String::new(),
        };
        let registered = link(None).register(&request).await.unwrap();
        let link = Arc::new(link(Some(registered.token)));
        let serving = tokio::spawn(async move {
            loop {
                match link.jobs(&registered.cluster_id, WAIT).await {
                    Ok(jobs) => jobs.into_iter().for_each(|job| drop(tokio::spawn(serve(link.clone(), job)))),
                    Err(_) => tokio::time::sleep(REST).await,
                }
            }
        });
        Self { serving }
    }

    /// It asks for jobs no more.
    pub fn stop(&self) {
        self.serving.abort();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(link: Arc<HttpLink>, job: Job) {
    while link.ack(&job.id).await.is_err() {
        tokio::time::sleep(REST).await;
    }
    tokio::time::sleep(Duration::from_millis(roll(3_000))).await;
    let result = if roll(3) == 0 {
        JobResult { error: "no such chart".to_owned(), ..Outcome::Failed.into() }
    } else {
        Outcome::Succeeded.into()
    };
    while link.result(&job.id, &result).await.is_err() {
        tokio::time::sleep(REST).await;
    }
}
