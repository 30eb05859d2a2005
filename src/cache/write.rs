//! Writing: a clean body becomes a dirty one, the rest of its base is fetched, bytes change.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::disk::{self, Allocate, DiskError};
use crate::http::{current_context, with_context};
use crate::model::Ranges;

use super::body::{Body, BodyId};
use super::error::{CacheError, Result};
use super::evict::Disk;
use super::fetch;
use super::map::BlockMap;
use super::state::{Content, Dirty, OpenFile, Phase, Presence, State};

/// How often a change is begun anew because an upload was confirmed in between.
const ROUNDS_MAX: usize = 16;
/// How much is written before the disk is told to begin.
const WRITEBACK_BYTES: u64 = 8 << 20;

/// What of a clean body is to live on when it becomes dirty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// All: what is missing is fetched.
    All,
    /// Nothing: it is opened to be written anew.
    Nothing,
}

/// Whether a change could be made.
enum Made {
    Yes,
    /// The body has become clean meanwhile.
    NotDirty,
}

impl Body {
    /// Makes it dirty if it is not: its file moves to staging/, and with [`Keep::All`] the rest of the base begins to come
    /// in. All handles stay on the same bytes. With [`Keep::Nothing`] a dirty body is cut to nothing as well.
    pub async fn make_dirty(self: &Arc<Self>, keep: Keep) -> Result<BodyId> {
        let id = match self.dirty_id() {
            Some(id) => id,
            None => self.promote(keep).await?,
        };
        if keep == Keep::Nothing && self.size() != Some(0) {
            self.truncate(0).await?;
        }
        Ok(id)
    }

    fn dirty_id(&self) -> Option<BodyId> {
        let state = self.state.lock();
        match state.phase {
            Phase::Dirty(_) => state.id,
            Phase::Filling | Phase::Verifying | Phase::Complete | Phase::Discarded => None,
        }
    }

    async fn promote(self: &Arc<Self>, keep: Keep) -> Result<BodyId> {
        self.opened().await?;
        if keep == Keep::All {
            self.sized().await?;
            self.settled().await;
        }
        let body = self.clone();
        let id = self.shared.blocking(move || body.promote_now(keep)).await?;
        if !self.is_complete() {
            let body = self.clone();
            tokio::spawn(with_context(current_context(), async move {
                if let Err(error) = body.fill().await {
                    tracing::warn!(%error, item = %body.item(), "the rest of a changed file could not be fetched yet");
                }
            }));
        }
        Ok(id)
    }

    /// Waits while the whole is being checked.
    async fn settled(&self) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if !matches!(self.state.lock().phase, Phase::Verifying) {
                return;
            }
            changed.await;
        }
    }

    /// Moves the file to staging/. Blocks.
    fn promote_now(self: &Arc<Self>, keep: Keep) -> Result<BodyId> {
        let _io = self.io.lock();
        let open = self.open_now()?;
        let (id, check) = {
            let state = self.state.lock();
            let id = state.id.ok_or(CacheError::Discarded)?;
            match &state.phase {
                Phase::Dirty(_) => return Ok(id),
                Phase::Discarded => return Err(CacheError::Discarded),
                // What a crash may have torn is checked now: from here on nobody knows what it should be.
                Phase::Filling | Phase::Verifying => (id, 0..state.size),
                Phase::Complete => (id, 0..0),
            }
        };
        if keep == Keep::All && !check.is_empty() {
            self.check_before_serving(&check)?;
        }
        let staged = self.move_file(&open, self.shared.staging_path(id))?;
        if self.shared.by_rename {
            // The bytes change in place from now on: after a loss of power they must not be found as those of the version.
            disk::sync_dir(&self.shared.config.content_dir)?;
        }
        self.shared.index.lock()?.forget(id)?;
        let key = {
            let mut state = self.state.lock();
            self.shared
                .note_gone(&state, state.map().map_or(0, BlockMap::present_bytes));
            state.become_dirty(staged, keep);
            state.key.take()
        };
        if let Some(key) = key {
            self.shared.take_out(&key, self);
        }
        self.changed.notify_waiters();
        Ok(id)
    }

    /// Moves the file, or copies it to another file system. Blocks; `io` is held.
    pub(super) fn move_file(&self, open: &OpenFile, to: std::path::PathBuf) -> Result<OpenFile> {
        if self.shared.by_rename {
            disk::rename(&open.path, &to)?;
            return Ok(OpenFile {
                file: open.file.clone(),
                path: to,
            });
        }
        disk::remove_if_there(&to)?;
        let file = disk::open_private(&to, true)?;
        let copied = disk::copy_contents(&open.file, &file, &to).and_then(|()| disk::sync_data(&file, &to));
        if let Err(error) = copied {
            disk::remove_if_there(&to)?;
            return Err(error.into());
        }
        disk::remove_if_there(&open.path)?;
        Ok(OpenFile {
            file: Arc::new(file),
            path: to,
        })
    }

    /// Writes at `offset`, promoting a clean body first. A full disk is told here ([`CacheError::is_full`]), after all
    /// clean bodies that could go have gone.
    pub async fn write(self: &Arc<Self>, offset: u64, data: Bytes) -> Result<()> {
        match data.is_empty() {
            true => Ok(()),
            false => self.change(Change::Write { offset, data }).await,
        }
    }

    /// The same of a dirty body while there is room for certain; `false`: not done, for it needs more. Blocks.
    pub fn write_quickly(self: &Arc<Self>, offset: u64, data: &[u8]) -> Result<bool> {
        if data.is_empty() || self.dirty_id().is_none() || !self.shared.admits(data.len() as u64) {
            return Ok(false);
        }
        let change = Change::Write { offset, data };
        match self.change_now(&change) {
            Ok(Made::Yes) => {
                self.begin_writeback(&change);
                self.changed.notify_waiters();
                Ok(true)
            }
            Ok(Made::NotDirty) => Ok(false),
            // It is tried again once there is room.
            Err(error) if error.is_full() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sets the size: cuts, or extends with zeros.
    pub async fn truncate(self: &Arc<Self>, size: u64) -> Result<()> {
        if size == 0 && self.dirty_id().is_none() {
            self.promote(Keep::Nothing).await?;
        }
        self.change(Change::SetSize(size)).await
    }

    /// Reserves, zeroes or punches a range, as `fallocate(2)`.
    pub async fn allocate(self: &Arc<Self>, mode: Allocate, offset: u64, len: u64) -> Result<()> {
        self.change(Change::Allocate { mode, offset, len }).await
    }

    async fn change(self: &Arc<Self>, change: Change) -> Result<()> {
        let room_bytes = change.room_bytes();
        let mut made_room = false;
        for _ in 0..ROUNDS_MAX {
            if self.dirty_id().is_none() {
                self.promote(Keep::All).await?;
            }
            self.shared.admit_dirty(room_bytes).await?;
            let body = self.clone();
            let attempted = change.clone();
            let work = move || {
                let made = body.change_now(&attempted)?;
                body.begin_writeback(&attempted);
                Ok(made)
            };
            match self.shared.blocking(work).await {
                Ok(Made::Yes) => {
                    self.changed.notify_waiters();
                    return Ok(());
                }
                Ok(Made::NotDirty) => {}
                Err(error) if error.is_full() && !made_room => {
                    made_room = true;
                    self.shared.make_room(room_bytes, Disk::Staging).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Err(CacheError::Stopped)
    }

    /// Lets the disk begin with what has been written, a stretch at a time: the sync at close then has little left to wait
    /// for. Blocks.
    fn begin_writeback(&self, change: &Change<impl AsRef<[u8]>>) {
        let Change::Write { offset, data } = change else { return };
        let end = offset.saturating_add(data.as_ref().len() as u64);
        let written = end / WRITEBACK_BYTES;
        if offset / WRITEBACK_BYTES == written {
            return;
        }
        if let Some(open) = self.state.lock().file.clone() {
            disk::begin_writeback(&open.file, (written - 1) * WRITEBACK_BYTES, WRITEBACK_BYTES);
        }
    }

    fn change_now(&self, change: &Change<impl AsRef<[u8]>>) -> Result<Made> {
        let _syncing = matches!(change, Change::SetSize(0)).then(|| self.syncing.lock());
        let _io = self.io.lock();
        let (open, id) = {
            let state = self.state.lock();
            match (&state.phase, &state.file) {
                (Phase::Dirty(_), Some(open)) => (open.clone(), state.id),
                (Phase::Discarded, _) => return Err(CacheError::Discarded),
                _ => return Ok(Made::NotDirty),
            }
        };
        match change {
            Change::Write { offset, data } => disk::write_at(&open.file, &open.path, *offset, data.as_ref())?,
            Change::SetSize(size) => disk::set_len(&open.file, &open.path, *size)?,
            Change::Allocate { mode, offset, len } => disk::allocate(&open.file, &open.path, *mode, *offset, *len)?,
        }
        if let (Change::SetSize(0), Some(id)) = (change, id) {
            self.shared.unsound.begins_anew(id, &open);
        }
        // Only now: after an error the base's bytes are still to come where they were to come.
        let mut state = self.state.lock();
        let size = change.size_after(state.size);
        state.size = size;
        state.generation += 1;
        if let Phase::Dirty(dirty) = &mut state.phase {
            dirty.missing.remove(change.overwritten());
            dirty.missing.remove(size..u64::MAX);
        }
        Ok(Made::Yes)
    }

    /// Bytes were written behind the cache's back, through a backing file in the kernel: takes the size from the file, and
    /// counts it as a change.
    pub async fn absorb_outside_writes(self: &Arc<Self>) -> Result<()> {
        let open = self.opened().await?;
        let body = self.clone();
        self.shared
            .blocking(move || {
                let _io = body.io.lock();
                let look = |e| DiskError::new("look at", &open.path, e);
                let size = open.file.metadata().map_err(look)?.len();
                let mut state = body.state.lock();
                if matches!(state.phase, Phase::Dirty(_)) {
                    state.size = size;
                    state.generation += 1;
                }
                Ok(())
            })
            .await
    }

    /// Waits until all of it is here: of a dirty body the rest of its base, of a clean one everything, checked. Fails when
    /// the store does, or with [`CacheError::Incomplete`] when nothing has come for as long as the deadline.
    pub async fn complete(self: &Arc<Self>, deadline: Duration) -> Result<()> {
        let mut filled = std::pin::pin!(self.fill());
        let mut absent_bytes = self.absent_bytes();
        loop {
            tokio::select! {
                biased;
                done = &mut filled => return done,
                () = self.shared.clock.sleep(deadline) => {}
            }
            let before = std::mem::replace(&mut absent_bytes, self.absent_bytes());
            if absent_bytes == before {
                return Err(CacheError::Incomplete { waited: deadline });
            }
        }
    }

    /// How many bytes are still to come; `None` while nobody knows.
    fn absent_bytes(&self) -> Option<u64> {
        let state = self.state.lock();
        match &state.phase {
            Phase::Dirty(dirty) => Some(dirty.missing.len_bytes()),
            Phase::Filling | Phase::Verifying | Phase::Complete | Phase::Discarded => {
                state.map().map(|map| map.size() - map.present_bytes())
            }
        }
    }

    async fn fill(self: &Arc<Self>) -> Result<()> {
        self.opened().await?;
        if matches!(self.state.lock().phase, Phase::Discarded) {
            return Err(CacheError::Discarded);
        }
        self.sized().await?;
        let since = self.state.lock().now();
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.is_complete() {
                return Ok(());
            }
            let (claims, arrived) = self.fill_step(since)?;
            if arrived {
                self.all_arrived();
                continue;
            }
            claims.into_iter().for_each(fetch::demanded);
            changed.await;
        }
    }

    /// Claims as much of what is missing as may be fetched side by side. `true`: nothing is missing any more.
    fn fill_step(self: &Arc<Self>, since: u64) -> Result<(Vec<fetch::Claim>, bool)> {
        let mut state = self.state.lock();
        if state.corrupt > 1 {
            return Err(CacheError::Corrupt { item: state.item() });
        }
        if matches!(state.phase, Phase::Discarded) {
            return Err(CacheError::Discarded);
        }
        let blocks = 0..state.map().map_or(0, BlockMap::blocks);
        let free = self.shared.pacing.streams().saturating_sub(state.jobs);
        if free == 0 || matches!(state.phase, Phase::Verifying) {
            return Ok((Vec::new(), false));
        }
        match state.presence(blocks.clone(), since) {
            Presence::Failed(error) => Err(error),
            Presence::Coming => Ok((Vec::new(), false)),
            // Checking it failed, not fetching it.
            Presence::Here => state.failure(0, since).map_or(Ok((Vec::new(), true)), Err),
            Presence::Missing => {
                let range_bytes_max = self.shared.pacing.range_bytes_max();
                Ok((self.claim_missing(&mut state, blocks, range_bytes_max, free), false))
            }
        }
    }

    /// Makes what has been written durable, the name in staging/ included.
    pub async fn sync(self: &Arc<Self>) -> Result<()> {
        self.opened().await?;
        let body = self.clone();
        self.shared.blocking(move || body.sync_now()).await
    }

    /// The same of an open body. Once it has failed it fails until the body has been cut to nothing, for whoever asks next was
    /// not told and may have written what is lost. Blocks.
    pub fn sync_now(&self) -> Result<()> {
        let _syncing = self.syncing.lock();
        let (open, dirty, has_name) = {
            let state = self.state.lock();
            let open = state.file.clone().ok_or(CacheError::Discarded)?;
            match &state.phase {
                Phase::Dirty(dirty) => (open, state.id, dirty.name_synced),
                Phase::Filling | Phase::Verifying | Phase::Complete | Phase::Discarded => (open, None, true),
            }
        };
        match dirty {
            Some(id) => self.shared.unsound.sync(id, &open.file, &open.path)?,
            None => disk::sync_data(&open.file, &open.path)?,
        }
        if !has_name {
            // That, too, is told only once.
            let named = disk::sync_dir(&self.shared.config.staging_dir);
            if let (Err(_), Some(id)) = (&named, dirty) {
                self.shared.unsound.add(id);
            }
            named?;
            if let Phase::Dirty(dirty) = &mut self.state.lock().phase {
                dirty.name_synced = true;
            }
        }
        Ok(())
    }

    /// Gives a dirty body the bytes that it should have, which are all, and makes them durable: what the disk failed to keep, it
    /// may keep now. Blocks.
    pub fn write_anew(&self, bytes: &[u8]) -> Result<()> {
        let _syncing = self.syncing.lock();
        let _io = self.io.lock();
        let (open, id) = {
            let state = self.state.lock();
            match (&state.phase, &state.file, state.id) {
                (Phase::Dirty(_), Some(open), Some(id)) => (open.clone(), id),
                _ => return Err(CacheError::Discarded),
            }
        };
        self.shared.unsound.begins_anew(id, &open);
        let written = disk::write_at(&open.file, &open.path, 0, bytes)
            .and_then(|()| disk::set_len(&open.file, &open.path, bytes.len() as u64))
            .and_then(|()| disk::sync_data(&open.file, &open.path))
            .and_then(|()| disk::sync_dir(&self.shared.config.staging_dir));
        if let Err(error) = written {
            self.shared.unsound.add(id);
            return Err(error.into());
        }
        let mut state = self.state.lock();
        if state.size != bytes.len() as u64 {
            state.size = bytes.len() as u64;
            state.generation += 1;
        }
        Ok(())
    }

    /// Whether no sync of a dirty body has failed.
    pub fn is_sound(&self) -> bool {
        self.dirty_id().is_none_or(|id| !self.shared.unsound.has(id))
    }

    /// All bytes of a dirty body, as of one moment; `None` when there are more than `max`, or when some are still to come.
    /// Blocks.
    pub fn bytes_up_to(&self, max: u64) -> Result<Option<Bytes>> {
        let _io = self.io.lock();
        let (open, size) = {
            let state = self.state.lock();
            let open = state.file.clone().ok_or(CacheError::Discarded)?;
            match &state.phase {
                Phase::Dirty(dirty) if dirty.missing.is_empty() && state.size <= max => (open, state.size),
                _ => return Ok(None),
            }
        };
        let bytes = disk::read_at_most(&open.file, &open.path, 0, size as usize)?;
        Ok((bytes.len() as u64 == size).then(|| bytes.into()))
    }
}

/// A change of bytes or size.
#[derive(Clone)]
enum Change<D = Bytes> {
    Write { offset: u64, data: D },
    SetSize(u64),
    Allocate { mode: Allocate, offset: u64, len: u64 },
}

impl<D: AsRef<[u8]>> Change<D> {
    /// What it may take of the disk.
    fn room_bytes(&self) -> u64 {
        match self {
            Self::Write { data, .. } => data.as_ref().len() as u64,
            Self::SetSize(_) => 0,
            Self::Allocate { mode, len, .. } => match mode {
                Allocate::PunchHole => 0,
                Allocate::Extend | Allocate::KeepSize | Allocate::ZeroRange | Allocate::ZeroRangeKeepSize => *len,
            },
        }
    }

    /// Bytes that no longer come from the base.
    fn overwritten(&self) -> Range<u64> {
        match self {
            Self::Write { offset, data } => *offset..offset.saturating_add(data.as_ref().len() as u64),
            Self::SetSize(_) => 0..0,
            Self::Allocate { mode, offset, len } => match mode {
                Allocate::Extend | Allocate::KeepSize => 0..0,
                Allocate::PunchHole | Allocate::ZeroRange | Allocate::ZeroRangeKeepSize => {
                    *offset..offset.saturating_add(*len)
                }
            },
        }
    }

    fn size_after(&self, size: u64) -> u64 {
        match self {
            Self::Write { offset, data } => size.max(offset.saturating_add(data.as_ref().len() as u64)),
            Self::SetSize(size) => *size,
            Self::Allocate { mode, offset, len } => match mode {
                Allocate::Extend | Allocate::ZeroRange => size.max(offset.saturating_add(*len)),
                Allocate::KeepSize | Allocate::PunchHole | Allocate::ZeroRangeKeepSize => size,
            },
        }
    }
}

impl State {
    /// The file has moved to staging/. What is missing of the base stays to be fetched, with [`Keep::All`].
    fn become_dirty(&mut self, staged: OpenFile, keep: Keep) {
        let mut missing = Ranges::new();
        if let (Keep::All, Content::Known(map)) = (keep, &self.content) {
            for block in (0..map.blocks()).filter(|block| map.is_absent(*block)) {
                missing.insert(map.range(block));
            }
        }
        // A base of unknown size that is to be overwritten anyway counts as empty: nothing of it is ever fetched.
        if self.map().is_none() {
            self.content = Content::Known(BlockMap::new(0, 1));
        }
        let base = self.entry.as_ref().map(|entry| entry.version.clone());
        self.phase = Phase::Dirty(Dirty {
            base,
            missing,
            name_synced: false,
        });
        self.file = Some(staged);
        self.map_file = None;
        self.hashed = None;
    }
}
