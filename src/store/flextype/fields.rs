//! The metadata that the site keeps beside a file. Texts are fields of their own; what is nested is reached with dots,
//! as the API writes it (`custom.mtime`).

use serde_json::Value;

use crate::model::{Access, Encoding, Entry, Field, FieldChanges, Fields, Kind, Value as FieldValue};
use crate::store::{ErrorKind, FieldName, Result, StoreError};

use super::decode::Object;

/// Told by the site itself: readable, and nothing that a program may write.
const TOLD_BY_THE_SITE: [&str; 10] = [
    "type",
    "filesize",
    "uploaded_on",
    "exif",
    "filename",
    "basename",
    "extension",
    "dirname",
    "url",
    "full_url",
];

/// Whether the site makes this field up.
fn is_told(field: &str) -> bool {
    field == Entry::ALTERED || TOLD_BY_THE_SITE.contains(&field.split('.').next().unwrap_or(field))
}

/// All fields of a file's object. Empty texts are no values.
pub(super) fn of_object(object: &Object) -> Fields {
    let mut fields = Fields::new();
    for (name, value) in object {
        add(&mut fields, name, value);
    }
    fields
}

fn add(fields: &mut Fields, name: &str, value: &Value) {
    let (text, access) = match value {
        Value::String(text) if is_told(name) => (text.clone(), Access::ReadOnly),
        Value::String(text) => (text.clone(), Access::ReadWrite),
        other => (other.to_string(), Access::ReadOnly),
    };
    if !text.is_empty() {
        let values = vec![text.into()];
        fields.insert(name.to_owned(), Field { values, access });
    }
    if let Value::Object(inner) = value
        && !is_told(name)
    {
        for (key, value) in inner {
            // A dot inside a key cannot be written in a path of keys.
            if !key.contains('.') && !key.is_empty() {
                add(fields, &format!("{name}.{key}"), value);
            }
        }
    }
}

/// Whether programs are told of a field, and copy it. Not of a title that only repeats the file's name, as every new file's
/// does: a copy under another name has its own, and `rsync -X` would take it away.
pub(super) fn is_listed(item: &Entry, field: &str) -> bool {
    let stem = item.name.rsplit_once('.').map_or(item.name.as_str(), |(stem, _)| stem);
    field != "title" || item.fields.get(field).map(|field| field.values.as_slice()) != Some(&[stem.into()])
}

/// What the object holds at a path of keys.
pub(super) fn find<'a>(object: &'a Object, field: &str) -> Option<&'a Value> {
    match field.split_once('.') {
        None => object.get(field),
        Some((outer, inner)) => find(object.get(outer)?.as_object()?, inner),
    }
}

/// The one text that the site keeps for several values: one a line.
pub(super) fn joined(values: &[FieldValue]) -> String {
    values
        .iter()
        .map(|value| value.text.as_str())
        .collect::<Vec<_>>()
        .join("\n")
}

/// Whether the changes could be made to an item like this.
pub(super) fn check(item: &Entry, changes: &FieldChanges) -> Result<()> {
    let about = |kind, field: &str| StoreError::new(kind, "check a field", format!("{} {field}", item.id));
    for (field, values) in changes {
        match item.kind {
            Kind::Folder => return Err(about(ErrorKind::Denied, field).because("folders of the site have no metadata")),
            Kind::File => {}
        }
        let fixed = item
            .fields
            .get(field)
            .is_some_and(|known| known.access == Access::ReadOnly);
        if fixed || is_told(field) {
            return Err(about(ErrorKind::Denied, field).because("the site itself tells this field"));
        }
        if field.split('.').any(str::is_empty) {
            return Err(about(ErrorKind::Invalid, field).because("a field's name is words with dots between them"));
        }
        if values.iter().any(|value| value.text.contains('\0')) {
            return Err(about(ErrorKind::Invalid, field).because("a value cannot hold a NUL"));
        }
    }
    Ok(())
}

/// The changes that can be written at all: what a listing gave may hold fields that the site tells by itself.
pub(super) fn writable(changes: &FieldChanges) -> impl Iterator<Item = (&str, String)> {
    let writable = changes
        .iter()
        .filter(|(field, values)| !is_told(field) && !values.is_empty());
    writable.map(|(field, values)| (field.as_str(), joined(values)))
}

/// The fields that move to a file's new content: all texts of its own.
pub(super) fn carried(fields: &Fields) -> impl Iterator<Item = (&str, String)> {
    let own = fields.iter().filter(|(_, field)| field.access == Access::ReadWrite);
    own.map(|(name, field)| (name.as_str(), joined(&field.values)))
}

/// The field behind an extended attribute.
pub(super) fn by_xattr(xattr: &str, kind: Kind) -> Option<FieldName> {
    match kind {
        Kind::Folder => return None,
        Kind::File => {}
    }
    let field = match xattr {
        "xdg.comment" | "dublincore.description" => "description",
        "dublincore.title" => "title",
        "mime_type" => "type",
        other => other.strip_prefix("flextype.").filter(|field| !field.is_empty())?,
    };
    Some(FieldName {
        field: field.to_owned(),
        encoding: Encoding::Lines,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ContentVersion, ItemId};
    use serde_json::json;

    #[test]
    fn texts_are_writable_and_the_rest_is_readable_as_json() {
        let object = json!({
            "title": "New Title", "description": "", "filesize": "5", "exif": {"Height": 800},
            "custom": {"mtime": "1600000000", "n": 3},
        });
        let fields = of_object(object.as_object().unwrap());
        let told = |name: &str| fields.get(name).map(|f| (f.values[0].text.as_str(), f.access));
        assert_eq!(told("title"), Some(("New Title", Access::ReadWrite)));
        assert_eq!(told("description"), None);
        assert_eq!(told("filesize"), Some(("5", Access::ReadOnly)));
        assert_eq!(told("exif"), Some(("{\"Height\":800}", Access::ReadOnly)));
        assert_eq!(told("custom.mtime"), Some(("1600000000", Access::ReadWrite)));
        assert_eq!(told("custom.n"), Some(("3", Access::ReadOnly)));
        assert_eq!(told("custom").map(|(_, access)| access), Some(Access::ReadOnly));
    }

    #[test]
    fn what_the_site_tells_cannot_be_set() {
        let item = Entry::file(
            ItemId::new("file:/a.txt"),
            "a.txt",
            Vec::new(),
            1,
            ContentVersion::new("1"),
        );
        let change = |field: &str| FieldChanges::from([(field.to_owned(), vec!["x".into()])]);
        assert_eq!(
            check(&item, &change("filesize")).map_err(|e| e.kind),
            Err(ErrorKind::Denied)
        );
        assert_eq!(
            check(&item, &change("exif.Height")).map_err(|e| e.kind),
            Err(ErrorKind::Denied)
        );
        assert_eq!(
            check(&item, &change("a..b")).map_err(|e| e.kind),
            Err(ErrorKind::Invalid)
        );
        assert!(check(&item, &change("custom.mtime")).is_ok());
        let folder = Entry::folder(ItemId::new("folder:/a"), "a", Vec::new());
        assert_eq!(
            check(&folder, &change("title")).map_err(|e| e.kind),
            Err(ErrorKind::Denied)
        );
    }

    #[test]
    fn the_desktops_names_lead_to_the_sites_fields() {
        let field = |xattr| by_xattr(xattr, Kind::File).map(|name| name.field);
        assert_eq!(field("xdg.comment").as_deref(), Some("description"));
        assert_eq!(field("flextype.custom.mtime").as_deref(), Some("custom.mtime"));
        assert_eq!(field("omeka.title"), None);
        assert_eq!(by_xattr("flextype.title", Kind::Folder), None);
    }
}
