//! Tags, what is new, and collections.

use super::{MemoryStore, Op};
use crate::model::{Entry, ItemId, Kind};
use crate::store::{Collection, ErrorKind, Group, Result, StoreError};

/// This field holds the tags.
const TAGS: &str = "tags";

impl MemoryStore {
    pub(super) async fn read_group(&self, group: &Group, scope: &ItemId) -> Result<Vec<Entry>> {
        const READ: &str = "read a group";
        let groups = self.capabilities.groups;
        let support = match group {
            Group::Tag(_) => groups.tags,
            Group::Recent(_) => groups.recent,
            Group::Collection(_) => groups.collections,
        };
        self.require(support.is_yes(), READ, scope.as_str())?;
        let fate = self.faults.meet(Op::Search, READ, scope.as_str()).await?;
        let found = {
            let members = match group {
                Group::Collection(id) => {
                    let collections = self.collections.lock();
                    let missing = || StoreError::new(ErrorKind::NotFound, READ, id.as_str());
                    collections.get(id).ok_or_else(missing)?.1.clone()
                }
                Group::Tag(_) | Group::Recent(_) => Default::default(),
            };
            let tree = self.tree.lock();
            let belongs = |entry: &Entry| match group {
                Group::Tag(tag) => {
                    let tags = entry.fields.get(TAGS).map(|field| field.values.as_slice());
                    tags.unwrap_or_default().iter().any(|held| held.text == *tag)
                }
                Group::Recent(since) => entry.modified.is_some_and(|at| at > *since),
                Group::Collection(_) => members.contains(&entry.id),
            };
            let files = tree
                .all()
                .map(|item| &item.entry)
                .filter(|entry| entry.kind == Kind::File);
            files
                .filter(|entry| belongs(entry) && tree.is_below(&entry.id, scope))
                .cloned()
                .collect()
        };
        fate.deliver(READ, scope.as_str(), found)
    }

    pub(super) async fn all_collections(&self) -> Result<Vec<Collection>> {
        const LIST: &str = "list collections";
        self.require(self.capabilities.groups.collections.is_yes(), LIST, "")?;
        let fate = self.faults.meet(Op::Search, LIST, "").await?;
        let all = self.collections.lock();
        let named = all.iter().map(|(id, (name, _))| Collection {
            id: id.clone(),
            name: name.clone(),
        });
        fate.deliver(LIST, "", named.collect())
    }

    pub(super) async fn collect(&self, collection: &ItemId, item: &Entry) -> Result<()> {
        const ADD: &str = "add to a collection";
        self.require(self.capabilities.groups.collections.is_yes(), ADD, item.id.as_str())?;
        let fate = self.faults.meet(Op::Link, ADD, item.id.as_str()).await?;
        let mut collections = self.collections.lock();
        let missing = || StoreError::new(ErrorKind::NotFound, ADD, collection.as_str());
        let (_, members) = collections.get_mut(collection).ok_or_else(missing)?;
        members.insert(item.id.clone());
        fate.deliver(ADD, item.id.as_str(), ())
    }
}
