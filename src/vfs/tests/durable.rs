//! What was closed is there after a loss of power, whatever the disk did with the files that were not synced.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;

use super::rig::{ME, Rig, name, start_on};
use crate::journal::{HELD_BYTES_EACH_MAX, UploaderConfig};
use crate::model::Ino;
use crate::store::memory::{self as presets, Fault};
use crate::store::{ErrorKind, Retry};
use crate::vfs::{OpenHow, VfsConfig};

const HOW: OpenHow = OpenHow {
    read: true,
    write: true,
    truncate: false,
    append: false,
    exclusive: false,
    direct: false,
    for_thumbnail: false,
};

fn staged(rig: &Rig) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(rig.dir().join("state/staging")).expect("a folder");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

/// What a disk makes of a file that nobody had synced.
#[allow(clippy::disallowed_methods)] // The files are to be torn.
fn tear(path: &Path, how: usize) {
    match how {
        0 => std::fs::remove_file(path).expect("removed"),
        1 => std::fs::write(path, b"").expect("written"),
        2 => std::fs::write(path, vec![0; 300]).expect("written"),
        _ => std::fs::write(path, vec![b'x'; 90_000]).expect("written"),
    }
}

/// The power goes: of the staging folder is left what `tear` makes of it.
async fn lose_power(rig: &mut Rig, how: usize) {
    rig.vfs.stop().await;
    for path in staged(rig) {
        tear(&path, how);
    }
    rig.crash().await;
}

/// A new file is on its way to the journal when its program may go on. If it does not get there, the close says so, and nobody
/// takes it for saved.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_file_that_the_journal_cannot_take_is_told_by_its_close() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    rig.names("").await;
    let disk = rusqlite::Connection::open(rig.dir().join("state/journal.db")).expect("opens");
    disk.execute_batch("CREATE TRIGGER broken BEFORE INSERT ON changes BEGIN SELECT RAISE(ABORT, 'broken'); END")
        .expect("a broken disk");
    for heard_before in [false, true] {
        let made = rig.vfs.create(ME, Ino::ROOT, &name("new.txt"), 0o644, HOW).await;
        // The journal may be faster than the answer.
        let Ok((attr, opened)) = made else { continue };
        let written = rig.vfs.write_at(opened.fh, 0, Bytes::from_static(b"new")).await;
        written.expect("into its staged body");
        if heard_before {
            // Refused with it, or synced after it.
            rig.vfs.journal.sync().wait().await.ok();
            assert!(rig.vfs.journal.change(attr.ino).is_none(), "it is taken back");
        }
        for close in ["first", "second"] {
            let told = rig.vfs.flush(ME, opened.fh).await;
            assert!(told.is_err(), "{close}, heard before: {heard_before}");
        }
        rig.vfs.release(opened.fh).await;
        assert!(rig.names("").await.is_empty());
        assert!(staged(&rig).is_empty(), "nothing is left of it");
    }
    disk.execute_batch("DROP TRIGGER broken").expect("mended");
    rig.write("new.txt", b"again").await.expect("it goes on");
    rig.settle().await;
    assert_eq!(rig.stored()["/new.txt"], Some(b"again".to_vec()));
}

/// A small file used to be synced before its close returned, and now is some time later. Until then its bytes are in the
/// journal, and come back from there.
#[tokio::test(flavor = "multi_thread")]
async fn a_small_closed_file_survives_a_loss_of_power_before_it_was_synced() {
    for how in 0..4 {
        let mut rig = Rig::new(presets::like_imagerelay()).await;
        rig.write("published.txt", b"old").await.expect("write");
        rig.settle().await;
        rig.mkdir("folder").await.expect("mkdir");
        rig.write("published.txt", b"its next version").await.expect("write");
        rig.write("folder/new.txt", b"new").await.expect("write");
        rig.write("folder/twice.txt", &[7; 30_000]).await.expect("write");
        rig.write("folder/twice.txt", b"shorter").await.expect("write");
        rig.write("folder/empty.txt", b"").await.expect("write");
        rig.write("folder/moved.txt", b"moved").await.expect("write");
        rig.rename("folder/moved.txt", "moved.txt").await.expect("rename");
        rig.write("gone.txt", b"gone").await.expect("write");
        rig.unlink("gone.txt").await.expect("unlink");
        let before = rig.tree().await;
        lose_power(&mut rig, how).await;
        assert_eq!(rig.tree().await, before, "torn in way {how}");
        assert!(rig.vfs.journal.held().expect("read").is_empty());
        rig.settle().await;
        assert_eq!(rig.stored(), before, "torn in way {how}");
    }
}

/// More was written after a flush, and the power went before the journal's word of that was on the disk: what the flush
/// promised is whole.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_after_a_flush_never_tears_what_was_flushed() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    let ino = rig.write("a.txt", b"closed").await.expect("write");
    let opened = rig.vfs.open(ME, ino, HOW).await.expect("opens");
    let write = async |at, text: &'static str| {
        let written = rig.vfs.write_at(opened.fh, at, Bytes::from(text)).await;
        written.expect("write");
    };
    write(0, "second").await;
    rig.vfs.flush(ME, opened.fh).await.expect("flush");
    let after = tempfile::tempdir().expect("a folder");
    let (from, to) = (rig.dir().join("state"), after.path().join("state"));
    std::fs::create_dir_all(to.join("staging")).expect("a folder");
    for file in ["journal.db", "journal.db-wal"] {
        std::fs::copy(from.join(file), to.join(file)).expect("copied");
    }
    write(3, "??? unfinished").await;
    for path in staged(&rig) {
        let name = path.file_name().expect("a name");
        std::fs::copy(&path, to.join("staging").join(name)).expect("copied");
    }
    let (vfs_config, uploads) = (VfsConfig::default(), UploaderConfig::default());
    let (store, clock) = (rig.store.shared(), rig.clock.clone());
    let vfs = start_on(store, clock, after.path(), &vfs_config, &uploads, None).await;
    let opened = vfs.open(ME, ino, OpenHow { write: false, ..HOW }).await.expect("opens");
    assert_eq!(vfs.read(opened.fh, 0, 100).await.expect("read"), "second");
}

/// Opened for writing again and not closed: the bytes of the close before are in the file by then, for the journal's do not
/// count any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_being_written_again_is_kept_aside_as_it_was() {
    let mut rig = Rig::new(presets::like_imagerelay()).await;
    let ino = rig.write("a.txt", b"closed").await.expect("write");
    let opened = rig.vfs.open(ME, ino, HOW).await.expect("opens");
    rig.vfs
        .write_at(opened.fh, 6, Bytes::from(" and more"))
        .await
        .expect("write");
    rig.crash().await;
    assert_eq!(rig.read("a.txt").await.expect("read"), b"closed and more");
    assert_eq!(rig.vfs.queue(None).await.expect("a queue").len(), 1);
    assert!(rig.vfs.journal.held().expect("read").is_empty());
}

/// The journal does not know how long a file is that nobody has closed: of one that was sent as it is, on the user's word,
/// nothing arrived but what was there when its writing began.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_finished_is_sent_with_all_its_bytes_when_the_user_says_so() {
    let mut rig = Rig::new(presets::like_imagerelay()).await;
    let text: String = "all of it ".repeat(500);
    let created = rig
        .vfs
        .create(ME, crate::model::Ino::ROOT, &name("a.txt"), 0o644, HOW)
        .await;
    let (attr, opened) = created.expect("create");
    let written = rig.vfs.write_at(opened.fh, 0, Bytes::from(text.clone())).await;
    written.expect("write");
    rig.crash().await;
    let shown = rig.vfs.getattr(attr.ino, None).await.expect("there");
    assert_eq!(shown.size, text.len() as u64);
    assert_eq!(rig.vfs.retry(None).await.expect("retried"), 1);
    rig.settle().await;
    assert_eq!(rig.stored(), [("/a.txt".to_owned(), Some(text.into_bytes()))].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journal_lets_go_of_what_has_been_synced() {
    let mut rig = Rig::new(presets::like_imagerelay()).await;
    rig.write("a.txt", b"small").await.expect("write");
    let large = vec![5; HELD_BYTES_EACH_MAX as usize + 1];
    rig.write("large.bin", &large).await.expect("write");
    let held = || rig.vfs.journal.held().expect("read");
    assert_eq!(held().len(), 1, "the large one was synced by its close");
    // A large one that takes the place of a small one leaves nothing behind that could come back.
    rig.write("a.txt", &large).await.expect("write");
    rig.write("b.txt", b"small too").await.expect("write");
    let (_, opened) = rig
        .vfs
        .create(ME, crate::model::Ino::ROOT, &name("open.txt"), 0o644, HOW)
        .await
        .expect("create");
    rig.vfs
        .write_at(opened.fh, 0, Bytes::from("first"))
        .await
        .expect("write");
    rig.vfs.flush(ME, opened.fh).await.expect("flush");
    rig.clock.advance(Duration::from_secs(60));
    rig.vfs.secure_due().await.expect("synced");
    let left: Vec<Bytes> = held().into_iter().map(|held| held.bytes).collect();
    assert_eq!(left, ["first"], "only what is still being written");
    let before = rig.tree().await;
    rig.crash().await;
    assert_eq!(rig.tree().await, before);
}

/// What is closed waits here for longer than its sync does.
async fn rig_that_sends_late() -> Rig {
    let config = VfsConfig {
        quiet: Duration::from_secs(600),
        ..VfsConfig::default()
    };
    Rig::with(presets::like_imagerelay(), config, UploaderConfig::default()).await
}

/// The disk fails to keep the file that was closed first, while its sync is due.
async fn fails_to_sync_the_first(rig: &Rig) -> PathBuf {
    let first = rig.vfs.journal.held().expect("read").remove(0).body;
    let staged = rig.vfs.staging_dir.join(first);
    let aside = rig.dir().join("aside");
    std::fs::rename(&staged, &aside).expect("set aside");
    // What opens and cannot be synced.
    nix::unistd::mkfifo(&staged, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    rig.vfs.staged.lock().clear();
    rig.clock.advance(Duration::from_secs(60));
    rig.vfs.secure_due().await.expect("looked");
    rig.vfs.staged.lock().clear();
    std::fs::rename(&aside, &staged).expect("back");
    staged
}

fn held(rig: &Rig) -> Vec<Bytes> {
    let held = rig.vfs.journal.held().expect("read");
    held.into_iter().map(|held| held.bytes).collect()
}

/// The system tells of a failed sync once. The next look found nothing left to sync, and the journal let go of the only bytes
/// that were sure.
#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_synced_stays_in_the_journal_until_it_has_been_written_once_more() {
    let rig = rig_that_sends_late().await;
    for name in ["lost.txt", "sound.txt"] {
        rig.write(name, name.as_bytes()).await.expect("write");
    }
    let file = fails_to_sync_the_first(&rig).await;
    assert_eq!(held(&rig), ["lost.txt"]);
    // What the disk has by now is something else.
    tear(&file, 2);
    rig.vfs.secure_due().await.expect("looked");
    assert_eq!(held(&rig), ["lost.txt"], "not yet looked at again");
    rig.clock.advance(Duration::from_secs(60));
    rig.vfs.secure_due().await.expect("looked");
    assert!(held(&rig).is_empty());
    rig.settle().await;
    let both = ["lost.txt", "sound.txt"].map(|name| (format!("/{name}"), Some(name.as_bytes().to_vec())));
    assert_eq!(rig.stored(), both.into());
}

/// The store got what the disk had made of it, and the journal then let go of what had been closed.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_disk_has_lost_is_sent_as_it_was_closed() {
    for how in 1..4 {
        let rig = rig_that_sends_late().await;
        rig.write("a.txt", b"as it was closed").await.expect("write");
        let file = fails_to_sync_the_first(&rig).await;
        tear(&file, how);
        rig.settle().await;
        let sent = [("/a.txt".to_owned(), Some(b"as it was closed".to_vec()))];
        assert_eq!(rig.stored(), sent.into(), "torn in way {how}");
        rig.clock.advance(Duration::from_secs(60));
        rig.vfs.secure_due().await.expect("looked");
        assert!(held(&rig).is_empty(), "torn in way {how}");
    }
}

/// Who wrote behind such bytes made a save of both.
#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_synced_takes_no_more_until_it_is_written_anew() {
    let rig = rig_that_sends_late().await;
    let ino = rig.write("a.txt", b"lost").await.expect("write");
    fails_to_sync_the_first(&rig).await;
    let opened = rig.vfs.open(ME, ino, HOW).await.expect("open").fh;
    let more = rig.vfs.write_at(opened, 4, Bytes::from(" and more")).await;
    let refused = more.expect_err("not on top of that").to_string();
    assert!(refused.contains("save it anew as a whole"), "{refused}");
    rig.vfs.release(opened).await;
    assert_eq!(held(&rig), ["lost"]);
    rig.write("a.txt", b"anew").await.expect("written from its beginning");
    assert_eq!(held(&rig), ["anew"]);
    rig.clock.advance(Duration::from_secs(60));
    rig.vfs.secure_due().await.expect("looked");
    assert!(held(&rig).is_empty());
    rig.settle().await;
    assert_eq!(rig.stored(), [("/a.txt".to_owned(), Some(b"anew".to_vec()))].into());
}

/// What had been sent could not be moved to the cache, and lost its name while a program had it open. The next save went into
/// that nameless file, and was gone with the daemon.
#[tokio::test(flavor = "multi_thread")]
async fn a_save_after_one_that_could_not_be_kept_here_is_one() {
    let mut rig = Rig::new(presets::like_imagerelay()).await;
    let [first, second] = [b'1', b'2'].map(|byte| vec![byte; HELD_BYTES_EACH_MAX as usize + 1]);
    let ino = rig.write("a.bin", &first).await.expect("write");
    let reading = OpenHow { write: false, ..HOW };
    let reader = rig.vfs.open(ME, ino, reading).await.expect("open").fh;
    let content = rig.dir().join("cache/content");
    let aside = rig.dir().join("cache/aside");
    std::fs::rename(&content, &aside).expect("set aside");
    rig.settle().await;
    std::fs::rename(&aside, &content).expect("back");
    assert!(staged(&rig).is_empty(), "the store has it");
    let read = rig.vfs.read(reader, 0, 10).await.expect("read");
    assert_eq!(read, first[..10]);
    rig.write("a.bin", &second).await.expect("write");
    let read = rig.vfs.read(reader, 0, 10).await.expect("read");
    assert_eq!(read, second[..10], "one file for all who have it open");
    rig.crash().await;
    rig.settle().await;
    assert!(rig.stored() == [("/a.bin".to_owned(), Some(second))].into());
}

/// The catalog may be deleted, and a loss of power may take what it had not synced. What waited in a folder was parked then
/// as if somebody had removed the folder.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_in_a_folder_is_sent_there_although_the_catalog_was_lost() {
    for capabilities in [presets::whole(), presets::like_imagerelay(), presets::like_flextype()] {
        let label = capabilities.label;
        let mut rig = Rig::new(capabilities).await;
        for folder in ["kept", "removed"] {
            rig.mkdir(folder).await.expect(label);
            rig.write(&format!("{folder}/old.txt"), b"old").await.expect(label);
        }
        rig.settle().await;
        rig.write("kept/new.txt", b"new").await.expect(label);
        rig.write("kept/old.txt", b"its next version").await.expect(label);
        rig.write("removed/new.txt", b"new too").await.expect(label);
        rig.vfs.stop().await;
        for file in ["catalog.db", "catalog.db-wal", "catalog.db-shm"] {
            crate::disk::remove_if_there(&rig.dir().join("cache").join(file)).expect("removed");
        }
        let remote = rig.store.remote();
        let removed = remote.find("removed").expect(label);
        remote.remove(&removed.id).expect(label);
        rig.crash().await;
        rig.clock.advance(Duration::from_secs(3));
        rig.rest().await;
        rig.settle().await;
        let stored = rig.stored();
        assert_eq!(stored["/kept/new.txt"].as_deref(), Some(&b"new"[..]), "{label}");
        assert_eq!(
            stored["/kept/old.txt"].as_deref(),
            Some(&b"its next version"[..]),
            "{label}"
        );
        assert_eq!(stored.len(), 3, "{label}: {stored:?}");
        let parked = rig.vfs.queue(None).await.expect(label);
        assert_eq!(parked.len(), 1, "{label}: {parked:?}");
    }
}

/// Nobody knows whether the folder is still there while the store cannot be asked.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_parked_for_want_of_a_folder_that_cannot_be_asked_for() {
    let mut rig = Rig::new(presets::like_imagerelay()).await;
    rig.mkdir("folder").await.expect("mkdir");
    rig.settle().await;
    rig.write("folder/new.txt", b"new").await.expect("write");
    rig.vfs.stop().await;
    for file in ["catalog.db", "catalog.db-wal", "catalog.db-shm"] {
        crate::disk::remove_if_there(&rig.dir().join("cache").join(file)).expect("removed");
    }
    rig.crash().await;
    rig.store
        .faults()
        .everything(Some(Fault::Fail(ErrorKind::Network, Retry::Never)));
    for _ in 0..10 {
        rig.clock.advance(Duration::from_secs(1));
        rig.rest().await;
    }
    let report = rig.vfs.sync(None, Some(Duration::ZERO)).await.expect("a report");
    assert_eq!((report.parked, report.pending), (0, 1), "{:?}", report.problems);
    rig.store.faults().everything(None);
    rig.settle().await;
    assert_eq!(rig.stored()["/folder/new.txt"].as_deref(), Some(&b"new"[..]));
}
