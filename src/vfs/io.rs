//! read, write, flush, fsync, fallocate, lseek, copy_file_range.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::cache::{CacheError, Keep};
use crate::http::{Class, current_context};
use crate::journal::{Change, Durability, Phase, Staged, State, Write};
use crate::model::Ino;
use crate::store::ErrorKind;

use super::handles::FileHandle;
use super::opens::{Edit, OpenFile, TakenBy, Writing};
use super::vfs::Vfs;
use super::who::{are_apart, is_killed};
use super::{Aim, Allocate, Caller, Commit, Error, Fh, Notice, Result, SeekFor};

/// Whether a failed read says that the entry is out of date: other bytes, not there yet, or gone.
fn speaks_of_another_version(error: &CacheError) -> bool {
    match error {
        CacheError::Changed { .. } => true,
        CacheError::Store(error) => matches!(
            error.kind,
            ErrorKind::NotReady | ErrorKind::Conflict | ErrorKind::NotFound | ErrorKind::Expired
        ),
        _ => false,
    }
}

/// Where a write goes that the kernel sends to `offset`.
fn aimed(handle: &FileHandle, offset: u64, aim: Aim) -> u64 {
    match aim {
        Aim::End => handle.file.body().size().unwrap_or(offset),
        Aim::Offset => offset,
    }
}

/// Whether this flush ends a save: not when a child lets go of a file that its parent may go on writing.
fn ends_a_save(caller: Caller, handle: &FileHandle) -> bool {
    handle.speaks_for_the_bytes() && !are_apart(caller.pid, handle.opener)
}

/// A file that cannot be read as it is known is asked for once in this time, however often programs try.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// Who has kept a file open for writing so long keeps it open while it is on the screen: its fsync is the end of a save.
const OPEN_FOR_LONG: Duration = Duration::from_secs(300);
/// How long a commit that waits for the store may take without any progress.
const STORE_WAIT: Duration = Duration::from_secs(120);

impl Vfs {
    /// Reads; fewer bytes than asked only at the end of the file.
    pub async fn read(&self, fh: Fh, offset: u64, len: u32) -> Result<Bytes> {
        let handle = match self.handles.file(fh) {
            Ok(handle) => handle,
            Err(error) => {
                let text = self.handles.note(fh).ok_or(error)?;
                let from = (offset as usize).min(text.len());
                return Ok(text.slice(from..from.saturating_add(len as usize).min(text.len())));
            }
        };
        self.has_forgotten(&handle);
        let len = match handle.file.copying() {
            Some(copying) => copying.upto.saturating_sub(offset).min(u64::from(len)) as usize,
            None => len as usize,
        };
        if len == 0 {
            return Ok(Bytes::new());
        }
        let mut read = handle.file.body().read(&handle.reader, offset, len).await;
        if current_context().class == Class::Interactive
            && matches!(&read, Err(CacheError::Store(e)) if matches!(e.kind, ErrorKind::QuotaExhausted { .. }))
        {
            // It may have been a crawler's download that both waited for, and only its share is used up.
            read = handle.file.body().read(&handle.reader, offset, len).await;
        }
        if let Err(error) = &read
            && let Some(moved) = self.body_moved(&handle.file, error).await?
        {
            read = moved.read(&handle.reader, offset, len).await;
        }
        if read.as_ref().is_err_and(speaks_of_another_version) {
            self.look_again(handle.file.ino);
        }
        Ok(read?)
    }

    /// The store has other bytes than the entry tells, or none yet: it is asked anew, behind the program's error.
    pub(super) fn look_again(&self, ino: Ino) {
        let Ok(Some(item)) = self.node(ino).map(|node| node.entry.map(|entry| entry.id.clone())) else {
            return;
        };
        let asked = self.fresh.lock().peek(&item).copied();
        if asked.is_some_and(|asked| self.clock.now().since(asked) < LOOK_AGAIN_AFTER) {
            return;
        }
        let vfs = self.clone();
        tokio::spawn(async move {
            if let Err(error) = vfs.stat_now(ino, &item).await {
                tracing::debug!(%item, "a changed file could not be looked up: {error}");
            }
        });
    }

    /// A program has changed bytes through a handle.
    pub(super) fn has_changed_by(&self, handle: &FileHandle) {
        handle.has_written();
        self.has_changed(&handle.file);
    }

    /// A program has changed bytes of an open file.
    fn has_changed(&self, file: &OpenFile) {
        file.set_mtime(Some(self.clock.now()));
        // Near the end of the disk, what was cached may just have made room for that.
        self.journal.renew_reserve();
    }

    /// Writes all of `data`.
    pub async fn write(&self, fh: Fh, offset: u64, data: Bytes, aim: Aim) -> Result<u32> {
        let handle = self.handles.file(fh)?;
        let (file, len) = (&handle.file, data.len() as u64);
        self.check_size(aimed(&handle, offset, aim).saturating_add(len))?;
        let _edit = self.edit(file, Keep::All).await?;
        // By now its size is known.
        let at = aimed(&handle, offset, aim);
        self.check_size(at.saturating_add(len))?;
        file.body().write(at, data).await?;
        self.has_written(&handle, offset, at);
        Ok(len as u32)
    }

    /// The same into a file that is being written already, with room on the disk; `None` where more is to be done. Blocks.
    pub fn write_quickly(&self, fh: Fh, offset: u64, data: &[u8], aim: Aim) -> Result<Option<u32>> {
        let handle = self.handles.file(fh)?;
        let (file, len) = (&handle.file, data.len() as u64);
        let Some(_edit) = file.edit() else { return Ok(None) };
        let at = aimed(&handle, offset, aim);
        self.check_size(at.saturating_add(len))?;
        if !file.body().write_quickly(at, data)? {
            return Ok(None);
        }
        self.has_written(&handle, offset, at);
        Ok(Some(len as u32))
    }

    fn has_written(&self, handle: &FileHandle, told: u64, at: u64) {
        self.has_changed_by(handle);
        if at != told {
            // What the kernel has kept of that it takes to be elsewhere.
            self.notice(Notice::Content { ino: handle.file.ino });
        }
    }

    /// As [`Vfs::flush`], where the bytes are all here and nothing but this machine's disk is waited for. Blocks.
    pub fn flush_quickly(&self, caller: Caller, fh: Fh) -> Result<Option<()>> {
        if self.handles.note(fh).is_some() {
            return Ok(Some(()));
        }
        let handle = self.handles.file(fh)?;
        if !handle.how.write {
            return Ok(Some(()));
        }
        let file = &handle.file;
        let needs_more = file.copying().is_some() || self.config.commit == Commit::Close;
        if needs_more || is_killed(caller.pid) || !ends_a_save(caller, &handle) {
            return Ok(None);
        }
        match file.writing() {
            Writing::Not => Ok(Some(())),
            Writing::Dirty | Writing::Flushed => {
                let ending = handle.ends_writing();
                let made = self.make_durable_quickly(file)?;
                if made == Some(true) {
                    ending.in_a_save();
                }
                Ok(made.map(drop))
            }
        }
    }

    /// A close of one descriptor: makes everything that was written durable here.
    pub async fn flush(&self, caller: Caller, fh: Fh) -> Result<()> {
        if self.handles.note(fh).is_some() {
            return Ok(());
        }
        let handle = self.handles.file(fh)?;
        if !handle.how.write {
            return Ok(());
        }
        self.end_copying(&handle.file).await?;
        if handle.file.writing() == Writing::Not && self.config.commit != Commit::Close {
            return match handle.file.copying() {
                // What the store is to copy has no bytes here: the journal is all that tells of it.
                Some(_) => Ok(self.journal.sync().wait().await?),
                None => Ok(()),
            };
        }
        // Whoever closes is asked for first: what is flushed now may be written to by the others in the next moment.
        if handle.speaks_for_the_bytes() && is_killed(caller.pid) {
            if handle.file.writing() == Writing::Dirty {
                handle.file.set_killed();
            }
            return Ok(());
        }
        if !ends_a_save(caller, &handle) {
            return self.sync_bytes(&handle.file).await;
        }
        let ending = handle.ends_writing();
        let is_whole = self.make_durable(&handle.file).await?;
        if is_whole {
            ending.in_a_save();
        }
        match self.config.commit {
            Commit::Close if is_whole => self.wait_for_store(&handle).await,
            Commit::Close | Commit::Background | Commit::Fsync => Ok(()),
        }
    }

    /// Makes everything that was written durable here.
    pub async fn fsync(&self, fh: Fh) -> Result<()> {
        let handle = self.handles.file(fh)?;
        self.end_copying(&handle.file).await?;
        if handle.file.writing() == Writing::Not {
            // Attributes may wait for the disk all the same.
            return Ok(self.journal.sync().wait().await?);
        }
        if !handle.speaks_for_the_bytes() {
            return self.make_durable_so_far(&handle.file).await;
        }
        // Before the journal is told, or the uploader could look in between and wait for the close.
        let released = handle.file.release_if_open_for(OPEN_FOR_LONG, self.clock.now());
        let ending = handle.ends_writing();
        if !self.make_durable(&handle.file).await? {
            handle.file.take_back_release();
            return Ok(());
        }
        ending.in_a_save();
        match self.config.commit {
            Commit::Fsync | Commit::Close => self.wait_for_store(&handle).await,
            Commit::Background if released => self.publish_while_open(&handle.file).await,
            Commit::Background => Ok(()),
        }
    }

    /// Makes the bytes of a file durable here that others go on writing: they are not yet a save.
    async fn sync_bytes(&self, file: &OpenFile) -> Result<()> {
        if file.writing() == Writing::Dirty {
            file.body().sync().await?;
            self.journal.sync().wait().await?;
        }
        Ok(())
    }

    /// Makes the changes in a folder durable here.
    pub async fn fsyncdir(&self, ino: Ino) -> Result<()> {
        let _ = ino;
        Ok(self.journal.sync().wait().await?)
    }

    /// Reserves, zeroes or punches.
    pub async fn fallocate(&self, fh: Fh, offset: u64, len: u64, how: Allocate) -> Result<()> {
        let handle = self.handles.file(fh)?;
        let end = offset.checked_add(len).filter(|_| len > 0);
        let end = end.ok_or_else(|| Error::Invalid("an empty or endless range".into()))?;
        match how {
            Allocate::Grow | Allocate::ZeroRange { keep_size: false } => self.check_size(end)?,
            Allocate::KeepSize | Allocate::PunchHole | Allocate::ZeroRange { keep_size: true } => {}
        }
        let _edit = self.edit(&handle.file, Keep::All).await?;
        handle.file.body().allocate(disk_mode(how), offset, len).await?;
        self.has_changed_by(&handle);
        Ok(())
    }

    /// Where data or a hole begins at or behind `offset`.
    pub async fn lseek(&self, fh: Fh, offset: u64, whence: SeekFor) -> Result<u64> {
        if let Some(text) = self.handles.note(fh) {
            let end = text.len() as u64;
            let found = match whence {
                SeekFor::Data => offset,
                SeekFor::Hole => end,
            };
            return if offset < end { Ok(found) } else { Err(Error::PastEnd) };
        }
        let handle = self.handles.file(fh)?;
        let body = handle.file.body();
        let found = match whence {
            SeekFor::Data => body.seek_data(offset).await?,
            SeekFor::Hole => body.seek_hole(offset).await?,
        };
        found.ok_or(Error::PastEnd)
    }

    /// Sets the length.
    pub(super) async fn truncate_file(&self, file: &Arc<OpenFile>, len: u64) -> Result<()> {
        self.check_size(len)?;
        // A file cut to nothing needs none of its old bytes.
        let keep = if len == 0 { Keep::Nothing } else { Keep::All };
        let _edit = self.edit(file, keep).await?;
        file.body().truncate(len).await?;
        self.has_changed(file);
        Ok(())
    }

    pub(super) fn check_size(&self, end: u64) -> Result<()> {
        match self.capabilities().file_bytes_max {
            Some(max) if end > max => Err(Error::TooBig(format!(
                "{} takes files of at most {max} bytes",
                self.capabilities().label
            ))),
            Some(_) | None => Ok(()),
        }
    }

    /// Begins to change a file's bytes, once the journal knows that it is written to. Until the answer is dropped, no close
    /// is told of it.
    pub(super) async fn edit<'a>(&self, file: &'a Arc<OpenFile>, keep: Keep) -> Result<Edit<'a>> {
        match file.edit() {
            Some(edit) => Ok(edit),
            None => self.begin_writing(file, keep).await,
        }
    }

    /// Before the first change of a file's bytes: the body moves to the staging folder, and the journal knows.
    pub(super) async fn begin_writing<'a>(&self, file: &'a Arc<OpenFile>, keep: Keep) -> Result<Edit<'a>> {
        let _turn = file.turn.lock().await;
        if file.copying().is_some() {
            self.materialise(file, keep).await?;
        }
        if let Some(edit) = file.edit() {
            return Ok(edit);
        }
        self.writable()?;
        if file.taken_by() == Some(TakenBy::Others) {
            // What it would change is no longer what the name stands for, and nobody would ever see the bytes.
            return Err(Error::Stale);
        }
        let body = file.body();
        if !body.is_dirty() {
            body.make_dirty(keep).await?;
            self.part_copies(&body).await;
        }
        // From here on the kernel's pages are of no version of the store's.
        self.kernel_knows.lock().pop(&file.ino);
        match file.taken_by() {
            None => self.mark_dirty(file, keep).await?,
            Some(TakenBy::Us) => {}
            // In this very moment.
            Some(TakenBy::Others) => return Err(Error::Stale),
        }
        file.set_writing(Writing::Dirty);
        // Who makes it durable has the turn for that.
        file.edit().ok_or(Error::Internal)
    }

    async fn mark_dirty(&self, file: &Arc<OpenFile>, keep: Keep) -> Result<()> {
        let body = file.body();
        let (ino, id, size) = (file.ino, body.name(), body.size());
        let whole = body.is_complete();
        self.keep_staged(&id, &body);
        if self.journal.holds(&id) {
            // What was closed before stays durable without the journal's help: the change is about to tell of other bytes.
            let synced = body.sync().await;
            if keep == Keep::All {
                synced?;
            }
        }
        let open = file.clone();
        let closed = |change: &Change| change.staged.as_ref().is_some_and(|s| s.phase == Phase::Closed);
        // Bytes that wait to be sent are changed in place: a loss of power must not leave them changed and still to be sent.
        let durability = match self.journal.change(ino).is_some_and(|change| closed(&change)) {
            true => Durability::Synced,
            false => Durability::Written,
        };
        self.decide(durability, move |d| {
            match open.taken_by() {
                None => {}
                Some(TakenBy::Us) => return Ok(()),
                Some(TakenBy::Others) => return Err(Error::Stale),
            }
            let node = d.vfs.node_in(d.overlay(), ino)?;
            let mut change = node.change_or_new(d);
            // Dirty bytes stay where they are seen, whatever happens to the asset in the store.
            change.placing = Some(d.vfs.placing(&node)?);
            let stored = node.entry.as_ref().map(|e| e.version.clone());
            let (base, generation) = match &change.staged {
                Some(staged) => (staged.base.clone(), staged.generation),
                None => (stored, 0),
            };
            let size = size.unwrap_or(0);
            change.staged = Some(Staged {
                body: id,
                size,
                base,
                phase: Phase::Open,
                whole,
                generation: generation + 1,
            });
            change.resume = None;
            change.copy_of = None;
            match change.state {
                State::Parked { .. } | State::Ambiguous { .. } | State::Settling { .. } | State::Held => {
                    if !matches!(change.state, State::Ambiguous { .. }) {
                        change.state = State::Pending;
                    }
                }
                State::Pending | State::Conflict { .. } | State::Local { .. } => {}
            }
            d.write(Write::Put(Box::new(change)));
            Ok(())
        })
        .await
    }

    /// Waits until the store has what was just made durable, and fails with the store's error.
    async fn wait_for_store(&self, handle: &FileHandle) -> Result<()> {
        let file = &handle.file;
        if file.is_ghost() {
            return Ok(());
        }
        file.set_urgent(true);
        let ino = file.ino;
        self.decide(Durability::Synced, move |d| {
            let Some(change) = d.overlay().get(ino) else {
                return Ok(());
            };
            let change = Change {
                ready_at: d.now,
                ..Change::clone(change)
            };
            d.write(Write::Put(Box::new(change)));
            Ok(())
        })
        .await?;
        let result = self.wait_until_stored(ino, STORE_WAIT).await;
        file.set_urgent(false);
        result
    }

    /// Waits until nothing of a node is outstanding, for `patience` without progress at most.
    pub(super) async fn wait_until_stored(&self, ino: Ino, patience: Duration) -> Result<()> {
        let mut moved = self.journal.watch();
        loop {
            moved.mark_unchanged();
            let Some(change) = self.journal.change(ino) else {
                return Ok(());
            };
            match &change.state {
                State::Settling { .. } | State::Local { .. } => return Ok(()),
                State::Parked { reason } => return Err(Error::NotStored(reason.clone())),
                State::Held => return Err(Error::NotStored("held back".into())),
                State::Conflict { .. } => return Err(Error::NotStored("somebody else changed it too".into())),
                State::Pending | State::Ambiguous { .. } => {}
            }
            if let (Some(error), true) = (&change.last_error, change.attempts > 0) {
                if error.contains("allowance") {
                    return Err(Error::QuotaWhileWaiting);
                }
                if change.attempts >= 3 {
                    return Err(Error::NotStored(error.clone()));
                }
            }
            let sent = self.uploader().and_then(|u| u.sent_bytes(ino));
            tokio::select! {
                changed = moved.changed() => if changed.is_err() { return Err(Error::Internal) },
                () = self.clock.sleep(patience) => {
                    if self.uploader().and_then(|u| u.sent_bytes(ino)) == sent {
                        return Err(Error::TimedOut(patience.as_secs()));
                    }
                }
            }
        }
    }
}

fn disk_mode(how: Allocate) -> crate::disk::Allocate {
    match how {
        Allocate::Grow => crate::disk::Allocate::Extend,
        Allocate::KeepSize => crate::disk::Allocate::KeepSize,
        Allocate::PunchHole => crate::disk::Allocate::PunchHole,
        Allocate::ZeroRange { keep_size: false } => crate::disk::Allocate::ZeroRange,
        Allocate::ZeroRange { keep_size: true } => crate::disk::Allocate::ZeroRangeKeepSize,
    }
}
