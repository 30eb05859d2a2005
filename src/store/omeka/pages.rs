//! Whole lists, page by page and in parallel.
//!
//! The site cuts `per_page` silently, so the page's real size is read from `Link`. A record that is deleted while the pages
//! are read moves the others up, and one could be missed; so the pages must agree about the total, and all of it must have
//! been seen, or the list is read again.

use std::collections::HashSet;

use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::Value;

use crate::http::Url;
use crate::http::header::{HeaderName, LINK};
use crate::store::{ErrorKind, Result, Retry, StoreError};

use super::api::{Api, json};
use super::id::Resource;

/// What is asked for; a site gives fewer when it likes.
pub(super) const PER_PAGE: usize = 200;

/// Pages of one list that are asked for at the same time.
const PAGES_IN_FLIGHT_MAX: usize = 6;

/// How often a list that changes under the reader is read.
const ROUNDS_MAX: usize = 4;

/// `name=value` parameters of a list.
pub(super) type Params = Vec<(String, String)>;

/// A parameter.
pub(super) fn param(name: &str, value: impl ToString) -> (String, String) {
    (name.to_owned(), value.to_string())
}

/// One page of a list.
pub(super) struct Page {
    /// Its records.
    pub(super) records: Vec<Value>,
    /// How many records the whole list has.
    pub(super) total: usize,
    /// How many a page has at most.
    size: usize,
    /// The server's clock, as the answer's `Date` says.
    pub(super) date: Option<String>,
}

/// Reads one page, from 1, in the order of the ids.
pub(super) async fn page(api: &Api, resource: Resource, params: &Params, number: usize, size: usize) -> Result<Page> {
    const OPERATION: &str = "list";
    let mut asked = params.clone();
    // The server has no order of its own, and pages without one may overlap.
    if params.iter().all(|(name, _)| name != "sort_field") {
        asked.push(param("sort_field", "id"));
    }
    asked.push(param("per_page", size));
    asked.push(param("page", number));
    let answer = api.list(resource, &asked, OPERATION).await?;
    let malformed = |what: &'static str| StoreError::new(ErrorKind::Protocol, OPERATION, resource.path()).because(what);
    let Value::Array(records) = json(&answer, OPERATION, resource.path())? else {
        return Err(malformed("the answer is no list"));
    };
    let total = answer
        .header(HeaderName::from_static("omeka-total-results"))
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| malformed("the answer does not say how many there are"))?;
    let size = answer.header(LINK).and_then(page_size).unwrap_or(records.len().max(1));
    Ok(Page {
        records,
        total,
        size,
        date: answer.header(crate::http::header::DATE).map(str::to_owned),
    })
}

impl Page {
    /// How many pages the list has.
    pub(super) fn count(&self) -> usize {
        self.total.div_ceil(self.size)
    }
}

/// `per_page` of the first link.
fn page_size(link: &str) -> Option<usize> {
    let url = link.strip_prefix('<')?.split_once('>')?.0;
    let url = Url::parse(url).ok()?;
    let (_, size) = url.query_pairs().find(|(name, _)| name == "per_page")?;
    size.parse().ok().filter(|size| *size > 0)
}

/// How many records a list has, without reading them.
pub(super) async fn total(api: &Api, resource: Resource, params: &Params) -> Result<usize> {
    page(api, resource, params, 1, 1).await.map(|page| page.total)
}

/// Every record, in batches of pages as they arrive. The stream ends well only when the list was seen whole.
pub(super) fn batches(
    api: Api,
    resource: Resource,
    params: Params,
) -> impl futures_util::Stream<Item = Result<Vec<Value>>> + Send + 'static {
    batches_after(api, resource, params, None)
}

/// The same, where the first page may have come already.
fn batches_after(
    api: Api,
    resource: Resource,
    params: Params,
    mut first: Option<Page>,
) -> impl futures_util::Stream<Item = Result<Vec<Value>>> + Send + 'static {
    async_stream::try_stream! {
        let mut seen = HashSet::new();
        let mut before: Option<Round> = None;
        let mut whole = false;
        for _ in 0..ROUNDS_MAX {
            let mut round = Round::default();
            let first = match first.take() {
                Some(first) => first,
                None => page(&api, resource, &params, 1, PER_PAGE).await?,
            };
            let (total, size) = (first.total, first.size);
            let fresh = round.take(first, &mut seen);
            if !fresh.is_empty() {
                yield fresh;
            }
            let rest = stream::iter(2..=total.div_ceil(size)).map(|number| {
                let (api, params) = (api.clone(), params.clone());
                async move { page(&api, resource, &params, number, size).await }
            });
            let mut rest = Box::pin(rest.buffer_unordered(PAGES_IN_FLIGHT_MAX));
            while let Some(page) = rest.next().await {
                let fresh = round.take(page?, &mut seen);
                if !fresh.is_empty() {
                    yield fresh;
                }
            }
            // A site that counts what it does not show says the same again.
            if round.is_whole() || before.as_ref() == Some(&round) {
                whole = true;
                break;
            }
            before = Some(round);
        }
        if !whole {
            let moving = StoreError::new(ErrorKind::Busy, "list", resource.path())
                .because("it changes faster than it can be read")
                .retry(Retry::After(std::time::Duration::from_secs(2)));
            Err(moving)?;
        }
    }
}

/// What one reading of all pages saw.
#[derive(Default, PartialEq, Eq)]
struct Round {
    totals: HashSet<usize>,
    ids: HashSet<u64>,
}

impl Round {
    /// Notes a page and answers the records that no round had yet.
    fn take(&mut self, page: Page, seen: &mut HashSet<u64>) -> Vec<Value> {
        self.totals.insert(page.total);
        page.records
            .into_iter()
            .filter(|record| {
                // A record without an id goes through, for the decoder to complain about.
                record["id"].as_u64().is_none_or(|id| {
                    self.ids.insert(id);
                    seen.insert(id)
                })
            })
            .collect()
    }

    fn is_whole(&self) -> bool {
        self.totals.len() == 1 && self.totals.contains(&self.ids.len())
    }
}

/// Every record of a list whose first page has come.
pub(super) async fn all_of(api: &Api, resource: Resource, params: Params, first: Page) -> Result<Vec<Value>> {
    batches_after(api.clone(), resource, params, Some(first))
        .try_concat()
        .await
}

/// Every record at once.
pub(super) async fn all_records(api: &Api, resource: Resource, params: Params) -> Result<Vec<Value>> {
    batches(api.clone(), resource, params).try_concat().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_page_size_is_in_the_link() {
        let link = "<http://h/api/files?item=7&page=1&per_page=50>; rel=\"first\", <http://h/api/files?item=7&page=9&per_page=50>; rel=\"last\"";
        assert_eq!(page_size(link), Some(50));
        assert_eq!(page_size("<http://h/api/files?per_page=0>; rel=\"first\""), None);
        assert_eq!(page_size("nonsense"), None);
    }
}
