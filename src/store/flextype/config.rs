//! What a Flextype store must be told.

use std::sync::Arc;

use crate::http::{Budget, ClientConfig, Secret, Url};

/// What to do with pictures that the site would encode anew (JPEG, PNG, GIF).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Images {
    /// Upload them; what the site made of them is what is shown then, marked as altered.
    #[default]
    Accept,
    /// Refuse them, so that nothing is ever stored other than it was sent.
    Refuse,
}

/// A site and the tokens for it.
#[derive(Clone, Debug)]
pub struct FlextypeConfig {
    /// The site's address; its API is at `<site>/api`, its uploads at `<site>/project/uploads`.
    pub site: Url,
    /// Opens `/api/files`.
    pub files_token: Secret,
    /// Opens `/api/folders`.
    pub folders_token: Secret,
    /// Needed for every write; without one the site is read-only.
    pub access_token: Option<Secret>,
    /// The site's `max_file_size`, in bytes.
    pub file_bytes_max: u64,
    /// The site's list of extensions (`accept_file_types`), lower-case. As on the site, an extension passes when any of
    /// them contains it (`gz` because of `tgz`).
    pub extensions: Vec<String>,
    /// What to do with pictures.
    pub images: Images,
}

impl FlextypeConfig {
    /// The settings that a new site has.
    pub fn new(site: Url, files_token: Secret, folders_token: Secret, access_token: Option<Secret>) -> Self {
        const EXTENSIONS: &str = "gif jpg jpeg png ico zip tgz txt md doc docx pdf epub xls xlsx ppt pptx mp3 ogg wav \
                                  m4a mp4 m4v ogv wmv avi webm svg";
        Self {
            site,
            files_token,
            folders_token,
            access_token,
            file_bytes_max: 8_000_000,
            extensions: EXTENSIONS.split_whitespace().map(str::to_owned).collect(),
            images: Images::Accept,
        }
    }

    /// How the HTTP client must be for this store: with cookies, because calls of one session are served one after the
    /// other, while parallel calls of several trip over the token's file on the server.
    pub fn client(&self, budget: Arc<dyn Budget>) -> ClientConfig {
        ClientConfig {
            cookies: true,
            ..ClientConfig::new(self.site.clone(), budget)
        }
    }
}
