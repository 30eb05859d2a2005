//! im4, over the built-in server in both shapes.

use std::time::Duration;

use assetfs::emulator::im4::{CLIENT_ID, CLIENT_SECRET, Im4Options, Project, Running, Shape, ZipSizes, serve};
use assetfs::http::{LocalBudget, Secret};
use assetfs::model::{Entry, ItemId, Kind, SystemClock};
use assetfs::store::SharedStore;
use assetfs::store::im4::{Im4Config, Im4Store};
use async_trait::async_trait;

use super::emulated::{PATIENCE, break_routes, client};
use crate::fixture::{Break, Call, Fixture, TextField};

pub struct Im4 {
    server: Running,
    homes: [Entry; 2],
    rooms: [Entry; 2],
}

/// Bare lists, numbers as numbers.
pub async fn shape_a() -> Im4 {
    fixture(Shape::A, ZipSizes::InFront).await
}

/// Lists in objects, ids as text, and zips that tell sizes at the end.
pub async fn shape_b() -> Im4 {
    fixture(Shape::B, ZipSizes::Behind).await
}

async fn fixture(shape: Shape, zip_sizes: ZipSizes) -> Im4 {
    let options = Im4Options {
        shape,
        zip_sizes,
        ..Im4Options::default()
    };
    let server = serve(options).await.expect("a server");
    for id in [1, 2] {
        // Without categories: each project has the one room for the uncategorised.
        server.put_project(id, Project::default());
    }
    let store = login(&server, CLIENT_SECRET);
    let mut made = Vec::new();
    for id in ["project:1", "project:2", "category:1-0", "category:2-0"] {
        made.push(store.stat(&ItemId::new(id)).await.expect("a folder"));
    }
    let made: [Entry; 4] = made.try_into().expect("four folders");
    let [first, second, room, other] = made;
    Im4 {
        server,
        homes: [first, second],
        rooms: [room, other],
    }
}

fn login(server: &Running, secret: &str) -> SharedStore {
    let clock = SystemClock::shared();
    let base = server.base_url().parse().expect("the server's address");
    let config = Im4Config::new(base, CLIENT_ID, Secret::new(secret));
    let http = client(config.client(LocalBudget::unlimited(clock.clone())));
    std::sync::Arc::new(Im4Store::new(http, config, clock))
}

/// `file:1-17` → 1 and 17.
fn numbers(id: &ItemId) -> (u64, u64) {
    let (project, inner) = id.key().split_once('-').expect("two numbers");
    (project.parse().expect("a number"), inner.parse().expect("a number"))
}

#[async_trait]
impl Fixture for Im4 {
    fn store(&self) -> SharedStore {
        login(&self.server, CLIENT_SECRET)
    }

    fn homes(&self) -> [Entry; 2] {
        self.homes.clone()
    }

    fn rooms(&self) -> [Entry; 2] {
        self.rooms.clone()
    }

    async fn put(&self, folder: &Entry, name: &str, bytes: &[u8]) -> ItemId {
        let (project, category) = numbers(&folder.id);
        let file = self.server.put_file(project, category, name, bytes.to_vec());
        ItemId::of("file", format_args!("{project}-{}", file.expect("a category")))
    }

    async fn held(&self, file: &ItemId) -> Option<Vec<u8>> {
        let (project, file) = numbers(file);
        self.server.file(project, file).map(|file| file.bytes.to_vec())
    }

    fn absent(&self, kind: Kind) -> ItemId {
        match kind {
            Kind::File => ItemId::new("file:1-999999"),
            Kind::Folder => ItemId::new("category:1-99"),
        }
    }

    fn delay_listings(&self) {}

    async fn settle(&self) {}

    fn break_calls(&self, call: Call, how: Break) {
        let routes: &[&str] = match call {
            Call::List => &["GET /api/project/{id}/files/*"],
            Call::Read => &["GET /api/project/{id}/files/category/{id}/download"],
            Call::Create => &["POST /api/project/{id}/files/category/{id}"],
        };
        break_routes(self.server.faults(), routes, how);
    }

    fn mend(&self) {
        self.server.faults().clear();
    }

    fn deadline(&self) -> Option<Duration> {
        Some(PATIENCE)
    }

    fn stranger(&self) -> SharedStore {
        login(&self.server, "wrong")
    }

    fn reader(&self) -> Option<SharedStore> {
        None
    }

    fn secrets(&self) -> Vec<String> {
        vec![CLIENT_SECRET.to_owned()]
    }

    fn text_field(&self) -> TextField {
        TextField::Joined("caption")
    }

    fn refused_name(&self) -> Option<&'static str> {
        Some("line\nbreak.txt")
    }
}
