//! Several files in one request.

use super::*;

const FILES: usize = 12;
const UPLOAD: &str = "POST /api/project/{id}/files/category/{id}";
const LIST: &str = "GET /api/project/{id}/files/category/{id}";
const METADATA: &str = "POST /api/project/{id}/files/{id}/set-metadata";
const DELETE: &str = "DELETE /api/project/{id}/files/{id}";

/// Files to be uploaded, and what follows each.
struct Files {
    names: Vec<Name>,
    bodies: Vec<Body>,
    progress: Vec<UploadProgress>,
}

impl Files {
    fn new() -> Self {
        let numbers = 0..FILES;
        Self {
            names: numbers.clone().map(|n| name(&format!("f{n:02}.txt"))).collect(),
            bodies: numbers
                .clone()
                .map(|n| body(format!("content {n}").as_bytes()))
                .collect(),
            progress: numbers.map(|_| UploadProgress::default()).collect(),
        }
    }

    async fn create(&self, store: &Im4Store, folder: &str, fields: &FieldChanges) -> Vec<Result<Entry>> {
        let parts = self.names.iter().zip(&self.bodies).zip(&self.progress);
        let files: Vec<NewFile<'_>> = parts
            .map(|((name, body), progress)| NewFile { name, body, progress })
            .collect();
        store.create_together(&id(folder), &files, fields).await
    }
}

impl Setup {
    /// Each file has its own bytes.
    fn assert_held(&self, entries: &[Entry]) {
        assert_eq!(entries.len(), FILES);
        for (n, entry) in entries.iter().enumerate() {
            assert_eq!(entry.name, format!("f{n:02}.txt"));
            let (_, file) = entry.id.key().split_once('-').unwrap();
            let held = self.server.file(12, file.parse().unwrap()).unwrap();
            assert_eq!(held.bytes, Bytes::from(format!("content {n}")), "{}", entry.name);
        }
    }

    async fn uploaded(&self) -> Vec<Entry> {
        let made = Files::new()
            .create(&self.store, "category:12-1", &FieldChanges::new())
            .await;
        self.server.gate().traffic().reset();
        made.into_iter().collect::<Result<Vec<Entry>>>().unwrap()
    }
}

#[tokio::test]
async fn many_uploads_are_one_request_and_each_file_keeps_its_bytes() {
    for shape in SHAPES {
        let s = setup_with(|options| options.shape = shape).await;
        s.put(1, "f03.txt", b"content 3");
        let made = Files::new()
            .create(&s.store, "category:12-1", &change("byline", "us"))
            .await;
        let entries: Vec<Entry> = made.into_iter().collect::<Result<_>>().unwrap();
        s.assert_held(&entries);
        assert!(
            entries
                .iter()
                .all(|entry| entry.fields["byline"].values == ["us".into()])
        );
        let counters = s.server.counters();
        assert_eq!(counters.of(UPLOAD), 1, "{counters:?}");
        assert_eq!(counters.of(METADATA), 1, "{counters:?}");
        assert_eq!(counters.of(LIST), 2, "before and after: {counters:?}");
        assert_eq!(s.server.project(12).unwrap().files.len(), FILES + 1);
    }
}

#[tokio::test]
async fn many_uploads_whose_answer_was_lost_are_each_found_again() {
    let s = setup().await;
    let rule = FaultRule::new(UPLOAD, When::First(1), Action::ApplyThenDropAnswer);
    s.server.faults().add(rule);
    let files = Files::new();
    let none = FieldChanges::new();
    let lost = files.create(&s.store, "category:12-1", &none).await;
    assert!(
        lost.iter()
            .all(|outcome| outcome.as_ref().is_err_and(|e| e.retry == Retry::Ambiguous))
    );
    let found = files.create(&s.store, "category:12-1", &none).await;
    s.assert_held(&found.into_iter().collect::<Result<Vec<_>>>().unwrap());
    assert_eq!(s.server.counters().of(UPLOAD), 1);
    assert_eq!(s.server.project(12).unwrap().files.len(), FILES);
}

/// Only the one that a product uses stays, with the reason.
#[tokio::test]
async fn many_removals_are_one_request_and_each_file_has_its_own_outcome() {
    let s = setup().await;
    let mut entries = s.uploaded().await;
    let (_, used) = entries[4].id.key().split_once('-').unwrap();
    s.server.edit_file(12, used.parse().unwrap(), |file| file.in_use = true);
    entries[5].id = id("file:12-999999");
    let outcomes = s.store.remove_together(&entries).await;
    for (n, outcome) in outcomes.into_iter().enumerate() {
        match n {
            4 => assert_eq!(kind(outcome), ErrorKind::Busy),
            5 => assert_eq!(kind(outcome), ErrorKind::NotFound),
            _ => outcome.unwrap(),
        }
    }
    assert!(s.store.refuses_removal(&entries[4].id).is_err());
    assert_eq!(s.server.counters().of(DELETE), 1);
    assert_eq!(s.server.project(12).unwrap().files.len(), 2);
}

#[tokio::test]
async fn many_moves_and_field_changes_are_one_request_and_one_listing() {
    let s = setup().await;
    let entries = s.uploaded().await;
    let moved = s.store.relocate_together(&entries, &id("category:12-2")).await;
    let moved: Vec<Entry> = moved.into_iter().collect::<Result<_>>().unwrap();
    s.assert_held(&moved);
    assert!(moved.iter().all(|entry| entry.parents == [id("category:12-2")]));
    let counters = s.server.counters();
    assert_eq!((counters.of(METADATA), counters.of(LIST)), (1, 1), "{counters:?}");
    s.server.gate().traffic().reset();
    let set = s.store.set_fields(&moved, &change("caption", "all")).await.unwrap();
    s.assert_held(&set);
    assert!(set.iter().all(|entry| entry.fields["caption"].values == ["all".into()]));
    let counters = s.server.counters();
    assert_eq!((counters.of(METADATA), counters.of(LIST)), (1, 1), "{counters:?}");
    assert_eq!(counters.api, 2, "{counters:?}");
}
