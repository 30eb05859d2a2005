//! Flextype, over the built-in site.

use std::time::Duration;

use assetfs::emulator::flextype::{ACCESS_TOKEN, FILES_TOKEN, FOLDERS_TOKEN, FlextypeOptions, Running, Version, serve};
use assetfs::http::{LocalBudget, Secret};
use assetfs::model::{Entry, ItemId, Kind, SystemClock};
use assetfs::store::SharedStore;
use assetfs::store::flextype::{FlextypeConfig, FlextypeStore};
use async_trait::async_trait;

use super::emulated::{PATIENCE, break_routes, client};
use crate::fixture::{Break, Call, Fixture, TextField};

pub struct Flextype {
    site: Running,
    homes: [Entry; 2],
    rooms: [Entry; 2],
}

/// The newest release that has this API.
pub async fn latest() -> Flextype {
    fixture(Version::V0_9_12).await
}

/// One whose listings are not recursive, and fail where there is a subfolder.
pub async fn older() -> Flextype {
    fixture(Version::V0_9_11).await
}

async fn fixture(version: Version) -> Flextype {
    let site = serve(FlextypeOptions {
        version,
        ..FlextypeOptions::default()
    })
    .await
    .expect("a site");
    let store = login(&site, FILES_TOKEN, FOLDERS_TOKEN, Some(ACCESS_TOKEN));
    let mut made = Vec::new();
    for path in [
        "first home",
        "second home",
        "first home/first room",
        "second home/second room",
    ] {
        site.put_folder(path);
        made.push(
            store
                .stat(&ItemId::new(format!("folder:/{path}")))
                .await
                .expect("a folder"),
        );
    }
    let made: [Entry; 4] = made.try_into().expect("four folders");
    let [first, second, room, other] = made;
    Flextype {
        site,
        homes: [first, second],
        rooms: [room, other],
    }
}

fn login(site: &Running, files: &str, folders: &str, access: Option<&str>) -> SharedStore {
    let clock = SystemClock::shared();
    let base = site.base_url().parse().expect("the site's address");
    let config = FlextypeConfig::new(base, Secret::new(files), Secret::new(folders), access.map(Secret::new));
    let http = client(config.client(LocalBudget::unlimited(clock.clone())));
    std::sync::Arc::new(FlextypeStore::new(http, config, clock))
}

/// `file:/a/b` → `a/b`.
fn path_of(id: &ItemId) -> &str {
    id.key().trim_start_matches('/')
}

#[async_trait]
impl Fixture for Flextype {
    fn store(&self) -> SharedStore {
        login(&self.site, FILES_TOKEN, FOLDERS_TOKEN, Some(ACCESS_TOKEN))
    }

    fn homes(&self) -> [Entry; 2] {
        self.homes.clone()
    }

    fn rooms(&self) -> [Entry; 2] {
        self.rooms.clone()
    }

    async fn put(&self, folder: &Entry, name: &str, bytes: &[u8]) -> ItemId {
        let path = format!("{}/{name}", path_of(&folder.id));
        self.site.put_file(&path, bytes.to_vec());
        ItemId::new(format!("file:/{path}"))
    }

    async fn held(&self, file: &ItemId) -> Option<Vec<u8>> {
        self.site
            .snapshot()
            .files
            .get(path_of(file))
            .map(|bytes| bytes.to_vec())
    }

    fn absent(&self, kind: Kind) -> ItemId {
        match kind {
            Kind::File => ItemId::new("file:/first home/first room/absent.txt"),
            Kind::Folder => ItemId::new("folder:/first home/absent"),
        }
    }

    fn delay_listings(&self) {}

    async fn settle(&self) {}

    fn break_calls(&self, call: Call, how: Break) {
        let routes: &[&str] = match call {
            Call::List => &["GET /api/files"],
            Call::Read => &["GET /project/uploads/*"],
            Call::Create => &["POST /api/files"],
        };
        break_routes(self.site.faults(), routes, how);
    }

    fn mend(&self) {
        self.site.faults().clear();
    }

    fn deadline(&self) -> Option<Duration> {
        Some(PATIENCE)
    }

    fn stranger(&self) -> SharedStore {
        let wrong = "0".repeat(32);
        login(&self.site, &wrong, &wrong, Some(&wrong))
    }

    fn reader(&self) -> Option<SharedStore> {
        Some(login(&self.site, FILES_TOKEN, FOLDERS_TOKEN, None))
    }

    fn secrets(&self) -> Vec<String> {
        [FILES_TOKEN, FOLDERS_TOKEN, ACCESS_TOKEN].map(str::to_owned).into()
    }

    fn text_field(&self) -> TextField {
        TextField::Joined("note")
    }

    fn refused_name(&self) -> Option<&'static str> {
        Some("no extension")
    }
}
