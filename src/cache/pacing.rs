//! How many downloads run side by side for one reader.
//!
//! Eight ranges of 8 MiB fill an ordinary line. Some servers hold every single connection to a fixed rate; there more
//! connections are the only way to be faster. So when all are busy, the rate per stream is compared before and after
//! doubling their number: where it stays, more is better; where it falls, the line itself is full.

use std::time::Duration;

use parking_lot::Mutex;

const STREAMS_USUAL: usize = 8;
const STREAMS_MOST: usize = 32;
/// How much of the former rate a stream must keep for a doubling to be worth it.
const KEPT_MIN: f64 = 0.7;
/// Streams this fast have nothing to win, in bytes per second.
const RATE_ENOUGH: f64 = 150e6;
/// How long a verdict holds.
const HOLD: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Pacing {
    most: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    streams: usize,
    phase: Phase,
    /// Rates of downloads measured in this phase, in bytes per second.
    sum: f64,
    count: usize,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Measuring what a stream gets now.
    Baseline,
    /// Twice as many run; each had `former` before.
    Doubled { former: f64 },
    /// Decided until then.
    Held { until: Duration },
}

/// One finished download.
pub(super) struct Finished {
    pub(super) bytes: u64,
    /// From the first byte to the last.
    pub(super) took: Duration,
    /// How many of its file ran beside it, itself included.
    pub(super) beside: usize,
}

impl Pacing {
    /// Never more than `most`.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most: most.clamp(1, STREAMS_MOST),
            state: Mutex::new(State {
                streams: STREAMS_USUAL.min(most.max(1)),
                phase: Phase::Baseline,
                sum: 0.0,
                count: 0,
            }),
        }
    }

    /// How many streams to run for one reader.
    pub(super) fn streams(&self) -> usize {
        self.state.lock().streams
    }

    /// Largest range for one stream, in bytes. Short ones while measuring: the sooner they end, the sooner it is known.
    pub(super) fn range_bytes_max(&self) -> u64 {
        let state = self.state.lock();
        match state.phase {
            Phase::Baseline | Phase::Doubled { .. } => 2 << 20,
            Phase::Held { .. } if state.streams > STREAMS_USUAL => 4 << 20,
            Phase::Held { .. } => 8 << 20,
        }
    }

    /// Learns from a download that has ended at `now`.
    pub(super) fn finished(&self, download: &Finished, now: Duration) {
        let mut state = self.state.lock();
        if let Phase::Held { until } = state.phase {
            if now < until {
                return;
            }
            state.begin(Phase::Baseline);
        }
        // Only full use of the streams says anything about the line, and only ranges that outlast the start-up.
        let busy = download.beside * 4 >= state.streams * 3;
        if !busy || download.bytes < 1 << 20 || download.took.is_zero() {
            return;
        }
        state.sum += download.bytes as f64 / download.took.as_secs_f64();
        state.count += 1;
        if state.count < state.streams.div_ceil(2) {
            return;
        }
        let rate = state.sum / state.count as f64;
        let decided = Phase::Held { until: now + HOLD };
        match state.phase {
            Phase::Doubled { former } if rate < former * KEPT_MIN => {
                state.streams = (state.streams / 2).max(1);
                state.begin(decided);
            }
            Phase::Baseline | Phase::Doubled { .. } if state.streams >= self.most || rate > RATE_ENOUGH => {
                state.begin(decided);
            }
            Phase::Baseline | Phase::Doubled { .. } => {
                state.streams = (state.streams * 2).min(self.most);
                state.begin(Phase::Doubled { former: rate });
            }
            Phase::Held { .. } => {}
        }
    }
}

impl State {
    fn begin(&mut self, phase: Phase) {
        self.phase = phase;
        self.sum = 0.0;
        self.count = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs downloads over a line of `line` bytes per second on which no connection gets more than `each`.
    fn settle(line: f64, each: f64, most: usize) -> usize {
        let pacing = Pacing::new(most);
        for _ in 0..200 {
            let beside = pacing.streams();
            let rate = each.min(line / beside as f64);
            let bytes = 4 << 20;
            let took = Duration::from_secs_f64(bytes as f64 / rate);
            pacing.finished(&Finished { bytes, took, beside }, Duration::ZERO);
        }
        pacing.streams()
    }

    #[test]
    fn throttled_connections_get_company_and_a_full_line_does_not() {
        assert_eq!(settle(1e12, 20e6, 64), 32);
        assert_eq!(settle(100e6, 1e12, 64), 8);
        assert_eq!(settle(1e12, 1e9, 64), 8, "fast enough as it is");
        assert_eq!(settle(1e12, 20e6, 12), 12);
        assert_eq!(settle(1e12, 20e6, 2), 2);
    }

    #[test]
    fn idle_streams_teach_nothing() {
        let pacing = Pacing::new(32);
        for _ in 0..100 {
            let lone = Finished {
                bytes: 8 << 20,
                took: Duration::from_secs(1),
                beside: 2,
            };
            pacing.finished(&lone, Duration::ZERO);
        }
        assert_eq!(pacing.streams(), 8);
    }
}
