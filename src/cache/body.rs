//! One body: the bytes of one version of a file, on their way in or out.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};

use crate::disk;
use crate::model::{ContentVersion, Entry, ItemId};

use super::error::Result;
use super::index::Closing;
use super::map::BlockMap;
use super::shared::Shared;
use super::state::{Content, Phase, State};

/// Names a body's file, wherever it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BodyId(u64);

impl BodyId {
    pub(super) fn random() -> Self {
        Self(rand::random())
    }

    pub(super) fn from_db(id: i64) -> Self {
        Self(id as u64)
    }

    pub(super) fn to_db(self) -> i64 {
        self.0 as i64
    }

    /// Reads what [`fmt::Display`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.len() == 16 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        digits.then(|| u64::from_str_radix(text, 16).ok().map(Self)).flatten()
    }
}

impl fmt::Display for BodyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// How far a body is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyState {
    /// Clean; parts are still in the store only.
    Filling,
    /// Clean; all there, being checked.
    Verifying,
    /// Clean and all there.
    Complete,
    /// Changed here.
    Dirty {
        /// What it was before; `None` for a new file.
        base: Option<ContentVersion>,
        /// Bytes of the base that are still to be fetched.
        missing_bytes: u64,
    },
    /// Thrown away; what is open still reads it.
    Discarded,
}

/// The bytes of one version of one file, or of a file that is being written. One value per file on the disk, shared by
/// all who have it open; while one lives it is not evicted.
pub struct Body {
    pub(super) shared: Arc<Shared>,
    /// Held for moments; never while the disk works.
    pub(super) state: Mutex<State>,
    /// Orders what changes the file: writes, arriving blocks, moves. Only taken on blocking threads, before `state`.
    pub(super) io: Mutex<()>,
    /// One sync at a time, and none while all bytes are changed: only one of two would hear that it failed. Taken before `io`.
    pub(super) syncing: Mutex<()>,
    /// Blocks came, or did not.
    pub(super) changed: Notify,
    /// Downloads whose bytes flow.
    pub(super) flowing: AtomicUsize,
    /// Bounds this file's downloads.
    pub(super) streams: Arc<Semaphore>,
    /// One download that needs no permit of the cache's: other files' stuck ones must not hold this file up.
    pub(super) own_stream: Arc<Semaphore>,
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("Body")
            .field("id", &state.id)
            .field("phase", &state.phase)
            .finish_non_exhaustive()
    }
}

impl Body {
    pub(super) fn with_state(shared: Arc<Shared>, state: State) -> Arc<Self> {
        let streams = Arc::new(Semaphore::new(shared.config.streams_per_file_max.max(1)));
        Arc::new(Self {
            shared,
            state: Mutex::new(state),
            io: Mutex::new(()),
            syncing: Mutex::new(()),
            changed: Notify::new(),
            flowing: AtomicUsize::new(0),
            streams,
            own_stream: Arc::new(Semaphore::new(1)),
        })
    }

    /// A clean body that has not been looked for on the disk yet.
    pub(super) fn clean(shared: Arc<Shared>, entry: &Entry) -> Arc<Self> {
        let key = (entry.id.clone(), entry.version.clone());
        let content = match entry.size {
            Some(size) => Content::Known(BlockMap::new(size, shared.config.block_bytes)),
            None => Content::Unknown,
        };
        let state = State {
            key: Some(key),
            entry: Some(Arc::new(entry.clone())),
            size: entry.size.unwrap_or(0),
            content,
            ..State::empty(Phase::Filling)
        };
        Self::with_state(shared, state)
    }

    /// Its name, once it has a file: always for a dirty one.
    pub fn id(&self) -> Option<BodyId> {
        self.state.lock().id
    }

    /// The same as the journal writes it; empty while it has none.
    pub fn name(&self) -> String {
        self.id().map(|id| id.to_string()).unwrap_or_default()
    }

    /// Bytes a reader sees; `None` while nobody knows.
    pub fn size(&self) -> Option<u64> {
        let state = self.state.lock();
        state.map().is_some().then_some(state.size)
    }

    /// How far it is.
    pub fn state(&self) -> BodyState {
        match &self.state.lock().phase {
            Phase::Filling => BodyState::Filling,
            Phase::Verifying => BodyState::Verifying,
            Phase::Complete => BodyState::Complete,
            Phase::Dirty(dirty) => BodyState::Dirty {
                base: dirty.base.clone(),
                missing_bytes: dirty.missing.len_bytes(),
            },
            Phase::Discarded => BodyState::Discarded,
        }
    }

    /// Whether it has been changed here, and is not what the store has.
    pub fn is_dirty(&self) -> bool {
        matches!(self.state.lock().phase, Phase::Dirty(_))
    }

    /// Whether every byte is in the file, checked: what passthrough and uploads need.
    pub fn is_complete(&self) -> bool {
        match &self.state.lock().phase {
            Phase::Complete => true,
            Phase::Dirty(dirty) => dirty.missing.is_empty(),
            Phase::Filling | Phase::Verifying | Phase::Discarded => false,
        }
    }

    /// How many of its bytes are in the file.
    pub fn present_bytes(&self) -> u64 {
        if self.is_complete() {
            return self.size().unwrap_or(0);
        }
        self.state.lock().map().map_or(0, super::map::BlockMap::present_bytes)
    }

    /// Moves with every change made here, so that an uploader can see that newer bytes came.
    pub fn generation(&self) -> u64 {
        self.state.lock().generation
    }

    /// The open file, looked for or made first. It stays the same through promotion and publishing when both folders are
    /// on one file system ([`super::Cache::moves_by_rename`]).
    pub async fn file(self: &Arc<Self>) -> Result<Arc<File>> {
        Ok(self.opened().await?.file)
    }

    /// Where it lies at the moment.
    pub async fn path(self: &Arc<Self>) -> Result<PathBuf> {
        Ok(self.opened().await?.path)
    }

    /// Where data begins at or behind `offset`; `None`: nowhere. What is still to be fetched counts as data.
    pub async fn seek_data(self: &Arc<Self>, offset: u64) -> Result<Option<u64>> {
        self.seek(offset, disk::seek_data, |offset, _| offset).await
    }

    /// Where a hole begins at or behind `offset`; `None`: behind the end.
    pub async fn seek_hole(self: &Arc<Self>, offset: u64) -> Result<Option<u64>> {
        self.seek(offset, disk::seek_hole, |_, size| size).await
    }

    async fn seek(
        self: &Arc<Self>,
        offset: u64,
        on_disk: fn(&File, &Path, u64) -> disk::Result<Option<u64>>,
        without_holes: fn(u64, u64) -> u64,
    ) -> Result<Option<u64>> {
        self.sized().await?;
        let open = self.opened().await?;
        let size = self.size().unwrap_or(0);
        if offset >= size {
            return Ok(None);
        }
        if !self.is_complete() {
            return Ok(Some(without_holes(offset, size)));
        }
        let shared = self.shared.clone();
        shared
            .blocking(move || Ok(on_disk(&open.file, &open.path, offset)?))
            .await
    }

    /// The item that it is the content of; of new bytes, none in particular.
    pub fn item(&self) -> ItemId {
        self.state.lock().item()
    }

    /// Takes over what a newer entry of the same version tells: a size, a checksum.
    pub(super) fn learn(&self, entry: &Entry) {
        let mut state = self.state.lock();
        if !state.is_clean() {
            return;
        }
        if let (Content::Unknown, Some(size)) = (&state.content, entry.size)
            && state.file.is_none()
        {
            state.content = Content::Known(BlockMap::new(size, self.shared.config.block_bytes));
            state.size = size;
        }
        state.entry = Some(Arc::new(entry.clone()));
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        if let (true, Some(id)) = (state.is_clean(), state.id) {
            self.shared.index.closed(Closing {
                id,
                bytes: state.map().map_or(0, BlockMap::present_bytes),
                used: self.shared.clock.now(),
            });
        }
        if let Some(key) = state.key.take() {
            self.shared.unregister(&key);
        }
        if self.shared.is_over_limit() {
            self.shared.clone().evict_soon();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_id_is_read_back_and_nothing_else_is() {
        let id = BodyId::random();
        assert_eq!(BodyId::parse(&id.to_string()), Some(id));
        assert_eq!(BodyId::from_db(id.to_db()), id);
        for other in [
            "",
            "index.db",
            "0123456789abcde",
            "0123456789ABCDEF",
            "+123456789abcdef",
            "0123456789abcdef.map",
        ] {
            assert_eq!(BodyId::parse(other), None, "{other}");
        }
    }
}
