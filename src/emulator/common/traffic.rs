//! Counts requests by route template, and remembers when they came.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// How many requests the log remembers; the counters go on counting beyond it.
const LOG_ENTRIES_MAX: usize = 100_000;

const SECOND: Duration = Duration::from_secs(1);

/// What a request is, as counters and fault rules see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The template, e.g. `GET /folders/{id}/files`.
    pub name: Cow<'static, str>,
    /// Whether it counts as an API call.
    pub kind: RouteKind,
}

impl Route {
    /// An API call.
    pub fn api(name: impl Into<Cow<'static, str>>) -> Self {
        Self {
            name: name.into(),
            kind: RouteKind::Api,
        }
    }

    /// A download of bytes.
    pub fn content(name: impl Into<Cow<'static, str>>) -> Self {
        Self {
            name: name.into(),
            kind: RouteKind::Content,
        }
    }
}

/// API calls and downloads have limits and latencies of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteKind {
    /// Counts against the request limits.
    Api,
    /// Bytes from a static file or a CDN.
    Content,
}

/// One request in the log.
#[derive(Clone, Debug, Serialize)]
pub struct Seen {
    /// Milliseconds since the server started, on a monotonic clock.
    pub at_ms: f64,
    /// The route template.
    pub route: Cow<'static, str>,
    /// The request's path, without its query (which may hold a key).
    pub path: String,
    /// API or content.
    pub kind: RouteKind,
}

/// Sums since the start or the last reset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// API requests, refused ones included.
    pub api: u64,
    /// Requests for content.
    pub content: u64,
    /// Bytes of content handed to the network.
    pub content_bytes: u64,
    /// Requests by route template.
    pub routes: BTreeMap<String, u64>,
    /// Answers by status code.
    pub statuses: BTreeMap<u16, u64>,
    /// The most API requests that arrived within any one second.
    pub busiest_second: u64,
}

impl Counters {
    /// Requests to the route template `route`, 0 when there was none.
    pub fn of(&self, route: &str) -> u64 {
        self.routes.get(route).copied().unwrap_or(0)
    }
}

/// The books of one server.
pub struct Traffic {
    start: Instant,
    content_bytes: AtomicU64,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    counters: Counters,
    log: VecDeque<Seen>,
    /// Arrivals of API requests within the last second.
    recent: VecDeque<Duration>,
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            content_bytes: AtomicU64::new(0),
            book: Mutex::default(),
        }
    }
}

impl Traffic {
    /// Books one arriving request.
    pub fn arrived(&self, route: &Route, path: &str) {
        let mut book = self.book.lock();
        // Read under the lock, so that the log is in order.
        let at = self.start.elapsed();
        *book.counters.routes.entry(route.name.to_string()).or_default() += 1;
        match route.kind {
            RouteKind::Api => {
                book.counters.api += 1;
                while book.recent.front().is_some_and(|first| at - *first >= SECOND) {
                    book.recent.pop_front();
                }
                book.recent.push_back(at);
                book.counters.busiest_second = book.counters.busiest_second.max(book.recent.len() as u64);
            }
            RouteKind::Content => book.counters.content += 1,
        }
        if book.log.len() == LOG_ENTRIES_MAX {
            book.log.pop_front();
        }
        book.log.push_back(Seen {
            at_ms: at.as_secs_f64() * 1000.0,
            route: route.name.clone(),
            path: path.to_owned(),
            kind: route.kind,
        });
    }

    /// Books an answer's status.
    pub fn answered(&self, status: u16) {
        *self.book.lock().counters.statuses.entry(status).or_default() += 1;
    }

    /// Books bytes of content sent.
    pub fn sent(&self, bytes: u64) {
        self.content_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The sums so far.
    pub fn counters(&self) -> Counters {
        let mut counters = self.book.lock().counters.clone();
        counters.content_bytes = self.content_bytes.load(Ordering::Relaxed);
        counters
    }

    /// The last requests, oldest first, at most 100,000.
    pub fn log(&self) -> Vec<Seen> {
        self.book.lock().log.iter().cloned().collect()
    }

    /// Back to zero.
    pub fn reset(&self) {
        *self.book.lock() = Book::default();
        self.content_bytes.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_template_and_the_busiest_second_is_kept() {
        let traffic = Traffic::default();
        for id in 0..3 {
            traffic.arrived(&Route::api("GET /files/{id}"), &format!("/files/{id}"));
        }
        traffic.arrived(&Route::content("GET cdn"), "/cdn/x");
        traffic.answered(200);
        traffic.sent(10);
        let counters = traffic.counters();
        assert_eq!((counters.api, counters.content, counters.content_bytes), (3, 1, 10));
        assert_eq!(counters.of("GET /files/{id}"), 3);
        assert_eq!(counters.of("GET /nothing"), 0);
        assert_eq!(counters.busiest_second, 3);
        assert_eq!(counters.statuses[&200], 1);
        assert_eq!(traffic.log().len(), 4);
        traffic.reset();
        assert_eq!(traffic.counters(), Counters::default());
    }
}
