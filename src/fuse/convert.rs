//! Between the kernel's forms and the VFS's: names, times, attributes, flags.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{Errno, FileAttr, FileType, FopenFlags, INodeNo, OpenFlags, RenameFlags, Request, TimeOrNow, WriteFlags};

use crate::model::{Ino, Kind, Name, NameError, Timestamp};
use crate::vfs::{Aim, Allocate, Attr, Caller, OpenHow, RenameMode, SeekFor, SetTime, SetXattrMode, is_virtual};

/// How long the kernel may answer from its own memory. What changes before that is pushed by [`super::notices`].
pub const TTL: Duration = Duration::from_secs(60);

/// The block size that `statfs` and `stat` speak in, in bytes.
pub const BLOCK_BYTES: u32 = 4096;

/// Permission bits with set-id and sticky bits, without the file type.
const MODE_MASK: u32 = 0o7777;

/// Who asks.
pub fn caller(request: &Request) -> Caller {
    Caller {
        uid: request.uid(),
        gid: request.gid(),
        pid: request.pid(),
    }
}

/// A name as the kernel gave it.
pub fn name(name: &OsStr) -> Result<Name, Errno> {
    Name::from_bytes(name.as_bytes()).map_err(|e| match e {
        NameError::TooLong => Errno::ENAMETOOLONG,
        NameError::Invalid | NameError::NotUtf8 => Errno::EINVAL,
    })
}

/// Attributes as the kernel wants them.
pub fn attr(attr: &Attr) -> FileAttr {
    FileAttr {
        ino: INodeNo(attr.ino.0),
        size: attr.size,
        blocks: attr.blocks,
        atime: attr.atime.into(),
        mtime: attr.mtime.into(),
        ctime: attr.ctime.into(),
        crtime: attr.crtime.into(),
        kind: kind(attr.kind),
        perm: attr.perm,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: 0,
        blksize: BLOCK_BYTES,
        flags: 0,
    }
}

/// An entry without an inode: the kernel then remembers that the name is not there.
pub fn absent() -> FileAttr {
    FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: BLOCK_BYTES,
        flags: 0,
    }
}

/// How long attributes hold: a file of no bytes may be one whose size the store has not told yet, so it is asked again.
pub fn attr_ttl(attr: &Attr) -> Duration {
    if (attr.kind == Kind::File && attr.size == 0) || crate::vfs::is_note(attr.ino) {
        Duration::ZERO
    } else {
        TTL
    }
}

/// How long a name in `folder` holds. What a view shows changes without a notice.
pub fn entry_ttl(folder: Ino) -> Duration {
    if is_virtual(folder) { Duration::ZERO } else { TTL }
}

/// How the kernel keeps a folder's entries: for as long as it is not told otherwise, and those of a view not at all.
pub fn folder_flags(folder: Ino) -> FopenFlags {
    if is_virtual(folder) {
        FopenFlags::empty()
    } else {
        FopenFlags::FOPEN_CACHE_DIR | FopenFlags::FOPEN_KEEP_CACHE
    }
}

/// File or folder, for the kernel.
pub fn kind(kind: Kind) -> FileType {
    match kind {
        Kind::File => FileType::RegularFile,
        Kind::Folder => FileType::Directory,
    }
}

/// Permission bits of a mode.
pub fn mode(mode: u32) -> u16 {
    (mode & MODE_MASK) as u16
}

/// A time to set.
pub fn set_time(time: TimeOrNow) -> SetTime {
    match time {
        TimeOrNow::Now => SetTime::Now,
        TimeOrNow::SpecificTime(time) => SetTime::At(timestamp(time)),
    }
}

/// A time of a request. Before 1970 the protocol library subtracts the fraction that it should add; this takes it back.
fn timestamp(time: SystemTime) -> Timestamp {
    match time.duration_since(UNIX_EPOCH) {
        Ok(_) => time.into(),
        Err(before) => Timestamp {
            secs: -(before.duration().as_secs().min(i64::MAX as u64) as i64),
            nanos: before.duration().subsec_nanos(),
        },
    }
}

/// How a file is to be opened. Both access bits at once ask for both rights.
pub fn open_how(flags: OpenFlags) -> OpenHow {
    let access = flags.0 & libc::O_ACCMODE;
    let has = |flag: i32| flags.0 & flag != 0;
    OpenHow {
        read: access != libc::O_WRONLY,
        write: access != libc::O_RDONLY,
        truncate: has(libc::O_TRUNC),
        append: has(libc::O_APPEND),
        exclusive: has(libc::O_EXCL),
        direct: has(libc::O_DIRECT),
        for_thumbnail: false,
    }
}

/// Where a write goes. What is written back from a mapping has its place; its handle is only one of those that may write.
pub fn aim(flags: OpenFlags, write: WriteFlags) -> Aim {
    let has = |flag: i32| flags.0 & flag != 0;
    match has(libc::O_APPEND) && !write.contains(WriteFlags::FUSE_WRITE_CACHE) {
        true => Aim::End,
        false => Aim::Offset,
    }
}

/// What `renameat2` asks for; anything we do not know is EINVAL.
pub fn rename_mode(flags: RenameFlags) -> Result<RenameMode, Errno> {
    if flags.is_empty() {
        Ok(RenameMode::Replace)
    } else if flags == RenameFlags::RENAME_NOREPLACE {
        Ok(RenameMode::NoReplace)
    } else if flags == RenameFlags::RENAME_EXCHANGE {
        Ok(RenameMode::Exchange)
    } else {
        Err(Errno::EINVAL)
    }
}

/// What `setxattr` asks for.
pub fn set_xattr_mode(flags: i32) -> Result<SetXattrMode, Errno> {
    match flags {
        0 => Ok(SetXattrMode::Any),
        libc::XATTR_CREATE => Ok(SetXattrMode::Create),
        libc::XATTR_REPLACE => Ok(SetXattrMode::Replace),
        _ => Err(Errno::EINVAL),
    }
}

/// What `fallocate` asks for.
pub fn allocate(mode: i32) -> Result<Allocate, Errno> {
    const PUNCH: i32 = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    const ZERO_KEEP: i32 = libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE;
    match mode {
        0 => Ok(Allocate::Grow),
        libc::FALLOC_FL_KEEP_SIZE => Ok(Allocate::KeepSize),
        PUNCH => Ok(Allocate::PunchHole),
        libc::FALLOC_FL_ZERO_RANGE => Ok(Allocate::ZeroRange { keep_size: false }),
        ZERO_KEEP => Ok(Allocate::ZeroRange { keep_size: true }),
        _ => Err(Errno::EOPNOTSUPP),
    }
}

/// What `lseek` looks for: the kernel does the other kinds itself.
pub fn seek_for(whence: i32) -> Result<SeekFor, Errno> {
    match whence {
        libc::SEEK_DATA => Ok(SeekFor::Data),
        libc::SEEK_HOLE => Ok(SeekFor::Hole),
        _ => Err(Errno::EINVAL),
    }
}

/// The inode of a request.
pub fn ino(ino: INodeNo) -> Ino {
    Ino(ino.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_back_from_a_mapping_never_goes_to_the_end() {
        let aimed = |flags, write| aim(OpenFlags(flags), write);
        let (program, mapping) = (WriteFlags::empty(), WriteFlags::FUSE_WRITE_CACHE);
        assert_eq!(aimed(libc::O_RDWR, program), Aim::Offset);
        assert_eq!(aimed(libc::O_RDWR | libc::O_APPEND, program), Aim::End);
        assert_eq!(aimed(libc::O_RDWR | libc::O_APPEND, mapping), Aim::Offset);
    }

    #[test]
    fn names_are_refused_with_the_errno_that_programs_expect() {
        assert!(name(OsStr::new("a.jpg")).is_ok());
        let long = "x".repeat(256);
        assert_eq!(i32::from(name(OsStr::new(&long)).unwrap_err()), libc::ENAMETOOLONG);
        assert_eq!(i32::from(name(OsStr::from_bytes(b"\xff")).unwrap_err()), libc::EINVAL);
    }

    #[test]
    fn times_before_1970_keep_their_fraction() {
        // The library turns "2 s before 1970, plus half a second" into 2.5 s before 1970.
        let as_delivered = UNIX_EPOCH - Duration::new(2, 500_000_000);
        assert_eq!(
            timestamp(as_delivered),
            Timestamp {
                secs: -2,
                nanos: 500_000_000
            }
        );
        let late = UNIX_EPOCH + Duration::new(4_294_967_297, 1);
        assert_eq!(
            timestamp(late),
            Timestamp {
                secs: 4_294_967_297,
                nanos: 1
            }
        );
    }

    #[test]
    fn both_access_bits_ask_for_reading_and_writing() {
        let how = open_how(OpenFlags(libc::O_ACCMODE));
        assert!(how.read && how.write);
        let how = open_how(OpenFlags(libc::O_WRONLY | libc::O_TRUNC | libc::O_APPEND));
        assert!(!how.read && how.write && how.truncate && how.append && !how.exclusive);
        assert!(!open_how(OpenFlags(libc::O_RDONLY)).write);
    }

    #[test]
    fn unknown_flags_are_refused() {
        assert_eq!(
            rename_mode(RenameFlags::RENAME_NOREPLACE).unwrap(),
            RenameMode::NoReplace
        );
        assert!(rename_mode(RenameFlags::RENAME_WHITEOUT).is_err());
        assert!(rename_mode(RenameFlags::RENAME_NOREPLACE | RenameFlags::RENAME_EXCHANGE).is_err());
        assert!(allocate(libc::FALLOC_FL_COLLAPSE_RANGE).is_err());
        assert_eq!(
            allocate(libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE).unwrap(),
            Allocate::PunchHole
        );
        assert!(seek_for(libc::SEEK_END).is_err());
    }
}
