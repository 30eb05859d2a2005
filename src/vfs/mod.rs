//! The drive: every file operation's meaning, without FUSE.
//!
//! What people see is the catalog (what the store last said) with the journal (what is pending here) laid over it. An
//! operation that changes the tree decides under one lock , is in the journal before it answers, and
//! reaches the store later. Operations on what is known never wait for the network.

mod assets;
mod attention;
mod check;
mod close;
mod config;
mod confirm;
mod conflict;
mod control;
mod copies;
mod deliveries;
mod durable;
mod error;
mod files;
mod follow;
mod handles;
mod io;
mod junk;
mod listing;
mod lookup;
mod moved;
mod namespace;
mod notes;
mod opens;
mod originals;
mod path;
mod pins;
mod poll;
mod queue;
mod recover;
mod rename;
mod rounds;
mod setattr;
mod shelter;
mod stored;
#[cfg(test)]
mod tests;
mod thumbnails;
mod tree;
mod types;
mod untold;
mod vacated;
#[allow(clippy::module_inception)] // The noun of this folder.
mod vfs;
mod views;
mod who;
mod world;
mod xattr;

pub use assets::{Asset, AssetPage, AssetRef, FieldDiff, FieldEdit, Found};
pub use attention::Attention;
pub use config::{Commit, Conflicts, ThumbnailPlace, VfsConfig};
pub use control::{Event, Keep, SyncReport};
pub use error::{Error, Result};
pub(crate) use junk::matches;
pub use notes::is_note;
pub use pins::{PinProgress, PinReport};
pub use queue::{Left, QueueItem};
pub use types::*;
pub use untold::Untold;
pub use vfs::{Inner, Parts, Vfs};
pub use views::{Asked, is_virtual, parse_query};
