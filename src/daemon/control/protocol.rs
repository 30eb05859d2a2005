//! What is said over the socket.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::assets::AssetRequest;
use crate::daemon::Status;
use crate::model::FieldChanges;
use crate::vfs::Keep;

/// The longest line, in bytes.
pub const LINE_BYTES_MAX: u64 = 1 << 20;

/// What a command asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Request {
    /// How things are, in all or at a path.
    Status {
        /// Where; `None`: the whole mount.
        path: Option<String>,
    },
    /// Pending changes, oldest first.
    Queue,
    /// What is kept of bytes that the store changed, oldest first.
    Originals,
    /// Wait until everything, or what is below the path, is in the store.
    Sync {
        /// Where; `None`: everything.
        path: Option<String>,
        /// How long, in milliseconds; `None`: until it is done.
        wait_ms: Option<u64>,
    },
    /// Try what is parked again: one change, or all.
    Retry {
        /// Which.
        id: Option<u64>,
    },
    /// Copy the bytes of a pending change, or what was sent of a file that the store changed, to a file.
    Export {
        /// Which, by its number.
        #[serde(default)]
        id: Option<u64>,
        /// Which, by its path.
        #[serde(default)]
        path: Option<String>,
        /// Absolute.
        to: PathBuf,
    },
    /// Give a pending change up.
    Discard {
        /// Which.
        id: u64,
    },
    /// Take all held deletions back.
    DiscardHeld,
    /// Let held deletions go on: one, or all.
    Approve {
        /// Which.
        id: Option<u64>,
    },
    /// Settle a conflict.
    Resolve {
        /// Which.
        id: u64,
        /// What stays.
        keep: Keep,
    },
    /// Ask the store anew.
    Refresh {
        /// Where.
        path: String,
    },
    /// Ask about assets, or change their fields.
    Asset {
        /// What.
        asked: AssetRequest,
    },
    /// Let the server fetch a file by itself.
    ImportUrl {
        /// Where from. May carry a signature: never logged.
        url: String,
        /// The new file.
        dest: String,
        /// Its fields.
        fields: FieldChanges,
    },
    /// Give a file another thumbnail.
    Thumbnail {
        /// The file.
        path: String,
        /// A JPEG or PNG, absolute.
        image: PathBuf,
    },
    /// End the mount.
    Unmount {
        /// Also while it is in use.
        lazy: bool,
        /// How long uploads may go on, in milliseconds; `None`: as the mount was told.
        wait_ms: Option<u64>,
    },
}

/// A line of the answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// It is under way.
    Progress {
        /// Changes that are left.
        changes: u64,
        /// Their bytes.
        bytes: u64,
        /// How many of those the store has.
        sent_bytes: u64,
    },
    /// Files are being fetched to be kept.
    Fetching {
        /// Files that are left of those found so far.
        files: u64,
        /// The bytes of all that were found.
        bytes: u64,
        /// How many of those are here.
        here_bytes: u64,
    },
    /// It is done.
    Done {
        /// What it brought.
        value: serde_json::Value,
    },
    /// It was not done.
    Failed {
        /// For the shell.
        status: Status,
        /// For people.
        message: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The documentation's example lines behind an arrow.
    fn examples(arrow: &str) -> Vec<&'static str> {
        let documented = include_str!("../../../docs/control.md");
        documented.lines().filter_map(|line| line.strip_prefix(arrow)).collect()
    }

    /// A request without an example breaks the build here, and then the test.
    fn word(request: &Request) -> &'static str {
        match request {
            Request::Status { .. } => "status",
            Request::Queue => "queue",
            Request::Originals => "originals",
            Request::Sync { .. } => "sync",
            Request::Retry { .. } => "retry",
            Request::Export { .. } => "export",
            Request::Discard { .. } => "discard",
            Request::DiscardHeld => "discard-held",
            Request::Approve { .. } => "approve",
            Request::Resolve { .. } => "resolve",
            Request::Refresh { .. } => "refresh",
            Request::Asset { .. } => "asset",
            Request::ImportUrl { .. } => "import-url",
            Request::Thumbnail { .. } => "thumbnail",
            Request::Unmount { .. } => "unmount",
        }
    }

    #[test]
    fn every_request_stands_in_the_documentation_as_it_is_said() {
        let mut shown = std::collections::BTreeSet::new();
        for line in examples("→ ") {
            let request: Request = serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
            let said = serde_json::to_value(&request).unwrap();
            let documented: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(said, documented, "nothing is left out");
            assert_eq!(said["do"], word(&request));
            shown.insert(word(&request));
        }
        assert_eq!(shown.len(), 15, "{shown:?}");
        for line in examples("← ") {
            let answer: Answer = serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
            assert_eq!(serde_json::to_string(&answer).unwrap(), line);
        }
    }

    #[test]
    fn lines_are_as_documented() {
        let asked = Request::Sync {
            path: Some("Campaigns".into()),
            wait_ms: Some(60_000),
        };
        let line = serde_json::to_string(&asked).unwrap();
        assert_eq!(line, r#"{"do":"sync","path":"Campaigns","wait_ms":60000}"#);
        assert_eq!(serde_json::from_str::<Request>(&line).unwrap(), asked);
        let answer = Answer::Failed {
            status: Status::TimedOut,
            message: "x".into(),
        };
        assert_eq!(
            serde_json::to_string(&answer).unwrap(),
            r#"{"answer":"failed","status":"timed-out","message":"x"}"#
        );
    }
}
