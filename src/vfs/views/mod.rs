//! Virtual folders: searches, tags, what is new, collections, assets by their id.
//!
//! `.search/<query>/` is in every folder, `.tags/<tag>/`, `.recent/`, `.collections/<name>/` and `.id/<id>` are in the
//! root. No listing shows them, so no program walks into them by accident; who names them, finds them. A real asset of
//! such a name wins: it stays what it is, and its folder has no view of that name.
//!
//! What a view shows are the assets themselves, under their own inodes: their content and attributes can be read and
//! changed there as in their folders. The names in a view cannot (EPERM), but a link into a collection adds the file to it.
//! Every operation that changes names goes through [`Inner::node`](super::vfs::Inner), which refuses the folders that only
//! exist here.
//!
//! Virtual folders have inodes beyond those that the allocator gives. They are made of what the folder is for, so that one
//! which was forgotten comes back under its number.
//!
//! | view | requests, at most once in 30 s |
//! |---|---|
//! | `.search/<query>` | those of the store's search: one for each page of hits |
//! | `.tags/<tag>`, `.recent` | one for each page that the store answers |
//! | `.collections`, `.collections/<name>` | one for each page |
//! | `.id/<id>` | none when the asset is known, else one for each kind of asset that the id may be |

mod entries;
mod locate;
mod query;
mod results;

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;

use crate::model::{Ino, ItemId, Kind, Name, Timestamp};

use super::vfs::Inner;
use super::{Attr, Error, Result};

pub(super) use entries::names_are_fixed;
pub use query::{Asked, parse as parse_query};

/// Set in the inodes of virtual folders, and in no other: the allocator would need centuries to get there.
const VIRTUAL: u64 = 1 << 62;
/// Virtual folders that are remembered; the kernel asks again for one that was not.
const VIEWS_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4095);

/// What a virtual folder is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum View {
    /// `.search` of a folder.
    Searches(Ino),
    /// `.search/<query>`, as it was typed.
    Search(Ino, Arc<str>),
    /// `.tags`.
    Tags,
    /// `.tags/<tag>`.
    Tag(Arc<str>),
    /// `.recent`.
    Recent,
    /// `.collections`.
    Collections,
    /// `.collections/<name>`.
    Collection(ItemId),
    /// `.id`.
    Ids,
}

impl View {
    /// The view that `name` stands for in a real folder.
    pub fn named(folder: Ino, name: &str) -> Option<Self> {
        match name {
            ".search" => Some(View::Searches(folder)),
            ".tags" if folder == Ino::ROOT => Some(View::Tags),
            ".recent" if folder == Ino::ROOT => Some(View::Recent),
            ".collections" if folder == Ino::ROOT => Some(View::Collections),
            ".id" if folder == Ino::ROOT => Some(View::Ids),
            _ => None,
        }
    }

    /// Whether its entries come from a question to the store; the others are only reached by name.
    fn has_results(&self) -> bool {
        match self {
            View::Search(..) | View::Tag(_) | View::Recent | View::Collections | View::Collection(_) => true,
            View::Searches(_) | View::Tags | View::Ids => false,
        }
    }
}

/// Whether an inode is that of a virtual folder.
pub fn is_virtual(ino: Ino) -> bool {
    ino.0 & VIRTUAL != 0
}

/// What a change of a name fails with that no asset has: a view is there all the same.
pub(super) fn missing(folder: Ino, name: &Name) -> Error {
    match View::named(folder, name.as_str()) {
        Some(_) => names_are_fixed(),
        None => Error::NotFound,
    }
}

/// Whether a new name would hide a view.
pub(super) fn check_free(folder: Ino, name: &Name) -> Result<()> {
    match View::named(folder, name.as_str()) {
        Some(_) => Err(Error::Exists),
        None => Ok(()),
    }
}

/// The virtual folders, and what they were last seen to hold.
pub(super) struct Views {
    known: Mutex<LruCache<Ino, Arc<View>>>,
    results: results::Results,
    since: Timestamp,
}

impl Views {
    /// None so far.
    pub fn new(now: Timestamp) -> Self {
        Self {
            known: Mutex::new(LruCache::new(VIEWS_MAX)),
            results: results::Results::new(),
            since: now,
        }
    }

    /// The view behind an inode, while it is remembered.
    fn get(&self, ino: Ino) -> Option<Arc<View>> {
        self.known.lock().get(&ino).cloned()
    }

    /// The inode of a view: always the same, unless two views meet on one number.
    fn ino_of(&self, view: &View) -> Ino {
        let mut hasher = DefaultHasher::new();
        view.hash(&mut hasher);
        let mut number = hasher.finish();
        let mut known = self.known.lock();
        loop {
            let ino = Ino(number & (VIRTUAL - 1) | VIRTUAL);
            match known.get(&ino) {
                Some(other) if **other == *view => return ino,
                Some(_) => number = number.wrapping_add(1),
                None => {
                    known.put(ino, Arc::new(view.clone()));
                    return ino;
                }
            }
        }
    }
}

impl Inner {
    /// The attributes of a virtual folder.
    pub(super) fn view_attr(&self, view: &View) -> Attr {
        let since = self.views.since;
        // Only a collection takes anything.
        let perm = match view {
            View::Collection(_) => 0o755,
            _ => 0o555,
        };
        Attr {
            ino: self.views.ino_of(view),
            kind: Kind::Folder,
            size: 0,
            blocks: 0,
            atime: since,
            mtime: since,
            ctime: since,
            crtime: since,
            perm,
            nlink: 1,
            uid: self.config.uid,
            gid: self.config.gid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_keeps_its_number_and_shares_it_with_no_other() {
        let views = Views::new(Timestamp::from_secs(0));
        let all = [
            View::Searches(Ino::ROOT),
            View::Search(Ino::ROOT, "a".into()),
            View::Search(Ino(7), "a".into()),
            View::Tags,
            View::Recent,
        ];
        let numbers: std::collections::HashSet<Ino> = all.iter().map(|view| views.ino_of(view)).collect();
        assert_eq!(numbers.len(), all.len());
        assert!(numbers.iter().all(|ino| is_virtual(*ino)));
        for view in &all {
            let ino = views.ino_of(view);
            assert_eq!(views.get(ino).as_deref(), Some(view));
        }
        let forgetful = Views::new(Timestamp::from_secs(9));
        assert_eq!(forgetful.ino_of(&all[1]), views.ino_of(&all[1]));
    }

    #[test]
    fn two_views_that_meet_on_one_number_both_get_one() {
        let views = Views::new(Timestamp::from_secs(0));
        let ino = views.ino_of(&View::Tags);
        views.known.lock().put(ino, Arc::new(View::Ids));
        let other = views.ino_of(&View::Tags);
        assert_ne!(ino, other);
        assert_eq!(views.ino_of(&View::Tags), other);
    }

    #[test]
    fn only_the_root_has_the_views_of_the_whole() {
        assert_eq!(View::named(Ino(9), ".search"), Some(View::Searches(Ino(9))));
        assert_eq!(View::named(Ino(9), ".tags"), None);
        assert_eq!(View::named(Ino::ROOT, ".tags"), Some(View::Tags));
        assert_eq!(View::named(Ino::ROOT, ".tagsx"), None);
    }
}
