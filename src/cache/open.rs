//! From a name to an open file.

use std::sync::Arc;

use crate::disk;
use crate::model::Entry;

use super::body::{Body, BodyId};
use super::error::{CacheError, Result};
use super::evict::Disk;
use super::index::{Locked, Record};
use super::map::{BlockMap, create_map};
use super::state::{Content, OpenFile, Phase, State};

/// Up to here a body left by an earlier run is checked as a whole when it is opened.
const CHECK_AT_OPEN_BYTES_MAX: u64 = 1 << 20;

/// A body's files as they were found or made.
struct Found {
    id: BodyId,
    file: OpenFile,
    content: Content,
    validator: Option<String>,
    is_unsettled: bool,
    complete: bool,
}

impl Body {
    /// The open file; looks for it, or makes it, the first time.
    pub(super) async fn opened(self: &Arc<Self>) -> Result<OpenFile> {
        if let Some(open) = self.state.lock().file.clone() {
            return Ok(open);
        }
        let body = self.clone();
        self.shared
            .blocking(move || {
                let _io = body.io.lock();
                body.open_now()
            })
            .await
    }

    /// Opens the file. Blocks; `io` is held.
    pub(super) fn open_now(self: &Arc<Self>) -> Result<OpenFile> {
        let entry = {
            let state = self.state.lock();
            match (&state.file, &state.entry) {
                (Some(open), _) => return Ok(open.clone()),
                (None, Some(entry)) => entry.clone(),
                (None, None) => return Err(CacheError::Discarded),
            }
        };
        let found = match self.find_or_make(&entry) {
            // The room that a new one needs comes from those that nobody uses.
            Err(error) if error.is_full() => {
                self.shared.squeeze(0, Disk::Content)?;
                self.find_or_make(&entry)?
            }
            found => found?,
        };
        let open = found.file.clone();
        let complete = found.complete;
        let whole = {
            let mut state = self.state.lock();
            state.install(found);
            state.map().is_some_and(BlockMap::is_whole)
        };
        if complete {
            self.state.lock().phase = Phase::Complete;
        } else if whole {
            self.all_arrived();
        }
        Ok(open)
    }

    fn find_or_make(&self, entry: &Entry) -> Result<Found> {
        // Held until the body counts as in use: evicting takes the same lock.
        let index = self.shared.index.lock()?;
        let mut found = self.find(&index, entry)?.map_or_else(|| self.make(&index, entry), Ok)?;
        if let (None, Content::Known(map)) = (&found.validator, &found.content) {
            found.is_unsettled = !index.others(&entry.id, found.id, map.size())?.is_empty();
        }
        Ok(found)
    }

    /// What an earlier use left of it, unless that is of no use.
    fn find(&self, index: &Locked<'_>, entry: &Entry) -> Result<Option<Found>> {
        let Some(record) = index.find(&entry.id, &entry.version)? else {
            return Ok(None);
        };
        let error = match self.take_up(index, &record, entry) {
            Ok(found) => return Ok(Some(found)),
            Err(error) => error,
        };
        tracing::debug!(%error, item = %entry.id, "a cached body cannot be used and is made anew");
        index.remove(record.id)?;
        self.shared.held.remove(&(record.item, record.version), record.bytes);
        Ok(None)
    }

    fn make(&self, index: &Locked<'_>, entry: &Entry) -> Result<Found> {
        let id = BodyId::random();
        index.insert(id, entry, self.shared.clock.now())?;
        let path = self.shared.index.path(id);
        let file = disk::open_private(&path, true)?;
        let content = match entry.size {
            Some(size) => {
                disk::set_len(&file, &path, size)?;
                Content::Known(BlockMap::new(size, self.shared.config.block_bytes))
            }
            None => Content::Unknown,
        };
        Ok(Found {
            id,
            file: OpenFile {
                file: Arc::new(file),
                path,
            },
            content,
            validator: None,
            is_unsettled: false,
            complete: false,
        })
    }

    fn take_up(&self, index: &Locked<'_>, record: &Record, entry: &Entry) -> Result<Found> {
        let other_size = || CacheError::Changed { item: entry.id.clone() };
        let path = self.shared.index.path(record.id);
        let file = disk::open_private(&path, false)?;
        let on_disk = file
            .metadata()
            .map_err(|e| disk::DiskError::new("look at", &path, e))?
            .len();
        let size = match (record.size, entry.size) {
            (Some(known), Some(told)) if known != told => return Err(other_size()),
            (Some(size), _) => size,
            (None, _) => return Err(other_size()),
        };
        if on_disk != size {
            return Err(other_size());
        }
        let map_path = self.shared.index.map_path(record.id);
        let mut map = BlockMap::load(&map_path, size, self.shared.config.block_bytes);
        let open = OpenFile {
            file: Arc::new(file),
            path,
        };
        let complete = record.complete && map.is_whole();
        if !complete && size <= CHECK_AT_OPEN_BYTES_MAX {
            let damaged = super::verify::check_blocks(&open, &mut map, 0..size)?;
            super::stats::count(&self.shared.counters.healed, damaged);
        }
        match index.opened(record.id, self.shared.clock.now()) {
            // Only when it was last used is not noted: no reason to do without bytes that are here.
            Err(error) if error.is_full() => tracing::debug!(%error, item = %entry.id, "its use is not noted"),
            noted => noted?,
        }
        Ok(Found {
            id: record.id,
            file: open,
            content: Content::Known(map),
            validator: record.validator.clone(),
            is_unsettled: false,
            complete,
        })
    }

    /// The map's file, made when it is first written to. Blocks; `io` is held.
    pub(super) fn map_file(&self) -> Result<Option<OpenFile>> {
        let (id, size) = {
            let state = self.state.lock();
            if let Some(open) = &state.map_file {
                return Ok(Some(open.clone()));
            }
            match (state.id, state.map()) {
                (Some(id), Some(map)) => (id, map.size()),
                _ => return Ok(None),
            }
        };
        let path = self.shared.index.map_path(id);
        let block_bytes = self.shared.config.block_bytes;
        let is_usable = BlockMap::is_map_of(&path, size, block_bytes);
        let file = match is_usable {
            true => disk::open_private(&path, false)?,
            false => create_map(&path, size, block_bytes)?,
        };
        let open = OpenFile {
            file: Arc::new(file),
            path,
        };
        self.state.lock().map_file = Some(open.clone());
        Ok(Some(open))
    }

    /// Makes sure that the size is known, by asking the store where the entry did not tell. Where the store does not know
    /// either, a download has to find out: then this waits for it.
    pub(super) async fn sized(self: &Arc<Self>) -> Result<u64> {
        if let Some(size) = self.size() {
            return Ok(size);
        }
        self.opened().await?;
        if let Some(size) = self.size() {
            return Ok(size);
        }
        self.find_size().await
    }

    /// What to ask the store for.
    pub(super) fn entry(&self) -> Result<Arc<Entry>> {
        self.state.lock().entry.clone().ok_or(CacheError::Discarded)
    }
}

impl State {
    fn install(&mut self, found: Found) {
        self.id = Some(found.id);
        self.file = Some(found.file);
        self.validator = found.validator;
        self.is_unsettled = found.is_unsettled;
        if let Content::Known(map) = &found.content {
            self.size = map.size();
        }
        // Blocks may have been claimed before the file was open.
        self.content = match (std::mem::replace(&mut self.content, Content::Unknown), found.content) {
            (Content::Finding, Content::Unknown) => Content::Finding,
            (_, found) => found,
        };
    }
}
