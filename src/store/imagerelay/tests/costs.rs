//! The requests of each operation: the bar of the contract's section 4.

use super::*;
use crate::emulator::imagerelay::Seed;
use crate::store::Placement;

const MIB: usize = 1 << 20;

#[tokio::test]
async fn a_new_file_costs_a_job_and_its_chunks() {
    let rig = rig().await;
    for (size, chunks) in [(1, 1), (5 * MIB, 1), (5 * MIB + 1, 2), (12 * MIB, 3)] {
        let entry = rig.create("new.bin", &vec![7; size]).await;
        assert_eq!(rig.cost(), 1 + chunks, "{size} bytes");
        assert_eq!(entry.size, Some(size as u64));
    }
    // The server may call this one otherwise, which only a look can tell.
    let rig = rig_of(quirks(Quirks {
        names_normalised: true,
        ..Quirks::default()
    }))
    .await;
    let entry = rig.create("Photo Release Form.docx", b"form").await;
    assert_eq!(rig.cost(), 1 + 1 + 1);
    assert_eq!(entry.name, "Photo-Release-Form.docx");
}

#[tokio::test]
async fn what_was_made_together_is_looked_at_together() {
    let rig = rig().await;
    let mut made = Vec::new();
    for n in 0..20 {
        made.push(rig.create(&format!("{n}.txt"), b"text").await);
    }
    assert!(made.iter().all(|entry| !entry.fields_complete));
    rig.cost();
    let told = rig.store.details(&made[3]).await.expect("entries");
    assert_eq!(rig.cost(), 1);
    for entry in &made {
        let told = told.iter().find(|told| told.id == entry.id).expect("it is among them");
        assert!(told.fields_complete && told.fields.contains_key("updated_on"));
    }
    // One alone is read directly.
    let alone = rig.create("alone.txt", b"text").await;
    rig.cost();
    let told = rig.store.details(&alone).await.expect("an entry");
    assert_eq!(
        (told.len(), rig.server.counters().of("GET /files/{id}"), rig.cost()),
        (1, 1, 1)
    );
}

#[tokio::test]
async fn a_listing_that_is_late_does_not_hide_a_new_file() {
    let rig = rig_of(Setup {
        options: ImageRelayOptions {
            listing_lag: std::time::Duration::from_secs(600),
            ..ImageRelayOptions::default()
        },
        ..Setup::default()
    })
    .await;
    let (one, _two) = (rig.create("1.txt", b"one").await, rig.create("2.txt", b"two").await);
    let told = rig.store.details(&one).await.expect("an entry");
    assert_eq!((told.len(), &told[0].id, told[0].fields_complete), (1, &one.id, true));
}

#[tokio::test]
async fn an_overwrite_costs_its_chunks_two_more_and_one_look() {
    let rig = rig().await;
    let entry = rig.foreign("a.bin", b"old").await;
    let entry = rig.replace(&entry, &vec![1; 6 * MIB]).await.expect("a version");
    assert_eq!(rig.cost(), 2 + 2 + 1);
    // Our own look a moment ago is as good as another one now.
    rig.replace(&entry, b"again").await.expect("a version");
    assert_eq!(rig.cost(), 2 + 1 + 1);
}

#[tokio::test]
async fn an_overwrite_of_what_was_only_listed_checks_the_version_first() {
    let rig = rig().await;
    let remote = rig.server.remote();
    remote
        .create_file(remote.root(), "a.bin", b"old".to_vec())
        .expect("a file");
    let root = rig.store.root().await.expect("the root");
    let listed = rig.list(&root).await.expect("a list");
    rig.cost();
    rig.replace(&listed[0], b"new").await.expect("a version");
    assert_eq!(rig.cost(), 2 + 1 + 1 + 1);
}

#[tokio::test]
async fn a_cold_listing_costs_its_pages_and_an_empty_half_nothing() {
    let seed = Seed::Files {
        folders: 130,
        files_per_folder: 250,
    };
    let options = ImageRelayOptions {
        seed,
        ..ImageRelayOptions::default()
    };
    let rig = rig_of(Setup {
        options,
        ..Setup::default()
    })
    .await;
    let root = rig.store.root().await.expect("the root");
    rig.cost();
    let folders = rig.list(&root).await.expect("a list");
    assert_eq!(folders.len(), 130);
    // Two pages of folders; the files' half is asked for unless the root says that it has none.
    assert!(rig.cost() <= 3);
    let files = rig.list(&folders[0]).await.expect("a list");
    assert_eq!((files.len(), rig.cost()), (250, 3));
}

#[tokio::test]
async fn reading_costs_one_link_for_any_number_of_ranges() {
    let rig = rig().await;
    let file = rig.foreign("a.bin", &vec![3; 100_000]).await;
    let ranges = (0..8u64).map(|n| rig.read(&file, n * 10_000..(n + 1) * 10_000));
    for bytes in futures_util::future::join_all(ranges).await {
        assert_eq!(bytes.expect("bytes").len(), 10_000);
    }
    assert_eq!(rig.server.counters().content, 8);
    assert_eq!(rig.cost(), 1);
}

#[tokio::test]
async fn changes_of_place_and_metadata_cost_one_request_each() {
    let rig = rig().await;
    let remote = rig.server.remote();
    let other = ItemId::of(
        "folder",
        remote.create_folder(remote.root(), "Other").expect("a folder"),
    );
    let file = rig.foreign("a.bin", b"bytes").await;

    let linked = rig.store.link(&file, &other).await.expect("linked");
    assert_eq!((rig.cost(), linked.parents.len()), (1, 2));

    let to = Placement {
        name: file.name.clone(),
        parents: vec![other.clone()],
    };
    let moved = rig.store.relocate(&linked, &to).await.expect("moved");
    assert_eq!((rig.cost(), &moved.parents), (1, &to.parents));
    assert_eq!(moved.version, file.version);

    let made = rig.store.create_folder(&other, &name("Inner")).await.expect("a folder");
    assert_eq!(rig.cost(), 1);
    let to = Placement {
        name: "Renamed".to_owned(),
        parents: vec![rig.root_id()],
    };
    rig.store.relocate(&made, &to).await.expect("moved");
    assert_eq!(rig.cost(), 1);

    let copy = rig
        .store
        .copy(&moved, &rig.root_id(), &name("a.bin"))
        .await
        .expect("a copy");
    assert_eq!(rig.cost(), 1);
    assert_ne!(copy.id, moved.id);
    rig.store.remove(&copy).await.expect("removed");
    assert_eq!(rig.cost(), 1);
}

#[tokio::test]
async fn terms_and_tags_cost_one_request_each_once_the_templates_are_known() {
    let rig = small().await;
    let spring = rig.sample().await;
    rig.store
        .check_fields(&spring, &FieldChanges::from([("term.Credit".into(), vec!["x".into()])]))
        .await
        .expect("fine");
    rig.cost();
    for (field, value) in [("term.Credit", "Joe"), ("append.Description", "more")] {
        let changes = FieldChanges::from([(field.to_owned(), vec![value.into()])]);
        rig.store
            .set_fields(std::slice::from_ref(&spring), &changes)
            .await
            .expect("set");
        assert_eq!(rig.cost(), 1, "{field}");
    }
}

#[tokio::test]
async fn a_poll_for_changes_costs_one_request() {
    let rig = rig().await;
    rig.store.root().await.expect("the root");
    rig.cost();
    let now = crate::model::Timestamp::default();
    let begun = rig.store.changes(None, now).await.expect("a cursor");
    assert_eq!(rig.cost(), 1);
    let made = rig.foreign("new.bin", b"x").await;
    let found = rig.store.changes(Some(&begun.cursor), now).await.expect("changes");
    assert_eq!(rig.cost(), 1);
    assert!(found.changed.iter().any(|entry| entry.id == made.id));
}

/// The sample library.
pub(super) async fn small() -> Rig {
    let options = ImageRelayOptions {
        seed: Seed::Small,
        ..ImageRelayOptions::default()
    };
    rig_of(Setup {
        options,
        ..Setup::default()
    })
    .await
}

impl Rig {
    /// A file of the sample library that has tags.
    pub(super) async fn sample(&self) -> Entry {
        let tree = self.server.remote().tree(false);
        let mut folders = vec![&tree];
        let mut tagged = None;
        while let Some(folder) = folders.pop() {
            tagged = tagged.or_else(|| {
                folder
                    .files
                    .iter()
                    .find(|file| !file.tags.is_empty() && !file.terms.is_empty())
            });
            folders.extend(&folder.folders);
        }
        let id = tagged.expect("a file with tags and terms").id;
        self.store.stat(&ItemId::of("file", id)).await.expect("an entry")
    }
}
