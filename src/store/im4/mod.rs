//! im4 (API 0.25): projects as folders, their categories as folders in them, files in these.
//!
//! What shapes this module, in the words of the contract:
//! - No answer is documented. So everything is decoded loosely, and what is not understood is shown read-only.
//! - Nothing can download *one* file: a category comes as a whole, as the file itself when it has one and as a zip
//!   otherwise. So reading is [`Reads::Bundle`](crate::store::Reads::Bundle), and one request fills the cache for all.
//!   Who goes on to a second category of a project is given the rest of it by one more request, where that is not much.
//! - One request lists every file of a project. Its answer is kept for a few seconds, so that listing all categories of a
//!   project costs that one request.
//! - No rename, no overwrite: both are re-uploads, composed above. Another category is one call.
//! - A file that a product uses silently survives its deletion: that is told as
//!   [`Busy`](crate::store::ErrorKind::Busy).
//! - Category 0, the uncategorised, is the folder `Uncategorized`, which is always there: a project folder itself holds
//!   folders only, so that every file has exactly one place and moving it into a category is an ordinary move.

mod api;
mod bundle;
mod config;
mod decode;
mod download;
mod fields;
mod finding;
mod ids;
mod metadata;
mod projects;
mod spool;
mod store;
#[cfg(test)]
mod tests;
mod together;
mod write;

/// Reads `bytes` as every kind of answer of a server: for a fuzzer, since no answer may make this panic.
#[doc(hidden)]
pub fn read_anything(bytes: &[u8]) {
    let Ok(answer) = serde_json::from_slice::<serde_json::Value>(bytes) else {
        return;
    };
    decode::ids(&answer);
    for name in ["projects", "categories", "files", "project", "file"] {
        let several = decode::items(answer.clone(), name).unwrap_or_default();
        let objects = several.into_iter().filter_map(|value| value.as_object().cloned());
        for object in objects.chain(decode::one(answer.clone(), name)) {
            drop(decode::project(&object));
            drop(decode::category(&object));
            drop(decode::file(object));
        }
    }
}

pub use config::Im4Config;
pub use store::Im4Store;
