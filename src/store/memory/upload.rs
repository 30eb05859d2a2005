//! Uploads in chunks that go on where they stopped.

use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};

use super::{MemoryStore, Op, Spelling};
use crate::model::{Entry, FieldChanges};
use crate::store::{Body, ErrorKind, Progress, Result, Resume, StoreError, Support};

/// What stands before an image that the server re-encoded.
const RE_ENCODED: &[u8] = b"re-encoded:";

impl MemoryStore {
    /// What an upload that is to be resumed has made already, as its answer may have been lost.
    pub(super) fn made_by(&self, progress: &dyn Progress) -> Option<Entry> {
        let upload = progress.resume()?.upload;
        let id = self.published.lock().get(&upload).cloned()?;
        self.tree.lock().answer(&id, "create file").ok()
    }

    /// Notes that an upload has made an item.
    pub(super) fn note_made(&self, progress: &dyn Progress, entry: &Entry) {
        if let Some(resume) = progress.resume() {
            self.published.lock().insert(resume.upload, entry.id.clone());
        }
    }

    /// Sends the chunks that are not acknowledged yet. Answers the content that the server would publish, and the fields
    /// with which the upload was begun: that is when a server is told of them.
    pub(super) async fn receive(
        &self,
        operation: &'static str,
        name: &str,
        body: &Body,
        fields: &FieldChanges,
        progress: &dyn Progress,
    ) -> Result<(Bytes, FieldChanges)> {
        let size = body.size_bytes();
        if self.capabilities.file_bytes_max.is_some_and(|max| size > max) {
            return Err(StoreError::new(ErrorKind::TooLarge, operation, name));
        }
        if size == 0 && self.capabilities.empty_files == Support::No {
            return Err(StoreError::new(ErrorKind::Invalid, operation, name).because("a file must have content"));
        }
        let fresh = || Resume {
            upload: format!("{name}:{}", self.uploads.fetch_add(1, Ordering::Relaxed)),
            chunks: vec![],
            chunk_bytes: self.knobs().chunk_bytes as u64,
            fields_told: true,
            half_done: false,
        };
        let mut resume = progress.resume().unwrap_or_else(fresh);
        let begun_with = self
            .begun
            .lock()
            .entry(resume.upload.clone())
            .or_insert(fields.clone())
            .clone();
        let mut content = BytesMut::with_capacity(size as usize);
        for (number, offset) in (1u32..).zip((0..size).step_by(resume.chunk_bytes.max(1) as usize)) {
            let len = resume.chunk_bytes.min(size - offset);
            let chunk = body.part(offset, len as usize).await?;
            if !resume.chunks.contains(&number) {
                let fate = self.faults.meet(Op::Chunk, "upload chunk", name).await?;
                fate.deliver("upload chunk", name, ())?;
                resume.chunks.push(number);
                progress.save(&resume);
                progress.sent(len);
            }
            content.extend_from_slice(&chunk);
        }
        if !progress.may_publish().await {
            return Err(StoreError::new(ErrorKind::Cancelled, operation, name));
        }
        Ok((self.stored(name, content.freeze()), begun_with))
    }

    /// What becomes of the bytes that were sent.
    fn stored(&self, name: &str, sent: Bytes) -> Bytes {
        if self.capabilities.may_alter(name) && !sent.starts_with(RE_ENCODED) {
            [RE_ENCODED, &sent].concat().into()
        } else {
            sent
        }
    }

    /// What the server calls a file that was to be called `name`.
    pub(super) fn spelled(&self, name: &str) -> String {
        match self.knobs().spelling {
            Spelling::Kept => name.to_owned(),
            Spelling::Dashed => name.replace(' ', "-"),
        }
    }
}
