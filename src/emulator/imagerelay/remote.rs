//! Another user's hand: looks at the library and changes it without a request, as tests and `/_emulator/` do.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::app::App;
use super::ask::{Reply, ReplyBody};
use super::content::Content;
use super::listing::parse_day;
use super::records::{File, Folder};
use super::render::time;
use super::state::{ROOT, State};
use crate::emulator::common::Pattern;

/// A handle of the library. Cheap to clone.
#[derive(Clone)]
pub struct Remote {
    app: Arc<App>,
}

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// A folder's id.
    Folder(u64),
    /// An asset's id.
    File(u64),
}

/// A folder with all that is in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TreeFolder {
    /// Its id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// The files directly inside, by ascending id.
    pub files: Vec<TreeFile>,
    /// The folders directly inside, by ascending id.
    pub folders: Vec<TreeFolder>,
}

/// An asset as the tree shows it, once in each of its folders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeFile {
    /// Its id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
    /// The SHA-256 of its bytes in hex; absent when hashes were not asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sha256: Option<String>,
    /// All its folders.
    pub folder_ids: Vec<u64>,
    /// When it changed.
    pub updated_on: String,
    /// Its non-empty terms, by name.
    pub terms: Vec<(String, String)>,
    /// Its tags, by name.
    pub tags: Vec<String>,
}

/// New bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// These characters.
    Text(String),
    /// These bytes.
    Bytes(Vec<u8>),
    /// Computed ones.
    Pattern(Pattern),
}

/// A change that comes from elsewhere.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Edit {
    /// A new folder; the answer is its id.
    CreateFolder { parent: u64, name: String },
    /// A folder gets another name or parent.
    ChangeFolder { id: u64, name: String, parent: u64 },
    /// A folder goes, with its content.
    DeleteFolder { id: u64 },
    /// A new asset; the answer is its id.
    CreateFile { folder: u64, name: String, body: Body },
    /// An asset gets other bytes.
    ReplaceFile { id: u64, body: Body },
    /// An asset gets another name.
    RenameFile { id: u64, name: String },
    /// These are all its folders now.
    MoveFile { id: u64, folders: Vec<u64> },
    /// An asset goes.
    DeleteFile { id: u64 },
    /// A term of an asset, by the term's name.
    SetTerm { id: u64, term: String, value: String },
    /// An asset expires on this `YYYY-MM-DD`.
    SetExpiry { id: u64, date: Option<String> },
}

/// Why a change is refused.
#[derive(Debug, thiserror::Error)]
#[error("the edit is refused: {0}")]
pub struct EditError(String);

impl From<Reply> for EditError {
    fn from(reply: Reply) -> Self {
        Self(match reply.body {
            ReplyBody::Json(value) => value.to_string(),
            ReplyBody::Text(text) => text,
            ReplyBody::Empty | ReplyBody::Html(_) => reply.status.to_string(),
        })
    }
}

impl Remote {
    pub(super) fn new(app: Arc<App>) -> Self {
        Self { app }
    }

    /// The root folder's id.
    pub fn root(&self) -> u64 {
        ROOT
    }

    /// What `path` (names joined by `/`, from the root) leads to; among equal names the oldest.
    pub fn find(&self, path: &str) -> Option<Item> {
        self.app.look(|state| find(state, path))
    }

    /// An asset.
    pub fn file(&self, id: u64) -> Option<TreeFile> {
        self.app.look(|state| Some(tree_file(state, &state.file(id).ok()?)))
    }

    /// An asset's bytes; none when there is no such asset.
    pub fn bytes(&self, id: u64) -> Option<Bytes> {
        let content = self.app.look(|state| state.file(id)).ok()?.content;
        self.app.vault.read_all(&content).ok()
    }

    /// The whole library. Hashing reads every byte: leave it out for a big one.
    pub fn tree(&self, hashes: bool) -> TreeFolder {
        let mut contents = Vec::new();
        let mut tree = self.app.look(|state| tree_folder(state, ROOT, &mut contents));
        if hashes {
            // Outside the lock, for requests go on meanwhile.
            let mut contents = contents.into_iter();
            self.hash(&mut tree, &mut contents);
        }
        tree
    }

    fn hash(&self, folder: &mut TreeFolder, contents: &mut impl Iterator<Item = Content>) {
        for (file, content) in folder.files.iter_mut().zip(&mut *contents) {
            file.sha256 = self.app.vault.sha256(&content).ok();
        }
        for folder in &mut folder.folders {
            self.hash(folder, contents);
        }
    }

    /// The quick links that live: id, purpose, asset.
    pub fn links(&self) -> Vec<(u64, String, u64)> {
        let entry = |link: &super::records::Link| (link.id, link.purpose.clone(), link.asset);
        self.app.look(|state| state.links.values().map(entry).collect())
    }

    /// Makes a change; the answer is the id of what was changed or made.
    ///
    /// # Errors
    /// When the service would refuse it, too.
    pub fn edit(&self, edit: Edit) -> Result<u64, EditError> {
        self.app.change(|state| apply(state, edit)).map_err(EditError::from)
    }

    /// Makes a folder.
    ///
    /// # Errors
    /// As [`Remote::edit`]; so are those of the methods below.
    pub fn create_folder(&self, parent: u64, name: &str) -> Result<u64, EditError> {
        let name = name.to_owned();
        self.edit(Edit::CreateFolder { parent, name })
    }

    /// Makes an asset.
    pub fn create_file(&self, folder: u64, name: &str, bytes: impl Into<Vec<u8>>) -> Result<u64, EditError> {
        let (name, body) = (name.to_owned(), Body::Bytes(bytes.into()));
        self.edit(Edit::CreateFile { folder, name, body })
    }

    /// Gives an asset other bytes.
    pub fn replace(&self, id: u64, bytes: impl Into<Vec<u8>>) -> Result<u64, EditError> {
        let body = Body::Bytes(bytes.into());
        self.edit(Edit::ReplaceFile { id, body })
    }

    /// Gives an asset another name.
    pub fn rename_file(&self, id: u64, name: &str) -> Result<u64, EditError> {
        let name = name.to_owned();
        self.edit(Edit::RenameFile { id, name })
    }

    /// Gives an asset other folders.
    pub fn move_file(&self, id: u64, folders: &[u64]) -> Result<u64, EditError> {
        let folders = folders.to_vec();
        self.edit(Edit::MoveFile { id, folders })
    }

    /// Deletes an asset.
    pub fn delete_file(&self, id: u64) -> Result<u64, EditError> {
        self.edit(Edit::DeleteFile { id })
    }

    /// Deletes a folder with its content.
    pub fn delete_folder(&self, id: u64) -> Result<u64, EditError> {
        self.edit(Edit::DeleteFolder { id })
    }
}

fn find(state: &State, path: &str) -> Option<Item> {
    let mut folder = ROOT;
    let mut names = path.split('/').filter(|name| !name.is_empty()).peekable();
    while let Some(name) = names.next() {
        let library = &state.library;
        let mut inside = library.folders_in(folder).iter();
        let named = |id: &&u64| library.folder(**id).is_some_and(|folder| *folder.name == *name);
        if let Some(next) = inside.find(named) {
            folder = *next;
            continue;
        }
        let inside = library.files_in(folder);
        let mut files = inside.iter();
        let named = |id: &&u64| {
            library
                .file(**id)
                .is_some_and(|file| *file.name == *name && !file.deleted())
        };
        let file = files.find(named)?;
        return names.peek().is_none().then_some(Item::File(*file));
    }
    Some(Item::Folder(folder))
}

fn tree_folder(state: &State, id: u64, contents: &mut Vec<Content>) -> TreeFolder {
    let name = state.library.folder(id).map_or("", |folder: &Arc<Folder>| &folder.name);
    let mut files = Vec::new();
    for file in state
        .library
        .files_in(id)
        .iter()
        .filter_map(|id| state.library.file(*id))
    {
        if !file.deleted() {
            files.push(tree_file(state, &file));
            contents.push(file.content.clone());
        }
    }
    TreeFolder {
        id,
        name: name.to_owned(),
        files,
        folders: state
            .library
            .folders_in(id)
            .iter()
            .map(|folder| tree_folder(state, *folder, contents))
            .collect(),
    }
}

fn tree_file(state: &State, file: &File) -> TreeFile {
    let kind = state.file_types.iter().find(|kind| kind.id == file.file_type);
    let defined = kind.map_or(&[][..], |kind| &kind.terms);
    let extra = file.extra.as_deref();
    let value = |id: u64| {
        extra
            .and_then(|extra| extra.terms.get(&id))
            .filter(|value| !value.is_empty())
    };
    let tags = extra.into_iter().flat_map(|extra| &extra.tags);
    TreeFile {
        id: file.id,
        name: file.name.to_string(),
        size: file.content.bytes(),
        sha256: None,
        folder_ids: file.folders.to_vec(),
        updated_on: time(file.updated_ms),
        terms: defined
            .iter()
            .filter_map(|term| Some((term.name.to_owned(), value(term.id)?.clone())))
            .collect(),
        tags: tags
            .filter_map(|tag| state.keywords.get(tag))
            .map(|keyword| keyword.name.clone())
            .collect(),
    }
}

fn apply(state: &mut State, edit: Edit) -> Result<u64, Reply> {
    match edit {
        Edit::CreateFolder { parent, name } => {
            state.folder(parent)?;
            Ok(state.create_folder(parent, &name)?.id)
        }
        Edit::ChangeFolder { id, name, parent } => Ok(state.change_folder(id, &name, Some(parent))?.id),
        Edit::DeleteFolder { id } => state.delete_folder(id).map(|()| id),
        Edit::CreateFile { folder, name, body } => create_file(state, folder, &name, body),
        Edit::ReplaceFile { id, body } => {
            state.file(id)?;
            let content = keep(state, body)?;
            state.set_content(id, content, "updated_file");
            Ok(id)
        }
        Edit::RenameFile { id, name } => {
            let mut file = state.file(id)?;
            file.name = name.into();
            state.touch(&mut file);
            state.put_file(file.clone());
            state.announce("file", "name_changed", &state.file_event(&file, "name_changed", None));
            Ok(id)
        }
        Edit::MoveFile { id, folders } => Ok(state.set_folders(id, folders)?.id),
        Edit::DeleteFile { id } => state.delete_file(id).map(|()| id),
        Edit::SetTerm { id, term, value } => {
            let mut file = state.file(id)?;
            let kind = state.file_types.iter().find(|kind| kind.id == file.file_type);
            let found = kind.and_then(|kind| kind.terms.iter().find(|known| known.name == term));
            let term = found.ok_or_else(|| Reply::missing("term"))?.id;
            file.extra_mut().terms.insert(term, value);
            state.touch(&mut file);
            state.put_file(file);
            Ok(id)
        }
        Edit::SetExpiry { id, date } => set_expiry(state, id, date),
    }
}

fn create_file(state: &mut State, folder: u64, name: &str, body: Body) -> Result<u64, Reply> {
    state.folder(folder)?;
    let content = keep(state, body)?;
    let now = state.now_ms();
    let file_type = state
        .default_type(folder)
        .or(state.file_types.first().map(|kind| kind.id));
    let file = File {
        id: state.next_file_id(),
        name: name.into(),
        size_px: state.measure(name, &content),
        content,
        created_ms: now,
        updated_ms: now,
        content_ms: now,
        file_type: file_type.unwrap_or(0),
        folders: Box::from([folder]),
        extra: None,
    };
    let id = file.id;
    state.add_file(file);
    Ok(id)
}

fn set_expiry(state: &mut State, id: u64, date: Option<String>) -> Result<u64, Reply> {
    let mut file = state.file(id)?;
    if date.as_deref().is_some_and(|date| parse_day(date).is_none()) {
        return Err(Reply::invalid("the date must be a YYYY-MM-DD"));
    }
    let action = match date {
        Some(_) => "expiration_date_set",
        None => "expiration_date_removed",
    };
    file.extra_mut().expires_on = date;
    state.touch(&mut file);
    state.put_file(file.clone());
    state.announce("file", action, &state.file_event(&file, action, None));
    Ok(id)
}

fn keep(state: &State, body: Body) -> Result<Content, Reply> {
    let bytes = match body {
        Body::Text(text) => text.into_bytes(),
        Body::Bytes(bytes) => bytes,
        Body::Pattern(pattern) => return Ok(Content::Pattern(pattern)),
    };
    state
        .vault
        .put_whole(bytes.into())
        .map_err(|error| Reply::broken(&error))
}
