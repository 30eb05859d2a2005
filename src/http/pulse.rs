//! Tells a request that moves from one that hangs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::model::SharedClock;

/// Beats whenever bytes move.
pub(super) struct Pulse {
    clock: SharedClock,
    last_beat_ms: AtomicU64,
}

impl Pulse {
    pub(super) fn new(clock: SharedClock) -> Self {
        let now = clock.elapsed().as_millis() as u64;
        Self {
            clock,
            last_beat_ms: AtomicU64::new(now),
        }
    }

    pub(super) fn beat(&self) {
        self.last_beat_ms
            .store(self.clock.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// Returns once nothing has moved for `limit`.
    pub(super) async fn stopped(&self, limit: Duration) {
        loop {
            let last = Duration::from_millis(self.last_beat_ms.load(Ordering::Relaxed));
            let idle = self.clock.elapsed().saturating_sub(last);
            if idle >= limit {
                return;
            }
            // The extra millisecond makes up for the beat's rounding, so that this never spins.
            self.clock.sleep(limit - idle + Duration::from_millis(1)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ManualClock, Timestamp};
    use std::sync::Arc;

    #[tokio::test]
    async fn a_beat_puts_the_deadline_off() {
        let clock = ManualClock::starting(Timestamp::from_secs(0));
        let pulse = Arc::new(Pulse::new(clock.clone()));
        let watch = tokio::spawn({
            let pulse = pulse.clone();
            async move { pulse.stopped(Duration::from_secs(30)).await }
        });
        for _ in 0..5 {
            tokio::task::yield_now().await;
            clock.advance(Duration::from_secs(20));
            pulse.beat();
        }
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert!(!watch.is_finished());
        clock.advance(Duration::from_secs(31));
        watch.await.expect("no panic");
    }
}
