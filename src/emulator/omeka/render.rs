//! Records as the API shows them. Every URL is absolute and made from the request's own Host header.

use serde_json::{Value, json};

use crate::model::Timestamp;

use super::elements::{self, Element, ElementSet, ItemType};
use super::state::{Archive, File, Item, Record, Text, User};

/// Who asks, and under which address.
pub(super) struct View<'a> {
    /// `http://host`, without a slash at its end.
    pub(super) origin: &'a str,
    /// The user of the key, if there was one.
    pub(super) user: Option<&'a User>,
}

impl View<'_> {
    /// Whether the viewer may see a record. Every key shows what is private.
    pub(super) fn sees(&self, public: bool) -> bool {
        public || self.user.is_some()
    }

    /// Whether the viewer may see a file: as much as its item.
    pub(super) fn sees_file(&self, archive: &Archive, file: &File) -> bool {
        archive
            .items
            .get(&file.item)
            .is_some_and(|item| self.sees(item.record.public))
    }

    fn url(&self, path: &str) -> String {
        format!("{}/api/{path}", self.origin)
    }

    fn reference(&self, resource: &str, id: u64) -> Value {
        json!({ "id": id, "url": self.url(&format!("{resource}/{id}")), "resource": resource })
    }

    fn named(&self, resource: &str, id: u64, name: &str) -> Value {
        json!({ "id": id, "url": self.url(&format!("{resource}/{id}")), "name": name, "resource": resource })
    }

    fn count(&self, count: usize, resource: &str, query: &str) -> Value {
        json!({ "count": count, "url": self.url(&format!("{resource}{query}")), "resource": resource })
    }

    fn texts(&self, texts: &[Text]) -> Value {
        let mut rows: Vec<&Text> = texts.iter().collect();
        rows.sort_by_key(|text| text.row);
        rows.into_iter()
            .filter_map(|text| {
                let element = elements::element(text.element)?;
                let set = elements::element_set(element.set)?;
                Some(json!({
                    "html": text.html,
                    "text": text.text,
                    "element_set": self.named("element_sets", set.id, set.name),
                    "element": self.named("elements", element.id, element.name),
                }))
            })
            .collect()
    }

    /// A collection.
    pub(super) fn collection(&self, archive: &Archive, collection: &Record) -> Value {
        let id = collection.id;
        json!({
            "id": id,
            "url": self.url(&format!("collections/{id}")),
            "public": collection.public,
            "featured": collection.featured,
            "added": time(collection.added),
            "modified": time(collection.modified),
            "owner": self.reference("users", collection.owner),
            "items": self.count(archive.items_in(id), "items", &format!("?collection={id}")),
            "element_texts": self.texts(&collection.texts),
            "extended_resources": [],
        })
    }

    /// An item.
    pub(super) fn item(&self, archive: &Archive, item: &Item) -> Value {
        let id = item.record.id;
        let collection = item
            .collection
            .and_then(|id| archive.collections.get(&id))
            .filter(|collection| self.sees(collection.public))
            .map(|collection| self.reference("collections", collection.id));
        let item_type = item
            .item_type
            .and_then(elements::item_type)
            .map(|kind| self.named("item_types", kind.id, kind.name));
        let mut tags: Vec<(&str, u64)> = item
            .tags
            .iter()
            .filter_map(|id| Some((archive.tags.get(id)?.as_str(), *id)))
            .collect();
        tags.sort_by_key(|(name, _)| name.to_lowercase());
        let tags: Vec<Value> = tags
            .into_iter()
            .map(|(name, id)| self.named("tags", id, name))
            .collect();
        json!({
            "id": id,
            "url": self.url(&format!("items/{id}")),
            "public": item.record.public,
            "featured": item.record.featured,
            "added": time(item.record.added),
            "modified": time(item.record.modified),
            "item_type": item_type,
            "collection": collection,
            "owner": self.reference("users", item.record.owner),
            "files": self.count(archive.files_in(id), "files", &format!("?item={id}")),
            "tags": tags,
            "element_texts": self.texts(&item.record.texts),
            "extended_resources": [],
        })
    }

    /// A file.
    pub(super) fn file(&self, file: &File) -> Value {
        let id = file.record.id;
        let stem = file.stored_name.split('.').next().unwrap_or_default();
        let derivative = |folder: &str| {
            file.has_derivatives
                .then(|| format!("{}/files/{folder}/{stem}.jpg", self.origin))
        };
        json!({
            "id": id,
            "url": self.url(&format!("files/{id}")),
            "file_urls": {
                "original": format!("{}/files/original/{}", self.origin, file.stored_name),
                "fullsize": derivative("fullsize"),
                "thumbnail": derivative("thumbnails"),
                "square_thumbnail": derivative("square_thumbnails"),
            },
            "added": time(file.record.added),
            "modified": time(file.record.modified),
            "filename": file.stored_name,
            "authentication": file.md5,
            "has_derivative_image": file.has_derivatives,
            "mime_type": file.mime,
            "order": file.order,
            "original_filename": file.original_filename,
            "size": file.size_bytes,
            "stored": true,
            "type_os": file.type_os,
            "metadata": file.metadata,
            "item": self.reference("items", file.item),
            "element_texts": self.texts(&file.record.texts),
            "extended_resources": [],
        })
    }

    /// An element.
    pub(super) fn element(&self, element: &Element) -> Value {
        json!({
            "id": element.id,
            "url": self.url(&format!("elements/{}", element.id)),
            "order": element.order,
            "name": element.name,
            "description": element.description,
            "comment": "",
            "element_set": self.reference("element_sets", element.set),
            "extended_resources": [],
        })
    }

    /// An element set.
    pub(super) fn element_set(&self, set: &ElementSet) -> Value {
        let id = set.id;
        let count = elements::ELEMENTS.iter().filter(|element| element.set == id).count();
        json!({
            "id": id,
            "url": self.url(&format!("element_sets/{id}")),
            "name": set.name,
            "description": set.description,
            "record_type": set.record_type,
            "elements": self.count(count, "elements", &format!("?element_set={id}")),
            "extended_resources": [],
        })
    }

    /// An item type.
    pub(super) fn item_type(&self, archive: &Archive, kind: &ItemType) -> Value {
        let id = kind.id;
        let items = archive.items.values().filter(|item| item.item_type == Some(id)).count();
        let elements: Vec<Value> = kind
            .elements
            .iter()
            .map(|id| json!({ "id": id, "url": self.url(&format!("elements/{id}")) }))
            .collect();
        json!({
            "id": id,
            "url": self.url(&format!("item_types/{id}")),
            "name": kind.name,
            "description": kind.description,
            "elements": elements,
            "items": self.count(items, "items", &format!("/?item_type={id}")),
            "extended_resources": [],
        })
    }

    /// A tag.
    pub(super) fn tag(&self, id: u64, name: &str) -> Value {
        json!({ "id": id, "url": self.url(&format!("tags/{id}")), "name": name, "extended_resources": [] })
    }

    /// A user.
    pub(super) fn user(&self, user: &User) -> Value {
        json!({
            "id": user.id,
            "url": self.url(&format!("users/{}", user.id)),
            "username": user.username,
            "name": user.name,
            "active": true,
            "email": format!("{}@example.org", user.username),
            "role": user.role.as_str(),
            "extended_resources": [],
        })
    }

    /// The site.
    pub(super) fn site(&self) -> Value {
        json!({
            "omeka_url": self.origin,
            "omeka_version": "3.2.1",
            "title": SITE_TITLE,
            "description": "A made-up archive to try things on",
            "author": "assetfs",
            "copyright": "CC0",
        })
    }

    /// What there is to ask for.
    pub(super) fn resources(&self) -> Value {
        let about = |name: &str, actions: &[&str], params: &[&str]| {
            let mut about = serde_json::Map::new();
            if matches!(name, "site" | "resources" | "files") {
                about.insert("controller".to_owned(), Value::from(name));
            }
            if let Some(kind) = record_type(name) {
                about.insert("record_type".to_owned(), Value::from(kind));
            }
            about.insert("actions".to_owned(), json!(actions));
            if !params.is_empty() {
                about.insert("index_params".to_owned(), json!(params));
            }
            about.insert("url".to_owned(), Value::from(self.url(name)));
            Value::Object(about)
        };
        RESOURCES
            .iter()
            .map(|(name, actions, params)| ((*name).to_owned(), about(name, actions, params)))
            .collect()
    }
}

/// The class behind a resource.
fn record_type(resource: &str) -> Option<&'static str> {
    Some(match resource {
        "collections" => "Collection",
        "items" => "Item",
        "files" => "File",
        "item_types" => "ItemType",
        "elements" => "Element",
        "element_sets" => "ElementSet",
        "users" => "User",
        "tags" => "Tag",
        _ => return None,
    })
}

/// What the site calls itself.
pub(super) const SITE_TITLE: &str = "Test Archive";

/// Every resource with its actions and the parameters of its list.
pub(super) const RESOURCES: &[(&str, &[&str], &[&str])] = &[
    ("site", &["index"], &[]),
    ("resources", &["index"], &[]),
    (
        "collections",
        &["index", "get", "post", "put", "delete"],
        &["public", "featured", "added_since", "modified_since", "owner"],
    ),
    (
        "items",
        &["index", "get", "post", "put", "delete"],
        &[
            "collection",
            "item_type",
            "featured",
            "public",
            "added_since",
            "modified_since",
            "owner",
            "tags",
            "excludeTags",
            "hasImage",
            "range",
            "search",
            "advanced",
        ],
    ),
    (
        "files",
        &["index", "get", "post", "put", "delete"],
        &[
            "item",
            "order",
            "size_greater_than",
            "has_derivative_image",
            "mime_type",
            "modified_since",
            "added_since",
        ],
    ),
    ("item_types", &["index", "get"], &["name"]),
    ("elements", &["index", "get"], &["element_set", "name", "item_type"]),
    ("element_sets", &["index", "get"], &["name", "record_type"]),
    ("users", &["get"], &[]),
    ("tags", &["index", "get", "delete"], &[]),
];

fn time(time: Timestamp) -> String {
    Timestamp::from_secs(time.secs).to_rfc3339().replace('Z', "+00:00")
}
