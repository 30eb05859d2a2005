//! Listings in pages (contract, section 1, "Paging"): whole, or an error.

use std::collections::HashSet;
use std::marker::PhantomData;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use super::api::Api;
use super::errors;
use super::wire::{self, Listed};
use crate::http::{Answer, header};
use crate::store::Result;

/// Entries of a full page.
pub(super) const PAGE_LEN: usize = 100;
/// Pages of one listing; more is an error, never a shorter list.
const PAGES_MAX: u64 = 2_000;
/// Pages that are asked for at the same time.
const PAGES_IN_FLIGHT_MAX: usize = 4;

/// What is to be listed.
#[derive(Clone)]
pub(super) struct Source<T> {
    pub(super) operation: &'static str,
    /// What the errors are about.
    pub(super) item: String,
    pub(super) route: &'static str,
    pub(super) path: String,
    /// Parameters beside `page`.
    pub(super) query: Vec<(&'static str, String)>,
    /// The member that holds the list when it is no bare array.
    pub(super) key: &'static str,
    /// How many entries are expected: pages up to there are asked for in parallel.
    pub(super) expected: Option<u64>,
    pub(super) entries: PhantomData<T>,
}

struct Page<T> {
    number: u64,
    items: Vec<T>,
    /// The last page, as far as this one tells.
    last: u64,
    /// Whether the service itself said that there is another one.
    more_told: bool,
}

impl<T: Listed> Source<T> {
    async fn page(self, api: Arc<Api>, number: u64) -> Result<Page<T>> {
        let mut request = api.get(&self.path, self.route);
        for (name, value) in &self.query {
            request = request.query(name, value);
        }
        let answer = api
            .call(self.operation, &self.item, request.query("page", &number.to_string()))
            .await?;
        let page = wire::page::<T>(&answer.body, self.key)
            .map_err(|e| errors::store_error(self.operation, &self.item, answer.malformed(e)))?;
        let full = page.items.len() >= PAGE_LEN;
        let (last, more_told) = match page.pagination {
            Some(told) => {
                let last = told.pages.unwrap_or(number).max(told.next.unwrap_or(number));
                (last, last > number)
            }
            None => match next_link(&answer) {
                Some(true) => (number + 1, true),
                Some(false) => (number, false),
                None => (number + u64::from(full), false),
            },
        };
        Ok(Page {
            number,
            items: page.items,
            last,
            more_told,
        })
    }

    /// All pages, without what is deleted and without repeats. An error ends the stream.
    pub(super) fn pages(self, api: Arc<Api>) -> BoxStream<'static, Result<Vec<T>>> {
        let pages = async_stream::try_stream! {
            let mut seen = HashSet::new();
            let mut next = 1;
            let mut last = self.expected.map_or(1, |n| n.div_ceil(PAGE_LEN as u64)).clamp(1, PAGES_MAX);
            while next <= last {
                let (from, api) = (self.clone(), api.clone());
                let mut window = stream::iter(next..=last)
                    .map(move |number| from.clone().page(api.clone(), number))
                    .buffered(PAGES_IN_FLIGHT_MAX)
                    .boxed();
                next = last + 1;
                while let Some(page) = window.next().await {
                    let page: Page<T> = page?;
                    let fresh = self.fresh(&page, &mut seen)?;
                    // A full last page would make us ask for one more, but as many as were told have come.
                    let whole = self.expected.is_some_and(|n| n > 0 && seen.len() as u64 == n);
                    let ends = page.last <= page.number || whole && !page.more_told;
                    last = if ends { page.number } else { last.max(page.last) };
                    if last > PAGES_MAX {
                        Err(errors::protocol(self.operation, &self.item, "the list has too many pages"))?;
                    }
                    if !fresh.is_empty() {
                        yield fresh;
                    }
                    if ends {
                        break;
                    }
                }
            }
        };
        pages.boxed()
    }

    /// The page's new entries. A later page that brings nothing new means that the service ignores `page`, and then there
    /// may be more that it never shows.
    fn fresh(&self, page: &Page<T>, seen: &mut HashSet<u64>) -> Result<Vec<T>> {
        let fresh: Vec<T> = page
            .items
            .iter()
            .filter(|item| seen.insert(item.id()))
            .cloned()
            .collect();
        if page.number > 1 && fresh.is_empty() && !page.items.is_empty() {
            let why = format!("page {} repeats what came before", page.number);
            return Err(errors::protocol(self.operation, &self.item, why));
        }
        Ok(fresh.into_iter().filter(|item| !item.is_deleted()).collect())
    }

    /// The whole list.
    pub(super) async fn all(self, api: Arc<Api>) -> Result<Vec<T>> {
        let mut all = Vec::new();
        let mut pages = self.pages(api);
        while let Some(page) = pages.next().await {
            all.extend(page?);
        }
        Ok(all)
    }

    /// The first page only: enough to see whether there is anything.
    pub(super) async fn first(self, api: Arc<Api>) -> Result<Vec<T>> {
        let page = self.page(api, 1).await?;
        Ok(page.items.into_iter().filter(|item| !item.is_deleted()).collect())
    }
}

/// Whether the `Link` header names a next page; `None` without one.
fn next_link(answer: &Answer) -> Option<bool> {
    let link = answer.header(header::LINK)?;
    Some(link.split(',').any(|part| part.replace('"', "").contains("rel=next")))
}
