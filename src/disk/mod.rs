//! The local disk: durable writes, sparse files, lock files, free space. The only home of `unsafe` and `libc`.
//!
//! What is written through here is either all there after a crash or not at all; every error names its file.

mod buffers;
mod copy;
mod directory;
mod durable;
mod error;
mod lock;
mod memory;
mod process;
mod read;
mod reserve;
mod space;
mod sparse;

pub use buffers::{Buffer, Buffers};
pub use copy::{copy_contents, copy_range};
pub use directory::create_private_dir;
pub use durable::{lengthen, remove_if_there, rename, rename_durable, set_mtime, sync_data, sync_dir, write_atomic};
pub use error::{DiskError, Result};
pub use lock::LockFile;
pub use memory::{keep_memory_together, resident_bytes, return_free_memory};
pub use process::{ProcessStatus, has_memory};
pub use read::{begin_writeback, read_at_most, read_cached, read_onto, write_at, write_parts_at};
pub use reserve::Reserve;
pub use space::{Space, free_space};
pub use sparse::{Allocate, allocate, allocated_bytes, open_private, preallocate, seek_data, seek_hole, set_len};
