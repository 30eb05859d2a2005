//! Uploads that are cut off or overtaken: they are finished by the next attempt, or leave nothing behind.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;
use crate::store::{Progress, Resume};

/// Keeps notes like the journal does, and cancels when told.
#[derive(Default)]
struct Notes {
    inner: UploadProgress,
    cancelled: AtomicBool,
}

#[async_trait::async_trait]
impl Progress for Notes {
    fn resume(&self) -> Option<Resume> {
        self.inner.resume()
    }
    fn save(&self, resume: &Resume) {
        self.inner.save(resume);
    }
    fn sent(&self, bytes: u64) {
        self.inner.sent(bytes);
    }
    async fn may_publish(&self) -> bool {
        !self.cancelled.load(Ordering::Relaxed)
    }
}

/// Notes that are kept so many times; then other bytes, or another name, are wanted.
struct Overtaken {
    inner: UploadProgress,
    kept: AtomicUsize,
    kept_max: usize,
}

#[async_trait::async_trait]
impl Progress for Overtaken {
    fn resume(&self) -> Option<Resume> {
        let kept = self.kept.load(Ordering::Relaxed);
        self.inner.resume().filter(|_| kept <= self.kept_max)
    }
    fn save(&self, resume: &Resume) {
        if self.kept.fetch_add(1, Ordering::Relaxed) < self.kept_max {
            self.inner.save(resume);
        }
    }
    fn sent(&self, bytes: u64) {
        self.inner.sent(bytes);
    }
    async fn may_publish(&self) -> bool {
        true
    }
}

/// A file was renamed while its upload began and its metadata were refused for a while: the temporary upload, of which
/// nobody knew any more, stayed on the site.
#[tokio::test]
async fn an_upload_that_is_overtaken_leaves_no_temporary_behind() {
    for kept_max in 0..2 {
        let s = setup().await;
        let old = s.create("folder:/", "old.txt", b"old").await.unwrap();
        let refused = FaultRule::new("POST /api/files/meta", When::Always, Action::status(500));
        s.site.faults().add(refused);
        let progress = Overtaken {
            inner: UploadProgress::default(),
            kept: AtomicUsize::new(0),
            kept_max,
        };
        let done = s
            .store
            .replace(&old, Some(&old.version), None, &body(b"new content"), &progress)
            .await;
        assert!(done.is_err(), "{kept_max}: {done:?}");
        assert_eq!(s.paths(), ["old.txt"], "after {kept_max} notes");
    }
}

/// An upload that is cut off at its n-th request, whatever it is, goes on with its notes and leaves nothing behind.
#[tokio::test]
async fn an_upload_that_was_cut_off_anywhere_is_finished_by_the_next_attempt() {
    for fault in [Action::Reset, Action::ApplyThenDropAnswer, Action::status(500)] {
        for cut_at in 1..=12 {
            let s = setup().await;
            let old = s.create("folder:/", "Old One.txt", b"old").await.unwrap();
            s.site.put_field("Old One.txt", "tags", "kept".into());
            let progress = Notes::default();
            let content = body(b"new content");
            s.site
                .faults()
                .add(FaultRule::new("* /api/*", When::Nth(cut_at), fault.clone()));
            let mut tries = 0;
            let entry = loop {
                tries += 1;
                assert!(tries < 5, "{fault:?} at {cut_at}");
                match s
                    .store
                    .replace(&old, Some(&old.version), None, &content, &progress)
                    .await
                {
                    Ok(entry) => break entry,
                    Err(error) => assert!(error.is_transient(), "{fault:?} at {cut_at}: {error}"),
                }
            };
            assert_eq!(entry.size, Some(11), "{fault:?} at {cut_at}");
            assert_eq!(
                s.bytes("file:/Old One.txt").await,
                b"new content",
                "{fault:?} at {cut_at}"
            );
            assert_eq!(
                s.site.field("Old One.txt", "tags"),
                Some("kept".into()),
                "{fault:?} at {cut_at}"
            );
            assert_eq!(s.paths(), ["Old One.txt"], "{fault:?} at {cut_at}");
            s.site.shutdown().await;
        }
    }
}

/// The notes of a swap outlived what they speak of, when a rename overtook the upload that then cleaned up behind itself: the
/// old content was taken for the new.
#[tokio::test]
async fn notes_of_what_is_no_longer_there_are_not_believed() {
    for is_aside in [false, true] {
        let s = setup().await;
        let old = s.create("folder:/", "old.txt", b"old").await.unwrap();
        let only_one_moves = FaultRule::new("PUT /api/files", When::After(u64::from(is_aside)), Action::Reset);
        s.site.faults().add(only_one_moves);
        let (progress, content) = (Notes::default(), body(b"new"));
        let replace = async || {
            let base = Some(&old.version);
            s.store.replace(&old, base, None, &content, &progress).await
        };
        assert!(replace().await.unwrap_err().is_transient());
        s.site.faults().clear();
        let temporary = s.paths().into_iter().find(|path| path.starts_with("assetfs-tmp-"));
        let temporary = s
            .store
            .stat(&id(&format!("file:/{}", temporary.unwrap())))
            .await
            .unwrap();
        s.store.remove(&temporary).await.unwrap();
        let again = replace().await;
        let again = match again {
            Err(error) => {
                assert!(error.is_transient(), "{error}");
                replace().await
            }
            done => done,
        };
        assert_eq!(again.unwrap().size, Some(3));
        assert_eq!(s.bytes("file:/old.txt").await, b"new", "{is_aside}");
        assert_eq!(s.paths(), ["old.txt"], "{is_aside}");
    }
}

#[tokio::test]
async fn a_new_file_whose_upload_was_cut_off_anywhere_arrives_once() {
    for fault in [Action::ApplyThenDropAnswer, Action::status(500)] {
        for cut_at in 1..=9 {
            let s = setup().await;
            s.store.root().await.unwrap();
            let progress = Notes::default();
            let content = body(b"content");
            s.site
                .faults()
                .add(FaultRule::new("* /api/*", When::Nth(cut_at), fault.clone()));
            let mut tries = 0;
            loop {
                tries += 1;
                assert!(tries < 5, "{fault:?} at {cut_at}");
                let created = s
                    .store
                    .create(
                        &id("folder:/"),
                        &name("A b.txt"),
                        &content,
                        &FieldChanges::new(),
                        &progress,
                    )
                    .await;
                match created {
                    Ok(_) => break,
                    Err(error) => assert!(error.is_transient(), "{fault:?} at {cut_at}: {error}"),
                }
            }
            assert_eq!(s.paths(), ["A b.txt"], "{fault:?} at {cut_at}");
            s.site.shutdown().await;
        }
    }
}

/// What the site made of a picture could not be compared with what was sent, and the next attempt took the file for another's.
#[tokio::test]
async fn a_picture_that_could_not_be_compared_is_known_by_the_next_attempt() {
    let s = setup().await;
    let picture = body(&quirks::picture_that_keeps_its_size(&s).await);
    let progress = Notes::default();
    let create = async || {
        let (folder, name) = (id("folder:/"), name("b.jpg"));
        s.store
            .create(&folder, &name, &picture, &FieldChanges::new(), &progress)
            .await
    };
    s.site.faults().add(FaultRule::new(
        "GET /project/uploads*",
        When::Always,
        Action::status(500),
    ));
    assert!(create().await.unwrap_err().is_transient());
    s.site.faults().clear();
    assert!(create().await.unwrap().altered().is_some());
    assert_eq!(progress.resume(), Some(Resume::default()), "all is done");
}

#[tokio::test]
async fn an_upload_that_newer_bytes_overtook_publishes_nothing() {
    let s = setup().await;
    let progress = Notes::default();
    progress.cancelled.store(true, Ordering::Relaxed);
    let created = s
        .store
        .create(
            &id("folder:/"),
            &name("a.txt"),
            &body(b"x"),
            &FieldChanges::new(),
            &progress,
        )
        .await;
    assert_eq!(kind(created), ErrorKind::Cancelled);
    assert_eq!(s.paths(), [""; 0]);
}
