//! Open files: one body per inode, however many handles.

use std::collections::HashMap;
use std::collections::hash_map;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::cache::{Body, BodyId, BodyState};
use crate::model::{ContentVersion, Entry, Ino, ItemId, Timestamp};

use super::Attr;

/// How far the writing of an open file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writing {
    /// Nothing was written since it was opened.
    Not,
    /// Written to, not yet flushed: the journal says so too.
    Dirty,
    /// All that was written is durable.
    Flushed,
}

/// A copy made by the store in the making: so far nothing but a promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Copying {
    pub source: ItemId,
    pub size: u64,
    pub upto: u64,
}

struct State {
    body: Arc<Body>,
    version: Option<ContentVersion>,
    /// What the version is called after a change of ours that is being taken in, see [`Opens::becomes`].
    becoming: Option<ContentVersion>,
    handles: u32,
    writers: u32,
    writing: Writing,
    /// Changes of its bytes that go on at this moment.
    edits: u32,
    /// Its bytes are being made durable with the word that this is all.
    still: bool,
    mtime: Option<Timestamp>,
    /// No longer in the tree.
    ghost: Option<Ghost>,
    killed: bool,
    /// A program was told that its bytes could not be made durable.
    failed: bool,
    /// The journal could not take it: it is nobody's.
    refused: bool,
    urgent: bool,
    /// Since when a program has it open for writing.
    since: Option<Timestamp>,
    /// A program that keeps it open has said that its bytes are complete, and has not gone on writing.
    released: bool,
    copying: Option<Copying>,
}

/// Who took an open file out of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TakenBy {
    /// A program on this machine: the file lives on without a name, and may be opened again through `/proc/self/fd`.
    Us,
    /// Somebody else, in the store: who opens it anew must get what the name stands for now.
    Others,
}

/// A file that left the tree while it was open.
#[derive(Clone, Copy)]
struct Ghost {
    /// What it was when it left.
    attr: Attr,
    by: TakenBy,
}

/// One open file.
pub(super) struct OpenFile {
    pub ino: Ino,
    /// One change of `writing` at a time.
    pub turn: Arc<tokio::sync::Mutex<()>>,
    state: Mutex<State>,
    /// No edit goes on any more.
    rests: Condvar,
}

/// A change of an open file's bytes while it goes on.
#[must_use]
pub(super) struct Edit<'a>(&'a OpenFile);

impl Drop for Edit<'_> {
    fn drop(&mut self) {
        self.0.state.lock().edits -= 1;
        self.0.rests.notify_all();
    }
}

/// An open file whose bytes stay as they are. Taken with its turn: who wants to change them waits for that.
#[must_use]
pub(super) struct Still<'a>(&'a OpenFile);

impl Still<'_> {
    /// All that was written is durable, and the journal knows.
    pub fn flushed(&self) {
        let mut state = self.0.state.lock();
        state.writing = Writing::Flushed;
        // Whoever was: somebody has taken over.
        state.killed = false;
        if state.ghost.is_none() {
            state.mtime = None;
        }
    }
}

impl Drop for Still<'_> {
    fn drop(&mut self) {
        self.0.state.lock().still = false;
    }
}

/// What is left to do when a handle is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// Others read or write on.
    StillOpen,
    /// Nobody writes any more, some read.
    LastWriter,
    /// Nobody has it open.
    Last,
}

impl OpenFile {
    pub fn new(ino: Ino, body: Arc<Body>, version: Option<ContentVersion>) -> Self {
        let state = State {
            body,
            version,
            becoming: None,
            handles: 0,
            writers: 0,
            writing: Writing::Not,
            edits: 0,
            still: false,
            mtime: None,
            ghost: None,
            killed: false,
            failed: false,
            refused: false,
            urgent: false,
            since: None,
            released: false,
            copying: None,
        };
        Self {
            ino,
            turn: Arc::default(),
            state: Mutex::new(state),
            rests: Condvar::new(),
        }
    }

    pub fn body(&self) -> Arc<Body> {
        self.state.lock().body.clone()
    }

    pub fn set_body(&self, body: Arc<Body>) {
        self.state.lock().body = body;
    }

    /// The length that programs see, when this open file knows it better than the store's entry.
    pub fn size(&self) -> Option<u64> {
        let state = self.state.lock();
        if let Some(copying) = &state.copying {
            return Some(copying.upto);
        }
        match state.body.state() {
            BodyState::Dirty { .. } => state.body.size(),
            BodyState::Filling | BodyState::Verifying | BodyState::Complete | BodyState::Discarded => None,
        }
    }

    pub fn mtime(&self) -> Option<Timestamp> {
        self.state.lock().mtime
    }

    pub fn set_mtime(&self, mtime: Option<Timestamp>) {
        self.state.lock().mtime = mtime;
    }

    pub fn writing(&self) -> Writing {
        self.state.lock().writing
    }

    pub fn set_writing(&self, writing: Writing) {
        let mut state = self.state.lock();
        state.writing = writing;
        state.released &= writing != Writing::Dirty;
    }

    /// Begins to change bytes of what the journal knows to be written to; `None`: see [`super::Vfs::edit`].
    pub fn edit(&self) -> Option<Edit<'_>> {
        let mut state = self.state.lock();
        let is_open = state.writing == Writing::Dirty && state.copying.is_none() && !state.still;
        is_open.then(|| {
            state.edits += 1;
            Edit(self)
        })
    }

    /// Lets nobody begin to change its bytes until this is dropped; `None` where somebody is doing so and does not come to
    /// the end within `patience`. Blocks for that.
    pub fn hold_still(&self, patience: Duration) -> Option<Still<'_>> {
        let mut state = self.state.lock();
        if state.still {
            return None;
        }
        state.still = true;
        let until = Instant::now() + patience;
        while state.edits > 0 {
            if self.rests.wait_until(&mut state, until).timed_out() {
                break;
            }
        }
        let is_still = state.edits == 0;
        state.still = is_still;
        is_still.then(|| Still(self))
    }

    pub fn version(&self) -> Option<ContentVersion> {
        self.state.lock().version.clone()
    }

    pub fn set_version(&self, version: Option<ContentVersion>) {
        self.state.lock().version = version;
    }

    fn set_becoming(&self, becoming: Option<ContentVersion>) {
        self.state.lock().becoming = becoming;
    }

    pub fn copying(&self) -> Option<Copying> {
        self.state.lock().copying.clone()
    }

    pub fn set_copying(&self, copying: Option<Copying>) {
        self.state.lock().copying = copying;
    }

    pub fn opened(&self, for_writing: bool, now: Timestamp) {
        let mut state = self.state.lock();
        state.handles += 1;
        state.writers += u32::from(for_writing);
        if for_writing {
            state.since.get_or_insert(now);
        }
    }

    pub fn closed(&self, for_writing: bool) -> Closed {
        let mut state = self.state.lock();
        state.handles = state.handles.saturating_sub(1);
        state.writers = state.writers.saturating_sub(u32::from(for_writing));
        if state.writers == 0 {
            state.since = None;
            state.released = false;
        }
        if state.handles == 0 {
            Closed::Last
        } else if for_writing && state.writers == 0 {
            Closed::LastWriter
        } else {
            Closed::StillOpen
        }
    }

    /// Whether a close has no bytes to secure or to throw away.
    fn is_settled(&self, for_writing: bool) -> bool {
        let state = self.state.lock();
        let safe = state.copying.is_none() && state.writing != Writing::Dirty;
        state.ghost.is_none() && (safe || !for_writing)
    }

    /// Whether the uploader must keep its hands off.
    pub fn is_being_written(&self) -> bool {
        let state = self.state.lock();
        state.writers > 0 && !state.urgent && !state.released
    }

    pub fn has_writers(&self) -> bool {
        self.writers() > 0
    }

    /// How many have it open for writing.
    pub fn writers(&self) -> u32 {
        self.state.lock().writers
    }

    /// What was written is complete although the file stays open, if it has been open for so long. Answers that.
    pub fn release_if_open_for(&self, least: Duration, now: Timestamp) -> bool {
        let mut state = self.state.lock();
        state.released = state.since.is_some_and(|since| now.since(since) >= least);
        state.released
    }

    /// It was not complete: somebody is just writing to it.
    pub fn take_back_release(&self) {
        self.state.lock().released = false;
    }

    /// A program waits for the store although somebody still writes.
    pub fn set_urgent(&self, urgent: bool) {
        self.state.lock().urgent = urgent;
    }

    pub fn set_killed(&self) {
        self.state.lock().killed = true;
    }

    pub fn is_killed(&self) -> bool {
        self.state.lock().killed
    }

    pub fn set_failed(&self, failed: bool) {
        self.state.lock().failed = failed;
    }

    pub fn has_failed(&self) -> bool {
        self.state.lock().failed
    }

    pub fn set_refused(&self) {
        self.state.lock().refused = true;
    }

    pub fn is_refused(&self) -> bool {
        self.state.lock().refused
    }

    /// It left the tree, as `attr`; its handles live on. It is as long as its own bytes are: `attr` may be of a newer version.
    pub fn detach(&self, attr: Option<Attr>, by: TakenBy) {
        let mut state = self.state.lock();
        if state.ghost.is_none() {
            let own = state.body.size().filter(|_| state.copying.is_none());
            state.ghost = attr.map(|attr| Ghost {
                attr: Attr {
                    nlink: 0,
                    size: own.unwrap_or(attr.size),
                    ..attr
                },
                by,
            });
        }
    }

    /// It is in the tree again, as `entry`. `false`: its handles have other bytes than that and stay outside.
    pub fn attach(&self, entry: &Entry) -> bool {
        let mut state = self.state.lock();
        let is_clean = state.writing != Writing::Dirty && !state.body.is_dirty();
        let is_it = is_clean && state.version.as_ref() == Some(&entry.version);
        if is_it {
            state.ghost = None;
        }
        is_it
    }

    /// Who took it out of the tree, if somebody did.
    pub fn taken_by(&self) -> Option<TakenBy> {
        self.state.lock().ghost.map(|ghost| ghost.by)
    }

    /// Changes what is told of a file that has left the tree.
    pub fn change_ghost(&self, change: impl FnOnce(&mut Attr)) {
        if let Some(ghost) = &mut self.state.lock().ghost {
            change(&mut ghost.attr);
        }
    }

    pub fn ghost(&self) -> Option<Attr> {
        let ghost = self.state.lock().ghost?.attr;
        Some(Attr {
            size: self.size().unwrap_or(ghost.size),
            mtime: self.mtime().unwrap_or(ghost.mtime),
            ..ghost
        })
    }

    pub fn is_ghost(&self) -> bool {
        self.state.lock().ghost.is_some()
    }

    /// Whether the store's entry speaks of other bytes than the ones that are open.
    pub fn is_other_version(&self, entry: &Entry) -> bool {
        let state = self.state.lock();
        let clean = !state.body.is_dirty();
        let is_other = |version: &ContentVersion| *version != entry.version;
        state.ghost.is_none()
            && clean
            && state.version.as_ref().is_some_and(is_other)
            && state.becoming.as_ref().is_none_or(is_other)
    }
}

fn count_close(files: &mut HashMap<Ino, Arc<OpenFile>>, file: &Arc<OpenFile>, for_writing: bool) -> Closed {
    let closed = file.closed(for_writing);
    if closed == Closed::Last && files.get(&file.ino).is_some_and(|f| Arc::ptr_eq(f, file)) {
        files.remove(&file.ino);
    }
    closed
}

#[derive(Default)]
struct Table {
    files: HashMap<Ino, Arc<OpenFile>>,
    /// What the versions of these inodes are called after changes of ours that are being taken in.
    becoming: HashMap<Ino, ContentVersion>,
}

/// All open files.
#[derive(Default)]
pub(super) struct Opens(Mutex<Table>);

/// See [`Opens::until_taken`].
pub(super) struct Becoming<'a>(&'a Opens, Ino);

impl Drop for Becoming<'_> {
    fn drop(&mut self) {
        self.0.becomes(self.1, None);
    }
}

impl Opens {
    pub fn get(&self, ino: Ino) -> Option<Arc<OpenFile>> {
        self.0.lock().files.get(&ino).cloned()
    }

    /// The open file of an inode, counted as opened; made by `make` when there is none. `None`: that knows of no such file any
    /// more. Decided in one go, so that a change of ours that is being taken in is told before or after.
    pub fn open(
        &self,
        ino: Ino,
        for_writing: bool,
        now: Timestamp,
        make: impl FnOnce() -> Option<OpenFile>,
    ) -> Option<Arc<OpenFile>> {
        let mut table = self.0.lock();
        let Table { files, becoming } = &mut *table;
        let file = match files.entry(ino) {
            hash_map::Entry::Occupied(known) => known.get().clone(),
            hash_map::Entry::Vacant(vacant) => {
                let file = make()?;
                file.set_becoming(becoming.get(&ino).cloned());
                vacant.insert(Arc::new(file)).clone()
            }
        };
        file.opened(for_writing, now);
        Some(file)
    }

    /// The open file of an inode, counted as opened, if there is one.
    pub fn join(&self, ino: Ino, for_writing: bool, now: Timestamp) -> Option<Arc<OpenFile>> {
        let table = self.0.lock();
        let file = table.files.get(&ino)?.clone();
        file.opened(for_writing, now);
        Some(file)
    }

    /// A change of ours is giving the version of `ino` another name, or (`None`) that has been taken in: until then who has it
    /// open, or opens it, has both versions.
    pub fn becomes(&self, ino: Ino, version: Option<ContentVersion>) {
        let mut table = self.0.lock();
        if let Some(file) = table.files.get(&ino) {
            file.set_becoming(version.clone());
        }
        match version {
            Some(version) => table.becoming.insert(ino, version),
            None => table.becoming.remove(&ino),
        };
    }

    /// When this is dropped, what the version of `ino` has become is taken in.
    pub fn until_taken(&self, ino: Ino) -> Becoming<'_> {
        Becoming(self, ino)
    }

    /// Counts a close; forgets a file that nobody has open.
    pub fn close(&self, file: &Arc<OpenFile>, for_writing: bool) -> Closed {
        count_close(&mut self.0.lock().files, file, for_writing)
    }

    /// The same where the close leaves nothing to do for the bytes; else `None`, and it is not counted. In one go: what
    /// leaves the tree, or is written, later than that finds the file closed.
    pub fn close_if_settled(&self, file: &Arc<OpenFile>, for_writing: bool) -> Option<Closed> {
        let mut table = self.0.lock();
        if !file.is_settled(for_writing) {
            return None;
        }
        Some(count_close(&mut table.files, file, for_writing))
    }

    /// Whether a program has it open for writing, so that its bytes wait.
    pub fn is_being_written(&self, ino: Ino) -> bool {
        self.get(ino).is_some_and(|open| open.is_being_written())
    }

    /// The bodies that somebody has open for writing.
    pub fn written_bodies(&self) -> Vec<BodyId> {
        let files: Vec<Arc<OpenFile>> = self.0.lock().files.values().cloned().collect();
        let written = files.iter().filter(|file| file.has_writers());
        written.filter_map(|file| file.body().id()).collect()
    }

    /// Files that read from this body what the store is to copy for them.
    pub fn copies_in(&self, body: &Arc<Body>) -> Vec<Arc<OpenFile>> {
        let table = self.0.lock();
        let is_copy = |file: &&Arc<OpenFile>| file.copying().is_some() && Arc::ptr_eq(&file.body(), body);
        table.files.values().filter(is_copy).cloned().collect()
    }

    pub fn len(&self) -> usize {
        self.0.lock().files.len()
    }
}
