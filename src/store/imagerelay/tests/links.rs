//! Quick links: lent, reused, renewed, given back.

use super::*;
use crate::emulator::common::{Action, FaultRule, When};
use crate::emulator::imagerelay::LinkAfterVersion;
use crate::store::ErrorKind;

#[tokio::test]
async fn ranges_carry_exactly_what_was_asked_for() {
    let rig = rig().await;
    let content: Vec<u8> = (0..50_000u32).map(|n| n as u8).collect();
    let file = rig.foreign("a.bin", &content).await;
    let download = rig.store.read(&file, 100..200).await.expect("a download");
    assert_eq!((download.range.clone(), download.total), (100..200, Some(50_000)));
    assert!(download.validator.is_some());
    let pieces: Vec<_> = download.stream.try_collect().await.expect("bytes");
    assert_eq!(pieces.concat(), content[100..200]);
    assert_eq!(rig.read(&file, 0..0).await.expect("nothing"), b"");
}

#[tokio::test]
async fn a_link_that_has_gone_is_made_anew_once() {
    let rig = rig().await;
    let file = rig.foreign("a.bin", b"bytes").await;
    rig.read(&file, 0..5).await.expect("bytes");
    rig.server
        .faults()
        .add(FaultRule::new("GET cdn", When::First(1), Action::status(410)));
    assert_eq!(rig.read(&file, 0..5).await.expect("bytes"), b"bytes");
    assert_eq!(rig.server.counters().of("POST /quick_links"), 2);
    rig.server
        .faults()
        .add(FaultRule::new("GET cdn", When::Always, Action::status(403)));
    assert!(rig.read(&file, 0..5).await.is_err());
    assert_eq!(rig.server.counters().of("POST /quick_links"), 3);
}

#[tokio::test]
async fn a_new_version_gets_a_new_link_whatever_the_old_one_serves() {
    for link_after_version in [
        LinkAfterVersion::OldBytes,
        LinkAfterVersion::NewBytes,
        LinkAfterVersion::Gone,
    ] {
        let rig = rig_of(quirks(Quirks {
            link_after_version,
            ..Quirks::default()
        }))
        .await;
        let file = rig.foreign("a.bin", b"old").await;
        rig.read(&file, 0..3).await.expect("bytes");
        let file = rig.replace(&file, b"fresh").await.expect("a version");
        assert_eq!(rig.read(&file, 0..5).await.expect("bytes"), b"fresh");
    }
}

#[tokio::test]
async fn another_versions_bytes_are_never_taken_for_this_ones() {
    let rig = rig_of(quirks(Quirks {
        link_after_version: LinkAfterVersion::NewBytes,
        ..Quirks::default()
    }))
    .await;
    let file = rig.foreign("a.bin", b"three").await;
    rig.read(&file, 0..5).await.expect("bytes");
    let id = file.id.key().parse().expect("a number");
    rig.server
        .remote()
        .replace(id, b"somebody else's".to_vec())
        .expect("a version");
    let error = rig.read(&file, 0..5).await.expect_err("other bytes");
    assert_eq!(error.kind, ErrorKind::NotReady);
    // The end that is known is behind the end of what is there: no word of a range then, and no wrong argument either.
    rig.server.remote().replace(id, b"x".to_vec()).expect("a version");
    let error = rig.read(&file, 2..5).await.expect_err("nothing there");
    assert_eq!(error.kind, ErrorKind::NotReady);
}

#[tokio::test]
async fn links_are_given_back_also_after_a_crash_and_never_those_of_others() {
    let rig = rig().await;
    let file = rig.foreign("a.bin", b"bytes").await;
    rig.read(&file, 0..5).await.expect("bytes");
    let foreign = rig.core().api.post("quick_links.json", "TEST");
    let foreign = foreign.json(&serde_json::json!({"purpose": "somebody", "asset_id": file.id.key()}));
    rig.core().api.call("test", "", foreign).await.expect("a link");
    assert_eq!(rig.server.remote().links().len(), 2);

    // The first store is gone without a word; the next one finds its list.
    let config = rig.core().config.clone();
    let next = ImageRelay::new(config, rig.client.clone(), SystemClock::shared()).expect("a store");
    next.tidy().await.expect("tidied");
    let left = rig.server.remote().links();
    assert_eq!(
        left.iter().map(|(_, purpose, _)| purpose.as_str()).collect::<Vec<_>>(),
        ["somebody"]
    );
    let list = std::fs::read_to_string(rig.dir.path().join("links.json")).expect("a list");
    assert!(list.contains(r#""links":{}"#), "{list}");
}

#[tokio::test]
async fn a_link_whose_answer_was_lost_is_found_and_given_back() {
    let rig = rig().await;
    let file = rig.foreign("a.bin", b"bytes").await;
    rig.server.faults().add(FaultRule::new(
        "POST /quick_links",
        When::First(1),
        Action::ApplyThenDropAnswer,
    ));
    rig.read(&file, 0..5).await.expect_err("lost");
    assert_eq!(rig.read(&file, 0..5).await.expect("bytes"), b"bytes");
    assert_eq!(rig.server.remote().links().len(), 2);
    rig.store.tidy().await.expect("tidied");
    assert_eq!(rig.server.remote().links().len(), 1);
    assert_eq!(rig.read(&file, 0..5).await.expect("bytes"), b"bytes");
    assert_eq!(rig.server.counters().of("POST /quick_links"), 2);
}
