//! Searches: projects by the server's own search, files in the one listing of their project.

use std::collections::HashSet;

use crate::model::{Entry, ItemId, Timestamp};
use crate::store::{ErrorKind, Group, Query, Result, StoreError};

use super::decode::File;
use super::ids::Place;
use super::projects::{self, Sought};
use super::store::Im4Store;

const SEARCH: &str = "search";

fn invalid(what: &str, why: &'static str) -> StoreError {
    StoreError::new(ErrorKind::Invalid, SEARCH, what).because(why)
}

/// What of the projects a query asks for. Pure.
pub(super) fn sought(query: &Query) -> Result<Sought> {
    let mut sought = Sought::default();
    let mut words: Vec<&str> = Vec::new();
    if !query.words.is_empty() {
        words.push(&query.words);
    }
    for (name, value) in &query.filters {
        match name.as_str() {
            "search" => words.push(value),
            "days" => sought.days = Some(value.parse().map_err(|_| invalid(value, "days is a number"))?),
            "agency" => sought.agency = Some(value.parse().map_err(|_| invalid(value, "agency is a number"))?),
            other => return Err(invalid(other, "the filters are search, days and agency")),
        }
    }
    sought.search = (!words.is_empty()).then(|| words.join(" "));
    Ok(sought)
}

/// Whether a file's name or one of its texts holds every word, which are in lower case.
fn mentions(file: &File, words: &[String]) -> bool {
    let told = |name: &str| file.told.get(name).and_then(|text| text.as_str()).unwrap_or_default();
    let texts = [file.name.as_str(), told("caption"), told("byline")].map(str::to_lowercase);
    words.iter().all(|word| texts.iter().any(|text| text.contains(word)))
}

impl Im4Store {
    /// What a search finds. Among the projects the server searches: one request for each two hundred. In a project one
    /// request tells all files, and names, captions and bylines are searched here.
    pub(super) async fn find(&self, query: &Query) -> Result<Vec<Entry>> {
        let sought = sought(query)?;
        let scope = match &query.scope {
            Some(scope) => Place::of(scope)?,
            None => self.root_place(),
        };
        let (project, category) = match scope {
            Place::Root => return self.find_projects(sought).await,
            Place::Project(project) => (project, None),
            Place::Category(project, category) => (project, Some(category)),
            Place::File(..) => return Err(scope.error(ErrorKind::Invalid, SEARCH).because("it is a file")),
        };
        if sought.days.is_some() || sought.agency.is_some() {
            return Err(invalid(
                "days, agency",
                "they are filters of projects, and not of files",
            ));
        }
        if category.is_none() && !query.recursive {
            // Files lie in categories, never in the project itself.
            return Ok(Vec::new());
        }
        let words: Vec<String> = sought
            .search
            .unwrap_or_default()
            .to_lowercase()
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        let (api, memory) = self.parts();
        let files = projects::files(api, memory, project).await?;
        let within = files
            .iter()
            .filter(|file| category.is_none_or(|category| file.category == category));
        let found = within.filter(|file| mentions(file, &words));
        Ok(found.map(|file| projects::file_entry(project, file)).collect())
    }

    async fn find_projects(&self, sought: Sought) -> Result<Vec<Entry>> {
        let lately = match &sought.search {
            Some(_) => projects::lately(&self.inner.api, &sought).await?,
            None => None,
        };
        let counts = |id: u64| lately.as_ref().is_none_or(|lately| lately.contains(&id));
        let (mut seen, mut found, mut skip) = (HashSet::new(), Vec::new(), Some(0));
        while let Some(from) = skip {
            let page = projects::page(&self.inner.api, from, &sought).await?;
            skip = page.next;
            let before = seen.len();
            found.extend(
                page.projects
                    .iter()
                    .filter(|p| seen.insert(p.id) && counts(p.id))
                    .map(|p| self.project_entry(p)),
            );
            if seen.len() == before {
                // The last page, or a server that always tells all of them.
                break;
            }
        }
        Ok(found)
    }

    /// The projects that were made since then; the server counts in days.
    pub(super) async fn recent(&self, group: &Group, scope: &ItemId, now: Timestamp) -> Result<Vec<Entry>> {
        match (group, Place::of(scope)?) {
            (Group::Recent(since), Place::Root) => {
                let days = now.since(*since).as_secs().div_ceil(86_400);
                let sought = Sought {
                    days: Some(u32::try_from(days).unwrap_or(u32::MAX)),
                    ..Sought::default()
                };
                self.find_projects(sought).await
            }
            (Group::Recent(since), Place::Project(project)) => {
                let (api, memory) = self.parts();
                let files = projects::files(api, memory, project).await?;
                let entries = files.iter().map(|file| projects::file_entry(project, file));
                Ok(entries
                    .filter(|entry| entry.modified.is_some_and(|at| at > *since))
                    .collect())
            }
            (Group::Recent(_) | Group::Tag(_) | Group::Collection(_), _) => {
                Err(StoreError::unsupported("read a group", scope.as_str()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_are_those_of_the_list_of_projects() {
        let query = |words: &str, filters: &[(&str, &str)]| Query {
            words: words.to_owned(),
            filters: filters.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect(),
            scope: None,
            recursive: true,
        };
        let found = sought(&query("anna", &[("search", "berg"), ("days", "30")])).expect("known");
        assert_eq!(
            (found.search.as_deref(), found.days, found.agency),
            (Some("anna berg"), Some(30), None)
        );
        assert!(sought(&query("", &[("days", "many")])).is_err());
        assert!(sought(&query("", &[("colour", "red")])).is_err());
    }
}
