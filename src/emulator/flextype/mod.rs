//! A site that speaks the files and folders API of Flextype 0.9.12 or 0.9.11, as recorded from the real ones.
//!
//! Strict and stateful, quirks included: uploads are stored under a slug of their name and overwrite silently; JPEG, PNG
//! and GIF are encoded anew; the collection of files is recursive and keyed by bare name, so that files hide each other;
//! every logical error is 404; a name without a dot breaks listings; calls without a session's cookie trip over each
//! other's tokens; an empty path deletes everything.

mod answers;
mod api;
mod images;
mod params;
#[cfg(test)]
mod replay;
mod sample;
mod site;
mod slug;
mod tokens;
mod tree;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use bytes::Bytes;
use serde_json::Value;

use super::common::{Counters, Faults, Gate, Server, Shaping};
use crate::model::{SharedClock, SystemClock};
use site::Site;
use tree::{Content, Origin, Stored, Tree};

pub use tokens::{Token, TokenKind, TokenState};

/// The token for `/api/files` that a site has unless told otherwise.
pub const FILES_TOKEN: &str = "f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1";
/// The token for `/api/folders`.
pub const FOLDERS_TOKEN: &str = "d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2";
/// The token for every write.
pub const ACCESS_TOKEN: &str = "a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3";

/// Which release the site runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Writes answer nothing; collections are recursive.
    V0_9_12,
    /// Writes answer the object (as 0.9.9 and 0.9.10); a folder with a subfolder cannot list its files.
    V0_9_11,
}

/// Which of several files of one name a recursive collection shows: on a real site the disk's order decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collision {
    /// The nested one: direct children are hidden.
    NestedShown,
    /// The direct one.
    DirectShown,
}

/// How a site is set up.
#[derive(Clone)]
pub struct FlextypeOptions {
    /// Where it listens; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Fills the site with sample folders and pictures.
    pub sample: bool,
    /// Who may ask.
    pub tokens: Vec<Token>,
    /// Which release it runs.
    pub version: Version,
    /// Which of hidden files a collection shows.
    pub collision: Collision,
    /// Largest upload, in bytes.
    pub max_file_size: u64,
    /// The site's list of extensions, comma-separated.
    pub accepted_types: String,
    /// For how long each call is rewriting its token's file: the longer, the more parallel calls fail.
    pub token_rewrite: Duration,
    /// Latency, bandwidth and rate.
    pub shaping: Shaping,
    /// Time, for `uploaded_on` and `Last-Modified`.
    pub clock: SharedClock,
}

impl Default for FlextypeOptions {
    fn default() -> Self {
        let token = |kind, text: &str| Token {
            kind,
            text: text.to_owned(),
            state: TokenState::Enabled,
        };
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            sample: false,
            tokens: vec![
                token(TokenKind::Files, FILES_TOKEN),
                token(TokenKind::Folders, FOLDERS_TOKEN),
                token(TokenKind::Access, ACCESS_TOKEN),
            ],
            version: Version::V0_9_12,
            collision: Collision::NestedShown,
            max_file_size: 8_000_000,
            accepted_types: "gif, jpg, jpeg, png, ico, zip, tgz, txt, md, doc, docx, pdf, epub, xls, xlsx, ppt, pptx, \
                             mp3, ogg, wav, m4a, mp4, m4v, ogv, wmv, avi, webm, svg"
                .to_owned(),
            token_rewrite: Duration::from_millis(1),
            shaping: Shaping::default(),
            clock: SystemClock::shared(),
        }
    }
}

/// A running site.
pub struct Running {
    server: Server,
    gate: Arc<Gate>,
    site: Arc<Site>,
}

/// What a site holds, for looking at it from outside.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Paths of all folders.
    pub folders: Vec<String>,
    /// Bytes of all files by path.
    pub files: BTreeMap<String, Bytes>,
}

/// Starts a site.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve(options: FlextypeOptions) -> io::Result<Running> {
    let clock = options.clock.clone();
    let tree = if options.sample {
        sample::tree(clock.now())
    } else {
        Tree::default()
    };
    let gate = Gate::new(options.shaping, clock.clone(), site::classify);
    let listen = options.listen;
    let site = Site::new(options, clock, tree);
    let routes = Router::new()
        .fallback(site::handle)
        .layer(DefaultBodyLimit::disable())
        .with_state(site.clone());
    let server = Server::start(listen, gate.clone().around(routes)).await?;
    site.set_origin(server.origin());
    Ok(Running { server, gate, site })
}

impl Running {
    /// The site's base URL, without a trailing slash.
    pub fn base_url(&self) -> String {
        self.server.origin()
    }

    /// What was asked so far.
    pub fn counters(&self) -> Counters {
        self.gate.traffic().counters()
    }

    /// Rules that break answers.
    pub fn faults(&self) -> &Faults {
        self.gate.faults()
    }

    /// The gate: latency, log, counters.
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// Everything that the site holds now.
    pub fn snapshot(&self) -> Snapshot {
        let tree = self.site.tree.lock();
        let contents = tree.files.iter();
        Snapshot {
            folders: tree.folders.keys().cloned().collect(),
            files: contents
                .filter_map(|(key, file)| Some((key.clone(), file.content.as_ref()?.bytes.clone())))
                .collect(),
        }
    }

    /// A metadata field of a file.
    pub fn field(&self, path: &str, field: &str) -> Option<Value> {
        let tree = self.site.tree.lock();
        tree.files.get(path)?.meta.as_ref()?.get(field).cloned()
    }

    /// How many requests carried a path that led out of the uploads.
    pub fn escapes(&self) -> u64 {
        self.site.escapes()
    }

    /// How many calls failed because another one was rewriting their token's file.
    pub fn clashes(&self) -> u64 {
        self.site.tokens.failed()
    }

    /// Ends all sessions: whoever comes with the cookie of one gets another.
    pub fn end_sessions(&self) {
        self.site.sessions.end();
    }

    /// Changes a token's state.
    pub fn set_token(&self, kind: TokenKind, text: &str, state: TokenState) {
        self.site.tokens.set(kind, text, state);
    }

    /// Puts a file there as an editor of the site would, with metadata, over whatever was there.
    pub fn put_file(&self, path: &str, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        let now = self.site.clock.now();
        let meta = tree::fresh_meta(tree::name_of(path), &bytes, now);
        let content = Some(Content { bytes, modified: now });
        let mut tree = self.site.tree.lock();
        tree.make_folder(tree::parent_of(path), Origin::Api);
        tree.files.insert(
            path.to_owned(),
            Stored {
                content,
                meta: Some(meta),
            },
        );
    }

    /// Puts a file there behind the service's back, without metadata: listings above it fail.
    pub fn put_foreign_file(&self, path: &str, bytes: impl Into<Bytes>) {
        let content = Content {
            bytes: bytes.into(),
            modified: self.site.clock.now(),
        };
        let mut tree = self.site.tree.lock();
        tree.make_folder(tree::parent_of(path), Origin::Outside);
        tree.files.entry(path.to_owned()).or_default().content = Some(content);
    }

    /// Makes a folder as the service does.
    pub fn put_folder(&self, path: &str) {
        self.site.tree.lock().make_folder(path, Origin::Api);
    }

    /// Sets a metadata field to any JSON value.
    pub fn put_field(&self, path: &str, field: &str, value: Value) {
        let mut tree = self.site.tree.lock();
        if let Ok(meta) = tree.meta_mut(path) {
            meta.insert(field.to_owned(), value);
        }
    }

    /// Takes a file away behind everybody's back.
    pub fn remove_file(&self, path: &str) {
        self.site.tree.lock().files.remove(path);
    }

    /// Stops the site.
    pub async fn shutdown(self) {
        self.server.shutdown().await;
    }
}
