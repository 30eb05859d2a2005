//! The programs that people use, on a tree of 1,000 files in 60 folders.

use assetfs::emulator::imagerelay::Seed;

use crate::support::{QUICK, World, shell};

/// Checksums of every file below the current folder, sorted by name.
const SUMS: &str = "find . -type f -print0 | sort -z | xargs -0 sha256sum";

#[test]
fn a_tree_copied_out_is_the_tree_and_copied_in_again_stays_it() {
    let world = World::new(Seed::Large);
    let mount = world.mount(QUICK);
    let out = world.path("out");
    shell(&world.path("."), "cp -a mnt out");
    let files: usize = shell(&out, "find . -type f | wc -l").trim().parse().expect("a number");
    assert!(files >= 1000, "{files} files");
    shell(&mount.path(), &format!("{SUMS} > ../sums"));
    shell(&out, "sha256sum --quiet -c ../sums");

    shell(&world.path("."), "mkdir mnt/Again && cp -a out/. mnt/Again/");
    shell(&world.path("."), "git diff --no-index --quiet out mnt/Again");
    shell(&mount.at("Again"), "sha256sum --quiet -c ../../sums");
    mount.sync();
    assert_eq!(
        shell(&mount.path(), "find Again -type f | wc -l").trim(),
        files.to_string()
    );
}

#[test]
fn a_second_rsync_transfers_nothing() {
    let world = World::new(Seed::None);
    let mount = world.mount(QUICK);
    shell(
        &world.path("."),
        "mkdir -p local/a/b local/c
         for i in $(seq 40); do head -c $((i * 997)) /dev/urandom > local/a/file-$i.bin; done
         for i in $(seq 10); do echo note $i > \"local/a/b/note $i.txt\"; done
         touch -d '2001-02-03 04:05:06.789' local/a/file-1.bin
         rsync -a local/ mnt/",
    );
    let second = shell(&world.path("."), "rsync -a --stats local/ mnt/");
    assert!(second.contains("Number of regular files transferred: 0"), "{second}");
    mount.sync();
    let third = shell(&world.path("."), "rsync -a --stats local/ mnt/");
    assert!(third.contains("Number of regular files transferred: 0"), "{third}");
    shell(
        &world.path("."),
        "rsync -a --checksum --dry-run --itemize-changes local/ mnt/ | (! grep '^[<>]f')",
    );
    mount.unmount();

    // What was set stays set in the next mount.
    let _mount = world.mount(QUICK);
    let later = shell(&world.path("."), "rsync -a --stats local/ mnt/");
    assert!(later.contains("Number of regular files transferred: 0"), "{later}");
}

#[test]
fn an_archive_unpacks_and_packs_to_the_same() {
    let world = World::new(Seed::None);
    let _mount = world.mount(QUICK);
    shell(
        &world.path("."),
        "mkdir -p local/deep/er
         seq 10000 > local/numbers.txt; head -c 3000000 /dev/urandom > local/deep/er/noise.bin
         touch -d '1999-12-31 23:59:59' local/numbers.txt
         mkdir mnt/unpacked
         tar -C local -c . | tar -C mnt/unpacked -x
         tar -C mnt/unpacked -c . | (mkdir back && tar -C back -x)
         diff -r local back
         test \"$(stat -c %Y local/numbers.txt)\" = \"$(stat -c %Y mnt/unpacked/numbers.txt)\"",
    );
}

#[test]
fn what_is_written_is_read_by_the_next_mount() {
    let world = World::new(Seed::None);
    let mount = world.mount(QUICK);
    shell(
        &mount.path(),
        "mkdir kept && seq 300000 > kept/numbers.txt && sha256sum kept/numbers.txt > ../sums",
    );
    mount.unmount();
    // Nothing is left here: it comes from the store.
    shell(&world.path("."), "rm -r cache");
    let mount = world.mount(QUICK);
    shell(&mount.path(), "sha256sum --quiet -c ../sums");
}
