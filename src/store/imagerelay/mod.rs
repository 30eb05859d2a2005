//! Image Relay: a digital-asset library, spoken to by its REST API v2.
//!
//! **Versions.** The service keeps no checksum and no version number, and `updated_on` moves with metadata as well as with
//! content. So a file's `version` is `<size>@<updated_on>` and its `revision` is `updated_on`:
//! - another size is other content;
//! - an equal size with a moved `updated_on` makes a body *suspect*: the caller settles it by the download's validator or by
//!   the bytes;
//! - an entry whose `revision` is the one already known has unchanged content, whatever its `version` says;
//! - a new file is not looked at after its upload: its entry has no `revision`, and the first one that is told belongs to the
//!   version that is known;
//! - after our own change of metadata or folders the answered entry keeps the `version` it was given, because its content
//!   did not change.
//!
//! **What costs a request** is the scarcest thing here: the tests count them. What was learnt on the way (folders' types,
//! keywords, what was read directly a moment ago) is kept in `known`, bounded, and never used to say that something is not
//! there.

mod api;
mod chunks;
mod content;
mod errors;
mod feed;
mod fields;
mod files;
mod finding;
mod folders;
mod keys;
mod known;
mod links;
mod pages;
mod pictures;
mod templates;
mod upload;
mod webhooks;
mod wire;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use lru::LruCache;
use parking_lot::Mutex;

use self::api::Api;
use self::chunks::ChunkLimit;
use self::known::Known;
use self::links::Links;
use self::templates::Templates;
use crate::http::{Client, Secret, Url};
use crate::model::{ContentVersion, Entry, FieldChanges, ItemId, Kind, Name, SharedClock, Timestamp};
use crate::store::{
    Account, Batches, Body, Capabilities, ChangeFeed, Changes, Collection, CreateFile, CreateFolder, Download,
    FieldName, Group, Groups, IdScheme, Listing, MoveFile, MoveFolder, Overwrite, Placement, Progress, Query, Reads,
    RenameFile, Result, SiblingNames, Sizes, Store, Support, UrlImport,
};

/// Reads `bytes` as every kind of answer of the service: for a fuzzer, since no answer may make this panic.
#[doc(hidden)]
pub fn read_anything(bytes: &[u8]) {
    wire::read_anything(bytes);
}

/// The public service.
pub const PUBLIC_BASE_URL: &str = "https://api.imagerelay.com/api/v2";
/// Requests per second that the service allows.
pub const REQUESTS_PER_SECOND: f64 = 5.0;
/// Requests of a day after which it was seen to refuse, about.
pub const REQUESTS_PER_DAY: u64 = 8_000;
/// Requests of a month that it allows.
pub const REQUESTS_PER_MONTH: u64 = 250_000;
/// Largest file that is uploaded again for a new name, in bytes, unless configured otherwise.
pub const RENAME_BYTES_MAX: u64 = 1 << 30;

/// Items whose fields are set at the same time.
const ITEMS_IN_FLIGHT_MAX: usize = 4;

/// How to log in.
#[derive(Clone, Debug)]
pub enum Auth {
    /// With an API key.
    ApiKey(Secret),
    /// With an OAuth access token.
    OAuth(Secret),
    /// With a name and a password: for development.
    Basic {
        /// The name.
        login: String,
        /// The password.
        password: Secret,
    },
}

/// How to speak to one account.
#[derive(Clone, Debug)]
pub struct ImageRelayConfig {
    /// [`PUBLIC_BASE_URL`], or the same path on the tenant's own host.
    pub base_url: Url,
    /// The login.
    pub auth: Auth,
    /// File type of new files, before any that a folder has.
    pub file_type: Option<u64>,
    /// Id or name of the keyword set in which unknown tags are made; without it they are refused.
    pub keyword_set: Option<String>,
    /// Largest file that is uploaded again for a new name, in bytes.
    pub rename_bytes_max: u64,
    /// File that lists the download links we made and have not deleted: it survives crashes.
    pub orphan_links_path: PathBuf,
}

/// What all parts of the store share.
struct Core {
    api: Arc<Api>,
    config: ImageRelayConfig,
    clock: SharedClock,
    known: Arc<Known>,
    templates: Templates,
    links: Links,
    chunks: ChunkLimit,
    /// What downloads of a version were named on the wire.
    validators: Mutex<LruCache<(u64, ContentVersion), String>>,
}

/// An Image Relay account as a store.
pub struct ImageRelay {
    core: Arc<Core>,
    capabilities: Capabilities,
}

impl ImageRelay {
    /// A store for one account; asks nothing yet. Reads the list of links that an earlier run left behind.
    pub fn new(config: ImageRelayConfig, client: Arc<Client>, clock: SharedClock) -> Result<Self> {
        let api = Arc::new(Api::new(
            client,
            config.base_url.clone(),
            config.auth.clone(),
            clock.clone(),
        ));
        let known = Arc::new(Known::new(clock.clone()));
        let validators_max = std::num::NonZeroUsize::MIN.saturating_add(5_000);
        let capabilities = capabilities(config.rename_bytes_max);
        let core = Core {
            templates: Templates::new(api.clone(), known.clone(), clock.clone()),
            links: Links::open(api.clone(), clock.clone(), config.orphan_links_path.clone())?,
            chunks: ChunkLimit::new(),
            validators: Mutex::new(LruCache::new(validators_max)),
            api,
            config,
            clock,
            known,
        };
        Ok(Self {
            core: Arc::new(core),
            capabilities,
        })
    }

    /// Whether files can be made in `folder` (where the drive begins): fails with the list of file types when it is not
    /// clear which one they get. A check before mounting for writing; up to two requests.
    pub async fn check_writable(&self, folder: &ItemId) -> Result<()> {
        let folder = keys::folder("choose the file type", folder)?;
        self.core.file_type_for(folder, &FieldChanges::new()).await.map(|_| ())
    }
}

fn capabilities(rename_bytes_max: u64) -> Capabilities {
    Capabilities {
        kind: "imagerelay",
        label: "Image Relay",
        reads: Reads::Ranged,
        ids: IdScheme::Stable,
        sibling_names: SiblingNames::Shared,
        overwrite: Overwrite::Replace,
        rename_file: RenameFile::Replace,
        move_file: MoveFile::Relocate,
        rename_folder: Support::Yes,
        move_folder: MoveFolder::Relocate,
        links: Support::Yes,
        server_copy: Support::Yes,
        copy_keeps_name: true,
        create_file: CreateFile::Anywhere,
        create_folder: CreateFolder::Anywhere,
        remove_folder: Support::Yes,
        empty_files: Support::Yes,
        sizes: Sizes::Late,
        change_feed: ChangeFeed::Feed,
        counts: Support::Yes,
        listing_lag_max: Duration::from_secs(300),
        file_bytes_max: None,
        rename_bytes_max,
        unlisted_names: Support::No,
        batches: Batches::NONE,
        search: Support::Yes,
        groups: Groups {
            tags: Support::Yes,
            recent: Support::Yes,
            collections: Support::Yes,
        },
        alters_content: false,
        trash: Some("the trash of the Image Relay web site"),
    }
}

#[async_trait]
impl Store for ImageRelay {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn account(&self) -> Result<Account> {
        let user = self.core.api.me().await?;
        let home = user.subdomain.and_then(|s| s.domain_with_sub_domain);
        let home = home.unwrap_or_else(|| self.core.api.host().to_owned());
        Ok(Account {
            id: format!("{home}/{}", user.id),
            label: user.login.or(user.email).unwrap_or_else(|| user.id.to_string()),
        })
    }

    async fn root(&self) -> Result<Entry> {
        let root = self.core.fetch_root().await?;
        Ok(self.core.folder_entry(&root))
    }

    fn list(&self, folder: &Entry) -> Listing {
        self.core.clone().list(folder)
    }

    fn subfolders(&self, folder: &Entry) -> Listing {
        self.core.clone().subfolders(folder)
    }

    async fn stat(&self, item: &ItemId) -> Result<Entry> {
        if item.key_in(keys::FOLDER).is_some() {
            let folder = self.core.fetch_folder(keys::folder("read folder", item)?).await?;
            return Ok(self.core.folder_entry(&folder));
        }
        self.core.stat_file(keys::file("read file", item)?).await
    }

    async fn details(&self, item: &Entry) -> Result<Vec<Entry>> {
        match item.id.key_in(keys::FOLDER) {
            Some(_) => Ok(vec![self.stat(&item.id).await?]),
            None => self.core.detailed(keys::file("read file", &item.id)?).await,
        }
    }

    async fn read(&self, file: &Entry, range: Range<u64>) -> Result<Download> {
        self.core.read(file, range).await
    }

    async fn create(
        &self,
        parent: &ItemId,
        name: &Name,
        body: &Body,
        fields: &FieldChanges,
        progress: &dyn Progress,
    ) -> Result<Entry> {
        self.check_name(name, Kind::File)?;
        self.core.create(parent, name, body, fields, progress).await
    }

    async fn replace(
        &self,
        item: &Entry,
        base: Option<&ContentVersion>,
        name: Option<&Name>,
        body: &Body,
        progress: &dyn Progress,
    ) -> Result<Entry> {
        if let Some(name) = name {
            self.check_name(name, Kind::File)?;
        }
        self.core.replace(item, base, name, body, progress).await
    }

    async fn create_folder(&self, parent: &ItemId, name: &Name) -> Result<Entry> {
        self.check_name(name, Kind::Folder)?;
        self.core.create_folder(parent, name).await
    }

    async fn relocate(&self, item: &Entry, to: &Placement) -> Result<Entry> {
        match item.kind {
            Kind::File => self.core.move_file(item, to).await,
            Kind::Folder => {
                check_folder_name(&to.name)?;
                self.core.move_folder(item, to).await
            }
        }
    }

    async fn link(&self, item: &Entry, into: &ItemId) -> Result<Entry> {
        self.core.link_file(item, into).await
    }

    async fn copy(&self, item: &Entry, parent: &ItemId, _name: &Name) -> Result<Entry> {
        self.core.duplicate(item, parent).await
    }

    async fn remove(&self, item: &Entry) -> Result<()> {
        match item.kind {
            Kind::File => self.core.remove_file(item).await,
            Kind::Folder => self.core.remove_folder(item).await,
        }
    }

    async fn set_fields(&self, items: &[Entry], changes: &FieldChanges) -> Result<Vec<Entry>> {
        let mut entries = Vec::with_capacity(items.len());
        for batch in items.chunks(ITEMS_IN_FLIGHT_MAX) {
            let set = batch.iter().map(|item| self.core.set_fields(item, changes));
            for entry in futures_util::future::join_all(set).await {
                entries.push(entry?);
            }
        }
        Ok(entries)
    }

    async fn check_fields(&self, item: &Entry, changes: &FieldChanges) -> Result<()> {
        self.core.check_fields(item, changes).await
    }

    fn field_name(&self, xattr: &str, kind: Kind) -> Option<FieldName> {
        fields::field_name(xattr, kind)
    }

    fn check_name(&self, name: &Name, kind: Kind) -> Result<()> {
        match kind {
            Kind::Folder => check_folder_name(&name.to_store()),
            Kind::File if name.to_store().contains('/') => Err(errors::invalid(
                "name a file",
                name.as_str(),
                "Image Relay takes no / in names",
            )),
            Kind::File if name.extension().is_empty() => {
                let why = "Image Relay takes only file names with an extension";
                Err(errors::invalid("name a file", name.as_str(), why))
            }
            Kind::File => Ok(()),
        }
    }

    async fn changes(&self, cursor: Option<&str>, _now: Timestamp) -> Result<Changes> {
        self.core.changes(cursor).await
    }

    async fn subscribe(&self, url: &str) -> Result<()> {
        self.core.subscribe(url).await
    }

    async fn unsubscribe(&self, url: &str) -> Result<()> {
        self.core.unsubscribe(url).await
    }

    fn delivered(&self, body: &[u8]) -> Option<ItemId> {
        webhooks::delivered(body)
    }

    fn check_query(&self, query: &Query) -> Result<()> {
        finding::parameters(query).map(|_| ())
    }

    async fn search(&self, query: &Query) -> Result<Vec<Entry>> {
        self.core.search(query).await
    }

    async fn group(&self, group: &Group, scope: &ItemId) -> Result<Vec<Entry>> {
        self.core.group(group, scope).await
    }

    async fn collections(&self) -> Result<Vec<Collection>> {
        self.core.collections().await
    }

    async fn add_to_collection(&self, collection: &ItemId, item: &Entry) -> Result<()> {
        self.core.add_to_collection(collection, item).await
    }

    fn ids_called(&self, key: &str) -> Vec<ItemId> {
        match key.parse() {
            Ok(id) => vec![keys::file_id(id), keys::folder_id(id)],
            Err(_) => Vec::new(),
        }
    }

    async fn thumbnail(&self, item: &Entry) -> Result<Bytes> {
        self.core.thumbnail(item).await
    }

    async fn set_thumbnail(&self, item: &Entry, image: Bytes, file_name: &str) -> Result<()> {
        self.core.set_thumbnail(item, image, file_name).await
    }

    async fn import_url(&self, import: &UrlImport) -> Result<Entry> {
        self.check_name(&import.name, Kind::File)?;
        self.core.import_url(import).await
    }

    async fn tidy(&self) -> Result<()> {
        self.core.links.tidy().await
    }
}

fn check_folder_name(name: &str) -> Result<()> {
    if name.contains(['/', '&', '<', '>']) {
        return Err(errors::invalid(
            "name a folder",
            name,
            "Image Relay takes none of / & < > in names of folders",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
