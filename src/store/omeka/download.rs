//! Bytes of files and of their pictures: static files, served without the key.
//!
//! In place of an original that is missing a site sends a page of its own, with 200 or even 206. So what arrives counts as
//! content only when the whole it belongs to is exactly as long as the file.

use std::ops::Range;

use bytes::Bytes;
use futures_util::{StreamExt, stream};

use crate::http::header::{CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, ETAG, LAST_MODIFIED};
use crate::http::{Client, Request, Response, Url};
use crate::model::Entry;
use crate::store::from_http::from_http;
use crate::store::{Download, ErrorKind, Result, StoreError};

/// The largest picture that is taken for a thumbnail, in bytes.
const PICTURE_BYTES_MAX: usize = 16 << 20;

/// The URL that a file's field holds.
pub(super) fn url(file: &Entry, field: &'static str) -> Option<Url> {
    let text = &file.fields.get(field)?.values.first()?.text;
    text.parse().ok()
}

/// Content of `file` from `url`.
pub(super) async fn read(client: &Client, file: &Entry, url: Url, range: Range<u64>) -> Result<Download> {
    const OPERATION: &str = "read";
    let item = file.id.as_str();
    let size = file.size.unwrap_or(0);
    if range.is_empty() || size == 0 {
        return Ok(nothing(range.start, size));
    }
    let whole = range == (0..size);
    let mut request = Request::get(url, "GET /files/original")
        .identity()
        .unbudgeted()
        .accept(&[416]);
    if !whole {
        request = request.range(&range);
    }
    let answer = client.open(request).await.map_err(|e| from_http(OPERATION, item, e))?;
    let sent = match sent_range(&answer) {
        Some((sent, total)) if total == size && sent.start == range.start && !is_page(&answer, file) => sent,
        // Without ranges the whole comes, and that is an answer too.
        Some((sent, total)) if total == size && sent == (0..size) && !is_page(&answer, file) => sent,
        _ => return Err(not_content(item, &answer, size)),
    };
    let validator = answer
        .header(ETAG)
        .or_else(|| answer.header(LAST_MODIFIED))
        .map(str::to_owned);
    let id = item.to_owned();
    let stream = answer
        .stream()
        .map(move |piece| piece.map_err(|e| from_http(OPERATION, id.as_str(), e)))
        .boxed();
    Ok(Download {
        range: sent,
        total: Some(size),
        validator,
        stream,
    })
}

fn nothing(at: u64, size: u64) -> Download {
    Download {
        range: at..at,
        total: Some(size),
        validator: None,
        stream: stream::empty().boxed(),
    }
}

/// Which bytes an answer holds, and of how many; `None` when it does not say so, or says it about compressed ones.
fn sent_range(answer: &Response) -> Option<(Range<u64>, u64)> {
    if answer
        .header(CONTENT_ENCODING)
        .is_some_and(|encoding| encoding != "identity")
    {
        return None;
    }
    match answer.status() {
        200 => {
            let total = answer.content_length()?;
            Some((0..total, total))
        }
        206 => content_range(answer.header(CONTENT_RANGE)?),
        _ => None,
    }
}

/// `bytes FIRST-LAST/TOTAL`.
fn content_range(text: &str) -> Option<(Range<u64>, u64)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, total): (u64, u64, u64) = (first.parse().ok()?, last.parse().ok()?, total.parse().ok()?);
    (first <= last && last < total).then_some((first..last + 1, total))
}

/// Whether the answer is HTML for a file that is none: a page that happens to be as long as the file.
fn is_page(answer: &Response, file: &Entry) -> bool {
    let html = |kind: &str| kind.starts_with("text/html");
    let named_html = [".html", ".htm", ".xhtml"]
        .iter()
        .any(|end| file.name.to_lowercase().ends_with(end));
    answer.header(CONTENT_TYPE).is_some_and(html) && !file.mime.as_deref().is_some_and(html) && !named_html
}

fn not_content(item: &str, answer: &Response, size: u64) -> StoreError {
    StoreError::new(ErrorKind::Protocol, "read", item).because(format!(
        "the site answered {} with something other than the file of {size} bytes: its original may be missing there",
        answer.status()
    ))
}

/// A small picture.
pub(super) async fn picture(client: &Client, file: &Entry, url: Url) -> Result<Bytes> {
    const OPERATION: &str = "read the thumbnail of";
    let item = file.id.as_str();
    let request = Request::get(url, "GET /files/thumbnails")
        .identity()
        .unbudgeted()
        .answer_bytes_max(PICTURE_BYTES_MAX);
    let answer = client.call(request).await.map_err(|e| from_http(OPERATION, item, e))?;
    if answer
        .header(CONTENT_TYPE)
        .is_some_and(|kind| kind.starts_with("image/"))
    {
        return Ok(answer.body);
    }
    Err(StoreError::new(ErrorKind::Protocol, OPERATION, item).because("the site answered with no picture"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_range_is_read_or_refused() {
        assert_eq!(content_range("bytes 100-199/425092"), Some((100..200, 425_092)));
        for odd in [
            "bytes 0-99/*",
            "bytes 5-1/10",
            "bytes 0-10/10",
            "items 0-1/2",
            "bytes */10",
        ] {
            assert_eq!(content_range(odd), None, "{odd}");
        }
    }
}
