//! Large libraries.

use assetfs::emulator::imagerelay::Seed;

use crate::support::{QUICK, World, shell};

/// Resident memory of the daemon, in KiB.
fn resident_kib(mount: &crate::support::Mount) -> u64 {
    let output = mount.run(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let pid = &status["mounts"][0]["pid"];
    let lines = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the daemon runs");
    let line = lines.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace()
        .nth(1)
        .and_then(|n| n.parse().ok())
        .expect("a number")
}

#[test]
fn a_folder_of_20_000_files_lists_completely() {
    let world = World::new(Seed::Files {
        folders: 1,
        files_per_folder: 20_000,
    });
    let mount = world.mount(QUICK);
    let listed = shell(&mount.path(), "find . -type f | wc -l");
    assert_eq!(listed.trim(), "20000");
}

#[test]
fn a_hundred_thousand_files_are_found_in_little_memory() {
    let world = World::new(Seed::Files {
        folders: 500,
        files_per_folder: 200,
    });
    let mount = world.mount(QUICK);
    let listed = shell(&mount.path(), "find . -type f | wc -l");
    assert_eq!(listed.trim(), "100000");
    let resident = resident_kib(&mount);
    assert!(resident < 80 << 10, "{resident} KiB");
}
