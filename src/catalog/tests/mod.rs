//! What the catalog promises.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::PathBuf;

mod items;
mod opening;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::model::{
    Access, Availability, Checksum, ChildCounts, ContentVersion, Entry, Field, Ino, ItemId, Kind, Name, Timestamp,
};

struct Fixture {
    catalog: Catalog,
    _folder: TempDir,
}

impl std::ops::Deref for Fixture {
    type Target = Catalog;

    fn deref(&self) -> &Catalog {
        &self.catalog
    }
}

/// A catalog that knows the root, `folder:0`.
fn catalog() -> Fixture {
    let folder = tempfile::tempdir().expect("temporary folder");
    let catalog = Catalog::open(&folder.path().join("store/catalog.db")).expect("opens");
    catalog
        .put_entry(Ino::ROOT, &Entry::folder(root(), "", vec![]), t(0), &NoBindings)
        .expect("put");
    Fixture {
        catalog,
        _folder: folder,
    }
}

fn root() -> ItemId {
    ItemId::of("folder", 0)
}

fn t(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn folder_id(n: u64) -> ItemId {
    ItemId::of("folder", n)
}

fn file_id(n: u64) -> ItemId {
    ItemId::of("file", n)
}

fn file(n: u64, name: &str, parents: &[ItemId]) -> (Ino, Entry) {
    let version = ContentVersion::new(format!("{n}.1"));
    let entry = Entry::file(file_id(n), name, parents.to_vec(), 10 + n, version);
    (
        Ino(100 + n),
        Entry {
            revision: "1".into(),
            ..entry
        },
    )
}

fn folder(n: u64, name: &str, parents: &[ItemId]) -> (Ino, Entry) {
    (Ino(10 + n), Entry::folder(folder_id(n), name, parents.to_vec()))
}

fn list(catalog: &Catalog, parent: &ItemId, at: i64, entries: Vec<(Ino, Entry)>) -> Diff {
    catalog
        .put_listing(parent, t(at), entries, &|_| false, &NoBindings)
        .expect("put listing")
}

fn names(catalog: &Catalog, parent: &ItemId) -> Vec<String> {
    catalog
        .children(parent)
        .expect("children")
        .iter()
        .map(|c| c.local.to_string())
        .collect()
}

fn locals(places: &[Place]) -> Vec<String> {
    places.iter().map(|p| p.local.to_string()).collect()
}

#[test]
fn an_entry_comes_back_as_it_was_told() {
    let catalog = catalog();
    let (ino, mut entry) = file(1, "a\\b\n.jpg", &[root()]);
    entry.created = Some(Timestamp { secs: -5, nanos: 7 });
    entry.modified = Some(t(5));
    entry.mime = Some("image/jpeg".into());
    entry.checksum = Some(Checksum::Md5("00ff".into()));
    entry.availability = Availability::Processing;
    entry.fields.insert(
        "term.Credit".into(),
        Field {
            values: vec!["two\nlines".into(), "a\\b".into()],
            access: Access::ReadWrite,
        },
    );
    let (folder_ino, mut folder) = folder(2, "F", &[root()]);
    folder.children = Some(ChildCounts { folders: 3, files: 4 });
    list(
        &catalog,
        &root(),
        10,
        vec![(ino, entry.clone()), (folder_ino, folder.clone())],
    );

    let node = catalog.by_id(&entry.id).expect("query").expect("known");
    assert_eq!((node.ino, &*node.entry, node.stat_at), (ino, &entry, t(10)));
    assert_eq!(
        catalog
            .by_ino(folder_ino)
            .expect("query")
            .expect("known")
            .entry
            .children,
        folder.children
    );
    assert_eq!(catalog.lookup(&root(), "a\\b\n.jpg").expect("query"), Some(node));
    assert_eq!(catalog.lookup(&root(), "other").expect("query"), None);
    let child = &catalog.children(&root()).expect("children")[1];
    assert_eq!(
        (child.ino, child.kind, child.size, child.modified),
        (ino, Kind::File, Some(11), Some(t(5)))
    );
}

#[test]
fn a_listing_tells_what_it_changed() {
    let catalog = catalog();
    let first = list(
        &catalog,
        &root(),
        10,
        vec![
            file(1, "a", &[]),
            file(2, "b", &[]),
            file(3, "c", &[]),
            file(4, "d", &[]),
        ],
    );
    assert_eq!(locals(&first.added), ["a", "b", "c", "d"]);
    let (ino, renamed) = file(2, "B", &[]);
    let (_, mut rewritten) = file(3, "c", &[]);
    rewritten.version = ContentVersion::new("3.2");
    rewritten.revision = "2".into();
    let (_, mut tagged) = file(4, "d", &[]);
    tagged.revision = "2".into();
    let second = list(
        &catalog,
        &root(),
        20,
        vec![
            (ino, renamed),
            (Ino(103), rewritten),
            (Ino(104), tagged),
            file(5, "e", &[]),
        ],
    );
    assert_eq!(locals(&second.added), ["e"]);
    assert_eq!(locals(&second.removed), ["a"]);
    let renames: Vec<_> = second
        .renamed
        .iter()
        .map(|r| (r.from.as_str(), r.to.local.as_str()))
        .collect();
    assert_eq!(renames, [("b", "B")]);
    let changes: HashMap<_, _> = second.changed.iter().map(|c| (c.ino, c.change)).collect();
    let want = [
        (Ino(102), Change::Metadata),
        (Ino(103), Change::Content),
        (Ino(104), Change::Metadata),
    ];
    assert_eq!(changes, want.into_iter().collect());
    assert_eq!(catalog.by_id(&file_id(1)).expect("query"), None);
    assert_eq!(
        catalog.listing(&root()).expect("query"),
        Some(Listing {
            at: t(20),
            complete: true
        })
    );
}

#[test]
fn the_same_listing_again_changes_nothing_but_its_time() {
    let catalog = catalog();
    let entries = vec![
        file(1, "a", &[root()]),
        file(2, "a", &[root()]),
        folder(3, "f", &[root()]),
    ];
    list(&catalog, &root(), 10, entries.clone());
    assert!(list(&catalog, &root(), 20, entries).is_empty());
    assert_eq!(
        catalog.by_id(&file_id(1)).expect("query").map(|n| n.stat_at),
        Some(t(20))
    );
}

#[test]
fn a_folder_that_vanishes_takes_what_was_only_in_it() {
    let catalog = catalog();
    list(&catalog, &root(), 10, vec![folder(1, "f", &[]), folder(2, "g", &[])]);
    list(
        &catalog,
        &folder_id(1),
        11,
        vec![folder(3, "sub", &[]), file(1, "only", &[]), file(2, "both", &[])],
    );
    list(&catalog, &folder_id(3), 12, vec![file(3, "deep", &[])]);
    list(&catalog, &folder_id(2), 13, vec![file(2, "both", &[])]);
    list(&catalog, &root(), 20, vec![folder(2, "g", &[])]);
    for gone in [folder_id(1), folder_id(3), file_id(1), file_id(3)] {
        assert_eq!(catalog.by_id(&gone).expect("query"), None, "{gone}");
        assert_eq!(catalog.listing(&gone).expect("query"), None, "{gone}");
    }
    let left = catalog.parents(&file_id(2)).expect("query");
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].0, folder_id(2));
}

#[test]
fn what_is_known_from_later_is_not_undone_by_a_listing_that_began_before() {
    let catalog = catalog();
    list(
        &catalog,
        &root(),
        10,
        vec![file(1, "a", &[]), file(2, "b", &[]), folder(1, "f", &[])],
    );
    // While a listing is on its way: one created, one renamed, one removed, one moved.
    let put = |(ino, entry): (Ino, Entry)| catalog.put_entry(ino, &entry, t(30), &NoBindings).expect("put");
    put(file(3, "new", &[root()]));
    put(file(1, "A", &[root()]));
    put(folder(1, "f", &[root()]));
    catalog.remove(&file_id(2), t(30)).expect("remove");
    let diff = list(
        &catalog,
        &root(),
        20,
        vec![file(1, "a", &[]), file(2, "b", &[]), folder(1, "f", &[])],
    );
    assert!(diff.is_empty(), "{diff:?}");
    assert_eq!(names(&catalog, &root()), ["A", "f", "new"]);
    // A later one has the last word.
    list(&catalog, &root(), 40, vec![file(2, "b", &[])]);
    assert_eq!(names(&catalog, &root()), ["b"]);
}

#[test]
fn an_older_listing_is_not_taken_after_a_newer_one() {
    let catalog = catalog();
    list(&catalog, &root(), 20, vec![file(1, "a", &[])]);
    assert!(list(&catalog, &root(), 10, vec![file(2, "ghost", &[])]).is_empty());
    assert_eq!(names(&catalog, &root()), ["a"]);
    assert_eq!(catalog.listing(&root()).expect("query").map(|l| l.at), Some(t(20)));
}

#[test]
fn what_the_caller_knows_better_is_left_alone() {
    let catalog = catalog();
    list(
        &catalog,
        &root(),
        10,
        vec![file(1, "mine", &[]), file(2, "moved-away", &[]), folder(1, "f", &[])],
    );
    let (ino, moved) = file(2, "moved-away", &[folder_id(1)]);
    catalog.put_entry(ino, &moved, t(15), &NoBindings).expect("put");
    let keep = |id: &ItemId| *id == file_id(1) || *id == file_id(2);
    // The server's index is late: it lacks the one and still has the other.
    let late = vec![file(2, "moved-away", &[]), folder(1, "f", &[])];
    let diff = catalog
        .put_listing(&root(), t(20), late, &keep, &NoBindings)
        .expect("put listing");
    assert!(diff.is_empty(), "{diff:?}");
    assert_eq!(names(&catalog, &root()), ["f", "mine"]);
    assert_eq!(names(&catalog, &folder_id(1)), ["moved-away"]);
}

#[test]
fn a_kept_item_that_the_catalog_lost_is_taken_from_the_listing() {
    let catalog = catalog();
    catalog
        .put_listing(&root(), t(20), vec![file(1, "mine", &[])], &|_| true, &NoBindings)
        .expect("put listing");
    assert_eq!(names(&catalog, &root()), ["mine"]);
}

#[test]
fn one_file_in_two_folders_is_one_node_with_two_names() {
    let catalog = catalog();
    list(&catalog, &root(), 10, vec![folder(1, "f", &[]), folder(2, "g", &[])]);
    list(&catalog, &folder_id(2), 11, vec![file(9, "x", &[])]);
    let both = [folder_id(1), folder_id(2)];
    let diff = list(&catalog, &folder_id(1), 12, vec![file(1, "x", &both)]);
    assert_eq!(
        locals(&diff.added),
        ["x (1)", "x"],
        "told in the other folder too, where the name is taken"
    );
    assert_eq!(
        catalog.by_id(&file_id(1)).expect("query").expect("known").entry.parents,
        both
    );
    // It left the second folder, as its entry in the first one tells.
    let diff = list(&catalog, &folder_id(1), 20, vec![file(1, "x", &both[..1])]);
    assert_eq!(locals(&diff.removed), ["x (1)"]);
    assert_eq!(names(&catalog, &folder_id(2)), ["x"]);
}

#[test]
fn an_item_told_twice_in_one_listing_is_one_child() {
    let catalog = catalog();
    let (_, mut later) = file(1, "a", &[]);
    later.size = Some(99);
    let diff = list(
        &catalog,
        &root(),
        10,
        vec![file(1, "a", &[]), file(2, "b", &[]), (Ino(777), later)],
    );
    assert_eq!(locals(&diff.added), ["a", "b"]);
    let node = catalog.by_id(&file_id(1)).expect("query").expect("known");
    assert_eq!((node.ino, node.entry.size), (Ino(101), Some(99)));
}

#[test]
fn a_name_once_shown_stays_with_its_id() {
    let catalog = catalog();
    list(&catalog, &root(), 10, vec![file(7, "hero.jpg", &[])]);
    list(
        &catalog,
        &root(),
        20,
        vec![file(3, "hero.jpg", &[]), file(7, "hero.jpg", &[])],
    );
    assert_eq!(names(&catalog, &root()), ["hero (3).jpg", "hero.jpg"]);
    list(&catalog, &root(), 30, vec![file(3, "hero.jpg", &[])]);
    assert_eq!(
        names(&catalog, &root()),
        ["hero (3).jpg"],
        "until it is renamed or leaves"
    );
    list(&catalog, &root(), 40, vec![file(3, "hero2.jpg", &[])]);
    assert_eq!(names(&catalog, &root()), ["hero2.jpg"]);
}

#[test]
fn two_items_may_swap_their_names() {
    let catalog = catalog();
    list(&catalog, &root(), 10, vec![file(1, "a", &[]), file(2, "b", &[])]);
    let diff = list(&catalog, &root(), 20, vec![file(1, "b", &[]), file(2, "a", &[])]);
    assert_eq!(diff.renamed.len(), 2);
    assert_eq!(
        catalog.lookup(&root(), "b").expect("query").expect("known").entry.id,
        file_id(1)
    );
}

#[test]
fn pages_of_children_make_up_the_folder() {
    let catalog = catalog();
    list(
        &catalog,
        &root(),
        10,
        (0..25).map(|n| file(n, &format!("f{n:02}"), &[])).collect(),
    );
    let (mut paged, mut after) = (Vec::new(), None);
    loop {
        let page = catalog.children_page(&root(), after.as_ref(), 10).expect("page");
        let Some(last) = page.last() else { break };
        after = Some(last.local.clone());
        paged.extend(page);
    }
    assert_eq!(paged, catalog.children(&root()).expect("children"));
    assert_eq!(catalog.child_count(&root()).expect("count"), 25);
}

#[test]
fn a_listing_may_be_confirmed_or_doubted() {
    let catalog = catalog();
    assert_eq!(catalog.listing(&root()).expect("query"), None);
    list(&catalog, &root(), 10, vec![]);
    catalog.touch_listing(&root(), t(30)).expect("touch");
    catalog.touch_listing(&root(), t(20)).expect("touch");
    assert_eq!(
        catalog.listing(&root()).expect("query"),
        Some(Listing {
            at: t(30),
            complete: true
        })
    );
    catalog.invalidate_listing(&root()).expect("invalidate");
    assert_eq!(
        catalog.listing(&root()).expect("query").map(|l| l.complete),
        Some(false)
    );
}

#[test]
fn every_node_is_visited_until_the_visitor_stops() {
    let catalog = catalog();
    list(
        &catalog,
        &root(),
        10,
        (0..1200).map(|n| file(n, &format!("f{n}"), &[])).collect(),
    );
    let mut seen = std::collections::HashSet::new();
    catalog
        .for_each(&mut |node| {
            seen.insert(node.ino);
            ControlFlow::Continue(())
        })
        .expect("visit");
    assert_eq!(seen.len(), 1201);
    let mut visits = 0;
    catalog
        .for_each(&mut |_| {
            visits += 1;
            ControlFlow::Break(())
        })
        .expect("visit");
    assert_eq!(visits, 1);
}

#[test]
fn a_hundred_thousand_children_are_all_there() {
    let catalog = catalog();
    let entries = |revision: &str| -> Vec<(Ino, Entry)> {
        (0..100_000u64)
            .map(|n| {
                let (ino, entry) = file(n, &format!("image {}.jpg", n / 2), &[]);
                (
                    ino,
                    Entry {
                        revision: revision.into(),
                        ..entry
                    },
                )
            })
            .collect()
    };
    assert_eq!(list(&catalog, &root(), 10, entries("1")).added.len(), 100_000);
    assert_eq!(list(&catalog, &root(), 20, entries("2")).changed.len(), 100_000);
    assert_eq!(catalog.children(&root()).expect("children").len(), 100_000);
    assert!(catalog.lookup(&root(), "image 7 (15).jpg").expect("query").is_some());
}

#[test]
fn readers_and_a_writer_do_not_wait_for_each_other() {
    let catalog = catalog();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let count = catalog.children(&root()).expect("children").len();
                    assert!(count == 0 || count == 50, "half a listing was seen: {count}");
                }
            });
        }
        for at in 1..20 {
            let entries = if at % 2 == 0 {
                vec![]
            } else {
                (0..50).map(|n| file(n, "x", &[])).collect()
            };
            list(&catalog, &root(), at, entries);
        }
    });
}

#[test]
fn values_are_kept_and_forgotten() {
    let catalog = catalog();
    catalog.kv_set("cursor", Some("17")).expect("set");
    catalog.kv_set("cursor", Some("18")).expect("set");
    assert_eq!(catalog.kv_get("cursor").expect("get").as_deref(), Some("18"));
    catalog.kv_set("cursor", None).expect("set");
    assert_eq!(catalog.kv_get("cursor").expect("get"), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    /// Whatever listings come: each folder shows exactly what its last one told, under distinct names.
    #[test]
    fn folders_show_what_was_listed_last(
        listings in proptest::collection::vec((0u64..3, proptest::collection::btree_map(0u64..12, 0u8..4, 0..8)), 1..12),
    ) {
        let catalog = catalog();
        list(&catalog, &root(), 1, (0..3).map(|n| folder(n + 1, &format!("d{n}"), &[])).collect());
        let mut told: HashMap<u64, Vec<ItemId>> = HashMap::new();
        for (at, (n, entries)) in listings.into_iter().enumerate() {
            let batch = entries.iter().map(|(id, name)| file(*id, &format!("n{name}"), &[])).collect();
            list(&catalog, &folder_id(n + 1), at as i64 + 2, batch);
            told.insert(n, entries.keys().map(|id| file_id(*id)).collect());
        }
        for (n, mut ids) in told {
            let children = catalog.children(&folder_id(n + 1)).expect("children");
            let mut shown: Vec<ItemId> = children.iter().map(|c| c.id.clone()).collect();
            shown.sort();
            ids.sort();
            prop_assert_eq!(shown, ids);
            let mut names: Vec<_> = children.iter().map(|c| c.local.clone()).collect();
            names.dedup();
            prop_assert_eq!(names.len(), children.len());
        }
    }
}
