//! What has changed: one request for the whole tree where the service honours `updated_after`, else folder by folder.

use std::time::Duration;

use super::wire::{File, Listed, page};
use super::{Core, errors, keys};
use crate::model::Timestamp;
use crate::store::{Changes, Result};

const CHANGES: &str = "look for changes";
/// Listings lag behind writes by up to minutes: each look goes back this far behind the one before.
const OVERLAP: Duration = Duration::from_secs(300);
/// A file older than what was asked for by more than this proves that the filter is ignored; less may be rounding.
const FILTER_SLACK: Duration = Duration::from_secs(2 * 86_400);
/// Folders that one look without a feed asks to be listed again.
const STALE_MAX: usize = 10;

/// Where a look goes on: the catalog keeps it as text.
#[derive(Debug, PartialEq, Eq)]
enum Cursor {
    /// The service filters by time; ask for what changed after this.
    Feed(Timestamp),
    /// It does not.
    Relist,
}

impl Cursor {
    fn parse(text: &str) -> Option<Self> {
        match text.split_once(' ') {
            Some(("feed", time)) => Timestamp::parse(time).map(Cursor::Feed),
            _ => (text == "relist").then_some(Cursor::Relist),
        }
    }

    fn to_text(&self) -> String {
        match self {
            Cursor::Feed(after) => format!("feed {after}"),
            Cursor::Relist => "relist".to_owned(),
        }
    }
}

/// `2014-06-10 01:00:00`, UTC.
fn filter_time(time: Timestamp) -> String {
    let whole = Timestamp::from_secs(time.secs).to_rfc3339();
    whole.trim_end_matches('Z').replace('T', " ")
}

impl Core {
    pub(super) async fn changes(&self, cursor: Option<&str>) -> Result<Changes> {
        match cursor.and_then(Cursor::parse) {
            None => self.begin().await,
            Some(Cursor::Feed(after)) => self.follow_feed(after).await,
            Some(Cursor::Relist) => Ok(self.relist()),
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
            tracing::warn!("the service does not filter by time: changes are found by listing folders again");
        }
        let cursor = if honoured {
            Cursor::Feed(self.api.server_now())
        } else {
            Cursor::Relist
        };
        Ok(Changes {
            cursor: cursor.to_text(),
            ..Changes::default()
        })
    }

    async fn follow_feed(&self, after: Timestamp) -> Result<Changes> {
        let root = self.root_id().await?;
        let from = after.minus(OVERLAP);
        let mut source = self.files_source(CHANGES, root, None);
        source.query.push(("recursive", "true".to_owned()));
        source.query.push(("updated_after", filter_time(from)));
        let asked_at = self.api.server_now();
        let files = source.all(self.api.clone()).await?;
        let too_old = |file: &File| Timestamp::parse(&file.updated_on).is_some_and(|at| from.since(at) > FILTER_SLACK);
        if files.iter().any(too_old) {
            return Ok(self.relist());
        }
        Ok(Changes {
            cursor: Cursor::Feed(asked_at.max(after)).to_text(),
            changed: files
                .iter()
                .filter(|file| !file.is_deleted())
                .map(|file| self.entry(file))
                .collect(),
            ..Changes::default()
        })
    }

    /// Without a feed: the folders that were listed longest ago are to be listed again, a few at a time.
    fn relist(&self) -> Changes {
        Changes {
            cursor: Cursor::Relist.to_text(),
            stale: self
                .known
                .longest_unlisted(STALE_MAX)
                .into_iter()
                .map(keys::folder_id)
                .collect(),
            ..Changes::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_as_text() {
        for cursor in [Cursor::Feed(Timestamp::from_secs(1_780_000_000)), Cursor::Relist] {
            assert_eq!(Cursor::parse(&cursor.to_text()), Some(cursor));
        }
        assert_eq!(Cursor::parse("nonsense"), None);
    }

    #[test]
    fn times_are_sent_as_the_documents_say() {
        let time = Timestamp::parse("2026-05-02T10:01:05.250Z").expect("a time");
        assert_eq!(filter_time(time), "2026-05-02 10:01:05");
    }
}
