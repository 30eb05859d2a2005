//! How fast bytes leave, and when the rest will be there.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;

use crate::model::SharedClock;

/// How far back the rate looks.
const WINDOW: Duration = Duration::from_secs(30);
/// Less than this tells nothing.
const SPAN_MIN: Duration = Duration::from_millis(500);

/// Follows a count of bytes.
pub struct Meter {
    clock: SharedClock,
    /// When the count stood where, oldest first.
    seen: Mutex<VecDeque<(Duration, u64)>>,
}

impl Meter {
    /// One that has seen nothing yet.
    pub fn new(clock: SharedClock) -> Self {
        Self {
            clock,
            seen: Mutex::default(),
        }
    }

    /// The count stands at `bytes` now.
    pub fn note(&self, bytes: u64) {
        let now = self.clock.elapsed();
        let mut seen = self.seen.lock();
        while seen.front().is_some_and(|(at, _)| now.saturating_sub(*at) > WINDOW) {
            seen.pop_front();
        }
        seen.push_back((now, bytes));
    }

    /// Bytes a second over the last half minute; 0 when nothing moved or nobody looked.
    pub fn rate(&self) -> u64 {
        let now = self.clock.elapsed();
        let seen = self.seen.lock();
        let mut recent = seen.iter().filter(|(at, _)| now.saturating_sub(*at) <= WINDOW);
        let (Some((from, before)), Some((to, after))) = (recent.next(), seen.back()) else {
            return 0;
        };
        let span = to.saturating_sub(*from);
        if span < SPAN_MIN {
            return 0;
        }
        (after.saturating_sub(*before) as f64 / span.as_secs_f64()) as u64
    }
}

/// Seconds until `bytes` are gone; nothing when that cannot be told.
pub fn eta_secs(bytes: u64, rate: u64) -> Option<u64> {
    (rate > 0).then(|| bytes.div_ceil(rate))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ManualClock, Timestamp};

    #[test]
    fn the_rate_is_that_of_the_last_half_minute() {
        let clock = ManualClock::starting(Timestamp::from_secs(0));
        let meter = Meter::new(clock.clone());
        assert_eq!(meter.rate(), 0);
        meter.note(0);
        assert_eq!(meter.rate(), 0, "one look is no rate");
        clock.advance(Duration::from_secs(10));
        meter.note(1000);
        assert_eq!(meter.rate(), 100);
        clock.advance(Duration::from_secs(30));
        meter.note(1600);
        assert_eq!(meter.rate(), 20);
        clock.advance(Duration::from_secs(300));
        assert_eq!(meter.rate(), 0, "nobody looked for long");
        assert_eq!(eta_secs(101, 20), Some(6));
        assert_eq!(eta_secs(101, 0), None);
    }
}
