//! What the service keeps: one struct a kind, each with the name it has in the database.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::content::{Content, Piece};

/// Something that is saved under a kind and a key.
pub(super) trait Record: Serialize + DeserializeOwned {
    /// The kind's name in the database.
    const KIND: &'static str;
    /// The key within the kind.
    fn key(&self) -> String;
}

macro_rules! record {
    ($type:ty, $kind:literal, $key:ident) => {
        impl Record for $type {
            const KIND: &'static str = $kind;
            fn key(&self) -> String {
                self.$key.to_string()
            }
        }
    };
}

/// A folder.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Folder {
    pub(super) id: u64,
    pub(super) name: Box<str>,
    /// None for the root alone.
    pub(super) parent: Option<u64>,
    pub(super) created_ms: i64,
    pub(super) updated_ms: i64,
    /// The file type that new files get here.
    pub(super) metagroup: Option<u64>,
}

/// An asset. A library may hold a million of them, so the rare parts are boxed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct File {
    pub(super) id: u64,
    pub(super) name: Box<str>,
    pub(super) content: Content,
    pub(super) size_px: Option<(u32, u32)>,
    pub(super) created_ms: i64,
    pub(super) updated_ms: i64,
    /// When the bytes last changed: the CDN's `Last-Modified`.
    pub(super) content_ms: i64,
    pub(super) file_type: u64,
    /// Ascending, never empty.
    pub(super) folders: Box<[u64]>,
    pub(super) extra: Option<Box<Extra>>,
}

/// What only some assets have.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Extra {
    pub(super) terms: BTreeMap<u64, String>,
    pub(super) tags: BTreeSet<u64>,
    /// `YYYY-MM-DD`.
    pub(super) expires_on: Option<String>,
    /// A thumbnail that was uploaded.
    pub(super) thumbnail: Option<Content>,
    pub(super) deleted_ms: Option<i64>,
}

impl File {
    /// The rare parts, for a change.
    pub(super) fn extra_mut(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    /// Whether it is in the trash.
    pub(super) fn deleted(&self) -> bool {
        self.extra.as_ref().is_some_and(|extra| extra.deleted_ms.is_some())
    }
}

/// A metadata template.
#[derive(Clone, Debug)]
pub(super) struct FileType {
    pub(super) id: u64,
    pub(super) name: &'static str,
    pub(super) terms: Vec<Term>,
}

/// One field of a template.
#[derive(Clone, Debug)]
pub(super) struct Term {
    pub(super) id: u64,
    pub(super) name: &'static str,
    pub(super) field_type: &'static str,
    pub(super) options: Vec<(u64, &'static str)>,
}

/// An upload of new files.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) id: u64,
    pub(super) folder: u64,
    pub(super) file_type: u64,
    pub(super) created_ms: i64,
    pub(super) updated_ms: i64,
    pub(super) terms: BTreeMap<u64, String>,
    pub(super) keywords: Vec<serde_json::Value>,
    pub(super) expires_on: Option<String>,
    pub(super) files: Vec<JobFile>,
}

impl Job {
    /// The asset of its last file, once all of them are assets.
    pub(super) fn asset(&self) -> Option<u64> {
        let mut last = None;
        for file in &self.files {
            match file.state {
                JobState::Done(asset) => last = Some(asset),
                JobState::Filling(_) | JobState::Queued => return None,
            }
        }
        last
    }
}

/// One file of a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct JobFile {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) state: JobState,
}

/// How far it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum JobState {
    /// These chunks are here.
    Filling(BTreeMap<u64, Piece>),
    /// All bytes are here; the asset comes later.
    Queued,
    /// It is this asset.
    Done(u64),
}

/// An upload of a new version.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Version {
    pub(super) uuid: String,
    pub(super) file: u64,
    pub(super) chunks: BTreeMap<u64, Piece>,
}

/// A quick link.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Link {
    pub(super) id: u64,
    pub(super) uid: String,
    pub(super) purpose: String,
    pub(super) created_ms: i64,
    pub(super) asset: u64,
    /// The name in the URL.
    pub(super) name: String,
    /// The bytes it was made for, and when they came.
    pub(super) content: Content,
    pub(super) content_ms: i64,
    /// `YYYY-MM-DD`; gone from the start of that day.
    pub(super) expires: Option<String>,
    pub(super) attachment: bool,
}

/// A named set of keywords.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct KeywordSet {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) created_ms: i64,
}

/// A keyword; on an asset it is called a tag.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Keyword {
    pub(super) id: u64,
    pub(super) set: u64,
    pub(super) name: String,
    pub(super) created_ms: i64,
}

/// A collection of assets.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Collection {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) created_ms: i64,
    pub(super) assets: BTreeSet<u64>,
}

/// A registered webhook.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Webhook {
    pub(super) id: u64,
    pub(super) resource: String,
    pub(super) action: String,
    pub(super) url: String,
    pub(super) notification_emails: Vec<String>,
    pub(super) created_ms: i64,
}

/// Something that takes effect later.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Later {
    pub(super) id: u64,
    pub(super) due_ms: i64,
    pub(super) what: Due,
}

/// What takes effect.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Due {
    /// A completed version.
    Version { file: u64, name: String, content: Content },
    /// A completed file of a job.
    JobFile { job: u64, index: usize, content: Content },
    /// The bytes of a URL upload.
    Fetched { file: u64, content: Content },
}

/// The last ids given.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Ids {
    pub(super) folder: u64,
    pub(super) file: u64,
    /// Jobs, links, keywords and the rest share one sequence.
    pub(super) other: u64,
}

impl Record for Ids {
    const KIND: &'static str = "ids";
    fn key(&self) -> String {
        "last".into()
    }
}

record!(Folder, "folder", id);
record!(File, "file", id);
record!(Job, "job", id);
record!(Version, "version", uuid);
record!(Link, "link", id);
record!(KeywordSet, "keyword_set", id);
record!(Keyword, "keyword", id);
record!(Collection, "collection", id);
record!(Webhook, "webhook", id);
record!(Later, "later", id);
