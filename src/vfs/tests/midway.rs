//! What people do to a file while it is being sent.

use std::time::Duration;

use super::rig::{Rig, all_stores};
use crate::model::{ItemId, Kind};
use crate::store::memory::{Fault, Op};
use crate::store::{Capabilities, CreateFolder, ErrorKind, MoveFolder, Retry};
use crate::vfs::Error;

/// As long as what is sent: nothing but the bytes tells them apart.
const OLD: &[u8] = b"what has been here";
const SENT: &[u8] = b"what is being sent";

/// What is done while the server takes its time.
#[derive(Clone, Copy, Debug)]
enum Meanwhile {
    Rename,
    Move,
    MoveItsFolder,
    RenameItsFolder,
    Save,
    TakeBack,
    SaveAndRename,
    Remove,
    RemoveWithItsFolder,
    RemoveAndMakeAnew,
}

const ALL: [Meanwhile; 10] = [
    Meanwhile::Rename,
    Meanwhile::Move,
    Meanwhile::MoveItsFolder,
    Meanwhile::RenameItsFolder,
    Meanwhile::Save,
    Meanwhile::TakeBack,
    Meanwhile::SaveAndRename,
    Meanwhile::Remove,
    Meanwhile::RemoveWithItsFolder,
    Meanwhile::RemoveAndMakeAnew,
];

impl Meanwhile {
    fn is_possible(self, store: &Capabilities) -> bool {
        match self {
            Self::MoveItsFolder => store.move_folder != MoveFolder::Unsupported,
            Self::RenameItsFolder => store.rename_folder.is_yes(),
            Self::Rename
            | Self::Move
            | Self::Save
            | Self::TakeBack
            | Self::SaveAndRename
            | Self::Remove
            | Self::RemoveWithItsFolder
            | Self::RemoveAndMakeAnew => true,
        }
    }

    /// Does it; answers what is to be left.
    async fn happen(self, rig: &Rig) -> Vec<(&'static str, &'static [u8])> {
        let renamed = async |from, to| rig.rename(from, to).await.expect("renamed");
        let save = async |bytes: &[u8]| rig.write("d/a.txt", bytes).await.expect("saved");
        let saved = async || save(b"newer").await;
        let removed = async || rig.unlink("d/a.txt").await.expect("removed");
        match self {
            Self::Rename => {
                renamed("d/a.txt", "d/b.txt").await;
                vec![("/d/b.txt", SENT)]
            }
            Self::Move => {
                renamed("d/a.txt", "e/a.txt").await;
                vec![("/e/a.txt", SENT)]
            }
            Self::MoveItsFolder => {
                renamed("d", "e/d").await;
                vec![("/e/d/a.txt", SENT)]
            }
            Self::RenameItsFolder => {
                renamed("d", "f").await;
                vec![("/f/a.txt", SENT)]
            }
            Self::Save => {
                saved().await;
                vec![("/d/a.txt", b"newer")]
            }
            Self::TakeBack => {
                save(OLD).await;
                vec![("/d/a.txt", OLD)]
            }
            Self::SaveAndRename => {
                saved().await;
                renamed("d/a.txt", "e/c.txt").await;
                vec![("/e/c.txt", b"newer")]
            }
            Self::Remove => {
                removed().await;
                Vec::new()
            }
            Self::RemoveWithItsFolder => {
                removed().await;
                rig.rmdir("d").await.expect("removed");
                Vec::new()
            }
            Self::RemoveAndMakeAnew => {
                removed().await;
                saved().await;
                vec![("/d/a.txt", b"newer")]
            }
        }
    }
}

/// A file is on its way to the store: a new one, or the next version of one that is there.
async fn sending(store: Capabilities, is_new: bool, fault: Fault) -> Rig {
    let rig = Rig::new(store).await;
    rig.mkdir("d").await.expect("mkdir");
    rig.mkdir("e").await.expect("mkdir");
    if !is_new {
        rig.write("d/a.txt", OLD).await.expect("write");
    }
    rig.settle().await;
    let faults = rig.store.faults();
    let asked = || faults.calls(Op::Create) + faults.calls(Op::Replace);
    let before = asked();
    faults.inject(Op::Create, 1, fault.clone());
    faults.inject(Op::Replace, 1, fault);
    rig.write("d/a.txt", SENT).await.expect("write");
    for _ in 0..3000 {
        if asked() > before {
            // Only this one call has it.
            faults.clear();
            return rig;
        }
        rig.clock.advance(Duration::from_millis(100));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("it is never sent");
}

/// How many files are in a folder of the store, also under one name.
fn count(rig: &Rig, folder: &ItemId) -> usize {
    let children = rig.store.remote().children(folder);
    let each = children.iter().map(|entry| match entry.kind {
        Kind::File => 1,
        Kind::Folder => count(rig, &entry.id),
    });
    each.sum()
}

async fn ends_with(rig: &Rig, files: &[(&str, &[u8])], label: &str) {
    rig.settle().await;
    let waiting = rig.vfs.attention().await.expect("a list");
    assert!(waiting.is_empty(), "{label}: {waiting:?}");
    let stored = rig.stored();
    let held: Vec<(&str, &[u8])> = stored
        .iter()
        .filter_map(|(path, bytes)| Some((path.as_str(), bytes.as_deref()?)))
        .collect();
    assert_eq!(held, files, "{label}");
    assert_eq!(
        count(rig, &rig.store.remote().root()),
        files.len(),
        "{label}: of each one"
    );
    assert_eq!(rig.tree().await, stored, "{label}");
}

async fn meanwhile(fault: Fault) {
    let has_folders = |store: &Capabilities| store.create_folder == CreateFolder::Anywhere;
    for store in all_stores().into_iter().filter(has_folders) {
        for act in ALL.into_iter().filter(|act| act.is_possible(&store)) {
            for is_new in [true, false] {
                let label = format!("{}, {act:?}, new: {is_new}, {fault:?}", store.label);
                let rig = sending(store.clone(), is_new, fault.clone()).await;
                let files = act.happen(&rig).await;
                rig.store.faults().release();
                ends_with(&rig, &files, &label).await;
            }
        }
    }
}

/// A new file was renamed over another while it was sent, and what had been made of it could not be removed at once: the save was
/// parked although it had arrived.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_of_a_file_that_became_anothers_version_is_in_nobodys_way() {
    let has_folders = |store: &Capabilities| store.create_folder == CreateFolder::Anywhere;
    for store in all_stores().into_iter().filter(has_folders) {
        let label = store.label;
        let rig = Rig::new(store).await;
        rig.mkdir("d").await.expect("mkdir");
        rig.write("d/b.txt", OLD).await.expect("write");
        rig.settle().await;
        let faults = rig.store.faults();
        let before = faults.calls(Op::Create);
        faults.inject(Op::Create, 1, Fault::Wait);
        rig.write("d/a.txt", SENT).await.expect("write");
        rig.asked(Op::Create, before + 1).await;
        rig.rename("d/a.txt", "d/b.txt").await.expect("renamed");
        let down = Fault::Fail(ErrorKind::Network, Retry::After(Duration::from_secs(1)));
        faults.always(Op::Remove, down);
        faults.release();
        rig.pass(60).await;
        assert_eq!(rig.read("d/b.txt").await.expect(label), SENT, "{label}");
        assert_eq!(rig.names("d").await, ["b.txt"], "{label}");
        let waiting = rig.vfs.attention().await.expect("a list");
        assert!(waiting.is_empty(), "{label}: {waiting:?}");
        faults.clear();
        ends_with(&rig, &[("/d/b.txt", SENT)], label).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_to_a_file_that_is_being_sent_is_done_to_it_in_the_store() {
    meanwhile(Fault::Wait).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_to_a_file_whose_upload_is_then_refused_is_done_to_what_is_sent_again() {
    meanwhile(Fault::WaitThenFail(
        ErrorKind::Server,
        Retry::After(Duration::from_secs(1)),
    ))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_to_a_file_whose_answer_is_lost_is_done_to_what_is_found() {
    meanwhile(Fault::LoseAnswer).await;
}

/// The store is told of a file's fields when its upload begins. One that was set while that was tried again counted as told.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_set_while_an_upload_is_tried_again_is_set() {
    for store in all_stores() {
        let label = store.label;
        let rig = Rig::new(store).await;
        rig.store.turn(|knobs| knobs.chunk_bytes = 4);
        let broken = Fault::Fail(ErrorKind::Network, Retry::After(Duration::from_secs(1)));
        rig.store.faults().inject(Op::Chunk, 3, broken);
        rig.write("a.txt", b"five chunks of four.").await.expect("write");
        let ino = rig.at("a.txt").await.expect("there").ino;
        let set = async |text: &str| {
            let how = Default::default();
            let set = rig
                .vfs
                .setxattr(super::rig::ME, ino, "user.memory.caption", text.as_bytes(), how);
            set.await.expect(label);
        };
        set("at first").await;
        rig.asked(Op::Chunk, 3).await;
        set("since then").await;
        ends_with(&rig, &[("/a.txt", b"five chunks of four.")], label).await;
        let told = rig.vfs.getxattr(ino, "user.memory.caption").await.expect(label);
        assert_eq!(&told[..], b"since then", "{label}");
        let remote = rig.store.remote();
        let there = remote.children(&remote.root());
        let values = &there[0].fields["caption"].values;
        assert_eq!(values[0].text, "since then", "{label}");
        assert_eq!(rig.store.faults().calls(Op::SetFields), 1, "{label}");
    }
}

/// The second rename left nothing to do, so the first was forgotten while it was under way, and its answer then renamed the
/// file here, too. The same with a lost answer, and for folders and moves.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_taken_back_meanwhile_is_taken_back_in_the_store() {
    let moves = [("a.txt", "b.txt"), ("a.txt", "e/a.txt"), ("d", "f"), ("d", "e/d")];
    for fault in [Fault::Wait, Fault::LoseAnswer] {
        for (store, (from, to)) in all_stores()
            .iter()
            .flat_map(|store| moves.map(|way| (store.clone(), way)))
        {
            let label = format!("{}, {from} to {to}, {fault:?}", store.label);
            let has_folders = store.create_folder == CreateFolder::Anywhere;
            let rig = Rig::new(store).await;
            let mut files = vec![("/a.txt", OLD)];
            rig.write("a.txt", OLD).await.expect("write");
            if has_folders {
                rig.mkdir("d").await.expect("mkdir");
                rig.mkdir("e").await.expect("mkdir");
                rig.write("d/c.txt", OLD).await.expect("write");
                files.push(("/d/c.txt", OLD));
            } else if to != "b.txt" {
                continue;
            }
            rig.settle().await;
            let ops = [Op::Relocate, Op::Replace, Op::Create];
            let asked = || -> u64 { ops.iter().map(|op| rig.store.faults().calls(*op)).sum() };
            let before = asked();
            for op in ops {
                rig.store.faults().inject(op, 1, fault.clone());
            }
            if let Err(error) = rig.rename(from, to).await {
                assert!(
                    matches!(error, Error::NotPermitted(_) | Error::CrossDevice),
                    "{label}: {error}"
                );
                continue;
            }
            for _ in 0..3000 {
                if asked() > before {
                    break;
                }
                rig.clock.advance(Duration::from_millis(100));
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            rig.store.faults().clear();
            rig.rename(to, from).await.expect(&label);
            rig.store.faults().release();
            ends_with(&rig, &files, &label).await;
        }
    }
}

/// What was set back while the request was under way, or its answer lost, counted as known to the store.
#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_is_set_back_meanwhile_is_set_back_in_the_store() {
    for fault in [Fault::Wait, Fault::LoseAnswer] {
        for store in all_stores() {
            let label = format!("{}, {fault:?}", store.label);
            let rig = Rig::new(store).await;
            let ino = rig.write("a.txt", OLD).await.expect("write");
            let set = async |text: &str| {
                let how = Default::default();
                let set = rig
                    .vfs
                    .setxattr(super::rig::ME, ino, "user.memory.caption", text.as_bytes(), how);
                set.await.expect(&label);
            };
            set("as it was").await;
            rig.settle().await;
            let asked = rig.store.faults().calls(Op::SetFields);
            rig.store.faults().inject(Op::SetFields, 1, fault.clone());
            set("another").await;
            rig.asked(Op::SetFields, asked + 1).await;
            set("as it was").await;
            rig.store.faults().release();
            ends_with(&rig, &[("/a.txt", OLD)], &label).await;
            let told = rig.vfs.getxattr(ino, "user.memory.caption").await.expect(&label);
            assert_eq!(&told[..], b"as it was", "{label}");
            let remote = rig.store.remote();
            let there = remote.children(&remote.root());
            assert_eq!(there[0].fields["caption"].values[0].text, "as it was", "{label}");
        }
    }
}

/// What the store has acknowledged is not sent again after a restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_upload_goes_on_behind_the_last_acknowledged_chunk() {
    for store in all_stores() {
        let label = store.label;
        let mut rig = Rig::new(store).await;
        rig.store.turn(|knobs| knobs.chunk_bytes = 4);
        let broken = Fault::Fail(ErrorKind::Network, Retry::After(Duration::from_secs(1)));
        rig.store.faults().inject(Op::Chunk, 4, broken);
        rig.write("a.txt", b"five chunks of four.").await.expect("write");
        rig.clock.advance(Duration::from_secs(3));
        for _ in 0..3000 {
            if rig.store.faults().calls(Op::Chunk) == 4 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        rig.crash().await;
        ends_with(&rig, &[("/a.txt", b"five chunks of four.")], label).await;
        let chunks = rig.store.faults().calls(Op::Chunk);
        assert_eq!(chunks, 6, "{label}: five, and the one that failed");
    }
}
