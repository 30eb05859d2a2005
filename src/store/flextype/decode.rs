//! Answers of the site as entries. Loose: any field may be missing, numbers may be strings, PHP writes an object with
//! numeric keys as a list.

use serde_json::{Map, Value};

use crate::model::{ContentVersion, Entry, Kind, Timestamp};

use super::fields;
use super::path::RemotePath;

/// A JSON object.
pub(super) type Object = Map<String, Value>;

/// What `data` of an answer to a GET is.
#[derive(Debug, PartialEq)]
pub(super) enum Data {
    /// One file or folder.
    One(Object),
    /// Several, by the key they came with.
    Many(Vec<(String, Value)>),
}

/// The `data` of an answer; `None` when there is none.
pub(super) fn data(answer: Value) -> Option<Data> {
    let Value::Object(mut answer) = answer else { return None };
    Some(match answer.shift_remove("data")? {
        Value::Object(object) if is_one(&object) => Data::One(object),
        Value::Object(object) => Data::Many(object.into_iter().collect()),
        Value::Array(values) => Data::Many(
            values
                .into_iter()
                .enumerate()
                .map(|(i, v)| (i.to_string(), v))
                .collect(),
        ),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return None,
    })
}

/// A collection holds nothing but objects and lists; a single item always has a text or a number.
fn is_one(object: &Object) -> bool {
    object.values().any(|value| !value.is_object() && !value.is_array())
}

/// A whole number that may be written as text.
pub(super) fn number(value: Option<&Value>) -> Option<i64> {
    match value? {
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().map(|float| float as i64)),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The entry of the file at `path`. `size_bytes` stands in where the object tells none.
pub(super) fn file_entry(path: &RemotePath, object: &Object, size_bytes: Option<u64>) -> Entry {
    let size = size_of(object).or(size_bytes);
    let uploaded = number(object.get("uploaded_on")).map(Timestamp::from_secs);
    let version = format!(
        "{}-{}",
        size.map_or_else(|| "?".to_owned(), |size| size.to_string()),
        uploaded.map_or_else(|| "?".to_owned(), |time| time.secs.to_string()),
    );
    let parents = vec![path.parent().id(Kind::Folder)];
    Entry {
        kind: Kind::File,
        size,
        version: ContentVersion::new(version),
        revision: revision(object),
        created: uploaded,
        modified: uploaded,
        mime: object.get("type").and_then(Value::as_str).map(str::to_owned),
        fields: fields::of_object(object),
        ..Entry::folder(path.id(Kind::File), path.name(), parents)
    }
}

/// The size that the object tells, in bytes.
pub(super) fn size_of(object: &Object) -> Option<u64> {
    number(object.get("filesize")).and_then(|size| u64::try_from(size).ok())
}

/// The entry of the folder at `path`.
pub(super) fn folder_entry(path: &RemotePath) -> Entry {
    let parents = if path.is_root() {
        Vec::new()
    } else {
        vec![path.parent().id(Kind::Folder)]
    };
    Entry::folder(path.id(Kind::Folder), path.name(), parents)
}

fn revision(object: &Object) -> String {
    // The addresses repeat how the file was asked for, and say nothing about it.
    let mut told = object.clone();
    for spelled_by_the_request in ["dirname", "url", "full_url", "extension"] {
        told.shift_remove(spelled_by_the_request);
    }
    let text = Value::Object(told).to_string();
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(text.as_bytes()))
}

/// The path below the uploads that a `dirname` or `full_path` names; `uploads` is the full path of the uploads folder.
pub(super) fn below_uploads(full_path: &str, uploads: &str) -> Option<String> {
    let tidy = |path: &str| {
        path.split(['/', '\\'])
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join("/")
    };
    let (full_path, uploads) = (tidy(full_path), tidy(uploads));
    if full_path == uploads {
        return Some(String::new());
    }
    full_path.strip_prefix(&uploads)?.strip_prefix('/').map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn one_file_and_a_collection_are_told_apart() {
        let one = json!({"data": {"title": "a", "exif": {"Height": 1}}});
        assert!(matches!(data(one), Some(Data::One(_))));
        let many = json!({"data": {"a.txt": {"title": "a"}, "b": []}});
        assert!(matches!(data(many), Some(Data::Many(items)) if items.len() == 2));
        let php_list = json!({"data": [{"path": "years/0"}, {"path": "years/1"}]});
        assert!(matches!(data(php_list), Some(Data::Many(items)) if items.len() == 2));
        assert_eq!(data(json!({"data": {}})), Some(Data::Many(Vec::new())));
        assert_eq!(data(json!({"message": "x"})), None);
    }

    #[test]
    fn a_size_may_be_text_and_anything_may_be_missing() {
        let path = RemotePath::parse("docs/a.txt").unwrap();
        let object = json!({"filesize": "5", "uploaded_on": 1_795_347_645, "type": "text/plain"});
        let entry = file_entry(&path, object.as_object().unwrap(), None);
        assert_eq!(entry.size, Some(5));
        assert_eq!(entry.version.as_str(), "5-1795347645");
        assert_eq!(entry.mime.as_deref(), Some("text/plain"));
        assert_eq!(entry.parents[0].as_str(), "folder:/docs");
        let bare = file_entry(&path, &Object::new(), None);
        assert_eq!((bare.size, bare.modified), (None, None));
    }

    #[test]
    fn a_folder_is_known_by_its_full_path_however_many_slashes_it_has() {
        let uploads = "/srv/flextype/project/uploads/";
        assert_eq!(
            below_uploads("/srv/flextype/project/uploads", uploads).as_deref(),
            Some("")
        );
        assert_eq!(
            below_uploads("/srv/flextype/project/uploads//a/b", uploads).as_deref(),
            Some("a/b")
        );
        assert_eq!(below_uploads("/srv/flextype/project/uploads2/a", uploads), None);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        let key = prop_oneof![
            Just("data".to_owned()),
            Just("filesize".to_owned()),
            Just("uploaded_on".to_owned()),
            Just("exif".to_owned()),
            Just("title".to_owned()),
            ".{0,4}",
        ];
        leaf.prop_recursive(4, 32, 6, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::vec((key.clone(), inner), 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_answer_makes_the_decoder_panic(answer in any_json()) {
            let path = RemotePath::parse("a/b.txt").unwrap();
            if let Value::Object(object) = &answer {
                let entry = file_entry(&path, object, None);
                prop_assert!(!entry.version.as_str().is_empty());
            }
            prop_assert!(data(answer.clone()).is_none() || answer.get("data").is_some());
        }
    }
}
