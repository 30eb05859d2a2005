//! Answers of unknown shape: lists bare or inside an object, ids as numbers or text, details beside or below the rest.

use serde_json::{Map, Value};

use crate::model::Timestamp;

/// A JSON object.
pub(super) type Object = Map<String, Value>;

/// An item that its server did not name: nothing can be done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an item without an id")]
pub(super) struct NoId;

/// A project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Project {
    pub(super) id: u64,
    /// `<lastname>, <firstname> (<id>)`.
    pub(super) name: String,
    pub(super) created: Option<Timestamp>,
    pub(super) updated: Option<Timestamp>,
}

/// A category of a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Category {
    pub(super) id: u64,
    pub(super) name: String,
}

/// What is known of a file's enhancement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    /// The listing did not say.
    Untold,
    /// None is applied.
    None,
    /// This one is.
    Applied(String),
}

/// A file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct File {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) size_bytes: Option<u64>,
    /// 0, too, when it was not told.
    pub(super) category: u64,
    pub(super) category_told: bool,
    pub(super) mime: Option<String>,
    pub(super) sortcode: Option<i64>,
    /// The background process that it waits for; empty when its name was not told.
    pub(super) queue: Option<String>,
    pub(super) filter: Filter,
    pub(super) created: Option<Timestamp>,
    pub(super) updated: Option<Timestamp>,
    pub(super) preview: Option<String>,
    /// Everything that was told, details on one floor with the rest.
    pub(super) told: Object,
}

/// The first of several spellings that has a value.
fn first_of<'a>(object: &'a Object, names: &[&str]) -> Option<&'a Value> {
    names
        .iter()
        .filter_map(|name| object.get(*name))
        .find(|value| !value.is_null())
}

/// A whole number, as such or as text.
pub(super) fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn unsigned(value: &Value) -> Option<u64> {
    number(value).and_then(|number| u64::try_from(number).ok())
}

fn text(object: &Object, names: &[&str]) -> Option<String> {
    let text = first_of(object, names)?.as_str()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn time(object: &Object, names: &[&str]) -> Option<Timestamp> {
    match first_of(object, names)? {
        Value::String(text) => Timestamp::parse(text).or_else(|| text.parse().ok().map(Timestamp::from_secs)),
        other => number(other).map(Timestamp::from_secs),
    }
}

/// Whether something that may be a flag, a number or a text says yes.
fn is_yes(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(yes) => *yes,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !matches!(text.to_lowercase().as_str(), "" | "0" | "false" | "no"),
        Value::Array(items) => !items.is_empty(),
        Value::Object(object) => !object.is_empty(),
    }
}

/// The pixels of a picture, which stand beside everything or inside something of several names.
pub(super) fn pixels(object: &Object, name: &str) -> Option<u64> {
    let beside = first_of(object, &[name, &format!("image_{name}")]).and_then(unsigned);
    let inside = ["size", "dimensions", "image"];
    let inside = inside.iter().filter_map(|outer| object.get(*outer)?.as_object());
    beside.or_else(|| inside.filter_map(|inner| inner.get(name)).find_map(unsigned))
}

/// Whether an enhancement can be applied, under any of the names that this may have.
pub(super) fn filter_possible(object: &Object) -> Option<bool> {
    let names = [
        "filter_possible",
        "can_filter",
        "filterable",
        "can_have_filter",
        "filter_allowed",
    ];
    first_of(object, &names).map(is_yes)
}

/// The items of a list: bare, under `name` or `data`, or as an object that has an item for each id.
pub(super) fn items(answer: Value, name: &str) -> Option<Vec<Value>> {
    match answer {
        Value::Array(items) => Some(items),
        Value::Object(mut object) => {
            for key in [name, "data", "items"] {
                if let Some(inner) = object.shift_remove(key) {
                    return items(inner, name);
                }
            }
            keyed(object)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// `{"2": {…}}` and `{"2": "Portraits"}`: every key is an id.
fn keyed(object: Object) -> Option<Vec<Value>> {
    if !object.keys().all(|key| key.parse::<u64>().is_ok()) {
        return None;
    }
    let with_id = |(key, value): (String, Value)| match value {
        Value::Object(mut item) => {
            item.entry("id").or_insert(Value::String(key));
            Value::Object(item)
        }
        other => serde_json::json!({"id": key, "name": other}),
    };
    Some(object.into_iter().map(with_id).collect())
}

/// An object, out of a wrapper of that name when there is one.
pub(super) fn one(answer: Value, name: &str) -> Option<Object> {
    let Value::Object(mut object) = answer else { return None };
    for key in [name, "data"] {
        if matches!(object.get(key), Some(Value::Object(_))) {
            return one(object.shift_remove(key)?, name);
        }
    }
    Some(object)
}

/// Ids in an answer, whatever is around them.
pub(super) fn ids(answer: &Value) -> Vec<u64> {
    match answer {
        Value::Array(items) => items.iter().flat_map(ids).collect(),
        Value::Object(object) => match first_of(object, &["id", "file_id"]) {
            Some(id) => unsigned(id).into_iter().collect(),
            None => object
                .values()
                .filter(|value| value.is_array() || value.is_object())
                .flat_map(ids)
                .collect(),
        },
        Value::Number(_) | Value::String(_) => unsigned(answer).into_iter().collect(),
        Value::Null | Value::Bool(_) => Vec::new(),
    }
}

/// A project; `Err` without an id.
pub(super) fn project(object: &Object) -> Result<Project, NoId> {
    let id = first_of(object, &["id", "project_id"]).and_then(unsigned).ok_or(NoId)?;
    let last = text(object, &["subject_lastname", "lastname"]);
    let first = text(object, &["subject_firstname", "firstname"]);
    let person = match (last, first) {
        (Some(last), Some(first)) => Some(format!("{last}, {first}")),
        (one, other) => one.or(other),
    };
    let subject = person
        .or_else(|| text(object, &["name", "title", "ordernumber"]))
        .unwrap_or_else(|| "Project".to_owned());
    Ok(Project {
        id,
        name: format!("{subject} ({id})"),
        created: time(object, &["created_at", "created"]),
        updated: time(object, &["updated_at", "updated"]),
    })
}

/// The id at the end of a project's name.
pub(super) fn project_id_in(name: &str) -> Option<u64> {
    name.strip_suffix(')')?.rsplit_once(" (")?.1.parse().ok()
}

/// A category; `Err` without an id.
pub(super) fn category(object: &Object) -> Result<Category, NoId> {
    let id = first_of(object, &["id", "category_id"])
        .and_then(unsigned)
        .ok_or(NoId)?;
    let name = text(object, &["name", "title", "label"]).unwrap_or_else(|| format!("Category {id}"));
    Ok(Category { id, name })
}

/// A file; `Err` without an id.
pub(super) fn file(mut object: Object) -> Result<File, NoId> {
    if let Some(Value::Object(details)) = object.shift_remove("details") {
        for (key, value) in details {
            let entry = object.entry(key).or_insert(Value::Null);
            if entry.is_null() {
                *entry = value;
            }
        }
    }
    let id = first_of(&object, &["id", "file_id"]).and_then(unsigned).ok_or(NoId)?;
    let names = ["filename", "name", "original_filename", "file_name", "title"];
    let category = match first_of(&object, &["category_id", "category"]) {
        Some(Value::Object(category)) => first_of(category, &["id", "category_id"]).and_then(unsigned),
        Some(other) => unsigned(other),
        None => None,
    };
    let is_queued = object.get("queued").is_some_and(is_yes);
    let queue = text(&object, &["queue"]);
    let filter = match object.get("filter") {
        None => Filter::Untold,
        Some(Value::String(preset)) if !preset.is_empty() => Filter::Applied(preset.clone()),
        Some(Value::Null | Value::Bool(_) | Value::String(_)) => Filter::None,
        Some(other) if !is_yes(other) => Filter::None,
        Some(Value::Object(filter)) => match text(filter, &["preset", "name", "filter"]) {
            Some(preset) => Filter::Applied(preset),
            None => Filter::Applied(Value::Object(filter.clone()).to_string()),
        },
        Some(other) => Filter::Applied(other.to_string()),
    };
    Ok(File {
        id,
        name: text(&object, &names).unwrap_or_else(|| format!("file-{id}")),
        size_bytes: ["size", "filesize", "file_size", "bytes"]
            .iter()
            .filter_map(|name| object.get(*name))
            .find_map(unsigned),
        category: category.unwrap_or(0),
        category_told: first_of(&object, &["category_id", "category"]).is_some() || object.contains_key("category_id"),
        mime: text(&object, &["mime_type", "mime", "content_type"]),
        sortcode: first_of(&object, &["sortcode", "sort_code", "sort"]).and_then(number),
        queue: is_queued.then(|| queue.unwrap_or_default()),
        filter,
        created: time(&object, &["created_at", "created", "uploaded_at"]),
        updated: time(&object, &["updated_at", "updated", "modified_at"]),
        preview: text(&object, &["preview_url", "preview"]),
        told: object,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn one_file(value: Value) -> File {
        file(value.as_object().unwrap().clone()).unwrap()
    }

    #[test]
    fn both_shapes_of_a_file_say_the_same() {
        let a = one_file(json!({
            "id": 17, "filename": "portrait.jpg", "size": 12345, "mime_type": "image/jpeg", "category_id": 2,
            "caption": "c", "queued": false, "queue": null, "sortcode": 1, "created_at": "2026-05-02T10:01:00Z",
            "preview_url": "https://x/p.jpg",
        }));
        let b = one_file(json!({
            "id": "17", "name": "portrait.jpg", "filesize": 12345, "category": "2", "sortcode": "1", "queued": 0,
            "details": {"caption": "c", "mime": "image/jpeg", "preview": "https://x/p.jpg", "created": 1_777_716_060},
        }));
        let essence = |f: &File| {
            let text = |key: &str| f.told.get(key).cloned();
            (
                f.id,
                f.name.clone(),
                f.size_bytes,
                f.category,
                f.mime.clone(),
                f.created,
                f.preview.clone(),
                text("caption"),
            )
        };
        assert_eq!(essence(&a), essence(&b));
        assert_eq!(
            (a.sortcode, a.queue.clone(), a.filter.clone()),
            (b.sortcode, None, Filter::Untold)
        );
    }

    #[test]
    fn pixels_are_no_bytes_and_a_queue_without_a_name_is_one() {
        let file =
            one_file(json!({"id": 1, "size": {"width": 3, "height": 4}, "queued": "1", "filter": {"preset": "warm"}}));
        assert_eq!(file.size_bytes, None);
        assert_eq!(file.queue.as_deref(), Some(""));
        assert_eq!(file.filter, Filter::Applied("warm".to_owned()));
        assert_eq!((file.name.as_str(), file.category), ("file-1", 0));
    }

    #[test]
    fn lists_come_bare_wrapped_or_keyed() {
        let names = |answer: Value| -> Vec<(u64, String)> {
            let items = items(answer, "categories").unwrap();
            let categories = items.iter().map(|item| category(item.as_object().unwrap()).unwrap());
            categories.map(|category| (category.id, category.name)).collect()
        };
        let wanted = vec![(2, "Portraits".to_owned())];
        for answer in [
            json!([{"id": 2, "name": "Portraits"}]),
            json!({"categories": [{"category_id": "2", "title": "Portraits"}]}),
            json!({"data": {"categories": [{"id": 2, "label": "Portraits"}]}}),
            json!({"2": "Portraits"}),
            json!({"categories": {"2": {"name": "Portraits"}}}),
        ] {
            assert_eq!(names(answer), wanted);
        }
        assert_eq!(items(json!({"message": "x"}), "files"), None);
    }

    #[test]
    fn a_project_is_named_after_its_subject_and_its_id() {
        let name = |value: Value| project(value.as_object().unwrap()).unwrap().name;
        assert_eq!(
            name(json!({"id": "7", "subject_firstname": "Ada", "subject_lastname": "Lovelace"})),
            "Lovelace, Ada (7)"
        );
        assert_eq!(
            name(json!({"id": 7, "subject_firstname": "", "ordernumber": "A-1"})),
            "A-1 (7)"
        );
        assert_eq!(name(json!({"id": 7})), "Project (7)");
        assert_eq!(project_id_in("Lovelace, Ada (7)"), Some(7));
        assert_eq!(project_id_in("(7)"), None);
        assert_eq!(project_id_in("x (y)"), None);
    }

    #[test]
    fn ids_are_found_in_any_wrapping() {
        for answer in [
            json!([17, 18]),
            json!({"file_ids": ["17", "18"]}),
            json!([{"id": 17}, {"file_id": "18"}]),
            json!({"success": true, "files": [{"id": 17, "category_id": 3}, {"id": 18}]}),
        ] {
            assert_eq!(ids(&answer), [17, 18], "{answer}");
        }
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
            Just("id".to_owned()),
            Just("files".to_owned()),
            Just("details".to_owned()),
            Just("size".to_owned()),
            Just("category".to_owned()),
            Just("filter".to_owned()),
            Just("queued".to_owned()),
            Just("created".to_owned()),
            Just("7".to_owned()),
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
        fn no_answer_makes_a_decoder_panic(answer in any_json()) {
            let found = items(answer.clone(), "files").unwrap_or_default();
            for object in found.iter().chain([&answer]).filter_map(Value::as_object) {
                if let Ok(file) = file(object.clone()) {
                    prop_assert!(!file.name.is_empty());
                }
                if let Ok(project) = project(object) {
                    prop_assert_eq!(project_id_in(&project.name), Some(project.id));
                }
                prop_assert!(category(object).is_err() || !object.is_empty());
            }
            prop_assert!(one(answer.clone(), "project").is_some() == answer.is_object());
            prop_assert!(ids(&answer).len() <= answer.to_string().len());
        }
    }
}
