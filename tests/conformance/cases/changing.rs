use assetfs::model::Entry;
use assetfs::store::{
    ErrorKind, IdScheme, MoveFile, MoveFolder, Overwrite, Placement, RenameFile, Support, UploadProgress,
};

use crate::fixture::Fixture;
use crate::support::{body, create, field, kind, list, listed_names, name};

fn place(name: &str, parents: &[&Entry]) -> Placement {
    Placement {
        name: name.into(),
        parents: parents.iter().map(|parent| parent.id.clone()).collect(),
    }
}

/// A file that the store itself made, as everybody is told of it.
async fn made(f: &dyn Fixture, file_name: &str, bytes: &[u8]) -> Entry {
    let made = create(&f.store(), &f.rooms()[0], file_name, bytes)
        .await
        .expect("a new file");
    f.store().stat(&made.id).await.expect("it is there")
}

/// Nothing has changed about `entry`.
async fn untouched(f: &dyn Fixture, entry: &Entry, bytes: &[u8]) {
    assert_eq!(
        f.held(&entry.id).await.as_deref(),
        Some(bytes),
        "its bytes are still there"
    );
    let told = f.store().stat(&entry.id).await.expect("it is still there");
    assert_eq!((&told.name, &told.version), (&entry.name, &entry.version));
}

pub async fn new_content_keeps_the_identity(f: &dyn Fixture) {
    let entry = made(f, "a.txt", b"first").await;
    let progress = UploadProgress::default();
    let outcome = f
        .store()
        .replace(&entry, Some(&entry.version), None, &body(b"second one"), &progress)
        .await;
    match f.store().capabilities().overwrite {
        Overwrite::Replace => {
            let newer = outcome.expect("a new version");
            assert_eq!((&newer.id, &newer.name), (&entry.id, &entry.name));
            assert_ne!(newer.version, entry.version);
            assert_eq!(f.held(&entry.id).await.as_deref(), Some(&b"second one"[..]));
            let told = f.store().stat(&entry.id).await.expect("a stat");
            assert_eq!((told.size, &told.version), (Some(10), &newer.version));
        }
        Overwrite::Reupload => {
            assert_eq!(kind(outcome), ErrorKind::Unsupported);
            untouched(f, &entry, b"first").await;
        }
    }
}

pub async fn new_content_on_an_old_base_is_a_conflict(f: &dyn Fixture) {
    let entry = made(f, "a.txt", b"first").await;
    let progress = UploadProgress::default();
    let store = f.store();
    // Somebody else, from another machine.
    let theirs = f.store().replace(&entry, None, None, &body(b"theirs"), &progress).await;
    let ours = store
        .replace(
            &entry,
            Some(&entry.version),
            None,
            &body(b"ours, from the first"),
            &progress,
        )
        .await;
    match store.capabilities().overwrite {
        Overwrite::Replace => {
            theirs.expect("a new version");
            assert_eq!(kind(ours), ErrorKind::Conflict);
            assert_eq!(
                f.held(&entry.id).await.as_deref(),
                Some(&b"theirs"[..]),
                "nothing is overwritten"
            );
        }
        Overwrite::Reupload => {
            assert_eq!(
                (kind(theirs), kind(ours)),
                (ErrorKind::Unsupported, ErrorKind::Unsupported)
            );
            untouched(f, &entry, b"first").await;
        }
    }
}

pub async fn new_content_and_name_in_one(f: &dyn Fixture) {
    let entry = made(f, "a.txt", b"first").await;
    let progress = UploadProgress::default();
    let other = name("b.txt");
    let outcome = f
        .store()
        .replace(&entry, Some(&entry.version), Some(&other), &body(b"second"), &progress)
        .await;
    let carried_out = match f.store().capabilities().rename_file {
        RenameFile::Replace => true,
        // Not needed by anybody, so a store may do without; but what it takes, it does.
        RenameFile::Relocate => outcome.is_ok(),
        RenameFile::Reupload => false,
    };
    if carried_out {
        let newer = outcome.expect("a new version");
        assert_eq!(newer.name, "b.txt");
        match f.store().capabilities().ids {
            IdScheme::Stable => assert_eq!(newer.id, entry.id),
            IdScheme::Path => assert_eq!(f.held(&entry.id).await, None),
        }
        assert_eq!(f.held(&newer.id).await.as_deref(), Some(&b"second"[..]));
    } else {
        assert_eq!(kind(outcome), ErrorKind::Unsupported);
        untouched(f, &entry, b"first").await;
    }
}

pub async fn a_file_gets_another_name(f: &dyn Fixture) {
    let entry = made(f, "a.txt", b"bytes").await;
    let store = f.store();
    let outcome = store.relocate(&entry, &place("b.txt", &[&f.rooms()[0]])).await;
    match store.capabilities().rename_file {
        RenameFile::Relocate => {
            let renamed = outcome.expect("a new name");
            assert_eq!(renamed.name, "b.txt");
            assert_eq!(f.held(&renamed.id).await.as_deref(), Some(&b"bytes"[..]));
            match store.capabilities().ids {
                IdScheme::Stable => assert_eq!(renamed.id, entry.id),
                IdScheme::Path => assert_eq!(kind(store.stat(&entry.id).await), ErrorKind::NotFound),
            }
            f.settle().await;
            assert_eq!(listed_names(&store, &f.rooms()[0]).await, ["b.txt"]);
        }
        RenameFile::Replace | RenameFile::Reupload => {
            assert_eq!(kind(outcome), ErrorKind::Unsupported);
            untouched(f, &entry, b"bytes").await;
        }
    }
}

pub async fn a_file_gets_into_another_folder(f: &dyn Fixture) {
    let entry = made(f, "a.txt", b"bytes").await;
    let [from, to] = f.neighbours();
    let store = f.store();
    let outcome = store.relocate(&entry, &place("a.txt", &[&to])).await;
    match store.capabilities().move_file {
        MoveFile::Relocate if store.crosses(&entry, &to) => {
            assert_eq!(kind(outcome), ErrorKind::Unsupported);
            untouched(f, &entry, b"bytes").await;
        }
        MoveFile::Relocate => {
            let moved = outcome.expect("another folder");
            assert_eq!(moved.parents, std::slice::from_ref(&to.id));
            assert_eq!(f.held(&moved.id).await.as_deref(), Some(&b"bytes"[..]));
            if store.capabilities().ids == IdScheme::Stable {
                assert_eq!(moved.id, entry.id);
            }
            f.settle().await;
            assert_eq!(list(&store, &from).await.expect("a listing"), []);
            assert_eq!(listed_names(&store, &to).await, ["a.txt"]);
        }
        MoveFile::Reupload => {
            assert_eq!(kind(outcome), ErrorKind::Unsupported);
            untouched(f, &entry, b"bytes").await;
        }
    }
}

pub async fn a_folder_gets_another_name(f: &dyn Fixture) {
    let store = f.store();
    let ([home, _], [room, _]) = (f.homes(), f.rooms());
    let inside = f.put(&room, "inside.txt", b"still here").await;
    f.settle().await;
    let outcome = store.relocate(&room, &place("another name", &[&home])).await;
    match store.capabilities().rename_folder {
        Support::Yes => {
            let renamed = outcome.expect("a new name");
            assert_eq!(renamed.name, "another name");
            f.settle().await;
            let entries = list(&store, &renamed).await.expect("a listing");
            assert_eq!(
                entries.iter().map(|e| e.name.as_str()).collect::<Vec<_>>(),
                ["inside.txt"]
            );
            match store.capabilities().ids {
                IdScheme::Stable => assert_eq!((&renamed.id, &entries[0].id), (&room.id, &inside)),
                IdScheme::Path => assert_eq!(kind(store.stat(&inside).await), ErrorKind::NotFound),
            }
            assert_eq!(f.held(&entries[0].id).await.as_deref(), Some(&b"still here"[..]));
        }
        Support::No => {
            assert_eq!(kind(outcome), ErrorKind::Denied);
            assert_eq!(store.stat(&room.id).await.expect("a stat").name, room.name);
        }
    }
}

pub async fn a_folder_gets_another_parent(f: &dyn Fixture) {
    let store = f.store();
    let ([first, second], [room, _]) = (f.homes(), f.rooms());
    f.put(&room, "inside.txt", b"still here").await;
    f.settle().await;
    let outcome = store.relocate(&room, &place(&room.name, &[&second])).await;
    f.settle().await;
    let left = list(&store, &first).await.expect("a listing");
    let stays = left.iter().any(|child| child.id == room.id);
    match store.capabilities().move_folder {
        MoveFolder::Relocate => {
            let moved = outcome.expect("another parent");
            assert!(!stays, "it left its first parent");
            assert_eq!(moved.parents, std::slice::from_ref(&second.id));
            assert_eq!(listed_names(&store, &moved).await, ["inside.txt"]);
            let into_itself = store.relocate(&moved, &place(&moved.name, &[&moved])).await;
            assert!(into_itself.is_err(), "a folder inside itself");
        }
        MoveFolder::Unsupported => {
            assert_eq!((kind(outcome), stays), (ErrorKind::Denied, true));
        }
    }
}

pub async fn one_file_in_two_folders(f: &dyn Fixture) {
    let store = f.store();
    let entry = made(f, "a.txt", b"bytes").await;
    let [one, two] = f.rooms();
    let outcome = store.link(&entry, &two.id).await;
    let Support::Yes = store.capabilities().links else {
        assert_eq!(kind(outcome), ErrorKind::Unsupported);
        assert_eq!(
            kind(store.relocate(&entry, &place("a.txt", &[&one, &two])).await),
            ErrorKind::Unsupported
        );
        assert_eq!(list(&store, &two).await.expect("a listing"), []);
        untouched(f, &entry, b"bytes").await;
        return;
    };
    let linked = outcome.expect("a link");
    assert_eq!(linked.id, entry.id);
    let mut parents = linked.parents.clone();
    parents.sort();
    let mut want = vec![one.id.clone(), two.id.clone()];
    want.sort();
    assert_eq!(parents, want);
    f.settle().await;
    for room in [&one, &two] {
        let listed = list(&store, room).await.expect("a listing");
        assert_eq!(listed.iter().map(|e| &e.id).collect::<Vec<_>>(), [&entry.id]);
    }
    // And out of the first one again, with the second kept.
    let unlinked = store
        .relocate(&linked, &place("a.txt", &[&two]))
        .await
        .expect("one folder less");
    assert_eq!(unlinked.parents, std::slice::from_ref(&two.id));
    f.settle().await;
    assert_eq!(list(&store, &one).await.expect("a listing"), []);
    assert_eq!(f.held(&entry.id).await.as_deref(), Some(&b"bytes"[..]));
}

pub async fn a_copy_is_independent(f: &dyn Fixture) {
    let store = f.store();
    let entry = made(f, "a.txt", b"bytes").await;
    let field_name = f.text_field().name();
    store
        .set_fields(std::slice::from_ref(&entry), &field(field_name, &["kept"]))
        .await
        .expect("a field");
    let [_, other] = f.rooms();
    let outcome = store.copy(&entry, &other.id, &name("b.txt")).await;
    let Support::Yes = store.capabilities().server_copy else {
        assert_eq!(kind(outcome), ErrorKind::Unsupported);
        assert_eq!(list(&store, &other).await.expect("a listing"), []);
        return;
    };
    let copy = outcome.expect("a copy");
    assert_ne!(copy.id, entry.id);
    assert_eq!(
        copy.name,
        if store.capabilities().copy_keeps_name {
            "a.txt"
        } else {
            "b.txt"
        }
    );
    assert_eq!(f.held(&copy.id).await.as_deref(), Some(&b"bytes"[..]));
    store.remove(&entry).await.expect("a removal");
    assert_eq!(
        f.held(&copy.id).await.as_deref(),
        Some(&b"bytes"[..]),
        "the copy does not need the original"
    );
    f.settle().await;
    assert_eq!(listed_names(&store, &other).await, [copy.name]);
}

pub async fn what_may_not_enter_a_folder_is_told_beforehand(f: &dyn Fixture) {
    let store = f.store();
    let file = create(&store, &f.rooms()[0], "a.txt", b"x").await.expect("a new file");
    let [home, other_home] = f.homes();
    let [room, other_room] = f.rooms();
    for item in [&home, &room, &file] {
        for into in [&store.root().await.expect("the root"), &other_home, &other_room] {
            if item.parents.contains(&into.id) || store.may_enter(item, into).is_ok() {
                continue;
            }
            let to = Placement {
                name: item.name.clone(),
                parents: vec![into.id.clone()],
            };
            let refused = store.relocate(item, &to).await;
            assert!(refused.is_err(), "{} into {}: {refused:?}", item.id, into.id);
            let told = store.stat(&item.id).await.expect("a stat");
            assert_eq!(told.parents, item.parents, "{} into {}", item.id, into.id);
        }
    }
    // What is where it belongs may be there.
    assert!(store.may_enter(&file, &room).is_ok());
}
