//! Figures for monitoring: what `status --json` tells of a mount, as text that Prometheus reads, over HTTP.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::Failure;
use super::control::Drive;
use crate::cache::Stats;
use crate::http::Snapshot;
use crate::telemetry::{BOUNDS_US, EXPOSITION_TYPE, Exposition, Figure, Operations, metrics};

/// Serves the figures of one mount while it lives.
pub struct Server(tokio::task::JoinHandle<()>);

/// What is told, and since when.
struct Told {
    drive: Drive,
    since: Instant,
}

impl Server {
    /// Listens at `address`; other machines can only read the figures when it is not one of this machine's own.
    pub async fn start(address: SocketAddr, drive: Drive) -> Result<Self, Failure> {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|e| Failure::new(format!("cannot serve metrics at {address}: {e}")))?;
        let at = listener.local_addr().unwrap_or(address);
        if !at.ip().is_loopback() {
            tracing::warn!(%at, "other machines can read the metrics");
        }
        tracing::info!(%at, "metrics are served");
        let told = Arc::new(Told {
            drive,
            since: Instant::now(),
        });
        let router = Router::new().route("/metrics", get(answer)).with_state(told);
        Ok(Self(tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::warn!(%error, "metrics are no longer served");
            }
        })))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn answer(State(told): State<Arc<Told>>) -> impl IntoResponse {
    let drive = &told.drive;
    let mut text = Exposition::default();
    text.single(
        metrics::UPTIME,
        Figure::Gauge,
        "Since the mount began to be served.",
        told.since.elapsed().as_secs(),
    );
    if let Some(bytes) = crate::disk::resident_bytes() {
        text.single(
            metrics::RESIDENT,
            Figure::Gauge,
            "Resident memory of the daemon.",
            bytes,
        );
    }
    operations(&mut text, &drive.operations);
    cache(&mut text, &drive.vfs.cache_stats());
    requests(&mut text, &drive.client.snapshot());
    // A journal that cannot be read leaves its figures out; the rest is as true as before.
    if let Ok(status) = drive.vfs.status(None).await {
        changes(&mut text, &status);
    }
    ([(CONTENT_TYPE, EXPOSITION_TYPE)], text.finish())
}

fn operations(text: &mut Exposition, operations: &Operations) {
    let all = operations.snapshot();
    text.family(
        metrics::OPERATIONS,
        Figure::Counter,
        "Operations of programs that were answered.",
    );
    for (what, counts) in &all {
        text.sample(metrics::OPERATIONS, &[("operation", what)], counts.answered);
    }
    text.family(
        metrics::OPERATION_ERRORS,
        Figure::Counter,
        "Operations that were answered with an error.",
    );
    for (what, counts) in &all {
        for (errno, times) in &counts.errors {
            let labels = [("operation", *what), ("errno", &errno.to_string())];
            text.sample(metrics::OPERATION_ERRORS, &labels, times);
        }
    }
    text.family(metrics::OPERATION_TIME, Figure::Histogram, "How long operations took.");
    let [bucket, sum, count] = ["bucket", "sum", "count"].map(|part| format!("{}_{part}", metrics::OPERATION_TIME));
    for (what, counts) in &all {
        let mut up_to = 0;
        for (class, times) in counts.took.iter().enumerate() {
            up_to += times;
            let bound = BOUNDS_US
                .get(class)
                .map_or_else(|| "+Inf".to_owned(), |us| (*us as f64 / 1e6).to_string());
            text.sample(&bucket, &[("operation", what), ("le", &bound)], up_to);
        }
        text.sample(&sum, &[("operation", what)], counts.seconds);
        text.sample(&count, &[("operation", what)], up_to);
    }
}

fn cache(text: &mut Exposition, stats: &Stats) {
    use Figure::{Counter, Gauge};
    text.family(metrics::READ, Counter, "Bytes that readers got, by where they lay.");
    text.sample(metrics::READ, &[("source", "disk")], stats.hit_bytes);
    text.sample(metrics::READ, &[("source", "store")], stats.miss_bytes);
    for (name, figure, help, value) in [
        (
            metrics::CACHE_HITS,
            Counter,
            "Reads that found their bytes here.",
            stats.hits,
        ),
        (
            metrics::CACHE_MISSES,
            Counter,
            "Reads that had to wait for the store.",
            stats.misses,
        ),
        (metrics::FETCHES, Counter, "Downloads asked for.", stats.fetches),
        (
            metrics::FETCHED,
            Counter,
            "Bytes of content that came from the store.",
            stats.fetched_bytes,
        ),
        (
            metrics::FETCHED_AHEAD,
            Counter,
            "Bytes asked for ahead of readers.",
            stats.ahead_bytes,
        ),
        (
            metrics::FETCHED_AHEAD_READ,
            Counter,
            "Of the bytes asked for ahead, those of blocks that were read afterwards.",
            stats.ahead_read_bytes,
        ),
        (
            metrics::IN_FLIGHT,
            Gauge,
            "Bytes asked for ahead that have not come yet.",
            stats.in_flight_bytes,
        ),
        (
            metrics::CACHE_HELD,
            Gauge,
            "Bytes of clean bodies on this machine.",
            stats.used_bytes,
        ),
        (metrics::CACHE_LIMIT, Gauge, "The most of them.", stats.limit_bytes),
        (
            metrics::EVICTIONS,
            Counter,
            "Bodies thrown out for space.",
            stats.evictions,
        ),
        (
            metrics::HEALED,
            Counter,
            "Damaged blocks and bodies that were fetched again.",
            stats.healed,
        ),
    ] {
        text.single(name, figure, help, value);
    }
}

fn requests(text: &mut Exposition, http: &Snapshot) {
    use Figure::Counter;
    text.family(metrics::REQUESTS, Counter, "Requests to the store, downloads included.");
    for (route, counts) in &http.routes {
        text.sample(metrics::REQUESTS, &[("route", route)], counts.requests);
    }
    text.family(
        metrics::ANSWERS,
        Counter,
        "Answers of the store by class of their status.",
    );
    for (route, counts) in &http.routes {
        for (class, times) in &counts.answers {
            text.sample(metrics::ANSWERS, &[("route", route), ("status", class)], times);
        }
    }
    text.family(metrics::REQUESTS_BY_CLASS, Counter, "Requests to the store by urgency.");
    for (class, times) in &http.classes {
        let class = format!("{class:?}").to_lowercase();
        text.sample(metrics::REQUESTS_BY_CLASS, &[("class", &class)], times);
    }
    for (name, help, value) in [
        (
            metrics::API_REQUESTS,
            "Requests that count against the store's allowance.",
            http.api_requests,
        ),
        (
            metrics::REQUESTS_REPEATED,
            "Requests that repeat an earlier one.",
            http.retries,
        ),
        (
            metrics::THROTTLED,
            "Answers that said: too many requests.",
            http.throttled,
        ),
        (metrics::RECEIVED, "Bytes received from the store.", http.bytes_in),
        (metrics::SENT, "Bytes sent to the store.", http.bytes_out),
    ] {
        text.single(name, Counter, help, value);
    }
}

fn changes(text: &mut Exposition, status: &Value) {
    for (name, key, help) in [
        (metrics::OPEN_FILES, "open_files", "Files that are open."),
        (metrics::PENDING, "pending", "Changes that the store does not have yet."),
        (metrics::PENDING_BYTES, "pending_bytes", "Their bytes."),
        (metrics::PARKED, "parked", "Changes that the store refuses."),
        (metrics::HELD, "held", "Deletions that wait for approval."),
    ] {
        if let Some(value) = status[key].as_u64() {
            text.single(name, Figure::Gauge, help, value);
        }
    }
}
