//! What the kernel asks, one method each: decode, answer what is known, spawn the rest.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use fuser::{
    BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, INodeNo, InitFlags, KernelConfig, LockOwner,
    OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty,
    ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};

use super::adapter::{Adapter, GENERATION, answer_entry, answer_lookup, answer_xattr, names, xattr_name};
use super::convert::{self, BLOCK_BYTES, attr_ttl, entry_ttl};
use crate::model::Name;
use crate::vfs::{Lookup, OpenHow, SetAttr};

/// The longest write of one request, in bytes: the kernel takes no more.
const WRITE_BYTES_MAX: u32 = 1 << 20;

/// The number of files that `statfs` tells as possible: no store has a limit, but programs take 0 free ones for a full disk.
const NODES_MAX: u64 = u32::MAX as u64;

/// Requests that the kernel may have under way in the background. Its own default lets few readers wait at a time.
const BACKGROUND_MAX: u16 = 256;

macro_rules! decode {
    ($decoded:expr, $reply:ident) => {
        match $decoded {
            Ok(value) => value,
            Err(errno) => return $reply.error(errno),
        }
    };
}

impl Filesystem for Adapter {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // One at a time: a set with one unknown flag would add none. O_TRUNC within open saves a round trip.
        for flag in [
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
            InitFlags::FUSE_ASYNC_DIO,
            InitFlags::FUSE_ATOMIC_O_TRUNC,
        ] {
            if let Err(missing) = config.add_capabilities(flag) {
                tracing::info!(?missing, "the kernel lacks a capability");
            }
        }
        if config.add_capabilities(InitFlags::FUSE_PASSTHROUGH).is_ok()
            && config.set_max_stack_depth(self.stack_depth).is_ok()
        {
            self.modes.allow_passthrough();
        } else {
            self.vfs.passthrough_refused("the kernel does not offer it");
        }
        // An error carries the nearest value that is possible.
        if let Err(nearest) = config.set_max_write(WRITE_BYTES_MAX)
            && config.set_max_write(nearest).is_err()
        {
            tracing::info!("the kernel keeps its own size of writes");
        }
        if config.set_max_background(BACKGROUND_MAX).is_err() {
            tracing::info!("the kernel keeps its own number of background requests");
        }
        Ok(())
    }

    fn lookup(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let (vfs, caller, parent) = (self.vfs.clone(), convert::caller(req), convert::ino(parent));
        let name = decode!(convert::name(name), reply);
        let (quick, wanted) = (self.vfs.clone(), name.clone());
        self.serve_here(
            req,
            self.operation("lookup", parent).named(&name),
            reply,
            move || quick.lookup_quickly(parent, &wanted),
            async move { vfs.lookup(caller, parent, &name).await },
            move |reply, found| match found {
                Lookup::Found(attr) => answer_lookup(reply, parent, &attr),
                Lookup::Absent => reply.entry(&entry_ttl(parent), &convert::absent(), GENERATION),
            },
            drop,
        );
    }

    fn forget(&self, _: &Request, ino: INodeNo, _nlookup: u64) {
        self.vfs.forget(convert::ino(ino));
    }

    fn getattr(&self, req: &Request, ino: INodeNo, fh: Option<FileHandle>, reply: ReplyAttr) {
        let (vfs, quick, ino) = (self.vfs.clone(), self.vfs.clone(), convert::ino(ino));
        self.serve_here(
            req,
            self.operation("getattr", ino),
            reply,
            move || quick.getattr_now(ino).map(Some),
            async move { vfs.getattr(ino, fh.map(|fh| fh.0)).await },
            |reply, attr| reply.attr(&attr_ttl(&attr), &convert::attr(&attr)),
            drop,
        );
    }

    fn setattr(
        &self,
        req: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let (vfs, caller, ino) = (self.vfs.clone(), convert::caller(req), convert::ino(ino));
        let set = SetAttr {
            size,
            mode: mode.map(convert::mode),
            uid,
            gid,
            atime: atime.map(convert::set_time),
            mtime: mtime.map(convert::set_time),
        };
        self.serve(
            req,
            self.operation("setattr", ino),
            reply,
            async move { vfs.setattr(caller, ino, fh.map(|fh| fh.0), set).await },
            |reply, attr| reply.attr(&attr_ttl(&attr), &convert::attr(&attr)),
        );
    }

    fn mknod(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, _: u32, reply: ReplyEntry) {
        // Programs make regular files by open; devices, pipes and sockets no store can keep.
        reply.error(Errno::EPERM);
    }

    fn symlink(&self, _: &Request, _: INodeNo, _: &OsStr, _: &Path, reply: ReplyEntry) {
        reply.error(Errno::EPERM);
    }

    fn readlink(&self, _: &Request, _: INodeNo, reply: ReplyData) {
        reply.error(Errno::EINVAL);
    }

    fn mkdir(&self, req: &Request, parent: INodeNo, name: &OsStr, mode: u32, _umask: u32, reply: ReplyEntry) {
        let (vfs, caller, parent) = (self.vfs.clone(), convert::caller(req), convert::ino(parent));
        let name = decode!(convert::name(name), reply);
        self.serve(
            req,
            self.operation("mkdir", parent).named(&name),
            reply,
            async move { vfs.mkdir(caller, parent, &name, convert::mode(mode)).await },
            |reply, attr| answer_entry(reply, &attr),
        );
    }

    fn unlink(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (vfs, caller, parent) = (self.vfs.clone(), convert::caller(req), convert::ino(parent));
        let name = decode!(convert::name(name), reply);
        self.serve(
            req,
            self.operation("unlink", parent).named(&name),
            reply,
            async move { vfs.unlink(caller, parent, &name).await },
            |reply, ()| reply.ok(),
        );
    }

    fn rmdir(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (vfs, caller, parent) = (self.vfs.clone(), convert::caller(req), convert::ino(parent));
        let name = decode!(convert::name(name), reply);
        self.serve(
            req,
            self.operation("rmdir", parent).named(&name),
            reply,
            async move { vfs.rmdir(caller, parent, &name).await },
            |reply, ()| reply.ok(),
        );
    }

    fn rename(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (vfs, caller) = (self.vfs.clone(), convert::caller(req));
        let (from, to) = (convert::ino(parent), convert::ino(newparent));
        let mode = decode!(convert::rename_mode(flags), reply);
        let name = decode!(convert::name(name), reply);
        let new_name = decode!(convert::name(newname), reply);
        self.serve(
            req,
            self.operation_across("rename", from, to).named(&name),
            reply,
            async move { vfs.rename(caller, from, &name, to, &new_name, mode).await },
            |reply, ()| reply.ok(),
        );
    }

    fn link(&self, req: &Request, ino: INodeNo, newparent: INodeNo, newname: &OsStr, reply: ReplyEntry) {
        let (vfs, caller) = (self.vfs.clone(), convert::caller(req));
        let (ino, to) = (convert::ino(ino), convert::ino(newparent));
        let name = decode!(convert::name(newname), reply);
        self.serve(
            req,
            self.operation_across("link", ino, to).named(&name),
            reply,
            async move { vfs.link(caller, ino, to, &name).await },
            |reply, attr| answer_entry(reply, &attr),
        );
    }

    fn open(&self, req: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let (vfs, caller, ino) = (self.vfs.clone(), convert::caller(req), convert::ino(ino));
        let (how, adapter, closer) = (convert::open_how(flags), self.clone(), self.clone());
        let (programs, pid) = (self.programs.clone(), req.pid());
        self.spawn(
            req,
            self.operation("open", ino).serve(
                reply,
                async move {
                    let for_thumbnail = !how.write && programs.makes_thumbnails(pid);
                    vfs.open(caller, ino, OpenHow { for_thumbnail, ..how }).await
                },
                move |reply, opened| adapter.answer_open(ino, how.write, reply, &opened),
                move |opened| closer.close_late(&opened),
            ),
        );
    }

    fn create(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let (vfs, caller, parent) = (self.vfs.clone(), convert::caller(req), convert::ino(parent));
        let name = decode!(convert::name(name), reply);
        let (how, adapter, closer) = (convert::open_how(OpenFlags(flags)), self.clone(), self.clone());
        let (quick, wanted, mode) = (self.vfs.clone(), name.clone(), convert::mode(mode));
        self.serve_here(
            req,
            self.operation("create", parent).named(&name),
            reply,
            move || quick.create_quickly(caller, parent, &wanted, mode, how),
            async move { vfs.create(caller, parent, &name, mode, how).await },
            move |reply, (attr, opened)| adapter.answer_create(how.write, reply, &attr, &opened),
            move |(_, opened)| closer.close_late(&opened),
        );
    }

    fn read(
        &self,
        req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let vfs = self.vfs.clone();
        self.serve(
            req,
            self.operation("read", convert::ino(ino)),
            reply,
            async move { vfs.read(fh.0, offset, size).await },
            |reply, bytes| reply.data(&bytes),
        );
    }

    fn write(
        &self,
        req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let operation = self.operation("write", convert::ino(ino));
        let answer = |reply: ReplyWrite, written| reply.written(written);
        let aim = convert::aim(flags, write_flags);
        // The bytes are only copied where they go on to another thread.
        let owned = || {
            let (vfs, data) = (self.vfs.clone(), self.buffers.copy(data));
            (vfs.clone(), data.clone(), async move {
                vfs.write(fh.0, offset, data, aim).await
            })
        };
        match self.here(self.programs.remembered(req.pid()).unwrap_or_default()) {
            Some(here) => here.run(|| match self.vfs.write_quickly(fh.0, offset, data, aim).transpose() {
                Some(done) => operation.finish(reply, done, answer),
                None => self.serve(req, operation, reply, owned().2, answer),
            }),
            None => {
                let (vfs, bytes, work) = owned();
                let quick = move || vfs.write_quickly(fh.0, offset, &bytes, aim);
                self.serve_quickly(req, operation, reply, quick, work, answer, drop);
            }
        }
    }

    fn flush(&self, req: &Request, ino: INodeNo, fh: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        let (vfs, quick, caller) = (self.vfs.clone(), self.vfs.clone(), convert::caller(req));
        self.serve_here(
            req,
            self.operation("flush", convert::ino(ino)).whole(),
            reply,
            move || quick.flush_quickly(caller, fh.0),
            async move { vfs.flush(caller, fh.0).await },
            |reply, ()| reply.ok(),
            drop,
        );
    }

    fn release(
        &self,
        req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.modes.release(fh.0);
        let (vfs, quick) = (self.vfs.clone(), self.vfs.clone());
        self.serve_here(
            req,
            self.operation("release", convert::ino(ino)),
            reply,
            move || Ok(quick.release_quickly(fh.0)),
            async move {
                vfs.release(fh.0).await;
                Ok(())
            },
            |reply, ()| reply.ok(),
            drop,
        );
    }

    fn fsync(&self, req: &Request, ino: INodeNo, fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        let vfs = self.vfs.clone();
        self.serve(
            req,
            self.operation("fsync", convert::ino(ino)).whole(),
            reply,
            async move { vfs.fsync(fh.0).await },
            |reply, ()| reply.ok(),
        );
    }

    fn opendir(&self, req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let (vfs, caller, ino) = (self.vfs.clone(), convert::caller(req), convert::ino(ino));
        let closer = self.clone();
        self.spawn(
            req,
            self.operation("opendir", ino).whole().serve(
                reply,
                async move { vfs.opendir(caller, ino).await },
                move |reply, fh| reply.opened(FileHandle(fh), convert::folder_flags(ino)),
                move |fh| {
                    let vfs = closer.vfs.clone();
                    closer.runtime.spawn(async move { vfs.releasedir(fh).await });
                },
            ),
        );
    }

    fn readdir(&self, req: &Request, ino: INodeNo, fh: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let (adapter, operation) = (self.clone(), self.operation("readdir", convert::ino(ino)).whole());
        self.spawn(req, async move {
            let filled = operation
                .within(adapter.fill(fh.0, offset, |entry| {
                    let (ino, kind) = (INodeNo(entry.attr.ino.0), convert::kind(entry.attr.kind));
                    reply.add(ino, entry.offset, kind, entry.name.as_str())
                }))
                .await;
            match filled {
                Ok(()) => reply.ok(),
                Err(errno) => reply.error(errno),
            }
        });
    }

    fn readdirplus(&self, req: &Request, ino: INodeNo, fh: FileHandle, offset: u64, mut reply: ReplyDirectoryPlus) {
        let (adapter, folder) = (self.clone(), convert::ino(ino));
        let operation = self.operation("readdirplus", folder).whole();
        self.spawn(req, async move {
            let filled = operation
                .within(adapter.fill(fh.0, offset, |entry| {
                    let ino = INodeNo(entry.attr.ino.0);
                    let ttl = attr_ttl(&entry.attr).min(entry_ttl(folder));
                    let attr = convert::attr(&entry.attr);
                    reply.add(ino, entry.offset, entry.name.as_str(), &ttl, &attr, GENERATION)
                }))
                .await;
            match filled {
                Ok(()) => reply.ok(),
                Err(errno) => reply.error(errno),
            }
        });
    }

    fn releasedir(&self, req: &Request, ino: INodeNo, fh: FileHandle, _flags: OpenFlags, reply: ReplyEmpty) {
        let vfs = self.vfs.clone();
        self.serve(
            req,
            self.operation("releasedir", convert::ino(ino)),
            reply,
            async move {
                vfs.releasedir(fh.0).await;
                Ok(())
            },
            |reply, ()| reply.ok(),
        );
    }

    fn fsyncdir(&self, req: &Request, ino: INodeNo, _fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        let (vfs, ino) = (self.vfs.clone(), convert::ino(ino));
        self.serve(
            req,
            self.operation("fsyncdir", ino),
            reply,
            async move { vfs.fsyncdir(ino).await },
            |reply, ()| reply.ok(),
        );
    }

    fn statfs(&self, _: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        let stat = self.vfs.statfs();
        let blocks = |bytes: u64| bytes / u64::from(BLOCK_BYTES);
        let (total, free) = (blocks(stat.total_bytes), blocks(stat.free_bytes));
        let name_bytes_max = crate::model::NAME_BYTES_MAX as u32;
        reply.statfs(
            total,
            free,
            free,
            NODES_MAX,
            NODES_MAX.saturating_sub(stat.files_used),
            BLOCK_BYTES,
            name_bytes_max,
            BLOCK_BYTES,
        );
    }

    fn setxattr(
        &self,
        req: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        let (vfs, caller, ino) = (self.vfs.clone(), convert::caller(req), convert::ino(ino));
        let name = decode!(xattr_name(name), reply);
        let mode = decode!(convert::set_xattr_mode(flags), reply);
        let value = value.to_vec();
        self.serve(
            req,
            self.operation("setxattr", ino).named(&Name::from_store(&name)),
            reply,
            async move { vfs.setxattr(caller, ino, &name, &value, mode).await },
            |reply, ()| reply.ok(),
        );
    }

    fn getxattr(&self, req: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let (vfs, ino) = (self.vfs.clone(), convert::ino(ino));
        let name = decode!(xattr_name(name), reply);
        self.serve(
            req,
            self.operation("getxattr", ino).named(&Name::from_store(&name)),
            reply,
            async move { vfs.getxattr(ino, &name).await },
            move |reply, value| answer_xattr(reply, size, &value),
        );
    }

    fn listxattr(&self, req: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let (vfs, ino) = (self.vfs.clone(), convert::ino(ino));
        self.serve(
            req,
            self.operation("listxattr", ino),
            reply,
            async move { vfs.listxattr(ino).await },
            move |reply, list| answer_xattr(reply, size, &names(&list)),
        );
    }

    fn removexattr(&self, req: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (vfs, caller, ino) = (self.vfs.clone(), convert::caller(req), convert::ino(ino));
        let name = decode!(xattr_name(name), reply);
        self.serve(
            req,
            self.operation("removexattr", ino).named(&Name::from_store(&name)),
            reply,
            async move { vfs.removexattr(caller, ino, &name).await },
            |reply, ()| reply.ok(),
        );
    }

    fn fallocate(
        &self,
        req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let vfs = self.vfs.clone();
        let how = decode!(convert::allocate(mode), reply);
        self.serve(
            req,
            self.operation("fallocate", convert::ino(ino)),
            reply,
            async move { vfs.fallocate(fh.0, offset, length, how).await },
            |reply, ()| reply.ok(),
        );
    }

    fn lseek(&self, req: &Request, ino: INodeNo, fh: FileHandle, offset: i64, whence: i32, reply: ReplyLseek) {
        let vfs = self.vfs.clone();
        let what = decode!(convert::seek_for(whence), reply);
        let offset = decode!(u64::try_from(offset).map_err(|_| Errno::ENXIO), reply);
        self.serve(
            req,
            self.operation("lseek", convert::ino(ino)),
            reply,
            async move { vfs.lseek(fh.0, offset, what).await },
            |reply, found| reply.offset(i64::try_from(found).unwrap_or(i64::MAX)),
        );
    }

    fn copy_file_range(
        &self,
        req: &Request,
        _ino_in: INodeNo,
        fh_in: FileHandle,
        offset_in: u64,
        ino_out: INodeNo,
        fh_out: FileHandle,
        offset_out: u64,
        len: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let (vfs, caller) = (self.vfs.clone(), convert::caller(req));
        // The answer has 32 bits: a longer copy is told short, and the program asks for the rest.
        let len = len.min(u64::from(u32::MAX) - u64::from(BLOCK_BYTES));
        self.serve(
            req,
            self.operation("copy_file_range", convert::ino(ino_out)).whole(),
            reply,
            async move {
                vfs.copy_file_range(caller, fh_in.0, offset_in, fh_out.0, offset_out, len)
                    .await
            },
            |reply, copied| reply.written(copied.min(u64::from(u32::MAX)) as u32),
        );
    }
}
