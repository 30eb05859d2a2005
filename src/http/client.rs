//! Sends requests, within the budget and the deadlines, and again where that is harmless.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use futures_util::StreamExt;
use parking_lot::Mutex;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderValue};
use url::Url;

use super::answer::Origin;
use super::budget::Permit;
use super::counters::Counters;
use super::gate::Gate;
use super::pulse::Pulse;
use super::{
    Answer, Body, BodyError, Budget, Class, Context, Error, ErrorKind, Login, Request, Response, Retry, Snapshot,
    Unavailable, current_context, excerpt, pushback, redirect,
};
use crate::model::{SharedClock, Timestamp};

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// To reach a server: name, TCP and TLS together.
    pub connect: Duration,
    /// Without progress: between pieces of a body either way, and until an answer begins. There is no limit in all.
    pub progress: Duration,
    /// All waiting before an interactive request is given up: for its turn, for a server that wants a pause, between
    /// repeats.
    pub interactive_wait: Duration,
    /// The same for all other requests.
    pub other_wait: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            progress: Duration::from_secs(30),
            interactive_wait: Duration::from_secs(30),
            other_wait: Duration::from_secs(300),
        }
    }
}

/// How a client is to be.
#[derive(Clone)]
pub struct ClientConfig {
    /// The store's base address: plain http to another machine is refused unless `allow_http`; requests to this machine do
    /// not go through a proxy.
    pub base_url: Url,
    /// Whether plain http to other machines is allowed.
    pub allow_http: bool,
    /// A mail address or URL that tells the server's operator whom to ask; part of the `User-Agent`.
    pub contact: String,
    /// Whether cookies are kept and sent back.
    pub cookies: bool,
    /// How long things may take.
    pub deadlines: Deadlines,
    /// How often one call sends its request at most.
    pub attempts_max: usize,
    /// How many requests the server allows.
    pub budget: Arc<dyn Budget>,
}

impl ClientConfig {
    /// The usual: https only, no cookies, four attempts.
    pub fn new(base_url: Url, budget: Arc<dyn Budget>) -> Self {
        Self {
            base_url,
            allow_http: false,
            contact: concat!(env!("CARGO_PKG_NAME"), " user").to_owned(),
            cookies: false,
            deadlines: Deadlines::default(),
            attempts_max: 4,
            budget,
        }
    }
}

/// The HTTP client of one store.
pub struct Client {
    inner: reqwest::Client,
    config: ClientConfig,
    clock: SharedClock,
    counters: Arc<Counters>,
    gate: Gate,
}

/// One attempt's way: the address now, and whether the secrets may go there.
struct Hop {
    url: Url,
    trusted: bool,
}

/// How long one call goes on, and how it waits between its attempts.
struct Persistence {
    context: Context,
    give_up_at: Duration,
    pauses: <ExponentialBuilder as BackoffBuilder>::Backoff,
    /// Whether the next attempt repeats an earlier one.
    repeat: bool,
}

impl Client {
    /// A client for one store. Fails with a text for people when the base address may not be asked.
    pub fn new(config: ClientConfig, clock: SharedClock) -> Result<Arc<Self>, Error> {
        let setup = |kind| Error::new(kind, "set up", redirect::host_and_path(&config.base_url));
        if let Some(why) = redirect::objection(&config.base_url, config.allow_http) {
            return Err(setup(ErrorKind::Refused).because(why));
        }
        install_tls();
        let inner = build(&config, false)
            .or_else(|e| {
                // A machine without any certificate store can still talk to itself and over allowed plain http.
                tracing::warn!(cause = %e.without_url(), "no system certificates: https servers will not be trusted");
                build(&config, true)
            })
            .map_err(|e| setup(ErrorKind::Setup).because(e.without_url()))?;
        Ok(Arc::new(Self {
            inner,
            config,
            clock,
            counters: Arc::default(),
            gate: Gate::default(),
        }))
    }

    /// The base address.
    pub fn base_url(&self) -> &Url {
        &self.config.base_url
    }

    /// How many requests the server allows.
    pub fn budget(&self) -> &Arc<dyn Budget> {
        &self.config.budget
    }

    /// What was done so far.
    pub fn snapshot(&self) -> Snapshot {
        self.counters.snapshot(self.config.budget.state())
    }

    /// What is known about the login.
    pub fn login(&self) -> Login {
        self.counters.login()
    }

    /// Bytes of request bodies sent so far.
    pub fn sent_bytes(&self) -> u64 {
        self.counters.sent_bytes()
    }

    /// New requests wait, until [`Client::resume`]; those under way finish.
    pub fn hold(&self) {
        self.gate.hold();
    }

    /// New requests fail from now on, also those that wait; those under way finish.
    pub fn shut(&self) {
        self.gate.shut();
    }

    /// Requests are sent again.
    pub fn resume(&self) {
        self.gate.open();
    }

    /// Waits until no request is under way.
    pub async fn at_rest(&self) {
        self.gate.at_rest().await;
    }

    /// Sends a request and reads its whole answer; a broken answer to a safe request is asked for again.
    pub async fn call(&self, request: Request) -> Result<Answer, Error> {
        let mut persistence = self.persistence();
        loop {
            let error = match self.attempt(&request, &persistence).await {
                Ok(response) => match response.collect(request.answer_bytes_max).await {
                    Ok(answer) => return Ok(answer),
                    Err(e) => e,
                },
                Err(e) => e,
            };
            self.pause_or_fail(&request, &mut persistence, error).await?;
        }
    }

    /// Sends a request and gives its answer as a stream.
    pub async fn open(&self, request: Request) -> Result<Response, Error> {
        let mut persistence = self.persistence();
        loop {
            match self.attempt(&request, &persistence).await {
                Ok(response) => return Ok(response),
                Err(error) => self.pause_or_fail(&request, &mut persistence, error).await?,
            }
        }
    }

    fn persistence(&self) -> Persistence {
        let context = current_context();
        let wait_max = match context.class {
            Class::Interactive | Class::Crawler => self.config.deadlines.interactive_wait,
            Class::Upload | Class::Prefetch | Class::Background => self.config.deadlines.other_wait,
        };
        let pauses = ExponentialBuilder::new()
            .with_min_delay(Duration::from_millis(250))
            .with_max_delay(Duration::from_secs(8))
            .with_max_times(self.config.attempts_max.saturating_sub(1))
            .with_jitter()
            .build();
        Persistence {
            context,
            give_up_at: self.clock.elapsed() + wait_max,
            pauses,
            repeat: false,
        }
    }

    /// Waits before the request is sent again; the error, when it must not be, or not by this call.
    async fn pause_or_fail(&self, request: &Request, persistence: &mut Persistence, error: Error) -> Result<(), Error> {
        let pause = persistence
            .pauses
            .next()
            .and_then(|pause| pause_before_repeat(&error, pause));
        let left = persistence.give_up_at.saturating_sub(self.clock.elapsed());
        match pause {
            Some(pause) if pause < left => {
                self.clock.sleep(pause).await;
                persistence.repeat = true;
                Ok(())
            }
            Some(_) | None => {
                // Who asks an API whether something has gone is answered, and nobody need hear of it.
                if !(request.budgeted && error.status == Some(404)) {
                    self.counters.failed(&error, self.clock.now());
                }
                Err(error)
            }
        }
    }

    /// Sends a request once, along its redirects.
    async fn attempt(&self, request: &Request, persistence: &Persistence) -> Result<Response, Error> {
        let context = &persistence.context;
        let wait_max = persistence.give_up_at.saturating_sub(self.clock.elapsed());
        let mut hop = Hop {
            url: request.url.clone(),
            trusted: true,
        };
        for _ in 0..=redirect::REDIRECTS_MAX {
            let origin = self.origin(request, &hop.url);
            if let Some(why) = &request.flaw {
                return Err(origin.error(ErrorKind::Refused).because(why.clone()));
            }
            if let Some(why) = redirect::objection(&hop.url, self.config.allow_http) {
                return Err(origin.error(ErrorKind::Refused).because(why));
            }
            // Another server's allowance is its own.
            let budgeted = request.budgeted && hop.trusted;
            let permit = self.permit(&origin, budgeted, context.class, wait_max).await?;
            let Some(_under_way) = self.gate.enter().await else {
                return Err(origin.error(ErrorKind::Connect).because("the mount has ended"));
            };
            self.counters.sent(request.route, context, budgeted, persistence.repeat);
            let response = self.exchange(request, &hop, origin, permit).await?;
            match redirect::target(&request.method, &hop.url, response.status(), response.headers()) {
                Some(to) if redirect::is_downgrade(&hop.url, &to) => {
                    return Err(response
                        .origin
                        .error(ErrorKind::Refused)
                        .because("a redirect leads from https to http"));
                }
                Some(to) => {
                    let trusted = hop.trusted && redirect::same_origin(&request.url, &to);
                    hop = Hop { url: to, trusted };
                }
                None => return self.judge(request, response, budgeted).await,
            }
        }
        Err(self
            .origin(request, &hop.url)
            .error(ErrorKind::Answer)
            .because("redirects without end"))
    }

    fn origin(&self, request: &Request, url: &Url) -> Origin {
        Origin {
            route: request.route,
            host_and_path: redirect::host_and_path(url),
            idempotency: request.idempotency,
            secrets: request.secrets.clone(),
            patience: request.patience.unwrap_or(self.config.deadlines.progress),
        }
    }

    async fn permit(&self, origin: &Origin, budgeted: bool, class: Class, wait_max: Duration) -> Result<Permit, Error> {
        if !budgeted {
            return Ok(Permit::uncounted());
        }
        self.config
            .budget
            .acquire(class, wait_max)
            .await
            .map_err(|why| match why {
                Unavailable::Wait(span) => {
                    let until = Some(self.clock.now().plus(span));
                    origin.error(ErrorKind::Throttled { until }).retry(Retry::After(span))
                }
                Unavailable::Exhausted(until) => {
                    let span = until.since(self.clock.now());
                    origin
                        .error(ErrorKind::QuotaExhausted { until })
                        .retry(Retry::After(span))
                }
            })
    }

    /// Sends the request and waits for the head of its answer.
    async fn exchange(&self, request: &Request, hop: &Hop, origin: Origin, permit: Permit) -> Result<Response, Error> {
        let pulse = Arc::new(Pulse::new(self.clock.clone()));
        let broken_body: Arc<Mutex<Option<BodyError>>> = Arc::default();
        let sent = self.wire(request, hop, &origin, &pulse, &broken_body)?;
        let begun = self.clock.elapsed();
        let answer = tokio::select! {
            answer = self.inner.execute(sent) => Some(answer),
            () = pulse.stopped(origin.patience) => None,
        };
        drop(permit);
        let status = answer
            .as_ref()
            .and_then(|a| a.as_ref().ok())
            .map(|a| a.status().as_u16());
        self.counters
            .answered(origin.route, status, request.budgeted && hop.trusted, self.clock.now());
        tracing::debug!(
            route = origin.route,
            at = %origin.host_and_path,
            status,
            ms = (self.clock.elapsed() - begun).as_millis() as u64,
            "request"
        );
        match answer {
            Some(Ok(inner)) => Ok(self.noting_time(Response {
                inner,
                origin,
                clock: self.clock.clone(),
                counters: self.counters.clone(),
            })),
            Some(Err(e)) if e.is_connect() => {
                let retry = Retry::After(Duration::from_secs(1));
                Err(origin.error(ErrorKind::Connect).retry(retry).because(e.without_url()))
            }
            Some(Err(e)) if e.is_builder() => Err(origin.error(ErrorKind::Refused).because(e.without_url())),
            Some(Err(e)) => match broken_body.lock().take() {
                // The server never got the whole body, so it cannot have carried the request out.
                Some(cause) => Err(origin.error(ErrorKind::Body).because(cause)),
                None => Err(origin
                    .error(ErrorKind::Broken)
                    .retry(origin.lost())
                    .because(e.without_url())),
            },
            None => Err(origin.error(ErrorKind::Stalled).retry(origin.lost())),
        }
    }

    /// Notes what time the server has, for the diagnosis of a machine whose clock is wrong.
    fn noting_time(&self, response: Response) -> Response {
        let date = response.inner.headers().get(DATE).and_then(|date| date.to_str().ok());
        if let Some(time) = date.and_then(|date| httpdate::parse_http_date(date).ok()) {
            self.counters.server_time(Timestamp::from(time), self.clock.now());
        }
        response
    }

    /// The request as it goes out: secrets, length, and a body that tells its progress.
    fn wire(
        &self,
        request: &Request,
        hop: &Hop,
        origin: &Origin,
        pulse: &Arc<Pulse>,
        broken_body: &Arc<Mutex<Option<BodyError>>>,
    ) -> Result<reqwest::Request, Error> {
        let refused = |why: String| origin.error(ErrorKind::Refused).because(why);
        let mut url = hop.url.clone();
        if hop.trusted {
            for (name, secret) in &request.secret_query {
                url.query_pairs_mut().append_pair(name, secret.expose());
            }
        }
        let mut out = reqwest::Request::new(request.method.clone(), url);
        for (name, value) in &request.headers {
            if hop.trusted || !value.is_sensitive() {
                out.headers_mut().insert(name.clone(), value.clone());
            }
        }
        let (len_bytes, content_type, stream) = request.body.encode().map_err(refused)?;
        if let Some(content_type) = content_type {
            let value = HeaderValue::from_str(&content_type).map_err(|e| refused(e.to_string()))?;
            out.headers_mut().insert(CONTENT_TYPE, value);
        }
        let writes = !matches!(request.method.as_str(), "GET" | "HEAD" | "DELETE");
        if writes || !matches!(request.body, Body::None) {
            // Without it some servers refuse a POST that has no body.
            out.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(len_bytes));
        }
        if len_bytes > 0 {
            let (pulse, broken_body, counters) = (pulse.clone(), broken_body.clone(), self.counters.clone());
            let watched = stream.map(move |piece| {
                pulse.beat();
                match piece {
                    Ok(bytes) => {
                        counters.bytes_out(bytes.len());
                        Ok(bytes)
                    }
                    Err(e) => {
                        *broken_body.lock() = Some(e);
                        Err(std::io::Error::other("the body's source failed"))
                    }
                }
            });
            *out.body_mut() = Some(reqwest::Body::wrap_stream(watched));
        }
        Ok(out)
    }

    /// Tells success from failure, and what the server says about coming back.
    async fn judge(&self, request: &Request, response: Response, budgeted: bool) -> Result<Response, Error> {
        let status = response.status();
        if (200..300).contains(&status) || request.accepted.contains(&status) {
            if budgeted && status != 429 {
                self.config.budget.served();
            }
            return Ok(response);
        }
        let headers = response.headers().clone();
        let origin = response.origin.clone();
        let content_type = response.header(CONTENT_TYPE).map(str::to_owned);
        let body = response.beginning().await;
        let html = excerpt::is_html(content_type.as_deref(), &body);
        let text = excerpt::excerpt(&body, html, &origin.secrets);
        let now = self.clock.now();
        let after = pushback::retry_after(&headers, now);
        let quota = pushback::exhausted_until(&text, &headers, now).filter(|_| status == 429);
        let (kind, retry) = match (status, quota) {
            (_, Some(until)) => {
                if budgeted {
                    self.config.budget.exhausted(until);
                }
                (ErrorKind::QuotaExhausted { until }, Retry::After(until.since(now)))
            }
            (429, None) => {
                let pause = if budgeted {
                    self.config.budget.throttled(after)
                } else {
                    after.unwrap_or(Duration::from_secs(2))
                };
                let until = after.map(|span| now.plus(span));
                (ErrorKind::Throttled { until }, Retry::After(pause))
            }
            (503, None) if after.is_some() => {
                let pause = after.unwrap_or_default();
                if budgeted {
                    self.config.budget.throttled(after);
                }
                (ErrorKind::Status, Retry::After(pause))
            }
            (408 | 500..=599, None) => (ErrorKind::Status, origin.lost()),
            _ => (ErrorKind::Status, Retry::Never),
        };
        Err(Error {
            status: Some(status),
            html,
            excerpt: text.into(),
            ..origin.error(kind).retry(retry)
        })
    }
}

/// How long to wait before the same call sends the request again; `None` when it must not, or when that is better left to
/// who has more time.
fn pause_before_repeat(error: &Error, pause: Duration) -> Option<Duration> {
    let Retry::After(least) = error.retry else { return None };
    match &error.kind {
        ErrorKind::Connect | ErrorKind::Broken | ErrorKind::Stalled => Some(pause),
        ErrorKind::Throttled { .. } if error.status.is_some() => Some(pause.max(least)),
        // Most other 5xx are a refusal that comes again.
        ErrorKind::Status if matches!(error.status, Some(408 | 502..=504)) => Some(pause.max(least)),
        ErrorKind::Throttled { .. }
        | ErrorKind::Status
        | ErrorKind::Setup
        | ErrorKind::Refused
        | ErrorKind::QuotaExhausted { .. }
        | ErrorKind::Answer
        | ErrorKind::Body => None,
    }
}

/// Chooses the TLS implementation, once in the process.
fn install_tls() {
    if rustls::crypto::CryptoProvider::get_default().is_none()
        && rustls::crypto::ring::default_provider().install_default().is_err()
    {
        tracing::debug!("another thread has chosen the TLS provider");
    }
}

fn build(config: &ClientConfig, without_roots: bool) -> reqwest::Result<reqwest::Client> {
    let user_agent = format!(
        "{}/{} ({})",
        env!("CARGO_PKG_NAME"),
        env!("CARGO_PKG_VERSION"),
        config.contact
    );
    let mut builder = reqwest::Client::builder()
        .user_agent(user_agent)
        .connect_timeout(config.deadlines.connect)
        // Shorter than servers keep idle connections, so that few requests meet one that is being closed.
        .pool_idle_timeout(Duration::from_secs(20))
        .tcp_nodelay(true)
        .gzip(true)
        .cookie_store(config.cookies)
        // Followed here, because a redirect may neither leave TLS nor spend budget unseen.
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never());
    if redirect::is_loopback(&config.base_url) {
        builder = builder.no_proxy();
    }
    if without_roots {
        builder = builder.tls_certs_only([]);
    }
    builder.build()
}

#[cfg(test)]
mod tests;
