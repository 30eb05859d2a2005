//! What every built-in server shares: accepting, counting, slowing down, breaking on purpose, and serving ranges.
//!
//! # How a server uses it
//!
//! 1. Build an axum `Router` (with its state already applied) that answers the store's own routes.
//! 2. Write a `fn classify(&Method, &str) -> Route` that names a request's template (`GET /folders/{id}`) and says
//!    whether it is an API call or a download of content. Counters and fault rules speak in these names.
//! 3. Put the [`Gate`] around it and start it:
//!
//! ```no_run
//! # use std::time::Duration;
//! # use assetfs::emulator::common::*;
//! # use assetfs::model::SystemClock;
//! # async fn example(router: axum::Router) -> Result<(), Box<dyn std::error::Error>> {
//! let shaping = Shaping { content_latency: Duration::from_millis(50), ..Shaping::default() };
//! let gate = Gate::new(shaping, SystemClock::shared(), |method, path| match path {
//!     "/file" => Route::content("GET file"),
//!     _ => Route::api(format!("{method} {path}")),
//! });
//! let server = Server::start("127.0.0.1:0".parse()?, gate.clone().around(router)).await?;
//! let base = server.origin(); // http://127.0.0.1:PORT
//! gate.faults().add(FaultRule::new("GET /files/*", When::First(2), Action::status(503)));
//! assert_eq!(gate.traffic().counters().of("GET /files/{id}"), 0);
//! server.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! 4. Serve files with [`serve_content`], which knows `Range`, `ETag`, `Last-Modified`, `If-None-Match` and `If-Range`;
//!    a file of any size that costs no memory is a [`Pattern`].
//!
//! The gate also answers a control plane under `/_emulator/`, which is neither counted nor slowed nor broken:
//! `GET counters`, `GET log`, `POST reset`, `GET|POST|DELETE faults`. A server adds its own control routes to its router
//! under the same prefix.

mod client;
mod content;
mod control;
mod faults;
mod gate;
mod pattern;
mod server;
mod traffic;

pub use client::{Answer, ClientError, get, post_json};
pub use content::{ContentHead, MemorySource, Source, serve_content};
pub use faults::{Action, FaultRule, Faults, When};
pub use gate::{Gate, Shaping};
pub use pattern::{Pattern, mix};
pub use server::{Line, Server};
pub use traffic::{Counters, Route, RouteKind, Seen, Traffic};
