//! The shapes that the service sends, decoded loosely (contract, sections 2 and 5): ids are numbers or strings, any field
//! but an id may be missing, null or of another type.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A value that is made from whatever JSON is there, and empty when that makes no sense.
trait Loose: Sized {
    fn from_json(value: &Value) -> Self;
}

fn loose<'de, D: Deserializer<'de>, T: Loose>(from: D) -> Result<T, D::Error> {
    Ok(T::from_json(&Value::deserialize(from)?))
}

fn required_id<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let value = Value::deserialize(from)?;
    number(&value).ok_or_else(|| serde::de::Error::custom("an id is neither a number nor a string of digits"))
}

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(n) => n.as_u64(),
        Value::String(s) => s.trim().parse().ok(),
        _ => None,
    }
}

impl Loose for Option<u64> {
    fn from_json(value: &Value) -> Self {
        number(value)
    }
}

impl Loose for Option<String> {
    fn from_json(value: &Value) -> Self {
        match value {
            Value::String(s) => Some(s.clone()),
            Value::Number(n) => Some(n.to_string()),
            _ => None,
        }
    }
}

impl Loose for String {
    fn from_json(value: &Value) -> Self {
        Option::<String>::from_json(value).unwrap_or_default()
    }
}

impl Loose for bool {
    fn from_json(value: &Value) -> Self {
        match value {
            Value::Bool(b) => *b,
            Value::Number(n) => n.as_f64() != Some(0.0),
            Value::String(s) => !matches!(s.as_str(), "" | "0" | "false"),
            _ => false,
        }
    }
}

impl Loose for Option<Vec<u64>> {
    fn from_json(value: &Value) -> Self {
        value.as_array().map(|all| all.iter().filter_map(number).collect())
    }
}

/// Lists inside a record: elements that make no sense are left out.
impl<T: DeserializeOwned> Loose for Vec<T> {
    fn from_json(value: &Value) -> Self {
        let all = value.as_array().map(Vec::as_slice).unwrap_or_default();
        all.iter().filter_map(|one| T::deserialize(one).ok()).collect()
    }
}

/// A folder.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Folder {
    #[serde(deserialize_with = "required_id")]
    pub(super) id: u64,
    #[serde(default, deserialize_with = "loose")]
    pub(super) name: String,
    #[serde(default, deserialize_with = "loose")]
    pub(super) parent_id: Option<u64>,
    #[serde(default, deserialize_with = "loose")]
    pub(super) user_id: Option<String>,
    #[serde(default, deserialize_with = "loose")]
    pub(super) created_on: Option<String>,
    #[serde(default, deserialize_with = "loose")]
    pub(super) updated_on: Option<String>,
    #[serde(default, deserialize_with = "loose")]
    pub(super) metagroup_id: Option<u64>,
    #[serde(default, deserialize_with = "loose")]
    pub(super) asset_count: Option<u64>,
    #[serde(default, deserialize_with = "loose")]
    pub(super) child_count: Option<u64>,
    #[serde(default, deserialize_with = "loose")]
    deleted: bool,
    #[serde(default, deserialize_with = "loose")]
    deleted_timestamp: bool,
}

/// A value of a metadata term.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct TermValue {
    #[serde(deserialize_with = "required_id")]
    pub(super) term_id: u64,
    #[serde(default, deserialize_with = "loose")]
    pub(super) value: String,
}

/// A keyword on a file.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Tag {
    #[serde(deserialize_with = "required_id")]
    pub(super) tag_id: u64,
    #[serde(default, deserialize_with = "loose")]
    value: Option<String>,
    #[serde(default, deserialize_with = "loose")]
    tag_value: Option<String>,
}

impl Tag {
    /// Its text, under either of the two names that the documents give it.
    pub(super) fn text(&self) -> &str {
        self.value.as_deref().or(self.tag_value.as_deref()).unwrap_or_default()
    }
}

/// A file.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct File {
    #[serde(deserialize_with = "required_id")]
    pub(super) id: u64,
    #[serde(default, deserialize_with = "loose")]
    pub(super) filename: String,
    #[serde(default, deserialize_with = "loose")]
    pub(super) size: Option<u64>,
    #[serde(default, deserialize_with = "loose")]
    pub(super) width: Option<u64>,
    #[serde(default, deserialize_with = "loose")]
    pub(super) height: Option<u64>,
    #[serde(default, deserialize_with = "loose")]
    pub(super) content_type: Option<String>,
    #[serde(default, deserialize_with = "loose")]
    pub(super) created_at: Option<String>,
    #[serde(default, deserialize_with = "loose")]
    pub(super) updated_on: String,
    #[serde(default, deserialize_with = "loose")]
    pub(super) user_id: Option<String>,
    #[serde(default, deserialize_with = "loose")]
    pub(super) file_type_id: Option<u64>,
    /// `None` where the answer does not tell, which is not the same as nowhere.
    #[serde(default, deserialize_with = "loose")]
    pub(super) folder_ids: Option<Vec<u64>>,
    #[serde(default, deserialize_with = "loose")]
    deleted: bool,
    #[serde(default, deserialize_with = "loose")]
    pub(super) expires_on: Option<String>,
    #[serde(default, deserialize_with = "loose")]
    pub(super) short_lived_thumbnail: Option<String>,
    #[serde(default, deserialize_with = "loose")]
    pub(super) terms: Vec<TermValue>,
    #[serde(default, deserialize_with = "loose")]
    pub(super) tags: Vec<Tag>,
}

impl File {
    /// Whether the server still works on a file that it fetches itself.
    pub(super) fn is_processing(&self) -> bool {
        let placeholder = self
            .short_lived_thumbnail
            .as_deref()
            .is_some_and(|t| t.ends_with("/processing.png"));
        self.size.unwrap_or(0) == 0 && placeholder
    }
}

/// What a listing is made of.
pub(super) trait Listed: DeserializeOwned + Clone + Send + Sync + 'static {
    fn id(&self) -> u64;
    fn is_deleted(&self) -> bool;
}

impl Listed for Folder {
    fn id(&self) -> u64 {
        self.id
    }

    fn is_deleted(&self) -> bool {
        self.deleted || self.deleted_timestamp
    }
}

impl Listed for File {
    fn id(&self) -> u64 {
        self.id
    }

    fn is_deleted(&self) -> bool {
        self.deleted
    }
}

/// The `pagination` of a folder's children.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Pagination {
    #[serde(default, deserialize_with = "loose")]
    pub(super) next: Option<u64>,
    #[serde(default, deserialize_with = "loose")]
    pub(super) pages: Option<u64>,
}

/// One page of a listing, in either style.
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    pub(super) pagination: Option<Pagination>,
}

/// An answer that is not what the contract says.
#[derive(Debug)]
pub(super) struct Malformed(String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Malformed {}

/// Reads one page: a bare array, or an object that holds it under `key`. One element that cannot be read spoils the page,
/// because without it the list would be short.
pub(super) fn page<T: DeserializeOwned>(body: &[u8], key: &str) -> Result<Page<T>, Malformed> {
    let malformed = |e: serde_json::Error| Malformed(e.to_string());
    let mut value: Value = serde_json::from_slice(body).map_err(malformed)?;
    let mut pagination = None;
    if let Value::Object(object) = &mut value {
        pagination = object.get("pagination").and_then(|p| Pagination::deserialize(p).ok());
        value = object
            .remove(key)
            .ok_or_else(|| Malformed(format!("a page without {key}")))?;
    }
    let items = serde_json::from_value(value).map_err(malformed)?;
    Ok(Page { items, pagination })
}

/// Reads `bytes` as every kind of answer and looks at what was read.
pub(super) fn read_anything(bytes: &[u8]) {
    for key in ["files", "folders", "file_types", "keywords"] {
        drop(page::<Folder>(bytes, key));
        drop(page::<FileType>(bytes, key));
        drop(page::<Keyword>(bytes, key));
        for file in page::<File>(bytes, key).into_iter().flat_map(|page| page.items) {
            file.is_processing();
            file.is_deleted();
        }
    }
    drop(serde_json::from_slice::<File>(bytes));
    drop(serde_json::from_slice::<Folder>(bytes));
    drop(serde_json::from_slice::<Job>(bytes));
    drop(serde_json::from_slice::<Version>(bytes));
    drop(serde_json::from_slice::<QuickLink>(bytes));
    drop(serde_json::from_slice::<Subdomain>(bytes));
    drop(serde_json::from_slice::<User>(bytes));
}

/// A file of an upload job.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct JobFile {
    #[serde(deserialize_with = "required_id")]
    pub(super) id: u64,
}

/// An upload job.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Job {
    #[serde(deserialize_with = "required_id")]
    pub(super) id: u64,
    #[serde(default, deserialize_with = "loose")]
    pub(super) files: Vec<JobFile>,
    #[serde(default, deserialize_with = "loose")]
    pub(super) finished: bool,
    #[serde(default, deserialize_with = "loose")]
    pub(super) asset_id: Option<u64>,
}

/// The answer to the begin of a new version.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Version {
    pub(super) uuid: String,
}

/// A quick link.
#[derive(Clone, Deserialize)]
pub(super) struct QuickLink {
    #[serde(deserialize_with = "required_id")]
    pub(super) id: u64,
    #[serde(default, deserialize_with = "loose")]
    pub(super) purpose: String,
    #[serde(default, deserialize_with = "loose")]
    pub(super) created_at: Option<String>,
    #[serde(default, deserialize_with = "loose")]
    pub(super) processing: bool,
    #[serde(default, deserialize_with = "loose")]
    pub(super) asset_id: Option<u64>,
    #[serde(default, deserialize_with = "loose")]
    pub(super) url: Option<String>,
}

impl Listed for QuickLink {
    fn id(&self) -> u64 {
        self.id
    }

    fn is_deleted(&self) -> bool {
        false
    }
}

/// A subscription of an address to one kind of change.
#[derive(Clone, Deserialize)]
pub(super) struct Webhook {
    #[serde(deserialize_with = "required_id")]
    pub(super) id: u64,
    #[serde(default, deserialize_with = "loose")]
    pub(super) resource: String,
    #[serde(default, deserialize_with = "loose")]
    pub(super) action: String,
    #[serde(default, deserialize_with = "loose")]
    pub(super) url: String,
}

impl Listed for Webhook {
    fn id(&self) -> u64 {
        self.id
    }

    fn is_deleted(&self) -> bool {
        false
    }
}

/// A choice of a term.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct TermOption {
    #[serde(default, deserialize_with = "loose")]
    pub(super) value: String,
}

/// A metadata term of a file type.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Term {
    #[serde(deserialize_with = "required_id")]
    pub(super) id: u64,
    #[serde(default, deserialize_with = "loose")]
    pub(super) name: String,
    #[serde(default, deserialize_with = "loose")]
    pub(super) metaterm_options: Vec<TermOption>,
}

/// A file type (metadata template).
#[derive(Clone, Debug, Deserialize)]
pub(super) struct FileType {
    #[serde(deserialize_with = "required_id")]
    pub(super) id: u64,
    #[serde(default, deserialize_with = "loose")]
    pub(super) name: String,
    #[serde(default, deserialize_with = "loose")]
    pub(super) terms: Vec<Term>,
}

impl Listed for FileType {
    fn id(&self) -> u64 {
        self.id
    }

    fn is_deleted(&self) -> bool {
        false
    }
}

/// A keyword, or a set of them.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Keyword {
    #[serde(deserialize_with = "required_id")]
    pub(super) id: u64,
    #[serde(default, deserialize_with = "loose")]
    pub(super) name: String,
    #[serde(default, deserialize_with = "loose")]
    deleted_at: bool,
}

impl Listed for Keyword {
    fn id(&self) -> u64 {
        self.id
    }

    fn is_deleted(&self) -> bool {
        self.deleted_at
    }
}

/// Files that somebody put together.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Collection {
    #[serde(deserialize_with = "required_id")]
    pub(super) id: u64,
    #[serde(default, deserialize_with = "loose")]
    pub(super) name: String,
}

impl Listed for Collection {
    fn id(&self) -> u64 {
        self.id
    }

    fn is_deleted(&self) -> bool {
        false
    }
}

/// Where an account lives.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Subdomain {
    #[serde(default, deserialize_with = "loose")]
    pub(super) domain_with_sub_domain: Option<String>,
}

/// The user behind the login.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct User {
    #[serde(deserialize_with = "required_id")]
    pub(super) id: u64,
    #[serde(default, deserialize_with = "loose")]
    pub(super) login: Option<String>,
    #[serde(default, deserialize_with = "loose")]
    pub(super) email: Option<String>,
    #[serde(default)]
    pub(super) subdomain: Option<Subdomain>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn ids_are_numbers_or_strings_and_the_rest_may_be_missing() {
        let file: File = serde_json::from_value(json!({
            "id": "17", "filename": "a.jpg", "size": "12", "deleted": null, "folder_ids": ["3", 4, null],
            "terms": [{"term_id": 1, "value": null}, {"value": "lost"}],
            "tags": [{"tag_id": "5", "tag_value": "A Tag"}, {"tag_id": 6, "value": "B"}]
        }))
        .expect("a file");
        assert_eq!(
            (file.id, file.size, file.folder_ids.as_deref()),
            (17, Some(12), Some(&[3, 4][..]))
        );
        assert!(!file.is_deleted());
        assert_eq!(file.terms.len(), 1);
        assert_eq!(file.tags.iter().map(Tag::text).collect::<Vec<_>>(), ["A Tag", "B"]);
        let bare: File = serde_json::from_value(json!({"id": 1})).expect("a file");
        assert_eq!((bare.filename.as_str(), bare.size, bare.folder_ids), ("", None, None));
        assert!(serde_json::from_value::<File>(json!({"filename": "no id"})).is_err());
    }

    #[test]
    fn a_page_comes_in_two_styles_and_is_never_short() {
        let a = page::<Folder>(
            br#"{"folders":[{"id":1}],"pagination":{"pages":3,"next":2}}"#,
            "folders",
        )
        .expect("a page");
        assert_eq!((a.items.len(), a.pagination.and_then(|p| p.pages)), (1, Some(3)));
        assert_eq!(
            page::<File>(br#"[{"id":1},{"id":2}]"#, "files")
                .expect("a page")
                .items
                .len(),
            2
        );
        for broken in [&br#"[{"id":1},{"filename":"x"}]"#[..], b"{}", b"<html>", b"null"] {
            assert!(page::<File>(broken, "files").is_err());
        }
    }

    #[test]
    fn deleted_has_many_forms() {
        for (value, deleted) in [
            (json!(null), false),
            (json!(false), false),
            (json!(0), false),
            (json!(true), true),
        ] {
            let file: File = serde_json::from_value(json!({"id": 1, "deleted": value})).expect("a file");
            assert_eq!(file.is_deleted(), deleted);
        }
        let folder: Folder = serde_json::from_value(json!({"id": 1, "deleted_timestamp": 0})).expect("a folder");
        assert!(!folder.is_deleted());
        let folder: Folder = serde_json::from_value(json!({"id": 1, "deleted_timestamp": 17})).expect("a folder");
        assert!(folder.is_deleted());
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            let key = "(id|filename|name|size|terms|tags|term_id|value|folder_ids|deleted|files|pagination|folders)";
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map(key, inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_json_decodes_or_is_refused_and_an_id_is_enough(mut value in any_json(), id in any::<u64>()) {
            let text = value.to_string();
            let (files, folders) = (page::<File>(text.as_bytes(), "files"), page::<Folder>(text.as_bytes(), "folders"));
            prop_assert!(value.is_array() || value.is_object() || (files.is_err() && folders.is_err()));
            if let Value::Object(object) = &mut value {
                object.insert("id".to_owned(), id.into());
                prop_assert_eq!(File::deserialize(&value).map(|f| f.id).ok(), Some(id));
                prop_assert_eq!(Folder::deserialize(&value).map(|f| f.id).ok(), Some(id));
                prop_assert_eq!(Job::deserialize(&value).map(|f| f.id).ok(), Some(id));
                prop_assert_eq!(FileType::deserialize(&value).map(|f| f.id).ok(), Some(id));
            }
        }
    }
}
