//! Pages of bare arrays, and the filters of file listings.

use std::sync::Arc;

use serde_json::Value;

use super::ask::{Ask, Outcome, Reply, as_id};
use super::records::File;
use super::state::{ROOT, State, millis};
use crate::model::Timestamp;

/// The ids of the last recursive listing.
pub(super) struct Cached {
    filter: Filter,
    revision: u64,
    ids: Arc<[u64]>,
}

/// Which files a listing asks for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Filter {
    folder: u64,
    recursive: bool,
    query: Option<String>,
    uploaded_after_ms: Option<i64>,
    updated_after_ms: Option<i64>,
    file_type: Option<u64>,
}

/// One page of `ids` as a bare array.
pub(super) fn paged(state: &State, ask: &Ask, ids: &[u64], show: impl Fn(u64) -> Option<Value>) -> Outcome {
    let page = if state.quirks.page_ignored { 1 } else { ask.page()? };
    let per_page = ask.per_page();
    let start = (page - 1).saturating_mul(per_page);
    let entries: Vec<Value> = ids
        .iter()
        .skip(start)
        .take(per_page)
        .filter_map(|id| show(*id))
        .collect();
    let mut reply = Reply::ok(Value::Array(entries));
    if state.quirks.link_header && start + per_page < ids.len() {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in ask.query.iter().filter(|(name, _)| *name != "page") {
            query.append_pair(name, value);
        }
        query.append_pair("page", &(page + 1).to_string());
        let query = query.finish();
        reply.link = Some(format!("<{}{}?{query}>; rel=\"next\"", ask.origin, ask.path));
    }
    Ok(reply)
}

impl Filter {
    /// Reads the query of `GET /folders/{folder}/files`.
    pub(super) fn of(ask: &Ask, folder: u64, updated_after_ignored: bool) -> Result<Self, Reply> {
        let date = |name: &str| match ask.query.get(name) {
            None => Ok(None),
            Some(text) => parse_date(text)
                .map(Some)
                .ok_or_else(|| Reply::invalid(format!("{name} {text:?} is not a date"))),
        };
        let mut updated_after_ms = date("updated_after")?;
        if updated_after_ignored {
            updated_after_ms = None;
        }
        let file_type = ask.query.get("file_type_id").map(|id| as_id(&Value::from(id.as_str())));
        Ok(Self {
            folder,
            // Only the lower-case word counts.
            recursive: ask.query.get("recursive").is_some_and(|value| value == "true"),
            query: ask.query.get("query").map(|text| text.to_lowercase()),
            uploaded_after_ms: date("uploaded_after")?,
            updated_after_ms,
            file_type: file_type.map(|id| id.unwrap_or(0)),
        })
    }
}

impl State {
    /// The ids that `filter` lets through, ascending.
    pub(super) fn list_files(&mut self, filter: Filter) -> Arc<[u64]> {
        if let Some(cached) = &self.cached
            && cached.filter == filter
            && cached.revision == self.revision
        {
            return Arc::clone(&cached.ids);
        }
        let ids = self.find_files(&filter);
        if filter.recursive {
            self.cached = Some(Cached {
                filter,
                revision: self.revision,
                ids: Arc::clone(&ids),
            });
        }
        ids
    }

    fn find_files(&self, filter: &Filter) -> Arc<[u64]> {
        let listed = self.listed();
        let passes = |file: &Arc<File>| self.passes(file, filter);
        let within = |file: &Arc<File>| {
            filter.folder == ROOT
                || file
                    .folders
                    .iter()
                    .any(|folder| listed.is_within(*folder, filter.folder))
        };
        let mut ids: Vec<u64> = match (filter.recursive, filter.updated_after_ms) {
            (false, _) => {
                let inside = listed.files_in(filter.folder);
                let files = inside.iter().filter_map(|id| listed.file(*id));
                files.filter(passes).map(|file| file.id).collect()
            }
            (true, Some(after)) => {
                let files = listed.updated_after(after).filter(passes);
                files.filter(within).map(|file| file.id).collect()
            }
            (true, None) if filter.folder == ROOT => listed.all_files().filter(passes).map(|file| file.id).collect(),
            (true, None) => {
                let folders = listed.subtree(filter.folder);
                let ids = folders.iter().flat_map(|folder| listed.files_in(*folder).into_owned());
                let files = ids.filter_map(|id| listed.file(id));
                files.filter(passes).map(|file| file.id).collect()
            }
        };
        ids.sort_unstable();
        ids.dedup();
        ids.into()
    }

    fn passes(&self, file: &File, filter: &Filter) -> bool {
        let after = |limit: Option<i64>, time: i64| limit.is_none_or(|limit| time > limit);
        after(filter.uploaded_after_ms, file.created_ms)
            && after(filter.updated_after_ms, file.updated_ms)
            && filter.file_type.is_none_or(|kind| file.file_type == kind)
            && filter.query.as_ref().is_none_or(|query| self.mentions(file, query))
    }

    /// Whether the name, a term or a tag of `file` holds `query`, which is in lower case.
    fn mentions(&self, file: &File, query: &str) -> bool {
        let holds = |text: &str| text.to_lowercase().contains(query);
        let in_extra = file.extra.as_ref().is_some_and(|extra| {
            let tags = extra.tags.iter().filter_map(|tag| self.keywords.get(tag));
            extra.terms.values().any(|value| holds(value)) || tags.into_iter().any(|tag| holds(&tag.name))
        });
        holds(&file.name) || in_extra
    }
}

/// `YYYY-MM-DD[ HH:MM:SS[ GMT+00:00]]` in milliseconds.
fn parse_date(text: &str) -> Option<i64> {
    let mut parts = text.split_whitespace();
    let date = parts.next()?;
    let time = parts.next().unwrap_or("00:00:00");
    let zone = match parts.next() {
        None | Some("UTC" | "GMT") => "Z",
        Some(zone) => zone.strip_prefix("GMT").unwrap_or(zone),
    };
    if parts.next().is_some() {
        return None;
    }
    Timestamp::parse(&format!("{date}T{time}{zone}")).map(millis)
}

/// A `YYYY-MM-DD` and nothing else: the start of that day in milliseconds.
pub(super) fn parse_day(text: &str) -> Option<i64> {
    (text.len() == 10).then(|| parse_date(text)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_come_with_and_without_time_and_zone() {
        let noon = 1_402_401_600_000;
        assert_eq!(parse_date("2014-06-10"), Some(noon - 12 * 3_600_000));
        assert_eq!(parse_date("2014-06-10 12:00:00"), Some(noon));
        assert_eq!(parse_date("2014-06-10 12:00:00 GMT+00:00"), Some(noon));
        assert_eq!(parse_date("2014-06-10 13:00:00 GMT+01:00"), Some(noon));
        assert_eq!(parse_date("yesterday"), None);
        assert_eq!(parse_date("2014-06-10 12:00:00 GMT+00:00 more"), None);
        assert_eq!(parse_day("2014-06-10 12:00:00"), None);
    }
}
