//! What people ask a running mount: how it stands, what waits, and what to do with what cannot go on.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::cache::BodyId;
use crate::journal::{Change, Durability, LocalReason, Overlay, Phase, Place, State, Write};
use crate::model::{FieldChanges, Ino, ItemId, Kind, Timestamp};
use crate::store::UrlImport;

use super::opens::TakenBy;
use super::vfs::{Decision, Inner, Vfs};
use super::{Error, Notice, Result};

/// What came up lately, remembered for `status`.
const EVENTS_MAX: usize = 200;

/// What keeps a name for now that the store will not take.
const NAME_REFUSED: State = State::Local {
    why: LocalReason::NameRefused,
};

/// Something that came up, and is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When it came up.
    pub at: String,
    /// What it is about.
    pub path: String,
    /// What happened, and the way out.
    pub text: String,
}

/// What a conflict's resolution keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    /// Our bytes become the next version of the asset.
    Mine,
    /// Our bytes are thrown away.
    Theirs,
    /// Our bytes become an asset of their own.
    Both,
}

/// The longest that a wait for the store goes on when everything is there.
const REST_MAX: Duration = Duration::from_secs(2);

/// How a wait for the store ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncReport {
    /// Changes that still wait.
    pub pending: usize,
    /// Changes that only the user can move on.
    pub parked: usize,
    /// Deletions beyond the brake.
    pub held: usize,
    /// What is wrong with them.
    pub problems: Vec<String>,
}

impl SyncReport {
    /// Whether everything is in the store.
    pub fn is_clean(&self) -> bool {
        self.pending == 0 && self.parked == 0 && self.held == 0
    }
}

impl Vfs {
    /// Waits until everything (or what is at or below `path`) is in the store, and tells what cannot get there. A file under
    /// a name that the store refuses cannot, unless a program is still at it.
    pub async fn sync(&self, path: Option<&str>, deadline: Option<Duration>) -> Result<SyncReport> {
        let below = match path {
            Some(path) => Some(self.node_at(path).await?.ino),
            None => None,
        };
        self.hurry(below).await?;
        let began = self.clock.elapsed();
        let mut moved = self.journal.watch();
        loop {
            moved.mark_unchanged();
            let report = self.blocking(move |vfs| vfs.report(below)).await?;
            if report.pending == 0 {
                self.come_to_rest().await;
                return Ok(report);
            }
            let left = deadline.map(|d| d.saturating_sub(self.clock.elapsed().saturating_sub(began)));
            if left == Some(Duration::ZERO) {
                return Ok(report);
            }
            let pause = left.unwrap_or(Duration::from_secs(5)).min(Duration::from_secs(5));
            tokio::select! {
                changed = moved.changed() => if changed.is_err() { return Err(Error::Internal) },
                () = self.clock.sleep(pause) => {}
            }
        }
    }

    /// What has just come into the store is shown as the store has it, also by the kernel. Bounded: neither an upload that has
    /// only to be tidied up nor the kernel holds anybody up for long.
    async fn come_to_rest(&self) {
        if let Some(uploader) = self.uploader() {
            uploader.tidied(REST_MAX).await;
        }
        self.untold.told(&*self.clock, REST_MAX).await;
    }

    /// What waits for its quiet time need not wait any longer.
    async fn hurry(&self, below: Option<Ino>) -> Result<()> {
        let changes = self.outstanding(below).await?;
        self.decide(Durability::Synced, move |d| {
            for ino in changes {
                let Some(change) = d.overlay().get(ino).cloned() else {
                    continue;
                };
                let is_new = change.attempts == 0
                    && (change.state == State::Pending
                        || change.state == NAME_REFUSED && !d.vfs.opens.is_being_written(ino));
                if is_new && change.ready_at > d.now {
                    d.write(Write::Put(Box::new(Change {
                        ready_at: d.now,
                        ..Change::clone(&change)
                    })));
                }
            }
            Ok(())
        })
        .await
    }

    async fn outstanding(&self, below: Option<Ino>) -> Result<Vec<Ino>> {
        self.blocking(move |vfs| {
            Ok(vfs
                .changes_below(below)?
                .iter()
                .filter(|c| c.is_outstanding() || c.state == NAME_REFUSED)
                .map(|c| c.ino)
                .collect())
        })
        .await
    }

    /// How the mount, or one path of it, stands.
    pub async fn status(&self, path: Option<&str>) -> Result<serde_json::Value> {
        if let Some(path) = path {
            return self.status_at(path).await;
        }
        let report = self.blocking(|vfs| vfs.report(None)).await?;
        let queue = self.queue(None).await?;
        let bytes: u64 = queue
            .iter()
            .filter(|q| q.state == "pending" || q.state == "uploading")
            .map(|q| q.bytes - q.sent_bytes.min(q.bytes))
            .sum();
        let local = queue.iter().filter(|q| q.state == "local").count();
        let originals = self.originals().await?.len();
        Ok(json!({
            "store": self.capabilities().label,
            "kind": self.capabilities().kind,
            "pending": report.pending,
            "pending_bytes": bytes,
            "parked": report.parked,
            "held": report.held,
            "local": local,
            "originals": originals,
            "problems": self.attention().await?,
            "events": *self.events.lock(),
            "last_listed": self.last_listed.read().map(Timestamp::to_rfc3339),
            "open_files": self.opens.len(),
            "cache": self.cache.stats(),
        }))
    }

    /// What the content cache has done and uses.
    pub fn cache_stats(&self) -> crate::cache::Stats {
        self.cache.stats()
    }

    /// One file, or a folder with everything in it.
    async fn status_at(&self, path: &str) -> Result<serde_json::Value> {
        let node = self.node_at(path).await?;
        let below = node.ino;
        let report = self.blocking(move |vfs| vfs.report(Some(below))).await?;
        let kind = match node.kind {
            Kind::Folder => "folder",
            Kind::File => "file",
        };
        Ok(json!({
            "path": path,
            "kind": kind,
            "state": self.state_text(&node),
            "id": node.id.as_ref().map(|id| id.as_str()),
            "error": node.change.as_ref().and_then(|c| c.last_error.clone()),
            "below": report,
            "changes": self.queue(Some(below)).await?,
        }))
    }

    /// Tries parked changes again (all of them, or one). Answers how many.
    pub async fn retry(&self, id: Option<u64>) -> Result<usize> {
        self.blocking(move |vfs| vfs.secure_unfinished(id)).await?;
        self.decide(Durability::Synced, move |d| {
            let wanted = |c: &&Arc<Change>| id.is_none_or(|id| c.ino.0 == id);
            let changes: Vec<Change> = d.overlay().iter().filter(wanted).map(|c| Change::clone(c)).collect();
            let mut retried = 0;
            for mut change in changes {
                if let Some(why) = d.vfs.is_unfinished(&change) {
                    // What its program is still at is not as anybody has left it.
                    if id.is_some() {
                        return Err(Error::Invalid(why.into()));
                    }
                    continue;
                }
                match change.state {
                    State::Parked { .. } => change.state = State::Pending,
                    State::Pending | State::Ambiguous { .. } => {}
                    State::Settling { .. } | State::Held | State::Conflict { .. } | State::Local { .. } => continue,
                }
                if let Some(staged) = &mut change.staged {
                    staged.size = d.vfs.staged_len(staged);
                    staged.phase = Phase::Closed;
                    staged.whole = true;
                }
                change.ready_at = d.now;
                change.attempts = 0;
                change.missing_since = None;
                retried += 1;
                d.write(Write::Put(Box::new(change)));
            }
            match (retried, id) {
                (0, Some(id)) => Err(Error::Invalid(format!(
                    "nothing of that kind waits under {id}: see `assetfs queue`"
                ))),
                _ => Ok(retried),
            }
        })
        .await
    }

    /// Copies the bytes of a pending change, or those of which the store made something else, to a file outside the
    /// mount, which must not be there yet.
    pub async fn export(&self, id: u64, to: &Path) -> Result<()> {
        let staged = self.journal.change(Ino(id)).and_then(|c| c.staged.clone());
        let (file, is_whole) = if let Some(staged) = staged {
            let node = self.blocking(move |vfs| vfs.node(Ino(id))).await?;
            match self.body_of(&node).await {
                Ok(body) => (body.file().await?, body.is_complete()),
                Err(error) if staged.whole => return Err(error),
                Err(_) => {
                    let body = BodyId::parse(&staged.body).ok_or(Error::Stale)?;
                    (self.cache.reopen_dirty(body, None).await?.file().await?, false)
                }
            }
        } else if let Some(kept) = self.original_file(id).await? {
            (std::sync::Arc::new(kept), true)
        } else {
            let why = format!("no bytes wait under {id}: see `assetfs queue` and `assetfs queue --originals`");
            return Err(Error::Invalid(why));
        };
        let copied_to = to.to_owned();
        self.blocking(move |_| {
            let failed = |e: crate::disk::DiskError| Error::Invalid(e.to_string());
            let copy = crate::disk::open_private(&copied_to, true).map_err(failed)?;
            crate::disk::copy_contents(&file, &copy, &copied_to).map_err(failed)?;
            crate::disk::sync_data(&copy, &copied_to).map_err(failed)
        })
        .await?;
        match is_whole {
            true => Ok(()),
            false => Err(Error::Invalid(format!(
                "{} has what was written; the old bytes that had not come are zeros in it",
                to.display()
            ))),
        }
    }

    /// The number under which the bytes of a path can be exported.
    pub async fn number_of(&self, path: &str) -> Result<u64> {
        Ok(self.node_at(path).await?.ino.0)
    }

    /// Gives a pending change up: its bytes are deleted, and the store's state shows again.
    pub async fn discard(&self, id: u64) -> Result<()> {
        let ino = Ino(id);
        let change = self
            .journal
            .change(ino)
            .ok_or_else(|| Error::Invalid(format!("nothing waits under {id}")))?;
        if self.opens.is_being_written(ino) {
            return Err(Error::Invalid("a program is still writing it".into()));
        }
        let (body, freed) = self
            .decide(Durability::Synced, move |d| {
                let Some(change) = d.overlay().get(ino).cloned() else {
                    return Ok((None, Vec::new()));
                };
                if let Some(other) = change
                    .claimed_by
                    .or(change.claim)
                    .and_then(|o| d.overlay().get(o).cloned())
                {
                    d.write(Write::Put(Box::new(Change {
                        claim: None,
                        claimed_by: None,
                        ..Change::clone(&other)
                    })));
                }
                let mut given_up = Change::clone(&change);
                let unfinished = d.vfs.leave_unfinished(&mut given_up, ino, change.id.clone());
                d.write(unfinished.unwrap_or(Write::Drop(ino)));
                let mut places = change
                    .placing
                    .as_ref()
                    .map(|p| [p.now.clone(), p.base.clone()].concat())
                    .unwrap_or_default();
                if change.is_removal() {
                    places.extend(d.bring_back_folders(&change));
                }
                Ok((change.staged.as_ref().map(|s| s.body.clone()), places))
            })
            .await?;
        if let Some(open) = self.opens.get(ino) {
            open.detach(self.attr(ino).ok(), TakenBy::Others);
        }
        self.drop_body(body).await;
        let was_asked = change.attempts > 0 || change.resume.is_some() || !change.unconfirmed.is_empty();
        let is_unsure = was_asked || change.unanswered.is_some() || matches!(change.state, State::Parked { .. });
        // What is half replaced is about to be where it was.
        if let Some(item) = change.id.as_ref().filter(|_| is_unsure && change.half_done.is_none()) {
            self.look_whether_gone(ino, item).await;
        }
        for place in freed {
            self.notice(Notice::Entry {
                parent: place.parent,
                name: place.name,
            });
            self.notice(Notice::Attributes { ino: place.parent });
        }
        self.notice(Notice::Content { ino: change.ino });
        Ok(())
    }

    /// What was given up shows as the store has it, which may be not at all: that was why it could not go on.
    async fn look_whether_gone(&self, ino: Ino, id: &ItemId) {
        let began = self.clock.now();
        let outcome = match self.stat_now(ino, id).await {
            Err(Error::Store(error)) if error.is_not_found() => {
                let id = id.clone();
                self.blocking(move |vfs| vfs.take_removal(&id, began)).await
            }
            told => told.map(drop),
        };
        if let Err(error) = outcome {
            tracing::debug!(%id, "what was given up is shown as it was last known: {error}");
        }
    }

    /// Takes all held deletions back: what was to be deleted shows again. Answers how many.
    pub async fn discard_held(&self) -> Result<usize> {
        let held: Vec<u64> = {
            let guard = self.journal.lock();
            let held = |c: &&Arc<Change>| c.state == State::Held;
            guard.overlay().iter().filter(held).map(|c| c.ino.0).collect()
        };
        for id in &held {
            // A folder may have come back with what was in it.
            if self.journal.change(Ino(*id)).is_some() {
                self.discard(*id).await?;
            }
        }
        Ok(held.len())
    }

    /// Reads a folder (or a file's entry) from the store again, now.
    pub async fn refresh(&self, path: &str) -> Result<()> {
        let node = self.node_at(path).await?;
        let Some(id) = node.id.clone() else { return Ok(()) };
        match node.kind {
            Kind::Folder => self.list_anew(&id).await?,
            Kind::File => self.stat_now(node.ino, &id).await.map(drop)?,
        }
        self.untold.told(&*self.clock, REST_MAX).await;
        Ok(())
    }

    /// Lets the store fetch a file by itself.
    pub async fn import_url(&self, url: &str, dest: &str, fields: FieldChanges) -> Result<()> {
        self.writable()?;
        let (folder, name) = self.parent_at(dest).await?;
        let parent = folder
            .id
            .clone()
            .ok_or_else(|| Error::Invalid("that folder is not in the store yet".into()))?;
        if self.known_child(folder.ino, &name).await?.is_some() {
            return Err(Error::Exists);
        }
        let import = UrlImport {
            url: url.to_owned(),
            parent,
            name: name.clone(),
            fields,
        };
        let entry = self.store.import_url(&import).await?;
        self.blocking(move |vfs| {
            let ino = vfs
                .journal
                .inodes(std::slice::from_ref(&entry.id))?
                .first()
                .copied()
                .ok_or(Error::Internal)?;
            let names = vfs.names_for(&entry)?;
            vfs.take_entry(ino, &entry, vfs.clock.now(), &names)
        })
        .await?;
        self.notice(Notice::Entry {
            parent: folder.ino,
            name,
        });
        Ok(())
    }

    /// Gives a file another thumbnail in the store.
    pub async fn set_thumbnail(&self, path: &str, image: bytes::Bytes, file_name: &str) -> Result<()> {
        self.writable()?;
        let node = self.node_at(path).await?;
        let entry = node
            .entry
            .ok_or_else(|| Error::Invalid("it is not in the store yet".into()))?;
        Ok(self.store.set_thumbnail(&entry, image, file_name).await?)
    }

    /// Waits up to `drain` until everything is in the store. The report says what is left: it is safe here and goes on at
    /// the next mount.
    pub async fn drain(&self, drain: Duration) -> SyncReport {
        let report = match drain.is_zero() {
            // Nothing is hurried that could not end.
            true => self.blocking(|vfs| vfs.report(None)).await,
            false => self.sync(None, Some(drain)).await,
        };
        report.unwrap_or_else(|error| SyncReport {
            problems: vec![error.to_string()],
            ..SyncReport::default()
        })
    }

    /// Stops taking changes, waits up to `drain` for uploads, and gives back what the store lent.
    pub async fn shutdown(&self, drain: Duration) -> SyncReport {
        let report = self.drain(drain).await;
        self.stop().await;
        self.close().await;
        report
    }

    /// Makes everything durable before the machine sleeps.
    pub async fn settle_down(&self) -> Result<()> {
        Ok(self.journal.sync().wait().await?)
    }

    /// The machine woke up, or the network came back: what waits to be tried again is tried now.
    pub async fn try_now(&self) -> Result<()> {
        self.decide(Durability::Written, |d| {
            let late = |c: &&Arc<Change>| {
                c.attempts > 0 && c.ready_at > d.now && c.missing_since.is_none() && matches!(c.state, State::Pending)
            };
            let late: Vec<Change> = d.overlay().iter().filter(late).map(|c| Change::clone(c)).collect();
            for mut change in late {
                change.ready_at = d.now;
                d.write(Write::Put(Box::new(change)));
            }
            Ok(())
        })
        .await
    }

    /// Follows the pending changes: the number changes with every one.
    pub fn watch(&self) -> tokio::sync::watch::Receiver<u64> {
        self.journal.watch()
    }

    /// The last work of a drive that was stopped: gives back what the store lent, and closes what is open.
    pub async fn close(&self) {
        let tidied = tokio::time::timeout(Duration::from_secs(10), self.store.tidy()).await;
        if let Ok(Err(error)) = tidied {
            tracing::info!("what the store lent will be given back at the next mount: {error}");
        }
        if let Err(error) = self.journal.sync().wait().await {
            tracing::error!("{error}");
        }
        if let Err(error) = self.cache.close().await {
            tracing::warn!("{error}");
        }
    }
}

impl Inner {
    /// Notes for `status` what came up.
    pub(super) fn note_event(&self, ino: Ino, path: String, text: &str) -> Event {
        let event = Event {
            at: self.clock.now().to_rfc3339(),
            path,
            text: text.to_owned(),
        };
        let mut events = self.events.lock();
        if events.len() == EVENTS_MAX {
            events.remove(0);
        }
        tracing::debug!(ino = ino.0, "noted for status");
        events.push(event.clone());
        event
    }

    pub(super) fn changes_below(&self, below: Option<Ino>) -> Result<Vec<Change>> {
        let guard = self.journal.lock();
        let mut changes = Vec::new();
        for change in guard.overlay().iter() {
            let inside = match below {
                None => true,
                Some(folder) if folder == change.ino => true,
                Some(folder) => {
                    let places = change.placing.iter().flat_map(|p| p.now.iter().chain(&p.base));
                    let mut inside = false;
                    for place in places {
                        inside |= self.is_within(guard.overlay(), place.parent, folder)?;
                    }
                    inside
                }
            };
            if inside {
                changes.push(Change::clone(change));
            }
        }
        Ok(changes)
    }

    fn report(&self, below: Option<Ino>) -> Result<SyncReport> {
        let mut report = SyncReport::default();
        for change in self.changes_below(below)? {
            match &change.state {
                State::Pending | State::Ambiguous { .. } if self.has_work(&change) => {
                    match self.stuck_behind(&change) {
                        Some(blocker) => {
                            match blocker.state {
                                State::Held => report.held += 1,
                                _ => report.parked += 1,
                            }
                            report.problems.push(format!(
                                "{}: waits for {}, {}",
                                self.journal_path(change.ino),
                                self.journal_path(blocker.ino),
                                blocks_how(&blocker)
                            ));
                        }
                        None => {
                            report.pending += 1;
                            if self.opens.is_being_written(change.ino) {
                                report.problems.push(format!(
                                    "{}: a program still has it open for writing",
                                    self.journal_path(change.ino)
                                ));
                            }
                        }
                    }
                }
                State::Parked { reason } => {
                    report.parked += 1;
                    report
                        .problems
                        .push(format!("{}: {reason}", self.journal_path(change.ino)));
                }
                State::Conflict { .. } => {
                    report.parked += 1;
                    report.problems.push(format!(
                        "{}: changed here and in the store",
                        self.journal_path(change.ino)
                    ));
                }
                State::Held => {
                    report.held += 1;
                    report.problems.push(format!(
                        "{}: deletion held, approve or discard it",
                        self.journal_path(change.ino)
                    ));
                }
                // Hurried, and about to be parked.
                State::Local { .. } if change.state == NAME_REFUSED && change.ready_at <= self.clock.now() => {
                    report.pending += 1;
                }
                State::Pending | State::Ambiguous { .. } | State::Settling { .. } | State::Local { .. } => {}
            }
        }
        Ok(report)
    }

    /// What a change waits for that only the user moves on: a folder above that cannot be made, or whatever else the
    /// uploader found in its way.
    fn stuck_behind(&self, change: &Change) -> Option<Arc<Change>> {
        Self::stuck_behind_in(self.journal.lock().overlay(), change)
    }

    /// The same with the tree locked.
    pub(super) fn stuck_behind_in(overlay: &Overlay, change: &Change) -> Option<Arc<Change>> {
        let above = || Some(overlay.get(Self::parked_above_in(overlay, change)?)?.clone());
        overlay.stuck_behind(change.ino).cloned().or_else(above)
    }

    fn parked_above_in(overlay: &Overlay, change: &Change) -> Option<Ino> {
        let mut at = change.placing.as_ref()?.now.first()?.parent;
        for _ in 0..2048 {
            let above = overlay.get(at)?;
            if above.id.is_none() && matches!(above.state, State::Parked { .. }) {
                return Some(at);
            }
            at = above.placing.as_ref()?.now.first()?.parent;
        }
        None
    }
}

/// Why nothing goes on behind a change, in words.
fn blocks_how(blocker: &Change) -> &'static str {
    match (&blocker.state, blocker.is_removal()) {
        (State::Held, _) => "the deletion of which is held",
        (_, true) => "which cannot be deleted",
        (_, false) if blocker.id.is_none() => "which cannot be made",
        (_, false) => "which waits for you",
    }
}

impl Decision<'_, '_> {
    /// What comes back needs the folders that it was in: their removal, which waits for what is inside, is given up too.
    /// Answers where they show again.
    fn bring_back_folders(&mut self, inside: &Change) -> Vec<Place> {
        let base_of = |change: &Change| change.placing.as_ref().and_then(|p| p.base.first().cloned());
        let mut shown = Vec::new();
        let mut place = base_of(inside);
        while let Some(folder) = place.and_then(|place| self.overlay().get(place.parent).cloned())
            && folder.is_removal()
            && matches!(folder.state, State::Pending | State::Held)
        {
            self.write(Write::Drop(folder.ino));
            place = base_of(&folder);
            shown.extend(place.clone());
        }
        shown
    }
}
