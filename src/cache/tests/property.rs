//! Whatever happens, a read answers exactly the bytes of its version.

use proptest::prelude::*;

use super::double::Fault;
use super::*;
use crate::cache::{Keep, Published};
use crate::store::ErrorKind;

#[derive(Clone, Debug)]
enum Step {
    /// Several handles read at once, each somewhere.
    Read(Vec<(u64, u64)>),
    Run(u64, u64),
    Fault(Fault),
    Write(u64, u64),
    Truncate(u64),
    Publish,
    Anew,
    Restart,
    Evict,
    Wait(u64),
}

const SIZE: u64 = 1500 * KIB + 13;

fn step() -> impl Strategy<Value = Step> {
    let fault = prop_oneof![
        Just(Fault::Refuse(ErrorKind::Server)),
        Just(Fault::Refuse(ErrorKind::Denied)),
        (0..400 * KIB).prop_map(Fault::Cut),
        (0..400 * KIB).prop_map(Fault::Break),
        Just(Fault::Stall),
        Just(Fault::WrongTotal),
    ];
    prop_oneof![
        6 => proptest::collection::vec((0..SIZE + 100, 1..300 * KIB), 1..5).prop_map(Step::Read),
        2 => (0..SIZE, 1..40 * KIB).prop_map(|(from, step)| Step::Run(from, step)),
        4 => fault.prop_map(Step::Fault),
        2 => (0..SIZE + 50 * KIB, 1..100 * KIB).prop_map(|(at, len)| Step::Write(at, len)),
        1 => (0..SIZE + 50 * KIB).prop_map(Step::Truncate),
        1 => Just(Step::Publish),
        1 => Just(Step::Anew),
        1 => Just(Step::Restart),
        1 => Just(Step::Evict),
        1 => (0..2000u64).prop_map(Step::Wait),
    ]
}

/// The file under test, and what it should hold.
struct Model {
    rig: Rig,
    body: Option<Arc<Body>>,
    entry: Entry,
    expected: Vec<u8>,
    versions: u64,
    dirty: bool,
}

impl Model {
    fn body(&mut self) -> Arc<Body> {
        let body = self.body.take().unwrap_or_else(|| self.rig.cache.body(&self.entry));
        self.body = Some(body.clone());
        body
    }

    /// Errors are allowed, wrong bytes are not.
    async fn check(&self, body: &Arc<Body>, reader: &Reader, offset: u64, len: u64) {
        if let Ok(got) = body.read(reader, offset, len as usize).await {
            let end = (offset + len).min(self.expected.len() as u64);
            let wanted = &self.expected[offset.min(end) as usize..end as usize];
            assert!(got == wanted, "at {offset}, {len} bytes: {} came", got.len());
        }
    }

    async fn apply(&mut self, step: Step) {
        let body = self.body();
        match step {
            Step::Read(reads) => {
                let readers: Vec<Reader> = reads.iter().map(|_| Reader::new()).collect();
                let checks = reads
                    .iter()
                    .zip(&readers)
                    .map(|((at, len), reader)| self.check(&body, reader, *at, *len));
                futures_util::future::join_all(checks).await;
            }
            Step::Run(from, len) => {
                let reader = Reader::new();
                for i in 0..20 {
                    self.check(&body, &reader, from + i * len, len).await;
                }
            }
            Step::Fault(fault) => self.rig.store.next(fault),
            Step::Write(at, len) => {
                let data = pattern(at ^ len, len);
                if body.write(at, data.clone()).await.is_ok() {
                    self.dirty = true;
                    let end = (at + len) as usize;
                    self.expected.resize(self.expected.len().max(end), 0);
                    self.expected[at as usize..end].copy_from_slice(&data);
                }
            }
            Step::Truncate(size) => {
                if body.truncate(size).await.is_ok() {
                    self.dirty = true;
                    self.expected.resize(size as usize, 0);
                }
            }
            Step::Anew => {
                if body.make_dirty(Keep::Nothing).await.is_ok() {
                    self.dirty = true;
                    self.expected.clear();
                }
            }
            Step::Publish => self.publish(&body).await,
            // A dirty body's incomplete base does not survive: its owner would have parked it.
            Step::Restart if !self.dirty => {
                self.body = None;
                drop(body);
                self.rig.restart().await;
            }
            Step::Restart => {}
            Step::Evict => {
                if !self.dirty {
                    self.body = None;
                }
                drop(body);
                self.rig.cache.set_limit(0);
                self.rig.cache.evict_to_limit().await.unwrap();
                self.rig.cache.set_limit(u64::MAX);
            }
            Step::Wait(millis) => tokio::time::sleep(Duration::from_millis(millis)).await,
        }
    }

    async fn publish(&mut self, body: &Arc<Body>) {
        if !self.dirty || body.complete(LONG).await.is_err() {
            return;
        }
        self.versions += 1;
        let stored = self.rig.store.put("1", &self.expected.clone().into());
        self.entry = version(&stored, &self.versions.to_string());
        let published = self
            .rig
            .cache
            .publish(body, &self.entry, body.generation())
            .await
            .unwrap();
        assert_eq!(published, Published::Clean);
        self.dirty = false;
    }
}

async fn run(steps: Vec<Step>) {
    let rig = Rig::with(Reads::Ranged, |config| config.block_bytes = 16 * KIB).await;
    rig.store
        .set_speed(Duration::from_millis(20), Duration::from_micros(300));
    let bytes = pattern(1, SIZE);
    let entry = rig.store.put("1", &bytes);
    let expected = bytes.to_vec();
    let mut model = Model {
        rig,
        body: None,
        entry,
        expected,
        versions: 1,
        dirty: false,
    };
    for step in steps {
        model.apply(step).await;
    }
    // When all is well again, everything can be read.
    model.rig.store.clear_faults();
    tokio::time::sleep(Duration::from_secs(120)).await;
    let body = model.body();
    assert!(read_all(&body, 100 * KIB).await.unwrap() == model.expected);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(body.state.lock().jobs, 0, "a download is left over");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn reads_answer_the_bytes_of_their_version(steps in proptest::collection::vec(step(), 1..25)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(run(steps));
    }
}
