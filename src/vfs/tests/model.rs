//! Random work against a plain tree: whatever is done, and whatever the store and this machine do meanwhile, people see
//! what an ordinary disk would show, and the store ends with exactly that.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use super::rig::{ME, Rig, name};
use crate::model::Clock;
use crate::store::memory::{self as presets, Fault, Op};
use crate::store::{Capabilities, CreateFile, CreateFolder, ErrorKind, Retry, Support};
use crate::vfs::{Caller, Error, OpenHow, RenameMode, Result};

/// Cases of each weather in an ordinary run.
const CASES: u32 = 100;
/// Cases when everything is to be tested.
const CASES_FULL: u32 = 2500;
/// How often each shorter form of a failed case is tried.
const ROUNDS_AFTER_FAILURE: u32 = 12;
/// How long one case may take on the wall clock: a drive that hangs must fail the test.
const CASE_DEADLINE: Duration = Duration::from_secs(90);

const PATHS: [&str; 12] = [
    "a.txt",
    "b.txt",
    "d",
    "e",
    "d/a.txt",
    "d/b.txt",
    "d/e",
    "e/a.txt",
    "e/d",
    "d/e/a.txt",
    "e/d/a.txt",
    "a.txt~",
];

/// Calls that change the store: only these go wrong here, so that what is seen can be compared at any time.
const CHANGES: [Op; 8] = [
    Op::Create,
    Op::Replace,
    Op::CreateFolder,
    Op::Relocate,
    Op::Link,
    Op::Remove,
    Op::SetFields,
    Op::Chunk,
];

#[derive(Clone, Debug)]
enum Act {
    Write(usize, usize, bool),
    Append(usize, usize),
    Truncate(usize, usize),
    Rename(usize, usize, bool),
    Exchange(usize, usize),
    Unlink(usize, bool),
    Mkdir(usize),
    Rmdir(usize),
    Link(usize, usize),
    SetXattr(usize, usize),
    Advance(u64),
    Settle,
    Restart,
    Relist,
    RemotePut,
    Refuse(usize),
    LoseAnswer(usize),
    Lag(bool),
}

/// What may go wrong outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weather {
    Fair,
    Foul,
}

fn act(weather: Weather) -> impl Strategy<Value = Act> {
    let path = 0..PATHS.len();
    let fair = prop_oneof![
        6 => (path.clone(), 0..40usize, any::<bool>()).prop_map(|(p, n, o)| Act::Write(p, n, o)),
        2 => (path.clone(), 1..20usize).prop_map(|(p, n)| Act::Append(p, n)),
        2 => (path.clone(), 0..40usize).prop_map(|(p, n)| Act::Truncate(p, n)),
        6 => (path.clone(), path.clone(), any::<bool>()).prop_map(|(p, q, o)| Act::Rename(p, q, o)),
        1 => (path.clone(), path.clone()).prop_map(|(p, q)| Act::Exchange(p, q)),
        3 => (path.clone(), any::<bool>()).prop_map(|(p, o)| Act::Unlink(p, o)),
        4 => path.clone().prop_map(Act::Mkdir),
        2 => path.clone().prop_map(Act::Rmdir),
        1 => (path.clone(), path.clone()).prop_map(|(p, q)| Act::Link(p, q)),
        1 => (path, 0..9usize).prop_map(|(p, n)| Act::SetXattr(p, n)),
        3 => (0..5u64).prop_map(Act::Advance),
        1 => Just(Act::Advance(100)),
        2 => Just(Act::Settle),
        1 => Just(Act::Restart),
    ];
    match weather {
        Weather::Fair => fair.boxed(),
        Weather::Foul => prop_oneof![
            16 => fair,
            1 => Just(Act::Relist),
            1 => Just(Act::RemotePut),
            1 => (0..CHANGES.len()).prop_map(Act::Refuse),
            1 => (0..CHANGES.len()).prop_map(Act::LoseAnswer),
            1 => any::<bool>().prop_map(Act::Lag),
        ]
        .boxed(),
    }
}

fn stores() -> [Capabilities; 5] {
    [
        presets::like_imagerelay(),
        presets::like_flextype(),
        Capabilities {
            create_file: CreateFile::Anywhere,
            create_folder: CreateFolder::Anywhere,
            ..presets::like_omeka()
        },
        Capabilities {
            create_file: CreateFile::Anywhere,
            ..presets::like_im4()
        },
        presets::whole(),
    ]
}

/// An ordinary disk.
#[derive(Clone, Debug, Default)]
struct Disk {
    /// Path → file, `None` for a folder.
    names: BTreeMap<String, Option<u32>>,
    files: BTreeMap<u32, Vec<u8>>,
    next: u32,
}

/// Why a disk refuses something; the details do not matter here.
struct Refused;
type Done = std::result::Result<(), Refused>;

impl Disk {
    fn is_folder(&self, path: &str) -> bool {
        path.is_empty() || self.names.get(path) == Some(&None)
    }

    fn parent_of(path: &str) -> &str {
        path.rsplit_once('/').map_or("", |(parent, _)| parent)
    }

    fn reachable(&self, path: &str) -> Done {
        if self.is_folder(Self::parent_of(path)) {
            Ok(())
        } else {
            Err(Refused)
        }
    }

    fn file(&self, path: &str) -> std::result::Result<u32, Refused> {
        self.names.get(path).copied().flatten().ok_or(Refused)
    }

    fn below(&self, path: &str) -> Vec<String> {
        let prefix = format!("{path}/");
        self.names.keys().filter(|p| p.starts_with(&prefix)).cloned().collect()
    }

    fn write(&mut self, path: &str, bytes: &[u8]) -> Done {
        self.reachable(path)?;
        let id = match self.names.get(path) {
            Some(None) => return Err(Refused),
            Some(Some(id)) => *id,
            None => {
                self.next += 1;
                self.names.insert(path.to_owned(), Some(self.next));
                self.next
            }
        };
        self.files.insert(id, bytes.to_vec());
        Ok(())
    }

    fn alter(&mut self, path: &str, alter: impl FnOnce(&mut Vec<u8>)) -> Done {
        let id = self.file(path)?;
        alter(self.files.get_mut(&id).ok_or(Refused)?);
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> Done {
        let source = *self.names.get(from).ok_or(Refused)?;
        self.reachable(to)?;
        if source.is_none() && (to == from || to.starts_with(&format!("{from}/"))) {
            return if to == from { Ok(()) } else { Err(Refused) };
        }
        match (source, self.names.get(to)) {
            (_, None) => {}
            (Some(a), Some(Some(b))) if a == *b => return Ok(()),
            (Some(_), Some(Some(_))) => {}
            (None, Some(None)) if self.below(to).is_empty() => {}
            _ => return Err(Refused),
        }
        let moved: Vec<_> = self.below(from);
        for path in moved {
            let node = self.names.remove(&path).ok_or(Refused)?;
            self.names.insert(format!("{to}{}", &path[from.len()..]), node);
        }
        self.names.remove(from);
        self.names.insert(to.to_owned(), source);
        Ok(())
    }

    fn exchange(&mut self, a: &str, b: &str) -> Done {
        if !self.names.contains_key(a) || !self.names.contains_key(b) {
            return Err(Refused);
        }
        let inside = |x: &str, y: &str| x != y && x.starts_with(&format!("{y}/"));
        if inside(a, b) || inside(b, a) {
            return Err(Refused);
        }
        if a == b {
            return Ok(());
        }
        let mut swapped = BTreeMap::new();
        for (path, node) in &self.names {
            let of = |root: &str| path == root || inside(path, root);
            let to = if of(a) {
                format!("{b}{}", &path[a.len()..])
            } else if of(b) {
                format!("{a}{}", &path[b.len()..])
            } else {
                path.clone()
            };
            swapped.insert(to, *node);
        }
        self.names = swapped;
        Ok(())
    }

    fn tree(&self) -> BTreeMap<String, Option<Vec<u8>>> {
        self.names
            .iter()
            .map(|(path, node)| (format!("/{path}"), node.map(|id| self.files[&id].clone())))
            .collect()
    }

    /// Whether a file has several names: those share their last part, here as in the store.
    fn is_linked(&self, path: &str) -> bool {
        let links = |id: u32| self.names.values().filter(|n| **n == Some(id)).count();
        self.names.get(path).copied().flatten().is_some_and(|id| links(id) > 1)
    }
}

struct Run {
    rig: Rig,
    disk: Disk,
    remote: u32,
}

fn is_file_name(path: usize) -> bool {
    PATHS[path].contains(".txt")
}

/// Nothing but what the store cannot do may differ from a disk.
fn is_limit(error: &Error) -> bool {
    matches!(
        error,
        Error::NotPermitted(_) | Error::CrossDevice | Error::Unsupported(_) | Error::TooBig(_)
    )
}

impl Run {
    fn who(other: bool) -> Caller {
        Caller {
            pid: u32::from(other),
            ..ME
        }
    }

    /// The disk follows what was done; both must have refused or done it.
    fn judge(&mut self, real: Result<()>, plain: impl FnOnce(&mut Disk) -> Done) {
        match real {
            Err(error) if is_limit(&error) => {}
            real => {
                let mut disk = self.disk.clone();
                let done = plain(&mut disk);
                assert_eq!(real.is_ok(), done.is_ok(), "the drive says {real:?}");
                if done.is_ok() {
                    self.disk = disk;
                }
            }
        }
    }

    fn bytes(&self, seed: usize, len: usize) -> Vec<u8> {
        let least = match self.rig.store.shared().capabilities().empty_files {
            Support::Yes => 0,
            Support::No => 1,
        };
        (0..len.max(least)).map(|i| b'a' + ((seed + i) % 26) as u8).collect()
    }

    async fn open_and(&self, path: &str, truncate: Option<u64>, append: Option<Vec<u8>>) -> Result<()> {
        let attr = self.rig.at(path).await?;
        let how = OpenHow {
            read: true,
            write: true,
            ..OpenHow::default()
        };
        let opened = self.rig.vfs.open(ME, attr.ino, how).await?;
        let outcome = async {
            if let Some(len) = truncate {
                let set = crate::vfs::SetAttr {
                    size: Some(len),
                    ..Default::default()
                };
                self.rig.vfs.setattr(ME, attr.ino, Some(opened.fh), set).await?;
            }
            if let Some(bytes) = append {
                self.rig.vfs.write(opened.fh, attr.size, Bytes::from(bytes)).await?;
            }
            self.rig.vfs.flush(ME, opened.fh).await
        }
        .await;
        self.rig.vfs.release(opened.fh).await;
        outcome
    }

    async fn link(&self, from: &str, to: &str) -> Result<()> {
        let ino = self.rig.at(from).await?.ino;
        let (folder, last) = to.rsplit_once('/').unwrap_or(("", to));
        let folder = self.rig.at(folder).await?.ino;
        self.rig.vfs.link(ME, ino, folder, &name(last)).await.map(drop)
    }

    #[allow(clippy::too_many_lines)] // One arm for each act.
    async fn step(&mut self, number: usize, act: &Act) {
        match *act {
            // Stores that serve files by name want an extension, so that only folders go without one here.
            Act::Write(p, ..) | Act::Append(p, _) | Act::Truncate(p, _) if !is_file_name(p) => {}
            Act::Mkdir(p) if is_file_name(p) => {}
            Act::Rename(p, q, _) | Act::Exchange(p, q) | Act::Link(p, q) if is_file_name(p) != is_file_name(q) => {}
            Act::Write(p, len, other) => {
                let bytes = self.bytes(number, len);
                let real = self.rig.write_as(Self::who(other), PATHS[p], &bytes).await.map(drop);
                self.judge(real, |d| d.write(PATHS[p], &bytes));
            }
            Act::Append(p, len) => {
                let bytes = self.bytes(number, len);
                let real = self.open_and(PATHS[p], None, Some(bytes.clone())).await;
                self.judge(real, |d| d.alter(PATHS[p], |all| all.extend(&bytes)));
            }
            Act::Truncate(p, len) => {
                let len = self.bytes(0, len).len();
                let real = self.open_and(PATHS[p], Some(len as u64), None).await;
                self.judge(real, |d| d.alter(PATHS[p], |all| all.resize(len, 0)));
            }
            // A file with several names has one name in the store: what a rename of one does to the others is tested
            // by itself.
            Act::Rename(p, q, _) | Act::Exchange(p, q)
                if self.disk.is_linked(PATHS[p]) || self.disk.is_linked(PATHS[q]) => {}
            Act::Rename(p, q, other) => {
                let mode = RenameMode::Replace;
                let real = self.rig.rename_as(Self::who(other), PATHS[p], PATHS[q], mode).await;
                self.judge(real, |d| d.rename(PATHS[p], PATHS[q]));
            }
            Act::Exchange(p, q) => {
                let real = self.rig.rename_as(ME, PATHS[p], PATHS[q], RenameMode::Exchange).await;
                self.judge(real, |d| d.exchange(PATHS[p], PATHS[q]));
            }
            Act::Unlink(p, other) => {
                let real = self.rig.unlink_as(Self::who(other), PATHS[p]).await;
                self.judge(real, |d| {
                    d.file(PATHS[p])?;
                    d.names.remove(PATHS[p]);
                    Ok(())
                });
            }
            Act::Mkdir(p) => {
                let real = self.rig.mkdir(PATHS[p]).await.map(drop);
                self.judge(real, |d| {
                    d.reachable(PATHS[p])?;
                    match d.names.insert(PATHS[p].to_owned(), None) {
                        None => Ok(()),
                        Some(_) => Err(Refused),
                    }
                });
            }
            Act::Rmdir(p) => {
                let real = self.rig.rmdir(PATHS[p]).await;
                self.judge(real, |d| {
                    if !d.is_folder(PATHS[p]) || !d.below(PATHS[p]).is_empty() {
                        return Err(Refused);
                    }
                    d.names.remove(PATHS[p]);
                    Ok(())
                });
            }
            Act::Link(p, q) => {
                let real = self.link(PATHS[p], PATHS[q]).await;
                self.judge(real, |d| {
                    let id = d.file(PATHS[p])?;
                    d.reachable(PATHS[q])?;
                    match d.names.insert(PATHS[q].to_owned(), Some(id)) {
                        None => Ok(()),
                        Some(_) => Err(Refused),
                    }
                });
            }
            Act::SetXattr(p, n) => self.set_and_get(PATHS[p], n).await,
            Act::Advance(secs) => {
                self.rig.clock.advance(Duration::from_secs(secs));
                // Now and then not at all, so that what follows meets requests under way.
                if !number.is_multiple_of(3) {
                    self.rig.rest().await;
                }
            }
            Act::Settle => self.settle().await,
            Act::Restart => self.rig.crash().await,
            Act::Relist => self.rig.vfs.refresh("/").await.expect("a listing"),
            Act::RemotePut => self.remote_put().await,
            Act::Refuse(op) => {
                let fault = Fault::Fail(ErrorKind::Network, Retry::After(Duration::from_secs(1)));
                self.rig.store.faults().inject(CHANGES[op], 1, fault);
            }
            Act::LoseAnswer(op) => self.rig.store.faults().inject(CHANGES[op], 1, Fault::LoseAnswer),
            Act::Lag(lags) => {
                let most = self.rig.store.shared().capabilities().listing_lag_max;
                let lag = if lags { most / 2 } else { Duration::ZERO };
                let now = self.rig.clock.now();
                self.rig.store.turn(|knobs| {
                    knobs.listing_lag = lag;
                    // A server's index comes late, and does not forget what it has shown.
                    knobs.indexed_to = Some(now);
                });
            }
        }
    }

    async fn set_and_get(&self, path: &str, n: usize) {
        if self.disk.file(path).is_err() {
            return;
        }
        let ino = self.rig.at(path).await.expect("there").ino;
        let value = format!("value {n}");
        let field = "user.memory.credit";
        let set = self
            .rig
            .vfs
            .setxattr(ME, ino, field, value.as_bytes(), Default::default());
        match set.await {
            Ok(()) => {
                let got = self.rig.vfs.getxattr(ino, field).await.expect("it was set");
                assert_eq!(got, value.as_bytes());
            }
            Err(error) => assert!(is_limit(&error), "setxattr: {error:?}"),
        }
    }

    /// Somebody else makes a file; it shows with the next listing, unless listings lag.
    async fn remote_put(&mut self) {
        self.remote += 1;
        let path = format!("theirs-{}.txt", self.remote);
        let remote = self.rig.store.remote();
        let made = remote.put(&remote.root(), &path, &b"theirs"[..]);
        made.expect("a name that nobody else has");
        self.rig.store.turn(|knobs| knobs.listing_lag = Duration::ZERO);
        self.rig.vfs.refresh("/").await.expect("a listing");
        self.disk.write(&path, b"theirs").ok().expect("a new name");
    }

    async fn compare(&self, after: &str) {
        assert_eq!(self.rig.tree().await, self.disk.tree(), "what is seen after {after}");
    }

    async fn settle(&self) {
        self.rig.settle().await;
        let report = self.rig.vfs.sync(None, Some(Duration::ZERO)).await.expect("a report");
        assert_eq!((report.parked, report.held), (0, 0), "{:?}", report.problems);
        // A backup that a program keeps beside the new file may stay on this machine.
        let local = |path: &&String| path.ends_with('~');
        let wanted = self.disk.tree();
        let stored = self.rig.stored();
        let here: BTreeSet<_> = wanted.iter().filter(|(path, _)| !local(path)).collect();
        let there: BTreeSet<_> = stored.iter().filter(|(path, _)| !local(path)).collect();
        assert_eq!(there, here, "what the store holds");
        for (path, bytes) in stored.iter().filter(|(path, _)| local(path)) {
            assert_eq!(wanted.get(path), Some(bytes), "{path}");
        }
    }
}

async fn run(store: Capabilities, acts: Vec<Act>) {
    let mut run = Run {
        rig: Rig::new(store).await,
        disk: Disk::default(),
        remote: 0,
    };
    for (number, act) in acts.iter().enumerate() {
        run.step(number, act).await;
        run.compare(&format!("step {number}, {act:?}")).await;
    }
    run.settle().await;
    run.rig.crash().await;
    run.compare("the last restart").await;
    run.rig.clock.advance(Duration::from_secs(2000));
    run.rig.vfs.refresh("/").await.expect("a listing");
    run.compare("everything is settled and listed").await;
    run.rig.vfs.stop().await;
}

fn check(weather: Weather) {
    let full = std::env::var("ASSETFS_TEST_FULL").is_ok_and(|v| v == "1");
    let config = Config {
        cases: match std::env::var("PROPTEST_CASES") {
            Ok(cases) => cases.parse().expect("a number of cases"),
            Err(_) if full => CASES_FULL,
            Err(_) => CASES,
        },
        failure_persistence: None,
        max_shrink_iters: 1000,
        ..Config::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let strategy = (0..stores().len(), prop::collection::vec(act(weather), 1..60));
    // A change must not fail for what somebody else's luck has found: chance is for the long form.
    let mut runner = match full {
        true => TestRunner::new(config),
        false => TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha)),
    };
    // A race shows now and then: once it has, shorter cases get several chances to show it again.
    let failed = std::cell::Cell::new(false);
    let outcome = runner.run(&strategy, |(store, acts)| {
        let rounds = if failed.get() { ROUNDS_AFTER_FAILURE } else { 1 };
        for _ in 0..rounds {
            let case = std::panic::AssertUnwindSafe(run(stores()[store].clone(), acts.clone()));
            let timed = async { tokio::time::timeout(CASE_DEADLINE, case.catch_unwind()).await };
            let why = match runtime.block_on(timed) {
                Ok(Ok(())) => continue,
                Ok(Err(panic)) => panic.downcast_ref::<String>().cloned().unwrap_or_default(),
                Err(_) => "it hangs".into(),
            };
            failed.set(true);
            return Err(TestCaseError::fail(why));
        }
        Ok(())
    });
    match outcome {
        Ok(()) => {}
        // On one line each, to be read and to be pasted.
        Err(TestError::Fail(why, (store, acts))) => panic!("{why}\nstore {store}: {acts:?}"),
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}

#[test]
fn any_work_looks_as_on_a_disk_and_ends_so_in_the_store() {
    check(Weather::Fair);
}

#[test]
fn lost_answers_late_listings_and_other_people_change_nothing_about_that() {
    check(Weather::Foul);
}
