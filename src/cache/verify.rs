//! Whether bytes on the disk are what they should be.

use std::ops::Range;
use std::sync::Arc;

use md5::{Digest, Md5};

use crate::disk;
use crate::model::{Checksum, hex};

use super::body::Body;
use super::error::Result;
use super::map::{BlockMap, Slot, digest};
use super::state::{Content, OpenFile, Phase};
use super::stats::count;

/// Bodies up to this size are not synced when they have arrived: their blocks are checked when they are opened again,
/// which is cheaper than a sync for each of a folder of small files.
const UNSYNCED_BYTES_MAX: u64 = 1 << 20;
/// A whole up to this size is checked before its last block is served.
pub(super) const CHECKED_FIRST_BYTES_MAX: u64 = 4 << 20;
const PIECE_BYTES: u64 = 1 << 20;

/// Checks the unverified blocks in `bytes` against their digests; those that do not fit count as missing; answers how many.
/// Blocks.
pub(super) fn check_blocks(file: &OpenFile, map: &mut BlockMap, bytes: Range<u64>) -> Result<u64> {
    let mut damaged = 0;
    for block in map.covering(&bytes) {
        if map.slot(block) != Slot::Unverified {
            continue;
        }
        let slot = match fits(file, map.range(block), map.digest(block))? {
            true => Slot::Present,
            false => {
                damaged += 1;
                Slot::Missing
            }
        };
        map.set(block, slot);
    }
    Ok(damaged)
}

fn fits(open: &OpenFile, range: Range<u64>, wanted: u128) -> Result<bool> {
    let len = (range.end - range.start) as usize;
    let bytes = disk::read_at_most(&open.file, &open.path, range.start, len)?;
    Ok(bytes.len() == len && digest(&bytes) == wanted)
}

/// The MD5 of the first `size` bytes, in lower-case hex. Blocks.
pub(super) fn md5_hex(open: &OpenFile, size: u64) -> Result<String> {
    let mut hash = Md5::new();
    let mut at = 0;
    while at < size {
        let bytes = disk::read_at_most(&open.file, &open.path, at, PIECE_BYTES.min(size - at) as usize)?;
        if bytes.is_empty() {
            break;
        }
        hash.update(&bytes);
        at += bytes.len() as u64;
    }
    Ok(hex(&hash.finalize()))
}

/// The digests of all blocks of the first `size` bytes; stops as soon as one differs from `expected`. Blocks.
pub(super) fn digests(
    open: &OpenFile,
    size: u64,
    block_bytes: u64,
    expected: Option<&[u128]>,
) -> Result<Option<Vec<u128>>> {
    let mut found = Vec::with_capacity(size.div_ceil(block_bytes) as usize);
    let mut at = 0;
    while at < size {
        let bytes = disk::read_at_most(&open.file, &open.path, at, block_bytes.min(size - at) as usize)?;
        let is = digest(&bytes);
        if expected.is_some_and(|expected| expected.get(found.len()) != Some(&is)) {
            return Ok(None);
        }
        found.push(is);
        at += block_bytes;
    }
    Ok(Some(found))
}

impl Body {
    /// Checks what a read wants to serve from an earlier life. `false`: something has to be fetched again, whoever found
    /// that out. Blocks.
    pub(super) fn check_before_serving(&self, bytes: &Range<u64>) -> Result<bool> {
        let (open, mut map) = {
            let state = self.state.lock();
            match (&state.file, state.map()) {
                (Some(open), Some(map)) => (open.clone(), map.clone()),
                _ => return Ok(false),
            }
        };
        let blocks = map.covering(bytes);
        check_blocks(&open, &mut map, bytes.clone())?;
        let mut state = self.state.lock();
        if state.is_clean() {
            let mut all_fit = true;
            if let Some(ours) = state.map_mut() {
                for block in blocks.filter(|block| map.slot(*block) != Slot::Unverified) {
                    if ours.slot(block) == Slot::Unverified {
                        ours.set(block, map.slot(block));
                        if map.slot(block) == Slot::Missing {
                            count(&self.shared.counters.healed, 1);
                            all_fit = false;
                        }
                    }
                }
            }
            if !all_fit {
                state.phase = Phase::Filling;
            }
        }
        Ok(state.is_here(bytes) && !state.is_unverified(bytes))
    }

    /// Every block is there: decides what remains to be checked. Called without any lock but `io`.
    pub(super) fn all_arrived(self: &Arc<Self>) {
        let must_check = {
            let mut state = self.state.lock();
            let whole = state.map().is_some_and(BlockMap::is_whole);
            if !whole || !matches!(state.phase, Phase::Filling) {
                return;
            }
            let has_checksum = state.entry.as_ref().is_some_and(|entry| entry.checksum.is_some());
            let unverified = state.map().is_some_and(BlockMap::has_unverified);
            let must_check = has_checksum || unverified || state.size > UNSYNCED_BYTES_MAX;
            state.phase = if must_check { Phase::Verifying } else { Phase::Complete };
            state.checks += 1;
            must_check
        };
        self.changed.notify_waiters();
        if must_check {
            let body = self.clone();
            tokio::spawn(async move { body.verify().await });
        }
    }

    async fn verify(self: Arc<Self>) {
        let body = self.clone();
        let checked = self.shared.blocking(move || body.verify_now()).await;
        if let Err(error) = checked {
            tracing::warn!(%error, item = %self.item(), "a fetched body could not be checked");
            let mut state = self.state.lock();
            if matches!(state.phase, Phase::Verifying) {
                state.phase = Phase::Filling;
                let blocks = state.map().map_or(0, BlockMap::blocks);
                state.fail(0..blocks, error);
            }
        }
        self.changed.notify_waiters();
    }

    /// Checks a body that has arrived as a whole, and makes it durable. Blocks.
    fn verify_now(self: &Arc<Self>) -> Result<()> {
        let (open, entry, id, mut map, number) = {
            let state = self.state.lock();
            match (&state.file, &state.entry, state.id, state.map()) {
                (Some(open), Some(entry), Some(id), Some(map)) if matches!(state.phase, Phase::Verifying) => {
                    (open.clone(), entry.clone(), id, map.clone(), state.checks)
                }
                _ => return Ok(()),
            }
        };
        let size = map.size();
        let damaged = check_blocks(&open, &mut map, 0..size)?;
        let fits = !map.is_whole() || checksum_fits(&open, size, entry.checksum.as_ref())?;
        let synced = size > UNSYNCED_BYTES_MAX;
        if synced && map.is_whole() && fits {
            disk::sync_data(&open.file, &open.path)?;
        }
        // Nobody may write between the check and the verdict.
        let _io = self.io.lock();
        {
            let mut state = self.state.lock();
            if !matches!(state.phase, Phase::Verifying) || state.checks != number {
                return Ok(());
            }
            if !fits {
                return self.refuse(&mut state, &entry.id);
            }
            count(&self.shared.counters.healed, damaged);
            let whole = map.is_whole();
            state.content = Content::Known(map);
            state.phase = if whole { Phase::Complete } else { Phase::Filling };
            state.map_file = None;
            if !whole {
                return Ok(());
            }
        }
        self.shared.index.lock()?.set_complete(id, size, size, synced)
    }

    /// The bytes do not have the checksum that the store tells: all is fetched once more, then reads fail.
    fn refuse(&self, state: &mut super::state::State, item: &crate::model::ItemId) -> Result<()> {
        count(&self.shared.counters.healed, 1);
        state.corrupt += 1;
        state.phase = Phase::Filling;
        if let Some(map) = state.map_mut() {
            let bytes = map.present_bytes();
            map.clear();
            self.shared.note_gone(state, bytes);
        }
        tracing::warn!(%item, times = state.corrupt, "the fetched data does not have the store's checksum");
        Ok(())
    }
}

/// Whether the bytes have the checksum; without one they do.
pub(super) fn checksum_fits(open: &OpenFile, size: u64, checksum: Option<&Checksum>) -> Result<bool> {
    match checksum {
        None => Ok(true),
        Some(Checksum::Md5(wanted)) => Ok(md5_hex(open, size)?.eq_ignore_ascii_case(wanted)),
    }
}
