//! The remote tree as last known: nodes, the folders they are in, and when each folder was listed, in SQLite.
//!
//! The catalog says what the store is *known to hold*; it never holds anything that exists only here. Deleting its file
//! costs no more than listing again. So a catalog that is damaged, or that another version of the program wrote, is set
//! aside under another name (one log line) and begun anew.
//!
//! Two rules keep late news from undoing early ones:
//!
//! - what is known of an item from a time after a listing began is not changed by that listing;
//! - an item that was removed after a listing began is not brought back by it.
//!
//! Inode numbers come from the caller: a node keeps the one it was first given until [`Catalog::set_ino`].
//!
//! Every call blocks on the disk (and, for a bounded time, on other callers): run them on blocking threads. Reads use a
//! small pool of connections and never wait for a writer; writes share one connection.

mod db;
mod edges;
mod entries;
mod listing;
pub mod names;
mod read;
mod recent;
mod rows;
#[cfg(test)]
mod tests;

pub use db::{Catalog, Error, Result};
pub use entries::merge;
pub use names::{Binding, Bindings, NoBindings};
pub use rows::{Change, Changed, Child, Diff, Listing, Node, Place, Renamed};
