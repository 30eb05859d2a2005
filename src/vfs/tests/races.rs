//! What must be decided in one go: each was a moment in which somebody else came in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::rig::Rig;
use crate::journal::{Phase, World};
use crate::store::memory::{self as presets, Fault, Op};
use crate::store::{Capabilities, CreateFile};

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
    let anywhere = |capabilities: Capabilities| Capabilities {
        create_file: CreateFile::Anywhere,
        ..capabilities
    };
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
