//! An ordinary disk, as plain as can be: what the drive is compared with.

use std::collections::BTreeMap;

/// An ordinary disk.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    /// Path → file, `None` for a folder.
    pub names: BTreeMap<String, Option<u32>>,
    /// Also those without a name: somebody may have them open.
    pub files: BTreeMap<u32, Vec<u8>>,
    last_file: u32,
}

/// Why a disk refuses something; the details do not matter here.
pub struct Refused;
pub type Done = std::result::Result<(), Refused>;

impl Disk {
    pub fn is_folder(&self, path: &str) -> bool {
        path.is_empty() || self.names.get(path) == Some(&None)
    }

    pub fn parent_of(path: &str) -> &str {
        path.rsplit_once('/').map_or("", |(parent, _)| parent)
    }

    pub fn reachable(&self, path: &str) -> Done {
        if self.is_folder(Self::parent_of(path)) {
            Ok(())
        } else {
            Err(Refused)
        }
    }

    pub fn file(&self, path: &str) -> std::result::Result<u32, Refused> {
        self.names.get(path).copied().flatten().ok_or(Refused)
    }

    pub fn below(&self, path: &str) -> Vec<String> {
        let prefix = format!("{path}/");
        self.names.keys().filter(|p| p.starts_with(&prefix)).cloned().collect()
    }

    pub fn write(&mut self, path: &str, bytes: &[u8]) -> Done {
        self.reachable(path)?;
        let id = match self.names.get(path) {
            Some(None) => return Err(Refused),
            Some(Some(id)) => *id,
            None => {
                let id = self.new_file(bytes);
                self.names.insert(path.to_owned(), Some(id));
                id
            }
        };
        self.files.insert(id, bytes.to_vec());
        Ok(())
    }

    fn new_file(&mut self, bytes: &[u8]) -> u32 {
        self.last_file += 1;
        self.files.insert(self.last_file, bytes.to_vec());
        self.last_file
    }

    /// Somebody else's new version is another file under all names of the old one, which its readers keep.
    pub fn overtake(&mut self, path: &str, bytes: &[u8]) -> Done {
        let (old, new) = (self.file(path)?, self.new_file(bytes));
        for node in self.names.values_mut().filter(|node| **node == Some(old)) {
            *node = Some(new);
        }
        Ok(())
    }

    /// Somebody else removes an item: a file with all its names, a folder with all that is in it.
    pub fn remove(&mut self, path: &str) -> Done {
        let node = *self.names.get(path).ok_or(Refused)?;
        let below = format!("{path}/");
        self.names.retain(|at, other| match node {
            Some(file) => *other != Some(file),
            None => at != path && !at.starts_with(&below),
        });
        Ok(())
    }

    /// All files at or below a path are others with the same bytes.
    pub fn make_anew(&mut self, path: &str) {
        let below = format!("{path}/");
        let there = self
            .names
            .iter()
            .filter(|(at, _)| *at == path || at.starts_with(&below));
        let files: Vec<(String, u32)> = there.filter_map(|(at, node)| Some((at.clone(), (*node)?))).collect();
        for (at, old) in files {
            let bytes = self.files[&old].clone();
            let new = self.new_file(&bytes);
            self.names.insert(at, Some(new));
        }
    }

    pub fn mkdir(&mut self, path: &str) -> Done {
        self.reachable(path)?;
        match self.names.insert(path.to_owned(), None) {
            None => Ok(()),
            Some(_) => Err(Refused),
        }
    }

    pub fn alter(&mut self, path: &str, alter: impl FnOnce(&mut Vec<u8>)) -> Done {
        let id = self.file(path)?;
        alter(self.files.get_mut(&id).ok_or(Refused)?);
        Ok(())
    }

    pub fn rename(&mut self, from: &str, to: &str) -> Done {
        let source = *self.names.get(from).ok_or(Refused)?;
        self.reachable(to)?;
        if source.is_none() && (to == from || to.starts_with(&format!("{from}/"))) {
            return if to == from { Ok(()) } else { Err(Refused) };
        }
        match (source, self.names.get(to)) {
            (_, None) => {}
            (Some(a), Some(Some(b))) if a == *b => return Ok(()),
            (Some(_), Some(Some(_))) => {}
            (None, Some(None)) if self.below(to).is_empty() => {}
            _ => return Err(Refused),
        }
        let moved: Vec<_> = self.below(from);
        for path in moved {
            let node = self.names.remove(&path).ok_or(Refused)?;
            self.names.insert(format!("{to}{}", &path[from.len()..]), node);
        }
        self.names.remove(from);
        self.names.insert(to.to_owned(), source);
        Ok(())
    }

    pub fn exchange(&mut self, a: &str, b: &str) -> Done {
        if !self.names.contains_key(a) || !self.names.contains_key(b) {
            return Err(Refused);
        }
        let inside = |x: &str, y: &str| x != y && x.starts_with(&format!("{y}/"));
        if inside(a, b) || inside(b, a) {
            return Err(Refused);
        }
        if a == b {
            return Ok(());
        }
        let mut swapped = BTreeMap::new();
        for (path, node) in &self.names {
            let of = |root: &str| path == root || inside(path, root);
            let to = if of(a) {
                format!("{b}{}", &path[a.len()..])
            } else if of(b) {
                format!("{a}{}", &path[b.len()..])
            } else {
                path.clone()
            };
            swapped.insert(to, *node);
        }
        self.names = swapped;
        Ok(())
    }

    pub fn tree(&self) -> BTreeMap<String, Option<Vec<u8>>> {
        self.names
            .iter()
            .map(|(path, node)| (format!("/{path}"), node.map(|id| self.files[&id].clone())))
            .collect()
    }

    /// What a file holds.
    pub fn bytes(&self, path: &str) -> Option<&[u8]> {
        let file = self.file(path).ok()?;
        self.files.get(&file).map(Vec::as_slice)
    }

    /// Whether a file has several names: those share their last part, here as in the store.
    pub fn is_linked(&self, path: &str) -> bool {
        let links = |id: u32| self.names.values().filter(|n| **n == Some(id)).count();
        self.names.get(path).copied().flatten().is_some_and(|id| links(id) > 1)
    }
}
