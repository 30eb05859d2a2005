//! mkdir, rmdir, unlink, link.

use std::sync::Arc;

use crate::journal::{Change, Durability, Place, Placing, State, Write, settled};
use crate::model::{Ino, Kind, Name};
use crate::store::Support;

use super::notes;
use super::opens::TakenBy;
use super::tree::Node;
use super::vfs::{Decision, Vfs};
use super::views::{is_virtual, missing};
use super::who::process_of;
use super::{Attr, Caller, Error, Result};

impl Vfs {
    /// Makes a folder.
    pub async fn mkdir(&self, caller: Caller, parent: Ino, name: &Name, mode: u16) -> Result<Attr> {
        self.writable()?;
        if name.as_str().starts_with(".Trash") {
            // File managers then offer to delete for good, which is the truth.
            return Err(Error::NotPermitted("there is no trash on this drive".into()));
        }
        if notes::is_reserved(parent, name) {
            return Err(notes::refused());
        }
        let folder = self.blocking(move |vfs| vfs.node(parent)).await?;
        self.ensure_listed(&folder).await?;
        let (name, perm, process) = (name.clone(), mode & 0o7777, process_of(caller.pid));
        let ino = self
            .decide(Durability::Written, move |d| {
                let folder = d.vfs.node_in(d.overlay(), parent)?;
                if !folder.is_folder() {
                    return Err(Error::NotDir);
                }
                if d.vfs.child_in(d.overlay(), &folder, name.as_str())?.is_some() {
                    return Err(Error::Exists);
                }
                d.may_make_folder(&folder)?;
                d.vfs.may_create(d.overlay(), &folder, &name, Kind::Folder)?;
                let ino = d.vfs.journal.allocate()?;
                d.born(ino, Kind::Folder, Place { parent, name }, None, process)?;
                let now = d.now;
                d.attr(ino, |attr| {
                    attr.mode = Some(perm);
                    attr.mtime = Some(now);
                    attr.ctime = Some(now);
                    attr.seen = Some(now);
                });
                Ok(ino)
            })
            .await?;
        self.getattr(ino, None).await
    }

    /// Removes an empty folder.
    pub async fn rmdir(&self, caller: Caller, parent: Ino, name: &Name) -> Result<()> {
        self.writable()?;
        let node = self.known_child(parent, name).await?;
        let node = match node {
            Some(node) => node,
            None => self.child_after_listing(parent, name).await?,
        };
        if !node.is_folder() {
            return Err(Error::NotDir);
        }
        // Whether it is empty must be known, not guessed: the server would delete all that is in it.
        self.ensure_listed(&node).await?;
        let (name, process) = (name.clone(), process_of(caller.pid));
        self.decide(Durability::Written, move |d| {
            let node = d.child(parent, &name)?;
            if !node.is_folder() {
                return Err(Error::NotDir);
            }
            if !d.vfs.is_empty_in(d.overlay(), &node)? {
                return Err(Error::NotEmpty);
            }
            if node.is_published() && !d.vfs.capabilities().remove_folder.is_yes() {
                return Err(Error::NotPermitted(format!(
                    "{} cannot delete folders",
                    d.vfs.capabilities().label
                )));
            }
            d.remove(&node, &Place { parent, name }, process)
        })
        .await
    }

    /// Removes a file's name; the last one takes the asset with it.
    pub async fn unlink(&self, caller: Caller, parent: Ino, name: &Name) -> Result<()> {
        self.writable()?;
        if self.known_child(parent, name).await?.is_none() {
            self.child_after_listing(parent, name).await?;
        }
        let (name, process) = (name.clone(), process_of(caller.pid));
        let staged = self
            .decide(Durability::Written, move |d| {
                let node = d.child(parent, &name)?;
                if node.is_folder() {
                    return Err(Error::IsDir);
                }
                d.remove(&node, &Place { parent, name }, process)?;
                d.orphaned_body(&node)
            })
            .await?;
        self.drop_body(staged).await;
        Ok(())
    }

    /// Gives a file one more name: the same one, in another folder.
    pub async fn link(&self, caller: Caller, ino: Ino, to: Ino, name: &Name) -> Result<Attr> {
        let _ = caller;
        self.writable()?;
        if is_virtual(to) {
            return self.link_in_view(ino, to, name).await;
        }
        let folder = self.blocking(move |vfs| vfs.node(to)).await?;
        self.ensure_listed(&folder).await?;
        let name = name.clone();
        self.decide(Durability::Written, move |d| {
            let (node, folder) = (d.vfs.node_in(d.overlay(), ino)?, d.vfs.node_in(d.overlay(), to)?);
            if node.is_folder() {
                return Err(Error::NotPermitted("folders have one name".into()));
            }
            if !folder.is_folder() {
                return Err(Error::NotDir);
            }
            if d.vfs.child_in(d.overlay(), &folder, name.as_str())?.is_some() {
                return Err(Error::Exists);
            }
            if d.vfs.capabilities().links == Support::No {
                let label = d.vfs.capabilities().label;
                return Err(Error::NotPermitted(format!("in {label} a file is in one folder only")));
            }
            let mut placing = d.vfs.placing(&node)?;
            if placing.now.iter().any(|p| p.parent == to || p.name != name) {
                let rule = "a file has one name, once in each folder: link it under that name into another folder";
                return Err(Error::NotPermitted(rule.into()));
            }
            d.vfs.may_create(d.overlay(), &folder, &name, Kind::File)?;
            placing.now.push(Place { parent: to, name });
            let mut change = node.change_or_new(d);
            change.placing = Some(placing);
            change.ready_at = d.ready_at();
            d.touch_folder(to);
            let now = d.now;
            d.attr(ino, |attr| attr.ctime = Some(now));
            d.put_or_forget(change);
            Ok(())
        })
        .await?;
        self.getattr(ino, None).await
    }

    /// The child of that name once the folder is known: ENOENT is a positive word.
    pub(super) async fn child_after_listing(&self, parent: Ino, name: &Name) -> Result<Node> {
        if notes::is_reserved(parent, name) {
            return Err(notes::refused());
        }
        let folder = self.blocking(move |vfs| vfs.node(parent)).await?;
        self.ensure_listed(&folder).await?;
        self.known_child(parent, name)
            .await?
            .ok_or_else(|| missing(parent, name))
    }

    /// Removes a staged body that nothing needs any more.
    pub(super) async fn drop_body(&self, staged: Option<String>) {
        let Some(id) = staged else { return };
        self.staged.lock().pop(&id);
        // An upload that failed has left it there.
        let is_it = |body: &crate::cache::Body| body.id().is_some_and(|body| body.to_string() == id);
        self.sending.lock().retain(|_, (body, _)| !is_it(body));
        if let Some(id) = crate::cache::BodyId::parse(&id)
            && let Err(error) = self.cache.discard_staged(id).await
        {
            tracing::warn!("the bytes of a removed file could not be removed: {error}");
        }
    }
}

impl Decision<'_, '_> {
    /// The child of that name, or ENOENT.
    pub fn child(&self, parent: Ino, name: &Name) -> Result<Node> {
        let folder = self.vfs.node_in(self.overlay(), parent)?;
        if !folder.is_folder() {
            return Err(Error::NotDir);
        }
        self.vfs
            .child_in(self.overlay(), &folder, name.as_str())?
            .ok_or_else(|| missing(parent, name))
    }

    /// Whether the store has folders at this depth.
    fn may_make_folder(&self, folder: &Node) -> Result<()> {
        use crate::store::CreateFolder;
        let label = self.vfs.capabilities().label;
        // Where the store knows the place, its own word comes later and is more exact.
        let known = self.vfs.place_of(self.overlay(), folder)?.is_some();
        let allowed = match self.vfs.capabilities().create_folder {
            CreateFolder::Anywhere => true,
            CreateFolder::AboveDepth(_) if known => true,
            CreateFolder::AboveDepth(limit) => self.vfs.depth(self.overlay(), folder.ino)? < limit,
            CreateFolder::Nowhere => false,
        };
        if allowed {
            Ok(())
        } else {
            Err(Error::NotPermitted(format!("{label} has no new folders here")))
        }
    }

    /// The staged body that goes with a node's last name, unless somebody has it open: then its last close removes it.
    /// Asked when the node has left, so that a close in between leaves it to one of the two at least.
    pub fn orphaned_body(&self, node: &Node) -> Result<Option<String>> {
        if self.vfs.places(node)?.len() > 1 || self.vfs.opens.get(node.ino).is_some() {
            return Ok(None);
        }
        Ok(node
            .change
            .as_ref()
            .and_then(|c| c.staged.as_ref())
            .map(|s| s.body.clone()))
    }

    /// Takes one name from a node; with the last one it is gone.
    pub fn remove(&mut self, node: &Node, place: &Place, process: u32) -> Result<()> {
        let mut placing = self.vfs.placing(node)?;
        placing.now.retain(|p| p != place);
        let is_last = placing.now.is_empty();
        // The end of a save that moved the old version aside deletes no asset: the new bytes become its next version.
        let is_saved = is_last && self.claimer(node).is_some();
        if node.is_published() && self.vfs.config.no_delete && !is_saved {
            return Err(Error::NotPermitted("nothing may be deleted here (--no-delete)".into()));
        }
        if is_last {
            self.vfs.may_leave(node)?;
        }
        self.touch_folder(place.parent);
        if !is_last {
            let now = self.now;
            self.attr(node.ino, |attr| attr.ctime = Some(now));
        } else if node.is_folder() {
            let attr = self.vfs.attr_of(node);
            self.vfs.left_folders.lock().put(node.ino, Attr { nlink: 0, ..attr });
        } else if let Some(open) = self.vfs.opens.get(node.ino) {
            open.detach(Some(self.vfs.attr_of(node)), TakenBy::Us);
        }
        if !node.is_published() {
            return self.remove_unpublished(node, placing, is_last);
        }
        let mut change = node.change_or_new(self);
        change.placing = Some(placing);
        change.ready_at = self.ready_at();
        if is_last {
            change.staged = None;
            change.fields.clear();
            change.state = State::Pending;
            change.claimed_by = None;
            if let Some(claimer) = self.claimer(node) {
                let version = node.entry.as_ref().map(|e| e.version.clone());
                let taken = crate::journal::take_over(&claimer, &change, &[], version);
                self.take_over(taken, node.ino);
                return Ok(());
            }
            let window = self.vfs.config.quiet;
            let now = self.now;
            self.vfs
                .vacated
                .lock()
                .left(place.clone(), node.ino, process, now, window);
        }
        self.put_or_forget(change);
        Ok(())
    }

    /// A file that is not in the store yet and becomes the next version of this one when it goes.
    fn claimer(&self, node: &Node) -> Option<Arc<Change>> {
        let claimer = self.overlay().get(node.change.as_ref()?.claimed_by?)?;
        claimer.id.is_none().then(|| claimer.clone())
    }

    fn remove_unpublished(&mut self, node: &Node, placing: Placing, is_last: bool) -> Result<()> {
        let change = node.change_or_new(self);
        if let Some(old) = change
            .claim
            .filter(|_| is_last)
            .and_then(|ino| self.overlay().get(ino).cloned())
        {
            // What it would have been a new version of is on its own again.
            self.write(Write::Put(Box::new(Change {
                claimed_by: None,
                ..Change::clone(&old)
            })));
        }
        if is_last && change.unanswered.is_none() && change.half_done.is_none() {
            self.write(Write::Drop(node.ino));
            return Ok(());
        }
        // A request may be under way: the store is asked before this is forgotten, also when it was refused in the end.
        let state = match change.state {
            State::Parked { .. } => State::Pending,
            other => other,
        };
        self.write(Write::Put(Box::new(Change {
            state,
            placing: Some(placing),
            ready_at: self.ready_at(),
            ..change
        })));
        Ok(())
    }

    /// Journals a change, or takes it back when nothing is left of it.
    pub fn put_or_forget(&mut self, change: Change) {
        // What is under way gives it something to take back.
        let is_done = !self.vfs.has_work(&change) && change.state == State::Pending;
        if is_done && change.claimed_by.is_none() {
            let (ino, lag) = (change.ino, self.vfs.capabilities().listing_lag_max);
            // Listings may still show the names that it had before an earlier change.
            self.write(match settled(change, self.now, lag) {
                Some(settling) => Write::Put(Box::new(settling)),
                None => Write::Drop(ino),
            });
        } else {
            self.write(Write::Put(Box::new(change)));
        }
    }
}
