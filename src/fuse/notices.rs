//! Tells the kernel what to forget.
//!
//! Changes come from the VFS into a bounded queue that keeps each one once; a thread of its own sends them, because a
//! notification may wait for a page or a folder that a request of ours holds. Nobody waits for that thread: a notice that
//! finds the queue full is dropped, and the kernel learns of the change when its memory of the entry runs out.

use std::collections::{HashSet, VecDeque};
use std::ffi::OsStr;
use std::io;
use std::sync::Arc;

use fuser::{INodeNo, Notifier};
use parking_lot::{Condvar, Mutex};
use tokio::sync::mpsc::Receiver;

use crate::vfs::Notice;

/// The most notices that wait to be sent.
const WAITING_MAX: usize = 65_536;

/// The most notices that are sent before the queue is looked at again.
const BATCH_MAX: usize = 512;

#[derive(Default)]
struct State {
    order: VecDeque<Notice>,
    waiting: HashSet<Notice>,
    dropped: u64,
    closed: bool,
}

/// Notices on their way to the kernel.
#[derive(Default)]
pub struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

impl Queue {
    /// Adds a notice, unless it waits already or the queue is full.
    pub fn push(&self, notice: Notice) {
        let mut state = self.state.lock();
        if state.waiting.len() >= WAITING_MAX {
            state.dropped += 1;
            return;
        }
        if state.waiting.insert(notice.clone()) {
            state.order.push_back(notice);
            self.changed.notify_one();
        }
    }

    /// No more will come; the sender ends after what waits.
    pub fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_all();
    }

    /// Waits for notices and takes some; empty when the queue is closed and drained.
    fn take(&self) -> Vec<Notice> {
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
        for notice in &batch {
            state.waiting.remove(notice);
        }
        batch
    }
}

/// Starts the thread that sends, and the task that feeds it until the VFS ends.
pub fn start(
    notifier: Notifier,
    mut notices: Receiver<Notice>,
    runtime: &tokio::runtime::Handle,
) -> io::Result<Arc<Queue>> {
    let queue = Arc::new(Queue::default());
    let sending = queue.clone();
    std::thread::Builder::new().name("notices".into()).spawn(move || {
        loop {
            let batch = sending.take();
            if batch.is_empty() {
                return;
            }
            send(&notifier, &batch);
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

/// Sends a batch; each folder's cached listing is dropped once, after its entries.
fn send(notifier: &Notifier, batch: &[Notice]) {
    let mut folders = HashSet::new();
    for notice in batch {
        let sent = match notice {
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
            // A negative offset leaves the pages.
            Notice::Attributes { ino } => notifier.inval_inode(INodeNo(ino.0), -1, 0),
        };
        trace_failure(notice, sent);
    }
    for folder in folders {
        // The kernel drops a cached listing with an entry only if it knows that entry: a new one it does not know.
        trace_failure(&folder, notifier.inval_inode(INodeNo(folder.0), 0, 0));
    }
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

    #[test]
    fn equal_notices_are_sent_once_and_in_order() {
        let queue = Queue::default();
        for name in ["a", "b", "a", "c", "b"] {
            queue.push(entry(Ino::ROOT, name));
        }
        let want: Vec<_> = ["a", "b", "c"].map(|n| entry(Ino::ROOT, n)).into();
        assert_eq!(queue.take(), want);
        queue.push(entry(Ino::ROOT, "a"));
        assert_eq!(queue.take(), [entry(Ino::ROOT, "a")], "sent ones may come again");
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
