//! Moves that are under way, or whose answer was lost, where a name is an id and is given only once: whatever people do
//! to the file meanwhile, and to the name, nothing is refused, doubled or left behind.

use std::time::Duration;

use super::rig::{ME, Rig};
use crate::journal::{Durability, NameBinding, World, Write};
use crate::store::memory::{self as presets, Fault, Op};
use crate::store::{ErrorKind, Retry};
use crate::vfs::{Caller, OpenHow, RenameMode};

const OTHER: Caller = Caller { pid: 1, ..ME };

/// `c.txt` is on its way to `a.txt`: the store has done it, and nobody here knows.
async fn after_a_lost_move() -> Rig {
    let rig = some_files().await;
    lose_a_move(&rig).await;
    rig
}

async fn some_files() -> Rig {
    let rig = Rig::new(presets::like_flextype()).await;
    rig.write("c.txt", b"c").await.expect("write");
    rig.write("y.txt", b"y").await.expect("write");
    rig.mkdir("d").await.expect("mkdir");
    rig.settle().await;
    rig
}

async fn lose_a_move(rig: &Rig) {
    rig.store.faults().inject(Op::Relocate, 1, Fault::LoseAnswer);
    rig.rename("c.txt", "a.txt").await.expect("rename");
    rig.asked(Op::Relocate, 1).await;
    rig.rest().await;
    assert_eq!(rig.stored().get("/a.txt"), Some(&Some(b"c".to_vec())));
}

/// `a.txt`, of which the store has not answered yet, is renamed once more, and another file takes the name.
async fn the_name_goes_on_to_another(rig: &Rig, seconds_until_the_answer: u64) {
    rig.rename("a.txt", "b.txt").await.expect("rename");
    rig.rename_as(OTHER, "y.txt", "a.txt", RenameMode::Replace)
        .await
        .expect("rename");
    rig.pass(seconds_until_the_answer).await;
    rig.store.faults().release();
    ends_with(rig, &[("/a.txt", "y"), ("/b.txt", "c")]).await;
}

/// Everything reaches the store, and only that.
async fn ends_with(rig: &Rig, wanted: &[(&str, &str)]) {
    rig.settle().await;
    rig.vfs.refresh("/").await.expect("a listing");
    let report = rig.vfs.sync(None, Some(Duration::ZERO)).await.expect("a report");
    assert_eq!((report.parked, report.held), (0, 0), "{:?}", report.problems);
    let files: Vec<(String, String)> = rig
        .stored()
        .into_iter()
        .filter_map(|(path, bytes)| Some((path, String::from_utf8_lossy(&bytes?).into_owned())))
        .collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(p, b)| (p.as_str(), b.as_str())).collect();
    assert_eq!(files, wanted);
    assert_eq!(rig.tree().await, rig.stored());
}

/// The next move asked for the old id, which was gone: the file was said to be removed by somebody.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_renamed_again_before_its_move_is_known_is_found() {
    let rig = after_a_lost_move().await;
    rig.rename("a.txt", "b.txt").await.expect("rename");
    ends_with(&rig, &[("/b.txt", "c"), ("/y.txt", "y")]).await;
}

/// The name that was left behind is somebody else's now: the store said that it is taken.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_a_move_may_have_taken_is_waited_for() {
    let rig = after_a_lost_move().await;
    the_name_goes_on_to_another(&rig, 0).await;
}

/// Nothing was left to do, so nothing was done, and the file stayed under the name that it had only for a moment.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_renamed_back_before_its_move_is_known_goes_back() {
    let rig = after_a_lost_move().await;
    rig.rename("a.txt", "c.txt").await.expect("rename");
    ends_with(&rig, &[("/c.txt", "c"), ("/y.txt", "y")]).await;
}

/// Under its old id it was gone, which was taken for success.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_removed_before_its_move_is_known_is_removed() {
    let rig = after_a_lost_move().await;
    rig.unlink("a.txt").await.expect("unlink");
    ends_with(&rig, &[("/y.txt", "y")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_move_is_known_after_a_restart_and_to_the_file_that_takes_its_place() {
    let mut rig = after_a_lost_move().await;
    rig.crash().await;
    rig.write("tmp.txt", b"new").await.expect("write");
    rig.rename("tmp.txt", "a.txt").await.expect("rename");
    rig.rename("a.txt", "d/a.txt").await.expect("rename");
    ends_with(&rig, &[("/d/a.txt", "new"), ("/y.txt", "y")]).await;
}

/// Under a folder that may have moved, ids are not known: a removal there found nothing, which was taken for success.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_a_folder_waits_until_its_move_is_known() {
    let rig = Rig::new(presets::like_flextype()).await;
    rig.mkdir("d").await.expect("mkdir");
    rig.write("d/a.txt", b"a").await.expect("write");
    rig.write("d/b.txt", b"b").await.expect("write");
    rig.settle().await;
    rig.names("d").await;
    rig.store.faults().inject(Op::Relocate, 1, Fault::LoseAnswer);
    // Nor can the store be asked for a while.
    rig.store.faults().always(
        Op::Stat,
        Fault::Fail(ErrorKind::Network, Retry::After(Duration::from_secs(1))),
    );
    rig.rename("d", "e").await.expect("rename");
    rig.asked(Op::Relocate, 1).await;
    rig.unlink("e/a.txt").await.expect("unlink");
    rig.rename("e/b.txt", "e/c.txt").await.expect("rename");
    rig.pass(30).await;
    rig.store.faults().clear();
    ends_with(&rig, &[("/e/c.txt", "b")]).await;
}

/// Two moves to one name were under way at once, of which the store refused one.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_asked_for_by_one_move_at_a_time() {
    let rig = Rig::new(presets::like_flextype()).await;
    rig.write("c.txt", b"c").await.expect("write");
    rig.write("y.txt", b"y").await.expect("write");
    rig.settle().await;
    rig.store.faults().inject(Op::Relocate, 1, Fault::Wait);
    rig.rename("c.txt", "a.txt").await.expect("rename");
    rig.asked(Op::Relocate, 1).await;
    the_name_goes_on_to_another(&rig, 10).await;
}

/// The same with a file that is only being made.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_under_which_a_file_is_being_made_is_waited_for() {
    let rig = Rig::new(presets::like_flextype()).await;
    rig.write("y.txt", b"y").await.expect("write");
    rig.settle().await;
    rig.store.faults().inject(Op::Create, 1, Fault::Wait);
    rig.write("a.txt", b"c").await.expect("write");
    rig.asked(Op::Create, 2).await;
    the_name_goes_on_to_another(&rig, 10).await;
}

/// A program took its time over a save: the temporary name was already on its way, and was refused only after the file had
/// got its real one. It stayed parked, with a name that nothing is wrong with.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_refused_after_the_file_has_got_another_parks_nothing() {
    let rig = Rig::new(presets::like_omeka()).await;
    rig.mkdir("c").await.expect("mkdir");
    rig.mkdir("c/i").await.expect("mkdir");
    for asset_is_there in [false, true] {
        let path = format!("c/i/a{asset_is_there}.txt");
        if asset_is_there {
            rig.write(&path, b"old").await.expect("write");
            rig.settle().await;
        }
        let calls = rig.store.faults().calls(Op::Create);
        let refused = Fault::WaitThenFail(ErrorKind::Invalid, Retry::Never);
        rig.store.faults().inject(Op::Create, 1, refused);
        rig.write("c/i/temporary.txt", b"new").await.expect("write");
        rig.asked(Op::Create, calls + 1).await;
        rig.rename("c/i/temporary.txt", &path).await.expect("rename");
        rig.store.faults().release();
        rig.settle().await;
        let report = rig.vfs.sync(None, Some(Duration::ZERO)).await.expect("a report");
        assert_eq!((report.parked, report.held), (0, 0), "{:?}", report.problems);
        assert_eq!(rig.stored().get(&format!("/{path}")), Some(&Some(b"new".to_vec())));
    }
}

/// Somebody else's file under the name is no affair of ours: the user is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_somebody_else_has_taken_is_told() {
    let rig = Rig::new(presets::like_flextype()).await;
    rig.write("c.txt", b"c").await.expect("write");
    rig.settle().await;
    rig.names("").await;
    let root = rig.store.remote().root();
    rig.store.remote().put(&root, "a.txt", &b"theirs"[..]).expect("put");
    rig.rename("c.txt", "a.txt").await.expect("rename");
    rig.settle().await;
    let report = rig.vfs.sync(None, Some(Duration::ZERO)).await.expect("a report");
    assert_eq!(report.parked, 1, "{:?}", report.problems);
    assert!(
        report.problems.iter().any(|p| p.contains("exists")),
        "{:?}",
        report.problems
    );
    assert_eq!(rig.stored()["/a.txt"], Some(b"theirs".to_vec()));
}

/// A look that failed was taken for an answer: what it looked for was made a second time.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_whose_answer_was_lost_is_looked_for_until_the_store_answers() {
    for capabilities in [presets::whole(), presets::like_imagerelay(), presets::like_flextype()] {
        let label = capabilities.label;
        let rig = Rig::new(capabilities).await;
        rig.names("").await;
        rig.store.faults().inject(Op::CreateFolder, 1, Fault::LoseAnswer);
        let down = Fault::Fail(ErrorKind::Network, Retry::After(Duration::from_secs(1)));
        rig.store.faults().always(Op::List, down);
        rig.mkdir("d").await.expect(label);
        rig.asked(Op::CreateFolder, 1).await;
        rig.pass(30).await;
        rig.store.faults().clear();
        rig.settle().await;
        assert_eq!(rig.store.faults().calls(Op::CreateFolder), 1, "{label}");
        assert_eq!(rig.stored().len(), 1, "{label}");
    }
}

/// Where ids are paths, the catalog knew already that a file had left its path, the journal did not yet, and another file
/// took the path meanwhile: it was taken for the first, and moved on to where that one was to be.
#[tokio::test(flavor = "multi_thread")]
async fn a_path_is_given_on_when_everybody_knows_that_it_is_free() {
    let rig = some_files().await;
    let down = || Fault::Fail(ErrorKind::Network, Retry::After(Duration::from_secs(1)));
    for look in [Op::Stat, Op::List] {
        rig.store.faults().always(look, down());
    }
    lose_a_move(&rig).await;
    let moved = rig.store.remote().find("a.txt").expect("moved");
    let ino = rig.at("a.txt").await.expect("there").ino;
    let change = rig.vfs.journal.change(ino).expect("waits");
    let (old, places) = (change.id.clone(), change.placing.clone().expect("moved").now);
    World::took(&rig.vfs, ino, &moved, &places, old.as_ref(), None)
        .await
        .expect("taken");
    rig.rename("y.txt", "c.txt").await.expect("rename");
    rig.pass(60).await;
    assert_eq!(rig.store.faults().calls(Op::Relocate), 1, "the other one is waited for");
    assert_eq!(rig.read("a.txt").await.expect("read"), b"c");
    rig.store.faults().clear();
    ends_with(&rig, &[("/a.txt", "c"), ("/c.txt", "y")]).await;
}

/// The answer to a move was lost, and others made another file, or folder, where it had been: that one was moved, or removed,
/// in its place.
#[tokio::test(flavor = "multi_thread")]
async fn what_others_put_where_a_file_was_is_not_taken_for_it() {
    for is_removed in [false, true] {
        let rig = after_a_lost_move().await;
        let root = rig.store.remote().root();
        rig.store.remote().put(&root, "c.txt", &b"theirs"[..]).expect("put");
        let mut wanted = vec![("/a.txt", "c"), ("/c.txt", "theirs"), ("/y.txt", "y")];
        if is_removed {
            rig.unlink("a.txt").await.expect("unlinked");
            wanted.remove(0);
        }
        ends_with(&rig, &wanted).await;
        assert_eq!(rig.names("").await.len(), wanted.len() + 1, "and the folder");
    }
    let rig = some_files().await;
    rig.store.faults().inject(Op::Relocate, 1, Fault::LoseAnswer);
    rig.rename("d", "e").await.expect("rename");
    rig.asked(Op::Relocate, 1).await;
    rig.store.remote().mkdir(&rig.store.remote().root(), "d").expect("made");
    rig.rmdir("e").await.expect("removed");
    ends_with(&rig, &[("/c.txt", "c"), ("/y.txt", "y")]).await;
    assert!(rig.stored().contains_key("/d"), "theirs");
}

/// What had been read of the stranger's file, which is as long, was then taken for ours.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_cached_of_others_where_a_file_was_is_not_taken_for_its_bytes() {
    let rig = after_a_lost_move().await;
    let root = rig.store.remote().root();
    rig.store.remote().put(&root, "c.txt", &b"t"[..]).expect("put");
    rig.vfs.refresh("/").await.expect("a listing");
    rig.read("a.txt").await.ok();
    ends_with(&rig, &[("/a.txt", "c"), ("/c.txt", "t"), ("/y.txt", "y")]).await;
}

/// A folder's move had not been carried out, and others made another folder of its new name: what is in that was removed for
/// what was removed in ours.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_others_is_not_taken_for_one_that_was_to_be_moved_there() {
    let rig = some_files().await;
    let remote = rig.store.remote();
    rig.write("d/x.txt", b"ours").await.expect("write");
    rig.settle().await;
    let lost = Fault::Fail(ErrorKind::Network, Retry::Ambiguous);
    rig.store.faults().inject(Op::Relocate, 1, lost);
    rig.rename("d", "e").await.expect("rename");
    rig.asked(Op::Relocate, 1).await;
    let theirs = remote.mkdir(&remote.root(), "e").expect("made").id;
    remote.put(&theirs, "x.txt", &b"theirs"[..]).expect("put");
    rig.unlink("e/x.txt").await.expect("ours is removed");
    rig.pass(100).await;
    assert_eq!(rig.stored()["/e/x.txt"].as_deref(), Some(&b"theirs"[..]));
    let waiting = rig.vfs.attention().await.expect("a list");
    assert!(waiting.iter().any(|item| item.state == "parked"), "{waiting:?}");
}

/// An answer that told of a folder's new path was not heard by the journal: each was looked into once more.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_whose_move_was_answered_is_not_looked_for() {
    let rig = some_files().await;
    let looks = || [Op::Stat, Op::List].map(|op| rig.store.faults().calls(op));
    let before = looks();
    rig.rename("d", "e").await.expect("rename");
    rig.settle().await;
    assert_eq!(looks(), before);
    assert!(rig.stored().contains_key("/e"));
}

/// A person's own name for a file was also that of the next one that others put where it had been.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_file_was_called_here_is_not_the_name_of_what_gets_its_path() {
    let rig = some_files().await;
    let root = rig.store.remote().root();
    let own = NameBinding {
        parent: root.clone(),
        id: rig.store.remote().find("c.txt").expect("there").id,
        local: super::rig::name("mine.txt"),
        store_name: "c.txt".into(),
    };
    let bound = rig.vfs.journal.write(vec![Write::Bind(own)], Durability::Written);
    bound.wait().await.expect("written");
    rig.pass(100).await;
    rig.vfs.refresh("/").await.expect("a listing");
    assert_eq!(rig.read("mine.txt").await.expect("shown under it"), b"c");
    rig.rename("mine.txt", "a.txt").await.expect("rename");
    rig.settle().await;
    rig.store.remote().put(&root, "c.txt", &b"new"[..]).expect("put");
    rig.pass(100).await;
    ends_with(&rig, &[("/a.txt", "c"), ("/c.txt", "new"), ("/y.txt", "y")]).await;
}

/// A move makes another id where ids are paths, of everything below too: what is cached of it goes along.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_cached_of_a_file_goes_along_when_it_or_its_folder_is_moved() {
    let rig = Rig::new(presets::like_flextype()).await;
    let remote = rig.store.remote();
    let folder = remote.mkdir(&remote.root(), "d").expect("a folder");
    let deeper = remote.mkdir(&folder.id, "deeper").expect("a folder");
    remote.put(&deeper.id, "a.txt", &b"cached"[..]).expect("put");
    remote.put(&folder.id, "b.txt", &b"not cached"[..]).expect("put");
    assert_eq!(rig.read("d/deeper/a.txt").await.expect("read"), b"cached");
    for (from, to, at) in [
        ("d", "e", "e/deeper/a.txt"),
        ("e/deeper/a.txt", "e/a.txt", "e/a.txt"),
        ("e/a.txt", "c.txt", "c.txt"),
    ] {
        let before = rig.store.faults().calls(Op::Read);
        rig.rename(from, to).await.expect("rename");
        rig.settle().await;
        assert_eq!(rig.read(at).await.expect("read"), b"cached");
        assert_eq!(rig.store.faults().calls(Op::Read), before, "{from} to {to}");
    }
    assert_eq!(rig.read("e/b.txt").await.expect("read"), b"not cached");
}

/// The same for who has it open, and has not read all of it.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_a_file_open_reads_on_when_its_folder_is_moved() {
    let rig = Rig::new(presets::like_flextype()).await;
    let remote = rig.store.remote();
    let folder = remote.mkdir(&remote.root(), "d").expect("a folder");
    remote.put(&folder.id, "a.txt", &b"read later"[..]).expect("put");
    let how = OpenHow {
        read: true,
        ..OpenHow::default()
    };
    let ino = rig.at("d/a.txt").await.expect("there").ino;
    let opened = rig.vfs.open(ME, ino, how).await.expect("opens");
    rig.rename("d", "e").await.expect("rename");
    rig.settle().await;
    assert_eq!(rig.vfs.read(opened.fh, 0, 100).await.expect("read"), "read later");
    rig.vfs.release(opened.fh).await;
    // And of a copy of it that the store is still to make.
    let folder = remote.find("e").expect("moved").id;
    remote.put(&folder, "b.txt", &b"read never"[..]).expect("put");
    rig.vfs.refresh("e").await.expect("a listing");
    let down = Fault::Fail(ErrorKind::Network, Retry::After(Duration::from_secs(1)));
    rig.store.faults().always(Op::Copy, down);
    rig.mkdir("f").await.expect("mkdir");
    rig.copy("e/b.txt", "f/b.txt").await.expect("copied");
    let ino = rig.at("f/b.txt").await.expect("there").ino;
    let opened = rig.vfs.open(ME, ino, how).await.expect("opens");
    rig.rename("e", "g").await.expect("rename");
    rig.pass(30).await;
    assert!(rig.stored().contains_key("/g"));
    assert_eq!(rig.vfs.read(opened.fh, 0, 100).await.expect("read"), "read never");
    rig.vfs.release(opened.fh).await;
}
