//! What a close promises: the body and the intent to send it are on this machine's disk.
//!
//! A small body goes into the journal with its change, so that one sync carries both, and that of others who close at the
//! same time. Its file is synced later; after a crash it gets its bytes back from the journal.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::cache::{Body, BodyId};
use crate::disk;
use crate::journal::{Change, Durability, HELD_BYTES_EACH_MAX, HeldBody, JournalError, Phase, Staged, Ticket, Write};
use crate::model::{Ino, Timestamp};

use super::opens::{OpenFile, Writing};
use super::vfs::{Decision, Inner, Vfs};
use super::{Error, Notice, Result};

/// How long the journal holds a body before its file is synced: most are sent, or written to again, before that.
const HELD_FOR: Duration = Duration::from_secs(60);
/// How often it is looked which ones are due.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What the disk must have free for the journal to hold bodies, and for a new file not to wait until it is in there.
const FREE_BYTES_MIN: u64 = 128 << 20;
/// How long a close waits for others' writes to the same file that are under way. Those of a copy may take longer.
const PATIENCE: Duration = Duration::from_millis(250);
/// So much is brought to the disk before writers have to wait for a close.
const SYNCED_AHEAD_BYTES_MIN: u64 = 8 << 20;
/// Files synced between two writes to the journal.
const FILES_EACH: usize = 64;

impl Vfs {
    /// Completes the body, then makes it durable together with the change that says so. `false`: somebody is writing to it in
    /// this very moment, so it is durable, and not closed.
    pub(super) async fn make_durable(&self, file: &Arc<OpenFile>) -> Result<bool> {
        let turn = file.turn.clone().lock_owned().await;
        if file.writing() != Writing::Dirty {
            return Ok(true);
        }
        let body = file.body();
        if let Err(error) = body.complete(self.config.deadline).await {
            file.set_failed(true);
            return Err(error.into());
        }
        let file = file.clone();
        self.blocking(move |vfs| {
            // Also when nobody waits for this any more.
            let _turn = turn;
            vfs.close_durably(&file, &body)
        })
        .await
    }

    /// The same where nothing has to be fetched and nobody else is at it; `None` where it is. Blocks.
    pub(super) fn make_durable_quickly(&self, file: &OpenFile) -> Result<Option<bool>> {
        let Ok(_turn) = file.turn.try_lock() else {
            return Ok(None);
        };
        if file.writing() != Writing::Dirty {
            return Ok(Some(true));
        }
        let body = file.body();
        if file.is_ghost() || !body.is_complete() {
            return Ok(None);
        }
        self.close_durably(file, &body).map(Some)
    }

    /// Completes the body and makes it durable; others go on writing it, and it is not a save.
    pub(super) async fn make_durable_so_far(&self, file: &Arc<OpenFile>) -> Result<()> {
        if file.writing() != Writing::Dirty {
            return Ok(self.journal.sync().wait().await?);
        }
        let body = file.body();
        body.complete(self.config.deadline).await?;
        let file = file.clone();
        self.blocking(move |vfs| vfs.tell_written(&file, &body)).await
    }

    /// Makes a whole body durable with the change that says so, or takes back what was said. Answers whether it could be said
    /// that this is all. Blocks.
    fn close_durably(&self, file: &OpenFile, body: &Arc<Body>) -> Result<bool> {
        let ahead = match body.size() {
            Some(size) if size >= SYNCED_AHEAD_BYTES_MIN => body.sync_now(),
            Some(_) | None => Ok(()),
        };
        let Some(still) = file.hold_still(PATIENCE) else {
            file.set_failed(ahead.is_err());
            ahead?;
            return self.tell_written(file, body).map(|()| false);
        };
        if file.is_ghost() {
            ahead?;
            body.sync_now()?;
            still.flushed();
            return Ok(true);
        }
        let told = ahead.map_err(Error::from).and_then(|()| self.tell_closed(file, body));
        let told = told.and_then(|ticket| Ok(ticket.map_or(Ok(()), Ticket::wait_blocking)?));
        file.set_failed(told.is_err());
        match &told {
            Ok(()) => still.flushed(),
            // The program hears that its save failed, so it must not be sent as if it had not.
            Err(_) => self.take_back_close(file.ino, body),
        }
        told.map(|()| true)
    }

    fn take_back_close(&self, ino: Ino, body: &Body) {
        let id = body.name();
        let taken_back = self.decide_now(Durability::Written, move |d| {
            let change = d.overlay().get(ino).map(|change| Change::clone(change));
            let Some(mut change) = change else { return Ok(()) };
            if let Some(staged) = change.staged.as_mut().filter(|staged| staged.body == id) {
                staged.phase = Phase::Open;
                staged.generation += 1;
                d.write(Write::Put(Box::new(change)));
            }
            Ok(())
        });
        let written = taken_back.and_then(|((), decided)| decided.wait_blocking(self));
        if let Err(error) = written {
            tracing::error!(ino = ino.0, "the journal does not know of a close that failed: {error}");
        }
    }

    /// Says in the journal that a body is as its program left it, with the bytes or after they were synced. Blocks.
    fn tell_closed(&self, file: &OpenFile, body: &Arc<Body>) -> Result<Option<Ticket>> {
        let (ino, mtime) = (file.ino, file.mtime());
        // What is told to the journal must not be more than what is durable.
        let mut size = body.size().unwrap_or(0);
        // Near the end of the disk the bytes must not be there twice: the close would fail for want of room. Of what the disk
        // has failed to keep nobody knows whether memory still has it.
        let held = match self.journal.may_hold(size) && self.has_room() && body.is_sound() {
            true => body.bytes_up_to(HELD_BYTES_EACH_MAX)?,
            false => None,
        };
        match &held {
            Some(bytes) => size = bytes.len() as u64,
            None => body.sync_now()?,
        }
        let id = body.name();
        let (is_held, bytes) = (held.is_some(), held);
        let told = self.decide_now(Durability::Synced, move |d| d.closed(ino, &id, size, mtime, bytes));
        let (is_told, decided) = told?;
        self.not_refused(file, is_told)?;
        if is_held && !is_told {
            // No change speaks of these bytes any more; whoever has them open was promised that they are durable.
            body.sync_now()?;
        }
        Ok(decided.ticket)
    }

    /// Makes a whole body durable that is just being written to, which is not to be taken for a save. Blocks.
    fn tell_written(&self, file: &OpenFile, body: &Body) -> Result<()> {
        body.sync_now()?;
        let (ino, size) = (file.ino, body.size().unwrap_or(0));
        let id = body.name();
        let (is_told, decided) = self.decide_now(Durability::Synced, move |d| d.whole_so_far(ino, &id, size))?;
        self.not_refused(file, is_told)?;
        decided.wait_blocking(self)
    }

    /// A program hears that the journal could not take its new file: no change speaks of it.
    fn not_refused(&self, file: &OpenFile, is_told: bool) -> Result<()> {
        if is_told || file.is_ghost() || !matches!(self.node(file.ino), Err(Error::Stale)) {
            return Ok(());
        }
        file.set_refused();
        self.notice(Notice::Attributes { ino: file.ino });
        Err(JournalError::Write("it could not take this new file".into()).into())
    }

    /// Whether the disk is far from full.
    pub(super) fn has_room(&self) -> bool {
        disk::free_space(&self.staging_dir).is_ok_and(|space| space.free_bytes >= FREE_BYTES_MIN)
    }

    /// Secures what a writer left unfinished: its length, and whether every byte is there.
    pub(super) async fn left_unfinished(&self, file: &Arc<OpenFile>) -> (u64, bool) {
        let body = file.body();
        if let Err(error) = body.sync().await {
            tracing::warn!(ino = file.ino.0, "what was left unfinished is not on the disk: {error}");
        }
        (body.size().unwrap_or(0), body.is_complete())
    }

    /// An fsync by a program that has had the file open for long, and will keep it open, is as good as a close.
    pub(super) async fn publish_while_open(&self, file: &Arc<OpenFile>) -> Result<()> {
        let ino = file.ino;
        self.decide(Durability::Written, move |d| {
            let due = d.overlay().get(ino).filter(|c| c.staged.is_some() && c.attempts == 0);
            if due.is_some() {
                let ready_at = d.ready_at();
                d.guard.reschedule(ino, ready_at);
            }
            Ok(())
        })
        .await
    }

    /// Syncs the files of bodies that the journal holds, until the mount ends.
    pub(super) async fn secure_bodies(&self) {
        loop {
            self.clock.sleep(LOOK_EVERY).await;
            if self.stopping.load(std::sync::atomic::Ordering::Relaxed) {
                return;
            }
            if let Err(error) = self.secure_due().await {
                tracing::warn!("files that were closed are in the journal only, until they can be synced: {error}");
            }
        }
    }

    pub(super) async fn secure_due(&self) -> Result<()> {
        let mut due = self.journal.held_since(self.clock.now().minus(HELD_FOR));
        if due.is_empty() {
            return Ok(());
        }
        // Those would have to be synced again.
        let written: HashSet<String> = self.opens.written_bodies().iter().map(BodyId::to_string).collect();
        due.retain(|(_, body)| !written.contains(body));
        for rows in due.chunks(FILES_EACH) {
            let rows = rows.to_vec();
            let (ticket, unsound) = self.blocking(move |vfs| vfs.secure_rows(rows)).await?;
            ticket.wait().await?;
            for row in unsound {
                let written = match self.whose_body(&row.1) {
                    Some(ino) => self.write_held_anew(ino, &row).await,
                    None => self
                        .let_go(std::slice::from_ref(&row))
                        .wait()
                        .await
                        .map_err(Error::from),
                };
                if let Err(error) = written {
                    tracing::warn!(
                        "a file that was closed stays in the journal, for the disk does not keep it: {error}"
                    );
                    self.journal.postpone(&row, self.clock.now());
                }
            }
        }
        Ok(())
    }

    /// Syncs the files of these rows and has the journal let them go; answers the others. Blocks.
    fn secure_rows(&self, mut rows: Vec<(u64, String)>) -> Result<(Ticket, Vec<(u64, String)>)> {
        let ids: Vec<BodyId> = rows.iter().filter_map(|(_, body)| BodyId::parse(body)).collect();
        let failed = self.cache.sync_each(&ids)?;
        let failed: HashSet<String> = failed.iter().map(|(id, _)| id.to_string()).collect();
        let unsound = rows.extract_if(.., |(_, body)| failed.contains(body)).collect();
        Ok((self.let_go(&rows), unsound))
    }

    /// The node whose change speaks of a body.
    fn whose_body(&self, body: &str) -> Option<Ino> {
        let guard = self.journal.lock();
        let of_it = |c: &&Arc<Change>| c.staged.as_ref().is_some_and(|staged| staged.body == body);
        guard.overlay().iter().find(of_it).map(|change| change.ino)
    }

    /// The disk has failed to keep the file of a node, and the journal has its bytes in a row: they are written to it once
    /// more. [`Error::Stale`] where something happens to the file at this very moment.
    pub(super) async fn write_held_anew(&self, ino: Ino, row: &(u64, String)) -> Result<()> {
        let file = self.open_file(ino, false).await?;
        let turn = file.turn.clone().lock_owned().await;
        let (number, open) = (row.0, file.clone());
        let written = self.blocking(move |vfs| {
            // Nobody begins to write meanwhile.
            let _turn = turn;
            let Some(held) = vfs.journal.held_in(number)? else {
                return Ok(());
            };
            let change = vfs.journal.change(open.ino);
            let staged = change.as_ref().and_then(|change| change.staged.as_ref());
            let is_told = |staged: &Staged| {
                (&staged.body, staged.generation, staged.phase) == (&held.body, held.generation, Phase::Closed)
            };
            let body = open.body();
            match staged.is_some_and(is_told) {
                // They are of an earlier close, and good for nothing.
                false => Ok(()),
                true if body.name() != held.body => Err(Error::Stale),
                true => Ok(body.write_anew(&held.bytes)?),
            }
        });
        let written = written.await;
        self.close_file(&file, false, false).await;
        written?;
        Ok(self.let_go(std::slice::from_ref(row)).wait().await?)
    }

    /// The journal lets go of these rows.
    fn let_go(&self, rows: &[(u64, String)]) -> Ticket {
        let writes = self.journal.release(rows);
        self.journal.write(writes, Durability::Written)
    }

    /// What nobody closed is to be sent as it is (all of that, or one), so its bytes must be on the disk. Blocks.
    pub(super) fn secure_unfinished(&self, ino: Option<u64>) -> Result<()> {
        let ids: Vec<BodyId> = {
            let guard = self.journal.lock();
            let wanted = guard.overlay().iter().filter(|c| ino.is_none_or(|ino| c.ino.0 == ino));
            let staged = wanted.filter_map(|change| change.staged.as_ref());
            let open = staged.filter(|staged| staged.phase == Phase::Open);
            open.filter_map(|staged| BodyId::parse(&staged.body)).collect()
        };
        let failed = self.cache.sync_each(&ids)?;
        let files = failed.len();
        // Others cannot be opened, and so not be sent.
        if let Some((_, error)) = failed.into_iter().find(|(id, _)| !self.cache.is_unsound(*id)) {
            return Err(error.into());
        }
        if files > 0 {
            tracing::warn!(
                files,
                "the disk failed to keep files that are sent as they are in memory"
            );
        }
        Ok(())
    }

    /// After a restart: files that were closed and perhaps never reached the disk get their bytes back.
    pub(super) async fn restore_held(&self) -> Result<()> {
        self.blocking(|vfs| {
            let held = vfs.journal.held()?;
            if held.is_empty() {
                return Ok(());
            }
            let closed: HashMap<String, u64> = {
                let guard = vfs.journal.lock();
                let staged = guard.overlay().iter().filter_map(|change| change.staged.as_ref());
                let closed = staged.filter(|staged| staged.phase == Phase::Closed);
                closed.map(|staged| (staged.body.clone(), staged.generation)).collect()
            };
            let told = |held: &&HeldBody| closed.get(&held.body) == Some(&held.generation);
            let mut ids = Vec::new();
            for (held, id) in held
                .iter()
                .filter(told)
                .filter_map(|h| Some((h, BodyId::parse(&h.body)?)))
            {
                vfs.cache.restore_staged(id, &held.bytes)?;
                ids.push(id);
            }
            vfs.cache.sync_staged(&ids)?;
            tracing::info!(bodies = ids.len(), "files closed right before the end are on the disk");
            let rows: Vec<(u64, String)> = held.into_iter().map(|held| (held.number, held.body)).collect();
            let writes = vfs.journal.release(&rows);
            Ok(vfs.journal.write(writes, Durability::Synced).wait_blocking()?)
        })
        .await
    }
}

impl Decision<'_, '_> {
    /// What is there of a file that is being written is whole. Answers whether a change speaks of it.
    pub(super) fn whole_so_far(&mut self, ino: Ino, body: &str, size: u64) -> Result<bool> {
        let Some(mut change) = self.overlay().get(ino).map(|change| Change::clone(change)) else {
            return Ok(false);
        };
        let staged = change.staged.as_mut().filter(|staged| staged.body == body);
        let is_told = staged.is_some();
        // What has been closed is whole, and perhaps longer by now.
        if let Some(staged) = staged.filter(|staged| staged.phase == Phase::Open) {
            (staged.size, staged.whole) = (size, true);
            self.write(Write::Put(Box::new(change)));
        }
        Ok(is_told)
    }

    /// A file was closed with this body. Answers whether a change speaks of it.
    fn closed(
        &mut self,
        ino: Ino,
        body: &str,
        size: u64,
        mtime: Option<Timestamp>,
        held: Option<Bytes>,
    ) -> Result<bool> {
        let Some(change) = self.overlay().get(ino) else {
            return Ok(false);
        };
        let mut change = Change::clone(change);
        let mut is_told = false;
        if let Some(staged) = &mut change.staged {
            staged.size = size;
            staged.phase = Phase::Closed;
            staged.whole = true;
            staged.generation += 1;
            is_told = staged.body == body;
            if let (Some(bytes), true) = (held, is_told) {
                let writes = self.vfs.journal.hold(body, staged.generation, bytes, self.now);
                self.writes.extend(writes);
            }
        }
        change.ready_at = self.ready_at();
        self.write(Write::Put(Box::new(change)));
        if let Some(mtime) = mtime {
            self.attr(ino, |attr| {
                attr.mtime = Some(mtime);
                attr.ctime = Some(mtime);
                attr.version = None;
            });
        }
        Ok(is_told)
    }
}

impl Inner {
    /// Why what waits for a node is not as a program left it, if so.
    pub(super) fn is_unfinished(&self, change: &Change) -> Option<&'static str> {
        let staged = change.staged.as_ref()?;
        let is_written =
            staged.phase == Phase::Open && self.opens.get(change.ino).is_some_and(|open| open.has_writers());
        let is_here = || {
            self.staged
                .lock()
                .peek(&staged.body)
                .is_some_and(|body| body.is_complete())
        };
        let why = match is_written {
            true => "a program is still writing it",
            false => "parts of its bytes are missing: export or discard it",
        };
        (is_written || (!staged.whole && !is_here())).then_some(why)
    }
}
