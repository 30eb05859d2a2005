//! How many downloads run side by side for one reader.
//!
//! Eight ranges of 8 MiB fill an ordinary line. Some servers hold every single connection to a fixed rate; there more
//! connections are the only way to be faster. So when all are busy, the rate per stream is compared before and after
//! doubling their number: where it stays, more is better; where it falls, the line itself is full.
//!
//! A request that waits for its first byte uses nothing of the line. So beside the streams that flow, as many more are asked
//! for as will be waiting at any time: hardly any where a range takes seconds, as many again where it takes no longer than
//! the way to the server and back.

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
/// What a stream must have brought for its rate to tell something.
pub(super) const SAMPLE_BYTES: u64 = 512 << 10;

#[derive(Debug)]
pub(super) struct Pacing {
    most: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    streams: usize,
    phase: Phase,
    /// When the phase began.
    since: Duration,
    /// Rates measured in this phase, in bytes per second.
    sum: f64,
    count: usize,
    /// What a stream gets lately, in bytes per second.
    rate: Option<f64>,
    /// How long the first byte takes lately.
    wait: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Measuring what a stream gets now.
    Baseline,
    /// Twice as many run; each had `former` before.
    Doubled { former: f64 },
    /// Decided for a while.
    Held,
}

/// What one download has brought lately.
pub(super) struct Sample {
    pub(super) bytes: u64,
    /// Since when.
    pub(super) since: Duration,
    /// Of how many downloads of its file bytes flow, its own included.
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
                since: Duration::ZERO,
                sum: 0.0,
                count: 0,
                rate: None,
                wait: None,
            }),
        }
    }

    /// How many streams are to flow for one reader.
    pub(super) fn streams(&self) -> usize {
        self.state.lock().streams
    }

    /// How many downloads to have under way for that.
    pub(super) fn jobs(&self) -> usize {
        let state = self.state.lock();
        let waiting = match (state.wait, state.rate) {
            (Some(wait), Some(rate)) => wait.as_secs_f64() * rate / range_bytes_max(state.streams) as f64,
            (None, _) | (_, None) => 1.0,
        };
        state.streams + (state.streams as f64 * waiting.min(1.0)).ceil() as usize
    }

    /// A first byte has come.
    pub(super) fn waited(&self, wait: Duration) {
        let mut state = self.state.lock();
        state.wait = Some(state.wait.map_or(wait, |before| (before * 3 + wait) / 4));
    }

    /// Largest range for one stream, in bytes.
    pub(super) fn range_bytes_max(&self) -> u64 {
        range_bytes_max(self.streams())
    }

    /// Learns from a download that goes on, at `now`.
    pub(super) fn learn(&self, sample: &Sample, now: Duration) {
        let mut state = self.state.lock();
        let took = now.saturating_sub(sample.since);
        if !took.is_zero() {
            let rate = sample.bytes as f64 / took.as_secs_f64();
            state.rate = Some(state.rate.map_or(rate, |before| (before * 7.0 + rate) / 8.0));
        }
        if matches!(state.phase, Phase::Held) {
            if now < state.since + HOLD {
                return;
            }
            state.begin(Phase::Baseline, now);
        }
        // Only full use of the streams says anything about the line, and only what was brought within the phase.
        let busy = sample.beside * 4 >= state.streams * 3;
        if !busy || sample.since < state.since || took.is_zero() {
            return;
        }
        state.sum += sample.bytes as f64 / took.as_secs_f64();
        state.count += 1;
        if state.count < state.streams.div_ceil(2) {
            return;
        }
        let rate = state.sum / state.count as f64;
        match state.phase {
            Phase::Doubled { former } if rate < former * KEPT_MIN => {
                state.streams = (state.streams / 2).max(1);
                state.begin(Phase::Held, now);
            }
            Phase::Baseline | Phase::Doubled { .. } if state.streams >= self.most || rate > RATE_ENOUGH => {
                state.begin(Phase::Held, now);
            }
            Phase::Baseline | Phase::Doubled { .. } => {
                state.streams = (state.streams * 2).min(self.most);
                state.begin(Phase::Doubled { former: rate }, now);
            }
            Phase::Held => {}
        }
    }
}

fn range_bytes_max(streams: usize) -> u64 {
    match streams > STREAMS_USUAL {
        true => 4 << 20,
        false => 8 << 20,
    }
}

impl State {
    fn begin(&mut self, phase: Phase, now: Duration) {
        self.phase = phase;
        self.since = now;
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
        let mut now = Duration::ZERO;
        for _ in 0..200 {
            let beside = pacing.streams();
            let rate = each.min(line / beside as f64);
            let since = now;
            now += Duration::from_secs_f64(SAMPLE_BYTES as f64 / rate);
            for _ in 0..beside {
                let bytes = SAMPLE_BYTES;
                pacing.learn(&Sample { bytes, since, beside }, now);
            }
            if now > HOLD {
                break;
            }
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
    fn downloads_that_wait_come_on_top_of_those_that_flow() {
        let pacing = Pacing::new(8);
        assert_eq!(pacing.jobs(), 16, "nothing is known of the line");
        pacing.waited(Duration::from_millis(50));
        let sample = Sample {
            bytes: 1 << 20,
            since: Duration::ZERO,
            beside: 1,
        };
        pacing.learn(&sample, Duration::from_secs(10));
        assert_eq!(pacing.jobs(), 9, "a range takes a minute");
        for _ in 0..100 {
            pacing.learn(&sample, Duration::from_millis(5));
        }
        assert_eq!(pacing.jobs(), 16, "a range takes 40 ms");
    }

    #[test]
    fn idle_streams_and_what_came_before_teach_nothing() {
        let pacing = Pacing::new(32);
        let sample = |beside, since| Sample {
            bytes: 8 << 20,
            since: Duration::from_millis(since),
            beside,
        };
        for _ in 0..100 {
            pacing.learn(&sample(2, 0), Duration::from_secs(1));
        }
        assert_eq!(pacing.streams(), 8);
        for _ in 0..4 {
            pacing.learn(&sample(8, 0), Duration::from_secs(1));
        }
        assert_eq!(pacing.streams(), 16);
        for _ in 0..100 {
            pacing.learn(&sample(16, 900), Duration::from_secs(2));
        }
        assert_eq!(pacing.streams(), 16, "measured before there were so many");
    }
}
