//! Starting and stopping.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use tokio::task::JoinHandle;

use super::app::{self, App};
use super::content::Vault;
use super::database::Database;
use super::options::ImageRelayOptions;
use super::records::{Due, JobState};
use super::remote::Remote;
use super::state::State;
use super::{cdn, control, effects, routes, samples, seed};
use crate::emulator::common::{Counters, Faults, Gate, Server, Shaping, Traffic};

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address, or the data folder.
    #[error("the built-in Image Relay cannot start: {what}")]
    Io {
        /// What was attempted.
        what: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The data folder's database.
    #[error("the built-in Image Relay cannot read its data folder; use another one, or delete it to start afresh")]
    Database(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A sample picture.
    #[error("the sample library cannot be made")]
    Samples(#[source] image::ImageError),
}

/// A running server. Dropping it stops it at once.
pub struct Running {
    /// The API's base URL: `http://127.0.0.1:PORT/api/v2`.
    pub url: String,
    /// The key that it wants.
    pub api_key: String,
    server: Server,
    gate: Arc<Gate>,
    app: Arc<App>,
    workers: [JoinHandle<()>; 2],
}

/// Starts a built-in Image Relay.
///
/// # Errors
/// See [`ServeError`].
pub async fn serve(options: ImageRelayOptions) -> Result<Running, ServeError> {
    let (effects, inbox) = effects::channel();
    // Seeding and loading are work for the processor and the disk.
    let for_state = options.clone();
    let state = tokio::task::spawn_blocking(move || open(&for_state))
        .await
        .map_err(|error| ServeError::Database(Box::new(error)))??;
    let app = App::new(&options, state, effects);
    let shaping = Shaping {
        api_latency: options.latency,
        content_latency: options.cdn_latency,
        content_bytes_per_second: options.cdn_kbps.saturating_mul(125),
        api_requests_per_second: options.rate,
        retry_after: options.retry_after,
    };
    let gate = Gate::new(shaping, Arc::clone(&options.clock), routes::classify);
    let routes = Router::new()
        .route("/cdn/{tenant}/ql/{uid}/{name}", get(cdn::download))
        .route("/t/{name}", get(cdn::thumbnail))
        .route("/static/processing.png", get(cdn::processing))
        .merge(control::routes())
        .fallback(app::answer)
        .with_state(Arc::clone(&app));
    let server = Server::start(options.listen, Arc::clone(&gate).around(routes))
        .await
        .map_err(io_error(format!("listening on {}", options.listen)))?;
    let workers = effects::start(inbox, &app);
    Ok(Running {
        url: format!("{}{}", server.origin(), routes::PREFIX),
        api_key: options.api_key,
        server,
        gate,
        app,
        workers,
    })
}

fn open(options: &ImageRelayOptions) -> Result<State, ServeError> {
    let mut database = match &options.data {
        None => None,
        Some(dir) => Some(open_database(dir)?),
    };
    let seed = match &mut database {
        None => options.seed,
        Some(database) => database.seed(options.seed).map_err(database_error)?,
    };
    let samples = samples::make(seed).map_err(ServeError::Samples)?;
    let blobs = options.data.as_ref().map(|dir| dir.join("blobs"));
    let vault = Vault::open(blobs, samples).map_err(io_error("opening the blobs in the data folder".into()))?;
    let mut state = State::new(options, Arc::new(vault), database);
    seed::plant(&mut state, seed);
    state.load().map_err(database_error)?;
    state.seeded(options.listing_lag);
    if options.data.is_some() {
        let needed = blobs_in(&state);
        state
            .vault
            .sweep(&needed)
            .map_err(io_error("cleaning the data folder".into()))?;
    }
    Ok(state)
}

fn open_database(dir: &Path) -> Result<Database, ServeError> {
    std::fs::create_dir_all(dir).map_err(io_error(format!("making {}", dir.display())))?;
    Database::open(&dir.join("state.db")).map_err(database_error)
}

fn io_error(what: String) -> impl FnOnce(std::io::Error) -> ServeError {
    move |source| ServeError::Io { what, source }
}

fn database_error(error: super::database::DatabaseError) -> ServeError {
    ServeError::Database(Box::new(error))
}

/// Every blob on disk that something still refers to.
fn blobs_in(state: &State) -> HashSet<u64> {
    let mut needed = HashSet::new();
    for file in state.library.all_files() {
        needed.extend(file.content.blobs());
        let thumbnail = file.extra.as_ref().and_then(|extra| extra.thumbnail.as_ref());
        needed.extend(thumbnail.into_iter().flat_map(|content| content.blobs()));
    }
    needed.extend(state.links.values().flat_map(|link| link.content.blobs()));
    for later in &state.later {
        match &later.what {
            Due::Version { content, .. } | Due::JobFile { content, .. } | Due::Fetched { content, .. } => {
                needed.extend(content.blobs());
            }
        }
    }
    let half_done = state.jobs.values().flat_map(|job| &job.files);
    let chunks = half_done.filter_map(|file| match &file.state {
        JobState::Filling(chunks) => Some(chunks),
        JobState::Queued | JobState::Done(_) => None,
    });
    let versions = state.versions.values().map(|version| &version.chunks);
    for piece in chunks.chain(versions).flat_map(|chunks| chunks.values()) {
        needed.extend(piece.blob());
    }
    needed
}

impl Running {
    /// `http://127.0.0.1:PORT`, where `/_emulator/` and `/cdn/` are.
    pub fn origin(&self) -> String {
        self.server.origin()
    }

    /// The gate: latency, log, counters, faults.
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// What was asked of it so far.
    pub fn counters(&self) -> Counters {
        self.gate.traffic().counters()
    }

    /// Counts from zero again.
    pub fn reset_counters(&self) {
        self.gate.traffic().reset();
    }

    /// Every request with its time.
    pub fn traffic(&self) -> &Traffic {
        self.gate.traffic()
    }

    /// The rules that break answers.
    pub fn faults(&self) -> &Faults {
        self.gate.faults()
    }

    /// Changes latency, bandwidth or rate from now on.
    pub fn reshape(&self, change: impl FnOnce(&mut Shaping)) {
        self.gate.reshape(change);
    }

    /// Another user's hand: looks at and changes the library without any request.
    pub fn remote(&self) -> Remote {
        Remote::new(Arc::clone(&self.app))
    }

    /// Stops; what was answered is saved when there is a data folder.
    pub async fn shutdown(self) {
        self.server.shutdown().await;
        for worker in self.workers {
            worker.abort();
        }
    }
}
