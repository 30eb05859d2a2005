//! Searches and groups: which lists answer them, and what is chosen here because no list can.

use std::collections::HashSet;

use futures_util::TryStreamExt;

use crate::model::{Entry, ItemId};
use crate::store::{ErrorKind, Group, Query, Result, StoreError};

use super::id::{Id, Resource};
use super::pages::{Params, param};
use super::search;
use super::store::OmekaStore;

/// Hits of one search at most.
const HITS_MAX: usize = 20_000;

impl OmekaStore {
    /// What a search finds: one request for each page of the list that answers it, and for files in a collection those of
    /// the list of its items.
    pub(super) async fn find(&self, query: &Query) -> Result<Vec<Entry>> {
        let words = self.vocabulary.words(&search::names_to_know(query)).await?;
        let plan = search::plan(query, &words)?;
        if plan.is_empty {
            return Ok(Vec::new());
        }
        let within = match plan.within_collection {
            Some(collection) => Some(self.items_of(collection).await?),
            None => None,
        };
        self.chosen(plan.resource, plan.params.clone(), |entry| {
            let name = entry.name.to_lowercase();
            plan.name_words.iter().all(|word| name.contains(word))
                && plan
                    .larger_than
                    .is_none_or(|limit| entry.size.is_some_and(|size| size > limit))
                && within
                    .as_ref()
                    .is_none_or(|items| entry.parents.iter().any(|item| items.contains(item)))
        })
        .await
    }

    async fn items_of(&self, collection: u64) -> Result<HashSet<ItemId>> {
        let items = self
            .chosen(Resource::Items, vec![param("collection", collection)], |_| true)
            .await?;
        Ok(items.into_iter().map(|item| item.id).collect())
    }

    /// The entries of a list that pass: all of them, or an error.
    async fn chosen(&self, resource: Resource, params: Params, passes: impl Fn(&Entry) -> bool) -> Result<Vec<Entry>> {
        let mut hits = Vec::new();
        let mut entries = self.entries(resource, params);
        while let Some(batch) = entries.try_next().await? {
            hits.extend(batch.into_iter().filter(&passes));
            if hits.len() > HITS_MAX {
                let why = format!("more than {HITS_MAX} hits: narrow the search");
                return Err(StoreError::new(ErrorKind::TooLarge, "search", resource.path()).because(why));
            }
        }
        Ok(hits)
    }

    /// The members of a group. What is new are items and files: an item's own time does not move when a file is added.
    pub(super) async fn members(&self, group: &Group, scope: &ItemId) -> Result<Vec<Entry>> {
        let place = Id::parse(scope)?;
        match group {
            Group::Tag(tag) => {
                let mut params = vec![param("tags", tag)];
                match place {
                    Id::Collection(id) => params.push(param("collection", id)),
                    Id::Site => {}
                    // Only items carry tags, and there are none in an item.
                    Id::Item(_) | Id::File(_) => return Ok(Vec::new()),
                }
                self.chosen(Resource::Items, params, |_| true).await
            }
            Group::Recent(since) => {
                let since = param("modified_since", since.to_rfc3339());
                let (items, files) = match place {
                    Id::Site => (Some(vec![since.clone()]), Some(vec![since])),
                    Id::Collection(id) => (Some(vec![since.clone(), param("collection", id)]), None),
                    Id::Item(id) => (None, Some(vec![since, param("item", id)])),
                    Id::File(_) => (None, None),
                };
                let mut found = Vec::new();
                for (resource, params) in [(Resource::Items, items), (Resource::Files, files)] {
                    if let Some(params) = params {
                        found.extend(self.chosen(resource, params, |_| true).await?);
                    }
                }
                Ok(found)
            }
            Group::Collection(_) => Err(StoreError::unsupported("read a collection", scope.as_str())),
        }
    }
}

/// The ids that a record of this number may have.
pub(super) fn ids_called(key: &str) -> Vec<ItemId> {
    match key.parse() {
        Ok(number) => [Id::File(number), Id::Item(number), Id::Collection(number)]
            .map(Id::to_item_id)
            .to_vec(),
        Err(_) => Vec::new(),
    }
}
