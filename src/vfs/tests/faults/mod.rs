//! Each kind of trouble on each request that changes something, against each built-in server: afterwards the server has
//! exactly one correct copy of everything, under the right id, and nothing waits here.
//!
//! What there is to break is found out, not listed: each piece of work is done once undisturbed, and every route on which
//! it sent something is broken in every way, in a drive and a server of its own.

mod meanwhile;
mod sites;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};

use self::sites::{Held, Kind, Site};
use super::rig::{Drive, ME, memory_dir, name, start_on};
use crate::emulator::common::{Action, FaultRule, When};
use crate::journal::UploaderConfig;
use crate::model::{Clock, ItemId, ManualClock, Timestamp, Value};
use crate::store::{MoveFile, Overwrite, RenameFile};
use crate::vfs::{Error, RenameMode, Result, VfsConfig};

/// Drives with their servers at a time: most of what they do is wait.
const CASES_AT_A_TIME: usize = 16;
/// Longer than one chunk of any store.
const LARGE_BYTES: usize = 6 << 20;
/// How long a server stays broken.
const OUTAGE: Duration = Duration::from_secs(60);

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Create,
    CreateLarge,
    CreateWithField,
    Copy,
    Save,
    SaveLarge,
    SaveAndRename,
    Rename,
    Move,
    MoveAndRename,
    Link,
    Remove,
    SetField,
    MakeFolder,
    MakeFolderWithFile,
    MakeTopFolder,
    RenameFolder,
    MoveFolder,
    RemoveFolder,
}

const WORKS: [Work; 19] = [
    Work::Create,
    Work::CreateLarge,
    Work::CreateWithField,
    Work::Copy,
    Work::Save,
    Work::SaveLarge,
    Work::SaveAndRename,
    Work::Rename,
    Work::Move,
    Work::MoveAndRename,
    Work::Link,
    Work::Remove,
    Work::SetField,
    Work::MakeFolder,
    Work::MakeFolderWithFile,
    Work::MakeTopFolder,
    Work::RenameFolder,
    Work::MoveFolder,
    Work::RemoveFolder,
];

/// How the server breaks.
#[derive(Clone, Debug)]
struct Trouble {
    when: When,
    action: Action,
    /// Whether it ends by itself: else after [`OUTAGE`].
    once: bool,
}

impl Trouble {
    fn hangs(&self) -> bool {
        matches!(self.action, Action::Hang(None) | Action::ApplyThenHang)
    }
}

/// What each route meets, and of what each meets one in the short form: every route is used by several pieces of work.
fn troubles(is_full: bool) -> (Vec<Trouble>, Vec<Trouble>) {
    let outage = |action| Trouble {
        when: When::Always,
        action,
        once: false,
    };
    let once = |when, action| Trouble {
        when,
        action,
        once: true,
    };
    let always = vec![
        outage(Action::status(500)),
        once(When::First(1), Action::ApplyThenDropAnswer),
    ];
    let mut in_turn = vec![
        once(When::First(2), Action::Reset),
        once(When::First(1), Action::Hang(None)),
        once(When::First(1), Action::ApplyThenHang),
    ];
    if is_full {
        in_turn.extend([
            outage(Action::status(503)),
            outage(Action::Reset),
            outage(Action::Html),
            once(When::First(3), Action::ApplyThenDropAnswer),
            once(When::Nth(2), Action::ApplyThenDropAnswer),
            once(When::Nth(2), Action::Reset),
            once(When::First(1), Action::TruncateBody(1)),
            once(When::Every(2), Action::ApplyThenDropAnswer),
        ]);
    }
    (always, in_turn)
}

/// A tree: path → bytes, `None` for a folder.
type Tree = BTreeMap<String, Option<Vec<u8>>>;

/// Lets time go on while somebody waits in the foreground.
struct Ticking(tokio::task::JoinHandle<()>);

impl Ticking {
    fn of(clock: &Arc<ManualClock>) -> Self {
        let clock = clock.clone();
        Self(tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(30)).await;
                clock.advance(Duration::from_secs(1));
            }
        }))
    }
}

impl Drop for Ticking {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Case {
    _ticking: Ticking,
    site: Site,
    drive: Drive,
    dir: tempfile::TempDir,
    before: Tree,
}

fn text(len: usize, seed: u8) -> Vec<u8> {
    (0..len)
        .map(|i| b'a' + ((i / 7 + i + usize::from(seed)) % 26) as u8)
        .collect()
}

impl Case {
    /// A server with two files, and a drive that has seen them.
    async fn prepare(kind: Kind) -> Self {
        let clock = ManualClock::starting(Timestamp::from_secs(1_780_000_000));
        let ticking = Ticking::of(&clock);
        let site = Site::start(kind, &clock).await;
        // Late listings show what the server began with.
        clock.advance(Duration::from_secs(1000));
        let dir = memory_dir();
        let store = site.login(&clock, dir.path());
        let shared_clock: Arc<dyn Clock> = clock.clone();
        let (config, uploader) = (VfsConfig::default(), UploaderConfig::default());
        let vfs = start_on(store, shared_clock, dir.path(), &config, &uploader, None).await;
        let drive = Drive { vfs, clock };
        for (last, bytes) in [("keep.txt", &b"to be left alone"[..]), ("old.txt", b"the old bytes")] {
            drive
                .write(&format!("{}/{last}", site.here), bytes)
                .await
                .expect("written");
        }
        let ino = drive.at(&format!("{}/old.txt", site.here)).await.expect("written").ino;
        let set = drive
            .vfs
            .setxattr(ME, ino, site.field.1, b"set before", Default::default());
        set.await.expect("set");
        drive.settle().await;
        drive.clock.advance(Duration::from_secs(1000));
        drive.settle().await;
        drive.vfs.refresh("/").await.expect("a listing");
        let before = drive.tree().await;
        Self {
            _ticking: ticking,
            site,
            drive,
            dir,
            before,
        }
    }

    fn old(&self) -> String {
        format!("{}/old.txt", self.site.here)
    }

    async fn set_field(&self, path: &str) -> Result<()> {
        let ino = self.drive.at(path).await?.ino;
        let (_, attribute) = self.site.field;
        let set = self.drive.vfs.setxattr(ME, ino, attribute, b"told", Default::default());
        set.await
    }

    async fn link(&self, from: &str, to: &str) -> Result<()> {
        let ino = self.drive.at(from).await?.ino;
        let (folder, last) = to.rsplit_once('/').unwrap_or(("", to));
        let folder = self.drive.at(folder).await?.ino;
        self.drive.vfs.link(ME, ino, folder, &name(last)).await.map(drop)
    }

    /// Does the work here, and answers how the tree is to be then.
    #[allow(clippy::too_many_lines)] // One arm for each piece of work.
    async fn work(&self, work: Work) -> Result<Tree> {
        let (drive, site, old) = (&self.drive, &self.site, self.old());
        let (here, there) = (site.here, site.there);
        let beside = here
            .rsplit_once('/')
            .map_or(String::new(), |(above, _)| format!("{above}/"));
        let mut tree = self.before.clone();
        let mut put = |path: &str, bytes: &[u8]| drop(tree.insert(format!("/{path}"), Some(bytes.to_vec())));
        let rename = async |from: &str, to: &str| drive.rename_as(ME, from, to, RenameMode::Replace).await;
        let new = format!("{here}/new.txt");
        match work {
            Work::Create | Work::CreateWithField => {
                drive.write(&new, b"something new").await?;
                put(&new, b"something new");
                if work == Work::CreateWithField {
                    self.set_field(&new).await?;
                }
            }
            Work::CreateLarge => {
                let bytes = text(LARGE_BYTES, 1);
                drive.write(&new, &bytes).await?;
                put(&new, &bytes);
            }
            Work::Copy => {
                let to = format!("{there}/old.txt");
                self.drive.copy(&old, &to).await?;
                put(&to, b"the old bytes");
            }
            Work::Save => {
                drive.write(&old, b"bytes that replace").await?;
                put(&old, b"bytes that replace");
            }
            Work::SaveLarge => {
                let bytes = text(LARGE_BYTES, 2);
                drive.write(&old, &bytes).await?;
                put(&old, &bytes);
            }
            Work::SaveAndRename => {
                let to = format!("{here}/renamed.txt");
                drive.write(&old, b"bytes that replace").await?;
                rename(&old, &to).await?;
                put(&to, b"bytes that replace");
                tree.remove(&format!("/{old}"));
            }
            Work::Rename | Work::Move | Work::MoveAndRename => {
                let to = match work {
                    Work::Rename => format!("{here}/renamed.txt"),
                    Work::Move => format!("{there}/old.txt"),
                    _ => format!("{there}/renamed.txt"),
                };
                rename(&old, &to).await?;
                put(&to, b"the old bytes");
                tree.remove(&format!("/{old}"));
            }
            Work::Link => {
                let to = format!("{there}/old.txt");
                self.link(&old, &to).await?;
                put(&to, b"the old bytes");
            }
            Work::Remove => {
                drive.unlink(&old).await?;
                tree.remove(&format!("/{old}"));
            }
            Work::SetField => self.set_field(&old).await?,
            Work::MakeFolder | Work::MakeFolderWithFile => {
                let folder = format!("{beside}new");
                drive.mkdir(&folder).await?;
                tree.insert(format!("/{folder}"), None);
                if work == Work::MakeFolderWithFile {
                    let inside = format!("{folder}/inside.txt");
                    drive.write(&inside, b"in a new folder").await?;
                    tree.insert(format!("/{inside}"), Some(b"in a new folder".to_vec()));
                }
            }
            Work::MakeTopFolder => {
                drive.mkdir("new").await?;
                tree.insert("/new".into(), None);
            }
            Work::RenameFolder | Work::MoveFolder => {
                let (from, to) = match work {
                    // With a file in it.
                    Work::RenameFolder => (here, format!("{beside}elsewhere")),
                    _ => (there, format!("{}/there", site.aside)),
                };
                rename(from, &to).await?;
                let moved = |path: String| match path.strip_prefix(&format!("/{from}")) {
                    Some("") => format!("/{to}"),
                    Some(below) if below.starts_with('/') => format!("/{to}{below}"),
                    _ => path,
                };
                tree = tree.into_iter().map(|(path, node)| (moved(path), node)).collect();
            }
            Work::RemoveFolder => {
                drive.rmdir(there).await?;
                tree.remove(&format!("/{there}"));
            }
        }
        Ok(tree)
    }

    /// Moves the clock until nothing waits here any more; the trouble ends in time.
    async fn converge(&self, began: Duration, trouble: Option<&Trouble>) {
        for round in 0..600 {
            let elapsed = self.drive.clock.elapsed() - began;
            if trouble.is_some_and(|t| !t.once) && elapsed >= OUTAGE {
                self.site.faults().clear();
            }
            let report = self.drive.vfs.sync(None, Some(Duration::ZERO)).await.expect("a report");
            if report.pending == 0 {
                return;
            }
            // Who waits for a server that says nothing waits for the clock alone.
            let hangs =
                !self.drive.rest().await && trouble.is_some_and(|t| t.hangs()) && self.site.faults().struck() > 0;
            let step = match round {
                0..100 if hangs => 5,
                0..100 => 1,
                _ => 10,
            };
            self.drive.clock.advance(Duration::from_secs(step));
        }
        panic!("never settles: {:#?}", self.drive.vfs.queue(None).await);
    }

    /// Everything is there once, here and in the server, and nothing waits.
    async fn check(&self, work: Work, wanted: &Tree, ids: &[Held]) {
        let report = self.drive.vfs.sync(None, Some(Duration::ZERO)).await.expect("a report");
        assert_eq!(
            (report.pending, report.parked, report.held),
            (0, 0, 0),
            "{:?}",
            report.problems
        );
        let held = self.site.held();
        let files: Vec<(&str, &[u8])> = held.iter().map(|h| (h.path.as_str(), h.bytes.as_slice())).collect();
        let wished = wanted
            .iter()
            .filter_map(|(path, bytes)| Some((path.as_str(), bytes.as_deref()?)));
        let wished: Vec<(&str, &[u8])> = wished.collect();
        assert!(
            files == wished,
            "the server holds {held:?}\nwanted: {:?}",
            short(wanted)
        );
        if let Some(folders) = self.site.folders() {
            let wished: Vec<&String> = wanted.iter().filter(|(_, b)| b.is_none()).map(|(p, _)| p).collect();
            assert_eq!(folders.iter().collect::<Vec<_>>(), wished, "folders");
        }
        self.check_ids(work, &held, ids);
        self.check_field(work).await;
        let seen = self.drive.tree().await;
        assert!(
            seen == *wanted,
            "seen here: {:?}\nwanted: {:?}",
            short(&seen),
            short(wanted)
        );
        self.drive.clock.advance(Duration::from_secs(2000));
        self.drive.settle().await;
        self.drive.vfs.refresh("/").await.expect("a listing");
        let seen = self.drive.tree().await;
        assert!(
            seen == *wanted,
            "after a listing: {:?}\nwanted: {:?}",
            short(&seen),
            short(wanted)
        );
    }

    /// Who was there before is still the same where the store can do that, and nobody else has changed at all.
    fn check_ids(&self, work: Work, held: &[Held], before: &[Held]) {
        let capabilities = self.drive.vfs.store().capabilities();
        let keeps = match work {
            Work::Save | Work::SaveLarge => capabilities.overwrite == Overwrite::Replace,
            Work::Rename => capabilities.rename_file != RenameFile::Reupload,
            Work::Move => capabilities.move_file != MoveFile::Reupload,
            Work::SaveAndRename => {
                capabilities.overwrite == Overwrite::Replace && capabilities.rename_file != RenameFile::Reupload
            }
            Work::MoveAndRename => {
                capabilities.move_file != MoveFile::Reupload && capabilities.rename_file != RenameFile::Reupload
            }
            Work::Remove => return,
            _ => true,
        };
        let by_path = capabilities.ids == crate::store::IdScheme::Path;
        for old in before {
            let is_touched = old.path.ends_with("/old.txt");
            if by_path || is_touched && !keeps {
                continue;
            }
            let now = held.iter().find(|now| now.id == old.id);
            assert!(now.is_some(), "{old:?} is not the same any more: {held:?}");
        }
    }

    /// What was set is set, and what was there before has come along with the bytes.
    async fn check_field(&self, work: Work) {
        let (last, value) = match work {
            Work::Remove => return,
            Work::CreateWithField => ("new.txt", "told"),
            Work::SetField => ("old.txt", "told"),
            Work::Rename | Work::SaveAndRename | Work::MoveAndRename => ("renamed.txt", "set before"),
            _ => ("old.txt", "set before"),
        };
        let held = self
            .site
            .held()
            .into_iter()
            .find(|held| held.path.ends_with(&format!("/{last}")));
        let id = ItemId::new(held.expect("held").id);
        let store = self.site.login(&self.drive.clock, self.dir.path());
        let entry = store.stat(&id).await.expect("there");
        let told = store.details(&entry).await.expect("details");
        let told = told.iter().find(|e| e.id == id).expect("its own");
        let values = told.fields.get(self.site.field.0).map(|field| field.values.as_slice());
        assert_eq!(values, Some(&[Value::from(value)][..]), "{last}");
    }
}

fn short(tree: &Tree) -> Vec<String> {
    let told = tree.iter().map(|(path, bytes)| match bytes {
        None => format!("{path}/"),
        Some(bytes) => format!("{path} ({} bytes)", bytes.len()),
    });
    told.collect()
}

/// The routes on which a piece of work sends changes; `None` when the store cannot do it.
async fn routes_of(kind: Kind, work: Work, is_full: bool) -> Option<Vec<String>> {
    let case = Case::prepare(kind).await;
    let ids = case.site.held();
    case.site.traffic().reset();
    let wanted = match case.work(work).await {
        Ok(wanted) => wanted,
        Err(Error::NotPermitted(_) | Error::CrossDevice | Error::Unsupported(_)) => return None,
        Err(error) => panic!("{kind:?}: {work:?}: {error}"),
    };
    let began = case.drive.clock.elapsed();
    case.converge(began, None).await;
    let counters = case.site.traffic().counters();
    case.check(work, &wanted, &ids).await;
    case.drive.vfs.stop().await;
    let reads = |route: &str| route.starts_with("GET ") || route.starts_with("HEAD ");
    let mut routes: Vec<String> = counters.routes.into_keys().collect();
    routes.retain(|route| is_full || !reads(route));
    Some(routes)
}

async fn run(kind: Kind, work: Work, route: String, trouble: Trouble) {
    let case = Case::prepare(kind).await;
    let ids = case.site.held();
    let rule = FaultRule::new(route.as_str(), trouble.when, trouble.action.clone());
    case.site.faults().add(rule);
    let began = case.drive.clock.elapsed();
    let wanted = case.work(work).await.expect("it could be done undisturbed");
    case.converge(began, Some(&trouble)).await;
    case.site.faults().clear();
    case.check(work, &wanted, &ids).await;
    case.drive.vfs.stop().await;
}

/// Every case in which the server breaks.
async fn matrix(kind: Kind) {
    let is_full = std::env::var("ASSETFS_TEST_FULL").is_ok_and(|v| v == "1");
    let works = WORKS
        .into_iter()
        .filter(|work| is_full || !matches!(work, Work::CreateLarge | Work::SaveLarge));
    let undisturbed = stream::iter(works)
        .map(|work| async move { (work, routes_of(kind, work, is_full).await) })
        .buffer_unordered(CASES_AT_A_TIME);
    let found: Vec<(Work, Option<Vec<String>>)> = undisturbed.collect().await;
    let mut cases = Vec::new();
    for (work, routes) in found {
        for route in routes.unwrap_or_default() {
            let (always, in_turn) = troubles(is_full);
            let turn = cases.len() / (always.len() + 1) % in_turn.len();
            let some = if is_full { &in_turn[..] } else { &in_turn[turn..=turn] };
            let troubles = always.iter().chain(some);
            cases.extend(troubles.map(|trouble| (work, route.clone(), trouble.clone())));
        }
    }
    let count = cases.len();
    let failures: Vec<String> = stream::iter(cases)
        .map(|(work, route, trouble)| async move {
            let label = format!("{kind:?}: {work:?}, {route}: {trouble:?}");
            let done = tokio::spawn(run(kind, work, route, trouble)).await;
            done.err().map(|panic| {
                let panic = panic.into_panic();
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
                format!("{label}\n    {}", text.unwrap_or_default())
            })
        })
        .buffer_unordered(CASES_AT_A_TIME)
        .filter_map(|failure| async move { failure })
        .collect()
        .await;
    assert!(
        failures.is_empty(),
        "{} of {count} cases:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn image_relay_converges_to_one_correct_copy_whatever_breaks() {
    matrix(Kind::ImageRelay).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn omeka_converges_to_one_correct_copy_whatever_breaks() {
    matrix(Kind::Omeka).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flextype_converges_to_one_correct_copy_whatever_breaks() {
    matrix(Kind::Flextype).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn im4_converges_to_one_correct_copy_whatever_breaks() {
    matrix(Kind::Im4).await;
}
