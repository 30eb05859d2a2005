//! Flextype (0.9.9 to 0.9.12): the uploads folder of a site, through its files and folders API.
//!
//! What shapes this module, in the words of the contract:
//! - An id *is* a path (`file:/a/b.jpg`, `folder:/a`): a rename answers the new id.
//! - The stored name of an upload is a slug that is not told, and an upload overwrites silently. So every upload goes to a
//!   temporary slug name of ours first and is then *moved*, because a move takes names as they are and never overwrites.
//! - Every logical error is 404, and a 404, 405 or 500 may come after the server has acted. So a refused write is settled
//!   by looking.
//! - The collection of files is recursive and keyed by bare name. Direct children are told by their `dirname`, and names
//!   that a nested file may hide are asked for one by one.
//! - The server checks no path. So no path that climbs, and no empty one in a write, ever leaves this module.

mod api;
mod config;
mod decode;
mod fields;
mod listing;
mod path;
mod rules;
mod store;
#[cfg(test)]
mod tests;
mod upload;
mod write;

/// Reads `bytes` as every kind of answer of a site: for a fuzzer, since no answer may make this panic.
#[doc(hidden)]
pub fn read_anything(bytes: &[u8]) {
    let Ok(answer) = serde_json::from_slice::<serde_json::Value>(bytes) else {
        return;
    };
    let Some(data) = decode::data(answer) else { return };
    let objects: Vec<decode::Object> = match data {
        decode::Data::One(object) => vec![object],
        decode::Data::Many(many) => many
            .into_iter()
            .filter_map(|(_, value)| value.as_object().cloned())
            .collect(),
    };
    for object in &objects {
        for (key, value) in object {
            decode::number(Some(value));
            if let Some(text) = value.as_str() {
                decode::below_uploads(text, key);
            }
        }
        if let Some(path) = path::RemotePath::parse("folder/file.txt") {
            decode::file_entry(&path, object, None);
        }
    }
}

pub use config::{FlextypeConfig, Images};
pub use store::FlextypeStore;
