//! Files that are kept on this machine for good.

use std::sync::Arc;
use std::time::Duration;

use super::rig::Rig;
use crate::store::memory::{self as presets, Fault, Op};
use crate::store::{ErrorKind, Retry};
use crate::vfs::PinProgress;

/// `pin` was silent until all of it was there, which takes hours for a large folder.
#[tokio::test(flavor = "multi_thread")]
async fn a_pin_tells_how_far_it_is() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    let root = rig.store.remote().root();
    let folder = rig.store.remote().mkdir(&root, "kept").expect("mkdir").id;
    for (name, bytes) in [("a.txt", &b"four"[..]), ("b.txt", &b"sevenfo"[..])] {
        rig.store.remote().put(&folder, name, bytes).expect("put");
    }
    rig.store.faults().always(Op::Read, Fault::Wait);
    let progress = Arc::new(PinProgress::default());
    let (vfs, told) = (rig.vfs.clone(), progress.clone());
    let pin = tokio::spawn(async move { vfs.pin("kept", &told).await });
    for _ in 0..6000 {
        if rig.store.faults().calls(Op::Read) == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(progress.told(), (2, 11, 0), "both are asked for, and nothing has come");
    while !pin.is_finished() {
        // What was only just asked for waits for the next time.
        rig.store.faults().release();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let report = pin.await.expect("no panic").expect("pinned");
    assert_eq!((report.files, report.bytes, report.failed), (2, 11, 0));
    assert_eq!(progress.told(), (0, 11, 11));
    assert_eq!(rig.store.faults().calls(Op::Read), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_had_is_not_waited_for() {
    let rig = Rig::new(presets::like_imagerelay()).await;
    let root = rig.store.remote().root();
    rig.store.remote().put(&root, "a.txt", &b"kept"[..]).expect("put");
    rig.store
        .faults()
        .always(Op::Read, Fault::Fail(ErrorKind::NotFound, Retry::Never));
    let progress = PinProgress::default();
    let report = rig.vfs.pin("", &progress).await.expect("answered");
    assert_eq!((report.files, report.failed), (0, 1));
    assert_eq!(progress.told(), (0, 0, 0));
}
