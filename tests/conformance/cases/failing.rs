use std::time::Duration;

use assetfs::store::{ErrorKind, Retry};

use crate::fixture::{Break, Call, Fixture};
use crate::support::{content, create, kind, list, listed_names};

/// More than any store waits by itself.
const PATIENCE: Duration = Duration::from_secs(60);

pub async fn every_kind_of_trouble_is_an_error_and_nothing_else(f: &dyn Fixture) {
    let (store, room) = (f.store(), &f.rooms()[0]);
    f.put(room, "there.txt", b"the content").await;
    f.settle().await;
    let there = list(&store, room).await.expect("a listing").remove(0);
    for how in [Break::Overloaded, Break::Page, Break::Reset] {
        f.break_calls(Call::List, how);
        // One that remembers no listing of a moment ago.
        let error = list(&f.store(), room).await.expect_err("no listing can be had");
        assert!(error.is_transient(), "list, {how:?}: {error}");
        f.mend();
        f.break_calls(Call::Read, how);
        let error = content(&store, &there).await.expect_err("no content can be had");
        assert!(error.is_transient(), "read, {how:?}: {error}");
        f.mend();
        f.break_calls(Call::Create, how);
        let error = create(&store, room, "new.txt", b"x")
            .await
            .expect_err("nothing was made");
        assert!(error.is_transient(), "create, {how:?}: {error}");
        f.mend();
        f.settle().await;
        assert_eq!(listed_names(&store, room).await, ["there.txt"], "{how:?}");
        assert_eq!(
            content(&store, &there).await.expect("content"),
            b"the content",
            "{how:?}"
        );
    }
}

pub async fn a_server_in_trouble_publishes_nothing(f: &dyn Fixture) {
    let (store, room) = (f.store(), &f.rooms()[0]);
    f.break_calls(Call::Create, Break::Overloaded);
    let error = create(&store, room, "a.txt", b"x")
        .await
        .expect_err("the server is in trouble");
    assert!(error.is_transient(), "{error}");
    for secret in f.secrets() {
        assert!(
            !format!("{error} {error:?}").contains(secret.as_str()),
            "a secret in an error"
        );
    }
    f.mend();
    f.settle().await;
    assert_eq!(list(&store, room).await.expect("a listing"), []);
    create(&store, room, "a.txt", b"x")
        .await
        .expect("the server is well again");
}

pub async fn a_lost_answer_is_not_taken_for_a_failure(f: &dyn Fixture) {
    let (store, room) = (f.store(), &f.rooms()[0]);
    f.break_calls(Call::Create, Break::LoseAnswer);
    let outcome = create(&store, room, "a.txt", b"x").await;
    f.mend();
    f.settle().await;
    // Either the store looked and saw that it is there, or it says that it does not know.
    if let Err(error) = outcome {
        assert_eq!(error.retry, Retry::Ambiguous, "{error}");
    }
    assert_eq!(listed_names(&store, room).await, ["a.txt"], "once");
}

pub async fn a_hanging_server_is_given_up(f: &dyn Fixture) {
    let (store, room) = (f.store(), &f.rooms()[0]);
    f.break_calls(Call::List, Break::Hang);
    let patience = f.deadline().map_or(Duration::from_millis(50), |_| PATIENCE);
    let outcome = tokio::time::timeout(patience, list(&store, room)).await;
    match f.deadline() {
        Some(_) => {
            let error = outcome
                .expect("the store gives up by itself")
                .expect_err("no answer came");
            assert!(error.is_transient(), "{error}");
        }
        None => assert!(outcome.is_err(), "it hangs"),
    }
    store.root().await.expect("nothing else waits for it");
    f.mend();
    assert_eq!(list(&store, room).await.expect("a listing"), []);
}

pub async fn a_wrong_login_is_told(f: &dyn Fixture) {
    let stranger = f.stranger();
    let refusals = [ErrorKind::Unauthenticated, ErrorKind::Denied];
    let error = stranger.account().await.expect_err("nobody knows this login");
    assert!(refusals.contains(&error.kind), "{error}");
    assert!(!error.is_transient(), "asking again does not help: {error}");
    let error = create(&stranger, &f.rooms()[0], "a.txt", b"x")
        .await
        .expect_err("nobody knows this login");
    assert!(refusals.contains(&error.kind), "{error}");
    f.settle().await;
    assert_eq!(list(&f.store(), &f.rooms()[0]).await.expect("a listing"), []);
}

pub async fn a_reader_may_not_write(f: &dyn Fixture) {
    let room = &f.rooms()[0];
    f.put(room, "a.txt", b"readable").await;
    f.settle().await;
    let Some(reader) = f.reader() else {
        // Every login of this server may write: the own one surely does.
        create(&f.store(), room, "b.txt", b"x").await.expect("a new file");
        return;
    };
    assert_eq!(listed_names(&reader, room).await, ["a.txt"]);
    assert_eq!(kind(create(&reader, room, "b.txt", b"x").await), ErrorKind::Denied);
    f.settle().await;
    assert_eq!(listed_names(&f.store(), room).await, ["a.txt"]);
}
