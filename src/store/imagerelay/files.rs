//! Files: what the service tells about them, where they are, what becomes of them.

use std::time::Duration;

use serde_json::json;

use super::feed::filter_time;
use super::known::OwnChange;
use super::wire::{File, Listed};
use super::{Core, errors, fields, keys};
use crate::http::{Answer, Method};
use crate::model::{Availability, ContentVersion, Entry, ItemId, Timestamp};
use crate::store::{ErrorKind, Placement, Result, StoreError, UrlImport};

const STAT: &str = "read file";
/// How far the times in the service's answers may lie before those of its files.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(60);

/// The file in an answer to a call about it; the documents do not say which calls repeat it.
pub(super) fn told(answer: &Answer, id: u64) -> Option<File> {
    let file: File = serde_json::from_slice(&answer.body).ok()?;
    (file.id == id && !file.updated_on.is_empty()).then_some(file)
}

fn folder_ids(ids: &[u64]) -> serde_json::Value {
    // As strings: that is how it was seen to work.
    json!({"folder_ids": ids.iter().map(u64::to_string).collect::<Vec<_>>()})
}

/// Whether an asset has expired: a day counts to its end.
fn is_expired(expires_on: Option<&str>, now: Timestamp) -> bool {
    let Some(text) = expires_on else { return false };
    let at = Timestamp::parse(text).or_else(|| Timestamp::parse(&format!("{} 23:59:59", text.trim())));
    at.is_some_and(|at| at < now)
}

impl Core {
    /// A file as an entry.
    pub(super) fn entry(&self, file: &File) -> Entry {
        self.known.saw_file(file);
        let types = self.templates.cached_file_types();
        let (fields, fields_complete) = fields::of_file(file, types.as_deref());
        let availability = if file.is_processing() {
            Availability::Processing
        } else if is_expired(file.expires_on.as_deref(), self.clock.now()) {
            Availability::Expired
        } else {
            Availability::Ready
        };
        let parents = file
            .folder_ids
            .iter()
            .flatten()
            .map(|id| keys::folder_id(*id))
            .collect();
        let size = file.size.unwrap_or_default();
        let version = match self.known.first_look(file) {
            Some(sent) => sent,
            None => fields::version(size, &file.updated_on),
        };
        Entry {
            size: (availability != Availability::Processing)
                .then_some(file.size)
                .flatten(),
            revision: file.updated_on.clone(),
            created: file.created_at.as_deref().and_then(Timestamp::parse),
            modified: Timestamp::parse(&file.updated_on),
            mime: file.content_type.clone(),
            availability,
            fields_complete,
            fields,
            ..Entry::file(keys::file_id(file.id), file.filename.clone(), parents, size, version)
        }
    }

    /// Reads one file directly.
    pub(super) async fn fetch_file(&self, operation: &'static str, id: u64) -> Result<File> {
        let request = self.api.get(&format!("files/{id}.json"), "GET /files/{id}");
        let item = keys::file_id(id);
        let file: File = self.api.json(operation, item.as_str(), request).await?;
        if file.is_deleted() {
            return Err(StoreError::new(ErrorKind::NotFound, operation, item.as_str()).because("it is in the trash"));
        }
        self.known.read_directly(&file);
        Ok(file)
    }

    /// Reads one file directly, with the names of its terms.
    pub(super) async fn stat_file(&self, id: u64) -> Result<Entry> {
        let file = self.fetch_file(STAT, id).await?;
        let entry = self.entry(&file);
        if entry.fields_complete {
            return Ok(entry);
        }
        self.templates.file_types().await?;
        Ok(Entry {
            // What still has no name belongs to a type that this login may not see.
            fields_complete: true,
            ..self.entry(&file)
        })
    }

    /// The same. What was made here together and never looked at is looked at together: a hundred files a request.
    pub(super) async fn detailed(&self, id: u64) -> Result<Vec<Entry>> {
        if let Some((folder, since)) = self.known.unseen_beside(id) {
            let mut source = self.files_source(STAT, folder, None);
            let from = since.minus(CLOCKS_APART_MAX);
            source.query.push(("uploaded_after", filter_time(from)));
            let files = source.first(self.api.clone()).await?;
            // A listing may be late.
            if files.iter().any(|file| file.id == id) {
                return Ok(self.named_entries(&files).await);
            }
        }
        Ok(vec![self.stat_file(id).await?])
    }

    /// A change of ours has left the file's content alone: its version stays.
    pub(super) fn changed_in_place(&self, id: u64, item: &Entry) {
        let change = OwnChange {
            at: self.api.server_now(),
            size: item.size.unwrap_or_default(),
            before: None,
            answered: Some(item.version.clone()),
        };
        self.known.changed(id, change);
    }

    /// Sends a change that leaves the content alone, and answers the entry in its new place.
    async fn place(
        &self,
        operation: &'static str,
        item: &Entry,
        request: crate::http::Request,
        parents: Vec<ItemId>,
    ) -> Result<Entry> {
        let id = keys::file(operation, &item.id)?;
        let answer = self.api.call(operation, item.id.as_str(), request).await?;
        for folder in parents
            .iter()
            .chain(&item.parents)
            .filter_map(|p| keys::folder(operation, p).ok())
        {
            self.known.touch(folder);
        }
        self.changed_in_place(id, item);
        let entry = told(&answer, id).map_or_else(|| item.clone(), |file| self.entry(&file));
        Ok(Entry {
            parents,
            version: item.version.clone(),
            ..entry
        })
    }

    /// Moves a file: the whole set of its folders is replaced.
    pub(super) async fn move_file(&self, item: &Entry, to: &Placement) -> Result<Entry> {
        const MOVE: &str = "move file";
        if to.name != item.name {
            return Err(StoreError::unsupported(
                "rename file without its bytes",
                item.id.as_str(),
            ));
        }
        let id = keys::file(MOVE, &item.id)?;
        let folders: Vec<u64> = to
            .parents
            .iter()
            .map(|p| keys::folder(MOVE, p))
            .collect::<Result<_>>()?;
        if folders.is_empty() {
            return Err(errors::invalid(
                MOVE,
                item.id.as_str(),
                "a file must stay in at least one folder",
            ));
        }
        let request = self.api.post(&format!("files/{id}/move"), "POST /files/{id}/move");
        self.place(
            MOVE,
            item,
            request.json(&folder_ids(&folders)).safe(),
            to.parents.clone(),
        )
        .await
    }

    /// Puts a file into one more folder.
    pub(super) async fn link_file(&self, item: &Entry, into: &ItemId) -> Result<Entry> {
        const LINK: &str = "link file";
        let id = keys::file(LINK, &item.id)?;
        let body = folder_ids(&[keys::folder(LINK, into)?]);
        let mut parents = item.parents.clone();
        if !parents.contains(into) {
            parents.push(into.clone());
        }
        let request = self
            .api
            .post(&format!("files/{id}/synced_file"), "POST /files/{id}/synced_file");
        match self
            .place(LINK, item, request.json(&body).safe(), parents.clone())
            .await
        {
            Err(e) if errors::is_unknown_route(&e) => {
                let request = self.api.post(&format!("files/{id}/copy"), "POST /files/{id}/copy");
                self.place(LINK, item, request.json(&body).safe(), parents).await
            }
            done => done,
        }
    }

    /// An independent copy in another folder, under the same name.
    pub(super) async fn duplicate(&self, item: &Entry, parent: &ItemId) -> Result<Entry> {
        const COPY: &str = "copy file";
        let id = keys::file(COPY, &item.id)?;
        let folder = keys::folder(COPY, parent)?;
        let body = json!({"folder_id": folder.to_string(), "should_copy_metadata": true});
        let path = format!("files/{id}/duplicate");
        let request = self.api.post(&path, "POST /files/{id}/duplicate").json(&body);
        let answer = match self.api.call(COPY, item.id.as_str(), request).await {
            Err(e) if matches!(errors::status(&e), Some(404 | 405)) => {
                // Newer documents spell it like this.
                let path = format!("files/{id}/dupicate");
                let request = self.api.post(&path, "POST /files/{id}/dupicate").json(&body);
                self.api.call(COPY, item.id.as_str(), request).await?
            }
            answered => answered?,
        };
        let copy: File = answer
            .json()
            .map_err(|e| errors::store_error(COPY, item.id.as_str(), e))?;
        self.known.touch(folder);
        let entry = self.entry(&copy);
        // The copy has the source's bytes, whatever the server has found out about them so far.
        let size = item.size.or(entry.size);
        Ok(Entry {
            parents: vec![parent.clone()],
            size,
            version: fields::version(size.unwrap_or_default(), &copy.updated_on),
            availability: item.availability,
            ..entry
        })
    }

    /// Deletes a file, from all its folders.
    pub(super) async fn remove_file(&self, item: &Entry) -> Result<()> {
        const REMOVE: &str = "delete file";
        let id = keys::file(REMOVE, &item.id)?;
        let mut outcome = Ok(());
        for path in [format!("files/{id}.json"), format!("files/{id}")] {
            let request = self.api.request(Method::DELETE, &path, "DELETE /files/{id}");
            outcome = self.api.call(REMOVE, item.id.as_str(), request).await.map(|_| ());
            match &outcome {
                Err(e) if errors::is_unknown_route(e) => {}
                _ => break,
            }
        }
        if outcome.is_ok() {
            self.known.forget_file(id);
            for folder in item.parents.iter().filter_map(|p| keys::folder(REMOVE, p).ok()) {
                self.known.touch(folder);
            }
        }
        outcome
    }

    /// Whether the server still has the content that a change is based on. Metadata moves `updated_on` too: what the
    /// caller has seen (`item.revision`) and what we changed ourselves is no conflict.
    pub(super) async fn check_base(&self, item: &Entry, base: &ContentVersion) -> Result<File> {
        const CHECK: &str = "check version";
        let id = keys::file(CHECK, &item.id)?;
        // Read directly a moment ago, or now.
        let file = match self.known.direct(id) {
            Some(file) => file,
            None => self.fetch_file(CHECK, id).await?,
        };
        let size = file.size.unwrap_or_default();
        let there = fields::version(size, &file.updated_on);
        let same_size = item.version == *base && item.size == Some(size);
        let only_seen_metadata = same_size && item.revision == file.updated_on;
        // Ours, and not looked at since its upload by an earlier run; of our own we know more.
        let never_seen = same_size && !self.known.has_own(id) && item.is_first_look(Timestamp::parse(&file.updated_on));
        if never_seen || there == *base || only_seen_metadata || self.known.led_to(base, &file) {
            return Ok(file);
        }
        if base.as_str().starts_with(&format!("{size}@")) && self.same_bytes(&file, base).await {
            return Ok(file);
        }
        let why = format!("it has {size} bytes, changed {}", file.updated_on);
        Err(StoreError::new(ErrorKind::Conflict, CHECK, item.id.as_str()).because(why))
    }

    /// Lets the server fetch a file.
    pub(super) async fn import_url(&self, import: &UrlImport) -> Result<Entry> {
        const IMPORT: &str = "import from URL";
        let folder = keys::folder(IMPORT, &import.parent)?;
        let file_type = self.file_type_for(folder, &import.fields).await?;
        let carried = self.upload_fields(&import.fields, file_type).await?;
        let body = json!({
            "filename": import.name.to_store(),
            "folder_id": folder,
            "file_type_id": file_type,
            "terms": carried.terms,
            "keyword_ids": carried.keyword_ids,
            "url": import.url,
        });
        let request = self
            .api
            .post("files.json", "POST /files")
            .json(&body)
            .scrub(&crate::http::Secret::new(&*import.url));
        let file: File = self.api.json(IMPORT, import.name.as_str(), request).await?;
        self.known.touch(folder);
        let mut entry = self.entry(&file);
        if entry.parents.is_empty() {
            entry.parents = vec![import.parent.clone()];
        }
        if file.size.unwrap_or_default() == 0 {
            entry.availability = Availability::Processing;
            entry.size = None;
        }
        Ok(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_asset_is_good_until_the_end_of_its_last_day() {
        let now = Timestamp::parse("2026-06-01 12:00:00").expect("a time");
        for (expires, expired) in [
            (None, false),
            (Some("2026-06-01"), false),
            (Some("2026-05-31"), true),
            (Some("2026-06-01T11:59:59Z"), true),
            (Some("never"), false),
        ] {
            assert_eq!(is_expired(expires, now), expired, "{expires:?}");
        }
    }
}
