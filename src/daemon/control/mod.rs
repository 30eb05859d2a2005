//! The control socket: how commands talk to a running daemon.
//!
//! A Unix stream socket, mode 0600 in a folder of mode 0700. One connection carries one request: the client writes one
//! line of JSON ([`Request`]), the daemon answers with lines of JSON ([`Answer`]): any number of `progress` or `fetching`, then one
//! `done` or `failed`, and closes. For example:
//!
//! ```text
//! → {"do":"sync","path":"Campaigns","wait_ms":60000}
//! ← {"answer":"progress","changes":3,"bytes":7340032,"sent_bytes":1048576}
//! ← {"answer":"done","value":{"pending":0,"parked":0,"held":0,"problems":[]}}
//! ```
//!
//! `docs/control.md` tells all of it to other programs.
//!
//! Paths are relative to the mount, without a slash at the beginning; the empty path is the whole mount.

mod assets;
mod client;
mod protocol;
mod server;

pub use assets::AssetRequest;
pub use client::{ask, ask_with_progress};
pub use protocol::{Answer, Request};
pub(super) use server::progress;
pub use server::{Drive, Server, UnmountAsked};
