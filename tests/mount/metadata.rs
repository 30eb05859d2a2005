//! Metadata through the commands: beyond what extended attributes can hold, and of whole trees.

use assetfs::emulator::imagerelay::Seed;
use serde_json::{Value, json};

use crate::support::{Mount, QUICK, World, shell, text};

const HERO: &str = "Campaigns/Spring 2026/Spring Hero.jpg";
const NOTES: &str = "Press/L'été à Paris.txt";

fn utf8(path: &std::path::Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Runs `assetfs meta` about a path in the mount; answers what it printed.
fn meta(mount: &Mount, path: &str, arguments: &[&str]) -> String {
    let path = mount.at(path);
    let output = mount.run(&[&["meta", utf8(&path)], arguments].concat());
    assert!(output.status.success(), "{arguments:?}: {}", text(&output));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn line_of(export: &str, path: &str) -> Value {
    export
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .find(|line| line["path"] == path)
        .unwrap_or_else(|| panic!("{path} is not in {export}"))
}

#[test]
fn what_was_exported_and_applied_again_changes_nothing_and_brings_everything_back() {
    let world = World::new(Seed::Small);
    let mount = world.mount(QUICK);
    shell(&mount.path(), "ls -lR > /dev/null");
    let long = "ü".repeat(40_000);
    meta(
        &mount,
        NOTES,
        &[
            "--set",
            "term.Description=C:\\new\\dir \\n ends with \\",
            "--set",
            "term.Description=zweite Zeile, 日本語 👩‍🚀 e\u{301}",
            "--set",
            &format!("term.Credit={long}"),
            "--add",
            "tags=Spring",
        ],
    );
    mount.sync();
    // Reads the fields that the listings left out.
    let found = shell(&mount.path(), "find \"$PWD\" -type f");
    let every: Vec<&str> = found.lines().collect();
    let shown = mount.run(&[&["meta"], every.as_slice()].concat());
    assert!(shown.status.success(), "{}", text(&shown));
    let all = mount.path().join("");
    let export = || meta(&mount, utf8(&all), &["--export"]);
    let mut before = String::new();
    let asked = world.requests(&mount, || before = export());
    assert_eq!(asked.api, 0, "an export asks nobody: {asked:?}");
    let notes = line_of(&before, NOTES);
    assert_eq!(
        notes["fields"]["term.Description"],
        json!([
            {"text": "C:\\new\\dir \\n ends with \\"},
            {"text": "zweite Zeile, 日本語 👩‍🚀 e\u{301}"}
        ])
    );
    assert_eq!(notes["fields"]["term.Credit"], json!([{ "text": long }]));
    assert_eq!(notes["fields"]["tags"], json!([{"text": "Spring"}]));
    let places = before.matches("Logo.png").count();
    assert_eq!(places, 1, "an asset in two folders is exported once");

    let file = world.path("export.jsonl");
    let mut lines = std::fs::File::create(&file).expect("a file");
    std::io::Write::write_all(&mut lines, before.as_bytes()).expect("room");
    let apply = |more: &[&str]| meta(&mount, "", &[&["--from", utf8(&file)], more].concat());
    let asked = world.requests(&mount, || {
        assert_eq!(apply(&["--dry-run"]), "");
        apply(&[]);
    });
    assert_eq!(asked.of("POST /files/{id}/terms"), 0, "nothing differs: {asked:?}");

    meta(
        &mount,
        NOTES,
        &["--remove", "term.Credit", "--set", "term.Description=other"],
    );
    meta(
        &mount,
        HERO,
        &["--set", "term.Credit=Somebody else", "--remove", "tags"],
    );
    mount.sync();
    assert_ne!(export(), before);
    let told = apply(&["--dry-run"]);
    assert!(told.contains(&format!("{HERO}: term.Credit: \"Jane Doe\"")), "{told}");
    assert_eq!(told.lines().count(), 4, "{told}");
    let asked = world.requests(&mount, || {
        let outcome: Value = serde_json::from_str(&apply(&["--json"])).expect("JSON");
        assert_eq!(
            (&outcome["schema"], &outcome["changed"]),
            (&json!(1), &json!(2)),
            "{outcome}"
        );
    });
    assert_eq!(
        asked.of("POST /files/{id}/terms"),
        2,
        "all terms of an asset travel together: {asked:?}"
    );
    assert_eq!(export(), before);
}

#[test]
fn an_asset_is_found_by_its_id_and_a_field_that_is_not_there_is_named() {
    let world = World::new(Seed::Small);
    let mount = world.mount(QUICK);
    shell(&mount.path(), "ls -lR > /dev/null");
    let id = shell(
        &mount.path(),
        "getfattr --only-values -n user.assetfs.id Press/Logo.png",
    );
    let found = mount.run(&["path", id.trim()]);
    assert!(found.status.success(), "{}", text(&found));
    let mut places: Vec<String> = String::from_utf8_lossy(&found.stdout)
        .lines()
        .map(str::to_owned)
        .collect();
    places.sort();
    assert_eq!(
        places,
        ["Campaigns/Logo.png", "Press/Logo.png"].map(|place| utf8(&mount.at(place)).to_owned())
    );
    let missing = mount.run(&["path", "999999999"]);
    assert_eq!(missing.status.code(), Some(1), "{}", text(&missing));

    let logo = mount.at("Press/Logo.png");
    let refused = mount.run(&["meta", utf8(&logo), "--set", "term.Crdit=x"]);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
    assert!(
        text(&refused).contains("Credit"),
        "it names what there is: {}",
        text(&refused)
    );
    let read_only = mount.run(&["meta", utf8(&logo), "--set", "width=5"]);
    assert_eq!(read_only.status.code(), Some(1), "{}", text(&read_only));
    let shown: Value = serde_json::from_str(&meta(&mount, "Press/Logo.png", &["--json"])).expect("JSON");
    assert_eq!(shown["schema"], 1);
    assert_eq!(shown["assets"][0]["fields"]["width"]["read_only"], true, "{shown}");
    let address = mount.run(&["url", utf8(&logo)]);
    assert_eq!(
        address.status.code(),
        Some(1),
        "this service documents no address: {}",
        text(&address)
    );

    let searched = mount.run(&["search", utf8(&mount.at("Campaigns")), "Leaves"]);
    let leaves = utf8(&mount.at("Campaigns/Autumn 2026/Leaves.jpg")).to_owned();
    assert_eq!(
        String::from_utf8_lossy(&searched.stdout).trim(),
        leaves,
        "{}",
        text(&searched)
    );
}

#[test]
fn doctor_looks_at_the_mount_and_logs_tells_what_the_daemon_did() {
    let world = World::new(Seed::Small);
    let mount = world.mount(QUICK);
    let output = mount.run(&["doctor", "--json"]);
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(told["schema"], 1);
    let about = format!("mount {}", mount.path().display());
    let own = |told: &Value| {
        let checks = told["checks"].as_array().expect("a list");
        checks.iter().find(|check| check["about"] == *about).cloned()
    };
    assert_eq!(own(&told).expect("our mount")["verdict"], "ok", "{told}");
    let logs = mount.run(&["logs"]);
    assert!(logs.status.success() && !logs.stdout.is_empty(), "{}", text(&logs));

    mount.kill_daemon();
    shell(
        &world.path("."),
        "for _ in {1..200}; do stat -f mnt > /dev/null 2>&1 || exit 0; sleep 0.05; done; exit 1",
    );
    let output = mount.run(&["doctor", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(own(&told).expect("our mount")["verdict"], "wrong", "{told}");
}

#[test]
fn a_pinned_folder_is_here_without_another_request() {
    let world = World::new(Seed::Small);
    let mount = world.mount(QUICK);
    let folder = mount.at("Campaigns");
    let pinned = mount.run(&["pin", utf8(&folder)]);
    assert!(pinned.status.success(), "{}", text(&pinned));
    let asked = world.requests(&mount, || {
        shell(&folder, "find . -type f -print0 | xargs -0 cat > /dev/null");
    });
    assert_eq!(asked.api, 0, "{asked:?}");
    let released = mount.run(&["unpin", utf8(&folder)]);
    assert!(text(&released).contains("no longer kept"), "{}", text(&released));
}
