//! Columns that `kubectl get` shows.

#[tokio::test]
async fn kubectl_shows_the_columns_of_the_contract() {
    let testbed = vworkspace_testbed::shared().await.unwrap();
    let namespace = testbed.namespace("columns").await;
    let objects = format!(
        r"
apiVersion: apps.vworkspace.io/v1alpha1
kind: ApplicationInstance
metadata: {{ name: hello, namespace: {namespace} }}
spec:
  appRef: {{ catalogId: hello }}
  chart: {{ sourceType: helm, url: https://charts.example, name: hello, version: 1.0.0 }}
  release: {{ name: hello, namespace: {namespace} }}
---
apiVersion: ops.vworkspace.io/v1alpha1
kind: Operation
metadata: {{ name: backup, namespace: {namespace} }}
spec:
  type: Backup
  engine: velero
  targetRef: {{ apiVersion: apps.vworkspace.io/v1alpha1, kind: ApplicationInstance, name: hello }}
---
apiVersion: ops.vworkspace.io/v1alpha1
kind: Cluster
metadata: {{ name: {namespace} }}
spec: {{}}
"
    );
    vworkspace_testbed::cluster::apply_documents(&testbed.admin(), &objects).await.unwrap();

    // Short names are part of the contract too.
    for (resource, columns, shown) in [
        ("appinst", "NAME READY CHART VERSION AGE", "hello hello 1.0.0"),
        ("op", "NAME PHASE TYPE ENGINE AGE", "backup Backup velero"),
        ("clusters.ops.vworkspace.io", "NAME PHASE CONNECTED AGE", namespace.as_str()),
    ] {
        let printed = testbed.kubectl(&["get", resource, "--namespace", &namespace]).await.unwrap();
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut lines = printed.lines().map(words);
        assert_eq!(lines.next().as_deref(), Some(columns), "{printed}");
        assert!(lines.any(|line| line.starts_with(shown)), "{printed}");
    }
    // It belongs to no namespace, and an operator in another test might take it for its own.
    testbed.kubectl(&["delete", "clusters.ops.vworkspace.io", &namespace]).await.unwrap();
}
