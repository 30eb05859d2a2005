//! Direct children from collections that do not tell them plainly.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use lru::LruCache;
use parking_lot::Mutex;
use serde_json::Value;

use crate::model::{Entry, Kind, SharedClock, Timestamp};
use crate::store::{ErrorKind, Result};

use super::api::{Api, Looked, Noun, Release, Static, failure};
use super::decode::{self, Data, Object};
use super::path::RemotePath;
use super::upload;

/// Questions to the web server at a time.
const QUESTIONS_MAX: usize = 16;
/// How long "nothing is hidden behind this name" is believed.
const UNHIDDEN_FOR: Duration = Duration::from_secs(300);
/// How many such names are remembered.
const UNHIDDEN_MAX: usize = 100_000;
/// Folders that cannot list their files, and files remembered in each.
const BLIND_FOLDERS_MAX: usize = 1_000;
const BLIND_FILES_MAX: usize = 1_000;

/// What listing remembers between calls; never an answer, only what saves questions.
pub(super) struct Memory {
    clock: SharedClock,
    /// Paths that were asked for because a nested file has their name, and were not there then.
    unhidden: Mutex<LruCache<RemotePath, Duration>>,
    /// Files that are known by name in folders that cannot list them (0.9.9 to 0.9.11).
    blind: Mutex<LruCache<RemotePath, BTreeSet<String>>>,
}

fn at_most(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN)
}

/// What the two collections of a folder say.
pub(super) struct Raw {
    folders: BTreeSet<String>,
    files: RawFiles,
}

enum RawFiles {
    /// Every file below, as told.
    Told(Vec<(String, Object)>),
    /// The release cannot tell files where there is a subfolder.
    Blind,
}

impl Raw {
    /// Whether there is surely nothing in the folder, at any depth.
    pub(super) fn is_empty(&self) -> bool {
        let no_files = match &self.files {
            RawFiles::Told(files) => files.is_empty(),
            RawFiles::Blind => false,
        };
        no_files && self.folders.is_empty()
    }
}

impl Memory {
    pub(super) fn new(clock: SharedClock) -> Self {
        Self {
            clock,
            unhidden: Mutex::new(LruCache::new(at_most(UNHIDDEN_MAX))),
            blind: Mutex::new(LruCache::new(at_most(BLIND_FOLDERS_MAX))),
        }
    }

    /// What time it is.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn is_unhidden(&self, path: &RemotePath) -> bool {
        let now = self.clock.elapsed();
        let mut unhidden = self.unhidden.lock();
        unhidden
            .get(path)
            .is_some_and(|asked| now.saturating_sub(*asked) < UNHIDDEN_FOR)
    }

    /// A file is (or was) at `path`: it counts again among hidden ones, and in folders that cannot list it.
    pub(super) fn note(&self, path: &RemotePath) {
        self.unhidden.lock().pop(path);
        if let Some(known) = self.blind.lock().get_mut(&path.parent())
            && known.len() < BLIND_FILES_MAX
        {
            known.insert(path.name().to_owned());
        }
    }

    /// Whether files of this folder are reachable by name only.
    pub(super) fn is_blind(&self, folder: &RemotePath) -> bool {
        self.blind.lock().contains(folder)
    }

    fn blind_files(&self, folder: &RemotePath) -> Vec<String> {
        let mut blind = self.blind.lock();
        blind
            .get_or_insert_mut(folder.clone(), BTreeSet::new)
            .iter()
            .cloned()
            .collect()
    }
}

/// Asks for both collections of a folder. Fails rather than telling less than there is.
pub(super) async fn raw(api: &Api, folder: &RemotePath) -> Result<Raw> {
    const OPERATION: &str = "list";
    let release = api.site().await?.release;
    let (folders, files) = tokio::join!(
        api.look(Noun::Folders, folder, true),
        api.look(Noun::Files, folder, false)
    );
    let (mut folders, mut files) = (folders?, files?);
    let both_tell = matches!((&folders, &files), (Looked::Found(_), _) | (_, Looked::Found(_)));
    if !both_tell {
        // "Nothing in it" and "not there" look alike: only the folder itself tells them apart.
        match api.look_patiently(Noun::Folders, folder).await? {
            Looked::Found(_) => {}
            Looked::Absent => return Err(failure(ErrorKind::NotFound, OPERATION, folder)),
            Looked::Failed(error) => return Err(error),
        }
    }
    if matches!(folders, Looked::Failed(_)) {
        folders = api.list_patiently(Noun::Folders, folder).await?;
    }
    let folders = match folders {
        Looked::Found(data) => folder_names(folder, &data),
        Looked::Absent => BTreeSet::new(),
        Looked::Failed(error) => return Err(error),
    };
    let is_blind = release == Release::Flat && !folders.is_empty();
    if matches!(files, Looked::Failed(_)) && !is_blind {
        files = api.look_patiently(Noun::Files, folder).await?;
    }
    let files = match files {
        Looked::Found(Data::Many(files)) => {
            let objects = files.into_iter().filter_map(|(key, value)| match value {
                Value::Object(object) => Some((key, object)),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
            });
            RawFiles::Told(objects.collect())
        }
        Looked::Found(Data::One(_)) => {
            // The path names a file by now.
            return Err(failure(ErrorKind::NotFound, OPERATION, folder));
        }
        Looked::Absent => RawFiles::Told(Vec::new()),
        Looked::Failed(_) if is_blind => RawFiles::Blind,
        Looked::Failed(error) => {
            return Err(error.because(
                "the site cannot list this folder (500): somewhere below it lies a file without extension or without \
                 metadata",
            ));
        }
    };
    Ok(Raw { folders, files })
}

/// The direct subfolders: those with an object. `[]` stands for deeper ones.
fn folder_names(folder: &RemotePath, data: &Data) -> BTreeSet<String> {
    let Data::Many(items) = data else {
        return BTreeSet::new();
    };
    let named = items.iter().filter_map(|(key, value)| {
        let Some(path) = value.as_object()?.get("path").and_then(Value::as_str) else {
            return Some(key.clone());
        };
        let path = path
            .split('/')
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join("/");
        let path = RemotePath::parse(&path)?;
        (path.parent() == *folder).then(|| path.name().to_owned())
    });
    named.collect()
}

/// The direct children of a folder.
pub(super) async fn children(api: &Api, memory: &Memory, folder: &RemotePath) -> Result<Vec<Entry>> {
    let Raw { folders, files } = raw(api, folder).await?;
    let mut entries = Vec::new();
    for name in &folders {
        entries.push(decode::folder_entry(&folder.child(name)?));
    }
    let (told, mut asked) = match files {
        RawFiles::Told(files) => told_files(api, folder, files).await?,
        RawFiles::Blind => (BTreeMap::new(), memory.blind_files(folder)),
    };
    // Where a folder is, no file can be hidden.
    asked.retain(|name| !folders.contains(name));
    let hidden = hidden_files(api, memory, folder, asked).await?;
    let files = sized(api, told.into_iter().chain(hidden).collect()).await?;
    let now = memory.clock.now();
    entries.extend(files.into_iter().filter(|file| !upload::is_in_progress(file, now)));
    Ok(entries)
}

/// Files that are direct children by the site's word, and names that such a child may hide behind.
async fn told_files(
    api: &Api,
    folder: &RemotePath,
    files: Vec<(String, Object)>,
) -> Result<(BTreeMap<RemotePath, Object>, Vec<String>)> {
    let site = api.site().await?;
    let mut direct = BTreeMap::new();
    let mut asked = Vec::new();
    for (key, object) in files {
        let name = object
            .get("filename")
            .and_then(Value::as_str)
            .unwrap_or(&key)
            .to_owned();
        let dirname = object.get("dirname").and_then(Value::as_str);
        let within = dirname.and_then(|dirname| decode::below_uploads(dirname, &site.uploads));
        match within {
            Some(within) if within == folder.as_str() => {
                direct.insert(folder.child(&name)?, object);
            }
            Some(_) => asked.push(name),
            None if site.release == Release::Flat => {
                direct.insert(folder.child(&name)?, object);
            }
            None => asked.push(name),
        }
    }
    Ok((direct, asked))
}

/// Asks for names one by one: the web server first, which is quick and takes many questions at once.
async fn hidden_files(
    api: &Api,
    memory: &Memory,
    folder: &RemotePath,
    names: Vec<String>,
) -> Result<Vec<(RemotePath, Object)>> {
    let paths: Vec<RemotePath> = names.iter().map(|name| folder.child(name)).collect::<Result<_>>()?;
    let found: Vec<Option<(RemotePath, Object)>> = stream::iter(paths)
        .map(|path| async move {
            if memory.is_unhidden(&path) {
                return Ok(None);
            }
            let there = match api.head(&path).await? {
                Static::There(_) | Static::Kept => single(api, &path).await?,
                Static::Absent => None,
            };
            if there.is_none() {
                memory.unhidden.lock().put(path.clone(), memory.clock.elapsed());
            }
            Ok(there.map(|object| (path, object)))
        })
        .buffer_unordered(QUESTIONS_MAX)
        .try_collect()
        .await?;
    Ok(found.into_iter().flatten().collect())
}

/// The object of one file; `None` when the site says that there is none.
pub(super) async fn single(api: &Api, path: &RemotePath) -> Result<Option<Object>> {
    match api.look_patiently(Noun::Files, path).await? {
        Looked::Found(Data::One(object)) => Ok(Some(object)),
        // A folder of that name.
        Looked::Found(Data::Many(_)) | Looked::Absent => Ok(None),
        Looked::Failed(error) => Err(error),
    }
}

/// The entries of files, with sizes from the web server where the site told none.
async fn sized(api: &Api, files: Vec<(RemotePath, Object)>) -> Result<Vec<Entry>> {
    stream::iter(files)
        .map(|(path, object)| async move { entry(api, &path, &object).await })
        .buffer_unordered(QUESTIONS_MAX)
        .try_collect()
        .await
}

/// The entry of one file.
pub(super) async fn entry(api: &Api, path: &RemotePath, object: &Object) -> Result<Entry> {
    let size = match decode::size_of(object) {
        Some(size) => Some(size),
        None => match api.head(path).await? {
            Static::There(size) => size,
            Static::Kept | Static::Absent => None,
        },
    };
    Ok(decode::file_entry(path, object, size))
}

/// One item, fresh.
pub(super) async fn stat(api: &Api, kind: Kind, path: &RemotePath) -> Result<Entry> {
    const OPERATION: &str = "stat";
    let missing = || failure(ErrorKind::NotFound, OPERATION, path);
    match kind {
        Kind::File => {
            let object = single(api, path).await?.ok_or_else(missing)?;
            entry(api, path, &object).await
        }
        Kind::Folder => match api.look_patiently(Noun::Folders, path).await? {
            Looked::Found(_) => Ok(decode::folder_entry(path)),
            Looked::Absent => Err(missing()),
            Looked::Failed(error) => Err(error),
        },
    }
}

/// Whether a file or a folder is at `path`.
pub(super) async fn kind_at(api: &Api, path: &RemotePath) -> Result<Option<Kind>> {
    match api.look_patiently(Noun::Folders, path).await? {
        Looked::Found(_) => return Ok(Some(Kind::Folder)),
        Looked::Absent => {}
        Looked::Failed(error) => return Err(error),
    }
    Ok(single(api, path).await?.map(|_| Kind::File))
}
