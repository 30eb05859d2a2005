//! The store itself: the interface on one side, the pieces of this module on the other.

use std::collections::{HashMap, HashSet, hash_map};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::http::{Client, Request, Url};
use crate::model::{ContentVersion, Entry, FieldChanges, ItemId, Kind, Name, SharedClock};
use crate::store::{
    Account, Batches, Body, BundlePart, Capabilities, ChangeFeed, CreateFile, CreateFolder, Download, ErrorKind,
    FieldName, Group, Groups, IdScheme, Listing, MoveFile, MoveFolder, NewFile, Overwrite, Placement, Progress, Query,
    Reads, RenameFile, Result, SiblingNames, Sizes, Store, StoreError, Support,
};

use super::api::{About, Api};
use super::bundle::Piece;
use super::config::Im4Config;
use super::decode::{self, File};
use super::download::{Reach, Walks};
use super::ids::Place;
use super::metadata::{self, IDS_A_REQUEST, Metadata, Shown};
use super::projects::{self, Memory, Sought};
use super::write::{self, Upload};
use super::{fields, finding, together};

/// Largest file that is sent again for the sake of another name, in bytes.
const RENAME_BYTES_MAX: u64 = 2 << 30;
/// Files of one upload: PHP leaves out those beyond its `max_file_uploads`, without a word, and that is 20 unless the site
/// raised it.
const CREATE_FILES_MAX: usize = 20;
/// Bytes of one upload of several files: what is sent again when the line breaks.
const CREATE_BYTES_MAX: u64 = 32 << 20;
/// Entries in one batch of a listing.
const BATCH_ENTRIES: usize = 1_000;

/// The projects of one im4 server, or a single one.
#[derive(Clone)]
pub struct Im4Store {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) api: Api,
    memory: Memory,
    pub(super) walks: Walks,
    pub(super) clock: SharedClock,
    capabilities: Capabilities,
}

impl Im4Store {
    /// A store over `client`, which must have been set up by [`Im4Config::client`].
    pub fn new(client: Arc<Client>, config: Im4Config, clock: SharedClock) -> Self {
        let capabilities = capabilities(&config);
        Self {
            inner: Arc::new(Inner {
                api: Api::new(client, config),
                memory: Memory::new(clock.clone()),
                walks: Walks::default(),
                clock,
                capabilities,
            }),
        }
    }

    pub(super) fn parts(&self) -> (&Api, &Memory) {
        (&self.inner.api, &self.inner.memory)
    }

    pub(super) fn root_place(&self) -> Place {
        self.inner.api.config.project.map_or(Place::Root, Place::Project)
    }

    /// A project's entry: the root itself when the store shows that project alone.
    pub(super) fn project_entry(&self, project: &decode::Project) -> Entry {
        let mut entry = projects::project_entry(project);
        if self.root_place() == Place::Project(project.id) {
            entry.parents.clear();
        }
        entry
    }

    async fn categories(&self, project: u64) -> Result<Vec<Entry>> {
        let (api, memory) = self.parts();
        let files = projects::files(api, memory, project).await?;
        let categories = projects::categories(api, memory, project, &files).await?;
        let entries = categories
            .iter()
            .map(|category| projects::category_entry(project, category, &files));
        Ok(entries.collect())
    }

    async fn files(&self, project: u64, category: u64) -> Result<Vec<Entry>> {
        let (api, memory) = self.parts();
        let files = projects::files(api, memory, project).await?;
        let entries = files.iter().filter(|file| file.category == category);
        let entries: Vec<Entry> = entries.map(|file| projects::file_entry(project, file)).collect();
        if entries.is_empty() && category != 0 {
            // Nothing in it, or not there: only the list of categories tells them apart.
            let known = projects::categories(api, memory, project, &files).await?;
            if !known.iter().any(|known| known.id == category) {
                return Err(Place::Category(project, category).error(ErrorKind::NotFound, "list"));
            }
        }
        Ok(entries)
    }

    /// All projects, a page at a time.
    fn all_projects(&self) -> Listing {
        let store = self.clone();
        async_stream::try_stream! {
            let mut seen = HashSet::new();
            let mut skip = Some(0);
            while let Some(from) = skip {
                let page = projects::page(&store.inner.api, from, &Sought::default()).await?;
                skip = page.next;
                let new: Vec<_> = page.projects.iter().filter(|project| seen.insert(project.id)).collect();
                if new.is_empty() {
                    // The last page, or a server that always tells all of them.
                    break;
                }
                yield new.into_iter().map(|project| store.project_entry(project)).collect();
            }
        }
        .boxed()
    }

    /// The file, fresh, when it still lies where it was last seen: a category is asked for once, however many are looked for.
    async fn among(
        &self,
        item: &ItemId,
        looked: &mut HashMap<(u64, u64), HashMap<u64, File>>,
    ) -> Result<Option<Entry>> {
        let (api, memory) = self.parts();
        let Place::File(project, id) = Place::of(item)? else {
            return Ok(None);
        };
        let Some(category) = memory.category_of(project, id) else {
            return Ok(None);
        };
        let files = match looked.entry((project, category)) {
            hash_map::Entry::Occupied(known) => known.into_mut(),
            hash_map::Entry::Vacant(unknown) => {
                let files = match projects::category_files(api, memory, project, category).await {
                    Ok(files) => files,
                    Err(error) if error.is_not_found() => Vec::new(),
                    Err(error) => return Err(error),
                };
                unknown.insert(files.into_iter().map(|file| (file.id, file)).collect())
            }
        };
        Ok(files.get(&id).map(|file| projects::file_entry(project, file)))
    }

    /// All of them, fresh.
    async fn look_at(&self, items: &[Entry]) -> Result<Vec<Entry>> {
        let mut looked: HashMap<(u64, u64), HashMap<u64, File>> = HashMap::new();
        let mut entries = Vec::with_capacity(items.len());
        for item in items {
            entries.push(match self.among(&item.id, &mut looked).await? {
                Some(entry) => entry,
                None => self.stat(&item.id).await?,
            });
        }
        Ok(entries)
    }

    fn is_unheard(&self, sent: &Metadata, entries: &[Entry]) -> bool {
        let files = entries.iter().filter(|entry| entry.kind == Kind::File);
        metadata::is_unheard(&self.inner.api, sent, files.map(|entry| Some(Shown::entry(entry))))
    }
}

fn capabilities(config: &Im4Config) -> Capabilities {
    Capabilities {
        kind: "im4",
        label: "im4",
        reads: Reads::Bundle,
        ids: IdScheme::Stable,
        sibling_names: SiblingNames::Shared,
        overwrite: Overwrite::Reupload,
        rename_file: RenameFile::Reupload,
        move_file: MoveFile::Relocate,
        rename_folder: Support::No,
        move_folder: MoveFolder::Unsupported,
        links: Support::No,
        server_copy: Support::No,
        copy_keeps_name: false,
        // Files lie in categories.
        create_file: CreateFile::FromDepth(if config.project.is_some() { 1 } else { 2 }),
        create_folder: CreateFolder::Nowhere,
        remove_folder: Support::No,
        empty_files: Support::Yes,
        sizes: Sizes::Late,
        change_feed: ChangeFeed::Relist,
        counts: Support::No,
        listing_lag_max: Duration::ZERO,
        file_bytes_max: None,
        rename_bytes_max: RENAME_BYTES_MAX,
        unlisted_names: Support::Yes,
        batches: Batches {
            create_files_max: CREATE_FILES_MAX,
            create_bytes_max: CREATE_BYTES_MAX,
            relocate_files_max: IDS_A_REQUEST,
            remove_files_max: IDS_A_REQUEST,
            set_fields_files_max: IDS_A_REQUEST,
        },
        search: Support::Yes,
        groups: Groups {
            recent: Support::Yes,
            ..Groups::NONE
        },
        alters_content: false,
        trash: None,
    }
}

fn batches(entries: Vec<Entry>) -> Listing {
    let batches: Vec<Result<Vec<Entry>>> = entries.chunks(BATCH_ENTRIES).map(|batch| Ok(batch.to_vec())).collect();
    stream::iter(batches).boxed()
}

#[async_trait]
impl Store for Im4Store {
    fn capabilities(&self) -> &Capabilities {
        &self.inner.capabilities
    }

    async fn account(&self) -> Result<Account> {
        let api = &self.inner.api;
        let about = About {
            operation: "log in",
            place: Place::Root,
        };
        // How a version is told is documented nowhere; that it is told to this client is what counts.
        let answer = api
            .call(Request::get(api.url(&["version"]), "GET /version"), about)
            .await?;
        if answer.is_html() {
            return Err(about
                .error(ErrorKind::Protocol)
                .because("a page for people instead of the server's version"));
        }
        let base: &Url = &api.config.base;
        let host = base.host_str().unwrap_or_default();
        let port = base.port().map(|port| format!(":{port}")).unwrap_or_default();
        let client = &api.config.client_id;
        Ok(Account {
            id: format!("im4:{host}{port}{}#{client}", base.path().trim_end_matches('/')),
            label: format!("{client} at {host}{port}"),
        })
    }

    async fn root(&self) -> Result<Entry> {
        match self.root_place() {
            Place::Project(project) => {
                let project = projects::project(&self.inner.api, project).await?;
                Ok(self.project_entry(&project))
            }
            Place::Root | Place::Category(..) | Place::File(..) => Ok(Entry::folder(Place::Root.id(), "", Vec::new())),
        }
    }

    fn list(&self, folder: &Entry) -> Listing {
        let place = match Place::of(&folder.id) {
            Ok(Place::Root) => return self.all_projects(),
            Ok(place) => place,
            Err(error) => return stream::once(async { Err(error) }).boxed(),
        };
        let store = self.clone();
        let entries = async move {
            match place {
                Place::Project(project) => store.categories(project).await,
                Place::Category(project, category) => {
                    let files = store.files(project, category).await?;
                    if files.is_empty() {
                        // A category that is gone may be listed as an empty one.
                        store.stat(&place.id()).await?;
                    }
                    Ok(files)
                }
                Place::Root | Place::File(..) => Err(place.error(ErrorKind::Invalid, "list")),
            }
        };
        stream::once(entries).map_ok(batches).try_flatten().boxed()
    }

    async fn stat(&self, item: &ItemId) -> Result<Entry> {
        let (api, memory) = self.parts();
        match Place::of(item)? {
            Place::Root => self.root().await,
            Place::Project(project) => {
                let project = projects::project(api, project).await?;
                Ok(self.project_entry(&project))
            }
            place @ Place::Category(project, _) => {
                let categories = self.categories(project).await?;
                let found = categories.into_iter().find(|category| category.id == *item);
                found.ok_or_else(|| place.error(ErrorKind::NotFound, "stat"))
            }
            Place::File(project, id) => {
                let file = projects::file(api, memory, project, id).await?;
                Ok(projects::file_entry(project, &file))
            }
        }
    }

    async fn details(&self, item: &Entry) -> Result<Vec<Entry>> {
        let (api, memory) = self.parts();
        if let Place::File(project, id) = Place::of(&item.id)?
            && let Some(category) = memory.category_of(project, id)
        {
            let files = projects::details(api, memory, project, category).await?;
            if files.iter().any(|file| file.id == id) {
                return Ok(files.iter().map(|file| projects::file_entry(project, file)).collect());
            }
        }
        // Moved by somebody, or never seen.
        Ok(vec![self.stat(&item.id).await?])
    }

    fn was_unfinished(&self, version: &ContentVersion) -> bool {
        projects::is_queued(version)
    }

    fn refuses_removal(&self, item: &ItemId) -> Result<()> {
        match Place::of(item)? {
            Place::File(project, id) if self.inner.memory.is_kept(project, id) => Err(write::kept(project, id)),
            Place::Root | Place::Project(_) | Place::Category(..) | Place::File(..) => Ok(()),
        }
    }

    async fn lookup_unlisted(&self, folder: &Entry, name: &Name) -> Result<Option<Entry>> {
        if Place::of(&folder.id)? != Place::Root {
            return Ok(None);
        }
        // A project that is too old for the listing is still reached by the id in its name.
        let Some(id) = decode::project_id_in(name.as_str()) else {
            return Ok(None);
        };
        match projects::project(&self.inner.api, id).await {
            Ok(project) => Ok(Some(self.project_entry(&project))),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn read(&self, file: &Entry, _range: Range<u64>) -> Result<Download> {
        let about = About {
            operation: "read",
            place: Place::of(&file.id)?,
        };
        // For this file alone: what else would come is not kept.
        let (wanted, mut pieces) = self.download(file, Reach::Category).await?;
        let project = wanted.project;
        while let Some(piece) = pieces.next().await {
            let Piece::Begin {
                file: begun,
                size_bytes,
            } = piece?
            else {
                continue;
            };
            if Place::File(project, begun.id) != about.place {
                continue;
            }
            let size = size_bytes.or(begun.size_bytes).ok_or_else(|| {
                about
                    .error(ErrorKind::Protocol)
                    .because("the download does not tell how long the file is")
            })?;
            let bytes = pieces.try_take_while(|piece| std::future::ready(Ok(!matches!(piece, Piece::End))));
            let stream = bytes.try_filter_map(|piece| async move {
                Ok(match piece {
                    Piece::Data(bytes) => Some(bytes),
                    Piece::Begin { .. } | Piece::End => None,
                })
            });
            return Ok(Download {
                range: 0..size,
                total: Some(size),
                validator: None,
                stream: stream.boxed(),
            });
        }
        self.inner.memory.forget(project);
        Err(wanted.absent())
    }

    async fn read_bundle(&self, file: &Entry) -> Result<BoxStream<'static, Result<BundlePart>>> {
        let (wanted, mut pieces) = self.download(file, Reach::Project).await?;
        let project = wanted.project;
        let store = self.clone();
        let parts = async_stream::try_stream! {
            let mut is_there = false;
            while let Some(piece) = pieces.next().await {
                if piece.is_err() {
                    store.inner.memory.forget(project);
                }
                yield match piece? {
                    Piece::Begin { file, .. } => {
                        let place = Place::File(project, file.id);
                        is_there |= file.id == wanted.file;
                        BundlePart::Begin { item: place.id(), version: file.version }
                    }
                    Piece::Data(bytes) => BundlePart::Data(bytes),
                    Piece::End => BundlePart::End,
                };
            }
            if !is_there {
                store.inner.memory.forget(project);
                Err(wanted.absent())?;
            }
        };
        Ok(parts.boxed())
    }

    async fn create(
        &self,
        parent: &ItemId,
        name: &Name,
        body: &Body,
        fields: &FieldChanges,
        progress: &dyn Progress,
    ) -> Result<Entry> {
        let place = Place::of(parent)?;
        self.may_hold(&Entry::folder(parent.clone(), "", Vec::new()), Kind::File)?;
        let Place::Category(project, category) = place else {
            return Err(place.error(ErrorKind::Denied, "upload"));
        };
        let (api, memory) = self.parts();
        let name = name.to_store();
        let new = Upload {
            project,
            category,
            name: &name,
            body,
        };
        write::create(api, memory, &new, fields, progress).await
    }

    async fn create_together(
        &self,
        parent: &ItemId,
        files: &[NewFile<'_>],
        fields: &FieldChanges,
    ) -> Vec<Result<Entry>> {
        let (api, memory) = self.parts();
        together::create(api, memory, parent, files, fields).await
    }

    async fn create_folder(&self, parent: &ItemId, _name: &Name) -> Result<Entry> {
        let refused = Place::of(parent)?.error(ErrorKind::Denied, "make a folder");
        Err(refused.because("im4 makes projects and categories only in its own application"))
    }

    async fn relocate(&self, item: &Entry, to: &Placement) -> Result<Entry> {
        const OPERATION: &str = "move";
        let (api, memory) = self.parts();
        let place = Place::of(&item.id)?;
        let Place::File(project, id) = place else {
            let refused = place.error(ErrorKind::Denied, OPERATION);
            return Err(refused.because("im4 moves projects and categories only in its own application"));
        };
        let unsupported = |why: &str| Err(place.error(ErrorKind::Unsupported, OPERATION).because(why.to_owned()));
        if to.name != item.name {
            return unsupported("im4 cannot rename a file");
        }
        let [parent] = to.parents.as_slice() else {
            return unsupported("a file is in exactly one category");
        };
        match Place::of(parent)? {
            Place::Category(other, category) if other == project => {
                let file = write::recategorise(api, memory, project, id, category).await?;
                Ok(projects::file_entry(project, &file))
            }
            Place::Category(..) => unsupported("im4 cannot move a file to another project"),
            Place::Root | Place::Project(_) | Place::File(..) => unsupported("files lie in categories"),
        }
    }

    async fn relocate_together(&self, items: &[Entry], into: &ItemId) -> Vec<Result<Entry>> {
        let (api, memory) = self.parts();
        together::recategorise(api, memory, items, into).await
    }

    async fn remove_together(&self, items: &[Entry]) -> Vec<Result<()>> {
        let (api, memory) = self.parts();
        together::remove(api, memory, items).await
    }

    fn crosses(&self, item: &Entry, into: &Entry) -> bool {
        match (Place::of(&item.id), Place::of(&into.id)) {
            (Ok(Place::File(project, _)), Ok(Place::Category(other, _))) => project != other,
            _ => false,
        }
    }

    async fn remove(&self, item: &Entry) -> Result<()> {
        let (api, memory) = self.parts();
        match Place::of(&item.id)? {
            Place::File(project, id) => write::remove(api, memory, project, id).await,
            place @ (Place::Root | Place::Project(_) | Place::Category(..)) => {
                let refused = place.error(ErrorKind::Denied, "remove");
                Err(refused.because("im4 removes projects and categories only in its own application"))
            }
        }
    }

    async fn set_fields(&self, items: &[Entry], changes: &FieldChanges) -> Result<Vec<Entry>> {
        let (api, memory) = self.parts();
        for item in items {
            fields::check(item, changes)?;
        }
        let mut files = Vec::new();
        for item in items {
            match (Place::of(&item.id)?, changes.get(fields::ORDER)) {
                (Place::Category(project, category), Some(wanted)) => {
                    write::set_category_order(api, memory, item, (project, category), wanted).await?;
                }
                _ => files.push(item.clone()),
            }
        }
        let sent = write::set_fields(api, memory, &files, changes).await?;
        let entries = self.look_at(items).await?;
        if !self.is_unheard(&sent, &entries) {
            return Ok(entries);
        }
        write::set_again(api, memory, &files, &sent).await?;
        let entries = self.look_at(items).await?;
        if self.is_unheard(&sent, &entries) {
            metadata::give_up(api);
        }
        Ok(entries)
    }

    async fn check_fields(&self, item: &Entry, changes: &FieldChanges) -> Result<()> {
        fields::check(item, changes)
    }

    fn lists_field(&self, item: &Entry, field: &str) -> bool {
        fields::is_listed(item, field)
    }

    fn field_name(&self, xattr: &str, kind: Kind) -> Option<FieldName> {
        fields::by_xattr(xattr, kind)
    }

    fn may_hold(&self, parent: &Entry, kind: Kind) -> Result<()> {
        let place = Place::of(&parent.id)?;
        let refuse = |why: String| Err(place.error(ErrorKind::Denied, "put something there").because(why));
        match (place, kind) {
            (Place::Category(..), Kind::File) => Ok(()),
            (_, Kind::File) => {
                let uncategorized = projects::UNCATEGORIZED;
                refuse(format!(
                    "files lie in categories: put it into one, or into {uncategorized:?}"
                ))
            }
            (_, Kind::Folder) => refuse("im4 makes projects and categories only in its own application".to_owned()),
        }
    }

    fn check_name(&self, name: &Name, kind: Kind) -> Result<()> {
        match kind {
            Kind::File if name.as_str().contains(['\r', '\n']) => {
                let refused = StoreError::new(ErrorKind::Invalid, "check the name", name.as_str());
                Err(refused.because("a name with a line break cannot be uploaded"))
            }
            Kind::File | Kind::Folder => Ok(()),
        }
    }

    fn check_query(&self, query: &Query) -> Result<()> {
        finding::sought(query).map(|_| ())
    }

    async fn search(&self, query: &Query) -> Result<Vec<Entry>> {
        self.find(query).await
    }

    async fn group(&self, group: &Group, scope: &ItemId) -> Result<Vec<Entry>> {
        self.recent(group, scope, self.inner.clock.now()).await
    }

    fn ids_called(&self, key: &str) -> Vec<ItemId> {
        // `12` is a project, `12-2` a category or a file.
        let namespaces: &[&str] = if key.contains('-') {
            &["file", "category"]
        } else {
            &["project"]
        };
        let ids = namespaces.iter().map(|namespace| ItemId::of(namespace, key));
        ids.filter(|id| Place::of(id).is_ok()).collect()
    }

    async fn thumbnail(&self, item: &Entry) -> Result<Bytes> {
        let (api, memory) = self.parts();
        let place = Place::of(&item.id)?;
        let about = About {
            operation: "thumbnail",
            place,
        };
        let Place::File(project, id) = place else {
            return Err(about.error(ErrorKind::Unsupported));
        };
        let preview = projects::file(api, memory, project, id).await?.preview;
        let url = preview
            .and_then(|text| Url::parse(&text).ok())
            .ok_or_else(|| about.error(ErrorKind::Unsupported))?;
        // The token goes to the server itself and to nobody else.
        if url.origin() != api.config.base.origin() {
            return Err(about
                .error(ErrorKind::Unsupported)
                .because("the preview lies on another server"));
        }
        let answer = api
            .call(Request::get(url, "GET preview").unbudgeted().safe(), about)
            .await?;
        Ok(answer.body)
    }
}
