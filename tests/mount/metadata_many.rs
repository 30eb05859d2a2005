//! The metadata of whole libraries, out and back in.

use std::io::Write;

use assetfs::emulator::imagerelay::Seed;
use assetfs::emulator::omeka;
use serde_json::{Value, json};

use crate::support::{BuiltIn, Mount, QUICK, World, shell, text};

/// Everything that a line, a cell or an attribute could trip over.
fn hard_values(number: usize) -> Vec<String> {
    vec![
        format!("number {number}"),
        "two\nlines\n".into(),
        "C:\\new\\dir\\".into(),
        "\\n is no line feed".into(),
        "  spaces around  ".into(),
        "tab\tand \"quotes\", 'more', commas; \u{feff}".into(),
        "Windows\r\nlines".into(),
        "Ünïcødé 日本語 e\u{301} \u{202e}right to left".into(),
    ]
}

fn export(mount: &Mount) -> Vec<Value> {
    let place = mount.path();
    let output = mount.run(&["meta", place.to_str().expect("UTF-8"), "--export"]);
    assert!(output.status.success(), "{}", text(&output));
    assert!(output.stderr.is_empty(), "everything is known: {}", text(&output));
    let lines = String::from_utf8(output.stdout).expect("UTF-8");
    lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

fn apply<S: BuiltIn>(world: &World<S>, mount: &Mount, lines: &[Value]) {
    let file = world.path("lines.jsonl");
    let mut out = std::io::BufWriter::new(std::fs::File::create(&file).expect("a file"));
    for line in lines {
        writeln!(out, "{line}").expect("room");
    }
    out.flush().expect("room");
    let (place, file) = (mount.path(), file.display().to_string());
    let output = mount.run(&["meta", place.to_str().expect("UTF-8"), "--from", &file]);
    assert!(output.status.success(), "{}", text(&output));
}

/// What this service makes of values: a term is one text, whose lines are its values.
fn lines_of(values: &Value) -> Value {
    let texts: Vec<&str> = values
        .as_array()
        .expect("a list")
        .iter()
        .map(|value| value["text"].as_str().expect("a text"))
        .collect();
    let text = texts.join("\n");
    text.split('\n').map(|line| json!({ "text": line })).collect()
}

/// `meta --export | meta --from -` of the whole mount.
fn round_trip<S: BuiltIn>(world: &World<S>) {
    let program = env!("CARGO_BIN_EXE_assetfs");
    let environment = format!(
        "export ASSETFS_RUNTIME_DIR='{}' ASSETFS_STATE_DIR='{}'",
        world.path("run").display(),
        world.path("state").display()
    );
    let script = format!("{environment}; '{program}' meta mnt --export | '{program}' meta mnt --from - --json");
    let outcome: Value = serde_json::from_str(&shell(&world.path("."), &script)).expect("JSON");
    assert_eq!(
        (&outcome["changed"], &outcome["failed"]),
        (&json!(0), &json!(0)),
        "{outcome}"
    );
}

/// Ten thousand in the long form.
fn files() -> u64 {
    match std::env::var_os("ASSETFS_TEST_FULL") {
        Some(_) => 10_000,
        None => 200,
    }
}

#[test]
fn the_metadata_of_a_whole_library_go_out_and_in_and_change_nothing() {
    let files = files();
    let world = World::new(Seed::Files {
        folders: files / 50,
        files_per_folder: 50,
    });
    let mount = world.mount("rate=0,poll=0,quiet=200ms");
    shell(&mount.path(), "ls -R > /dev/null");
    let mut wanted: Vec<Value> = export(&mount);
    wanted.retain(|line| line["id"].as_str().is_some_and(|id| id.starts_with("file:")));
    assert_eq!(wanted.len() as u64, files);
    for (number, line) in wanted.iter_mut().enumerate() {
        let values = |texts: Vec<String>| -> Value { texts.into_iter().map(|text| json!({ "text": text })).collect() };
        let mut texts = hard_values(number);
        // What an archive's database cannot keep, this service can.
        texts.push("👩‍🚀".into());
        line["fields"] = json!({
            "term.Description": values(texts),
            "term.Credit": values(vec![format!("Ada \\ {number}"), "Bob\n& Co".into()]),
        });
    }
    let asked = world.requests(&mount, || apply(&world, &mount, &wanted));
    assert_eq!(
        asked.of("POST /files/{id}/terms"),
        files,
        "one request an asset: {asked:?}"
    );
    // As the store has them by now, not as they were set here.
    mount.unmount();
    shell(&world.path("."), "rm -r cache");
    let mount = world.mount("rate=0,poll=0,quiet=200ms");
    shell(&mount.path(), "ls -R > /dev/null");
    let told = export(&mount);
    let fields_of = |lines: &[Value], id: &Value| {
        let line = lines.iter().find(|line| line["id"] == *id).expect("it is exported");
        line["fields"].clone()
    };
    let by_id: std::collections::HashMap<&str, &Value> = told
        .iter()
        .filter_map(|line| Some((line["id"].as_str()?, &line["fields"])))
        .collect();
    for line in &wanted {
        let told = by_id[line["id"].as_str().expect("an id")];
        for field in ["term.Description", "term.Credit"] {
            assert_eq!(told[field], lines_of(&line["fields"][field]), "{}", line["path"]);
        }
    }
    let asked = world.requests(&mount, || round_trip(&world));
    assert_eq!(asked.api, 0, "nothing differs, so nothing is asked: {asked:?}");

    // Others are set, and what was exported brings the old ones back.
    let mut other = wanted[..5].to_vec();
    for line in &mut other {
        line["fields"] = json!({ "term.Description": [{ "text": "other" }], "term.Credit": [] });
    }
    apply(&world, &mount, &other);
    mount.sync();
    assert_ne!(
        fields_of(&export(&mount), &wanted[0]["id"]),
        fields_of(&told, &wanted[0]["id"])
    );
    let asked = world.requests(&mount, || apply(&world, &mount, &told));
    assert_eq!(asked.of("POST /files/{id}/terms"), 5, "{asked:?}");
    assert_eq!(export(&mount), told);
}

#[test]
fn values_of_an_archive_keep_their_order_their_form_and_every_character() {
    let world = World::omeka(omeka::Seed::Bulk {
        collections: 2,
        items_each: 5,
        files_each: 1,
    });
    let mount = world.mount(QUICK);
    shell(&mount.path(), "ls -R > /dev/null");
    let mut wanted = export(&mount);
    wanted.retain(|line| line["path"] != "");
    for (number, line) in wanted.iter_mut().enumerate() {
        let values: Value = hard_values(number)
            .into_iter()
            .enumerate()
            .map(|(at, text)| match at % 2 {
                0 => json!({ "text": text }),
                _ => json!({ "text": format!("<p>{text}</p>"), "html": true }),
            })
            .collect();
        line["fields"]["Dublin Core.Description"] = values.clone();
        line["fields"]["Dublin Core.Subject"] = values;
    }
    apply(&world, &mount, &wanted);
    mount.sync();
    mount.unmount();
    shell(&world.path("."), "rm -r cache");
    let mount = world.mount(QUICK);
    shell(&mount.path(), "ls -R > /dev/null");
    let told = export(&mount);
    for line in &wanted {
        let same = told
            .iter()
            .find(|told| told["id"] == line["id"])
            .expect("it is exported");
        for field in ["Dublin Core.Description", "Dublin Core.Subject"] {
            assert_eq!(same["fields"][field], line["fields"][field], "{}", line["path"]);
        }
    }
    let asked = world.requests(&mount, || round_trip(&world));
    assert_eq!(
        asked.of("PUT /api/items/{id}") + asked.of("PUT /api/files/{id}"),
        0,
        "{asked:?}"
    );
}

/// A table made of what `getfattr` shows was refused: there an id is its key alone.
#[test]
fn a_table_may_have_ids_as_attributes_show_them() {
    let world = World::new(Seed::Small);
    let mount = world.mount(QUICK);
    let id = shell(
        &mount.path(),
        "getfattr --only-values -n user.assetfs.id Press/Report.txt",
    );
    shell(
        &world.path("."),
        &format!(
            "printf 'path,id,term.Credit\nPress/Report.txt,{id},Ada\n' > right.csv; printf 'path,id,term.Credit\nPress/Report.txt,1,Bob\n' > wrong.csv"
        ),
    );
    let apply = |file: &str| {
        let (place, file) = (mount.path(), world.path(file));
        let (place, file) = (place.to_str().expect("UTF-8"), file.to_str().expect("UTF-8"));
        mount.run(&["meta", place, "--from", file])
    };
    let right = apply("right.csv");
    assert!(right.status.success(), "{}", text(&right));
    let wrong = apply("wrong.csv");
    assert_eq!(wrong.status.code(), Some(1), "{}", text(&wrong));
    assert!(
        text(&wrong).contains("it is another asset than 1 by now"),
        "{}",
        text(&wrong)
    );
    mount.sync();
    let credit = shell(
        &mount.path(),
        "getfattr --only-values -n user.imagerelay.term.Credit Press/Report.txt",
    );
    assert_eq!(credit, "Ada");
}
