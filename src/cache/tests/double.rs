//! A store with nothing but content, that does what a test says.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use parking_lot::Mutex;

use crate::http::{Class, current_context};
use crate::model::{Checksum, ContentVersion, Entry, FieldChanges, ItemId, Kind, Name, hex};
use crate::store::{
    Account, Batches, Body, BundlePart, Capabilities, ChangeFeed, CreateFile, CreateFolder, Download, ErrorKind,
    FieldName, Groups, IdScheme, Listing, MoveFile, MoveFolder, Overwrite, Placement, Progress, Reads, RenameFile,
    Result, SiblingNames, Sizes, Store, StoreError, Support,
};

/// Bytes per step of a stream.
const CHUNK_BYTES: usize = 32 << 10;

/// What goes wrong with the next download.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// It is refused.
    Refuse(ErrorKind),
    /// It ends, without an error, after so many bytes.
    Cut(u64),
    /// It breaks after so many bytes.
    Break(u64),
    /// It never sends anything.
    Stall,
    /// It tells another size.
    WrongTotal,
    /// Its bytes are wrong.
    Garbage,
}

struct Held {
    bytes: Bytes,
    entry: Entry,
    validator: Option<String>,
}

pub(super) struct Double {
    capabilities: Capabilities,
    files: Mutex<HashMap<ItemId, Held>>,
    requests: Mutex<Vec<(ItemId, Range<u64>)>>,
    classes: Mutex<Vec<Class>>,
    faults: Mutex<VecDeque<Fault>>,
    /// Files whose downloads never send anything.
    stuck: Mutex<Vec<ItemId>>,
    latency: Mutex<Duration>,
    /// How long each chunk takes.
    chunk_time: Mutex<Duration>,
    /// Moves when all downloads break off.
    life: Arc<AtomicU64>,
}

impl Double {
    pub(super) fn new(reads: Reads) -> Arc<Self> {
        Arc::new(Self {
            capabilities: capabilities(reads),
            files: Mutex::default(),
            requests: Mutex::default(),
            classes: Mutex::default(),
            faults: Mutex::default(),
            stuck: Mutex::default(),
            latency: Mutex::default(),
            chunk_time: Mutex::default(),
            life: Arc::default(),
        })
    }

    /// Holds a file; its folder is `folder:0`.
    pub(super) fn put(&self, id: &str, bytes: &Bytes) -> Entry {
        let id = ItemId::of("file", id);
        let parents = vec![ItemId::of("folder", 0)];
        let entry = Entry::file(id.clone(), "a", parents, bytes.len() as u64, ContentVersion::new("1"));
        let held = Held {
            bytes: bytes.clone(),
            entry: entry.clone(),
            validator: None,
        };
        self.files.lock().insert(id, held);
        entry
    }

    /// Lets the entry tell the checksum.
    pub(super) fn with_md5(&self, entry: &Entry) -> Entry {
        use md5::Digest;
        let mut files = self.files.lock();
        let held = files.get_mut(&entry.id).unwrap();
        held.entry.checksum = Some(Checksum::Md5(hex(&md5::Md5::digest(&held.bytes))));
        held.entry.clone()
    }

    pub(super) fn set_validator(&self, entry: &Entry, validator: &str) {
        self.files.lock().get_mut(&entry.id).unwrap().validator = Some(validator.to_owned());
    }

    /// Other bytes under the same id, behind everyone's back.
    pub(super) fn replace_bytes(&self, entry: &Entry, bytes: &Bytes) {
        self.files.lock().get_mut(&entry.id).unwrap().bytes = bytes.clone();
    }

    pub(super) fn next(&self, fault: Fault) {
        self.faults.lock().push_back(fault);
    }

    pub(super) fn clear_faults(&self) {
        self.faults.lock().clear();
    }

    /// Breaks off all downloads that run, for good.
    pub(super) fn break_off(&self) {
        self.life.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn stick(&self, entry: &Entry) {
        self.stuck.lock().push(entry.id.clone());
    }

    pub(super) fn set_speed(&self, latency: Duration, chunk_time: Duration) {
        *self.latency.lock() = latency;
        *self.chunk_time.lock() = chunk_time;
    }

    /// The downloads that were asked for since the last call.
    pub(super) fn take_requests(&self) -> Vec<Range<u64>> {
        self.requests.lock().drain(..).map(|(_, range)| range).collect()
    }

    /// How urgent the downloads so far were.
    pub(super) fn classes(&self) -> Vec<Class> {
        self.classes.lock().clone()
    }

    fn stream(&self, bytes: Bytes, fault: Option<Fault>) -> BoxStream<'static, Result<Bytes>> {
        let chunk_time = *self.chunk_time.lock();
        let (bytes, ending) = match fault {
            Some(Fault::Cut(at)) => (bytes.slice(..bytes.len().min(at as usize)), None),
            Some(Fault::Break(at)) => (bytes.slice(..bytes.len().min(at as usize)), Some(ErrorKind::Network)),
            Some(Fault::Stall) => {
                let (life, born) = (self.life.clone(), self.life.load(Ordering::Relaxed));
                return async_stream::stream! {
                    while life.load(Ordering::Relaxed) == born {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                    yield Err(StoreError::new(ErrorKind::Cancelled, "read", "double"));
                }
                .boxed();
            }
            Some(Fault::Garbage) => (bytes.iter().map(|byte| byte ^ 0x55).collect::<Vec<_>>().into(), None),
            Some(Fault::Refuse(_) | Fault::WrongTotal) | None => (bytes, None),
        };
        let (life, born) = (self.life.clone(), self.life.load(Ordering::Relaxed));
        async_stream::stream! {
            let mut rest = bytes;
            while !rest.is_empty() {
                if !chunk_time.is_zero() {
                    tokio::time::sleep(chunk_time).await;
                }
                if life.load(Ordering::Relaxed) != born {
                    yield Err(StoreError::new(ErrorKind::Cancelled, "read", "double"));
                }
                yield Ok(rest.split_to(rest.len().min(CHUNK_BYTES)));
            }
            if let Some(kind) = ending {
                yield Err(StoreError::new(kind, "read", "double"));
            }
        }
        .boxed()
    }

    async fn begin(&self, item: &ItemId, range: Range<u64>) -> Result<Option<Fault>> {
        self.requests.lock().push((item.clone(), range));
        self.classes.lock().push(current_context().class);
        let born = self.life.load(Ordering::Relaxed);
        let latency = *self.latency.lock();
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        if self.life.load(Ordering::Relaxed) != born {
            return Err(StoreError::new(ErrorKind::Cancelled, "read", item.as_str()));
        }
        if self.stuck.lock().contains(item) {
            return Ok(Some(Fault::Stall));
        }
        match self.faults.lock().pop_front() {
            Some(Fault::Refuse(kind)) => Err(StoreError::new(kind, "read", item.as_str())),
            fault => Ok(fault),
        }
    }
}

fn unsupported<T>(operation: &'static str) -> Result<T> {
    Err(StoreError::unsupported(operation, ""))
}

#[async_trait]
impl Store for Double {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn account(&self) -> Result<Account> {
        unsupported("account")
    }

    async fn root(&self) -> Result<Entry> {
        unsupported("root")
    }

    fn list(&self, _: &Entry) -> Listing {
        futures_util::stream::once(async { unsupported("list") }).boxed()
    }

    async fn stat(&self, item: &ItemId) -> Result<Entry> {
        let missing = || StoreError::new(ErrorKind::NotFound, "stat", item.as_str());
        self.files
            .lock()
            .get(item)
            .map(|held| held.entry.clone())
            .ok_or_else(missing)
    }

    async fn read(&self, file: &Entry, range: Range<u64>) -> Result<Download> {
        let fault = self.begin(&file.id, range.clone()).await?;
        let (bytes, validator) = {
            let files = self.files.lock();
            let held = files.get(&file.id).unwrap();
            (held.bytes.clone(), held.validator.clone())
        };
        let total = bytes.len() as u64;
        let range = match self.capabilities.reads {
            Reads::Ranged => range,
            Reads::Whole | Reads::Bundle => 0..total,
        };
        let part = bytes.slice(range.start as usize..range.end as usize);
        let told = total + u64::from(matches!(fault, Some(Fault::WrongTotal)));
        Ok(Download {
            range,
            total: Some(told),
            validator,
            stream: self.stream(part, fault),
        })
    }

    async fn read_bundle(&self, file: &Entry) -> Result<BoxStream<'static, Result<BundlePart>>> {
        let fault = self.begin(&file.id, 0..0).await?;
        let members: Vec<_> = {
            let files = self.files.lock();
            let mut held: Vec<_> = files
                .values()
                .map(|held| (held.entry.clone(), held.bytes.clone()))
                .collect();
            held.sort_by_key(|(entry, _)| entry.id.clone());
            held
        };
        let streams: Vec<_> = members
            .into_iter()
            .map(|(entry, bytes)| (entry, self.stream(bytes, fault.clone())))
            .collect();
        Ok(async_stream::stream! {
            for (entry, mut stream) in streams {
                yield Ok(BundlePart::Begin { item: entry.id.clone(), version: entry.version.clone() });
                while let Some(data) = stream.next().await {
                    yield data.map(BundlePart::Data);
                }
                yield Ok(BundlePart::End);
            }
        }
        .boxed())
    }

    async fn create(&self, _: &ItemId, _: &Name, _: &Body, _: &FieldChanges, _: &dyn Progress) -> Result<Entry> {
        unsupported("create")
    }

    async fn create_folder(&self, _: &ItemId, _: &Name) -> Result<Entry> {
        unsupported("create_folder")
    }

    async fn relocate(&self, _: &Entry, _: &Placement) -> Result<Entry> {
        unsupported("relocate")
    }

    async fn remove(&self, _: &Entry) -> Result<()> {
        unsupported("remove")
    }

    async fn set_fields(&self, _: &[Entry], _: &FieldChanges) -> Result<Vec<Entry>> {
        unsupported("set_fields")
    }

    async fn check_fields(&self, _: &Entry, _: &FieldChanges) -> Result<()> {
        unsupported("check_fields")
    }

    fn field_name(&self, _: &str, _: Kind) -> Option<FieldName> {
        None
    }
}

fn capabilities(reads: Reads) -> Capabilities {
    Capabilities {
        kind: "double",
        label: "Double",
        reads,
        ids: IdScheme::Stable,
        sibling_names: SiblingNames::Shared,
        overwrite: Overwrite::Replace,
        rename_file: RenameFile::Relocate,
        move_file: MoveFile::Relocate,
        rename_folder: Support::No,
        move_folder: MoveFolder::Unsupported,
        links: Support::No,
        server_copy: Support::No,
        copy_keeps_name: false,
        create_file: CreateFile::Anywhere,
        create_folder: CreateFolder::Nowhere,
        remove_folder: Support::No,
        empty_files: Support::Yes,
        sizes: Sizes::Known,
        change_feed: ChangeFeed::Relist,
        counts: Support::No,
        listing_lag_max: Duration::ZERO,
        file_bytes_max: None,
        rename_bytes_max: u64::MAX,
        unlisted_names: Support::No,
        batches: Batches::NONE,
        search: Support::No,
        groups: Groups::NONE,
        alters_content: false,
        trash: None,
    }
}
