//! Large libraries.

use std::time::Duration;

use assetfs::emulator::imagerelay::Seed;

use crate::support::{QUICK, World, finish, shell, text};

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
    // About 70 MiB on an idle machine; on a busy one more is under way at once.
    let resident = resident_kib(&mount);
    assert!(resident < 120 << 10, "{resident} KiB");
}

/// A library of so many folders with so many files in each: what it costs to search it, cold, warm, and for attributes.
fn searched(folders: u64, files_per_folder: u64, memory_kib: u64) {
    let world = World::new(Seed::Files {
        folders,
        files_per_folder,
    });
    let all = (1 + folders + folders * files_per_folder).to_string();
    let patient = |mount: &crate::support::Mount, script: &str| {
        let mut command = std::process::Command::new("bash");
        command
            .args(["-euo", "pipefail", "-c", script])
            .current_dir(mount.path());
        let output = finish(command, Duration::from_secs(3600));
        assert!(output.status.success(), "{}", text(&output));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let cold = world.mount("rate=0,poll=0");
    world.server().reset_counters();
    assert_eq!(patient(&cold, "find . | wc -l"), all);
    let least = folders.div_ceil(100) + folders * files_per_folder.div_ceil(100);
    assert_eq!(world.counters().api, least, "{:?}", world.counters());
    cold.unmount();
    // As if it had been listed long ago.
    let warm = world.mount("rate=0,poll=1h,list_ttl=0s");
    world.server().reset_counters();
    assert_eq!(patient(&warm, "find . | wc -l"), all);
    let resident = resident_kib(&warm);
    assert!(resident < memory_kib, "{resident} KiB");
    patient(&warm, "getfattr -Rd . > /dev/null");
    assert_eq!(world.counters().api, 0, "{:?}", world.counters());
}

#[test]
fn a_library_is_searched_cold_with_the_least_requests_and_warm_with_none() {
    searched(250, 100, 100 << 10);
}

#[test]
fn so_is_one_of_a_million_files() {
    if std::env::var_os("ASSETFS_TEST_FULL").is_some() {
        searched(20_000, 50, 150 << 10);
    }
}
