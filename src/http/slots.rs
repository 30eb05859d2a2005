//! The sliding window behind the request budget.

use std::time::Duration;

/// How long after its grant a request may reach the server at the latest, when its answer has not come before: the
/// answer's head proves that it arrived. Slower connections than this could squeeze two windows together.
const TRANSIT_MAX: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug)]
enum Slot {
    Free,
    /// Granted then, and not known to have arrived.
    InTransit {
        since: Duration,
    },
    /// Had surely arrived by then.
    Arrived {
        by: Duration,
    },
}

/// `n` slots that are each used at most once per `period`. Every request reaches the server between its grant and the
/// time its slot counts from, so two arrivals of one slot are a whole period apart, and no window of one period, wherever
/// it begins, sees more than `n` of them.
#[derive(Debug)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    period: Duration,
}

impl Slots {
    pub(super) fn new(count: usize, period: Duration) -> Self {
        Self {
            slots: vec![Slot::Free; count],
            period,
        }
    }

    fn free_at(&self, slot: Slot) -> Duration {
        match slot {
            Slot::Free => Duration::ZERO,
            Slot::InTransit { since } => since + TRANSIT_MAX + self.period,
            Slot::Arrived { by } => by + self.period,
        }
    }

    /// The slot that is free first, and when that is.
    pub(super) fn next(&self) -> Option<(usize, Duration)> {
        let all = self.slots.iter().enumerate();
        all.map(|(i, slot)| (i, self.free_at(*slot))).min_by_key(|(_, at)| *at)
    }

    pub(super) fn grant(&mut self, slot: usize, now: Duration) {
        if let Some(slot) = self.slots.get_mut(slot) {
            *slot = Slot::InTransit { since: now };
        }
    }

    /// The request granted at `since` in `slot` has reached the server.
    pub(super) fn arrived(&mut self, slot: usize, since: Duration, now: Duration) {
        if let Some(slot @ Slot::InTransit { .. }) = self.slots.get_mut(slot)
            && matches!(slot, Slot::InTransit { since: granted } if *granted == since)
        {
            *slot = Slot::Arrived {
                by: now.min(since + TRANSIT_MAX),
            };
        }
    }
}
