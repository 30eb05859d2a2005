//! New files and versions: whole, once, and resumed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::*;
use crate::emulator::common::{Action, FaultRule, When};
use crate::emulator::imagerelay::Edit;
use crate::store::{ErrorKind, Progress, Resume};

const MIB: usize = 1 << 20;

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n / 7 + n / 4096) as u8).collect()
}

#[tokio::test]
async fn what_is_uploaded_in_parallel_chunks_is_what_is_read() {
    let rig = rig().await;
    let content = pattern(23 * MIB + 17);
    let entry = rig.create("big.bin", &content).await;
    assert_eq!(entry.parents, [rig.root_id()]);
    assert!(rig.remote_bytes("big.bin") == content);
    let smaller = pattern(11 * MIB);
    rig.replace(&entry, &smaller).await.expect("a version");
    assert!(rig.remote_bytes("big.bin") == smaller);
}

#[tokio::test]
async fn an_empty_file_is_made_and_a_file_can_be_emptied() {
    let rig = rig().await;
    let entry = rig.create("empty.txt", b"").await;
    assert_eq!((entry.size, rig.remote_bytes("empty.txt").len()), (Some(0), 0));
    let filled = rig.replace(&entry, b"text").await.expect("a version");
    assert_eq!(
        (&filled.id, rig.remote_bytes("empty.txt")),
        (&entry.id, b"text".to_vec())
    );
    rig.replace(&filled, b"").await.expect("a version");
    assert_eq!(rig.remote_bytes("empty.txt"), b"");
}

#[tokio::test]
async fn a_version_keeps_the_id_and_renames_only_when_asked_to() {
    let rig = rig().await;
    let file = rig.foreign("a.bin", b"old").await;
    let kept = rig.replace(&file, b"new").await.expect("a version");
    assert_eq!((&kept.id, kept.name.as_str(), kept.size), (&file.id, "a.bin", Some(3)));
    let renamed = rig
        .store
        .replace(
            &kept,
            Some(&kept.version),
            Some(&name("b.bin")),
            &body(b"new"),
            &UploadProgress::default(),
        )
        .await
        .expect("a version");
    assert_eq!((&renamed.id, renamed.name.as_str()), (&file.id, "b.bin"));
    assert_eq!(rig.remote_bytes("b.bin"), b"new");
}

#[tokio::test]
async fn the_answer_is_the_file_as_it_will_be_while_the_version_is_queued() {
    let rig = rig_of(Setup {
        options: ImageRelayOptions {
            version_lag: Duration::from_secs(600),
            ..ImageRelayOptions::default()
        },
        ..Setup::default()
    })
    .await;
    let file = rig.foreign("a.bin", b"old").await;
    let next = rig
        .store
        .replace(
            &file,
            Some(&file.version),
            Some(&name("b.bin")),
            &body(b"longer"),
            &UploadProgress::default(),
        )
        .await
        .expect("a version");
    assert_eq!((next.name.as_str(), next.size), ("b.bin", Some(6)));
    // The server still tells the old state: that is no conflict with the next save.
    rig.replace(&next, b"longer still").await.expect("a version");
}

#[tokio::test]
async fn somebody_elses_version_is_not_overwritten() {
    let rig = rig().await;
    let file = rig.foreign("a.bin", b"old").await;
    let id = file.id.key().parse().expect("a number");
    rig.server.remote().replace(id, b"theirs!".to_vec()).expect("a version");
    rig.core().known.forget_file(id);
    let error = rig.replace(&file, b"ours").await.expect_err("a conflict");
    assert_eq!(error.kind, ErrorKind::Conflict);
    assert_eq!(rig.remote_bytes("a.bin"), b"theirs!");
}

#[tokio::test]
async fn a_change_of_metadata_is_no_conflict_when_the_bytes_prove_it() {
    let rig = rig().await;
    let file = rig.foreign("a.bin", b"old").await;
    rig.read(&file, 0..3).await.expect("bytes");
    let id = file.id.key().parse().expect("a number");
    let (term, value) = ("Credit".to_owned(), "x".to_owned());
    rig.server
        .remote()
        .edit(Edit::SetTerm { id, term, value })
        .expect("an edit");
    rig.core().known.forget_file(id);
    let done = rig.replace(&file, b"ours").await;
    let theirs = rig.store.stat(&file.id).await.expect("an entry");
    assert!(done.is_ok(), "{done:?} {theirs:?}");
}

#[tokio::test]
async fn a_job_that_takes_its_time_is_waited_for() {
    let rig = rig_of(Setup {
        options: ImageRelayOptions {
            processing_lag: Duration::from_millis(900),
            ..ImageRelayOptions::default()
        },
        ..Setup::default()
    })
    .await;
    let entry = rig.create("a.bin", b"bytes").await;
    assert_eq!(rig.remote_bytes("a.bin"), b"bytes");
    assert_eq!(entry.size, Some(5));
}

#[tokio::test]
async fn chunks_that_are_refused_for_their_size_are_cut_smaller() {
    let rig = rig_of(quirks(Quirks {
        chunk_bytes_max: 5_000_000,
        ..Quirks::default()
    }))
    .await;
    for size in [5_100_000, 12 * MIB] {
        let content = pattern(size);
        let entry = rig.create("a.bin", &content).await;
        assert!(rig.remote_bytes("a.bin") == content);
        let changed = pattern(size + 1);
        rig.replace(&entry, &changed).await.expect("a version");
        assert!(rig.remote_bytes("a.bin") == changed);
        rig.store.remove(&entry).await.expect("removed");
    }
    // Learnt from the very first refusal.
    assert_eq!(rig.server.counters().statuses.get(&422).copied().unwrap_or(0), 1);
}

#[tokio::test]
async fn an_upload_goes_on_where_it_stopped() {
    let rig = rig().await;
    let content = pattern(16 * MIB);
    let progress = UploadProgress::default();
    let fields = FieldChanges::new();
    let parent = rig.root_id();
    let rule = FaultRule::new("POST */upload_jobs/*/chunks/4", When::Always, Action::status(403));
    rig.server.faults().add(rule);
    let (n, b) = (name("a.bin"), body(&content));
    let error = rig
        .store
        .create(&parent, &n, &b, &fields, &progress)
        .await
        .expect_err("broken off");
    assert_eq!(error.kind, ErrorKind::Denied);
    rig.server.faults().clear();
    rig.cost();
    rig.store
        .create(&parent, &n, &b, &fields, &progress)
        .await
        .expect("a file");
    // The job and its last chunk.
    assert_eq!(rig.cost(), 2);
    assert!(rig.remote_bytes("a.bin") == content);
}

#[tokio::test]
async fn a_lost_answer_to_the_last_chunk_makes_no_second_file() {
    let rig = rig().await;
    let rule = FaultRule::new(
        "POST /upload_jobs/*/chunks/*",
        When::First(1),
        Action::ApplyThenDropAnswer,
    );
    rig.server.faults().add(rule);
    rig.create("a.bin", b"bytes").await;
    assert_eq!(rig.server.remote().tree(false).files.len(), 1);
}

/// Says no when it is asked whether to publish.
#[derive(Default)]
struct Overtaken {
    asked: AtomicBool,
}

#[async_trait::async_trait]
impl Progress for Overtaken {
    fn resume(&self) -> Option<Resume> {
        None
    }

    fn save(&self, _resume: &Resume) {}

    fn sent(&self, _bytes: u64) {}

    async fn may_publish(&self) -> bool {
        self.asked.store(true, Ordering::Relaxed);
        false
    }
}

#[tokio::test]
async fn bytes_that_were_overtaken_are_not_published() {
    let rig = rig().await;
    let file = rig.foreign("a.bin", b"old").await;
    let progress = Overtaken::default();
    let error = rig
        .store
        .replace(&file, None, None, &body(b"stale"), &progress)
        .await
        .expect_err("given up");
    assert_eq!(error.kind, ErrorKind::Cancelled);
    assert_eq!(rig.remote_bytes("a.bin"), b"old");
    let (n, b) = (name("b.bin"), body(&pattern(6 * MIB)));
    let made = rig
        .store
        .create(&rig.root_id(), &n, &b, &FieldChanges::new(), &progress)
        .await;
    assert_eq!(made.expect_err("given up").kind, ErrorKind::Cancelled);
    assert_eq!(rig.server.remote().find("b.bin"), None);
    assert!(progress.asked.load(Ordering::Relaxed));
}

#[tokio::test]
async fn fields_travel_inside_the_upload() {
    let rig = super::costs::small().await;
    let fields = FieldChanges::from([
        ("term.Credit".to_owned(), vec!["Jane".into()]),
        ("tags".to_owned(), vec!["Spring".into()]),
        ("file_type".to_owned(), vec!["6001".into()]),
    ]);
    let (n, b) = (name("a.bin"), body(b"x"));
    let made = rig
        .store
        .create(&rig.root_id(), &n, &b, &fields, &UploadProgress::default())
        .await
        .expect("a file");
    let told = rig
        .server
        .remote()
        .file(made.id.key().parse().expect("a number"))
        .expect("a file");
    assert_eq!(
        (told.tags, told.terms),
        (
            vec!["Spring".to_owned()],
            vec![("Credit".to_owned(), "Jane".to_owned())]
        )
    );
    assert_eq!(rig.server.counters().of("POST /files/{id}/terms"), 0);
}

#[tokio::test]
async fn a_crash_while_publishing_neither_doubles_a_version_nor_takes_another_for_it() {
    for theirs in [None, Some(b"their".to_vec())] {
        let rig = rig().await;
        let file = rig.foreign("a.bin", b"first").await;
        let progress = UploadProgress::default();
        let rule = FaultRule::new(
            "POST /files/{id}/versions/{uuid}/complete",
            When::First(1),
            Action::ApplyThenDropAnswer,
        );
        rig.server.faults().add(rule);
        let bytes = body(b"ours!");
        let lost = rig
            .store
            .replace(&file, Some(&file.version), None, &bytes, &progress)
            .await;
        assert_eq!(lost.expect_err("lost").retry, crate::store::Retry::Ambiguous);
        let id = file.id.key().parse().expect("a number");
        if let Some(theirs) = theirs.clone() {
            // Of the very same size.
            rig.server.remote().replace(id, theirs).expect("a version");
        }
        rig.core().known.forget_file(id);
        rig.server.reset_counters();
        let again = rig
            .store
            .replace(&file, Some(&file.version), None, &bytes, &progress)
            .await;
        match theirs {
            None => assert_eq!(again.expect("it is there").size, Some(5)),
            Some(_) => assert_eq!(again.expect_err("a conflict").kind, ErrorKind::Conflict),
        }
        let completed = rig.server.counters().of("POST /files/{id}/versions/{uuid}/complete");
        assert_eq!(completed, 0);
    }
}

/// A new name was taken for given because somebody had edited the file meanwhile, and a rename leaves the bytes as they are.
#[tokio::test]
async fn a_rename_that_was_not_carried_out_is_sent_again_though_others_have_edited_the_file() {
    for carried_out in [false, true] {
        let rig = super::costs::small().await;
        let file = rig.foreign("a.bin", b"bytes").await;
        let progress = UploadProgress::default();
        let action = match carried_out {
            true => Action::ApplyThenDropAnswer,
            false => Action::Reset,
        };
        let route = "POST /files/{id}/versions/{uuid}/complete";
        rig.server.faults().add(FaultRule::new(route, When::First(1), action));
        let (bytes, renamed) = (body(b"bytes"), name("b.bin"));
        let replace = async |file: &Entry| {
            let base = Some(&file.version);
            rig.store.replace(file, base, Some(&renamed), &bytes, &progress).await
        };
        replace(&file).await.expect_err("lost");
        let id = file.id.key().parse().expect("a number");
        let edit = Edit::SetTerm {
            id,
            term: "Credit".into(),
            value: "somebody".into(),
        };
        rig.server.remote().edit(edit).expect("an edit");
        rig.core().known.forget_file(id);
        let told = match replace(&file).await {
            // Whether the edit was one of its bytes is not known: the caller looks at it.
            Err(error) if !carried_out && error.kind == ErrorKind::Conflict => {
                let there = rig.store.stat(&file.id).await.expect("there");
                replace(&there).await
            }
            told => told,
        };
        let told = told.expect("renamed");
        let stored = rig.server.remote().file(id).expect("there").name;
        assert_eq!(
            (told.name.as_str(), stored.as_str()),
            ("b.bin", "b.bin"),
            "{carried_out}"
        );
    }
}

#[tokio::test]
async fn saves_and_changes_of_metadata_in_turn_are_no_conflict_while_versions_are_queued() {
    let rig = rig_of(Setup {
        options: ImageRelayOptions {
            version_lag: Duration::from_millis(400),
            ..ImageRelayOptions::default()
        },
        ..Setup::default()
    })
    .await;
    let mut file = rig.foreign("a.bin", b"0").await;
    for round in 1..6usize {
        file = rig.replace(&file, &vec![b'x'; round * 10]).await.expect("a version");
        let changes = FieldChanges::from([("term.Credit".to_owned(), vec![round.to_string().as_str().into()])]);
        file = rig.store.set_fields(&[file], &changes).await.expect("set").remove(0);
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
}

#[tokio::test]
async fn an_unreliable_service_is_got_through() {
    let rig = rig().await;
    let hiccup = FaultRule::new("*", When::Every(5), Action::status(503));
    rig.server.faults().add(hiccup);
    let file = loop {
        // What makes something is not sent twice by itself.
        let (parent, n, b) = (rig.root_id(), name("a.bin"), body(b"bytes"));
        match rig
            .store
            .create(&parent, &n, &b, &FieldChanges::new(), &UploadProgress::default())
            .await
        {
            Ok(file) => break file,
            Err(e) => assert_eq!(e.kind, ErrorKind::Server),
        }
    };
    for _ in 0..10 {
        assert_eq!(rig.store.stat(&file.id).await.expect("an entry").size, Some(5));
    }
    assert_eq!(rig.server.remote().tree(false).files.len(), 1);
}

#[tokio::test]
async fn our_own_later_version_is_a_conflict_for_who_has_not_seen_it() {
    let rig = rig().await;
    let first = rig.create("a.bin", b"first").await;
    rig.replace(&first, b"later").await.expect("a version");
    for size in [5, 6] {
        let error = rig.replace(&first, &vec![b'x'; size]).await.expect_err("a conflict");
        assert_eq!(error.kind, ErrorKind::Conflict);
        assert_eq!(rig.remote_bytes("a.bin"), b"later");
    }
}
