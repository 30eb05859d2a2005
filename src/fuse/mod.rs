//! The kernel's side of the mount: decodes what the kernel asks, hands it to the [`crate::vfs`] and sends the answer.
//!
//! Nothing here knows what a file *means*. A handler runs on one of the session's threads and turns the request into the VFS's
//! own types; what this machine can answer in a moment it answers itself, as long as other threads are left to read requests
//! ([`spare`]), everything else from a task. The kernel's requests to interrupt are not supported by the protocol library, so
//! every operation that may wait for the store has a deadline ([`operation`]): a program that waits for us can only be killed
//! once we have answered. What is answered at once waits for this machine's disk alone.
//!
//! - [`filesystem`]: one method per kernel request.
//! - [`adapter`]: what those share.
//! - [`operation`]: deadline, error logging, errno.
//! - [`convert`]: times, attributes and flags, there and back.
//! - [`modes`]: which open files the kernel may read past us (passthrough), and which go through its page cache.
//! - [`notices`]: tells the kernel what to forget.
//! - [`mounts`]: what the system says is mounted where.
//! - [`programs`]: on whose behalf.
//! - [`session`]: mounting and unmounting.
//! - [`spare`]: how many of the session's threads may work.
//! - [`underway`]: what programs wait for.

mod adapter;
mod convert;
mod filesystem;
mod modes;
pub mod mounts;
mod notices;
mod operation;
mod programs;
mod session;
mod spare;
mod underway;

pub use session::{Mount, MountConfig, abort, unmount};
