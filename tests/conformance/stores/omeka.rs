//! Omeka Classic, over the built-in site: the homes are collections, the rooms items.

use std::sync::Arc;
use std::time::Duration;

use assetfs::emulator::omeka::{Keys, OmekaOptions, Running, Seed, serve};
use assetfs::http::{LocalBudget, Secret};
use assetfs::model::{Entry, ItemId, Kind, SystemClock};
use assetfs::store::SharedStore;
use assetfs::store::omeka::{OmekaConfig, OmekaStore};
use async_trait::async_trait;

use super::emulated::{PATIENCE, break_routes, client};
use crate::fixture::{Break, Call, Fixture, TextField};

pub struct Omeka {
    site: Running,
    homes: [Entry; 2],
    rooms: [Entry; 2],
}

/// A fresh site with its own validation of uploads.
pub async fn site() -> Omeka {
    let options = OmekaOptions {
        seed: Seed::Empty,
        ..OmekaOptions::default()
    };
    let site = serve(options).await.expect("a site");
    let store = login(&site, &Keys::default().super_user);
    let handle = site.handle();
    let homes = ["first home", "second home"].map(|title| handle.add_collection(title));
    let rooms = [
        handle.add_item(Some(homes[0]), "first room"),
        handle.add_item(Some(homes[1]), "second room"),
    ];
    Omeka {
        homes: [
            folder(&store, "collection", homes[0]).await,
            folder(&store, "collection", homes[1]).await,
        ],
        rooms: [
            folder(&store, "item", rooms[0]).await,
            folder(&store, "item", rooms[1]).await,
        ],
        site,
    }
}

/// A folder without its counts: what others put into it later, they would deny.
async fn folder(store: &SharedStore, namespace: &str, id: u64) -> Entry {
    let entry = store.stat(&ItemId::of(namespace, id)).await.expect("a folder");
    Entry {
        children: None,
        ..entry
    }
}

fn login(site: &Running, key: &str) -> SharedStore {
    let clock = SystemClock::shared();
    let config = OmekaConfig::new(
        site.api_url().parse().expect("the site's address"),
        Some(Secret::new(key)),
    );
    let http = client(config.client(LocalBudget::unlimited(clock.clone())));
    Arc::new(OmekaStore::new(config, http, clock))
}

fn number(id: &ItemId) -> u64 {
    id.key().parse().expect("a number")
}

#[async_trait]
impl Fixture for Omeka {
    fn store(&self) -> SharedStore {
        login(&self.site, &Keys::default().super_user)
    }

    fn homes(&self) -> [Entry; 2] {
        self.homes.clone()
    }

    fn rooms(&self) -> [Entry; 2] {
        self.rooms.clone()
    }

    async fn put(&self, folder: &Entry, name: &str, bytes: &[u8]) -> ItemId {
        let id = self
            .site
            .handle()
            .add_file(number(&folder.id), name, bytes)
            .await
            .expect("a file");
        ItemId::of("file", id)
    }

    async fn held(&self, file: &ItemId) -> Option<Vec<u8>> {
        self.site.handle().original(number(file)).map(|bytes| bytes.to_vec())
    }

    fn absent(&self, kind: Kind) -> ItemId {
        match kind {
            Kind::File => ItemId::of("file", 999_999),
            Kind::Folder => ItemId::of("item", 999_999),
        }
    }

    fn delay_listings(&self) {}

    async fn settle(&self) {}

    fn break_calls(&self, call: Call, how: Break) {
        let routes: &[&str] = match call {
            Call::List => &["GET /api/files"],
            Call::Read => &["GET /files/original/{name}"],
            Call::Create => &["POST /api/files"],
        };
        break_routes(self.site.gate().faults(), routes, how);
    }

    fn mend(&self) {
        self.site.gate().faults().clear();
    }

    fn deadline(&self) -> Option<Duration> {
        Some(PATIENCE)
    }

    fn stranger(&self) -> SharedStore {
        login(&self.site, &"9".repeat(40))
    }

    fn reader(&self) -> Option<SharedStore> {
        Some(login(&self.site, &Keys::default().researcher))
    }

    fn secrets(&self) -> Vec<String> {
        vec![Keys::default().super_user]
    }

    fn text_field(&self) -> TextField {
        TextField::Several("Dublin Core.Description")
    }

    fn refused_name(&self) -> Option<&'static str> {
        Some("no extension")
    }
}
