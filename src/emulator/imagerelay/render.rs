//! Records as the JSON that the service sends.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::content::Content;
use super::library::Library;
use super::records::{Collection, File, FileType, Folder, Job, Keyword, KeywordSet, Link, Webhook};
use super::state::{ROOT, State, USER, from_millis};

/// What is escaped in a URL's last segment.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// `2026-05-02T10:01:00.000Z`.
pub(super) fn time(ms: i64) -> String {
    let whole = from_millis(ms - ms.rem_euclid(1000)).to_rfc3339();
    format!("{}.{:03}Z", whole.trim_end_matches('Z'), ms.rem_euclid(1000))
}

/// The media type by the name's extension.
pub(super) fn content_type(name: &str) -> String {
    mime_guess::from_path(name).first_or_octet_stream().to_string()
}

impl State {
    /// A folder; the counts are those of `library`.
    pub(super) fn folder_json(&self, folder: &Folder, library: &Library) -> Value {
        json!({
            "id": folder.id,
            "name": &*folder.name,
            "parent_id": folder.parent,
            "full_catalog_path": library.path(folder.id),
            "user_id": if folder.id == ROOT { 0 } else { USER },
            "metagroup_id": folder.metagroup,
            "asset_count": library.files_in(folder.id).len(),
            "child_count": library.folders_in(folder.id).len(),
            "created_on": time(folder.created_ms),
            "updated_on": time(folder.updated_ms),
        })
    }

    /// A folder as its creation answers it: without counts.
    pub(super) fn new_folder_json(&self, folder: &Folder) -> Value {
        json!({
            "id": folder.id,
            "name": &*folder.name,
            "user_id": USER,
            "created_on": time(folder.created_ms),
            "updated_on": time(folder.updated_ms),
            "parent_id": folder.parent,
            "metagroup_id": folder.metagroup,
            "folder_asset_id": null,
            "all_names": null,
            "all_ids": null,
            "external_id": null,
            "deleted_timestamp": 0,
        })
    }

    /// A file.
    pub(super) fn file_json(&self, file: &File, origin: &str) -> Value {
        let extra = file.extra.as_deref();
        let deleted = extra.and_then(|extra| extra.deleted_ms);
        let expires_on = extra.and_then(|extra| extra.expires_on.as_deref());
        let mut value = json!({
            "id": file.id,
            "filename": &*file.name,
            "created_at": time(file.created_ms),
            "updated_on": time(file.updated_ms),
            "size": file.content.bytes(),
            "width": file.size_px.map(|(width, _)| width),
            "height": file.size_px.map(|(_, height)| height),
            "content_type": content_type(&file.name),
            "user_id": USER,
            "deleted": deleted.map(|_| true),
            "deletion_date": deleted.map(time),
            "delete_user_id": deleted.map(|_| USER),
            "expires_on": expires_on,
            "expiring_user_id": expires_on.map(|_| USER),
            "file_type_id": file.file_type,
            "short_lived_thumbnail": self.thumbnail_url(file, origin),
            "terms": self.terms_json(file),
            "tags": self.tags_json(file, "value"),
        });
        if !self.quirks.folder_ids_missing {
            value["folder_ids"] = json!(file.folders);
        }
        value
    }

    fn thumbnail_url(&self, file: &File, origin: &str) -> String {
        if matches!(file.content, Content::Awaited) {
            return "/static/processing.png".into();
        }
        // The service signs these for a day; here the signature only has the form.
        let expires = self.clock.now().secs + 86_400;
        format!("{origin}/t/{}.jpg?Expires={expires}&Signature=x", file.id)
    }

    /// Every term of the file's type, with its value.
    pub(super) fn terms_json(&self, file: &File) -> Vec<Value> {
        let empty = if self.quirks.blank_terms { " " } else { "" };
        let Some(file_type) = self.file_types.iter().find(|kind| kind.id == file.file_type) else {
            return Vec::new();
        };
        let values = file.extra.as_ref().map(|extra| &extra.terms);
        file_type
            .terms
            .iter()
            .map(|term| {
                let value = values
                    .and_then(|values| values.get(&term.id))
                    .map_or(empty, String::as_str);
                json!({"term_id": term.id, "value": value})
            })
            .collect()
    }

    /// The file's tags; the answer to a URL upload calls the value `tag_value`.
    pub(super) fn tags_json(&self, file: &File, field: &str) -> Vec<Value> {
        let Some(extra) = &file.extra else { return Vec::new() };
        extra
            .tags
            .iter()
            .filter_map(|tag| self.keywords.get(tag))
            .map(|keyword| json!({"tag_id": keyword.id, field: keyword.name}))
            .collect()
    }

    /// What a webhook says about a file.
    pub(super) fn file_event(&self, file: &File, action: &str, recipient: Option<u64>) -> Value {
        let mut event = json!({"resource": "file", "action": action, "resource_id": file.id, "actor_id": USER});
        if let Some(recipient) = recipient {
            event["recipient_id"] = json!(recipient);
        }
        json!({
            "event": event,
            "data": {
                "id": file.id,
                "name": &*file.name,
                "content_type": content_type(&file.name),
                "size": file.content.bytes(),
                "updated_on": from_millis(file.updated_ms).to_rfc3339(),
                "deleted": action == "deleted",
                "file_type_id": file.file_type,
                "terms": self.terms_json(file),
                "folder_ids": file.folders,
            },
        })
    }

    /// What a webhook says about a folder.
    pub(super) fn folder_event(&self, folder: &Folder, action: &str) -> Value {
        json!({
            "event": {"resource": "folder", "action": action, "resource_id": folder.id, "actor_id": USER},
            "data": {
                "id": folder.id,
                "name": &*folder.name,
                "parent_id": folder.parent,
                "full_path": self.library.path(folder.id),
                "child_count": self.library.folders_in(folder.id).len(),
                "file_count": self.library.files_in(folder.id).len(),
                "updated_on": from_millis(folder.updated_ms).to_rfc3339(),
            },
        })
    }

    /// A quick link.
    pub(super) fn link_json(&self, link: &Link, origin: &str) -> Value {
        let name = utf8_percent_encode(&link.name, ESCAPED);
        let processing = self
            .library
            .file(link.asset)
            .is_some_and(|file| matches!(file.content, Content::Awaited));
        json!({
            "id": link.id,
            "uid": link.uid,
            "purpose": link.purpose,
            "created_at": time(link.created_ms),
            "processing": processing,
            "asset_id": link.asset,
            "user_id": USER,
            "url": format!("{origin}/cdn/4242/ql/{}/{name}", link.uid),
        })
    }
}

/// An upload job that is under way or done.
pub(super) fn job_json(job: &Job) -> Value {
    let Some(asset) = job.asset() else {
        return json!({"id": job.id, "finished": null, "asset_id": null});
    };
    json!({
        "id": job.id,
        "user_id": USER,
        "metagroup_id": job.file_type,
        "catalog_id": job.folder,
        "prefix": "/",
        "finished": true,
        "created_at": time(job.created_ms),
        "updated_at": time(job.updated_ms),
        "retries": 0,
        "unique_id": format!("{:032x}", job.id),
        "asset_id": asset,
    })
}

/// A file type with its terms.
pub(super) fn file_type_json(kind: &FileType) -> Value {
    let terms: Vec<Value> = kind
        .terms
        .iter()
        .zip(1..)
        .map(|(term, position)| {
            let options: Vec<Value> = term
                .options
                .iter()
                .map(|(id, value)| json!({"id": id, "value": value}))
                .collect();
            json!({
                "id": term.id,
                "name": term.name,
                "position": position,
                "meta_name": "",
                "display_in_download": null,
                "field_type": term.field_type,
                "metaterm_options": options,
            })
        })
        .collect();
    json!({
        "id": kind.id,
        "name": kind.name,
        "description": null,
        "created_on": "2023-01-01T00:00:00.000Z",
        "updated_on": "2023-01-01T00:00:00.000Z",
        "terms": terms,
    })
}

/// A keyword set.
pub(super) fn keyword_set_json(set: &KeywordSet) -> Value {
    let made = time(set.created_ms);
    json!({"id": set.id, "name": set.name, "created_at": made, "updated_at": made, "deleted_at": null})
}

/// A keyword.
pub(super) fn keyword_json(keyword: &Keyword) -> Value {
    let made = time(keyword.created_ms);
    json!({
        "id": keyword.id,
        "keyword_set_id": keyword.set,
        "name": keyword.name,
        "created_at": made,
        "updated_at": made,
    })
}

/// A collection.
pub(super) fn collection_json(collection: &Collection) -> Value {
    let made = time(collection.created_ms);
    json!({
        "id": collection.id,
        "name": collection.name,
        "asset_count": collection.assets.len(),
        "user_id": USER,
        "created_at": made,
        "updated_at": made,
    })
}

/// A webhook.
pub(super) fn webhook_json(hook: &Webhook) -> Value {
    json!({
        "id": hook.id,
        "resource": hook.resource,
        "action": hook.action,
        "url": hook.url,
        "notification_emails": hook.notification_emails,
        "created_at": time(hook.created_ms),
    })
}

/// Turns every id in `value` into a string.
pub(super) fn with_string_ids(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields.iter_mut() {
                let named_id = name == "id" || name.ends_with("_id") || name.ends_with("_ids");
                match field {
                    Value::Number(number) if named_id => *field = Value::String(number.to_string()),
                    Value::Array(list) if named_id => list.iter_mut().for_each(stringify),
                    other => with_string_ids(other),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(with_string_ids),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn stringify(value: &mut Value) {
    if let Value::Number(number) = value {
        *value = Value::String(number.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_milliseconds() {
        assert_eq!(time(1_777_716_060_000), "2026-05-02T10:01:00.000Z");
        assert_eq!(time(1_777_716_060_042), "2026-05-02T10:01:00.042Z");
    }

    #[test]
    fn ids_become_strings_wherever_they_are() {
        let mut value = json!({"id": 1, "size": 2, "folder_ids": [3], "terms": [{"term_id": 4}], "parent_id": null});
        with_string_ids(&mut value);
        let want = json!({"id": "1", "size": 2, "folder_ids": ["3"], "terms": [{"term_id": "4"}], "parent_id": null});
        assert_eq!(value, want);
    }
}
