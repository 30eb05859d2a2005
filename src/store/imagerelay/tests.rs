//! The store against the built-in server: what it does, and what it costs.

mod behaviour;
mod costs;
mod links;
mod uploads;

use std::io::Write;
use std::sync::Arc;

use futures_util::TryStreamExt;

use super::{Auth, ImageRelay, ImageRelayConfig, RENAME_BYTES_MAX};
use crate::emulator::imagerelay::{ImageRelayOptions, Item, Quirks, Running, serve};
use crate::http::{Client, ClientConfig, LocalBudget, Secret};
use crate::model::{Entry, FieldChanges, ItemId, Name, SystemClock};
use crate::store::{Body, Result, Store, UploadProgress};

/// A server, and a store that speaks to it.
struct Rig {
    server: Running,
    store: ImageRelay,
    client: Arc<Client>,
    dir: tempfile::TempDir,
}

/// How a rig differs from the usual one.
struct Setup {
    options: ImageRelayOptions,
    rate: f64,
    file_type: Option<u64>,
    keyword_set: Option<String>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            options: ImageRelayOptions::default(),
            rate: 0.0,
            file_type: Some(6001),
            keyword_set: None,
        }
    }
}

fn quirks(quirks: Quirks) -> Setup {
    Setup {
        options: ImageRelayOptions {
            quirks,
            ..ImageRelayOptions::default()
        },
        ..Setup::default()
    }
}

async fn rig_of(setup: Setup) -> Rig {
    let dir = tempfile::tempdir().expect("a folder");
    let server = serve(setup.options).await.expect("a server");
    let clock = SystemClock::shared();
    let base_url: crate::http::Url = server.url.parse().expect("a URL");
    let budget = LocalBudget::new(clock.clone(), setup.rate, 0);
    let client = Client::new(ClientConfig::new(base_url.clone(), budget), clock.clone()).expect("a client");
    let config = ImageRelayConfig {
        base_url,
        auth: Auth::ApiKey(Secret::new(&*server.api_key)),
        file_type: setup.file_type,
        keyword_set: setup.keyword_set,
        rename_bytes_max: RENAME_BYTES_MAX,
        orphan_links_path: dir.path().join("links.json"),
    };
    let store = ImageRelay::new(config, client.clone(), clock).expect("a store");
    Rig {
        server,
        store,
        client,
        dir,
    }
}

async fn rig() -> Rig {
    rig_of(Setup::default()).await
}

fn body(bytes: &[u8]) -> Body {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(bytes).expect("written");
    Body::new(Arc::new(file), bytes.len() as u64)
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

impl Rig {
    fn core(&self) -> &super::Core {
        &self.store.core
    }

    fn root_id(&self) -> ItemId {
        ItemId::of("folder", self.server.remote().root())
    }

    /// What the API requests since the last look were.
    fn cost(&self) -> u64 {
        let cost = self.server.counters().api;
        self.server.reset_counters();
        cost
    }

    async fn list(&self, folder: &Entry) -> Result<Vec<Entry>> {
        self.store.list(folder).try_concat().await
    }

    async fn names(&self, folder: &Entry) -> Vec<String> {
        let mut names: Vec<_> = self
            .list(folder)
            .await
            .expect("a list")
            .into_iter()
            .map(|e| e.name)
            .collect();
        names.sort();
        names
    }

    async fn create(&self, file_name: &str, bytes: &[u8]) -> Entry {
        let (fields, progress) = (FieldChanges::new(), UploadProgress::default());
        let (parent, file_name, bytes) = (self.root_id(), name(file_name), body(bytes));
        let made = self.store.create(&parent, &file_name, &bytes, &fields, &progress);
        made.await.expect("a file")
    }

    async fn replace(&self, item: &Entry, bytes: &[u8]) -> Result<Entry> {
        let progress = UploadProgress::default();
        self.store
            .replace(item, Some(&item.version), None, &body(bytes), &progress)
            .await
    }

    /// A file that somebody else made, as a direct read shows it.
    async fn foreign(&self, file_name: &str, bytes: &[u8]) -> Entry {
        let remote = self.server.remote();
        let id = remote.create_file(remote.root(), file_name, bytes).expect("a file");
        let entry = self.store.stat(&ItemId::of("file", id)).await.expect("an entry");
        self.cost();
        entry
    }

    async fn read(&self, file: &Entry, range: std::ops::Range<u64>) -> Result<Vec<u8>> {
        let download = self.store.read(file, range).await?;
        let pieces: Vec<_> = download.stream.try_collect().await?;
        Ok(pieces.concat())
    }

    /// The bytes that the server has under this path.
    fn remote_bytes(&self, path: &str) -> Vec<u8> {
        match self.server.remote().find(path) {
            Some(Item::File(id)) => self.server.remote().bytes(id).expect("bytes").to_vec(),
            other => panic!("{path} is {other:?}"),
        }
    }
}
