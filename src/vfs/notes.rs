//! `.assetfs/problems.txt` at the root of the mount: what waits for a person, where people look. No listing of the root
//! shows the folder, so that no program copies or counts it; who knows its name can read it.

use bytes::Bytes;

use crate::model::{Ino, Kind, Name};

use super::vfs::{Inner, Vfs};
use super::{Attr, DirEntry, Error, IoMode, OpenHow, Opened, Result};

/// The folder's name.
const FOLDER_NAME: &str = ".assetfs";
/// The file's name in it.
const FILE_NAME: &str = "problems.txt";

/// Inodes that the allocator never reaches, and that no virtual folder has.
const FOLDER: Ino = Ino(1 << 61);
const FILE: Ino = Ino((1 << 61) + 1);

/// Whether an inode is one of these: its attributes change without a word to the kernel.
pub fn is_note(ino: Ino) -> bool {
    ino == FOLDER || ino == FILE
}

/// Whether it is the folder.
pub(super) fn is_notes_folder(ino: Ino) -> bool {
    ino == FOLDER
}

/// Whether a new node would take the folder's name.
pub(super) fn is_reserved(parent: Ino, name: &Name) -> bool {
    parent == Ino::ROOT && name.as_str() == FOLDER_NAME
}

/// What an attempt to change them is answered.
pub(super) fn refused() -> Error {
    Error::NotPermitted(format!("{FOLDER_NAME} is kept by assetfs itself"))
}

impl Inner {
    /// A note by name. In the root only what the store does not have is one.
    pub(super) fn find_note(&self, parent: Ino, name: &Name) -> Option<Attr> {
        if is_reserved(parent, name) {
            return Some(self.note_attr(FOLDER));
        }
        (parent == FOLDER && name.as_str() == FILE_NAME).then(|| self.note_attr(FILE))
    }

    /// The attributes of a note. Blocks.
    pub(super) fn note_attr(&self, ino: Ino) -> Attr {
        let (kind, size, perm) = match ino == FOLDER {
            true => (Kind::Folder, 0, 0o555),
            false => (Kind::File, self.attention_text().len() as u64, 0o444),
        };
        let now = self.clock.now();
        Attr {
            ino,
            kind,
            size,
            blocks: size.div_ceil(512),
            atime: now,
            mtime: now,
            ctime: now,
            crtime: now,
            perm: perm & !self.config.umask,
            nlink: 1,
            uid: self.config.uid,
            gid: self.config.gid,
        }
    }

    /// The folder's only listing. Blocks.
    pub(super) fn note_entries(&self) -> Vec<DirEntry> {
        let [dot, dots] = Name::dots();
        let mut entries = vec![(dot, self.note_attr(FOLDER))];
        entries.extend(self.attr(Ino::ROOT).ok().map(|root| (dots, root)));
        entries.extend(Name::new(FILE_NAME).ok().map(|name| (name, self.note_attr(FILE))));
        let numbered = entries.into_iter().zip(1..);
        numbered
            .map(|((name, attr), offset)| DirEntry { offset, name, attr })
            .collect()
    }
}

impl Vfs {
    /// Opens the file: the text of this moment, whatever happens while it is read.
    pub(super) async fn open_note(&self, how: OpenHow) -> Result<Opened> {
        if how.write || how.truncate {
            return Err(refused());
        }
        let text = self.blocking(|vfs| Ok(vfs.attention_text())).await?;
        Ok(Opened {
            is_new: false,
            forgets: false,
            fh: self.handles.add_note(Bytes::from(text)),
            // Its size may have changed since the kernel asked.
            io: IoMode::Direct,
            no_flush: true,
        })
    }
}
