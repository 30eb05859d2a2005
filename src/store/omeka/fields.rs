//! Fields as the API takes them, and the rules for their values.
//!
//! A PUT with `element_texts` replaces all texts of a record, so every change starts from the record as it is now.

use serde_json::{Map, Value, json};

use crate::model::{FieldChanges, Value as Text};
use crate::store::{ErrorKind, Result, StoreError};

use super::decode::{TITLE, list};
use super::id::Id;
use super::vocabulary::Words;

/// Fields that can only be read.
const READ_ONLY: &[&str] = &[
    "added",
    "authentication",
    "filename",
    "fullsize_url",
    "has_derivative_image",
    "metadata",
    "mime_type",
    "modified",
    "original_url",
    "owner",
    "square_thumbnail_url",
    "thumbnail_url",
    "type_os",
];

/// The longest tag, in characters.
const TAG_CHARS_MAX: usize = 255;

/// What a field's name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning<'a> {
    /// `<Element set>.<Element>`.
    Element(&'a str),
    Tags,
    /// `public` or `featured`.
    Flag(&'a str),
    ItemType,
    Order,
    ReadOnly,
}

impl<'a> Meaning<'a> {
    /// Reads a field's name; `None` when it can be none.
    pub(super) fn of(field: &'a str) -> Option<Self> {
        Some(match field {
            "tags" => Meaning::Tags,
            "public" | "featured" => Meaning::Flag(field),
            "item_type" => Meaning::ItemType,
            "order" => Meaning::Order,
            _ if READ_ONLY.contains(&field) => Meaning::ReadOnly,
            _ if field.contains('.') => Meaning::Element(field),
            _ => return None,
        })
    }
}

fn error(kind: ErrorKind, field: &str, why: impl Into<String>) -> StoreError {
    StoreError::new(kind, "set field", field).because(why.into())
}

fn invalid(field: &str, why: impl Into<String>) -> StoreError {
    error(ErrorKind::Invalid, field, why)
}

/// Names in `changes` that the vocabulary must know.
pub(super) fn names_to_know(changes: &FieldChanges) -> Vec<&str> {
    changes
        .iter()
        .filter_map(|(field, values)| match Meaning::of(field)? {
            Meaning::Element(name) => Some(name),
            Meaning::ItemType => values.first().map(|value| value.text.as_str()),
            Meaning::Tags | Meaning::Flag(_) | Meaning::Order | Meaning::ReadOnly => None,
        })
        .collect()
}

/// Whether all of `changes` can be made on `id`.
pub(super) fn check(id: Id, changes: &FieldChanges, words: &Words) -> Result<()> {
    for (field, values) in changes {
        let meaning = Meaning::of(field).ok_or_else(|| invalid(field, "the site has no such field"))?;
        check_place(id, meaning, field)?;
        if meaning == Meaning::Element(TITLE) && values.is_empty() && !matches!(id, Id::File(_)) {
            return Err(error(
                ErrorKind::Denied,
                field,
                "it is the folder's name: rename the folder",
            ));
        }
        check_values(meaning, field, values, words)?;
    }
    Ok(())
}

fn check_place(id: Id, meaning: Meaning<'_>, field: &str) -> Result<()> {
    let fits = match (meaning, id) {
        (Meaning::ReadOnly, _) => return Err(error(ErrorKind::Denied, field, "it can only be read")),
        (_, Id::Site) => false,
        (Meaning::Element(_), _) => true,
        (Meaning::Flag(_), Id::Collection(_) | Id::Item(_)) => true,
        (Meaning::Tags | Meaning::ItemType, Id::Item(_)) => true,
        (Meaning::Order, Id::File(_)) => true,
        (Meaning::Flag(_) | Meaning::Tags | Meaning::ItemType | Meaning::Order, _) => false,
    };
    if fits {
        return Ok(());
    }
    let why = "tags and item_type belong to items, order to files, public and featured to items and collections";
    Err(error(ErrorKind::Unsupported, field, why))
}

fn check_values(meaning: Meaning<'_>, field: &str, values: &[Text], words: &Words) -> Result<()> {
    for value in values {
        check_text(field, &value.text)?;
    }
    match meaning {
        Meaning::Element(name) => {
            if words.element(name).is_none() {
                return Err(invalid(field, "the site has no such element"));
            }
            if values.iter().any(|value| value.text.is_empty()) {
                return Err(invalid(field, "the site keeps no empty text"));
            }
        }
        Meaning::Tags => {
            if values.iter().any(|tag| tag.text.trim().is_empty()) {
                return Err(invalid(field, "a tag needs a name"));
            }
            if values.iter().any(|tag| tag.text.trim().chars().count() > TAG_CHARS_MAX) {
                return Err(invalid(field, "a tag has at most 255 characters"));
            }
        }
        Meaning::Flag(_) => {
            flag(field, values)?;
        }
        Meaning::ItemType => match values {
            [name] if words.item_type(&name.text).is_some() => {}
            [_] => return Err(invalid(field, "the site has no such item type")),
            _ => return Err(invalid(field, "one item type; it cannot be taken away again")),
        },
        Meaning::Order => {
            order(field, values)?;
        }
        Meaning::ReadOnly => {}
    }
    Ok(())
}

/// The site's database keeps characters of at most three bytes; a text with others would be refused half way.
pub(super) fn check_text(field: &str, text: &str) -> Result<()> {
    match text.chars().find(|c| c.len_utf8() > 3) {
        None => Ok(()),
        Some(c) => Err(invalid(field, format!("the site cannot keep the character {c:?}"))),
    }
}

fn flag(field: &str, values: &[Text]) -> Result<bool> {
    match values {
        // Taken away: as it is in a new record.
        [] => Ok(false),
        [value] if matches!(value.text.as_str(), "true" | "1") => Ok(true),
        [value] if matches!(value.text.as_str(), "false" | "0") => Ok(false),
        _ => Err(invalid(field, "either true or false")),
    }
}

fn order(field: &str, values: &[Text]) -> Result<u32> {
    match values {
        [value] => value
            .text
            .parse()
            .map_err(|_| invalid(field, "a whole number from 0 to 4294967295")),
        _ => Err(invalid(field, "one number; it cannot be taken away again")),
    }
}

/// The body of a request that makes `changes` on `record` (an empty object for a new one). What can only be read is passed
/// over, so that the fields of one record can be given to another.
pub(super) fn body(record: &Value, changes: &FieldChanges, words: &Words) -> Result<Map<String, Value>> {
    let mut body = Map::new();
    let mut elements = Vec::new();
    for (field, values) in changes {
        match Meaning::of(field) {
            Some(Meaning::Element(name)) => {
                let id = words
                    .element(name)
                    .ok_or_else(|| invalid(field, "the site has no such element"))?;
                elements.push((id, values.as_slice()));
            }
            Some(Meaning::Tags) => {
                let tags: Vec<Value> = values.iter().map(|tag| json!({ "name": tag.text.trim() })).collect();
                body.insert("tags".to_owned(), Value::from(tags));
            }
            Some(Meaning::Flag(name)) => {
                body.insert(name.to_owned(), Value::from(flag(field, values)?));
            }
            Some(Meaning::ItemType) => {
                let id = values.first().and_then(|name| words.item_type(&name.text));
                let id = id.ok_or_else(|| invalid(field, "the site has no such item type"))?;
                body.insert("item_type".to_owned(), json!({ "id": id }));
            }
            Some(Meaning::Order) => {
                body.insert("order".to_owned(), Value::from(order(field, values)?));
            }
            Some(Meaning::ReadOnly) | None => {}
        }
    }
    if !elements.is_empty() {
        body.insert("element_texts".to_owned(), Value::from(texts(record, &elements)));
    }
    Ok(body)
}

/// All texts that the record is to have: its own, with those of the given elements replaced at their place.
fn texts(record: &Value, changes: &[(u64, &[Text])]) -> Vec<Value> {
    let mut all = Vec::new();
    let mut placed = Vec::new();
    for old in list(&record["element_texts"]) {
        let Some(element) = old["element"]["id"].as_u64() else {
            continue;
        };
        match changes.iter().find(|(id, _)| *id == element) {
            None => all.push(text(element, &old["text"], old["html"].as_bool().unwrap_or_default())),
            Some((_, values)) if !placed.contains(&element) => {
                placed.push(element);
                all.extend(replaced(record, element, values));
            }
            Some(_) => {}
        }
    }
    for (element, values) in changes {
        if !placed.contains(element) {
            all.extend(replaced(record, *element, values));
        }
    }
    all
}

/// New values of one element. A value that takes the place of one marked as HTML keeps the mark: an extended attribute has
/// no room for it.
fn replaced<'a>(record: &'a Value, element: u64, values: &'a [Text]) -> impl Iterator<Item = Value> + 'a {
    let mut marks = list(&record["element_texts"])
        .filter(move |old| old["element"]["id"].as_u64() == Some(element))
        .map(|old| old["html"].as_bool().unwrap_or_default());
    values.iter().map(move |value| {
        // Taken for each value, marked or not: the next one stands at the next position.
        let mark = marks.next().unwrap_or_default();
        let html = value.html || mark;
        text(element, &Value::from(value.text.as_str()), html)
    })
}

fn text(element: u64, words: &Value, html: bool) -> Value {
    json!({ "html": html, "text": words, "element": { "id": element } })
}

/// Whether an answer shows what was asked for: keys that a site may not change are passed over in silence.
pub(super) fn took(asked: &Map<String, Value>, answer: &Value) -> Result<()> {
    let ignored = |field: &str| Err(invalid(field, "the site passed it over"));
    let texts_of = |value: &Value| -> Vec<(Option<u64>, String)> {
        let mut texts: Vec<_> = list(value)
            .map(|text| {
                (
                    text["element"]["id"].as_u64(),
                    text["text"].as_str().unwrap_or_default().to_owned(),
                )
            })
            .collect();
        texts.sort();
        texts
    };
    let tags_of = |value: &Value| -> Vec<String> {
        let mut tags: Vec<String> = list(value)
            .filter_map(|tag| tag["name"].as_str())
            .map(str::to_lowercase)
            .collect();
        tags.sort();
        tags.dedup();
        tags
    };
    for (name, wanted) in asked {
        let got = &answer[name];
        let same = match name.as_str() {
            "element_texts" => texts_of(wanted) == texts_of(got),
            "tags" => tags_of(wanted) == tags_of(got),
            "collection" | "item_type" | "item" => wanted["id"] == got["id"],
            _ => wanted == got,
        };
        if !same {
            return ignored(name);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn old() -> Value {
        json!({"element_texts": [
            {"html": false, "text": "Title", "element": {"id": 50}},
            {"html": true, "text": "<b>A</b>", "element": {"id": 39}},
            {"html": false, "text": "Desc", "element": {"id": 41}},
            {"text": "B", "element": {"id": 39}}
        ]})
    }

    fn shown(texts: &[Value]) -> Vec<(u64, &str, bool)> {
        texts
            .iter()
            .map(|text| {
                (
                    text["element"]["id"].as_u64().unwrap_or_default(),
                    text["text"].as_str().unwrap_or_default(),
                    text["html"].as_bool().unwrap_or_default(),
                )
            })
            .collect()
    }

    #[test]
    fn a_change_keeps_all_other_texts_and_the_marks_of_its_own() {
        let values = ["<i>C</i>".into(), "D".into(), "E".into()];
        assert_eq!(
            shown(&texts(&old(), &[(39, &values)])),
            [
                (50, "Title", false),
                (39, "<i>C</i>", true),
                (39, "D", false),
                (39, "E", false),
                (41, "Desc", false)
            ]
        );
    }

    /// A value that came with its mark once left the mark of its position to the value after it.
    #[test]
    fn a_mark_stays_at_its_position() {
        let marked = Text {
            html: true,
            ..Text::from("<b>A</b>")
        };
        let values = [marked, "plain".into()];
        assert_eq!(
            shown(&texts(&old(), &[(39, &values)])),
            [
                (50, "Title", false),
                (39, "<b>A</b>", true),
                (39, "plain", false),
                (41, "Desc", false)
            ]
        );
    }

    #[test]
    fn an_empty_list_clears_an_element_and_a_new_one_comes_last() {
        let subject = ["Sea".into()];
        assert_eq!(
            shown(&texts(&old(), &[(39, &[]), (49, &subject)])),
            [(50, "Title", false), (41, "Desc", false), (49, "Sea", false)]
        );
    }

    #[test]
    fn what_the_site_would_refuse_half_way_is_refused_before() {
        assert_eq!(check_text("x", "emoji 😀").map_err(|e| e.kind), Err(ErrorKind::Invalid));
        assert!(check_text("x", "日本語").is_ok());
        assert!(flag("public", &["yes".into()]).is_err());
        assert!(order("order", &["-1".into()]).is_err());
    }

    #[test]
    fn fields_belong_to_their_kinds_of_records() {
        for (id, field, kind) in [
            (Id::File(1), "tags", Some(ErrorKind::Unsupported)),
            (Id::Collection(1), "item_type", Some(ErrorKind::Unsupported)),
            (Id::Item(1), "order", Some(ErrorKind::Unsupported)),
            (Id::File(1), "mime_type", Some(ErrorKind::Denied)),
            (Id::Item(1), "tags", None),
            (Id::File(1), "order", None),
        ] {
            let meaning = Meaning::of(field).expect("a field");
            assert_eq!(check_place(id, meaning, field).err().map(|e| e.kind), kind, "{field}");
        }
    }

    #[test]
    fn an_answer_without_the_change_is_noticed() {
        let asked = json!({"public": true, "tags": [{"name": "Sea"}, {"name": "sea"}]});
        let asked = asked.as_object().expect("an object");
        assert!(took(asked, &json!({"public": true, "tags": [{"id": 1, "name": "sea"}]})).is_ok());
        assert!(took(asked, &json!({"public": false, "tags": [{"id": 1, "name": "sea"}]})).is_err());
    }
}
