//! The built-in servers, each with what a client needs to use it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::daemon::Failure;
use crate::daemon::credentials::Credentials;
use crate::daemon::source::StoreKind;
use crate::emulator::common::Shaping;
use crate::emulator::{flextype, im4, imagerelay, omeka};
use crate::http::Secret;

/// Files that one folder of a numbered library holds at most.
const FILES_PER_FOLDER: u64 = 100;

/// What a server holds at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seed {
    /// Nothing.
    None,
    /// Samples of everything.
    Small,
    /// 1,000 files in 60 folders.
    Large,
    /// So many small files.
    Files(u64),
}

impl std::str::FromStr for Seed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Seed::None),
            "small" => Ok(Seed::Small),
            "large" => Ok(Seed::Large),
            number => number
                .parse()
                .map(Seed::Files)
                .map_err(|_| format!("`{text}` is neither none, small, large nor a number of files")),
        }
    }
}

/// How a built-in server is to be.
#[derive(Clone, Debug, clap::Args)]
pub struct ServerArgs {
    /// Where to listen; port 0 picks a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Folder that keeps what the server holds [default: in memory]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// What it holds at first: none, small, large, or a number of files
    #[arg(long, default_value = "small")]
    pub seed: Seed,
    /// Waited before every answer of the API
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub latency_ms: u64,
    /// Waited before every answer with content
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub cdn_latency_ms: u64,
    /// Kilobits of content a second on one connection; 0: unlimited
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub cdn_kbps: u64,
    /// Requests accepted in one second; 0: unlimited
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub rate: u32,
}

impl Default for ServerArgs {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            data: None,
            seed: Seed::Small,
            latency_ms: 0,
            cdn_latency_ms: 0,
            cdn_kbps: 0,
            rate: 0,
        }
    }
}

impl ServerArgs {
    fn shaping(&self) -> Shaping {
        Shaping {
            api_latency: Duration::from_millis(self.latency_ms),
            content_latency: Duration::from_millis(self.cdn_latency_ms),
            content_bytes_per_second: self.cdn_kbps.saturating_mul(125),
            api_requests_per_second: self.rate,
            ..Shaping::default()
        }
    }
}

/// What only Image Relay has.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ImageRelayArgs {
    /// How late listings show a change
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub listing_lag_ms: u64,
    /// Requests a day
    #[arg(long, value_name = "N")]
    pub daily_quota: Option<u64>,
}

/// A server that runs in this process.
pub enum BuiltIn {
    ImageRelay(Box<imagerelay::Running>),
    Omeka(Box<omeka::Running>),
    Flextype(Box<flextype::Running>),
    Im4(Box<im4::Running>),
}

impl BuiltIn {
    /// Starts an Image Relay.
    pub async fn image_relay(common: &ServerArgs, own: &ImageRelayArgs) -> Result<Self, Failure> {
        let options = imagerelay::ImageRelayOptions {
            listen: common.listen,
            data: common.data.clone(),
            seed: match common.seed {
                Seed::None => imagerelay::Seed::None,
                Seed::Small => imagerelay::Seed::Small,
                Seed::Large => imagerelay::Seed::Large,
                Seed::Files(number) => imagerelay::Seed::Files {
                    folders: number.div_ceil(FILES_PER_FOLDER).max(1),
                    files_per_folder: number.min(FILES_PER_FOLDER),
                },
            },
            latency: Duration::from_millis(common.latency_ms),
            cdn_latency: Duration::from_millis(common.cdn_latency_ms),
            cdn_kbps: common.cdn_kbps,
            rate: common.rate,
            listing_lag: Duration::from_millis(own.listing_lag_ms),
            daily_quota: own.daily_quota,
            ..imagerelay::ImageRelayOptions::default()
        };
        let running = imagerelay::serve(options).await.map_err(Failure::new)?;
        Ok(BuiltIn::ImageRelay(Box::new(running)))
    }

    /// Starts an Omeka Classic.
    pub async fn omeka(common: &ServerArgs, validates: bool) -> Result<Self, Failure> {
        let options = omeka::OmekaOptions {
            listen: common.listen,
            data: common.data.clone(),
            seed: match common.seed {
                Seed::None => omeka::Seed::Empty,
                Seed::Small => omeka::Seed::Sample,
                Seed::Large => bulk(1000),
                Seed::Files(number) => bulk(number),
            },
            validation: match validates {
                true => omeka::Validation::On,
                false => omeka::Validation::Off,
            },
            shaping: common.shaping(),
            ..omeka::OmekaOptions::default()
        };
        let running = omeka::serve(options).await.map_err(Failure::new)?;
        Ok(BuiltIn::Omeka(Box::new(running)))
    }

    /// Starts a Flextype site.
    pub async fn flextype(common: &ServerArgs) -> Result<Self, Failure> {
        if common.data.is_some() {
            return Err(Failure::usage(
                "the built-in Flextype lives in memory: it takes no --data",
            ));
        }
        let options = flextype::FlextypeOptions {
            listen: common.listen,
            sample: common.seed == Seed::Small,
            shaping: common.shaping(),
            ..flextype::FlextypeOptions::default()
        };
        let running = flextype::serve(options).await.map_err(Failure::new)?;
        if let Seed::Files(number) = common.seed {
            fill(&running, number);
        } else if common.seed == Seed::Large {
            fill(&running, 1000);
        }
        Ok(BuiltIn::Flextype(Box::new(running)))
    }

    /// Starts an im4.
    pub async fn im4(common: &ServerArgs) -> Result<Self, Failure> {
        if common.data.is_some() {
            return Err(Failure::usage("the built-in im4 lives in memory: it takes no --data"));
        }
        let options = im4::Im4Options {
            listen: common.listen,
            sample: common.seed == Seed::Small,
            shaping: common.shaping(),
            ..im4::Im4Options::default()
        };
        let running = im4::serve(options).await.map_err(Failure::new)?;
        match common.seed {
            Seed::None | Seed::Small => {}
            Seed::Large => fill_project(&running, 1000),
            Seed::Files(number) => fill_project(&running, number),
        }
        Ok(BuiltIn::Im4(Box::new(running)))
    }

    /// Starts a server of this kind with what it has by default.
    pub async fn of(kind: StoreKind, common: &ServerArgs) -> Result<Self, Failure> {
        match kind {
            StoreKind::ImageRelay => Self::image_relay(common, &ImageRelayArgs::default()).await,
            StoreKind::Omeka => Self::omeka(common, true).await,
            StoreKind::Flextype => Self::flextype(common).await,
            StoreKind::Im4 => Self::im4(common).await,
        }
    }

    /// Its kind.
    pub fn kind(&self) -> StoreKind {
        match self {
            BuiltIn::ImageRelay(_) => StoreKind::ImageRelay,
            BuiltIn::Omeka(_) => StoreKind::Omeka,
            BuiltIn::Flextype(_) => StoreKind::Flextype,
            BuiltIn::Im4(_) => StoreKind::Im4,
        }
    }

    /// The base address of its API.
    pub fn url(&self) -> String {
        match self {
            BuiltIn::ImageRelay(running) => running.url.clone(),
            BuiltIn::Omeka(running) => running.api_url(),
            BuiltIn::Flextype(running) => running.base_url(),
            BuiltIn::Im4(running) => running.base_url(),
        }
    }

    /// What a client must present: well-known values that protect nothing.
    pub fn secrets(&self) -> Vec<(&'static str, String)> {
        match self {
            BuiltIn::ImageRelay(running) => vec![("api_key", running.api_key.clone())],
            BuiltIn::Omeka(_) => vec![("key", omeka::Keys::default().super_user)],
            BuiltIn::Flextype(_) => vec![
                ("files_token", flextype::FILES_TOKEN.into()),
                ("folders_token", flextype::FOLDERS_TOKEN.into()),
                ("access_token", flextype::ACCESS_TOKEN.into()),
            ],
            BuiltIn::Im4(_) => vec![
                ("client_id", im4::CLIENT_ID.into()),
                ("client_secret", im4::CLIENT_SECRET.into()),
            ],
        }
    }

    /// The same, for a mount.
    pub fn credentials(&self) -> Credentials {
        Credentials::of(self.secrets().into_iter().map(|(key, value)| (key, Secret::new(value))))
    }

    /// Stops it.
    pub async fn shutdown(self) {
        match self {
            BuiltIn::ImageRelay(running) => running.shutdown().await,
            BuiltIn::Omeka(running) => running.shutdown().await,
            BuiltIn::Flextype(running) => running.shutdown().await,
            BuiltIn::Im4(running) => running.shutdown().await,
        }
    }
}

/// An archive of about so many files.
fn bulk(files: u64) -> omeka::Seed {
    let items_each = u32::try_from(files.min(FILES_PER_FOLDER)).unwrap_or(1);
    omeka::Seed::Bulk {
        collections: u32::try_from(files.div_ceil(FILES_PER_FOLDER).max(1)).unwrap_or(u32::MAX),
        items_each,
        files_each: 1,
    }
}

fn fill(site: &flextype::Running, files: u64) {
    for number in 0..files {
        let folder = number / FILES_PER_FOLDER;
        if number % FILES_PER_FOLDER == 0 {
            site.put_folder(&format!("folder-{folder:05}"));
        }
        site.put_file(
            &format!("folder-{folder:05}/file-{number:06}.txt"),
            format!("file {number}\n"),
        );
    }
}

/// One project, whose categories hold the files.
fn fill_project(server: &im4::Running, files: u64) {
    const PROJECT: u64 = 1;
    let category_of = |number: u64| 1 + number / FILES_PER_FOLDER;
    let categories = (0..files.div_ceil(FILES_PER_FOLDER)).map(|at| (1 + at, format!("Category {:05}", 1 + at)));
    let project = im4::Project {
        lastname: "Seeded".to_owned(),
        categories: categories.collect(),
        ..im4::Project::default()
    };
    server.put_project(PROJECT, project);
    for number in 0..files {
        let name = format!("file-{number:06}.txt");
        // The project was just made with this category, so it is taken.
        server.put_file(PROJECT, category_of(number), &name, format!("file {number}\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_word_or_a_number() {
        assert_eq!("small".parse(), Ok(Seed::Small));
        assert_eq!("2500".parse(), Ok(Seed::Files(2500)));
        assert!("some".parse::<Seed>().is_err());
    }
}
