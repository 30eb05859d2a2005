//! What people do while what was asked for before is half done, or nobody knows whether it was.

use super::*;
use crate::journal::Durability;
use crate::vfs::OpenHow;

impl Case {
    /// Starts the drive anew, as after the end of the program.
    async fn restart(&mut self) {
        self.drive.vfs.stop().await;
        let last = self.drive.vfs.journal.write(Vec::new(), Durability::Written);
        last.wait().await.expect("written");
        let shared_clock: Arc<dyn Clock> = self.drive.clock.clone();
        let (config, uploader) = (VfsConfig::default(), UploaderConfig::default());
        let store = self.site.login(&self.drive.clock, self.dir.path());
        self.drive.vfs = start_on(store, shared_clock, self.dir.path(), &config, &uploader, None).await;
    }

    /// Does something to the file that is being replaced by `bytes that replace`; answers how the tree is to be in the end.
    async fn while_half_done(&self, act: &str) -> Tree {
        let (drive, old, here) = (&self.drive, self.old(), self.site.here);
        let rename = async |from: &str, to: &str| {
            let renamed = drive.rename_as(ME, from, to, RenameMode::Replace);
            renamed.await.expect("renamed");
        };
        let mut tree = self.before.clone();
        let now = format!("/{old}");
        tree.insert(now.clone(), Some(b"bytes that replace".to_vec()));
        match act {
            "save" => {
                drive.write(&old, b"newer").await.expect("written");
                tree.insert(now, Some(b"newer".to_vec()));
            }
            "save by rename" => {
                let beside = format!("{here}/.new.txt.part");
                drive.write(&beside, b"newer").await.expect("written");
                rename(&beside, &old).await;
                tree.insert(now, Some(b"newer".to_vec()));
            }
            "rename" => {
                rename(&old, &format!("{here}/renamed.txt")).await;
                let bytes = tree.remove(&now).expect("there");
                tree.insert(format!("/{here}/renamed.txt"), bytes);
            }
            "remove" => {
                drive.unlink(&old).await.expect("removed");
                tree.remove(&now);
            }
            "rename its folder" => {
                rename(here, "elsewhere").await;
                let moved = |path: String| path.replacen(&format!("/{here}"), "/elsewhere", 1);
                tree = tree.into_iter().map(|(path, node)| (moved(path), node)).collect();
            }
            "discard" => {
                let ino = drive.at(&old).await.expect("there").ino;
                drive.vfs.discard(ino.0).await.expect("discarded");
                tree.insert(now, Some(b"the old bytes".to_vec()));
            }
            _ => {}
        }
        tree
    }

    /// Saves a file of Flextype, and comes to where its old bytes are beside its name and the new ones not yet under it.
    async fn with_half_a_save() -> Self {
        let case = Self::prepare(Kind::Flextype).await;
        let old = case.old();
        let only_one_moves = FaultRule::new("PUT /api/files", When::After(1), Action::Reset);
        case.site.faults().add(only_one_moves);
        case.drive.write(&old, b"bytes that replace").await.expect("written");
        let is_half_done = || case.site.held().iter().all(|held| held.path != format!("/{old}"));
        for _ in 0..600 {
            if is_half_done() && case.site.faults().struck() > 0 && case.drive.rest().await {
                break;
            }
            case.drive.clock.advance(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(is_half_done(), "{:?}", case.site.held());
        case
    }

    /// Every file of the server, by path.
    fn files(&self) -> Tree {
        let held = self.site.held().into_iter();
        held.map(|held| (held.path, Some(held.bytes))).collect()
    }
}

/// Its old bytes are beside its name, and the new ones are not under it yet: the next save found no file, and was parked.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_to_a_file_that_is_half_replaced_is_done_to_it() {
    let acts = [
        "save",
        "save by rename",
        "rename",
        "remove",
        "rename its folder",
        "discard",
        "nothing",
    ];
    for (act, restarts) in acts.iter().flat_map(|act| [(*act, false), (*act, true)]) {
        let mut case = Case::with_half_a_save().await;
        let old = case.old();
        if restarts {
            case.restart().await;
        }
        let mut wanted = case.while_half_done(act).await;
        case.site.faults().clear();
        case.converge(case.drive.clock.elapsed(), None).await;
        // What was given up may be on its way all the same.
        for _ in 0..100 {
            if case.drive.rest().await {
                break;
            }
        }
        let report = case.drive.vfs.sync(None, Some(Duration::ZERO)).await.expect("a report");
        assert_eq!(
            (report.pending, report.parked),
            (0, 0),
            "{act}, {restarts}: {:?}",
            report.problems
        );
        let held = case.files();
        let now = format!("/{old}");
        if act == "discard" && held.get(&now) == Some(&Some(b"bytes that replace".to_vec())) {
            // It had been published by then.
            wanted.insert(now.clone(), held[&now].clone());
        }
        let files: Tree = wanted
            .clone()
            .into_iter()
            .filter(|(_, bytes)| bytes.is_some())
            .collect();
        assert!(
            held == files,
            "{act}, {restarts}: {:?}\nwanted {:?}",
            short(&held),
            short(&files)
        );
        case.drive.clock.advance(Duration::from_secs(5000));
        case.drive.vfs.refresh("/").await.expect("a listing");
        case.drive.vfs.refresh(case.site.here).await.ok();
        let seen = case.drive.tree().await;
        assert!(
            seen == wanted,
            "{act}, {restarts}: {:?}\nwanted {:?}",
            short(&seen),
            short(&wanted)
        );
    }
}

/// Nobody goes on with it before the user says so, and until then the site had no file of that name.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_parked_is_not_left_half_replaced_in_the_store() {
    let mut case = Case::with_half_a_save().await;
    let old = case.old();
    let ino = case.drive.at(&old).await.expect("there").ino;
    let how = OpenHow {
        read: true,
        write: true,
        ..OpenHow::default()
    };
    let fh = case.drive.vfs.open(ME, ino, how).await.expect("open").fh;
    let begun = case
        .drive
        .vfs
        .write_at(fh, 0, bytes::Bytes::from_static(b"begun"))
        .await;
    begun.expect("written");
    // The program ends with the machine.
    case.restart().await;
    case.site.faults().clear();
    for _ in 0..600 {
        if case.files().contains_key(&format!("/{old}")) && case.files().len() == 2 && case.drive.rest().await {
            break;
        }
        case.drive.clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let before: Tree = case
        .before
        .clone()
        .into_iter()
        .filter(|(_, bytes)| bytes.is_some())
        .collect();
    assert!(case.files() == before, "{:?}", short(&case.files()));
    let report = case.drive.vfs.sync(None, Some(Duration::ZERO)).await.expect("a report");
    assert_eq!((report.pending, report.parked), (0, 1), "{:?}", report.problems);
}

/// A new name or folder whose answer was lost was forgotten when it was taken back.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_back_after_its_answer_was_lost_is_taken_back_in_the_server() {
    let kinds = [Kind::ImageRelay, Kind::Omeka, Kind::Flextype, Kind::Im4];
    let works = [Work::Rename, Work::Move, Work::RenameFolder, Work::MoveFolder];
    let each = kinds.iter().flat_map(|kind| works.map(|work| (*kind, work)));
    let failed: Vec<String> = stream::iter(each)
        .map(|(kind, work)| async move {
            let routes = routes_of(kind, work, false).await.unwrap_or_default();
            for route in routes {
                let label = format!("{kind:?}: {work:?}, {route}");
                if let Err(panic) = tokio::spawn(take_back(kind, work, route)).await {
                    return Some(format!("{label}: {panic}"));
                }
            }
            None
        })
        .buffer_unordered(CASES_AT_A_TIME)
        .filter_map(|failure| async move { failure })
        .collect()
        .await;
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

async fn take_back(kind: Kind, work: Work, route: String) {
    let case = Case::prepare(kind).await;
    let old = case.old();
    let before = case.files();
    let lost = FaultRule::new(route.as_str(), When::Always, Action::ApplyThenDropAnswer);
    case.site.faults().add(lost);
    let now = case.work(work).await.expect("it can be done");
    for _ in 0..600 {
        let queue = case.drive.vfs.queue(None).await.expect("a queue");
        if queue.iter().any(|item| item.attempts > 0) || queue.is_empty() {
            break;
        }
        case.drive.clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(case.site.faults().struck() > 0, "nothing was lost");
    let moved = now
        .keys()
        .find(|path| !case.before.contains_key(*path))
        .expect("something new");
    let gone = case
        .before
        .keys()
        .find(|path| !now.contains_key(*path))
        .expect("something else");
    let rename = |from: &str, to: &str| {
        let (from, to) = (
            from.trim_start_matches('/').to_owned(),
            to.trim_start_matches('/').to_owned(),
        );
        let drive = &case.drive;
        async move { drive.rename_as(ME, &from, &to, RenameMode::Replace).await }
    };
    rename(moved, gone).await.expect("taken back");
    case.site.faults().clear();
    case.converge(case.drive.clock.elapsed(), None).await;
    let label = format!("{kind:?}: {work:?}, {route}, {old}");
    assert!(
        case.files() == before,
        "{label}: {:?}\nwanted {:?}",
        short(&case.files()),
        short(&before)
    );
    case.drive.clock.advance(Duration::from_secs(2000));
    case.drive.settle().await;
    case.drive.vfs.refresh("/").await.expect("a listing");
    let seen = case.drive.tree().await;
    assert!(
        seen == case.before,
        "{label}: {:?}\nwanted {:?}",
        short(&seen),
        short(&case.before)
    );
    assert!(case.files() == before, "{label}, later: {:?}", short(&case.files()));
}
