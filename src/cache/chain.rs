//! Bytes in the pieces that they came in: a download is written from them, and what came in large ones is never copied.

use bytes::{Bytes, BytesMut};
use xxhash_rust::xxh3::Xxh3;

use super::map::{digest, digest_of};

/// Pieces below this size are copied together: each would keep the whole buffer that it came in, and cost a part of a write.
const SMALL_BYTES: usize = 16 << 10;
/// So much of them makes a piece.
const GATHERED_BYTES: usize = 64 << 10;

/// Pieces of content, one behind the other.
#[derive(Clone, Debug, Default)]
pub(super) struct Chain {
    pieces: Vec<Bytes>,
    /// Small ones that came last.
    gathered: BytesMut,
    len: usize,
}

impl Chain {
    /// Appends a piece.
    pub(super) fn push(&mut self, piece: Bytes) {
        self.len += piece.len();
        if piece.len() < SMALL_BYTES {
            self.gathered.extend_from_slice(&piece);
        }
        if piece.len() >= SMALL_BYTES || self.gathered.len() >= GATHERED_BYTES {
            self.seal();
        }
        if piece.len() >= SMALL_BYTES {
            self.pieces.push(piece);
        }
    }

    fn seal(&mut self) {
        if !self.gathered.is_empty() {
            self.pieces.push(self.gathered.split().freeze());
        }
    }

    /// How many bytes they are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Takes the first `len` bytes, or all where there are fewer, and leaves the rest.
    pub(super) fn take(&mut self, len: usize) -> Whole {
        self.seal();
        let mut room = len.min(self.len);
        self.len -= room;
        let mut taken = Vec::new();
        let mut rest = Vec::new();
        for mut piece in self.pieces.drain(..) {
            let first = piece.split_to(room.min(piece.len()));
            room -= first.len();
            taken.extend(Some(first).filter(|first| !first.is_empty()));
            rest.extend(Some(piece).filter(|piece| !piece.is_empty()));
        }
        self.pieces = rest;
        Whole { pieces: taken }
    }
}

/// What was taken out of a chain.
#[derive(Clone, Debug)]
pub(super) struct Whole {
    pieces: Vec<Bytes>,
}

impl Whole {
    /// The pieces, none of them empty.
    pub(super) fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }

    /// How many bytes they are.
    pub(super) fn len(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    /// All of it in one.
    pub(super) fn joined(&self) -> Vec<u8> {
        self.pieces.concat()
    }

    /// The digest of each block of `block_bytes`, at least 1; the last one may be shorter.
    pub(super) fn digests(&self, block_bytes: usize) -> Vec<u128> {
        let mut digests = Vec::with_capacity(self.len().div_ceil(block_bytes));
        let (mut begun, mut begun_bytes) = (Xxh3::new(), 0);
        for piece in &self.pieces {
            let mut rest = &piece[..];
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(block_bytes - begun_bytes));
                rest = later;
                if now.len() == block_bytes {
                    digests.push(digest(now));
                    continue;
                }
                begun.update(now);
                begun_bytes += now.len();
                if begun_bytes == block_bytes {
                    digests.push(digest_of(&begun));
                    begun.reset();
                    begun_bytes = 0;
                }
            }
        }
        if begun_bytes > 0 {
            digests.push(digest_of(&begun));
        }
        digests
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `bytes` in pieces of these lengths, over and over.
    fn chain(bytes: &[u8], lengths: &[usize]) -> Chain {
        let mut chain = Chain::default();
        let mut rest = bytes;
        for length in lengths.iter().cycle() {
            let (piece, later) = rest.split_at((*length).min(rest.len()));
            chain.push(Bytes::copy_from_slice(piece));
            rest = later;
            if rest.is_empty() {
                return chain;
            }
        }
        chain
    }

    #[test]
    fn digests_are_those_of_the_blocks_however_they_came() {
        let bytes: Vec<u8> = (0..100_000u32).map(|i| (i * 7 % 251) as u8).collect();
        let expected: Vec<u128> = bytes.chunks(1024).map(digest).collect();
        for lengths in [
            &[1024][..],
            &[10_000],
            &[1],
            &[1023, 2],
            &[700, 30_000, 0, 5],
            &[SMALL_BYTES],
            &[20_480],
        ] {
            let whole = chain(&bytes, lengths).take(usize::MAX);
            assert_eq!(whole.digests(1024), expected, "{lengths:?}");
            assert_eq!((whole.joined(), whole.len()), (bytes.clone(), bytes.len()));
        }
        assert!(Chain::default().take(5).digests(1024).is_empty());
    }

    #[test]
    fn what_is_taken_is_the_front_and_the_rest_goes_on() {
        let bytes: Vec<u8> = (0..200_000u32).map(|i| (i % 249) as u8).collect();
        for len in [0, 1, 699, 700, 40_000, 70_000, 199_999, 200_000, 300_000] {
            let mut chain = chain(&bytes, &[700, 40_000]);
            let front = chain.take(len);
            let cut = len.min(bytes.len());
            assert_eq!(
                (front.joined(), chain.len()),
                (bytes[..cut].to_vec(), bytes.len() - cut)
            );
            chain.push(Bytes::from_static(b"more"));
            let rest = chain.take(usize::MAX);
            assert_eq!(rest.joined(), [&bytes[cut..], b"more"].concat());
            assert!(
                front
                    .pieces()
                    .iter()
                    .chain(rest.pieces())
                    .all(|piece| !piece.is_empty())
            );
        }
    }

    #[test]
    fn small_pieces_become_large_ones() {
        let bytes = vec![7; 1 << 20];
        let taken = chain(&bytes, &[100]).take(usize::MAX);
        assert!(taken.pieces().len() <= bytes.len() / GATHERED_BYTES + 1);
        assert_eq!(
            chain(&bytes, &[SMALL_BYTES]).take(usize::MAX).pieces().len(),
            bytes.len() / SMALL_BYTES
        );
    }
}
