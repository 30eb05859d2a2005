//! Several threads at once.

use super::double::Fault;
use super::*;
use crate::cache::Published;
use crate::model::SystemClock;
use crate::store::ErrorKind;

const SIZE: u64 = 3 * MIB + 77;

/// Writes the very bytes that are there, again and again, so that everything read can be told to be right, and publishes
/// them each time as another version.
async fn rewrite(cache: Cache, store: Arc<Double>, bytes: Bytes, first: Entry) {
    let mut entry = first;
    for round in 0..12u64 {
        let body = cache.body(&entry);
        for part in 0..6 {
            let at = (round * 7 + part * 31) % 40 * (SIZE / 41);
            let data = bytes.slice(at as usize..(at + SIZE / 50) as usize);
            body.write(at, data).await.unwrap();
        }
        while body.complete(LONG).await.is_err() {}
        let stored = store.put("1", &bytes);
        entry = version(&stored, &format!("round {round}"));
        let published = cache.publish(&body, &entry, body.generation()).await.unwrap();
        assert_eq!(published, Published::Clean);
        drop(body);
        cache.set_limit(round % 2 * GIB);
        cache.evict_to_limit().await.unwrap();
    }
}

const GIB: u64 = 1 << 30;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_of_a_body_that_is_written_published_and_evicted_see_no_wrong_byte() {
    let dir = tempfile::tempdir().unwrap();
    let config = CacheConfig {
        block_bytes: 16 * KIB,
        limit_bytes: Some(GIB),
        free_floor_bytes: Some(0),
        ..CacheConfig::new(dir.path().join("content"), dir.path().join("staging"))
    };
    let store = Double::new(Reads::Ranged);
    store.set_speed(Duration::from_micros(300), Duration::ZERO);
    for i in 0..20 {
        store.next(Fault::Break(i * 10_000));
        store.next(Fault::Refuse(ErrorKind::NotReady));
    }
    let cache = Cache::open(config, store.clone(), SystemClock::shared()).await.unwrap();
    let bytes = pattern(1, SIZE);
    let entry = store.put("1", &bytes);
    let readers: Vec<_> = (0..6u64)
        .map(|i| {
            let (cache, entry, bytes) = (cache.clone(), entry.clone(), bytes.clone());
            tokio::spawn(async move {
                let mut read_well = 0;
                for round in 0..40u64 {
                    let body = cache.body(&entry);
                    let reader = Reader::new();
                    for step in 0..8 {
                        let at = (i * 131 + round * 977 + step * 53) % 97 * (SIZE / 97);
                        if let Ok(got) = body.read(&reader, at, 70_000).await {
                            assert!(got == bytes.slice(at as usize..(at as usize + 70_000).min(SIZE as usize)));
                            read_well += 1;
                        }
                    }
                }
                read_well
            })
        })
        .collect();
    let writer = tokio::spawn(rewrite(cache.clone(), store, bytes, entry));
    for reader in readers {
        assert!(reader.await.unwrap() > 200);
    }
    writer.await.unwrap();
}
