//! Reading bytes: ranged downloads through quick links.

use std::ops::Range;

use futures_util::{StreamExt, stream};

use super::links::Link;
use super::wire::File;
use super::{Core, errors, fields, keys};
use crate::http::{Request, Response, header};
use crate::model::{Availability, ContentVersion, Entry};
use crate::store::{Download, ErrorKind, Result, StoreError};

const READ: &str = "read content";
const ROUTE: &str = "GET quick link";
/// The status of a range that begins behind the end.
const NO_SUCH_RANGE: u16 = 416;

/// What an answer says of the bytes it carries.
struct Extent {
    range: Range<u64>,
    total: Option<u64>,
}

fn extent(response: &Response, asked: &Range<u64>) -> Option<Extent> {
    if response.status() != 206 {
        let total = response.content_length();
        return Some(Extent {
            range: 0..total.unwrap_or(u64::MAX),
            total,
        });
    }
    let (range, total) = content_range(response.header(header::CONTENT_RANGE)?)?;
    (range.start == asked.start && range.end <= asked.end).then_some(Extent { range, total })
}

/// `bytes 0-99/1000`, half-open.
fn content_range(text: &str) -> Option<(Range<u64>, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes")?.trim().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (first <= last).then_some(())?;
    Some((first..last.checked_add(1)?, total.trim().parse().ok()))
}

fn validator(response: &Response) -> Option<String> {
    let told = response
        .header(header::ETAG)
        .or_else(|| response.header(header::LAST_MODIFIED));
    told.map(str::to_owned)
}

impl Core {
    /// Content of a file. A link that has expired or is gone is made anew, once.
    pub(super) async fn read(&self, file: &Entry, range: Range<u64>) -> Result<Download> {
        let id = keys::file(READ, &file.id)?;
        match file.availability {
            Availability::Ready => {}
            Availability::Processing => return Err(errors::not_ready(READ, file.id.as_str(), "it is being processed")),
            Availability::Expired => return Err(StoreError::new(ErrorKind::Expired, READ, file.id.as_str())),
        }
        if range.is_empty() {
            return Ok(Download {
                range: range.start..range.start,
                total: file.size,
                validator: None,
                stream: stream::empty().boxed(),
            });
        }
        let link = self.links.get(id, &file.version).await?;
        let (link, response) = match self.follow(file, &link, &range).await {
            Err(e) if matches!(errors::status(&e), Some(401 | 403 | 404 | 410)) => {
                self.links.retire(id, Some(link.id));
                let link = self.links.get(id, &file.version).await?;
                let response = self.follow(file, &link, &range).await?;
                (link, response)
            }
            answer => (link, answer?),
        };
        self.download(file, &range, &link, response)
    }

    async fn follow(&self, file: &Entry, link: &Link, range: &Range<u64>) -> Result<Response> {
        let request = Request::get(link.url.clone(), ROUTE)
            .unbudgeted()
            .identity()
            .range(range)
            .accept(&[NO_SUCH_RANGE]);
        let sent = self.api.client().open(request).await;
        sent.map_err(|e| errors::store_error(READ, file.id.as_str(), e))
    }

    fn download(&self, file: &Entry, asked: &Range<u64>, link: &Link, response: Response) -> Result<Download> {
        let item = file.id.as_str();
        let id = keys::file(READ, &file.id)?;
        if response.status() == NO_SUCH_RANGE {
            self.links.retire(id, Some(link.id));
            let why = format!("the download ends before byte {}: it is another version's", asked.start);
            return Err(errors::not_ready(READ, item, why));
        }
        let Some(extent) = extent(&response, asked) else {
            return Err(errors::protocol(
                READ,
                item,
                "the answer carries another range than the one that was asked for",
            ));
        };
        if let (Some(total), Some(size)) = (extent.total, file.size)
            && total != size
        {
            // Another version's bytes: the new one is still in the server's queue, or the old link lives on.
            self.links.retire(id, Some(link.id));
            let why = format!("the download has {total} bytes, the file {size}: it is being processed");
            return Err(errors::not_ready(READ, item, why));
        }
        let page = response
            .header(header::CONTENT_TYPE)
            .is_some_and(|t| t.starts_with("text/html"));
        let expects_page = file.mime.as_deref().is_none_or(|mime| mime.starts_with("text/html"));
        if page && !expects_page && extent.total.is_none() {
            return Err(errors::protocol(
                READ,
                item,
                "a page came instead of the file's content",
            ));
        }
        let end = extent.range.end.min(extent.total.or(file.size).unwrap_or(u64::MAX));
        let validator = validator(&response);
        if let Some(validator) = &validator {
            self.validators
                .lock()
                .put((id, file.version.clone()), validator.clone());
        }
        let item = item.to_owned();
        let bytes = response
            .stream()
            .map(move |piece| piece.map_err(|e| errors::store_error(READ, &item, e)));
        Ok(Download {
            range: extent.range.start..end,
            total: extent.total,
            validator,
            stream: bytes.boxed(),
        })
    }

    /// Whether the file as it is now has the very bytes of `base`: only the validator that a download of `base` had can
    /// prove it.
    pub(super) async fn same_bytes(&self, file: &File, base: &ContentVersion) -> bool {
        let Some(had) = self.validators.lock().get(&(file.id, base.clone())).cloned() else {
            return false;
        };
        let now = fields::version(file.size.unwrap_or_default(), &file.updated_on);
        let entry = self.entry(file);
        let Ok(link) = self.links.get(file.id, &now).await else {
            return false;
        };
        match self.follow(&entry, &link, &(0..1)).await {
            Ok(response) => validator(&response).is_some_and(|has| has == had),
            Err(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_range_is_read_or_refused() {
        assert_eq!(content_range("bytes 0-99/1000"), Some((0..100, Some(1000))));
        assert_eq!(content_range("bytes 5-5/*"), Some((5..6, None)));
        for bad in [
            "",
            "bytes",
            "bytes */10",
            "bytes 9-5/10",
            "bytes a-b/c",
            "items 0-1/2",
            "bytes 0-18446744073709551615/1",
        ] {
            assert_eq!(content_range(bad), None, "{bad}");
        }
    }
}
