//! What others do in the store: to what nothing waits for here, and to what we change at the same time.

use bytes::Bytes;

use super::plain::{Disk, Done};
use super::run::{FIELD, Run};
use super::{Act, PATHS};
use crate::model::{FieldChanges, ItemId};
use crate::store::{IdScheme, Support};
use crate::vfs::Keep;

/// What others do to a file or folder.
#[derive(Clone, Copy, Debug)]
pub enum Theirs {
    /// New bytes.
    Edit,
    /// Another name, or another folder: one of those that are free.
    Rename(usize),
    /// Out of the store.
    Remove,
    /// Another value of a field.
    Describe,
}

/// What we do to the same file.
#[derive(Clone, Copy, Debug)]
pub enum Ours {
    Save,
    Rename(usize),
    Remove,
    Describe,
}

/// Both at once: ours is not sent yet when theirs is done.
#[derive(Clone, Copy, Debug)]
pub struct Clash {
    /// Which of the files that are there.
    pub file: usize,
    pub ours: Ours,
    pub theirs: Theirs,
    /// Whether a listing shows theirs before ours is sent.
    pub seen: bool,
}

/// What comes of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Both have their way; where both say where the file is to be, ours is the later word.
    Merged,
    /// Two new versions: theirs has the name, ours stays beside it until somebody decides.
    Conflict,
    /// Ours has nothing left that it could be done to: it waits until it is given up.
    Parked,
}

impl Clash {
    fn outcome(self, ids: IdScheme) -> Outcome {
        let is_gone = match self.theirs {
            Theirs::Remove => true,
            // Where ids are paths, a renamed file is another one.
            Theirs::Rename(_) => ids == IdScheme::Path,
            Theirs::Edit | Theirs::Describe => false,
        };
        match (self.ours, self.theirs) {
            (Ours::Remove, _) => Outcome::Merged,
            _ if is_gone => Outcome::Parked,
            (Ours::Save, Theirs::Edit) => Outcome::Conflict,
            (Ours::Save | Ours::Rename(_) | Ours::Describe, _) => Outcome::Merged,
        }
    }
}

/// What we describe a file by when others change it: not what it may have been described by before.
fn described(number: usize) -> usize {
    100 + number
}

/// One of several, whatever the number.
fn pick<T: Clone>(from: &[T], number: usize) -> Option<T> {
    from.get(number.checked_rem(from.len())?).cloned()
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// Whether a file that is renamed to there, if to anywhere, stays in its folder.
fn stays_in_its_folder(path: &str, to: Option<&str>) -> bool {
    to.is_none_or(|to| split(to).0 == split(path).0)
}

impl Run {
    fn ids(&self) -> IdScheme {
        self.rig.store.shared().capabilities().ids
    }

    /// Who is at a path in the store, unless something of it waits here.
    async fn settled(&self, path: &str) -> Option<ItemId> {
        let ino = self.rig.at(path).await.ok()?.ino;
        let node = self.rig.vfs.node(ino).ok()?;
        node.id.clone().filter(|_| self.rig.vfs.state_text(&node) == "synced")
    }

    /// Whether the store is still to make a copy of a file.
    async fn is_to_be_copied(&self, path: &str) -> bool {
        let Some(id) = self.settled(path).await else {
            return false;
        };
        let guard = self.rig.vfs.journal.lock();
        let mut changes = guard.overlay().iter();
        changes.any(|change| change.copy_of.as_ref().is_some_and(|source| source.id == id))
    }

    /// The bytes that others write.
    fn edited(&self, number: usize) -> Bytes {
        Bytes::from(self.bytes(number, 31).to_ascii_uppercase())
    }

    /// Whether nothing has this name, here or in the store, in a folder that is there.
    fn is_free(&self, path: &str) -> bool {
        !self.disk.names.contains_key(path)
            && !self.rig.stored().contains_key(&format!("/{path}"))
            && self.disk.is_folder(Disk::parent_of(path))
    }

    /// Where something may go in one step, as on a web page: another name in its folder, or its name in another folder.
    fn destination(&self, path: &str, number: usize) -> Option<&'static str> {
        let (folder, last) = split(path);
        let is_file = self.disk.file(path).is_ok();
        let near = |to: &&str| {
            let (to_folder, to_last) = split(to);
            (to_folder == folder || to_last == last) && to.contains(".txt") == is_file && self.is_free(to)
        };
        let inside = format!("{path}/");
        let free: Vec<&str> = PATHS
            .into_iter()
            .filter(near)
            .filter(|to| !to.starts_with(&inside))
            .collect();
        pick(&free, number).filter(|_| !self.disk.is_linked(path))
    }

    /// Others make a file or a folder.
    pub async fn others_make(&mut self, number: usize, path: &str) {
        let (remote, (parent, last)) = (self.rig.store.remote(), split(path));
        let Some(parent) = self.settled(parent).await.filter(|_| self.is_free(path)) else {
            return;
        };
        let is_file = path.contains(".txt");
        let (made, done) = match is_file {
            true => (
                remote.put(&parent, last, self.edited(number)),
                self.disk.write(path, &self.edited(number)),
            ),
            false => (remote.mkdir(&parent, last), self.disk.mkdir(path)),
        };
        assert!(made.is_ok() && done.is_ok(), "{path} is free: {made:?}");
        self.catch_up().await;
    }

    /// Others do something to what nothing waits for here: it shows with the next listings.
    pub async fn others(&mut self, number: usize, which: usize, theirs: Theirs) {
        let there: Vec<String> = self.disk.names.keys().cloned().collect();
        let Some(path) = pick(&there, which) else { return };
        if self.disk.is_folder(&path) || self.is_to_be_copied(&path).await {
            // What waits for something inside is about what goes along, or goes; what is a copy of it is one of what it was.
            self.settle().await;
        }
        let Some(id) = self.settled(&path).await else { return };
        let before = self.rig.at(&path).await.map(|attr| attr.ino).ok();
        let Some(to) = self.in_the_store(number, &id, &path, theirs).await else {
            return;
        };
        let done = self.on_the_disk(number, &path, theirs, &to);
        assert!(done.is_ok(), "the disk refuses {theirs:?}");
        self.catch_up().await;
        match theirs {
            Theirs::Rename(_) if self.ids() == IdScheme::Stable => {
                let after = self.rig.at(&to).await.map(|attr| attr.ino).ok();
                assert_eq!(after, before, "who it is does not change with its name");
            }
            Theirs::Describe => self.is_described(&path, &format!("theirs {number}")).await,
            Theirs::Edit | Theirs::Rename(_) | Theirs::Remove => {}
        }
    }

    /// Answers where the item is then; `None` when that cannot be done to it.
    async fn in_the_store(&self, number: usize, id: &ItemId, path: &str, theirs: Theirs) -> Option<String> {
        let (remote, is_file) = (self.rig.store.remote(), self.disk.file(path).is_ok());
        let done = match theirs {
            Theirs::Edit if is_file => remote.write(id, self.edited(number)),
            Theirs::Describe if is_file => {
                let credit = vec![format!("theirs {number}").as_str().into()];
                remote.set_fields(id, &FieldChanges::from([("credit".into(), credit)]))
            }
            Theirs::Edit | Theirs::Describe => return None,
            Theirs::Remove => return remote.remove(id).is_ok().then(|| path.to_owned()),
            Theirs::Rename(which) => {
                let to = self.destination(path, which)?;
                let (folder, last) = split(to);
                let parent = self.settled(folder).await?;
                let renamed = match last == split(path).1 {
                    true => remote.place(id, &[parent]),
                    false => remote.rename(id, last),
                };
                return renamed.is_ok().then(|| to.to_owned());
            }
        };
        done.is_ok().then(|| path.to_owned())
    }

    fn on_the_disk(&mut self, number: usize, path: &str, theirs: Theirs, to: &str) -> Done {
        match theirs {
            Theirs::Edit => self.disk.overtake(path, &self.edited(number)),
            Theirs::Remove => self.disk.remove(path),
            Theirs::Describe => Ok(()),
            Theirs::Rename(_) => {
                self.disk.rename(path, to)?;
                if self.ids() == IdScheme::Path {
                    self.disk.make_anew(to);
                }
                Ok(())
            }
        }
    }

    async fn is_described(&self, path: &str, credit: &str) {
        let ino = self.rig.at(path).await.expect("there").ino;
        let got = self.rig.vfs.getxattr(ino, FIELD).await.expect("the field is told");
        assert_eq!(String::from_utf8_lossy(&got), credit, "{path}");
    }

    /// We and others change a file at once.
    pub async fn clash(&mut self, number: usize, clash: Clash) {
        let is_one = |path: &&String| self.disk.file(path).is_ok() && !self.disk.is_linked(path);
        let files: Vec<String> = self.disk.names.keys().filter(is_one).cloned().collect();
        let Some(path) = pick(&files, clash.file) else { return };
        self.settle().await;
        self.catch_up().await;
        // That an answer is lost on top of it has tests of its own.
        self.rig.store.faults().clear();
        let Some(id) = self.settled(&path).await else { return };
        if let (Ours::Rename(ours), Theirs::Rename(theirs)) = (clash.ours, clash.theirs) {
            let (ours, theirs) = (self.destination(&path, ours), self.destination(&path, theirs));
            if ours == theirs || !stays_in_its_folder(&path, ours) || !stays_in_its_folder(&path, theirs) {
                // No clash, or one in which a store with links lets both have their way.
                return;
            }
        }
        if let (Ours::Remove, Theirs::Rename(theirs)) = (clash.ours, clash.theirs) {
            let has_links = self.rig.store.shared().capabilities().links == Support::Yes;
            if has_links && !stays_in_its_folder(&path, self.destination(&path, theirs)) {
                // It stays there when its folders are asked for anew, which depends on how long ago that was.
                return;
            }
        }
        let before = self.disk.clone();
        let Some(ours_at) = Box::pin(self.do_ours(number, &path, clash.ours)).await else {
            return;
        };
        // Others see the file where it was.
        let ours = std::mem::replace(&mut self.disk, before);
        let theirs_at = self.in_the_store(number, &id, &path, clash.theirs).await;
        let before = std::mem::replace(&mut self.disk, ours);
        let Some(theirs_at) = theirs_at else { return };
        if clash.seen {
            self.list(Disk::parent_of(&path)).await;
        }
        self.rig.settle().await;
        match clash.outcome(self.ids()) {
            Outcome::Merged => {
                self.waits_for_a_person(&[]).await;
                self.merge(number, clash, &ours_at, &theirs_at, &before);
            }
            Outcome::Conflict => self.resolve(&path, number).await,
            Outcome::Parked => {
                let waiting = self.waits_for_a_person(&["parked"]).await;
                self.forget_readers(&ours_at).await;
                self.rig.vfs.discard(waiting[0].0).await.expect("discarded");
                assert!(self.rig.at(&ours_at).await.is_err(), "given up, and not in the store");
                self.disk.remove(&ours_at).ok();
                if theirs_at != path {
                    let bytes = before.bytes(&path).unwrap_or_default();
                    assert!(self.disk.write(&theirs_at, bytes).is_ok(), "{theirs_at}");
                }
            }
        }
        self.catch_up().await;
        self.settle().await;
        if self.disk.file(&ours_at).is_ok() {
            match (clash.ours, clash.theirs) {
                (Ours::Describe, Theirs::Edit | Theirs::Describe) => {
                    self.is_described(&ours_at, &format!("value {}", described(number)))
                        .await;
                }
                (_, Theirs::Describe) => self.is_described(&ours_at, &format!("theirs {number}")).await,
                _ => {}
            }
        }
    }

    /// Answers where the file is then; `None` when it cannot be done.
    async fn do_ours(&mut self, number: usize, path: &str, ours: Ours) -> Option<String> {
        let p = PATHS.iter().position(|known| *known == path)?;
        let file = self.disk.file(path).ok()?;
        let (act, to) = match ours {
            Ours::Save => (Act::Write(p, 23, false), path),
            Ours::Remove => (Act::Unlink(p, false), path),
            Ours::Describe => (Act::SetXattr(p, described(number)), path),
            Ours::Rename(which) => {
                let to = self.destination(path, which)?;
                let q = PATHS.iter().position(|known| *known == to)?;
                (Act::Rename(p, q, false), to)
            }
        };
        let old = self.disk.bytes(path).map(<[u8]>::to_vec);
        self.step(number, &act).await;
        let is_done = match ours {
            Ours::Save => self.disk.bytes(path) != old.as_deref(),
            Ours::Rename(_) => self.disk.file(to).ok() == Some(file),
            Ours::Remove => self.disk.file(path).is_err(),
            Ours::Describe => true,
        };
        is_done.then(|| to.to_owned())
    }

    /// Does theirs to the disk on which ours is done.
    fn merge(&mut self, number: usize, clash: Clash, ours_at: &str, theirs_at: &str, before: &Disk) {
        let done = match (clash.ours, clash.theirs) {
            // We have removed what had the old name; a path that is new is a new file.
            (Ours::Remove, Theirs::Rename(_)) if self.ids() == IdScheme::Path => {
                let old = PATHS
                    .iter()
                    .find_map(|path| before.bytes(path).filter(|_| *path == ours_at));
                self.disk.write(theirs_at, old.unwrap_or_default())
            }
            (Ours::Remove, _) => Ok(()),
            (Ours::Rename(_), Theirs::Rename(_)) => Ok(()),
            (_, theirs) => self.on_the_disk(number, ours_at, theirs, theirs_at),
        };
        assert!(done.is_ok(), "the disk refuses {clash:?}");
    }

    /// The two versions are beside each other until somebody decides.
    async fn resolve(&mut self, path: &str, number: usize) {
        let waiting = self.waits_for_a_person(&["conflict"]).await;
        let (id, copy) = (waiting[0].0, waiting[0].1.trim_start_matches('/'));
        let (ours, edited) = (self.disk.bytes(path).map(<[u8]>::to_vec), self.edited(number));
        assert_eq!(split(copy).0, split(path).0);
        assert_eq!(self.rig.read(copy).await.ok(), ours);
        assert_eq!(self.rig.read(path).await.expect("readable"), edited);
        self.forget_readers(path).await;
        let keep = [Keep::Mine, Keep::Theirs, Keep::Both][number % 3];
        self.rig.vfs.resolve(id, keep).await.expect("resolved");
        let done = match keep {
            Keep::Mine => Ok(()),
            Keep::Theirs => self.disk.overtake(path, &edited),
            Keep::Both => {
                let both = self.disk.overtake(path, &edited);
                both.and_then(|()| self.disk.write(copy, &ours.unwrap_or_default()))
            }
        };
        assert!(done.is_ok(), "the disk refuses {keep:?}");
        self.compare(&format!("{keep:?} was kept of a conflict")).await;
    }

    /// What is left of both for who has the file open is tested by itself.
    async fn forget_readers(&mut self, path: &str) {
        if let Ok(file) = self.disk.file(path) {
            self.close_readers_of(file).await;
        }
    }

    /// What waits for a person is in exactly these states; answers the numbers and paths.
    async fn waits_for_a_person(&self, states: &[&str]) -> Vec<(u64, String)> {
        let waiting = self.rig.vfs.attention().await.expect("a list");
        let told: Vec<&str> = waiting.iter().map(|item| item.state.as_str()).collect();
        assert_eq!(told, states, "{waiting:?}");
        let numbered = waiting.into_iter().map(|item| (item.id.unwrap_or_default(), item.path));
        numbered.collect()
    }
}
