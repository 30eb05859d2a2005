//! Writers that die, that never close, and that share a file: what they wrote is shown, kept and sent as it is.

use std::time::Duration;

use bytes::Bytes;

use super::rig::{ME, Rig, name};
use crate::journal::{Durability, Fingerprint, Phase, Publishing, State, UploaderConfig};
use crate::model::Ino;
use crate::store::memory::{self as presets, Fault, Op};
use crate::store::{ErrorKind, Retry};
use crate::vfs::{Caller, Commit, Fh, OpenHow, SetAttr, VfsConfig};

fn writing() -> OpenHow {
    OpenHow {
        read: true,
        write: true,
        ..OpenHow::default()
    }
}

/// A new file with bytes that nobody has closed or synced.
async fn half_written(rig: &Rig, path: &str) -> (Ino, Fh) {
    half_written_by(ME, rig, path).await
}

async fn half_written_by(writer: Caller, rig: &Rig, path: &str) -> (Ino, Fh) {
    let (attr, opened) = rig
        .vfs
        .create(writer, Ino::ROOT, &name(path), 0o644, writing())
        .await
        .expect("create");
    rig.vfs
        .write_at(opened.fh, 0, Bytes::from_static(b"all that was written"))
        .await
        .expect("write");
    (attr.ino, opened.fh)
}

/// One more handle for writing.
async fn opened(rig: &Rig, ino: Ino) -> Fh {
    rig.vfs.open(ME, ino, writing()).await.expect("open").fh
}

async fn parked(rig: &Rig) -> usize {
    let report = rig.vfs.sync(None, Some(Duration::ZERO)).await.expect("a report");
    report.parked
}

/// Of a file whose writer was killed nothing was shown but its name: its length was the one of the last close. A retry sent
/// as little.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_writer_left_is_readable_and_sent_whole_on_demand() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    let (ino, fh) = half_written(&rig, "half.txt").await;
    rig.vfs.opens.get(ino).expect("open").set_killed();
    rig.vfs.release(fh).await;
    rig.settle().await;
    assert_eq!(parked(&rig).await, 1);
    assert!(rig.stored().is_empty(), "it is not published as if it were complete");
    assert_eq!(rig.at("half.txt").await.expect("there").size, 20);
    assert_eq!(rig.read("half.txt").await.expect("read"), b"all that was written");
    assert_eq!(rig.vfs.retry(Some(ino.0)).await.expect("retry"), 1);
    rig.settle().await;
    assert_eq!(rig.stored()["/half.txt"], Some(b"all that was written".to_vec()));
}

/// The same after the end of the daemon.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_being_written_when_the_daemon_died_is_readable_and_sent_whole_on_demand() {
    let mut rig = Rig::new(presets::like_imagerelay()).await;
    let (ino, _) = half_written(&rig, "half.txt").await;
    rig.crash().await;
    rig.settle().await;
    assert_eq!(parked(&rig).await, 1);
    assert_eq!(rig.at("half.txt").await.expect("there").size, 20);
    assert_eq!(rig.vfs.retry(Some(ino.0)).await.expect("retry"), 1);
    rig.settle().await;
    assert_eq!(rig.stored()["/half.txt"], Some(b"all that was written".to_vec()));
}

fn phase(rig: &Rig, ino: Ino) -> Option<Phase> {
    let change = rig.vfs.journal.change(ino);
    change.and_then(|change| Some(change.staged.as_ref()?.phase))
}

/// A program syncs its file and goes on writing it, and a child that it has started in that moment lets go of the file: what
/// there was of the next bytes counted as a save, and was published when the daemon died.
#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_closes_between_a_sync_and_the_next_write_ends_no_save() {
    let mut rig = Rig::new(presets::like_imagerelay()).await;
    let [parent, child] = [std::process::id(), 1].map(|pid| Caller { pid, ..ME });
    let (ino, fh) = half_written_by(parent, &rig, "half.txt").await;
    rig.vfs.fsync(fh).await.expect("synced");
    assert_eq!(phase(&rig, ino), Some(Phase::Closed));
    let open = rig.vfs.opens.get(ino).expect("open");
    let turn = open.turn.lock().await;
    let written = rig.vfs.write_at(fh, 20, Bytes::from_static(b", or nearly"));
    let closed = rig.vfs.flush(child, fh);
    // In the order in which they have asked for it.
    let go_on = async { drop(turn) };
    let (written, closed, ()) = tokio::join!(written, closed, go_on);
    assert!(written.is_ok() && closed.is_ok());
    assert_eq!(phase(&rig, ino), Some(Phase::Open));
    drop(open);
    rig.crash().await;
    rig.settle().await;
    assert_eq!(parked(&rig).await, 1);
    assert!(rig.stored().is_empty());
}

/// One of two that write to a file closes it while the other is at it: the journal had a save, and what the other wrote from
/// then on was published half when the daemon died.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_closed_while_another_writes_to_it_is_durable_and_no_save() {
    for quick in [false, true] {
        let mut rig = Rig::new(presets::like_imagerelay()).await;
        let (ino, fh) = half_written(&rig, "half.txt").await;
        let open = rig.vfs.opens.get(ino).expect("open");
        let edit = open.edit().expect("it is written to");
        let close = async || match quick {
            true => {
                let vfs = rig.vfs.clone();
                let flushed = tokio::task::spawn_blocking(move || vfs.flush_quickly(ME, fh));
                let flushed = flushed.await.expect("no panic");
                flushed.expect("flushed").expect("on the spot");
            }
            false => rig.vfs.flush(ME, fh).await.expect("flushed"),
        };
        close().await;
        assert_eq!(phase(&rig, ino), Some(Phase::Open), "quick: {quick}");
        let is_whole = rig.vfs.journal.change(ino).and_then(|c| Some(c.staged.as_ref()?.whole));
        assert_eq!(is_whole, Some(true), "quick: {quick}");
        drop(edit);
        let still = open.hold_still(Duration::ZERO).expect("nobody writes");
        assert!(open.edit().is_none(), "who wants to write waits for the close");
        drop(still);
        close().await;
        assert_eq!(phase(&rig, ino), Some(Phase::Closed), "quick: {quick}");
        assert!(open.edit().is_none(), "the journal is to know first");
        drop(open);
        rig.crash().await;
        rig.settle().await;
        assert_eq!(parked(&rig).await, 0);
        assert_eq!(rig.stored()["/half.txt"], Some(b"all that was written".to_vec()));
    }
}

/// Who has only opened a file for writing (`touch`, `sync`) closed it while another wrote it in pieces: that made a save of the
/// first of them, and `--commit=close` published it at once.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_written_nothing_ends_nobodys_save() {
    for commit in [Commit::Background, Commit::Close] {
        let config = VfsConfig {
            commit,
            ..VfsConfig::default()
        };
        let rig = Rig::with(presets::like_imagerelay(), config, UploaderConfig::default()).await;
        let (ino, fh) = half_written(&rig, "half.txt").await;
        for write in [true, false] {
            let how = OpenHow { write, ..writing() };
            let other = rig.vfs.open(ME, ino, how).await.expect("open").fh;
            rig.vfs.flush(ME, other).await.expect("flushed");
            rig.vfs.fsync(other).await.expect("synced");
            rig.vfs.release(other).await;
            assert_eq!(phase(&rig, ino), Some(Phase::Open), "{commit:?}, write: {write}");
        }
        let last = opened(&rig, ino).await;
        rig.vfs.release(fh).await;
        assert_eq!(
            phase(&rig, ino),
            Some(Phase::Closed),
            "{commit:?}: who wrote has closed it"
        );
        rig.vfs.release(last).await;
        rig.settle().await;
        assert_eq!(parked(&rig).await, 0);
        assert_eq!(rig.stored()["/half.txt"], Some(b"all that was written".to_vec()));
    }
}

/// One made a file shorter while another had it open: that is a change of its own, and its close ends it.
#[tokio::test(flavor = "multi_thread")]
async fn who_truncates_has_written() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    rig.write("a.txt", b"all that was written").await.expect("saved");
    let ino = rig.at("a.txt").await.expect("there").ino;
    let (idle, other) = (opened(&rig, ino).await, opened(&rig, ino).await);
    let shorter = SetAttr {
        size: Some(3),
        ..SetAttr::default()
    };
    rig.vfs.setattr(ME, ino, Some(other), shorter).await.expect("truncated");
    assert_eq!(phase(&rig, ino), Some(Phase::Open));
    rig.vfs.flush(ME, other).await.expect("flushed");
    assert_eq!(phase(&rig, ino), Some(Phase::Closed));
    rig.vfs.release(other).await;
    rig.vfs.release(idle).await;
    rig.settle().await;
    assert_eq!(rig.stored()["/a.txt"], Some(b"all".to_vec()));
}

/// The last to close had written nothing, and made a save of what a killed program had left half.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_writer_left_is_not_published_by_who_closes_last() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    let (ino, fh) = half_written(&rig, "half.txt").await;
    let idle = opened(&rig, ino).await;
    rig.vfs.opens.get(ino).expect("open").set_killed();
    rig.vfs.release(fh).await;
    rig.vfs.flush(ME, idle).await.expect("flushed");
    assert_eq!(phase(&rig, ino), Some(Phase::Open));
    rig.vfs.release(idle).await;
    rig.settle().await;
    assert_eq!(parked(&rig).await, 1);
    assert!(rig.stored().is_empty());
}

/// The sync of who only waits was told to the journal after the close of who wrote, with the length from before.
#[tokio::test(flavor = "multi_thread")]
async fn what_has_been_closed_keeps_its_length() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    let (ino, fh) = half_written(&rig, "half.txt").await;
    rig.vfs.flush(ME, fh).await.expect("flushed");
    let open = rig.vfs.opens.get(ino).expect("open");
    let id = open.body().name();
    let told = rig.vfs.decide(Durability::Synced, move |d| d.whole_so_far(ino, &id, 3));
    assert!(told.await.expect("decided"), "the journal speaks of it");
    let staged = rig.vfs.journal.change(ino).and_then(|c| c.staged.clone());
    let staged = staged.expect("bytes");
    assert_eq!((staged.size, staged.phase), (20, Phase::Closed));
    rig.vfs.release(fh).await;
}

/// Two had it open; one was killed, and the other wrote all of it anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_save_after_a_killed_writer_is_one() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    let (ino, fh) = half_written(&rig, "half.txt").await;
    let other = opened(&rig, ino).await;
    let open = rig.vfs.opens.get(ino).expect("open");
    open.set_killed();
    rig.vfs.release(fh).await;
    let all = Bytes::from_static(b"ALL that was written");
    rig.vfs.write_at(other, 0, all).await.expect("written");
    rig.vfs.flush(ME, other).await.expect("flushed");
    assert!(!open.is_killed());
    rig.vfs.release(other).await;
    rig.settle().await;
    assert_eq!(parked(&rig).await, 0);
    assert_eq!(rig.stored()["/half.txt"], Some(b"ALL that was written".to_vec()));
}

/// Who has written once and synced that speaks for nothing that another writes since.
#[tokio::test(flavor = "multi_thread")]
async fn the_word_of_who_has_written_is_good_for_one_save() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    let (ino, first) = half_written(&rig, "half.txt").await;
    rig.vfs.fsync(first).await.expect("synced");
    let second = opened(&rig, ino).await;
    let more = Bytes::from_static(b" by two");
    rig.vfs.write_at(second, 20, more).await.expect("written");
    rig.vfs.flush(ME, first).await.expect("flushed");
    rig.vfs.release(first).await;
    assert_eq!(phase(&rig, ino), Some(Phase::Open));
    rig.vfs.release(second).await;
    rig.settle().await;
    assert_eq!(rig.stored()["/half.txt"], Some(b"all that was written by two".to_vec()));
}

/// The bytes came through a mapping, and so through another handle than the one that closes last.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_to_close_ends_the_save_whoever_wrote() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    let (ino, fh) = half_written(&rig, "half.txt").await;
    let others = [opened(&rig, ino).await, opened(&rig, ino).await];
    rig.vfs.handles.file(fh).expect("open").ends_writing().in_a_save();
    rig.vfs.release(fh).await;
    assert_eq!(phase(&rig, ino), Some(Phase::Open));
    let closing = others.into_iter().map(|fh| rig.vfs.release(fh));
    futures_util::future::join_all(closing).await;
    assert_eq!(phase(&rig, ino), Some(Phase::Closed));
}

/// While one program waited for the store, another one wrote to the same file: it was parked as if its writer had died.
#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_the_store_does_not_declare_other_writers_dead() {
    let config = VfsConfig {
        commit: Commit::Fsync,
        ..VfsConfig::default()
    };
    let rig = Rig::with(presets::whole(), config, UploaderConfig::default()).await;
    let (ino, one) = half_written(&rig, "shared.txt").await;
    let other = opened(&rig, ino).await;
    let down = Fault::Fail(ErrorKind::Network, Retry::After(Duration::from_secs(1)));
    rig.store.faults().inject(Op::Create, 1, down);
    let vfs = rig.vfs.clone();
    let waiting = tokio::spawn(async move { vfs.fsync(one).await });
    for _ in 0..1000 {
        if rig.store.faults().calls(Op::Create) > 0 || waiting.is_finished() {
            break;
        }
        rig.clock.advance(Duration::from_millis(100));
        rig.rest().await;
    }
    assert_eq!(rig.store.faults().calls(Op::Create), 1);
    rig.vfs
        .write_at(other, 0, Bytes::from_static(b"ALL"))
        .await
        .expect("the other writes");
    for _ in 0..10 {
        rig.clock.advance(Duration::from_secs(1));
        rig.rest().await;
    }
    let state = rig.vfs.journal.change(ino).expect("it waits").state.clone();
    assert_eq!(state, State::Pending);
    rig.vfs.flush(ME, other).await.expect("flush");
    rig.vfs.release(other).await;
    for _ in 0..100 {
        if waiting.is_finished() {
            break;
        }
        rig.clock.advance(Duration::from_secs(1));
        rig.rest().await;
    }
    waiting.await.expect("ends").expect("it is in the store");
    assert_eq!(rig.stored()["/shared.txt"], Some(b"ALL that was written".to_vec()));
}

/// An office program keeps a document open while it is on the screen: nothing that it saved reached the store before
/// the evening. What is synced by a writer that has had the file open for long is as good as closed.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_synced_by_a_program_that_keeps_its_file_open_is_sent() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    let (_, fh) = half_written(&rig, "letter.txt").await;
    rig.vfs.fsync(fh).await.expect("fsync");
    let minute = async || {
        for _ in 0..60 {
            rig.clock.advance(Duration::from_secs(1));
            rig.rest().await;
        }
    };
    minute().await;
    assert!(rig.stored().is_empty(), "a program that has just begun is not done");
    for _ in 0..5 {
        minute().await;
    }
    assert!(rig.stored().is_empty(), "nor one that has not synced since");
    let write = async |bytes: &'static [u8]| {
        rig.vfs.write_at(fh, 0, Bytes::from_static(bytes)).await.expect("write");
    };
    write(b"ALL").await;
    minute().await;
    assert!(rig.stored().is_empty());
    rig.vfs.fsync(fh).await.expect("fsync");
    minute().await;
    assert_eq!(rig.stored()["/letter.txt"], Some(b"ALL that was written".to_vec()));
    write(b"and").await;
    minute().await;
    assert_eq!(
        rig.stored()["/letter.txt"],
        Some(b"ALL that was written".to_vec()),
        "what is not synced yet may be half"
    );
    assert_eq!(parked(&rig).await, 0);
    rig.vfs.flush(ME, fh).await.expect("flush");
    rig.vfs.release(fh).await;
    rig.settle().await;
    assert_eq!(rig.stored()["/letter.txt"], Some(b"and that was written".to_vec()));
    assert_eq!(rig.tree().await, rig.stored());
}

/// A program began to write in the very moment in which it was noted that a new file is about to be published. Nothing was
/// sent, and all the same it was looked for: the file waited as long as listings may lag, which is five minutes.
#[tokio::test]
async fn an_upload_that_stops_for_a_writer_leaves_nothing_to_look_for() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    let uploader = rig.vfs.uploader().expect("an uploader");
    for round in 0..100 {
        let name = format!("log {round}.txt");
        let ino = rig.write(&name, b"one line").await.expect("written");
        let sent = rig.vfs.journal.change(ino).expect("a change");
        let bytes = Fingerprint {
            size: 8,
            md5: String::new(),
        };
        let mut asked = std::pin::pin!(uploader.may_publish(&sent, Publishing::Makes, &bytes));
        if futures_util::poll!(asked.as_mut()).is_ready() {
            // The journal was faster.
            continue;
        }
        let opened = rig.vfs.open(ME, ino, writing()).await.expect("open");
        assert!(!asked.await, "newer bytes are coming");
        assert_eq!(rig.vfs.journal.change(ino).expect("a change").unanswered, None);
        rig.vfs.release(opened.fh).await;
        return;
    }
    panic!("the journal always answers at once");
}

/// What had been removed while it was being sent was told as a problem, of the path "/".
#[tokio::test(flavor = "multi_thread")]
async fn the_refusal_of_what_is_gone_is_no_problem() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    let refused = Fault::WaitThenFail(ErrorKind::Denied, Retry::Never);
    rig.store.faults().inject(Op::Chunk, 1, refused);
    rig.write("gone.txt", b"soon").await.expect("written");
    rig.asked(Op::Chunk, 1).await;
    rig.unlink("gone.txt").await.expect("removed");
    rig.store.faults().release();
    rig.settle().await;
    assert!(rig.vfs.events.lock().is_empty(), "{:?}", rig.vfs.events.lock());
    assert!(rig.stored().is_empty());
}
