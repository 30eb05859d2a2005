//! What a program has not finished, and what it goes on with after it was removed: neither is ever taken for a save.

use std::time::Duration;

use bytes::Bytes;

use super::rig::{ME, Rig, all_stores};
use crate::model::Ino;
use crate::store::memory::{self as presets, Fault, Op};
use crate::store::{ErrorKind, IdScheme, Retry};
use crate::vfs::{Error, Fh, OpenHow};

const OLD: &[u8] = b"the old bytes";

fn how(write: bool) -> OpenHow {
    OpenHow {
        read: true,
        write,
        ..OpenHow::default()
    }
}

/// Opens what has this name now. As the kernel does, walks the path anew when the node changed under it.
async fn open(rig: &Rig, path: &str, write: bool) -> Result<(Ino, Fh), Error> {
    let mut opened = Err(Error::Stale);
    for _ in 0..3 {
        let ino = rig.at(path).await?.ino;
        opened = rig.vfs.open(ME, ino, how(write)).await.map(|opened| (ino, opened.fh));
        if !matches!(opened, Err(Error::Stale)) {
            break;
        }
    }
    opened
}

async fn save(rig: &Rig, path: &str, bytes: &'static [u8]) -> Result<(), Error> {
    let (_, fh) = open(rig, path, true).await?;
    let saved = async {
        rig.vfs.write_at(fh, 0, Bytes::from_static(bytes)).await?;
        rig.vfs.flush(ME, fh).await
    };
    let saved = saved.await;
    rig.vfs.release(fh).await;
    saved
}

/// The rest of a file that was changed in place never came, so its close failed. After a restart nobody knew any more that it
/// was missing: the next change in place sent zeros for it, as a new version.
#[tokio::test(flavor = "multi_thread")]
async fn what_lacks_its_old_bytes_is_never_sent_as_if_it_had_them() {
    for capabilities in all_stores() {
        let label = capabilities.label;
        let mut rig = Rig::new(capabilities).await;
        let remote = rig.store.remote();
        let old = vec![b'o'; 300_000];
        remote.put(&remote.root(), "a.txt", old.clone()).expect("put");
        rig.names("").await;
        rig.store.faults().always(Op::Read, Fault::Hang);
        let (ino, fh) = open(&rig, "a.txt", true).await.expect(label);
        let vfs = rig.vfs.clone();
        let closing = tokio::spawn(async move {
            let written = vfs.write_at(fh, 100, Bytes::from_static(b"new")).await;
            let flushed = vfs.flush(ME, fh).await;
            vfs.release(fh).await;
            written.and(flushed)
        });
        for _ in 0..1000 {
            if closing.is_finished() {
                break;
            }
            rig.clock.advance(Duration::from_secs(5));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(
            closing.await.expect("no panic").is_err(),
            "{label}: the program hears of it"
        );
        rig.store.faults().clear();
        rig.crash().await;
        if rig
            .vfs
            .journal
            .change(ino)
            .is_some_and(|change| change.staged.is_some())
        {
            assert!(rig.vfs.retry(Some(ino.0)).await.is_err(), "{label}");
            assert!(
                save(&rig, "a.txt", b"more").await.is_err(),
                "{label}: it is refused at once"
            );
            assert!(
                rig.read("a.txt").await.is_err(),
                "{label}: nobody knows what it should be"
            );
            let to = rig.dir().join("exported");
            let told = rig.vfs.export(ino.0, &to).await.expect_err(label).to_string();
            assert!(told.contains("zeros"), "{label}: {told}");
            assert_eq!(&std::fs::read(&to).expect("exported")[100..103], b"new", "{label}");
            rig.settle().await;
            rig.vfs.discard(ino.0).await.expect(label);
        }
        rig.settle().await;
        assert_eq!(rig.stored()["/a.txt"].as_deref(), Some(&old[..]), "{label}");
        assert_eq!(rig.read("a.txt").await.expect(label), old, "{label}");
    }
}

/// A retry of everything took a file that was just being written for one that its program had left, and what was there of it
/// when the daemon died was published.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_leaves_alone_what_is_being_written() {
    let mut rig = Rig::new(presets::like_imagerelay()).await;
    rig.write("a.txt", OLD).await.expect("saved");
    rig.settle().await;
    let (ino, fh) = open(&rig, "a.txt", true).await.expect("open");
    rig.vfs
        .write_at(fh, 0, Bytes::from_static(b"half"))
        .await
        .expect("write");
    assert_eq!(rig.vfs.retry(None).await.expect("a retry"), 0);
    let told = rig.vfs.retry(Some(ino.0)).await.expect_err("a retry of it").to_string();
    assert!(told.contains("still writing"), "{told}");
    rig.crash().await;
    rig.settle().await;
    let report = rig.vfs.sync(None, Some(Duration::ZERO)).await.expect("a report");
    assert_eq!(report.parked, 1);
    assert_eq!(rig.stored()["/a.txt"].as_deref(), Some(OLD));
}

/// Who has a removed file open goes on with it. When the removal was given up, or the store refused it, the next program that saved the file went on
/// with that one too, and its bytes were thrown away with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_save_of_a_file_that_came_back_does_not_go_with_those_who_had_it_open() {
    for (capabilities, refused) in all_stores().into_iter().flat_map(|c| [(c.clone(), false), (c, true)]) {
        let label = format!("{}, {refused}", capabilities.label);
        let rig = Rig::new(capabilities).await;
        rig.write("a.txt", OLD).await.expect(&label);
        rig.settle().await;
        let (ino, before) = open(&rig, "a.txt", false).await.expect(&label);
        assert_eq!(rig.vfs.read(before, 0, 100).await.expect(&label), OLD, "{label}");
        if refused {
            let kept = Fault::Fail(ErrorKind::Denied, Retry::Never);
            rig.store.faults().always(Op::Remove, kept);
        }
        rig.unlink("a.txt").await.expect(&label);
        if refused {
            rig.settle().await;
            rig.store.faults().clear();
        } else {
            rig.vfs.discard(ino.0).await.expect(&label);
        }
        save(&rig, "a.txt", b"saved anew").await.expect(&label);
        rig.vfs.release(before).await;
        rig.settle().await;
        let saved = [&b"saved anew"[..], &OLD[b"saved anew".len()..]].concat();
        assert_eq!(rig.stored()["/a.txt"], Some(saved.clone()), "{label}");
        assert_eq!(rig.read("a.txt").await.expect(&label), saved, "{label}");
    }
}

/// The answer to a removal was lost, and a listing told of the file that others had put there before it was sent again: where
/// ids are paths, that one was removed.
#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_is_sent_again_knows_what_it_was_about() {
    for capabilities in all_stores().into_iter().filter(|c| c.ids == IdScheme::Path) {
        let label = capabilities.label;
        let rig = Rig::new(capabilities).await;
        rig.write("a.txt", OLD).await.expect(label);
        rig.settle().await;
        rig.store.faults().inject(Op::Remove, 1, Fault::LoseAnswer);
        rig.unlink("a.txt").await.expect(label);
        for _ in 0..100 {
            if rig.store.faults().calls(Op::Remove) > 0 {
                break;
            }
            rig.clock.advance(Duration::from_millis(100));
            rig.rest().await;
        }
        let remote = rig.store.remote();
        remote.put(&remote.root(), "a.txt", &b"of others"[..]).expect("put");
        rig.vfs.refresh("/").await.expect("a listing");
        rig.settle().await;
        rig.clock.advance(Duration::from_secs(2000));
        rig.settle().await;
        rig.vfs.refresh("/").await.expect("a listing");
        assert_eq!(rig.stored()["/a.txt"].as_deref(), Some(&b"of others"[..]), "{label}");
        assert_eq!(rig.read("a.txt").await.expect(label), b"of others", "{label}");
    }
}

/// A removal was given up while the uploader was about to send it, and was sent all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_is_given_up_at_the_last_moment_is_not_sent() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    let ino = rig.write("a.txt", OLD).await.expect("saved");
    rig.settle().await;
    // Longer than its folders are taken as known: they are asked for first.
    rig.clock.advance(Duration::from_secs(2000));
    rig.settle().await;
    let before = rig.store.faults().calls(Op::Stat);
    rig.store.faults().always(Op::Stat, Fault::Wait);
    rig.unlink("a.txt").await.expect("removed");
    for _ in 0..200 {
        if rig.store.faults().calls(Op::Stat) > before {
            break;
        }
        rig.clock.advance(Duration::from_millis(100));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(rig.store.faults().calls(Op::Stat) > before, "it is about to be sent");
    rig.vfs.discard(ino.0).await.expect("given up");
    rig.store.faults().clear();
    rig.store.faults().release();
    rig.settle().await;
    assert_eq!(rig.stored()["/a.txt"].as_deref(), Some(OLD));
    assert_eq!(rig.read("a.txt").await.expect("it is there"), OLD);
}
