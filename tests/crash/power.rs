//! The power goes in the middle of the work: the daemon is gone, and of what it wrote is left what it had synced. Afterwards
//! everything whose `close` returned 0 is in the store, byte for byte, once, and as the asset that it was.

use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

use crate::disk::Disk;
use crate::stage::{Daemon, Stage};
use crate::work::{Act, Stored, Wanted, differs, text};

/// Losses of power in an ordinary run.
const POINTS: u64 = 18;
/// Losses of power when everything is to be tested.
const POINTS_FULL: u64 = 400;
/// Machines that lose their power at the same time.
const SIDE_BY_SIDE: usize = 6;
/// What the library has at first.
const FILES: [&str; 8] = [
    "report.txt",
    "logo.txt",
    "plan.txt",
    "old.txt",
    "gone.txt",
    "notes.txt",
    "sheet.txt",
    "target.txt",
];
/// How long the uploads may go on after the work until the power goes.
const AFTERWARDS: Duration = Duration::from_secs(4);
/// Longer than anything that is waited for.
const FOR_EVER: Duration = Duration::from_secs(120);

/// When the power goes.
#[derive(Clone, Copy, Debug)]
enum Point {
    /// At this change of the disk or sync.
    Step(u64),
    /// Right after so many operations.
    Operation(usize),
    /// When all is done.
    End,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    /// Decides in which order the work is done, and on what is left of what was not synced.
    seed: u64,
    point: Point,
    /// The step of the recovery at which the power goes once more.
    again: Option<u64>,
}

/// What programs do, in some order; what belongs together stays together.
fn work(seed: u64) -> Vec<Act> {
    let mut blocks = vec![
        vec![Act::Save("new.txt", text(1, 2000)), Act::Pause],
        vec![
            Act::Save("report.txt", text(2, 3000)),
            Act::Append("report.txt", text(3, 500)),
        ],
        vec![
            Act::Save("logo.tmp.txt", text(4, 1500)),
            Act::Rename("logo.tmp.txt", "logo.txt"),
        ],
        vec![
            Act::Rename("plan.txt", "plan.txt~"),
            Act::Save("plan.txt", text(5, 2500)),
            Act::Unlink("plan.txt~"),
            Act::Pause,
        ],
        vec![Act::Rename("old.txt", "sub/old.txt")],
        vec![Act::Unlink("gone.txt"), Act::SyncFolder("")],
        vec![
            Act::Save("large.txt", text(6, 700_000)),
            Act::Pause,
            Act::Append("large.txt", text(7, 90_000)),
        ],
        vec![
            Act::Append("notes.txt", text(8, 300)),
            Act::Pause,
            Act::Append("notes.txt", text(9, 300)),
        ],
        vec![
            Act::MakeFolder("made"),
            Act::Save("made/inside.txt", text(10, 70_000)),
            Act::Rename("made/inside.txt", "made/renamed.txt"),
            Act::Save("made/inside.txt", text(11, 10)),
        ],
        vec![
            Act::SaveAndSync("synced.txt", text(12, 150_000)),
            Act::Overwrite("synced.txt", 100_000, text(13, 60_000)),
        ],
        vec![Act::Overwrite("sheet.txt", 500, text(14, 100)), Act::Pause],
        vec![
            Act::Save("source.txt", text(15, 80_000)),
            Act::Pause,
            Act::Rename("source.txt", "sub/target.txt"),
        ],
        vec![
            Act::Rename("target.txt", "moved.txt"),
            Act::Save("target.txt", text(16, 20)),
        ],
    ];
    blocks.shuffle(&mut StdRng::seed_from_u64(seed));
    blocks.concat()
}

/// What was done before the power went.
struct Worked {
    /// What was wanted after each operation, the one that was cut included.
    states: Vec<Wanted>,
    /// The first of them that may be what is left: what was durable then stays.
    durable: usize,
    /// The file whose bytes were being written.
    unfinished: Option<&'static str>,
}

impl Worked {
    /// What is wrong with what the library holds. A file that was being written may be kept aside, as it was at any close
    /// before, when that is said.
    fn differs(&self, stored: &Stored, is_told: bool) -> Option<String> {
        let mut wrong = None;
        for wanted in &self.states[self.durable..] {
            let difference = differs(stored, wanted);
            let is_aside = |path| is_told && self.is_kept_aside(path, stored, wanted);
            if difference.is_none() || self.unfinished.is_some_and(is_aside) {
                return None;
            }
            wrong = difference;
        }
        wrong
    }

    fn is_kept_aside(&self, path: &str, stored: &Stored, wanted: &Wanted) -> bool {
        let (of_it, others): (Stored, Stored) = stored.iter().cloned().partition(|(name, ..)| name == path);
        let mut wanted = wanted.clone();
        wanted.remove(path);
        let was = |bytes: &Vec<u8>| self.states.iter().any(|w| w.get(path).is_some_and(|(b, _)| b == bytes));
        of_it.len() <= 1 && of_it.iter().all(|(_, bytes, _)| was(bytes)) && differs(&others, &wanted).is_none()
    }
}

/// Kills the daemon when the power fails, so that nothing outlives it.
fn follow(daemon: &Daemon<'_>, disk: &Disk) {
    disk.wait_until_failing(FOR_EVER);
    daemon.strike();
    disk.switch_off();
    daemon.let_go();
}

/// Works until the power is gone or the work is done, and then until it is gone.
fn work_until_dark(daemon: &Daemon<'_>, disk: &Disk, case: Case, before: Wanted) -> Worked {
    let stage = daemon.stage;
    let folder = stage.work_folder();
    let mut worked = Worked {
        states: vec![before],
        durable: 0,
        unfinished: None,
    };
    std::thread::scope(|scope| {
        scope.spawn(|| follow(daemon, disk));
        for (number, act) in work(case.seed).iter().enumerate() {
            if matches!(case.point, Point::Operation(k) if k == number) {
                break;
            }
            // What a program has synced itself is there although it has not closed its file: as on any disk, that may be left.
            if let Some(half) = act.synced_on_the_way() {
                let mut at_sync = worked.states.last().cloned().unwrap_or_default();
                half.note(&mut at_sync);
                worked.states.push(at_sync);
            }
            let done = act.carry_out(&folder);
            let mut after = worked.states.last().cloned().unwrap_or_default();
            act.note(&mut after);
            worked.states.push(after);
            match done {
                Ok(()) if act.is_durable() => worked.durable = worked.states.len() - 1,
                Ok(()) => {}
                Err(error) => {
                    let is_dark = disk.wait_until_failing(Duration::ZERO);
                    disk.fail_now();
                    assert!(is_dark, "{case:?}: {act:?}: {error}\n{}", stage.log());
                    worked.unfinished = act.writes();
                    break;
                }
            }
        }
        if let Point::Step(_) = case.point {
            disk.wait_until_failing(AFTERWARDS);
        }
        disk.fail_now();
    });
    daemon.kill();
    worked
}

/// The power comes back, and perhaps goes once more while the daemon finds its way.
fn come_back<'a>(stage: &'a Stage, disk: &mut Disk, case: Case) -> Daemon<'a> {
    disk.switch_on(case.seed);
    if let Some(step) = case.again {
        disk.fail_after(step);
        let daemon = stage.start();
        std::thread::scope(|scope| {
            scope.spawn(|| follow(&daemon, &*disk));
            disk.wait_until_failing(AFTERWARDS);
            disk.fail_now();
        });
        daemon.kill();
        drop(daemon);
        disk.switch_on(case.seed + 1_000_000);
    }
    stage.mount()
}

/// One loss of power; answers how many steps the disk had made until then.
fn lose_power(case: Case) -> u64 {
    let (mut stage, before) = Stage::new(&FILES);
    let mut disk = Disk::mount(&stage.dir().join("disk"));
    stage.keep_in(disk.path());
    let daemon = stage.mount();
    let at_first = disk.changes();
    if let Point::Step(step) = case.point {
        disk.fail_after(step);
    }
    let worked = work_until_dark(&daemon, &disk, case, before);
    let steps = disk.changes() - at_first;
    drop(daemon);
    let daemon = come_back(&stage, &mut disk, case);
    let (code, said) = stage.sync();
    let is_told = worked.unfinished.is_some() && code == Some(1);
    let fine = code == Some(0) || is_told;
    assert!(fine, "{case:?}: sync: {code:?} {said}\n{}", stage.log());
    let (stored, wrong) = stage.stored_at_last(|stored| worked.differs(stored, is_told));
    let names: Vec<_> = stored.iter().map(|(name, _, id)| (name, id)).collect();
    assert_eq!(wrong, None, "{case:?}: {names:?}\n{said}\n{}", stage.log());
    for (name, bytes, _) in stored
        .iter()
        .filter(|(name, ..)| Some(name.as_str()) != worked.unfinished)
    {
        let shown = std::fs::read(stage.work_folder().join(name));
        let is_shown = shown.as_ref().is_ok_and(|shown| shown == bytes);
        let shown = shown.map(|shown| String::from_utf8_lossy(&shown).chars().take(200).collect::<String>());
        assert!(is_shown, "{case:?}: {name} is shown as {shown:?}\n{}", stage.log());
    }
    drop(daemon);
    drop(disk);
    stage.shut_down();
    steps
}

/// The one case that somebody asks for again, as `SEED STEP` or `SEED STEP AGAIN`.
fn asked_for() -> Option<Case> {
    let asked = std::env::var("ASSETFS_POWER_CASE").ok()?;
    let numbers: Result<Vec<u64>, _> = asked.split(' ').map(str::parse).collect();
    let (seed, step, again) = match numbers.as_deref() {
        Ok([seed, step]) => (*seed, *step, None),
        Ok([seed, step, again]) => (*seed, *step, Some(*again)),
        _ => panic!("ASSETFS_POWER_CASE is SEED STEP or SEED STEP AGAIN, not {asked:?}"),
    };
    Some(Case {
        seed,
        point: Point::Step(step),
        again,
    })
}

#[test]
fn what_was_closed_is_in_the_store_once_whenever_the_power_goes() {
    if let Some(case) = asked_for() {
        lose_power(case);
        return;
    }
    let full = std::env::var("ASSETFS_TEST_FULL").is_ok_and(|v| v == "1");
    let points = if full { POINTS_FULL } else { POINTS };
    let steps = lose_power(Case {
        seed: 0,
        point: Point::End,
        again: None,
    });
    let operations = work(0).len() as u64;
    let case = |number: u64| {
        let third = number / 3;
        let of = points / 3;
        let (point, again) = match number % 3 {
            0 => (Point::Step(1 + steps * third / of), None),
            1 => (Point::Operation(1 + (operations * third / of) as usize), None),
            _ => (Point::Step(1 + steps * third / of), Some(1 + number % 40)),
        };
        Case {
            seed: number,
            point,
            again,
        }
    };
    let queue = std::sync::Mutex::new((0..points).map(case).rev().collect::<Vec<_>>());
    std::thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| {
                let next = || queue.lock().expect("nobody panics with it").pop();
                while let Some(case) = next() {
                    lose_power(case);
                }
            });
        }
    });
}
