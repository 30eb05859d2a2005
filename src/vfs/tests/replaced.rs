//! Where a save is a new file that takes the old one's place: what becomes of the old one, and of a new one that is not right.

use std::time::Duration;

use super::rig::{Rig, all_stores};
use crate::model::ItemId;
use crate::store::memory::{Fault, Op};
use crate::store::{Capabilities, ErrorKind, Overwrite, Retry};
use crate::vfs::Keep;

const OLD: &[u8] = b"old";
const NEW: &[u8] = b"new and longer";
const THEIRS: &[u8] = b"theirs, the longest of all";

/// The stores that take new bytes as a new file.
fn stores() -> impl Iterator<Item = Capabilities> {
    all_stores()
        .into_iter()
        .filter(|store| store.overwrite == Overwrite::Reupload)
}

/// A file in the store, and who it is.
async fn rig(store: Capabilities) -> (Rig, ItemId) {
    let rig = Rig::new(store).await;
    let remote = rig.store.remote();
    let file = remote.put(&remote.root(), "a.txt", OLD).expect("put");
    rig.names("").await;
    (rig, file.id)
}

/// Everything that the root folder has in the store.
fn held(rig: &Rig) -> Vec<(String, Vec<u8>)> {
    let remote = rig.store.remote();
    let mut held: Vec<_> = remote
        .children(&remote.root())
        .into_iter()
        .filter_map(|entry| Some((entry.name, remote.bytes(&entry.id)?.to_vec())))
        .collect();
    held.sort();
    held
}

/// The new file is in the store, and the old one cannot be removed for now.
async fn save_beside(rig: &Rig, bytes: &[u8]) {
    let refused = Fault::Fail(ErrorKind::Network, Retry::After(Duration::from_secs(1)));
    rig.store.faults().always(Op::Remove, refused);
    rig.write("a.txt", bytes).await.expect("write");
    for _ in 0..20 {
        rig.clock.advance(Duration::from_secs(2));
        rig.rest().await;
        if held(rig).len() == 2 {
            return;
        }
    }
    panic!("the new file does not arrive: {:?}", held(rig));
}

/// The number of a conflict that comes up.
async fn conflict(rig: &Rig) -> u64 {
    for _ in 0..20 {
        rig.clock.advance(Duration::from_secs(30));
        rig.rest().await;
        let waiting = rig.vfs.attention().await.expect("a list");
        if let Some(item) = waiting.iter().find(|item| item.state == "conflict") {
            return item.id.expect("a number");
        }
    }
    panic!("no conflict comes up");
}

/// The old one had been changed by others before it was removed, and their version went with it.
#[tokio::test(flavor = "multi_thread")]
async fn what_others_have_changed_since_it_was_replaced_is_not_removed() {
    for store in stores() {
        let (rig, old) = rig(store).await;
        save_beside(&rig, NEW).await;
        rig.store.remote().write(&old, THEIRS).expect("written");
        rig.store.faults().clear();
        rig.settle().await;
        let both = [
            ("a.txt".to_owned(), NEW.to_vec()),
            ("a.txt".to_owned(), THEIRS.to_vec()),
        ];
        assert_eq!(held(&rig), both);
        rig.clock.advance(Duration::from_secs(2000));
        rig.vfs.refresh("/").await.expect("a listing");
        assert_eq!(rig.read("a.txt").await.expect("read"), NEW);
        assert_eq!(rig.names("").await.len(), 2, "theirs shows beside it");
    }
}

/// The old one was to go with the next version, which was in conflict, and was given up: it stayed for ever.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_replaced_goes_although_the_next_version_is_in_conflict() {
    for store in stores() {
        for keep in [Keep::Theirs, Keep::Mine] {
            let (rig, old) = rig(store.clone()).await;
            save_beside(&rig, NEW).await;
            rig.write("a.txt", b"another one").await.expect("write");
            let remote = rig.store.remote();
            let other = |entry: &crate::model::Entry| entry.id != old;
            let new = remote.children(&remote.root()).into_iter().find(other).expect("made");
            remote.write(&new.id, THEIRS).expect("written");
            let conflict = conflict(&rig).await;
            rig.vfs.resolve(conflict, keep).await.expect("resolved");
            rig.store.faults().clear();
            rig.clock.advance(Duration::from_secs(400));
            rig.settle().await;
            let kept: &[u8] = match keep {
                Keep::Theirs => THEIRS,
                Keep::Mine | Keep::Both => b"another one",
            };
            assert_eq!(held(&rig), [("a.txt".to_owned(), kept.to_vec())], "{keep:?}");
        }
    }
}

/// What had arrived was not what was sent. Another one was made, and the first stayed beside it.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_file_that_is_not_right_does_not_stay() {
    for store in stores() {
        let (rig, _) = rig(store).await;
        rig.store.faults().inject(Op::Create, 1, Fault::CutAfter(5));
        rig.write("a.txt", NEW).await.expect("write");
        rig.settle().await;
        assert_eq!(held(&rig), [("a.txt".to_owned(), NEW.to_vec())]);
        assert_eq!(rig.store.faults().calls(Op::Create), 2);
        assert_eq!(rig.read("a.txt").await.expect("read"), NEW);
    }
}

/// Others had moved it into a folder that nobody has looked into here: the new file went to the old folder.
#[tokio::test(flavor = "multi_thread")]
async fn a_save_goes_into_a_folder_that_nobody_has_listed() {
    let names = ["a.txt", "b.txt"];
    for (store, name) in stores().flat_map(|store| names.map(|name| (store.clone(), name))) {
        let (rig, old) = rig(store).await;
        let remote = rig.store.remote();
        let folder = remote.mkdir(&remote.root(), "d").expect("a folder");
        rig.write("a.txt", NEW).await.expect("write");
        remote.rename(&old, name).expect("renamed");
        remote.place(&old, std::slice::from_ref(&folder.id)).expect("moved");
        rig.settle().await;
        rig.clock.advance(Duration::from_secs(2000));
        rig.vfs.refresh("/").await.expect("a listing");
        assert_eq!(rig.read(&format!("d/{name}")).await.expect("read"), NEW);
        assert_eq!(rig.names("").await, ["d"]);
        assert_eq!(remote.children(&folder.id).len(), 1);
    }
}

/// A save after it was given up: what the one before it had replaced stayed beside that for ever.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_replaced_goes_although_the_next_version_is_given_up() {
    for store in stores() {
        let (rig, _) = rig(store).await;
        save_beside(&rig, NEW).await;
        let refused = Fault::Fail(ErrorKind::Denied, Retry::Never);
        rig.store.faults().always(Op::Create, refused);
        rig.write("a.txt", b"another one").await.expect("write");
        let parked = loop {
            rig.clock.advance(Duration::from_secs(30));
            rig.rest().await;
            let waiting = rig.vfs.attention().await.expect("a list");
            if let Some(item) = waiting.iter().find(|item| item.state == "parked") {
                break item.id.expect("a number");
            }
        };
        rig.vfs.discard(parked).await.expect("discarded");
        rig.store.faults().clear();
        rig.clock.advance(Duration::from_secs(400));
        rig.settle().await;
        assert_eq!(held(&rig), [("a.txt".to_owned(), NEW.to_vec())]);
        assert_eq!(rig.read("a.txt").await.expect("read"), NEW);
    }
}
