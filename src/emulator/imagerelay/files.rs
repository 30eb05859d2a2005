//! File calls, without uploads.

use serde_json::Value;

use super::ask::{Ask, Outcome, Reply, as_id, id_in, ids_in, list_in};
use super::content::Content;
use super::listing::{Filter, paged};
use super::records::{File, Job, Link};
use super::render::content_type;
use super::state::State;

/// The largest thumbnail, in bytes.
const THUMBNAIL_BYTES_MAX: u64 = 5_000_000;
/// The largest image whose size in pixels is read.
const MEASURED_BYTES_MAX: u64 = 64 << 20;

/// `GET /folders/{id}/files`.
pub(super) fn list(state: &mut State, ask: &Ask) -> Outcome {
    let folder = state.folder(ask.id(0)?)?.id;
    let filter = Filter::of(ask, folder, state.quirks.updated_after_ignored)?;
    let ids = state.list_files(filter);
    let listed = state.listed();
    paged(state, ask, &ids, |id| {
        listed.file(id).map(|file| state.file_json(&file, &ask.origin))
    })
}

/// `GET /files/{id}`.
pub(super) fn get(state: &mut State, ask: &Ask) -> Outcome {
    let file = state.file(ask.id(0)?)?;
    Ok(Reply::ok(state.file_json(&file, &ask.origin)))
}

/// `DELETE /files/{id}`: from all its folders.
pub(super) fn delete(state: &mut State, ask: &Ask) -> Outcome {
    let id = ask.id(0)?;
    state.delete_file(id)?;
    Ok(Reply::done())
}

/// `POST /files/{id}/move`: the folders given are all that remain.
pub(super) fn relocate(state: &mut State, ask: &Ask) -> Outcome {
    let file = state.file(ask.id(0)?)?;
    let folders = ids_in(&ask.json()?, "folder_ids")?;
    let file = state.set_folders(file.id, folders)?;
    Ok(Reply::ok(state.file_json(&file, &ask.origin)))
}

/// `POST /files/{id}/synced_file`, `/copy`: the folders given come on top.
pub(super) fn sync_into(state: &mut State, ask: &Ask) -> Outcome {
    let file = state.file(ask.id(0)?)?;
    let mut folders = ids_in(&ask.json()?, "folder_ids")?;
    if folders.is_empty() {
        return Err(Reply::invalid("folder_ids is required"));
    }
    folders.extend_from_slice(&file.folders);
    let file = state.set_folders(file.id, folders)?;
    Ok(Reply::ok(state.file_json(&file, &ask.origin)))
}

/// `POST /files/{id}/duplicate`.
pub(super) fn duplicate(state: &mut State, ask: &Ask) -> Outcome {
    let source = state.file(ask.id(0)?)?;
    let body = ask.json()?;
    let folder = state.folder(id_in(&body, "folder_id")?)?.id;
    let keep = match body.get("should_copy_metadata") {
        Some(Value::Bool(keep)) => *keep,
        None | Some(_) => return Err(Reply::invalid("should_copy_metadata must be true or false")),
    };
    let now = state.now_ms();
    let mut copy = File {
        id: state.next_file_id(),
        created_ms: now,
        updated_ms: now,
        content_ms: now,
        folders: Box::from([folder]),
        ..source
    };
    if !keep {
        copy.extra = None;
        copy.file_type = state.default_type(folder).unwrap_or(copy.file_type);
    }
    state.add_file(copy.clone());
    Ok(Reply::created(state.file_json(&copy, &ask.origin)))
}

/// `POST /files/{id}/terms`.
pub(super) fn set_terms(state: &mut State, ask: &Ask) -> Outcome {
    let mut file = state.file(ask.id(0)?)?;
    let body = ask.json()?;
    let overwrite = match body.get("overwrite") {
        Some(Value::Bool(overwrite)) => *overwrite,
        None | Some(_) => return Err(Reply::invalid("overwrite must be true or false")),
    };
    list_in(&body, "terms")?;
    for (term, value) in state.terms_in(&body, file.file_type)? {
        let slot = file.extra_mut().terms.entry(term).or_default();
        match overwrite || slot.trim().is_empty() {
            true => *slot = value,
            false => {
                slot.push_str(", ");
                slot.push_str(&value);
            }
        }
    }
    state.touch(&mut file);
    state.put_file(file.clone());
    Ok(Reply::ok(state.file_json(&file, &ask.origin)))
}

/// `POST /files/{id}/tags`.
pub(super) fn set_tags(state: &mut State, ask: &Ask) -> Outcome {
    let mut file = state.file(ask.id(0)?)?;
    let body = ask.json()?;
    let tags = body.get("tags").ok_or_else(|| Reply::invalid("tags is required"))?;
    let (add, remove) = (ids_in(tags, "add_ids")?, ids_in(tags, "remove_ids")?);
    if let Some(unknown) = add.iter().find(|tag| !state.keywords.contains_key(tag)) {
        return Err(Reply::invalid(format!("there is no keyword {unknown}")));
    }
    file.extra_mut().tags.extend(add);
    file.extra_mut().tags.retain(|tag| !remove.contains(tag));
    state.touch(&mut file);
    state.put_file(file.clone());
    state.announce(
        "file",
        "keywords_updated",
        &state.file_event(&file, "keywords_updated", None),
    );
    Ok(Reply::ok(state.file_json(&file, &ask.origin)))
}

/// `POST /files/{id}/thumbnail?file_name=`.
pub(super) fn set_thumbnail(state: &mut State, ask: &Ask) -> Outcome {
    let mut file = state.file(ask.id(0)?)?;
    let name = ask.query.get("file_name").map_or("", String::as_str);
    check_extension(name)?;
    if !["image/png", "image/jpeg"].contains(&content_type(name).as_str()) {
        return Err(Reply::invalid("the thumbnail must be a JPG or PNG image"));
    }
    let bytes = ask.bytes(THUMBNAIL_BYTES_MAX)?;
    if image::guess_format(&bytes).is_err() {
        return Err(Reply::invalid("the thumbnail is not an image"));
    }
    let kept = state.vault.put_whole(bytes).map_err(|error| Reply::broken(&error))?;
    file.extra_mut().thumbnail = Some(kept);
    state.touch(&mut file);
    state.put_file(file.clone());
    Ok(Reply::ok(state.file_json(&file, &ask.origin)))
}

/// Refuses a file name without an extension or with a slash.
pub(super) fn check_extension(name: &str) -> Result<(), Reply> {
    match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() && !extension.is_empty() && !name.contains('/') => Ok(()),
        Some(_) | None => Err(Reply::invalid(format!("file name {name:?} needs an extension"))),
    }
}

impl State {
    /// The file, or 404.
    pub(super) fn file(&self, id: u64) -> Result<File, Reply> {
        self.library
            .file(id)
            .filter(|file| !file.deleted())
            .map(|file| File::clone(&file))
            .ok_or_else(|| Reply::missing("file"))
    }

    /// The name as the service keeps it.
    pub(super) fn kept_name(&self, name: &str) -> Box<str> {
        match self.quirks.names_normalised {
            true => name.split_whitespace().collect::<Vec<_>>().join("-").into(),
            false => name.into(),
        }
    }

    /// Moves `updated_on`, always forward.
    pub(super) fn touch(&self, file: &mut File) {
        file.updated_ms = self.now_ms().max(file.updated_ms + 1);
    }

    /// Writes a file that is new, and says so.
    pub(super) fn add_file(&mut self, file: File) {
        self.put_file(file.clone());
        self.announce("file", "created", &self.file_event(&file, "created", None));
        if !matches!(file.content, Content::Awaited) {
            self.announce("file", "processed", &self.file_event(&file, "processed", None));
        }
        for folder in &file.folders {
            let event = self.file_event(&file, "added_to_folder", Some(*folder));
            self.announce("file", "added_to_folder", &event);
        }
    }

    /// The asset that a finished file of a job becomes.
    pub(super) fn create_from_job(&mut self, job: &Job, id: u64, name: &str, content: Content) {
        let now = self.now_ms();
        let mut file = File {
            id,
            name: self.kept_name(name),
            size_px: self.measure(name, &content),
            content,
            created_ms: now,
            updated_ms: now,
            content_ms: now,
            file_type: job.file_type,
            folders: Box::from([job.folder]),
            extra: None,
        };
        if !job.terms.is_empty() || !job.keywords.is_empty() || job.expires_on.is_some() {
            let extra = file.extra_mut();
            extra.terms = job.terms.clone();
            extra.tags = job.keywords.iter().filter_map(as_id).collect();
            extra.expires_on = job.expires_on.clone();
        }
        self.add_file(file);
    }

    /// Gives a file a new name and new bytes.
    pub(super) fn apply_version(&mut self, id: u64, name: &str, content: Content) {
        // It may have been deleted while the version was queued.
        let Ok(mut file) = self.file(id) else { return };
        let name = self.kept_name(name);
        let renamed = file.name != name;
        file.name = name;
        self.touch(&mut file);
        self.put_file(file.clone());
        if renamed {
            self.announce("file", "name_changed", &self.file_event(&file, "name_changed", None));
        }
        self.set_content(id, content, "updated_file");
    }

    /// Gives a file new bytes and announces it as `action`.
    pub(super) fn set_content(&mut self, id: u64, content: Content, action: &str) {
        let Ok(mut file) = self.file(id) else { return };
        file.size_px = self.measure(&file.name, &content);
        file.content = content;
        self.touch(&mut file);
        file.content_ms = file.updated_ms;
        self.put_file(file.clone());
        self.announce("file", action, &self.file_event(&file, action, None));
    }

    /// Replaces the folders of a file.
    pub(super) fn set_folders(&mut self, id: u64, mut folders: Vec<u64>) -> Result<File, Reply> {
        let mut file = self.file(id)?;
        folders.sort_unstable();
        folders.dedup();
        if folders.is_empty() {
            return Err(Reply::invalid("folder_ids is required"));
        }
        if let Some(unknown) = folders.iter().find(|folder| self.library.folder(**folder).is_none()) {
            return Err(Reply::invalid(format!("there is no folder {unknown}")));
        }
        let before = std::mem::replace(&mut file.folders, folders.into());
        self.touch(&mut file);
        self.put_file(file.clone());
        let after = &file.folders;
        for (here, there, action) in [
            (after, &before, "added_to_folder"),
            (&before, after, "removed_from_folder"),
        ] {
            for folder in here.iter().filter(|folder| !there.contains(folder)) {
                let event = self.file_event(&file, action, Some(*folder));
                self.announce("file", action, &event);
            }
        }
        Ok(file)
    }

    /// Deletes an asset with its links.
    pub(super) fn delete_file(&mut self, id: u64) -> Result<(), Reply> {
        let mut file = self.file(id)?;
        let links: Vec<u64> = self
            .links
            .values()
            .filter(|link| link.asset == id)
            .map(|link: &Link| link.id)
            .collect();
        for link in links {
            self.drop_link(link);
        }
        let event = self.file_event(&file, "deleted", None);
        match self.quirks.deleted_listed {
            true => {
                file.extra_mut().deleted_ms = Some(self.now_ms());
                self.touch(&mut file);
                self.put_file(file);
            }
            false => self.drop_file(id),
        }
        self.announce("file", "deleted", &event);
        Ok(())
    }

    /// Takes a file out of a folder that goes away; the last one takes the file along.
    pub(super) fn leave_folder(&mut self, id: u64, folder: u64) -> Result<(), Reply> {
        let Ok(file) = self.file(id) else {
            self.drop_file(id);
            return Ok(());
        };
        let rest: Vec<u64> = file.folders.iter().copied().filter(|here| *here != folder).collect();
        match rest.is_empty() {
            true => self.delete_file(id),
            false => self.set_folders(id, rest).map(|_| ()),
        }
    }

    /// The file type that `folder` or the nearest one above it asks for.
    pub(super) fn default_type(&self, folder: u64) -> Option<u64> {
        let mut at = self.library.folder(folder);
        while let Some(here) = at {
            if here.metagroup.is_some() {
                return here.metagroup;
            }
            at = here.parent.and_then(|parent| self.library.folder(parent));
        }
        None
    }

    /// The `terms` of a request: a list, one object, or null. All must belong to the file type.
    pub(super) fn terms_in(&self, body: &Value, file_type: u64) -> Result<Vec<(u64, String)>, Reply> {
        let single;
        let list = match body.get("terms") {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::Array(list)) => list,
            Some(one @ Value::Object(_)) => {
                single = vec![one.clone()];
                &single
            }
            Some(_) => return Err(Reply::invalid("terms must be a list")),
        };
        let known = |id: u64| {
            let kind = self.file_types.iter().find(|kind| kind.id == file_type);
            kind.is_some_and(|kind| kind.terms.iter().any(|term| term.id == id))
        };
        let mut terms = Vec::new();
        for entry in list {
            // The documents' example of "no terms" is one entry with empty strings.
            if entry.get("term_id").is_some_and(|id| id == "") {
                continue;
            }
            let id = id_in(entry, "term_id")?;
            let value = entry.get("value").and_then(Value::as_str);
            match value {
                Some(value) if known(id) => terms.push((id, value.to_owned())),
                Some(_) => return Err(Reply::invalid(format!("file type {file_type} has no term {id}"))),
                None => return Err(Reply::invalid(format!("the value of term {id} must be a string"))),
            }
        }
        Ok(terms)
    }

    /// The width and height of an image.
    pub(super) fn measure(&self, name: &str, content: &Content) -> Option<(u32, u32)> {
        if !content_type(name).starts_with("image/") || content.bytes() > MEASURED_BYTES_MAX {
            return None;
        }
        let bytes = self.vault.read_all(content).ok()?;
        let reader = image::ImageReader::new(std::io::Cursor::new(bytes))
            .with_guessed_format()
            .ok()?;
        reader.into_dimensions().ok()
    }
}
