//! What needs a person: told with the way out, and moved on by the person's word alone.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::rig::{ME, Rig, name, start_on};
use crate::http::{Budget, Class, Limits, LocalBudget, MemoryLedger};
use crate::journal::UploaderConfig;
use crate::model::{Ino, ManualClock, Timestamp};
use crate::store::memory::{self as presets, Fault, MemoryStore, Op};
use crate::store::{Capabilities, ErrorKind, Retry};
use crate::vfs::{Attention, Conflicts, Error, Keep, Lookup, OpenHow, RenameMode, SetAttr, Vfs, VfsConfig};

const READ: OpenHow = OpenHow {
    read: true,
    write: false,
    truncate: false,
    append: false,
    exclusive: false,
    direct: false,
    for_thumbnail: false,
};

async fn states(rig: &Rig) -> Vec<(String, String)> {
    let waiting = rig.vfs.attention().await.expect("a list");
    waiting.into_iter().map(|item| (item.path, item.state)).collect()
}

fn pair(path: &str, state: &str) -> (String, String) {
    (path.to_owned(), state.to_owned())
}

/// The text of `.assetfs/problems.txt`, as a program reads it.
async fn problems(rig: &Rig) -> String {
    let file = rig.at(".assetfs/problems.txt").await.expect("it is there");
    let opened = rig.vfs.open(ME, file.ino, READ).await.expect("it opens");
    let text = rig.vfs.read(opened.fh, 0, 1 << 20).await.expect("it reads");
    rig.vfs.flush(ME, opened.fh).await.expect("it closes");
    rig.vfs.release(opened.fh).await;
    assert!(rig.vfs.read(opened.fh, 0, 10).await.is_err(), "the handle is gone");
    String::from_utf8(text.to_vec()).expect("text")
}

async fn drive_with(capabilities: Capabilities, delete_max: usize) -> Rig {
    Rig::with(capabilities, VfsConfig::default(), UploaderConfig { delete_max }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_of_problems_is_hidden_readable_and_nobody_elses_to_change() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    assert!(problems(&rig).await.contains("nothing waits for you"));
    rig.store
        .faults()
        .always(Op::Create, Fault::Fail(ErrorKind::Denied, Retry::Never));
    rig.write("a.txt", b"mine").await.expect("write");
    rig.settle().await;
    let text = problems(&rig).await;
    let id = rig.at("a.txt").await.expect("there").ino.0;
    for expected in [
        "one thing waits for you",
        "/a.txt\n  parked: ",
        &format!("`assetfs retry {id}`"),
        &format!("`assetfs export {id} FILE`"),
        &format!("`assetfs discard {id}`"),
    ] {
        assert!(text.contains(expected), "{expected:?} in {text}");
    }
    assert_eq!(rig.names("").await, ["a.txt"], "no listing shows it");
    assert_eq!(rig.names(".assetfs").await, ["problems.txt"]);
    let attr = rig.at(".assetfs/problems.txt").await.expect("there");
    assert_eq!(attr.perm & 0o222, 0);
    let (folder, file) = (rig.at(".assetfs").await.expect("there").ino, attr.ino);
    for write in [OpenHow { write: true, ..READ }, OpenHow { truncate: true, ..READ }] {
        let refused = rig.vfs.open(ME, file, write).await;
        assert!(matches!(refused, Err(Error::NotPermitted(_))), "{refused:?}");
    }
    let mode = SetAttr {
        mode: Some(0o600),
        ..SetAttr::default()
    };
    let refusals = [
        rig.vfs.setattr(ME, file, None, mode).await.map(drop),
        rig.vfs.create(ME, folder, &name("x"), 0o644, READ).await.map(drop),
        rig.vfs.mkdir(ME, Ino::ROOT, &name(".assetfs"), 0o755).await.map(drop),
        rig.vfs.unlink(ME, folder, &name("problems.txt")).await,
        rig.vfs.rmdir(ME, Ino::ROOT, &name(".assetfs")).await,
        rig.vfs
            .rename(
                ME,
                Ino::ROOT,
                &name("a.txt"),
                Ino::ROOT,
                &name(".assetfs"),
                RenameMode::Replace,
            )
            .await,
    ];
    for (number, refused) in refusals.into_iter().enumerate() {
        assert!(matches!(refused, Err(Error::NotPermitted(_))), "{number}: {refused:?}");
    }
    assert_eq!(rig.vfs.listxattr(file).await.expect("none"), Vec::<String>::new());
    assert!(matches!(
        rig.vfs.getxattr(file, "user.assetfs.state").await,
        Err(Error::NoData)
    ));
    assert!(matches!(
        rig.vfs.lookup(ME, folder, &name("other")).await,
        Ok(Lookup::Absent)
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_login_stands_first_and_goes_when_it_is_taken_again() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    let trouble = Attention {
        path: String::new(),
        id: None,
        state: "login".into(),
        reason: "the key is no longer taken".into(),
        way_out: "`assetfs login studio`".into(),
    };
    assert!(rig.vfs.set_login_trouble(Some(trouble.clone())));
    assert!(!rig.vfs.set_login_trouble(Some(trouble)), "no news");
    let text = problems(&rig).await;
    assert!(
        text.contains("The store\n  login: the key is no longer taken\n"),
        "{text}"
    );
    assert!(rig.vfs.set_login_trouble(None));
    assert!(states(&rig).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_behind_a_folder_that_the_store_refuses_is_told_too() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    rig.store
        .faults()
        .always(Op::CreateFolder, Fault::Fail(ErrorKind::Denied, Retry::Never));
    rig.mkdir("new").await.expect("mkdir");
    rig.write("new/a.txt", b"inside").await.expect("write");
    rig.settle().await;
    assert_eq!(
        states(&rig).await,
        [pair("/new", "parked"), pair("/new/a.txt", "waiting")]
    );
    rig.store.faults().clear();
    rig.vfs.retry(None).await.expect("retry");
    rig.settle().await;
    assert_eq!(states(&rig).await, []);
    assert_eq!(rig.stored(), rig.tree().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_deletions_is_held_until_it_is_approved_or_taken_back() {
    let rig = drive_with(presets::like_imagerelay(), 2).await;
    for n in 0..5 {
        rig.write(&format!("{n}.txt"), b"x").await.expect("write");
    }
    rig.settle().await;
    for n in 0..5 {
        rig.unlink(&format!("{n}.txt")).await.expect("unlink");
    }
    rig.settle().await;
    assert_eq!(rig.names("").await, Vec::<String>::new(), "gone here");
    assert_eq!(rig.stored().len(), 3, "and still there");
    let report = rig.vfs.sync(None, Some(Duration::ZERO)).await.expect("report");
    assert_eq!((report.held, report.pending), (3, 0));
    let waiting = states(&rig).await;
    assert!(
        waiting.len() == 3 && waiting.iter().all(|(_, state)| state == "held"),
        "{waiting:?}"
    );
    let status = rig.vfs.status(None).await.expect("status");
    assert_eq!(
        status["events"].as_array().map(Vec::len),
        Some(1),
        "told once: {status}"
    );

    // One is approved, one is taken back by its number, the rest together.
    let queue = rig.vfs.queue(None).await.expect("queue");
    assert_eq!(rig.vfs.approve(Some(queue[0].id)).await.expect("approve"), 1);
    rig.settle().await;
    assert_eq!(rig.stored().len(), 2);
    rig.vfs.discard(queue[1].id).await.expect("discard");
    assert_eq!(rig.names("").await.len(), 1);
    assert_eq!(rig.vfs.discard_held().await.expect("discard"), 1);
    assert_eq!(rig.stored(), rig.tree().await);
    assert_eq!(states(&rig).await, []);
}

/// Where the held deletions were, in order.
async fn held_paths(rig: &Rig) -> Vec<String> {
    let queue = rig.vfs.queue(None).await.expect("queue");
    let held = queue.into_iter().filter(|item| item.state == "held");
    let mut paths: Vec<String> = held.map(|item| item.path).collect();
    paths.sort();
    paths
}

/// What was held of a tree that `rm -r` had removed was told as `/name`, as if it had lain in the root: nobody could decide
/// by that. It is told where it was, and comes back there, with its folders.
#[tokio::test(flavor = "multi_thread")]
async fn of_a_removed_tree_each_held_file_is_told_and_comes_back_where_it_was() {
    let rig = drive_with(presets::like_imagerelay(), 1).await;
    let folders = ["a", "a/b", "a/b/c"];
    for folder in folders {
        rig.mkdir(folder).await.expect("mkdir");
        rig.write(&format!("{folder}/x.txt"), b"x").await.expect("write");
    }
    rig.settle().await;
    for folder in folders.iter().rev() {
        rig.unlink(&format!("{folder}/x.txt")).await.expect("unlink");
        rig.rmdir(folder).await.expect("rmdir");
    }
    // One of the files is deleted, whichever comes first, and the rest waits. All within the ten minutes after which another
    // deletion would pass.
    let mut rounds_after = 0;
    for _ in 0..500 {
        rounds_after += usize::from(rig.rest().await && rig.stored().len() == 5);
        if rounds_after == 20 {
            break;
        }
        rig.clock.advance(Duration::from_secs(1));
    }
    let held = held_paths(&rig).await;
    let all = ["/a/b", "/a/b/c", "/a/b/c/x.txt", "/a/b/x.txt", "/a/x.txt"];
    assert!(
        held.len() >= 2 && held.iter().all(|path| all.contains(&path.as_str())),
        "{held:?}"
    );
    assert_eq!(rig.names("").await, Vec::<String>::new());
    let left = rig.stored();
    assert_eq!(left.len(), 5, "{left:?}");

    assert_eq!(rig.vfs.discard_held().await.expect("discard"), held.len());
    assert_eq!(rig.tree().await, left, "seen at once");
    rig.settle().await;
    assert_eq!((rig.stored(), rig.tree().await), (left.clone(), left));
    assert_eq!(states(&rig).await, []);
}

/// Each attempt at one deletion counted as a deletion of its own: a store that was down for a while made the brake hold
/// what was no burst at all.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_is_tried_again_counts_once() {
    let rig = drive_with(presets::like_imagerelay(), 2).await;
    rig.write("a.txt", b"x").await.expect("write");
    rig.settle().await;
    let down = Fault::Fail(ErrorKind::Network, Retry::After(Duration::from_secs(1)));
    for call in 1..=5 {
        rig.store.faults().inject(Op::Remove, call, down.clone());
    }
    rig.unlink("a.txt").await.expect("unlink");
    rig.settle().await;
    assert_eq!(states(&rig).await, []);
    assert!(rig.stored().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_delete_refuses_every_way_of_deleting_and_nothing_else() {
    let config = VfsConfig {
        no_delete: true,
        ..VfsConfig::default()
    };
    let rig = Rig::with(presets::like_imagerelay(), config, UploaderConfig::default()).await;
    rig.mkdir("folder").await.expect("mkdir");
    for file in ["a.txt", "b.txt"] {
        rig.write(file, b"x").await.expect("write");
    }
    rig.settle().await;
    for refused in [
        rig.unlink("a.txt").await,
        rig.rmdir("folder").await,
        rig.rename("a.txt", "b.txt").await,
    ] {
        assert_eq!(refused.expect_err("refused").errno(), libc::EPERM);
    }
    rig.write("a.txt", b"a new version")
        .await
        .expect("an overwrite deletes nothing");
    rig.write("tmp.txt", b"saved").await.expect("write");
    rig.rename("tmp.txt", "b.txt").await.expect("nor does an editor's save");
    rig.settle().await;
    rig.rename("b.txt", "b.txt.bak").await.expect("moved aside");
    rig.write("b.txt", b"saved").await.expect("write");
    rig.unlink("b.txt.bak").await.expect("nor one by way of a backup");
    rig.write("own.txt", b"x").await.expect("write");
    rig.unlink("own.txt").await.expect("what was never published may go");
    rig.settle().await;
    assert_eq!(rig.store.faults().calls(Op::Remove), 0);
    assert_eq!(rig.stored(), rig.tree().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rename_that_sends_the_file_again_tells_its_cost_and_has_a_bound() {
    let capabilities = Capabilities {
        rename_bytes_max: 1000,
        ..presets::like_imagerelay()
    };
    let rig = Rig::new(capabilities).await;
    rig.write("small.txt", &[1; 900]).await.expect("write");
    rig.write("large.txt", &[2; 1001]).await.expect("write");
    rig.mkdir("folder").await.expect("mkdir");
    rig.settle().await;
    rig.rename("small.txt", "smaller.txt").await.expect("rename");
    let queue = rig.vfs.queue(None).await.expect("queue");
    let item = queue.iter().find(|item| item.path == "/smaller.txt").expect("listed");
    assert_eq!(item.what, "rename to smaller.txt (sends the whole file again)");
    assert_eq!(item.bytes, 900);
    let refused = rig.rename("large.txt", "larger.txt").await.expect_err("too large");
    assert_eq!(refused.errno(), libc::EFBIG);
    assert!(refused.to_string().contains("1001 bytes"), "{refused}");
    rig.rename("large.txt", "folder/large.txt")
        .await
        .expect("a move is cheap here");
    rig.settle().await;
    assert_eq!(rig.stored(), rig.tree().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_out_of_a_conflict_leaves_what_it_says() {
    for (keep, expected) in [
        (Keep::Mine, vec![("/plan.txt", "mine")]),
        (Keep::Theirs, vec![("/plan.txt", "theirs")]),
        (Keep::Both, vec![("/plan.txt", "theirs"), ("/plan (conflict", "mine")]),
    ] {
        let rig = Rig::new(presets::like_imagerelay()).await;
        rig.write("plan.txt", b"base").await.expect("write");
        rig.settle().await;
        let id = rig.store.remote().find("plan.txt").expect("stored").id;
        rig.write("plan.txt", b"mine").await.expect("write");
        rig.store.remote().write(&id, &b"theirs"[..]).expect("changed");
        rig.settle().await;
        let waiting = rig.vfs.attention().await.expect("a list");
        assert_eq!(waiting.len(), 1);
        assert_eq!(waiting[0].state, "conflict");
        assert!(waiting[0].way_out.contains("--keep theirs"), "{waiting:?}");
        let change = waiting[0].id.expect("a change");
        rig.vfs.resolve(change, keep).await.expect("resolve");
        rig.settle().await;
        let mut stored: Vec<(String, Vec<u8>)> = rig
            .stored()
            .into_iter()
            .filter_map(|(path, bytes)| Some((path, bytes?)))
            .collect();
        stored.sort_by(|a, b| b.cmp(a));
        assert_eq!(stored.len(), expected.len(), "{keep:?}: {stored:?}");
        for ((path, bytes), (want, text)) in stored.iter().zip(&expected) {
            assert!(path.starts_with(want), "{keep:?}: {path}");
            assert_eq!(bytes, text.as_bytes(), "{keep:?}: {path}");
        }
        assert_eq!(rig.stored(), rig.tree().await, "{keep:?}");
        assert_eq!(states(&rig).await, [], "{keep:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn conflicts_can_be_sent_as_files_of_their_own() {
    let config = VfsConfig {
        conflicts: Conflicts::Upload,
        host: "desk".into(),
        ..VfsConfig::default()
    };
    let rig = Rig::with(presets::like_imagerelay(), config, UploaderConfig::default()).await;
    rig.write("plan.txt", b"base").await.expect("write");
    rig.settle().await;
    let id = rig.store.remote().find("plan.txt").expect("stored").id;
    rig.write("plan.txt", b"mine").await.expect("write");
    rig.store.remote().write(&id, &b"theirs"[..]).expect("changed");
    rig.settle().await;
    let stored = rig.stored();
    assert_eq!(stored.get("/plan.txt"), Some(&Some(b"theirs".to_vec())));
    let copy = stored
        .iter()
        .find(|(path, _)| path.starts_with("/plan (conflict desk "));
    assert_eq!(
        copy.map(|(_, bytes)| bytes),
        Some(&Some(b"mine".to_vec())),
        "{stored:?}"
    );
    assert_eq!(stored, rig.tree().await);
    assert_eq!(states(&rig).await, [], "nobody has to do anything");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_of_a_folder_lists_what_changes_in_it() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    rig.mkdir("in").await.expect("mkdir");
    rig.settle().await;
    rig.write("in/a.txt", b"12345").await.expect("write");
    rig.write("out.txt", b"x").await.expect("write");
    let status = rig.vfs.status(Some("in")).await.expect("status");
    assert_eq!(status["kind"], "folder");
    let changes = status["changes"].as_array().expect("a list");
    assert_eq!(changes.len(), 1, "{status}");
    assert_eq!(
        (&changes[0]["path"], &changes[0]["what"], &changes[0]["bytes"]),
        (&"/in/a.txt".into(), &"upload".into(), &5.into())
    );
    let left = rig.vfs.left();
    assert_eq!((left.changes, left.bytes, left.sent_bytes), (2, 6, 0));
    rig.settle().await;
    assert_eq!(rig.vfs.left().changes, 0);
}

/// A drive whose store allows a hundred requests a day, `used` of which are spent.
async fn nearly_spent(used: usize) -> (Vfs, MemoryStore, Arc<ManualClock>, tempfile::TempDir) {
    let clock = ManualClock::starting(Timestamp::from_secs(1_780_000_000));
    let store = MemoryStore::new(presets::like_imagerelay(), clock.clone());
    let limits = Limits {
        daily: Some(100),
        ..Limits::default()
    };
    let budget = LocalBudget::of(clock.clone(), limits, MemoryLedger::shared());
    for _ in 0..used {
        drop(
            budget
                .acquire(Class::Interactive, Duration::ZERO)
                .await
                .expect("allowed"),
        );
    }
    let dir = tempfile::tempdir().expect("a folder");
    let (config, uploads) = (VfsConfig::default(), UploaderConfig::default());
    let budget: Arc<dyn Budget> = budget;
    let vfs = start_on(
        store.shared(),
        clock.clone(),
        dir.path(),
        &config,
        &uploads,
        Some(budget),
    )
    .await;
    (vfs, store, clock, dir)
}

/// Uses the drive for an hour; answers how often it polled.
async fn polls_in_an_hour(vfs: &Vfs, store: &MemoryStore, clock: &ManualClock) -> u64 {
    let before = store.faults().calls(Op::Changes);
    for _ in 0..360 {
        vfs.lookup(ME, Ino::ROOT, &name("nothing.txt"))
            .await
            .expect("an answer");
        clock.advance(Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    store.faults().calls(Op::Changes) - before
}

#[tokio::test(flavor = "multi_thread")]
async fn at_eighty_percent_of_the_allowance_a_person_is_told_once_and_polls_become_rare() {
    let (vfs, store, clock, _dir) = nearly_spent(79).await;
    tokio::spawn(vfs.clone().run_upkeep());
    let often = polls_in_an_hour(&vfs, &store, &clock).await;
    assert!(vfs.take_announced().is_empty(), "a fifth is left");

    let (vfs, store, clock, _dir) = nearly_spent(81).await;
    tokio::spawn(vfs.clone().run_upkeep());
    let rarely = polls_in_an_hour(&vfs, &store, &clock).await;
    let told = vfs.take_announced();
    assert_eq!(told.len(), 1, "once, however often it looks: {told:?}");
    assert!(
        told[0]
            .text
            .contains("80 % of the store's request allowance is used up"),
        "{told:?}"
    );
    assert!(
        rarely < often && rarely <= 13,
        "{rarely} polls an hour instead of {often}"
    );
}

/// `assetfs sync` waited, and neither it nor `queue` said for what: a program had a file open for writing.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_program_has_open_for_writing_is_told_as_that() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    let how = OpenHow {
        write: true,
        ..OpenHow::default()
    };
    let (attr, opened) = rig
        .vfs
        .create(ME, Ino::ROOT, &name("log.txt"), 0o644, how)
        .await
        .expect("create");
    rig.vfs
        .write_at(opened.fh, 0, Bytes::from_static(b"line"))
        .await
        .expect("write");
    rig.vfs.flush(ME, opened.fh).await.expect("flush");
    let report = rig.vfs.sync(None, Some(Duration::ZERO)).await.expect("report");
    assert_eq!(report.pending, 1);
    assert_eq!(report.problems, ["/log.txt: a program still has it open for writing"]);
    let queue = rig.vfs.queue(None).await.expect("queue");
    assert_eq!(queue[0].id, attr.ino.0);
    assert_eq!(queue[0].what, "upload, once it is closed by the program that writes it");
    rig.vfs.release(opened.fh).await;
    assert_eq!(rig.vfs.queue(None).await.expect("queue")[0].what, "upload");
    rig.settle().await;
    assert_eq!(rig.stored(), rig.tree().await);
}
