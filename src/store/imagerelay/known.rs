//! What the store remembers so as not to ask: bounded, lost at exit, and never a reason to say that something is not there.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::time::Duration;

use lru::LruCache;
use parking_lot::Mutex;

use super::fields::version;
use super::wire::{File, Folder};
use crate::model::{ContentVersion, SharedClock, Timestamp};

/// How long a direct read counts as knowing an item's version and memberships.
pub(super) const DIRECT_READ_MAX_AGE: Duration = Duration::from_secs(60);
/// How long after a change of ours the server may move `updated_on` because of it: versions are processed in a queue.
const OWN_CHANGE_MAX_AGE: Duration = Duration::from_secs(300);
/// Changes of one file that are remembered.
const OWN_CHANGES_MAX: usize = 16;
/// How long a folder's counts may lag behind a change of ours in it.
const COUNTS_LAG_MAX: Duration = Duration::from_secs(600);

/// What is known of a folder's place.
#[derive(Clone, Copy)]
pub(super) struct FolderFacts {
    pub(super) parent: Option<u64>,
    pub(super) metagroup: Option<u64>,
}

/// A change that we made to a file.
#[derive(Clone)]
pub(super) struct OwnChange {
    /// By the server's clock.
    pub(super) at: Timestamp,
    /// Its size since then.
    pub(super) size: u64,
    /// What the server told before the change: while a new version waits in its queue, this still shows.
    pub(super) before: Option<(u64, String)>,
    /// The version that our caller was told afterwards.
    pub(super) answered: Option<ContentVersion>,
}

impl OwnChange {
    fn explains(&self, file: &File) -> bool {
        let size = file.size.unwrap_or_default();
        if self
            .before
            .as_ref()
            .is_some_and(|(was, at)| *was == size && *at == file.updated_on)
        {
            return true;
        }
        let Some(updated) = Timestamp::parse(&file.updated_on) else {
            return false;
        };
        let apart = updated.since(self.at).max(self.at.since(updated));
        size == self.size && apart <= OWN_CHANGE_MAX_AGE
    }
}

struct Inner {
    root: Option<u64>,
    folders: LruCache<u64, FolderFacts>,
    /// Folders in which we changed something, so that counts in listings are late.
    touched: LruCache<u64, Duration>,
    direct: LruCache<u64, (Duration, File)>,
    /// The last changes of each file: several versions may wait in the server's queue at once.
    own: LruCache<u64, VecDeque<OwnChange>>,
    thumbnails: LruCache<u64, String>,
    /// Files that were made here and never looked at: their folder, and when that was by the server's clock.
    unseen: LruCache<u64, (u64, Timestamp)>,
    keywords: LruCache<String, u64>,
    /// Files whose tags may not be those that were last told: a change of them got no answer.
    tags_in_doubt: LruCache<u64, ()>,
}

pub(super) struct Known {
    clock: SharedClock,
    inner: Mutex<Inner>,
}

fn bound(entries_max: usize) -> NonZeroUsize {
    NonZeroUsize::MIN.saturating_add(entries_max)
}

impl Known {
    pub(super) fn new(clock: SharedClock) -> Self {
        let inner = Inner {
            root: None,
            folders: LruCache::new(bound(20_000)),
            touched: LruCache::new(bound(2_000)),
            direct: LruCache::new(bound(1_000)),
            own: LruCache::new(bound(5_000)),
            thumbnails: LruCache::new(bound(5_000)),
            unseen: LruCache::new(bound(5_000)),
            keywords: LruCache::new(bound(20_000)),
            tags_in_doubt: LruCache::new(bound(5_000)),
        };
        Self {
            clock,
            inner: Mutex::new(inner),
        }
    }

    pub(super) fn root(&self) -> Option<u64> {
        self.inner.lock().root
    }

    pub(super) fn saw_root(&self, id: u64) {
        self.inner.lock().root = Some(id);
    }

    pub(super) fn saw_folder(&self, folder: &Folder) {
        let facts = FolderFacts {
            parent: folder.parent_id,
            metagroup: folder.metagroup_id,
        };
        self.inner.lock().folders.put(folder.id, facts);
    }

    pub(super) fn folder(&self, id: u64) -> Option<FolderFacts> {
        self.inner.lock().folders.get(&id).copied()
    }

    pub(super) fn forget_folder(&self, id: u64) {
        self.inner.lock().folders.pop(&id);
    }

    /// Something of ours changed in the folder.
    pub(super) fn touch(&self, folder: u64) {
        let now = self.clock.elapsed();
        self.inner.lock().touched.put(folder, now);
    }

    /// Whether the folder's counts may still lag behind a change of ours.
    pub(super) fn is_touched(&self, folder: u64) -> bool {
        let now = self.clock.elapsed();
        let at = self.inner.lock().touched.peek(&folder).copied();
        at.is_some_and(|at| now.saturating_sub(at) < COUNTS_LAG_MAX)
    }

    /// A change of a file's tags is about to be sent.
    pub(super) fn tags_change(&self, file: u64) {
        self.inner.lock().tags_in_doubt.put(file, ());
    }

    /// It was answered.
    pub(super) fn tags_changed(&self, file: u64) {
        self.inner.lock().tags_in_doubt.pop(&file);
    }

    pub(super) fn are_tags_in_doubt(&self, file: u64) -> bool {
        self.inner.lock().tags_in_doubt.contains(&file)
    }

    /// A file as any answer told it.
    pub(super) fn saw_file(&self, file: &File) {
        let mut inner = self.inner.lock();
        inner.unseen.pop(&file.id);
        for tag in &file.tags {
            inner.keywords.put(tag.text().to_owned(), tag.tag_id);
        }
        match &file.short_lived_thumbnail {
            Some(address) => inner.thumbnails.put(file.id, address.clone()),
            None => inner.thumbnails.pop(&file.id),
        };
    }

    /// A file was made, and nobody has looked at it since.
    pub(super) fn made_unseen(&self, id: u64, folder: u64, at: Timestamp) {
        self.inner.lock().unseen.put(id, (folder, at));
    }

    /// The folder of a file that nobody has looked at since it was made, and since when files like it have come to be there;
    /// `None` when it is the only one.
    pub(super) fn unseen_beside(&self, id: u64) -> Option<(u64, Timestamp)> {
        let inner = self.inner.lock();
        let (folder, _) = *inner.unseen.peek(&id)?;
        let there = inner.unseen.iter().filter(|(_, (of, _))| *of == folder);
        let times: Vec<Timestamp> = there.map(|(_, (_, at))| *at).collect();
        let since = times.iter().min().copied()?;
        (times.len() > 1).then_some((folder, since))
    }

    /// A file as it was read directly.
    pub(super) fn read_directly(&self, file: &File) {
        let now = self.clock.elapsed();
        self.saw_file(file);
        self.inner.lock().direct.put(file.id, (now, file.clone()));
    }

    /// The file, if it was read directly a short time ago.
    pub(super) fn direct(&self, id: u64) -> Option<File> {
        let now = self.clock.elapsed();
        let (at, file) = self.inner.lock().direct.peek(&id).cloned()?;
        (now.saturating_sub(at) < DIRECT_READ_MAX_AGE).then_some(file)
    }

    /// The file was changed by us: what was read before is out of date.
    pub(super) fn changed(&self, id: u64, change: OwnChange) {
        let mut inner = self.inner.lock();
        inner.direct.pop(&id);
        let changes = inner.own.get_or_insert_mut(id, VecDeque::new);
        changes.push_back(change);
        if changes.len() > OWN_CHANGES_MAX {
            changes.pop_front();
        }
    }

    pub(super) fn forget_file(&self, id: u64) {
        let mut inner = self.inner.lock();
        inner.direct.pop(&id);
        inner.own.pop(&id);
        inner.unseen.pop(&id);
        inner.thumbnails.pop(&id);
    }

    /// The version under which our caller knows a file that was made here and told without a look, while what the server
    /// tells of it comes from that upload.
    pub(super) fn first_look(&self, file: &File) -> Option<ContentVersion> {
        let inner = self.inner.lock();
        let last = inner.own.peek(&file.id)?.back()?;
        let answered = last.answered.as_ref()?;
        (*answered == version(last.size, "") && last.explains(file)).then(|| answered.clone())
    }

    /// Whether we have changed the file.
    pub(super) fn has_own(&self, id: u64) -> bool {
        self.inner.lock().own.contains(&id)
    }

    /// The version that the last change of ours was answered with.
    pub(super) fn answered(&self, id: u64, version: &ContentVersion) {
        if let Some(last) = self.inner.lock().own.get_mut(&id).and_then(VecDeque::back_mut) {
            last.answered = Some(version.clone());
        }
    }

    /// Whether what the server tells of a file comes from the changes of ours that led to `base`: while they wait in its
    /// queue it tells what was before, and it may move `updated_on` once more when it is done. Somebody else's version of
    /// the very same size, made within five minutes of ours, cannot be told from ours.
    pub(super) fn led_to(&self, base: &ContentVersion, file: &File) -> bool {
        let there = version(file.size.unwrap_or_default(), &file.updated_on);
        let inner = self.inner.lock();
        let Some(changes) = inner.own.peek(&file.id) else {
            return false;
        };
        let Some(last) = changes.iter().rposition(|own| own.answered.as_ref() == Some(base)) else {
            return false;
        };
        let since_base = changes
            .iter()
            .skip(last + 1)
            .any(|own| own.answered.as_ref() == Some(&there));
        !since_base && changes.iter().take(last + 1).any(|own| own.explains(file))
    }

    pub(super) fn thumbnail(&self, id: u64) -> Option<String> {
        self.inner.lock().thumbnails.get(&id).cloned()
    }

    pub(super) fn saw_keyword(&self, name: &str, id: u64) {
        self.inner.lock().keywords.put(name.to_owned(), id);
    }

    pub(super) fn keyword(&self, name: &str) -> Option<u64> {
        self.inner.lock().keywords.get(name).copied()
    }
}
