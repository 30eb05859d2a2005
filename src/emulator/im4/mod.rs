//! A server that speaks the im4 API 0.25, in either of two plausible shapes (nobody has documented one).
//!
//! Strict and stateful, quirks included: a download is the file itself when there is one and a zip otherwise, names may
//! repeat, uploads and enhancements wait in a queue, a file in use silently survives its deletion, tokens can be revoked.

mod api;
mod archive;
mod sample;
mod shapes;
mod state;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;

use super::common::{Counters, Faults, Gate, Server, Shaping};
use crate::model::{SharedClock, SystemClock};
use state::State;

pub use archive::ZipSizes;
pub use shapes::Shape;
pub use state::{Project, Queue, Stored};

/// The client id that a server knows unless told otherwise.
pub const CLIENT_ID: &str = "demo-client";
/// Its secret.
pub const CLIENT_SECRET: &str = "demo-secret";

/// Which bodies of `set-metadata` are understood; others are passed over with a success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Understands {
    /// Forms and JSON.
    Any,
    /// JSON only, as the documentation says of input in general.
    Json,
    /// Forms only.
    Forms,
}

/// How a server is set up.
#[derive(Clone)]
pub struct Im4Options {
    /// Where it listens; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Fills it with sample projects and pictures.
    pub sample: bool,
    /// The client that it knows.
    pub client_id: String,
    /// The client's secret.
    pub client_secret: String,
    /// How answers are written.
    pub shape: Shape,
    /// Whether listings tell sizes.
    pub tell_sizes: bool,
    /// Whether the list of all files tells their categories.
    pub tell_categories: bool,
    /// How it wants metadata.
    pub metadata: Understands,
    /// Whether uploads wait in the queue until [`Running::finish_queue`].
    pub queue_uploads: bool,
    /// Where zips tell their members' sizes.
    pub zip_sizes: ZipSizes,
    /// Latency, bandwidth and rate.
    pub shaping: Shaping,
    /// Time.
    pub clock: SharedClock,
}

impl Default for Im4Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            sample: false,
            client_id: CLIENT_ID.to_owned(),
            client_secret: CLIENT_SECRET.to_owned(),
            shape: Shape::A,
            tell_sizes: true,
            tell_categories: true,
            metadata: Understands::Any,
            queue_uploads: false,
            zip_sizes: ZipSizes::InFront,
            shaping: Shaping::default(),
            clock: SystemClock::shared(),
        }
    }
}

/// A running server.
pub struct Running {
    server: Server,
    gate: Arc<Gate>,
    shared: Arc<api::Server>,
}

/// Starts a server.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve(options: Im4Options) -> io::Result<Running> {
    let mut state = State::new(options.clock.clone());
    if options.sample {
        sample::fill(&mut state);
    }
    let gate = Gate::new(options.shaping, options.clock.clone(), api::classify);
    let listen = options.listen;
    let shared = Arc::new(api::Server {
        options,
        state: Mutex::new(state),
        origin: OnceLock::new(),
    });
    let server = Server::start(listen, gate.clone().around(api::routes(shared.clone()))).await?;
    shared.origin.get_or_init(|| server.origin());
    Ok(Running { server, gate, shared })
}

impl Running {
    /// The API's base URL, without a trailing slash.
    pub fn base_url(&self) -> String {
        format!("{}/api", self.server.origin())
    }

    /// What was asked so far.
    pub fn counters(&self) -> Counters {
        self.gate.traffic().counters()
    }

    /// Rules that break answers.
    pub fn faults(&self) -> &Faults {
        self.gate.faults()
    }

    /// The gate: latency, log, counters.
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// Adds a project, or replaces one.
    pub fn put_project(&self, id: u64, project: Project) {
        self.shared.state.lock().projects.insert(id, project);
    }

    /// Adds a file and answers its id; `None` without such a project or category.
    pub fn put_file(&self, project: u64, category: u64, name: &str, bytes: impl Into<Bytes>) -> Option<u64> {
        self.shared.state.lock().add_file(project, category, name, bytes.into())
    }

    /// A copy of a project as it is now.
    pub fn project(&self, id: u64) -> Option<Project> {
        self.shared.state.lock().projects.get(&id).cloned()
    }

    /// A copy of a file as it is now.
    pub fn file(&self, project: u64, id: u64) -> Option<Stored> {
        self.shared.state.lock().projects.get(&project)?.files.get(&id).cloned()
    }

    /// Changes a file behind everybody's back.
    pub fn edit_file(&self, project: u64, id: u64, edit: impl FnOnce(&mut Stored)) {
        let mut state = self.shared.state.lock();
        let now = state.clock.now();
        if let Some(file) = state
            .projects
            .get_mut(&project)
            .and_then(|project| project.files.get_mut(&id))
        {
            edit(file);
            file.updated = now;
        }
    }

    /// Lets every background process finish.
    pub fn finish_queue(&self) {
        for project in self.shared.state.lock().projects.values_mut() {
            for file in project.files.values_mut() {
                file.queue = None;
            }
        }
    }

    /// Revokes every token that was given.
    pub fn revoke_tokens(&self) {
        self.shared.state.lock().tokens.clear();
    }

    /// Stops the server.
    pub async fn shutdown(self) {
        self.server.shutdown().await;
    }
}
