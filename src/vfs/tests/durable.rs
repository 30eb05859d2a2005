//! What was closed is there after a loss of power, whatever the disk did with the files that were not synced.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;

use super::rig::{ME, Rig, name, start_on};
use crate::journal::{HELD_BYTES_EACH_MAX, UploaderConfig};
use crate::store::memory as presets;
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
        let written = rig.vfs.write(opened.fh, at, Bytes::from(text)).await;
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
        .write(opened.fh, 6, Bytes::from(" and more"))
        .await
        .expect("write");
    rig.crash().await;
    assert_eq!(rig.read("a.txt").await.expect("read"), b"closed and more");
    assert_eq!(rig.vfs.queue(None).await.expect("a queue").len(), 1);
    assert!(rig.vfs.journal.held().expect("read").is_empty());
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
    rig.vfs.write(opened.fh, 0, Bytes::from("first")).await.expect("write");
    rig.vfs.flush(ME, opened.fh).await.expect("flush");
    rig.clock.advance(Duration::from_secs(60));
    rig.vfs.secure_due().await.expect("synced");
    let left: Vec<Bytes> = held().into_iter().map(|held| held.bytes).collect();
    assert_eq!(left, ["first"], "only what is still being written");
    let before = rig.tree().await;
    rig.crash().await;
    assert_eq!(rig.tree().await, before);
}
