//! The archive behind the API's back: for tests that look at it or change it as another user would.

use std::io;
use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;

use super::elements::{self, TITLE};
use super::server::Site;
use super::sniff;
use super::state::{File, Record, Text, USERS};

/// One record, with where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Node {
    /// `collection`, `item` or `file`.
    pub kind: &'static str,
    /// Its id.
    pub id: u64,
    /// The titles on the way to it and its own, joined by ` > `.
    pub path: String,
    /// The id of its collection or item.
    pub parent: Option<u64>,
    /// Bytes, of files.
    pub size: Option<u64>,
    /// MD5 in hex, of files.
    pub md5: Option<String>,
}

/// Access to the archive of a running server.
#[derive(Clone)]
pub struct Handle {
    site: Arc<Site>,
}

impl Handle {
    pub(super) fn new(site: Arc<Site>) -> Self {
        Self { site }
    }

    /// Every record: collections with their items and files, then uncollected items.
    pub fn tree(&self) -> Vec<Node> {
        let archive = self.site.archive.lock();
        let mut nodes = Vec::new();
        let items_of = |collection: Option<u64>, path: &str, nodes: &mut Vec<Node>| {
            for item in archive.items.values().filter(|item| item.collection == collection) {
                let id = item.record.id;
                let path = joined(path, title(&item.record));
                nodes.push(folder("item", id, &path, collection));
                for file in archive.files.values().filter(|file| file.item == id) {
                    nodes.push(Node {
                        size: Some(file.size_bytes),
                        md5: Some(file.md5.clone()),
                        ..folder(
                            "file",
                            file.record.id,
                            &joined(&path, &file.original_filename),
                            Some(id),
                        )
                    });
                }
            }
        };
        for collection in archive.collections.values() {
            let path = title(collection);
            nodes.push(folder("collection", collection.id, path, None));
            items_of(Some(collection.id), path, &mut nodes);
        }
        items_of(None, "", &mut nodes);
        nodes
    }

    /// Adds a public collection.
    pub fn add_collection(&self, title: &str) -> u64 {
        let now = self.site.now();
        let mut archive = self.site.archive.lock();
        let id = archive.add_collection(USERS[0].id, now);
        let row = archive.next_text_row();
        if let Some(collection) = archive.collections.get_mut(&id) {
            collection.public = true;
            collection.texts.extend(title_text(row, title));
        }
        id
    }

    /// Adds a public item, to a collection or to none.
    pub fn add_item(&self, collection: Option<u64>, title: &str) -> u64 {
        let now = self.site.now();
        let mut archive = self.site.archive.lock();
        let id = archive.add_item(USERS[0].id, now);
        let row = archive.next_text_row();
        if let Some(item) = archive.items.get_mut(&id) {
            item.record.public = true;
            item.collection = collection;
            item.record.texts.extend(title_text(row, title));
        }
        id
    }

    /// Adds a file to an item, whatever it is called and holds.
    ///
    /// # Errors
    /// When the data directory cannot be written.
    pub async fn add_file(&self, item: u64, name: &str, bytes: &[u8]) -> io::Result<u64> {
        let arrived = self.site.vault.take(bytes).await?;
        let found = sniff::sniff(&arrived.head);
        let (size_bytes, md5) = (arrived.size_bytes, arrived.md5.clone());
        let stored_name = self.site.stored_name(name);
        self.site.vault.keep(arrived, &stored_name)?;
        let now = self.site.now();
        Ok(self.site.archive.lock().add_file(USERS[0].id, now, |record| File {
            record,
            item,
            order: None,
            original_filename: name.to_owned(),
            stored_name,
            size_bytes,
            md5,
            mime: found.mime.to_owned(),
            type_os: found.type_os,
            metadata: found.metadata,
            has_derivatives: found.has_derivatives,
        }))
    }

    /// The texts of an item, in their order: the element's name, the words, and whether they count as HTML.
    pub fn item_texts(&self, item: u64) -> Vec<(&'static str, String, bool)> {
        let archive = self.site.archive.lock();
        let texts = archive.items.get(&item).map(|item| item.record.texts.as_slice());
        texts
            .unwrap_or_default()
            .iter()
            .filter_map(|text| {
                let element = elements::ELEMENTS.iter().find(|known| known.id == text.element)?;
                Some((element.name, text.text.clone(), text.html))
            })
            .collect()
    }

    /// Adds one text to an item. The element goes by its name within any set.
    pub fn add_item_text(&self, item: u64, element: &str, text: &str, html: bool) {
        let now = self.site.now();
        let mut archive = self.site.archive.lock();
        let row = archive.next_text_row();
        let known = elements::ELEMENTS.iter().find(|known| known.name == element);
        if let (Some(item), Some(known)) = (archive.items.get_mut(&item), known) {
            item.record.modified = now;
            item.record.texts.push(Text {
                row,
                element: known.id,
                html,
                text: text.to_owned(),
            });
        }
    }

    /// Replaces the first title of an item.
    pub fn rename_item(&self, item: u64, title: &str) {
        let now = self.site.now();
        let mut archive = self.site.archive.lock();
        let row = archive.next_text_row();
        if let Some(item) = archive.items.get_mut(&item) {
            item.record.modified = now;
            match item.record.texts.iter_mut().find(|text| text.element == TITLE) {
                Some(text) => text.text = title.to_owned(),
                None => item.record.texts.extend(title_text(row, title)),
            }
        }
    }

    /// Tags an item.
    pub fn tag_item(&self, item: u64, tag: &str) {
        let mut archive = self.site.archive.lock();
        let tag = archive.tag(tag);
        if let Some(item) = archive.items.get_mut(&item)
            && !item.tags.contains(&tag)
        {
            item.tags.push(tag);
        }
    }

    /// Gives an item a type by its name.
    pub fn set_item_type(&self, item: u64, name: &str) {
        let kind = elements::ITEM_TYPES.iter().find(|kind| kind.name == name);
        if let (Some(item), Some(kind)) = (self.site.archive.lock().items.get_mut(&item), kind) {
            item.item_type = Some(kind.id);
        }
    }

    /// Publishes or hides an item.
    pub fn set_item_public(&self, item: u64, public: bool) {
        if let Some(item) = self.site.archive.lock().items.get_mut(&item) {
            item.record.public = public;
        }
    }

    /// Deletes an item with its files.
    pub fn remove_item(&self, item: u64) {
        let originals = self.site.archive.lock().remove_item(item).unwrap_or_default();
        for name in originals {
            self.site.vault.remove(&name);
        }
    }

    /// Deletes a file.
    pub fn remove_file(&self, file: u64) {
        let file = self.site.archive.lock().files.remove(&file);
        if let Some(file) = file {
            self.site.vault.remove(&file.stored_name);
        }
    }

    /// Loses the bytes of a file and keeps its record, as a disk or an administrator can.
    pub fn lose_original(&self, file: u64) {
        let name = self
            .site
            .archive
            .lock()
            .files
            .get(&file)
            .map(|file| file.stored_name.clone());
        if let Some(name) = name {
            self.site.vault.remove(&name);
        }
    }

    /// Puts other bytes in place of a file's and leaves its record alone, as a failing disk does.
    ///
    /// # Errors
    /// When the data directory cannot be written.
    pub async fn damage_original(&self, file: u64, bytes: &[u8]) -> io::Result<()> {
        let name = self
            .site
            .archive
            .lock()
            .files
            .get(&file)
            .map(|file| file.stored_name.clone());
        let arrived = self.site.vault.take(bytes).await?;
        match name {
            Some(name) => self.site.vault.keep(arrived, &name),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// How many uploads are being received.
    #[cfg(test)]
    pub(super) fn uploads_under_way(&self) -> usize {
        self.site.archive.lock().uploading.len()
    }

    /// The bytes of a file's original, if they are there.
    pub fn original(&self, file: u64) -> Option<bytes::Bytes> {
        let name = self.site.archive.lock().files.get(&file)?.stored_name.clone();
        let source = self.site.vault.source(&name)?;
        source.read(0..source.bytes()).ok()
    }
}

fn title(record: &Record) -> &str {
    record.text(TITLE).unwrap_or_default()
}

fn title_text(row: u64, title: &str) -> Option<Text> {
    (!title.is_empty()).then(|| Text {
        row,
        element: TITLE,
        html: false,
        text: title.to_owned(),
    })
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path} > {name}")
    }
}

fn folder(kind: &'static str, id: u64, path: &str, parent: Option<u64>) -> Node {
    Node {
        kind,
        id,
        path: path.to_owned(),
        parent,
        size: None,
        md5: None,
    }
}

/// `GET /_emulator/tree`: what [`Handle::tree`] tells.
pub(super) fn control(handle: Handle) -> Router {
    Router::new().route("/_emulator/tree", get(tree)).with_state(handle)
}

async fn tree(State(handle): State<Handle>) -> Json<Vec<Node>> {
    Json(handle.tree())
}
