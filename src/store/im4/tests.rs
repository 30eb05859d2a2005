//! The store against the built-in server.

mod doubt;
mod together;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;

use super::*;
use crate::emulator::common::{Action, FaultRule, When};
use crate::emulator::im4::{
    CLIENT_ID, CLIENT_SECRET, Im4Options, Project, Queue, Running, Shape, Understands, ZipSizes, serve,
};
use crate::http::{Client, LocalBudget, Secret};
use crate::model::{Availability, Entry, FieldChanges, ItemId, Kind, ManualClock, Name, SystemClock, Timestamp};
use crate::store::{
    Body, BundlePart, ErrorKind, NewFile, Placement, Progress, Query, Result, Resume, Retry, Store, UploadProgress,
};

struct Setup {
    server: Running,
    store: Im4Store,
}

fn person(firstname: &str, lastname: &str) -> Project {
    Project {
        firstname: firstname.to_owned(),
        lastname: lastname.to_owned(),
        agency: 1,
        categories: BTreeMap::from([(1, "Portraits".to_owned()), (2, "Ceremony".to_owned())]),
        ..Project::default()
    }
}

fn store_for(server: &Running, change: impl FnOnce(&mut Im4Config)) -> Im4Store {
    let clock = SystemClock::shared();
    let base = server.base_url().parse().unwrap();
    let mut config = Im4Config::new(base, CLIENT_ID, Secret::new(CLIENT_SECRET));
    change(&mut config);
    let client = Client::new(config.client(LocalBudget::unlimited(clock.clone())), clock.clone()).unwrap();
    Im4Store::new(client, config, clock)
}

async fn setup_with(change: impl FnOnce(&mut Im4Options)) -> Setup {
    let mut options = Im4Options::default();
    change(&mut options);
    let server = serve(options).await.unwrap();
    server.put_project(12, person("Ada", "Lovelace"));
    let store = store_for(&server, |_| {});
    Setup { server, store }
}

async fn setup() -> Setup {
    setup_with(|_| {}).await
}

fn body(bytes: &[u8]) -> Body {
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, bytes).unwrap();
    Body::new(Arc::new(file), bytes.len() as u64)
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn id(text: &str) -> ItemId {
    ItemId::new(text.to_owned())
}

fn kind<T>(result: Result<T>) -> ErrorKind {
    result.err().expect("an error").kind
}

fn change(name: &str, text: &str) -> FieldChanges {
    FieldChanges::from([(name.to_owned(), vec![text.into()])])
}

impl Setup {
    fn put(&self, category: u64, name: &str, bytes: &'static [u8]) -> ItemId {
        let new = self.server.put_file(12, category, name, bytes).unwrap();
        id(&format!("file:12-{new}"))
    }

    async fn list(&self, folder: &str) -> Result<Vec<Entry>> {
        list(&self.store, folder).await
    }

    async fn names(&self, folder: &str) -> Vec<String> {
        self.list(folder)
            .await
            .unwrap()
            .into_iter()
            .map(|entry| entry.name)
            .collect()
    }

    async fn create(&self, folder: &str, file: &str, bytes: &[u8], fields: &FieldChanges) -> Result<Entry> {
        let progress = UploadProgress::default();
        self.store
            .create(&id(folder), &name(file), &body(bytes), fields, &progress)
            .await
    }

    /// All files of one download.
    async fn bundle(&self, file: &ItemId) -> Result<BTreeMap<String, Vec<u8>>> {
        let entry = self.store.stat(file).await?;
        let mut parts = self.store.read_bundle(&entry).await?;
        let mut files = BTreeMap::new();
        let mut current: Option<(String, Vec<u8>)> = None;
        while let Some(part) = parts.try_next().await? {
            match part {
                BundlePart::Begin { item, .. } => current = Some((item.to_string(), Vec::new())),
                BundlePart::Data(bytes) => current.as_mut().unwrap().1.extend_from_slice(&bytes),
                BundlePart::End => files.extend(current.take()),
            }
        }
        assert!(current.is_none(), "every file ends");
        Ok(files)
    }
}

async fn list(store: &Im4Store, folder: &str) -> Result<Vec<Entry>> {
    let folder = Entry::folder(id(folder), "", Vec::new());
    let batches: Vec<Vec<Entry>> = store.list(&folder).try_collect().await?;
    Ok(batches.concat())
}

const SHAPES: [Shape; 2] = [Shape::A, Shape::B];

#[tokio::test]
async fn projects_categories_and_files_are_shown_from_either_shape() {
    for shape in SHAPES {
        let s = setup_with(|options| options.shape = shape).await;
        let portrait = s.put(1, "portrait.jpg", b"12345");
        s.put(0, "notes.txt", b"n");
        assert_eq!(s.names("root:").await, ["Lovelace, Ada (12)"]);
        assert_eq!(s.names("project:12").await, ["Uncategorized", "Portraits", "Ceremony"]);
        assert_eq!(s.names("category:12-0").await, ["notes.txt"]);
        assert_eq!(s.names("category:12-2").await, [""; 0]);
        let files = s.list("category:12-1").await.unwrap();
        assert_eq!((files[0].id.clone(), files[0].size), (portrait.clone(), Some(5)));
        assert_eq!(files[0].parents, [id("category:12-1")]);
        assert_eq!(files[0].mime.as_deref(), Some("image/jpeg"));
        let fresh = s.store.stat(&portrait).await.unwrap();
        assert_eq!(
            (&fresh.version, &fresh.revision),
            (&files[0].version, &files[0].revision),
            "{shape:?}"
        );
        assert!(fresh.fields_complete && !files[0].fields_complete);
        assert_eq!(
            s.store.stat(&id("project:12")).await.unwrap().name,
            "Lovelace, Ada (12)"
        );
        assert_eq!(
            s.store.stat(&id("category:12-1")).await.unwrap().fields["order"].values,
            ["portrait.jpg".into()]
        );
        assert_eq!(kind(s.store.stat(&id("file:12-9999")).await), ErrorKind::NotFound);
        assert_eq!(kind(s.store.stat(&id("project:99")).await), ErrorKind::NotFound);
        assert_eq!(kind(s.list("project:99").await), ErrorKind::NotFound);
    }
}

#[tokio::test]
async fn all_categories_of_a_project_cost_one_listing() {
    let s = setup().await;
    s.put(1, "a.jpg", b"a");
    for folder in ["project:12", "category:12-0", "category:12-1", "category:12-2"] {
        s.list(folder).await.unwrap();
    }
    let counters = s.server.counters();
    assert_eq!(counters.of("GET /api/project/{id}/files/all"), 1);
    assert_eq!(counters.api, 3, "a token, the files, the categories: {counters:?}");
}

/// Nothing says that the list of all files tells where they are: all of them were shown as uncategorised.
#[tokio::test]
async fn files_are_in_their_categories_although_the_list_of_all_does_not_tell() {
    let s = setup_with(|options| options.tell_categories = false).await;
    s.put(1, "a.jpg", b"a");
    s.put(0, "b.jpg", b"b");
    assert_eq!(s.names("category:12-1").await, ["a.jpg"]);
    assert_eq!(s.names("category:12-0").await, ["b.jpg"]);
}

#[tokio::test]
async fn projects_come_in_pages_and_may_be_narrowed() {
    let s = setup().await;
    for id in 100..555 {
        s.server.put_project(
            id,
            Project {
                agency: 1 + id % 2,
                age_days: id - 100,
                ..person("P", "Q")
            },
        );
    }
    assert_eq!(s.names("root:").await.len(), 456);
    let narrow = store_for(&s.server, |config| (config.agency, config.days) = (Some(2), Some(9)));
    assert_eq!(list(&narrow, "root:").await.unwrap().len(), 5);
    let query = |words: &str| Query {
        words: words.to_owned(),
        recursive: true,
        ..Query::default()
    };
    assert_eq!(
        narrow.search(&query("P")).await.unwrap().len(),
        5,
        "the server passes the days over here"
    );
    assert_eq!(narrow.search(&query("Ada")).await.unwrap(), []);
    let root = narrow.root().await.unwrap();
    let old = narrow
        .lookup_unlisted(&root, &name("Q, P (554)"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((old.id.clone(), old.name.as_str()), (id("project:554"), "Q, P (554)"));
    assert_eq!(narrow.lookup_unlisted(&root, &name("Q, P (9999)")).await.unwrap(), None);
    let before = s.server.counters().api;
    assert_eq!(narrow.lookup_unlisted(&root, &name(".hidden")).await.unwrap(), None);
    assert_eq!(s.server.counters().api, before);
    let single = store_for(&s.server, |config| config.project = Some(12));
    let root = single.root().await.unwrap();
    assert_eq!((root.id.clone(), root.parents.len()), (id("project:12"), 0));
    assert_eq!(list(&single, root.id.as_str()).await.unwrap().len(), 3);
}

#[tokio::test]
async fn one_download_brings_every_file_of_a_category_even_of_one_name() {
    for (shape, zip_sizes) in [(Shape::A, ZipSizes::InFront), (Shape::B, ZipSizes::Behind)] {
        let s = setup_with(|options| (options.shape, options.zip_sizes) = (shape, zip_sizes)).await;
        let one = s.put(1, "same.jpg", b"one");
        let two = s.put(1, "same.jpg", b"second");
        let three = s.put(1, "same.jpg", b"six666");
        let other = s.put(1, "\u{fc}ber.txt", b"");
        s.put(2, "elsewhere.jpg", b"x");
        let files = s.bundle(&two).await.unwrap();
        let wanted = [
            (&one, &b"one"[..]),
            (&two, b"second"),
            (&three, b"six666"),
            (&other, b""),
        ];
        let wanted = wanted.map(|(id, bytes)| (id.to_string(), bytes.to_vec()));
        assert_eq!(files, BTreeMap::from(wanted), "{zip_sizes:?}");
        let entry = s.store.stat(&two).await.unwrap();
        let download = s.store.read(&entry, 0..1).await.unwrap();
        assert_eq!((download.range.clone(), download.total), (0..6, Some(6)));
        let bytes: Vec<Bytes> = download.stream.try_collect().await.unwrap();
        assert_eq!(bytes.concat(), b"second");
    }
}

#[tokio::test]
async fn a_single_file_comes_as_itself_even_when_it_is_a_zip() {
    let s = setup_with(|options| options.tell_sizes = false).await;
    let only = s.put(1, "only.zip", b"PK\x03\x04 not really");
    let entry = s.store.stat(&only).await.unwrap();
    assert_eq!(entry.size, None, "this server tells no sizes");
    let files = s.bundle(&only).await.unwrap();
    assert_eq!(
        files,
        BTreeMap::from([(only.to_string(), b"PK\x03\x04 not really".to_vec())])
    );
}

#[tokio::test]
async fn a_download_that_breaks_is_an_error_and_no_short_file() {
    for zip_sizes in [ZipSizes::InFront, ZipSizes::Behind] {
        let s = setup_with(|options| options.zip_sizes = zip_sizes).await;
        let a = s.put(1, "a.jpg", b"first file");
        s.put(1, "b.jpg", &[7; 100_000]);
        s.server
            .faults()
            .add(FaultRule::new("*/download", When::Always, Action::TruncateBody(50_000)));
        assert!(s.bundle(&a).await.unwrap_err().is_transient(), "{zip_sizes:?}");
        s.server.faults().clear();
        s.server
            .faults()
            .add(FaultRule::new("*/download", When::Always, Action::Html));
        assert_eq!(kind(s.bundle(&a).await), ErrorKind::Protocol);
    }
}

/// The one file of a category was never read when it is shorter than what tells a zip: the download was asked for more
/// after its end.
#[tokio::test]
async fn a_single_file_of_a_few_bytes_comes_as_itself() {
    let s = setup().await;
    for bytes in [&b"abc"[..], b""] {
        let file = s.put(1, "a.txt", bytes);
        assert_eq!(s.bundle(&file).await.unwrap()[file.as_str()], bytes);
        s.store.remove(&s.store.stat(&file).await.unwrap()).await.unwrap();
    }
}

#[tokio::test]
async fn a_queued_file_is_read_and_not_kept_beyond_that() {
    for shape in SHAPES {
        let s = setup_with(|options| (options.shape, options.queue_uploads) = (shape, true)).await;
        let made = s
            .create("category:12-1", "a.jpg", b"abc", &FieldChanges::new())
            .await
            .unwrap();
        assert_eq!(made.availability, Availability::Ready);
        assert_eq!(made.fields["queue"].values, ["upload".into()]);
        assert_eq!(s.bundle(&made.id).await.unwrap()[made.id.as_str()], b"abc");
        // A server that has nothing to give yet.
        let download = "GET /api/project/{id}/files/category/{id}/download";
        s.server
            .faults()
            .add(FaultRule::new(download, When::First(1), Action::status(404)));
        assert_eq!(kind(s.bundle(&made.id).await), ErrorKind::NotReady);
        assert!(s.store.was_unfinished(&made.version));
        s.server.finish_queue();
        let ready = store_for(&s.server, |_| {}).stat(&made.id).await.unwrap();
        assert_eq!(ready.availability, Availability::Ready);
        assert_ne!(ready.version, made.version);
        assert!(!s.store.was_unfinished(&ready.version));
    }
}

#[tokio::test]
async fn a_new_file_takes_its_fields_along() {
    for shape in SHAPES {
        let s = setup_with(|options| options.shape = shape).await;
        s.put(1, "first.jpg", b"1");
        s.put(1, "second.jpg", b"2");
        let mut fields = change("caption", "A caption, with ü & more");
        fields.extend(change("byline", "by"));
        fields.extend(change("priority", "2"));
        fields.extend(change("sortcode", "2"));
        fields.extend(change("filter", "warm"));
        fields.extend(change("queue", "upload"));
        let made = s
            .create("category:12-1", "Übung \"1\".jpg", b"abc", &fields)
            .await
            .unwrap();
        assert_eq!((made.name.as_str(), made.size), ("Übung \"1\".jpg", Some(3)));
        assert_eq!(made.fields["caption"].values, ["A caption, with ü & more".into()]);
        assert_eq!(made.fields["priority"].values, ["2".into()]);
        assert!(!made.fields.contains_key("filter"));
        assert_eq!(
            s.names("category:12-1").await,
            ["first.jpg", "Übung \"1\".jpg", "second.jpg"]
        );
        assert_eq!(
            kind(s.create("project:12", "a.jpg", b"x", &fields).await),
            ErrorKind::Denied
        );
    }
}

/// An overwrite in a category of more files than can be named in one address failed when its bytes had arrived, since it could
/// not be put into the old one's place.
#[tokio::test]
async fn a_new_file_in_a_category_that_is_too_large_to_be_sorted_comes_last() {
    let s = setup().await;
    for number in 0..705 {
        s.put(1, &format!("{number}.jpg"), b"x");
    }
    let made = s
        .create("category:12-1", "0.jpg", b"new", &change("sortcode", "1"))
        .await
        .unwrap();
    assert_eq!(made.size, Some(3));
    let entry = s.store.stat(&made.id).await.unwrap();
    let refused = s.store.set_fields(&[entry], &change("sortcode", "1")).await;
    assert_eq!(kind(refused), ErrorKind::Invalid, "who asks for it is told");
}

#[tokio::test]
async fn fields_of_many_files_are_set_in_one_call() {
    let s = setup().await;
    let mut items = Vec::new();
    for file in ["a.jpg", "b.jpg", "c.jpg"] {
        let file = s.put(1, file, b"x");
        items.push(s.store.stat(&file).await.unwrap());
    }
    let before = items[0].version.clone();
    let mut fields = change("caption", "same");
    fields.extend(change("priority", "1"));
    let set = s.store.set_fields(&items, &fields).await.unwrap();
    assert!(
        set.iter()
            .all(|entry| entry.fields["caption"].values == ["same".into()])
    );
    assert_eq!(set[0].version, before, "metadata is not content");
    assert_eq!(
        s.server.counters().of("POST /api/project/{id}/files/{id}/set-metadata"),
        1
    );
    let cleared = FieldChanges::from([("caption".to_owned(), Vec::new())]);
    let set = s.store.set_fields(&items[..1], &cleared).await.unwrap();
    assert!(!set[0].fields.contains_key("caption"));
    let enhanced = s
        .store
        .set_fields(&items[..1], &change("filter", "warm"))
        .await
        .unwrap();
    assert_eq!(enhanced[0].fields["filter"].values, ["warm".into()]);
    assert_eq!(enhanced[0].fields["queue"].values, ["pfc".into()]);
    assert!(s.store.was_unfinished(&enhanced[0].version));
    let undone = s
        .store
        .set_fields(&items[..1], &change("filter", "clear"))
        .await
        .unwrap();
    assert!(!undone[0].fields.contains_key("filter"));
    assert_eq!(
        kind(s.store.check_fields(&items[0], &change("priority", "9")).await),
        ErrorKind::Invalid
    );
    assert_eq!(
        kind(s.store.check_fields(&items[0], &change("queue", "x")).await),
        ErrorKind::Denied
    );
}

/// Metadata were sent as a form only, although the documentation calls all input JSON: a server that takes its word for it
/// answers 200 and sets nothing, and so did ours.
#[tokio::test]
async fn metadata_arrive_whether_a_server_reads_json_or_forms() {
    const METADATA: &str = "POST /api/project/{id}/files/{id}/set-metadata";
    for (understands, first) in [(Understands::Any, 1), (Understands::Json, 1), (Understands::Forms, 2)] {
        let s = setup_with(|options| options.metadata = understands).await;
        let file = s.put(1, "a.jpg", b"x");
        let entry = s.store.stat(&file).await.unwrap();
        let mut fields = change("caption", "Ü & \"é\"\nline");
        fields.extend(change("priority", "2"));
        let set = s.store.set_fields(&[entry], &fields).await.unwrap();
        assert_eq!(
            set[0].fields["caption"].values,
            ["Ü & \"é\"\nline".into()],
            "{understands:?}"
        );
        assert_eq!(set[0].fields["priority"].values, ["2".into()], "{understands:?}");
        assert_eq!(s.server.counters().of(METADATA), first, "{understands:?}");
        let to = Placement {
            name: "a.jpg".to_owned(),
            parents: vec![id("category:12-2")],
        };
        let moved = s.store.relocate(&set[0], &to).await.unwrap();
        assert_eq!(moved.parents, [id("category:12-2")], "{understands:?}");
        assert_eq!(
            s.server.counters().of(METADATA),
            first + 1,
            "it is known by now: {understands:?}"
        );
    }
    // The first thing may as well be a new file, or a move.
    for understands in [Understands::Json, Understands::Forms] {
        let s = setup_with(|options| options.metadata = understands).await;
        let made = s
            .create("category:12-1", "a.jpg", b"abc", &change("byline", "us"))
            .await
            .unwrap();
        assert_eq!(made.fields["byline"].values, ["us".into()], "{understands:?}");
        let s = setup_with(|options| options.metadata = understands).await;
        let file = s.put(1, "a.jpg", b"x");
        let entry = s.store.stat(&file).await.unwrap();
        let moved = s
            .store
            .relocate_together(&[entry], &id("category:12-2"))
            .await
            .remove(0)
            .unwrap();
        assert_eq!(moved.parents, [id("category:12-2")], "{understands:?}");
    }
}

#[tokio::test]
async fn the_order_of_a_category_is_a_field_of_its_folder() {
    for shape in SHAPES {
        let s = setup_with(|options| options.shape = shape).await;
        for file in ["a.jpg", "b.jpg", "c.jpg"] {
            s.put(1, file, b"x");
        }
        let folder = s.store.stat(&id("category:12-1")).await.unwrap();
        let wanted = FieldChanges::from([("order".to_owned(), vec!["c.jpg".into(), "a.jpg".into()])]);
        let set = s
            .store
            .set_fields(std::slice::from_ref(&folder), &wanted)
            .await
            .unwrap();
        assert_eq!(
            set[0].fields["order"].values,
            ["c.jpg".into(), "a.jpg".into(), "b.jpg".into()]
        );
        assert_eq!(s.names("category:12-1").await, ["c.jpg", "a.jpg", "b.jpg"]);
        assert_eq!(
            kind(s.store.set_fields(&[folder], &change("order", "zzz.jpg")).await),
            ErrorKind::Invalid
        );
    }
}

#[tokio::test]
async fn a_move_to_another_category_keeps_the_file() {
    let s = setup().await;
    s.server.put_project(13, person("Alan", "Turing"));
    let file = s.put(1, "a.jpg", b"x");
    let entry = s.store.stat(&file).await.unwrap();
    let to = |folder: &str, name: &str| Placement {
        name: name.to_owned(),
        parents: vec![id(folder)],
    };
    let moved = s.store.relocate(&entry, &to("category:12-2", "a.jpg")).await.unwrap();
    assert_eq!(
        (moved.id.clone(), moved.parents.clone()),
        (file, vec![id("category:12-2")])
    );
    assert_eq!(moved.version, entry.version);
    assert_eq!(s.names("category:12-1").await, [""; 0]);
    let uncategorised = s.store.relocate(&moved, &to("category:12-0", "a.jpg")).await.unwrap();
    assert_eq!(uncategorised.parents, [id("category:12-0")]);
    for (folder, name) in [
        ("category:13-1", "a.jpg"),
        ("category:12-2", "b.jpg"),
        ("project:12", "a.jpg"),
    ] {
        assert_eq!(
            kind(s.store.relocate(&moved, &to(folder, name)).await),
            ErrorKind::Unsupported,
            "{folder}"
        );
    }
}

#[tokio::test]
async fn a_file_in_use_is_busy_and_stays() {
    for shape in SHAPES {
        let s = setup_with(|options| options.shape = shape).await;
        let (used, free) = (s.put(1, "used.jpg", b"u"), s.put(1, "free.jpg", b"f"));
        let number: u64 = used.as_str().rsplit('-').next().unwrap().parse().unwrap();
        s.server.edit_file(12, number, |file| file.in_use = true);
        let used = s.store.stat(&used).await.unwrap();
        let free = s.store.stat(&free).await.unwrap();
        assert!(s.store.refuses_removal(&used.id).is_ok(), "no listing tells it");
        assert_eq!(kind(s.store.remove(&used).await), ErrorKind::Busy);
        assert_eq!(kind(s.store.refuses_removal(&used.id)), ErrorKind::Busy);
        assert!(s.store.refuses_removal(&free.id).is_ok());
        s.store.remove(&free).await.unwrap();
        assert_eq!(kind(s.store.remove(&free).await), ErrorKind::NotFound);
        assert_eq!(s.names("category:12-1").await, ["used.jpg"]);
    }
}

#[test]
fn that_a_file_is_in_use_is_not_believed_for_ever() {
    let clock = ManualClock::starting(Timestamp::from_secs(1_000_000));
    let memory = projects::Memory::new(clock.clone());
    memory.note_kept(12, 7);
    clock.advance(Duration::from_secs(599));
    assert!(memory.is_kept(12, 7) && !memory.is_kept(12, 8));
    clock.advance(Duration::from_secs(1));
    assert!(!memory.is_kept(12, 7));
}

#[tokio::test]
async fn details_come_with_those_of_the_whole_category() {
    for shape in SHAPES {
        let s = setup_with(|options| options.shape = shape).await;
        s.put(1, "a.txt", b"a");
        s.put(1, "b.txt", b"b");
        s.put(2, "c.txt", b"c");
        let listed = s.list("category:12-1").await.unwrap();
        let before = s.server.counters();
        let asked = listed.iter().map(|file| s.store.details(file));
        for answer in futures_util::future::join_all(asked).await {
            let answer = answer.unwrap();
            let names: Vec<&str> = answer.iter().map(|file| &*file.name).collect();
            assert_eq!(names, ["a.txt", "b.txt"]);
            assert!(answer.iter().all(|file| file.fields_complete));
        }
        let route = "GET /api/project/{id}/files/category/{id}";
        assert_eq!(s.server.counters().of(route) - before.of(route), 1);
    }
}

#[tokio::test]
async fn folders_are_made_and_removed_elsewhere() {
    let s = setup().await;
    assert_eq!(
        kind(s.store.create_folder(&id("project:12"), &name("New")).await),
        ErrorKind::Denied
    );
    let folder = s.store.stat(&id("category:12-1")).await.unwrap();
    assert_eq!(folder.kind, Kind::Folder);
    assert!(s.store.may_hold(&folder, Kind::File).is_ok());
    assert_eq!(kind(s.store.may_hold(&folder, Kind::Folder)), ErrorKind::Denied);
    let project = s.store.stat(&id("project:12")).await.unwrap();
    assert_eq!(kind(s.store.may_hold(&project, Kind::File)), ErrorKind::Denied);
    assert_eq!(kind(s.store.remove(&folder).await), ErrorKind::Denied);
}

#[tokio::test]
async fn a_revoked_token_is_renewed_once() {
    let s = setup().await;
    s.store.account().await.unwrap();
    s.server.revoke_tokens();
    let project = id("project:12");
    let calls = (0..8).map(|_| s.store.stat(&project));
    for call in futures_util::future::join_all(calls).await {
        call.unwrap();
    }
    assert_eq!(s.server.counters().of("POST /oauth/token"), 2, "one renewal for all");
    s.server
        .faults()
        .add(FaultRule::new("GET /api/*", When::Always, Action::status(401)));
    assert_eq!(kind(s.store.stat(&id("project:12")).await), ErrorKind::Unauthenticated);
    assert_eq!(
        s.server.counters().of("POST /oauth/token"),
        3,
        "one attempt more, and no loop"
    );
    let stranger = store_for(&s.server, |config| config.client_secret = Secret::new("wrong"));
    let error = stranger.account().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unauthenticated);
    assert!(!error.to_string().contains("wrong"));
}

#[tokio::test]
async fn an_enhancement_by_somebody_else_is_another_version() {
    let s = setup().await;
    let file = s.put(1, "a.jpg", b"plain");
    let number: u64 = file.as_str().rsplit('-').next().unwrap().parse().unwrap();
    let before = s.store.stat(&file).await.unwrap();
    s.server.edit_file(12, number, |file| file.queue = Some(Queue::Pfc));
    assert_ne!(s.store.stat(&file).await.unwrap().version, before.version);
    s.server
        .edit_file(12, number, |file| (file.queue, file.bytes) = (None, "enhanced".into()));
    let after = s.store.stat(&file).await.unwrap();
    assert_ne!(after.version, before.version);
    assert_eq!(s.bundle(&file).await.unwrap()[file.as_str()], b"enhanced");
}

#[tokio::test]
async fn bytes_of_a_version_that_no_listing_told_are_never_passed_off_as_it() {
    let s = setup().await;
    let file = s.put(1, "a.jpg", b"plain");
    let number: u64 = file.as_str().rsplit('-').next().unwrap().parse().unwrap();
    for neighbours in 0..2 {
        let listed = s.list("category:12-1").await.unwrap();
        s.server
            .edit_file(12, number, |file| file.bytes = format!("enhanced {neighbours}").into());
        let entry = listed.into_iter().find(|entry| entry.id == file).unwrap();
        let parts: Result<Vec<BundlePart>> = s.store.read_bundle(&entry).await.unwrap().try_collect().await;
        assert_eq!(kind(parts), ErrorKind::Protocol, "with {neighbours} neighbours");
        let read = s.bundle(&file).await.unwrap();
        assert_eq!(
            read[file.as_str()],
            format!("enhanced {neighbours}").into_bytes(),
            "the next listing is fresh"
        );
        s.put(1, "b.jpg", b"other");
        s.server.edit_file(12, number, |file| file.bytes = "plain".into());
        // As if the few seconds had passed.
        s.store
            .remove(&s.store.stat(&s.put(2, "x.jpg", b"x")).await.unwrap())
            .await
            .unwrap();
    }
}
