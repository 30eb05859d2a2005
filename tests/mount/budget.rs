//! Never more requests than the store allows; what the store refuses for lack of allowance stays calm.

use std::time::{Duration, Instant};

use assetfs::emulator::common::{Action, FaultRule, When};
use assetfs::emulator::imagerelay::{ImageRelayOptions, Seed};

use crate::support::{QUICK, World, shell, text, try_shell};

#[test]
fn five_requests_a_second_are_never_exceeded() {
    let world = World::with(ImageRelayOptions {
        seed: Seed::Files {
            folders: 12,
            files_per_folder: 3,
        },
        // The server answers 429 to the sixth request within a second.
        rate: 5,
        ..ImageRelayOptions::default()
    });
    let mount = world.mount("poll=0");
    shell(
        &mount.path(),
        "find . -type d > /dev/null; find . -type f | head -16 | xargs -P 8 -n 1 cat > /dev/null",
    );
    let counters = world.counters();
    assert!(counters.busiest_second <= 5, "{counters:?}");
    assert_eq!(counters.statuses.get(&429), None, "{counters:?}");
}

#[test]
fn a_storm_of_refusals_is_survived_without_a_storm_of_retries() {
    let world = World::new(Seed::Small);
    let mount = world.mount("poll=0,quiet=200ms");
    shell(&mount.path(), "cat Press/Report.txt > /dev/null");
    world.server().reset_counters();
    let refuse = Action::status(429);
    world
        .server()
        .faults()
        .add(FaultRule::new("GET /folders/*", When::First(2), refuse));
    let since = Instant::now();
    shell(
        &mount.path(),
        "cat Press/Report.txt > /dev/null; ls Archive > /dev/null",
    );
    assert!(since.elapsed() < Duration::from_secs(45), "{:?}", since.elapsed());
    let refused = world.counters().statuses.get(&429).copied().unwrap_or(0);
    assert!(refused <= 4, "{refused} refusals: {:?}", world.counters());
}

#[test]
fn a_used_up_daily_quota_leaves_what_is_known_and_asks_no_more() {
    let world = World::with(ImageRelayOptions {
        seed: Seed::Small,
        daily_quota: Some(20),
        ..ImageRelayOptions::default()
    });
    let mount = world.mount(QUICK);
    shell(&mount.path(), "ls > /dev/null; cat Campaigns/Logo.png > /dev/null");
    // Uses the rest up, and some more.
    try_shell(&mount.path(), "find . -type f -size -200k -exec cat {} + > /dev/null");
    let spent = world.counters().api;
    for _ in 0..5 {
        shell(
            &mount.path(),
            "ls > /dev/null; cat Campaigns/Logo.png > /dev/null; echo kept > note.txt; cat note.txt",
        );
    }
    let uncached = try_shell(&mount.path(), "cat Archive/footage.bin > /dev/null");
    assert!(!uncached.status.success());
    assert!(
        text(&uncached).contains("Input/output error") || text(&uncached).contains("No such file"),
        "{}",
        text(&uncached)
    );
    assert!(
        world.counters().api <= spent + 1,
        "{} requests after the refusal",
        world.counters().api - spent
    );
    // What waits is safe here; the mount must not wait for tomorrow.
    let unmounted = mount.run(&["unmount", "--wait", "1", mount.path().to_str().expect("UTF-8")]);
    assert!(!text(&unmounted).contains("panicked"));
}

#[test]
fn a_crawler_cannot_use_up_the_allowance_of_a_person() {
    let world = World::with(ImageRelayOptions {
        seed: Seed::Files {
            folders: 60,
            files_per_folder: 2,
        },
        ..ImageRelayOptions::default()
    });
    let mount = world.mount("poll=0,rate=0,daily_quota=1000,quiet=200ms");
    shell(&mount.path(), "ls > /dev/null");
    world.server().reset_counters();
    // Not all of it may be had, but what is not known is an error and never an empty folder.
    let crawled = try_shell(
        &mount.path(),
        "cp $(command -v find) ../updatedb; ../updatedb . -type f | wc -l",
    );
    assert!(
        !crawled.status.success() && text(&crawled).contains("Input/output error"),
        "{}",
        text(&crawled)
    );
    let asked = world.counters().api;
    assert!(asked <= 10, "{asked} requests for a crawler");
    assert_eq!(shell(&mount.path(), "find . -type f | wc -l").trim(), "120");
    let status = text(&mount.run(&["status", "--json"]));
    assert!(
        status.contains("\"crawler\"") && status.contains("\"updatedb\""),
        "{status}"
    );
    assert!(
        status.contains("\"allowed\": 1000") || status.contains("\"allowed\":1000"),
        "{status}"
    );
}

#[test]
fn without_allowance_uncached_reads_fail_saves_wait_and_commits_say_so() {
    let world = World::new(Seed::Small);
    let mount = world.mount("poll=0,rate=0,daily_quota=40,commit=close,quiet=200ms");
    shell(&mount.path(), "ls -lR > /dev/null");
    // Uploads may not touch the last twentieth.
    shell(&mount.path(), "for n in $(seq 40); do mkdir Empty/$n; done");
    let since = Instant::now();
    while world.counters().api < 38 {
        assert!(since.elapsed() < Duration::from_secs(40), "{:?}", world.counters());
        std::thread::sleep(Duration::from_millis(20));
    }
    shell(&mount.path(), "cat Press/Report.txt Campaigns/Logo.png > /dev/null");
    let spent = world.counters().api;
    assert_eq!(spent, 40, "{:?}", world.counters());
    let uncached = try_shell(&mount.path(), "cat Archive/'Old things'/'data (1).csv' > /dev/null");
    assert!(text(&uncached).contains("Input/output error"), "{}", text(&uncached));
    let saved = try_shell(&mount.path(), "echo kept > ../note.txt; cp ../note.txt Empty/note.txt");
    assert!(text(&saved).contains("quota exceeded"), "{}", text(&saved));
    assert_eq!(shell(&mount.path(), "cat Empty/note.txt"), "kept\n");
    assert_eq!(world.counters().api, spent);
}
