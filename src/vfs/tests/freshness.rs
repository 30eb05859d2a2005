//! What others change shows by itself, and never under an open file.

use std::time::Duration;

use super::rig::{ME, Rig, name};
use crate::model::Ino;
use crate::store::memory as presets;
use crate::vfs::{IoMode, Notice, OpenHow};

#[tokio::test(flavor = "multi_thread")]
async fn changes_made_by_others_show_within_the_poll_interval() {
    for capabilities in [presets::like_imagerelay(), presets::like_flextype()] {
        let rig = Rig::new(capabilities).await;
        let root = rig.store.remote().root();
        let old = rig.store.remote().put(&root, "old.txt", &b"old"[..]).expect("put");
        assert_eq!(rig.names("").await, ["old.txt"]);
        let mut notices = rig.vfs.take_notices().expect("the first to ask");
        tokio::spawn(rig.vfs.clone().run_upkeep());
        rig.clock.advance(Duration::from_secs(1));
        rig.store.remote().put(&root, "new.txt", &b"new"[..]).expect("put");
        rig.store.remote().remove(&old.id).expect("removed");
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(5)).await;
            rig.clock.advance(Duration::from_secs(2));
            if rig.names("").await == ["new.txt"] {
                break;
            }
        }
        assert_eq!(rig.names("").await, ["new.txt"]);
        let mut told = Vec::new();
        while let Ok(notice) = notices.try_recv() {
            told.push(notice);
        }
        assert!(
            told.contains(&Notice::Entry {
                parent: Ino::ROOT,
                name: name("new.txt")
            }),
            "{told:?}"
        );
        assert!(
            told.iter()
                .any(|n| matches!(n, Notice::Deleted { name, .. } if name.as_str() == "old.txt")),
            "{told:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_file_never_changes_under_its_reader() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    let root = rig.store.remote().root();
    let entry = rig.store.remote().put(&root, "a.txt", &b"first"[..]).expect("put");
    let before = rig.at("a.txt").await.expect("there").ino;
    let opened = rig
        .vfs
        .open(
            ME,
            before,
            OpenHow {
                read: true,
                ..OpenHow::default()
            },
        )
        .await
        .expect("open");
    assert_eq!(&rig.vfs.read(opened.fh, 0, 100).await.expect("read")[..], b"first");
    rig.clock.advance(Duration::from_secs(100));
    rig.store
        .remote()
        .write(&entry.id, &b"second version"[..])
        .expect("written");
    rig.vfs.refresh("/").await.expect("refresh");
    let after = rig.at("a.txt").await.expect("there").ino;
    assert_ne!(before, after, "the new version has an inode of its own");
    assert_eq!(rig.read("a.txt").await.expect("read"), b"second version");
    assert_eq!(&rig.vfs.read(opened.fh, 0, 100).await.expect("read")[..], b"first");
    assert_eq!(rig.vfs.getattr(before, Some(opened.fh)).await.expect("fstat").size, 5);
    rig.vfs.release(opened.fh).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_network_what_is_known_is_served_and_saves_wait() {
    use crate::store::memory::Fault;
    use crate::store::{ErrorKind, Retry};
    let rig = Rig::new(presets::like_imagerelay()).await;
    rig.write("a.txt", b"a").await.expect("write");
    rig.settle().await;
    rig.clock.advance(Duration::from_secs(3600));
    rig.store
        .faults()
        .everything(Some(Fault::Fail(ErrorKind::Network, Retry::After(Duration::ZERO))));
    assert_eq!(rig.names("").await, ["a.txt"]);
    assert_eq!(rig.read("a.txt").await.expect("read"), b"a");
    rig.write("b.txt", b"b").await.expect("write");
    rig.clock.advance(Duration::from_secs(30));
    assert_eq!(rig.read("b.txt").await.expect("read"), b"b");
    rig.store.faults().clear();
    rig.settle().await;
    assert_eq!(rig.stored(), rig.tree().await);
}

/// How an open for reading would be answered: whether the kernel may keep the pages that it has.
async fn keeps_pages(rig: &Rig, ino: Ino) -> bool {
    let how = OpenHow {
        read: true,
        ..OpenHow::default()
    };
    let opened = rig.vfs.open(ME, ino, how).await.expect("open");
    rig.vfs.release(opened.fh).await;
    match opened.io {
        IoMode::KeepCache => true,
        IoMode::FreshCache => false,
        other => panic!("a tiny file goes through the page cache, not {other:?}"),
    }
}

/// The kernel hears of a new version from a queue, so a program may open the file before the old pages are gone; of two
/// versions of one size it would then have read a mixture. Now each open says itself whether the pages still hold.
#[tokio::test(flavor = "multi_thread")]
async fn pages_of_an_older_version_are_dropped_at_open() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    let root = rig.store.remote().root();
    let entry = rig.store.remote().put(&root, "a.txt", &b"first"[..]).expect("put");
    let ino = rig.at("a.txt").await.expect("there").ino;
    assert!(!keeps_pages(&rig, ino).await, "nothing is known of them");
    assert!(keeps_pages(&rig, ino).await);
    rig.clock.advance(Duration::from_secs(100));
    rig.store.remote().write(&entry.id, &b"other"[..]).expect("written");
    rig.vfs.refresh("/").await.expect("refresh");
    assert_eq!(rig.at("a.txt").await.expect("there").ino, ino, "nobody had it open");
    assert!(!keeps_pages(&rig, ino).await);
    assert!(keeps_pages(&rig, ino).await);
}
