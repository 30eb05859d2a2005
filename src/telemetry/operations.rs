//! What programs asked of the drive, how it ended, and how long it took.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;

/// Upper bounds of the classes of durations, in microseconds; what takes longer than the last falls into one more class.
pub const BOUNDS_US: [u64; 12] = [
    50, 100, 250, 1_000, 2_500, 10_000, 50_000, 100_000, 500_000, 2_500_000, 10_000_000, 30_000_000,
];

/// Counts of one kind of operation.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct OperationCounts {
    /// How many have been answered.
    pub answered: u64,
    /// How many of them with an error, by its number.
    pub errors: BTreeMap<i32, u64>,
    /// How long all of them took together, in seconds.
    pub seconds: f64,
    /// How many took at most as long as each of [`BOUNDS_US`] and longer than the bound before; the last: longer than all.
    pub took: [u64; BOUNDS_US.len() + 1],
}

/// Counts of all operations, by what they are.
#[derive(Debug, Default)]
pub struct Operations(Mutex<BTreeMap<&'static str, OperationCounts>>);

impl Operations {
    /// Nothing counted yet.
    pub fn shared() -> Arc<Self> {
        Arc::default()
    }

    /// Counts one that has been answered, with this error if any.
    pub fn answered(&self, what: &'static str, took: Duration, errno: Option<i32>) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let class = BOUNDS_US.partition_point(|bound| *bound < us);
        let mut all = self.0.lock();
        let counts = all.entry(what).or_default();
        counts.answered += 1;
        counts.seconds += took.as_secs_f64();
        counts.took[class] += 1;
        if let Some(errno) = errno {
            *counts.errors.entry(errno).or_default() += 1;
        }
    }

    /// All counts now.
    pub fn snapshot(&self) -> BTreeMap<&'static str, OperationCounts> {
        self.0.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_their_classes_and_errors_are_told_apart() {
        let operations = Operations::shared();
        for us in [0, 50, 51, 40_000_000] {
            operations.answered("read", Duration::from_micros(us), None);
        }
        operations.answered("read", Duration::from_millis(1), Some(5));
        let read = operations.snapshot()["read"].clone();
        assert_eq!((read.answered, read.errors), (5, BTreeMap::from([(5, 1)])));
        assert_eq!(read.took[..4], [2, 1, 0, 1]);
        assert_eq!(read.took[BOUNDS_US.len()], 1);
        assert!((read.seconds - 40.001_101).abs() < 1e-9, "{}", read.seconds);
    }
}
