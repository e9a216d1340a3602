//! Objects that the API server takes and this program cannot read.

use crate::world::{World, test};
use anyhow::ensure;
use kube::{Api, ResourceExt as _, api::ListParams};
use serde_json::{Value, json};
use vworkspace_crds::ApplicationInstance;
use vworkspace_operator::guarded::Guarded;

/// One call whose answer is not read.
async fn call(world: &World, method: &str, uri: String, body: &Value) -> anyhow::Result<()> {
    let content = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    let request = http::Request::builder().method(method).uri(uri).header("Content-Type", content);
    world.admin.request_text(request.body(body.to_string().into_bytes())?).await?;
    Ok(())
}

#[test]
fn what_the_api_server_takes_and_nobody_here_can_read_is_in_no_others_way() -> anyhow::Result<()> {
    test(|world| async {
        let namespace = world.gated("unreadable").await?;
        let all = format!("/apis/apps.vworkspace.io/v1alpha1/namespaces/{namespace}/applicationinstances");
        let one = |name: &str| format!("{all}/{name}");
        let mut instance = world.helm(&namespace, "hello", "1.0.0");
        world.create(&namespace, instance.clone()).await?;
        let deep = (0..200).fold(json!({}), |inner, _| json!({ "a": inner }));
        instance["metadata"]["name"] = json!("deep");
        instance["spec"]["values"] = json!({"source": "inline", "inline": deep});
        call(world, "POST", all.clone(), &instance).await?;
        instance["metadata"]["name"] = json!("late");
        instance["spec"]["values"] = Value::Null;
        call(world, "POST", all.clone(), &instance).await?;
        let fields = json!({"f:spec": {"f:mode": {}}});
        let late = json!({"metadata": {"managedFields": [{
            "manager": "m", "operation": "Update", "apiVersion": "apps.vworkspace.io/v1alpha1",
            "time": "9999-12-31T23:59:59Z", "fieldsType": "FieldsV1", "fieldsV1": fields,
        }]}});
        call(world, "PATCH", one("late"), &late).await?;
        let operator = world.testbed.operator().await?;
        let list = Api::<Guarded<ApplicationInstance>>::namespaced(operator, &namespace);
        let list = list.list(&ListParams::default()).await?;
        let read = list.items.iter().map(|instance| (instance.name_any(), instance.0.is_ok()));
        let read: Vec<_> = read.collect();
        for name in ["deep", "late"] {
            call(world, "DELETE", one(name), &json!({})).await?;
        }
        let expected = [("deep", false), ("late", false), ("shop", true)];
        ensure!(read == expected.map(|(name, is_ok)| (name.to_owned(), is_ok)), "{read:?}");
        Ok(())
    })
}
