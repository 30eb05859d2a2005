//! What operations do, also where the service is odd.

use std::time::Duration;

use super::costs::small;
use super::*;
use crate::emulator::common::{Action, FaultRule, When};
use crate::emulator::imagerelay::Edit;
use crate::model::{Access, Kind};
use crate::store::{ErrorKind, Placement, Query, Retry};

#[tokio::test]
async fn the_login_is_proven_and_told_from_a_missing_permission() {
    let rig = rig().await;
    let account = rig.store.account().await.expect("an account");
    assert!(!account.id.contains(&rig.server.api_key) && !account.label.is_empty());
    rig.server
        .faults()
        .add(FaultRule::new("DELETE /files/*", When::Always, Action::status(401)));
    let file = rig.foreign("a.bin", b"x").await;
    let error = rig.store.remove(&file).await.expect_err("refused");
    assert_eq!(error.kind, ErrorKind::Denied);
    rig.server
        .faults()
        .add(FaultRule::new("*", When::Always, Action::status(401)));
    let error = rig.store.account().await.expect_err("refused");
    assert_eq!(error.kind, ErrorKind::Unauthenticated);
}

#[tokio::test]
async fn both_halves_of_a_folder_are_listed_whatever_the_form_of_ids() {
    let rig = rig_of(quirks(Quirks {
        ids_as_strings: true,
        deleted_listed: true,
        folder_ids_missing: true,
        link_header: true,
        ..Quirks::default()
    }))
    .await;
    let remote = rig.server.remote();
    remote.create_folder(remote.root(), "Sub").expect("a folder");
    remote
        .create_file(remote.root(), "a.bin", b"1".to_vec())
        .expect("a file");
    let gone = remote
        .create_file(remote.root(), "gone.bin", b"1".to_vec())
        .expect("a file");
    remote.delete_file(gone).expect("deleted");
    let root = rig.store.root().await.expect("the root");
    assert_eq!(rig.names(&root).await, ["Sub", "a.bin"]);
    let error = rig.store.stat(&ItemId::of("file", gone)).await.expect_err("gone");
    assert!(error.is_not_found());
}

#[tokio::test]
async fn a_service_that_ignores_the_page_gives_an_error_and_no_short_list() {
    let rig = rig_of(quirks(Quirks {
        page_ignored: true,
        ..Quirks::default()
    }))
    .await;
    let remote = rig.server.remote();
    for n in 0..101 {
        remote
            .create_file(remote.root(), &format!("{n}.bin"), vec![1])
            .expect("a file");
    }
    let root = rig.store.root().await.expect("the root");
    let error = rig.list(&root).await.expect_err("an error");
    assert_eq!(error.kind, ErrorKind::Protocol);
}

#[tokio::test]
async fn a_page_that_fails_fails_the_listing() {
    let rig = rig().await;
    let remote = rig.server.remote();
    for n in 0..101 {
        remote
            .create_file(remote.root(), &format!("{n}.bin"), vec![1])
            .expect("a file");
    }
    let root = rig.store.root().await.expect("the root");
    rig.server
        .faults()
        .add(FaultRule::new("GET /folders/{id}/files", When::Nth(2), Action::Html));
    let error = rig.list(&root).await.expect_err("an error");
    assert_eq!(error.kind, ErrorKind::Protocol);
}

#[tokio::test]
async fn one_miss_of_a_folder_is_no_deletion() {
    let rig = rig().await;
    let remote = rig.server.remote();
    let sub = ItemId::of("folder", remote.create_folder(remote.root(), "Sub").expect("a folder"));
    rig.server
        .faults()
        .add(FaultRule::new("GET /folders/{id}", When::First(1), Action::status(404)));
    assert_eq!(rig.store.stat(&sub).await.expect("an entry").name, "Sub");
}

#[tokio::test]
async fn a_folder_is_removed_by_whichever_form_works_and_only_when_it_is_empty() {
    for plural_delete_stuck in [true, false] {
        let rig = rig_of(quirks(Quirks {
            plural_delete_stuck,
            ..Quirks::default()
        }))
        .await;
        let remote = rig.server.remote();
        let id = remote.create_folder(remote.root(), "Sub").expect("a folder");
        let file = remote.create_file(id, "a.bin", b"x".to_vec()).expect("a file");
        let sub = rig.store.stat(&ItemId::of("folder", id)).await.expect("an entry");
        let error = rig.store.remove(&sub).await.expect_err("not empty");
        assert_eq!(error.kind, ErrorKind::NotEmpty);
        assert!(remote.file(file).is_some());
        remote.delete_file(file).expect("deleted");
        rig.store.remove(&sub).await.expect("removed");
        assert_eq!(remote.find("Sub"), None);
        let root = rig.store.root().await.expect("the root");
        assert_eq!(
            rig.store.remove(&root).await.expect_err("the root").kind,
            ErrorKind::Denied
        );
    }
}

#[tokio::test]
async fn a_late_listing_does_not_keep_an_empty_folder() {
    let rig = rig_of(Setup {
        options: ImageRelayOptions {
            listing_lag: Duration::from_secs(600),
            ..ImageRelayOptions::default()
        },
        ..Setup::default()
    })
    .await;
    let remote = rig.server.remote();
    let id = remote.create_folder(remote.root(), "Sub").expect("a folder");
    let file = remote.create_file(id, "a.bin", b"x".to_vec()).expect("a file");
    remote.delete_file(file).expect("deleted");
    let sub = rig.store.stat(&ItemId::of("folder", id)).await.expect("an entry");
    rig.store.remove(&sub).await.expect("removed");
}

#[tokio::test]
async fn moving_a_file_keeps_the_memberships_that_it_is_given() {
    let rig = rig().await;
    let remote = rig.server.remote();
    let ids: Vec<u64> = ["A", "B", "C"]
        .map(|n| remote.create_folder(remote.root(), n).expect("a folder"))
        .to_vec();
    let file = rig.foreign("a.bin", b"x").await;
    let to = Placement {
        name: "a.bin".to_owned(),
        parents: ids.iter().map(|id| ItemId::of("folder", id)).collect(),
    };
    rig.store.relocate(&file, &to).await.expect("moved");
    let id: u64 = file.id.key().parse().expect("a number");
    assert_eq!(remote.file(id).expect("a file").folder_ids, ids);
    let renamed = Placement {
        name: "b.bin".to_owned(),
        ..to
    };
    assert_eq!(
        rig.store.relocate(&file, &renamed).await.expect_err("no").kind,
        ErrorKind::Unsupported
    );
}

#[tokio::test]
async fn other_spellings_of_a_call_are_tried() {
    let rig = rig().await;
    let remote = rig.server.remote();
    let other = ItemId::of(
        "folder",
        remote.create_folder(remote.root(), "Other").expect("a folder"),
    );
    let file = rig.foreign("a.bin", b"x").await;
    rig.server.faults().add(FaultRule::new(
        "POST /files/{id}/duplicate",
        When::Always,
        Action::status(404),
    ));
    rig.server.faults().add(FaultRule::new(
        "POST /files/{id}/synced_file",
        When::Always,
        Action::status(405),
    ));
    let copy = rig.store.copy(&file, &other, &name("a.bin")).await.expect("a copy");
    assert_eq!(
        (copy.name.as_str(), copy.size, &copy.parents),
        ("a.bin", Some(1), &vec![other.clone()])
    );
    rig.store.link(&file, &other).await.expect("linked");
}

#[tokio::test]
async fn names_that_the_service_refuses_are_refused_at_once() {
    let rig = rig().await;
    for bad in ["R&D", "a<b", "a>b", "a\u{2215}b"] {
        assert_eq!(
            rig.store.check_name(&name(bad), Kind::Folder).expect_err("bad").kind,
            ErrorKind::Invalid
        );
    }
    for bad in ["README", ".bashrc", "a\u{2215}b.jpg"] {
        assert_eq!(
            rig.store.check_name(&name(bad), Kind::File).expect_err("bad").kind,
            ErrorKind::Invalid
        );
    }
    assert!(rig.store.check_name(&name("It's here"), Kind::Folder).is_ok());
    assert!(rig.store.check_name(&name("a.b.jpg"), Kind::File).is_ok());
    assert_eq!(rig.cost(), 0);
}

#[tokio::test]
async fn metadata_is_read_set_and_cleared() {
    let rig = small().await;
    let entry = rig.sample().await;
    assert!(entry.fields_complete);
    assert_eq!(entry.fields["content_type"].access, Access::ReadOnly);
    let keyword = entry.fields["tags"].values[0].clone();
    let changes = FieldChanges::from([
        ("term.Credit".to_owned(), vec!["First line".into(), "second".into()]),
        ("tags".to_owned(), Vec::new()),
    ]);
    let changed = rig
        .store
        .set_fields(std::slice::from_ref(&entry), &changes)
        .await
        .expect("set")
        .remove(0);
    assert_eq!(changed.version, entry.version);
    let seen = rig.store.stat(&entry.id).await.expect("an entry");
    assert_eq!(
        seen.fields["term.Credit"].values,
        ["First line".into(), "second".into()]
    );
    assert!(!seen.fields.contains_key("tags"));
    let again = FieldChanges::from([
        ("tags".to_owned(), vec![keyword.clone()]),
        ("term.Credit".to_owned(), Vec::new()),
    ]);
    rig.store.set_fields(&[seen], &again).await.expect("set");
    let seen = rig.store.stat(&entry.id).await.expect("an entry");
    assert_eq!(seen.fields["tags"].values, [keyword]);
    assert!(!seen.fields.contains_key("term.Credit"));
}

#[tokio::test]
async fn what_cannot_be_set_is_refused_before_anything_is_sent() {
    let rig = small().await;
    let entry = rig.sample().await;
    for (field, value, kind) in [
        ("term.Nonsense", "x", ErrorKind::Invalid),
        ("tags", "No such keyword", ErrorKind::Invalid),
        ("width", "3", ErrorKind::Denied),
        ("file_type", "no such type", ErrorKind::Invalid),
    ] {
        let changes = FieldChanges::from([(field.to_owned(), vec![value.into()])]);
        let error = rig.store.check_fields(&entry, &changes).await.expect_err(field);
        assert_eq!(error.kind, kind, "{field}");
    }
    let posts = rig
        .server
        .counters()
        .routes
        .into_iter()
        .filter(|(route, _)| route.starts_with("POST"));
    assert_eq!(posts.count(), 0);
}

#[tokio::test]
async fn an_unknown_tag_is_made_in_the_configured_keyword_set() {
    let options = ImageRelayOptions {
        seed: crate::emulator::imagerelay::Seed::Small,
        ..ImageRelayOptions::default()
    };
    let rig = rig_of(Setup {
        options,
        keyword_set: Some("season".to_owned()),
        ..Setup::default()
    })
    .await;
    let entry = rig.sample().await;
    let changes = FieldChanges::from([("tags".to_owned(), vec!["Monsoon".into()])]);
    rig.store
        .set_fields(std::slice::from_ref(&entry), &changes)
        .await
        .expect("set");
    let id: u64 = entry.id.key().parse().expect("a number");
    assert_eq!(rig.server.remote().file(id).expect("a file").tags, ["Monsoon"]);
}

/// Tags go as what is to be added and taken away, which was told by the tags before the change whose answer was lost.
#[tokio::test]
async fn a_tag_whose_answer_was_lost_can_be_taken_back() {
    for restarts in [false, true] {
        for instead in [vec![], vec!["Autumn".to_owned()]] {
            if restarts && !instead.is_empty() {
                // What another run sent is not known, and a look before each change of tags is not worth its request.
                continue;
            }
            let rig = super::costs::small().await;
            let entry = rig.foreign("a.bin", b"x").await;
            let route = "POST /files/{id}/tags";
            let rule = FaultRule::new(route, When::Always, Action::ApplyThenDropAnswer);
            let faults = rig.server.faults();
            faults.add(rule);
            let set = async |tags: Vec<String>| {
                let changes =
                    FieldChanges::from([("tags".to_owned(), tags.into_iter().map(|t| t.as_str().into()).collect())]);
                rig.store.set_fields(std::slice::from_ref(&entry), &changes).await
            };
            set(vec!["Spring".to_owned()]).await.expect_err("lost");
            faults.clear();
            let id: u64 = entry.id.key().parse().expect("a number");
            if restarts {
                rig.core().known.tags_changed(id);
            }
            set(instead.clone()).await.expect("set");
            assert_eq!(rig.server.remote().file(id).expect("a file").tags, instead);
        }
    }
}

#[tokio::test]
async fn a_service_that_ignores_the_time_filter_is_found_out() {
    let rig = rig_of(quirks(Quirks {
        updated_after_ignored: true,
        ..Quirks::default()
    }))
    .await;
    rig.foreign("a.bin", b"x").await;
    let now = crate::model::Timestamp::default();
    let refused = rig.store.changes(None, now).await.expect_err("no feed");
    assert_eq!(refused.kind, ErrorKind::Unsupported);
    // A cursor from better days is found out with the first page, however many there are.
    rig.store.root().await.expect("the root");
    rig.cost();
    let refused = rig.store.changes(Some("feed 2100-01-01T00:00:00Z"), now).await;
    assert_eq!(refused.expect_err("no feed").kind, ErrorKind::Unsupported);
    assert_eq!(rig.cost(), 1);
}

#[tokio::test]
async fn a_search_finds_below_its_folder_and_refuses_filters_it_does_not_know() {
    let rig = rig().await;
    let remote = rig.server.remote();
    let sub = remote.create_folder(remote.root(), "Sub").expect("a folder");
    remote.create_file(sub, "hero.bin", b"x".to_vec()).expect("a file");
    let query = Query {
        words: "hero".to_owned(),
        recursive: true,
        ..Query::default()
    };
    let found = rig.store.search(&query).await.expect("a list");
    assert_eq!(found.iter().map(|e| e.name.as_str()).collect::<Vec<_>>(), ["hero.bin"]);
    let query = Query {
        filters: vec![("colour".to_owned(), "red".to_owned())],
        ..query
    };
    assert_eq!(rig.store.search(&query).await.expect_err("no").kind, ErrorKind::Invalid);
}

#[tokio::test]
async fn an_expired_asset_cannot_be_read() {
    let rig = rig().await;
    let file = rig.foreign("a.bin", b"x").await;
    let id = file.id.key().parse().expect("a number");
    let date = Some("2020-01-01".to_owned());
    rig.server.remote().edit(Edit::SetExpiry { id, date }).expect("an edit");
    let file = rig.store.stat(&file.id).await.expect("an entry");
    assert_eq!(
        rig.read(&file, 0..1).await.expect_err("expired").kind,
        ErrorKind::Expired
    );
}

#[tokio::test]
async fn a_lost_answer_to_what_makes_something_is_ambiguous() {
    let rig = rig().await;
    rig.server.faults().add(FaultRule::new(
        "POST /folders/*",
        When::Always,
        Action::ApplyThenDropAnswer,
    ));
    let error = rig
        .store
        .create_folder(&rig.root_id(), &name("Once"))
        .await
        .expect_err("lost");
    assert_eq!(error.retry, Retry::Ambiguous);
    assert_eq!(rig.server.counters().of("POST /folders/{id}/children"), 1);
}

#[tokio::test]
async fn writing_is_refused_with_the_list_of_types_while_it_is_not_clear_which_one_is_meant() {
    let options = ImageRelayOptions {
        seed: crate::emulator::imagerelay::Seed::Small,
        ..ImageRelayOptions::default()
    };
    let rig = rig_of(Setup {
        options,
        file_type: None,
        ..Setup::default()
    })
    .await;
    let outcome = rig.store.check_writable(&rig.root_id()).await;
    let Some(Item::Folder(press)) = rig.server.remote().find("Press") else {
        panic!("a folder")
    };
    rig.store
        .check_writable(&ItemId::of("folder", press))
        .await
        .expect("its own type");
    if let Err(error) = outcome {
        assert_eq!(error.kind, ErrorKind::Invalid);
        assert!(error.to_string().contains("6001"), "{error}");
    } else {
        let root = rig.store.root().await.expect("the root");
        assert!(root.parents.is_empty());
    }
}

#[tokio::test]
async fn the_rate_is_kept() {
    let rig = rig_of(Setup {
        options: ImageRelayOptions {
            rate: 5,
            ..ImageRelayOptions::default()
        },
        rate: 5.0,
        ..Setup::default()
    })
    .await;
    let root = rig.root_id();
    let looks = (0..12).map(|_| rig.store.stat(&root));
    for look in futures_util::future::join_all(looks).await {
        look.expect("an entry");
    }
    let counters = rig.server.counters();
    assert!(counters.busiest_second <= 5, "{}", counters.busiest_second);
    assert_eq!(rig.client.snapshot().throttled, 0);
}
