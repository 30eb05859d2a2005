//! Making, changing and deleting records. PUT is partial by top-level key; keys that cannot be changed are passed over.

use serde_json::Value;

use crate::model::Timestamp;

use super::answer::Refusal;
use super::state::{Archive, Record, Role, User};
use super::{elements, texts};

impl User {
    /// Whether the user may make records.
    pub(super) fn may_create(&self) -> bool {
        match self.role {
            Role::Super | Role::Admin | Role::Contributor => true,
            Role::Researcher => false,
        }
    }

    /// Whether the user may change or delete what `owner` made.
    pub(super) fn may_change(&self, owner: u64) -> bool {
        match self.role {
            Role::Super | Role::Admin => true,
            Role::Contributor => self.id == owner,
            Role::Researcher => false,
        }
    }
}

/// Makes a collection.
pub(super) fn post_collection(
    archive: &mut Archive,
    user: &User,
    body: &Value,
    now: Timestamp,
) -> Result<u64, Refusal> {
    let texts = texts::parse(&body["element_texts"])?;
    let id = archive.add_collection(user.id, now);
    write_collection(archive, id, body, texts, now)?;
    Ok(id)
}

/// Changes a collection.
pub(super) fn put_collection(archive: &mut Archive, id: u64, body: &Value, now: Timestamp) -> Result<(), Refusal> {
    let texts = texts::parse(&body["element_texts"])?;
    write_collection(archive, id, body, texts, now)
}

fn write_collection(
    archive: &mut Archive,
    id: u64,
    body: &Value,
    texts: Vec<texts::NewText>,
    now: Timestamp,
) -> Result<(), Refusal> {
    let Some(mut record) = archive.collections.remove(&id) else {
        return Err(Refusal::not_found());
    };
    set_flags(&mut record, body, now);
    let done = replace_texts(archive, &mut record, body, texts);
    archive.collections.insert(id, record);
    done
}

/// Makes an item.
pub(super) fn post_item(archive: &mut Archive, user: &User, body: &Value, now: Timestamp) -> Result<u64, Refusal> {
    let texts = texts::parse(&body["element_texts"])?;
    let links = Links::read(archive, body)?;
    let id = archive.add_item(user.id, now);
    write_item(archive, id, body, links, texts, now)?;
    Ok(id)
}

/// Changes an item.
pub(super) fn put_item(archive: &mut Archive, id: u64, body: &Value, now: Timestamp) -> Result<(), Refusal> {
    let texts = texts::parse(&body["element_texts"])?;
    let links = Links::read(archive, body)?;
    write_item(archive, id, body, links, texts, now)
}

fn write_item(
    archive: &mut Archive,
    id: u64,
    body: &Value,
    links: Links,
    texts: Vec<texts::NewText>,
    now: Timestamp,
) -> Result<(), Refusal> {
    let Some(mut item) = archive.items.remove(&id) else {
        return Err(Refusal::not_found());
    };
    set_flags(&mut item.record, body, now);
    item.item_type = links.item_type.or(item.item_type);
    item.collection = links.collection.or(item.collection);
    let done = replace_texts(archive, &mut item.record, body, texts)
        .and_then(|()| tags(archive, &body["tags"]))
        .map(|tags| {
            if let Some(tags) = tags {
                item.tags = tags;
            }
        });
    archive.items.insert(id, item);
    done
}

/// Changes a file: only its order and its texts can be.
pub(super) fn put_file(archive: &mut Archive, id: u64, body: &Value, now: Timestamp) -> Result<(), Refusal> {
    if let Some(file) = archive.files.get_mut(&id) {
        file.record.modified = now;
    }
    apply_to_file(archive, id, body)
}

/// Sets order and texts of a file.
pub(super) fn apply_to_file(archive: &mut Archive, id: u64, body: &Value) -> Result<(), Refusal> {
    let texts = texts::parse(&body["element_texts"])?;
    let order = order(&body["order"])?;
    let Some(mut file) = archive.files.remove(&id) else {
        return Err(Refusal::not_found());
    };
    file.order = order.or(file.order);
    let done = replace_texts(archive, &mut file.record, body, texts);
    archive.files.insert(id, file);
    done
}

fn order(value: &Value) -> Result<Option<u64>, Refusal> {
    match value {
        Value::Null => Ok(None),
        Value::Number(number) if number.as_i64().is_some_and(|n| n < 0) => {
            Err(Refusal::database("Out of range value for column 'order' at row 1"))
        }
        value => match texts::integer(value) {
            Some(order) => Ok(Some(order)),
            None => Err(Refusal::database(&format!(
                "Incorrect integer value: '{}' for column `omeka`.`omeka_files`.`order` at row 1",
                value.as_str().unwrap_or_default()
            ))),
        },
    }
}

fn set_flags(record: &mut Record, body: &Value, now: Timestamp) {
    if !body["public"].is_null() {
        record.public = texts::truth(&body["public"]);
    }
    if !body["featured"].is_null() {
        record.featured = texts::truth(&body["featured"]);
    }
    record.modified = now;
}

/// Absent and null leave the texts alone; anything else replaces all of them.
fn replace_texts(
    archive: &mut Archive,
    record: &mut Record,
    body: &Value,
    texts: Vec<texts::NewText>,
) -> Result<(), Refusal> {
    if body["element_texts"].is_null() {
        return Ok(());
    }
    texts::replace(&mut record.texts, texts, || archive.next_text_row())
}

/// What an item belongs to; `None` keeps what it is.
struct Links {
    item_type: Option<u64>,
    collection: Option<u64>,
}

impl Links {
    fn read(archive: &Archive, body: &Value) -> Result<Self, Refusal> {
        let mut errors = Vec::new();
        let item_type = link(&body["item_type"], |id| elements::item_type(id).is_some());
        let collection = link(&body["collection"], |id| archive.collections.contains_key(&id));
        if item_type.is_err() {
            errors.push(("item_type_id", "Invalid item type."));
        }
        if collection.is_err() {
            errors.push(("collection_id", "Invalid collection."));
        }
        match (item_type, collection) {
            (Ok(item_type), Ok(collection)) => Ok(Self { item_type, collection }),
            _ => Err(Refusal::Invalid(errors)),
        }
    }
}

struct NoSuch;

/// `{"id":N}`; null is no change, so a link can never be taken away.
fn link(value: &Value, exists: impl Fn(u64) -> bool) -> Result<Option<u64>, NoSuch> {
    if value["id"].is_null() {
        return Ok(None);
    }
    match texts::integer(&value["id"]) {
        Some(id) if exists(id) => Ok(Some(id)),
        _ => Err(NoSuch),
    }
}

/// The tags of a body. Entries that are no maps are passed over; a map without a name fails all.
fn tags(archive: &mut Archive, value: &Value) -> Result<Option<Vec<u64>>, Refusal> {
    let Some(list) = value.as_array() else {
        return Ok(None);
    };
    let mut ids = Vec::new();
    for tag in list.iter().filter(|tag| tag.is_object()) {
        let name = tag["name"].as_str().unwrap_or_default().trim();
        if name.is_empty() {
            return Err(Refusal::server("Name: Tags must be given a name."));
        }
        if name.chars().count() > 255 {
            return Err(Refusal::database("Data too long for column 'name' at row 1"));
        }
        if let Some(at) = texts::four_byte_at(name) {
            return Err(Refusal::database(&format!(
                "Incorrect string value: '{}' for column `omeka`.`omeka_tags`.`name` at row 1",
                texts::escaped(&name[at..])
            )));
        }
        let id = archive.tag(name);
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(Some(ids))
}
