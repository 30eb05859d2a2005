//! setattr: length, times, mode, owner.

use crate::journal::{Durability, LocalAttr};
use crate::model::{ContentVersion, Ino, Kind, Timestamp};

use super::tree::told_time;
use super::vfs::Vfs;
use super::{Attr, Caller, Error, Fh, Result, SetAttr, SetTime};

impl Vfs {
    /// Changes attributes. Length goes to the file's bytes; the rest is kept on this machine.
    pub async fn setattr(&self, caller: Caller, ino: Ino, fh: Option<Fh>, mut set: SetAttr) -> Result<Attr> {
        let _ = caller;
        self.used();
        self.writable()?;
        if let Some(size) = set.size
            && !self.set_size(ino, fh, size).await?
        {
            // Nothing was written, and the time moves all the same.
            set.mtime.get_or_insert(SetTime::Now);
        }
        let now = self.clock.now();
        let owned = set.mode.is_some() || set.uid.is_some() || set.gid.is_some();
        let local = owned || set.atime.is_some() || set.mtime.is_some();
        let ghost = self.opens.get(ino).filter(|open| local && open.is_ghost());
        if let Some(ghost) = ghost {
            // What has left the tree keeps its attributes with its open file, and they end with that.
            if let Some(mtime) = set.mtime {
                ghost.set_mtime(Some(time_of(mtime, now)));
            }
            ghost.change_ghost(|attr| set_ghost(attr, &set, now));
        } else if local {
            let belongs = match self.attr_target(ino).await {
                // It has left the tree since.
                Err(Error::Stale) if self.opens.get(ino).is_some_and(|open| open.is_ghost()) => {
                    let set = SetAttr { size: None, ..set };
                    return Box::pin(self.setattr(caller, ino, fh, set)).await;
                }
                belongs => belongs?,
            };
            self.decide(Durability::Written, move |d| {
                d.attr(ino, |attr| set_local(attr, &set, now, belongs));
                Ok(())
            })
            .await?;
            if let (Some(_), Some(open)) = (set.mtime, self.opens.get(ino)) {
                open.set_mtime(None);
            }
        }
        self.getattr(ino, fh).await
    }

    /// What a time set now belongs to.
    async fn attr_target(&self, ino: Ino) -> Result<Belongs> {
        let node = self.blocking(move |vfs| vfs.seated_node(ino)).await?;
        let dirty = node.change.as_ref().is_some_and(|c| c.staged.is_some());
        Ok(match node.entry {
            Some(entry) if entry.kind == Kind::Folder => Belongs::After(told_time(&entry)),
            Some(entry) if !dirty => Belongs::To(Some(entry.version.clone())),
            Some(_) | None => Belongs::To(None),
        })
    }

    /// Answers whether that changed the file.
    async fn set_size(&self, ino: Ino, fh: Option<Fh>, size: u64) -> Result<bool> {
        if let Some(fh) = fh {
            let handle = self.handles.file(fh)?;
            self.truncate_file(&handle.file, size).await?;
            handle.has_written();
            return Ok(true);
        }
        self.writable()?;
        let file = self.open_file(ino, true).await?;
        let cut = async {
            let changes = self.attr(ino)?.size != size;
            if changes {
                self.truncate_file(&file, size).await?;
                self.make_durable(&file).await?;
            }
            Ok(changes)
        };
        let cut = cut.await;
        self.close_file(&file, true, matches!(cut, Ok(true))).await;
        cut
    }
}

/// How long a time that a program set is shown.
enum Belongs {
    /// To a file: while it has this content.
    To(Option<ContentVersion>),
    /// To a folder: until the store tells a later time than this.
    After(Option<Timestamp>),
}

fn time_of(set: SetTime, now: Timestamp) -> Timestamp {
    match set {
        SetTime::Now => now,
        SetTime::At(time) => time,
    }
}

/// All but the time of the last change, which an open file has of its own.
fn set_ghost(attr: &mut Attr, set: &SetAttr, now: Timestamp) {
    if let Some(mode) = set.mode {
        attr.perm = mode & 0o7777;
    }
    attr.uid = set.uid.unwrap_or(attr.uid);
    attr.gid = set.gid.unwrap_or(attr.gid);
    attr.atime = set.atime.map_or(attr.atime, |atime| time_of(atime, now));
    attr.ctime = now;
}

fn set_local(attr: &mut LocalAttr, set: &SetAttr, now: Timestamp, belongs: Belongs) {
    let time = |set: SetTime| time_of(set, now);
    if let Some(mode) = set.mode {
        attr.mode = Some(mode & 0o7777);
    }
    attr.uid = set.uid.or(attr.uid);
    attr.gid = set.gid.or(attr.gid);
    attr.atime = set.atime.map(time).or(attr.atime);
    if let Some(mtime) = set.mtime {
        attr.mtime = Some(time(mtime));
        match belongs {
            Belongs::To(version) => attr.version = version,
            Belongs::After(told) => attr.told = told,
        }
    }
    attr.ctime = Some(now);
}
