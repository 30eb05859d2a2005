//! Changes behind others that only the user moves on, and what people are told who wait for the store.

use std::time::Duration;

use super::rig::Rig;
use crate::journal::UploaderConfig;
use crate::store::memory::{self as presets, Fault, Op};
use crate::store::{ErrorKind, Retry};
use crate::vfs::{Error, Keep, VfsConfig};

async fn states(rig: &Rig) -> Vec<(String, String)> {
    let waiting = rig.vfs.attention().await.expect("a list");
    waiting.into_iter().map(|item| (item.path, item.state)).collect()
}

fn pair(path: &str, state: &str) -> (String, String) {
    (path.to_owned(), state.to_owned())
}

/// Behind a deletion that was held waited the removal of its folder, and `assetfs sync` waited with it, for ever. It also
/// took two words to let the whole burst go.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_behind_what_waits_for_the_user_is_no_reason_to_wait() {
    let rig = Rig::with(
        presets::like_imagerelay(),
        VfsConfig::default(),
        UploaderConfig { delete_max: 1 },
    )
    .await;
    rig.mkdir("d").await.expect("mkdir");
    rig.mkdir("d/e").await.expect("mkdir");
    for path in ["d/1.txt", "d/2.txt", "d/e/3.txt"] {
        rig.write(path, b"x").await.expect("write");
    }
    rig.settle().await;
    for path in ["d/1.txt", "d/2.txt", "d/e/3.txt"] {
        rig.unlink(path).await.expect("unlink");
    }
    rig.rmdir("d/e").await.expect("rmdir");
    rig.rmdir("d").await.expect("rmdir");
    rig.settle().await;
    let report = rig.vfs.sync(None, None).await.expect("it ends");
    assert_eq!((report.pending, report.parked, report.held), (0, 0, 4), "{report:?}");
    let told = |part: &str| report.problems.iter().filter(|p| p.contains(part)).count();
    assert_eq!(
        told("deletion held") + told("the deletion of which is held"),
        4,
        "{report:?}"
    );
    assert!(told("the deletion of which is held") > 0, "{report:?}");
    let listed = states(&rig).await;
    assert!(listed.iter().all(|(_, state)| state == "held"), "{listed:?}");
    let unknown = rig.vfs.approve(Some(u64::MAX)).await;
    assert!(matches!(unknown, Err(Error::Invalid(_))), "{unknown:?}");
    assert_eq!(rig.vfs.approve(None).await.expect("approve"), 4);
    rig.settle().await;
    let report = rig.vfs.sync(None, None).await.expect("it ends");
    assert!(report.is_clean(), "{report:?}");
    assert!(rig.stored().is_empty());
}

/// The same with what the store refuses: a name that is given once is not free as long as its owner is parked.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_behind_what_is_parked_is_told_and_no_reason_to_wait() {
    let rig = Rig::new(presets::like_flextype()).await;
    rig.mkdir("d").await.expect("mkdir");
    rig.write("d/a.txt", b"a").await.expect("write");
    rig.settle().await;
    rig.store
        .faults()
        .always(Op::Relocate, Fault::Fail(ErrorKind::Denied, Retry::Never));
    rig.rename("d/a.txt", "a.txt").await.expect("rename");
    rig.rmdir("d").await.expect("rmdir");
    rig.settle().await;
    let report = rig.vfs.sync(None, None).await.expect("it ends");
    assert_eq!((report.pending, report.parked, report.held), (0, 2, 0), "{report:?}");
    assert_eq!(states(&rig).await, [pair("/a.txt", "parked"), pair("/d", "waiting")]);
    rig.store.faults().clear();
    rig.vfs.retry(None).await.expect("retry");
    rig.settle().await;
    assert_eq!(rig.stored(), [("/a.txt".to_owned(), Some(b"a".to_vec()))].into());
}

/// `assetfs sync` said that everything is in the store, and a file whose name the store refuses was parked a minute later.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_the_store_refuses_is_told_to_who_waits_for_the_store() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    rig.write("README", b"x").await.expect("write");
    assert_eq!(states(&rig).await, [], "a program may still rename it");
    rig.settle().await;
    let report = rig.vfs.sync(None, None).await.expect("it ends");
    assert_eq!((report.pending, report.parked), (0, 1), "{report:?}");
    assert_eq!(states(&rig).await, [pair("/README", "parked")]);
    rig.rename("README", "README.txt").await.expect("rename");
    rig.settle().await;
    assert!(rig.vfs.sync(None, None).await.expect("it ends").is_clean());
    assert_eq!(rig.stored()["/README.txt"], Some(b"x".to_vec()));
}

/// The other version had been changed here too, and that was thrown away without a word.
#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_is_not_resolved_over_what_waits_to_be_sent() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    rig.write("plan.txt", b"base").await.expect("write");
    rig.settle().await;
    let id = rig.store.remote().find("plan.txt").expect("stored").id;
    let mut copies = Vec::new();
    for round in ["one", "two"] {
        rig.write("plan.txt", round.as_bytes()).await.expect("write");
        rig.store
            .remote()
            .write(&id, format!("theirs {round}"))
            .expect("changed");
        // Both within one second of the clock.
        while states(&rig).await.len() == copies.len() {
            rig.vfs.sync(None, Some(Duration::ZERO)).await.expect("report");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        copies = states(&rig).await;
    }
    assert_ne!(copies[0].0, copies[1].0, "each has a name of its own");
    let mut bytes = Vec::new();
    for (path, _) in &copies {
        bytes.push(rig.read(path.trim_start_matches('/')).await.expect("read"));
    }
    bytes.sort();
    assert_eq!(bytes, [b"one", b"two"]);
    rig.write("plan.txt", b"changed here too").await.expect("write");
    let first = rig.at(&copies[0].0).await.expect("there").ino.0;
    let refused = rig.vfs.resolve(first, Keep::Mine).await;
    assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    rig.settle().await;
    assert_eq!(rig.stored()["/plan.txt"], Some(b"changed here too".to_vec()));
    rig.vfs.resolve(first, Keep::Mine).await.expect("resolve");
    rig.settle().await;
    assert!(matches!(rig.stored().get("/plan.txt"), Some(Some(bytes)) if bytes == b"one" || bytes == b"two"));
}
