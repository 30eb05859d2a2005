//! Files that are kept on this machine for good.

use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::cache::Body;
use crate::http::{Class, Context, with_context};
use crate::model::{Ino, Kind, Name};

use super::Result;
use super::follow::Follow;
use super::tree::Node;
use super::vfs::{Inner, Vfs};

/// Files that are fetched at a time.
pub(super) const FETCHES_MAX: usize = 4;
/// How long one file may take; one that makes no progress fails long before.
const FETCH_DEADLINE: Duration = Duration::from_secs(6 * 3600);
/// Failures that are told in words; all are counted.
const PROBLEMS_MAX: usize = 100;

/// What became of a pin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinReport {
    /// Files that are here now and stay (or no longer must).
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Files that could not be had.
    pub failed: usize,
    /// Why not.
    pub problems: Vec<String>,
    /// Pinned paths that are there no more, and are pinned no longer.
    #[serde(default)]
    pub gone: usize,
}

/// How far a pin is, for who looks on while it works.
#[derive(Debug, Default)]
pub struct PinProgress(Mutex<Progress>);

#[derive(Debug, Default)]
struct Progress {
    files_left: u64,
    /// Of all files that were found so far.
    bytes: u64,
    /// Of those that are here as a whole.
    here_bytes: u64,
    /// At most [`FETCHES_MAX`].
    under_way: Vec<Arc<Body>>,
}

impl PinProgress {
    /// How many files are left of those that were found, how many bytes all of them have, and how many of those are here.
    pub fn told(&self) -> (u64, u64, u64) {
        let progress = self.0.lock();
        let under_way: u64 = progress.under_way.iter().map(|body| body.present_bytes()).sum();
        let here = progress.here_bytes + under_way;
        (progress.files_left, progress.bytes.max(here), here)
    }

    fn found(&self, file: &Node) {
        let mut progress = self.0.lock();
        progress.files_left += 1;
        progress.bytes += size_told(file);
    }

    fn begun(&self, body: &Arc<Body>) {
        self.0.lock().under_way.push(body.clone());
    }

    fn ended(&self, body: &Arc<Body>) {
        self.0.lock().under_way.retain(|other| !Arc::ptr_eq(other, body));
    }

    fn done(&self, file: &Node, outcome: &Result<u64>) {
        let mut progress = self.0.lock();
        progress.files_left -= 1;
        match outcome {
            Ok(_) => progress.here_bytes += size_told(file),
            // It does not come: nobody waits for it any longer.
            Err(_) => progress.bytes -= size_told(file),
        }
    }
}

fn size_told(file: &Node) -> u64 {
    file.entry.as_ref().and_then(|entry| entry.size).unwrap_or(0)
}

impl PinReport {
    fn note(&mut self, path: &str, outcome: Result<u64>) {
        match outcome {
            Ok(bytes) => {
                self.files += 1;
                self.bytes += bytes;
            }
            Err(error) => {
                self.failed += 1;
                if self.problems.len() < PROBLEMS_MAX {
                    self.problems.push(format!("{path}: {error}"));
                }
            }
        }
    }
}

impl Vfs {
    /// Fetches the file at `path`, or every file below it, and keeps it until it is unpinned; `progress` tells how far it
    /// is. What is new there later, and what a call that is given up has left, is fetched in the background.
    pub async fn pin(&self, path: &str, progress: &PinProgress) -> Result<PinReport> {
        let top = self.node_at(path).await?;
        self.remember_pin(&top, path).await?;
        let _rest = Follow(&self.pins);
        with_context(Context::of(Class::Prefetch), self.pin_all(path, top, true, progress)).await
    }

    /// No longer keeps what is at or below `path`, as far as it is known. What was pinned under a path where nothing is any
    /// more is unpinned by that path.
    pub async fn unpin(&self, path: &str) -> Result<PinReport> {
        let gone = self.forget_vanished(path).await?;
        let report = match self.node_at(path).await {
            Ok(top) => {
                self.forget_pin(&top, path).await?;
                self.pin_all(path, top, false, &PinProgress::default()).await?
            }
            Err(_) if gone > 0 => PinReport::default(),
            Err(error) => return Err(error),
        };
        Ok(PinReport { gone, ..report })
    }

    async fn pin_all(&self, path: &str, top: Node, keep: bool, progress: &PinProgress) -> Result<PinReport> {
        let mut report = PinReport::default();
        let mut folders = Vec::new();
        match top.kind {
            Kind::File => {
                progress.found(&top);
                report.note(path, self.pin_one(&top, keep, progress).await);
            }
            Kind::Folder => folders.push((path.trim_matches('/').to_owned(), top)),
        }
        while let Some((path, folder)) = folders.pop() {
            if keep && let Err(error) = self.ensure_listed(&folder).await {
                // What is in there is not known: that is no success.
                report.note(&path, Err(error));
                continue;
            }
            let mut after = None;
            loop {
                let (children, next) = self.known_nodes(&folder, after.take()).await?;
                let mut files = Vec::new();
                for (name, node) in children {
                    let below = format!("{path}/{name}").trim_start_matches('/').to_owned();
                    if node.is_folder() {
                        folders.push((below, node));
                    } else {
                        progress.found(&node);
                        files.push((below, node));
                    }
                }
                let mut fetches = futures_util::stream::iter(files)
                    .map(|(path, node)| async move { (path, self.pin_one(&node, keep, progress).await) })
                    .buffer_unordered(FETCHES_MAX);
                while let Some((path, outcome)) = fetches.next().await {
                    report.note(&path, outcome);
                }
                after = next;
                if after.is_none() {
                    break;
                }
            }
        }
        Ok(report)
    }

    /// A page of what is known to be in a folder, as [`Inner::known_children`] tells it.
    pub(super) async fn known_nodes(
        &self,
        folder: &Node,
        after: Option<Name>,
    ) -> Result<(Vec<(Name, Node)>, Option<Name>)> {
        let folder = folder.clone();
        self.blocking(move |vfs| {
            let (children, next) = vfs.known_children(&folder, after.as_ref())?;
            let mut nodes = Vec::with_capacity(children.len());
            for (name, ino) in children {
                nodes.extend(vfs.node_if_there(ino)?.map(|node| (name, node)));
            }
            Ok((nodes, next))
        })
        .await
    }

    /// Pins or unpins one file; answers its size.
    async fn pin_one(&self, file: &Node, keep: bool, progress: &PinProgress) -> Result<u64> {
        let outcome = self.keep_or_not(file, keep, progress).await;
        progress.done(file, &outcome);
        outcome
    }

    pub(super) async fn keep_or_not(&self, file: &Node, keep: bool, progress: &PinProgress) -> Result<u64> {
        let Some(entry) = &file.entry else {
            // Its bytes are on this machine alone, and stay until the store has them.
            return Ok(file
                .change
                .as_ref()
                .and_then(|c| c.staged.as_ref())
                .map_or(0, |s| s.size));
        };
        let turn = self.pins.fetches.acquire();
        let _turn = if keep { turn.await.ok() } else { None };
        // An older version that was pinned need not be kept any longer.
        self.cache.unpin(&entry.id).await?;
        if keep {
            let body = self.cache.pin(entry).await?;
            progress.begun(&body);
            let arrived = body.complete(FETCH_DEADLINE).await;
            progress.ended(&body);
            arrived?;
        }
        Ok(entry.size.unwrap_or(0))
    }
}

impl Inner {
    /// A node, unless it is known no more. Blocks.
    pub(super) fn node_if_there(&self, ino: Ino) -> Result<Option<Node>> {
        match self.node(ino) {
            Ok(node) => Ok(Some(node)),
            Err(super::Error::Stale) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
