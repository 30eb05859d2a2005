//! All that the service knows, and the few ways in which it changes.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use serde_json::Value;

use super::ask::Reply;
use super::content::{Content, Vault};
use super::database::{Database, DatabaseError, Row};
use super::effects::Effect;
use super::library::{Change, Library};
use super::listing::Cached;
use super::options::{ImageRelayOptions, Quirks};
use super::records::{
    Collection, Due, File, FileType, Folder, Ids, Job, JobState, Keyword, KeywordSet, Later, Link, Record, Version,
    Webhook,
};
use crate::model::{SharedClock, Timestamp};

/// The user on whose behalf all requests come.
pub(super) const USER: u64 = 250_001;
/// The root folder of every library.
pub(super) const ROOT: u64 = 1_800_001;

/// The service's state. Every change goes through the methods below, so that indexes, the late listings, the database and
/// the webhooks never disagree.
pub(super) struct State {
    pub(super) quirks: Quirks,
    pub(super) clock: SharedClock,
    pub(super) vault: Arc<Vault>,
    /// As direct requests see it.
    pub(super) library: Library,
    /// As listings see it, when they are late.
    late: Option<Late>,
    pub(super) ids: Ids,
    pub(super) file_types: Vec<FileType>,
    pub(super) jobs: HashMap<u64, Job>,
    pub(super) versions: HashMap<String, Version>,
    pub(super) links: BTreeMap<u64, Link>,
    pub(super) link_ids: HashMap<String, u64>,
    pub(super) keyword_sets: BTreeMap<u64, KeywordSet>,
    pub(super) keywords: BTreeMap<u64, Keyword>,
    pub(super) collections: BTreeMap<u64, Collection>,
    pub(super) webhooks: BTreeMap<u64, Webhook>,
    pub(super) later: Vec<Later>,
    pub(super) version_lag: std::time::Duration,
    pub(super) processing_lag: std::time::Duration,
    /// The last recursive listing, so that its next page costs nothing.
    pub(super) cached: Option<Cached>,
    /// Counts changes of what listings show.
    pub(super) revision: u64,
    database: Option<Database>,
    unsaved: Vec<Row>,
    effects: Vec<Effect>,
}

/// A second library that receives each change when its time has come.
struct Late {
    library: Library,
    lag: std::time::Duration,
    coming: VecDeque<(Timestamp, Change)>,
}

impl State {
    /// An empty state around a vault.
    pub(super) fn new(options: &ImageRelayOptions, vault: Arc<Vault>, database: Option<Database>) -> Self {
        Self {
            quirks: options.quirks,
            clock: Arc::clone(&options.clock),
            vault,
            library: Library::default(),
            late: None,
            ids: Ids {
                folder: 2_700_000,
                file: 201_000_000,
                other: 36_000_000,
            },
            file_types: Vec::new(),
            jobs: HashMap::new(),
            versions: HashMap::new(),
            links: BTreeMap::new(),
            link_ids: HashMap::new(),
            keyword_sets: BTreeMap::new(),
            keywords: BTreeMap::new(),
            collections: BTreeMap::new(),
            webhooks: BTreeMap::new(),
            later: Vec::new(),
            version_lag: options.version_lag,
            processing_lag: options.processing_lag,
            cached: None,
            revision: 0,
            database,
            unsaved: Vec::new(),
            effects: Vec::new(),
        }
    }

    /// From here on listings are late by `lag`, and changes are saved.
    pub(super) fn seeded(&mut self, lag: std::time::Duration) {
        self.unsaved.clear();
        self.effects.clear();
        if !lag.is_zero() {
            self.late = Some(Late {
                library: self.library.clone(),
                lag,
                coming: VecDeque::new(),
            });
        }
    }

    /// Lays what the database holds over the seed.
    pub(super) fn load(&mut self) -> Result<(), DatabaseError> {
        let Some(database) = self.database.take() else {
            return Ok(());
        };
        for (key, folder) in database.read::<Folder>()? {
            match folder {
                Some(folder) => self.library.apply(Change::PutFolder(Arc::new(folder))),
                None => self.library.apply(Change::DropFolder(key.parse().unwrap_or(0))),
            }
        }
        for (key, file) in database.read::<File>()? {
            match file {
                Some(file) => self.library.apply(Change::PutFile(Arc::new(file))),
                None => self.library.apply(Change::DropFile(key.parse().unwrap_or(0))),
            }
        }
        for (_, ids) in database.read::<Ids>()? {
            self.ids = ids.unwrap_or_else(|| self.ids.clone());
        }
        lay_over(&database, &mut self.keyword_sets, |set: &KeywordSet| set.id)?;
        lay_over(&database, &mut self.keywords, |keyword: &Keyword| keyword.id)?;
        lay_over(&database, &mut self.collections, |collection: &Collection| {
            collection.id
        })?;
        lay_over(&database, &mut self.webhooks, |webhook: &Webhook| webhook.id)?;
        lay_over(&database, &mut self.links, |link: &Link| link.id)?;
        self.link_ids = self.links.values().map(|link| (link.uid.clone(), link.id)).collect();
        let rows = database.read::<Job>()?;
        self.jobs = rows
            .into_iter()
            .filter_map(|(_, job)| job.map(|job| (job.id, job)))
            .collect();
        let rows = database.read::<Version>()?;
        self.versions = rows
            .into_iter()
            .filter_map(|(uuid, version)| Some((uuid, version?)))
            .collect();
        self.later = database
            .read::<Later>()?
            .into_iter()
            .filter_map(|(_, later)| later)
            .collect();
        self.database = Some(database);
        Ok(())
    }

    /// What listings show now.
    pub(super) fn listed(&self) -> &Library {
        self.late.as_ref().map_or(&self.library, |late| &late.library)
    }

    /// Lets everything take effect whose time has come.
    pub(super) fn settle(&mut self) {
        let now = self.clock.now();
        let due: Vec<Later> = self
            .later
            .iter()
            .filter(|later| later.due_ms <= millis(now))
            .cloned()
            .collect();
        for later in due {
            self.later.retain(|other| other.id != later.id);
            self.drop_record::<Later>(later.id);
            self.take_effect(later.what);
        }
        let Some(late) = &mut self.late else { return };
        while late.coming.front().is_some_and(|(due, _)| *due <= now) {
            if let Some((_, change)) = late.coming.pop_front() {
                late.library.apply(change);
                self.revision += 1;
            }
        }
    }

    /// Has `what` take effect after `lag`, or at once when there is none.
    pub(super) fn after(&mut self, lag: std::time::Duration, what: Due) {
        if lag.is_zero() {
            return self.take_effect(what);
        }
        let later = Later {
            id: self.next_id(),
            due_ms: millis(self.clock.now().plus(lag)),
            what,
        };
        self.save(&later);
        self.later.push(later);
    }

    fn take_effect(&mut self, what: Due) {
        match what {
            Due::Version { file, name, content } => self.apply_version(file, &name, content),
            Due::JobFile { job, index, content } => self.finish_job_file(job, index, content),
            Due::Fetched { file, content } => self.set_content(file, content, "processed"),
        }
    }

    fn finish_job_file(&mut self, id: u64, index: usize, content: Content) {
        let Some(mut job) = self.jobs.get(&id).cloned() else {
            return;
        };
        let Some(file) = job.files.get_mut(index) else { return };
        let asset = self.next_file_id();
        file.state = JobState::Done(asset);
        let name = file.name.clone();
        job.updated_ms = self.now_ms();
        self.create_from_job(&job, asset, &name, content);
        self.put_job(job);
    }

    /// The wall clock in milliseconds.
    pub(super) fn now_ms(&self) -> i64 {
        millis(self.clock.now())
    }

    /// A new id for a folder.
    pub(super) fn next_folder_id(&mut self) -> u64 {
        self.ids.folder += 1;
        self.save(&self.ids.clone());
        self.ids.folder
    }

    /// A new id for a file.
    pub(super) fn next_file_id(&mut self) -> u64 {
        self.ids.file += 1;
        self.save(&self.ids.clone());
        self.ids.file
    }

    /// A new id for anything else.
    pub(super) fn next_id(&mut self) -> u64 {
        self.ids.other += 1;
        self.save(&self.ids.clone());
        self.ids.other
    }

    /// 32 hex digits that no two calls share.
    pub(super) fn next_token(&mut self) -> String {
        let id = self.next_id();
        let salt = self.now_ms() as u64;
        let (high, low) = (
            crate::emulator::common::mix(id ^ salt.rotate_left(20)),
            crate::emulator::common::mix(id),
        );
        format!("{high:016x}{low:016x}")
    }

    /// Writes a file.
    pub(super) fn put_file(&mut self, file: File) {
        self.save(&file);
        self.change(Change::PutFile(Arc::new(file)));
    }

    /// Forgets a file.
    pub(super) fn drop_file(&mut self, id: u64) {
        self.drop_record::<File>(id);
        self.change(Change::DropFile(id));
    }

    /// Writes a folder.
    pub(super) fn put_folder(&mut self, folder: Folder) {
        self.save(&folder);
        self.change(Change::PutFolder(Arc::new(folder)));
    }

    /// Forgets a folder, which must be empty.
    pub(super) fn drop_folder(&mut self, id: u64) {
        self.drop_record::<Folder>(id);
        self.change(Change::DropFolder(id));
    }

    /// Writes a job.
    pub(super) fn put_job(&mut self, job: Job) {
        self.save(&job);
        self.jobs.insert(job.id, job);
    }

    /// Writes a link.
    pub(super) fn put_link(&mut self, link: Link) {
        self.save(&link);
        self.link_ids.insert(link.uid.clone(), link.id);
        self.links.insert(link.id, link);
    }

    /// Forgets a link; false when there is none.
    pub(super) fn drop_link(&mut self, id: u64) -> bool {
        let Some(link) = self.links.remove(&id) else {
            return false;
        };
        self.link_ids.remove(&link.uid);
        self.drop_record::<Link>(id);
        true
    }

    /// Marks a record for saving.
    pub(super) fn save<R: Record>(&mut self, record: &R) {
        if self.database.is_none() {
            return;
        }
        match serde_json::to_string(record) {
            Ok(body) => self.unsaved.push((R::KIND, record.key(), Some(body))),
            Err(error) => tracing::error!(kind = R::KIND, key = record.key(), %error, "a record cannot be saved"),
        }
    }

    /// Marks a record for deletion.
    pub(super) fn drop_record<R: Record>(&mut self, key: impl ToString) {
        if self.database.is_some() {
            self.unsaved.push((R::KIND, key.to_string(), None));
        }
    }

    /// Writes all that is marked, before the answer that promises it.
    pub(super) fn commit(&mut self) -> Result<(), Reply> {
        let rows = std::mem::take(&mut self.unsaved);
        match &mut self.database {
            Some(database) if !rows.is_empty() => database.write(&rows).map_err(|error| Reply::broken(&error)),
            Some(_) | None => Ok(()),
        }
    }

    /// Queues work for after the answer.
    pub(super) fn queue(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// Tells the webhooks that listen.
    pub(super) fn announce(&mut self, resource: &str, action: &str, event: &Value) {
        let urls: Vec<String> = self
            .webhooks
            .values()
            .filter(|hook| hook.resource == resource && hook.action == action)
            .map(|hook| hook.url.clone())
            .collect();
        for url in urls {
            self.queue(Effect::Deliver {
                url,
                document: event.clone(),
            });
        }
    }

    /// Takes the queued work.
    pub(super) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    fn change(&mut self, change: Change) {
        match &mut self.late {
            Some(late) => late.coming.push_back((self.clock.now().plus(late.lag), change.clone())),
            None => self.revision += 1,
        }
        self.library.apply(change);
    }
}

fn lay_over<R: Record>(
    database: &Database,
    table: &mut BTreeMap<u64, R>,
    id: impl Fn(&R) -> u64,
) -> Result<(), DatabaseError> {
    for (key, record) in database.read::<R>()? {
        match record {
            Some(record) => {
                table.insert(id(&record), record);
            }
            None => {
                table.remove(&key.parse().unwrap_or(0));
            }
        }
    }
    Ok(())
}

/// Milliseconds since 1970.
pub(super) fn millis(time: Timestamp) -> i64 {
    time.secs * 1000 + i64::from(time.nanos / 1_000_000)
}

/// The reverse of [`millis`].
pub(super) fn from_millis(ms: i64) -> Timestamp {
    Timestamp {
        secs: ms.div_euclid(1000),
        nanos: (ms.rem_euclid(1000) * 1_000_000) as u32,
    }
}
