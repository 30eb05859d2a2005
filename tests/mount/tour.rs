//! The demonstration that ends by itself.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::{finish, text};

#[test]
fn the_tour_of_every_store_ends_with_the_save_that_was_nearly_lost() {
    let tours = ["imagerelay", "omeka", "flextype", "im4"].map(|kind| {
        std::thread::spawn(move || {
            let dir = tempfile::Builder::new()
                .prefix("assetfs-test-")
                .tempdir()
                .expect("a folder");
            let mut command = Command::new(env!("CARGO_BIN_EXE_assetfs"));
            command
                .args(["demo", "--tour", "--store", kind])
                .env("TMPDIR", dir.path())
                .stdin(Stdio::null());
            let output = finish(command, Duration::from_secs(120));
            let told = text(&output);
            assert!(output.status.success(), "{kind}: {told}");
            assert!(told.contains("Transport endpoint is not connected"), "{kind}: {told}");
            assert!(told.contains("\nTwice. Edited. "), "{kind}: {told}");
            assert!(told.contains("\neverything is in the store\n"), "{kind}: {told}");
            assert_eq!(
                std::fs::read_dir(dir.path()).expect("a folder").count(),
                0,
                "{kind} left something behind"
            );
        })
    });
    for tour in tours {
        tour.join().expect("a tour that ends well");
    }
}
