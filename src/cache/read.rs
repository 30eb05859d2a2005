//! Reading: what is here at once, what is not as soon as its own blocks have come.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::disk;
use crate::store::Reads;

use super::body::Body;
use super::error::{CacheError, Result};
use super::evict::Disk;
use super::fetch::{self, Claim};
use super::map::{BlockMap, Slot};
use super::reader::Reader;
use super::state::{Content, Phase, Presence, State};
use super::stats::count;
use super::verify::CHECKED_FIRST_BYTES_MAX;

/// Reads up to this size are answered without changing threads when the kernel has the bytes in memory.
const DIRECT_BYTES_MAX: usize = 128 << 10;
/// The least that is asked for: a request costs as much as this many bytes.
const FETCH_BYTES_MIN: u64 = 256 << 10;
/// Files up to this size come as a whole.
const TINY_BYTES_MAX: u64 = 512 << 10;
/// How often a read is begun anew because blocks turned out to be damaged.
const ROUNDS_MAX: usize = 8;

/// What a waiting read does next.
enum Step {
    Serve,
    Wait,
    Fetch(Vec<Claim>),
}

fn clamped(offset: u64, len: usize, size: u64) -> Range<u64> {
    offset.min(size)..offset.saturating_add(len as u64).min(size)
}

impl Body {
    /// Up to `len` bytes from `offset`; fewer only at the end. Waits for the store where it must: then no longer than the
    /// cache's deadline without progress. `reader` stands for the open handle.
    pub async fn read(self: &Arc<Self>, reader: &Reader, offset: u64, len: usize) -> Result<Bytes> {
        if let Err(full) = self.opened_with_room().await {
            return match self.size() {
                Some(size) => self.read_past_the_disk(clamped(offset, len, size), full).await,
                None => Err(full),
            };
        }
        self.sized().await?;
        let mut ahead_bytes = None;
        for _ in 0..ROUNDS_MAX {
            let bytes = clamped(offset, len, self.size().unwrap_or(0));
            if bytes.is_empty() {
                return Ok(Bytes::new());
            }
            let ahead_bytes = *ahead_bytes.get_or_insert_with(|| reader.observe(&bytes));
            match self.obtain(&bytes, ahead_bytes).await {
                Ok(()) => {}
                Err(error) if error.is_full() => return self.read_past_the_disk(bytes, error).await,
                Err(error) => return Err(error),
            }
            if let Some(read) = self.serve(bytes).await? {
                return Ok(read);
            }
        }
        Err(CacheError::Corrupt { item: self.item() })
    }

    /// Opens the file; makes room on a full disk once.
    async fn opened_with_room(self: &Arc<Self>) -> Result<()> {
        match self.opened().await {
            Err(error) if error.is_full() => {
                self.shared.make_room(0, Disk::Content).await?;
                self.opened().await.map(drop)
            }
            opened => opened.map(drop),
        }
    }

    /// Waits until `bytes` are in the file.
    async fn obtain(self: &Arc<Self>, bytes: &Range<u64>, ahead_bytes: u64) -> Result<()> {
        let since = self.state.lock().now();
        let mut waited = false;
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let step = self.step(bytes, since)?;
            let serve = match step {
                Step::Serve => true,
                Step::Wait => false,
                Step::Fetch(claims) => {
                    claims.into_iter().for_each(fetch::demanded);
                    false
                }
            };
            // Also while waiting: a download that has ended leaves its place to the next at once.
            self.fetch_ahead(bytes.end, ahead_bytes);
            if serve {
                let counters = &self.shared.counters;
                let (reads, read_bytes) = match waited {
                    true => (&counters.misses, &counters.miss_bytes),
                    false => (&counters.hits, &counters.hit_bytes),
                };
                count(reads, 1);
                count(read_bytes, bytes.end - bytes.start);
                return Ok(());
            }
            waited = true;
            changed.await;
        }
    }

    fn step(self: &Arc<Self>, bytes: &Range<u64>, since: u64) -> Result<Step> {
        let mut state = self.state.lock();
        let checked_first = matches!(state.phase, Phase::Verifying) && state.size <= CHECKED_FIRST_BYTES_MAX;
        if state.is_here(bytes) {
            let whole_is_wanted = state.entry.as_ref().is_some_and(|entry| entry.checksum.is_some());
            if checked_first && whole_is_wanted {
                return Ok(Step::Wait);
            }
            count(&self.shared.counters.ahead_read_bytes, state.note_read(bytes));
            return Ok(Step::Serve);
        }
        if state.corrupt > 1 {
            return Err(CacheError::Corrupt { item: state.item() });
        }
        let Some(map) = state.map() else { return Ok(Step::Wait) };
        let needed = map.covering(bytes);
        let wanted = self.widened(map, &needed);
        match state.presence(needed, since) {
            Presence::Here => Ok(Step::Serve),
            Presence::Coming => Ok(Step::Wait),
            Presence::Failed(error) => Err(error),
            Presence::Missing => {
                let range_bytes_max = self.shared.pacing.range_bytes_max();
                Ok(Step::Fetch(self.claim_missing(
                    &mut state,
                    wanted,
                    range_bytes_max,
                    usize::MAX,
                )))
            }
        }
    }

    /// What to fetch when some of `needed` is missing.
    fn widened(&self, map: &BlockMap, needed: &Range<usize>) -> Range<usize> {
        if self.shared.store.capabilities().reads != Reads::Ranged || map.size() <= TINY_BYTES_MAX {
            return 0..map.blocks();
        }
        let least = FETCH_BYTES_MIN.div_ceil(self.shared.config.block_bytes) as usize;
        needed.start..needed.end.max(needed.start + least).min(map.blocks())
    }

    /// Claims the missing blocks of `blocks`, in runs that become one download each.
    pub(super) fn claim_missing(
        self: &Arc<Self>,
        state: &mut State,
        blocks: Range<usize>,
        range_bytes_max: u64,
        claims_max: usize,
    ) -> Vec<Claim> {
        let mut claims = Vec::new();
        if self.shared.store.capabilities().reads != Reads::Ranged {
            // The whole comes anyway, and once: whoever finds blocks in flight waits for them.
            let any_in_flight = state
                .map()
                .is_some_and(|map| blocks.clone().any(|block| map.slot(block) == Slot::InFlight));
            if !any_in_flight {
                let all = 0..state.map().map_or(0, BlockMap::blocks);
                claims.push(Claim::blocks(self, state, all));
            }
            return claims;
        }
        let longest = (range_bytes_max / self.shared.config.block_bytes).max(1) as usize;
        let mut at = blocks.start;
        while claims.len() < claims_max
            && let Some(run) = state.next_missing(at..blocks.end, longest)
        {
            at = run.end;
            claims.push(Claim::blocks(self, state, run));
        }
        claims
    }

    /// Starts downloads of what the reader will want next, as far as there is room for them now.
    fn fetch_ahead(self: &Arc<Self>, from: u64, ahead_bytes: u64) {
        if ahead_bytes == 0 || self.is_complete() || self.shared.store.capabilities().reads != Reads::Ranged {
            return;
        }
        let pacing = &self.shared.pacing;
        let jobs = pacing.jobs();
        let range_bytes_max = pacing.range_bytes_max();
        // Twice what the downloads carry, so that one that ends finds its next range.
        let window = ahead_bytes.min(2 * range_bytes_max * jobs as u64);
        // Shared out among those that are to flow: what comes on top is left for the window as it will be by then.
        let range_bytes = (window / pacing.streams() as u64).clamp(FETCH_BYTES_MIN, range_bytes_max);
        let longest = range_bytes.div_ceil(self.shared.config.block_bytes) as usize;
        for _ in 0..jobs {
            let Some(room) = fetch::Room::ahead(self, range_bytes) else {
                return;
            };
            let claim = {
                let mut state = self.state.lock();
                let Some(map) = state.map().filter(|_| !state.is_unsettled) else {
                    return;
                };
                let horizon = from.saturating_add(window).min(map.size());
                let blocks = map.covering(&(from..horizon));
                let size = map.size();
                let Some(run) = state.next_missing(blocks, longest) else {
                    return;
                };
                // Not in crumbs: better wait until a range is worth a request.
                let start = run.start as u64 * self.shared.config.block_bytes;
                if state.jobs >= jobs || (horizon < size && horizon - start < range_bytes) {
                    return;
                }
                let bytes = map.bytes_of(&run);
                count(&self.shared.counters.ahead_bytes, bytes.end - bytes.start);
                state.ahead.extend(run.clone());
                Claim::blocks(self, &mut state, run)
            };
            fetch::ahead(claim, room);
        }
    }

    /// The bytes from the file; `None` when they have to be fetched again.
    async fn serve(self: &Arc<Self>, bytes: Range<u64>) -> Result<Option<Bytes>> {
        let (open, unverified) = {
            let state = self.state.lock();
            match &state.file {
                Some(open) if state.is_here(&bytes) => (open.clone(), state.is_unverified(&bytes)),
                _ => return Ok(None),
            }
        };
        let len = (bytes.end - bytes.start) as usize;
        if !unverified
            && len <= DIRECT_BYTES_MAX
            && let Some(read) = disk::read_cached(&open.file, bytes.start, len)
        {
            return Ok(Some(read.into()));
        }
        let blank = self.shared.answers.blank(len).await?;
        let body = self.clone();
        self.shared
            .blocking(move || {
                if unverified && !body.check_before_serving(&bytes)? {
                    return Ok(None);
                }
                let fill =
                    |buffer: &mut Vec<u8>| Ok(disk::read_onto(&open.file, &open.path, bytes.start, len, buffer)?);
                blank.filled(fill).map(Some)
            })
            .await
    }

    /// The disk is full and nothing can be evicted: reading still works, only without keeping anything.
    async fn read_past_the_disk(self: &Arc<Self>, bytes: Range<u64>, full: CacheError) -> Result<Bytes> {
        let clean = self.state.lock().is_clean();
        if !full.is_full() || !clean || self.shared.store.capabilities().reads != Reads::Ranged {
            return Err(full);
        }
        fetch::directly(self, bytes).await
    }

    /// Lets a download find out the size, or asks the store for it.
    pub(super) async fn find_size(self: &Arc<Self>) -> Result<u64> {
        if self.shared.store.capabilities().reads == Reads::Ranged {
            return self.ask_size().await;
        }
        let since = self.state.lock().now();
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let claim = {
                let mut state = self.state.lock();
                match &state.content {
                    Content::Known(_) => return Ok(state.size),
                    Content::Finding => None,
                    Content::Unknown => match state.failure(0, since) {
                        Some(error) => return Err(error),
                        None => Some(Claim::everything(self, &mut state)),
                    },
                }
            };
            claim.into_iter().for_each(fetch::demanded);
            changed.await;
        }
    }

    async fn ask_size(self: &Arc<Self>) -> Result<u64> {
        let entry = self.entry()?;
        let asked = fetch::within(&self.shared, &entry.id, self.shared.store.stat(&entry.id)).await??;
        let Some(size) = asked.size else {
            return Err(CacheError::SizeUnknown { item: entry.id.clone() });
        };
        if asked.version != entry.version {
            return Err(CacheError::Changed { item: entry.id.clone() });
        }
        let body = self.clone();
        let told = asked.clone();
        self.shared
            .blocking(move || {
                let _io = body.io.lock();
                let (open, id) = {
                    let state = body.state.lock();
                    match (&state.file, state.id, &state.content) {
                        (Some(open), Some(id), Content::Unknown) => (open.clone(), id),
                        _ => return Ok(state.size),
                    }
                };
                disk::set_len(&open.file, &open.path, size)?;
                body.shared.index.lock()?.set_complete(id, size, 0, false)?;
                let mut state = body.state.lock();
                state.entry = Some(Arc::new(told));
                state.content = Content::Known(BlockMap::new(size, body.shared.config.block_bytes));
                state.size = size;
                Ok(size)
            })
            .await
    }
}
