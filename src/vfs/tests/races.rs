//! What must be decided in one go: each was a moment in which somebody else came in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::rig::Rig;
use crate::journal::{Phase, World};
use crate::store::memory as presets;

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
