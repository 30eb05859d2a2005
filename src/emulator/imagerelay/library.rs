//! Folders and files with the indexes that listings need. A value: the late view of it is simply a second one.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::records::{File, Folder};

/// One change, whole: what is put replaces what was there.
#[derive(Clone, Debug)]
pub(super) enum Change {
    PutFile(Arc<File>),
    DropFile(u64),
    PutFolder(Arc<Folder>),
    DropFolder(u64),
}

/// A tree of folders with files that may be in several of them.
#[derive(Clone, Default)]
pub(super) struct Library {
    files: HashMap<u64, Arc<File>>,
    folders: HashMap<u64, Arc<Folder>>,
    /// What each folder holds; ascending ids.
    inside: HashMap<u64, Inside>,
    by_updated: BTreeSet<(i64, u64)>,
}

#[derive(Clone, Default)]
struct Inside {
    folders: Vec<u64>,
    files: Vec<u64>,
}

impl Library {
    /// Applies one change.
    pub(super) fn apply(&mut self, change: Change) {
        match change {
            Change::PutFile(file) => self.put_file(file),
            Change::DropFile(id) => self.drop_file(id),
            Change::PutFolder(folder) => self.put_folder(folder),
            Change::DropFolder(id) => self.drop_folder(id),
        }
    }

    /// A file.
    pub(super) fn file(&self, id: u64) -> Option<&Arc<File>> {
        self.files.get(&id)
    }

    /// A folder.
    pub(super) fn folder(&self, id: u64) -> Option<&Arc<Folder>> {
        self.folders.get(&id)
    }

    /// The ids of the folders directly inside `id`, ascending.
    pub(super) fn folders_in(&self, id: u64) -> &[u64] {
        self.inside.get(&id).map_or(&[], |inside| &inside.folders)
    }

    /// The ids of the files directly inside `id`, ascending.
    pub(super) fn files_in(&self, id: u64) -> &[u64] {
        self.inside.get(&id).map_or(&[], |inside| &inside.files)
    }

    /// The files changed after `updated_ms`.
    pub(super) fn updated_after(&self, updated_ms: i64) -> impl Iterator<Item = &Arc<File>> {
        self.by_updated
            .range((updated_ms.saturating_add(1), 0)..)
            .filter_map(|(_, id)| self.files.get(id))
    }

    /// Every file, in no order.
    pub(super) fn all_files(&self) -> impl Iterator<Item = &Arc<File>> {
        self.files.values()
    }

    /// Whether `id` is `ancestor` or lies below it.
    pub(super) fn is_within(&self, id: u64, ancestor: u64) -> bool {
        let mut at = Some(id);
        // A tree has no loops, and a folder is never moved below itself.
        while let Some(here) = at {
            if here == ancestor {
                return true;
            }
            at = self.folders.get(&here).and_then(|folder| folder.parent);
        }
        false
    }

    /// `id` and all folders below it, parents first.
    pub(super) fn subtree(&self, id: u64) -> Vec<u64> {
        let mut found = vec![id];
        let mut at = 0;
        while at < found.len() {
            found.extend_from_slice(self.folders_in(found[at]));
            at += 1;
        }
        found
    }

    /// The names from below the root down to `id`, joined by `/`, with a leading `/`; empty for the root.
    pub(super) fn path(&self, id: u64) -> String {
        let mut names = Vec::new();
        let mut at = self.folders.get(&id);
        while let Some(folder) = at {
            let Some(parent) = folder.parent else { break };
            names.push(&*folder.name);
            at = self.folders.get(&parent);
        }
        names.iter().rev().flat_map(|name| ["/", *name]).collect()
    }

    fn put_file(&mut self, file: Arc<File>) {
        self.drop_file(file.id);
        for folder in &file.folders {
            insert(&mut self.inside.entry(*folder).or_default().files, file.id);
        }
        self.by_updated.insert((file.updated_ms, file.id));
        self.files.insert(file.id, file);
    }

    fn drop_file(&mut self, id: u64) {
        let Some(old) = self.files.remove(&id) else { return };
        for folder in &old.folders {
            if let Some(inside) = self.inside.get_mut(folder) {
                remove(&mut inside.files, id);
            }
        }
        self.by_updated.remove(&(old.updated_ms, id));
    }

    fn put_folder(&mut self, folder: Arc<Folder>) {
        self.unlink_folder(folder.id);
        if let Some(parent) = folder.parent {
            insert(&mut self.inside.entry(parent).or_default().folders, folder.id);
        }
        self.folders.insert(folder.id, folder);
    }

    fn drop_folder(&mut self, id: u64) {
        self.unlink_folder(id);
        self.inside.remove(&id);
    }

    fn unlink_folder(&mut self, id: u64) {
        let parent = self.folders.remove(&id).and_then(|folder| folder.parent);
        if let Some(inside) = parent.and_then(|parent| self.inside.get_mut(&parent)) {
            remove(&mut inside.folders, id);
        }
    }
}

fn insert(ids: &mut Vec<u64>, id: u64) {
    if let Err(at) = ids.binary_search(&id) {
        ids.insert(at, id);
    }
}

fn remove(ids: &mut Vec<u64>, id: u64) {
    if let Ok(at) = ids.binary_search(&id) {
        ids.remove(at);
    }
}
