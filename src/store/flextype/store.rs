//! The store itself: the interface on one side, the pieces of this module on the other.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, stream};

use crate::http::{self, Client, header};
use crate::model::{ContentVersion, Entry, FieldChanges, ItemId, Kind, Name, SharedClock};
use crate::store::from_http::from_http;
use crate::store::{
    Account, Batches, Body, ByteStream, Capabilities, ChangeFeed, CreateFile, CreateFolder, Download, ErrorKind,
    FieldName, Groups, IdScheme, Listing, MoveFile, MoveFolder, Overwrite, Placement, Progress, Reads, RenameFile,
    Result, SiblingNames, Sizes, Store, Support,
};

use super::api::{Api, Looked, Noun, failure};
use super::config::FlextypeConfig;
use super::listing::{self, Memory};
use super::path::RemotePath;
use super::upload::{self, Replacement};
use super::{decode, fields, rules, write};

/// Entries in one batch of a listing.
const BATCH_ENTRIES: usize = 1_000;

/// The uploads of one Flextype site.
#[derive(Clone)]
pub struct FlextypeStore {
    inner: Arc<Inner>,
}

struct Inner {
    api: Api,
    memory: Memory,
    capabilities: Capabilities,
}

impl FlextypeStore {
    /// A store over `client`, which must have been set up by [`FlextypeConfig::client`].
    pub fn new(client: Arc<Client>, config: FlextypeConfig, clock: SharedClock) -> Self {
        let capabilities = capabilities(&config);
        Self {
            inner: Arc::new(Inner {
                api: Api::new(client, config, clock.clone()),
                memory: Memory::new(clock),
                capabilities,
            }),
        }
    }

    fn parts(&self) -> (&Api, &Memory) {
        (&self.inner.api, &self.inner.memory)
    }

    /// Where an item would come to lie, checked as a new name is.
    fn target(&self, parent: &ItemId, name: &str, kind: Kind) -> Result<RemotePath> {
        let path = RemotePath::of_id(parent, Kind::Folder)?.child(name)?;
        let name =
            Name::new(path.name()).map_err(|e| failure(ErrorKind::Invalid, "check the name", &path).because(e))?;
        rules::check_name(&self.inner.api.config, &name, kind)?;
        Ok(path)
    }
}

fn capabilities(config: &FlextypeConfig) -> Capabilities {
    Capabilities {
        kind: "flextype",
        label: "Flextype",
        reads: Reads::Ranged,
        ids: IdScheme::Path,
        sibling_names: SiblingNames::Unique,
        overwrite: Overwrite::Replace,
        rename_file: RenameFile::Relocate,
        move_file: MoveFile::Relocate,
        rename_folder: Support::Yes,
        move_folder: MoveFolder::Relocate,
        links: Support::No,
        server_copy: Support::Yes,
        copy_keeps_name: false,
        create_file: CreateFile::Anywhere,
        create_folder: CreateFolder::Anywhere,
        remove_folder: Support::Yes,
        empty_files: Support::Yes,
        sizes: Sizes::Known,
        change_feed: ChangeFeed::Relist,
        counts: Support::No,
        listing_lag_max: Duration::ZERO,
        file_bytes_max: Some(config.file_bytes_max),
        rename_bytes_max: config.file_bytes_max,
        unlisted_names: Support::Yes,
        batches: Batches::NONE,
        search: Support::No,
        groups: Groups::NONE,
        alters_content: true,
        trash: None,
    }
}

#[async_trait]
impl Store for FlextypeStore {
    fn capabilities(&self) -> &Capabilities {
        &self.inner.capabilities
    }

    async fn account(&self) -> Result<Account> {
        let api = &self.inner.api;
        api.site().await?;
        // The probe has proved the folders token; this proves the files token.
        let nowhere = RemotePath::root().child("assetfs-probe.txt")?;
        if let Looked::Failed(error) = api.look_patiently(Noun::Files, &nowhere).await? {
            return Err(error);
        }
        let site = &api.config.site;
        let host = site.host_str().unwrap_or_default();
        let port = site.port().map(|port| format!(":{port}")).unwrap_or_default();
        let label = format!("{host}{port}{}", site.path().trim_end_matches('/'));
        Ok(Account {
            id: format!("flextype:{label}"),
            label,
        })
    }

    async fn root(&self) -> Result<Entry> {
        self.inner.api.site().await?;
        Ok(decode::folder_entry(&RemotePath::root()))
    }

    fn list(&self, folder: &Entry) -> Listing {
        let store = self.clone();
        let path = RemotePath::of_id(&folder.id, Kind::Folder);
        let entries = async move {
            let (api, memory) = store.parts();
            listing::children(api, memory, &path?).await
        };
        stream::once(entries)
            .flat_map(|entries| match entries {
                Ok(entries) => {
                    let batches: Vec<_> = entries.chunks(BATCH_ENTRIES).map(|batch| Ok(batch.to_vec())).collect();
                    stream::iter(batches)
                }
                Err(error) => stream::iter(vec![Err(error)]),
            })
            .boxed()
    }

    async fn stat(&self, item: &ItemId) -> Result<Entry> {
        let (kind, path) = RemotePath::of_any(item)?;
        let entry = listing::stat(&self.inner.api, kind, &path).await?;
        self.inner.memory.note(&path);
        Ok(entry)
    }

    async fn lookup_unlisted(&self, folder: &Entry, name: &Name) -> Result<Option<Entry>> {
        let (api, memory) = self.parts();
        let folder = RemotePath::of_id(&folder.id, Kind::Folder)?;
        if !memory.is_blind(&folder) {
            return Ok(None);
        }
        // A name that the site cannot hold makes it fail (500) rather than say no.
        if rules::check_name(&api.config, name, Kind::File).is_err() {
            return Ok(None);
        }
        let path = folder.join(name)?;
        let Some(object) = listing::single(api, &path).await? else {
            return Ok(None);
        };
        memory.note(&path);
        listing::entry(api, &path, &object).await.map(Some)
    }

    async fn read(&self, file: &Entry, range: Range<u64>) -> Result<Download> {
        let path = RemotePath::of_id(&file.id, Kind::File)?;
        if range.is_empty() {
            let stream = stream::empty().boxed();
            return Ok(Download {
                range: range.start..range.start,
                total: file.size,
                validator: None,
                stream,
            });
        }
        let is_whole = range.start == 0 && file.size.is_some_and(|size| range.end >= size);
        let asked = (!is_whole).then_some(&range);
        let answer = self.inner.api.open(&path, asked).await?;
        download(&path, answer, range)
    }

    async fn create(
        &self,
        parent: &ItemId,
        name: &Name,
        body: &Body,
        fields: &FieldChanges,
        progress: &dyn Progress,
    ) -> Result<Entry> {
        let (api, memory) = self.parts();
        let target = self.target(parent, name.as_str(), Kind::File)?;
        upload::create(api, memory, &target, body, fields, progress).await
    }

    async fn replace(
        &self,
        item: &Entry,
        base: Option<&ContentVersion>,
        name: Option<&Name>,
        body: &Body,
        progress: &dyn Progress,
    ) -> Result<Entry> {
        let (api, memory) = self.parts();
        let old = RemotePath::of_id(&item.id, Kind::File)?;
        let target = match name {
            Some(name) => self.target(&old.parent().id(Kind::Folder), name.as_str(), Kind::File)?,
            None => old.clone(),
        };
        let wish = Replacement {
            old: &old,
            base,
            target: &target,
        };
        upload::replace(api, memory, &wish, body, progress).await
    }

    async fn roll_back(&self, item: Option<&ItemId>, upload: &str) -> Result<()> {
        let old = item.map(|item| RemotePath::of_id(item, Kind::File)).transpose()?;
        upload::roll_back(&self.inner.api, old.as_ref(), upload).await
    }

    async fn create_folder(&self, parent: &ItemId, name: &Name) -> Result<Entry> {
        let path = self.target(parent, name.as_str(), Kind::Folder)?;
        write::make_folder(&self.inner.api, &path).await
    }

    async fn relocate(&self, item: &Entry, to: &Placement) -> Result<Entry> {
        let from = RemotePath::of_id(&item.id, item.kind)?;
        let [parent] = to.parents.as_slice() else {
            let refused = failure(ErrorKind::Unsupported, "move", &from);
            return Err(refused.because("a file of the site is in exactly one folder"));
        };
        if from.is_root() {
            return Err(failure(ErrorKind::Denied, "move", &from).because("the uploads folder itself stays"));
        }
        // A name that the site has already is its own business: only a new one must pass the rules.
        let target = if to.name == from.name() {
            RemotePath::of_id(parent, Kind::Folder)?.child(&to.name)?
        } else {
            self.target(parent, &to.name, item.kind)?
        };
        let entry = write::relocate(&self.inner.api, item.kind, &from, &target).await?;
        self.inner.memory.note(&target);
        Ok(entry)
    }

    async fn copy(&self, item: &Entry, parent: &ItemId, name: &Name) -> Result<Entry> {
        let from = RemotePath::of_id(&item.id, item.kind)?;
        let target = self.target(parent, name.as_str(), item.kind)?;
        let entry = write::copy(&self.inner.api, item.kind, &from, &target).await?;
        self.inner.memory.note(&target);
        Ok(entry)
    }

    async fn remove(&self, item: &Entry) -> Result<()> {
        let path = RemotePath::of_id(&item.id, item.kind)?;
        match item.kind {
            Kind::File => write::remove_file(&self.inner.api, &path).await,
            Kind::Folder => write::remove_folder(&self.inner.api, &path).await,
        }
    }

    async fn set_fields(&self, items: &[Entry], changes: &FieldChanges) -> Result<Vec<Entry>> {
        let (api, memory) = self.parts();
        let mut entries = Vec::with_capacity(items.len());
        for item in items {
            fields::check(item, changes)?;
            let path = RemotePath::of_id(&item.id, Kind::File)?;
            entries.push(write::change_fields(api, memory, &path, changes).await?);
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

    fn check_name(&self, name: &Name, kind: Kind) -> Result<()> {
        rules::check_name(&self.inner.api.config, name, kind)
    }

    fn refuses_at_once(&self, name: &Name) -> Result<()> {
        rules::refuses_at_once(&self.inner.api.config, name)
    }

    fn ids_called(&self, key: &str) -> Vec<ItemId> {
        let path = RemotePath::parse(key.trim_matches('/')).filter(|path| !path.is_root());
        let kinds = [Kind::File, Kind::Folder];
        path.map_or_else(Vec::new, |path| kinds.map(|kind| path.id(kind)).to_vec())
    }

    fn web_url(&self, item: &Entry) -> Option<String> {
        let path = RemotePath::of_id(&item.id, item.kind).ok()?;
        match item.kind {
            Kind::File => Some(self.inner.api.public_url(&path)),
            Kind::Folder => None,
        }
    }
}

/// A static file's answer as a download, once it is sure that it is the file's bytes.
fn download(path: &RemotePath, answer: http::Response, asked: Range<u64>) -> Result<Download> {
    let refuse = |kind, why: &str| Err(failure(kind, "read", path).because(why.to_owned()));
    match answer.status() {
        200 | 206 => {}
        // The site's own page, for what is not there.
        405 => return refuse(ErrorKind::NotFound, "there is no such file on the web server"),
        403 => return refuse(ErrorKind::Denied, "the web server does not give this file out"),
        416 => return refuse(ErrorKind::Conflict, "the file has become shorter"),
        _ => return refuse(ErrorKind::Protocol, "neither a file nor an error"),
    }
    let text = |name| answer.header(name).map(str::to_owned);
    let modified = text(header::LAST_MODIFIED);
    // A file that was written this second has a weak tag first and the same one as a strong tag later.
    let tag = text(header::ETAG).map(|tag| tag.trim_start_matches("W/").to_owned());
    let Some(validator) = tag.or(modified) else {
        return refuse(ErrorKind::Protocol, "an answer without a version is no static file");
    };
    let (range, total) = match (answer.status(), text(header::CONTENT_RANGE)) {
        (206, Some(told)) => match parse_content_range(&told) {
            Some(told) => told,
            None => return refuse(ErrorKind::Protocol, "the answer does not tell which bytes it carries"),
        },
        (206, None) => return refuse(ErrorKind::Protocol, "the answer does not tell which bytes it carries"),
        _ => match answer.content_length() {
            Some(len) => (0..len, Some(len)),
            None => (0..asked.end, None),
        },
    };
    let item = path.to_string();
    let stream: ByteStream = answer
        .stream()
        .map(move |piece| piece.map_err(|e| from_http("read", item.as_str(), e)))
        .boxed();
    Ok(Download {
        range,
        total,
        validator: Some(validator),
        stream,
    })
}

/// `bytes 2-5/12` as a half-open range and the whole size.
fn parse_content_range(text: &str) -> Option<(Range<u64>, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (first <= last).then_some((first..last.checked_add(1)?, total.trim().parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_range_is_read_or_refused() {
        assert_eq!(parse_content_range("bytes 2-5/12"), Some((2..6, Some(12))));
        assert_eq!(parse_content_range("bytes 2-5/*"), Some((2..6, None)));
        assert_eq!(parse_content_range("bytes */12"), None);
        assert_eq!(parse_content_range("bytes 5-2/12"), None);
        assert_eq!(parse_content_range("bytes 0-18446744073709551615/1"), None);
    }
}
