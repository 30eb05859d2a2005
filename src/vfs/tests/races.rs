//! What must be decided in one go: each was a moment in which somebody else came in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::rig::{ME, Rig};
use crate::cache::BodyState;
use crate::journal::{Phase, World};
use crate::store::memory::{self as presets, Fault, Op};
use crate::store::{Capabilities, CreateFile};
use crate::vfs::opens::{Copying, OpenFile, TakenBy};
use crate::vfs::{Error, OpenHow, Vfs};

/// A store that takes files in every folder.
fn anywhere(capabilities: Capabilities) -> Capabilities {
    Capabilities {
        create_file: CreateFile::Anywhere,
        ..capabilities
    }
}

/// Between the journal's note of a new file and its being counted as open, the uploader took its writer for dead, and the
/// file was parked although it was closed in the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_file_is_open_before_anybody_sees_it() {
    let rig = Rig::new(presets::whole()).await;
    let (vfs, stop) = (rig.vfs.clone(), Arc::new(AtomicBool::new(false)));
    let stopped = stop.clone();
    let watcher = tokio::task::spawn_blocking(move || {
        let mut seen = 0;
        while !stopped.load(Ordering::Relaxed) {
            let guard = vfs.journal.lock();
            for change in guard.overlay().iter() {
                let is_open = change.staged.as_ref().is_some_and(|s| s.phase == Phase::Open);
                if is_open {
                    seen += 1;
                    assert!(World::being_written(&vfs, change.ino), "its writer is not known");
                }
            }
        }
        seen
    });
    for number in 0..100 {
        rig.write(&format!("{number}.txt"), b"x").await.expect("written");
    }
    stop.store(true, Ordering::Relaxed);
    assert!(
        watcher.await.expect("always open") > 0,
        "it looked while files were written"
    );
}

/// The catalog is told of a new item before the journal lets go of what waited for it. When the daemon or the power died in
/// between, the item was known, so it was taken for another one, and a second copy was made.
#[tokio::test(flavor = "multi_thread")]
async fn what_only_the_catalog_has_heard_of_is_not_made_again() {
    for capabilities in [
        presets::whole(),
        presets::like_imagerelay(),
        presets::like_flextype(),
        anywhere(presets::like_omeka()),
        anywhere(presets::like_im4()),
    ] {
        let label = capabilities.label;
        let mut rig = Rig::new(capabilities).await;
        rig.names("").await;
        rig.store.faults().inject(Op::Create, 1, Fault::LoseAnswer);
        let ino = rig.write("a.txt", b"once").await.expect(label);
        while rig.store.faults().calls(Op::Create) == 0 {
            rig.clock.advance(Duration::from_secs(1));
            rig.rest().await;
        }
        rig.rest().await;
        let made = rig.store.remote().find("a.txt").expect(label);
        let change = rig.vfs.journal.change(ino).expect(label);
        let places = change.placing.clone().expect(label).now;
        World::took(&rig.vfs, ino, &made, &places, None, change.staged.as_ref())
            .await
            .expect(label);
        rig.crash().await;
        rig.settle().await;
        assert_eq!(rig.store.faults().calls(Op::Create), 1, "{label}");
        assert_eq!(
            rig.stored(),
            [("/a.txt".to_owned(), Some(b"once".to_vec()))].into(),
            "{label}"
        );
        assert_eq!(rig.tree().await, rig.stored(), "{label}");
        let report = rig.vfs.sync(None, Some(Duration::ZERO)).await.expect(label);
        assert_eq!((report.parked, report.held), (0, 0), "{label}: {:?}", report.problems);
    }
}

/// One program looked a file up, then a new version came, and then it counted as open, as the old one. A second program that
/// came before the first had looked again joined it in that, and read the old bytes up to the length of the new ones.
#[tokio::test(flavor = "multi_thread")]
async fn who_joins_an_open_that_came_too_late_looks_again_too() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    let remote = rig.store.remote();
    let entry = remote.put(&remote.root(), "a.txt", &b"first version"[..]).expect("put");
    let (before, read) = (rig.at("a.txt").await.expect("there").ino, OpenHow::default());
    let fh = rig.vfs.open(ME, before, read).await.expect("opens").fh;
    let first = rig.vfs.opens.get(before).expect("open");
    rig.vfs.release(fh).await;
    rig.clock.advance(Duration::from_secs(100));
    remote.write(&entry.id, &b"second"[..]).expect("written");
    rig.vfs.refresh("/").await.expect("refreshed");
    assert_eq!(rig.at("a.txt").await.expect("there").ino, before, "nobody has it open");
    let late = || Some(OpenFile::new(before, first.body(), first.version()));
    let late = rig
        .vfs
        .opens
        .open(before, false, rig.vfs.clock.now(), late)
        .expect("made");
    let joined = rig.vfs.open(ME, before, read).await;
    assert!(matches!(joined, Err(Error::Stale)), "{joined:?}");
    let after = rig.at("a.txt").await.expect("there");
    assert!(after.ino != before && after.size == 6, "{after:?}");
    assert_eq!(rig.read("a.txt").await.expect("read"), b"second");
    let size = rig.vfs.getattr(before, None).await.expect("still open").size;
    assert_eq!(size, 13, "what has it open ends where its own bytes end");
    rig.vfs.opens.close(&late, false);
}

/// A file that was sent anew under another name has another version from then on. Who opened it before the answer was taken in
/// whole was taken for a reader of what others had made of it: the file left the tree for all who had it open.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_opens_a_file_whose_rename_is_being_answered_opens_what_others_read() {
    for round in 0..20 {
        let rig = Rig::new(anywhere(presets::like_omeka())).await;
        let remote = rig.store.remote();
        remote.put(&remote.root(), "a.txt", &b"bytes"[..]).expect("put");
        let ino = rig.at("a.txt").await.expect("there").ino;
        let open = async |vfs: &Vfs| vfs.open(ME, ino, OpenHow::default()).await.expect("not stale").fh;
        // Every other time nobody has it open when the answer comes.
        let stays = if round % 2 == 0 {
            Some(open(&rig.vfs).await)
        } else {
            None
        };
        let stop = Arc::new(AtomicBool::new(false));
        let others = [(); 2].map(|()| {
            let (vfs, stopped) = (rig.vfs.clone(), stop.clone());
            tokio::spawn(async move {
                while !stopped.load(Ordering::Relaxed) {
                    let fh = vfs.open(ME, ino, OpenHow::default()).await.expect("not stale").fh;
                    assert_eq!(vfs.getattr(ino, Some(fh)).await.expect("open").nlink, 1, "{round}");
                    vfs.release(fh).await;
                }
            })
        });
        rig.rename("a.txt", "b.txt").await.expect("renamed");
        rig.settle().await;
        stop.store(true, Ordering::Relaxed);
        for other in others {
            other.await.expect("no panic");
        }
        assert_eq!(rig.at("b.txt").await.expect("there").ino, ino, "{round}");
        let fh = match stays {
            Some(fh) => fh,
            None => open(&rig.vfs).await,
        };
        rig.write("b.txt", b"later").await.expect("written");
        assert_eq!(&rig.vfs.read(fh, 0, 10).await.expect("read")[..], b"later", "{round}");
        rig.vfs.release(fh).await;
    }
}

/// Two who find a new version at once give it one inode, and an open file ends where its own bytes end before that is so.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_new_version_of_an_open_file_gets_one_inode_however_many_look() {
    for _ in 0..20 {
        let rig = Rig::new(presets::like_imagerelay()).await;
        let remote = rig.store.remote();
        let mut entry = remote.put(&remote.root(), "a.txt", &b"first version"[..]).expect("put");
        let ino = rig.at("a.txt").await.expect("there").ino;
        let fh = rig.vfs.open(ME, ino, OpenHow::default()).await.expect("opens").fh;
        rig.clock.advance(Duration::from_secs(100));
        remote.write(&entry.id, &b"second"[..]).expect("written");
        entry = rig.store.shared().stat(&entry.id).await.expect("there");
        let names = rig.vfs.names_for(&entry).expect("names");
        let now = rig.vfs.clock.now();
        rig.vfs.catalog.put_entry(ino, &entry, now, &names).expect("put");
        assert_eq!(rig.vfs.getattr(ino, Some(fh)).await.expect("open").size, 13);
        let look = || {
            let (vfs, entry) = (rig.vfs.clone(), entry.clone());
            tokio::task::spawn_blocking(move || vfs.inode_for(ino, &entry, now).expect("an inode"))
        };
        let looks = [look(), look(), look()];
        let mut found = Vec::new();
        for look in looks {
            found.push(look.await.expect("no panic"));
        }
        let shown = rig.at("a.txt").await.expect("there");
        assert!(
            found.iter().all(|found| *found == shown.ino && *found != ino),
            "{found:?}"
        );
        assert_eq!(
            (shown.size, rig.vfs.getattr(ino, Some(fh)).await.expect("open").size),
            (6, 13)
        );
        rig.vfs.release(fh).await;
    }
}

/// A file left the tree between the look at whether it is still there and the first change of its bytes: that would have
/// been sent over what had taken its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_file_that_leaves_the_tree_while_its_writing_begins_is_not_sent() {
    for by in [TakenBy::Others, TakenBy::Us] {
        let rig = Rig::new(presets::whole()).await;
        let remote = rig.store.remote();
        let id = remote.put(&remote.root(), "a.txt", &b"theirs"[..]).expect("put").id;
        let attr = rig.at("a.txt").await.expect("there");
        let how = OpenHow {
            write: true,
            ..OpenHow::default()
        };
        let fh = rig.vfs.open(ME, attr.ino, how).await.expect("opens").fh;
        let vfs = rig.vfs.clone();
        let (runtime, opened) = (
            tokio::runtime::Handle::current(),
            vfs.opens.get(attr.ino).expect("open"),
        );
        let begun = tokio::task::spawn_blocking(move || {
            // As whoever takes it out of the tree does: under the tree's lock, for which the writer waits behind its look.
            let _tree = vfs.journal.lock();
            let writer = vfs.clone();
            let writing = runtime.spawn(async move { writer.write_at(fh, 0, Bytes::from("ours")).await });
            while !matches!(opened.body().state(), BodyState::Dirty { .. }) {
                std::thread::sleep(Duration::from_millis(1));
            }
            opened.detach(Some(attr), by);
            writing
        });
        let written = begun.await.expect("detached").await.expect("no panic");
        match by {
            TakenBy::Others => assert!(matches!(written, Err(Error::Stale)), "{written:?}"),
            TakenBy::Us => assert_eq!(written.expect("it lives on without a name"), 4),
        }
        assert!(rig.vfs.journal.change(attr.ino).is_none(), "{by:?}");
        rig.vfs.flush(ME, fh).await.expect("flush");
        rig.vfs.release(fh).await;
        rig.settle().await;
        assert_eq!(remote.bytes(&id).as_deref(), Some(&b"theirs"[..]), "{by:?}");
        let staged = std::fs::read_dir(rig.dir().join("state/staging")).expect("a folder");
        assert_eq!(staged.count(), 0, "{by:?}");
        assert_eq!(rig.read("a.txt").await.expect("read"), b"theirs", "{by:?}");
    }
}

/// A program that is started while another one writes closes what it was given of that one's files. That is no save: half
/// the bytes would have been sent when the daemon died before the rest came.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_only_a_child_has_closed_is_kept_aside_after_a_crash() {
    let mine = crate::vfs::Caller {
        pid: std::process::id(),
        ..ME
    };
    let child = crate::vfs::Caller { pid: 1, ..ME };
    let how = OpenHow {
        write: true,
        ..OpenHow::default()
    };
    let mut rig = Rig::new(presets::whole()).await;
    let write = async |rig: &Rig, file: &str| {
        let root = crate::model::Ino::ROOT;
        let created = rig.vfs.create(mine, root, &super::rig::name(file), 0o644, how).await;
        let fh = created.expect("create").1.fh;
        rig.vfs.write_at(fh, 0, Bytes::from("half")).await.expect("write");
        assert!(
            rig.vfs.flush_quickly(child, fh).expect("flush").is_none(),
            "more is to be done"
        );
        rig.vfs.flush(child, fh).await.expect("flush");
        fh
    };
    let whole = write(&rig, "whole.txt").await;
    rig.vfs
        .write_at(whole, 4, Bytes::from(" and half"))
        .await
        .expect("write");
    rig.vfs.flush(mine, whole).await.expect("flush");
    let inherited = write(&rig, "inherited.txt").await;
    // The child had the last descriptor.
    rig.vfs.release(inherited).await;
    write(&rig, "half.txt").await;
    rig.crash().await;
    rig.clock.advance(Duration::from_secs(60));
    rig.settle().await;
    let stored: Vec<String> = rig.stored().into_keys().collect();
    assert_eq!(stored, ["/inherited.txt", "/whole.txt"]);
    assert_eq!(rig.read("half.txt").await.expect("read"), b"half");
    let parked = rig.vfs.queue(None).await.expect("a queue");
    assert_eq!(parked.len(), 1, "{parked:?}");
}

/// The store made a copy between the look at what is to be opened and the opening: the file was open as one that was still to be
/// made, nobody told it of other versions, and what was written to it went over those.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_made_while_it_is_opened_is_open_as_what_the_store_has() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    rig.mkdir("d").await.expect("mkdir");
    rig.write("a.txt", b"bytes").await.expect("write");
    rig.settle().await;
    rig.copy("a.txt", "d/a.txt").await.expect("copied");
    let ino = rig.at("d/a.txt").await.expect("there").ino;
    let looked_at = rig.vfs.node(ino).expect("known");
    let source = looked_at.change.as_ref().and_then(|c| c.copy_of.clone());
    let source = source.expect("to be made by the store").id;
    rig.settle().await;
    let body = rig.vfs.body_of(&looked_at).await.expect("that of the source");
    let opened = rig.vfs.opens.open(ino, false, rig.vfs.clock.now(), || {
        let file = OpenFile::new(ino, body, None);
        file.set_copying(Some(Copying {
            source,
            size: 5,
            upto: 5,
        }));
        Some(file)
    });
    let opened = opened.expect("made");
    rig.vfs
        .follow_own_upload(&opened, &looked_at)
        .await
        .expect("looked again");
    assert!(opened.copying().is_none());
    let made = rig.store.remote().find("d/a.txt").expect("made");
    assert_eq!(opened.body().item(), made.id);
    assert!(!opened.is_other_version(&made));
}
