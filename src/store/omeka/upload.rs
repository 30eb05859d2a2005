//! New files.
//!
//! The site may have kept a file although it answered with a failure or not at all. So an upload notes the item's newest
//! file before it sends anything, and whatever goes wrong afterwards is settled by looking for a newer one with the same
//! name, size and MD5. The note is kept with the upload's progress and outlives a restart.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use md5::{Digest, Md5};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::http::{Body as HttpBody, Part};
use crate::model::{FieldChanges, Name, SharedClock, hex};
use crate::store::{Body, ErrorKind, Progress, Result, Resume, Retry, StoreError};

use super::api::{self, Api};
use super::decode::list;
use super::fields;
use super::id::{Id, Resource};
use super::names::Names;
use super::pages::{all_records, page, param};
use super::vocabulary::{Vocabulary, Words};

/// How long after a lost answer the site may still be at work on an upload.
const AFTERMATH: Duration = Duration::from_secs(2);

/// When a failed upload may be tried again, at the earliest.
const TRY_AGAIN: Duration = Duration::from_secs(10);

/// Bodies above this may have been dropped by the server for their size, together with the key inside them.
const SUSPICIOUS_BYTES: u64 = 1 << 20;

/// Uploads files.
pub(super) struct Uploader {
    pub(super) api: Api,
    pub(super) vocabulary: Arc<Vocabulary>,
    pub(super) names: Arc<Names>,
    pub(super) clock: SharedClock,
    /// Who is uploading which name: the server keeps all uploads of one name in the same temporary place.
    pub(super) busy: NameLocks,
}

/// One upload.
pub(super) struct Upload<'a> {
    /// The item that the file goes into.
    pub(super) item: u64,
    pub(super) name: &'a Name,
    pub(super) body: &'a Body,
    pub(super) fields: &'a FieldChanges,
    pub(super) progress: &'a dyn Progress,
}

/// What is noted before an upload is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Note {
    /// The item it goes into.
    pub(super) item: u64,
    /// The newest file that the item had; `None` until that was asked.
    pub(super) newest: Option<u64>,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "item {}", self.item)?;
        match self.newest {
            Some(newest) => write!(f, " after file {newest}"),
            None => Ok(()),
        }
    }
}

impl Note {
    /// What an earlier attempt left.
    pub(super) fn read(progress: &dyn Progress) -> Option<Self> {
        let resume = progress.resume()?;
        let text = resume.upload.strip_prefix("item ")?;
        match text.split_once(" after file ") {
            Some((item, newest)) => Some(Self {
                item: item.parse().ok()?,
                newest: Some(newest.parse().ok()?),
            }),
            None => Some(Self {
                item: text.parse().ok()?,
                newest: None,
            }),
        }
    }

    /// Keeps the note for the next attempt.
    pub(super) fn save(self, progress: &dyn Progress) {
        progress.save(&Resume {
            upload: self.to_string(),
            ..Resume::default()
        });
    }
}

impl Uploader {
    /// Sends a file and answers its record.
    pub(super) async fn run(&self, upload: &Upload<'_>) -> Result<Value> {
        let name = upload.name.as_str();
        let names = fields::names_to_know(upload.fields);
        let words = self.vocabulary.words(&names).await?;
        let asked = data(upload, &words)?;
        let md5 = md5_of(upload.body).await?;
        let _turn = self.busy.take(name).await;
        let newest = match Note::read(upload.progress).and_then(|note| note.newest) {
            // An earlier attempt was sent and its end is not known.
            Some(newest) => {
                if let Some(record) = self.find(upload, newest, &md5).await? {
                    return self.adopt(upload, record, &asked).await;
                }
                newest
            }
            None => self.newest(upload.item).await?,
        };
        let note = Note {
            item: upload.item,
            newest: Some(newest),
        };
        note.save(upload.progress);
        if !upload.progress.may_publish().await {
            return Err(StoreError::new(ErrorKind::Cancelled, "upload", name));
        }
        match self.api.post_file(&asked, Some(file_part(upload)), name).await {
            Ok(record) => self.accept(upload, record, &md5).await,
            Err(failed) => self.settle(upload, newest, &md5, &asked, failed).await,
        }
    }

    /// A file that the site says it has kept must be the one that was sent.
    async fn accept(&self, upload: &Upload<'_>, record: Value, md5: &str) -> Result<Value> {
        if record["authentication"]
            .as_str()
            .is_none_or(|theirs| theirs.eq_ignore_ascii_case(md5))
            && record["size"].as_u64() == Some(upload.body.size_bytes())
        {
            upload.progress.sent(upload.body.size_bytes());
            return Ok(record);
        }
        if let Some(id) = record["id"].as_u64() {
            self.api.delete(Id::File(id)).await?;
        }
        Err(StoreError::new(ErrorKind::Protocol, "upload", upload.name.as_str())
            .because("the site kept other bytes than were sent; they were deleted again")
            .retry(Retry::After(TRY_AGAIN)))
    }

    /// Finds out what became of an upload that failed.
    async fn settle(
        &self,
        upload: &Upload<'_>,
        newest: u64,
        md5: &str,
        asked: &Value,
        failed: StoreError,
    ) -> Result<Value> {
        let answered = api::status(&failed);
        match answered {
            Some(403) if upload.body.size_bytes() > SUSPICIOUS_BYTES => {
                return Err(self.why_denied(upload, failed).await);
            }
            // Refused before anything was kept.
            Some(400..=499) => return Err(failed),
            Some(_) => {}
            None if failed.retry != Retry::Ambiguous => return Err(failed),
            None => self.clock.sleep(AFTERMATH).await,
        }
        if let Some(record) = self.find(upload, newest, md5).await? {
            return self.adopt(upload, record, asked).await;
        }
        let words = api::words(&failed);
        if words.contains("disallowed file extension") {
            self.names.remember(upload.name);
        }
        let transient = failed.is_transient();
        Err(if transient {
            // The next attempt looks again before it sends anything.
            failed.retry(Retry::After(TRY_AGAIN))
        } else {
            failed
        })
    }

    /// The server throws a body that is too large away, with the key in it, and then misses the key.
    async fn why_denied(&self, upload: &Upload<'_>, denied: StoreError) -> StoreError {
        let data = json!({ "item": { "id": upload.item } });
        match self.api.post_file(&data, None, upload.name.as_str()).await {
            // With the key it complains about the missing file instead.
            Err(probe) if api::words(&probe).contains("Exactly one file") => {
                StoreError::new(ErrorKind::TooLarge, "upload", upload.name.as_str())
                    .because("the server takes no bodies of this size (post_max_size)")
            }
            Ok(_) | Err(_) => denied,
        }
    }

    /// A file that is there although its upload failed: its fields may have been what failed.
    async fn adopt(&self, upload: &Upload<'_>, record: Value, asked: &Value) -> Result<Value> {
        let Some(id) = record["id"].as_u64().map(Id::File) else {
            return Ok(record);
        };
        let mut wanted = asked.as_object().cloned().unwrap_or_default();
        wanted.remove("item");
        let record = if fields::took(&wanted, &record).is_ok() {
            record
        } else {
            let put = self.api.put(id, &Value::from(wanted.clone()), "set fields of").await;
            match put.and_then(|record| fields::took(&wanted, &record).map(|()| record)) {
                Ok(record) => record,
                Err(refused) if refused.is_transient() => return Err(refused.retry(Retry::After(TRY_AGAIN))),
                Err(refused) => {
                    self.api.delete(id).await?;
                    return Err(refused);
                }
            }
        };
        upload.progress.sent(upload.body.size_bytes());
        Ok(record)
    }

    /// The item's newest file, 0 when it has none.
    async fn newest(&self, item: u64) -> Result<u64> {
        let params = vec![param("item", item), param("sort_field", "id"), param("sort_dir", "d")];
        let page = page(&self.api, Resource::Files, &params, 1, 1).await?;
        Ok(page.records.first().and_then(|file| file["id"].as_u64()).unwrap_or(0))
    }

    /// The file that came after `newest` with the upload's name, size and MD5.
    async fn find(&self, upload: &Upload<'_>, newest: u64, md5: &str) -> Result<Option<Value>> {
        let files = all_records(&self.api, Resource::Files, vec![param("item", upload.item)]).await?;
        Ok(files.into_iter().find(|file| {
            file["id"].as_u64().is_some_and(|id| id > newest)
                && file["original_filename"].as_str() == Some(upload.name.as_str())
                && file["size"].as_u64() == Some(upload.body.size_bytes())
                && file["authentication"]
                    .as_str()
                    .is_some_and(|theirs| theirs.eq_ignore_ascii_case(md5))
        }))
    }

    /// Whether an item holds nothing, as far as the site says.
    pub(super) async fn is_empty(&self, item: u64) -> Result<bool> {
        let page = page(&self.api, Resource::Files, &vec![param("item", item)], 1, 1).await?;
        Ok(page.total == 0)
    }
}

/// The `data` part.
fn data(upload: &Upload<'_>, words: &Words) -> Result<Value> {
    let mut body = fields::body(&Value::Null, upload.fields, words)?;
    // What belongs to items and collections only.
    body.retain(|name, _| matches!(name.as_str(), "element_texts" | "order"));
    for text in body.get("element_texts").into_iter().flat_map(list) {
        fields::check_text("element_texts", text["text"].as_str().unwrap_or_default())?;
    }
    body.insert("item".to_owned(), json!({ "id": upload.item }));
    Ok(Value::from(body))
}

fn file_part(upload: &Upload<'_>) -> Part {
    let body = upload.body.clone();
    let content_type = mime_guess::from_path(upload.name.as_str())
        .first_raw()
        .unwrap_or("application/octet-stream");
    let stream = HttpBody::stream(body.size_bytes(), move || body.stream());
    Part::file("file", upload.name.as_str(), content_type, stream)
}

async fn md5_of(body: &Body) -> Result<String> {
    let mut digest = Md5::new();
    let mut bytes = body.stream();
    while let Some(piece) = bytes.try_next().await? {
        digest.update(&piece);
    }
    Ok(hex(&digest.finalize()))
}

/// One lock for each name that is being uploaded.
#[derive(Default)]
pub(super) struct NameLocks(Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>);

impl NameLocks {
    /// Waits until nobody else uploads this name.
    async fn take(&self, name: &str) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.0.lock();
            // Those that nobody holds or waits for.
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
            locks.entry(name.to_owned()).or_default().clone()
        };
        lock.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::UploadProgress;

    #[test]
    fn a_note_outlives_the_program() {
        for note in [
            Note {
                item: 7,
                newest: Some(435),
            },
            Note { item: 7, newest: None },
        ] {
            let progress = UploadProgress::default();
            note.save(&progress);
            assert_eq!(Note::read(&progress), Some(note));
        }
        assert_eq!(Note::read(&UploadProgress::default()), None);
    }
}
