//! The site's uploads: folders, files and the metadata kept beside them, with the quirks of the real service.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::model::Timestamp;

use super::Version;
use super::images;

/// Where the site pretends to keep its uploads.
pub(super) const UPLOADS: &str = "/srv/flextype/project/uploads";

/// Longest name whose metadata file still fits the disk, in bytes.
const NAME_BYTES_MAX: usize = 250;

/// How the service fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// 404, the answer to every logical error.
    NotFound,
    /// 500, an exception.
    Exception,
}

type Outcome<T> = Result<T, Failure>;

/// Who made a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The service: it keeps metadata for it.
    Api,
    /// Somebody behind the service's back.
    Outside,
}

/// Bytes on the disk.
#[derive(Clone, Debug)]
pub(super) struct Content {
    pub(super) bytes: Bytes,
    pub(super) modified: Timestamp,
}

/// A file and its metadata, which live apart: either may be missing.
#[derive(Clone, Debug, Default)]
pub(super) struct Stored {
    pub(super) content: Option<Content>,
    pub(super) meta: Option<Map<String, Value>>,
}

/// A path as it was sent, and what it means.
#[derive(Clone, Debug)]
pub(super) struct SitePath {
    /// As sent: answers repeat it letter by letter.
    pub(super) raw: String,
    /// Without empty and dot segments; `""` is the root.
    pub(super) key: String,
}

impl SitePath {
    /// Resolves a path as a file system would; `None` when it leads out of the uploads.
    pub(super) fn parse(raw: &str) -> Option<Self> {
        let mut parts: Vec<&str> = Vec::new();
        for part in raw.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    parts.pop()?;
                }
                part => parts.push(part),
            }
        }
        Some(Self {
            raw: raw.to_owned(),
            key: parts.join("/"),
        })
    }
}

/// The folder a path is in, `""` for the top.
pub(super) fn parent_of(key: &str) -> &str {
    key.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// The last part of a path.
pub(super) fn name_of(key: &str) -> &str {
    key.rsplit_once('/').map_or(key, |(_, name)| name)
}

fn is_hidden(key: &str) -> bool {
    key.split('/').any(|part| part.starts_with('.'))
}

/// `below` relative to `folder`, when it lies under it.
fn relative<'a>(below: &'a str, folder: &str) -> Option<&'a str> {
    if folder.is_empty() {
        return (!below.is_empty()).then_some(below);
    }
    below.strip_prefix(folder)?.strip_prefix('/')
}

fn text_after_dot(path: &str) -> Outcome<&str> {
    // The service looks for the first dot of the whole path and fails without one.
    path.split_once('.').map(|(_, rest)| rest).ok_or(Failure::Exception)
}

/// All uploads of a site.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    pub(super) folders: BTreeMap<String, Origin>,
    pub(super) files: BTreeMap<String, Stored>,
    /// Whether a delete with an empty path has taken the uploads folder itself.
    pub(super) wiped: bool,
}

impl Tree {
    pub(super) fn folder_exists(&self, key: &str) -> bool {
        if key.is_empty() {
            return !self.wiped;
        }
        self.folders.contains_key(key)
    }

    fn folder_is_known(&self, key: &str) -> bool {
        (key.is_empty() && !self.wiped) || self.folders.get(key) == Some(&Origin::Api)
    }

    pub(super) fn content(&self, key: &str) -> Option<&Content> {
        self.files.get(key)?.content.as_ref()
    }

    fn is_taken(&self, key: &str) -> bool {
        self.content(key).is_some() || self.folder_exists(key)
    }

    /// Makes a folder and those above it.
    pub(super) fn make_folder(&mut self, key: &str, origin: Origin) {
        self.wiped = false;
        let mut end = 0;
        while let Some(next) = key[end..].find('/') {
            self.folders.entry(key[..end + next].to_owned()).or_insert(origin);
            end += next + 1;
        }
        if !key.is_empty() {
            self.folders.entry(key.to_owned()).or_insert(origin);
        }
    }

    /// The object of one file, as `GET` and (before 0.9.12) every write answer it.
    pub(super) fn file_object(&self, path: &SitePath, site: &str) -> Outcome<Value> {
        let stored = self.files.get(&path.key).ok_or(Failure::NotFound)?;
        let meta = stored.meta.as_ref().ok_or(Failure::NotFound)?;
        Self::object(meta, &path.key, &path.raw, site)
    }

    fn object(meta: &Map<String, Value>, key: &str, path: &str, site: &str) -> Outcome<Value> {
        let extension = text_after_dot(path)?;
        let filename = name_of(key);
        let dirname = match path.rsplit_once('/') {
            _ if parent_of(key).is_empty() => UPLOADS.to_owned(),
            // A leading slash shows in the folder's name.
            Some((folder, _)) if path.starts_with('/') && folder.trim_start_matches('/') == parent_of(key) => {
                format!("{UPLOADS}/{folder}")
            }
            _ => format!("{UPLOADS}/{}", parent_of(key)),
        };
        let mut object = meta.clone();
        for (field, value) in [
            ("filename", filename.to_owned()),
            ("basename", filename.split('.').next().unwrap_or_default().to_owned()),
            ("extension", extension.to_owned()),
            ("dirname", dirname),
            ("url", format!("project/uploads/{path}")),
            ("full_url", format!("{site}/project/uploads/{path}")),
        ] {
            object.insert(field.to_owned(), Value::String(value));
        }
        Ok(Value::Object(object))
    }

    /// The files below a folder, keyed by bare name: recursive in 0.9.12, direct ones before.
    pub(super) fn file_collection(
        &self,
        path: &SitePath,
        site: &str,
        version: Version,
        collision: super::Collision,
    ) -> Outcome<Value> {
        let has_subfolder = self.folders.keys().any(|f| relative(f, &path.key).is_some());
        match version {
            Version::V0_9_11 if has_subfolder => return Err(Failure::Exception),
            Version::V0_9_11 | Version::V0_9_12 => {}
        }
        let mut found: Map<String, Value> = Map::new();
        for (key, stored) in &self.files {
            let Some(rest) = relative(key, &path.key) else { continue };
            if stored.content.is_none() || is_hidden(rest) {
                continue;
            }
            let meta = stored.meta.as_ref().ok_or(Failure::Exception)?;
            let name = name_of(key);
            // Nested files are told with the path that they would have if they were direct children.
            let told = format!("{}/{name}", path.raw);
            let object = Self::object(meta, key, &told, site)?;
            let is_direct = !rest.contains('/');
            let hidden = match collision {
                super::Collision::NestedShown => is_direct,
                super::Collision::DirectShown => !is_direct,
            };
            if !(hidden && found.contains_key(name)) {
                found.insert(name.to_owned(), object);
            }
        }
        if found.is_empty() {
            return Err(Failure::NotFound);
        }
        Ok(Value::Object(found))
    }

    pub(super) fn folder_object(&self, path: &SitePath, site: &str) -> Outcome<Value> {
        if !self.folder_exists(&path.key) {
            return Err(Failure::NotFound);
        }
        Ok(Self::folder_value(&path.raw, site))
    }

    fn folder_value(raw: &str, site: &str) -> Value {
        json!({
            "path": raw,
            "full_path": format!("{UPLOADS}/{raw}"),
            "url": format!("project/uploads/{raw}"),
            "full_url": format!("{site}/project/uploads/{raw}"),
        })
    }

    /// The folders below a folder: objects for direct children and, in 0.9.12, `[]` for deeper ones.
    pub(super) fn folder_collection(&self, path: &SitePath, site: &str, version: Version) -> Outcome<Value> {
        if !self.folder_exists(&path.key) {
            return Err(match version {
                Version::V0_9_12 => Failure::Exception,
                Version::V0_9_11 => Failure::NotFound,
            });
        }
        let mut found: Map<String, Value> = Map::new();
        for key in self.folders.keys() {
            let Some(rest) = relative(key, &path.key).filter(|rest| !is_hidden(rest)) else {
                continue;
            };
            let name = name_of(rest);
            let direct = if path.key.is_empty() {
                name.to_owned()
            } else {
                format!("{}/{name}", path.key)
            };
            if self.folder_exists(&direct) {
                found.insert(
                    name.to_owned(),
                    Self::folder_value(&format!("{}/{name}", path.raw), site),
                );
            } else if version == Version::V0_9_12 {
                found.insert(name.to_owned(), json!([]));
            }
        }
        if version == Version::V0_9_11 {
            found.retain(|name, _| self.folders.keys().any(|key| relative(key, &path.key) == Some(name)));
        }
        if found.is_empty() {
            return Err(Failure::NotFound);
        }
        Ok(Value::Object(found))
    }

    pub(super) fn create_folder(&mut self, key: &str) -> Outcome<()> {
        if key.is_empty() || self.is_taken(key) {
            return Err(Failure::NotFound);
        }
        self.make_folder(key, Origin::Api);
        Ok(())
    }

    /// Keeps an upload under its slug, with fresh metadata.
    pub(super) fn store_upload(&mut self, folder: &str, name: &str, bytes: Bytes, now: Timestamp) -> Outcome<String> {
        if self.content(folder).is_some() {
            return Err(Failure::Exception);
        }
        self.make_folder(folder, Origin::Api);
        let key = if folder.is_empty() {
            name.to_owned()
        } else {
            format!("{folder}/{name}")
        };
        if self.folder_exists(&key) {
            return Err(Failure::Exception);
        }
        let meta = fresh_meta(name, &bytes, now);
        let content = Some(Content { bytes, modified: now });
        self.files.insert(
            key.clone(),
            Stored {
                content,
                meta: Some(meta),
            },
        );
        Ok(key)
    }

    fn check_file_target(&self, from: &str, to: &str) -> Outcome<()> {
        let known = self
            .files
            .get(from)
            .is_some_and(|f| f.content.is_some() && f.meta.is_some());
        if !known || self.is_taken(to) || !self.folder_exists(parent_of(to)) || name_of(to).len() > NAME_BYTES_MAX {
            return Err(Failure::NotFound);
        }
        Ok(())
    }

    /// Moves a file; fails *after* it has acted for a target without a dot and for a folder without metadata.
    pub(super) fn move_file(&mut self, from: &str, to: &SitePath) -> Outcome<()> {
        self.check_file_target(from, &to.key)?;
        if !self.folder_is_known(parent_of(&to.key)) {
            // The bytes go over and the metadata stay: half a move.
            let content = self.files.get_mut(from).and_then(|file| file.content.take());
            self.files.insert(to.key.clone(), Stored { content, meta: None });
            return Err(Failure::NotFound);
        }
        if let Some(file) = self.files.remove(from) {
            self.files.insert(to.key.clone(), file);
        }
        text_after_dot(&to.raw).map(|_| ())
    }

    pub(super) fn copy_file(&mut self, from: &str, to: &SitePath) -> Outcome<()> {
        self.check_file_target(from, &to.key)?;
        if !self.folder_is_known(parent_of(&to.key)) {
            return Err(Failure::NotFound);
        }
        if let Some(file) = self.files.get(from).cloned() {
            self.files.insert(to.key.clone(), file);
        }
        text_after_dot(&to.raw).map(|_| ())
    }

    pub(super) fn delete_file(&mut self, key: &str) -> Outcome<()> {
        match self.files.get(key) {
            Some(file) if file.content.is_some() && file.meta.is_some() => {
                self.files.remove(key);
                Ok(())
            }
            _ => Err(Failure::NotFound),
        }
    }

    fn check_folder_target(&self, from: &str, to: &str) -> Outcome<()> {
        let free = !self.is_taken(to) && self.folder_exists(parent_of(to));
        if from.is_empty() || to.is_empty() || !self.folder_is_known(from) || !free {
            return Err(Failure::NotFound);
        }
        Ok(())
    }

    pub(super) fn move_folder(&mut self, from: &str, to: &str) -> Outcome<()> {
        self.check_folder_target(from, to)?;
        if relative(to, from).is_some() {
            return Err(Failure::NotFound);
        }
        self.transfer(from, to, true);
        Ok(())
    }

    pub(super) fn copy_folder(&mut self, from: &str, to: &str) -> Outcome<()> {
        self.check_folder_target(from, to)?;
        if relative(to, from).is_some() {
            return Err(Failure::Exception);
        }
        self.transfer(from, to, false);
        Ok(())
    }

    fn transfer(&mut self, from: &str, to: &str, away: bool) {
        let renamed = |key: &str| {
            if key == from {
                return Some(to.to_owned());
            }
            relative(key, from).map(|rest| format!("{to}/{rest}"))
        };
        let folders: Vec<_> = self
            .folders
            .iter()
            .filter_map(|(k, v)| Some((renamed(k)?, *v)))
            .collect();
        let files: Vec<_> = self
            .files
            .iter()
            .filter_map(|(k, v)| Some((renamed(k)?, v.clone())))
            .collect();
        if away {
            self.drop_below(from);
        }
        self.folders.extend(folders);
        self.files.extend(files);
    }

    fn drop_below(&mut self, folder: &str) {
        self.folders
            .retain(|key, _| key != folder && relative(key, folder).is_none());
        self.files.retain(|key, _| relative(key, folder).is_none());
    }

    /// Deletes a folder with all that is in it; with an empty path all uploads of the site, answering "not found".
    pub(super) fn delete_folder(&mut self, key: &str) -> Outcome<()> {
        if key.is_empty() {
            self.drop_below("");
            self.wiped = true;
            return Err(Failure::NotFound);
        }
        let known = self.folder_is_known(key);
        if self.folder_exists(key) {
            // A folder without metadata goes too, and then the service misses its metadata.
            self.drop_below(key);
        }
        if known { Ok(()) } else { Err(Failure::NotFound) }
    }

    /// The metadata of a file, for changing; a missing file is an exception.
    pub(super) fn meta_mut(&mut self, key: &str) -> Outcome<&mut Map<String, Value>> {
        self.files
            .get_mut(key)
            .and_then(|file| file.meta.as_mut())
            .ok_or(Failure::Exception)
    }
}

/// The metadata of a fresh upload.
pub(super) fn fresh_meta(name: &str, bytes: &[u8], now: Timestamp) -> Map<String, Value> {
    let exif = match images::jpeg_size(bytes) {
        Some((width, height)) => json!({
            "html": format!("width=\"{width}\" height=\"{height}\""),
            "Height": height, "Width": width, "IsColor": 1,
        }),
        None => json!([]),
    };
    let title = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let mut meta = Map::new();
    meta.insert("title".to_owned(), json!(title));
    meta.insert("description".to_owned(), json!(""));
    meta.insert("type".to_owned(), json!(sniffed_type(bytes)));
    meta.insert("filesize".to_owned(), json!(bytes.len()));
    meta.insert("uploaded_on".to_owned(), json!(now.secs));
    meta.insert("exif".to_owned(), exif);
    meta
}

fn sniffed_type(bytes: &[u8]) -> &'static str {
    if bytes.is_empty() {
        return "application/x-empty";
    }
    if let Ok(format) = image::guess_format(bytes) {
        return format.to_mime_type();
    }
    if bytes.starts_with(b"%PDF") {
        return "application/pdf";
    }
    if bytes.starts_with(b"PK\x03\x04") {
        return "application/zip";
    }
    if !bytes.contains(&0) && std::str::from_utf8(bytes).is_ok() {
        return "text/plain";
    }
    "application/octet-stream"
}
