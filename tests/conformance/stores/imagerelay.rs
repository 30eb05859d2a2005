//! Image Relay, over the built-in service.

use std::sync::Arc;
use std::time::Duration;

use assetfs::emulator::imagerelay::{ImageRelayOptions, Running, serve};
use assetfs::http::{ClientConfig, LocalBudget, Secret};
use assetfs::model::{Entry, ItemId, Kind, SystemClock};
use assetfs::store::SharedStore;
use assetfs::store::imagerelay::{Auth, ImageRelay, ImageRelayConfig};
use async_trait::async_trait;
use tempfile::TempDir;

use super::emulated::{PATIENCE, break_routes, client};
use crate::fixture::{Break, Call, Fixture, TextField};

/// How late the service's listings are, always.
const LISTING_LAG: Duration = Duration::from_millis(250);

pub struct Relay {
    service: Running,
    /// Where the list of links that we made is kept.
    state: TempDir,
    homes: [Entry; 2],
    rooms: [Entry; 2],
}

/// The service as it was seen to be.
pub async fn service() -> Relay {
    let options = ImageRelayOptions {
        listing_lag: LISTING_LAG,
        ..ImageRelayOptions::default()
    };
    let service = serve(options).await.expect("a service");
    let state = tempfile::tempdir().expect("a temporary folder");
    let store = login(&service, &state, &service.api_key);
    let remote = service.remote();
    let make = |parent: u64, name: &str| remote.create_folder(parent, name).expect("a folder");
    let homes = [make(remote.root(), "first home"), make(remote.root(), "second home")];
    let rooms = [make(homes[0], "first room"), make(homes[1], "second room")];
    let relay = Relay {
        homes: [folder(&store, homes[0]).await, folder(&store, homes[1]).await],
        rooms: [folder(&store, rooms[0]).await, folder(&store, rooms[1]).await],
        service,
        state,
    };
    relay.settle().await;
    relay
}

/// A folder without its counts: what others put into it later, they would deny.
async fn folder(store: &SharedStore, id: u64) -> Entry {
    let entry = store.stat(&ItemId::of("folder", id)).await.expect("a folder");
    Entry {
        children: None,
        ..entry
    }
}

fn login(service: &Running, state: &TempDir, key: &str) -> SharedStore {
    let clock = SystemClock::shared();
    let base_url: assetfs::http::Url = service.url.parse().expect("the service's address");
    let http = client(ClientConfig::new(
        base_url.clone(),
        LocalBudget::unlimited(clock.clone()),
    ));
    let config = ImageRelayConfig {
        base_url,
        auth: Auth::ApiKey(Secret::new(key)),
        file_type: None,
        keyword_set: None,
        rename_bytes_max: assetfs::store::imagerelay::RENAME_BYTES_MAX,
        orphan_links_path: state.path().join("links"),
    };
    Arc::new(ImageRelay::new(config, http, clock).expect("a store"))
}

fn number(id: &ItemId) -> u64 {
    id.key().parse().expect("a number")
}

#[async_trait]
impl Fixture for Relay {
    fn store(&self) -> SharedStore {
        login(&self.service, &self.state, &self.service.api_key)
    }

    fn homes(&self) -> [Entry; 2] {
        self.homes.clone()
    }

    fn rooms(&self) -> [Entry; 2] {
        self.rooms.clone()
    }

    async fn put(&self, folder: &Entry, name: &str, bytes: &[u8]) -> ItemId {
        let id = self
            .service
            .remote()
            .create_file(number(&folder.id), name, bytes)
            .expect("a file");
        ItemId::of("file", id)
    }

    async fn held(&self, file: &ItemId) -> Option<Vec<u8>> {
        self.service.remote().bytes(number(file)).map(|bytes| bytes.to_vec())
    }

    fn absent(&self, kind: Kind) -> ItemId {
        match kind {
            Kind::File => ItemId::of("file", 999_999_999),
            Kind::Folder => ItemId::of("folder", 999_999_999),
        }
    }

    fn delay_listings(&self) {}

    async fn settle(&self) {
        tokio::time::sleep(LISTING_LAG + Duration::from_millis(50)).await;
    }

    fn break_calls(&self, call: Call, how: Break) {
        let routes: &[&str] = match call {
            Call::List => &["GET /folders/{id}/children", "GET /folders/{id}/files"],
            Call::Read => &["GET cdn"],
            Call::Create => &["POST /upload_jobs/{id}/files/{id}/chunks/{n}"],
        };
        break_routes(self.service.faults(), routes, how);
    }

    fn mend(&self) {
        self.service.faults().clear();
    }

    fn deadline(&self) -> Option<Duration> {
        Some(PATIENCE)
    }

    fn stranger(&self) -> SharedStore {
        login(&self.service, &self.state, "somebody else's key")
    }

    fn reader(&self) -> Option<SharedStore> {
        None
    }

    fn secrets(&self) -> Vec<String> {
        vec![format!("Bearer {}", self.service.api_key)]
    }

    fn text_field(&self) -> TextField {
        TextField::Joined("term.Description")
    }

    fn refused_name(&self) -> Option<&'static str> {
        Some("no extension")
    }
}
