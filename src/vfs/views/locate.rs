//! Where an asset is shown: known, or found out by asking for the folders above it.

use crate::model::{Ino, ItemId};
use crate::store::ErrorKind;

use super::super::assets::Found;
use super::super::vfs::{Inner, Vfs};
use super::super::{Error, Result};

/// Folders above one another: what a path can hold.
const DEPTH_MAX: usize = 2048;

impl Vfs {
    /// Asks the store for an asset that is not known, and puts it into the catalog. `false`: there is none.
    pub(super) async fn ask_for(&self, id: &ItemId) -> Result<bool> {
        let at = self.clock.now();
        let entry = match self.store.stat(id).await {
            Ok(entry) => entry,
            Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Invalid) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        self.blocking(move |vfs| Ok(vfs.take_one_found(&entry, at)?.is_some()))
            .await
    }

    /// Every path under which an asset with this id (whole, or its key alone) is shown. One that is not known is asked for,
    /// and so are the folders above it: a request for each.
    pub async fn paths_of_id(&self, id: &str) -> Result<Vec<String>> {
        let known = self.known_paths(id).await?;
        if !known.is_empty() {
            return Ok(known);
        }
        for id in self.ids_called(id) {
            if self.ask_for(&id).await? {
                self.ask_for_parents(id).await?;
                break;
            }
        }
        self.known_paths(id).await
    }

    async fn known_paths(&self, id: &str) -> Result<Vec<String>> {
        let ids = self.ids_called(id);
        self.blocking(move |vfs| {
            let mut paths = Vec::new();
            for id in ids {
                paths.extend(vfs.paths_of(&id)?);
            }
            paths.dedup();
            Ok(paths)
        })
        .await
    }

    /// Makes the folders above an asset known, up to the root of the mount.
    async fn ask_for_parents(&self, id: ItemId) -> Result<()> {
        let mut above = vec![id];
        for _ in 0..DEPTH_MAX {
            let Some(at) = above.pop() else { return Ok(()) };
            let asked = at.clone();
            let parents = self
                .blocking(move |vfs| {
                    let known = vfs.catalog.by_id(&asked)?;
                    Ok(known
                        .filter(|node| node.ino != Ino::ROOT)
                        .map(|node| node.entry.parents.clone()))
                })
                .await?;
            for parent in parents.unwrap_or_default() {
                let asked = parent.clone();
                let known = self.blocking(move |vfs| Ok(vfs.catalog.by_id(&asked)?)).await?;
                if known.is_some() || self.ask_for(&parent).await? {
                    above.push(parent);
                }
            }
        }
        Ok(())
    }
}

impl Inner {
    /// Every path of an item, from the root of the mount and without a slash at the beginning. None for one that lies
    /// outside of the mount, and for one of which a folder above is not known. Blocks.
    pub(super) fn paths_of(&self, id: &ItemId) -> Result<Vec<String>> {
        let Some(known) = self.catalog.by_id(id)? else {
            return Ok(Vec::new());
        };
        if known.ino == Ino::ROOT {
            return Ok(vec![String::new()]);
        }
        let node = self.node(known.ino)?;
        let mut paths = Vec::new();
        for place in self.places(&node)? {
            if let Some(folder) = self.path_from_root(place.parent)? {
                paths.push(format!("{folder}/{}", place.name).trim_start_matches('/').to_owned());
            }
        }
        Ok(paths)
    }

    fn path_from_root(&self, ino: Ino) -> Result<Option<String>> {
        let (mut names, mut at) = (Vec::new(), ino);
        while at != Ino::ROOT && names.len() < DEPTH_MAX {
            let node = match self.node(at) {
                Ok(node) => node,
                Err(Error::Stale) => return Ok(None),
                Err(error) => return Err(error),
            };
            let Some(place) = self.places(&node)?.into_iter().next() else {
                return Ok(None);
            };
            names.push(place.name.to_string());
            at = place.parent;
        }
        names.reverse();
        Ok(Some(names.join("/")))
    }

    /// What was found, for people: by its path, or where that is not known by its id, under which it is always there.
    pub(super) fn found(&self, id: &ItemId, name: &str) -> Result<Found> {
        let path = self.paths_of(id)?.into_iter().next();
        Ok(Found {
            path: path.unwrap_or_else(|| path_by_id(id)),
            id: id.as_str().to_owned(),
            name: name.to_owned(),
        })
    }
}

/// The path that needs no folder to be known.
fn path_by_id(id: &ItemId) -> String {
    format!(".id/{}", id.as_str().replace('%', "%25").replace('/', "%2F"))
}

impl Vfs {
    /// What the store finds in the folder at `path` and below it, for a query as `.search` takes it.
    pub async fn search(&self, path: &str, query: &str) -> Result<Vec<Found>> {
        self.used();
        let folder = self.node_at(path).await?;
        let at = self.clock.now();
        let found = self.search_in(folder.ino, query).await?;
        let named: Vec<(ItemId, String)> = found
            .iter()
            .map(|entry| (entry.id.clone(), entry.name.clone()))
            .collect();
        let shown = self.take_found(found, at).await?;
        self.blocking(move |vfs| {
            let names: std::collections::HashMap<ItemId, String> = named.into_iter().collect();
            let mut all = Vec::with_capacity(shown.len());
            for (local, id) in shown {
                let name = names.get(&id).cloned().unwrap_or_else(|| local.to_string());
                all.push(vfs.found(&id, &name)?);
            }
            Ok(all)
        })
        .await
    }
}
