//! Omeka Classic: collections and items as folders, files within items, Dublin Core as fields.
//!
//! - [`OmekaStore`] speaks the REST API of versions 2.1 to 3.2.1; how a site answers is in `api`, what records look like
//!   in `decode`, what may be written in `fields` and `names`.
//! - Ids are `collection:N`, `item:N` and `file:N`; the root is `site:`.
//! - The site cannot change the content, the name or the item of a file, so those are declared as re-uploads, which are
//!   composed above. It cannot take an item out of its collection at all.
//! - Titles need not be unique and may be empty or hold a `/`.

mod api;
mod changes;
mod config;
mod decode;
mod download;
mod fields;
mod id;
mod names;
mod pages;
mod search;
mod store;
mod upload;
mod vocabulary;

#[cfg(test)]
mod tests;

pub use config::OmekaConfig;
pub use store::OmekaStore;
