//! A Flextype site's uploads as a drive.

use assetfs::emulator::flextype::FlextypeOptions;

use crate::support::{QUICK, World, shell};

#[test]
fn a_site_is_listed_read_and_written() {
    let world = World::flextype(FlextypeOptions::default());
    world.server().put_file("pages/about.txt", "about us\n");
    let mount = world.mount(QUICK);
    assert_eq!(shell(&mount.path(), "cat pages/about.txt"), "about us\n");
    shell(
        &mount.path(),
        "mkdir -p notes/2026 && seq 1000 > notes/2026/numbers.txt",
    );
    mount.sync();
    let held = world.server().snapshot().files;
    assert!(held.contains_key("notes/2026/numbers.txt"), "{:?}", held.keys());
}
