//! Paths below the mount, for people: commands, messages, attributes.

use crate::journal::Place;
use crate::model::{Ino, Name};

use super::tree::Node;
use super::vfs::{Inner, Vfs};
use super::views::{View, is_virtual};
use super::{Caller, Error, Lookup, Result};

impl Vfs {
    /// The node at a path below the root of the mount (`/Press/hero.jpg`), read from the store where it is not known.
    pub(super) async fn node_at(&self, path: &str) -> Result<Node> {
        let mut node = self.blocking(|vfs| vfs.node(Ino::ROOT)).await?;
        let mut parts = path.split('/').filter(|part| !part.is_empty() && *part != ".");
        while let Some(part) = parts.next() {
            let name = Name::new(part)?;
            if View::named(node.ino, part).is_some()
                && let Lookup::Found(attr) = self.lookup(Caller::default(), node.ino, &name).await?
                && is_virtual(attr.ino)
            {
                node = self.leave_views(attr.ino, &mut parts).await?;
                continue;
            }
            node = match self.known_child(node.ino, &name).await? {
                Some(child) => child,
                None => self.child_after_listing(node.ino, &name).await?,
            };
        }
        Ok(node)
    }

    /// The asset that a path leads to through virtual folders.
    async fn leave_views(&self, view: Ino, parts: &mut (impl Iterator<Item = &str> + Send)) -> Result<Node> {
        let mut at = view;
        for part in parts {
            let Lookup::Found(attr) = self.lookup(Caller::default(), at, &Name::new(part)?).await? else {
                return Err(Error::NotFound);
            };
            if !is_virtual(attr.ino) {
                return self.blocking(move |vfs| vfs.node(attr.ino)).await;
            }
            at = attr.ino;
        }
        Err(Error::Invalid("a view is no asset: name one in it".into()))
    }

    /// The folder and the last name of a path.
    pub(super) async fn parent_at(&self, path: &str) -> Result<(Node, Name)> {
        let (folder, name) = path.trim_end_matches('/').rsplit_once('/').unwrap_or(("", path));
        let name = Name::new(name)?;
        let folder = self.node_at(folder).await?;
        if folder.is_folder() {
            Ok((folder, name))
        } else {
            Err(Error::NotDir)
        }
    }
}

impl Inner {
    /// Where a node is shown, from the root of the mount. Blocks.
    pub(super) fn path_of(&self, ino: Ino) -> Result<String> {
        let mut names = Vec::new();
        let mut at = ino;
        while at != Ino::ROOT && names.len() < 2048 {
            let node = self.node(at)?;
            let Some(place) = self.places(&node)?.into_iter().next() else {
                break;
            };
            names.push(place.name);
            at = place.parent;
        }
        names.reverse();
        let names: Vec<&str> = names.iter().map(Name::as_str).collect();
        Ok(format!("/{}", names.join("/")))
    }

    /// Where a node is shown, or was last: also for one that is removed, with all the folders above it. Blocks.
    pub(super) fn journal_path(&self, ino: Ino) -> String {
        let mut names = Vec::new();
        let mut at = ino;
        while at != Ino::ROOT && names.len() < 2048 {
            let Some(place) = self.last_place(at) else { break };
            names.push(place.name);
            at = place.parent;
        }
        names.reverse();
        let names: Vec<&str> = names.iter().map(Name::as_str).collect();
        format!("/{}", names.join("/"))
    }

    fn last_place(&self, ino: Ino) -> Option<Place> {
        let shown = self.node(ino).and_then(|node| self.places(&node)).unwrap_or_default();
        shown.into_iter().next().or_else(|| {
            let change = self.journal.change(ino)?;
            change.placing.as_ref()?.base.first().cloned()
        })
    }
}
