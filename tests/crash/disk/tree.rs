//! What a disk has for certain, and what it was only told: a tree that can lose the difference.
//!
//! The rules are those of POSIX, which are harder than what any one file system does. Bytes are certain after a sync of their
//! file, names after a sync of their folder. Of everything else any part may be lost: sectors written one after the other may
//! arrive in any order, a file may grow without its bytes, a name may come without its file's content. A rename is one step.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

pub const ROOT: u64 = 1;
/// What a disk writes as a whole.
const SECTOR: usize = 512;
/// What file systems mostly write as a whole.
const PAGE: usize = 4096;

/// Why something cannot be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    NotFound,
    Exists,
    NotEmpty,
}

#[derive(Clone, Debug, Default)]
pub struct File {
    /// As programs see it.
    pub live: Vec<u8>,
    /// As it was at its last sync.
    safe: Vec<u8>,
    /// Sectors that have changed since.
    changed: BTreeSet<usize>,
    /// How short it has been since.
    shortest: usize,
}

#[derive(Clone, Debug)]
pub enum Node {
    File(File),
    /// The names that programs see.
    Folder(BTreeMap<String, u64>),
}

/// A name in a folder.
type Name = (u64, String);

/// A change of names that no sync has covered yet.
#[derive(Clone, Debug)]
enum Change {
    Add(Name, u64),
    Remove(Name),
    Rename(Name, Name, u64),
}

impl Change {
    fn names(&self) -> Vec<&Name> {
        match self {
            Self::Add(name, _) | Self::Remove(name) => vec![name],
            Self::Rename(from, to, _) => vec![from, to],
        }
    }
}

#[derive(Clone, Debug)]
pub struct Tree {
    pub nodes: HashMap<u64, Node>,
    /// The names that are certain.
    safe: BTreeMap<Name, u64>,
    /// In the order in which they were made.
    unsynced: Vec<Change>,
}

impl Default for Tree {
    fn default() -> Self {
        Self {
            nodes: [(ROOT, Node::Folder(BTreeMap::new()))].into(),
            safe: BTreeMap::new(),
            unsynced: Vec::new(),
        }
    }
}

impl Tree {
    pub fn folder(&self, ino: u64) -> Result<&BTreeMap<String, u64>, Refused> {
        match self.nodes.get(&ino) {
            Some(Node::Folder(names)) => Ok(names),
            Some(Node::File(_)) | None => Err(Refused::NotFound),
        }
    }

    pub fn file(&self, ino: u64) -> Result<&File, Refused> {
        match self.nodes.get(&ino) {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Folder(_)) | None => Err(Refused::NotFound),
        }
    }

    fn file_mut(&mut self, ino: u64) -> Result<&mut File, Refused> {
        match self.nodes.get_mut(&ino) {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Folder(_)) | None => Err(Refused::NotFound),
        }
    }

    pub fn child(&self, parent: u64, name: &str) -> Result<u64, Refused> {
        self.folder(parent)?.get(name).copied().ok_or(Refused::NotFound)
    }

    fn set(&mut self, (parent, name): &Name, to: Option<u64>) {
        if let Some(Node::Folder(names)) = self.nodes.get_mut(parent) {
            match to {
                Some(ino) => names.insert(name.clone(), ino),
                None => names.remove(name),
            };
        }
    }

    pub fn add(&mut self, parent: u64, name: &str, node: Node) -> Result<u64, Refused> {
        if self.folder(parent)?.contains_key(name) {
            return Err(Refused::Exists);
        }
        let ino = self.nodes.keys().max().map_or(ROOT, |last| last + 1);
        self.nodes.insert(ino, node);
        let name = (parent, name.to_owned());
        self.set(&name, Some(ino));
        self.unsynced.push(Change::Add(name, ino));
        Ok(ino)
    }

    pub fn remove(&mut self, parent: u64, name: &str) -> Result<(), Refused> {
        let ino = self.child(parent, name)?;
        if self.folder(ino).is_ok_and(|names| !names.is_empty()) {
            return Err(Refused::NotEmpty);
        }
        let name = (parent, name.to_owned());
        self.set(&name, None);
        self.unsynced.push(Change::Remove(name));
        Ok(())
    }

    pub fn rename(&mut self, from: (u64, &str), to: (u64, &str)) -> Result<(), Refused> {
        let ino = self.child(from.0, from.1)?;
        let (from, to) = ((from.0, from.1.to_owned()), (to.0, to.1.to_owned()));
        self.folder(to.0)?;
        self.set(&from, None);
        self.set(&to, Some(ino));
        self.unsynced.push(Change::Rename(from, to, ino));
        Ok(())
    }

    pub fn write(&mut self, ino: u64, offset: usize, bytes: &[u8]) -> Result<(), Refused> {
        let file = self.file_mut(ino)?;
        let end = offset + bytes.len();
        if file.live.len() < end {
            file.live.resize(end, 0);
        }
        file.live[offset..end].copy_from_slice(bytes);
        file.changed.extend(offset / SECTOR..end.div_ceil(SECTOR));
        Ok(())
    }

    pub fn resize(&mut self, ino: u64, len: usize) -> Result<(), Refused> {
        let file = self.file_mut(ino)?;
        file.live.resize(len, 0);
        file.shortest = file.shortest.min(len);
        Ok(())
    }

    /// The bytes of a file are certain from now on. Its name is not.
    pub fn sync_file(&mut self, ino: u64) -> Result<(), Refused> {
        let file = self.file_mut(ino)?;
        file.safe.truncate(file.shortest);
        file.safe.resize(file.live.len(), 0);
        for sector in std::mem::take(&mut file.changed) {
            let start = (sector * SECTOR).min(file.live.len());
            let end = (start + SECTOR).min(file.live.len());
            file.safe[start..end].copy_from_slice(&file.live[start..end]);
        }
        file.shortest = file.live.len();
        Ok(())
    }

    /// The names in a folder are certain from now on.
    pub fn sync_folder(&mut self, ino: u64) {
        self.settle(|change| change.names().iter().any(|(parent, _)| *parent == ino));
    }

    /// Makes some changes certain, with every earlier one of the same names.
    fn settle(&mut self, is_wanted: impl Fn(&Change) -> bool) {
        let mut names: BTreeSet<Name> = BTreeSet::new();
        let mut settled = Vec::new();
        let mut left = Vec::new();
        for change in std::mem::take(&mut self.unsynced).into_iter().rev() {
            if is_wanted(&change) || change.names().iter().any(|name| names.contains(*name)) {
                names.extend(change.names().into_iter().cloned());
                settled.push(change);
            } else {
                left.push(change);
            }
        }
        self.unsynced = left.into_iter().rev().collect();
        for change in settled.into_iter().rev() {
            match change {
                Change::Add(name, ino) => drop(self.safe.insert(name, ino)),
                Change::Remove(name) => drop(self.safe.remove(&name)),
                Change::Rename(from, to, ino) => {
                    self.safe.remove(&from);
                    self.safe.insert(to, ino);
                }
            }
        }
    }

    /// What is there when the power comes back. The seed decides on everything that is not certain.
    pub fn after_a_loss_of_power(&self, seed: u64) -> Self {
        let mut left = self.clone();
        let mut chance = StdRng::seed_from_u64(seed);
        if chance.random_bool(0.5) {
            // As file systems with one log do: up to a point.
            let kept = chance.random_range(0..=left.unsynced.len());
            left.unsynced.truncate(kept);
            left.settle(|_| true);
        } else {
            let odds = chance.random_range(0.0..1.0);
            let tossed = std::cell::RefCell::new(&mut chance);
            left.settle(|_| tossed.borrow_mut().random_bool(odds));
            left.unsynced.clear();
        }
        let mut inos: Vec<u64> = left.nodes.keys().copied().collect();
        inos.sort_unstable();
        for ino in inos {
            match left.nodes.get_mut(&ino) {
                Some(Node::File(file)) => file.lose(&mut chance),
                Some(Node::Folder(names)) => names.clear(),
                None => {}
            }
        }
        for (name, ino) in left.safe.clone() {
            left.set(&name, Some(ino));
        }
        left
    }
}

impl File {
    fn lose(&mut self, chance: &mut StdRng) {
        if self.changed.is_empty() && self.live.len() == self.safe.len() && self.shortest >= self.live.len() {
            return;
        }
        let bytes = match chance.random_range(0..4) {
            0 => self.safe.clone(),
            1 => self.live.clone(),
            _ => self.torn(chance),
        };
        *self = Self {
            shortest: bytes.len(),
            live: bytes.clone(),
            safe: bytes,
            changed: BTreeSet::new(),
        };
    }

    /// Some of what was written and not synced.
    fn torn(&self, chance: &mut StdRng) -> Vec<u8> {
        let mut bytes = self.safe.clone();
        if chance.random_bool(0.5) {
            bytes.truncate(self.shortest);
        }
        let block = if chance.random_bool(0.5) { SECTOR } else { PAGE };
        let blocks: BTreeSet<usize> = self.changed.iter().map(|sector| sector * SECTOR / block).collect();
        let in_order = chance.random_bool(0.5);
        let first = chance.random_range(0..=blocks.len());
        let odds = chance.random_range(0.0..1.0);
        for (number, at) in blocks.into_iter().enumerate() {
            let is_kept = if in_order {
                number < first
            } else {
                chance.random_bool(odds)
            };
            let start = (at * block).min(self.live.len());
            let end = (start + block).min(self.live.len());
            if is_kept && start < end {
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[start..end].copy_from_slice(&self.live[start..end]);
            }
        }
        if bytes.len() < self.live.len() && chance.random_bool(0.3) {
            // Its length was noted, its bytes were not.
            bytes.resize(self.live.len(), 0);
        }
        bytes
    }
}

#[test]
fn what_was_synced_is_there_and_everything_else_may_not_be() {
    let mut tree = Tree::default();
    let kept = tree.add(ROOT, "kept", Node::File(File::default())).expect("added");
    tree.write(kept, 0, &[1; 9000]).expect("written");
    tree.sync_file(kept).expect("synced");
    tree.sync_folder(ROOT);
    tree.write(kept, 0, &[2; 5000]).expect("written");
    let folder = tree.add(ROOT, "folder", Node::Folder(BTreeMap::new())).expect("added");
    let lost = tree.add(folder, "lost", Node::File(File::default())).expect("added");
    tree.write(lost, 0, &[3; 5000]).expect("written");
    tree.rename((folder, "lost"), (ROOT, "moved")).expect("renamed");
    let (mut seen, mut moved) = (BTreeSet::new(), BTreeSet::new());
    for seed in 0..200 {
        let left = tree.after_a_loss_of_power(seed);
        let bytes = &left
            .file(left.child(ROOT, "kept").expect("its name was synced"))
            .expect("a file")
            .live;
        assert!(bytes.len() == 9000 && bytes[5000..] == [1; 4000], "seed {seed}");
        assert!(bytes[..5000].iter().all(|byte| [1, 2].contains(byte)), "seed {seed}");
        seen.insert(bytes.clone());
        let name = left.child(ROOT, "moved").ok();
        moved.insert((left.child(ROOT, "folder").is_ok(), name.is_some()));
        assert_eq!(
            left.after_a_loss_of_power(seed).file(kept).expect("a file").live,
            *bytes,
            "all is certain now"
        );
    }
    assert!(seen.len() > 10, "{} ways", seen.len());
    assert_eq!(
        moved.len(),
        4,
        "each change of a name comes or does not come: {moved:?}"
    );
    tree.sync_folder(ROOT);
    tree.sync_file(lost).expect("synced");
    let left = tree.after_a_loss_of_power(7);
    let moved = left
        .child(ROOT, "moved")
        .expect("a rename is synced with either folder");
    assert_eq!(left.file(moved).expect("a file").live, [3; 5000]);
}
