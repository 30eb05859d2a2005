//! Serves bytes as a static file server or a CDN does: ranges, validators, streams.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use axum::body::{Body, Bytes};
use axum::http::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    LAST_MODIFIED, RANGE,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};

use super::pattern::Pattern;
use crate::model::Timestamp;

/// How much is read and handed to the network at once.
const PIECE_BYTES: u64 = 256 * 1024;

/// Something whose bytes can be read anywhere.
pub trait Source: Send + Sync + 'static {
    /// The length in bytes.
    fn bytes(&self) -> u64;
    /// The bytes of `range`, which lies inside the body; all of them.
    ///
    /// # Errors
    /// When the medium fails; the answer then breaks off.
    fn read(&self, range: Range<u64>) -> io::Result<Bytes>;
    /// Whether reading waits for a disk, and so must not run on an async worker.
    fn waits(&self) -> bool {
        false
    }
}

/// Bytes in memory.
pub struct MemorySource(pub Bytes);

impl Source for MemorySource {
    fn bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, range: Range<u64>) -> io::Result<Bytes> {
        Ok(self.0.slice(range.start as usize..range.end as usize))
    }
}

impl Source for Pattern {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read(&self, range: Range<u64>) -> io::Result<Bytes> {
        Ok(Pattern::read(self, range))
    }
}

/// What a file server says about a body.
#[derive(Clone, Debug)]
pub struct ContentHead {
    /// `Content-Type`.
    pub content_type: String,
    /// The entity tag without quotes; strong. None sends no `ETag`.
    pub etag: Option<String>,
    /// `Last-Modified`, in whole seconds. None sends none.
    pub modified: Option<Timestamp>,
    /// Whether `Range` is understood; otherwise the whole body comes with 200.
    pub ranges: bool,
}

/// Answers a GET or HEAD: 200, 206, 304 or 416.
pub fn serve_content(method: &Method, asked: &HeaderMap, source: Arc<dyn Source>, head: &ContentHead) -> Response {
    let mut headers = HeaderMap::new();
    let etag = head.etag.as_ref().map(|tag| format!("\"{tag}\""));
    let modified = head.modified.map(http_date);
    put(&mut headers, CONTENT_TYPE, &head.content_type);
    if let Some(etag) = &etag {
        put(&mut headers, ETAG, etag);
    }
    if let Some(modified) = &modified {
        put(&mut headers, LAST_MODIFIED, modified);
    }
    if head.ranges {
        put(&mut headers, ACCEPT_RANGES, "bytes");
    }
    if unchanged(asked, etag.as_deref(), modified.as_deref()) {
        headers.remove(CONTENT_TYPE);
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    let bytes = source.bytes();
    let wanted = match head.ranges && range_applies(asked, etag.as_deref(), modified.as_deref()) {
        true => asked.get(RANGE).and_then(|range| range.to_str().ok()),
        false => None,
    };
    let (status, range) = match wanted.map_or(Wanted::Whole, |range| parse_range(range, bytes)) {
        Wanted::Whole => (StatusCode::OK, 0..bytes),
        Wanted::Part(range) => {
            let text = format!("bytes {}-{}/{bytes}", range.start, range.end - 1);
            put(&mut headers, CONTENT_RANGE, &text);
            (StatusCode::PARTIAL_CONTENT, range)
        }
        Wanted::Nothing => {
            put(&mut headers, CONTENT_RANGE, &format!("bytes */{bytes}"));
            return (StatusCode::RANGE_NOT_SATISFIABLE, headers).into_response();
        }
    };
    headers.insert(CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
    let body = match *method == Method::HEAD {
        true => Body::empty(),
        false => stream(source, range),
    };
    (status, headers, body).into_response()
}

fn put(headers: &mut HeaderMap, name: axum::http::HeaderName, value: &str) {
    match HeaderValue::from_str(value) {
        Ok(value) => {
            headers.insert(name, value);
        }
        Err(error) => tracing::warn!(%name, %error, "a header cannot be sent"),
    }
}

fn http_date(time: Timestamp) -> String {
    httpdate::fmt_http_date(SystemTime::from(Timestamp::from_secs(time.secs.max(0))))
}

fn unchanged(asked: &HeaderMap, etag: Option<&str>, modified: Option<&str>) -> bool {
    let text = |name| asked.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    match text(IF_NONE_MATCH) {
        Some(tags) => tags
            .split(',')
            .map(str::trim)
            .any(|tag| tag == "*" || Some(tag) == etag),
        None => text(IF_MODIFIED_SINCE).is_some_and(|since| Some(since) == modified),
    }
}

/// `If-Range` makes a range count only for the version it names.
fn range_applies(asked: &HeaderMap, etag: Option<&str>, modified: Option<&str>) -> bool {
    match asked.get(IF_RANGE).map(|value| value.to_str()) {
        None => true,
        Some(Ok(version)) => Some(version) == etag || Some(version) == modified,
        Some(Err(_)) => false,
    }
}

#[derive(Debug, PartialEq)]
enum Wanted {
    Whole,
    Part(Range<u64>),
    Nothing,
}

/// Understands one range; several, or nonsense, mean the whole body, as RFC 9110 allows.
fn parse_range(text: &str, bytes: u64) -> Wanted {
    let Some(spec) = text.strip_prefix("bytes=").filter(|spec| !spec.contains(',')) else {
        return Wanted::Whole;
    };
    let Some((first, last)) = spec.trim().split_once('-') else {
        return Wanted::Whole;
    };
    let range = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => first..last.saturating_add(1).min(bytes),
        (Ok(first), Err(_)) if last.is_empty() => first..bytes,
        (Err(_), Ok(suffix)) if first.is_empty() => bytes.saturating_sub(suffix)..bytes,
        _ => return Wanted::Whole,
    };
    match range.start < range.end {
        true => Wanted::Part(range),
        false => Wanted::Nothing,
    }
}

fn stream(source: Arc<dyn Source>, range: Range<u64>) -> Body {
    Body::from_stream(async_stream::stream! {
        let mut at = range.start;
        while at < range.end {
            let piece = at..range.end.min(at + PIECE_BYTES);
            at = piece.end;
            let read = read_piece(&source, piece).await;
            let failed = read.is_err();
            yield read;
            if failed {
                break;
            }
        }
    })
}

async fn read_piece(source: &Arc<dyn Source>, range: Range<u64>) -> io::Result<Bytes> {
    if !source.waits() {
        return source.read(range);
    }
    let source = Arc::clone(source);
    tokio::task::spawn_blocking(move || source.read(range))
        .await
        .map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_understood_and_the_rest_means_everything() {
        assert_eq!(parse_range("bytes=0-9", 100), Wanted::Part(0..10));
        assert_eq!(parse_range("bytes=90-", 100), Wanted::Part(90..100));
        assert_eq!(parse_range("bytes=-5", 100), Wanted::Part(95..100));
        assert_eq!(parse_range("bytes=50-500", 100), Wanted::Part(50..100));
        assert_eq!(parse_range("bytes=100-", 100), Wanted::Nothing);
        assert_eq!(parse_range("bytes=0-", 0), Wanted::Nothing);
        assert_eq!(parse_range("bytes=0-1,5-6", 100), Wanted::Whole);
        assert_eq!(parse_range("lines=0-1", 100), Wanted::Whole);
        assert_eq!(parse_range("bytes=9-3", 100), Wanted::Whole);
    }
}
