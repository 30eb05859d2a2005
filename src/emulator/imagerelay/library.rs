//! Folders and files with the indexes that listings need. A value: the late view of it is simply a second one.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::records::{File, Folder};

/// Files that are the same at every start and so many that they are made when they are asked for: in folders with
/// consecutive ids, as many in each, with consecutive ids of their own, each later changed than the one before.
#[derive(Clone, Copy)]
pub(super) struct Planted {
    pub(super) first_folder: u64,
    pub(super) folders: u64,
    pub(super) first_file: u64,
    pub(super) files_per_folder: u64,
    /// Makes the n-th, for its id and its folder.
    pub(super) make: fn(n: u64, id: u64, folder: u64) -> File,
}

impl Planted {
    fn ids(&self) -> std::ops::Range<u64> {
        self.first_file..self.first_file + self.folders * self.files_per_folder
    }

    fn file(&self, id: u64) -> Option<Arc<File>> {
        let n = self.ids().contains(&id).then(|| id - self.first_file)?;
        Some(Arc::new((self.make)(
            n,
            id,
            self.first_folder + n / self.files_per_folder,
        )))
    }

    fn files_in(&self, folder: u64) -> std::ops::Range<u64> {
        match folder.checked_sub(self.first_folder) {
            Some(n) if n < self.folders => {
                let first = self.first_file + n * self.files_per_folder;
                first..first + self.files_per_folder
            }
            Some(_) | None => 0..0,
        }
    }
}

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
    planted: Option<Planted>,
    /// Those that are not as they were planted; `None` has gone.
    files: HashMap<u64, Option<Arc<File>>>,
    folders: HashMap<u64, Arc<Folder>>,
    /// What each folder holds; ascending ids.
    inside: HashMap<u64, Inside>,
    by_updated: BTreeSet<(i64, u64)>,
}

#[derive(Clone, Default)]
struct Inside {
    folders: Vec<u64>,
    files: Vec<u64>,
    /// Whether `files` are all of them: else those that were planted there are as well.
    whole: bool,
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

    /// Adds files that are made when they are asked for. Their folders must be empty, or not there yet.
    pub(super) fn plant(&mut self, planted: Planted) {
        self.planted = Some(planted);
    }

    /// A file.
    pub(super) fn file(&self, id: u64) -> Option<Arc<File>> {
        match self.files.get(&id) {
            Some(changed) => changed.clone(),
            None => self.planted.and_then(|planted| planted.file(id)),
        }
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
    pub(super) fn files_in(&self, id: u64) -> Cow<'_, [u64]> {
        let inside = self.inside.get(&id);
        match (inside, self.planted) {
            (Some(inside), Some(_)) if inside.whole => Cow::Borrowed(&inside.files),
            (_, Some(planted)) if !planted.files_in(id).is_empty() => Cow::Owned(planted.files_in(id).collect()),
            (Some(inside), _) => Cow::Borrowed(&inside.files),
            (None, _) => Cow::Borrowed(&[]),
        }
    }

    /// The files changed after `updated_ms`.
    pub(super) fn updated_after(&self, updated_ms: i64) -> impl Iterator<Item = Arc<File>> + '_ {
        let changed = self.by_updated.range((updated_ms.saturating_add(1), 0)..);
        let changed = changed.filter_map(|(_, id)| self.file(*id));
        changed.chain(self.as_planted().skip_while(move |file| file.updated_ms <= updated_ms))
    }

    /// Every file, in no order.
    pub(super) fn all_files(&self) -> impl Iterator<Item = Arc<File>> + '_ {
        self.files.values().flatten().cloned().chain(self.as_planted())
    }

    /// Those that are still as they were planted.
    fn as_planted(&self) -> impl Iterator<Item = Arc<File>> + '_ {
        let ids = self.planted.map_or(0..0, |planted| planted.ids());
        ids.filter(|id| !self.files.contains_key(id))
            .filter_map(|id| self.planted?.file(id))
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
            insert(self.whole(*folder), file.id);
        }
        self.by_updated.insert((file.updated_ms, file.id));
        self.files.insert(file.id, Some(file));
    }

    fn drop_file(&mut self, id: u64) {
        let Some(old) = self.file(id) else { return };
        for folder in &old.folders {
            remove(self.whole(*folder), id);
        }
        self.by_updated.remove(&(old.updated_ms, id));
        if self.planted.is_some_and(|planted| planted.ids().contains(&id)) {
            self.files.insert(id, None);
        } else {
            self.files.remove(&id);
        }
    }

    /// The files of a folder, all of them from here on.
    fn whole(&mut self, folder: u64) -> &mut Vec<u64> {
        let planted = self.planted.map_or(0..0, |planted| planted.files_in(folder));
        let inside = self.inside.entry(folder).or_default();
        if !inside.whole {
            inside.whole = true;
            inside.files.extend(planted);
        }
        &mut inside.files
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
