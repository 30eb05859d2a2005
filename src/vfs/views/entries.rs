//! lookup, getattr, readdir and link where a folder is virtual.

use std::sync::Arc;

use crate::model::{Ino, ItemId, Name};
use crate::store::{ErrorKind, StoreError};

use super::super::vfs::{Inner, Vfs};
use super::super::{Attr, DirEntry, Error, Lookup, Result};
use super::query::decoded;
use super::results::{Target, known_view};
use super::{View, is_virtual};

impl Vfs {
    /// What `name` is in the virtual folder `parent`.
    pub(in crate::vfs) async fn lookup_in_view(&self, parent: Ino, name: &Name) -> Result<Lookup> {
        let view = known_view(self, parent)?;
        if name.as_str().starts_with('.') {
            // What shells and file managers look for everywhere (`.git`, `.directory`) is never asked of the store. A word
            // that begins with a dot is written `%2E`.
            return Ok(Lookup::Absent);
        }
        match &*view {
            View::Searches(folder) => {
                self.query_in(*folder, name.as_str()).await?;
                Ok(self.virtual_child(View::Search(*folder, name.as_str().into())))
            }
            View::Tags => {
                self.supports(self.capabilities().groups.tags.is_yes(), "tags")?;
                Ok(self.virtual_child(View::Tag(decoded(name.as_str())?.into())))
            }
            View::Ids => self.lookup_id(name).await,
            View::Search(..) | View::Tag(_) | View::Recent | View::Collections | View::Collection(_) => {
                let answer = self.view_answer(parent, &view).await?;
                let found = answer.entries.binary_search_by(|(held, _)| held.cmp(name));
                let Ok(at) = found else { return Ok(Lookup::Absent) };
                let attr = self.shown(answer.entries[at].1.clone()).await?;
                Ok(attr.map_or(Lookup::Absent, Lookup::Found))
            }
        }
    }

    /// The virtual folder that `name` stands for in a real one, for the caller who has found nothing else there.
    pub(in crate::vfs) fn view_in(&self, folder: Ino, name: &Name) -> Option<Attr> {
        View::named(folder, name.as_str()).map(|view| self.view_attr(&view))
    }

    fn virtual_child(&self, view: View) -> Lookup {
        Lookup::Found(self.view_attr(&view))
    }

    fn supports(&self, support: bool, what: &str) -> Result<()> {
        if support {
            return Ok(());
        }
        let label = self.capabilities().label;
        Err(Error::Unsupported(format!("{label} has no {what}")))
    }

    async fn shown(&self, target: Target) -> Result<Option<Attr>> {
        self.blocking(move |vfs| vfs.attr_of_target(&target)).await
    }

    async fn lookup_id(&self, name: &Name) -> Result<Lookup> {
        let id = self.item_called(&decoded(name.as_str())?).await?;
        let Some(id) = id else { return Ok(Lookup::Absent) };
        let attr = self.shown(Target::Asset(id)).await?;
        Ok(attr.map_or(Lookup::Absent, Lookup::Found))
    }

    /// The attributes of a virtual folder by its inode.
    pub(in crate::vfs) fn attr_in_view(&self, ino: Ino) -> Result<Attr> {
        Ok(self.view_attr(&*known_view(self, ino)?))
    }

    /// Makes sure that the entries of a virtual folder can be shown.
    pub(in crate::vfs) async fn open_view(&self, ino: Ino) -> Result<()> {
        let view = known_view(self, ino)?;
        let groups = self.capabilities().groups;
        match &*view {
            View::Tags => self.supports(groups.tags.is_yes(), "tags")?,
            View::Recent => self.supports(groups.recent.is_yes(), "list of what is new")?,
            View::Collections => self.supports(groups.collections.is_yes(), "collections")?,
            View::Searches(_) => self.supports(self.capabilities().search.is_yes(), "search")?,
            View::Search(..) | View::Tag(_) | View::Collection(_) | View::Ids => {}
        }
        if view.has_results() {
            self.view_answer(ino, &view).await?;
        }
        Ok(())
    }

    /// The entries of a virtual folder. Those that are reached by name alone have none to show.
    pub(in crate::vfs) async fn view_snapshot(&self, ino: Ino) -> Result<Vec<DirEntry>> {
        let view = known_view(self, ino)?;
        let targets = if view.has_results() {
            self.view_answer(ino, &view).await?.entries.clone()
        } else {
            Vec::new()
        };
        self.blocking(move |vfs| {
            let parent = vfs.parent_of_view(&view);
            let mut entries: Vec<(Name, Attr)> = Name::dots().into_iter().zip([vfs.view_attr(&view), parent]).collect();
            for (name, target) in targets {
                if let Some(attr) = vfs.attr_of_target(&target)? {
                    entries.push((name, attr));
                }
            }
            let numbered = entries.into_iter().zip(1..);
            Ok(numbered
                .map(|((name, attr), offset)| DirEntry { offset, name, attr })
                .collect())
        })
        .await
    }

    /// `ln file .collections/<name>/`: adds the file to the collection, at once.
    pub(in crate::vfs) async fn link_in_view(&self, ino: Ino, to: Ino, name: &Name) -> Result<Attr> {
        let view = known_view(self, to)?;
        let View::Collection(collection) = &*view else {
            return Err(names_are_fixed());
        };
        if is_virtual(ino) {
            return Err(names_are_fixed());
        }
        let (node, places) = self
            .blocking(move |vfs| {
                let node = vfs.node(ino)?;
                let places = vfs.places(&node)?;
                Ok((node, places))
            })
            .await?;
        if node.is_folder() {
            return Err(Error::NotPermitted("a collection holds files only".into()));
        }
        if !places.iter().any(|place| place.name == *name) {
            return Err(Error::NotPermitted(
                "a file has one name: link it under that name into a collection".into(),
            ));
        }
        let Some(entry) = node.entry else {
            let wait = StoreError::new(ErrorKind::NotReady, "add to a collection", name.as_str());
            return Err(wait.because("the store does not have the file yet").into());
        };
        let target = Target::Asset(entry.id.clone());
        let answer = self.view_answer(to, &view).await?;
        if answer.entries.iter().any(|(_, held)| *held == target) {
            return Err(Error::Exists);
        }
        self.store.add_to_collection(collection, &entry).await?;
        self.views.results.add(to, name.clone(), target);
        self.blocking(move |vfs| vfs.attr(ino)).await
    }

    /// The asset that people call `id`: known, or asked for once for each kind of asset that it may be.
    pub(in crate::vfs) async fn item_called(&self, id: &str) -> Result<Option<ItemId>> {
        let ids = self.ids_called(id);
        let asked = ids.clone();
        let known = self
            .blocking(move |vfs| {
                for id in asked {
                    if vfs.catalog.by_id(&id)?.is_some() {
                        return Ok(Some(id));
                    }
                }
                Ok(None)
            })
            .await?;
        if known.is_some() {
            return Ok(known);
        }
        for id in ids {
            if self.ask_for(&id).await? {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }
}

impl Inner {
    /// The ids that somebody may mean: the whole id as it was given, or its key.
    pub(super) fn ids_called(&self, id: &str) -> Vec<ItemId> {
        let mut ids = self.store.ids_called(id);
        if id.contains(':') {
            ids.insert(0, ItemId::new(id));
        }
        ids
    }

    /// `None`: it is gone, or about to be.
    fn attr_of_target(&self, target: &Target) -> Result<Option<Attr>> {
        let id = match target {
            Target::View(view) => return Ok(Some(self.view_attr(view))),
            Target::Asset(id) => id,
        };
        let Some(known) = self.catalog.by_id(id)? else {
            return Ok(None);
        };
        // The kernel has no second name for the root.
        let removed = self.journal.change(known.ino).is_some_and(|change| change.is_removal());
        if removed || known.ino == Ino::ROOT {
            return Ok(None);
        }
        match self.attr(known.ino) {
            Ok(attr) => Ok(Some(attr)),
            Err(Error::Stale) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn parent_of_view(&self, view: &Arc<View>) -> Attr {
        let above = match &**view {
            View::Searches(folder) => return self.attr(*folder).unwrap_or_else(|_| self.view_attr(view)),
            View::Search(folder, _) => View::Searches(*folder),
            View::Tag(_) => View::Tags,
            View::Collection(_) => View::Collections,
            View::Tags | View::Recent | View::Collections | View::Ids => {
                return self.attr(Ino::ROOT).unwrap_or_else(|_| self.view_attr(view));
            }
        };
        self.view_attr(&above)
    }
}

/// What everything that would change a name in a view fails with.
pub(in crate::vfs) fn names_are_fixed() -> Error {
    Error::NotPermitted("names in a view cannot be changed: use the folder that holds the file".into())
}
