//! Bytes in the pieces that they came in: a download is written from them, and never copied together.

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

use super::map::{digest, digest_of};

/// Pieces of content, one behind the other.
#[derive(Clone, Debug, Default)]
pub(super) struct Chain {
    pieces: Vec<Bytes>,
    len: usize,
}

impl Chain {
    /// Appends a piece.
    pub(super) fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.len += piece.len();
            self.pieces.push(piece);
        }
    }

    /// How many bytes they are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Drops what is behind the first `len` bytes.
    pub(super) fn truncate(&mut self, len: usize) {
        let mut room = len.min(self.len);
        self.len = room;
        self.pieces.retain_mut(|piece| {
            piece.truncate(room);
            room -= piece.len();
            !piece.is_empty()
        });
    }

    /// The pieces, none of them empty.
    pub(super) fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }

    /// All of it in one.
    pub(super) fn joined(&self) -> Vec<u8> {
        self.pieces.concat()
    }

    /// The digest of each block of `block_bytes`, at least 1; the last one may be shorter.
    pub(super) fn digests(&self, block_bytes: usize) -> Vec<u128> {
        let mut digests = Vec::with_capacity(self.len.div_ceil(block_bytes));
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
        let bytes: Vec<u8> = (0..10_000u32).map(|i| (i * 7 % 251) as u8).collect();
        let expected: Vec<u128> = bytes.chunks(1024).map(digest).collect();
        for lengths in [&[1024][..], &[10_000], &[1], &[1023, 2], &[700, 3000, 0, 5], &[2048]] {
            let chain = chain(&bytes, lengths);
            assert_eq!(chain.digests(1024), expected, "{lengths:?}");
            assert_eq!((chain.joined(), chain.len()), (bytes.clone(), bytes.len()));
        }
        assert!(Chain::default().digests(1024).is_empty());
    }

    #[test]
    fn what_is_cut_off_is_gone() {
        for len in [0, 1, 699, 700, 701, 2500, 3000, 9000] {
            let mut chain = chain(&[1; 3000], &[700]);
            chain.truncate(len);
            assert_eq!((chain.len(), chain.joined().len()), (len.min(3000), len.min(3000)));
            assert!(chain.pieces().iter().all(|piece| !piece.is_empty()));
        }
    }
}
