//! The fields of files (`caption`, `byline`, `priority`, `sortcode`, `filter`) and the order of a category.

use serde_json::Value;

use crate::model::{Access, Encoding, Entry, Field, FieldChanges, Fields, Kind, Value as FieldValue};
use crate::store::{ErrorKind, FieldName, Result, StoreError};

use super::decode::{self, File, Filter};

/// The names of a category's files in their order: a field of the category's folder.
pub(super) const ORDER: &str = "order";
/// Takes an enhancement away again.
const CLEAR: &str = "clear";

/// Known by other names, or shown as the entry itself.
const SHOWN_ELSEWHERE: [&str; 16] = [
    "id",
    "file_id",
    "filename",
    "name",
    "caption",
    "byline",
    "priority",
    "sortcode",
    "sort_code",
    "sort",
    "queue",
    "queued",
    "filter",
    "category",
    "category_id",
    "title",
];

fn field(text: impl Into<FieldValue>, access: Access) -> Field {
    Field {
        values: vec![text.into()],
        access,
    }
}

/// A scalar as text; `None` for nothing.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => (!text.is_empty()).then(|| text.clone()),
        other => Some(other.to_string()),
    }
}

/// All fields of a file.
pub(super) fn of_file(file: &File) -> Fields {
    let mut fields = Fields::new();
    for name in ["caption", "byline", "priority"] {
        if let Some(text) = file.told.get(name).and_then(scalar) {
            fields.insert(name.to_owned(), field(text, Access::ReadWrite));
        }
    }
    if let Some(sortcode) = file.sortcode {
        fields.insert("sortcode".to_owned(), field(sortcode.to_string(), Access::ReadWrite));
    }
    if let Filter::Applied(preset) = &file.filter {
        fields.insert("filter".to_owned(), field(preset.clone(), Access::ReadWrite));
    }
    if let Some(queue) = &file.queue {
        let queue = if queue.is_empty() { "queued" } else { queue };
        fields.insert("queue".to_owned(), field(queue, Access::ReadOnly));
    }
    let told = [
        ("width", decode::pixels(&file.told, "width").map(|px| px.to_string())),
        ("height", decode::pixels(&file.told, "height").map(|px| px.to_string())),
        (
            "filter_possible",
            decode::filter_possible(&file.told).map(|yes| yes.to_string()),
        ),
        ("preview_url", file.preview.clone()),
    ];
    for (name, text) in told {
        fields.extend(text.map(|text| (name.to_owned(), field(text, Access::ReadOnly))));
    }
    for (name, value) in &file.told {
        if let Some(text) = scalar(value).filter(|_| !SHOWN_ELSEWHERE.contains(&name.as_str())) {
            fields
                .entry(name.clone())
                .or_insert_with(|| field(text, Access::ReadOnly));
        }
    }
    fields
}

/// The fields of a category with these files.
pub(super) fn of_category<'a>(names: impl Iterator<Item = &'a str>) -> Fields {
    let values: Vec<FieldValue> = names.map(FieldValue::from).collect();
    let mut fields = Fields::new();
    if !values.is_empty() {
        fields.insert(
            ORDER.to_owned(),
            Field {
                values,
                access: Access::ReadWrite,
            },
        );
    }
    fields
}

/// Whether programs are told of a field, and copy it. Not of a file's place, which every file has, which is another one in
/// another category, and which cannot be taken away: `rsync -X` takes away what its source does not have. Nor of the
/// priority that every new file has.
pub(super) fn is_listed(item: &Entry, field: &str) -> bool {
    let value = || item.fields.get(field).map(|field| field.values.as_slice());
    match field {
        "sortcode" => false,
        "priority" => value() != Some(&["0".into()]),
        _ => true,
    }
}

/// What is to be done about a file's fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wishes {
    /// Parameters of `set-metadata`.
    pub(super) metadata: Vec<(&'static str, String)>,
    pub(super) sortcode: Option<i64>,
    /// The sortcode is only that of the file which a new one takes the place of: where it cannot be set, the new one is last.
    pub(super) sortcode_may_fail: bool,
    /// A preset, or `clear`.
    pub(super) filter: Option<String>,
}

impl Wishes {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn about(item: &str, field: &str, kind: ErrorKind, why: &str) -> StoreError {
    StoreError::new(kind, "check a field", format!("{item} {field}")).because(why.to_owned())
}

/// Reads changes of a file's fields.
pub(super) fn wishes(item: &Entry, changes: &FieldChanges) -> Result<Wishes> {
    let mut wishes = Wishes::default();
    for (name, values) in changes {
        let refuse = |kind, why| Err(about(item.id.as_str(), name, kind, why));
        let text = values
            .iter()
            .map(|value| value.text.as_str())
            .collect::<Vec<_>>()
            .join("\n");
        match name.as_str() {
            "caption" => wishes.metadata.push(("caption", text)),
            "byline" => wishes.metadata.push(("byline", text)),
            "priority" => match text.trim() {
                "" => wishes.metadata.push(("priority", "0".to_owned())),
                level @ ("0" | "1" | "2") => wishes.metadata.push(("priority", level.to_owned())),
                _ => return refuse(ErrorKind::Invalid, "the priority is 0, 1 or 2"),
            },
            "sortcode" => match text.trim().parse() {
                Ok(sortcode) => wishes.sortcode = Some(sortcode),
                Err(_) => {
                    return refuse(
                        ErrorKind::Invalid,
                        "the sortcode is a whole number and cannot be removed",
                    );
                }
            },
            "filter" => wishes.filter = Some(preset(item, &text)?),
            _ => return refuse(ErrorKind::Denied, "im4 has no such field that could be set"),
        }
    }
    Ok(wishes)
}

/// A preset's name becomes part of an address.
fn preset(item: &Entry, text: &str) -> Result<String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(CLEAR.to_owned());
    }
    if text
        .chars()
        .all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | ' '))
    {
        return Ok(text.to_owned());
    }
    Err(about(
        item.id.as_str(),
        "filter",
        ErrorKind::Invalid,
        "a preset is named with letters, digits, - and _",
    ))
}

/// What travels with a new file: its texts and its place. An enhancement does not: the bytes carry it already.
pub(super) fn of_new_file(item: &Entry, changes: &FieldChanges) -> Result<Wishes> {
    let settable = |name: &str| ["caption", "byline", "priority", "sortcode"].contains(&name);
    let kept = changes
        .iter()
        .filter(|(name, values)| settable(name) && !values.is_empty());
    let kept = kept.map(|(name, values)| (name.clone(), values.clone())).collect();
    let wishes = wishes(item, &kept)?;
    Ok(Wishes {
        sortcode_may_fail: wishes.sortcode.is_some(),
        ..wishes
    })
}

/// Whether the changes could be made.
pub(super) fn check(item: &Entry, changes: &FieldChanges) -> Result<()> {
    match item.kind {
        Kind::File => wishes(item, changes).map(|_| ()),
        Kind::Folder => match changes
            .keys()
            .find(|name| *name != ORDER || item.id.key_in("category").is_none())
        {
            Some(other) => {
                let why = "of folders, only the order of a category's files can be set";
                Err(about(item.id.as_str(), other, ErrorKind::Denied, why))
            }
            None => Ok(()),
        },
    }
}

/// The ids of a category's files in a wanted order of names: those that are named first, the others after them as they
/// were. Of several files of one name, the first named is the first of them.
pub(super) fn ordered(item: &Entry, files: &[&File], wanted: &[FieldValue]) -> Result<Vec<u64>> {
    let mut left: Vec<&File> = files.to_vec();
    let mut ids = Vec::with_capacity(left.len());
    for name in wanted {
        let Some(at) = left.iter().position(|file| file.name == name.text) else {
            let why = format!("the category has no file {:?}", name.text);
            return Err(about(item.id.as_str(), ORDER, ErrorKind::Invalid, &why));
        };
        ids.push(left.remove(at).id);
    }
    ids.extend(left.iter().map(|file| file.id));
    Ok(ids)
}

/// The field behind an extended attribute.
pub(super) fn by_xattr(xattr: &str, kind: Kind) -> Option<FieldName> {
    let field = match (kind, xattr) {
        (Kind::File, "xdg.comment" | "dublincore.description") => "caption",
        (Kind::File, "mime_type") => "mime_type",
        (Kind::File | Kind::Folder, other) => other.strip_prefix("im4.").filter(|field| !field.is_empty())?,
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

    fn item() -> Entry {
        Entry::file(
            ItemId::new("file:1-2"),
            "a.jpg",
            Vec::new(),
            1,
            ContentVersion::new("1"),
        )
    }

    fn change(name: &str, text: &str) -> FieldChanges {
        FieldChanges::from([(name.to_owned(), vec![text.into()])])
    }

    #[test]
    fn values_are_checked_before_anything_is_sent() {
        let kind = |changes: &FieldChanges| check(&item(), changes).map_err(|e| e.kind);
        assert_eq!(kind(&change("priority", "3")), Err(ErrorKind::Invalid));
        assert_eq!(kind(&change("priority", "2")), Ok(()));
        assert_eq!(kind(&change("filter", "../all")), Err(ErrorKind::Invalid));
        assert_eq!(kind(&change("queue", "x")), Err(ErrorKind::Denied));
        assert_eq!(kind(&change("sortcode", "first")), Err(ErrorKind::Invalid));
        let cleared = FieldChanges::from([("filter".to_owned(), Vec::new())]);
        assert_eq!(wishes(&item(), &cleared).unwrap().filter.as_deref(), Some("clear"));
    }

    #[test]
    fn what_a_picture_is_like_has_one_name_whatever_the_server_calls_it() {
        for told in [
            json!({"id": 1, "width": 30, "height": 20, "can_filter": true, "preview_url": "https://x/p"}),
            json!({"id": "1", "size": {"width": "30", "height": 20}, "filter_possible": "1",
                "details": {"preview": "https://x/p"}}),
        ] {
            let file = decode::file(told.as_object().unwrap().clone()).unwrap();
            let fields = of_file(&file);
            let text = |name: &str| fields.get(name).map(|f| f.values[0].text.clone()).unwrap_or_default();
            let told = ["width", "height", "filter_possible", "preview_url"].map(text);
            assert_eq!(told, ["30", "20", "true", "https://x/p"]);
        }
    }

    #[test]
    fn a_new_file_takes_what_a_listing_gave_and_no_enhancement() {
        let mut changes = change("caption", "c");
        changes.extend(change("filter", "warm"));
        changes.extend(change("preview_url", "https://x"));
        changes.extend(change("sortcode", "3"));
        let wishes = of_new_file(&item(), &changes).unwrap();
        assert_eq!(wishes.metadata, [("caption", "c".to_owned())]);
        assert_eq!((wishes.sortcode, wishes.filter), (Some(3), None));
    }

    #[test]
    fn an_order_names_files_and_the_others_follow() {
        let file = |id: u64, name: &str| {
            decode::file(json!({"id": id, "filename": name}).as_object().unwrap().clone()).unwrap()
        };
        let files = [file(1, "a"), file(2, "b"), file(3, "a"), file(4, "c")];
        let files: Vec<&File> = files.iter().collect();
        let wanted = ["c".into(), "a".into()];
        assert_eq!(ordered(&item(), &files, &wanted).unwrap(), [4, 1, 2, 3]);
        assert_eq!(
            ordered(&item(), &files, &["x".into()]).map_err(|e| e.kind),
            Err(ErrorKind::Invalid)
        );
    }
}
