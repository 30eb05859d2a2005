//! Downloads: of a category, which is the least that can be had, and of the rest of a project for who goes through it.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures_util::stream::BoxStream;
use parking_lot::Mutex;

use crate::http::Request;
use crate::model::Entry;
use crate::store::{ErrorKind, Result, Retry, StoreError};

use super::api::About;
use super::bundle::{self, Candidate, Piece};
use super::decode::File;
use super::ids::Place;
use super::projects::{self, Files};
use super::store::Im4Store;

/// How long after a download of one category that of another belongs to the same walk through the project.
const WALK_FOR: Duration = Duration::from_secs(60);
/// The most that is downloaded of a whole project, in bytes: for less it is a matter of requests, and nobody has to wait.
const PROJECT_BYTES_MAX: u64 = 256 << 20;

/// How much a download brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// The category.
    Category,
    /// All categories of the project.
    Project,
}

/// Which categories of which projects were downloaded lately.
#[derive(Default)]
pub(super) struct Walks(Mutex<HashMap<u64, Walk>>);

#[derive(Default)]
struct Walk {
    last: Duration,
    categories: HashSet<u64>,
}

impl Walks {
    /// How much to download for a file of `category`, when `files` are those of its project.
    fn reach(&self, project: u64, category: u64, files: &[File], now: Duration) -> Reach {
        let mut walks = self.0.lock();
        walks.retain(|_, walk| now.saturating_sub(walk.last) < WALK_FOR);
        let walk = walks.entry(project).or_default();
        walk.last = now;
        let goes_on = !walk.categories.is_empty() && !walk.categories.contains(&category);
        if goes_on && is_worth_it(&walk.categories, files) {
            walk.categories.extend(files.iter().map(|file| file.category));
            return Reach::Project;
        }
        walk.categories.insert(category);
        Reach::Category
    }
}

/// Whether everything should come at once to who has had these categories: when that saves a request, brings less again
/// than is new, and leaves no doubt which file is which.
fn is_worth_it(had: &HashSet<u64>, files: &[File]) -> bool {
    let (mut again, mut new) = (0u64, 0u64);
    let (mut left, mut seen) = (HashSet::new(), HashSet::new());
    for file in files {
        let Some(size) = file.size_bytes.filter(|_| file.queue.is_none()) else {
            return false;
        };
        if !seen.insert((&file.name, size)) {
            return false;
        }
        if had.contains(&file.category) {
            again = again.saturating_add(size);
        } else {
            new = new.saturating_add(size);
            left.insert(file.category);
        }
    }
    left.len() > 1 && again <= new && again.saturating_add(new) <= PROJECT_BYTES_MAX
}

/// A file to be downloaded, and what comes with it.
pub(super) struct Wanted {
    pub(super) project: u64,
    pub(super) file: u64,
    /// The server is at work on it, so that its bytes may still change, and so may its version.
    is_queued: bool,
}

impl Wanted {
    /// The download does not hold this version. Either it is still in the works, or one of listing and download is older.
    pub(super) fn absent(&self) -> StoreError {
        let file = Place::File(self.project, self.file);
        if self.is_queued {
            let waits = file
                .error(ErrorKind::NotReady, "read")
                .retry(Retry::After(Duration::from_secs(10)));
            return waits.because("the server still processes this file");
        }
        let changed = file
            .error(ErrorKind::Protocol, "read")
            .retry(Retry::After(Duration::from_secs(1)));
        changed.because("the download does not hold this version of the file")
    }
}

impl Im4Store {
    /// A file as its project's listing has it now, and that listing.
    async fn listed(&self, file: &Entry) -> Result<(u64, File, Files)> {
        const OPERATION: &str = "read";
        let (api, memory) = self.parts();
        let place = Place::of(&file.id)?;
        let Place::File(project, id) = place else {
            return Err(place.error(ErrorKind::Invalid, OPERATION));
        };
        let find = |files: &[File]| files.iter().find(|listed| listed.id == id).cloned();
        let is_asked_for = |listed: &File| projects::file_entry(project, listed).version == file.version;
        let mut files = projects::files(api, memory, project).await?;
        if !find(&files).as_ref().is_some_and(is_asked_for) {
            // The caller has seen another version than the remembered listing: one of them is older.
            memory.forget(project);
            files = projects::files(api, memory, project).await?;
        }
        let listed = find(&files).ok_or_else(|| place.error(ErrorKind::NotFound, OPERATION))?;
        Ok((project, listed, files))
    }

    /// Downloads a file, and with it what comes along, at most as far as `farthest`.
    pub(super) async fn download(
        &self,
        file: &Entry,
        farthest: Reach,
    ) -> Result<(Wanted, BoxStream<'static, Result<Piece>>)> {
        let (project, listed, files) = self.listed(file).await?;
        let reach = match farthest {
            Reach::Category => Reach::Category,
            Reach::Project => {
                let now = self.inner.clock.elapsed();
                self.inner.walks.reach(project, listed.category, &files, now)
            }
        };
        let wanted = Wanted {
            project,
            file: listed.id,
            is_queued: listed.queue.is_some(),
        };
        let (api, category) = (&self.inner.api, listed.category.to_string());
        let (place, parts, route) = match reach {
            Reach::Category => (
                Place::Category(project, listed.category),
                vec!["category", category.as_str(), "download"],
                "GET /project/{id}/files/category/{id}/download",
            ),
            Reach::Project => (
                Place::Project(project),
                vec!["all", "download"],
                "GET /project/{id}/files/all/download",
            ),
        };
        let about = About {
            operation: "download",
            place,
        };
        let answer = api
            .open(Request::get(api.files_url(project, &parts), route), about)
            .await;
        let answer = match answer {
            Err(error) if error.is_not_found() && wanted.is_queued => return Err(wanted.absent()),
            answer => answer?,
        };
        let comes = |other: &&File| reach == Reach::Project || other.category == listed.category;
        let candidates = files.iter().filter(comes).map(|file| Candidate {
            id: file.id,
            name: file.name.clone(),
            size_bytes: file.size_bytes,
            version: projects::file_entry(project, file).version,
        });
        let pieces = bundle::unpack(answer, candidates.collect(), api.config.spool_dir.clone(), about).await?;
        Ok((wanted, pieces))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::decode;
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    fn file(id: u64, category: u64, name: &str, size: u64) -> File {
        let told = json!({"id": id, "category_id": category, "filename": name, "size": size});
        decode::file(told.as_object().cloned().unwrap_or_default()).unwrap()
    }

    #[test]
    fn who_goes_on_to_a_second_category_is_given_the_rest_of_the_project() {
        let files = [file(1, 1, "a", 5), file(2, 2, "b", 5), file(3, 3, "c", 5)];
        let walks = Walks::default();
        let reach = |category, files: &[File], now| walks.reach(7, category, files, now);
        assert_eq!(reach(1, &files, NOW), Reach::Category);
        assert_eq!(reach(1, &files, NOW), Reach::Category, "the same one again");
        assert_eq!(reach(2, &files, NOW), Reach::Project);
        assert_eq!(
            reach(3, &files, NOW),
            Reach::Category,
            "who asks again did not get it that way"
        );
        assert_eq!(reach(1, &files, NOW + WALK_FOR), Reach::Category, "long after");
    }

    #[test]
    fn a_project_is_not_downloaded_where_it_saves_nothing_or_leaves_a_doubt() {
        let had = HashSet::from([1]);
        let (a, b) = (file(1, 1, "a", 5), file(2, 2, "b", 5));
        assert!(!is_worth_it(&had, &[a.clone(), b.clone()]), "the only one that is left");
        let is_worth_it = |c: File| is_worth_it(&had, &[a.clone(), b.clone(), c]);
        assert!(is_worth_it(file(3, 3, "b", 6)), "told apart by the size");
        assert!(!is_worth_it(file(3, 3, "b", 5)), "two of one name and size");
        assert!(!is_worth_it(file(3, 1, "c", 50)), "more of what was had than is new");
        assert!(!is_worth_it(file(3, 3, "c", PROJECT_BYTES_MAX)), "too much to wait for");
    }
}
