//! What the end of reading and of writing sets off.

use std::sync::Arc;
use std::time::Duration;

use crate::http::{current_context, with_context};
use crate::journal::{Change, Durability, LocalReason, Phase, Staged, State, Write};
use crate::model::Ino;

use super::opens::{Closed, OpenFile, Writing};
use super::vfs::{Decision, Inner, Vfs};
use super::{Commit, Fh, Result};

/// How long a file may keep a name that the store refuses before the user is told.
const NAME_GRACE: Duration = Duration::from_secs(60);

/// Why a body is kept aside that holds less than its program believes.
const INCOMPLETE_BASE: &str = "incomplete base: the rest of its old bytes did not come in time";

/// How a body was left whose writer did not finish.
struct Unfinished {
    reason: &'static str,
    size: u64,
    /// Whether every byte of it is there.
    whole: bool,
}

impl Vfs {
    /// Closes a handle. When it was the last that could write, what was written becomes ready for the store.
    pub async fn release(&self, fh: Fh) {
        if let Some(handle) = self.handles.remove_file(fh) {
            self.has_forgotten(&handle);
            let vfs = self.clone();
            // It goes on when nobody waits for it any more: else the file would stay open for ever.
            let closing = async move {
                vfs.close_file(&handle.file, handle.how.write, handle.wrote()).await;
            };
            if let Err(error) = tokio::spawn(with_context(current_context(), closing)).await {
                tracing::error!("a file could not be closed: {error}");
            }
        } else {
            self.handles.remove_note(fh);
        }
    }

    /// The same of one of which the kernel has never heard.
    pub async fn release_unheard(&self, fh: Fh) {
        if let Ok(handle) = self.handles.file(fh) {
            handle.forgets.lock().take();
        }
        self.release(fh).await;
    }

    /// The same of one whose bytes are all safe; `None`: nothing is done, for more is to be done. Blocks.
    pub fn release_quickly(&self, fh: Fh) -> Option<()> {
        let Ok(handle) = self.handles.file(fh) else {
            self.handles.remove_note(fh);
            return Some(());
        };
        self.has_forgotten(&handle);
        let (file, writes) = (&handle.file, handle.how.write);
        let closed = self.opens.close_if_settled(file, writes)?;
        self.handles.remove_file(fh);
        if writes && closed != Closed::StillOpen {
            note_scheduled(file.ino, self.schedule(file.ino, None));
        }
        Some(())
    }

    /// Gives up one opening of a file. `wrote`: bytes were changed through it.
    pub(super) async fn close_file(&self, file: &Arc<OpenFile>, for_writing: bool, wrote: bool) {
        if for_writing && let Err(error) = self.end_copying(file).await {
            tracing::error!(ino = file.ino.0, "an unfinished copy could not be completed: {error}");
        }
        if for_writing && (wrote || file.writers() <= 1) {
            self.secure_last_bytes(file).await;
        }
        let closed = self.opens.close(file, for_writing);
        if for_writing && closed != Closed::StillOpen {
            // Two may have closed it at once, each of whom left that to the other.
            self.secure_last_bytes(file).await;
            match file.is_ghost() {
                true => self.removal_goes_on(file.ino),
                false => self.writing_is_over(file).await,
            }
        }
        if closed == Closed::Last && (file.is_ghost() || file.is_refused()) {
            let body = file.body();
            if body.is_dirty()
                && let Err(error) = self.discard_body(&body).await
            {
                tracing::warn!(
                    ino = file.ino.0,
                    "an unlinked file's bytes could not be removed: {error}"
                );
            }
        }
    }

    /// mmap stores may come after the last flush.
    async fn secure_last_bytes(&self, file: &Arc<OpenFile>) {
        if file.writing() != Writing::Dirty {
            return;
        }
        if file.is_killed() || file.has_failed() {
            if !file.is_ghost() {
                // Once it is closed it is to be parked at once, and not to seem nobody's for as long as the disk takes.
                self.left_unfinished(file).await;
            }
            return;
        }
        if let Err(error) = self.make_durable(file).await {
            tracing::error!(
                ino = file.ino.0,
                "the last bytes of a file could not be made durable: {error}"
            );
        }
    }

    /// The last writer closed: the quiet time begins.
    async fn writing_is_over(&self, file: &Arc<OpenFile>) {
        let reason = match file.writing() == Writing::Dirty {
            true if file.is_killed() => Some("the program that wrote it was killed before it finished"),
            true if file.has_failed() => Some("its close failed on this machine's disk; retry to send it as it is"),
            _ => None,
        };
        let left = match reason {
            Some(reason) => {
                let (size, whole) = self.left_unfinished(file).await;
                let reason = if whole || file.is_killed() {
                    reason
                } else {
                    INCOMPLETE_BASE
                };
                Some(Unfinished { reason, size, whole })
            }
            None => None,
        };
        let ino = file.ino;
        note_scheduled(ino, self.blocking(move |vfs| vfs.schedule(ino, left)).await);
    }

    /// The removal of a file waits for who writes to it.
    fn removal_goes_on(&self, ino: Ino) {
        let mut guard = self.journal.lock();
        let removal = guard.overlay().get(ino).filter(|change| change.is_removal());
        if let Some(ready_at) = removal.map(|change| change.ready_at) {
            guard.reschedule(ino, ready_at);
        }
    }

    /// Says in the journal when what was written is to be sent, or that it is not to be. Blocks.
    fn schedule(&self, ino: Ino, left: Option<Unfinished>) -> Result<()> {
        let ((), decided) = self.decide_now(Durability::Written, |d| d.written(ino, left))?;
        decided.wait_blocking(self)
    }
}

fn note_scheduled(ino: Ino, scheduled: Result<()>) {
    if let Err(error) = scheduled {
        tracing::error!(ino = ino.0, "a saved file could not be scheduled: {error}");
    }
}

impl Decision<'_, '_> {
    fn written(&mut self, ino: Ino, left: Option<Unfinished>) -> Result<()> {
        // What was removed in the meantime waits for other reasons.
        let known = self.overlay().get(ino).filter(|change| !change.is_removal());
        let Some(known) = known.cloned() else {
            return Ok(());
        };
        let mut change = Change::clone(&known);
        if let Some(staged) = &mut change.staged {
            staged.size = self.vfs.staged_len(staged);
        }
        let empty = change.staged.as_ref().is_some_and(|s| s.size == 0);
        let quiet = match empty {
            true => self.vfs.config.quiet_empty,
            false => self.vfs.config.quiet,
        };
        let name_refused = State::Local {
            why: LocalReason::NameRefused,
        };
        let refused = change.state == name_refused;
        change.ready_at = self.now.plus(if refused { NAME_GRACE } else { quiet });
        if self.vfs.config.commit == Commit::Close && !refused && change.attempts == 0 {
            change.ready_at = self.now;
        }
        let finished = left.is_none();
        if let Some(Unfinished { reason, size, whole }) = left {
            if let Some(staged) = &mut change.staged {
                (staged.size, staged.whole) = (size, whole);
            }
            let junk = State::Local { why: LocalReason::Junk };
            if change.state != junk {
                change.last_error = Some(reason.into());
                change.state = State::Parked { reason: reason.into() };
            }
        }
        let was_empty = State::Local {
            why: LocalReason::Empty,
        };
        if change.state == was_empty && !empty {
            change.state = State::Pending;
        }
        if finished && known.state == change.state {
            // The journal has a time from the flush, which will do after a restart.
            self.guard.reschedule(ino, change.ready_at);
        } else {
            self.write(Write::Put(Box::new(change)));
        }
        Ok(())
    }
}

impl Inner {
    /// How long a staged body is. Of one that was never closed the journal only knows how long it was at first.
    pub(super) fn staged_len(&self, staged: &Staged) -> u64 {
        if staged.phase != Phase::Open || !staged.whole {
            return staged.size;
        }
        let file = std::fs::metadata(self.staging_dir.join(&staged.body));
        file.map_or(staged.size, |file| file.len())
    }
}
