//! Several files in one request: uploads into a category, moves, deletions. Each file has an outcome of its own, and all
//! are confirmed by one listing.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use futures_util::future::join_all;

use crate::model::{Entry, FieldChanges, ItemId};
use crate::store::{ErrorKind, NewFile, Result, Resume, Retry, StoreError};

use super::api::{About, Api};
use super::decode::{self, File};
use super::fields;
use super::ids::Place;
use super::metadata::IDS_A_REQUEST;
use super::projects::{self, Memory};
use super::write::{self, Before, Upload};

/// The same failure for each of them.
fn all_failed<'a, T>(items: impl Iterator<Item = &'a str>, error: &StoreError) -> Vec<Result<T>> {
    items.map(|item| Err(error.about(item))).collect()
}

fn ids_of(items: &[Entry]) -> impl Iterator<Item = &str> {
    items.iter().map(|item| item.id.as_str())
}

/// Uploads files of different names into one category.
pub(super) async fn create(
    api: &Api,
    memory: &Memory,
    parent: &ItemId,
    files: &[NewFile<'_>],
    wanted: &FieldChanges,
) -> Vec<Result<Entry>> {
    let names: Vec<String> = files.iter().map(|file| file.name.to_store()).collect();
    let all = |error: &StoreError| all_failed(names.iter().map(String::as_str), error);
    let (project, category) = match Place::of(parent) {
        Ok(Place::Category(project, category)) => (project, category),
        Ok(place) => return all(&place.error(ErrorKind::Denied, "upload")),
        Err(error) => return all(&error),
    };
    let uploads: Vec<Upload<'_>> = files
        .iter()
        .zip(&names)
        .map(|(file, name)| Upload {
            project,
            category,
            name,
            body: file.body,
        })
        .collect();
    let made = make(api, memory, (project, category), files, &uploads, wanted).await;
    match made {
        Ok(outcomes) => outcomes,
        Err(error) => all(&error),
    }
}

/// Who a file is: known from an attempt before, or to be found among those that the server names.
enum Identity {
    Known(u64),
    Sent,
    Overtaken,
}

async fn make(
    api: &Api,
    memory: &Memory,
    (project, category): (u64, u64),
    files: &[NewFile<'_>],
    uploads: &[Upload<'_>],
    wanted: &FieldChanges,
) -> Result<Vec<Result<Entry>>> {
    let place = Place::Category(project, category);
    let about = About {
        operation: "upload",
        place,
    };
    let wishes = fields::of_new_file(&Entry::folder(place.id(), "", Vec::new()), wanted)?;
    let before = projects::category_files(api, memory, project, category).await?;
    let identities = join_all(files.iter().zip(uploads).map(|(file, upload)| async {
        let there = upload.fitting(&before);
        if let Some(earlier) = Before::of(file.progress) {
            // One of this name that was not there before an earlier attempt is what that made.
            if let Some(id) = there.iter().filter(|id| !earlier.ids.contains(id)).max() {
                return Identity::Known(*id);
            }
        }
        Before { ids: there }.save(file.progress);
        match file.progress.may_publish().await {
            true => Identity::Sent,
            false => Identity::Overtaken,
        }
    }))
    .await;
    let sent: Vec<&Upload<'_>> = uploads
        .iter()
        .zip(&identities)
        .filter(|(_, identity)| matches!(identity, Identity::Sent))
        .map(|(upload, _)| upload)
        .collect();
    let mut ids: Vec<u64> = Vec::new();
    if !sent.is_empty() {
        let parts = sent.iter().map(|upload| upload.part()).collect();
        let answer = api.upload(project, category, parts, about).await;
        // Also after a failure, which may have been only the answer's: who looks then must not see the listing from before.
        memory.forget(project);
        ids = decode::ids(&answer?);
        ids.retain(|id| !before.iter().any(|file| file.id == *id));
    }
    let overtaken = |upload: &Upload<'_>| {
        let overtaken = about.error(ErrorKind::Cancelled);
        Err(overtaken.retry(Retry::After(Duration::ZERO)).about(upload.name))
    };
    let new = ids.clone();
    ids.extend(identities.iter().filter_map(|identity| match identity {
        Identity::Known(id) => Some(*id),
        Identity::Sent | Identity::Overtaken => None,
    }));
    let after = match write::applied(api, memory, (project, category), &ids, &wishes).await {
        Ok(after) => after,
        Err(error) => {
            let each = files.iter().zip(uploads).zip(&identities);
            let failed = each.map(|((file, upload), identity)| match identity {
                Identity::Overtaken => overtaken(upload),
                Identity::Known(_) | Identity::Sent => Err(write::though_made(error.about(upload.name), file.progress)),
            });
            return Ok(failed.collect());
        }
    };
    let after: HashMap<u64, File> = after.into_iter().map(|file| (file.id, file)).collect();
    let named = assigned(&new, &sent, &after);
    let outcomes = files.iter().zip(uploads).zip(&identities);
    Ok(outcomes
        .map(|((file, upload), identity)| {
            let id = match identity {
                Identity::Known(id) => Some(*id),
                Identity::Sent => named.get(upload.name).copied(),
                Identity::Overtaken => return overtaken(upload),
            };
            let found = id.and_then(|id| after.get(&id)).ok_or_else(|| {
                let lost = StoreError::new(ErrorKind::Protocol, about.operation, upload.name);
                lost.retry(Retry::Ambiguous)
                    .because("the server took the upload and does not name this file among the new ones")
            })?;
            file.progress.sent(file.body.size_bytes());
            file.progress.save(&Resume::default());
            Ok(projects::file_entry(project, found))
        })
        .collect())
}

/// Which of the new ids is which file. The answer's order is nowhere promised, so names and sizes decide; a single file
/// whose name the server spells otherwise is the one that is left over.
fn assigned(new: &[u64], sent: &[&Upload<'_>], after: &HashMap<u64, File>) -> HashMap<String, u64> {
    let listed: Vec<File> = new.iter().filter_map(|id| after.get(id).cloned()).collect();
    let mut named: HashMap<String, u64> = HashMap::new();
    for upload in sent {
        if let [id] = upload.fitting(&listed)[..] {
            named.insert(upload.name.to_owned(), id);
        }
    }
    let nameless: Vec<_> = sent.iter().filter(|upload| !named.contains_key(upload.name)).collect();
    let mut left = listed.iter().filter(|file| !named.values().any(|id| *id == file.id));
    if let ([upload], Some(file), None) = (&nameless[..], left.next(), left.next())
        && file.size_bytes.is_none_or(|size| size == upload.body.size_bytes())
    {
        named.insert(upload.name.to_owned(), file.id);
    }
    named
}

/// Brings files of one project into another category of it.
pub(super) async fn recategorise(api: &Api, memory: &Memory, items: &[Entry], into: &ItemId) -> Vec<Result<Entry>> {
    const OPERATION: &str = "move";
    let (project, category) = match Place::of(into) {
        Ok(Place::Category(project, category)) => (project, category),
        Ok(place) => return all_failed(ids_of(items), &place.error(ErrorKind::Unsupported, OPERATION)),
        Err(error) => return all_failed(ids_of(items), &error),
    };
    let here = |item: &Entry| match Place::of(&item.id) {
        Ok(Place::File(own, id)) if own == project => Some(id),
        Ok(_) | Err(_) => None,
    };
    let ids: Vec<u64> = items.iter().filter_map(here).collect();
    let files = match write::moved_into(api, memory, (project, category), &ids).await {
        Ok(files) => files,
        Err(error) => return all_failed(ids_of(items), &error),
    };
    let files: HashMap<u64, File> = files.into_iter().map(|file| (file.id, file)).collect();
    let outcome = |item: &Entry| {
        let Some(id) = here(item) else {
            let unsupported = StoreError::unsupported(OPERATION, item.id.as_str());
            return Err(unsupported.because("im4 cannot move a file to another project"));
        };
        let file = files.get(&id).ok_or_else(|| write::not_moved(project, id))?;
        Ok(projects::file_entry(project, file))
    };
    items.iter().map(outcome).collect()
}

/// Deletes files.
pub(super) async fn remove(api: &Api, memory: &Memory, items: &[Entry]) -> Vec<Result<()>> {
    let mut outcomes: BTreeMap<usize, Result<()>> = BTreeMap::new();
    let mut by_project: BTreeMap<u64, Vec<(usize, u64)>> = BTreeMap::new();
    for (at, item) in items.iter().enumerate() {
        match Place::of(&item.id) {
            Ok(Place::File(project, id)) => by_project.entry(project).or_default().push((at, id)),
            Ok(place) => {
                outcomes.insert(at, Err(place.error(ErrorKind::Denied, "remove")));
            }
            Err(error) => {
                outcomes.insert(at, Err(error));
            }
        }
    }
    for (project, files) in by_project {
        for files in files.chunks(IDS_A_REQUEST) {
            let ids: Vec<u64> = files.iter().map(|(_, id)| *id).collect();
            let removed = remove_of(api, memory, project, &ids).await;
            outcomes.extend(files.iter().map(|(at, _)| *at).zip(removed));
        }
    }
    outcomes.into_values().collect()
}

async fn remove_of(api: &Api, memory: &Memory, project: u64, ids: &[u64]) -> Vec<Result<()>> {
    let every = |error: &StoreError| -> Vec<Result<()>> {
        let places = ids.iter().map(|id| Place::File(project, *id).id());
        places.map(|id| Err(error.about(id.as_str()))).collect()
    };
    let deleted = match write::delete(api, memory, project, ids).await {
        Ok(deleted) => deleted,
        Err(error) => return every(&error),
    };
    if ids.iter().all(|id| deleted.contains(id)) {
        return ids.iter().map(|_| Ok(())).collect();
    }
    // Not named: kept because it is in use, or gone before.
    let left = match projects::files(api, memory, project).await {
        Ok(left) => left,
        Err(error) => return every(&error),
    };
    let outcome = |id: &u64| {
        if deleted.contains(id) {
            return Ok(());
        }
        if left.iter().any(|file| file.id == *id) {
            memory.note_kept(project, *id);
            return Err(write::kept(project, *id));
        }
        Err(Place::File(project, *id).error(ErrorKind::NotFound, "remove"))
    };
    ids.iter().map(outcome).collect()
}
