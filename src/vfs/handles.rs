//! Handles of open files and folders.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::cache::Reader;
use crate::model::{ContentVersion, Ino};

use super::opens::OpenFile;
use super::{DirEntry, Error, Fh, OpenHow, Result};

/// One `open` of a file.
pub(super) struct FileHandle {
    pub file: Arc<OpenFile>,
    pub how: OpenHow,
    pub reader: Reader,
    /// The thread that opened it.
    pub opener: u32,
    /// Bytes were changed through it, and are not a save yet.
    wrote: AtomicBool,
    /// The version for which the kernel drops what it has of others, until it goes on with this handle: it has by then.
    pub forgets: Mutex<Option<ContentVersion>>,
}

impl FileHandle {
    /// Whether its close or sync is the word of whoever wrote: who has written nothing says nothing about what others are
    /// just writing, or have not finished.
    pub fn speaks_for_the_bytes(&self) -> bool {
        let itself = u32::from(self.how.write);
        let is_left = || self.file.is_killed() || self.file.has_failed();
        self.wrote() || self.file.writers() <= itself && !is_left()
    }

    /// Bytes were changed through it.
    pub fn has_written(&self) {
        self.wrote.store(true, Ordering::Relaxed);
    }

    /// Whether bytes were changed through it that are not a save yet.
    pub fn wrote(&self) -> bool {
        self.wrote.load(Ordering::Relaxed)
    }

    /// What was written through it is about to become a save.
    pub fn ends_writing(&self) -> Ending<'_> {
        let wrote = self.wrote.swap(false, Ordering::Relaxed);
        Ending { handle: self, wrote }
    }
}

/// See [`FileHandle::ends_writing`]; dropped, nothing has come of that.
#[must_use]
pub(super) struct Ending<'a> {
    handle: &'a FileHandle,
    wrote: bool,
}

impl Ending<'_> {
    /// It is a save.
    pub fn in_a_save(mut self) {
        self.wrote = false;
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if self.wrote {
            self.handle.has_written();
        }
    }
}

/// One `opendir`: the folder as it was when the reading began.
pub(super) struct DirHandle {
    pub ino: Ino,
    pub snapshot: Mutex<Option<Arc<Vec<DirEntry>>>>,
}

/// All handles.
#[derive(Default)]
pub(super) struct Handles {
    next: AtomicU64,
    files: Mutex<HashMap<Fh, Arc<FileHandle>>>,
    dirs: Mutex<HashMap<Fh, Arc<DirHandle>>>,
    /// Open notes, each with its text.
    notes: Mutex<HashMap<Fh, Bytes>>,
}

impl Handles {
    fn fresh(&self) -> Fh {
        self.next.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub fn add_file(&self, file: Arc<OpenFile>, how: OpenHow, opener: u32, forgets: Option<ContentVersion>) -> Fh {
        let fh = self.fresh();
        self.files.lock().insert(
            fh,
            Arc::new(FileHandle {
                file,
                how,
                reader: Reader::new(),
                opener,
                wrote: AtomicBool::new(how.truncate),
                forgets: Mutex::new(forgets),
            }),
        );
        fh
    }

    pub fn file(&self, fh: Fh) -> Result<Arc<FileHandle>> {
        self.files.lock().get(&fh).cloned().ok_or(Error::BadHandle)
    }

    pub fn remove_file(&self, fh: Fh) -> Option<Arc<FileHandle>> {
        self.files.lock().remove(&fh)
    }

    pub fn add_note(&self, text: Bytes) -> Fh {
        let fh = self.fresh();
        self.notes.lock().insert(fh, text);
        fh
    }

    pub fn note(&self, fh: Fh) -> Option<Bytes> {
        self.notes.lock().get(&fh).cloned()
    }

    pub fn remove_note(&self, fh: Fh) {
        self.notes.lock().remove(&fh);
    }

    pub fn add_dir(&self, ino: Ino) -> Fh {
        let fh = self.fresh();
        self.dirs.lock().insert(
            fh,
            Arc::new(DirHandle {
                ino,
                snapshot: Mutex::default(),
            }),
        );
        fh
    }

    pub fn dir(&self, fh: Fh) -> Result<Arc<DirHandle>> {
        self.dirs.lock().get(&fh).cloned().ok_or(Error::BadHandle)
    }

    pub fn remove_dir(&self, fh: Fh) -> Option<Arc<DirHandle>> {
        self.dirs.lock().remove(&fh)
    }
}
