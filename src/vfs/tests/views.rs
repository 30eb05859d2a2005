//! Virtual folders: the same assets by other ways, that nobody meets who does not name them.

use std::time::Duration;

use super::rig::{ME, Rig, name};
use crate::model::Ino;
use crate::store::memory::{self as presets, Fault, Op};
use crate::store::{ErrorKind, Retry};
use crate::vfs::{OpenHow, SetXattrMode};

/// A tree with something to find: `Press/hero.jpg`, `Press/Old/hero.jpg`, `Press/Old/note.txt`.
async fn library() -> Rig {
    let rig = Rig::new(presets::like_imagerelay()).await;
    let remote = rig.store.remote();
    let press = remote.mkdir(&remote.root(), "Press").expect("mkdir");
    let old = remote.mkdir(&press.id, "Old").expect("mkdir");
    remote.put(&press.id, "hero.jpg", &b"new hero"[..]).expect("put");
    let hero = remote.put(&old.id, "hero.jpg", &b"old hero"[..]).expect("put");
    remote.put(&old.id, "note.txt", &b"a note"[..]).expect("put");
    remote
        .set_fields(&hero.id, &[("tags".to_owned(), vec!["Spring".into()])].into())
        .expect("set");
    rig
}

fn errno<T>(result: crate::vfs::Result<T>) -> i32 {
    result.err().map_or(0, |error| error.errno())
}

fn cable_pulled() -> Fault {
    Fault::Fail(ErrorKind::Network, Retry::After(Duration::ZERO))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_shows_the_assets_themselves_and_asks_once_in_half_a_minute() {
    let rig = library().await;
    assert_eq!(rig.names("").await, ["Press"], "no listing shows a view");
    let before = rig.store.faults().calls(Op::Search);
    let found = rig.names(".search/hero").await;
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.contains(&"hero.jpg".to_owned()), "{found:?}");
    for name in &found {
        rig.read(&format!(".search/hero/{name}")).await.expect("readable");
    }
    assert_eq!(rig.store.faults().calls(Op::Search) - before, 1);

    let here = rig.at("Press/hero.jpg").await.expect("there");
    let there = rig.at(".search/hero/hero.jpg").await.expect("there");
    assert_eq!(here, there, "the same inode with the same attributes");

    rig.clock.advance(Duration::from_secs(31));
    let remote = rig.store.remote();
    let press = remote.find("Press").expect("there");
    remote.put(&press.id, "hero 2.jpg", &b"x"[..]).expect("put");
    assert!(rig.names(".search/hero").await.contains(&"hero 2.jpg".to_owned()));
    assert_eq!(rig.store.faults().calls(Op::Search) - before, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_keeps_to_its_folder_and_to_it_alone_when_told() {
    let rig = library().await;
    assert_eq!(rig.names("Press/.search/hero").await.len(), 2);
    assert_eq!(rig.names("Press/Old/.search/hero").await, ["hero.jpg"]);
    let alone = rig.names("Press/.search/hero&recursive=false").await;
    assert_eq!(alone, ["hero.jpg"]);
    assert_eq!(
        rig.read("Press/.search/hero&recursive=false/hero.jpg")
            .await
            .expect("read"),
        b"new hero"
    );
    assert_eq!(rig.names(".search/tags=Spring").await, ["hero.jpg"]);
    assert_eq!(rig.names(".search/h%65ro&tags=Sprin%67").await, ["hero.jpg"]);
    assert_eq!(errno(rig.at(".search/=x").await), libc::EINVAL);
    assert_eq!(errno(rig.at(".search/x&recursive=maybe").await), libc::EINVAL);
    let before = rig.store.faults().calls_total();
    assert_eq!(errno(rig.at(".search/.git").await), libc::ENOENT);
    assert_eq!(
        rig.store.faults().calls_total(),
        before,
        "what shells look for costs nothing"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn names_in_a_view_cannot_be_changed_but_content_and_attributes_can() {
    let rig = library().await;
    let found = ".tags/Spring/hero.jpg";
    rig.at(found).await.expect("there");
    for outcome in [
        errno(rig.unlink(found).await),
        errno(rig.rename(found, ".tags/Spring/other.jpg").await),
        errno(rig.rename(found, "Press/moved.jpg").await),
        errno(rig.rename("Press/hero.jpg", ".tags/Spring/moved.jpg").await),
        errno(rig.write(".tags/Spring/new.jpg", b"x").await),
        errno(rig.mkdir(".tags/Spring/folder").await),
        errno(rig.mkdir(".search/words/folder").await),
        errno(rig.rmdir(".tags/Spring").await),
        errno(rig.rmdir(".tags").await),
        errno(rig.unlink(".recent").await),
        errno(rig.rename(".recent", "recent").await),
        errno(
            rig.vfs
                .link(
                    ME,
                    rig.at("Press/hero.jpg").await.expect("there").ino,
                    rig.at(".recent").await.expect("there").ino,
                    &name("hero.jpg"),
                )
                .await,
        ),
        errno(
            rig.vfs
                .setattr(
                    ME,
                    rig.at(".tags").await.expect("there").ino,
                    None,
                    crate::vfs::SetAttr {
                        mode: Some(0o777),
                        ..Default::default()
                    },
                )
                .await,
        ),
        errno(
            rig.vfs
                .setxattr(
                    ME,
                    rig.at(".tags").await.expect("there").ino,
                    "user.memory.x",
                    b"1",
                    SetXattrMode::Any,
                )
                .await,
        ),
    ] {
        assert_eq!(outcome, libc::EPERM);
    }
    rig.write(found, b"written through the view").await.expect("written");
    let ino = rig.at(found).await.expect("there").ino;
    rig.vfs
        .setxattr(
            ME,
            ino,
            "user.memory.caption",
            b"set through the view",
            SetXattrMode::Any,
        )
        .await
        .expect("set");
    rig.settle().await;
    let stored = rig.store.remote().find("Press/Old/hero.jpg").expect("there");
    assert_eq!(
        rig.store.remote().bytes(&stored.id).expect("bytes"),
        "written through the view"
    );
    assert_eq!(stored.fields["caption"].values[0].text, "set through the view");
    assert_eq!(rig.stored(), rig.tree().await, "and nothing else has changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_never_hides_what_the_store_has() {
    let rig = Rig::new(presets::whole()).await;
    let remote = rig.store.remote();
    let real = remote.mkdir(&remote.root(), ".search").expect("mkdir");
    remote.put(&real.id, "inside.txt", &b"real"[..]).expect("put");
    remote.put(&remote.root(), ".recent", &b"a file"[..]).expect("put");
    remote.put(&remote.root(), ".search.txt", &b"no view"[..]).expect("put");
    assert_eq!(rig.read(".search/inside.txt").await.expect("read"), b"real");
    assert_eq!(rig.read(".recent").await.expect("read"), b"a file");
    assert_eq!(rig.read(".search.txt").await.expect("read"), b"no view");
    assert_eq!(rig.names("").await, [".recent", ".search", ".search.txt"]);
    // What is real can be renamed and removed; what would hide a view is not made here.
    rig.rename(".recent", "recent.txt").await.expect("renamed");
    assert_eq!(
        errno(rig.vfs.mkdir(ME, Ino::ROOT, &name(".tags"), 0o755).await),
        libc::EEXIST
    );
    assert_eq!(errno(rig.rename("recent.txt", ".id").await), libc::EEXIST);
    rig.mkdir("folder").await.expect("made");
    rig.mkdir("folder/.tags").await.expect("only the root has that view");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_new_is_shown_for_a_week() {
    let rig = library().await;
    assert_eq!(rig.names(".recent").await.len(), 3);
    rig.clock.advance(Duration::from_secs(8 * 86_400));
    let remote = rig.store.remote();
    let note = remote.find("Press/Old/note.txt").expect("there");
    remote.write(&note.id, &b"changed"[..]).expect("written");
    assert_eq!(rig.names(".recent").await, ["note.txt"]);
    assert_eq!(rig.read(".recent/note.txt").await.expect("read"), b"changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_into_a_collection_adds_the_file_to_it() {
    let rig = library().await;
    let remote = rig.store.remote();
    let note = remote.find("Press/Old/note.txt").expect("there").id;
    let id = remote.collection("Best of", std::slice::from_ref(&note));
    remote.collection("Empty", &[]);
    assert_eq!(rig.names(".collections").await, ["Best of", "Empty"]);
    assert_eq!(rig.names(".collections/Best of").await, ["note.txt"]);
    assert_eq!(rig.names(".collections/Empty").await, Vec::<String>::new());
    assert_eq!(errno(rig.at(".collections/Unknown").await), libc::ENOENT);

    let hero = rig.at("Press/hero.jpg").await.expect("there").ino;
    let best = rig.at(".collections/Best of").await.expect("there").ino;
    let linked = rig.vfs.link(ME, hero, best, &name("hero.jpg")).await.expect("linked");
    assert_eq!(linked.ino, hero);
    assert_eq!(rig.store.faults().calls(Op::Link), 1);
    assert_eq!(remote.collected(&id).len(), 2);
    assert_eq!(rig.names(".collections/Best of").await, ["hero.jpg", "note.txt"]);
    let again = rig.vfs.link(ME, hero, best, &name("hero.jpg")).await;
    assert_eq!(errno(again), libc::EEXIST);
    let renamed = rig.vfs.link(ME, hero, best, &name("other.jpg")).await;
    assert_eq!(errno(renamed), libc::EPERM);
    assert_eq!(errno(rig.unlink(".collections/Best of/hero.jpg").await), libc::EPERM);
    assert_eq!(
        rig.names("Press").await,
        ["Old", "hero.jpg"],
        "its folders stay as they were"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_asset_is_reached_by_its_id_whether_its_folder_was_read_or_not() {
    let rig = library().await;
    let hero = rig.store.remote().find("Press/Old/hero.jpg").expect("there");
    let key = hero.id.key().to_owned();
    let stats = || rig.store.faults().calls(Op::Stat);
    let before = stats();
    let by_id = rig.at(&format!(".id/{key}")).await.expect("there");
    assert_eq!(stats() - before, 1, "it was not known");
    assert_eq!(rig.read(&format!(".id/{key}")).await.expect("read"), b"old hero");
    assert_eq!(
        rig.at(&format!(".id/{}", hero.id)).await.expect("there"),
        by_id,
        "the whole id does too"
    );
    assert_eq!(stats() - before, 1, "by now it is known");
    assert_eq!(by_id, rig.at("Press/Old/hero.jpg").await.expect("there"));
    assert_eq!(errno(rig.at(".id/999").await), libc::ENOENT);
    assert_eq!(rig.names(".id").await, Vec::<String>::new());

    let fresh = library().await;
    let paths = fresh.vfs.paths_of_id(&key).await.expect("found");
    assert_eq!(paths, ["Press/Old/hero.jpg"], "the folders above are asked for");
    assert_eq!(
        fresh.store.faults().calls(Op::Stat),
        3,
        "one each for the file and two folders"
    );
    assert_eq!(
        fresh.vfs.paths_of_id("999").await.expect("an answer"),
        Vec::<String>::new()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_take_paths_through_views() {
    let rig = library().await;
    let found = rig.vfs.search("Press", "note").await.expect("found");
    assert_eq!(found.len(), 1);
    assert!(
        found[0].path.starts_with(".id/"),
        "its folder was never read: {found:?}"
    );
    let url = rig.vfs.web_url(&found[0].path).await.expect("an address");
    assert!(url.is_some());
    rig.names("Press").await;
    rig.names("Press/Old").await;
    let found = rig.vfs.search("", "note&recursive=true").await.expect("found");
    assert_eq!(found[0].path, "Press/Old/note.txt");
    let through = rig.vfs.asset(".search/note/note.txt").await.expect("there");
    assert_eq!(through.path, "Press/Old/note.txt");
    assert_eq!(errno(rig.vfs.asset(".search/note").await), libc::EINVAL);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_network_a_view_shows_what_it_last_held_or_fails() {
    let rig = library().await;
    let found = rig.names(".search/hero").await;
    let note = rig.store.remote().find("Press/Old/note.txt").expect("there").id;
    rig.names("Press/Old").await;
    rig.clock.advance(Duration::from_secs(3600));
    rig.store.faults().everything(Some(cable_pulled()));
    assert_eq!(rig.names(".search/hero").await, found);
    rig.at(&format!(".id/{}", note.key())).await.expect("known");
    let unasked = rig.at(".search/note").await.expect("a place to ask").ino;
    assert_eq!(errno(rig.vfs.opendir(ME, unasked).await), libc::EIO, "no empty folder");
    assert_eq!(errno(rig.at(".id/999").await), libc::EIO, "unknown is not absent");
    rig.store.faults().clear();
    assert_eq!(rig.names(".search/note").await, ["note.txt"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_removed_or_replaced_here_shows_so_in_views_at_once() {
    let rig = library().await;
    assert_eq!(rig.names(".recent").await.len(), 3);
    rig.unlink("Press/Old/note.txt").await.expect("removed");
    assert_eq!(rig.names(".recent").await.len(), 2);
    assert_eq!(errno(rig.at(".recent/note.txt").await), libc::ENOENT);

    // A version that comes while the old one is open has another inode, here as in its folder.
    let ino = rig.at("Press/hero.jpg").await.expect("there").ino;
    let how = OpenHow {
        read: true,
        ..OpenHow::default()
    };
    let opened = rig.vfs.open(ME, ino, how).await.expect("open");
    rig.clock.advance(Duration::from_secs(100));
    let hero = rig.store.remote().find("Press/hero.jpg").expect("there").id;
    rig.store.remote().write(&hero, &b"another"[..]).expect("written");
    rig.vfs.refresh("/Press").await.expect("refresh");
    assert_eq!(rig.read(".recent/hero.jpg").await.expect("read"), b"another");
    assert_ne!(rig.at(".recent/hero.jpg").await.expect("there").ino, ino);
    rig.vfs.release(opened.fh).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_cannot_says_so() {
    let rig = Rig::new(presets::like_flextype()).await;
    for path in [".search/words", ".tags/x"] {
        assert_eq!(errno(rig.at(path).await), libc::EOPNOTSUPP, "{path}");
    }
    for path in [".recent", ".collections"] {
        let ino = rig.at(path).await.expect("a place to ask").ino;
        assert_eq!(errno(rig.vfs.opendir(ME, ino).await), libc::EOPNOTSUPP, "{path}");
    }
}
