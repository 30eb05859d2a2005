//! File types with their terms, and keywords: fetched when first needed, kept for a while.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;

use super::api::Api;
use super::errors;
use super::known::Known;
use super::pages::Source;
use super::wire::{FileType, Keyword, Listed, Term};
use crate::model::SharedClock;
use crate::store::Result;

/// How long fetched templates and keywords are believed.
const MAX_AGE: Duration = Duration::from_secs(600);
const FILE_TYPES: &str = "read file types";
const KEYWORDS: &str = "read keywords";

/// The file types of the account.
#[derive(Default)]
pub(super) struct FileTypes(Vec<FileType>);

impl FileTypes {
    pub(super) fn get(&self, id: u64) -> Option<&FileType> {
        self.0.iter().find(|t| t.id == id)
    }

    /// By id or by name.
    pub(super) fn find(&self, wanted: &str) -> Option<&FileType> {
        let by_id = wanted.trim().parse().ok().and_then(|id| self.get(id));
        by_id.or_else(|| only(self.0.iter().filter(|t| t.name.eq_ignore_ascii_case(wanted.trim()))))
    }

    /// The only type there is.
    pub(super) fn only(&self) -> Option<&FileType> {
        only(self.0.iter())
    }

    /// The types for people: `6001 (Default), 6002 (Photos)`.
    pub(super) fn listed(&self) -> String {
        let all: Vec<String> = self.0.iter().map(|t| format!("{} ({})", t.id, t.name)).collect();
        all.join(", ")
    }

    /// A term by its id, in whatever type has it.
    pub(super) fn term(&self, id: u64) -> Option<(&FileType, &Term)> {
        self.0
            .iter()
            .find_map(|t| t.terms.iter().find(|term| term.id == id).map(|term| (t, term)))
    }
}

fn only<'a, T>(mut all: impl Iterator<Item = &'a T>) -> Option<&'a T> {
    let first = all.next()?;
    all.next().is_none().then_some(first)
}

impl FileType {
    /// What a term is called here: its name, with its id where the type has that name twice.
    pub(super) fn label(&self, term: &Term) -> String {
        let twice = self.terms.iter().filter(|t| t.name == term.name).count() > 1;
        if twice || term.name.is_empty() {
            format!("{} ({})", term.name, term.id)
        } else {
            term.name.clone()
        }
    }

    /// The term that is called `label`; case counts only where it must.
    pub(super) fn term_called(&self, label: &str) -> Option<&Term> {
        let exact = self.terms.iter().find(|t| self.label(t) == label);
        exact.or_else(|| only(self.terms.iter().filter(|t| self.label(t).eq_ignore_ascii_case(label))))
    }
}

struct Kept<T> {
    at: Duration,
    value: Arc<T>,
}

/// One fetched thing: asked for once at a time, believed for [`MAX_AGE`].
struct Cached<T> {
    kept: Mutex<Option<Kept<T>>>,
    turn: tokio::sync::Mutex<()>,
}

impl<T> Cached<T> {
    fn new() -> Self {
        Self {
            kept: Mutex::new(None),
            turn: tokio::sync::Mutex::new(()),
        }
    }

    /// The value at any age.
    fn peek(&self) -> Option<Arc<T>> {
        self.kept.lock().as_ref().map(|kept| kept.value.clone())
    }

    fn young(&self, now: Duration) -> Option<Arc<T>> {
        let kept = self.kept.lock();
        kept.as_ref()
            .filter(|kept| now.saturating_sub(kept.at) < MAX_AGE)
            .map(|kept| kept.value.clone())
    }

    async fn get(&self, clock: &SharedClock, fetch: impl Future<Output = Result<T>>) -> Result<Arc<T>> {
        if let Some(value) = self.young(clock.elapsed()) {
            return Ok(value);
        }
        let _turn = self.turn.lock().await;
        if let Some(value) = self.young(clock.elapsed()) {
            return Ok(value);
        }
        let value = Arc::new(fetch.await?);
        *self.kept.lock() = Some(Kept {
            at: clock.elapsed(),
            value: value.clone(),
        });
        Ok(value)
    }
}

pub(super) struct Templates {
    api: Arc<Api>,
    known: Arc<Known>,
    clock: SharedClock,
    file_types: Cached<FileTypes>,
    keywords: Cached<HashMap<String, u64>>,
}

impl Templates {
    pub(super) fn new(api: Arc<Api>, known: Arc<Known>, clock: SharedClock) -> Self {
        Self {
            api,
            known,
            clock,
            file_types: Cached::new(),
            keywords: Cached::new(),
        }
    }

    /// The file types, if they were fetched before.
    pub(super) fn cached_file_types(&self) -> Option<Arc<FileTypes>> {
        self.file_types.peek()
    }

    pub(super) async fn file_types(&self) -> Result<Arc<FileTypes>> {
        self.file_types.get(&self.clock, self.fetch_file_types()).await
    }

    async fn fetch_file_types(&self) -> Result<FileTypes> {
        let mut types: Vec<FileType> = self
            .source(
                FILE_TYPES,
                "GET /file_types",
                "file_types.json".to_owned(),
                "file_types",
            )
            .all(self.api.clone())
            .await?;
        for short in types.iter_mut().filter(|t| t.terms.is_empty()) {
            // The list may leave the terms out; a type's own page has them.
            let id = short.id;
            let request = self.api.get(&format!("file_types/{id}.json"), "GET /file_types/{id}");
            *short = self.api.json(FILE_TYPES, &id.to_string(), request).await?;
        }
        Ok(FileTypes(types))
    }

    fn source<T: Listed>(
        &self,
        operation: &'static str,
        route: &'static str,
        path: String,
        key: &'static str,
    ) -> Source<T> {
        Source {
            operation,
            item: String::new(),
            route,
            path,
            query: Vec::new(),
            key,
            expected: None,
            entries: PhantomData,
        }
    }

    /// The ids of keywords by their names. One that does not exist is made in `keyword_set` (an id or a name), or refused
    /// without one.
    pub(super) async fn keyword_ids(&self, names: &[&str], keyword_set: Option<&str>) -> Result<Vec<u64>> {
        let mut ids = Vec::with_capacity(names.len());
        for name in names {
            let id = match self.find_keyword(name).await? {
                Some(id) => id,
                None => self.create_keyword(name, keyword_set).await?,
            };
            ids.push(id);
        }
        Ok(ids)
    }

    pub(super) async fn find_keyword(&self, name: &str) -> Result<Option<u64>> {
        if let Some(id) = self.known.keyword(name) {
            return Ok(Some(id));
        }
        let all = self.keywords.get(&self.clock, self.fetch_keywords()).await?;
        if let Some(id) = all.get(name) {
            return Ok(Some(*id));
        }
        let mut alike = all
            .iter()
            .filter(|(other, _)| other.to_lowercase() == name.to_lowercase());
        Ok(alike.next().map(|(_, id)| *id))
    }

    async fn fetch_keywords(&self) -> Result<HashMap<String, u64>> {
        let mut all = HashMap::new();
        for set in self.keyword_sets().await? {
            let path = format!("keyword_sets/{}/keywords.json", set.id);
            let source = self.source(KEYWORDS, "GET /keyword_sets/{id}/keywords", path, "keywords");
            let keywords: Vec<Keyword> = source.all(self.api.clone()).await?;
            all.extend(keywords.into_iter().map(|k| (k.name, k.id)));
        }
        Ok(all)
    }

    async fn keyword_sets(&self) -> Result<Vec<Keyword>> {
        let path = "keyword_sets.json".to_owned();
        self.source(KEYWORDS, "GET /keyword_sets", path, "keyword_sets")
            .all(self.api.clone())
            .await
    }

    async fn create_keyword(&self, name: &str, keyword_set: Option<&str>) -> Result<u64> {
        const CREATE: &str = "create keyword";
        let Some(wanted) = keyword_set else {
            let why = "there is no such keyword, and no keyword_set is configured in which it could be made";
            return Err(errors::invalid(CREATE, name, why));
        };
        let sets = self.keyword_sets().await?;
        let set = sets
            .iter()
            .find(|set| set.id.to_string() == wanted || set.name.eq_ignore_ascii_case(wanted));
        let Some(set) = set else {
            return Err(errors::invalid(
                CREATE,
                name,
                format!("there is no keyword set {wanted}"),
            ));
        };
        let path = format!("keyword_sets/{}/keywords.json", set.id);
        let request = self
            .api
            .post(&path, "POST /keyword_sets/{id}/keywords")
            .json(&json!({ "name": name }));
        let made: Keyword = self.api.json(CREATE, name, request).await?;
        self.known.saw_keyword(name, made.id);
        Ok(made.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn types() -> FileTypes {
        let types = json!([
            {"id": 1, "name": "Photos", "terms": [{"id": 10, "name": "Credit"}, {"id": 11, "name": "Note"}, {"id": 12, "name": "Note"}]},
            {"id": 2, "name": "Logos"}
        ]);
        FileTypes(serde_json::from_value(types).expect("types"))
    }

    #[test]
    fn file_types_are_found_by_id_and_name_and_listed_for_people() {
        let types = types();
        assert_eq!(types.find("2").map(|t| t.id), Some(2));
        assert_eq!(types.find("photos").map(|t| t.id), Some(1));
        assert!(types.find("3").is_none() && types.only().is_none());
        assert_eq!(types.listed(), "1 (Photos), 2 (Logos)");
    }

    #[test]
    fn terms_of_one_name_are_told_apart_by_their_id() {
        let types = types();
        let photos = types.get(1).expect("a type");
        let labels: Vec<_> = photos.terms.iter().map(|t| photos.label(t)).collect();
        assert_eq!(labels, ["Credit", "Note (11)", "Note (12)"]);
        assert_eq!(photos.term_called("credit").map(|t| t.id), Some(10));
        assert_eq!(photos.term_called("Note (12)").map(|t| t.id), Some(12));
        assert!(photos.term_called("Note").is_none());
    }
}
