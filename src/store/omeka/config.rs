//! What an Omeka store must be told.

use std::sync::Arc;

use crate::http::{Budget, ClientConfig, Secret, Url};

/// A site and how to write to it.
#[derive(Clone, Debug)]
pub struct OmekaConfig {
    /// The API's address: `https://archive.example.org/api`.
    pub api: Url,
    /// The user's key; without one only what is public can be seen, and nothing be changed.
    pub key: Option<Secret>,
    /// Whether new collections and items are published at once.
    pub public: bool,
    /// Whether a file that is created in a collection makes an item of its own name around it.
    pub item_per_file: bool,
    /// The site's file validation is off: any extension may be tried.
    pub allow_all_extensions: bool,
    /// The server's limit on uploads, in bytes, where it is known.
    pub file_bytes_max: Option<u64>,
    /// The largest file that is uploaded again for a rename or a move, in bytes.
    pub rename_bytes_max: u64,
}

impl OmekaConfig {
    /// The usual: private records, files only in items, the site's own validation.
    pub fn new(api: Url, key: Option<Secret>) -> Self {
        Self {
            api,
            key,
            public: false,
            item_per_file: false,
            allow_all_extensions: false,
            file_bytes_max: None,
            rename_bytes_max: 1 << 30,
        }
    }

    /// How the HTTP client must be for this store.
    pub fn client(&self, budget: Arc<dyn Budget>) -> ClientConfig {
        ClientConfig::new(self.api.clone(), budget)
    }

    /// The address of the site itself, which the static files are below.
    pub(super) fn site(&self) -> Url {
        let mut site = self.api.clone();
        let path = site.path().trim_end_matches('/');
        let path = path.strip_suffix("/api").unwrap_or(path).to_owned();
        site.set_path(&path);
        site.set_query(None);
        site
    }
}
