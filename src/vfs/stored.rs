//! The store has taken what was sent or asked for: open files and what still waits here go on with that.

use std::sync::Arc;

use crate::cache::Body;
use crate::journal::Change;
use crate::model::{Entry, Ino, ItemId};

use super::Result;
use super::opens::{OpenFile, Writing};
use super::tree::Node;
use super::vfs::Vfs;

impl Vfs {
    /// The store may have confirmed our own bytes, or have made a copy, while that was opened: it is of the version that the
    /// store told.
    pub(super) async fn follow_own_upload(&self, file: &Arc<OpenFile>, node: &Node) -> Result<()> {
        let may_be_sent = |c: &Arc<Change>| c.staged.is_some() || c.copy_of.is_some();
        if !node.change.as_ref().is_some_and(may_be_sent) || !self.has_moved_on(node) {
            return Ok(());
        }
        let ino = node.ino;
        let now = self.blocking(move |vfs| Ok(vfs.node(ino).ok())).await?;
        if let Some(entry) = now.and_then(|node| node.entry) {
            self.is_stored_as(file, &entry);
        }
        Ok(())
    }

    /// An open file is this version of the store's from now on; what was to be copied has been.
    pub(super) fn is_stored_as(&self, file: &OpenFile, entry: &Entry) {
        file.set_version(Some(entry.version.clone()));
        if file.copying().is_some() {
            file.set_copying(None);
            file.set_body(self.cache.body(entry));
        }
    }

    /// The bytes that wait to be sent for a node, if they are at hand: else nothing more is known of them than the journal has.
    pub(super) fn waiting_body(&self, ino: Ino) -> Option<Arc<Body>> {
        let change = self.journal.change(ino)?;
        let staged = change.staged.as_ref()?;
        self.staged.lock().peek(&staged.body).cloned()
    }

    /// What waits to be sent for a node is based on this version as it is called now.
    pub(super) fn rebase_staged(&self, ino: Ino, old: &Entry, new: &Entry) {
        if let Some(body) = self.waiting_body(ino) {
            body.rebase(old, new);
        }
    }

    /// The same of all that waits to be sent to files below a folder, where that was moved and ids are paths.
    pub(super) fn rekey_staged(&self, old: &ItemId, new: &ItemId) {
        let waiting: Vec<Ino> = {
            let guard = self.journal.lock();
            let staged = guard.overlay().iter().filter(|change| change.staged.is_some());
            staged.map(|change| change.ino).collect()
        };
        for body in waiting.into_iter().filter_map(|ino| self.waiting_body(ino)) {
            body.rekey(old, new);
        }
    }

    /// Our own bytes could not become those of the version that was made of them: who has the file open reads the store's from
    /// here on. What has been written to since, or is about to be, stays.
    pub(super) async fn show_stored(&self, ino: Ino, body: &Arc<Body>, entry: &Entry, generation: u64) {
        let id = body.name();
        // Who opens it from here on reads those anyway.
        self.sending.lock().remove(&ino);
        self.staged.lock().pop(&id);
        let opened = || self.opens.get(ino).filter(|open| Arc::ptr_eq(&open.body(), body));
        let open = opened();
        // Nobody begins to write meanwhile.
        let _turn = match &open {
            Some(open) => Some(open.turn.lock().await),
            None => None,
        };
        let is_next = |change: Arc<Change>| change.staged.as_ref().is_some_and(|staged| staged.body == id);
        let is_written = |open: &Arc<OpenFile>| open.writing() == Writing::Dirty || open.is_ghost();
        if open.as_ref().is_some_and(is_written) || self.journal.change(ino).is_some_and(is_next) {
            self.keep_staged(&id, body);
            return;
        }
        match self.cache.discard_as_of(body, generation).await {
            Ok(true) => {
                if let Some(open) = opened() {
                    open.set_body(self.cache.body(entry));
                }
            }
            Ok(false) => self.keep_staged(&id, body),
            Err(error) => {
                self.keep_staged(&id, body);
                tracing::warn!(
                    ino = ino.0,
                    "the bytes of an uploaded file could not be removed: {error}"
                );
            }
        }
    }
}
