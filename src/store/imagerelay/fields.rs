//! Metadata as fields: `term.<Name>`, `append.<Name>`, `tags`, `file_type` and what can only be read.

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};

use super::templates::FileTypes;
use super::wire::{File, FileType, Folder, Term};
use super::{Core, errors, files, keys};
use crate::http::Request;
use crate::model::{Access, ContentVersion, Encoding, Entry, Field, FieldChanges, Fields, Kind, Value};
use crate::store::{ErrorKind, FieldName, Result, StoreError};

const SET: &str = "set metadata";
const READ_ONLY_OF_FILES: [&str; 8] = [
    "content_type",
    "width",
    "height",
    "expires_on",
    "created_at",
    "updated_on",
    "user_id",
    "file_type",
];
const READ_ONLY_OF_FOLDERS: [&str; 3] = ["created_on", "updated_on", "user_id"];

/// The field behind an extended attribute's name without `user.`.
pub(super) fn field_name(xattr: &str, kind: Kind) -> Option<FieldName> {
    let name = |field: &str, encoding| FieldName {
        field: field.to_owned(),
        encoding,
    };
    match (xattr, kind) {
        ("xdg.tags", Kind::File) => return Some(name("tags", Encoding::Commas)),
        ("mime_type", Kind::File) => return Some(name("content_type", Encoding::Lines)),
        _ => {}
    }
    let field = xattr.strip_prefix("imagerelay.")?;
    let ours = match kind {
        Kind::Folder => READ_ONLY_OF_FOLDERS.contains(&field),
        Kind::File => parse(field).is_some(),
    };
    ours.then(|| name(field, Encoding::Lines))
}

/// A file's field by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known<'a> {
    Term(&'a str),
    Append(&'a str),
    Tags,
    FileType,
    ReadOnly,
}

fn parse(field: &str) -> Option<Known<'_>> {
    let known = match field {
        "tags" => Known::Tags,
        "file_type" => Known::FileType,
        other if READ_ONLY_OF_FILES.contains(&other) => Known::ReadOnly,
        other => match other.split_once('.')? {
            ("term", name) if !name.is_empty() => Known::Term(name),
            ("append", name) if !name.is_empty() => Known::Append(name),
            _ => return None,
        },
    };
    Some(known)
}

fn read_only(fields: &mut Fields, name: &str, value: Option<String>) {
    if let Some(text) = value.filter(|text| !text.is_empty()) {
        let field = Field {
            values: vec![text.into()],
            access: Access::ReadOnly,
        };
        fields.insert(name.to_owned(), field);
    }
}

fn writable(values: Vec<Value>) -> Field {
    Field {
        values,
        access: Access::ReadWrite,
    }
}

/// The lines of a term's text are its values, so that reading and setting them changes nothing.
fn term_values(text: &str) -> Vec<Value> {
    text.split('\n').map(Value::from).collect()
}

fn term_text(values: &[Value]) -> String {
    let lines: Vec<&str> = values.iter().map(|v| v.text.as_str()).collect();
    lines.join("\n")
}

/// A file's fields, and whether they are all: without the file types, terms have no names.
pub(super) fn of_file(file: &File, types: Option<&FileTypes>) -> (Fields, bool) {
    let mut fields = Fields::new();
    let number = |n: Option<u64>| n.map(|n| n.to_string());
    read_only(&mut fields, "content_type", file.content_type.clone());
    read_only(&mut fields, "width", number(file.width));
    read_only(&mut fields, "height", number(file.height));
    read_only(&mut fields, "expires_on", file.expires_on.clone());
    read_only(&mut fields, "created_at", file.created_at.clone());
    read_only(&mut fields, "updated_on", Some(file.updated_on.clone()));
    read_only(&mut fields, "user_id", file.user_id.clone());
    read_only(&mut fields, "file_type", number(file.file_type_id));
    let tags: Vec<Value> = file.tags.iter().map(|tag| tag.text().into()).collect();
    if !tags.is_empty() {
        fields.insert("tags".to_owned(), writable(tags));
    }
    let mut complete = true;
    // An empty value comes as "" or " ".
    for term in file.terms.iter().filter(|t| !t.value.trim().is_empty()) {
        match types.and_then(|types| types.term(term.term_id)) {
            Some((file_type, known)) => {
                fields.insert(
                    format!("term.{}", file_type.label(known)),
                    writable(term_values(&term.value)),
                );
            }
            None => complete = false,
        }
    }
    (fields, complete)
}

/// A folder's fields.
pub(super) fn of_folder(folder: &Folder) -> Fields {
    let mut fields = Fields::new();
    read_only(&mut fields, "created_on", folder.created_on.clone());
    read_only(&mut fields, "updated_on", folder.updated_on.clone());
    read_only(&mut fields, "user_id", folder.user_id.clone());
    fields
}

/// What of the wanted fields travels inside an upload.
#[derive(Default)]
pub(super) struct UploadFields {
    pub(super) terms: Vec<Json>,
    pub(super) keyword_ids: Vec<u64>,
}

/// Changes of one file, resolved to the service's ids.
#[derive(Default)]
struct Resolved {
    overwrite: Vec<Json>,
    append: Vec<Json>,
    /// The wanted tags, if they are to change.
    tags: Option<Vec<String>>,
}

fn resolve(changes: &FieldChanges, file_type: Option<&FileType>) -> std::result::Result<Resolved, StoreError> {
    let mut resolved = Resolved::default();
    for (field, values) in changes {
        match parse(field) {
            Some(Known::Term(name)) => resolved.overwrite.push(term_json(name, values, file_type)?),
            Some(Known::Append(name)) => resolved.append.push(term_json(name, values, file_type)?),
            Some(Known::Tags) => resolved.tags = Some(values.iter().map(|v| v.text.clone()).collect()),
            // Chosen when the file is made; the caller has seen to that.
            Some(Known::FileType) => {}
            Some(Known::ReadOnly) => {
                let why = format!("{field} can only be read");
                return Err(StoreError::new(ErrorKind::Denied, SET, field).because(why));
            }
            None => return Err(errors::invalid(SET, field, "Image Relay has no such field")),
        }
    }
    Ok(resolved)
}

fn term_json(label: &str, values: &[Value], file_type: Option<&FileType>) -> Result<Json> {
    let Some(file_type) = file_type else {
        return Err(errors::invalid(
            SET,
            label,
            "the file's type is not known, so neither are its terms",
        ));
    };
    let Some(term) = file_type.term_called(label) else {
        let names: Vec<String> = file_type.terms.iter().map(|t| file_type.label(t)).collect();
        let why = format!(
            "the file type {} has no such term; it has: {}",
            file_type.name,
            names.join(", ")
        );
        return Err(errors::invalid(SET, label, why));
    };
    check_options(term, values)?;
    Ok(json!({"term_id": term.id, "value": term_text(values)}))
}

/// A term with choices takes only these; how the service writes several is not documented, so commas are let through.
fn check_options(term: &Term, values: &[Value]) -> Result<()> {
    let offered = |text: &str| text.trim().is_empty() || term.metaterm_options.iter().any(|o| o.value == text);
    for value in values.iter().filter(|_| !term.metaterm_options.is_empty()) {
        if !offered(&value.text) && !value.text.split(',').all(|part| offered(part.trim())) {
            let choices: Vec<&str> = term.metaterm_options.iter().map(|o| o.value.as_str()).collect();
            let why = format!("{} is none of its choices: {}", value.text, choices.join(", "));
            return Err(errors::invalid(SET, &term.name, why));
        }
    }
    Ok(())
}

fn file_type_of(item: &Entry) -> Option<u64> {
    item.fields.get("file_type")?.values.first()?.text.parse().ok()
}

/// Whether a file carries a tag; the service does not tell upper from lower case.
pub(super) fn has_tag(item: &Entry, tag: &str) -> bool {
    tags_of(item)
        .iter()
        .any(|held| held.to_lowercase() == tag.to_lowercase())
}

fn tags_of(item: &Entry) -> BTreeSet<&str> {
    let tags = item.fields.get("tags").map(|f| f.values.as_slice()).unwrap_or_default();
    tags.iter().map(|v| v.text.as_str()).collect()
}

fn needs_terms(changes: &FieldChanges) -> bool {
    changes
        .keys()
        .any(|field| matches!(parse(field), Some(Known::Term(_) | Known::Append(_))))
}

impl Core {
    /// Whether the changes could be made.
    pub(super) async fn check_fields(&self, item: &Entry, changes: &FieldChanges) -> Result<()> {
        if item.kind == Kind::Folder {
            let Some(field) = changes.keys().next() else {
                return Ok(());
            };
            let why = "Image Relay keeps no metadata of folders that could be changed";
            return Err(StoreError::new(ErrorKind::Denied, SET, field).because(why));
        }
        let exists = item.id.key_in(keys::FILE).is_some();
        let mut type_id = file_type_of(item).or(self.config.file_type);
        if let Some(wanted) = changes.get("file_type").and_then(|values| values.first()) {
            let types = self.templates.file_types().await?;
            let Some(wanted) = types.find(&wanted.text) else {
                let why = format!("there is no such file type; there are: {}", types.listed());
                return Err(errors::invalid(SET, &wanted.text, why));
            };
            if exists && type_id != Some(wanted.id) {
                let why = "the type of a file can only be chosen before it is uploaded";
                return Err(StoreError::new(ErrorKind::Denied, SET, "file_type").because(why));
            }
            type_id = Some(wanted.id);
        }
        let types = if needs_terms(changes) {
            Some(self.templates.file_types().await?)
        } else {
            None
        };
        let file_type = types
            .as_ref()
            .and_then(|types| type_id.map_or_else(|| types.only(), |id| types.get(id)));
        // A file that is not there yet gets its type from its folder: what cannot be told now is told by the upload.
        if file_type.is_none() && !exists {
            return Ok(());
        }
        let resolved = resolve(changes, file_type)?;
        if self.config.keyword_set.is_none() {
            let have = tags_of(item);
            for tag in resolved
                .tags
                .iter()
                .flatten()
                .filter(|tag| !have.contains(tag.as_str()))
            {
                self.templates.keyword_ids(&[tag], None).await?;
            }
        }
        Ok(())
    }

    /// The parts of the wanted fields that an upload carries.
    pub(super) async fn upload_fields(&self, changes: &FieldChanges, file_type: u64) -> Result<UploadFields> {
        let types = if needs_terms(changes) {
            Some(self.templates.file_types().await?)
        } else {
            None
        };
        let resolved = resolve(changes, types.as_ref().and_then(|types| types.get(file_type)))?;
        let tags = resolved.tags.unwrap_or_default();
        let names: Vec<&str> = tags.iter().map(String::as_str).collect();
        let terms = resolved.overwrite.into_iter().chain(resolved.append).collect();
        Ok(UploadFields {
            terms,
            keyword_ids: self
                .templates
                .keyword_ids(&names, self.config.keyword_set.as_deref())
                .await?,
        })
    }

    /// Makes the changes: one request for terms, one for what is appended, one for tags.
    pub(super) async fn set_fields(&self, item: &Entry, changes: &FieldChanges) -> Result<Entry> {
        self.check_fields(item, changes).await?;
        let id = keys::file(SET, &item.id)?;
        let types = if needs_terms(changes) {
            Some(self.templates.file_types().await?)
        } else {
            None
        };
        let type_id = file_type_of(item).or_else(|| self.known.direct(id).and_then(|file| file.file_type_id));
        let file_type = types.as_ref().and_then(|types| types.get(type_id?));
        let resolved = resolve(changes, file_type)?;
        let mut entry = item.clone();
        for (terms, overwrite) in [(&resolved.overwrite, true), (&resolved.append, false)] {
            if !terms.is_empty() {
                let body = json!({"terms": terms, "overwrite": overwrite});
                let request = self
                    .api
                    .post(&format!("files/{id}/terms"), "POST /files/{id}/terms")
                    .json(&body);
                // Writing the same value again is harmless, appending it is not.
                let request = if overwrite { request.safe() } else { request };
                entry = self.changed(entry, request).await?;
            }
        }
        if let Some(tags) = &resolved.tags {
            entry = self.set_tags(id, entry, tags).await?;
        }
        Ok(overlay(entry, changes))
    }

    /// Sends what is to be added to a file's tags and taken from them. The file is looked at first where its tags are not
    /// known for sure: after a change that got no answer, and when there seems to be nothing to do, for then what is to be
    /// taken back may be there already.
    async fn set_tags(&self, id: u64, mut entry: Entry, tags: &[String]) -> Result<Entry> {
        let wanted: BTreeSet<&str> = tags.iter().map(String::as_str).collect();
        if self.known.are_tags_in_doubt(id) || tags_of(&entry) == wanted {
            let there = self.fetch_file(SET, id).await?;
            entry = Entry {
                version: entry.version.clone(),
                ..self.entry(&there)
            };
        }
        let had = tags_of(&entry);
        let added: Vec<&str> = wanted.difference(&had).copied().collect();
        let removed: Vec<&str> = had.difference(&wanted).copied().collect();
        let add_ids = self
            .templates
            .keyword_ids(&added, self.config.keyword_set.as_deref())
            .await?;
        let remove_ids = self.templates.keyword_ids(&removed, None).await?;
        if !add_ids.is_empty() || !remove_ids.is_empty() {
            let body = json!({"tags": {"add_ids": add_ids, "remove_ids": remove_ids}});
            let request = self
                .api
                .post(&format!("files/{id}/tags"), "POST /files/{id}/tags")
                .json(&body)
                .safe();
            self.known.tags_change(id);
            entry = self.changed(entry, request).await?;
        }
        self.known.tags_changed(id);
        Ok(entry)
    }

    /// Sends a change of metadata. The content did not change, so the version stays; the revision is the server's new one
    /// where its answer tells.
    async fn changed(&self, entry: Entry, request: Request) -> Result<Entry> {
        let id = keys::file(SET, &entry.id)?;
        let answer = self.api.call(SET, entry.id.as_str(), request).await?;
        self.changed_in_place(id, &entry);
        Ok(match files::told(&answer, id) {
            Some(file) => Entry {
                version: entry.version.clone(),
                ..self.entry(&file)
            },
            None => entry,
        })
    }
}

/// The entry with the fields that were just set, for an answer that does not repeat them.
fn overlay(mut entry: Entry, changes: &FieldChanges) -> Entry {
    lay_over(&mut entry.fields, changes);
    // How the server joins what was appended is its own affair: a stat will tell.
    let appended = |field: &String| matches!(parse(field), Some(Known::Append(_)));
    entry.fields_complete &= !changes.keys().any(appended);
    entry
}

fn lay_over(fields: &mut Fields, changes: &FieldChanges) {
    for (field, values) in changes {
        match parse(field) {
            Some(Known::Term(_) | Known::Tags) if values.iter().all(|v| v.text.trim().is_empty()) => {
                fields.remove(field);
            }
            Some(Known::Term(_) | Known::Tags) => {
                fields.insert(field.clone(), writable(values.clone()));
            }
            Some(Known::Append(_) | Known::FileType | Known::ReadOnly) | None => {}
        }
    }
}

/// What is known of the fields of a file that was sent with these.
pub(super) fn as_sent(changes: &FieldChanges, file_type: Option<u64>) -> Fields {
    let mut fields = Fields::new();
    read_only(&mut fields, "file_type", file_type.map(|id| id.to_string()));
    lay_over(&mut fields, changes);
    fields
}

/// `<size>@<updated_on>`: see the module's page on versions.
pub(super) fn version(size: u64, updated_on: &str) -> ContentVersion {
    ContentVersion::new(format!("{size}@{updated_on}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn attributes_map_to_fields() {
        let tags = field_name("xdg.tags", Kind::File).expect("a field");
        assert_eq!((tags.field.as_str(), tags.encoding), ("tags", Encoding::Commas));
        let term = field_name("imagerelay.term.Photo credit", Kind::File).expect("a field");
        assert_eq!(term.field, "term.Photo credit");
        for unknown in ["imagerelay.nonsense", "imagerelay.term.", "omeka.tags", "imagerelay"] {
            assert_eq!(field_name(unknown, Kind::File), None, "{unknown}");
        }
        assert_eq!(field_name("imagerelay.term.Credit", Kind::Folder), None);
        assert!(field_name("imagerelay.updated_on", Kind::Folder).is_some());
    }

    #[test]
    fn blank_terms_are_none_and_unnamed_ones_make_the_fields_incomplete() {
        let file: File = serde_json::from_value(json!({
            "id": 1, "updated_on": "x", "terms": [{"term_id": 7, "value": " "}, {"term_id": 8, "value": ""}]
        }))
        .expect("a file");
        let (fields, complete) = of_file(&file, None);
        assert!(complete && !fields.keys().any(|name| name.starts_with("term.")));
        let file: File =
            serde_json::from_value(json!({"id": 1, "terms": [{"term_id": 7, "value": "a"}]})).expect("a file");
        assert!(!of_file(&file, None).1);
    }

    #[test]
    fn a_term_with_choices_takes_no_other() {
        let term: Term = serde_json::from_value(json!({
            "id": 1, "name": "Use", "metaterm_options": [{"id": 1, "value": "Print"}, {"id": 2, "value": "Web"}]
        }))
        .expect("a term");
        for good in ["Print", "Print, Web", ""] {
            assert!(check_options(&term, &[good.into()]).is_ok(), "{good}");
        }
        assert!(check_options(&term, &["Radio".into()]).is_err());
    }

    proptest! {
        #[test]
        fn reading_and_setting_a_term_changes_nothing(text in "(?s).{0,40}") {
            prop_assert_eq!(term_text(&term_values(&text)), text);
        }
    }
}
