//! What others change shows by itself, and never under an open file.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use super::rig::{ME, Rig, name};
use crate::journal::UploaderConfig;
use crate::model::{Availability, Ino};
use crate::store::memory::{self as presets, Fault, Op};
use crate::store::{ErrorKind, Retry};
use crate::vfs::{Aim, IoMode, Notice, OpenHow, SetAttr, VfsConfig};

const READ: OpenHow = OpenHow {
    read: true,
    write: false,
    truncate: false,
    append: false,
    exclusive: false,
    direct: false,
    for_thumbnail: false,
};

/// Right after mounting, a program in a folder was told that its folder was deleted (getcwd: ENOENT). The kernel was told of
/// every name that the first listing had brought, and when that came after the program had gone in, it let go of the folder.
#[tokio::test(flavor = "multi_thread")]
async fn of_the_names_of_a_first_listing_the_kernel_is_not_told() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    let root = rig.store.remote().root();
    rig.store.remote().put(&root, "a.txt", &b"a"[..]).expect("put");
    let mut notices = rig.vfs.take_notices().expect("the first to ask");
    assert_eq!(rig.names("").await, ["a.txt"]);
    while let Ok(notice) = notices.try_recv() {
        assert!(matches!(notice, Notice::Attributes { .. }), "{notice:?}");
    }
}

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

/// While a program had a file open, its path went on to show the old version for a minute: nobody told the kernel that the
/// name stands for another inode. What was set of the file here (mode, owner) was forgotten with the old one.
#[tokio::test(flavor = "multi_thread")]
async fn the_kernel_is_told_of_a_new_version_of_an_open_file() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    let root = rig.store.remote().root();
    let entry = rig.store.remote().put(&root, "a.txt", &b"first"[..]).expect("put");
    rig.names("").await;
    let before = rig.at("a.txt").await.expect("there").ino;
    let set = SetAttr {
        mode: Some(0o600),
        ..SetAttr::default()
    };
    rig.vfs.setattr(ME, before, None, set).await.expect("chmod");
    let opened = rig.vfs.open(ME, before, READ).await.expect("open");
    let mut notices = rig.vfs.take_notices().expect("the first to ask");
    while notices.try_recv().is_ok() {}
    tokio::spawn(rig.vfs.clone().run_upkeep());
    rig.clock.advance(Duration::from_secs(1));
    rig.store.remote().write(&entry.id, &b"second"[..]).expect("written");
    let told = tokio::time::timeout(Duration::from_secs(60), async {
        let expected = Notice::Entry {
            parent: Ino::ROOT,
            name: name("a.txt"),
        };
        loop {
            rig.clock.advance(Duration::from_secs(2));
            match tokio::time::timeout(Duration::from_millis(5), notices.recv()).await {
                Ok(Some(notice)) if notice == expected => break,
                Ok(None) => panic!("no more notices"),
                Ok(Some(_)) | Err(_) => {}
            }
        }
    });
    told.await.expect("the name is told");
    let mut after = rig.at("a.txt").await.expect("there");
    assert_ne!(after.ino, before);
    // The kernel is told of the name first, and of what it stands for right after that.
    for _ in 0..3000 {
        if after.size == 6 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        after = rig.at("a.txt").await.expect("there");
    }
    assert_eq!((after.size, after.perm), (6, 0o600));
    rig.vfs.release(opened.fh).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_network_what_is_known_is_served_and_saves_wait() {
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

/// Of two programs that opened a new version at the same time, the second was told to keep what the first still was to drop:
/// it read the new bytes up to the length of the old ones. Nobody is told so before a program has gone on with its handle.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_kernel_knows_of_an_older_version_is_forgotten_by_every_open_until_one_goes_on() {
    const LARGE: usize = 200_000;
    let rig = Rig::new(presets::like_imagerelay()).await;
    rig.vfs.passthrough.store(false, Ordering::Relaxed);
    for (name, bytes) in [("small.txt", 5), ("large.txt", LARGE)] {
        let remote = rig.store.remote();
        let entry = remote.put(&remote.root(), name, vec![b'a'; bytes]).expect("put");
        rig.vfs.refresh("/").await.expect("refreshed");
        let ino = rig.at(name).await.expect("there").ino;
        rig.read(name).await.expect("read");
        let opened = rig.vfs.open(ME, ino, READ).await.expect("open");
        assert!(!opened.forgets, "{name}: it was read before");
        rig.vfs.release(opened.fh).await;
        rig.clock.advance(Duration::from_secs(100));
        remote.write(&entry.id, vec![b'b'; bytes + 1]).expect("written");
        rig.vfs.refresh("/").await.expect("refreshed");
        rig.vfs.passthrough.store(bytes == LARGE, Ordering::Relaxed);
        let mut opens = Vec::new();
        for _ in 0..2 {
            let opened = rig.vfs.open(ME, ino, READ).await.expect("open");
            assert!(opened.forgets && !matches!(opened.io, IoMode::KeepCache), "{opened:?}");
            opens.push(opened.fh);
        }
        rig.vfs.read(opens[1], 0, 1).await.expect("read");
        let opened = rig.vfs.open(ME, ino, READ).await.expect("open");
        assert!(!opened.forgets, "{opened:?}");
        for fh in opens.into_iter().chain([opened.fh]) {
            rig.vfs.release(fh).await;
        }
    }
}

/// Others had made the file shorter, and the kernel did not know yet: what a program appended came behind a gap of zeros. What
/// is written back from a mapping has its place, also where the handle appends.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_appended_comes_to_the_end_wherever_the_kernel_takes_it_to_be() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    let remote = rig.store.remote();
    let entry = remote
        .put(&remote.root(), "log.txt", &b"a long first version"[..])
        .expect("put");
    let old = rig.at("log.txt").await.expect("there");
    rig.clock.advance(Duration::from_secs(100));
    remote.write(&entry.id, &b"short;"[..]).expect("written");
    rig.vfs.refresh("/").await.expect("refreshed");
    let how = OpenHow {
        write: true,
        append: true,
        ..OpenHow::default()
    };
    let fh = rig.vfs.open(ME, old.ino, how).await.expect("opens").fh;
    for (at, more) in [(old.size, "more"), (old.size + 4, ".")] {
        rig.vfs.write_at(fh, at, Bytes::from(more)).await.expect("written");
    }
    rig.vfs
        .write(fh, 0, Bytes::from("S"), Aim::Offset)
        .await
        .expect("written");
    rig.vfs.flush(ME, fh).await.expect("flush");
    rig.vfs.release(fh).await;
    assert_eq!(rig.read("log.txt").await.expect("read"), b"Short;more.");
}

/// Of a direct write the kernel sends the parts at once, unless the file was opened past the page cache altogether: only then
/// can they all be sent to the end.
#[tokio::test(flavor = "multi_thread")]
async fn direct_appends_go_past_the_page_cache_altogether() {
    let rig = Rig::new(presets::whole()).await;
    let ino = rig.write("log.bin", b"0123").await.expect("written");
    let append = OpenHow {
        write: true,
        append: true,
        ..OpenHow::default()
    };
    for direct in [false, true] {
        let opened = rig
            .vfs
            .open(ME, ino, OpenHow { direct, ..append })
            .await
            .expect("opens");
        assert_eq!(matches!(opened.io, IoMode::Direct), direct);
        rig.vfs.release(opened.fh).await;
    }
}

/// Lets time pass in small steps, so that what waits for it can go on in between.
async fn pass(rig: &Rig, span: Duration) {
    for _ in 0..span.as_secs().div_ceil(5) {
        rig.clock.advance(Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Lets time pass until the drive shows these names in the root.
async fn until_names(rig: &Rig, wanted: &[&str]) {
    for _ in 0..200 {
        if rig.names("").await == wanted {
            return;
        }
        pass(rig, Duration::from_secs(5)).await;
    }
    assert_eq!(rig.names("").await, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_at_an_old_tree_asks_nothing() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    let root = rig.store.remote().root();
    for folder in ["a", "b", "c"] {
        let folder = rig.store.remote().mkdir(&root, folder).expect("a folder");
        rig.store.remote().put(&folder.id, "x.txt", &b"x"[..]).expect("put");
    }
    let tree = rig.tree().await;
    rig.clock.advance(Duration::from_secs(20 * 86_400));
    let asked = rig.store.faults().calls(Op::List) + rig.store.faults().calls(Op::Stat);
    assert_eq!(rig.tree().await, tree);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let after = rig.store.faults().calls(Op::List) + rig.store.faults().calls(Op::Stat);
    assert_eq!(after, asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_confirmed_too_long_ago_is_asked_for_first_and_shown_all_the_same_when_nobody_answers() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    let root = rig.store.remote().root();
    rig.store.remote().put(&root, "a.txt", &b"a"[..]).expect("put");
    assert_eq!(rig.names("").await, ["a.txt"]);
    rig.store.remote().put(&root, "b.txt", &b"b"[..]).expect("put");
    rig.clock.advance(Duration::from_secs(31 * 86_400));
    let down = Fault::Fail(ErrorKind::Network, Retry::After(Duration::ZERO));
    rig.store.faults().everything(Some(down));
    assert_eq!(rig.names("").await, ["a.txt"]);
    rig.store.faults().clear();
    assert_eq!(rig.names("").await, ["a.txt", "b.txt"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_mount_asks_before_it_answers_a_lookup() {
    let config = VfsConfig {
        fresh: true,
        ..VfsConfig::default()
    };
    let rig = Rig::with(presets::like_imagerelay(), config, UploaderConfig::default()).await;
    let root = rig.store.remote().root();
    let old = rig.store.remote().put(&root, "a.txt", &b"a"[..]).expect("put");
    assert_eq!(rig.at("a.txt").await.expect("there").size, 1);
    rig.clock.advance(Duration::from_secs(61));
    rig.store.remote().write(&old.id, &b"longer"[..]).expect("written");
    assert_eq!(rig.at("a.txt").await.expect("there").size, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn deletions_moves_and_changes_of_folders_show_within_two_polls() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    let remote = rig.store.remote();
    let root = remote.root();
    let kept = remote.mkdir(&root, "kept").expect("a folder");
    let gone = remote.mkdir(&root, "gone").expect("a folder");
    let file = remote.put(&root, "file.txt", &b"1"[..]).expect("put");
    let moved = remote.put(&root, "moved.txt", &b"2"[..]).expect("put");
    assert_eq!(rig.names("").await, ["file.txt", "gone", "kept", "moved.txt"]);
    assert_eq!(rig.names("kept").await, Vec::<String>::new());
    tokio::spawn(rig.vfs.clone().run_upkeep());
    pass(&rig, Duration::from_secs(400)).await;
    // Somebody is there.
    rig.names("").await;
    rig.names("kept").await;
    remote.remove(&file.id).expect("removed");
    remote.place(&moved.id, std::slice::from_ref(&kept.id)).expect("moved");
    remote.remove(&gone.id).expect("removed");
    remote.rename(&kept.id, "renamed").expect("renamed");
    pass(&rig, Duration::from_secs(120)).await;
    for _ in 0..100 {
        if rig.names("").await == ["renamed"] {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(rig.names("").await, ["renamed"]);
    assert_eq!(rig.names("renamed").await, ["moved.txt"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_is_late_or_loses_a_page_or_fails_removes_nothing() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    let root = rig.store.remote().root();
    let few: Vec<String> = (0..40).map(|n| format!("{n:02}.txt")).collect();
    for name in &few {
        rig.store.remote().put(&root, name, &b"x"[..]).expect("put");
    }
    assert_eq!(rig.names("").await, few);
    for lost in [1, 8, 30, 40] {
        rig.store.turn(|knobs| knobs.entries_lost = lost);
        for _ in 0..3 {
            rig.clock.advance(Duration::from_secs(400));
            rig.vfs.refresh("/").await.expect("a listing");
            assert_eq!(rig.names("").await, few, "{lost} entries were lost");
        }
    }
    rig.store.faults().inject(
        Op::List,
        1,
        Fault::Fail(ErrorKind::Server, Retry::After(Duration::ZERO)),
    );
    rig.vfs.refresh("/").await.expect_err("fails");
    assert_eq!(rig.names("").await, few);
    // What is gone indeed goes, be it one or many.
    rig.store.turn(|knobs| knobs.entries_lost = 0);
    for left in [39, 5] {
        for name in &few[left..] {
            if let Some(entry) = rig.store.remote().find(name) {
                rig.store.remote().remove(&entry.id).expect("removed");
            }
        }
        rig.clock.advance(Duration::from_secs(400));
        rig.vfs.refresh("/").await.expect("a listing");
        assert_eq!(rig.names("").await, few[..left]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_entry_that_comes_while_another_goes_is_noticed() {
    // The number of files is the same before and after.
    let rig = Rig::new(presets::like_imagerelay()).await;
    let root = rig.store.remote().root();
    let old = rig.store.remote().put(&root, "old.txt", &b"1"[..]).expect("put");
    assert_eq!(rig.names("").await, ["old.txt"]);
    tokio::spawn(rig.vfs.clone().run_upkeep());
    pass(&rig, Duration::from_secs(70)).await;
    rig.store.remote().remove(&old.id).expect("removed");
    rig.store.remote().put(&root, "new.txt", &b"2"[..]).expect("put");
    until_names(&rig, &["new.txt"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_that_nobody_uses_is_polled_less_and_at_once_when_somebody_comes_back() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    let root = rig.store.remote().root();
    rig.store.remote().put(&root, "a.txt", &b"a"[..]).expect("put");
    rig.names("").await;
    tokio::spawn(rig.vfs.clone().run_upkeep());
    pass(&rig, Duration::from_secs(7200)).await;
    let polls = rig.store.faults().calls(Op::Changes);
    assert!((20..=40).contains(&polls), "{polls} polls in two hours");
    rig.store.remote().put(&root, "b.txt", &b"b"[..]).expect("put");
    // A second look after a moment shows it.
    rig.names("").await;
    until_names(&rig, &["a.txt", "b.txt"]).await;
}

/// With webhooks no poll is waited for: less than a second after the store has told of a change, the drive shows it.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_webhook_tells_shows_within_a_second() {
    let config = VfsConfig {
        poll: Duration::from_secs(86_400),
        ..VfsConfig::default()
    };
    let rig = Rig::with(presets::like_imagerelay(), config, UploaderConfig::default()).await;
    let remote = rig.store.remote();
    let root = remote.root();
    let edited = remote.put(&root, "edited.txt", &b"old"[..]).expect("put");
    let gone = remote.put(&root, "gone.txt", &b"gone"[..]).expect("put");
    assert_eq!(rig.names("").await, ["edited.txt", "gone.txt"]);
    let mut notices = rig.vfs.take_notices().expect("the first to ask");
    let (tell, told) = tokio::sync::mpsc::channel(16);
    let vfs = rig.vfs.clone();
    tokio::spawn(async move { vfs.follow_deliveries(told).await });
    tokio::spawn(rig.vfs.clone().run_upkeep());
    // The store's clock ticks in seconds.
    rig.clock.advance(Duration::from_secs(5));
    remote.write(&edited.id, &b"edited elsewhere"[..]).expect("written");
    remote.remove(&gone.id).expect("removed");
    let new = remote.put(&root, "new.txt", &b"new"[..]).expect("put");
    for id in [&edited.id, &gone.id, &new.id, &edited.id] {
        tell.send(id.clone()).await.expect("somebody listens");
    }
    let shown = async || {
        rig.names("").await == ["edited.txt", "new.txt"] && rig.at("edited.txt").await.is_ok_and(|attr| attr.size == 16)
    };
    // Each step is waited for; all of them are one second on the drive's clock.
    let mut seen = false;
    for _ in 0..10 {
        rig.clock.advance(Duration::from_millis(100));
        for _ in 0..300 {
            seen = shown().await;
            if seen {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if seen {
            break;
        }
    }
    assert!(seen, "{:?}", rig.names("").await);
    assert_eq!(rig.store.faults().calls(Op::Changes), 0, "no poll has told it");
    assert_eq!(rig.store.faults().calls(Op::Stat), 3, "each item is asked for once");
    let mut told = Vec::new();
    while let Ok(notice) = notices.try_recv() {
        told.push(notice);
    }
    let content = |n: &Notice| matches!(n, Notice::Content { .. });
    assert!(told.iter().any(content), "the kernel drops the old pages: {told:?}");
    assert!(
        told.iter()
            .any(|n| matches!(n, Notice::Deleted { name, .. } if name.as_str() == "gone.txt")),
        "{told:?}"
    );
}

/// What the store was still at work on could not be opened until somebody listed the folder again.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_store_was_still_working_on_is_opened_when_it_is_done() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    let remote = rig.store.remote();
    let file = remote.put(&remote.root(), "a.txt", "content").expect("a file");
    remote
        .set_availability(&file.id, Availability::Processing)
        .expect("a file");
    let refused = rig.read("a.txt").await.expect_err("not there yet");
    assert_eq!(refused.errno(), libc::EAGAIN);
    remote.set_availability(&file.id, Availability::Ready).expect("a file");
    for _ in 0..30_000 {
        rig.clock.advance(Duration::from_secs(1));
        match rig.read("a.txt").await {
            Ok(bytes) => return assert_eq!(bytes, b"content"),
            Err(error) => assert_eq!(error.errno(), libc::EAGAIN),
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("it is never opened");
}
