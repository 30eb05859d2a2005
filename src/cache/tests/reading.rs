//! Ranged stores: what is asked for, by whom, how often.

use super::double::Fault;
use super::*;
use crate::cache::{BodyState, CacheError};
use crate::http::{Class, Context, with_context};
use crate::store::ErrorKind;

/// Fails when a byte was asked for twice. Answers how many were.
fn once_each(mut requests: Vec<std::ops::Range<u64>>) -> u64 {
    requests.sort_by_key(|range| range.start);
    for pair in requests.windows(2) {
        assert!(pair[0].end <= pair[1].start, "fetched twice: {pair:?}");
    }
    requests.iter().map(|range| range.end - range.start).sum()
}

#[tokio::test(start_paused = true)]
async fn a_small_read_somewhere_asks_for_little() {
    let rig = Rig::new(Reads::Ranged).await;
    let bytes = pattern(1, 20 * MIB);
    let body = rig.cache.body(&rig.store.put("1", &bytes));
    let at = 9 * MIB + 4096;
    assert_eq!(
        read(&body, at, 4096).await.unwrap(),
        bytes.slice(at as usize..at as usize + 4096)
    );
    assert_eq!(rig.store.take_requests(), vec![9 * MIB..9 * MIB + 256 * KIB]);
    read(&body, at + 8192, 4096).await.unwrap();
    assert!(rig.store.take_requests().is_empty());
    assert_eq!(body.state(), BodyState::Filling);
}

#[tokio::test(start_paused = true)]
async fn a_tiny_file_is_one_request() {
    let rig = Rig::new(Reads::Ranged).await;
    let bytes = pattern(1, 300 * KIB);
    let body = rig.cache.body(&rig.store.put("1", &bytes));
    assert_eq!(read_all(&body, 4096).await.unwrap(), bytes);
    assert_eq!(rig.store.take_requests(), vec![0..300 * KIB]);
    assert!(body.is_complete());
}

#[tokio::test(start_paused = true)]
async fn an_empty_file_is_no_request() {
    let rig = Rig::new(Reads::Ranged).await;
    let body = rig.cache.body(&rig.store.put("1", &Bytes::new()));
    assert!(read_all(&body, 4096).await.unwrap().is_empty());
    assert!(body.is_complete() && rig.store.take_requests().is_empty());
}

#[tokio::test(start_paused = true)]
async fn many_readers_fetch_each_block_once() {
    let rig = Rig::new(Reads::Ranged).await;
    rig.store.set_speed(Duration::from_millis(50), Duration::from_millis(1));
    let bytes = pattern(2, 12 * MIB);
    let body = rig.cache.body(&rig.store.put("1", &bytes));
    let readers = (0..8).map(|_| {
        let body = body.clone();
        tokio::spawn(async move { read_all(&body, 128 * KIB).await.unwrap() })
    });
    for reader in readers.collect::<Vec<_>>() {
        assert!(reader.await.unwrap() == bytes);
    }
    assert_eq!(once_each(rig.store.take_requests()), 12 * MIB);
}

#[tokio::test(start_paused = true)]
async fn head_then_tail_then_all_fetches_no_block_twice() {
    let rig = Rig::new(Reads::Ranged).await;
    rig.store
        .set_speed(Duration::from_millis(50), Duration::from_micros(100));
    let bytes = pattern(3, 24 * MIB);
    let body = rig.cache.body(&rig.store.put("1", &bytes));
    let reader = Reader::new();
    for offset in [0, 64 * KIB, 24 * MIB - 64 * KIB, 24 * MIB - 32 * KIB] {
        let part = body.read(&reader, offset, 32 << 10).await.unwrap();
        assert_eq!(part, bytes.slice(offset as usize..offset as usize + (32 << 10)));
    }
    let mut all = Vec::new();
    while (all.len() as u64) < 24 * MIB {
        all.extend_from_slice(&body.read(&reader, all.len() as u64, 128 << 10).await.unwrap());
    }
    assert!(all == bytes);
    assert_eq!(once_each(rig.store.take_requests()), 24 * MIB);
}

#[tokio::test(start_paused = true)]
async fn sequential_reading_runs_ahead_of_a_slow_line() {
    let rig = Rig::new(Reads::Ranged).await;
    // 50 ms until the first byte, 32 KiB a millisecond then: one request after the other would take a minute.
    rig.store.set_speed(Duration::from_millis(50), Duration::from_millis(1));
    let bytes = pattern(4, 64 * MIB);
    let body = rig.cache.body(&rig.store.put("1", &bytes));
    let began = tokio::time::Instant::now();
    assert!(read_all(&body, 128 * KIB).await.unwrap() == bytes);
    let requests = rig.store.take_requests();
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?} {requests:?}",
        began.elapsed()
    );
    // Block by block it would be 512.
    assert!(requests.len() < 128, "{requests:?}");
    assert_eq!(once_each(requests), 64 * MIB);
}

/// Reads a file of 256 MiB from its beginning to its end, and answers how long that took by the clock of the store.
async fn reading_on(latency_ms: u64, chunk_ms: u64) -> Duration {
    let rig = Rig::new(Reads::Ranged).await;
    rig.store
        .set_speed(Duration::from_millis(latency_ms), Duration::from_millis(chunk_ms));
    let bytes = pattern(4, 256 * MIB);
    let body = rig.cache.body(&rig.store.put("1", &bytes));
    let began = tokio::time::Instant::now();
    assert!(read_all(&body, MIB).await.unwrap() == bytes);
    let took = began.elapsed();
    let requests = rig.store.take_requests();
    assert!(requests.len() < 160, "{} requests", requests.len());
    assert_eq!(once_each(requests), 256 * MIB);
    took
}

/// The clock stands still while anything is computed, so this is what the line alone costs: parallel ranges without any
/// start-up would take four rounds of 50 ms, or two of 50 ms and 256 ms on each of 32 connections of 16 MiB/s.
#[tokio::test(start_paused = true)]
async fn reading_on_costs_little_more_than_parallel_ranges() {
    let quick = reading_on(50, 0).await;
    assert!(quick <= Duration::from_millis(300), "{quick:?}");
    let throttled = reading_on(50, 2).await;
    assert!(throttled <= Duration::from_millis(1000), "{throttled:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_waited_for_goes_before_what_may_be_wanted() {
    let rig = Rig::new(Reads::Ranged).await;
    rig.store.set_speed(Duration::from_millis(50), Duration::from_millis(1));
    let body = rig.cache.body(&rig.store.put("1", &pattern(4, 8 * MIB)));
    let background = Context::of(Class::Background);
    with_context(background, read(&body, 7 * MIB, 10)).await.unwrap();
    let reader = Reader::new();
    body.read(&reader, 0, 128 << 10).await.unwrap();
    body.read(&reader, 128 * KIB, 128 << 10).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(
        rig.store.classes()[..3],
        [Class::Background, Class::Interactive, Class::Prefetch]
    );
}

#[tokio::test(start_paused = true)]
async fn a_waiting_reader_is_served_before_the_range_has_ended() {
    let rig = Rig::new(Reads::Ranged).await;
    rig.store.set_speed(Duration::ZERO, Duration::from_millis(100));
    let body = rig.cache.body(&rig.store.put("1", &pattern(5, 500 * KIB)));
    let began = tokio::time::Instant::now();
    read(&body, 0, 4096).await.unwrap();
    assert_eq!(
        began.elapsed(),
        Duration::from_millis(400),
        "its own block, four chunks"
    );
    read(&body, 400 * KIB, 4096).await.unwrap();
    assert_eq!(rig.store.take_requests().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn on_a_slow_line_each_block_is_there_when_it_has_come() {
    let rig = Rig::new(Reads::Ranged).await;
    rig.store.set_speed(Duration::ZERO, Duration::from_millis(100));
    let body = rig.cache.body(&rig.store.put("1", &pattern(5, 2 * MIB)));
    let began = tokio::time::Instant::now();
    let (first, third) = tokio::join!(read(&body, 0, MIB), async {
        // Its blocks have been asked for by then.
        tokio::time::sleep(Duration::from_millis(1)).await;
        read(&body, 300 * KIB, 4096).await.map(|_| began.elapsed())
    });
    assert_eq!(third.unwrap(), Duration::from_millis(1200), "twelve chunks of 32 KiB");
    assert_eq!(first.unwrap().len() as u64, MIB);
    assert_eq!(rig.store.take_requests()[0], 0..MIB, "one range");
}

#[tokio::test(start_paused = true)]
async fn broken_and_short_downloads_are_continued_where_they_stopped() {
    let rig = Rig::new(Reads::Ranged).await;
    let bytes = pattern(6, 500 * KIB);
    let body = rig.cache.body(&rig.store.put("1", &bytes));
    rig.store.next(Fault::Refuse(ErrorKind::Server));
    rig.store.next(Fault::Break(200 * KIB));
    rig.store.next(Fault::Cut(200 * KIB));
    rig.store.next(Fault::WrongTotal);
    assert_eq!(read_all(&body, 128 * KIB).await.unwrap(), bytes);
    let starts: Vec<_> = rig
        .store
        .take_requests()
        .iter()
        .map(|range| range.start / KIB)
        .collect();
    assert_eq!(starts, [0, 0, 128, 256, 256]);
}

#[tokio::test(start_paused = true)]
async fn a_lasting_error_is_told_at_once_and_to_all_who_wait() {
    let rig = Rig::new(Reads::Ranged).await;
    let body = rig.cache.body(&rig.store.put("1", &pattern(6, 500 * KIB)));
    rig.store.set_speed(Duration::from_millis(50), Duration::ZERO);
    rig.store.next(Fault::Refuse(ErrorKind::Denied));
    let (a, b) = tokio::join!(read(&body, 0, 10), read(&body, 300 * KIB, 10));
    for error in [a.unwrap_err(), b.unwrap_err()] {
        assert!(
            matches!(&error, CacheError::Store(error) if error.kind == ErrorKind::Denied),
            "{error}"
        );
    }
    assert_eq!(rig.store.take_requests().len(), 1);
    read(&body, 0, 10).await.expect("the next read tries again");
}

#[tokio::test(start_paused = true)]
async fn retries_have_an_end() {
    let rig = Rig::new(Reads::Ranged).await;
    let body = rig.cache.body(&rig.store.put("1", &pattern(6, 500 * KIB)));
    for _ in 0..100 {
        rig.store.next(Fault::Refuse(ErrorKind::Network));
    }
    read(&body, 0, 10).await.unwrap_err();
    assert_eq!(rig.store.take_requests().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn bytes_of_two_versions_never_mix() {
    let rig = Rig::new(Reads::Ranged).await;
    let (old, new) = (pattern(7, 2 * MIB), pattern(8, 2 * MIB));
    let entry = rig.store.put("1", &old);
    rig.store.set_validator(&entry, "\"old\"");
    let body = rig.cache.body(&entry);
    read(&body, 0, 4096).await.unwrap();
    rig.store.replace_bytes(&entry, &new);
    rig.store.set_validator(&entry, "\"new\"");
    let error = read(&body, MIB, 4096).await.unwrap_err();
    assert!(matches!(error, CacheError::Changed { .. }), "{error}");
    assert_eq!(read(&body, 4096, 4096).await.unwrap(), old.slice(4096..8192));
    let newer = rig.cache.body(&version(&entry, "2"));
    assert_eq!(read(&newer, 0, 4096).await.unwrap(), new.slice(..4096));
}

#[tokio::test(start_paused = true)]
async fn a_silent_download_fails_its_readers_after_the_deadline_and_holds_up_no_other_file() {
    let rig = Rig::with(Reads::Ranged, |config| config.streams_max = 1).await;
    let silent = rig.store.put("silent", &pattern(9, 4 * MIB));
    rig.store.stick(&silent);
    let bytes = pattern(10, 4 * MIB);
    let other = rig.cache.body(&rig.store.put("other", &bytes));
    let silent = rig.cache.body(&silent);
    let stuck = tokio::spawn({
        let silent = silent.clone();
        async move { read(&silent, 0, 4096).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let began = tokio::time::Instant::now();
    assert!(read_all(&other, 128 * KIB).await.unwrap() == bytes);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    let error = stuck.await.unwrap().unwrap_err();
    assert!(matches!(error, CacheError::Stalled { .. }), "{error}");
    assert!(began.elapsed() <= Duration::from_secs(30));
    assert_eq!(silent.state(), BodyState::Filling);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_gives_up_leaves_nothing_stuck() {
    let rig = Rig::new(Reads::Ranged).await;
    rig.store.set_speed(Duration::from_secs(5), Duration::ZERO);
    let bytes = pattern(11, 500 * KIB);
    let body = rig.cache.body(&rig.store.put("1", &bytes));
    let gave_up = tokio::time::timeout(Duration::from_secs(1), read(&body, 0, 4096)).await;
    assert!(gave_up.is_err());
    assert_eq!(read_all(&body, 128 * KIB).await.unwrap(), bytes);
    assert_eq!(
        rig.store.take_requests().len(),
        1,
        "the next reader waits for the same download"
    );
}

#[tokio::test(start_paused = true)]
async fn wrong_bytes_are_fetched_once_more_and_then_refused() {
    let rig = Rig::new(Reads::Ranged).await;
    let bytes = pattern(12, 500 * KIB);
    rig.store.put("1", &bytes);
    let entry = rig.store.with_md5(&rig.store.put("1", &bytes));
    let body = rig.cache.body(&entry);
    rig.store.next(Fault::Garbage);
    assert_eq!(
        read(&body, 490 * KIB, 100).await.unwrap(),
        bytes.slice(490 << 10..(490 << 10) + 100)
    );
    assert!(body.is_complete());
    assert_eq!((rig.store.take_requests().len(), rig.cache.stats().healed), (2, 1));

    let entry = version(&entry, "2");
    let body = rig.cache.body(&entry);
    rig.store.next(Fault::Garbage);
    rig.store.next(Fault::Garbage);
    let error = read(&body, 490 * KIB, 100).await.unwrap_err();
    assert!(matches!(error, CacheError::Corrupt { .. }), "{error}");
    assert!(!body.is_complete());
    assert_eq!(rig.store.take_requests().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn filling_brings_everything_and_checks_it() {
    let rig = Rig::new(Reads::Ranged).await;
    rig.store.set_speed(Duration::from_millis(20), Duration::ZERO);
    let bytes = pattern(13, 20 * MIB);
    rig.store.put("1", &bytes);
    let entry = rig.store.with_md5(&rig.store.put("1", &bytes));
    let body = rig.cache.body(&entry);
    rig.store.next(Fault::Garbage);
    body.complete(LONG).await.unwrap();
    assert_eq!(body.state(), BodyState::Complete);
    assert_eq!(rig.cache.stats().healed, 1);
    rig.store.take_requests();
    assert!(read_all(&body, MIB).await.unwrap() == bytes);
    assert!(rig.store.take_requests().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_unknown_size_is_asked_for() {
    let rig = Rig::new(Reads::Ranged).await;
    let bytes = pattern(14, 700 * KIB);
    let entry = Entry {
        size: None,
        ..rig.store.put("1", &bytes)
    };
    let body = rig.cache.body(&entry);
    assert_eq!(body.size(), None);
    assert_eq!(read_all(&body, 128 * KIB).await.unwrap(), bytes);
    assert_eq!(body.size(), Some(700 * KIB));
}

#[tokio::test(start_paused = true)]
async fn connections_that_are_held_to_a_rate_get_company() {
    let rig = Rig::new(Reads::Ranged).await;
    // 16 MB/s for each connection, however many there are.
    rig.store.set_speed(Duration::from_millis(20), Duration::from_millis(2));
    let size = 192 * MIB;
    let body = rig
        .cache
        .body(&rig.store.put("1", &Bytes::from(vec![7; size as usize])));
    let began = tokio::time::Instant::now();
    let reader = Reader::new();
    let mut at = 0;
    while at < size {
        at += body.read(&reader, at, 1 << 20).await.unwrap().len() as u64;
    }
    let with_eight = Duration::from_secs_f64(size as f64 / (8.0 * 16.4e6));
    assert_eq!(rig.cache.stats().streams, 32);
    assert!(
        began.elapsed() < with_eight.mul_f64(0.7),
        "{:?}, {with_eight:?} with eight",
        began.elapsed()
    );
}
