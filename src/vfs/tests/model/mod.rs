//! Random work against a plain tree: whatever is done here, whatever others do in the store meanwhile, and whatever goes
//! wrong on the way, people see what an ordinary disk would show, and the store ends with exactly that.
//!
//! [`Act`] is what may happen, [`plain::Disk`] says what is to come of it, and [`run::Run`] does it to both and compares
//! them after each act: the tree, the contents, and what those read who have a file open. What others do is in [`others`].

mod others;
mod plain;
mod run;

use std::time::Duration;

use futures_util::FutureExt;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use super::rig::all_stores;
use crate::store::Capabilities;
use crate::store::memory::Op;

use others::{Clash, Ours, Theirs};
use run::Run;

/// Cases of each weather in an ordinary run.
const CASES: u32 = 100;
/// Cases when everything is to be tested.
const CASES_FULL: u32 = 2500;
/// How often each shorter form of a failed case is tried.
const ROUNDS_AFTER_FAILURE: u32 = 12;
/// How long one case may take on the wall clock: a drive that hangs must fail the test.
const CASE_DEADLINE: Duration = Duration::from_secs(90);

const PATHS: [&str; 12] = [
    "a.txt",
    "b.txt",
    "d",
    "e",
    "d/a.txt",
    "d/b.txt",
    "d/e",
    "e/a.txt",
    "e/d",
    "d/e/a.txt",
    "e/d/a.txt",
    "a.txt~",
];

/// Calls that change the store: only these go wrong here, so that what is seen can be compared at any time.
const CHANGES: [Op; 9] = [
    Op::Create,
    Op::Replace,
    Op::CreateFolder,
    Op::Relocate,
    Op::Link,
    Op::Remove,
    Op::SetFields,
    Op::Chunk,
    Op::Copy,
];

/// What happens; paths by their place in [`PATHS`].
#[derive(Clone, Debug)]
enum Act {
    Write(usize, usize, bool),
    Append(usize, usize),
    Truncate(usize, usize),
    Rename(usize, usize, bool),
    Exchange(usize, usize),
    Unlink(usize, bool),
    Mkdir(usize),
    Rmdir(usize),
    Link(usize, usize),
    /// Bytes of one file into another, as `cp` asks for it: the store may make the copy by itself.
    Copy(usize, usize),
    SetXattr(usize, usize),
    /// Somebody begins to read a file, and goes on with it from then on.
    Open(usize),
    /// A program opens a file and writes to its end, and keeps it open.
    Begin(usize, usize),
    /// Whoever has a file open for writing writes more to its end, wherever the file is by now.
    More(usize),
    /// They close their files.
    End,
    Advance(u64),
    Settle,
    Restart,
    /// A day later, with nothing left in the cache.
    Evict,
    /// A restart after which all that can be had again is gone.
    LoseCache,
    Relist,
    /// Somebody else makes a file or folder.
    OthersMake(usize),
    /// Somebody else does something to one of the files and folders that are there.
    Others(usize, Theirs),
    /// Somebody else does something to a file, and so do we.
    Clash(Clash),
    Refuse(usize),
    LoseAnswer(usize),
    Lag(bool),
}

/// What may go wrong outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weather {
    Fair,
    Foul,
}

fn act(weather: Weather) -> impl Strategy<Value = Act> {
    let path = 0..PATHS.len();
    let fair = prop_oneof![
        12 => (path.clone(), 0..40usize, any::<bool>()).prop_map(|(p, n, o)| Act::Write(p, n, o)),
        4 => (path.clone(), 1..20usize).prop_map(|(p, n)| Act::Append(p, n)),
        4 => (path.clone(), 0..40usize).prop_map(|(p, n)| Act::Truncate(p, n)),
        12 => (path.clone(), path.clone(), any::<bool>()).prop_map(|(p, q, o)| Act::Rename(p, q, o)),
        2 => (path.clone(), path.clone()).prop_map(|(p, q)| Act::Exchange(p, q)),
        6 => (path.clone(), any::<bool>()).prop_map(|(p, o)| Act::Unlink(p, o)),
        8 => path.clone().prop_map(Act::Mkdir),
        4 => path.clone().prop_map(Act::Rmdir),
        2 => (path.clone(), path.clone()).prop_map(|(p, q)| Act::Link(p, q)),
        6 => (path.clone(), path.clone()).prop_map(|(p, q)| Act::Copy(p, q)),
        2 => (path.clone(), 0..9usize).prop_map(|(p, n)| Act::SetXattr(p, n)),
        3 => path.clone().prop_map(Act::Open),
        4 => (path.clone(), 1..20usize).prop_map(|(p, n)| Act::Begin(p, n)),
        2 => (1..20usize).prop_map(Act::More),
        2 => Just(Act::End),
        6 => (0..5u64).prop_map(Act::Advance),
        2 => Just(Act::Advance(100)),
        4 => Just(Act::Settle),
        2 => Just(Act::Restart),
        1 => Just(Act::Evict),
        1 => Just(Act::LoseCache),
        2 => path.clone().prop_map(Act::OthersMake),
        4 => (path, theirs()).prop_map(|(p, t)| Act::Others(p, t)),
        3 => clash().prop_map(Act::Clash),
    ];
    match weather {
        Weather::Fair => fair.boxed(),
        Weather::Foul => prop_oneof![
            16 => fair,
            1 => Just(Act::Relist),
            1 => (0..CHANGES.len()).prop_map(Act::Refuse),
            1 => (0..CHANGES.len()).prop_map(Act::LoseAnswer),
            1 => any::<bool>().prop_map(Act::Lag),
        ]
        .boxed(),
    }
}

fn theirs() -> impl Strategy<Value = Theirs> {
    prop_oneof![
        3 => Just(Theirs::Edit),
        3 => (0..PATHS.len()).prop_map(Theirs::Rename),
        2 => Just(Theirs::Remove),
        1 => Just(Theirs::Describe),
    ]
}

fn ours() -> impl Strategy<Value = Ours> {
    prop_oneof![
        3 => Just(Ours::Save),
        3 => (0..PATHS.len()).prop_map(Ours::Rename),
        1 => Just(Ours::Remove),
        1 => Just(Ours::Describe),
    ]
}

fn clash() -> impl Strategy<Value = Clash> {
    let all = (0..PATHS.len(), ours(), theirs(), any::<bool>());
    all.prop_map(|(file, ours, theirs, seen)| Clash {
        file,
        ours,
        theirs,
        seen,
    })
}

async fn run(store: Capabilities, acts: Vec<Act>) {
    let mut run = Run::new(store).await;
    for (number, act) in acts.iter().enumerate() {
        run.step(number, act).await;
        run.compare(&format!("step {number}, {act:?}")).await;
    }
    run.end_writing().await;
    run.settle().await;
    run.restart().await;
    run.compare("the last restart").await;
    run.catch_up().await;
    run.compare("everything is settled and listed").await;
    run.end().await;
}

fn check(weather: Weather) {
    let full = std::env::var("ASSETFS_TEST_FULL").is_ok_and(|v| v == "1");
    let config = Config {
        cases: match std::env::var("PROPTEST_CASES") {
            Ok(cases) => cases.parse().expect("a number of cases"),
            Err(_) if full => CASES_FULL,
            Err(_) => CASES,
        },
        failure_persistence: None,
        max_shrink_iters: 1000,
        ..Config::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let strategy = (0..all_stores().len(), prop::collection::vec(act(weather), 1..60));
    // A change must not fail for what somebody else's luck has found: chance is for the long form.
    let mut runner = match full {
        true => TestRunner::new(config),
        false => TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha)),
    };
    // A race shows now and then: once it has, shorter cases get several chances to show it again.
    let failed = std::cell::Cell::new(false);
    let outcome = runner.run(&strategy, |(store, acts)| {
        let rounds = if failed.get() { ROUNDS_AFTER_FAILURE } else { 1 };
        for _ in 0..rounds {
            let case = std::panic::AssertUnwindSafe(run(all_stores()[store].clone(), acts.clone()));
            let timed = async { tokio::time::timeout(CASE_DEADLINE, case.catch_unwind()).await };
            let why = match runtime.block_on(timed) {
                Ok(Ok(())) => continue,
                Ok(Err(panic)) => panic.downcast_ref::<String>().cloned().unwrap_or_default(),
                Err(_) => "it hangs".into(),
            };
            if !failed.replace(true) {
                // What a shorter form of it fails of may be something else.
                eprintln!("{why}\nstore {store}, as found: {acts:?}");
            }
            return Err(TestCaseError::fail(why));
        }
        Ok(())
    });
    match outcome {
        Ok(()) => {}
        // On one line each, to be read and to be pasted.
        Err(TestError::Fail(why, (store, acts))) => panic!("{why}\nstore {store}: {acts:?}"),
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}

#[test]
fn any_work_looks_as_on_a_disk_and_ends_so_in_the_store() {
    check(Weather::Fair);
}

#[test]
fn lost_answers_late_listings_and_other_people_change_nothing_about_that() {
    check(Weather::Foul);
}

/// Others had moved a file that was saved here, and a listing of the folder that it had left showed that first: in a store
/// that takes new bytes as a new file these were put where the file had been.
#[tokio::test]
async fn a_save_goes_where_others_have_moved_the_file_whoever_tells_of_that_first() {
    for store in all_stores() {
        let clash = Clash {
            file: 0,
            ours: Ours::Save,
            theirs: Theirs::Rename(8),
            seen: true,
        };
        run(store, vec![Act::OthersMake(2), Act::OthersMake(4), Act::Clash(clash)]).await;
    }
}

/// The answer to a removal was lost, and others gave the path to another file before it was sent again: where ids are paths,
/// that one was removed.
#[tokio::test]
async fn a_removal_that_is_sent_again_does_not_take_what_others_have_put_there() {
    for store in all_stores() {
        let acts = vec![
            Act::Mkdir(3),
            Act::Others(0, Theirs::Rename(0)),
            Act::Write(11, 0, false),
            Act::LoseAnswer(5),
            Act::OthersMake(0),
            Act::Write(4, 1, false),
            Act::Advance(2),
            Act::Unlink(4, false),
            Act::Advance(2),
            Act::Others(0, Theirs::Rename(5)),
        ];
        run(store, acts).await;
    }
}

/// A folder was removed and made again, and the answer to the second was lost: where ids are paths, what is there was taken for
/// the one that had been removed, and the new one was parked because of it.
#[tokio::test]
async fn what_was_made_under_the_id_of_something_removed_is_found_when_the_answer_is_lost() {
    for store in all_stores() {
        let acts = vec![
            Act::OthersMake(3),
            Act::Rmdir(3),
            Act::Refuse(5),
            Act::Restart,
            Act::LoseAnswer(2),
            Act::Mkdir(3),
            Act::Link(0, 0),
        ];
        run(store, acts).await;
    }
}

/// The answer to a move was lost, and the file was read before anybody had asked after it: where ids are paths, it was not
/// found under the old one.
#[tokio::test]
async fn what_may_have_been_moved_is_read_where_it_is() {
    for store in all_stores() {
        let acts = vec![
            Act::LoseAnswer(3),
            Act::Write(0, 1, false),
            Act::Evict,
            Act::Rename(0, 1, false),
            Act::Evict,
        ];
        run(store.clone(), acts).await;
        let acts = vec![
            Act::Mkdir(2),
            Act::Write(4, 1, false),
            Act::Evict,
            Act::LoseAnswer(3),
            Act::Rename(2, 3, false),
            Act::Evict,
        ];
        run(store, acts).await;
    }
}

/// What others made was taken for what a request of ours might have made, of which no answer had come yet: although no
/// server adds a mark to a name, and although the request had been refused. It showed only when the folder was read once
/// more.
#[tokio::test]
async fn what_others_have_made_is_shown_where_it_cannot_be_ours() {
    for store in all_stores() {
        let acts = vec![Act::Refuse(0), Act::Write(0, 1, false), Act::OthersMake(11)];
        run(store.clone(), acts).await;
        let acts = vec![
            Act::OthersMake(0),
            Act::Refuse(0),
            Act::Write(1, 1, false),
            Act::Evict,
            Act::Rename(1, 11, false),
            Act::Others(2, Theirs::Rename(0)),
        ];
        run(store, acts).await;
    }
}

/// A folder that was moved here, and the cache lost before anybody had listed where the store still has it: it could not be
/// looked into.
#[tokio::test]
async fn a_folder_that_is_to_be_moved_can_be_looked_into_when_the_cache_is_lost() {
    for store in all_stores() {
        let clash = Clash {
            file: 0,
            ours: Ours::Save,
            theirs: Theirs::Edit,
            seen: false,
        };
        let acts = vec![
            Act::Write(0, 0, false),
            Act::Mkdir(2),
            Act::Clash(clash),
            Act::OthersMake(6),
            Act::Mkdir(3),
            Act::Write(0, 0, false),
            Act::Rename(6, 8, false),
            Act::LoseCache,
        ];
        run(store, acts).await;
    }
}

/// The file that another was renamed over turned out to have been made, by a request whose answer was lost, and took the
/// name from that one: it was called `a (9).txt` from then on.
#[tokio::test]
async fn what_is_found_late_takes_its_name_from_nobody() {
    for store in all_stores() {
        let acts = vec![
            Act::LoseAnswer(0),
            Act::Write(0, 0, false),
            Act::OthersMake(1),
            Act::Rename(1, 0, false),
        ];
        run(store, acts).await;
    }
}

/// A file that was moved and renamed in one go keeps its old name in the store for a moment, and was shown under its new one
/// meanwhile. When it got the old name back it was shown under the other one again, as soon as its folder was read.
#[tokio::test]
async fn a_file_that_gets_the_name_back_that_it_had_before_it_was_moved_is_shown_under_it() {
    for store in all_stores() {
        let acts = vec![
            Act::OthersMake(1),
            Act::Mkdir(2),
            Act::Rename(1, 4, false),
            Act::Settle,
            Act::Rename(4, 5, false),
            Act::Settle,
        ];
        run(store, acts).await;
    }
}

/// A file was on its way to another name, and the store had it under one that another file has here: when the cache was
/// lost, that one was called `a (8).txt`.
#[tokio::test]
async fn who_is_to_be_called_otherwise_takes_no_name_from_those_who_stay() {
    for store in all_stores() {
        let acts = vec![
            Act::Mkdir(3),
            Act::Write(7, 1, false),
            Act::Advance(2),
            Act::LoseAnswer(3),
            Act::Rename(7, 1, false),
            Act::Write(0, 0, false),
            Act::Advance(100),
            Act::LoseCache,
        ];
        run(store, acts).await;
    }
}

/// A file was removed while it was written to, right before the program ended: it was parked, without a name.
#[tokio::test]
async fn what_was_removed_while_it_was_written_to_is_gone_after_a_restart() {
    for store in all_stores() {
        let mut run = Run::new(store).await;
        let acts = [
            Act::Refuse(0),
            Act::Write(0, 1, false),
            Act::Advance(2),
            Act::Begin(0, 1),
            Act::Unlink(0, false),
        ];
        for (number, act) in acts.iter().enumerate() {
            run.step(number, act).await;
        }
        run.rig.crash().await;
        run.compare("a restart").await;
        run.settle().await;
        run.end().await;
    }
}

/// A store that takes a new name as a new file gives that another version: who had the file open read on in bytes that were
/// nobody's any more, and saw nothing of what was written to it afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_a_file_that_is_sent_anew_under_another_name_reads_on_in_it() {
    for store in all_stores() {
        for _ in 0..6 {
            let acts = vec![
                Act::OthersMake(1),
                Act::Rename(1, 0, false),
                Act::Write(1, 4, false),
                Act::Advance(4),
                Act::Open(0),
                Act::Advance(3),
                Act::Append(0, 15),
            ];
            run(store.clone(), acts).await;
        }
    }
}
