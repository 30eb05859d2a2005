//! Uploads that may have been made.

use super::*;

#[tokio::test]
async fn an_upload_whose_answer_was_lost_is_found_again_and_not_repeated() {
    let s = setup().await;
    s.put(1, "a.jpg", b"abc");
    let upload = "POST /api/project/{id}/files/category/{id}";
    s.server
        .faults()
        .add(FaultRule::new(upload, When::First(1), Action::ApplyThenDropAnswer));
    let progress = UploadProgress::default();
    let (folder, file, content) = (id("category:12-1"), name("a.jpg"), body(b"abc"));
    let fields = change("caption", "mine");
    let first = s
        .store
        .create(&folder, &file, &content, &fields, &progress)
        .await
        .unwrap_err();
    assert_eq!(first.retry, Retry::Ambiguous);
    let made = s
        .store
        .create(&folder, &file, &content, &fields, &progress)
        .await
        .unwrap();
    assert_eq!(made.fields["caption"].values, ["mine".into()]);
    assert_eq!(s.server.counters().of(upload), 1);
    assert_eq!(s.server.project(12).unwrap().files.len(), 2);
    assert_eq!(progress.resume().map(|resume| resume.upload), Some(String::new()));
}

/// As of an upload whose file got another name meanwhile.
struct Forgetful;

#[async_trait::async_trait]
impl Progress for Forgetful {
    fn resume(&self) -> Option<Resume> {
        None
    }

    fn save(&self, _: &Resume) {}

    fn sent(&self, _: u64) {}

    async fn may_publish(&self) -> bool {
        true
    }
}

/// The upload was answered, and what was to be done with the file then failed. Who took that for a refusal sent it again, and
/// there were two.
#[tokio::test]
async fn what_was_made_and_cannot_be_found_again_by_its_note_is_in_doubt_when_its_fields_are_refused() {
    let s = setup().await;
    let metadata = "POST /api/project/{id}/files/{id}/set-metadata";
    s.server
        .faults()
        .add(FaultRule::new(metadata, When::Always, Action::status(500)));
    let fields = change("caption", "mine");
    let noted = UploadProgress::default();
    for (file, progress, is_certain) in [("a.jpg", &noted as &dyn Progress, true), ("b.jpg", &Forgetful, false)] {
        let (parent, name, content) = (id("category:12-1"), name(file), body(file.as_bytes()));
        let single = s.store.create(&parent, &name, &content, &fields, progress).await;
        let new = NewFile {
            name: &name,
            body: &content,
            progress,
        };
        let together = s.store.create_together(&parent, &[new], &fields).await.remove(0);
        for failed in [single, together] {
            let retry = failed.expect_err("the fields are refused").retry;
            assert_eq!(retry != Retry::Ambiguous, is_certain, "{file}: {retry:?}");
        }
    }
}
