//! What servers say may be anything: the decoders read it or refuse it, and never panic.
//!
//! A bounded form of the targets under `fuzz/`: recorded answers with pieces of JSON put in place of others, JSON of the
//! right names and wrong kinds, and bytes.

use std::path::Path;
use std::sync::OnceLock;

use proptest::prelude::*;
use serde_json::{Map, Value};

/// The decoders of every store.
const DECODERS: [fn(&[u8]); 4] = [
    assetfs::store::imagerelay::read_anything,
    assetfs::store::omeka::read_anything,
    assetfs::store::flextype::read_anything,
    assetfs::store::im4::read_anything,
];

/// There must be a fuzz target for each.
const TARGETS: [&str; 4] = ["imagerelay", "omeka", "flextype", "im4"];

fn read(bytes: &[u8]) {
    for decoder in DECODERS {
        decoder(bytes);
    }
}

/// Bodies that real servers answered, at most 40 kB each.
fn recorded() -> &'static [Value] {
    static BODIES: OnceLock<Vec<Value>> = OnceLock::new();
    BODIES.get_or_init(|| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
        let mut bodies = Vec::new();
        for file in std::fs::read_dir(folder.join("omeka")).expect("the recordings") {
            let text = std::fs::read(file.expect("an entry").path()).expect("a recording");
            let text = String::from_utf8_lossy(&text).into_owned();
            let answer = text.split_once("### RESPONSE").map_or("", |(_, answer)| answer);
            let body = answer.split_once("\n\n").map_or("", |(_, body)| body.trim());
            bodies.extend(serde_json::from_str::<Value>(body).ok().filter(|_| body.len() < 40_000));
        }
        for file in std::fs::read_dir(folder.join("flextype")).expect("the recordings") {
            let text = std::fs::read_to_string(file.expect("an entry").path()).expect("a recording");
            bodies.extend(text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()));
        }
        bodies
    })
}

/// Names that the decoders look for, and some that they do not.
fn a_name() -> impl Strategy<Value = String> {
    const KNOWN: [&str; 38] = [
        "id",
        "data",
        "files",
        "folders",
        "projects",
        "categories",
        "element_texts",
        "element",
        "element_set",
        "text",
        "html",
        "name",
        "filename",
        "title",
        "size",
        "filesize",
        "uploaded_on",
        "updated_on",
        "created_at",
        "terms",
        "term_id",
        "value",
        "tags",
        "tag_id",
        "item",
        "collection",
        "order",
        "metadata",
        "file_urls",
        "original",
        "authentication",
        "queue",
        "queued",
        "category_id",
        "pagination",
        "total_pages",
        "permissions",
        "keyword_ids",
    ];
    prop_oneof![4 => proptest::sample::select(&KNOWN[..]).prop_map(str::to_owned), 1 => "[a-z_]{0,6}"]
}

fn a_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "-?[0-9]{1,25}".prop_map(Value::from),
        "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{1,12}.{0,6}".prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::vec((a_name(), inner), 0..8)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// Puts `new` in place of the `nth` value inside `value`, counted depth first.
fn graft(value: &mut Value, nth: &mut usize, new: &Value) {
    if *nth == 0 {
        *value = new.clone();
    }
    *nth = nth.wrapping_sub(1);
    match value {
        Value::Array(values) => values.iter_mut().for_each(|value| graft(value, nth, new)),
        Value::Object(object) => object.values_mut().for_each(|value| graft(value, nth, new)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn every_recorded_answer_is_read_by_every_decoder() {
    assert!(recorded().len() > 250, "only {} recordings", recorded().len());
    for body in recorded() {
        read(body.to_string().as_bytes());
    }
}

#[test]
fn every_decoder_has_a_fuzz_target() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = std::fs::read_to_string(fuzz.join("Cargo.toml")).expect("the targets' manifest");
    for target in TARGETS {
        let source = std::fs::read_to_string(fuzz.join(format!("fuzz_targets/{target}.rs"))).expect("a target");
        assert!(
            source.contains(&format!("assetfs::store::{target}::read_anything(bytes)")),
            "{target}"
        );
        assert!(manifest.contains(&format!("name = \"{target}\"")), "{target}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if std::env::var("ASSETFS_TEST_FULL").is_ok_and(|v| v == "1") { 20_000 } else { 800 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        read(&bytes);
    }

    #[test]
    fn any_json_is_read_or_refused(value in a_value()) {
        read(value.to_string().as_bytes());
    }

    #[test]
    fn a_recorded_answer_with_another_value_in_it_is_read_or_refused(
        which in any::<proptest::sample::Index>(),
        nth in 0..200_usize,
        new in a_value(),
    ) {
        let mut body = which.get(recorded()).clone();
        graft(&mut body, &mut { nth }, &new);
        read(body.to_string().as_bytes());
    }

    #[test]
    fn a_recorded_answer_that_is_cut_is_refused(which in any::<proptest::sample::Index>(), at in 0..4000_usize) {
        let body = which.get(recorded()).to_string();
        let bytes = body.as_bytes();
        read(&bytes[..at.min(bytes.len())]);
    }
}
