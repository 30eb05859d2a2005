//! What the operations take and answer: no FUSE types, so that everything is testable without a mount.

use std::fs::File;
use std::sync::Arc;

use crate::model::{Ino, Kind, Name, Timestamp};

/// Who asks: from the FUSE request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Caller {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// The asking thread's id; 0 when the kernel itself asks.
    pub pid: u32,
}

/// A handle of an open file or folder, never reused while the mount lives.
pub type Fh = u64;

/// Attributes of a node, as `stat` shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attr {
    /// Inode number.
    pub ino: Ino,
    /// File or folder.
    pub kind: Kind,
    /// Bytes.
    pub size: u64,
    /// 512-byte blocks that are held on this machine.
    pub blocks: u64,
    /// Last access, as far as it was set.
    pub atime: Timestamp,
    /// Last change of the content.
    pub mtime: Timestamp,
    /// Last change of content or attributes.
    pub ctime: Timestamp,
    /// Creation.
    pub crtime: Timestamp,
    /// Permission bits.
    pub perm: u16,
    /// Names it has.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// An answer to lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// It is there.
    Found(Attr),
    /// It is known not to be there, so the kernel may remember that.
    Absent,
}

/// What setattr changes; `None` leaves it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetAttr {
    /// New length in bytes.
    pub size: Option<u64>,
    /// New permission bits.
    pub mode: Option<u16>,
    /// New owner: only the mount's own is accepted.
    pub uid: Option<u32>,
    /// New group: only the mount's own is accepted.
    pub gid: Option<u32>,
    /// New access time.
    pub atime: Option<SetTime>,
    /// New modification time.
    pub mtime: Option<SetTime>,
}

/// A time to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTime {
    /// The current time.
    Now,
    /// This time.
    At(Timestamp),
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct OpenHow {
    /// For reading.
    pub read: bool,
    /// For writing.
    pub write: bool,
    /// With O_TRUNC.
    pub truncate: bool,
    /// With O_APPEND.
    pub append: bool,
    /// With O_EXCL (create only).
    pub exclusive: bool,
    /// With O_DIRECT.
    pub direct: bool,
    /// By a program that makes thumbnails.
    pub for_thumbnail: bool,
}

/// Where a write is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    /// To its offset.
    Offset,
    /// To the end (O_APPEND), wherever the kernel takes that to be: it may remember the size of an older version, or none.
    End,
}

/// How the kernel is to treat an open file.
#[derive(Clone, Debug)]
pub enum IoMode {
    /// Through the page cache, which is kept from earlier opens: the bytes have not changed since.
    KeepCache,
    /// Through the page cache, which is dropped first.
    FreshCache,
    /// Past the page cache (unknown size, or appends with O_DIRECT, whose parts then come one after the other).
    Direct,
    /// The kernel may read this complete file itself. If it must not, the adapter calls [`super::Vfs::passthrough_refused`];
    /// beside opens through the page cache it goes that way too.
    Passthrough(Arc<File>),
}

/// An opened file.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Its handle.
    pub fh: Fh,
    /// How to serve it.
    pub io: IoMode,
    /// Whether its close needs no flush (opened read-only).
    pub no_flush: bool,
    /// Whether the file was made by this: it is known to be empty then.
    pub is_new: bool,
    /// The kernel may remember attributes of another version: it must forget them before it hears of this open.
    pub forgets: bool,
}

/// One entry of a folder's snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// Position after this entry: stable for the life of the handle.
    pub offset: u64,
    /// Its name.
    pub name: Name,
    /// Its attributes, its inode among them.
    pub attr: Attr,
}

/// Flags of rename.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RenameMode {
    /// Replace what is there.
    #[default]
    Replace,
    /// Fail with EEXIST when something is there.
    NoReplace,
    /// Swap the two.
    Exchange,
}

/// How setxattr treats what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SetXattrMode {
    /// Either way.
    #[default]
    Any,
    /// Must not be there (XATTR_CREATE).
    Create,
    /// Must be there (XATTR_REPLACE).
    Replace,
}

/// What lseek looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeekFor {
    /// SEEK_DATA.
    Data,
    /// SEEK_HOLE.
    Hole,
}

/// What fallocate does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allocate {
    /// Mode 0: reserve, and grow the file.
    Grow,
    /// KEEP_SIZE: reserve only.
    KeepSize,
    /// PUNCH_HOLE | KEEP_SIZE.
    PunchHole,
    /// ZERO_RANGE, with or without KEEP_SIZE.
    ZeroRange {
        /// Whether the size stays.
        keep_size: bool,
    },
}

/// Figures for `df`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatFs {
    /// Bytes in all on the staging disk.
    pub total_bytes: u64,
    /// Bytes that may be written before the staging disk is full.
    pub free_bytes: u64,
    /// Files in use: no store tells how many it has.
    pub files_used: u64,
}

/// Something that the kernel must forget.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Notice {
    /// The binding of `name` in `parent` changed (or came to be: a negative entry may be cached).
    Entry {
        /// The folder.
        parent: Ino,
        /// The name in it.
        name: Name,
    },
    /// `child` was removed from `parent` by somebody else.
    Deleted {
        /// The folder.
        parent: Ino,
        /// What was there.
        child: Ino,
        /// Under this name.
        name: Name,
    },
    /// Content and attributes of the inode.
    Content {
        /// The file.
        ino: Ino,
    },
    /// Attributes of the inode only.
    Attributes {
        /// The file or folder.
        ino: Ino,
    },
}
