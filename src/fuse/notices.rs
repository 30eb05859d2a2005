//! Tells the kernel what to forget.
//!
//! Changes come from the VFS into a bounded queue that keeps each one once; a thread of its own sends them, because a
//! notification may wait for a page or a folder that a request of ours holds. Nobody waits for that thread: a notice that
//! finds the queue full is dropped, and the kernel learns of the change when its memory of the entry runs out. A notice about
//! what programs are waiting for waits too ([`Underway`]), though not for ever. Only to forget attributes takes no lock that a
//! request holds: an open of another version says so itself, before its answer.

use std::collections::{HashSet, VecDeque};
use std::ffi::OsStr;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fuser::{INodeNo, Notifier};
use parking_lot::{Condvar, Mutex};
use tokio::sync::mpsc::Receiver;

use super::underway::Underway;
use crate::model::Ino;
use crate::vfs::{Notice, Untold};

/// The most notices that wait to be sent.
const WAITING_MAX: usize = 65_536;

/// The most notices that are sent before the queue is looked at again.
const BATCH_MAX: usize = 512;

/// The longest that a notice is held back: whoever is served for longer has its folder's notices sent all the same.
const HELD_MAX: Duration = Duration::from_secs(5);

/// The time between two looks at notices that are held back.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A notice, and since when it waits.
type Waiting = (Notice, Instant);

#[derive(Default)]
struct State {
    order: VecDeque<Waiting>,
    waiting: HashSet<Notice>,
    dropped: u64,
    closed: bool,
}

/// Notices on their way to the kernel.
#[derive(Default)]
pub struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    untold: Arc<Untold>,
}

impl Queue {
    /// Adds a notice, unless it waits already or the queue is full.
    pub fn push(&self, notice: Notice) {
        let mut state = self.state.lock();
        if state.waiting.len() >= WAITING_MAX {
            state.dropped += 1;
        } else if state.waiting.insert(notice.clone()) {
            state.order.push_back((notice, Instant::now()));
            self.changed.notify_one();
            return;
        }
        self.untold.dealt_with(1);
    }

    /// No more will come; the sender ends after what waits.
    pub fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_all();
    }

    /// Waits for notices and takes some; empty when the queue is closed and drained.
    fn take(&self) -> Vec<Waiting> {
        let mut state = self.state.lock();
        while state.order.is_empty() && !state.closed {
            self.changed.wait(&mut state);
        }
        if state.dropped > 0 {
            tracing::warn!(
                dropped = state.dropped,
                "too many changes at once: some show only when the kernel asks again"
            );
            state.dropped = 0;
        }
        let count = state.order.len().min(BATCH_MAX);
        let batch: Vec<_> = state.order.drain(..count).collect();
        for (notice, _) in &batch {
            state.waiting.remove(notice);
        }
        batch
    }

    /// Puts back what must still wait, behind what has come meanwhile, and lets a moment pass when `nothing_else` could be
    /// sent.
    fn hold(&self, held: Vec<Waiting>, nothing_else: bool) {
        let mut state = self.state.lock();
        for (notice, since) in held {
            if state.waiting.insert(notice.clone()) {
                state.order.push_back((notice, since));
            } else {
                self.untold.dealt_with(1);
            }
        }
        if nothing_else && !state.closed {
            self.changed.wait_for(&mut state, LOOK_EVERY);
        }
    }
}

/// Starts the thread that sends, and the task that feeds it until the VFS ends.
pub fn start(
    notifier: Notifier,
    underway: Arc<Underway>,
    (mut notices, untold): (Receiver<Notice>, Arc<Untold>),
    runtime: &tokio::runtime::Handle,
) -> io::Result<Arc<Queue>> {
    untold.follow();
    let queue = Arc::new(Queue {
        untold,
        ..Queue::default()
    });
    let sending = queue.clone();
    std::thread::Builder::new().name("notices".into()).spawn(move || {
        loop {
            let batch = sending.take();
            if batch.is_empty() {
                return;
            }
            let all = batch.len();
            let held = send(&notifier, &underway, batch);
            sending.untold.dealt_with(all - held.len());
            if !held.is_empty() {
                let nothing_else = held.len() == all;
                sending.hold(held, nothing_else);
            }
        }
    })?;
    let feeding = queue.clone();
    runtime.spawn(async move {
        while let Some(notice) = notices.recv().await {
            feeding.push(notice);
        }
        feeding.close();
    });
    Ok(queue)
}

/// Whether the kernel may hold what `notice` needs, for a program that waits for an answer.
fn is_held_up(notice: &Notice, underway: &Underway) -> bool {
    let busy = |ino: Ino| !underway.is_idle(ino);
    match notice {
        Notice::Entry { parent, .. } => busy(*parent),
        Notice::Deleted { parent, child, .. } => busy(*parent) || busy(*child),
        Notice::Content { ino } => busy(*ino),
        // No page and no folder is locked for it.
        Notice::Attributes { .. } => false,
    }
}

/// Sends a batch; each folder's cached listing is dropped once, after its entries. Gives back what must still wait.
fn send(notifier: &Notifier, underway: &Underway, batch: Vec<Waiting>) -> Vec<Waiting> {
    let (mut folders, mut held) = (HashSet::new(), Vec::new());
    for (notice, since) in batch {
        // Looked at right before: the less time in between, the less can begin in it.
        if is_held_up(&notice, underway) && since.elapsed() < HELD_MAX {
            held.push((notice, since));
            continue;
        }
        let sent = match &notice {
            Notice::Entry { parent, name } => {
                folders.insert(*parent);
                notifier.inval_entry(INodeNo(parent.0), OsStr::new(name.as_str()))
            }
            Notice::Deleted { parent, child, name } => {
                folders.insert(*parent);
                let name = OsStr::new(name.as_str());
                // Refused where the kernel still sees children below: then it is to look again.
                notifier
                    .delete(INodeNo(parent.0), INodeNo(child.0), name)
                    .or_else(|_| notifier.inval_entry(INodeNo(parent.0), name))
            }
            Notice::Content { ino } => notifier.inval_inode(INodeNo(ino.0), 0, 0),
            Notice::Attributes { ino } => {
                forget_attributes(notifier, *ino);
                continue;
            }
        };
        trace_failure(&notice, sent);
    }
    for folder in folders {
        // The kernel drops a cached listing with an entry only if it knows that entry: a new one it does not know.
        trace_failure(&folder, notifier.inval_inode(INodeNo(folder.0), 0, 0));
    }
    held
}

/// The kernel is to ask for an inode's attributes again; it waits for nothing to take that in.
pub(super) fn forget_attributes(notifier: &Notifier, ino: Ino) {
    // A negative offset leaves the pages.
    trace_failure(&ino, notifier.inval_inode(INodeNo(ino.0), -1, 0));
}

/// The kernel may have forgotten by itself, or the mount may be gone: neither is an error.
fn trace_failure(what: &(impl std::fmt::Debug + ?Sized), sent: io::Result<()>) {
    if let Err(error) = sent {
        tracing::debug!(?what, %error, "the kernel did not take a notice");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Ino, Name};

    fn entry(parent: Ino, name: &str) -> Notice {
        Notice::Entry {
            parent,
            name: Name::from_store(name),
        }
    }

    fn taken(queue: &Queue) -> Vec<Notice> {
        queue.take().into_iter().map(|(notice, _)| notice).collect()
    }

    #[test]
    fn what_a_program_waits_for_is_not_told_of() {
        let underway = Arc::new(Underway::default());
        let deleted = Notice::Deleted {
            parent: Ino(2),
            child: Ino(3),
            name: Name::from_store("a"),
        };
        let held = |notice: &Notice| is_held_up(notice, &underway);
        assert!(!held(&entry(Ino(2), "a")));
        let listing = underway.begin(Ino(2));
        assert!(held(&entry(Ino(2), "a")) && held(&deleted) && !held(&entry(Ino(3), "b")));
        drop(listing);
        let reading = underway.begin(Ino(3));
        assert!(held(&deleted) && held(&Notice::Content { ino: Ino(3) }));
        assert!(!held(&Notice::Attributes { ino: Ino(3) }) && !held(&entry(Ino(2), "a")));
        drop(reading);
        assert!(!held(&deleted));
    }

    #[test]
    fn what_was_held_back_comes_once_and_after_what_has_come_meanwhile() {
        let queue = Queue::default();
        queue.push(entry(Ino::ROOT, "a"));
        let held = queue.take();
        for name in ["b", "a"] {
            queue.push(entry(Ino::ROOT, name));
        }
        queue.hold(held, true);
        assert_eq!(taken(&queue), ["b", "a"].map(|name| entry(Ino::ROOT, name)));
    }

    #[test]
    fn equal_notices_are_sent_once_and_in_order() {
        let queue = Queue::default();
        for name in ["a", "b", "a", "c", "b"] {
            queue.push(entry(Ino::ROOT, name));
        }
        let want: Vec<_> = ["a", "b", "c"].map(|n| entry(Ino::ROOT, n)).into();
        assert_eq!(taken(&queue), want);
        queue.push(entry(Ino::ROOT, "a"));
        assert_eq!(taken(&queue), [entry(Ino::ROOT, "a")], "sent ones may come again");
    }

    #[test]
    fn a_full_queue_drops_and_never_waits() {
        let queue = Queue::default();
        for i in 0..WAITING_MAX as u64 + 10 {
            queue.push(Notice::Content { ino: Ino(i) });
        }
        assert_eq!(queue.state.lock().order.len(), WAITING_MAX);
        assert_eq!(queue.state.lock().dropped, 10);
    }

    #[test]
    fn a_closed_queue_is_drained_first() {
        let queue = Queue::default();
        queue.push(Notice::Content { ino: Ino(2) });
        queue.close();
        assert_eq!(queue.take().len(), 1);
        assert!(queue.take().is_empty());
    }
}
