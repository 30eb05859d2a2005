//! The projects of an im4 as a drive.

use assetfs::emulator::im4::Im4Options;

use crate::support::{QUICK, World, shell};

#[test]
fn a_project_is_listed_read_and_written() {
    let world = World::im4(Im4Options {
        sample: true,
        ..Im4Options::default()
    });
    let mount = world.mount(QUICK);
    let category = shell(&mount.path(), "find . -mindepth 2 -maxdepth 2 -type d -print -quit");
    shell(
        &mount.at(category.trim()),
        "seq 1000 > numbers.txt && sha256sum numbers.txt > ../../../sums",
    );
    mount.unmount();
    shell(&world.path("."), "rm -r cache");
    let mount = world.mount(QUICK);
    shell(&mount.at(category.trim()), "sha256sum --quiet -c ../../../sums");
}
