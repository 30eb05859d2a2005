//! The store: each operation as calls of the API.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Map, Value, json};
use xxhash_rust::xxh3::xxh3_64;

use crate::http::{Client, Url};
use crate::model::{Encoding, Entry, FieldChanges, ItemId, Kind, Name, SharedClock, Timestamp};
use crate::store::{
    Account, Batches, Body, Capabilities, ChangeFeed, Changes, CreateFile, CreateFolder, Download, ErrorKind,
    FieldName, Group, Groups, IdScheme, Listing, MoveFile, MoveFolder, Overwrite, Placement, Progress, Query, Reads,
    RenameFile, Result, SiblingNames, Sizes, Store, StoreError, Support,
};

use super::ahead::Ahead;
use super::api::Api;
use super::changes::{Feed, FileCounts};
use super::config::OmekaConfig;
use super::id::{Id, Resource};
use super::names::{Names, title_of};
use super::pages::{Params, batches, param};
use super::upload::{NameLocks, Note, Upload, Uploader};
use super::vocabulary::Vocabulary;
use super::{decode, download, fields, finding, search};

/// An Omeka Classic site.
pub struct OmekaStore {
    config: OmekaConfig,
    capabilities: Capabilities,
    site: Url,
    api: Api,
    pub(super) vocabulary: Arc<Vocabulary>,
    names: Arc<Names>,
    counts: FileCounts,
    ahead: Ahead,
    uploader: Uploader,
}

impl OmekaStore {
    /// The site at the address of `config`, asked through `client` (see [`OmekaConfig::client`]).
    pub fn new(config: OmekaConfig, client: Arc<Client>, clock: SharedClock) -> Self {
        let api = Api::new(client, config.api.clone(), config.key.clone());
        let vocabulary = Arc::new(Vocabulary::new(api.clone(), clock.clone()));
        let names = Arc::new(Names::new(config.allow_all_extensions, clock.clone()));
        Self {
            capabilities: capabilities(&config),
            site: config.site(),
            counts: FileCounts::default(),
            ahead: Ahead::new(clock.clone()),
            uploader: Uploader {
                api: api.clone(),
                vocabulary: vocabulary.clone(),
                names: names.clone(),
                clock,
                busy: NameLocks::default(),
            },
            api,
            vocabulary,
            names,
            config,
        }
    }

    fn entry(&self, resource: Resource, record: &Value) -> Result<Entry> {
        decode::entry(resource, record, &self.site)
    }

    /// Entries of one list, batch by batch.
    pub(super) fn entries(&self, resource: Resource, params: Params) -> Listing {
        let (site, counts, ahead) = (self.site.clone(), self.counts.clone(), self.ahead.clone());
        batches(self.api.clone(), resource, params)
            .map(move |batch| {
                let batch = batch?;
                if resource == Resource::Items {
                    counts.note(&batch);
                    ahead.note(&batch);
                }
                batch
                    .iter()
                    .map(|record| decode::entry(resource, record, &site))
                    .collect()
            })
            .boxed()
    }

    /// The site lists a folder that is gone as an empty one. So before an empty listing is believed, the folder itself is
    /// asked for.
    fn unless_gone(&self, folder: Id, entries: Listing) -> Listing {
        let api = self.api.clone();
        let start = (entries, true);
        stream::try_unfold(start, move |(mut entries, empty)| {
            let api = api.clone();
            async move {
                match entries.try_next().await? {
                    Some(batch) => {
                        let empty = empty && batch.is_empty();
                        Ok(Some((batch, (entries, empty))))
                    }
                    None if empty => api.get(folder).await.map(|_| None),
                    None => Ok(None),
                }
            }
        })
        .boxed()
    }

    /// The files of an item.
    fn files(&self, item: u64) -> Listing {
        let asked = self.unless_gone(Id::Item(item), self.entries(Resource::Files, vec![param("item", item)]));
        let (ahead, api, site) = (self.ahead.clone(), self.api.clone(), self.site.clone());
        stream::once(async move {
            match ahead.files_of(&api, item).await {
                Some(files) => {
                    let entries = files.iter().map(|file| decode::entry(Resource::Files, file, &site));
                    stream::once(std::future::ready(entries.collect())).boxed()
                }
                None => asked,
            }
        })
        .flatten()
        .boxed()
    }

    /// PUTs `body`, and makes sure that all of it was taken.
    async fn change(&self, id: Id, body: Map<String, Value>, operation: &'static str) -> Result<Entry> {
        let answer = self.api.put(id, &Value::from(body.clone()), operation).await?;
        fields::took(&body, &answer)?;
        self.entry(id.resource().0, &answer)
    }

    fn check_may_write(&self, operation: &'static str, item: &str) -> Result<()> {
        if self.api.has_key() {
            return Ok(());
        }
        Err(StoreError::new(ErrorKind::Denied, operation, item).because("the site takes changes with a key only"))
    }

    /// A new collection or item of this title.
    async fn make_folder(&self, resource: Resource, name: &Name, mut body: Map<String, Value>) -> Result<Entry> {
        let title = name.to_store();
        fields::check_text("title", &title)?;
        let changes = title_of(&title);
        let words = self.vocabulary.words(&fields::names_to_know(&changes)).await?;
        body.extend(fields::body(&Value::Null, &changes, &words)?);
        body.insert("public".to_owned(), Value::from(self.config.public));
        let answer = self
            .api
            .post(resource, &Value::from(body.clone()), name.as_str())
            .await?;
        // Done already: what the site made of it is shown as it is.
        if let Err(differs) = fields::took(&body, &answer) {
            tracing::warn!(%differs, "a new folder is not quite as it was asked for");
        }
        self.entry(resource, &answer)
    }

    /// The item that a new file goes into; with [`OmekaConfig::item_per_file`] one that is made for it, or was by an
    /// earlier attempt.
    async fn item_for(&self, parent: &ItemId, name: &Name, progress: &dyn Progress) -> Result<(u64, Made)> {
        match Id::parse(parent)? {
            Id::Item(item) => Ok((item, Made::Before)),
            place @ (Id::Collection(_) | Id::Site) if self.config.item_per_file => {
                if let Some(note) = Note::read(progress) {
                    return Ok((note.item, Made::ForThis));
                }
                let body = match place {
                    Id::Collection(collection) => in_collection(collection),
                    Id::Site | Id::Item(_) | Id::File(_) => Map::new(),
                };
                let item = self.make_folder(Resource::Items, name, body).await?;
                let (_, item) = Id::parse(&item.id)?.resource();
                Note { item, newest: None }.save(progress);
                Ok((item, Made::ForThis))
            }
            Id::Site | Id::Collection(_) | Id::File(_) => Err(no_place(parent, Kind::File)),
        }
    }

    async fn check_empty(&self, id: Id) -> Result<()> {
        let empty = match id {
            Id::Collection(number) => {
                super::pages::total(&self.api, Resource::Items, &vec![param("collection", number)]).await? == 0
            }
            Id::Item(number) => self.uploader.is_empty(number).await?,
            Id::Site | Id::File(_) => true,
        };
        if empty {
            return Ok(());
        }
        Err(StoreError::new(ErrorKind::NotEmpty, "remove", id.to_item_id().as_str()))
    }

    /// The parts of a move and rename that one PUT can make.
    async fn relocation(&self, item: &Entry, id: Id, to: &Placement) -> Result<Map<String, Value>> {
        let [parent] = to.parents.as_slice() else {
            return Err(StoreError::unsupported("place in several folders", item.id.as_str()));
        };
        let mut body = Map::new();
        if !item.parents.contains(parent) {
            match (id, Id::parse(parent)?) {
                (Id::Item(_), Id::Collection(number)) => body = in_collection(number),
                (Id::Item(_), Id::Site) => {
                    return Err(StoreError::unsupported("take out of its collection", item.id.as_str()));
                }
                (_, _) => return Err(no_place(parent, item.kind)),
            }
        }
        if item.name != to.name {
            fields::check_text("title", &to.name)?;
            let record = self.api.get(id).await?;
            let mut changes = title_of(&to.name);
            // A record may have several titles; the first is the name.
            let titles = self.entry(id.resource().0, &record)?.fields.remove(decode::TITLE);
            let others = titles.into_iter().flat_map(|titles| titles.values).skip(1);
            changes.values_mut().for_each(|values| values.extend(others.clone()));
            let words = self.vocabulary.words(&fields::names_to_know(&changes)).await?;
            body.extend(fields::body(&record, &changes, &words)?);
        }
        Ok(body)
    }
}

/// Whether an item was there or is made for one upload.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Made {
    Before,
    ForThis,
}

fn in_collection(number: u64) -> Map<String, Value> {
    let mut body = Map::new();
    body.insert("collection".to_owned(), json!({ "id": number }));
    body
}

fn no_place(parent: &ItemId, kind: Kind) -> StoreError {
    let why = match kind {
        Kind::File => "files are only possible inside items",
        Kind::Folder => "folders are only possible at the top and in collections",
    };
    StoreError::new(ErrorKind::Denied, "create in", parent.as_str()).because(why)
}

fn capabilities(config: &OmekaConfig) -> Capabilities {
    Capabilities {
        kind: "omeka",
        label: "Omeka",
        reads: Reads::Ranged,
        ids: IdScheme::Stable,
        sibling_names: SiblingNames::Shared,
        overwrite: Overwrite::Reupload,
        rename_file: RenameFile::Reupload,
        move_file: MoveFile::Reupload,
        rename_folder: Support::Yes,
        move_folder: MoveFolder::Relocate,
        links: Support::No,
        server_copy: Support::No,
        copy_keeps_name: false,
        create_file: CreateFile::FromDepth(if config.item_per_file { 0 } else { 1 }),
        create_folder: CreateFolder::AboveDepth(2),
        remove_folder: Support::Yes,
        empty_files: Support::No,
        sizes: Sizes::Known,
        change_feed: ChangeFeed::Feed,
        counts: Support::No,
        listing_lag_max: Duration::ZERO,
        file_bytes_max: config.file_bytes_max,
        rename_bytes_max: config.rename_bytes_max,
        unlisted_names: Support::No,
        batches: Batches::NONE,
        search: Support::Yes,
        groups: Groups {
            tags: Support::Yes,
            recent: Support::Yes,
            collections: Support::No,
        },
        alters_content: false,
        trash: None,
    }
}

#[async_trait]
impl Store for OmekaStore {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn account(&self) -> Result<Account> {
        // A wrong key is refused even for what anybody may see.
        let site = self.api.get(Id::Site).await?;
        let title = site["title"].as_str().unwrap_or("Omeka");
        let (who, label) = match self.api.key() {
            Some(key) => (
                format!("{:016x}", xxh3_64(key.expose().as_bytes())),
                format!("a key for {title}"),
            ),
            None => ("anonymous".to_owned(), format!("nobody, at {title}")),
        };
        Ok(Account {
            id: format!("{}#{who}", self.site),
            label,
        })
    }

    async fn root(&self) -> Result<Entry> {
        let site = self.api.get(Id::Site).await?;
        let title = site["title"].as_str().unwrap_or("Omeka");
        Ok(Entry::folder(Id::Site.to_item_id(), title, Vec::new()))
    }

    fn list(&self, folder: &Entry) -> Listing {
        match Id::parse(&folder.id) {
            Ok(Id::Site) => {
                let collections = self.entries(Resource::Collections, Vec::new());
                let uncollected = self.entries(Resource::Items, vec![param("collection", 0)]);
                stream::select(collections, uncollected).boxed()
            }
            Ok(id @ Id::Collection(number)) => {
                self.unless_gone(id, self.entries(Resource::Items, vec![param("collection", number)]))
            }
            Ok(Id::Item(number)) => self.files(number),
            Ok(Id::File(_)) => {
                let error = StoreError::new(ErrorKind::Invalid, "list", folder.id.as_str()).because("it is a file");
                stream::once(async move { Err(error) }).boxed()
            }
            Err(error) => stream::once(async move { Err(error) }).boxed(),
        }
    }

    async fn stat(&self, item: &ItemId) -> Result<Entry> {
        match Id::parse(item)? {
            Id::Site => self.root().await,
            id => self.entry(id.resource().0, &self.api.get(id).await?),
        }
    }

    async fn read(&self, file: &Entry, range: Range<u64>) -> Result<Download> {
        let known = download::url(file, "original_url");
        let fresh;
        let (file, url) = match known {
            Some(url) => (file, url),
            None => {
                fresh = self.stat(&file.id).await?;
                let url = download::url(&fresh, "original_url").ok_or_else(|| {
                    StoreError::new(ErrorKind::Protocol, "read", file.id.as_str())
                        .because("the site tells no URL for it")
                })?;
                (&fresh, url)
            }
        };
        match download::read(self.api.client(), file, url, range).await {
            // Whether the record is gone as well tells a deleted file from a broken one.
            Err(error) if error.kind == ErrorKind::Protocol || error.is_not_found() => {
                match self.stat(&file.id).await {
                    Err(gone) if gone.is_not_found() => Err(gone),
                    Ok(_) | Err(_) => Err(StoreError {
                        kind: ErrorKind::Protocol,
                        ..error
                    }),
                }
            }
            done => done,
        }
    }

    async fn create(
        &self,
        parent: &ItemId,
        name: &Name,
        body: &Body,
        fields: &FieldChanges,
        progress: &dyn Progress,
    ) -> Result<Entry> {
        self.check_may_write("upload", name.as_str())?;
        let _changing = self.ahead.changing();
        self.names.check(name, Kind::File)?;
        if body.size_bytes() == 0 {
            return Err(
                StoreError::new(ErrorKind::Invalid, "upload", name.as_str()).because("the site takes no empty files")
            );
        }
        if self.config.file_bytes_max.is_some_and(|max| body.size_bytes() > max) {
            return Err(StoreError::new(ErrorKind::TooLarge, "upload", name.as_str()));
        }
        let (item, made) = self.item_for(parent, name, progress).await?;
        let upload = Upload {
            item,
            name,
            body,
            fields,
            progress,
        };
        match self.uploader.run(&upload).await {
            Ok(record) => self.entry(Resource::Files, &record),
            Err(refused) => {
                // The item was made for a file that will never come.
                if made == Made::ForThis && !refused.is_transient() && self.uploader.is_empty(item).await? {
                    self.api.delete(Id::Item(item)).await?;
                }
                Err(refused)
            }
        }
    }

    async fn create_folder(&self, parent: &ItemId, name: &Name) -> Result<Entry> {
        self.check_may_write("create folder", name.as_str())?;
        let _changing = self.ahead.changing();
        match Id::parse(parent)? {
            Id::Site => self.make_folder(Resource::Collections, name, Map::new()).await,
            Id::Collection(number) => self.make_folder(Resource::Items, name, in_collection(number)).await,
            Id::Item(_) | Id::File(_) => Err(no_place(parent, Kind::Folder)),
        }
    }

    async fn relocate(&self, item: &Entry, to: &Placement) -> Result<Entry> {
        self.check_may_write("move", item.id.as_str())?;
        let _changing = self.ahead.changing();
        let id = match Id::parse(&item.id)? {
            id @ (Id::Collection(_) | Id::Item(_)) => id,
            Id::Site | Id::File(_) => return Err(StoreError::unsupported("move or rename", item.id.as_str())),
        };
        let body = self.relocation(item, id, to).await?;
        if body.is_empty() {
            return self.stat(&item.id).await;
        }
        self.change(id, body, "move").await
    }

    async fn remove(&self, item: &Entry) -> Result<()> {
        self.check_may_write("remove", item.id.as_str())?;
        let _changing = self.ahead.changing();
        let id = Id::parse(&item.id)?;
        if id == Id::Site {
            return Err(StoreError::new(ErrorKind::Denied, "remove", item.id.as_str()));
        }
        // The site deletes an item's files with it and leaves a collection's items behind without one.
        self.check_empty(id).await?;
        self.api.delete(id).await
    }

    async fn set_fields(&self, items: &[Entry], changes: &FieldChanges) -> Result<Vec<Entry>> {
        let _changing = self.ahead.changing();
        let words = self.vocabulary.words(&fields::names_to_know(changes)).await?;
        let mut entries = Vec::with_capacity(items.len());
        for item in items {
            self.check_may_write("set fields of", item.id.as_str())?;
            let id = Id::parse(&item.id)?;
            fields::check(id, changes, &words)?;
            // Read now: what others wrote since the item was listed must not be undone.
            let record = self.api.get(id).await?;
            let body = fields::body(&record, changes, &words)?;
            entries.push(self.change(id, body, "set fields of").await?);
        }
        Ok(entries)
    }

    async fn check_fields(&self, item: &Entry, changes: &FieldChanges) -> Result<()> {
        let words = self.vocabulary.words(&fields::names_to_know(changes)).await?;
        let id = match item.kind {
            // Not in the site yet.
            Kind::File if item.id.as_str().is_empty() => Id::File(0),
            Kind::File | Kind::Folder => Id::parse(&item.id)?,
        };
        fields::check(id, changes, &words)
    }

    fn field_name(&self, xattr: &str, kind: Kind) -> Option<FieldName> {
        let lines = |field: String| {
            Some(FieldName {
                field,
                encoding: Encoding::Lines,
            })
        };
        if let Some(element) = xattr.strip_prefix("dublincore.") {
            return lines(dublin_core(element));
        }
        match (xattr, kind) {
            ("xdg.tags", Kind::Folder) => {
                return Some(FieldName {
                    field: "tags".to_owned(),
                    encoding: Encoding::Commas,
                });
            }
            ("xdg.comment", _) => return lines("Dublin Core.Description".to_owned()),
            ("mime_type", Kind::File) => return lines("mime_type".to_owned()),
            _ => {}
        }
        let field = xattr.strip_prefix("omeka.")?;
        if let Some(element) = field.strip_prefix("dublincore.") {
            return lines(dublin_core(element));
        }
        // As the API spells it.
        if let Some(which) = field.strip_prefix("file_urls.") {
            return lines(format!("{which}_url"));
        }
        fields::Meaning::of(field).and_then(|_| lines(field.to_owned()))
    }

    fn lists_field(&self, item: &Entry, field: &str) -> bool {
        let value = item.fields.get(field).map(|field| field.values.as_slice());
        match field {
            // The name of a folder is its title: a copy under another name must not be renamed back by its attributes.
            decode::TITLE => item.kind == Kind::File,
            "featured" => value != Some(&["false".into()]),
            "public" => self.config.public || value != Some(&["false".into()]),
            _ => true,
        }
    }

    fn may_hold(&self, parent: &Entry, kind: Kind) -> Result<()> {
        let fits = match (Id::parse(&parent.id)?, kind) {
            (Id::Item(_), Kind::File) => true,
            (Id::Site | Id::Collection(_), Kind::File) => self.config.item_per_file,
            (Id::Site | Id::Collection(_), Kind::Folder) => true,
            (Id::File(_), Kind::File) | (Id::Item(_) | Id::File(_), Kind::Folder) => false,
        };
        if fits { Ok(()) } else { Err(no_place(&parent.id, kind)) }
    }

    fn unborn(&self, parent: &Entry) -> Option<Entry> {
        let id = match Id::parse(&parent.id).ok()? {
            Id::Site => Id::Collection(0),
            Id::Collection(_) => Id::Item(0),
            Id::Item(_) | Id::File(_) => return None,
        };
        Some(Entry::folder(id.to_item_id(), "", Vec::new()))
    }

    fn may_enter(&self, item: &Entry, into: &Entry) -> Result<()> {
        let refuse = |why| Err(StoreError::new(ErrorKind::Denied, "move", item.id.as_str()).because(why));
        match (Id::parse(&item.id)?, Id::parse(&into.id)?) {
            (Id::Collection(_), Id::Site) | (Id::Item(_), Id::Collection(_)) => Ok(()),
            (Id::Item(_), Id::Site) if item.parents.contains(&into.id) => Ok(()),
            (Id::Item(_), Id::Site) => refuse("the site cannot take an item out of its collection"),
            (Id::File(_), _) => self.may_hold(into, Kind::File),
            (Id::Site | Id::Collection(_) | Id::Item(_), _) => {
                refuse("collections are only possible at the top, and items in collections")
            }
        }
    }

    async fn may_change(&self) -> Result<bool> {
        if !self.api.has_key() {
            return Ok(false);
        }
        self.api.may_make_items().await
    }

    fn refuses_at_once(&self, name: &Name) -> Result<()> {
        self.names.refuses_at_once(name)
    }

    fn check_name(&self, name: &Name, kind: Kind) -> Result<()> {
        self.names.check(name, kind)
    }

    async fn changes(&self, cursor: Option<&str>, now: Timestamp) -> Result<Changes> {
        let feed = Feed {
            api: &self.api,
            site: &self.site,
            counts: &self.counts,
            uptime: self.uploader.clock.elapsed(),
        };
        let changes = feed.since(cursor, now).await?;
        if !changes.changed.is_empty() || !changes.stale.is_empty() {
            // What came ahead may be from before that.
            self.ahead.forget();
        }
        Ok(changes)
    }

    fn check_query(&self, query: &Query) -> Result<()> {
        search::check(query)
    }

    async fn search(&self, query: &Query) -> Result<Vec<Entry>> {
        self.find(query).await
    }

    async fn group(&self, group: &Group, scope: &ItemId) -> Result<Vec<Entry>> {
        self.members(group, scope).await
    }

    fn ids_called(&self, key: &str) -> Vec<ItemId> {
        finding::ids_called(key)
    }

    async fn thumbnail(&self, item: &Entry) -> Result<Bytes> {
        let url = ["square_thumbnail_url", "thumbnail_url"]
            .into_iter()
            .find_map(|field| download::url(item, field))
            .ok_or_else(|| StoreError::unsupported("thumbnail", item.id.as_str()))?;
        download::picture(self.api.client(), item, url).await
    }

    fn web_url(&self, item: &Entry) -> Option<String> {
        let site = self.site.as_str().trim_end_matches('/');
        match Id::parse(&item.id).ok()? {
            Id::Site => Some(format!("{site}/")),
            id => {
                let (resource, number) = id.resource();
                Some(format!("{site}/{}/show/{number}", resource.path()))
            }
        }
    }
}

/// The field of a Dublin Core element by its name in lower case.
fn dublin_core(element: &str) -> String {
    let mut letters = element.chars();
    let name: String = letters
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .chain(letters)
        .collect();
    format!("Dublin Core.{name}")
}
