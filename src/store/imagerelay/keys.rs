//! Item ids of this store: `file:<id>` and `folder:<id>`.

use super::errors;
use crate::model::ItemId;
use crate::store::Result;

pub(super) const FILE: &str = "file";
pub(super) const FOLDER: &str = "folder";
const COLLECTION: &str = "collection";

pub(super) fn file_id(id: u64) -> ItemId {
    ItemId::of(FILE, id)
}

pub(super) fn folder_id(id: u64) -> ItemId {
    ItemId::of(FOLDER, id)
}

fn key(operation: &'static str, id: &ItemId, namespace: &str) -> Result<u64> {
    let key = id.key_in(namespace).and_then(|key| key.parse().ok());
    key.ok_or_else(|| errors::invalid(operation, id.as_str(), format!("this is no {namespace} of Image Relay")))
}

pub(super) fn collection_id(id: u64) -> ItemId {
    ItemId::of(COLLECTION, id)
}

/// The service's id of a collection.
pub(super) fn collection(operation: &'static str, id: &ItemId) -> Result<u64> {
    key(operation, id, COLLECTION)
}

/// The service's id of a file.
pub(super) fn file(operation: &'static str, id: &ItemId) -> Result<u64> {
    key(operation, id, FILE)
}

/// The service's id of a folder.
pub(super) fn folder(operation: &'static str, id: &ItemId) -> Result<u64> {
    key(operation, id, FOLDER)
}
