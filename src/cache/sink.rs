//! From a download into the file, block by block.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};

use crate::disk;

use super::body::Body;
use super::chain::{Chain, Whole};
use super::error::{CacheError, Result};
use super::evict::Disk;
use super::map::{BlockMap, note_digests};
use super::state::{Content, Phase, common};

/// Most bytes that a download keeps in memory before they are written.
const PIECE_BYTES_MAX: u64 = 1 << 20;
/// How long a block waits for others, to be written with them: on a slow line somebody waits for each.
const GATHER_MAX: Duration = Duration::from_millis(250);

/// Takes the bytes of a download in order and stores its blocks.
pub(super) struct Sink {
    body: Arc<Body>,
    /// Where in the content the next byte of the download belongs.
    position: u64,
    /// Where the first block that is wanted begins.
    began: u64,
    /// Where `buffer` begins, a block's start.
    start: u64,
    buffer: Chain,
    /// When the buffer was begun.
    since: Duration,
    extent: Extent,
}

enum Extent {
    /// Blocks up to here are wanted.
    To(u64),
    /// All that comes; these are the blocks that have.
    Open(Vec<u128>),
}

impl Sink {
    /// For a download that begins at `position`, of which `wanted` is stored.
    pub(super) fn of(body: &Arc<Body>, position: u64, wanted: Range<u64>) -> Self {
        Self {
            body: body.clone(),
            position,
            began: wanted.start,
            start: wanted.start,
            buffer: Chain::default(),
            since: Duration::ZERO,
            extent: Extent::To(wanted.end),
        }
    }

    /// For content of unknown size, from its start.
    pub(super) fn open_ended(body: &Arc<Body>) -> Self {
        Self {
            body: body.clone(),
            position: 0,
            began: 0,
            start: 0,
            buffer: Chain::default(),
            since: Duration::ZERO,
            extent: Extent::Open(Vec::new()),
        }
    }

    /// The first block that has not been stored.
    pub(super) fn next_block(&self) -> usize {
        self.start.div_ceil(self.body.shared.config.block_bytes) as usize
    }

    /// Whether all that is wanted has been stored.
    pub(super) fn is_done(&self) -> bool {
        match self.extent {
            Extent::To(end) => self.start >= end,
            Extent::Open(_) => false,
        }
    }

    /// Takes the next bytes of the download.
    pub(super) async fn push(&mut self, mut data: Bytes) -> Result<()> {
        let wanted_from = self.start + self.buffer.len() as u64;
        let skip = wanted_from.saturating_sub(self.position).min(data.len() as u64);
        self.position += data.len() as u64;
        data.advance(skip as usize);
        if let Extent::To(end) = self.extent {
            data.truncate(end.saturating_sub(wanted_from).min(data.len() as u64) as usize);
        }
        let block_bytes = self.body.shared.config.block_bytes;
        let piece_bytes = (PIECE_BYTES_MAX / block_bytes).max(1) * block_bytes;
        let now = self.body.shared.clock.elapsed();
        while !data.is_empty() {
            // The first block goes out alone: somebody probably waits for it.
            let room = match self.start == self.began {
                true => block_bytes,
                false => piece_bytes,
            };
            if self.buffer.len() == 0 {
                self.since = now;
            }
            let take = (room as usize).saturating_sub(self.buffer.len()).min(data.len());
            self.buffer.push(data.split_to(take));
            let len = self.buffer.len() as u64;
            let at_end = matches!(self.extent, Extent::To(end) if self.start + len >= end);
            if len >= room || at_end {
                self.store_buffer(len).await?;
            }
        }
        if now.saturating_sub(self.since) >= GATHER_MAX {
            self.store_buffer(self.whole_blocks()).await?;
            self.since = now;
        }
        Ok(())
    }

    /// How many bytes of the buffer are whole blocks.
    fn whole_blocks(&self) -> u64 {
        let block_bytes = self.body.shared.config.block_bytes;
        self.buffer.len() as u64 / block_bytes * block_bytes
    }

    /// Stores the first `len` bytes of the buffer.
    async fn store_buffer(&mut self, len: u64) -> Result<()> {
        if len == 0 {
            return Ok(());
        }
        let digests = self
            .body
            .store_with_room(self.start, self.buffer.take(len as usize))
            .await?;
        if let Extent::Open(found) = &mut self.extent {
            found.extend(digests);
        }
        self.start += len;
        Ok(())
    }

    /// The download has ended; `whole`: as it should. Keeps the whole blocks that have come.
    pub(super) async fn finish(&mut self, whole: bool) -> Result<()> {
        match (&self.extent, whole) {
            (Extent::Open(_), true) => {
                self.store_buffer(self.buffer.len() as u64).await?;
                self.found_end().await
            }
            (Extent::Open(_), false) => Ok(()),
            (Extent::To(_), _) => self.store_buffer(self.whole_blocks()).await,
        }
    }

    /// Content of unknown size has ended: now it is known.
    async fn found_end(&mut self) -> Result<()> {
        let Extent::Open(found) = &mut self.extent else {
            return Ok(());
        };
        let digests = std::mem::take(found);
        let size = self.start;
        let body = self.body.clone();
        self.body
            .shared
            .blocking(move || body.install_whole(size, digests))
            .await
    }
}

impl Body {
    /// Stores a piece; makes room on a full disk once.
    async fn store_with_room(self: &Arc<Self>, start: u64, piece: Whole) -> Result<Vec<u128>> {
        self.shared.admit_clean(piece.len() as u64).await?;
        let store = |piece: Whole| {
            let body = self.clone();
            self.shared.blocking(move || body.store(start, &piece))
        };
        match store(piece.clone()).await {
            Err(error) if error.is_full() => {
                self.shared.make_room(piece.len() as u64, Disk::Content).await?;
                store(piece).await
            }
            done => done,
        }
    }

    /// Writes whole blocks that begin at `start`: the data first, then their digests, then they count as present. In a
    /// dirty body only what has not been overwritten is taken. Blocks.
    fn store(self: &Arc<Self>, start: u64, piece: &Whole) -> Result<Vec<u128>> {
        let block_bytes = self.shared.config.block_bytes;
        let digests = piece.digests(block_bytes as usize);
        let first = (start / block_bytes) as usize;
        let bytes = start..start + piece.len() as u64;
        {
            let _io = self.io.lock();
            let (open, parts) = {
                let state = self.state.lock();
                let open = state.file.clone().ok_or(CacheError::Discarded)?;
                match &state.phase {
                    Phase::Dirty(dirty) => (open, Some(common(&dirty.missing, &bytes))),
                    Phase::Filling | Phase::Verifying => (open, None),
                    Phase::Complete => return Ok(digests),
                    Phase::Discarded => return Err(CacheError::Discarded),
                }
            };
            match parts {
                Some(parts) => {
                    let piece = piece.joined();
                    for part in parts.iter() {
                        let data = &piece[(part.start - start) as usize..(part.end - start) as usize];
                        disk::write_at(&open.file, &open.path, part.start, data)?;
                    }
                }
                None => {
                    disk::write_parts_at(&open.file, &open.path, start, piece.pieces())?;
                    if let Some(map) = self.map_file()? {
                        note_digests(&map.file, &map.path, first, &digests)?;
                    }
                }
            }
            self.arrived(first, &bytes, &digests);
        }
        self.all_arrived();
        self.changed.notify_waiters();
        Ok(digests)
    }

    fn arrived(&self, first: usize, bytes: &Range<u64>, digests: &[u128]) {
        let mut state = self.state.lock();
        let clean = state.is_clean();
        if let Phase::Dirty(dirty) = &mut state.phase {
            dirty.missing.remove(bytes.clone());
        }
        let mut came = 0;
        match &mut state.content {
            Content::Known(map) => {
                for (block, digest) in (first..map.blocks()).zip(digests) {
                    if map.is_absent(block) {
                        let range = map.range(block);
                        came += range.end - range.start;
                    }
                    map.arrived(block, *digest);
                }
            }
            // Counted when the end is found: a download that breaks off begins anew.
            Content::Unknown | Content::Finding => {}
        }
        if clean {
            self.shared.note_here(&state, came);
        }
    }

    /// A download has shown how much there is, and brought all of it. Blocks.
    fn install_whole(self: &Arc<Self>, size: u64, digests: Vec<u128>) -> Result<()> {
        {
            let _io = self.io.lock();
            let (open, id, told) = {
                let state = self.state.lock();
                match (&state.file, state.id, &state.content, state.is_clean()) {
                    (Some(open), Some(id), Content::Unknown | Content::Finding, true) => {
                        (open.clone(), id, state.entry.as_ref().and_then(|entry| entry.size))
                    }
                    _ => return Ok(()),
                }
            };
            if told.is_some_and(|told| told != size) {
                return Err(CacheError::Changed { item: self.item() });
            }
            disk::set_len(&open.file, &open.path, size)?;
            {
                let mut state = self.state.lock();
                let map = BlockMap::whole(size, self.shared.config.block_bytes, Some(digests.clone()));
                state.content = Content::Known(map);
                state.size = size;
                self.shared.note_here(&state, size);
            }
            if let Some(map) = self.map_file()? {
                note_digests(&map.file, &map.path, 0, &digests)?;
            }
            self.shared.index.lock()?.set_complete(id, size, size, false)?;
        }
        self.all_arrived();
        self.changed.notify_waiters();
        Ok(())
    }
}
