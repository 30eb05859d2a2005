//! Omeka Classic: collections and items as folders, files within items, Dublin Core as fields.
//!
//! - [`OmekaStore`] speaks the REST API of versions 2.1 to 3.2.1; how a site answers is in `api`, what records look like
//!   in `decode`, what may be written in `fields` and `names`.
//! - Ids are `collection:N`, `item:N` and `file:N`; the root is `site:`.
//! - The site cannot change the content, the name or the item of a file, so those are declared as re-uploads, which are
//!   composed above. It cannot take an item out of its collection at all.
//! - Titles need not be unique and may be empty or hold a `/`.

mod ahead;
mod api;
mod changes;
mod config;
mod decode;
mod download;
mod fields;
mod finding;
mod id;
mod names;
mod pages;
mod search;
mod store;
mod upload;
mod vocabulary;

#[cfg(test)]
mod tests;

/// Reads `bytes` as every kind of answer of a site: for a fuzzer, since no answer may make this panic.
#[doc(hidden)]
pub fn read_anything(bytes: &[u8]) {
    let (Ok(site), Ok(answer)) = (
        crate::http::Url::parse("https://archive.example.org/omeka"),
        serde_json::from_slice::<serde_json::Value>(bytes),
    ) else {
        return;
    };
    vocabulary::Words::read(&answer, &answer, &answer);
    let records = answer.as_array().cloned().unwrap_or_else(|| vec![answer]);
    for record in &records {
        for resource in [id::Resource::Collections, id::Resource::Items, id::Resource::Files] {
            if let Ok(entry) = decode::entry(resource, record, &site) {
                let changes = entry
                    .fields
                    .into_iter()
                    .map(|(name, field)| (name, field.values))
                    .collect();
                let words = vocabulary::Words::default();
                drop(fields::body(record, &changes, &words));
            }
        }
        let asked = record.as_object().cloned().unwrap_or_default();
        drop(fields::took(&asked, record));
    }
}

pub use config::OmekaConfig;
pub use store::OmekaStore;
