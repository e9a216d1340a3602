//! Reading referenced values to tell whether they changed: the bytes are digested and dropped. Needs a client.

use super::{
    dereference::{ValuesKind, ValuesObject},
    error::{Error, is_absent, is_denied},
    values_key::ValuesKey,
    values_revision::ValuesAddress,
};
use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Secret},
};
use kube::{Api, Client, Resource, core::request::Request};
use serde::Deserialize;
use std::collections::BTreeMap;
use vworkspace_crds::key::is_name;

/// Referenced values as they are found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Their revision; `None` where there is no content.
    pub(super) revision: Option<String>,
    /// The object or key that is missing, for people; `None` also where we may not look.
    pub(super) lacks: Option<String>,
}

/// What a read gave.
enum Content {
    Bytes(Vec<u8>),
    Missing(&'static str),
    Denied,
}

/// Looks at the values at `object`. A name that is none is refused later.
pub(super) async fn revision(
    client: &Client,
    key: &ValuesKey,
    (own_namespace, namespace): (&str, &str),
    object: Option<ValuesObject>,
) -> Result<Found, Error> {
    let Some(object) = object.filter(|object| is_name(&object.name)) else {
        return Ok(Found::default());
    };
    let content = match content(client, namespace, &object).await? {
        Content::Bytes(content) => content,
        Content::Missing(what) => return Ok(Found { revision: None, lacks: Some(lack(&object, what)) }),
        Content::Denied => return Ok(Found::default()),
    };
    let address =
        ValuesAddress { kind: object.kind.as_str(), namespace, name: &object.name, key: &object.key };
    let revision = key.get(client, own_namespace).await?.revision(&address, &content);
    Ok(Found { revision: Some(revision), lacks: None })
}

fn lack(object: &ValuesObject, what: &str) -> String {
    let ValuesObject { kind, name, key } = object;
    format!("the values are in key {key:?} of {} {name:?}, and {what}", kind.as_str())
}

/// One object as text. The parse is the caller's: [`Client::request`] logs the whole text of what it cannot parse.
pub(super) async fn text<K: Resource>(client: &Client, api: &Api<K>, name: &str) -> kube::Result<String> {
    let request = Request::new(api.resource_url()).get(name, &kube::api::GetParams::default());
    client.request_text(request.map_err(kube::Error::BuildRequest)?).await
}

async fn content(client: &Client, namespace: &str, object: &ValuesObject) -> Result<Content, Error> {
    let what = || format!("{} {}", object.kind.as_str(), object.name);
    let text = match object.kind {
        ValuesKind::Secret => {
            text(client, &Api::<Secret>::namespaced(client.clone(), namespace), &object.name).await
        }
        ValuesKind::ConfigMap => {
            text(client, &Api::<ConfigMap>::namespaced(client.clone(), namespace), &object.name).await
        }
    };
    match text {
        // The parser's own message may quote the content.
        Ok(text) => match bytes_of(object, &text) {
            Ok(Some(bytes)) => Ok(Content::Bytes(bytes)),
            Ok(None) => Ok(Content::Missing("the key is not there")),
            Err(_) => Err(Error::UnreadableValues { what: what() }),
        },
        Err(error) if is_absent(&error) => Ok(Content::Missing("the object does not exist")),
        Err(error) if is_denied(&error) => Ok(Content::Denied),
        Err(source) => Err(Error::Call { action: "read", what: what(), source }),
    }
}

/// The bytes that Flux would use.
fn bytes_of(object: &ValuesObject, text: &str) -> serde_json::Result<Option<Vec<u8>>> {
    Ok(match object.kind {
        ValuesKind::Secret => {
            let Holding { data } = serde_json::from_str::<Holding<ByteString>>(text)?;
            data.unwrap_or_default().remove(&object.key).map(|bytes| bytes.0)
        }
        ValuesKind::ConfigMap => {
            let Holding { data } = serde_json::from_str::<Holding<String>>(text)?;
            data.unwrap_or_default().remove(&object.key).map(String::into_bytes)
        }
    })
}

/// The one member that is read, whatever the rest of the object is like.
#[derive(Deserialize)]
struct Holding<V> {
    data: Option<BTreeMap<String, V>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(kind: ValuesKind) -> ValuesObject {
        ValuesObject { kind, name: "v".to_owned(), key: "values.yaml".to_owned() }
    }

    #[test]
    fn only_the_referenced_key_is_read() {
        let secret = json!({"metadata": {"annotations": {"a": "b"}}, "data": {"values.yaml": "YTogMQ==", "other": "eA=="}});
        let read = bytes_of(&object(ValuesKind::Secret), &secret.to_string()).unwrap();
        assert_eq!(read.as_deref(), Some(&b"a: 1"[..]));
        let map = json!({"data": {"values.yaml": "a: 1", "other": "x"}, "binaryData": {"b": "eA=="}});
        let read = bytes_of(&object(ValuesKind::ConfigMap), &map.to_string()).unwrap();
        assert_eq!(read.as_deref(), Some(&b"a: 1"[..]));
    }

    #[test]
    fn missing_key_has_no_content() {
        for holding in [json!({}), json!({"data": null}), json!({"data": {"other": "eA=="}})] {
            for kind in [ValuesKind::Secret, ValuesKind::ConfigMap] {
                assert_eq!(bytes_of(&object(kind), &holding.to_string()).unwrap(), None);
            }
        }
    }
}
