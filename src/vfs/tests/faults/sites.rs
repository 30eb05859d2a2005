//! The built-in servers, each with two folders for files, and an eye on what they really hold.

use std::path::Path;
use std::sync::Arc;

use crate::emulator::common::{Faults, Gate, Traffic};
use crate::emulator::{flextype, im4, imagerelay, omeka};
use crate::http::{Client, ClientConfig, LocalBudget, Secret};
use crate::model::{Clock, ManualClock};
use crate::store::SharedStore;
use crate::store::flextype::{FlextypeConfig, FlextypeStore};
use crate::store::im4::{Im4Config, Im4Store};
use crate::store::imagerelay::{Auth, ImageRelay, ImageRelayConfig, RENAME_BYTES_MAX};
use crate::store::omeka::{OmekaConfig, OmekaStore};

/// How late the listings of Image Relay are, where a test says nothing else.
const LISTING_LAG: std::time::Duration = std::time::Duration::from_secs(20);

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    ImageRelay,
    Omeka,
    Flextype,
    Im4,
}

/// A running server.
enum Server {
    ImageRelay(imagerelay::Running),
    Omeka(omeka::Running),
    Flextype(flextype::Running),
    Im4(im4::Running),
}

/// A server with what its tests need to know.
pub struct Site {
    server: Server,
    /// A folder that takes files.
    pub here: &'static str,
    /// Another one.
    pub there: &'static str,
    /// A folder into which `there` could be moved.
    pub aside: &'static str,
    /// A writable field, as the store calls it, and the attribute that shows it.
    pub field: (&'static str, &'static str),
}

/// One file as the server has it: path, id, bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Held {
    pub path: String,
    pub id: String,
    pub bytes: Vec<u8>,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let head: String = String::from_utf8_lossy(&self.bytes).chars().take(24).collect();
        write!(f, "{} = {} ({} bytes {head:?})", self.path, self.id, self.bytes.len())
    }
}

impl Site {
    /// Starts a server whose time is `clock`.
    pub async fn start(kind: Kind, clock: &Arc<ManualClock>) -> Self {
        match kind {
            Kind::ImageRelay => image_relay(clock).await,
            Kind::Omeka => omeka_site(clock).await,
            Kind::Flextype => flextype_site(clock).await,
            Kind::Im4 => im4_server(clock).await,
        }
    }

    fn gate(&self) -> &Arc<Gate> {
        match &self.server {
            Server::ImageRelay(running) => running.gate(),
            Server::Omeka(running) => running.gate(),
            Server::Flextype(running) => running.gate(),
            Server::Im4(running) => running.gate(),
        }
    }

    /// What breaks.
    pub fn faults(&self) -> &Faults {
        self.gate().faults()
    }

    /// What came.
    pub fn traffic(&self) -> &Traffic {
        self.gate().traffic()
    }

    /// A login; `dir` keeps what it must remember.
    pub fn login(&self, clock: &Arc<ManualClock>, dir: &Path) -> SharedStore {
        let clock: Arc<dyn Clock> = clock.clone();
        let budget = || LocalBudget::unlimited(clock.clone());
        let client = |config: ClientConfig| Client::new(config, clock.clone()).expect("a client");
        match &self.server {
            Server::ImageRelay(running) => {
                let base_url: crate::http::Url = running.url.parse().expect("an address");
                let http = client(ClientConfig::new(base_url.clone(), budget()));
                let config = ImageRelayConfig {
                    base_url,
                    auth: Auth::ApiKey(Secret::new(running.api_key.clone())),
                    file_type: None,
                    keyword_set: None,
                    rename_bytes_max: RENAME_BYTES_MAX,
                    orphan_links_path: dir.join("links"),
                };
                Arc::new(ImageRelay::new(config, http, clock.clone()).expect("a store"))
            }
            Server::Omeka(running) => {
                let base = running.api_url().parse().expect("an address");
                let config = OmekaConfig::new(base, Some(Secret::new(omeka::Keys::default().super_user)));
                let http = client(config.client(budget()));
                Arc::new(OmekaStore::new(config, http, clock.clone()))
            }
            Server::Flextype(running) => {
                let base = running.base_url().parse().expect("an address");
                let access = Some(Secret::new(flextype::ACCESS_TOKEN));
                let (files, folders) = (flextype::FILES_TOKEN, flextype::FOLDERS_TOKEN);
                let config = FlextypeConfig::new(base, Secret::new(files), Secret::new(folders), access);
                let http = client(config.client(budget()));
                Arc::new(FlextypeStore::new(http, config, clock.clone()))
            }
            Server::Im4(running) => {
                let base = running.base_url().parse().expect("an address");
                let config = Im4Config::new(base, im4::CLIENT_ID, Secret::new(im4::CLIENT_SECRET));
                let http = client(config.client(budget()));
                Arc::new(Im4Store::new(http, config, clock.clone()))
            }
        }
    }

    /// Every file that the server has, namesakes as often as they are there, by path.
    pub fn held(&self) -> Vec<Held> {
        let mut held = match &self.server {
            Server::ImageRelay(running) => {
                let remote = running.remote();
                let mut held = Vec::new();
                let mut folders = vec![(String::new(), remote.tree(false))];
                while let Some((path, folder)) = folders.pop() {
                    for file in folder.files {
                        held.push(Held {
                            path: format!("{path}/{}", file.name),
                            id: format!("file:{}", file.id),
                            bytes: remote.bytes(file.id).expect("its bytes").to_vec(),
                        });
                    }
                    let below = folder.folders.into_iter();
                    folders.extend(below.map(|folder| (format!("{path}/{}", folder.name), folder)));
                }
                held
            }
            Server::Omeka(running) => {
                let nodes = running.handle().tree().into_iter().filter(|node| node.kind == "file");
                let of = |node: omeka::Node| Held {
                    path: format!("/{}", node.path.replace(" > ", "/")),
                    id: format!("file:{}", node.id),
                    bytes: running.handle().original(node.id).expect("its bytes").to_vec(),
                };
                nodes.map(of).collect()
            }
            Server::Flextype(running) => {
                let files = running.snapshot().files.into_iter();
                let of = |(path, bytes): (String, bytes::Bytes)| Held {
                    path: format!("/{path}"),
                    id: format!("file:/{path}"),
                    bytes: bytes.to_vec(),
                };
                files.map(of).collect()
            }
            Server::Im4(running) => {
                let project = running.project(1).expect("the project");
                let of = |(id, file): (u64, im4::Stored)| Held {
                    path: match file.category {
                        1 => format!("/{}/{}", self.here, file.name),
                        2 => format!("/{}/{}", self.there, file.name),
                        other => format!("/category {other}/{}", file.name),
                    },
                    id: format!("file:1-{id}"),
                    bytes: file.bytes.to_vec(),
                };
                project.files.into_iter().map(of).collect()
            }
        };
        held.sort();
        held
    }

    /// Every folder that the server has; `None` where people cannot make or remove any.
    pub fn folders(&self) -> Option<Vec<String>> {
        let mut found = match &self.server {
            Server::ImageRelay(running) => {
                let mut found = Vec::new();
                let mut folders = vec![(String::new(), running.remote().tree(false))];
                while let Some((path, folder)) = folders.pop() {
                    for folder in folder.folders {
                        let below = format!("{path}/{}", folder.name);
                        found.push(below.clone());
                        folders.push((below, folder));
                    }
                }
                found
            }
            Server::Omeka(running) => {
                let nodes = running.handle().tree().into_iter().filter(|node| node.kind != "file");
                nodes
                    .map(|node| format!("/{}", node.path.replace(" > ", "/")))
                    .collect()
            }
            Server::Flextype(running) => {
                let folders = running.snapshot().folders.into_iter().filter(|path| !path.is_empty());
                folders.map(|path| format!("/{path}")).collect()
            }
            Server::Im4(_) => return None,
        };
        found.sort();
        Some(found)
    }
}

async fn image_relay(clock: &Arc<ManualClock>) -> Site {
    let options = imagerelay::ImageRelayOptions {
        listing_lag: LISTING_LAG,
        clock: clock.clone(),
        ..imagerelay::ImageRelayOptions::default()
    };
    let running = imagerelay::serve(options).await.expect("a service");
    let remote = running.remote();
    for name in ["here", "there", "aside"] {
        remote.create_folder(remote.root(), name).expect("a folder");
    }
    Site {
        server: Server::ImageRelay(running),
        here: "here",
        there: "there",
        aside: "aside",
        field: ("term.Description", "user.imagerelay.term.Description"),
    }
}

async fn omeka_site(clock: &Arc<ManualClock>) -> Site {
    let options = omeka::OmekaOptions {
        seed: omeka::Seed::Empty,
        clock: clock.clone(),
        ..omeka::OmekaOptions::default()
    };
    let running = omeka::serve(options).await.expect("a site");
    let home = running.handle().add_collection("home");
    running.handle().add_collection("aside");
    for title in ["here", "there"] {
        running.handle().add_item(Some(home), title);
    }
    Site {
        server: Server::Omeka(running),
        here: "home/here",
        there: "home/there",
        aside: "aside",
        field: ("Dublin Core.Description", "user.omeka.Dublin Core.Description"),
    }
}

async fn flextype_site(clock: &Arc<ManualClock>) -> Site {
    let options = flextype::FlextypeOptions {
        clock: clock.clone(),
        ..flextype::FlextypeOptions::default()
    };
    let running = flextype::serve(options).await.expect("a site");
    for path in ["here", "there", "aside"] {
        running.put_folder(path);
    }
    Site {
        server: Server::Flextype(running),
        here: "here",
        there: "there",
        aside: "aside",
        field: ("note", "user.flextype.note"),
    }
}

async fn im4_server(clock: &Arc<ManualClock>) -> Site {
    let options = im4::Im4Options {
        clock: clock.clone(),
        ..im4::Im4Options::default()
    };
    let running = im4::serve(options).await.expect("a server");
    let categories = [(1, "here".to_owned()), (2, "there".to_owned())];
    let project = im4::Project {
        ordernumber: "Home".into(),
        categories: categories.into(),
        ..im4::Project::default()
    };
    running.put_project(1, project);
    Site {
        server: Server::Im4(running),
        here: "Home (1)/here",
        there: "Home (1)/there",
        aside: "Home (1)",
        field: ("caption", "user.im4.caption"),
    }
}
