//! As mount(8) and fstab start it.

use std::process::{Command, Output};
use std::time::Duration;

use assetfs::emulator::imagerelay::Seed;

use crate::support::{API_KEY, World, finish, shell, text};

const SOON: Duration = Duration::from_secs(60);

/// Calls the helper as mount(8) does: under its own name, with an environment that holds next to nothing.
fn helper(world: &World, arguments: &[&str]) -> Output {
    let link = world.path("mount.fuse.assetfs");
    if !link.exists() {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_assetfs"), &link).expect("a link");
    }
    let mut command = Command::new(link);
    command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        // Stands for /run, which is not the test's.
        .env("ASSETFS_RUNTIME_DIR", world.path("run"))
        .args(arguments)
        .current_dir("/");
    finish(command, SOON)
}

#[test]
fn a_line_of_fstab_mounts_once_and_a_failure_is_the_one_that_mount_knows() {
    let world = World::new(Seed::Small);
    let place = world.mountpoint();
    let place = place.to_str().expect("UTF-8");
    let folder = world.path(".");
    shell(
        &folder,
        &format!(
            "umask 077; printf '{API_KEY}\\n' > key; printf '[studio]\\nkind = \"imagerelay\"\\nurl = \"%s\"\\napi_key_file = \"%s/key\"\\n' \
             '{}' '{}' > fstab.toml",
            world.server().url,
            folder.display()
        ),
    );
    let options = format!(
        "rw,_netdev,nofail,user,x-systemd.automount,poll=0,config={0}/fstab.toml,cache_dir={0}/cache,state-dir={0}/state",
        folder.display()
    );
    let line = |more: &str| helper(&world, &["studio", place, "-s", "-o", &format!("{options}{more}")]);

    let pretended = helper(&world, &["studio", place, "-f", "-o", &options]);
    assert!(pretended.status.success(), "{}", text(&pretended));
    assert_eq!(
        std::fs::read_dir(place).expect("a folder").count(),
        0,
        "-f only pretends"
    );

    let wrong = line(",qiuet=5s");
    assert_eq!(wrong.status.code(), Some(32), "{}", text(&wrong));
    assert!(text(&wrong).contains("did you mean `quiet`"), "{}", text(&wrong));
    let missing = helper(&world, &["nowhere", place, "-o", &options]);
    assert_eq!(missing.status.code(), Some(32), "{}", text(&missing));

    let mounted = line(",ro");
    assert!(mounted.status.success(), "{}", text(&mounted));
    assert!(shell(world.mountpoint().as_path(), "ls").contains("Press"));
    let refused = crate::support::try_shell(world.mountpoint().as_path(), "touch x.txt");
    assert!(text(&refused).contains("Read-only"), "{}", text(&refused));
    // `mount -a` does not know that it is there already.
    let again = line(",ro");
    assert!(again.status.success(), "{}", text(&again));
    assert!(text(&again).contains("already"), "{}", text(&again));

    let mut unmount = world.assetfs();
    unmount.args(["unmount", place]);
    let unmounted = finish(unmount, SOON);
    assert!(unmounted.status.success(), "{}", text(&unmounted));
}
