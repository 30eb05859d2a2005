//! Searches, tags, what is new, collections: files that are found without looking through the folders.

use std::marker::PhantomData;

use serde_json::json;

use super::pages::Source;
use super::wire::{Collection as Told, File};
use super::{Core, errors, feed, fields, keys};
use crate::http::Method;
use crate::model::{Entry, ItemId};
use crate::store::{Collection, Group, Query, Result};

const SEARCH: &str = "search";

/// A query as parameters of a folder's list of files. Pure.
pub(super) fn parameters(query: &Query) -> Result<Vec<(&'static str, String)>> {
    let mut words: Vec<&str> = Vec::new();
    let mut parameters = Vec::new();
    if !query.words.is_empty() {
        words.push(&query.words);
    }
    for (name, value) in &query.filters {
        let name = match name.as_str() {
            "query" => {
                words.push(value);
                continue;
            }
            "uploaded_after" => "uploaded_after",
            "updated_after" => "updated_after",
            "file_type_id" if value.parse::<u64>().is_err() => {
                return Err(errors::invalid(SEARCH, value, "file_type_id is a number"));
            }
            "file_type_id" => "file_type_id",
            other => {
                let why = "the filters are query, uploaded_after, updated_after and file_type_id";
                return Err(errors::invalid(SEARCH, other, why));
            }
        };
        parameters.push((name, value.clone()));
    }
    if !words.is_empty() {
        parameters.push(("query", words.join(" ")));
    }
    if query.recursive {
        parameters.push(("recursive", "true".to_owned()));
    }
    Ok(parameters)
}

impl Core {
    /// What a search finds: one request for each hundred hits.
    pub(super) async fn search(&self, query: &Query) -> Result<Vec<Entry>> {
        let scope = match &query.scope {
            Some(folder) => keys::folder(SEARCH, folder)?,
            None => self.root_id().await?,
        };
        let mut source = self.files_source(SEARCH, scope, None);
        source.query.extend(parameters(query)?);
        let found = source.all(self.api.clone()).await?;
        Ok(found.iter().map(|file| self.entry(file)).collect())
    }

    /// The members of a group: one request for each hundred files that the service answers.
    pub(super) async fn group(&self, group: &Group, scope: &ItemId) -> Result<Vec<Entry>> {
        let below = |words: &str, filters| Query {
            words: words.to_owned(),
            filters,
            scope: Some(scope.clone()),
            recursive: true,
        };
        match group {
            Group::Tag(tag) => {
                // The service has no filter for tags: a search by words finds them too, and names and terms beside them.
                let mut found = self.search(&below(tag, Vec::new())).await?;
                found.retain(|entry| fields::has_tag(entry, tag));
                Ok(found)
            }
            Group::Recent(since) => {
                let filter = ("updated_after".to_owned(), feed::filter_time(*since));
                self.search(&below("", vec![filter])).await
            }
            Group::Collection(collection) => {
                let id = keys::collection("read a collection", collection)?;
                let source = Source::<File> {
                    operation: "read a collection",
                    item: collection.as_str().to_owned(),
                    route: "GET /collections/{id}/files",
                    path: format!("collections/{id}/files.json"),
                    query: Vec::new(),
                    key: "files",
                    expected: None,
                    entries: PhantomData,
                };
                let found = source.all(self.api.clone()).await?;
                Ok(found.iter().map(|file| self.entry(file)).collect())
            }
        }
    }

    /// All collections: one request for each hundred.
    pub(super) async fn collections(&self) -> Result<Vec<Collection>> {
        let source = Source::<Told> {
            operation: "list collections",
            item: String::new(),
            route: "GET /collections",
            path: "collections.json".to_owned(),
            query: Vec::new(),
            key: "collections",
            expected: None,
            entries: PhantomData,
        };
        let found = source.all(self.api.clone()).await?;
        let named = found.into_iter().map(|collection| Collection {
            id: keys::collection_id(collection.id),
            name: collection.name,
        });
        Ok(named.collect())
    }

    /// Adds a file to a collection. The service only ever adds, so it may be told twice.
    pub(super) async fn add_to_collection(&self, collection: &ItemId, item: &Entry) -> Result<()> {
        const ADD: &str = "add to a collection";
        let (id, file) = (keys::collection(ADD, collection)?, keys::file(ADD, &item.id)?);
        let request = self
            .api
            .request(Method::PUT, &format!("collections/{id}.json"), "PUT /collections/{id}")
            .json(&json!({ "asset_ids": [file] }));
        self.api.call(ADD, item.id.as_str(), request).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_may_be_given_bare_or_as_the_filter_of_the_documents() {
        let query = |words: &str, filters: &[(&str, &str)]| Query {
            words: words.to_owned(),
            filters: filters.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect(),
            scope: None,
            recursive: true,
        };
        let recursive = ("recursive", "true".to_owned());
        let dogs = ("query", "dogs".to_owned());
        assert_eq!(
            parameters(&query("dogs", &[])).expect("known"),
            [dogs.clone(), recursive.clone()]
        );
        assert_eq!(
            parameters(&query("", &[("query", "dogs"), ("file_type_id", "149")])).expect("known"),
            [("file_type_id", "149".to_owned()), dogs, recursive]
        );
        assert!(parameters(&query("", &[("file_type_id", "default")])).is_err());
        assert!(parameters(&query("", &[("colour", "red")])).is_err());
    }
}
