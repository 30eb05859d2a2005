//! What waits for the store, one entry a change, with what it costs.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::journal::{Change, Durability, State, Write};
use crate::model::{Ino, Kind};
use crate::store::{MoveFile, RenameFile};

use super::tree::Node;
use super::vfs::{Inner, Vfs};
use super::{Error, Result};

/// One pending change, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueItem {
    /// How commands call it.
    pub id: u64,
    /// Where it is.
    pub path: String,
    /// `pending`, `uploading`, `held`, `parked`, `conflict`, `local`.
    pub state: String,
    /// What is to be done.
    pub what: String,
    /// Bytes to send.
    pub bytes: u64,
    /// Bytes that the store has acknowledged.
    pub sent_bytes: u64,
    /// Failed tries in a row.
    pub attempts: u32,
    /// What the last one said.
    pub error: Option<String>,
    /// When it is tried next, RFC 3339.
    pub next_try: Option<String>,
}

/// How much is left to send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Changes that are on their way.
    pub changes: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many of those the store has acknowledged.
    pub sent_bytes: u64,
}

impl Vfs {
    /// How much is left to send: cheap enough to be asked often.
    pub fn left(&self) -> Left {
        let uploader = self.uploader();
        let mut left = Left::default();
        for change in self.journal.lock().overlay().iter() {
            match change.state {
                State::Pending | State::Ambiguous { .. } if self.has_work(change) => {}
                State::Pending
                | State::Ambiguous { .. }
                | State::Settling { .. }
                | State::Held
                | State::Parked { .. }
                | State::Conflict { .. }
                | State::Local { .. } => continue,
            }
            let bytes = change.staged.as_ref().map_or(0, |staged| staged.size);
            let sent = uploader.as_ref().and_then(|u| u.sent_bytes(change.ino)).unwrap_or(0);
            left.changes += 1;
            left.bytes += bytes;
            left.sent_bytes += sent.min(bytes);
        }
        left
    }

    /// Pending changes at or below a node, or all; oldest first.
    pub async fn queue(&self, below: Option<Ino>) -> Result<Vec<QueueItem>> {
        self.blocking(move |vfs| {
            let mut changes = vfs.changes_below(below)?;
            changes.retain(|c| !matches!(c.state, State::Settling { .. }));
            changes.sort_by_key(|c| c.seq);
            Ok(changes.iter().map(|change| vfs.queue_item(change)).collect())
        })
        .await
    }

    /// Lets held deletions go (all of them, or one). Answers how many.
    pub async fn approve(&self, id: Option<u64>) -> Result<usize> {
        self.decide(Durability::Synced, move |d| {
            let held = |c: &&Arc<Change>| c.state == State::Held && id.is_none_or(|id| c.ino.0 == id);
            let mut changes: Vec<Change> = d.overlay().iter().filter(held).map(|c| Change::clone(c)).collect();
            if id.is_none() {
                // With all that is held go the folders that wait for it: they belong to the same burst.
                let follows = |c: &&Arc<Change>| {
                    let behind = || d.overlay().stuck_behind(c.ino).is_some_and(|b| b.state == State::Held);
                    c.is_removal() && c.state == State::Pending && behind()
                };
                changes.extend(d.overlay().iter().filter(follows).map(|c| Change::clone(c)));
            }
            let approved = changes.len();
            for mut change in changes {
                change.state = State::Pending;
                change.approved = true;
                change.ready_at = d.now;
                d.write(Write::Put(Box::new(change)));
            }
            match (approved, id) {
                (0, Some(id)) => Err(Error::Invalid(format!(
                    "no deletion is held under {id}: see `assetfs queue`"
                ))),
                _ => Ok(approved),
            }
        })
        .await
    }
}

impl Inner {
    fn queue_item(&self, change: &Change) -> QueueItem {
        let node = Node {
            ino: change.ino,
            kind: change.kind,
            id: change.id.clone(),
            entry: None,
            change: Some(std::sync::Arc::new(change.clone())),
        };
        let sent = self.uploader().and_then(|u| u.sent_bytes(change.ino));
        let resent = self.is_resent(change);
        let stored = || {
            let entry = change.id.as_ref().and_then(|id| self.catalog.by_id(id).ok().flatten());
            entry.and_then(|node| node.entry.size)
        };
        let bytes = match &change.staged {
            Some(staged) => staged.size,
            None => stored().filter(|_| resent).unwrap_or(0),
        };
        QueueItem {
            id: change.ino.0,
            path: self.journal_path(change.ino),
            state: self.state_text(&node).to_owned(),
            what: match self.opens.is_being_written(change.ino) {
                true => format!(
                    "{}, once it is closed by the program that writes it",
                    what(change, false)
                ),
                false => what(change, resent && change.staged.is_none()),
            },
            bytes,
            sent_bytes: sent.unwrap_or(0),
            attempts: change.attempts,
            error: change.last_error.clone(),
            next_try: (change.ready_at > self.clock.now()).then(|| change.ready_at.to_rfc3339()),
        }
    }

    /// Whether a change of place means that the file's bytes are sent again.
    fn is_resent(&self, change: &Change) -> bool {
        let Some(placing) = change.placing.as_ref().filter(|p| p.is_moved() && !p.now.is_empty()) else {
            return false;
        };
        let renames = placing.renamed().is_some() && self.capabilities().rename_file != RenameFile::Relocate;
        let moves = placing.left().next().is_some() && self.capabilities().move_file == MoveFile::Reupload;
        change.kind == Kind::File && change.id.is_some() && (renames || moves)
    }
}

/// What is to be done, in words; `resent`: with the bytes that the store has already.
fn what(change: &Change, resent: bool) -> String {
    if change.is_removal() {
        return "delete".into();
    }
    let mut parts = Vec::new();
    match (&change.id, change.kind, &change.staged) {
        (None, Kind::Folder, _) => parts.push("create folder".to_owned()),
        (None, Kind::File, _) if change.copy_of.is_some() => parts.push("copy in the store".to_owned()),
        (None, Kind::File, _) => parts.push("upload".to_owned()),
        (Some(_), _, Some(_)) => parts.push("upload new version".to_owned()),
        (Some(_), _, None) => {}
    }
    if change.id.is_some()
        && let Some(placing) = change.placing.as_ref().filter(|p| p.is_moved())
    {
        let place = match placing.renamed() {
            Some(name) => format!("rename to {name}"),
            None => "move".to_owned(),
        };
        parts.push(match resent {
            true => format!("{place} (sends the whole file again)"),
            false => place,
        });
    }
    if !change.fields.is_empty() {
        let fields: Vec<String> = change.fields.keys().cloned().collect();
        parts.push(format!("set {}", fields.join(", ")));
    }
    if !change.leftovers.is_empty() {
        parts.push("remove the replaced file".to_owned());
    }
    if change.half_done.is_some() && change.resume.is_none() {
        parts.push("clean up after an upload that was cut off".to_owned());
    }
    if parts.is_empty() {
        parts.push("ask what became of an earlier change".to_owned());
    }
    parts.join(", ")
}
