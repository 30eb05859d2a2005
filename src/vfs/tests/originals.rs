//! A store that changes what it is sent: the sent bytes are kept, and nobody is shown a mix of both.

use std::time::Duration;

use super::rig::{ME, Rig};
use crate::store::memory::{Op, like_flextype};
use crate::vfs::OpenHow;

const SENT: &[u8] = b"the picture as it came from the camera";
const DAY: Duration = Duration::from_secs(24 * 3600);

async fn altered(rig: &Rig, path: &str) -> Option<String> {
    let ino = rig.at(path).await.expect("it is there").ino;
    let told = rig.vfs.getxattr(ino, "user.assetfs.altered").await.ok()?;
    Some(String::from_utf8(told).expect("text"))
}

fn uploads(rig: &Rig) -> u64 {
    rig.store.faults().calls(Op::Create) + rig.store.faults().calls(Op::Replace)
}

/// Pictures that a site had encoded anew were gone for good: the bytes that were sent were thrown away with the upload.
/// They are kept for 30 days, survive a restart, and one line tells how to get them.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_store_changed_can_be_had_back_for_thirty_days() {
    let mut rig = Rig::new(like_flextype()).await;
    rig.write("a.jpg", SENT).await.expect("a save");
    rig.settle().await;
    let stored = rig.read("a.jpg").await.expect("the store's bytes");
    assert_ne!(stored, SENT);
    assert!(
        altered(&rig, "a.jpg")
            .await
            .is_some_and(|why| why.contains("38 bytes were sent"))
    );

    let kept = rig.vfs.originals().await.expect("a list");
    assert_eq!((kept.len(), kept[0].path.as_str(), kept[0].bytes), (1, "/a.jpg", 38));
    let status = rig.vfs.status(None).await.expect("a status");
    let events = status["events"].as_array().expect("a list");
    assert_eq!(events.len(), 1, "one line: {events:?}");
    assert!(events[0]["text"].as_str().is_some_and(|t| t.contains("assetfs export")));

    rig.crash().await;
    rig.vfs.refresh("/").await.expect("a listing");
    assert!(
        altered(&rig, "a.jpg").await.is_some(),
        "the mark outlives a restart and a listing"
    );
    let number = rig.vfs.number_of("a.jpg").await.expect("a number");
    for (id, name) in [(number, "by-path"), (kept[0].id, "by-number")] {
        let to = rig.dir().join(name);
        rig.vfs.export(id, &to).await.expect("an export");
        assert_eq!(std::fs::read(&to).expect("exported"), SENT);
    }

    rig.clock.advance(DAY * 31);
    rig.crash().await;
    assert!(rig.vfs.originals().await.expect("a list").is_empty());
    assert!(rig.vfs.export(number, &rig.dir().join("late")).await.is_err());
    assert!(altered(&rig, "a.jpg").await.is_some(), "the fact stays");
    let left = std::fs::read_dir(rig.dir().join("state/originals")).expect("a folder");
    assert_eq!(left.count(), 0);
}

/// `rsync` saw another size, copied the picture again, and it was uploaded again at every run. Neither the store's own
/// bytes nor those it made them of are sent a second time.
#[tokio::test(flavor = "multi_thread")]
async fn saving_what_the_store_has_or_made_it_of_sends_nothing() {
    let rig = Rig::new(like_flextype()).await;
    rig.write("a.jpg", SENT).await.expect("a save");
    rig.settle().await;
    let stored = rig.read("a.jpg").await.expect("the store's bytes");
    let before = uploads(&rig);
    for bytes in [&stored[..], SENT, SENT, &stored] {
        rig.write("a.jpg", bytes).await.expect("a save");
        rig.settle().await;
        assert_eq!(rig.read("a.jpg").await.expect("readable"), stored);
        assert!(altered(&rig, "a.jpg").await.is_some());
    }
    rig.write(".a.jpg.Xy12", SENT).await.expect("a copy");
    rig.rename(".a.jpg.Xy12", "a.jpg").await.expect("rsync's last step");
    rig.settle().await;
    assert_eq!(uploads(&rig), before);
    rig.rename("a.jpg", "b.jpg").await.expect("a rename");
    rig.settle().await;
    assert!(altered(&rig, "b.jpg").await.is_some(), "the mark goes with the name");
    rig.rename("b.jpg", "a.jpg").await.expect("and back");
    rig.settle().await;
    assert_eq!(rig.vfs.originals().await.expect("a list").len(), 1, "kept once");
    let staged = std::fs::read_dir(rig.dir().join("state/staging")).expect("a folder");
    assert_eq!(staged.count(), 0, "nothing is left behind");

    rig.write("a.jpg", b"another picture").await.expect("a save");
    rig.settle().await;
    assert_eq!(uploads(&rig), before + 1);
    assert_eq!(rig.vfs.originals().await.expect("a list").len(), 2);
}

/// A viewer that had the picture open got the beginning of the sent bytes and the end of the store's.
#[tokio::test(flavor = "multi_thread")]
async fn who_reads_the_sent_bytes_goes_on_with_them() {
    let rig = Rig::new(like_flextype()).await;
    let ino = rig.write("a.jpg", SENT).await.expect("a save");
    let how = OpenHow {
        read: true,
        ..OpenHow::default()
    };
    let opened = rig.vfs.open(ME, ino, how).await.expect("opens");
    let first = rig.vfs.read(opened.fh, 0, 10).await.expect("reads");
    rig.settle().await;
    let rest = rig.vfs.read(opened.fh, 10, 4096).await.expect("reads");
    assert_eq!([first, rest].concat(), SENT);
    let now = rig.at("a.jpg").await.expect("it is there");
    assert_ne!(now.ino, ino, "the store's bytes are another file");
    assert_ne!(rig.read("a.jpg").await.expect("readable"), SENT);
    assert!(altered(&rig, "a.jpg").await.is_some());
    rig.vfs.release(opened.fh).await;
    let staged = std::fs::read_dir(rig.dir().join("state/staging")).expect("a folder");
    assert_eq!(staged.count(), 0, "the last reader took them along");
}
