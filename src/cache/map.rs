//! Which blocks of a body are present, and what they must hash to.
//!
//! The map lies beside the body as `<id>.map`: a header, then 16 bytes per block, zero for a missing one. An entry is
//! written after the block's data, so that after a crash an entry promises nothing: the block is checked against it before
//! it is first served, and fetched again when it does not fit. That makes a torn map or lost data harmless.

use std::fs::File;
use std::ops::Range;
use std::path::Path;

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::disk::{self, DiskError};

const MAGIC: &[u8; 8] = b"AFSMAP01";
const HEADER_BYTES: u64 = 24;
const DIGEST_BYTES: usize = 16;

/// The hash of a block; never zero, which stands for "missing".
pub(super) fn digest(block: &[u8]) -> u128 {
    xxh3_128(block).max(1)
}

/// The same of a block that came in parts.
pub(super) fn digest_of(block: &Xxh3) -> u128 {
    block.digest128().max(1)
}

/// What is known about one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// Not here, and nobody fetches it.
    Missing,
    /// Not here yet; a download owns it.
    InFlight,
    /// Written in an earlier life: must fit its digest before it is served.
    Unverified,
    /// Here.
    Present,
}

/// The blocks of a body of known size.
#[derive(Clone, Debug)]
pub(super) struct BlockMap {
    block_bytes: u64,
    size: u64,
    slots: Vec<Slot>,
    digests: Vec<u128>,
    /// How many slots are `Missing` or `InFlight`.
    absent: usize,
}

impl BlockMap {
    /// Nothing present.
    pub(super) fn new(size: u64, block_bytes: u64) -> Self {
        let blocks = size.div_ceil(block_bytes) as usize;
        Self::of(size, block_bytes, vec![0; blocks])
    }

    /// All there; the digests may be unknown.
    pub(super) fn whole(size: u64, block_bytes: u64, digests: Option<Vec<u128>>) -> Self {
        let mut map = Self::new(size, block_bytes);
        map.slots.fill(Slot::Present);
        map.absent = 0;
        map.digests = digests
            .filter(|digests| digests.len() == map.blocks())
            .unwrap_or(map.digests);
        map
    }

    fn of(size: u64, block_bytes: u64, digests: Vec<u128>) -> Self {
        let slot = |digest: &u128| if *digest == 0 { Slot::Missing } else { Slot::Unverified };
        let slots: Vec<Slot> = digests.iter().map(slot).collect();
        let absent = slots.iter().filter(|slot| **slot == Slot::Missing).count();
        Self {
            block_bytes,
            size,
            slots,
            digests,
            absent,
        }
    }

    /// Reads the map of a body of `size` bytes; one that is missing, torn or of another shape has nothing present.
    pub(super) fn load(path: &Path, size: u64, block_bytes: u64) -> Self {
        let empty = Self::new(size, block_bytes);
        let Ok(file) = File::open(path) else { return empty };
        let blocks = empty.slots.len();
        let len = HEADER_BYTES as usize + blocks * DIGEST_BYTES;
        let Ok(mut bytes) = disk::read_at_most(&file, path, 0, len) else {
            return empty;
        };
        if bytes.get(..HEADER_BYTES as usize) != Some(&header(size, block_bytes)[..]) {
            return empty;
        }
        bytes.resize(len, 0);
        let digests = bytes[HEADER_BYTES as usize..]
            .chunks_exact(DIGEST_BYTES)
            .map(|chunk| chunk.try_into().map_or(0, u128::from_le_bytes))
            .collect();
        Self::of(size, block_bytes, digests)
    }

    /// Whether the file at `path` is a map of such a body.
    pub(super) fn is_map_of(path: &Path, size: u64, block_bytes: u64) -> bool {
        let read = |file: File| disk::read_at_most(&file, path, 0, HEADER_BYTES as usize).ok();
        File::open(path).ok().and_then(read) == Some(header(size, block_bytes))
    }

    /// Size of the content in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Number of blocks.
    pub(super) fn blocks(&self) -> usize {
        self.slots.len()
    }

    /// The bytes of a block.
    pub(super) fn range(&self, block: usize) -> Range<u64> {
        self.bytes_of(&(block..block + 1))
    }

    /// The bytes of a run of blocks.
    pub(super) fn bytes_of(&self, blocks: &Range<usize>) -> Range<u64> {
        let start = blocks.start as u64 * self.block_bytes;
        start.min(self.size)..(blocks.end as u64 * self.block_bytes).min(self.size)
    }

    /// The blocks that `bytes` touches.
    pub(super) fn covering(&self, bytes: &Range<u64>) -> Range<usize> {
        let end = bytes.end.min(self.size);
        if bytes.start >= end {
            return 0..0;
        }
        (bytes.start / self.block_bytes) as usize..end.div_ceil(self.block_bytes) as usize
    }

    pub(super) fn slot(&self, block: usize) -> Slot {
        self.slots[block]
    }

    pub(super) fn is_absent(&self, block: usize) -> bool {
        matches!(self.slots[block], Slot::Missing | Slot::InFlight)
    }

    pub(super) fn set(&mut self, block: usize, slot: Slot) {
        let was = self.is_absent(block);
        self.slots[block] = slot;
        match (was, self.is_absent(block)) {
            (true, false) => self.absent -= 1,
            (false, true) => self.absent += 1,
            (true, true) | (false, false) => {}
        }
    }

    /// A block has arrived and is written.
    pub(super) fn arrived(&mut self, block: usize, digest: u128) {
        self.digests[block] = digest;
        self.set(block, Slot::Present);
    }

    /// A block has been taken over from elsewhere, and must fit its digest before it is served.
    pub(super) fn inherited(&mut self, block: usize, digest: u128) {
        self.digests[block] = digest;
        self.set(block, Slot::Unverified);
    }

    pub(super) fn digest(&self, block: usize) -> u128 {
        self.digests[block]
    }

    /// The digests, when all are known.
    pub(super) fn known_digests(&self) -> Option<&[u128]> {
        self.digests.iter().all(|digest| *digest != 0).then_some(&*self.digests)
    }

    /// Whether every block is here.
    pub(super) fn is_whole(&self) -> bool {
        self.absent == 0
    }

    /// Whether a block waits for its check.
    pub(super) fn has_unverified(&self) -> bool {
        self.slots.contains(&Slot::Unverified)
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.size, self.block_bytes);
    }

    /// How many bytes are here.
    pub(super) fn present_bytes(&self) -> u64 {
        if self.is_whole() {
            return self.size;
        }
        (0..self.blocks())
            .filter(|block| !self.is_absent(*block))
            .map(|block| self.range(block))
            .map(|range| range.end - range.start)
            .sum()
    }
}

fn header(size: u64, block_bytes: u64) -> Vec<u8> {
    [MAGIC.as_slice(), &block_bytes.to_le_bytes(), &size.to_le_bytes()].concat()
}

/// Makes the map of a body of which nothing is present.
pub(super) fn create_map(path: &Path, size: u64, block_bytes: u64) -> Result<File, DiskError> {
    disk::remove_if_there(path)?;
    let file = disk::open_private(path, true)?;
    disk::write_at(&file, path, 0, &header(size, block_bytes))?;
    Ok(file)
}

/// Notes the digests of blocks whose data has been written.
pub(super) fn note_digests(file: &File, path: &Path, first: usize, digests: &[u128]) -> Result<(), DiskError> {
    let bytes: Vec<u8> = digests.iter().flat_map(|digest| digest.to_le_bytes()).collect();
    disk::write_at(file, path, HEADER_BYTES + (first * DIGEST_BYTES) as u64, &bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_bytes_and_the_last_one_is_short() {
        let map = BlockMap::new(300, 128);
        assert_eq!(map.blocks(), 3);
        assert_eq!(map.range(2), 256..300);
        assert_eq!(map.covering(&(127..129)), 0..2);
        assert_eq!(map.covering(&(128..128)), 0..0);
        assert_eq!(map.covering(&(299..5000)), 2..3);
        assert_eq!(map.covering(&(300..301)), 0..0);
        assert!(BlockMap::new(0, 128).is_whole());
    }

    #[test]
    fn what_is_here_is_counted() {
        let mut map = BlockMap::new(300, 128);
        map.set(0, Slot::InFlight);
        map.arrived(2, 5);
        assert_eq!(map.present_bytes(), 44);
        map.arrived(0, 6);
        assert!(map.known_digests().is_none() && !map.is_whole());
        map.arrived(1, 7);
        assert!(map.is_whole());
        assert_eq!(map.known_digests(), Some(&[6, 7, 5][..]));
        map.set(1, Slot::Missing);
        assert_eq!(map.present_bytes(), 172);
    }

    #[test]
    fn a_map_survives_and_a_torn_or_foreign_one_has_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.map");
        let file = create_map(&path, 300, 128).unwrap();
        note_digests(&file, &path, 1, &[77]).unwrap();
        let map = BlockMap::load(&path, 300, 128);
        assert_eq!(
            (map.slot(0), map.slot(1), map.slot(2)),
            (Slot::Missing, Slot::Unverified, Slot::Missing)
        );
        assert_eq!(map.digest(1), 77);
        assert_eq!(BlockMap::load(&path, 301, 128).present_bytes(), 0);
        assert_eq!(BlockMap::load(&path, 300, 64).present_bytes(), 0);
        disk::set_len(&file, &path, 7).unwrap();
        assert_eq!(BlockMap::load(&path, 300, 128).present_bytes(), 0);
        assert_eq!(BlockMap::load(&dir.path().join("none"), 300, 128).present_bytes(), 0);
    }
}
