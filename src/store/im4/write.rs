//! Uploads, metadata, categories, order, enhancement, deletion.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::http::{self, Method, Part, Request};
use crate::model::{Entry, FieldChanges, Value};
use crate::store::{Body, ErrorKind, Progress, Result, Resume, Retry, StoreError};

use super::api::{About, Api};
use super::decode::{self, File};
use super::fields::{self, Wishes};
use super::ids::Place;
use super::metadata::{self, IDS_A_REQUEST, Metadata, Shown};
use super::projects::{self, Memory};

/// Files whose order can be set: all of them must be named in one address.
const ORDERED_MAX: usize = 700;

/// What is noted before an upload: the files of its name that were there already, so that after a lost answer ours can be
/// told from them.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Before {
    pub(super) ids: Vec<u64>,
}

impl Before {
    pub(super) fn of(progress: &dyn Progress) -> Option<Self> {
        progress
            .resume()
            .and_then(|resume| serde_json::from_str(&resume.upload).ok())
    }

    pub(super) fn save(&self, progress: &dyn Progress) {
        let upload = serde_json::json!(self).to_string();
        progress.save(&Resume {
            upload,
            ..Resume::default()
        });
    }
}

/// A new file and where it goes.
pub(super) struct Upload<'a> {
    pub(super) project: u64,
    pub(super) category: u64,
    pub(super) name: &'a str,
    pub(super) body: &'a Body,
}

impl Upload<'_> {
    pub(super) fn about(&self) -> About {
        About {
            operation: "upload",
            place: Place::Category(self.project, self.category),
        }
    }

    /// Files of this name, and of this size where sizes are told.
    async fn namesakes(&self, api: &Api, memory: &Memory) -> Result<Vec<u64>> {
        let files = projects::category_files(api, memory, self.project, self.category).await?;
        Ok(self.fitting(&files))
    }

    /// Those among `files`.
    pub(super) fn fitting(&self, files: &[File]) -> Vec<u64> {
        let fits =
            |file: &&File| file.name == self.name && file.size_bytes.is_none_or(|size| size == self.body.size_bytes());
        files.iter().filter(fits).map(|file| file.id).collect()
    }

    /// It as a part of a request.
    pub(super) fn part(&self) -> Part {
        let content = self.body.clone();
        let stream = http::Body::stream(self.body.size_bytes(), move || content.stream());
        let mime = mime_guess::from_path(self.name).first_or_octet_stream();
        Part::file("files[]", self.name, mime.essence_str(), stream)
    }
}

/// Uploads a file and answers it as the server has it then.
pub(super) async fn create(
    api: &Api,
    memory: &Memory,
    new: &Upload<'_>,
    wanted: &FieldChanges,
    progress: &dyn Progress,
) -> Result<Entry> {
    let place = Place::Category(new.project, new.category);
    let wishes = fields::of_new_file(&Entry::folder(place.id(), new.name, Vec::new()), wanted)?;
    let uploaded = match adopted(api, memory, new, progress).await? {
        Some(id) => Ok(id),
        None => upload(api, memory, new, progress).await,
    };
    // Also after a failure, which may have been only the answer's: who looks then must not see the listing from before.
    memory.forget(new.project);
    let id = uploaded?;
    let files = applied(api, memory, (new.project, new.category), &[id], &wishes).await;
    let files = files.map_err(|error| though_made(error, progress))?;
    let file = files.into_iter().find(|file| file.id == id).ok_or_else(|| {
        let lost = Place::File(new.project, id).error(ErrorKind::Protocol, "upload");
        lost.retry(Retry::Ambiguous)
            .because("the server took the upload and does not list it")
    })?;
    progress.save(&Resume::default());
    Ok(projects::file_entry(new.project, &file))
}

/// What went wrong with a file that had been made. Who tries again finds it by the note of what was there before; where that
/// is not kept, as the file is to have another name or other bytes by now, nobody knows of it.
pub(super) fn though_made(error: StoreError, progress: &dyn Progress) -> StoreError {
    match Before::of(progress) {
        Some(_) => error,
        None => error.retry(Retry::Ambiguous),
    }
}

/// The file that an earlier attempt uploaded without learning so: one of this name that was not there before it.
async fn adopted(api: &Api, memory: &Memory, new: &Upload<'_>, progress: &dyn Progress) -> Result<Option<u64>> {
    let Some(before) = Before::of(progress) else {
        return Ok(None);
    };
    let now = new.namesakes(api, memory).await?;
    Ok(now.into_iter().filter(|id| !before.ids.contains(id)).max())
}

async fn upload(api: &Api, memory: &Memory, new: &Upload<'_>, progress: &dyn Progress) -> Result<u64> {
    let about = new.about();
    Before {
        ids: new.namesakes(api, memory).await?,
    }
    .save(progress);
    if !progress.may_publish().await {
        return Err(about.error(ErrorKind::Cancelled).retry(Retry::After(Duration::ZERO)));
    }
    let answer = api.upload(new.project, new.category, vec![new.part()], about).await?;
    progress.sent(new.body.size_bytes());
    decode::ids(&answer).last().copied().ok_or_else(|| {
        let unclear = about.error(ErrorKind::Protocol).retry(Retry::Ambiguous);
        unclear.because("the answer to an upload names no file")
    })
}

fn joined(ids: &[u64]) -> String {
    ids.iter().map(u64::to_string).collect::<Vec<_>>().join(",")
}

/// Brings files of a category into the order of `ids`.
pub(super) async fn set_order(api: &Api, project: u64, category: u64, ids: &[u64]) -> Result<()> {
    let about = About {
        operation: "set the order",
        place: Place::Category(project, category),
    };
    if ids.len() > ORDERED_MAX {
        let why = format!("the order of more than {ORDERED_MAX} files cannot be sent");
        return Err(about.error(ErrorKind::Invalid).because(why));
    }
    if ids.is_empty() {
        return Ok(());
    }
    let url = api.files_url(project, &["sortorder", &joined(ids)]);
    let request = Request::new(Method::POST, url, "POST /project/{id}/files/sortorder/{ids}").safe();
    api.call(request, about).await.map(|_| ())
}

/// Moves one file to the place of a sortcode among the files of its category.
async fn set_sortcode(api: &Api, memory: &Memory, project: u64, id: u64, sortcode: i64) -> Result<()> {
    let file = projects::file(api, memory, project, id).await?;
    if file.sortcode == Some(sortcode) {
        return Ok(());
    }
    let files = projects::category_files(api, memory, project, file.category).await?;
    let mut ids: Vec<u64> = files
        .iter()
        .filter(|other| other.id != id)
        .map(|other| other.id)
        .collect();
    let before = |other: &&File| other.id != id && other.sortcode.is_some_and(|other| other < sortcode);
    let at = files.iter().filter(before).count();
    ids.insert(at.min(ids.len()), id);
    set_order(api, project, file.category, &ids).await
}

async fn apply_filter(api: &Api, project: u64, ids: &[u64], preset: &str) -> Result<()> {
    for ids in ids.chunks(IDS_A_REQUEST) {
        let about = About {
            operation: "enhance",
            place: Place::File(project, ids[0]),
        };
        let url = api.files_url(project, &[&joined(ids), "pfc-apply", preset]);
        // A GET that changes something: not to be sent twice blindly.
        let request = Request::get(url, "GET /project/{id}/files/{ids}/pfc-apply/{preset}").not_safe();
        api.call(request, about).await?;
    }
    Ok(())
}

pub(super) async fn apply(api: &Api, memory: &Memory, project: u64, ids: &[u64], wishes: &Wishes) -> Result<()> {
    if !wishes.metadata.is_empty() {
        metadata::set(api, project, ids, &wishes.metadata).await?;
    }
    if let Some(sortcode) = wishes.sortcode {
        for id in ids {
            match set_sortcode(api, memory, project, *id, sortcode).await {
                Err(error) if wishes.sortcode_may_fail && error.kind == ErrorKind::Invalid => {
                    tracing::info!("a new file comes last in its category: {error}");
                }
                done => done?,
            }
        }
    }
    if let Some(preset) = &wishes.filter {
        apply_filter(api, project, ids, preset).await?;
    }
    memory.forget(project);
    Ok(())
}

/// Brings files of a category to the wishes (none is none), and answers all files of the category as they are then.
pub(super) async fn applied(
    api: &Api,
    memory: &Memory,
    (project, category): (u64, u64),
    ids: &[u64],
    wishes: &Wishes,
) -> Result<Vec<File>> {
    if !wishes.is_empty() && !ids.is_empty() {
        apply(api, memory, project, ids, wishes).await?;
    }
    let files = projects::category_files(api, memory, project, category).await?;
    let found = ids
        .iter()
        .map(|id| files.iter().find(|file| file.id == *id).map(Shown::of));
    if !metadata::is_unheard(api, &wishes.metadata, found) {
        return Ok(files);
    }
    metadata::set_otherwise(api, project, ids, &wishes.metadata).await?;
    memory.forget(project);
    let files = projects::category_files(api, memory, project, category).await?;
    let found = ids
        .iter()
        .map(|id| files.iter().find(|file| file.id == *id).map(Shown::of));
    if metadata::is_unheard(api, &wishes.metadata, found) {
        // Neither way: the documented one is tried first again.
        metadata::give_up(api);
    }
    Ok(files)
}

/// Files of each project among `items`.
fn by_project(items: &[Entry]) -> Result<BTreeMap<u64, Vec<u64>>> {
    let mut by_project: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for item in items {
        if let Place::File(project, id) = Place::of(&item.id)? {
            by_project.entry(project).or_default().push(id);
        }
    }
    Ok(by_project)
}

/// Sets fields of many files with equal values: one call for each project. Answers what was sent as metadata.
pub(super) async fn set_fields(
    api: &Api,
    memory: &Memory,
    items: &[Entry],
    changes: &FieldChanges,
) -> Result<Vec<(&'static str, String)>> {
    let Some(first) = items.first() else {
        return Ok(Vec::new());
    };
    let wishes = fields::wishes(first, changes)?;
    for (project, ids) in by_project(items)? {
        apply(api, memory, project, &ids, &wishes).await?;
    }
    Ok(wishes.metadata)
}

/// Sets metadata again that a listing did not show.
pub(super) async fn set_again(api: &Api, memory: &Memory, items: &[Entry], metadata: &Metadata) -> Result<()> {
    for (project, ids) in by_project(items)? {
        metadata::set_otherwise(api, project, &ids, metadata).await?;
        memory.forget(project);
    }
    Ok(())
}

/// Sets the order of a category's files.
pub(super) async fn set_category_order(
    api: &Api,
    memory: &Memory,
    item: &Entry,
    (project, category): (u64, u64),
    wanted: &[Value],
) -> Result<()> {
    let files = projects::category_files(api, memory, project, category).await?;
    let files: Vec<&File> = files.iter().collect();
    let ids = fields::ordered(item, &files, wanted)?;
    if files.iter().map(|file| file.id).eq(ids.iter().copied()) {
        return Ok(());
    }
    set_order(api, project, category, &ids).await?;
    memory.forget(project);
    Ok(())
}

/// Brings a file into another category of its project.
pub(super) async fn recategorise(api: &Api, memory: &Memory, project: u64, id: u64, category: u64) -> Result<File> {
    let files = moved_into(api, memory, (project, category), &[id]).await?;
    files
        .into_iter()
        .find(|file| file.id == id)
        .ok_or_else(|| not_moved(project, id))
}

/// Brings files into a category and answers all that are in it then.
pub(super) async fn moved_into(
    api: &Api,
    memory: &Memory,
    (project, category): (u64, u64),
    ids: &[u64],
) -> Result<Vec<File>> {
    let wishes = Wishes {
        metadata: vec![("category_id", category.to_string())],
        ..Wishes::default()
    };
    let files = applied(api, memory, (project, category), ids, &wishes).await;
    memory.forget(project);
    files
}

/// The server said yes to the other category, and the file is not there.
pub(super) fn not_moved(project: u64, id: u64) -> StoreError {
    let refused = Place::File(project, id).error(ErrorKind::Denied, "move");
    refused.because("the server accepted the other category and did not take it over")
}

/// Deletes files of one project, at most [`IDS_A_REQUEST`]; answers those that the server names as deleted.
pub(super) async fn delete(api: &Api, memory: &Memory, project: u64, ids: &[u64]) -> Result<Vec<u64>> {
    let about = About {
        operation: "remove",
        place: ids
            .first()
            .map_or(Place::Project(project), |id| Place::File(project, *id)),
    };
    let url = api.files_url(project, &[&joined(ids)]);
    let request = Request::new(Method::DELETE, url, "DELETE /project/{id}/files/{ids}");
    let answer = api.call(request, about).await;
    memory.forget(project);
    Ok(Api::json(&answer?, about)
        .map(|told| decode::ids(&told))
        .unwrap_or_default())
}

/// Deletes a file; one that a product uses is kept by the server.
pub(super) async fn remove(api: &Api, memory: &Memory, project: u64, id: u64) -> Result<()> {
    if delete(api, memory, project, &[id]).await?.contains(&id) {
        return Ok(());
    }
    let about = About {
        operation: "remove",
        place: Place::File(project, id),
    };
    // Not named: kept because it is in use, or gone before (perhaps by an attempt whose answer was lost).
    match projects::file(api, memory, project, id).await {
        Ok(_) => {
            memory.note_kept(project, id);
            Err(kept(project, id))
        }
        Err(error) if error.is_not_found() => Err(about.error(ErrorKind::NotFound)),
        Err(error) => Err(error),
    }
}

/// The refusal to delete a file in use: the server tells it by not naming the file among the deleted.
pub(super) fn kept(project: u64, id: u64) -> StoreError {
    let busy = Place::File(project, id).error(ErrorKind::Busy, "remove");
    busy.because("a product uses this file, so the server keeps it")
}
