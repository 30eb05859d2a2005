//! What a store can do. A capability is here only because the VFS, the cache or the journal branches on it; the
//! conformance suite proves each one in both directions.

use std::time::Duration;

/// Whether something works at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// It does.
    Yes,
    /// It is refused at once.
    No,
}

impl Support {
    /// As a condition.
    pub fn is_yes(self) -> bool {
        self == Support::Yes
    }
}

/// How content is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// Any byte range.
    Ranged,
    /// The whole file or nothing.
    Whole,
    /// The whole file together with its neighbours ([`super::Store::read_bundle`]).
    Bundle,
}

/// What identifies an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdScheme {
    /// An id that survives renames and moves.
    Stable,
    /// The path: a rename or move changes the item's id and that of everything below it.
    Path,
}

/// Whether two entries of one folder may have the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SiblingNames {
    /// They may.
    Shared,
    /// They may not: a name must be vacated before it is taken.
    Unique,
}

/// How a file gets new content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overwrite {
    /// [`super::Store::replace`] keeps the id.
    Replace,
    /// Upload anew, verify, carry fields over, remove the old one.
    Reupload,
}

/// How a file gets another name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenameFile {
    /// [`super::Store::relocate`].
    Relocate,
    /// [`super::Store::replace`] with the name and the same bytes; the id is kept.
    Replace,
    /// Upload anew under the new name, carry fields over, remove the old one.
    Reupload,
}

/// How a file gets into another folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoveFile {
    /// [`super::Store::relocate`].
    Relocate,
    /// Upload anew there, carry fields over, remove the old one.
    Reupload,
}

/// How a folder gets another parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoveFolder {
    /// [`super::Store::relocate`], to any folder that may hold it.
    Relocate,
    /// Not at all: EXDEV, so that programs copy and delete.
    Unsupported,
}

/// How children may be made in a folder; stores with levels answer per folder with
/// [`super::Store::check_name`]-like errors from the call itself, this is the coarse rule by depth (the root is 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateFile {
    /// In any folder.
    Anywhere,
    /// Only in folders at this depth or deeper.
    FromDepth(u32),
}

/// Where new folders may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateFolder {
    /// In any folder.
    Anywhere,
    /// Only in folders at a depth below this.
    AboveDepth(u32),
    /// Nowhere.
    Nowhere,
}

/// Whether listings tell sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// Always.
    Known,
    /// Not always: such files are read without the page cache until the size is known.
    Late,
}

/// How changes made by others are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeFeed {
    /// [`super::Store::changes`] tells new and changed items of the whole tree in few requests.
    Feed,
    /// Only by listing the folders in use again.
    Relist,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// `imagerelay`, `omeka`, `flextype`, `im4`, `memory`: also the prefix of the store's own extended attributes.
    pub kind: &'static str,
    /// For people: `Image Relay`.
    pub label: &'static str,
    /// How content is read.
    pub reads: Reads,
    /// What identifies an item.
    pub ids: IdScheme,
    /// Same names in one folder.
    pub sibling_names: SiblingNames,
    /// New content for a file.
    pub overwrite: Overwrite,
    /// Another name for a file.
    pub rename_file: RenameFile,
    /// Another folder for a file.
    pub move_file: MoveFile,
    /// Another name for a folder, by [`super::Store::relocate`]; otherwise EPERM.
    pub rename_folder: Support,
    /// Another parent for a folder.
    pub move_folder: MoveFolder,
    /// One file in several folders.
    pub links: Support,
    /// Whether [`super::Store::copy`] works.
    pub server_copy: Support,
    /// Whether a server-side copy keeps the source's name whatever is asked.
    pub copy_keeps_name: bool,
    /// Where files may be created.
    pub create_file: CreateFile,
    /// Where folders may be created.
    pub create_folder: CreateFolder,
    /// Whether folders can be removed at all.
    pub remove_folder: Support,
    /// Whether the store can hold a file without bytes.
    pub empty_files: Support,
    /// Whether listings tell sizes.
    pub sizes: Sizes,
    /// How remote changes are found.
    pub change_feed: ChangeFeed,
    /// Whether a folder's entry tells how many children it has, so that one request shows whether to list it again.
    pub counts: Support,
    /// How long a listing may lag behind a write. Where it may, what a listing leaves out is not believed to be gone until
    /// a direct read says so.
    pub listing_lag_max: Duration,
    /// The largest file that may be uploaded, in bytes.
    pub file_bytes_max: Option<u64>,
    /// Largest file that is re-uploaded for the sake of a rename or a move, in bytes; above it EFBIG.
    pub rename_bytes_max: u64,
    /// Whether [`super::Store::lookup_unlisted`] may find anything.
    pub unlisted_names: Support,
    /// How many files one request may be about.
    pub batches: super::Batches,
    /// Whether [`super::Store::search`] works.
    pub search: Support,
    /// What [`super::Store::group`] answers.
    pub groups: super::Groups,
    /// Whether the server may change the bytes of images that were sent (Flextype encodes them anew): the body is then
    /// fetched anew, and the sent bytes are kept aside. Other files are kept as they are.
    pub alters_content: bool,
    /// Where deleted items can be got back, for messages; `None`: nowhere.
    pub trash: Option<&'static str>,
}

impl Capabilities {
    /// Whether the server may keep other bytes than were sent for a file of this name. Pure.
    pub fn may_alter(&self, name: &str) -> bool {
        let is_image = || {
            mime_guess::from_path(name)
                .first()
                .is_some_and(|mime| mime.type_() == "image")
        };
        self.alters_content && is_image()
    }
}
