//! The disk as the kernel asks for it.

use std::ffi::OsStr;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::tree::{File, Node, Refused, Tree};
use super::{Shared, State, Weight, errno};

/// Only the kernel itself changes anything here.
const TTL: Duration = Duration::from_secs(3600);
/// What is free, in blocks of 4 KiB: no test fills it.
const BLOCKS: u64 = 1 << 20;

pub struct Served(Arc<Shared>);

impl Served {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// Looks at the tree.
    fn look<T>(&self, look: impl FnOnce(&Tree) -> Result<T, Refused>) -> Result<T, Errno> {
        look(&self.0.state.lock().tree).map_err(errno)
    }

    /// Adds to a folder.
    fn add(
        &self,
        parent: INodeNo,
        name: &OsStr,
        node: Node,
        answer: impl FnOnce(Result<FileAttr, Errno>) + Send + 'static,
    ) {
        let name = text(name);
        let weight = if is_memory(&name) {
            Weight::Nothing
        } else {
            Weight::Change
        };
        let add = move |state: &mut State| {
            let ino = state.tree.add(parent.0, &name, node).map_err(errno)?;
            attr(&state.tree, ino).map_err(errno)
        };
        self.0.change(weight, add, answer);
    }

    fn weight_of(&self, ino: INodeNo) -> Weight {
        let state = self.0.state.lock();
        match name_of(&state.tree, ino.0).is_some_and(is_memory) {
            true => Weight::Nothing,
            false => Weight::Change,
        }
    }

    fn empty(&self, weight: Weight, change: impl FnOnce(&mut Tree) -> Result<(), Refused>, reply: ReplyEmpty) {
        let change = |state: &mut State| change(&mut state.tree).map_err(errno);
        self.0.change(weight, change, |done| match done {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        });
    }
}

fn text(name: &OsStr) -> String {
    name.to_string_lossy().into_owned()
}

/// What SQLite shares between its connections, and makes anew after a crash.
fn is_memory(name: &str) -> bool {
    name.ends_with("-shm")
}

/// A name that a file has.
fn name_of(tree: &Tree, ino: u64) -> Option<&str> {
    let folders = tree.nodes.values().filter_map(|node| match node {
        Node::Folder(names) => Some(names),
        Node::File(_) => None,
    });
    let mut names = folders.flatten();
    names.find(|(_, at)| **at == ino).map(|(name, _)| name.as_str())
}

fn attr(tree: &Tree, ino: u64) -> Result<FileAttr, Refused> {
    let (kind, perm, size) = match tree.nodes.get(&ino).ok_or(Refused::NotFound)? {
        Node::File(file) => (FileType::RegularFile, 0o600, file.live.len() as u64),
        Node::Folder(_) => (FileType::Directory, 0o700, 0),
    };
    let time = SystemTime::UNIX_EPOCH;
    Ok(FileAttr {
        ino: INodeNo(ino),
        size,
        blocks: size.div_ceil(512),
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind,
        perm,
        nlink: 1,
        uid: nix::unistd::getuid().as_raw(),
        gid: nix::unistd::getgid().as_raw(),
        rdev: 0,
        blksize: 4096,
        flags: 0,
    })
}

impl Filesystem for Served {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        config.add_capabilities(InitFlags::FUSE_PARALLEL_DIROPS).ok();
        config.set_max_write(1 << 20).ok();
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.look(|tree| attr(tree, tree.child(parent.0, &text(name))?)) {
            Ok(attr) => reply.entry(&TTL, &attr, Generation(0)),
            Err(error) => reply.error(error),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.look(|tree| attr(tree, ino.0)) {
            Ok(attr) => reply.attr(&TTL, &attr),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        // Times and modes are not what is tested here.
        let weight = if size.is_some() {
            self.weight_of(ino)
        } else {
            Weight::Nothing
        };
        let change = move |state: &mut State| {
            if let Some(size) = size {
                state.tree.resize(ino.0, size as usize).map_err(errno)?;
            }
            attr(&state.tree, ino.0).map_err(errno)
        };
        self.0.change(weight, change, |done| match done {
            Ok(attr) => reply.attr(&TTL, &attr),
            Err(error) => reply.error(error),
        });
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _mode: u32, _umask: u32, reply: ReplyEntry) {
        self.add(parent, name, Node::Folder(Default::default()), |done| match done {
            Ok(attr) => reply.entry(&TTL, &attr, Generation(0)),
            Err(error) => reply.error(error),
        });
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        self.add(parent, name, Node::File(File::default()), |done| match done {
            Ok(attr) => reply.created(&TTL, &attr, Generation(0), FileHandle(0), FopenFlags::empty()),
            Err(error) => reply.error(error),
        });
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = text(name);
        let weight = if is_memory(&name) {
            Weight::Nothing
        } else {
            Weight::Change
        };
        self.empty(weight, |tree| tree.remove(parent.0, &name), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = text(name);
        self.empty(Weight::Change, |tree| tree.remove(parent.0, &name), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        to_parent: INodeNo,
        to_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if !flags.is_empty() {
            return reply.error(Errno::EINVAL);
        }
        let (from, to) = (text(name), text(to_name));
        let rename = |tree: &mut Tree| tree.rename((parent.0, &from), (to_parent.0, &to));
        self.empty(Weight::Change, rename, reply);
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let read = self.look(|tree| {
            let bytes = &tree.file(ino.0)?.live;
            let start = (offset as usize).min(bytes.len());
            Ok(bytes[start..(start + size as usize).min(bytes.len())].to_vec())
        });
        match read {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let write = |state: &mut State| {
            state.tree.write(ino.0, offset as usize, data).map_err(errno)?;
            Ok(data.len() as u32)
        };
        self.0.change(self.weight_of(ino), write, |done| match done {
            Ok(written) => reply.written(written),
            Err(error) => reply.error(error),
        });
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        let sync = |state: &mut State| {
            let name = name_of(&state.tree, ino.0).unwrap_or_default().to_owned();
            match (state.broken)(&name) {
                true => Err(Errno::EIO),
                false => state.tree.sync_file(ino.0).map_err(errno),
            }
        };
        self.0.change(Weight::Sync, sync, |done| match done {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        });
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::empty());
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let entries = self.look(|tree| {
            let names = tree.folder(ino.0)?.iter();
            let entry = |(name, ino): (&String, &u64)| Ok((name.clone(), *ino, attr(tree, *ino)?.kind));
            names.map(entry).collect::<Result<Vec<_>, Refused>>()
        });
        let entries = match entries {
            Ok(entries) => entries,
            Err(error) => return reply.error(error),
        };
        for (number, (name, ino, kind)) in entries.into_iter().enumerate().skip(offset as usize) {
            if reply.add(INodeNo(ino), number as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        let sync = move |tree: &mut Tree| {
            tree.sync_folder(ino.0);
            Ok(())
        };
        self.empty(Weight::Sync, sync, reply);
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        reply.statfs(2 * BLOCKS, BLOCKS, BLOCKS, 1 << 20, 1 << 20, 4096, 255, 4096);
    }

    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        // Reserved room has no bytes; what else there is to it, this disk cannot do, as some cannot.
        match mode {
            1 => reply.ok(),
            0 => {
                let end = (offset + length) as usize;
                let grow = move |tree: &mut Tree| match tree.file(ino.0)?.live.len() < end {
                    true => tree.resize(ino.0, end),
                    false => Ok(()),
                };
                self.empty(self.weight_of(ino), grow, reply);
            }
            _ => reply.error(Errno::EOPNOTSUPP),
        }
    }
}
