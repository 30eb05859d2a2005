//! The daemon is killed in the middle of its work, mounted again, and everything whose `close` returned 0 is in the store:
//! byte for byte, once, and as the asset that it was.

mod broken;
mod disk;
mod power;
mod stage;
mod work;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use assetfs::emulator::imagerelay::Item;

use self::stage::{Daemon, Stage};
use self::work::{Act, Wanted, differs, text};

/// Points in an ordinary run, which stays under a minute.
const POINTS: usize = 40;
/// Points when everything is to be tested.
const POINTS_FULL: usize = 400;
/// Daemons that work and die at the same time: each waits for most of its life.
const SIDE_BY_SIDE: usize = 6;

/// What the library has at first.
const FILES: [&str; 5] = ["report.txt", "logo.txt", "plan.txt", "old.txt", "gone.txt"];

/// When the daemon is killed.
#[derive(Clone, Copy, Debug)]
enum Point {
    /// Not at all.
    Never,
    /// When the server has seen so many requests.
    Request(u64),
    /// When the journal and the folder of the staged bodies have changed so often, as far as that can be watched.
    Disk(u64),
    /// After so many operations.
    Operation(usize),
}

/// Every way in which programs save, and what else they do.
fn work() -> Vec<Act> {
    vec![
        Act::Save("new.txt", text(1, 2000)),
        Act::Save("report.txt", text(2, 3000)),
        Act::Save("logo.tmp.txt", text(3, 1500)),
        Act::Rename("logo.tmp.txt", "logo.txt"),
        Act::Pause,
        Act::Rename("plan.txt", "plan.txt~"),
        Act::Save("plan.txt", text(4, 2500)),
        Act::Unlink("plan.txt~"),
        Act::Pause,
        Act::Rename("old.txt", "sub/old.txt"),
        Act::Unlink("gone.txt"),
        Act::Save("large.txt", text(5, 700_000)),
        Act::Pause,
        Act::Save("report.txt", text(6, 100)),
        Act::Rename("new.txt", "sub/renamed.txt"),
    ]
}

/// What was done before a crash.
struct Worked {
    /// What is wanted after the last operation that succeeded.
    wanted: Wanted,
    /// And after the one that was cut, if one was.
    cut: Option<Wanted>,
    /// How often the journal and the staged bodies were seen to change.
    changes: u64,
}

/// Works until the daemon is dead or the work is done.
fn work_until(daemon: &Daemon<'_>, point: Point, mut wanted: Wanted) -> Worked {
    let folder = daemon.stage.work_folder();
    let stage = daemon.stage;
    let base = stage.server.counters().api;
    let over = AtomicBool::new(false);
    let mut cut = None;
    let mut changes = 0;
    std::thread::scope(|scope| {
        let over = &over;
        let watch = scope.spawn(move || {
            let (mut changes, mut seen) = (0, stage.traces());
            while !over.load(Ordering::Relaxed) {
                let now = stage.traces();
                changes += u64::from(now != seen);
                seen = now;
                let reached = match point {
                    Point::Request(k) => stage.server.counters().api >= base + k,
                    Point::Disk(k) => changes >= k,
                    Point::Never | Point::Operation(_) => false,
                };
                if reached {
                    daemon.strike();
                    daemon.let_go();
                    break;
                }
                std::thread::sleep(Duration::from_micros(300));
            }
            changes
        });
        for (number, act) in work().iter().enumerate() {
            if matches!(point, Point::Operation(k) if k == number) {
                break;
            }
            let done = act.carry_out(&folder);
            if done.is_err() {
                let mut after = wanted.clone();
                act.note(&mut after);
                cut = Some(after);
                break;
            }
            act.note(&mut wanted);
        }
        if matches!(point, Point::Request(_) | Point::Disk(_)) {
            // The last uploads are killed too.
            let since = Instant::now();
            while daemon.is_alive() && since.elapsed() < Duration::from_secs(4) {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        over.store(true, Ordering::Relaxed);
        changes = watch.join().expect("the watch ends");
    });
    Worked { wanted, cut, changes }
}

/// One crash; answers how many requests and changes of the disk there were.
fn crash_at(point: Point) -> (u64, u64) {
    let (stage, before) = Stage::new(&FILES);
    let mut daemon = stage.mount();
    let base = stage.server.counters().api;
    let Worked { wanted, cut, changes } = work_until(&daemon, point, before);
    if !matches!(point, Point::Never) {
        daemon.kill();
        drop(daemon);
        daemon = stage.mount();
    }
    let (code, said) = stage.sync();
    // A file that was cut while it was written is kept aside, and that is said.
    let fine = code == Some(0) || (cut.is_some() && code == Some(1));
    assert!(fine, "{point:?}: sync: {code:?} {said}\n{}", stage.log());
    let (stored, wrong) = stage.stored_at_last(|stored| {
        let wrong = differs(stored, &wanted);
        match (&wrong, &cut) {
            (Some(_), Some(cut)) => differs(stored, cut).and(wrong),
            (_, _) => wrong,
        }
    });
    let names: Vec<_> = stored.iter().map(|(name, _, id)| (name, id)).collect();
    assert_eq!(wrong, None, "{point:?}: {names:?}\n{said}\n{}", stage.log());
    let requests = stage.server.counters().api - base;
    drop(daemon);
    stage.shut_down();
    (requests, changes)
}

#[test]
fn what_was_closed_is_in_the_store_once_whenever_the_daemon_dies() {
    let full = std::env::var("ASSETFS_TEST_FULL").is_ok_and(|v| v == "1");
    let points = if full { POINTS_FULL } else { POINTS };
    let (requests, changes) = crash_at(Point::Never);
    let operations = (points / 4).min(work().len());
    let rest = (points - operations) as u64;
    let (by_request, by_disk) = (rest / 2, rest - rest / 2);
    let mut queue: Vec<Point> = (0..by_request)
        .map(|i| Point::Request(1 + requests * i / by_request))
        .chain((0..by_disk).map(|i| Point::Disk(1 + changes * i / by_disk)))
        .chain((0..operations).map(|i| Point::Operation(1 + i * work().len() / operations)))
        .collect();
    queue.reverse();
    let queue = std::sync::Mutex::new(queue);
    std::thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| {
                let next = || queue.lock().expect("nobody panics with it").pop();
                while let Some(point) = next() {
                    crash_at(point);
                }
            });
        }
    });
}

#[test]
fn the_library_knows_its_items_by_path() {
    let (stage, wanted) = Stage::new(&FILES);
    assert!(matches!(stage.server.remote().find("work/sub"), Some(Item::Folder(_))));
    assert_eq!(differs(&stage.stored(), &wanted), None);
    assert!(differs(&Vec::new(), &wanted).is_some(), "the check itself can fail");
}
