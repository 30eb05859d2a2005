//! The disk fails to make something durable: whoever closes the file hears of that, and what failed is not sent as if it had
//! not, but kept until the user decides.

use crate::disk::Disk;
use crate::stage::{Daemon, Stage, finish};
use crate::work::{Act, differs, text};

struct Broken<'a> {
    daemon: Daemon<'a>,
    disk: &'a Disk,
}

impl Broken<'_> {
    /// Does it while files of these names cannot be synced; answers what the program heard.
    fn hears(&self, broken: fn(&str) -> bool, act: &Act) -> Option<i32> {
        self.disk.break_syncs(broken);
        let done = act.carry_out(&self.daemon.stage.work_folder());
        self.disk.break_syncs(|_| false);
        done.err()
            .map(|error| error.raw_os_error().expect("an error of the system"))
    }

    fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = self.daemon.stage.assetfs();
        command.args(arguments);
        let output = finish(command);
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    }
}

#[test]
fn a_close_that_failed_is_not_sent_as_a_save_and_waits_for_the_user() {
    let (mut stage, mut wanted) = Stage::new(&["report.txt", "notes.txt"]);
    let disk = Disk::mount(&stage.dir().join("disk"));
    stage.keep_in(disk.path());
    let broken = Broken {
        daemon: stage.mount(),
        disk: &disk,
    };
    let other = Act::Save("other.txt", text(4, 100));
    assert_eq!(broken.hears(|_| false, &other), None);
    other.note(&mut wanted);
    let before = wanted.clone();
    let report = Act::Save("report.txt", text(1, 2000));
    let large = Act::Save("large.txt", text(2, 200_000));
    let notes = Act::Append("notes.txt", text(3, 10));
    // The journal's log, and the file itself where it does not go into the log.
    for act in [&report, &notes] {
        assert_eq!(broken.hears(|name| name == "journal.db-wal", act), Some(nix::libc::EIO));
    }
    assert_eq!(broken.hears(|name| !name.contains('.'), &large), Some(nix::libc::EIO));
    let last = Act::Save("last.txt", text(6, 100));
    assert_eq!(broken.hears(|_| false, &last), None);
    let (code, said) = broken.run(&["sync", "--wait", "60"]);
    assert!(code == Some(1) && said.contains("3 changes parked"), "{code:?} {said}");
    let mut without = before;
    last.note(&mut without);
    assert_eq!(differs(&stage.stored(), &without), None);
    let (_, queue) = broken.run(&["queue"]);
    assert_eq!(queue.matches("its close failed").count(), 3, "{queue}");
    [report, large, notes, last]
        .iter()
        .for_each(|act| act.note(&mut wanted));
    for (name, (bytes, _)) in &wanted {
        let shown = std::fs::read(stage.work_folder().join(name)).expect("readable");
        assert_eq!(shown, *bytes, "{name} is there as it was written");
    }

    // What is saved anew is a save, and the user may send the rest as it is.
    let again = Act::Save("report.txt", text(5, 300));
    assert_eq!(broken.hears(|_| false, &again), None);
    again.note(&mut wanted);
    let (code, said) = broken.run(&["retry"]);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = broken.run(&["sync", "--wait", "60"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(differs(&stage.stored(), &wanted), None);
    drop(broken);
    drop(disk);
    stage.shut_down();
}

/// A program that hears of the failure and tries again, with success, has saved.
#[test]
fn a_sync_that_succeeds_after_one_that_failed_makes_the_save() {
    use std::io::Write as _;
    let (mut stage, mut wanted) = Stage::new(&[]);
    let disk = Disk::mount(&stage.dir().join("disk"));
    stage.keep_in(disk.path());
    let daemon = stage.mount();
    let mut file = std::fs::File::create(stage.work_folder().join("twice.txt")).expect("created");
    file.write_all(b"written once").expect("written");
    disk.break_syncs(|name| name == "journal.db-wal");
    file.sync_all().expect_err("fails");
    disk.break_syncs(|_| false);
    file.sync_all().expect("succeeds");
    drop(file);
    let (code, said) = stage.sync();
    assert_eq!(code, Some(0), "{said}\n{}", stage.log());
    wanted.insert("twice.txt".into(), (b"written once".to_vec(), None));
    assert_eq!(differs(&stage.stored(), &wanted), None);
    drop(daemon);
    drop(disk);
    stage.shut_down();
}
