//! The layer around a server's routes: counts, waits, limits, breaks and slows.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{ConnectInfo, Request};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, DATE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use parking_lot::Mutex;

use super::control;
use super::faults::{Action, Faults};
use super::server::Line;
use super::traffic::{Route, RouteKind, Traffic};
use crate::model::SharedClock;

/// The control plane's prefix.
pub(super) const CONTROL: &str = "/_emulator";

/// How long a truncated answer waits before it breaks, so that the bytes before the break reach the peer.
const FLUSH_WAIT: Duration = Duration::from_millis(30);

/// Latency, bandwidth and rate of a server. The default adds nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shaping {
    /// Waited before every API answer.
    pub api_latency: Duration,
    /// Waited before every answer with content.
    pub content_latency: Duration,
    /// Bytes of content a second on one connection; 0 = unlimited.
    pub content_bytes_per_second: u64,
    /// API requests accepted within any one second; more get 429. 0 = unlimited.
    pub api_requests_per_second: u32,
    /// Whether a 429 carries `Retry-After: 1`.
    pub retry_after: bool,
}

type Classify = Box<dyn Fn(&Method, &str) -> Route + Send + Sync>;

/// Stands between the network and a server's routes.
pub struct Gate {
    shaping: Mutex<Shaping>,
    clock: SharedClock,
    classify: Classify,
    traffic: Traffic,
    faults: Faults,
    /// When the API requests of the last second were accepted.
    accepted: Mutex<VecDeque<Instant>>,
}

impl Gate {
    /// A gate; `classify` names a request by its method and path (without query).
    pub fn new(
        shaping: Shaping,
        clock: SharedClock,
        classify: impl Fn(&Method, &str) -> Route + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            shaping: Mutex::new(shaping),
            clock,
            classify: Box::new(classify),
            traffic: Traffic::default(),
            faults: Faults::default(),
            accepted: Mutex::default(),
        })
    }

    /// Puts the gate around a server's routes and adds the control plane.
    pub fn around(self: Arc<Self>, routes: Router) -> Router {
        let control = control::routes(Arc::clone(&self));
        routes
            .merge(control)
            .layer(from_fn(move |request: Request, next: Next| {
                let gate = Arc::clone(&self);
                async move { gate.pass(request, next).await }
            }))
    }

    /// What came.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// What breaks.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Changes latency, bandwidth and rate from now on.
    pub fn reshape(&self, change: impl FnOnce(&mut Shaping)) {
        change(&mut self.shaping.lock());
    }

    async fn pass(self: &Arc<Self>, request: Request, next: Next) -> Response {
        let path = request.uri().path();
        if path.starts_with(CONTROL) {
            return next.run(request).await;
        }
        let route = (self.classify)(request.method(), path);
        self.traffic.arrived(&route, path);
        let shaping = *self.shaping.lock();
        let latency = match route.kind {
            RouteKind::Api => shaping.api_latency,
            RouteKind::Content => shaping.content_latency,
        };
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        let mut response = if route.kind == RouteKind::Api && !self.accept(shaping.api_requests_per_second) {
            too_many(shaping.retry_after)
        } else {
            let fault = self.faults.decide(&route.name, &format!("{} {path}", request.method()));
            apply(fault, request, next).await
        };
        self.traffic.answered(response.status().as_u16());
        if route.kind == RouteKind::Content {
            response = self.pace(response, shaping.content_bytes_per_second);
        }
        if let Ok(date) = HeaderValue::from_str(&httpdate::fmt_http_date(SystemTime::from(self.clock.now()))) {
            response.headers_mut().insert(DATE, date);
        }
        response
    }

    /// Counts a body's bytes and sends at most `rate` of them a second (0 = unlimited).
    fn pace(self: &Arc<Self>, response: Response, rate: u64) -> Response {
        let gate = Arc::clone(self);
        let (mut parts, body) = response.into_parts();
        promise_length(&mut parts.headers, &body);
        let mut stream = body.into_data_stream();
        let paced = async_stream::stream! {
            let start = tokio::time::Instant::now();
            let mut sent: u64 = 0;
            while let Some(piece) = stream.next().await {
                let mut piece: Bytes = match piece {
                    Ok(piece) => piece,
                    Err(error) => {
                        yield Err(error);
                        return;
                    }
                };
                while !piece.is_empty() {
                    let part = piece.split_to(step(rate, piece.len()));
                    sent += part.len() as u64;
                    gate.traffic.sent(part.len() as u64);
                    yield Ok(part);
                    if rate > 0 {
                        let due = Duration::from_secs_f64(sent as f64 / rate as f64);
                        tokio::time::sleep_until(start + due).await;
                    }
                }
            }
        };
        Response::from_parts(parts, Body::from_stream(paced))
    }

    fn accept(&self, per_second: u32) -> bool {
        if per_second == 0 {
            return true;
        }
        let now = Instant::now();
        let mut accepted = self.accepted.lock();
        while accepted
            .front()
            .is_some_and(|first| now.duration_since(*first) >= Duration::from_secs(1))
        {
            accepted.pop_front();
        }
        let fits = accepted.len() < per_second as usize;
        if fits {
            accepted.push_back(now);
        }
        fits
    }
}

/// How much of a piece of `len` bytes is sent at once: a twentieth of a second's worth.
fn step(rate: u64, len: usize) -> usize {
    match rate {
        0 => len,
        _ => len.min((rate / 20).max(1024) as usize),
    }
}

fn too_many(retry_after: bool) -> Response {
    let mut response = (StatusCode::TOO_MANY_REQUESTS, "Rate limit exceeded").into_response();
    if retry_after {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

async fn apply(fault: Option<Action>, request: Request, next: Next) -> Response {
    match fault {
        None => next.run(request).await,
        Some(Action::Status { code, body, headers }) => status(code, body, &headers),
        Some(Action::Html) => {
            let page = "<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please sign in.</body></html>";
            ([(CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response()
        }
        Some(Action::Hang(None)) => std::future::pending().await,
        Some(Action::Hang(Some(millis)) | Action::Delay(millis)) => {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            next.run(request).await
        }
        Some(Action::Reset) => reset(&request),
        Some(Action::ApplyThenDropAnswer) => {
            let line = line_of(&request);
            let answer = next.run(request).await;
            match line {
                Some(line) => line.cut(),
                None => tracing::warn!("no connection to cut"),
            }
            answer
        }
        Some(Action::ApplyThenHang) => {
            drop(next.run(request).await);
            std::future::pending().await
        }
        Some(Action::TruncateBody(bytes)) => truncated(next.run(request).await, bytes).await,
    }
}

fn line_of(request: &Request) -> Option<Line> {
    request
        .extensions()
        .get::<ConnectInfo<Line>>()
        .map(|info| info.0.clone())
}

/// The answer is never seen: writing it fails, and the connection closes with a reset.
fn reset(request: &Request) -> Response {
    match line_of(request) {
        Some(line) => line.cut(),
        None => tracing::warn!("no connection to cut"),
    }
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}

fn status(code: u16, body: String, headers: &BTreeMap<String, String>) -> Response {
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (code, body).into_response();
    for (name, value) in headers {
        let (Ok(name), Ok(value)) = (
            HeaderName::try_from(name.as_str()),
            HeaderValue::try_from(value.as_str()),
        ) else {
            tracing::warn!(name, "a fault rule's header is not valid");
            continue;
        };
        response.headers_mut().insert(name, value);
    }
    response
}

/// A body of known length that becomes a stream still promises all of it, so that a missing end is noticed.
fn promise_length(headers: &mut HeaderMap, body: &Body) {
    if let Some(len) = HttpBody::size_hint(body).exact() {
        headers.entry(CONTENT_LENGTH).or_insert(HeaderValue::from(len));
    }
}

async fn truncated(response: Response, bytes: u64) -> Response {
    let (mut parts, body) = response.into_parts();
    promise_length(&mut parts.headers, &body);
    let mut stream = body.into_data_stream();
    let cut = async_stream::stream! {
        let mut left = bytes;
        while left > 0 {
            let Some(piece) = stream.next().await else { break };
            let Ok(mut piece) = piece else { break };
            piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            left -= piece.len() as u64;
            yield Ok(piece);
        }
        tokio::time::sleep(FLUSH_WAIT).await;
        yield Err(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
    };
    Response::from_parts(parts, Body::from_stream(cut))
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::super::{ContentHead, FaultRule, Pattern, Server, When, serve_content};
    use super::*;
    use crate::model::SystemClock;

    fn classify(method: &Method, path: &str) -> Route {
        match path {
            "/file" => Route::content("GET file"),
            _ => Route::api(format!("{method} {path}")),
        }
    }

    async fn start(shaping: Shaping) -> (Arc<Gate>, Server) {
        let gate = Gate::new(shaping, SystemClock::shared(), classify);
        let file = |method: Method, headers: HeaderMap| async move {
            let head = ContentHead {
                content_type: "application/octet-stream".into(),
                etag: Some("v1".into()),
                modified: None,
                ranges: true,
            };
            let pattern = Pattern {
                seed: 1,
                bytes: 20_000,
                text: false,
            };
            serve_content(&method, &headers, Arc::new(pattern), &head)
        };
        let routes = Router::new()
            .route("/ping", get(|| async { "pong" }))
            .route("/file", get(file));
        let server = Server::start("127.0.0.1:0".parse().unwrap(), Arc::clone(&gate).around(routes))
            .await
            .unwrap();
        (gate, server)
    }

    /// Sends a bare request and reads until the connection ends, however it ends.
    async fn raw(server: &Server, path: &str, headers: &str) -> (String, Vec<u8>, Option<ErrorKind>) {
        let mut stream = TcpStream::connect(server.addr()).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut got = Vec::new();
        let end = stream.read_to_end(&mut got).await.err().map(|error| error.kind());
        let at = got
            .windows(4)
            .position(|w| w == b"\r\n\r\n")
            .map_or(got.len(), |at| at + 4);
        let body = got.split_off(at);
        (String::from_utf8(got).unwrap(), body, end)
    }

    #[tokio::test]
    async fn ranges_come_as_206_with_their_place_in_the_whole() {
        let (gate, server) = start(Shaping::default()).await;
        let (head, whole, _) = raw(&server, "/file", "").await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert_eq!(whole.len(), 20_000);
        let (head, part, _) = raw(&server, "/file", "Range: bytes=100-199\r\nIf-Range: \"v1\"\r\n").await;
        assert!(
            head.starts_with("HTTP/1.1 206") && head.contains("bytes 100-199/20000"),
            "{head}"
        );
        assert_eq!(part, whole[100..200]);
        let (head, part, _) = raw(&server, "/file", "Range: bytes=100-199\r\nIf-Range: \"v0\"\r\n").await;
        assert!(head.starts_with("HTTP/1.1 200") && part == whole, "{head}");
        let (head, _, _) = raw(&server, "/file", "If-None-Match: \"v1\"\r\n").await;
        assert!(head.starts_with("HTTP/1.1 304"), "{head}");
        let (head, _, _) = raw(&server, "/file", "Range: bytes=20000-\r\n").await;
        assert!(head.starts_with("HTTP/1.1 416"), "{head}");
        assert_eq!(gate.traffic().counters().content_bytes, 40_100);
        server.shutdown().await;
    }

    #[tokio::test]
    async fn faults_reset_truncate_and_replace_answers() {
        let (gate, server) = start(Shaping::default()).await;
        gate.faults()
            .add(FaultRule::new("GET /ping", When::Nth(1), Action::Reset));
        gate.faults()
            .add(FaultRule::new("GET /ping", When::Nth(1), Action::ApplyThenDropAnswer));
        gate.faults()
            .add(FaultRule::new("GET /ping", When::Nth(1), Action::status(503)));
        for _ in 0..2 {
            let (head, _, end) = raw(&server, "/ping", "").await;
            assert_eq!((head.as_str(), end), ("", Some(ErrorKind::ConnectionReset)));
        }
        assert!(raw(&server, "/ping", "").await.0.starts_with("HTTP/1.1 503"));
        assert!(raw(&server, "/ping", "").await.0.starts_with("HTTP/1.1 200"));
        gate.faults()
            .add(FaultRule::new("GET file", When::First(1), Action::TruncateBody(777)));
        let (head, body, _) = raw(&server, "/file", "").await;
        assert!(head.contains("content-length: 20000"), "{head}");
        assert_eq!(body.len(), 777);
        server.shutdown().await;
    }

    #[tokio::test]
    async fn a_burst_beyond_the_rate_gets_429_without_a_hint() {
        let (gate, server) = start(Shaping {
            api_requests_per_second: 2,
            ..Shaping::default()
        })
        .await;
        for want in ["200", "200", "429"] {
            let (head, _, _) = raw(&server, "/ping", "").await;
            assert!(head.starts_with(&format!("HTTP/1.1 {want}")), "{head}");
            assert!(!head.contains("retry-after"));
        }
        assert_eq!(gate.traffic().counters().busiest_second, 3);
        server.shutdown().await;
    }

    #[tokio::test]
    async fn content_flows_no_faster_than_its_rate() {
        let (_gate, server) = start(Shaping {
            content_bytes_per_second: 100_000,
            ..Shaping::default()
        })
        .await;
        let start = Instant::now();
        let (_, body, _) = raw(&server, "/file", "").await;
        assert_eq!(body.len(), 20_000);
        assert!(start.elapsed() >= Duration::from_millis(150), "{:?}", start.elapsed());
        server.shutdown().await;
    }

    #[tokio::test]
    async fn the_control_plane_is_not_counted_and_a_hanging_answer_does_not_stop_a_shutdown() {
        let (gate, server) = start(Shaping::default()).await;
        let origin = server.origin();
        let rule = serde_json::json!({"route": "GET /ping", "action": {"hang": null}});
        let answer = super::super::post_json(&format!("{origin}/_emulator/faults"), &rule)
            .await
            .unwrap();
        assert_eq!(answer.status, 204);
        let hanging = tokio::spawn(async move { super::super::get(&format!("{origin}/ping")).await });
        while gate.faults().struck() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let counters = super::super::get(&format!("{}/_emulator/counters", server.origin()))
            .await
            .unwrap();
        let counters: super::super::Counters = serde_json::from_slice(&counters.body).unwrap();
        assert_eq!((counters.api, counters.of("GET /ping")), (1, 1));
        server.shutdown().await;
        assert!(hanging.await.unwrap().is_err());
    }
}
