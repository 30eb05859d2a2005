//! Projects, their categories and files, and what a server does with them.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::model::{SharedClock, Timestamp};

/// A background process that a file waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// First processing after the upload.
    Upload,
    /// Image enhancement.
    Pfc,
}

/// One project.
#[derive(Clone, Debug, Default)]
pub struct Project {
    /// First name of whom it is about.
    pub firstname: String,
    /// Last name.
    pub lastname: String,
    /// Order number.
    pub ordernumber: String,
    /// The agency it belongs to.
    pub agency: u64,
    /// How many days ago it was made.
    pub age_days: u64,
    /// Names of its categories by id; 0 is never among them.
    pub categories: BTreeMap<u64, String>,
    /// Its files by id.
    pub files: BTreeMap<u64, Stored>,
}

/// One file.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its name; others may have the same.
    pub name: String,
    /// Its bytes.
    pub bytes: Bytes,
    /// Its category; 0 when it has none.
    pub category: u64,
    /// Picture caption.
    pub caption: String,
    /// Second caption.
    pub byline: String,
    /// 0, 1 or 2.
    pub priority: u8,
    /// Its place among the others.
    pub sortcode: u64,
    /// What it waits for.
    pub queue: Option<Queue>,
    /// The enhancement that was applied.
    pub filter: Option<String>,
    /// Whether a product uses it: then it cannot be deleted.
    pub in_use: bool,
    /// When it was uploaded.
    pub created: Timestamp,
    /// When anything of it changed.
    pub updated: Timestamp,
}

/// Everything a server knows.
pub(super) struct State {
    pub(super) clock: SharedClock,
    pub(super) projects: BTreeMap<u64, Project>,
    next_id: u64,
    /// Tokens that are accepted.
    pub(super) tokens: BTreeSet<String>,
    tokens_given: u64,
}

impl State {
    pub(super) fn new(clock: SharedClock) -> Self {
        Self {
            clock,
            projects: BTreeMap::new(),
            next_id: 1_000,
            tokens: BTreeSet::new(),
            tokens_given: 0,
        }
    }

    pub(super) fn give_token(&mut self) -> String {
        self.tokens_given += 1;
        let token = format!(
            "im4-token-{:04}-{:016x}",
            self.tokens_given,
            crate::emulator::common::mix(self.tokens_given)
        );
        self.tokens.insert(token.clone());
        token
    }

    /// Adds a file and answers its id; `None` without such a project or category.
    pub(super) fn add_file(&mut self, project: u64, category: u64, name: &str, bytes: Bytes) -> Option<u64> {
        let now = self.clock.now();
        let id = self.next_id;
        let project = self.projects.get_mut(&project)?;
        if category != 0 && !project.categories.contains_key(&category) {
            return None;
        }
        let sortcode = project.files.values().map(|file| file.sortcode).max().unwrap_or(0) + 1;
        let file = Stored {
            name: name.to_owned(),
            bytes,
            category,
            caption: String::new(),
            byline: String::new(),
            priority: 0,
            sortcode,
            queue: None,
            filter: None,
            in_use: false,
            created: now,
            updated: now,
        };
        project.files.insert(id, file);
        self.next_id += 1;
        Some(id)
    }
}

impl Project {
    /// The files of a category (of all with `None`), in their order.
    pub(super) fn sorted(&self, category: Option<u64>) -> Vec<(u64, &Stored)> {
        let all = self.files.iter().map(|(id, file)| (*id, file));
        let mut files: Vec<_> = all
            .filter(|(_, file)| category.is_none_or(|c| c == file.category))
            .collect();
        files.sort_by_key(|(id, file)| (file.sortcode, *id));
        files
    }
}
