//! With webhooks, what others change shows at once, and nothing a delivery says is believed by itself.

use std::time::{Duration, Instant};

use assetfs::emulator::imagerelay::{Item, Seed};

use crate::support::{World, shell, try_shell};

fn until(world: &World, script: &str) {
    let since = Instant::now();
    while !try_shell(&world.mountpoint(), script).status.success() {
        assert!(since.elapsed() < Duration::from_secs(40), "never: {script}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn id_of(world: &World, path: &str) -> u64 {
    match world.server().remote().find(path) {
        Some(Item::File(id) | Item::Folder(id)) => id,
        None => panic!("{path} is not there"),
    }
}

/// A port that nobody listens on.
fn free_port() -> u16 {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    socket.local_addr().expect("an address").port()
}

#[test]
fn webhooks_tell_changes_at_once_and_lies_change_nothing() {
    let world = World::new(Seed::Small);
    let port = free_port();
    // No poll would come in time.
    let options =
        format!("rate=0,poll=1h,quiet=200ms,webhook_listen=127.0.0.1:{port},webhook_url=http://127.0.0.1:{port}/hooks");
    let mount = world.mount(&options);
    shell(&mount.path(), "ls -lR > /dev/null; cat Press/Report.txt > /dev/null");
    let since = Instant::now();
    while world.counters().of("POST /webhooks") < 15 {
        assert!(since.elapsed() < Duration::from_secs(40), "{:?}", world.counters());
        std::thread::sleep(Duration::from_millis(20));
    }
    let remote = world.server().remote();
    let (press, report) = (id_of(&world, "Press"), id_of(&world, "Press/Report.txt"));
    remote.replace(report, b"edited elsewhere".to_vec()).expect("edited");
    remote.create_file(press, "new.txt", b"new".to_vec()).expect("made");
    remote
        .delete_file(id_of(&world, "Press/Press kit.pdf"))
        .expect("deleted");
    remote.delete_folder(id_of(&world, "Empty")).expect("deleted");
    until(&world, "test \"$(cat Press/Report.txt)\" = 'edited elsewhere'");
    until(
        &world,
        "ls Press | grep -q new.txt && ! ls Press | grep -q kit && test ! -e Empty",
    );

    let secret = shell(&world.path("state"), "cat */webhook-secret");
    let lie = format!(
        "curl -s -o /dev/null -w '%{{http_code}}' -d '{{\"event\":{{\"resource\":\"file\",\"action\":\"deleted\",\"resource_id\":{report}}}}}' http://127.0.0.1:{port}/hooks/"
    );
    world.server().reset_counters();
    assert_eq!(shell(&mount.path(), &format!("{lie}guessed")), "404");
    assert_eq!(world.counters().api, 0, "a stranger costs nothing");
    assert_eq!(shell(&mount.path(), &format!("{lie}{secret}")), "204");
    let since = Instant::now();
    while world.counters().of("GET /files/{id}") == 0 {
        assert!(since.elapsed() < Duration::from_secs(40), "the store is asked");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(shell(&mount.path(), "cat Press/Report.txt"), "edited elsewhere");
    mount.unmount();
    assert_eq!(world.counters().of("DELETE /webhooks/{id}"), 15);
}
