//! Records as entries. Everything but the id is optional: plugins and versions differ, and an empty map comes as `[]`.

use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use crate::http::Url;
use crate::model::{
    Access, Availability, Checksum, ChildCounts, ContentVersion, Entry, Field, Fields, Kind, Timestamp, Value as Text,
};
use crate::store::{ErrorKind, Result, StoreError};

use super::id::{Id, Resource};

/// The element that names records.
pub(super) const TITLE: &str = "Dublin Core.Title";

/// A record of a list or an answer as an entry; its URLs are put onto the site that was configured.
pub(super) fn entry(resource: Resource, record: &Value, site: &Url) -> Result<Entry> {
    let number = record["id"]
        .as_u64()
        .ok_or_else(|| StoreError::new(ErrorKind::Protocol, "read a record", "").because("it has no id"))?;
    let entry = match resource {
        Resource::Collections => collection(number, record),
        Resource::Items => item(number, record),
        Resource::Files => file(number, record, site)?,
        Resource::Site | Resource::Elements | Resource::ElementSets | Resource::ItemTypes => {
            return Err(StoreError::new(ErrorKind::Protocol, "read a record", "").because("it is no place for one"));
        }
    };
    Ok(entry)
}

fn collection(number: u64, record: &Value) -> Entry {
    let mut fields = texts(record);
    flags(record, &mut fields);
    Entry {
        children: record["items"]["count"]
            .as_u64()
            .map(|folders| ChildCounts { folders, files: 0 }),
        ..folder(Id::Collection(number), Id::Site, record, fields)
    }
}

fn item(number: u64, record: &Value) -> Entry {
    let mut fields = texts(record);
    flags(record, &mut fields);
    put(
        &mut fields,
        "item_type",
        Access::ReadWrite,
        record["item_type"]["name"].as_str(),
    );
    let tags: Vec<Text> = list(&record["tags"])
        .filter_map(|tag| tag["name"].as_str())
        .map(Text::from)
        .collect();
    if !tags.is_empty() {
        fields.insert("tags".to_owned(), field(tags, Access::ReadWrite));
    }
    let parent = record["collection"]["id"].as_u64().map_or(Id::Site, Id::Collection);
    Entry {
        children: record["files"]["count"]
            .as_u64()
            .map(|files| ChildCounts { folders: 0, files }),
        ..folder(Id::Item(number), parent, record, fields)
    }
}

fn folder(id: Id, parent: Id, record: &Value, mut fields: Fields) -> Entry {
    let name = fields
        .get(TITLE)
        .and_then(|title| title.values.first())
        .map(|title| title.text.clone());
    times(record, &mut fields);
    Entry {
        revision: revision(record),
        created: time(&record["added"]),
        modified: time(&record["modified"]),
        fields,
        ..Entry::folder(id.to_item_id(), name.unwrap_or_default(), vec![parent.to_item_id()])
    }
}

fn file(number: u64, record: &Value, site: &Url) -> Result<Entry> {
    let id = Id::File(number).to_item_id();
    let incomplete =
        |what: &'static str| StoreError::new(ErrorKind::Protocol, "read a file", id.as_str()).because(what);
    let size = record["size"].as_u64().ok_or_else(|| incomplete("it has no size"))?;
    let item = record["item"]["id"]
        .as_u64()
        .ok_or_else(|| incomplete("it has no item"))?;
    let md5 = record["authentication"].as_str().unwrap_or_default().to_lowercase();
    let md5 = Some(md5).filter(|md5| md5.len() == 32 && md5.bytes().all(|b| b.is_ascii_hexdigit()));
    let mut fields = texts(record);
    if let Some(order) = record["order"].as_u64() {
        put(&mut fields, "order", Access::ReadWrite, Some(&order.to_string()));
    }
    times(record, &mut fields);
    for name in ["mime_type", "type_os", "filename", "authentication"] {
        put(&mut fields, name, Access::ReadOnly, record[name].as_str());
    }
    if let Some(has) = record["has_derivative_image"].as_bool() {
        put(
            &mut fields,
            "has_derivative_image",
            Access::ReadOnly,
            Some(&has.to_string()),
        );
    }
    if let Some(metadata) = record["metadata"].as_object().filter(|map| !map.is_empty()) {
        let text = serde_json::to_string(metadata).unwrap_or_default();
        put(&mut fields, "metadata", Access::ReadOnly, Some(&text));
    }
    for name in URLS {
        if let Some(url) = record["file_urls"][name].as_str() {
            put(
                &mut fields,
                &format!("{name}_url"),
                Access::ReadOnly,
                Some(&rebased(url, site)),
            );
        }
    }
    let name = record["original_filename"].as_str().unwrap_or_default();
    let version = match &md5 {
        Some(md5) => format!("{md5}-{size}"),
        // A site that keeps no checksum leaves the stored name, which every upload gets anew.
        None => format!("{}-{size}", record["filename"].as_str().unwrap_or_default()),
    };
    Ok(Entry {
        kind: Kind::File,
        revision: revision(record),
        created: time(&record["added"]),
        modified: time(&record["modified"]),
        mime: record["mime_type"].as_str().map(str::to_owned),
        checksum: md5.map(Checksum::Md5),
        availability: Availability::Ready,
        fields,
        ..Entry::file(
            id,
            name,
            vec![Id::Item(item).to_item_id()],
            size,
            ContentVersion::new(version),
        )
    })
}

/// The pictures and bytes of a file.
const URLS: [&str; 4] = ["original", "fullsize", "thumbnail", "square_thumbnail"];

/// The same file below the site that was configured: the server builds URLs from whatever host name reached it. What lies
/// outside its own `files` folder (another storage) stays as it is.
fn rebased(url: &str, site: &Url) -> String {
    let Ok(mut theirs) = Url::parse(url) else {
        return url.to_owned();
    };
    let Some((_, rest)) = theirs.path().split_once("/files/") else {
        return url.to_owned();
    };
    let path = format!("{}/files/{rest}", site.path().trim_end_matches('/'));
    let query = theirs.query().map(str::to_owned);
    theirs = site.clone();
    theirs.set_path(&path);
    theirs.set_query(query.as_deref());
    theirs.into()
}

/// All element texts as fields named `<Element set>.<Element>`, their values in the server's order.
fn texts(record: &Value) -> Fields {
    let mut fields = Fields::new();
    for text in list(&record["element_texts"]) {
        let (Some(set), Some(element), Some(words)) = (
            text["element_set"]["name"].as_str(),
            text["element"]["name"].as_str(),
            text["text"].as_str(),
        ) else {
            continue;
        };
        fields
            .entry(format!("{set}.{element}"))
            .or_insert_with(|| field(Vec::new(), Access::ReadWrite))
            .values
            .push(Text {
                text: words.to_owned(),
                html: text["html"].as_bool().unwrap_or_default(),
            });
    }
    fields
}

fn flags(record: &Value, fields: &mut Fields) {
    for name in ["public", "featured"] {
        if let Some(flag) = record[name].as_bool() {
            put(fields, name, Access::ReadWrite, Some(&flag.to_string()));
        }
    }
}

fn times(record: &Value, fields: &mut Fields) {
    for name in ["added", "modified"] {
        put(fields, name, Access::ReadOnly, record[name].as_str());
    }
    if let Some(owner) = record["owner"]["id"].as_u64() {
        put(fields, "owner", Access::ReadOnly, Some(&owner.to_string()));
    }
}

fn field(values: Vec<Text>, access: Access) -> Field {
    Field { values, access }
}

fn put(fields: &mut Fields, name: &str, access: Access, value: Option<&str>) {
    if let Some(value) = value {
        fields.insert(name.to_owned(), field(vec![Text::from(value)], access));
    }
}

fn time(value: &Value) -> Option<Timestamp> {
    Timestamp::parse(value.as_str()?)
}

/// The entries of a list; none for anything else.
pub(super) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// `modified` has whole seconds and stands still when children come and go, so the whole record counts.
fn revision(record: &Value) -> String {
    let text = record.to_string();
    format!(
        "{}-{:016x}",
        record["modified"].as_str().unwrap_or_default(),
        xxh3_64(text.as_bytes())
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn site() -> Url {
        "https://archive.example.org/omeka".parse().expect("a URL")
    }

    #[test]
    fn urls_are_put_onto_the_configured_site() {
        for (theirs, ours) in [
            (
                "http://127.0.0.1:8081/files/original/a.jpg",
                "https://archive.example.org/omeka/files/original/a.jpg",
            ),
            (
                "http://inside/omeka/files/thumbnails/a.jpg",
                "https://archive.example.org/omeka/files/thumbnails/a.jpg",
            ),
            (
                "https://bucket.example.net/original/a.jpg",
                "https://bucket.example.net/original/a.jpg",
            ),
            ("not a url", "not a url"),
        ] {
            assert_eq!(rebased(theirs, &site()), ours);
        }
    }

    #[test]
    fn several_values_and_their_marks_are_kept_in_order() {
        let record = json!({"id": 1, "element_texts": [
            {"html": true, "text": "<b>A</b>", "element_set": {"name": "Dublin Core"}, "element": {"name": "Creator"}},
            {"text": "T", "element_set": {"name": "Dublin Core"}, "element": {"name": "Title"}},
            {"html": false, "text": "B", "element_set": {"name": "Dublin Core"}, "element": {"name": "Creator"}}
        ], "tags": [{"name": "x"}], "collection": null});
        let entry = entry(Resource::Items, &record, &site()).expect("an item");
        assert_eq!(entry.name, "T");
        assert_eq!(entry.parents, [Id::Site.to_item_id()]);
        let creators = &entry.fields["Dublin Core.Creator"].values;
        assert_eq!(
            creators.iter().map(|v| (v.text.as_str(), v.html)).collect::<Vec<_>>(),
            [("<b>A</b>", true), ("B", false)]
        );
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        let name = prop_oneof![
            Just("id".to_owned()),
            Just("element_texts".to_owned()),
            Just("file_urls".to_owned()),
            Just("original".to_owned()),
            Just("size".to_owned()),
            Just("item".to_owned()),
            Just("metadata".to_owned()),
            Just("name".to_owned()),
            "[a-z]{1,4}",
        ];
        leaf.prop_recursive(4, 48, 6, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::vec((name.clone(), inner), 0..8)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_json_decodes_or_is_refused(record in any_json(), number in proptest::option::of(any::<u64>())) {
            let mut record = record;
            if let (Value::Object(map), Some(number)) = (&mut record, number) {
                map.insert("id".to_owned(), Value::from(number));
            }
            for resource in [Resource::Collections, Resource::Items, Resource::Files] {
                if let Ok(entry) = entry(resource, &record, &site()) {
                    prop_assert_eq!(Some(entry.id.key().to_owned()), record["id"].as_u64().map(|id| id.to_string()));
                }
            }
        }
    }

    /// Every 2xx answer with records that was recorded from a real site.
    #[test]
    fn every_recorded_answer_decodes() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings/omeka");
        let mut decoded = 0;
        for file in std::fs::read_dir(folder).expect("the recordings") {
            let path = file.expect("readable").path();
            let text = String::from_utf8_lossy(&std::fs::read(&path).expect("readable")).into_owned();
            let Some((request, answer)) = text.split_once("### RESPONSE") else {
                continue;
            };
            let resource = [
                ("/api/collections", Resource::Collections),
                ("/api/items", Resource::Items),
                ("/api/files", Resource::Files),
            ]
            .into_iter()
            .find(|(path, _)| request.contains(path))
            .map(|(_, resource)| resource);
            let good = answer.contains("HTTP/1.1 200") || answer.contains("HTTP/1.1 201");
            let body = answer.split_once("\n\n").map_or("", |(_, body)| body.trim());
            let (Some(resource), true, Ok(body)) = (resource, good, serde_json::from_str::<Value>(body)) else {
                continue;
            };
            let records = match body {
                Value::Array(records) => records,
                record => vec![record],
            };
            for record in records {
                let entry = entry(resource, &record, &site());
                assert!(entry.is_ok(), "{}: {:?}", path.display(), entry.err());
                decoded += 1;
            }
        }
        assert!(decoded > 200, "only {decoded} records");
    }
}
