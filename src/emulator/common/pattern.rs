//! Content of any size that is computed when it is read: deterministic, and free of memory.

use std::ops::Range;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A made-up body: `bytes` long, decided by `seed` alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pattern {
    /// Two seeds give two bodies.
    pub seed: u64,
    /// The length.
    pub bytes: u64,
    /// Lower-case letters in lines of 64, instead of any byte.
    pub text: bool,
}

/// A well-mixed function of `value` (SplitMix64): the same number always gives the same one.
pub fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Pattern {
    /// The bytes of `range`, cut at the end of the body.
    pub fn read(&self, range: Range<u64>) -> Bytes {
        let end = range.end.min(self.bytes);
        let start = range.start.min(end);
        let mut out = Vec::with_capacity((end - start) as usize + 16);
        let key = mix(self.seed);
        for word in start / 8..end.div_ceil(8) {
            out.extend_from_slice(&mix(key ^ word).to_le_bytes());
        }
        let skip = (start % 8) as usize;
        let mut out = Bytes::from(out).slice(skip..skip + (end - start) as usize);
        if self.text {
            out = lettered(&out, start);
        }
        out
    }
}

fn lettered(raw: &[u8], start: u64) -> Bytes {
    raw.iter()
        .zip(start..)
        .map(|(byte, at)| match at % 64 {
            63 => b'\n',
            _ => b'a' + byte % 26,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_range_equals_the_same_part_of_the_whole() {
        for text in [false, true] {
            let pattern = Pattern {
                seed: 7,
                bytes: 1003,
                text,
            };
            let whole = pattern.read(0..5000);
            assert_eq!(whole.len(), 1003);
            for range in [0..1, 3..17, 8..16, 999..1003, 64..640] {
                let want = &whole[range.start as usize..range.end as usize];
                assert_eq!(&pattern.read(range.clone())[..], want, "{range:?}");
            }
            assert!(pattern.read(2000..3000).is_empty());
        }
        let other = Pattern {
            seed: 8,
            bytes: 64,
            text: false,
        };
        let one = Pattern { seed: 7, ..other };
        assert_ne!(other.read(0..64), one.read(0..64));
    }
}
