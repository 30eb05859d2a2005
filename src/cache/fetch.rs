//! Downloads: each owns the blocks it has claimed until they have come or it has given up.

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::sync::OwnedSemaphorePermit;

use crate::disk;
use crate::http::{Class, Context, current_context, with_context};
use crate::model::{Entry, ItemId};
use crate::store::{Download, ErrorKind, Reads, Retry, StoreError};

use super::body::Body;
use super::error::{CacheError, Result};
use super::map::{BlockMap, Slot};
use super::pacing::{SAMPLE_BYTES, Sample};
use super::shared::Shared;
use super::sink::Sink;
use super::state::{Content, State};
use super::stats::{count, lower};

/// How often a download is tried without a byte of progress.
const TRIES_MAX: u32 = 5;
/// What must have been fetched for the memory that it took to be worth giving back.
const TRIM_EVERY_BYTES: u64 = 32 << 20;
const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_LONGEST: Duration = Duration::from_secs(5);

/// Blocks that one download will bring. Dropped in any way, it gives back those that have not come.
pub(super) struct Claim {
    pub(super) body: Arc<Body>,
    pub(super) wanted: Wanted,
}

#[derive(Clone, Debug)]
pub(super) enum Wanted {
    /// These blocks, as far as they were missing; those that have come are taken off the front.
    Blocks(Range<usize>),
    /// All of it, however much that is.
    Everything,
}

impl Claim {
    /// Claims the missing ones of `blocks`.
    pub(super) fn blocks(body: &Arc<Body>, state: &mut State, blocks: Range<usize>) -> Self {
        state.jobs += 1;
        if let Some(map) = state.map_mut() {
            for block in blocks.clone() {
                if map.slot(block) == Slot::Missing {
                    map.set(block, Slot::InFlight);
                }
            }
        }
        Self {
            body: body.clone(),
            wanted: Wanted::Blocks(blocks),
        }
    }

    /// Claims a body of unknown size.
    pub(super) fn everything(body: &Arc<Body>, state: &mut State) -> Self {
        state.jobs += 1;
        state.content = Content::Finding;
        Self {
            body: body.clone(),
            wanted: Wanted::Everything,
        }
    }

    /// Tells everyone who waits for what is still missing.
    fn fail(&self, error: CacheError) {
        let blocks = match &self.wanted {
            Wanted::Blocks(blocks) => blocks.clone(),
            Wanted::Everything => 0..usize::MAX,
        };
        self.body.state.lock().fail(blocks, error);
    }

    /// Whether all of it is there, whoever brought it.
    pub(super) fn is_fulfilled(&self) -> bool {
        let state = self.body.state.lock();
        match (&self.wanted, state.map()) {
            (Wanted::Blocks(blocks), Some(map)) => blocks.clone().all(|block| !state.needs(map, block)),
            (Wanted::Everything, map) => map.is_some_and(BlockMap::is_whole),
            (Wanted::Blocks(_), None) => false,
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        {
            let mut state = self.body.state.lock();
            let state = &mut *state;
            state.jobs -= 1;
            match (&self.wanted, &mut state.content) {
                (Wanted::Blocks(blocks), Content::Known(map)) => {
                    for block in blocks.start..blocks.end.min(map.blocks()) {
                        if map.slot(block) == Slot::InFlight {
                            map.set(block, Slot::Missing);
                            if state.ahead.remove(&block) {
                                let bytes = map.range(block);
                                lower(&self.body.shared.counters.ahead_bytes, bytes.end - bytes.start);
                            }
                        }
                    }
                }
                (Wanted::Everything, content @ Content::Finding) => *content = Content::Unknown,
                (Wanted::Blocks(_), Content::Unknown | Content::Finding)
                | (Wanted::Everything, Content::Unknown | Content::Known(_)) => {}
            }
        }
        self.body.changed.notify_waiters();
    }
}

/// The right to fetch ahead of a reader: taken only when it is free.
pub(super) struct Room {
    shared: Arc<Shared>,
    bytes: u64,
    _permits: [OwnedSemaphorePermit; 2],
}

impl Room {
    pub(super) fn ahead(body: &Body, bytes: u64) -> Option<Self> {
        let shared = &body.shared;
        // Some of a file's streams are kept for reads that somebody waits for.
        let kept = shared.config.streams_per_file_max / 8;
        if body.streams.available_permits() <= kept {
            return None;
        }
        let permits = [
            body.streams.clone().try_acquire_owned().ok()?,
            shared.streams.clone().try_acquire_owned().ok()?,
        ];
        count(&shared.in_flight_bytes, bytes);
        Some(Self {
            shared: shared.clone(),
            bytes,
            _permits: permits,
        })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        lower(&self.shared.in_flight_bytes, self.bytes);
    }
}

/// Fetches what somebody waits for, on behalf of whoever waits.
pub(super) fn demanded(claim: Claim) {
    tokio::spawn(with_context(current_context(), async move {
        match Turn::wait(&claim.body).await {
            Ok(_turn) => run(claim).await,
            Err(error) => claim.fail(error),
        }
    }));
}

/// Fetches what somebody will probably want.
pub(super) fn ahead(claim: Claim, room: Room) {
    let context = Context {
        class: Class::Prefetch.max(current_context().class),
        ..current_context()
    };
    tokio::spawn(with_context(context, async move {
        let _room = room;
        run(claim).await;
    }));
}

/// The right to a download that somebody waits for.
struct Turn {
    _permits: [OwnedSemaphorePermit; 2],
}

impl Turn {
    async fn wait(body: &Arc<Body>) -> Result<Self> {
        let shared = &body.shared;
        let item = body.item();
        let stopped = |_| CacheError::Stopped;
        let of_file = within(shared, &item, body.streams.clone().acquire_owned())
            .await?
            .map_err(stopped)?;
        let any = async {
            tokio::select! {
                biased;
                of_all = shared.streams.clone().acquire_owned() => of_all,
                own = body.own_stream.clone().acquire_owned() => own,
            }
        };
        let of_all = within(shared, &item, any).await?.map_err(stopped)?;
        Ok(Self {
            _permits: [of_file, of_all],
        })
    }
}

/// Waits for `future` up to the deadline without progress.
pub(super) async fn within<T>(shared: &Shared, item: &ItemId, future: impl Future<Output = T>) -> Result<T> {
    let waited = shared.config.no_progress;
    tokio::select! {
        biased;
        done = future => Ok(done),
        () = shared.clock.sleep(waited) => Err(CacheError::Stalled { item: item.clone(), waited }),
    }
}

/// Bounds the tries of one download, by number and by time since the last progress.
pub(super) struct Patience {
    shared: Arc<Shared>,
    tries: u32,
    last: Duration,
}

impl Patience {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: shared.clone(),
            tries: 0,
            last: shared.clock.elapsed(),
        }
    }

    /// Bytes have come.
    pub(super) fn progress(&mut self) {
        self.tries = 0;
        self.last = self.shared.clock.elapsed();
    }

    /// Waits before the next try; the error itself when there is none.
    pub(super) async fn pause(&mut self, error: CacheError) -> Result<()> {
        let Some(asked) = retry_after(&error) else {
            return Err(error);
        };
        self.tries += 1;
        let doubled = PAUSE_FIRST.saturating_mul(1 << (self.tries - 1).min(16));
        let pause = asked.max(doubled.min(PAUSE_LONGEST).mul_f64(rand::random_range(0.75..1.25)));
        let stood_still = self.shared.clock.elapsed().saturating_sub(self.last);
        if self.tries >= TRIES_MAX || stood_still + pause >= self.shared.config.no_progress {
            return Err(error);
        }
        tracing::debug!(%error, ?pause, "a download is tried again");
        count(&self.shared.counters.retries, 1);
        self.shared.clock.sleep(pause).await;
        Ok(())
    }
}

/// Whether trying again may help, and after how long at least.
fn retry_after(error: &CacheError) -> Option<Duration> {
    match error {
        CacheError::Store(error) => match error.kind {
            ErrorKind::Network
            | ErrorKind::Timeout
            | ErrorKind::Server
            | ErrorKind::Protocol
            | ErrorKind::Busy
            | ErrorKind::Throttled { .. } => match error.retry {
                Retry::After(pause) => Some(pause),
                Retry::Never | Retry::Ambiguous => Some(Duration::ZERO),
            },
            _ => None,
        },
        CacheError::Short { .. } | CacheError::Changed { .. } => Some(Duration::ZERO),
        _ => None,
    }
}

async fn run(mut claim: Claim) {
    let body = claim.body.clone();
    let _running = Running::of(&body.shared);
    let result = match body.shared.store.capabilities().reads {
        Reads::Ranged | Reads::Whole => transfer(&mut claim).await,
        Reads::Bundle => super::bundle::transfer(&mut claim).await,
    };
    if let Err(error) = result {
        tracing::debug!(%error, item = %body.item(), "a download has failed");
        claim.fail(error);
    }
}

/// A download under way. The last one of a burst gives back the memory that they all needed.
struct Running(Arc<Shared>);

impl Running {
    fn of(shared: &Arc<Shared>) -> Self {
        shared.downloads.fetch_add(1, Ordering::Relaxed);
        Self(shared.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let shared = &self.0;
        if shared.downloads.fetch_sub(1, Ordering::Relaxed) > 1 {
            return;
        }
        let fetched = shared.counters.fetched_bytes.load(Ordering::Relaxed);
        let before = shared.trimmed_at_bytes.load(Ordering::Relaxed);
        if fetched.saturating_sub(before) >= TRIM_EVERY_BYTES {
            shared.trimmed_at_bytes.store(fetched, Ordering::Relaxed);
            tokio::task::spawn_blocking(disk::return_free_memory);
        }
    }
}

async fn transfer(claim: &mut Claim) -> Result<()> {
    let mut patience = Patience::new(&claim.body.shared);
    while !claim.is_fulfilled() {
        if let Err(error) = attempt(claim, &mut patience).await {
            patience.pause(error).await?;
        }
    }
    Ok(())
}

/// One request, from the first block that is still wanted.
async fn attempt(claim: &mut Claim, patience: &mut Patience) -> Result<()> {
    let body = claim.body.clone();
    let entry = body.entry()?;
    let bytes = match &claim.wanted {
        Wanted::Everything => 0..0,
        Wanted::Blocks(blocks) => body.state.lock().map().map_or(0..0, |map| map.bytes_of(blocks)),
    };
    let asked = body.shared.clock.elapsed();
    let mut download = open(&body, &entry, bytes.clone()).await?;
    // What is wanted may have been here all the time.
    if claim.is_fulfilled() {
        return Ok(());
    }
    let mut sink = match &claim.wanted {
        Wanted::Everything => Sink::open_ended(&body),
        Wanted::Blocks(_) => Sink::of(&body, download.range.start, bytes.clone()),
    };
    let mut flow = Flow::of(&body, asked);
    let ended = loop {
        match within(&body.shared, &entry.id, download.stream.next()).await {
            Ok(Some(Ok(data))) => {
                patience.progress();
                flow.moved(data.len() as u64);
                count(&body.shared.counters.fetched_bytes, data.len() as u64);
                if let Err(error) = sink.push(data).await {
                    break Err(error);
                }
                if let Wanted::Blocks(blocks) = &mut claim.wanted {
                    blocks.start = sink.next_block().clamp(blocks.start, blocks.end);
                }
                if sink.is_done() {
                    break Ok(());
                }
            }
            Ok(Some(Err(error))) => break Err(error.into()),
            Ok(None) => break Ok(()),
            Err(stalled) => break Err(stalled),
        }
    };
    drop(flow);
    let kept = sink.finish(ended.is_ok()).await;
    ended.and(kept)?;
    match claim.is_fulfilled() {
        true => Ok(()),
        false => Err(CacheError::Short { item: entry.id.clone() }),
    }
}

/// A download whose bytes flow: what it is given is measured while it goes on.
struct Flow<'a> {
    body: &'a Body,
    asked: Duration,
    /// From when the bytes below count; `None` before the first one has come.
    since: Option<Duration>,
    bytes: u64,
}

impl<'a> Flow<'a> {
    fn of(body: &'a Body, asked: Duration) -> Self {
        Self {
            body,
            asked,
            since: None,
            bytes: 0,
        }
    }

    fn moved(&mut self, bytes: u64) {
        let shared = &self.body.shared;
        let now = shared.clock.elapsed();
        let Some(since) = self.since else {
            // The first piece has waited for the way, not for the line.
            self.since = Some(now);
            shared.pacing.waited(now.saturating_sub(self.asked));
            self.body.flowing.fetch_add(1, Ordering::Relaxed);
            return;
        };
        self.bytes += bytes;
        if self.bytes >= SAMPLE_BYTES {
            let sample = Sample {
                bytes: self.bytes,
                since,
                beside: self.body.flowing.load(Ordering::Relaxed),
            };
            shared.pacing.learn(&sample, now);
            self.since = Some(now);
            self.bytes = 0;
        }
    }
}

impl Drop for Flow<'_> {
    fn drop(&mut self) {
        if self.since.is_some() {
            self.body.flowing.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Asks the store, and refuses an answer that is not about the version that is wanted.
async fn open(body: &Arc<Body>, entry: &Entry, bytes: Range<u64>) -> Result<Download> {
    count(&body.shared.counters.fetches, 1);
    let download = within(&body.shared, &entry.id, body.shared.store.read(entry, bytes.clone())).await??;
    if download.range.start > bytes.start || download.range.end < bytes.end {
        let text = format!("asked for {bytes:?}, got {:?}", download.range);
        return Err(StoreError::new(ErrorKind::Protocol, "read", entry.id.as_str())
            .because(text)
            .into());
    }
    let changed = || CacheError::Changed { item: entry.id.clone() };
    let known_size = body.state.lock().map().map(BlockMap::size);
    if let (Some(size), Some(total)) = (known_size, download.total)
        && size != total
    {
        return Err(changed());
    }
    match &download.validator {
        Some(validator) if settle(body, validator).await? => {}
        Some(_) => return Err(changed()),
        // The store tells nothing by which the bytes could be known again.
        None => body.state.lock().is_unsettled = false,
    }
    Ok(download)
}

/// The first download of a body tells whether an older version has the same bytes; dropped in any way, that is settled.
struct Settling<'a>(&'a Body);

impl Drop for Settling<'_> {
    fn drop(&mut self) {
        self.0.state.lock().is_unsettled = false;
    }
}

/// Notes by what name a download knows the bytes; the first time, it tells whether an older version has the same. Answers
/// `false` when downloads before knew them by another name.
async fn settle(body: &Arc<Body>, validator: &str) -> Result<bool> {
    let (first, _settling) = {
        let mut state = body.state.lock();
        match &state.validator {
            Some(known) => return Ok(known == validator),
            None => {
                state.validator = Some(validator.to_owned());
                (state.id.filter(|_| state.is_clean()), Settling(body))
            }
        }
    };
    if let Some(id) = first {
        let (shared, noting) = (body.shared.clone(), validator.to_owned());
        let noted = body
            .shared
            .blocking(move || shared.index.lock()?.set_validator(id, &noting));
        noted.await?;
        body.inherit(validator).await;
    }
    Ok(true)
}

/// Fetches `bytes` without keeping them.
pub(super) async fn directly(body: &Arc<Body>, bytes: Range<u64>) -> Result<Bytes> {
    let entry = body.entry()?;
    let len = (bytes.end - bytes.start) as usize;
    let mut patience = Patience::new(&body.shared);
    loop {
        match collect(body, &entry, bytes.clone(), len).await {
            Ok(read) => return Ok(read),
            Err(error) => patience.pause(error).await?,
        }
    }
}

async fn collect(body: &Arc<Body>, entry: &Entry, bytes: Range<u64>, len: usize) -> Result<Bytes> {
    let mut download = open(body, entry, bytes.clone()).await?;
    let mut skip = bytes.start - download.range.start;
    let mut read = BytesMut::with_capacity(len);
    while read.len() < len {
        let Some(data) = within(&body.shared, &entry.id, download.stream.next()).await? else {
            return Err(CacheError::Short { item: entry.id.clone() });
        };
        let data = data?;
        let from = skip.min(data.len() as u64) as usize;
        skip -= from as u64;
        let to = data.len().min(from + len - read.len());
        read.extend_from_slice(&data[from..to]);
    }
    Ok(read.freeze())
}
