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

/// What is discarded is gone: only a person at a terminal can be asked, and a script has to say that it means it.
#[test]
fn nothing_is_discarded_without_a_yes() {
    let world = World::new(Seed::Small);
    let mount = world.mount("rate=0,poll=0,quiet=300s");
    let queued = || -> Vec<u64> {
        let output = mount.run(&["queue", "--json"]);
        let queue: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let changes = queue["changes"].as_array().expect("a list");
        let ids = changes
            .iter()
            .map(|change| change["change"]["id"].as_u64().expect("a number"));
        ids.collect()
    };
    shell(&mount.path(), "echo 1 > Empty/one.txt; echo 2 > Empty/two.txt");
    let ids = queued();
    assert_eq!(ids.len(), 2);
    let refused = mount.run(&["discard", &ids[0].to_string()]);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
    assert!(text(&refused).contains("add --yes"), "{}", text(&refused));
    let at_a_terminal = |answer: &str| {
        let assetfs = world.assetfs();
        let mut command = std::process::Command::new("bash");
        command
            .env("ASSETFS", assetfs.get_program())
            .env("ID", ids[0].to_string());
        for (name, value) in assetfs.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let asked = format!("echo {answer} | script -qec '\"$ASSETFS\" discard \"$ID\"' /dev/null");
        command.args(["-c", &asked]);
        finish(command, SOON)
    };
    let no = at_a_terminal("n");
    assert_eq!(no.status.code(), Some(1), "{}", text(&no));
    assert!(text(&no).contains("cannot be got back"), "{}", text(&no));
    assert_eq!(queued(), ids, "nothing is gone");
    let yes = at_a_terminal("y");
    assert!(yes.status.success(), "{}", text(&yes));
    assert_eq!(queued(), ids[1..]);
    let meant = mount.run(&["discard", "--yes", &ids[1].to_string()]);
    assert!(meant.status.success(), "{}", text(&meant));
    assert!(queued().is_empty());
    assert_eq!(shell(&mount.path(), "ls Empty").trim(), "");
}

/// Who can speak to the daemon can read and discard what waits.
#[test]
fn only_its_owner_can_speak_to_the_daemon() {
    let world = World::new(Seed::Small);
    let _mount = world.mount(QUICK);
    let run = world.path("run");
    let modes = shell(&run, "find . -type s -printf '%m\\n'; find . -type d -printf '%m\\n'");
    let modes: Vec<&str> = modes.lines().collect();
    assert_eq!(modes.first(), Some(&"600"), "{modes:?}");
    assert!(modes[1..].iter().all(|mode| *mode == "700"), "{modes:?}");
}
