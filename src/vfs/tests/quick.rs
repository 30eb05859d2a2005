//! What the kernel's side may do without a task: it answers as the long way does, or says that it cannot.

use bytes::Bytes;

use super::rig::{ME, Rig, name};
use crate::http::{Class, Context, within_context};
use crate::model::Ino;
use crate::store::memory as presets;
use crate::store::{Capabilities, Support};
use crate::vfs::{Error, Lookup, OpenHow, Vfs};

fn found(vfs: &Vfs, text: &str) -> Option<bool> {
    match vfs.lookup_quickly(Ino::ROOT, &name(text)).expect("an answer") {
        Some(Lookup::Found(_)) => Some(true),
        Some(Lookup::Absent) => Some(false),
        None => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_known_at_once_when_its_folder_is() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    let remote = rig.store.remote();
    remote.put(&remote.root(), "there.txt", &b"1"[..]).expect("put");
    assert_eq!(found(&rig.vfs, "there.txt"), None, "never listed");
    assert_eq!(found(&rig.vfs, "nothing.txt"), None, "never listed");
    rig.at("there.txt").await.expect("there");
    assert_eq!(found(&rig.vfs, "there.txt"), Some(true));
    assert_eq!(found(&rig.vfs, "nothing.txt"), Some(false));
    assert_eq!(found(&rig.vfs, ".assetfs"), None, "a folder of our own");
    let there = rig.at("there.txt").await.expect("there");
    let below = rig.vfs.lookup_quickly(there.ino, &name("x"));
    assert!(matches!(below, Err(Error::NotDir)), "{below:?}");
    rig.write("new.txt", b"new").await.expect("write");
    assert_eq!(found(&rig.vfs, "new.txt"), Some(true), "only here so far");
    rig.unlink("new.txt").await.expect("unlink");
    assert_eq!(found(&rig.vfs, "new.txt"), Some(false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_knows_more_than_it_lists_is_asked() {
    let rig = Rig::new(Capabilities {
        unlisted_names: Support::Yes,
        ..presets::whole()
    })
    .await;
    rig.names("").await;
    assert_eq!(found(&rig.vfs, "nothing.txt"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_indexer_that_looks_for_names_keeps_no_folder_fresh() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    rig.names("").await;
    rig.vfs.used.lock().clear();
    let crawler = Context::of(Class::Crawler);
    assert_eq!(within_context(crawler, || found(&rig.vfs, "nothing.txt")), Some(false));
    assert_eq!(rig.vfs.used.lock().len(), 0);
    assert_eq!(found(&rig.vfs, "nothing.txt"), Some(false));
    assert_eq!(rig.vfs.used.lock().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_with_bytes_to_secure_takes_the_long_way_and_nothing_is_done_before() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    rig.names("").await;
    let how = OpenHow {
        write: true,
        ..OpenHow::default()
    };
    let (attr, opened) = rig
        .vfs
        .create(ME, Ino::ROOT, &name("a.txt"), 0o644, how)
        .await
        .expect("create");
    rig.vfs
        .write_at(opened.fh, 0, Bytes::from_static(b"one"))
        .await
        .expect("write");
    assert_eq!(rig.vfs.release_quickly(opened.fh), None);
    let more = rig.vfs.write_at(opened.fh, 3, Bytes::from_static(b" two")).await;
    more.expect("it is still open");
    rig.vfs.flush(ME, opened.fh).await.expect("flush");
    let vfs = rig.vfs.clone();
    let released = tokio::task::spawn_blocking(move || vfs.release_quickly(opened.fh));
    assert_eq!(released.await.expect("no panic"), Some(()));
    assert!(rig.vfs.write_at(opened.fh, 0, Bytes::from_static(b"x")).await.is_err());
    rig.settle().await;
    let stored = rig.store.remote().find("a.txt").expect("stored");
    assert_eq!(rig.read("a.txt").await.expect("read"), b"one two");
    assert_eq!(
        rig.vfs.getattr(attr.ino, None).await.expect("known").size,
        stored.size.unwrap_or(0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_of_what_was_removed_meanwhile_takes_the_long_way() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    rig.names("").await;
    let how = OpenHow {
        write: true,
        ..OpenHow::default()
    };
    let created = rig.vfs.create(ME, Ino::ROOT, &name("a.txt"), 0o644, how).await;
    let (_, opened) = created.expect("create");
    let written = rig.vfs.write_at(opened.fh, 0, Bytes::from_static(b"one")).await;
    written.expect("write");
    rig.vfs.flush(ME, opened.fh).await.expect("flush");
    rig.unlink("a.txt").await.expect("unlink");
    assert_eq!(
        rig.vfs.release_quickly(opened.fh),
        None,
        "its bytes are to be thrown away"
    );
    rig.vfs.release(opened.fh).await;
    rig.settle().await;
    assert!(rig.stored().is_empty());
    let staged = std::fs::read_dir(&rig.vfs.staging_dir).expect("a folder");
    assert_eq!(staged.count(), 0);
}
