//! Webhooks: the service tells what has changed, to an address that the user has made reachable (contract, section 2).

use std::marker::PhantomData;

use serde_json::{Value, json};

use super::pages::Source;
use super::wire::Webhook;
use super::{Core, errors, keys};
use crate::http::{Method, Secret};
use crate::model::ItemId;
use crate::store::Result;

const SUBSCRIBE: &str = "subscribe to changes";
const UNSUBSCRIBE: &str = "unsubscribe from changes";

/// What is wanted: everything that changes what a drive shows.
const WANTED: [(&str, &str); 15] = [
    ("file", "created"),
    ("file", "processed"),
    ("file", "updated_file"),
    ("file", "name_changed"),
    ("file", "added_to_folder"),
    ("file", "removed_from_folder"),
    ("file", "deleted"),
    ("file", "recovered"),
    ("file", "keywords_updated"),
    ("file", "file_type_changed"),
    ("folder", "created"),
    ("folder", "renamed"),
    ("folder", "moved"),
    ("folder", "deleted"),
    ("folder", "recovered"),
];

/// The item that a delivery is about. The rest of it is not believed anyway.
pub(super) fn delivered(body: &[u8]) -> Option<ItemId> {
    let document: Value = serde_json::from_slice(body).ok()?;
    let event = document.get("event")?;
    let id = event.get("resource_id")?;
    let id = id.as_u64().or_else(|| id.as_str()?.parse().ok())?;
    match event.get("resource")?.as_str()? {
        "file" => Some(keys::file_id(id)),
        "folder" => Some(keys::folder_id(id)),
        _ => None,
    }
}

impl Core {
    async fn webhooks_at(&self, operation: &'static str, url: &str) -> Result<Vec<Webhook>> {
        let source: Source<Webhook> = Source {
            operation,
            item: String::new(),
            route: "GET /webhooks",
            path: "webhooks.json".to_owned(),
            query: Vec::new(),
            key: "webhooks",
            expected: None,
            entries: PhantomData,
        };
        let all = source.all(self.api.clone()).await?;
        Ok(all.into_iter().filter(|hook| hook.url == url).collect())
    }

    /// Has the service tell `url` of every change, as far as it does not yet.
    pub(super) async fn subscribe(&self, url: &str) -> Result<()> {
        let there = self.webhooks_at(SUBSCRIBE, url).await?;
        for (resource, action) in WANTED {
            if there
                .iter()
                .any(|hook| hook.resource == resource && hook.action == action)
            {
                continue;
            }
            let body = json!({"resource": resource, "action": action, "url": url, "notification_emails": []});
            let request = self.api.post("webhooks.json", "POST /webhooks").json(&body);
            // The address has the secret in it.
            self.api
                .call(SUBSCRIBE, action, request.scrub(&Secret::new(url)))
                .await?;
        }
        Ok(())
    }

    /// Takes back what was subscribed for `url`.
    pub(super) async fn unsubscribe(&self, url: &str) -> Result<()> {
        for hook in self.webhooks_at(UNSUBSCRIBE, url).await? {
            let path = format!("webhooks/{}.json", hook.id);
            let request = self.api.request(Method::DELETE, &path, "DELETE /webhooks/{id}");
            match self.api.call(UNSUBSCRIBE, &hook.action, request).await {
                Err(e) if !e.is_not_found() && !errors::is_unknown_route(&e) => return Err(e),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_names_its_item_and_nonsense_none() {
        let file = br#"{"event":{"resource":"file","action":"deleted","resource_id":7},"data":{}}"#;
        assert_eq!(delivered(file), Some(keys::file_id(7)));
        let folder = br#"{"event":{"resource":"folder","action":"moved","resource_id":"8"}}"#;
        assert_eq!(delivered(folder), Some(keys::folder_id(8)));
        for bad in [
            &b"{}"[..],
            b"",
            b"[1]",
            br#"{"event":{"resource":"user","resource_id":1}}"#,
        ] {
            assert_eq!(delivered(bad), None);
        }
    }
}
