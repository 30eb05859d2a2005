//! A server that speaks the Image Relay REST API v2: strict, stateful, and able to misbehave as the real one does.
//!
//! [`serve`] starts one; [`Running`] is its handle: counters, faults, and [`Remote`], the hand of another user who
//! changes the library behind the client's back. The control plane over HTTP (`/_emulator/`) offers the same: besides
//! what every built-in server has, `GET tree` (add `?hashes=false` for a big library) and `POST edits`.

mod app;
mod ask;
mod cdn;
mod content;
mod control;
mod database;
mod effects;
mod files;
mod folders;
mod library;
mod links;
mod listing;
mod lists;
mod options;
mod records;
mod remote;
mod render;
mod routes;
mod samples;
mod seed;
mod server;
mod state;
mod uploads;
mod versions;

#[cfg(test)]
mod tests;

pub use options::{ImageRelayOptions, LinkAfterVersion, Quirks, Seed};
pub use remote::{Body, Edit, EditError, Item, Remote, TreeFile, TreeFolder};
pub use server::{Running, ServeError, serve};
