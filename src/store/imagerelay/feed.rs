//! What has changed: one request for the whole tree where the service honours `updated_after`, else folder by folder.

use std::time::Duration;

use futures_util::StreamExt;

use super::wire::{File, Listed, page};
use super::{Core, errors};
use crate::model::Timestamp;
use crate::store::{Changes, Result, StoreError};

const CHANGES: &str = "look for changes";
/// Listings lag behind writes by up to minutes: each look goes back this far behind the newest time seen before.
const OVERLAP: Duration = Duration::from_secs(300);
/// While nothing changes, the place to start from follows the server's clock at this distance, so that a batch of changes
/// is not told again at every look for ever.
const FOLLOW: Duration = Duration::from_secs(600);
/// A file older than what was asked for by more than this proves that the filter is ignored; less may be rounding.
const FILTER_SLACK: Duration = Duration::from_secs(2 * 86_400);

/// The largest time of the server's own that was seen; the catalog keeps it as text.
#[derive(Debug, PartialEq, Eq)]
struct Cursor(Timestamp);

impl Cursor {
    fn parse(text: &str) -> Option<Self> {
        text.strip_prefix("feed ").and_then(Timestamp::parse).map(Cursor)
    }

    fn to_text(&self) -> String {
        format!("feed {}", self.0)
    }
}

/// `2014-06-10 01:00:00`, UTC.
pub(super) fn filter_time(time: Timestamp) -> String {
    let whole = Timestamp::from_secs(time.secs).to_rfc3339();
    whole.trim_end_matches('Z').replace('T', " ")
}

/// The service does not filter by time, so that it cannot tell changes.
fn not_honoured() -> StoreError {
    StoreError::unsupported(CHANGES, "").because("the service does not filter by time")
}

impl Core {
    pub(super) async fn changes(&self, cursor: Option<&str>) -> Result<Changes> {
        match cursor.and_then(Cursor::parse) {
            None => self.begin().await,
            Some(Cursor(seen)) => self.follow_feed(seen).await,
        }
    }

    /// Finds out whether the filter works: nothing may have changed after tomorrow.
    async fn begin(&self) -> Result<Changes> {
        let root = self.root_id().await?;
        let tomorrow = filter_time(self.api.server_now().plus(Duration::from_secs(86_400)));
        let request = self
            .api
            .get(&format!("folders/{root}/files.json"), "GET /folders/{id}/files")
            .query("recursive", "true")
            .query("updated_after", &tomorrow)
            .query("page", "1")
            // A service that refuses the filter does not honour it either.
            .accept(&[400, 422]);
        let answer = self.api.call(CHANGES, "", request).await?;
        let honoured = (200..300).contains(&answer.status)
            && page::<File>(&answer.body, "files")
                .map_err(|e| errors::store_error(CHANGES, "", answer.malformed(e)))?
                .items
                .is_empty();
        if !honoured {
            return Err(not_honoured());
        }
        Ok(Changes {
            // What was listed since the start of this program must be in the first look.
            cursor: Cursor(self.api.server_now().minus(self.clock.elapsed())).to_text(),
            ..Changes::default()
        })
    }

    async fn follow_feed(&self, seen: Timestamp) -> Result<Changes> {
        let root = self.root_id().await?;
        let from = seen.minus(OVERLAP);
        let mut source = self.files_source(CHANGES, root, None);
        source.query.push(("recursive", "true".to_owned()));
        source.query.push(("updated_after", filter_time(from)));
        let asked_at = self.api.server_now();
        let mut newest = seen.max(asked_at.minus(FOLLOW));
        let mut changed = Vec::new();
        let mut pages = source.pages(self.api.clone());
        while let Some(files) = pages.next().await {
            for file in files? {
                let at = Timestamp::parse(&file.updated_on);
                if at.is_some_and(|at| from.since(at) > FILTER_SLACK) {
                    // Found out on its first page: the rest would be the whole library.
                    return Err(not_honoured());
                }
                newest = newest.max(at.unwrap_or(newest));
                if !file.is_deleted() {
                    changed.push(self.entry(&file));
                }
            }
        }
        Ok(Changes {
            cursor: Cursor(newest).to_text(),
            changed,
            ..Changes::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_as_text() {
        let cursor = Cursor(Timestamp::from_secs(1_780_000_000));
        assert_eq!(Cursor::parse(&cursor.to_text()), Some(cursor));
        assert_eq!(Cursor::parse("nonsense"), None);
    }

    #[test]
    fn times_are_sent_as_the_documents_say() {
        let time = Timestamp::parse("2026-05-02T10:01:05.250Z").expect("a time");
        assert_eq!(filter_time(time), "2026-05-02 10:01:05");
    }
}
