//! A set of byte ranges.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// Sorted, disjoint, non-adjacent, non-empty half-open ranges of bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ranges(Vec<Range<u64>>);

impl Ranges {
    /// No byte.
    pub fn new() -> Self {
        Self::default()
    }

    /// The single range `range` (nothing when it is empty).
    pub fn of(range: Range<u64>) -> Self {
        let mut set = Self::new();
        set.insert(range);
        set
    }

    /// Adds `range`.
    pub fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let from = self.0.partition_point(|r| r.end < range.start);
        let to = self.0.partition_point(|r| r.start <= range.end);
        let merged = self.0[from..to]
            .iter()
            .fold(range, |a, b| a.start.min(b.start)..a.end.max(b.end));
        self.0.splice(from..to, [merged]);
    }

    /// Takes `range` out.
    pub fn remove(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let from = self.0.partition_point(|r| r.end <= range.start);
        let to = self.0.partition_point(|r| r.start < range.end);
        let mut rest = Vec::with_capacity(2);
        for old in &self.0[from..to] {
            if old.start < range.start {
                rest.push(old.start..range.start);
            }
            if old.end > range.end {
                rest.push(range.end..old.end);
            }
        }
        self.0.splice(from..to, rest);
    }

    /// Whether every byte of `range` is in the set; an empty range always is.
    pub fn contains(&self, range: &Range<u64>) -> bool {
        if range.is_empty() {
            return true;
        }
        let at = self.0.partition_point(|r| r.end <= range.start);
        self.0
            .get(at)
            .is_some_and(|r| r.start <= range.start && r.end >= range.end)
    }

    /// The parts of `range` that are not in the set, in order.
    pub fn missing(&self, range: &Range<u64>) -> Vec<Range<u64>> {
        let mut gaps = Ranges::of(range.clone());
        let from = self.0.partition_point(|r| r.end <= range.start);
        for have in self.0[from..].iter().take_while(|r| r.start < range.end) {
            gaps.remove(have.clone());
        }
        gaps.0
    }

    /// The ranges in order.
    pub fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.0.iter().cloned()
    }

    /// How many bytes are in the set.
    pub fn len_bytes(&self) -> u64 {
        self.0.iter().map(|r| r.end - r.start).sum()
    }

    /// Whether the set holds no byte.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bits(set: &Ranges) -> Vec<bool> {
        (0..64).map(|i| set.contains(&(i..i + 1))).collect()
    }

    proptest! {
        #[test]
        fn behaves_like_a_set_of_bytes(ops in proptest::collection::vec((any::<bool>(), 0u64..64, 0u64..64), 0..40)) {
            let mut set = Ranges::new();
            let mut model = vec![false; 64];
            for (add, a, b) in ops {
                let range = a.min(b)..a.max(b);
                model[range.start as usize..range.end as usize].fill(add);
                if add { set.insert(range) } else { set.remove(range) }
                prop_assert_eq!(bits(&set), model.clone());
                let gaps: u64 = set.missing(&(0..64)).iter().map(|r| r.end - r.start).sum();
                prop_assert_eq!(gaps + set.len_bytes(), 64);
                prop_assert!(set.0.windows(2).all(|w| w[0].end < w[1].start));
            }
        }
    }
}
