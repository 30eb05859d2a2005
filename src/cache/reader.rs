//! How one handle reads: what is likely to be wanted next.

use std::ops::Range;

use parking_lot::Mutex;

/// Streams that one handle may read at once before the longest unused is forgotten.
const STREAMS_MAX: usize = 8;
/// How far from where a stream stands a read still belongs to it: the kernel's requests overtake each other.
const SLACK_BYTES: u64 = 1 << 20;

/// How much is wanted ahead, as a multiple of what a stream has read: each round trip multiplies the window by about as
/// much, so half of it takes twice as many of them until a line with a long way is full.
const AHEAD_FACTOR: u64 = 4;
/// The same for a stream that has read more than [`EAGER_FROM_BYTES`].
const AHEAD_FACTOR_EAGER: u64 = 8;
/// Programs that only look at the head of a file stop before: the kernel itself reads two of its steps on their behalf.
const EAGER_FROM_BYTES: u64 = 2 << 20;
/// A file whose very first read is this long is most likely read from end to end: most who only look at a head read it in
/// smaller steps, and the kernel begins with less on their behalf.
const BULK_READ_BYTES_MIN: u64 = 1 << 20;

/// Follows the reads of one open handle.
#[derive(Debug, Default)]
pub struct Reader {
    /// The most recently used last.
    streams: Mutex<Vec<Stream>>,
}

#[derive(Clone, Copy, Debug)]
struct Stream {
    next: u64,
    run_bytes: u64,
}

impl Reader {
    /// A handle that has read nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes a read. Answers how many bytes behind it are worth fetching: none after a jump, and at first only where the
    /// program copies the file by the look of it; then a multiple of what the stream has read so far.
    pub(super) fn observe(&self, read: &Range<u64>) -> u64 {
        let len = read.end - read.start;
        let mut streams = self.streams.lock();
        let near = |stream: &Stream| {
            read.start <= stream.next.saturating_add(SLACK_BYTES) && read.end.saturating_add(SLACK_BYTES) >= stream.next
        };
        let (stream, ahead_bytes) = match streams.iter().rposition(near) {
            Some(at) => {
                let old = streams.remove(at);
                let run_bytes = old.run_bytes.saturating_add(len);
                let next = old.next.max(read.end);
                let factor = match run_bytes > EAGER_FROM_BYTES {
                    true => AHEAD_FACTOR_EAGER,
                    false => AHEAD_FACTOR,
                };
                (Stream { next, run_bytes }, run_bytes.saturating_mul(factor))
            }
            None => {
                let next = read.end;
                let ahead_bytes = match read.start == 0 && len >= BULK_READ_BYTES_MIN {
                    true => len.saturating_mul(AHEAD_FACTOR),
                    false => 0,
                };
                (Stream { next, run_bytes: len }, ahead_bytes)
            }
        };
        if streams.len() == STREAMS_MAX {
            streams.remove(0);
        }
        streams.push(stream);
        ahead_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn the_window_grows_while_reading_on_and_is_gone_after_a_jump() {
        let reader = Reader::new();
        assert_eq!(reader.observe(&(0..MIB / 2)), 0);
        assert_eq!(reader.observe(&(MIB / 2..MIB)), 4 * MIB);
        assert_eq!(reader.observe(&(MIB..2 * MIB)), 8 * MIB);
        assert_eq!(reader.observe(&(2 * MIB..3 * MIB)), 24 * MIB);
        assert_eq!(reader.observe(&(500 * MIB..501 * MIB)), 0);
    }

    #[test]
    fn a_file_that_is_read_in_large_steps_from_its_start_is_wanted_at_once() {
        assert_eq!(Reader::new().observe(&(0..MIB)), 4 * MIB);
        assert_eq!(Reader::new().observe(&(0..MIB - 1)), 0);
        assert_eq!(Reader::new().observe(&(MIB..2 * MIB)), 0, "not its start");
    }

    #[test]
    fn overtaking_requests_are_one_stream_and_two_places_are_two() {
        let reader = Reader::new();
        reader.observe(&(0..MIB));
        assert_eq!(reader.observe(&(2 * MIB..3 * MIB)), 8 * MIB, "overtook the next one");
        assert_eq!(reader.observe(&(MIB..2 * MIB)), 24 * MIB, "which comes late");
        assert_eq!(reader.observe(&(900 * MIB..901 * MIB)), 0);
        assert_eq!(
            reader.observe(&(3 * MIB..4 * MIB)),
            32 * MIB,
            "the first stream goes on"
        );
        assert_eq!(
            reader.observe(&(901 * MIB..902 * MIB)),
            8 * MIB,
            "and so does the second"
        );
    }

    #[test]
    fn random_reads_of_a_large_file_stay_random() {
        let reader = Reader::new();
        for i in 0..100u64 {
            let at = (i * 7919 % 1000) * 10 * MIB;
            assert_eq!(reader.observe(&(at..at + 4096)), 0);
        }
    }
}
