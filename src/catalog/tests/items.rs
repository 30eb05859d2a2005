//! News of single items: names, inodes, ids and paths.

use super::*;

#[test]
fn the_users_own_name_stays_while_the_store_normalises_it() {
    let catalog = catalog();
    list(
        &catalog,
        &root(),
        10,
        vec![file(1, "Photo-Release.docx", &[]), file(2, "Photo Release.docx", &[])],
    );
    let mine = Name::new("Photo Release.docx").expect("valid");
    let diff = catalog.bind(&root(), &file_id(1), &mine).expect("bind");
    assert_eq!(diff.renamed.len(), 2, "whoever had the name gives way: {diff:?}");
    assert_eq!(
        names(&catalog, &root()),
        ["Photo Release (2).docx", "Photo Release.docx"]
    );
    let again = list(
        &catalog,
        &root(),
        20,
        vec![file(1, "Photo-Release.docx", &[]), file(2, "Photo Release.docx", &[])],
    );
    assert!(again.is_empty(), "{again:?}");

    // The caller's bindings give it back after the catalog was lost.
    let rebuilt = self::catalog();
    let binding = Binding {
        local: mine.clone(),
        made_for: "Photo-Release.docx".into(),
    };
    let bindings = HashMap::from([((root(), file_id(1)), binding)]);
    let entries = vec![file(1, "Photo-Release.docx", &[]), file(2, "Photo Release.docx", &[])];
    rebuilt
        .put_listing(&root(), t(10), entries, &|_| false, &bindings)
        .expect("put listing");
    assert_eq!(
        rebuilt
            .lookup(&root(), mine.as_str())
            .expect("query")
            .expect("known")
            .entry
            .id,
        file_id(1)
    );
}

#[test]
fn a_poorer_answer_about_the_same_state_wipes_nothing_out() {
    let catalog = catalog();
    let (ino, mut rich) = file(1, "a", &[root()]);
    rich.checksum = Some(Checksum::Md5("00".into()));
    rich.fields.insert(
        "tags".into(),
        Field {
            values: vec!["x".into()],
            access: Access::ReadWrite,
        },
    );
    catalog.put_entry(ino, &rich, t(10), &NoBindings).expect("put");
    let mut poor = file(1, "a", &[root()]).1;
    (poor.size, poor.fields_complete) = (None, false);
    assert!(list(&catalog, &root(), 20, vec![(ino, poor.clone())]).is_empty());
    assert_eq!(*catalog.by_id(&file_id(1)).expect("query").expect("known").entry, rich);
    // Another revision: what was said of the old one is not said of this.
    poor.revision = "2".into();
    list(&catalog, &root(), 30, vec![(ino, poor)]);
    let now = catalog.by_id(&file_id(1)).expect("query").expect("known").entry;
    assert!(now.fields.is_empty() && !now.fields_complete && now.checksum == rich.checksum);
}

#[test]
fn a_stat_without_parents_renames_the_item_where_it_is() {
    let catalog = catalog();
    list(&catalog, &root(), 10, vec![file(1, "a", &[])]);
    let (ino, entry) = file(1, "b", &[]);
    let diff = catalog.put_entry(ino, &entry, t(20), &NoBindings).expect("put");
    assert_eq!(diff.renamed.len(), 1);
    assert_eq!(names(&catalog, &root()), ["b"]);
}

#[test]
fn older_news_of_an_item_are_not_taken() {
    let catalog = catalog();
    let put = |name: &str, at| {
        let (ino, entry) = file(1, name, &[root()]);
        catalog.put_entry(ino, &entry, t(at), &NoBindings).expect("put")
    };
    put("new", 20);
    assert!(put("old", 10).is_empty());
    catalog.remove(&file_id(1), t(30)).expect("remove");
    assert!(put("ghost", 25).is_empty());
    assert_eq!(names(&catalog, &root()), [""; 0]);
    put("back", 31);
    assert_eq!(names(&catalog, &root()), ["back"]);
}

#[test]
fn an_item_keeps_its_inode_until_it_is_given_another() {
    let catalog = catalog();
    list(&catalog, &root(), 10, vec![file(1, "a", &[])]);
    let (_, entry) = file(1, "a", &[]);
    list(&catalog, &root(), 20, vec![(Ino(555), entry)]);
    assert_eq!(catalog.by_ino(Ino(555)).expect("query"), None);
    assert!(catalog.set_ino(&file_id(1), Ino(556)).expect("set"));
    assert_eq!(
        catalog.by_ino(Ino(556)).expect("query").expect("known").entry.id,
        file_id(1)
    );
    assert!(!catalog.set_ino(&file_id(2), Ino(557)).expect("set"));
    let known = catalog.inos(&[file_id(1), file_id(2)]).expect("query");
    assert_eq!(known, HashMap::from([(file_id(1), Ino(556))]));
}

#[test]
fn a_folder_whose_id_is_its_path_takes_everything_below_along() {
    let catalog = catalog();
    let id = |text: &str| ItemId::new(text);
    list(
        &catalog,
        &root(),
        10,
        vec![(Ino(20), Entry::folder(id("folder:a"), "a", vec![]))],
    );
    let inside = vec![
        (Ino(21), Entry::folder(id("folder:a/sub"), "sub", vec![])),
        (
            Ino(22),
            Entry::file(id("file:a/x"), "x", vec![], 1, ContentVersion::new("1")),
        ),
    ];
    list(&catalog, &id("folder:a"), 11, inside);
    let deep = Entry::file(id("file:a/sub/a/y"), "y", vec![], 1, ContentVersion::new("1"));
    list(&catalog, &id("folder:a/sub"), 12, vec![(Ino(23), deep)]);

    assert_eq!(catalog.rekey_tree(&id("folder:a"), &id("folder:b")).expect("rekey"), 4);
    for (old, new, ino) in [
        ("folder:a", "folder:b", 20),
        ("folder:a/sub", "folder:b/sub", 21),
        ("file:a/x", "file:b/x", 22),
        ("file:a/sub/a/y", "file:b/sub/a/y", 23),
    ] {
        assert_eq!(catalog.by_id(&id(old)).expect("query"), None, "{old}");
        assert_eq!(
            catalog.by_id(&id(new)).expect("query").map(|n| n.ino),
            Some(Ino(ino)),
            "{new}"
        );
    }
    assert_eq!(names(&catalog, &id("folder:b")), ["sub", "x"]);
    assert_eq!(
        catalog.listing(&id("folder:b/sub")).expect("query").map(|l| l.at),
        Some(t(12))
    );
}

#[test]
fn a_new_id_that_a_listing_brought_first_gives_way() {
    let catalog = catalog();
    list(&catalog, &root(), 10, vec![file(1, "a", &[]), file(2, "b", &[])]);
    assert!(
        catalog
            .rekey(&file_id(1), &file_id(2), Some(&ContentVersion::new("v9")))
            .expect("rekey")
    );
    let node = catalog.by_id(&file_id(2)).expect("query").expect("known");
    assert_eq!((node.ino, names(&catalog, &root())), (Ino(101), vec!["a".to_owned()]));
    assert_eq!(node.entry.version.as_str(), "v9");
    assert!(!catalog.rekey(&file_id(1), &file_id(3), None).expect("rekey"));
}

#[test]
fn paths_lead_to_items_and_back() {
    let catalog = catalog();
    list(&catalog, &root(), 10, vec![folder(1, "f", &[])]);
    list(&catalog, &folder_id(1), 11, vec![file(1, "a/b", &[])]);
    let path = catalog.path_of(&file_id(1)).expect("query").expect("known");
    assert_eq!(path.iter().map(Name::as_str).collect::<Vec<_>>(), ["f", "a\u{2215}b"]);
    assert_eq!(
        catalog.find(&root(), &path).expect("query").map(|n| n.ino),
        Some(Ino(101))
    );
    assert_eq!(catalog.path_of(&root()).expect("query"), Some(vec![]));
    assert_eq!(catalog.path_of(&file_id(9)).expect("query"), None);
}

#[test]
fn a_version_under_a_known_revision_is_the_known_one() {
    let catalog = catalog();
    // Our own change of metadata: the revision moved, the content and so its version did not.
    let (ino, entry) = file(1, "a", &[root()]);
    let ours = Entry {
        revision: "2".into(),
        ..entry.clone()
    };
    catalog.put_entry(ino, &ours, t(10), &NoBindings).expect("put");
    let listed = |revision: &str, size| Entry {
        revision: revision.into(),
        version: ContentVersion::new(format!("{size}@{revision}")),
        size: Some(size),
        ..entry.clone()
    };
    assert!(list(&catalog, &root(), 20, vec![(ino, listed("2", 11))]).is_empty());
    let known = catalog.by_id(&file_id(1)).expect("query").expect("known");
    assert_eq!(known.entry.version, entry.version);
    // Another size is other content, and so may be another revision.
    for (at, told) in [(30, listed("2", 12)), (40, listed("3", 12))] {
        let diff = list(&catalog, &root(), at, vec![(ino, told.clone())]);
        assert_eq!(
            diff.changed.iter().map(|c| c.change).collect::<Vec<_>>(),
            [Change::Content]
        );
        let known = catalog.by_id(&file_id(1)).expect("query").expect("known");
        assert_eq!(known.entry.version, told.version);
    }
}

#[test]
fn the_answer_to_bytes_is_no_first_look_at_those_before() {
    let (ino, entry) = file(1, "a", &[root()]);
    let sent = Entry {
        revision: String::new(),
        created: Some(t(1000)),
        ..entry.clone()
    };
    let again = Entry {
        revision: "1".into(),
        version: ContentVersion::new("again"),
        created: Some(t(1001)),
        modified: Some(t(1002)),
        ..entry.clone()
    };
    let catalog = catalog();
    catalog.put_sent(ino, &sent, t(1000), &NoBindings).expect("put");
    let diff = catalog.put_sent(ino, &again, t(1003), &NoBindings).expect("put");
    assert_eq!(
        diff.changed.iter().map(|c| c.change).collect::<Vec<_>>(),
        [Change::Content]
    );
    let known = catalog.by_id(&file_id(1)).expect("query").expect("known").entry;
    assert_eq!(known.version, again.version);
}

#[test]
fn the_first_look_at_an_upload_tells_the_revision_of_what_was_sent() {
    let (ino, entry) = file(1, "a", &[root()]);
    let sent = Entry {
        revision: String::new(),
        created: Some(t(1000)),
        ..entry.clone()
    };
    let told = |size, modified| Entry {
        revision: "1".into(),
        version: ContentVersion::new(format!("{size}@1")),
        size: Some(size),
        created: Some(t(1001)),
        modified: Some(t(modified)),
        ..entry.clone()
    };
    let size = entry.size.expect("a size");
    for (told, change) in [
        (told(size, 1002), Change::Metadata),
        // By then somebody else may have changed it.
        (told(size, 1400), Change::Content),
        (told(size + 1, 1002), Change::Content),
    ] {
        let catalog = catalog();
        catalog.put_entry(ino, &sent, t(1010), &NoBindings).expect("put");
        let diff = list(&catalog, &root(), 1020, vec![(ino, told.clone())]);
        assert_eq!(diff.changed.iter().map(|c| c.change).collect::<Vec<_>>(), [change]);
        let known = catalog.by_id(&file_id(1)).expect("query").expect("known").entry;
        let kept = change == Change::Metadata;
        assert_eq!(known.version, if kept { sent.version.clone() } else { told.version });
        assert_eq!(known.revision, "1");
        if kept {
            let later = Entry {
                revision: "2".into(),
                version: ContentVersion::new("later"),
                ..known.as_ref().clone()
            };
            let diff = list(&catalog, &root(), 1030, vec![(ino, later)]);
            assert_eq!(diff.changed[0].change, Change::Content, "only the first look is one");
        }
    }
}

/// What was read is kept for who asks next, and must never be older than what was written.
#[test]
fn a_node_that_was_read_is_known_anew_after_each_write() {
    let catalog = catalog();
    let (ino, entry) = file(1, "a.jpg", &[root()]);
    let sized = |size| Entry {
        size: Some(size),
        version: ContentVersion::new(size.to_string()),
        ..entry.clone()
    };
    let write = |size: u64| {
        let put = catalog.put_entry(ino, &sized(size), t(size as i64), &NoBindings);
        put.expect("put");
    };
    let read = || {
        catalog
            .by_ino(ino)
            .expect("query")
            .expect("known")
            .entry
            .size
            .expect("told")
    };
    write(1);
    let written = std::sync::atomic::AtomicU64::new(1);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut seen = 0;
                while seen < 300 {
                    let least = written.load(std::sync::atomic::Ordering::SeqCst).max(seen);
                    seen = read();
                    assert!(seen >= least, "{seen} after {least}");
                }
            });
        }
        for size in 2..=300 {
            write(size);
            written.store(size, std::sync::atomic::Ordering::SeqCst);
            assert_eq!(read(), size);
        }
    });
    catalog.remove(&entry.id, t(400)).expect("removed");
    assert_eq!(catalog.by_ino(ino).expect("query"), None);
}
