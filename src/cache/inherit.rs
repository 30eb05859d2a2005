//! A version that moved with the metadata alone: what is here of an older one is that of the new one too.
//!
//! Where a store's version moves with every change of metadata, only the bytes or their name on the wire can tell that they
//! are the same. That name comes with the first download of the new version, so looking costs nothing: when the older
//! body had the same, its blocks are taken over and the download ends at once.

use std::ops::Range;
use std::sync::Arc;

use crate::disk;

use super::body::Body;
use super::error::{CacheError, Result};
use super::index::Record;
use super::map::{BlockMap, note_digests};
use super::state::{OpenFile, Phase};
use super::verify::md5_hex;

/// So much is copied at a time: blocks that arrive meanwhile wait for it.
const PIECE_BYTES: u64 = 8 << 20;

/// An older version of the item, as far as it is here.
struct Older {
    record: Record,
    open: OpenFile,
    map: BlockMap,
}

impl Body {
    /// Takes over what is here of an older version that a download named `validator` as well. Nothing is lost when that
    /// fails: what is missing is fetched.
    pub(super) async fn inherit(self: &Arc<Self>, validator: &str) {
        let (body, validator) = (self.clone(), validator.to_owned());
        let older = self.shared.blocking(move || body.older(&validator)).await;
        let taken = match older {
            Ok(Some(older)) => self.take_over(older).await,
            Ok(None) => return,
            Err(error) => Err(error),
        };
        if let Err(error) = taken {
            tracing::debug!(%error, item = %self.item(), "what is here of an older version is fetched again");
        }
        self.all_arrived();
        self.changed.notify_waiters();
    }

    async fn take_over(self: &Arc<Self>, older: Older) -> Result<()> {
        self.shared.admit_clean(older.map.present_bytes()).await?;
        let body = self.clone();
        self.shared
            .blocking(move || {
                let per_piece = (PIECE_BYTES / body.shared.config.block_bytes).max(1) as usize;
                for first in (0..older.map.blocks()).step_by(per_piece) {
                    body.take_blocks(&older, first..(first + per_piece).min(older.map.blocks()))?;
                }
                body.drop_older(&older.record)
            })
            .await
    }

    /// The youngest body of the same item and size whose bytes are named `validator`. Blocks.
    fn older(&self, validator: &str) -> Result<Option<Older>> {
        let entry = self.entry()?;
        let (Some(size), Some(own)) = (self.size(), self.id()) else {
            return Ok(None);
        };
        let candidates = {
            // Held until their files are open: evicting takes the same lock.
            let index = self.shared.index.lock()?;
            let mut candidates = Vec::new();
            for record in index.others(&entry.id, own, size)? {
                candidates.extend(self.open_older(record, size)?);
            }
            candidates
        };
        for older in candidates {
            let same = match &older.record.validator {
                Some(known) => known == validator,
                None => older.is_named_by_its_md5(validator)?,
            };
            if same {
                return Ok(Some(older));
            }
        }
        Ok(None)
    }

    fn open_older(&self, record: Record, size: u64) -> Result<Option<Older>> {
        let path = self.shared.index.path(record.id);
        let file = match disk::open_private(&path, false) {
            Ok(file) => Arc::new(file),
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let map = BlockMap::load(
            &self.shared.index.map_path(record.id),
            size,
            self.shared.config.block_bytes,
        );
        let open = OpenFile { file, path };
        Ok(Some(Older { record, open, map }))
    }

    /// Copies those of `blocks` that are not here yet. They are checked against their digests before they are served. Blocks.
    fn take_blocks(&self, older: &Older, blocks: Range<usize>) -> Result<()> {
        let _io = self.io.lock();
        let (open, wanted) = {
            let state = self.state.lock();
            let (Phase::Filling, Some(open), Some(map)) = (&state.phase, &state.file, state.map()) else {
                return Ok(());
            };
            if map.size() != older.map.size() {
                return Err(CacheError::Changed { item: state.item() });
            }
            let wanted: Vec<usize> = blocks
                .filter(|block| map.is_absent(*block) && !older.map.is_absent(*block))
                .collect();
            (open.clone(), wanted)
        };
        let Some(map_file) = self.map_file()? else {
            return Ok(());
        };
        for block in wanted {
            let bytes = older.map.range(block);
            disk::copy_range(&older.open.file, &open.file, &open.path, bytes.clone())?;
            let digest = older.map.digest(block);
            note_digests(&map_file.file, &map_file.path, block, &[digest])?;
            let mut state = self.state.lock();
            if let Some(map) = state.map_mut() {
                map.inherited(block, digest);
            }
            self.shared.note_here(&state, bytes.end - bytes.start);
        }
        Ok(())
    }

    /// What has been taken over is not kept twice. Blocks.
    fn drop_older(&self, record: &Record) -> Result<()> {
        let key = (record.item.clone(), record.version.clone());
        // Opening takes the index's lock as well, so nobody can begin to use it from here on.
        let index = self.shared.index.lock()?;
        if !self.shared.is_in_use(&key) {
            index.remove(record.id)?;
            self.shared.held.remove(&key, record.bytes);
        }
        Ok(())
    }
}

impl Older {
    /// Object stores name what was sent in one piece by its MD5, so that what was uploaded from here is known again though
    /// it was never downloaded. Blocks.
    fn is_named_by_its_md5(&self, validator: &str) -> Result<bool> {
        let name = validator.trim_matches('"');
        let is_md5 = name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        Ok(is_md5 && self.map.is_whole() && md5_hex(&self.open, self.map.size())?.eq_ignore_ascii_case(name))
    }
}
