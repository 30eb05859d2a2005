//! Folder calls.

use axum::http::StatusCode;
use serde_json::json;

use super::ask::{Ask, Outcome, Reply, id_in, text_in};
use super::listing::paged;
use super::records::Folder;
use super::state::{ROOT, State};

/// `GET /folders/root`.
pub(super) fn root(state: &mut State, _ask: &Ask) -> Outcome {
    let folder = state.folder(ROOT)?;
    Ok(Reply::ok(state.folder_json(&folder, &state.library)))
}

/// `GET /folders`: the folders directly below the root.
pub(super) fn top_level(state: &mut State, ask: &Ask) -> Outcome {
    let listed = state.listed();
    paged(state, ask, listed.folders_in(ROOT), |id| {
        listed.folder(id).map(|folder| state.folder_json(folder, listed))
    })
}

/// `GET /folders/{id}/children?page=N`.
pub(super) fn children(state: &mut State, ask: &Ask) -> Outcome {
    let id = ask.id(0)?;
    state.folder(id)?;
    if state.quirks.children_need_page && !ask.query.contains_key("page") {
        return Err(Reply::unknown_route());
    }
    let (page, per_page) = (ask.page()?, ask.per_page());
    let listed = state.listed();
    let all = listed.folders_in(id);
    let pages = all.len().div_ceil(per_page).max(1);
    let folders: Vec<_> = all
        .iter()
        .skip((page - 1).saturating_mul(per_page))
        .take(per_page)
        .filter_map(|id| listed.folder(*id))
        .map(|folder| state.folder_json(folder, listed))
        .collect();
    let path = |page: usize| format!("{}?page={page}&per_page={per_page}", ask.path);
    let previous = (page > 1).then(|| page - 1);
    let next = (page < pages).then(|| page + 1);
    Ok(Reply::ok(json!({
        "folders": folders,
        "pagination": {
            "current": page,
            "previous": previous,
            "next": next,
            "per_page": per_page,
            "pages": pages,
            "count": all.len(),
            "prev_page_path": previous.map(path),
            "next_page_path": next.map(path),
        },
    })))
}

/// `GET /folders/{id}`.
pub(super) fn get(state: &mut State, ask: &Ask) -> Outcome {
    let folder = state.folder(ask.id(0)?)?;
    Ok(Reply::ok(state.folder_json(&folder, &state.library)))
}

/// `POST /folders/{id}/children`.
pub(super) fn create(state: &mut State, ask: &Ask) -> Outcome {
    let parent = state.folder(ask.id(0)?)?.id;
    let name = text_in(&ask.json()?, "name")?;
    let folder = state.create_folder(parent, &name)?;
    Ok(Reply::created(state.new_folder_json(&folder)))
}

/// `PUT /folders/{id}`: rename, move, or both.
pub(super) fn change(state: &mut State, ask: &Ask) -> Outcome {
    let folder = state.folder(ask.id(0)?)?;
    let body = ask.json()?;
    let name = match body.get("name") {
        None => folder.name.to_string(),
        Some(_) => text_in(&body, "name")?,
    };
    let parent = match body.get("parent_id") {
        None => folder.parent,
        Some(_) => Some(id_in(&body, "parent_id")?),
    };
    let folder = state.change_folder(folder.id, &name, parent)?;
    Ok(Reply::ok(state.folder_json(&folder, &state.library)))
}

/// `DELETE /folders/{id}`.
pub(super) fn delete_plural(state: &mut State, ask: &Ask) -> Outcome {
    if state.quirks.plural_delete_stuck {
        state.folder(ask.id(0)?)?;
        return Ok(Reply::done());
    }
    delete(state, ask)
}

/// `DELETE /folder/{id}`.
pub(super) fn delete(state: &mut State, ask: &Ask) -> Outcome {
    let id = state.folder(ask.id(0)?)?.id;
    state.delete_folder(id)?;
    Ok(Reply::done())
}

impl State {
    /// The folder, or 404.
    pub(super) fn folder(&self, id: u64) -> Result<Folder, Reply> {
        self.library
            .folder(id)
            .map(|folder| Folder::clone(folder))
            .ok_or_else(|| Reply::missing("folder"))
    }

    /// Makes a folder.
    pub(super) fn create_folder(&mut self, parent: u64, name: &str) -> Result<Folder, Reply> {
        self.check_folder_name(parent, name, None)?;
        let now = self.now_ms();
        let folder = Folder {
            id: self.next_folder_id(),
            name: name.into(),
            parent: Some(parent),
            created_ms: now,
            updated_ms: now,
            metagroup: None,
        };
        self.put_folder(folder.clone());
        self.announce("folder", "created", &self.folder_event(&folder, "created"));
        Ok(folder)
    }

    /// Renames and moves a folder.
    pub(super) fn change_folder(&mut self, id: u64, name: &str, parent: Option<u64>) -> Result<Folder, Reply> {
        let mut folder = self.folder(id)?;
        let (renamed, moved) = (*folder.name != *name, folder.parent != parent);
        if id == ROOT && (renamed || moved) {
            return Err(Reply::invalid("the root folder cannot be changed"));
        }
        if let Some(parent) = parent {
            if self.library.folder(parent).is_none() {
                return Err(Reply::invalid("parent_id names no folder"));
            }
            if self.library.is_within(parent, id) {
                return Err(Reply::invalid("a folder cannot move into itself"));
            }
            self.check_folder_name(parent, name, Some(id))?;
        }
        folder.name = name.into();
        folder.parent = parent;
        folder.updated_ms = self.now_ms().max(folder.updated_ms + 1);
        self.put_folder(folder.clone());
        for (happened, action) in [(renamed, "renamed"), (moved, "moved")] {
            if happened {
                self.announce("folder", action, &self.folder_event(&folder, action));
            }
        }
        Ok(folder)
    }

    /// Deletes a folder with all that is in it. A file that is also elsewhere only leaves these folders.
    pub(super) fn delete_folder(&mut self, id: u64) -> Result<(), Reply> {
        if id == ROOT {
            return Err(Reply::text(StatusCode::FORBIDDEN, "the root folder cannot be deleted"));
        }
        let folder = self.folder(id)?;
        let below = self.library.subtree(id);
        for here in below.iter().rev() {
            for file in self.library.files_in(*here).into_owned() {
                self.leave_folder(file, *here)?;
            }
            self.drop_folder(*here);
        }
        self.announce("folder", "deleted", &self.folder_event(&folder, "deleted"));
        Ok(())
    }

    fn check_folder_name(&self, parent: u64, name: &str, own: Option<u64>) -> Result<(), Reply> {
        if name.trim().is_empty() || name.contains(['/', '&', '<', '>']) {
            return Err(Reply::invalid("Name is invalid: it is empty or holds one of / & < >"));
        }
        let taken = |id: &u64| {
            let named = self.library.folder(*id).is_some_and(|folder| *folder.name == *name);
            named && Some(*id) != own
        };
        if self.quirks.unique_folder_names && self.library.folders_in(parent).iter().any(taken) {
            return Err(Reply::invalid("Name has already been taken"));
        }
        Ok(())
    }
}
