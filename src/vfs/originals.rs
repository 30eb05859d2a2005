//! Bytes that a store changed on arrival (a re-encoded picture): what was sent is kept beside, because it is nowhere else.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::cache::Body;
use crate::disk;
use crate::journal::{Change, Durability, Original, Staged, Write};
use crate::model::{Entry, Ino};

use super::opens::{OpenFile, TakenBy};
use super::vfs::{Inner, Vfs};
use super::{Error, Notice, QueueItem, Result};

/// How long the sent bytes are kept.
const KEPT_FOR: Duration = Duration::from_secs(30 * 24 * 3600);
const KEPT_DAYS: u64 = KEPT_FOR.as_secs() / (24 * 3600);
const PIECE_BYTES: usize = 1 << 20;

fn on_disk(error: disk::DiskError) -> Error {
    Error::Invalid(error.to_string())
}

/// The digest of a file's first `bytes`. Blocks.
fn digest_of(file: &std::fs::File, path: &Path, bytes: u64) -> Result<String> {
    let mut hash = xxhash_rust::xxh3::Xxh3::new();
    let mut at = 0;
    while at < bytes {
        let len = PIECE_BYTES.min(usize::try_from(bytes - at).unwrap_or(PIECE_BYTES));
        let piece = disk::read_at_most(file, path, at, len).map_err(on_disk)?;
        if piece.is_empty() {
            break;
        }
        hash.update(&piece);
        at += piece.len() as u64;
    }
    Ok(format!("{:032x}", hash.digest128()))
}

impl Inner {
    fn originals_dir(&self) -> PathBuf {
        self.staging_dir.with_file_name("originals")
    }

    fn original_path(&self, number: u64) -> PathBuf {
        self.originals_dir().join(number.to_string())
    }

    /// What the store did to the bytes of a node's version, when it did something. Blocks.
    pub(super) fn altered_text(&self, entry: &Entry) -> Result<Option<String>> {
        if let Some(text) = entry.altered() {
            return Ok(Some(text.to_owned()));
        }
        let original = self.journal.original_of(&entry.id)?;
        Ok(original.filter(|o| o.version == entry.version).map(|o| o.why))
    }
}

impl Vfs {
    /// Whether `body` holds the very bytes of which the store made `entry`: saving them again would change nothing.
    pub(super) async fn is_original_of(&self, body: &Arc<Body>, entry: &Entry) -> Result<bool> {
        let (item, version) = (entry.id.clone(), entry.version.clone());
        let known = self
            .blocking(move |vfs| Ok(vfs.journal.original_of(&item)?.filter(|o| o.version == version)))
            .await?;
        let Some(known) = known.filter(|known| body.size() == Some(known.bytes)) else {
            return Ok(false);
        };
        let (file, path) = (body.file().await?, body.path().await?);
        self.blocking(move |_| Ok(digest_of(&file, &path, known.bytes)? == known.digest))
            .await
    }

    /// Keeps what was just sent for `entry`, before the journal lets go of it, and tells the user.
    pub(super) async fn keep_original(&self, ino: Ino, body: &Arc<Body>, entry: &Entry, bytes: u64) -> Result<()> {
        if self.is_original_of(body, entry).await? {
            return Ok(());
        }
        let (file, item, version) = (body.file().await?, entry.id.clone(), entry.version.clone());
        let why = entry.altered().map(str::to_owned).unwrap_or_else(|| {
            let stored = entry.size.map_or("other".to_owned(), |size| size.to_string());
            format!("the store changed the file: {bytes} bytes were sent, {stored} are stored")
        });
        let path = self.journal_path(ino);
        let original = self
            .blocking(move |vfs| {
                let number = vfs.journal.allocate()?.0;
                let to = vfs.original_path(number);
                disk::create_private_dir(&vfs.originals_dir()).map_err(on_disk)?;
                let copy = disk::open_private(&to, true).map_err(on_disk)?;
                disk::copy_contents(&file, &copy, &to).map_err(on_disk)?;
                // The body may have grown since it was sent.
                disk::set_len(&copy, &to, bytes).map_err(on_disk)?;
                disk::sync_data(&copy, &to).map_err(on_disk)?;
                disk::sync_dir(&vfs.originals_dir()).map_err(on_disk)?;
                let original = Original {
                    number,
                    item,
                    version,
                    path,
                    bytes,
                    digest: digest_of(&copy, &to, bytes)?,
                    why,
                    at: vfs.clock.now(),
                    held: true,
                };
                let noted = Write::Original(Box::new(original.clone()));
                vfs.journal.write(vec![noted], Durability::Synced).wait_blocking()?;
                Ok(original)
            })
            .await?;
        let Original { number, path, why, .. } = original;
        tracing::warn!(path, number, "{why}; what was sent is kept for {KEPT_DAYS} days");
        let told = format!("{why}; what was sent is kept for {KEPT_DAYS} days: assetfs export {number} FILE");
        self.announce(ino, path, &told);
        Ok(())
    }

    /// The store has other bytes than the ones that were sent. Who reads those goes on with them; everybody else gets the
    /// store's, under another inode while the old one is open.
    pub(super) async fn show_altered(&self, ino: Ino, entry: &Entry, staged: &Staged) {
        let shown = match self.opens.get(ino).filter(|open| !open.is_ghost()) {
            // Its writer goes on with its own bytes, which are the next version then.
            Some(open) if open.is_being_written() => return,
            Some(_) => {
                let entry = entry.clone();
                self.blocking(move |vfs| vfs.leave_to_readers(ino, &entry)).await
            }
            None => {
                self.drop_body(Some(staged.body.clone())).await;
                Ok(ino)
            }
        };
        match shown {
            Ok(ino) => self.notice(Notice::Content { ino }),
            Err(error) => tracing::warn!(
                ino = ino.0,
                "readers of a changed file could not be told apart: {error}"
            ),
        }
    }

    /// A file that was removed here while programs had it open may have come back since: given back by the user, kept by the
    /// store, or made anew by others. Those programs go on with it where it is the same, else it gets another inode, for which
    /// this fails with [`Error::Stale`]. Blocks.
    pub(super) fn take_back(&self, open: &OpenFile) -> Result<()> {
        let Ok(node) = self.node(open.ino) else { return Ok(()) };
        match &node.entry {
            Some(entry) if !self.places(&node)?.is_empty() && !open.attach(entry) => {
                self.leave_to_readers(open.ino, entry)?;
                Err(Error::Stale)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Gives the item another inode than the one whose readers hold its old bytes. Blocks.
    fn leave_to_readers(&self, ino: Ino, entry: &Entry) -> Result<Ino> {
        let Some(open) = self.opens.get(ino) else {
            return Ok(ino);
        };
        let node = self.node(ino)?;
        let places = self.places(&node)?;
        let new = self.journal.allocate()?;
        let ticket = {
            let mut guard = self.journal.lock();
            let change = guard.overlay().get(ino).cloned();
            if change.as_ref().is_some_and(|c| c.claim.or(c.claimed_by).is_some()) {
                // Who this is to be is being decided: the readers' bytes wait for that.
                return Ok(ino);
            }
            open.detach(Some(self.attr_of(&node)), TakenBy::Others);
            let mut writes = vec![Write::Identify(new, entry.id.clone())];
            writes.extend(self.journal.attr(ino).map(|attr| Write::Attr(new, Box::new(attr))));
            if let Some(change) = change {
                // What else is known or wanted of the item goes with it.
                let change = Change {
                    ino: new,
                    ..Change::clone(&change)
                };
                writes.extend([Write::Drop(ino), Write::Put(Box::new(change))]);
            }
            guard.commit(writes, Durability::Written)
        };
        self.catalog.set_ino(&entry.id, new)?;
        ticket.wait_blocking()?;
        for place in places {
            self.notice(Notice::Entry {
                parent: place.parent,
                name: place.name,
            });
        }
        Ok(new)
    }

    /// What is kept of what was sent, oldest first, as the queue would show it.
    pub async fn originals(&self) -> Result<Vec<QueueItem>> {
        let all = self.blocking(|vfs| Ok(vfs.journal.originals()?)).await?;
        let held = all.into_iter().filter(|original| original.held);
        Ok(held
            .map(|original| QueueItem {
                id: original.number,
                path: original.path,
                state: "kept".into(),
                what: format!("until {}", original.at.plus(KEPT_FOR).to_local("%Y-%m-%d")),
                bytes: original.bytes,
                sent_bytes: original.bytes,
                attempts: 0,
                error: Some(original.why),
                next_try: None,
            })
            .collect())
    }

    /// The kept bytes of an original by its number, or of the last one of a node.
    pub(super) async fn original_file(&self, id: u64) -> Result<Option<std::fs::File>> {
        self.blocking(move |vfs| {
            let by_number = vfs.journal.original(id)?;
            let found = match (by_number, vfs.journal.item(Ino(id))?) {
                (Some(original), _) => Some(original),
                (None, Some(item)) => vfs.journal.original_of(&item)?,
                (None, None) => None,
            };
            let Some(original) = found.filter(|original| original.held) else {
                return Ok(None);
            };
            let path = vfs.original_path(original.number);
            disk::open_private(&path, false).map(Some).map_err(on_disk)
        })
        .await
    }

    /// Lets go of what has been kept long enough.
    pub(super) async fn expire_originals(&self) -> Result<()> {
        self.blocking(|vfs| {
            let now = vfs.clock.now();
            let all = vfs.journal.originals()?.into_iter();
            for original in all.filter(|o| o.held && now.since(o.at) >= KEPT_FOR) {
                let path = vfs.original_path(original.number);
                let gone = Write::Original(Box::new(Original {
                    held: false,
                    ..original
                }));
                vfs.journal.write(vec![gone], Durability::Synced).wait_blocking()?;
                disk::remove_if_there(&path).map_err(on_disk)?;
            }
            Ok(())
        })
        .await
    }

    /// After a restart: removes copies that were begun and never noted.
    pub(super) async fn sweep_originals(&self) -> Result<()> {
        self.blocking(|vfs| {
            let Ok(files) = std::fs::read_dir(vfs.originals_dir()) else {
                return Ok(());
            };
            let all = vfs.journal.originals()?.into_iter();
            let held: HashSet<String> = all.filter(|o| o.held).map(|o| o.number.to_string()).collect();
            for file in files.flatten() {
                if !held.contains(file.file_name().to_string_lossy().as_ref()) {
                    disk::remove_if_there(&file.path()).map_err(on_disk)?;
                }
            }
            Ok(())
        })
        .await
    }
}
