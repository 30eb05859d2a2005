//! What the handlers share: tasks, answers, and how an opened file is treated.

use std::ffi::OsStr;
use std::fs::File;
use std::future::Future;
use std::io;
use std::sync::{Arc, OnceLock};

use fuser::{
    BackingId, Errno, FileHandle, FopenFlags, Generation, Notifier, ReplyCreate, ReplyEntry, ReplyOpen, ReplyXattr,
    Request,
};

use super::convert::{self, TTL, attr_ttl, entry_ttl};
use super::modes::{Grant, Modes, Wish};
use super::notices;
use super::operation::{Operation, Refuse};
use super::programs::Programs;
use super::spare::{Lent, Spare};
use super::underway::Underway;
use crate::disk::Buffers;
use crate::http::{Context, with_context, within_context};
use crate::model::{Ino, XATTR_BYTES_MAX};
use crate::telemetry::Operations;
use crate::vfs::{self, Attr, DirEntry, Fh, IoMode, Opened, Vfs};

/// Entries asked of the VFS at a time while an answer to readdir is filled.
const ENTRIES_PER_STEP: usize = 128;

/// Inodes are never reused, so one generation does.
pub const GENERATION: Generation = Generation(0);

/// The adapter: cheap to clone into tasks.
#[derive(Clone)]
pub struct Adapter {
    pub(super) vfs: Vfs,
    pub(super) runtime: tokio::runtime::Handle,
    pub(super) modes: Arc<Modes<BackingId>>,
    pub(super) programs: Arc<Programs>,
    operations: Arc<Operations>,
    underway: Arc<Underway>,
    /// For what the kernel must know before an answer; set before the first request is read.
    notifier: Arc<OnceLock<Notifier>>,
    spare: Arc<Spare>,
    /// For what is written.
    pub(super) buffers: Buffers,
    /// How many file systems lie between us and the disk, ourselves included: what passthrough may stack on.
    pub(super) stack_depth: u32,
}

/// The thread that has read a request, as far as it may work.
pub(super) struct Here<'a> {
    lent: Lent<'a>,
    context: Context,
    runtime: &'a tokio::runtime::Handle,
}

impl Here<'_> {
    /// Does `work` in the program's context. A panic in it is an error for the program and no more.
    pub(super) fn run(self, work: impl FnOnce()) {
        let _runtime = self.runtime.enter();
        let done = self.lent.run(|| within_context(self.context, work));
        if done.is_none() {
            tracing::error!("an operation has panicked");
        }
    }
}

impl Adapter {
    /// An adapter over `vfs` whose tasks run on `runtime`.
    pub fn new(vfs: Vfs, runtime: tokio::runtime::Handle, operations: Arc<Operations>, stack_depth: u32) -> Self {
        let programs = Programs::new(vfs.crawlers().to_vec());
        Self {
            vfs,
            runtime,
            modes: Arc::new(Modes::new()),
            programs: Arc::new(programs),
            operations,
            underway: Arc::default(),
            notifier: Arc::default(),
            spare: Arc::default(),
            buffers: Buffers::default(),
            stack_depth,
        }
    }

    /// An operation of this mount, counted when it is answered.
    pub(super) fn operation(&self, what: &'static str, ino: Ino) -> Operation {
        Operation::on(
            what,
            ino,
            self.operations.clone(),
            [Some(self.underway.begin(ino)), None],
        )
    }

    /// The same of one that concerns another folder as well.
    pub(super) fn operation_across(&self, what: &'static str, ino: Ino, other: Ino) -> Operation {
        let held = [ino, other].map(|ino| Some(self.underway.begin(ino)));
        Operation::on(what, ino, self.operations.clone(), held)
    }

    /// Where the notifier of the session is to be put.
    pub(super) fn notifier(&self) -> Arc<OnceLock<Notifier>> {
        self.notifier.clone()
    }

    /// What programs wait for.
    pub(super) fn underway(&self) -> Arc<Underway> {
        self.underway.clone()
    }

    /// Runs `task` on its own, on behalf of the program that made `request`.
    pub(super) fn spawn(&self, request: &Request, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn_for(request.pid(), task);
    }

    fn spawn_for(&self, pid: u32, task: impl Future<Output = ()> + Send + 'static) {
        let programs = self.programs.clone();
        self.runtime.spawn(async move {
            with_context(programs.context(pid), task).await;
        });
    }

    /// Runs `work` in a task of its own and answers from there.
    pub(super) fn serve<T, R, W, A>(&self, request: &Request, operation: Operation, reply: R, work: W, answer: A)
    where
        T: Send + 'static,
        R: Refuse + Send + 'static,
        W: Future<Output = vfs::Result<T>> + Send + 'static,
        A: FnOnce(R, T) + Send + 'static,
    {
        self.spawn(request, operation.serve(reply, work, answer, drop));
    }

    /// Tries `quick` on this thread and answers from here, which saves every change of threads; where the thread can't be
    /// spared, as [`Adapter::serve_quickly`]. It waits for nothing but this machine. Where it cannot tell (`None`), or who asks
    /// would have to be found out first, `work` goes on in a task.
    pub(super) fn serve_here<T, R, Q, W, A>(
        &self,
        request: &Request,
        operation: Operation,
        reply: R,
        quick: Q,
        work: W,
        answer: A,
        late: impl FnOnce(T) + Send + 'static,
    ) where
        T: Send + 'static,
        R: Refuse + Send + 'static,
        Q: FnOnce() -> vfs::Result<Option<T>> + Send + 'static,
        W: Future<Output = vfs::Result<T>> + Send + 'static,
        A: FnOnce(R, T) + Send + 'static,
    {
        let Some(context) = self.programs.remembered(request.pid()) else {
            return self.spawn(request, operation.serve(reply, work, answer, late));
        };
        let Some(here) = self.here(context) else {
            return self.serve_quickly(request, operation, reply, quick, work, answer, late);
        };
        here.run(move || match quick().transpose() {
            Some(done) => operation.finish(reply, done, answer),
            None => self.spawn(request, operation.serve(reply, work, answer, late)),
        });
    }

    /// This thread, for work in `context`, if it can be spared.
    pub(super) fn here(&self, context: Context) -> Option<Here<'_>> {
        Some(Here {
            lent: self.spare.lend()?,
            context,
            runtime: &self.runtime,
        })
    }

    /// Tries `quick` on a thread that may block and answers from there, which saves the way over a task; it waits for nothing
    /// but this machine. Where it cannot tell (`None`), `work` goes on in a task.
    pub(super) fn serve_quickly<T, R, Q, W, A>(
        &self,
        request: &Request,
        operation: Operation,
        reply: R,
        quick: Q,
        work: W,
        answer: A,
        late: impl FnOnce(T) + Send + 'static,
    ) where
        T: Send + 'static,
        R: Refuse + Send + 'static,
        Q: FnOnce() -> vfs::Result<Option<T>> + Send + 'static,
        W: Future<Output = vfs::Result<T>> + Send + 'static,
        A: FnOnce(R, T) + Send + 'static,
    {
        let (adapter, pid) = (self.clone(), request.pid());
        self.runtime.spawn_blocking(move || {
            let context = adapter.programs.remembered(pid).unwrap_or_default();
            match within_context(context, quick).transpose() {
                Some(done) => operation.finish(reply, done, answer),
                None => adapter.spawn_for(pid, operation.serve(reply, work, answer, late)),
            }
        });
    }

    /// Gives back a handle that was opened after its program had been told EIO.
    pub(super) fn close_late(&self, opened: &Opened) {
        let (vfs, fh) = (self.vfs.clone(), opened.fh);
        self.runtime.spawn(async move { vfs.release_unheard(fh).await });
    }

    /// Decides how the kernel treats an opened file. `make` registers a file for passthrough.
    fn grant(
        &self,
        ino: Ino,
        writes: bool,
        opened: &Opened,
        make: impl FnOnce(&File) -> io::Result<BackingId>,
    ) -> (FopenFlags, Option<Arc<BackingId>>) {
        let (wish, mut flags) = match &opened.io {
            IoMode::KeepCache => (Wish::Cached, FopenFlags::FOPEN_KEEP_CACHE),
            IoMode::FreshCache => (Wish::Cached, FopenFlags::empty()),
            IoMode::Direct => (Wish::Direct, FopenFlags::empty()),
            IoMode::Passthrough(file) => (Wish::Passthrough(file), FopenFlags::empty()),
        };
        if opened.no_flush {
            flags |= FopenFlags::FOPEN_NOFLUSH;
        }
        if opened.forgets
            && let Some(notifier) = self.notifier.get()
        {
            notices::forget_attributes(notifier, ino);
        }
        let past_cache = (flags - FopenFlags::FOPEN_KEEP_CACHE) | FopenFlags::FOPEN_DIRECT_IO;
        match self.modes.open(ino, opened.fh, writes, wish, make) {
            Grant::Cached => (flags, None),
            Grant::Direct => (past_cache, None),
            Grant::Passthrough(backing) => (flags - FopenFlags::FOPEN_KEEP_CACHE, Some(backing)),
            Grant::DirectBesidePassthrough(backing) => (past_cache, Some(backing)),
            Grant::Refused(error) => {
                self.vfs.passthrough_refused(&error.to_string());
                // What the kernel has of this inode may be of an older version: nobody kept account of it.
                (flags - FopenFlags::FOPEN_KEEP_CACHE, None)
            }
        }
    }

    pub(super) fn answer_open(&self, ino: Ino, writes: bool, reply: ReplyOpen, opened: &Opened) {
        let (flags, backing) = self.grant(ino, writes, opened, |file| reply.open_backing(file));
        match backing {
            Some(backing) => reply.opened_passthrough(FileHandle(opened.fh), flags, &backing),
            None => reply.opened(FileHandle(opened.fh), flags),
        }
    }

    pub(super) fn answer_create(&self, writes: bool, reply: ReplyCreate, attr: &Attr, opened: &Opened) {
        let (flags, backing) = self.grant(attr.ino, writes, opened, |file| reply.open_backing(file));
        // A file that was just made is as empty as it looks.
        let ttl = if opened.is_new { TTL } else { attr_ttl(attr) };
        let fh = FileHandle(opened.fh);
        let attr = convert::attr(attr);
        match backing {
            Some(backing) => reply.created_passthrough(&ttl, &attr, GENERATION, fh, flags, &backing),
            None => reply.created(&ttl, &attr, GENERATION, fh, flags),
        }
    }

    /// Feeds entries from `offset` on to `add` until that says that the answer is full.
    pub(super) async fn fill(
        &self,
        fh: Fh,
        mut offset: u64,
        mut add: impl FnMut(&DirEntry) -> bool,
    ) -> vfs::Result<()> {
        loop {
            let entries = self.vfs.readdir(fh, offset, ENTRIES_PER_STEP).await?;
            let Some(last) = entries.last() else { return Ok(()) };
            offset = last.offset;
            if entries.iter().any(&mut add) {
                return Ok(());
            }
        }
    }
}

/// Answers with an entry that is there.
pub fn answer_entry(reply: ReplyEntry, attr: &Attr) {
    reply.entry_with_ttls(&attr_ttl(attr), &TTL, &convert::attr(attr), GENERATION);
}

/// Answers with an entry that was found in `folder`.
pub fn answer_lookup(reply: ReplyEntry, folder: Ino, attr: &Attr) {
    reply.entry_with_ttls(&attr_ttl(attr), &entry_ttl(folder), &convert::attr(attr), GENERATION);
}

/// Answers a question for an extended attribute's bytes: their number when `size` is 0.
pub fn answer_xattr(reply: ReplyXattr, size: u32, value: &[u8]) {
    if value.len() > XATTR_BYTES_MAX {
        reply.error(Errno::E2BIG);
    } else if size == 0 {
        reply.size(value.len() as u32);
    } else if value.len() > size as usize {
        reply.error(Errno::ERANGE);
    } else {
        reply.data(value);
    }
}

/// The name of an extended attribute, when it is one that the VFS knows about. Others are refused here and at once,
/// because the kernel asks for `security.capability` before every single write.
pub fn xattr_name(name: &OsStr) -> Result<String, Errno> {
    match name.to_str() {
        Some(name) if name.starts_with("user.") => Ok(name.to_owned()),
        Some(_) => Err(Errno::EOPNOTSUPP),
        None => Err(Errno::EINVAL),
    }
}

pub fn names(names: &[String]) -> Vec<u8> {
    names.iter().flat_map(|name| name.bytes().chain([0])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_user_attributes_reach_the_vfs() {
        assert_eq!(xattr_name(OsStr::new("user.xdg.tags")).unwrap(), "user.xdg.tags");
        for other in ["security.capability", "system.posix_acl_access", "trusted.x"] {
            assert_eq!(
                i32::from(xattr_name(OsStr::new(other)).unwrap_err()),
                libc::EOPNOTSUPP,
                "{other}"
            );
        }
    }

    #[test]
    fn names_of_attributes_end_with_nul() {
        assert_eq!(names(&["user.a".into(), "user.b".into()]), b"user.a\0user.b\0");
        assert!(names(&[]).is_empty());
    }
}
