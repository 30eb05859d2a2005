//! A disk that can lose its power: a file system of its own that forgets what was not synced.
//!
//! It lies in the memory of the test, and only the daemon may use it: a program that waits for a file system which it serves
//! itself can hang. Changes are counted, and at a certain one the power begins to fail: from there on nothing is changed and
//! nothing answered, until whoever used the disk is dead.

mod filesystem;
mod tree;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fuser::{BackgroundSession, Config, Errno, MountOption, Session, SessionACL};
use parking_lot::{Condvar, Mutex};

use self::filesystem::Served;
use self::tree::{Refused, Tree};

/// How the power is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Power {
    On,
    /// What is asked for waits.
    Failing,
    Off,
}

type Answer = Box<dyn FnOnce() + Send>;

struct State {
    tree: Tree,
    power: Power,
    /// Changes so far.
    changes: u64,
    /// The change at which the power fails.
    fails_at: Option<u64>,
    waiting: Vec<Answer>,
    /// Which files cannot be synced.
    broken: fn(&str) -> bool,
}

/// What the file system and the test both hold.
struct Shared {
    state: Mutex<State>,
    moved: Condvar,
}

/// What a change is to the count, and to a power that fails at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weight {
    /// It may have come or not.
    Change,
    /// It never came.
    Sync,
    /// Nobody would miss it: shared memory between connections to a database.
    Nothing,
}

/// A mounted disk.
pub struct Disk {
    shared: Arc<Shared>,
    session: Option<BackgroundSession>,
    at: PathBuf,
}

impl Shared {
    /// Changes the tree and answers, unless the power fails.
    fn change<T: Send + 'static>(
        &self,
        weight: Weight,
        change: impl FnOnce(&mut State) -> Result<T, Errno>,
        answer: impl FnOnce(Result<T, Errno>) + Send + 'static,
    ) {
        let mut state = self.state.lock();
        match state.power {
            Power::On => {}
            Power::Failing => return state.waiting.push(Box::new(|| answer(Err(Errno::EIO)))),
            Power::Off => {
                drop(state);
                return answer(Err(Errno::EIO));
            }
        }
        state.changes += u64::from(weight != Weight::Nothing);
        if state.fails_at.is_some_and(|at| state.changes >= at) {
            // What is cut by it is under way: it may be on the disk, and nobody has heard of that.
            if weight != Weight::Sync {
                drop(change(&mut state));
            }
            state.power = Power::Failing;
            state.waiting.push(Box::new(|| answer(Err(Errno::EIO))));
            self.moved.notify_all();
            return;
        }
        let result = change(&mut state);
        drop(state);
        answer(result);
    }
}

impl Disk {
    /// An empty one, mounted at the folder `at`.
    pub fn mount(at: &Path) -> Self {
        let state = State {
            tree: Tree::default(),
            power: Power::On,
            changes: 0,
            fails_at: None,
            waiting: Vec::new(),
            broken: |_| false,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            moved: Condvar::new(),
        });
        std::fs::create_dir_all(at).expect("a folder");
        let session = Some(serve(&shared, at));
        let at = at.to_owned();
        Self { shared, session, at }
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.at
    }

    /// Changes and syncs so far.
    pub fn changes(&self) -> u64 {
        self.shared.state.lock().changes
    }

    /// The power is to fail at the change of this number from now on.
    pub fn fail_after(&self, changes: u64) {
        let mut state = self.shared.state.lock();
        state.fails_at = Some(state.changes + changes.max(1));
    }

    /// The power fails.
    pub fn fail_now(&self) {
        let mut state = self.shared.state.lock();
        if state.power == Power::On {
            state.power = Power::Failing;
            self.shared.moved.notify_all();
        }
    }

    /// Waits until the power fails; `false`: it holds.
    pub fn wait_until_failing(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut state = self.shared.state.lock();
        while state.power == Power::On {
            if self.shared.moved.wait_until(&mut state, until).timed_out() {
                break;
            }
        }
        state.power != Power::On
    }

    /// The power is off: whoever still waits is let go, for it is killed by now.
    pub fn switch_off(&self) {
        let waiting = {
            let mut state = self.shared.state.lock();
            state.power = Power::Off;
            self.shared.moved.notify_all();
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(|answer| answer());
    }

    /// The power comes back. The seed decides what is left of that which nobody had synced.
    pub fn switch_on(&mut self, seed: u64) {
        self.unmount();
        {
            let mut state = self.shared.state.lock();
            state.tree = state.tree.after_a_loss_of_power(seed);
            state.power = Power::On;
            state.fails_at = None;
        }
        self.session = Some(serve(&self.shared, &self.at));
    }

    /// From now on, syncs of the files of these names fail, and of no others.
    pub fn break_syncs(&self, broken: fn(&str) -> bool) {
        self.shared.state.lock().broken = broken;
    }

    fn unmount(&mut self) {
        if let Some(session) = self.session.take() {
            session.umount_and_join().expect("nobody uses it any more");
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.switch_off();
        if let Some(session) = self.session.take()
            && let Err(error) = session.umount_and_join()
        {
            eprintln!("{} stays mounted: {error}", self.at.display());
        }
    }
}

fn serve(shared: &Arc<Shared>, at: &Path) -> BackgroundSession {
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::FSName("assetfs-test-disk".into()),
        MountOption::DefaultPermissions,
    ];
    config.acl = SessionACL::Owner;
    config.n_threads = Some(2);
    let session = Session::new(Served::new(shared.clone()), at, &config).expect("a mount");
    session.spawn().expect("a thread")
}

fn errno(refused: Refused) -> Errno {
    match refused {
        Refused::NotFound => Errno::ENOENT,
        Refused::Exists => Errno::EEXIST,
        Refused::NotEmpty => Errno::ENOTEMPTY,
    }
}
