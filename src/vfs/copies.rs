//! Copies of files: by this machine, or left to a store that makes them by itself. Of such a one there are no bytes here but
//! those of what it is a copy of.

use std::sync::Arc;
use std::time::Duration;

use crate::cache::{Body, Keep, Reader};
use crate::catalog::merge;
use crate::journal::{Change, Durability, KnownItem, Phase, Staged, State, Write};
use crate::model::{Entry, Ino, Kind};
use crate::store::{ErrorKind, StoreError};

use super::handles::FileHandle;
use super::opens::{Copying, OpenFile, Writing};
use super::vfs::{Inner, Vfs};
use super::world::FILL_DEADLINE;
use super::{Caller, Error, Fh, Result};

/// Bytes copied by one call of copy_file_range: programs go on with the next.
const COPY_STEP_BYTES: u64 = 8 << 20;
/// How often a copy is begun anew because what is copied is written to.
const COPIES_MAX: usize = 3;

impl Vfs {
    /// Copies inside the mount. A whole clean file into an empty new one of the same name is left to the store, where
    /// it can do that; everything else is copied here, in steps.
    pub async fn copy_file_range(
        &self,
        caller: Caller,
        from: Fh,
        from_offset: u64,
        to: Fh,
        to_offset: u64,
        len: u64,
    ) -> Result<u64> {
        let _ = caller;
        let (source, target) = (self.handles.file(from)?, self.handles.file(to)?);
        // Of a file whose size the store does not tell only reading it shows the end.
        let size = source.file.body().size();
        let len = len.min(size.map_or(COPY_STEP_BYTES, |size| size.saturating_sub(from_offset)));
        if len == 0 {
            return Ok(0);
        }
        if from_offset == to_offset
            && let Some(size) = size
            && let Some(copied) = self.copy_in_store(&source, &target, from_offset, len, size).await?
        {
            return Ok(copied);
        }
        self.check_size(to_offset.saturating_add(len))?;
        let _edit = self.edit(&target.file, Keep::All).await?;
        let step = len.min(COPY_STEP_BYTES);
        let mut done = 0;
        while done < step {
            let part = (step - done).min(1 << 20) as usize;
            let data = source
                .file
                .body()
                .read(&source.reader, from_offset + done, part)
                .await?;
            if data.is_empty() {
                break;
            }
            let got = data.len() as u64;
            target.file.body().write(to_offset + done, data).await?;
            done += got;
        }
        self.has_changed_by(&target);
        Ok(done)
    }

    /// The part of a copy that needs no bytes here; `None` when it must be copied as bytes.
    async fn copy_in_store(
        &self,
        source: &FileHandle,
        target: &FileHandle,
        offset: u64,
        len: u64,
        size: u64,
    ) -> Result<Option<u64>> {
        if !self.capabilities().server_copy.is_yes() || target.file.is_ghost() {
            return Ok(None);
        }
        let _turn = target.file.turn.lock().await;
        let Some(_still) = target.file.hold_still(Duration::ZERO) else {
            return Ok(None);
        };
        let (from, to) = (source.file.ino, target.file.ino);
        let copying = target.file.copying();
        if copying.is_none() && (offset != 0 || target.file.body().size() != Some(0)) {
            return Ok(None);
        }
        let fits = self.blocking(move |vfs| vfs.copy_source(from, to)).await?;
        let Some(entry) = fits.filter(|entry| entry.size == Some(size)) else {
            return Ok(None);
        };
        let copying = copying.unwrap_or(Copying {
            source: entry.id.clone(),
            size,
            upto: 0,
        });
        if copying.source != entry.id || copying.upto != offset {
            return Ok(None);
        }
        let copying = Copying {
            upto: offset + len,
            ..copying
        };
        if target.file.copying().is_none() {
            if !self.promise_copy(to, &entry, size).await? {
                return Ok(None);
            }
            // From now on it reads as its source does; its own empty body goes.
            let empty = target.file.body();
            target.file.set_body(self.cache.body(&entry));
            target.file.set_writing(Writing::Not);
            self.discard_body(&empty).await?;
        }
        target.file.set_copying(Some(copying));
        target.has_written();
        Ok(Some(len))
    }

    /// A copy that the program left unfinished is made of bytes.
    pub(super) async fn end_copying(&self, file: &Arc<OpenFile>) -> Result<()> {
        match file.copying() {
            Some(copying) if copying.upto < copying.size => self.begin_writing(file, Keep::All).await.map(drop),
            Some(_) | None => Ok(()),
        }
    }

    /// Leaves a new file to the store to make; `false`, and nothing is done, where it is no longer one that takes no bytes.
    async fn promise_copy(&self, ino: Ino, source: &Entry, size: u64) -> Result<bool> {
        let source = KnownItem {
            size: Some(size),
            ..KnownItem::from(source)
        };
        self.decide(Durability::Written, move |d| {
            let Some(change) = d.overlay().get(ino).filter(|change| takes_no_bytes(change)) else {
                return Ok(false);
            };
            let promised = Change {
                staged: None,
                copy_of: Some(source),
                ..Change::clone(change)
            };
            d.write(Write::Put(Box::new(promised)));
            Ok(true)
        })
        .await
    }

    /// Before a copy that was left to the store is written to, it gets bytes of its own, as far as it has come. Called with
    /// its turn taken.
    pub(super) async fn materialise(&self, file: &Arc<OpenFile>, keep: Keep) -> Result<()> {
        let mut tries = 1..COPIES_MAX;
        let (own, mut staged) = loop {
            let source = file.body();
            let upto = match (keep, file.copying()) {
                (Keep::Nothing, _) => 0,
                (_, Some(copying)) => copying.upto,
                (_, None) => source.size().unwrap_or(0),
            };
            match self.staged_copy(&source, upto).await {
                // Its source is being written to: it reads from elsewhere by now.
                Err(Error::Stale) if tries.next().is_some() => {}
                copied => break copied?,
            }
        };
        // As of any file that is being changed.
        staged.phase = Phase::Open;
        let ino = file.ino;
        // What it is a copy of may go from then on: the bytes and the word of them are on the disk by then.
        let noted = self.decide(Durability::Synced, move |d| {
            let is_promise = |now: &&Arc<Change>| now.copy_of.is_some() && now.id.is_none();
            let Some(now) = d.overlay().get(ino).filter(is_promise).cloned() else {
                // Made in the meantime, or gone: the writing tells the journal by itself.
                return Ok(None);
            };
            d.write(with_bytes(&now, staged));
            Ok(now.staged.clone())
        });
        let replaced = match noted.await {
            Ok(replaced) => replaced,
            Err(error) => {
                self.discard_body(&own).await?;
                return Err(error);
            }
        };
        file.set_body(own);
        file.set_copying(None);
        file.set_writing(Writing::Not);
        self.drop_body(replaced.map(|staged| staged.body)).await;
        Ok(())
    }

    /// What the store was to copy becomes staged bytes, unless something else has become of the node meanwhile.
    pub(super) async fn take_own_bytes(&self, ino: Ino, source: &KnownItem) -> Result<()> {
        let mut tries = 1..COPIES_MAX;
        let (own, staged) = loop {
            let asked = source.clone();
            let from = self.blocking(move |vfs| vfs.body_to_copy(&asked)).await?;
            from.file().await?;
            let is_here = from.size().is_some_and(|size| from.present_bytes() == size);
            if !is_here && !self.is_still(source).await? {
                // Others' bytes, which may be as many, would be taken for it.
                return Err(StoreError::new(ErrorKind::Conflict, "copy", source.id.as_str()).into());
            }
            from.complete(FILL_DEADLINE).await?;
            match self.staged_copy(&from, from.size().unwrap_or(0)).await {
                Err(Error::Stale) if tries.next().is_some() => {}
                copied => break copied?,
            }
        };
        let open = self.opens.get(ino);
        let _turn = match &open {
            // A program that begins to write to it does so before, or afterwards.
            Some(open) => Some(open.turn.lock().await),
            None => None,
        };
        let source = source.clone();
        let taken = self.decide(Durability::Synced, move |d| {
            let is_it = |now: &&Arc<Change>| now.copy_of.as_ref() == Some(&source) && now.staged.is_none();
            let Some(now) = d.overlay().get(ino).filter(is_it).cloned() else {
                return Ok(false);
            };
            d.write(with_bytes(&now, staged));
            Ok(true)
        });
        let taken = taken.await;
        if !matches!(taken, Ok(true)) {
            self.discard_body(&own).await?;
            return taken.map(drop);
        }
        if let Some(open) = self.opens.get(ino).filter(|open| open.copying().is_some()) {
            open.set_body(own);
            open.set_copying(None);
        }
        Ok(())
    }

    /// Whether the store has an item as it was, as far as the catalog would tell the two apart.
    async fn is_still(&self, source: &KnownItem) -> Result<bool> {
        let told = self.store.stat(&source.id).await?;
        let asked = source.id.clone();
        let known = self.blocking(move |vfs| Ok(vfs.catalog.by_id(&asked)?)).await?;
        Ok(source.is(&known.map_or_else(|| told.clone(), |known| merge(&known.entry, &told))))
    }

    /// The first bytes of a body as staged ones, durable and complete; [`Error::Stale`] when a program has begun to write to
    /// what was clean.
    pub(super) async fn staged_copy(&self, source: &Arc<Body>, len: u64) -> Result<(Arc<Body>, Staged)> {
        let copy = self.cache.new_dirty().await?;
        let copied = async {
            self.copy_body(source, &copy, len).await?;
            Ok(copy.sync().await?)
        };
        let was_dirty = source.is_dirty();
        let copied = match copied.await {
            // What was to be copied is being written to.
            Ok(()) if !was_dirty && source.is_dirty() => Err(Error::Stale),
            copied => copied,
        };
        if let Err(error) = copied {
            self.discard_body(&copy).await?;
            return Err(error);
        }
        let body = copy.name();
        self.keep_staged(&body, &copy);
        let staged = Staged {
            body,
            size: copy.size().unwrap_or(0),
            base: None,
            phase: Phase::Closed,
            whole: true,
            generation: 1,
        };
        Ok((copy, staged))
    }

    async fn copy_body(&self, from: &Arc<Body>, to: &Arc<Body>, len: u64) -> Result<()> {
        let reader = Reader::new();
        let mut at = 0;
        while at < len {
            let data = from.read(&reader, at, (len - at).min(1 << 20) as usize).await?;
            if data.is_empty() {
                break;
            }
            let got = data.len() as u64;
            to.write(at, data).await?;
            at += got;
        }
        Ok(())
    }

    /// What reads from a body that is about to be written to, as the copy that the store is to make of it, goes on with what
    /// the store has.
    pub(super) async fn part_copies(&self, written: &Arc<Body>) {
        for copy in self.opens.copies_in(written) {
            match self.body_apart(&copy).await {
                Ok(body) => copy.set_body(body),
                Err(error) => tracing::warn!(ino = copy.ino.0, "a copy goes on with what is written now: {error}"),
            }
        }
    }

    async fn body_apart(&self, copy: &Arc<OpenFile>) -> Result<Arc<Body>> {
        let ino = copy.ino;
        if let Ok(node) = self.blocking(move |vfs| vfs.node(ino)).await {
            return self.body_of(&node).await;
        }
        // It has left the tree before it was made.
        let source = copy.copying().ok_or(Error::Stale)?.source;
        let known = self.blocking(move |vfs| Ok(vfs.catalog.by_id(&source)?)).await?;
        Ok(self.cache.body(&known.ok_or(Error::Stale)?.entry))
    }
}

impl Inner {
    /// The source of a copy that the store can make by itself: a clean, published file, into a new file of the same
    /// name (where that is needed) in another folder.
    fn copy_source(&self, from: Ino, to: Ino) -> Result<Option<Arc<Entry>>> {
        let (source, target) = (self.node(from)?, self.node(to)?);
        let clean = source
            .change
            .as_ref()
            .is_none_or(|c| c.staged.is_none() && c.fields.is_empty());
        let fresh = target.kind == Kind::File && target.change.as_ref().is_some_and(|c| takes_no_bytes(c));
        if !clean || !fresh {
            return Ok(None);
        }
        let (from, to) = (self.places(&source)?, self.places(&target)?);
        let apart = !from.iter().any(|f| to.iter().any(|t| t.parent == f.parent));
        let Some(entry) = source.entry.filter(|_| apart) else {
            return Ok(None);
        };
        let same_name = to.first().is_some_and(|place| place.name.to_store() == entry.name);
        Ok((same_name || !self.capabilities().copy_keeps_name).then_some(entry))
    }
}

/// A copy that was left to the store as a file with bytes of its own.
fn with_bytes(promise: &Change, staged: Staged) -> Write {
    Write::Put(Box::new(Change {
        copy_of: None,
        staged: Some(staged),
        ..promise.clone()
    }))
}

/// Whether a file is to be made in the store and is empty so far, and is not to become the next version of another one.
fn takes_no_bytes(change: &Change) -> bool {
    let is_empty = change.staged.as_ref().is_none_or(|staged| staged.size == 0);
    change.id.is_none() && change.claim.is_none() && change.state == State::Pending && is_empty
}
