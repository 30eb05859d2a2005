//! What the commands answer to people, in words and as exit status.

use assetfs::emulator::imagerelay::Seed;

use crate::support::{QUICK, World, finish, shell, text};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);

#[test]
fn mounting_fails_with_a_reason_that_helps() {
    let world = World::new(Seed::None);
    let attempt = |arrange: &dyn Fn(&mut std::process::Command)| {
        let mut command = world.assetfs();
        arrange(&mut command);
        let output = finish(command, SOON);
        (output.status.code(), text(&output))
    };
    let mountpoint = world.mountpoint();

    let (code, said) = attempt(&|c| {
        c.env("ASSETFS_API_KEY", "wrong")
            .arg("mount")
            .arg(world.source())
            .arg(&mountpoint);
    });
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("ASSETFS_API_KEY"), "{said}");
    assert!(!said.contains("wrong"), "the key itself is never said: {said}");

    let (code, said) = attempt(&|c| {
        c.args(["mount", "imagerelay+http://127.0.0.1:9/api/v2"])
            .arg(&mountpoint);
    });
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("cannot be reached"), "{said}");

    let (code, said) = attempt(&|c| {
        c.arg("mount").arg(world.source()).arg(world.path("nowhere"));
    });
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("no such folder"), "{said}");

    std::fs::create_dir_all(world.path("full/child")).expect("a folder");
    let (code, said) = attempt(&|c| {
        c.arg("mount").arg(world.source()).arg(world.path("full"));
    });
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("not empty"), "{said}");

    let (code, said) = attempt(&|c| {
        c.arg("mount")
            .arg(world.source())
            .arg(&mountpoint)
            .args(["-o", "qiuet=2s"]);
    });
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("did you mean `quiet`"), "{said}");

    let (code, said) = attempt(&|c| {
        c.env_remove("ASSETFS_API_KEY")
            .arg("mount")
            .arg(world.source())
            .arg(&mountpoint);
    });
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("ASSETFS_API_KEY_FILE"), "{said}");

    let (code, said) = attempt(&|c| {
        c.arg("unmount").arg(&mountpoint);
    });
    assert_eq!(code, Some(3), "{said}");
}

#[test]
fn a_mount_that_is_in_use_stays_unless_it_is_told_lazily() {
    let world = World::new(Seed::Small);
    let mount = world.mount(QUICK);
    let open = std::fs::File::open(mount.at("Press/Report.txt")).expect("a file");
    let mountpoint = mount.path();
    let refused = mount.run(&["unmount", mountpoint.to_str().expect("UTF-8")]);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
    assert!(text(&refused).contains("in use"), "{}", text(&refused));
    shell(&mount.path(), "ls Press > /dev/null");
    let lazily = mount.run(&["unmount", "--lazy", mountpoint.to_str().expect("UTF-8")]);
    assert!(lazily.status.success(), "{}", text(&lazily));
    assert_eq!(shell(&mountpoint, "ls").trim(), "", "the mount is gone");
    drop(open);
}

/// A second mount of a store waited two minutes for the first one's end before it said that there is one.
#[test]
fn a_store_that_is_mounted_is_not_mounted_twice() {
    let world = World::new(Seed::Small);
    let mount = world.mount(QUICK);
    let said = text(&world.mount_fails(QUICK));
    assert!(
        said.contains(&format!("is mounted at {} already", mount.path().display())),
        "{said}"
    );
    shell(&mount.path(), "ls Press > /dev/null");
}

#[test]
fn status_and_queue_speak_to_programs() {
    let world = World::new(Seed::Small);
    let mount = world.mount("rate=0,poll=0,quiet=30s");
    shell(&mount.path(), "seq 10 > Empty/new.txt");
    let json = |arguments: &[&str]| -> serde_json::Value {
        let output = mount.run(arguments);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", text(&output)))
    };
    let status = json(&["status", "--json"]);
    assert_eq!(status["schema"], 1);
    assert_eq!(status["mounts"][0]["status"]["pending"], 1, "{status}");
    let queue = json(&["queue", "--json"]);
    assert_eq!(queue["schema"], 1);
    assert_eq!(queue["changes"][0]["change"]["path"], "/Empty/new.txt", "{queue}");
    let file = json(&["status", "--json", mount.at("Empty/new.txt").to_str().expect("UTF-8")]);
    assert_eq!(file["mounts"][0]["path"], "Empty/new.txt", "{file}");
    mount.sync();
    assert_eq!(json(&["queue", "--json"])["changes"], serde_json::json!([]));
}

#[test]
fn a_read_only_mount_refuses_every_change() {
    let world = World::new(Seed::Small);
    let mount = world.mount("ro,rate=0,poll=0");
    for script in [
        "touch x",
        "mkdir y",
        "rm Press/Report.txt",
        "mv Press Pressed",
        "chmod 600 Press/Report.txt",
    ] {
        let output = crate::support::try_shell(&mount.path(), script);
        assert!(
            text(&output).contains("Read-only file system"),
            "{script}: {}",
            text(&output)
        );
    }
    shell(&mount.path(), "cat Press/Report.txt > /dev/null");
}
