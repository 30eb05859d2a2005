//! What an im4 store must be told.

use std::path::PathBuf;
use std::sync::Arc;

use crate::http::{Budget, ClientConfig, Secret, Url};

/// A server, the client that is known there, and what of it is shown.
#[derive(Clone, Debug)]
pub struct Im4Config {
    /// The API's address, `https://<server>/api`; tokens are given at `https://<server>/oauth/token`.
    pub base: Url,
    /// The OAuth client's id.
    pub client_id: String,
    /// The OAuth client's secret.
    pub client_secret: Secret,
    /// Shows the projects of this agency only.
    pub agency: Option<u64>,
    /// Shows projects of the last so many days only.
    pub days: Option<u32>,
    /// Shows this project alone: its categories are the root's folders.
    pub project: Option<u64>,
    /// Where a zip is put for a moment whose members cannot be told apart before its end; nothing is left there.
    pub spool_dir: PathBuf,
}

impl Im4Config {
    /// All projects of a server.
    pub fn new(base: Url, client_id: impl Into<String>, client_secret: Secret) -> Self {
        Self {
            base,
            client_id: client_id.into(),
            client_secret,
            agency: None,
            days: None,
            project: None,
            spool_dir: std::env::temp_dir(),
        }
    }

    /// How the HTTP client must be for this store.
    pub fn client(&self, budget: Arc<dyn Budget>) -> ClientConfig {
        ClientConfig::new(self.base.clone(), budget)
    }
}
