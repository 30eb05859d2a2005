//! Which way the bytes of an open file go: through the kernel's page cache, or past us straight to the local copy.
//!
//! The kernel keeps an inode in *either* cached *or* passthrough mode while it is open and answers an open that does not
//! fit with EIO without telling us. So each open is decided and recorded under one lock, all passthrough opens of an inode
//! share one backing id, and a handle stays in its mode until it is released.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::model::Ino;
use crate::vfs::Fh;

/// What the VFS would like for an open.
#[derive(Clone, Copy, Debug)]
pub enum Wish<'a> {
    /// Through the page cache.
    Cached,
    /// Past the page cache, to us.
    Direct,
    /// The kernel reads this file itself.
    Passthrough(&'a File),
}

/// What an open gets.
#[derive(Debug)]
pub enum Grant<B> {
    /// Through the page cache.
    Cached,
    /// Past the page cache, to us.
    Direct,
    /// The kernel reads the backing file itself.
    Passthrough(Arc<B>),
    /// The inode is in passthrough mode, but this handle's reads and writes come to us.
    DirectBesidePassthrough(Arc<B>),
    /// Through the page cache, because the backing file was refused with this error.
    Refused(io::Error),
}

/// The kernel's mode of an inode that is open. Opens past the page cache outside passthrough are in neither.
enum Mode<B> {
    Cached { opens: u32 },
    Passthrough { backing: Arc<B>, opens: u32 },
}

struct Table<B> {
    /// Whether the kernel and our rights allow passthrough.
    allowed: bool,
    inodes: HashMap<Ino, Mode<B>>,
    /// The inode of each handle that counts in `inodes`.
    handles: HashMap<Fh, Ino>,
}

/// The modes of all open inodes; `B` is the kernel's backing id, dropped with the last handle that uses it.
pub struct Modes<B> {
    table: Mutex<Table<B>>,
}

impl<B> Modes<B> {
    /// Nothing open, passthrough not (yet) allowed.
    pub fn new() -> Self {
        Self {
            table: Mutex::new(Table {
                allowed: false,
                inodes: HashMap::new(),
                handles: HashMap::new(),
            }),
        }
    }

    /// The kernel offers passthrough.
    pub fn allow_passthrough(&self) {
        self.table.lock().allowed = true;
    }

    /// Decides and records the open `fh` of `ino`. `make` registers a backing file with the kernel; when it fails,
    /// passthrough is off from then on.
    pub fn open(
        &self,
        ino: Ino,
        fh: Fh,
        writes: bool,
        wish: Wish<'_>,
        make: impl FnOnce(&File) -> io::Result<B>,
    ) -> Grant<B> {
        let mut table = self.table.lock();
        let allowed = table.allowed;
        let (mode, grant) = match (table.inodes.remove(&ino), wish) {
            (Some(Mode::Passthrough { backing, opens }), wish) => {
                let grant = if writes || matches!(wish, Wish::Direct) {
                    Grant::DirectBesidePassthrough(backing.clone())
                } else {
                    Grant::Passthrough(backing.clone())
                };
                let opens = opens + 1;
                (Some(Mode::Passthrough { backing, opens }), grant)
            }
            (mode, Wish::Direct) => {
                // Not counted: the kernel does not, and the release must not either.
                if let Some(mode) = mode {
                    table.inodes.insert(ino, mode);
                }
                return Grant::Direct;
            }
            (Some(Mode::Cached { opens }), _) => (Some(Mode::Cached { opens: opens + 1 }), Grant::Cached),
            (None, Wish::Passthrough(file)) if allowed && !writes => match make(file).map(Arc::new) {
                Ok(backing) => (
                    Some(Mode::Passthrough {
                        backing: backing.clone(),
                        opens: 1,
                    }),
                    Grant::Passthrough(backing),
                ),
                Err(error) => {
                    table.allowed = false;
                    (Some(Mode::Cached { opens: 1 }), Grant::Refused(error))
                }
            },
            (None, Wish::Cached | Wish::Passthrough(_)) => (Some(Mode::Cached { opens: 1 }), Grant::Cached),
        };
        if let Some(mode) = mode {
            table.inodes.insert(ino, mode);
            table.handles.insert(fh, ino);
        }
        grant
    }

    /// The handle is gone. With the last one the inode's mode is free again.
    pub fn release(&self, fh: Fh) {
        let mut table = self.table.lock();
        let Some(ino) = table.handles.remove(&fh) else { return };
        let left = match table.inodes.get_mut(&ino) {
            Some(Mode::Cached { opens } | Mode::Passthrough { opens, .. }) => {
                *opens -= 1;
                *opens
            }
            None => return,
        };
        if left == 0 {
            table.inodes.remove(&ino);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INO: Ino = Ino(7);

    fn file() -> File {
        tempfile::tempfile().expect("a temporary file")
    }

    fn modes() -> Modes<u32> {
        let modes = Modes::new();
        modes.allow_passthrough();
        modes
    }

    #[test]
    fn readers_share_one_backing_id_until_the_last_is_gone() {
        let (modes, file) = (modes(), file());
        let Grant::Passthrough(first) = modes.open(INO, 1, false, Wish::Passthrough(&file), |_| Ok(5)) else {
            panic!("the first reader may pass through")
        };
        let Grant::Passthrough(second) = modes.open(INO, 2, false, Wish::Cached, |_| Ok(6)) else {
            panic!("a later reader joins")
        };
        assert!(Arc::ptr_eq(&first, &second));
        modes.release(1);
        modes.release(2);
        assert_eq!(Arc::strong_count(&first), 2, "only the test's own two");
        assert!(matches!(
            modes.open(INO, 3, false, Wish::Cached, |_| Ok(7)),
            Grant::Cached
        ));
    }

    #[test]
    fn a_reader_beside_a_cached_open_is_cached() {
        let (modes, file) = (modes(), file());
        assert!(matches!(
            modes.open(INO, 1, true, Wish::Cached, |_| Ok(1)),
            Grant::Cached
        ));
        assert!(matches!(
            modes.open(INO, 2, false, Wish::Passthrough(&file), |_| Ok(1)),
            Grant::Cached
        ));
        modes.release(1);
        assert!(matches!(
            modes.open(INO, 3, false, Wish::Passthrough(&file), |_| Ok(1)),
            Grant::Cached
        ));
        modes.release(2);
        modes.release(3);
        assert!(matches!(
            modes.open(INO, 4, false, Wish::Passthrough(&file), |_| Ok(1)),
            Grant::Passthrough(_)
        ));
    }

    #[test]
    fn a_writer_beside_passthrough_readers_writes_to_us() {
        let (modes, file) = (modes(), file());
        modes.open(INO, 1, false, Wish::Passthrough(&file), |_| Ok(1));
        assert!(matches!(
            modes.open(INO, 2, true, Wish::Cached, |_| Ok(2)),
            Grant::DirectBesidePassthrough(_)
        ));
        modes.release(1);
        assert!(
            matches!(
                modes.open(INO, 3, false, Wish::Cached, |_| Ok(3)),
                Grant::Passthrough(_)
            ),
            "the writer still holds the inode in passthrough mode"
        );
    }

    #[test]
    fn opens_past_the_page_cache_do_not_count() {
        let (modes, file) = (modes(), file());
        assert!(matches!(
            modes.open(INO, 1, false, Wish::Direct, |_| Ok(1)),
            Grant::Direct
        ));
        assert!(matches!(
            modes.open(INO, 2, false, Wish::Passthrough(&file), |_| Ok(1)),
            Grant::Passthrough(_)
        ));
        modes.release(1);
        assert!(matches!(
            modes.open(INO, 3, false, Wish::Direct, |_| Ok(1)),
            Grant::DirectBesidePassthrough(_)
        ));
    }

    #[test]
    fn a_refusal_switches_passthrough_off() {
        let (modes, file) = (modes(), file());
        let refuse = |_: &File| Err(io::Error::from_raw_os_error(libc::EPERM));
        assert!(matches!(
            modes.open(INO, 1, false, Wish::Passthrough(&file), refuse),
            Grant::Refused(_)
        ));
        assert!(matches!(
            modes.open(Ino(8), 2, false, Wish::Passthrough(&file), |_| panic!(
                "not asked again"
            )),
            Grant::Cached
        ));
    }
}
