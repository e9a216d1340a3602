//! Objects as JSON, changed one member at a time.

use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams},
};
use serde_json::{Map, Value, json};

/// `spec` of a kind of ours, in `namespace` unless the kind has none.
pub struct Specs {
    api: Api<DynamicObject>,
    resource: ApiResource,
}

impl Specs {
    /// Of a namespaced kind.
    pub fn namespaced(client: Client, group: &str, kind: &str, namespace: &str) -> Self {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1alpha1", kind));
        Self { api: Api::namespaced_with(client, namespace, &resource), resource }
    }

    /// Of a cluster-wide kind.
    pub fn cluster_wide(client: Client, group: &str, kind: &str) -> Self {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1alpha1", kind));
        Self { api: Api::all_with(client, &resource), resource }
    }

    /// Whether the API server would take it, or the message it refuses it with.
    pub async fn verdict(&self, spec: &Value) -> Result<DynamicObject, String> {
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        self.api.create(&dry, &self.object("tried", spec)).await.map_err(message)
    }

    /// Makes it for real.
    pub async fn make(&self, name: &str, spec: &Value) {
        self.api.create(&PostParams::default(), &self.object(name, spec)).await.unwrap();
    }

    /// Whether the API server would take a merge patch of the spec of `name`.
    pub async fn verdict_on_change(&self, name: &str, change: &Value) -> Result<DynamicObject, String> {
        let dry = PatchParams { dry_run: true, ..PatchParams::default() };
        self.api.patch(name, &dry, &Patch::Merge(json!({ "spec": change }))).await.map_err(message)
    }

    fn object(&self, name: &str, spec: &Value) -> DynamicObject {
        DynamicObject::new(name, &self.resource).data(json!({ "spec": spec }))
    }
}

fn message(error: kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message,
        other => panic!("not the API server's answer: {other}"),
    }
}

/// `base` with a JSON merge patch applied: `null` removes.
pub fn with(base: &Value, change: &Value) -> Value {
    let Value::Object(change) = change else { return change.clone() };
    let mut merged: Map<String, Value> = base.as_object().cloned().unwrap_or_default();
    for (key, value) in change {
        if value.is_null() {
            merged.remove(key);
        } else {
            let old = merged.get(key).cloned().unwrap_or_default();
            merged.insert(key.clone(), with(&old, value));
        }
    }
    Value::Object(merged)
}

/// Fails with `case` unless the verdict is as expected: `None` is taken, `Some` refused with a message that has it.
pub fn expect(case: &str, verdict: Result<DynamicObject, String>, refusal: Option<&str>) {
    match (verdict, refusal) {
        (Ok(_), None) => (),
        (Err(message), Some(part)) => {
            assert!(message.contains(part), "{case}: refused for another reason: {message}");
        }
        (Ok(_), Some(part)) => panic!("{case}: taken, should be refused: {part}"),
        (Err(message), None) => panic!("{case}: refused: {message}"),
    }
}
