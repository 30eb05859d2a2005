//! A strict, stateful Omeka Classic 3.2.1: its REST API under `/api` and its static files under `/files`.
//!
//! It answers as the real site was recorded to, unpleasant habits included: 5xx for what is merely wrong, writes that
//! are half done by then, two uploads of one name that fail each other, silent caps on pages, `[]` for an empty map, and
//! a login page with 200 in place of an original that is missing.

mod answer;
mod download;
mod elements;
mod handle;
mod list;
mod records;
mod render;
mod seed;
mod server;
mod sniff;
mod state;
mod texts;
mod upload;
mod vault;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::emulator::common::{Gate, Server, Shaping};
use crate::model::{SharedClock, SystemClock};

pub use handle::{Handle, Node};

use server::Site;
use state::{Archive, Role};
use vault::Vault;

/// One key for each role; a key works whatever its case.
#[derive(Clone)]
pub struct Keys {
    /// May do everything.
    pub super_user: String,
    /// May do everything that the API offers, too.
    pub admin: String,
    /// May make records and change its own.
    pub contributor: String,
    /// May read what is private.
    pub researcher: String,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            super_user: "0123456789abcdef0123456789abcdef01234567".to_owned(),
            admin: "a".repeat(40),
            contributor: "c".repeat(40),
            researcher: "b".repeat(40),
        }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(…)")
    }
}

impl Keys {
    fn role_of(&self, key: &str) -> Option<Role> {
        [
            (&self.super_user, Role::Super),
            (&self.admin, Role::Admin),
            (&self.contributor, Role::Contributor),
            (&self.researcher, Role::Researcher),
        ]
        .into_iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(key))
        .map(|(_, role)| role)
    }
}

/// What is in the archive at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seed {
    /// Nothing.
    Empty,
    /// A small archive with everything that makes archives hard: see [`serve`].
    Sample,
    /// Many records with short texts.
    Bulk {
        /// Collections.
        collections: u32,
        /// Items in each collection.
        items_each: u32,
        /// Text files in each item.
        files_each: u32,
    },
}

/// Whether uploads are checked against the lists of extensions and types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validation {
    /// As a fresh site does.
    On,
    /// Everything is taken.
    Off,
}

/// How the server is to be.
#[derive(Clone)]
pub struct OmekaOptions {
    /// Where to listen; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Directory for the originals; in memory without one. Records live as long as the server.
    pub data: Option<PathBuf>,
    /// What is there at the start.
    pub seed: Seed,
    /// The keys of the four users.
    pub keys: Keys,
    /// Records on a page at most; also the size when none is asked for.
    pub per_page_max: usize,
    /// The largest file that is taken, in bytes.
    pub upload_bytes_max: u64,
    /// Whether uploads are checked.
    pub validation: Validation,
    /// Whether the API answers at all.
    pub api_enabled: bool,
    /// Latency, bandwidth and rate.
    pub shaping: Shaping,
    /// The site's clock.
    pub clock: SharedClock,
}

impl Default for OmekaOptions {
    fn default() -> Self {
        Self {
            listen: server::ANY_PORT,
            data: None,
            seed: Seed::Sample,
            keys: Keys::default(),
            per_page_max: 50,
            upload_bytes_max: 4 << 30,
            validation: Validation::On,
            api_enabled: true,
            shaping: Shaping::default(),
            clock: SystemClock::shared(),
        }
    }
}

/// A server that runs until it is dropped or shut down.
pub struct Running {
    server: Server,
    gate: Arc<Gate>,
    handle: Handle,
}

impl Running {
    /// `http://ADDRESS:PORT`.
    pub fn origin(&self) -> String {
        self.server.origin()
    }

    /// The base of the API: `http://ADDRESS:PORT/api`.
    pub fn api_url(&self) -> String {
        format!("{}/api", self.server.origin())
    }

    /// Counters, faults and pace.
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// The archive itself, behind the clients' backs.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Stops; answers under way have half a second.
    pub async fn shutdown(self) {
        self.server.shutdown().await;
    }
}

/// Starts a server.
///
/// [`Seed::Sample`] has collections, items with several values of one element, HTML texts, duplicate and empty titles,
/// titles with `/`, private and uncollected items, pictures with derivatives, a PDF and texts.
///
/// # Errors
/// When the address cannot be bound or the data directory not be made.
pub async fn serve(options: OmekaOptions) -> io::Result<Running> {
    let clock = options.clock;
    let site = Arc::new(Site {
        archive: Mutex::new(Archive::default()),
        vault: Vault::open(options.data)?,
        keys: options.keys,
        per_page_max: options.per_page_max.max(1),
        upload_bytes_max: options.upload_bytes_max,
        validation: options.validation,
        api_enabled: options.api_enabled,
        clock: clock.clone(),
    });
    let handle = Handle::new(Arc::clone(&site));
    seed::fill(&handle, options.seed).await?;
    let gate = Gate::new(options.shaping, clock, server::classify);
    let router = server::router(Arc::clone(&site), &gate).merge(handle::control(handle.clone()));
    let server = Server::start(options.listen, router).await?;
    Ok(Running { server, gate, handle })
}
