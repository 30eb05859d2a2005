//! What is known about a body at a moment.

use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use crate::model::{ContentVersion, Entry, ItemId, Ranges};

use super::body::BodyId;
use super::error::CacheError;
use super::map::{BlockMap, Slot};
use super::shared::Key;

/// An open file and where it is.
#[derive(Clone, Debug)]
pub(super) struct OpenFile {
    pub(super) file: Arc<File>,
    pub(super) path: PathBuf,
}

#[derive(Debug)]
pub(super) enum Phase {
    Filling,
    Verifying,
    Complete,
    Dirty(Dirty),
    Discarded,
}

#[derive(Debug)]
pub(super) struct Dirty {
    pub(super) base: Option<ContentVersion>,
    /// Bytes of the base that are neither here nor overwritten; within the size.
    pub(super) missing: Ranges,
    /// Whether the name in staging/ has been made durable.
    pub(super) name_synced: bool,
}

/// The store's content behind a body.
#[derive(Debug)]
pub(super) enum Content {
    /// Nobody knows how large it is.
    Unknown,
    /// A download is finding out.
    Finding,
    /// Its blocks. In a dirty body: those of the base.
    Known(BlockMap),
}

/// Why blocks did not come.
#[derive(Debug)]
pub(super) struct Failure {
    number: u64,
    blocks: Range<usize>,
    error: CacheError,
}

const FAILURES_MAX: usize = 64;

#[derive(Debug)]
pub(super) struct State {
    /// Under which the registry knows it, while it is clean.
    pub(super) key: Option<Key>,
    /// What to ask the store for.
    pub(super) entry: Option<Arc<Entry>>,
    pub(super) id: Option<BodyId>,
    pub(super) file: Option<OpenFile>,
    pub(super) map_file: Option<OpenFile>,
    pub(super) phase: Phase,
    /// Bytes a reader sees, once `content` is known.
    pub(super) size: u64,
    pub(super) content: Content,
    pub(super) validator: Option<String>,
    /// An older version of it is here, and no download has shown yet whether its bytes are the same: until one has, nothing
    /// is fetched that nobody waits for.
    pub(super) is_unsettled: bool,
    /// Moves with every change made here.
    pub(super) generation: u64,
    /// Digests of all blocks as of a generation.
    pub(super) hashed: Option<(u64, Vec<u128>)>,
    /// Downloads that run or wait for their turn.
    pub(super) jobs: usize,
    /// How often the whole did not fit its checksum.
    pub(super) corrupt: u32,
    /// How often a check of the whole was begun: one that is overtaken by the next has no say.
    pub(super) checks: u64,
    pub(super) failures: VecDeque<Failure>,
    pub(super) failures_seen: u64,
    /// Blocks that were asked for ahead of readers and that nobody has read yet.
    pub(super) ahead: BTreeSet<usize>,
}

/// What stands between a reader and its bytes.
pub(super) enum Presence {
    /// Nothing.
    Here,
    /// Downloads that run.
    Coming,
    /// Blocks that somebody must fetch.
    Missing,
    /// An error that came after the reader did.
    Failed(CacheError),
}

impl State {
    /// Nothing known, nothing open.
    pub(super) fn empty(phase: Phase) -> Self {
        Self {
            key: None,
            entry: None,
            id: None,
            file: None,
            map_file: None,
            phase,
            size: 0,
            content: Content::Unknown,
            validator: None,
            is_unsettled: false,
            generation: 0,
            hashed: None,
            jobs: 0,
            corrupt: 0,
            checks: 0,
            failures: VecDeque::new(),
            failures_seen: 0,
            ahead: BTreeSet::new(),
        }
    }

    /// What it is based on, if it is dirty, is this version from now on; nothing is known of that's blocks.
    pub(super) fn follow(&mut self, entry: &Entry, block_bytes: u64) {
        if let Phase::Dirty(dirty) = &mut self.phase {
            dirty.base = Some(entry.version.clone());
        }
        self.content = Content::Known(BlockMap::whole(entry.size.unwrap_or(0), block_bytes, None));
        self.entry = Some(Arc::new(entry.clone()));
    }

    pub(super) fn map(&self) -> Option<&BlockMap> {
        match &self.content {
            Content::Known(map) => Some(map),
            Content::Unknown | Content::Finding => None,
        }
    }

    pub(super) fn map_mut(&mut self) -> Option<&mut BlockMap> {
        match &mut self.content {
            Content::Known(map) => Some(map),
            Content::Unknown | Content::Finding => None,
        }
    }

    /// Whether bytes of this block are needed from the store.
    pub(super) fn needs(&self, map: &BlockMap, block: usize) -> bool {
        map.is_absent(block)
            && match &self.phase {
                Phase::Dirty(dirty) => overlaps(&dirty.missing, &map.range(block)),
                Phase::Filling | Phase::Verifying | Phase::Complete => true,
                Phase::Discarded => false,
            }
    }

    /// Whether every byte of `bytes` can be read from the file; blocks may still have to be checked.
    pub(super) fn is_here(&self, bytes: &Range<u64>) -> bool {
        match (&self.content, &self.phase) {
            (Content::Known(_), Phase::Complete | Phase::Discarded) => true,
            (Content::Known(_), Phase::Dirty(dirty)) => !overlaps(&dirty.missing, bytes),
            (Content::Known(map), Phase::Filling | Phase::Verifying) => {
                map.covering(bytes).all(|block| !map.is_absent(block))
            }
            (Content::Unknown | Content::Finding, _) => false,
        }
    }

    /// Whether a block in `bytes` must be checked before it is served.
    pub(super) fn is_unverified(&self, bytes: &Range<u64>) -> bool {
        match (&self.phase, self.map()) {
            (Phase::Filling | Phase::Verifying | Phase::Complete, Some(map)) => {
                map.covering(bytes).any(|block| map.slot(block) == Slot::Unverified)
            }
            _ => false,
        }
    }

    /// What is between a reader who came at `since` and these blocks.
    pub(super) fn presence(&self, blocks: Range<usize>, since: u64) -> Presence {
        let Some(map) = self.map() else { return Presence::Coming };
        let (mut missing, mut coming) = (false, false);
        for block in blocks.start..blocks.end.min(map.blocks()) {
            if !self.needs(map, block) {
                continue;
            }
            if map.slot(block) == Slot::InFlight {
                coming = true;
                continue;
            }
            if let Some(error) = self.failure(block, since) {
                return Presence::Failed(error);
            }
            missing = true;
        }
        match (missing, coming) {
            (true, _) => Presence::Missing,
            (false, true) => Presence::Coming,
            (false, false) => Presence::Here,
        }
    }

    /// A number to compare failures with: those that come later have a larger one.
    pub(super) fn now(&self) -> u64 {
        self.failures_seen
    }

    /// The error that kept `block` from coming, after `since`.
    pub(super) fn failure(&self, block: usize, since: u64) -> Option<CacheError> {
        let newest_first = self.failures.iter().rev().take_while(|failure| failure.number > since);
        newest_first
            .filter(|failure| failure.blocks.contains(&block))
            .map(|failure| failure.error.clone())
            .next()
    }

    pub(super) fn fail(&mut self, blocks: Range<usize>, error: CacheError) {
        self.failures_seen += 1;
        if self.failures.len() == FAILURES_MAX {
            self.failures.pop_front();
        }
        self.failures.push_back(Failure {
            number: self.failures_seen,
            blocks,
            error,
        });
    }

    pub(super) fn item(&self) -> ItemId {
        self.entry
            .as_ref()
            .map_or_else(|| ItemId::new("new file"), |entry| entry.id.clone())
    }

    /// The first run of missing, unclaimed blocks in `blocks`, at most `longest` of them.
    pub(super) fn next_missing(&self, blocks: Range<usize>, longest: usize) -> Option<Range<usize>> {
        let map = self.map()?;
        let end = blocks.end.min(map.blocks());
        let is_missing = |block: &usize| map.slot(*block) == Slot::Missing && self.needs(map, *block);
        let start = (blocks.start..end).find(is_missing)?;
        let length = (start..end).take(longest).take_while(is_missing).count();
        Some(start..start + length)
    }

    /// A reader takes `bytes`. Answers how many bytes of blocks that came ahead of readers are read for the first time.
    pub(super) fn note_read(&mut self, bytes: &Range<u64>) -> u64 {
        if self.ahead.is_empty() {
            return 0;
        }
        let Some(map) = self.map() else { return 0 };
        let blocks: Vec<usize> = self.ahead.range(map.covering(bytes)).copied().collect();
        let ranges = blocks.iter().map(|block| map.range(*block));
        let came = ranges.map(|range| range.end - range.start).sum();
        for block in &blocks {
            self.ahead.remove(block);
        }
        came
    }

    /// Whether it is as the store has it.
    pub(super) fn is_clean(&self) -> bool {
        matches!(self.phase, Phase::Filling | Phase::Verifying | Phase::Complete)
    }
}

/// Whether a byte of `range` is in `set`.
pub(super) fn overlaps(set: &Ranges, range: &Range<u64>) -> bool {
    let outside: u64 = set.missing(range).iter().map(|gap| gap.end - gap.start).sum();
    outside < range.end.saturating_sub(range.start)
}

/// The parts of `range` that are in `set`.
pub(super) fn common(set: &Ranges, range: &Range<u64>) -> Ranges {
    let mut parts = Ranges::of(range.clone());
    for gap in set.missing(range) {
        parts.remove(gap);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_parts_and_overlaps() {
        let mut set = Ranges::of(10..20);
        set.insert(30..40);
        assert!(!overlaps(&set, &(20..30)) && overlaps(&set, &(19..30)) && !overlaps(&set, &(5..5)));
        assert_eq!(common(&set, &(15..35)).iter().collect::<Vec<_>>(), vec![15..20, 30..35]);
    }
}
