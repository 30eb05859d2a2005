//! What a server is started with.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{SharedClock, SystemClock};

/// How a built-in Image Relay is set up. The default is strict and fast: in memory, empty, no limits, no delays.
#[derive(Clone)]
pub struct ImageRelayOptions {
    /// Where to listen; port 0 picks a free one.
    pub listen: SocketAddr,
    /// A folder that keeps the state across restarts; none keeps it in memory.
    pub data: Option<PathBuf>,
    /// What the library holds at first. A `data` folder that already has a library keeps its own.
    pub seed: Seed,
    /// The key that clients must present.
    pub api_key: String,
    /// Waited before every API answer.
    pub latency: Duration,
    /// Waited before every answer with content.
    pub cdn_latency: Duration,
    /// Kilobits (1,000 bits) of content a second on one connection; 0 = unlimited.
    pub cdn_kbps: u64,
    /// API requests accepted within any one second; 0 = unlimited. The service itself allows 5.
    pub rate: u32,
    /// Whether a 429 for the rate carries `Retry-After`. The service sends none.
    pub retry_after: bool,
    /// API requests a UTC day before the service stops answering until midnight.
    pub daily_quota: Option<u64>,
    /// How late listings show a change.
    pub listing_lag: Duration,
    /// How late a completed version takes effect.
    pub version_lag: Duration,
    /// How late a completed upload job, or a URL upload, becomes an asset with its bytes.
    pub processing_lag: Duration,
    /// Ways of the service that are uncertain or odd.
    pub quirks: Quirks,
    /// The wall clock: dates, expiry, quota, lags.
    pub clock: SharedClock,
}

impl Default for ImageRelayOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            data: None,
            seed: Seed::None,
            api_key: "emulator".into(),
            latency: Duration::ZERO,
            cdn_latency: Duration::ZERO,
            cdn_kbps: 0,
            rate: 0,
            retry_after: false,
            daily_quota: None,
            listing_lag: Duration::ZERO,
            version_lag: Duration::ZERO,
            processing_lag: Duration::ZERO,
            quirks: Quirks::default(),
            clock: SystemClock::shared(),
        }
    }
}

/// The library at first. All of them are the same at every start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seed {
    /// A root folder and one file type.
    #[default]
    None,
    /// A sample library with real images, a PDF, odd names, metadata, and one file of 64 MiB.
    Small,
    /// 60 folders and 1,000 files.
    Large,
    /// Folders `folder-00000`, … under the root with files `file-000000.bin`, … whose bytes are computed when read.
    Files {
        /// How many folders.
        folders: u64,
        /// How many files in each.
        files_per_folder: u64,
    },
}

/// What an old link's URL serves once its asset has a new version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinkAfterVersion {
    /// The bytes that the link was made for.
    #[default]
    OldBytes,
    /// The bytes of the newest version.
    NewBytes,
    /// Nothing: 404.
    Gone,
}

/// Ways of the service. The default is what was seen of the real one, or else the stricter choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quirks {
    /// A request without `User-Agent` gets 403.
    pub user_agent_required: bool,
    /// `children` without `page` gets 404.
    pub children_need_page: bool,
    /// `DELETE /folders/{id}` answers 204 and deletes nothing; `DELETE /folder/{id}` works.
    pub plural_delete_stuck: bool,
    /// A job for a file of size 0 answers `files:[]`.
    pub empty_files_dropped: bool,
    /// File names are normalised: runs of spaces become `-`.
    pub names_normalised: bool,
    /// Ids are JSON strings.
    pub ids_as_strings: bool,
    /// Files carry no `folder_ids`.
    pub folder_ids_missing: bool,
    /// `updated_after` is ignored.
    pub updated_after_ignored: bool,
    /// Bare arrays come with a `Link` header.
    pub link_header: bool,
    /// `page` is ignored by bare arrays: each page is the first.
    pub page_ignored: bool,
    /// Deleted files stay in listings, marked `deleted`.
    pub deleted_listed: bool,
    /// Empty term values are `" "` instead of `""`.
    pub blank_terms: bool,
    /// Two folders of one name under one parent get 422.
    pub unique_folder_names: bool,
    /// Links for an asset that has expired get 422.
    pub expired_refuse_links: bool,
    /// The largest chunk that is accepted, in bytes.
    pub chunk_bytes_max: u64,
    /// What an old URL serves after a new version.
    pub link_after_version: LinkAfterVersion,
}

impl Default for Quirks {
    fn default() -> Self {
        Self {
            user_agent_required: true,
            children_need_page: true,
            plural_delete_stuck: true,
            empty_files_dropped: true,
            names_normalised: false,
            ids_as_strings: false,
            folder_ids_missing: false,
            updated_after_ignored: false,
            link_header: false,
            page_ignored: false,
            deleted_listed: false,
            blank_terms: false,
            unique_folder_names: false,
            expired_refuse_links: false,
            chunk_bytes_max: 5 * 1024 * 1024,
            link_after_version: LinkAfterVersion::OldBytes,
        }
    }
}
