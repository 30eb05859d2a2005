//! assetfs mounts a remote file store (a digital-asset library, an archive, a CMS's uploads) as a drive.
//!
//! # The bird's-eye view
//!
//! ```text
//!  programs ── kernel ── fuse ── vfs ──┬── catalog   what the store last said          (SQLite, may be deleted)
//!                                      ├── journal   what is pending here, uploader    (SQLite, user data)
//!                                      ├── cache     the bytes, on their way in or out (files)
//!                                      └── store ── http ── the server
//! ```
//!
//! *What people see = what the store last said + what is pending here.* [`catalog`] holds the first, [`journal`] the
//! second, and [`vfs`] lays one over the other. That one rule gives instant local operations, work without a network,
//! recovery after a crash, and calm in front of listings that lag behind writes.
//!
//! A pending change is the *wanted state* of one node and not an operation ([`journal::Change`]), so renames collapse,
//! fields coalesce, and what is made and removed again costs no request. A pure planner answers the next step that brings
//! the store closer to it; the uploader carries it out and asks again. A row goes only when the catalog has durably taken
//! its result.
//!
//! The bytes of a file are one file on the disk ([`cache::Body`]). It lies in `content/` while it is clean, moves to
//! `staging/` by rename at the first write, and back when the store has confirmed it.
//!
//! # Floors
//!
//! A module imports only lower floors, and no sibling; `tests/architecture.rs` holds the table.
//!
//! | floor | modules |
//! |---|---|
//! | 0 | [`model`]: pure values, time as an argument; [`telemetry`]: logging, names of metrics |
//! | 1 | [`disk`]: durable writes, sparse files, the only `unsafe`; [`http`]: one client, deadlines, budget |
//! | 2 | [`store`]: the interface and one folder for each store |
//! | 3 | [`catalog`], [`cache`], [`journal`] |
//! | 4 | [`vfs`]: all semantics, without FUSE |
//! | 5 | [`fuse`]: decode, answer what is known, spawn the rest; kernel invalidation; passthrough |
//! | 6 | [`daemon`]: configuration, assembly, signals, control socket; [`emulator`]: servers that speak the four APIs |
//! | 7 | [`cli`] |
//!
//! # What must stay true
//!
//! - Nothing that only exists here is in the catalog; nothing that the store has is only in the journal.
//! - A change of the tree is decided under one lock ([`journal::Guard`]) and is in the journal before it is answered. No
//!   lock is held over an await.
//! - Items are addressed by opaque ids, never by paths. Inode numbers are given once and never reused, so nothing
//!   depends on lookup counts.
//! - A failed listing changes nothing. A late one neither hides what was made nor brings back what was removed.
//! - Nothing dirty is evicted, dropped or overwritten except by the user's own word.
//! - A store never caches trees, and never composes what its server lacks: that is declared in
//!   [`store::Capabilities`] and composed once, by the journal.
//! - The daemon never touches its own mount, and nothing waits for the kernel's notifier.

pub mod cache;
pub mod catalog;
pub mod cli;
pub mod daemon;
pub mod disk;
pub mod emulator;
pub mod fuse;
pub mod http;
pub mod journal;
pub mod model;
pub mod store;
pub mod telemetry;
pub mod vfs;
