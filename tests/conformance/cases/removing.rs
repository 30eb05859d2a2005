use assetfs::model::{ContentVersion, Entry, Kind};
use assetfs::store::{ErrorKind, Support};

use crate::fixture::Fixture;
use crate::support::{create, kind, list, listed_names};

pub async fn a_removed_file_is_gone(f: &dyn Fixture) {
    let (store, room) = (f.store(), &f.rooms()[0]);
    let gone = create(&store, room, "gone.txt", b"gone").await.expect("a new file");
    let kept = create(&store, room, "kept.txt", b"kept").await.expect("a new file");
    store.remove(&gone).await.expect("a removal");
    assert_eq!(f.held(&gone.id).await, None);
    assert_eq!(kind(store.stat(&gone.id).await), ErrorKind::NotFound);
    assert!(store.read(&gone, 0..4).await.is_err(), "no content without a file");
    assert_eq!(f.held(&kept.id).await.as_deref(), Some(&b"kept"[..]));
    f.settle().await;
    assert_eq!(listed_names(&store, room).await, ["kept.txt"]);
}

pub async fn an_empty_folder_is_removed(f: &dyn Fixture) {
    let store = f.store();
    let ([home, _], [room, _]) = (f.homes(), f.rooms());
    let outcome = store.remove(&room).await;
    f.settle().await;
    let left = list(&store, &home).await.expect("a listing");
    match store.capabilities().remove_folder {
        Support::Yes => {
            outcome.expect("a removal");
            assert_eq!(left, []);
            assert_eq!(kind(store.stat(&room.id).await), ErrorKind::NotFound);
        }
        Support::No => {
            assert_eq!(kind(outcome), ErrorKind::Denied);
            assert!(left.iter().any(|child| child.id == room.id), "it is still there");
        }
    }
}

pub async fn a_folder_with_children_is_not_removed(f: &dyn Fixture) {
    let store = f.store();
    let ([home, _], [room, _]) = (f.homes(), f.rooms());
    let inside = f.put(&room, "inside.txt", b"precious").await;
    f.settle().await;
    let refusal = match store.capabilities().remove_folder {
        Support::Yes => ErrorKind::NotEmpty,
        Support::No => ErrorKind::Denied,
    };
    // As it was known before the file came, with a file in it, and with a folder in it.
    for folder in [&room, &store.stat(&room.id).await.expect("a stat"), &home] {
        assert_eq!(kind(store.remove(folder).await), refusal, "{}", folder.name);
    }
    assert_eq!(f.held(&inside).await.as_deref(), Some(&b"precious"[..]));
}

pub async fn the_root_is_not_removed(f: &dyn Fixture) {
    let store = f.store();
    let root = store.root().await.expect("the root");
    assert!(store.remove(&root).await.is_err());
    assert_eq!(store.root().await.expect("the root").id, root.id);
    for home in f.homes() {
        store.stat(&home.id).await.expect("what is in it");
    }
}

pub async fn what_is_gone_is_gone(f: &dyn Fixture) {
    let room = &f.rooms()[0];
    let parents = vec![room.id.clone()];
    let gone = Entry::file(f.absent(Kind::File), "gone.txt", parents, 1, ContentVersion::new("1"));
    // Both answers mean that it is not there; any other would keep a removal waiting for ever.
    if let Err(error) = f.store().remove(&gone).await {
        assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
    }
    assert_eq!(list(&f.store(), room).await.expect("a listing"), []);
}
