//! The interface every store implements, and the stores.
//!
//! A store speaks one server's protocol and nothing else: no caching of trees, no retries beyond the HTTP client's, no
//! journal. What a server lacks and can be composed from other calls is declared in [`Capabilities`] and composed once,
//! above the stores.

mod batches;
mod capabilities;
mod error;
pub mod from_http;
mod groups;
mod upload;

pub mod flextype;
pub mod im4;
pub mod imagerelay;
pub mod memory;
pub mod omeka;

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use crate::model::{ContentVersion, Encoding, Entry, FieldChanges, ItemId, Kind, Name, Timestamp};

pub use batches::{Batches, NewFile};
pub use capabilities::{
    Capabilities, ChangeFeed, CreateFile, CreateFolder, IdScheme, MoveFile, MoveFolder, Overwrite, Reads, RenameFile,
    SiblingNames, Sizes, Support,
};
pub use error::{ErrorKind, Retry, StoreError};
pub use groups::{Collection, Group, Groups};
pub use upload::{Body, Progress, Resume, UploadProgress};

/// What a store's call answers.
pub type Result<T> = std::result::Result<T, StoreError>;

/// A store that may be shared.
pub type SharedStore = Arc<dyn Store>;

/// Who is logged in: binds local state to an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Stable identity of account and server, without any secret.
    pub id: String,
    /// For people: a login or a mail address.
    pub label: String,
}

/// Batches of a folder's entries, in any order. The stream's end means "that was all"; an error means that nothing may
/// be concluded about what is missing.
pub type Listing = BoxStream<'static, Result<Vec<Entry>>>;

/// Bytes on their way.
pub type ByteStream = BoxStream<'static, Result<Bytes>>;

/// An answer to [`Store::read`].
pub struct Download {
    /// The bytes actually sent cover exactly `range` of the content.
    pub range: Range<u64>,
    /// The content's whole size, when the server told it.
    pub total: Option<u64>,
    /// What names these bytes on the wire (ETag, else Last-Modified): equal validators mean equal content.
    pub validator: Option<String>,
    /// The bytes; the store has made sure that they are content and not an error page.
    pub stream: ByteStream,
}

/// A part of an answer to [`Store::read_bundle`].
pub enum BundlePart {
    /// The next member begins: all data up to the next `Begin` are its bytes.
    Begin {
        /// Whose bytes follow.
        item: ItemId,
        /// Which version of them.
        version: ContentVersion,
    },
    /// Bytes of the current member.
    Data(Bytes),
    /// The current member is whole (its checksum, where there is one, was right).
    End,
}

/// How an extended attribute's name maps to a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldName {
    /// The store's own name (`term.Credit`, `tags`).
    pub field: String,
    /// How several values are written under the name that was asked for.
    pub encoding: Encoding,
}

/// What has changed since a cursor.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Where to go on next time; opaque text, kept by the catalog.
    pub cursor: String,
    /// Entries that are new or changed.
    pub changed: Vec<Entry>,
    /// Items that are surely gone.
    pub removed: Vec<ItemId>,
    /// Folders whose listing must be read again.
    pub stale: Vec<ItemId>,
}

/// A search, as the parts of a `.search/<query>` name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Free words.
    pub words: String,
    /// `filter=value` pairs in the store's own names.
    pub filters: Vec<(String, String)>,
    /// The folder it is asked in.
    pub scope: Option<ItemId>,
    /// Whether folders below the scope count.
    pub recursive: bool,
}

/// A file that the server is to fetch by itself.
#[derive(Clone, Debug)]
pub struct UrlImport {
    /// Where from; may carry a signature, so it is never logged.
    pub url: String,
    /// Folder it goes to.
    pub parent: ItemId,
    /// Its name.
    pub name: Name,
    /// Fields, the file type among them.
    pub fields: FieldChanges,
}

/// Where an item is to be: the whole of it, never a difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The name in the store's own spelling.
    pub name: String,
    /// Every folder it is to be in; never empty.
    pub parents: Vec<ItemId>,
}

/// One remote file store.
///
/// Calls are cancel-safe in the sense that dropping them leaves at worst an *ambiguous* outcome, as a lost answer does.
/// Mutations answer with the new [`Entry`] as the server told it.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// What works. Constant for the life of the store object.
    fn capabilities(&self) -> &Capabilities;

    /// Proves the login with one request and tells whose it is.
    async fn account(&self) -> Result<Account>;

    /// The root folder.
    async fn root(&self) -> Result<Entry>;

    /// The children of `folder`. The entry's own [`Entry::children`] may save requests.
    fn list(&self, folder: &Entry) -> Listing;

    /// The subfolders of `folder` alone, with the numbers of their children: the cheapest look at what became of many
    /// folders at once. Only with [`Capabilities::counts`].
    fn subfolders(&self, folder: &Entry) -> Listing {
        let unsupported = StoreError::unsupported("subfolders", folder.id.as_str());
        Box::pin(futures_util::stream::once(async { Err(unsupported) }))
    }

    /// One item, fresh. [`ErrorKind::NotFound`] only on the server's positive word.
    async fn stat(&self, item: &ItemId) -> Result<Entry>;

    /// An item with all its fields, of which a listing told only some, and all others that the same request completes. Who
    /// asks at the same time may get the same answer.
    async fn details(&self, item: &Entry) -> Result<Vec<Entry>> {
        Ok(vec![self.stat(&item.id).await?])
    }

    /// Whether `version` was that of an item which the server was still at work on, and so what comes of it by itself is
    /// nobody's change. Pure.
    fn was_unfinished(&self, version: &ContentVersion) -> bool {
        let _ = version;
        false
    }

    /// Whether the store refused a short while ago to remove this item, so that it would again: with the refusal. Pure.
    fn refuses_removal(&self, item: &ItemId) -> Result<()> {
        let _ = item;
        Ok(())
    }

    /// The child of `folder` that goes by `name` although no listing shows it (a project beyond the listed ones, a file
    /// in a folder that its server cannot list). Asked for when a name is looked up that is not known; `None`, at best
    /// without a request, when there is none.
    async fn lookup_unlisted(&self, folder: &Entry, name: &Name) -> Result<Option<Entry>> {
        let (_, _) = (folder, name);
        Ok(None)
    }

    /// Content of `file`; `range` lies within its size. A store with [`Reads::Whole`] ignores the range and answers
    /// the whole.
    async fn read(&self, file: &Entry, range: Range<u64>) -> Result<Download>;

    /// With [`Reads::Bundle`]: one download that carries `file` and its neighbours.
    async fn read_bundle(&self, file: &Entry) -> Result<BoxStream<'static, Result<BundlePart>>> {
        Err(StoreError::unsupported("read_bundle", file.id.as_str()))
    }

    /// A new file. `fields` travel inside the upload as far as the server can; the rest is set right after it. An entry
    /// without a revision is one that nobody has looked at since: the first look belongs to it
    /// ([`Entry::is_first_look`]).
    async fn create(
        &self,
        parent: &ItemId,
        name: &Name,
        body: &Body,
        fields: &FieldChanges,
        progress: &dyn Progress,
    ) -> Result<Entry>;

    /// New files of different names, all with the same fields, in one request as far as that goes; the outcome of each, in
    /// order. Only as many as [`Capabilities::batches`] says.
    async fn create_together(
        &self,
        parent: &ItemId,
        files: &[NewFile<'_>],
        fields: &FieldChanges,
    ) -> Vec<Result<Entry>> {
        let (_, _) = (parent, fields);
        batches::unsupported("create together", files.iter().map(|file| file.name.as_str()))
    }

    /// New content for `item` (as it was last known), and with `name` a new name in the same request. Fails with
    /// [`ErrorKind::Conflict`] when the store's version is no longer `base` (`None`: do not check).
    async fn replace(
        &self,
        item: &Entry,
        base: Option<&ContentVersion>,
        name: Option<&Name>,
        body: &Body,
        progress: &dyn Progress,
    ) -> Result<Entry> {
        let (_, _, _, _) = (base, name, body, progress);
        Err(StoreError::unsupported("replace", item.id.as_str()))
    }

    /// Brings in order what an upload has left ([`Resume::half_done`]) that is not gone on with, and of which `upload` is the
    /// last [`Resume::upload`]. An `item` that was to be replaced has its old content again, or the new one where that has got
    /// its place already. Repeating it changes nothing.
    async fn roll_back(&self, item: Option<&ItemId>, upload: &str) -> Result<()> {
        let (_, _) = (item, upload);
        Ok(())
    }

    /// A new folder.
    async fn create_folder(&self, parent: &ItemId, name: &Name) -> Result<Entry>;

    /// Brings `item` to the name and the folders of `to`, for the parts that the store can change natively. An item
    /// whose id is its path comes back with its new id.
    async fn relocate(&self, item: &Entry, to: &Placement) -> Result<Entry>;

    /// Brings files into the one folder `into`, out of all others and under their names; otherwise as
    /// [`Store::create_together`].
    async fn relocate_together(&self, items: &[Entry], into: &ItemId) -> Vec<Result<Entry>> {
        let _ = into;
        batches::unsupported("relocate together", items.iter().map(|item| item.id.as_str()))
    }

    /// Whether a move of the file `item` into the folder `into` is beyond [`Store::relocate`], although files move in
    /// general (im4: to another project). Such a move is EXDEV, so that programs copy and delete. Pure.
    fn crosses(&self, item: &Entry, into: &Entry) -> bool {
        let (_, _) = (item, into);
        false
    }

    /// Puts `item` into one more folder, with the others kept.
    async fn link(&self, item: &Entry, into: &ItemId) -> Result<Entry> {
        let _ = into;
        Err(StoreError::unsupported("link", item.id.as_str()))
    }

    /// An independent copy made by the server.
    async fn copy(&self, item: &Entry, parent: &ItemId, name: &Name) -> Result<Entry> {
        let (_, _) = (parent, name);
        Err(StoreError::unsupported("copy", item.id.as_str()))
    }

    /// Removes a file from everywhere, or a folder that the caller has seen to be empty; a store whose server would
    /// delete recursively checks for emptiness once more ([`ErrorKind::NotEmpty`]). The root is refused.
    async fn remove(&self, item: &Entry) -> Result<()>;

    /// Removes files from everywhere; otherwise as [`Store::create_together`].
    async fn remove_together(&self, items: &[Entry]) -> Vec<Result<()>> {
        batches::unsupported("remove together", items.iter().map(|item| item.id.as_str()))
    }

    /// Sets fields of one item or, with equal values, of many. Answers the items' new entries in order.
    async fn set_fields(&self, items: &[Entry], changes: &FieldChanges) -> Result<Vec<Entry>>;

    /// Whether `field` could be set to `values` on an item of this kind: the place for EINVAL and EPERM before anything
    /// is journaled. May ask the server once for its templates.
    async fn check_fields(&self, item: &Entry, changes: &FieldChanges) -> Result<()>;

    /// The field behind an extended attribute's name without `user.` (`imagerelay.term.Credit`, `xdg.tags`), if it is
    /// one of this store's.
    fn field_name(&self, xattr: &str, kind: Kind) -> Option<FieldName>;

    /// The extended attribute's name, without `user.`, under which a field is listed.
    fn xattr_name(&self, field: &str) -> String {
        format!("{}.{field}", self.capabilities().kind)
    }

    /// Whether `parent` may hold a new child of this kind; [`ErrorKind::Denied`] where its place in the store forbids it
    /// for good. Pure: asked before anything is created or moved there.
    fn may_hold(&self, parent: &Entry, kind: Kind) -> Result<()> {
        let (_, _) = (parent, kind);
        Ok(())
    }

    /// What a folder that is made in `parent` will be, as far as [`Store::may_hold`] and [`Store::may_enter`] go; `None`
    /// where all folders are alike. Pure.
    fn unborn(&self, parent: &Entry) -> Option<Entry> {
        let _ = parent;
        None
    }

    /// Whether `item` may get into the folder `into` at all; [`ErrorKind::Denied`] where its own place in the store
    /// forbids it for good. Pure: asked before anything is moved there.
    fn may_enter(&self, item: &Entry, into: &Entry) -> Result<()> {
        let (_, _) = (item, into);
        Ok(())
    }

    /// Whether the login may change anything at all. At most one request, and none where only trying would tell.
    async fn may_change(&self) -> Result<bool> {
        Ok(true)
    }

    /// Whether a new file of this name is refused the moment it is made: for names that the store never takes, and that
    /// no program gives to a temporary file which it renames when it is done. Pure.
    fn refuses_at_once(&self, name: &Name) -> Result<()> {
        let _ = name;
        Ok(())
    }

    /// Whether a new file may have this name; [`ErrorKind::Invalid`] with the store's rule otherwise. Pure.
    fn check_name(&self, name: &Name, kind: Kind) -> Result<()> {
        let (_, _) = (name, kind);
        Ok(())
    }

    /// Whether a field that can be written is among the attributes that programs are told of, and copy. Not when it only
    /// repeats what the file's name says, or what every new item has.
    fn lists_field(&self, item: &Entry, field: &str) -> bool {
        let (_, _) = (item, field);
        true
    }

    /// What has changed since `cursor`. `None`: proves that the store can tell, and answers a cursor no later than the making
    /// of this object, so that nothing is missed that happened after a listing. [`ErrorKind::Unsupported`] when it cannot
    /// tell after all. Only with a [`ChangeFeed`].
    async fn changes(&self, cursor: Option<&str>, now: Timestamp) -> Result<Changes> {
        let (_, _) = (cursor, now);
        Err(StoreError::unsupported("changes", ""))
    }

    /// Has the server tell `url` of changes, as far as it does not yet. The address has a secret in it.
    async fn subscribe(&self, url: &str) -> Result<()> {
        let _ = url;
        Err(StoreError::unsupported("subscribe", ""))
    }

    /// Takes back what [`Store::subscribe`] asked for.
    async fn unsubscribe(&self, url: &str) -> Result<()> {
        let _ = url;
        Ok(())
    }

    /// The item that a delivery from the server is about, if it is one. Nothing else in it is to be believed. Pure.
    fn delivered(&self, body: &[u8]) -> Option<ItemId> {
        let _ = body;
        None
    }

    /// Whether the store has the filters of `query` and takes their values; [`ErrorKind::Invalid`] otherwise, as far as
    /// that can be told without asking. Pure.
    fn check_query(&self, query: &Query) -> Result<()> {
        let _ = query;
        Ok(())
    }

    /// What a search finds: all of it, or an error.
    async fn search(&self, query: &Query) -> Result<Vec<Entry>> {
        let _ = query;
        Err(StoreError::unsupported("search", ""))
    }

    /// The members of a group, as far as they are in and below `scope`: all of them, or an error. Which groups there are is
    /// declared ([`Capabilities::groups`]).
    async fn group(&self, group: &Group, scope: &ItemId) -> Result<Vec<Entry>> {
        let _ = group;
        Err(StoreError::unsupported("read a group", scope.as_str()))
    }

    /// All collections.
    async fn collections(&self) -> Result<Vec<Collection>> {
        Err(StoreError::unsupported("list collections", ""))
    }

    /// Adds a file to a collection; one that is in it already stays.
    async fn add_to_collection(&self, collection: &ItemId, item: &Entry) -> Result<()> {
        let _ = collection;
        Err(StoreError::unsupported("add to a collection", item.id.as_str()))
    }

    /// The ids that an item may have whose key people see as `key`, the likeliest first. Pure.
    fn ids_called(&self, key: &str) -> Vec<ItemId> {
        vec![ItemId::new(key)]
    }

    /// A small picture of the file, as JPEG or PNG.
    async fn thumbnail(&self, item: &Entry) -> Result<Bytes> {
        Err(StoreError::unsupported("thumbnail", item.id.as_str()))
    }

    /// Gives the file another thumbnail.
    async fn set_thumbnail(&self, item: &Entry, image: Bytes, file_name: &str) -> Result<()> {
        let (_, _) = (image, file_name);
        Err(StoreError::unsupported("set_thumbnail", item.id.as_str()))
    }

    /// Lets the server fetch a file by itself.
    async fn import_url(&self, import: &UrlImport) -> Result<Entry> {
        Err(StoreError::unsupported("import_url", import.name.as_str()))
    }

    /// Where a person finds the item in a browser.
    fn web_url(&self, item: &Entry) -> Option<String> {
        let _ = item;
        None
    }

    /// Gives back what the store lent (quick links): called from time to time and at unmount. Bounded in time.
    async fn tidy(&self) -> Result<()> {
        Ok(())
    }
}
