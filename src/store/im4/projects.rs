//! Projects, categories and files as entries, and the short memory of a project's one listing.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use crate::http::Request;
use crate::model::{ContentVersion, Entry, Kind, SharedClock};
use crate::store::{ErrorKind, Result};

use super::api::{About, Api};
use super::decode::{self, Category, File, Filter, Project};
use super::fields;
use super::ids::Place;

/// How long the listing of all files of a project is used again: long enough to list its categories one after the other.
const LISTING_FOR: Duration = Duration::from_secs(5);
/// Projects whose listing is remembered.
const LISTINGS_MAX: usize = 64;
/// Files whose category is remembered.
const PLACES_MAX: usize = 100_000;
/// How long a file that the server would not delete counts as in use: long enough for whoever tries again at once, and
/// short enough for whoever has just taken it out of the product.
const KEPT_FOR: Duration = Duration::from_secs(600);
/// Files in use that are remembered.
const KEPT_MAX: usize = 10_000;
/// Projects asked for in one request.
const PROJECTS_A_PAGE: usize = 200;
/// Pages of projects that are believed.
const PAGES_MAX: usize = 5_000;
/// What category 0 is called.
pub(super) const UNCATEGORIZED: &str = "Uncategorized";

/// All files of a project, in their order.
pub(super) type Files = Arc<Vec<File>>;

#[derive(Clone)]
struct Listed {
    begun: Duration,
    /// Filled once by whoever asks first, while the others wait for the same answer.
    files: Arc<OnceCell<Files>>,
    /// Likewise.
    categories: Arc<OnceCell<Arc<Vec<Category>>>>,
    /// Likewise: the files of a category with everything that can be told of them.
    details: Arc<Mutex<HashMap<u64, Arc<OnceCell<Files>>>>>,
}

/// What listing remembers.
pub(super) struct Memory {
    clock: SharedClock,
    listings: Mutex<LruCache<u64, Listed>>,
    /// Category by project and file: where to look for a file first.
    places: Mutex<LruCache<(u64, u64), u64>>,
    /// When the server would not delete a file, by project and file.
    kept: Mutex<LruCache<(u64, u64), Duration>>,
}

fn at_most(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN)
}

impl Memory {
    pub(super) fn new(clock: SharedClock) -> Self {
        Self {
            clock,
            listings: Mutex::new(LruCache::new(at_most(LISTINGS_MAX))),
            places: Mutex::new(LruCache::new(at_most(PLACES_MAX))),
            kept: Mutex::new(LruCache::new(at_most(KEPT_MAX))),
        }
    }

    /// Something in the project was changed: the next listing is a new one.
    pub(super) fn forget(&self, project: u64) {
        self.listings.lock().pop(&project);
    }

    fn listed(&self, project: u64) -> Listed {
        let now = self.clock.elapsed();
        let mut listings = self.listings.lock();
        if let Some(listed) = listings.get(&project)
            && now.saturating_sub(listed.begun) < LISTING_FOR
        {
            return listed.clone();
        }
        let fresh = Listed {
            begun: now,
            files: Arc::default(),
            categories: Arc::default(),
            details: Arc::default(),
        };
        listings.put(project, fresh.clone());
        fresh
    }

    /// The server would not delete this file.
    pub(super) fn note_kept(&self, project: u64, file: u64) {
        self.kept.lock().put((project, file), self.clock.elapsed());
    }

    /// Whether the server would not delete this file a short while ago.
    pub(super) fn is_kept(&self, project: u64, file: u64) -> bool {
        let kept = self.kept.lock().peek(&(project, file)).copied();
        kept.is_some_and(|at| self.clock.elapsed().saturating_sub(at) < KEPT_FOR)
    }

    fn note_places(&self, project: u64, files: &[File]) {
        let mut places = self.places.lock();
        for file in files {
            places.put((project, file.id), file.category);
        }
    }

    /// The category that a file was last seen in.
    pub(super) fn category_of(&self, project: u64, file: u64) -> Option<u64> {
        self.places.lock().get(&(project, file)).copied()
    }
}

/// All files of a project; the answer of the last few seconds counts.
pub(super) async fn files(api: &Api, memory: &Memory, project: u64) -> Result<Files> {
    let listed = memory.listed(project);
    let fetched = listed.files.get_or_try_init(async || {
        let about = About {
            operation: "list",
            place: Place::Project(project),
        };
        let request = Request::get(api.files_url(project, &["all"]), "GET /project/{id}/files/all")
            .query("include_details", "true");
        let mut files = api.get_list(request, "files", about, decode::file).await?;
        if files.iter().any(|file| !file.category_told) {
            put_in_place(api, memory, project, &mut files).await?;
        }
        sort(&mut files);
        memory.note_places(project, &files);
        Ok(Arc::new(files))
    });
    fetched.await.cloned()
}

/// For a server whose list of all files does not say where they are: the categories are asked one by one.
async fn put_in_place(api: &Api, memory: &Memory, project: u64, files: &mut [File]) -> Result<()> {
    for category in categories(api, memory, project, &[]).await? {
        if category.id == 0 {
            continue;
        }
        let inside = category_files(api, memory, project, category.id).await?;
        let inside: HashSet<u64> = inside.iter().map(|file| file.id).collect();
        for file in files.iter_mut().filter(|file| inside.contains(&file.id)) {
            file.category = category.id;
        }
    }
    Ok(())
}

/// The files of one category, fresh, with everything that can be told.
pub(super) async fn category_files(api: &Api, memory: &Memory, project: u64, category: u64) -> Result<Vec<File>> {
    let about = About {
        operation: "list",
        place: Place::Category(project, category),
    };
    let url = api.files_url(project, &["category", &category.to_string()]);
    let request = Request::get(url, "GET /project/{id}/files/category/{id}")
        .query("include_details", "true")
        .query("include_size", "true")
        .query("include_filter", "true");
    let mut files = api.get_list(request, "files", about, decode::file).await?;
    for file in &mut files {
        // The listing is of this category, whether its files repeat that or not.
        file.category = category;
        if file.filter == Filter::Untold {
            // Asked for and not told: nothing more is to be learned, so nobody asks once for each file.
            file.filter = Filter::None;
        }
    }
    sort(&mut files);
    memory.note_places(project, &files);
    Ok(files)
}

/// As [`category_files`], asked once by many at a time; the answer of the last few seconds counts.
pub(super) async fn details(api: &Api, memory: &Memory, project: u64, category: u64) -> Result<Files> {
    let cell = memory
        .listed(project)
        .details
        .lock()
        .entry(category)
        .or_default()
        .clone();
    let fetched = cell.get_or_try_init(async || {
        let files = category_files(api, memory, project, category).await?;
        Ok(Arc::new(files))
    });
    fetched.await.cloned()
}

/// In the order that the server keeps; what has no place in it comes last, as it was told.
fn sort(files: &mut [File]) {
    files.sort_by_key(|file| file.sortcode.unwrap_or(i64::MAX));
}

/// The categories of a project: those that the server lists, those that a file names, and the uncategorised.
pub(super) async fn categories(api: &Api, memory: &Memory, project: u64, files: &[File]) -> Result<Vec<Category>> {
    let listed = memory.listed(project);
    let fetched = listed.categories.get_or_try_init(async || {
        let about = About {
            operation: "list",
            place: Place::Project(project),
        };
        let url = api.files_url(project, &["categories"]);
        let request = Request::get(url, "GET /project/{id}/files/categories");
        let decode_item = |object| decode::category(&object);
        api.get_list(request, "categories", about, decode_item)
            .await
            .map(Arc::new)
    });
    let listed: Vec<Category> = fetched.await?.to_vec();
    let mut all: BTreeMap<u64, String> = BTreeMap::from([(0, UNCATEGORIZED.to_owned())]);
    for file in files {
        all.entry(file.category)
            .or_insert_with(|| format!("Category {}", file.category));
    }
    all.extend(
        listed
            .into_iter()
            .filter(|category| category.id != 0)
            .map(|category| (category.id, category.name)),
    );
    Ok(all.into_iter().map(|(id, name)| Category { id, name }).collect())
}

const LIST: About = About {
    operation: "list",
    place: Place::Root,
};

/// One page of projects.
pub(super) struct Page {
    pub(super) projects: Vec<Project>,
    /// Where the next page begins, unless this was the last.
    pub(super) next: Option<usize>,
}

/// Which projects are wanted; what is left open is as the store was configured.
#[derive(Debug, Default)]
pub(super) struct Sought {
    pub(super) agency: Option<u64>,
    pub(super) days: Option<u32>,
    pub(super) search: Option<String>,
}

/// Asks for projects with these parameters.
async fn listed(api: &Api, sought: &Sought, parameters: &[(&str, &str)]) -> Result<Vec<Project>> {
    let agency = sought.agency.or(api.config.agency).map(|agency| agency.to_string());
    let mut parts = vec!["projects"];
    parts.extend(agency.as_deref());
    let mut request = Request::get(api.url(&parts), "GET /projects");
    for (name, value) in parameters {
        request = request.query(name, value);
    }
    api.get_list(request, "projects", LIST, |object| decode::project(&object))
        .await
}

/// The ids of the projects of the last so many days, when only those are wanted. The server passes the number over where
/// it is told to search or where to begin, so it is asked for alone.
pub(super) async fn lately(api: &Api, sought: &Sought) -> Result<Option<HashSet<u64>>> {
    let Some(days) = sought.days.or(api.config.days) else {
        return Ok(None);
    };
    let projects = listed(api, sought, &[("days", &days.to_string())]).await?;
    Ok(Some(projects.into_iter().map(|project| project.id).collect()))
}

/// The projects from `skip` on. Those of the last so many days are one page; with a search, [`lately`] tells which count.
pub(super) async fn page(api: &Api, skip: usize, sought: &Sought) -> Result<Page> {
    let days = sought.days.or(api.config.days).map(|days| days.to_string());
    if let (None, Some(days)) = (&sought.search, &days) {
        let projects = listed(api, sought, &[("days", days)]).await?;
        return Ok(Page { projects, next: None });
    }
    let (take, from) = (PROJECTS_A_PAGE.to_string(), skip.to_string());
    let mut parameters = vec![("take", take.as_str()), ("skip", from.as_str())];
    parameters.extend(sought.search.as_deref().map(|words| ("search", words)));
    let projects = listed(api, sought, &parameters).await?;
    if skip / PROJECTS_A_PAGE >= PAGES_MAX {
        return Err(LIST
            .error(ErrorKind::Protocol)
            .because("the list of projects does not end"));
    }
    // A server that takes less than was asked for may still have more: only an empty page is surely the last.
    let next = (!projects.is_empty()).then_some(skip + projects.len());
    Ok(Page { projects, next })
}

/// One project.
pub(super) async fn project(api: &Api, id: u64) -> Result<Project> {
    let about = About {
        operation: "stat",
        place: Place::Project(id),
    };
    let request = Request::get(api.url(&["project", &id.to_string()]), "GET /project/{id}");
    let answer = api.get(request, about).await?;
    let mut object = decode::one(answer, "project").ok_or_else(|| about.error(ErrorKind::Protocol))?;
    object.entry("id").or_insert(id.into());
    decode::project(&object).map_err(|e| about.error(ErrorKind::Protocol).because(e))
}

/// One file, fresh, with its enhancement.
pub(super) async fn file(api: &Api, memory: &Memory, project: u64, id: u64) -> Result<File> {
    let find = |files: Vec<File>| files.into_iter().find(|file| file.id == id);
    if let Some(category) = memory.category_of(project, id) {
        match category_files(api, memory, project, category).await {
            Ok(files) => {
                if let Some(file) = find(files) {
                    return Ok(file);
                }
            }
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    // Moved by somebody, or never seen: the listing of all tells where, or that it is gone.
    memory.forget(project);
    let all = files(api, memory, project).await?;
    let missing = || Place::File(project, id).error(ErrorKind::NotFound, "stat");
    let listed = all.iter().find(|file| file.id == id).ok_or_else(missing)?;
    find(category_files(api, memory, project, listed.category).await?).ok_or_else(missing)
}

/// The entry of a project.
pub(super) fn project_entry(project: &Project) -> Entry {
    Entry {
        created: project.created,
        modified: project.updated,
        ..Entry::folder(Place::Project(project.id).id(), &*project.name, vec![Place::Root.id()])
    }
}

/// The entry of a category; `files` are those of its project.
pub(super) fn category_entry(project: u64, category: &Category, files: &[File]) -> Entry {
    let names = files
        .iter()
        .filter(|file| file.category == category.id)
        .map(|file| file.name.as_str());
    let fields = fields::of_category(names);
    Entry {
        fields,
        ..Entry::folder(
            Place::Category(project, category.id).id(),
            &*category.name,
            vec![Place::Project(project).id()],
        )
    }
}

/// The entry of a file.
pub(super) fn file_entry(project: u64, file: &File) -> Entry {
    Entry {
        kind: Kind::File,
        size: file.size_bytes,
        version: version(file),
        revision: revision(file),
        created: file.created,
        modified: file.updated.or(file.created),
        mime: file.mime.clone(),
        fields_complete: file.filter != Filter::Untold,
        fields: fields::of_file(file),
        ..Entry::folder(
            Place::File(project, file.id).id(),
            &*file.name,
            vec![Place::Category(project, file.category).id()],
        )
    }
}

/// What stands in the version of a file that the server is at work on.
const QUEUED: &str = "-queued-";

/// Whether a version is that of a file in the queue: what is read of it is not kept beyond that.
pub(super) fn is_queued(version: &ContentVersion) -> bool {
    version.as_str().contains(QUEUED)
}

/// Uploaded bytes never change but by the queue. Captions move `updated` too, so it counts only where nothing better is
/// told.
fn version(file: &File) -> ContentVersion {
    let bytes = match (file.size_bytes, file.updated) {
        (Some(size), _) => size.to_string(),
        (None, Some(updated)) => format!("u{}", updated.secs),
        (None, None) => "?".to_owned(),
    };
    ContentVersion::new(match &file.queue {
        Some(queue) => format!("{bytes}{QUEUED}{queue}"),
        None => bytes,
    })
}

fn revision(file: &File) -> String {
    let mut told = file.told.clone();
    // These come with some listings only.
    for sometimes in ["filter", "can_filter", "width", "height", "size"] {
        told.shift_remove(sometimes);
    }
    let text = serde_json::Value::Object(told).to_string();
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(text.as_bytes()))
}
