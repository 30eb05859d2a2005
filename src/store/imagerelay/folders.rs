//! Folders: listing them, making, moving and removing them.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use serde_json::json;

use super::pages::Source;
use super::wire::{File, Folder, Listed};
use super::{Core, errors, fields, keys};
use crate::http::Method;
use crate::model::{ChildCounts, Entry, ItemId, Name, Timestamp};
use crate::store::{ErrorKind, Listing, Placement, Result, Retry, StoreError};

const LIST: &str = "list folder";
const STAT: &str = "read folder";
const REMOVE: &str = "delete folder";
/// Before "not found" about a folder is believed, it is asked again after this: one miss is not a deletion.
const SECOND_LOOK_AFTER: Duration = Duration::from_secs(1);
/// Late entries of a folder that is to be removed are looked at one by one up to this many.
const LATE_CHILDREN_MAX: usize = 8;

impl Core {
    /// A folder as an entry.
    pub(super) fn folder_entry(&self, folder: &Folder) -> Entry {
        self.known.saw_folder(folder);
        let counts = (folder.child_count, folder.asset_count);
        let children = match counts {
            (Some(folders), Some(files)) if !self.known.is_touched(folder.id) => Some(ChildCounts { folders, files }),
            _ => None,
        };
        let parents = folder.parent_id.map(keys::folder_id).into_iter().collect();
        Entry {
            revision: folder.updated_on.clone().unwrap_or_default(),
            created: folder.created_on.as_deref().and_then(Timestamp::parse),
            modified: folder.updated_on.as_deref().and_then(Timestamp::parse),
            children,
            fields: fields::of_folder(folder),
            ..Entry::folder(keys::folder_id(folder.id), folder.name.clone(), parents)
        }
    }

    pub(super) async fn fetch_root(&self) -> Result<Folder> {
        let request = self.api.get("folders/root.json", "GET /folders/root");
        let root: Folder = self.api.json("read root folder", "", request).await?;
        self.known.saw_root(root.id);
        self.known.saw_folder(&root);
        Ok(root)
    }

    pub(super) async fn root_id(&self) -> Result<u64> {
        match self.known.root() {
            Some(id) => Ok(id),
            None => Ok(self.fetch_root().await?.id),
        }
    }

    /// Reads one folder directly; "not found" only after a second look.
    pub(super) async fn fetch_folder(&self, id: u64) -> Result<Folder> {
        match self.look_at_folder(id).await {
            Err(e) if e.is_not_found() => {
                self.clock.sleep(SECOND_LOOK_AFTER).await;
                self.look_at_folder(id).await
            }
            answer => answer,
        }
    }

    async fn look_at_folder(&self, id: u64) -> Result<Folder> {
        let item = keys::folder_id(id);
        let request = self.api.get(&format!("folders/{id}"), "GET /folders/{id}");
        let folder: Folder = self.api.json(STAT, item.as_str(), request).await?;
        if folder.is_deleted() {
            return Err(StoreError::new(ErrorKind::NotFound, STAT, item.as_str()).because("it is in the trash"));
        }
        self.known.saw_folder(&folder);
        Ok(folder)
    }

    fn folders_source(&self, operation: &'static str, id: u64) -> Source<Folder> {
        Source {
            operation,
            item: keys::folder_id(id).as_str().to_owned(),
            route: "GET /folders/{id}/children",
            // Without `.json`, and always with `page`: the other forms were seen to fail.
            path: format!("folders/{id}/children"),
            query: vec![("per_page", super::pages::PAGE_LEN.to_string())],
            key: "folders",
            expected: None,
            entries: PhantomData,
        }
    }

    pub(super) fn files_source(&self, operation: &'static str, id: u64, expected: Option<u64>) -> Source<File> {
        Source {
            operation,
            item: keys::folder_id(id).as_str().to_owned(),
            route: "GET /folders/{id}/files",
            path: format!("folders/{id}/files.json"),
            query: Vec::new(),
            key: "files",
            expected,
            entries: PhantomData,
        }
    }

    /// The children of a folder: both halves at the same time, a half that is known to be empty not at all.
    pub(super) fn list(self: Arc<Self>, folder: &Entry) -> Listing {
        let id = match keys::folder(LIST, &folder.id) {
            Ok(id) => id,
            Err(e) => return stream::iter([Err(e)]).boxed(),
        };
        let counts = folder.children.filter(|_| !self.known.is_touched(id));
        let mut halves = Vec::with_capacity(2);
        if counts.is_none_or(|c| c.folders > 0) {
            halves.push(self.clone().folders_in(id));
        }
        if counts.is_none_or(|c| c.files > 0) {
            let core = self.clone();
            let source = self.files_source(LIST, id, counts.map(|c| c.files));
            let pages = source.pages(self.api.clone());
            let entries = move |page: Result<Vec<File>>| {
                let core = core.clone();
                async move { Ok(core.named_entries(&page?).await) }
            };
            halves.push(pages.then(entries).boxed());
        }
        stream::select_all(halves).boxed()
    }

    /// Files as entries, with the names of their terms: these are read once for all, which is cheaper than reading each file
    /// by itself when somebody wants its terms.
    pub(super) async fn named_entries(&self, files: &[File]) -> Vec<Entry> {
        let entries = || files.iter().map(|file| self.entry(file)).collect::<Vec<_>>();
        let told = entries();
        if told.iter().all(|entry| entry.fields_complete) {
            return told;
        }
        match self.templates.file_types().await {
            Ok(_) => entries(),
            Err(error) => {
                tracing::debug!("the names of terms are not known yet: {error}");
                told
            }
        }
    }

    /// The half with the folders.
    pub(super) fn subfolders(self: Arc<Self>, folder: &Entry) -> Listing {
        match keys::folder(LIST, &folder.id) {
            Ok(id) => self.folders_in(id),
            Err(e) => stream::iter([Err(e)]).boxed(),
        }
    }

    fn folders_in(self: Arc<Self>, id: u64) -> Listing {
        // The first page tells how many there are.
        let pages = self.folders_source(LIST, id).pages(self.api.clone());
        let entries = move |page: Vec<Folder>| page.iter().map(|f| self.folder_entry(f)).collect::<Vec<_>>();
        pages.map(move |page| page.map(&entries)).boxed()
    }

    pub(super) async fn create_folder(&self, parent: &ItemId, name: &Name) -> Result<Entry> {
        const CREATE: &str = "create folder";
        let parent_id = keys::folder(CREATE, parent)?;
        let path = format!("folders/{parent_id}/children");
        let request = self
            .api
            .post(&path, "POST /folders/{id}/children")
            .json(&json!({"name": name.to_store()}));
        let made: Folder = self.api.json(CREATE, name.as_str(), request).await?;
        self.known.touch(parent_id);
        // A new folder is empty: its first listing is not worth a request, but only its maker may say so.
        let entry = self.folder_entry(&made);
        Ok(Entry {
            parents: vec![parent.clone()],
            children: Some(ChildCounts { folders: 0, files: 0 }),
            ..entry
        })
    }

    /// Renames and/or moves a folder in one request.
    pub(super) async fn move_folder(&self, item: &Entry, to: &Placement) -> Result<Entry> {
        const MOVE: &str = "move folder";
        let id = keys::folder(MOVE, &item.id)?;
        self.refuse_root(MOVE, id, item)?;
        let [parent] = to.parents.as_slice() else {
            return Err(errors::invalid(
                MOVE,
                item.id.as_str(),
                "a folder is in exactly one folder",
            ));
        };
        let parent_id = keys::folder(MOVE, parent)?;
        let body = json!({"name": to.name, "parent_id": parent_id});
        let request = self
            .api
            .request(Method::PUT, &format!("folders/{id}.json"), "PUT /folders/{id}")
            .json(&body);
        let answer = self.api.call(MOVE, item.id.as_str(), request).await?;
        let told = serde_json::from_slice::<Folder>(&answer.body).ok();
        // That `parent_id` works is observed, not documented: an answer that does not show it is not believed.
        let arrived = |folder: &Folder| folder.id == id && folder.parent_id == Some(parent_id);
        let folder = match told.filter(&arrived) {
            Some(folder) => folder,
            None => self.fetch_folder(id).await?,
        };
        if !arrived(&folder) {
            return Err(errors::protocol(MOVE, item.id.as_str(), "the folder did not move"));
        }
        self.known.touch(parent_id);
        for old in item.parents.iter().filter_map(|p| keys::folder(MOVE, p).ok()) {
            self.known.touch(old);
        }
        Ok(self.folder_entry(&folder))
    }

    fn refuse_root(&self, operation: &'static str, id: u64, item: &Entry) -> Result<()> {
        if self.known.root().map_or(item.parents.is_empty(), |root| root == id) {
            return Err(
                StoreError::new(ErrorKind::Denied, operation, item.id.as_str()).because("it is the root folder")
            );
        }
        Ok(())
    }

    /// Removes an empty folder. The server would delete what is in it too, so it is looked at once more right before; what
    /// somebody else puts there between that look and the deletion goes with it.
    pub(super) async fn remove_folder(&self, item: &Entry) -> Result<()> {
        let id = keys::folder(REMOVE, &item.id)?;
        self.refuse_root(REMOVE, id, item)?;
        match self.is_empty(id).await {
            Ok(true) => {}
            Ok(false) => return Err(StoreError::new(ErrorKind::NotEmpty, REMOVE, item.id.as_str())),
            Err(e) if e.is_not_found() => {
                // Confirmed by a second look, or told as what it is: a listing that fails.
                self.fetch_folder(id).await?;
                return Err(errors::not_ready(
                    REMOVE,
                    item.id.as_str(),
                    "its content cannot be listed now",
                ));
            }
            Err(e) => return Err(e),
        }
        // Both forms are documented or observed; each was seen to do nothing at times, hence the look after it.
        for (path, route) in [
            (format!("folders/{id}.json"), "DELETE /folders/{id}"),
            (format!("folder/{id}"), "DELETE /folder/{id}"),
        ] {
            let request = self.api.request(Method::DELETE, &path, route);
            match self.api.call(REMOVE, item.id.as_str(), request).await {
                Ok(_) => {}
                Err(e) if e.is_not_found() || errors::is_unknown_route(&e) => {}
                Err(e) => return Err(e),
            }
            if self.is_gone(id).await? {
                self.known.forget_folder(id);
                for parent in item.parents.iter().filter_map(|p| keys::folder(REMOVE, p).ok()) {
                    self.known.touch(parent);
                }
                return Ok(());
            }
        }
        let error =
            StoreError::new(ErrorKind::Busy, REMOVE, item.id.as_str()).retry(Retry::After(Duration::from_secs(30)));
        Err(error.because("the server accepted the deletion, but the folder is still there"))
    }

    async fn is_gone(&self, id: u64) -> Result<bool> {
        match self.look_at_folder(id).await {
            Ok(_) => Ok(false),
            Err(e) if e.is_not_found() => Ok(true),
            Err(e) => Err(e),
        }
    }

    /// Whether a folder has no children. Listings are late, so what they still show is asked for itself.
    async fn is_empty(&self, id: u64) -> Result<bool> {
        let (folders, files) = tokio::join!(
            self.folders_source(REMOVE, id).first(self.api.clone()),
            self.files_source(REMOVE, id, None).first(self.api.clone()),
        );
        let (folders, files) = (folders?, files?);
        if folders.len() + files.len() > LATE_CHILDREN_MAX {
            return Ok(false);
        }
        for folder in folders {
            match self.look_at_folder(folder.id).await {
                Ok(child) if child.parent_id.is_none_or(|parent| parent == id) => return Ok(false),
                Ok(_) => {}
                Err(e) if e.is_not_found() => {}
                Err(e) => return Err(e),
            }
        }
        for file in files {
            match self.fetch_file(REMOVE, file.id).await {
                Ok(file) if file.folder_ids.as_ref().is_none_or(|ids| ids.contains(&id)) => return Ok(false),
                Ok(_) => {}
                Err(e) if e.is_not_found() => {}
                Err(e) => return Err(e),
            }
        }
        Ok(true)
    }
}
