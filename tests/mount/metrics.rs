//! Figures for monitoring.

use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};

use assetfs::emulator::imagerelay::Seed;

use crate::support::{World, shell, text};

/// A port that nobody listens at, at least a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// The samples by name and labels, as they are written.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a name and a value");
            (name.to_owned(), value.parse().expect("a number"))
        })
        .collect()
}

#[test]
fn metrics_tell_operations_requests_and_where_bytes_came_from() {
    let world = World::new(Seed::Small);
    let port = free_port();
    let mount = world.mount(&format!("rate=0,poll=0,no-passthrough,metrics={port}"));
    shell(&mount.path(), "cat Archive/footage.bin | wc -c; ls Press/none || true");
    let fetch = format!("curl -sSf http://127.0.0.1:{port}/metrics");
    let answer = shell(&mount.path(), &fetch);
    let all = samples(&answer);
    let get = |name: &str| *all.get(name).unwrap_or_else(|| panic!("{name} is missing:\n{answer}"));
    let seen = world.counters();
    assert_eq!(get("assetfs_api_requests_total"), seen.api as f64, "{answer}");
    assert_eq!(
        get("assetfs_requests_total{route=\"GET quick link\"}"),
        seen.content as f64
    );
    assert_eq!(
        get("assetfs_answers_total{route=\"GET quick link\",status=\"2xx\"}"),
        seen.content as f64
    );
    let bytes = f64::from(64 << 20);
    assert_eq!(get("assetfs_fetched_bytes_total"), bytes, "no byte twice");
    let from = |source| get(&format!("assetfs_read_bytes_total{{source=\"{source}\"}}"));
    assert_eq!(from("disk") + from("store"), bytes);
    assert!(from("store") > 0.0);
    let (ahead, read) = (
        get("assetfs_fetched_ahead_bytes_total"),
        get("assetfs_fetched_ahead_read_bytes_total"),
    );
    assert!(
        ahead > bytes / 2.0 && ahead == read,
        "read to its end, nothing was fetched in vain: {ahead} {read}"
    );
    assert!(get("assetfs_operations_total{operation=\"read\"}") >= 64.0);
    let reads = get("assetfs_operation_seconds_count{operation=\"read\"}");
    assert_eq!(
        get("assetfs_operation_seconds_bucket{operation=\"read\",le=\"+Inf\"}"),
        reads
    );
    assert!(get("process_resident_memory_bytes") > 1e6);

    let output = mount.run(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let status = &status["mounts"][0]["status"];
    assert!(
        status["operations"]["read"]["answered"]
            .as_f64()
            .is_some_and(|n| n >= 64.0),
        "{status}"
    );
    assert_eq!(status["cache"]["ahead_bytes"].as_f64(), Some(ahead));
}

#[test]
fn metrics_are_this_machines_alone_and_a_taken_port_is_said_before_mounting() {
    let world = World::new(Seed::Small);
    let port = free_port();
    let _mount = world.mount(&format!("rate=0,poll=0,metrics={port}"));
    let listening = std::fs::read_to_string("/proc/net/tcp").expect("the system's list");
    let socket = |host: &str| format!("{host}:{port:04X} 00000000:0000 0A");
    assert!(listening.contains(&socket("0100007F")), "{listening}");
    assert!(!listening.contains(&socket("00000000")), "{listening}");
    TcpStream::connect(("127.0.0.1", port)).expect("somebody listens");

    let other = World::new(Seed::Small);
    let said = text(&other.mount_fails(&format!("metrics=127.0.0.1:{port}")));
    assert!(said.contains("cannot serve metrics at 127.0.0.1"), "{said}");
}
