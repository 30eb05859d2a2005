//! From a source and its options to a store that can be asked.

use std::sync::Arc;

use super::credentials::Credentials;
use super::ledger::FileLedger;
use super::options::{ImagesWhen, MountOptions};
use super::places::StorePlaces;
use super::run::Plan;
use super::source::StoreKind;
use super::{Failure, Status};
use crate::http::{Budget, Client, ClientConfig, Limits, LocalBudget};
use crate::model::{ItemId, SharedClock};
use crate::store::flextype::{FlextypeConfig, FlextypeStore, Images};
use crate::store::im4::{Im4Config, Im4Store};
use crate::store::imagerelay::{
    Auth, ImageRelay, ImageRelayConfig, RENAME_BYTES_MAX, REQUESTS_PER_DAY, REQUESTS_PER_MONTH, REQUESTS_PER_SECOND,
};
use crate::store::omeka::{OmekaConfig, OmekaStore};
use crate::store::{ErrorKind, SharedStore, Store, StoreError};

/// A store, and what a mount must know about it beyond the interface.
pub struct Built {
    /// The store.
    pub store: SharedStore,
    /// Its HTTP client, for figures.
    pub client: Arc<Client>,
    /// Why nothing can be changed: the credentials for it were not given.
    pub missing: Option<&'static str>,
    /// The same store where it must be asked whether new files have a type.
    image_relay: Option<Arc<ImageRelay>>,
}

/// Builds the store of `plan`. Asks the server nothing.
pub fn build(plan: &Plan, places: &StorePlaces, clock: &SharedClock) -> Result<Built, Failure> {
    let (options, credentials, url) = (&plan.options, &plan.credentials, plan.source.url.clone());
    let budget = budget(plan, clock)?;
    match plan.source.kind {
        StoreKind::ImageRelay => {
            let client = client(ClientConfig::new(url.clone(), budget), options, clock)?;
            let config = ImageRelayConfig {
                base_url: url,
                auth: Auth::ApiKey(credentials.require("api_key")?),
                file_type: options.file_type,
                keyword_set: options.keyword_set.clone(),
                rename_bytes_max: options.rename_max.unwrap_or(RENAME_BYTES_MAX),
                orphan_links_path: places.state.join("links.json"),
            };
            let store = ImageRelay::new(config, client.clone(), clock.clone()).map_err(Failure::new)?;
            let store = Arc::new(store);
            Ok(Built {
                store: store.clone(),
                client,
                missing: None,
                image_relay: Some(store),
            })
        }
        StoreKind::Omeka => {
            let config = omeka(url, options, credentials);
            let client = client(config.client(budget), options, clock)?;
            let missing = config.key.is_none();
            let store = OmekaStore::new(config, client.clone(), clock.clone());
            let missing = missing.then_some("without a key (ASSETFS_KEY) the site can only be read");
            Ok(built(Arc::new(store), client, missing))
        }
        StoreKind::Flextype => {
            let config = flextype(url, options, credentials)?;
            let client = client(config.client(budget), options, clock)?;
            let missing = config.access_token.is_none();
            let store = FlextypeStore::new(client.clone(), config, clock.clone());
            let missing = missing.then_some("without an access token (ASSETFS_ACCESS_TOKEN) the site can only be read");
            Ok(built(Arc::new(store), client, missing))
        }
        StoreKind::Im4 => {
            let config = im4(url, options, credentials, places)?;
            let client = client(config.client(budget), options, clock)?;
            let store = Im4Store::new(client.clone(), config, clock.clone());
            Ok(built(Arc::new(store), client, None))
        }
    }
}

fn built(store: Arc<dyn Store>, client: Arc<Client>, missing: Option<&'static str>) -> Built {
    Built {
        store,
        client,
        missing,
        image_relay: None,
    }
}

fn omeka(url: url::Url, options: &MountOptions, credentials: &Credentials) -> OmekaConfig {
    let mut config = OmekaConfig::new(url, credentials.get("key").cloned());
    config.public = options.public.unwrap_or(config.public);
    config.item_per_file = options.item_per_file.unwrap_or(config.item_per_file);
    config.allow_all_extensions = options.any_extension.unwrap_or(config.allow_all_extensions);
    config.file_bytes_max = options.upload_max.or(config.file_bytes_max);
    config.rename_bytes_max = options.rename_max.unwrap_or(config.rename_bytes_max);
    config
}

fn flextype(url: url::Url, options: &MountOptions, credentials: &Credentials) -> Result<FlextypeConfig, Failure> {
    let mut config = FlextypeConfig::new(
        url,
        credentials.require("files_token")?,
        credentials.require("folders_token")?,
        credentials.get("access_token").cloned(),
    );
    config.file_bytes_max = options.upload_max.unwrap_or(config.file_bytes_max);
    if let Some(list) = &options.extensions {
        config.extensions = list.split(':').map(str::to_lowercase).collect();
    }
    config.images = match options.images {
        Some(ImagesWhen::Refuse) => Images::Refuse,
        Some(ImagesWhen::Accept) | None => Images::Accept,
    };
    Ok(config)
}

fn im4(
    url: url::Url,
    options: &MountOptions,
    credentials: &Credentials,
    places: &StorePlaces,
) -> Result<Im4Config, Failure> {
    let client_id = credentials.require("client_id")?;
    let mut config = Im4Config::new(url, client_id.expose(), credentials.require("client_secret")?);
    config.project = options.project;
    config.agency = options.agency;
    config.days = options.days;
    // Not the folder for temporary files, which may be memory.
    config.spool_dir.clone_from(&places.cache);
    Ok(config)
}

/// What a kind of store allows: requests a second, at once, a day, a month.
fn usual_limits(kind: StoreKind) -> Limits {
    match kind {
        StoreKind::ImageRelay => Limits {
            rate: REQUESTS_PER_SECOND,
            burst: 5,
            daily: Some(REQUESTS_PER_DAY),
            monthly: Some(REQUESTS_PER_MONTH),
        },
        StoreKind::Omeka | StoreKind::Flextype | StoreKind::Im4 => Limits::default(),
    }
}

fn limits(options: &MountOptions, kind: StoreKind) -> Limits {
    let usual = usual_limits(kind);
    // A rate of 0 takes all limits away that are not set by themselves.
    let usual = if options.rate == Some(0.0) {
        Limits::default()
    } else {
        usual
    };
    let rate = options.rate.unwrap_or(usual.rate);
    let all_at_once = if options.rate.is_some() {
        rate.ceil() as u32
    } else {
        usual.burst
    };
    let limit = |told: Option<u64>, usual: Option<u64>| told.or(usual).filter(|limit| *limit > 0);
    Limits {
        rate,
        burst: options.burst.unwrap_or(all_at_once),
        daily: limit(options.daily_quota, usual.daily),
        monthly: limit(options.monthly_quota, usual.monthly),
    }
}

fn budget(plan: &Plan, clock: &SharedClock) -> Result<Arc<dyn Budget>, Failure> {
    let limits = limits(&plan.options, plan.source.kind);
    Ok(LocalBudget::of(clock.clone(), limits, FileLedger::open(plan)?))
}

fn client(mut config: ClientConfig, options: &MountOptions, clock: &SharedClock) -> Result<Arc<Client>, Failure> {
    config.allow_http = options.allow_http.unwrap_or(false);
    if let Some(deadline) = options.deadline {
        // A program that gives up earlier has no use for an answer that comes later.
        config.deadlines.progress = config.deadlines.progress.min(deadline);
        config.deadlines.interactive_wait = config.deadlines.interactive_wait.min(deadline);
    }
    if let Some(contact) = &options.contact {
        config.contact.clone_from(contact);
    }
    Client::new(config, clock.clone()).map_err(Failure::new)
}

impl Built {
    /// Fails when it is not clear what type new files in `root` get.
    pub async fn check_writable(&self, root: &ItemId) -> Result<(), Failure> {
        let Some(store) = &self.image_relay else { return Ok(()) };
        match store.check_writable(root).await {
            Ok(()) => Ok(()),
            Err(error) if error.is_transient() => {
                tracing::warn!(%error, "whether new files have a type is not known yet");
                Ok(())
            }
            Err(error) => Err(Failure::usage(format!(
                "{error}; choose one with --file-type ID, or mount with --read-only"
            ))),
        }
    }
}

/// What a failed first request means to the person who mounts.
pub fn explain(plan: &Plan, error: &StoreError) -> Failure {
    let host = plan.source.url.host_str().unwrap_or_default();
    let what = match &error.kind {
        ErrorKind::Unauthenticated | ErrorKind::Denied => {
            let variables: Vec<_> = super::credentials::secrets_of(plan.source.kind)
                .iter()
                .map(|secret| secret.variable)
                .collect();
            match plan.source.section.is_empty() {
                true => format!("{host} does not accept the credentials: check {}", variables.join(", ")),
                false => format!(
                    "{host} does not accept the credentials: `assetfs login {}` takes new ones",
                    plan.source.name
                ),
            }
        }
        ErrorKind::Network | ErrorKind::Timeout => format!("{host} cannot be reached"),
        ErrorKind::NotFound | ErrorKind::Protocol | ErrorKind::Unsupported => format!(
            "{} is no address of the {} API, which looks like {}",
            plan.source.url,
            plan.source.kind,
            plan.source.kind.address_example()
        ),
        ErrorKind::Invalid
        | ErrorKind::Exists
        | ErrorKind::NotEmpty
        | ErrorKind::Busy
        | ErrorKind::TooLarge
        | ErrorKind::Full
        | ErrorKind::Throttled { .. }
        | ErrorKind::QuotaExhausted { .. }
        | ErrorKind::Conflict
        | ErrorKind::NotReady
        | ErrorKind::Expired
        | ErrorKind::Server
        | ErrorKind::Local
        | ErrorKind::Cancelled => format!("{host} cannot be used"),
    };
    // The cause alone: what was asked, and that it was refused, is said already.
    let cause = match &error.source {
        Some(source) => source.to_string(),
        None => error.to_string(),
    };
    Failure::with(Status::Failed, format!("{what} ({cause})"))
}
