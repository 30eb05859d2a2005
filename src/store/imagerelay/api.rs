//! Requests to the service: its addresses, the login on each of them, and what failures mean.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::de::DeserializeOwned;

use super::wire::User;
use super::{Auth, errors};
use crate::http::{Answer, Client, Method, Request, Url, header};
use crate::model::{SharedClock, Timestamp};
use crate::store::{ErrorKind, Result};

/// How long an accepted login counts as proven when a single call is refused. Short, because what is refused for lack of a
/// permission is given up, and what is refused for a revoked key must not be.
const LOGIN_PROOF_MAX_AGE: Duration = Duration::from_secs(5);

const ME: &str = "GET /users/me";

pub(super) struct Api {
    client: Arc<Client>,
    base: Url,
    auth: Auth,
    clock: SharedClock,
    login_proven_at: Mutex<Option<Duration>>,
    ahead: Mutex<Ahead>,
}

/// Whose clock is ahead.
enum Ahead {
    Server(Duration),
    Us(Duration),
}

impl Api {
    pub(super) fn new(client: Arc<Client>, base: Url, auth: Auth, clock: SharedClock) -> Self {
        Self {
            client,
            base,
            auth,
            clock,
            login_proven_at: Mutex::new(None),
            ahead: Mutex::new(Ahead::Us(Duration::ZERO)),
        }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Host of the service, for the account's identity.
    pub(super) fn host(&self) -> &str {
        self.base.host_str().unwrap_or_default()
    }

    /// An address that the service sent, which may be relative.
    pub(super) fn absolute(&self, address: &str) -> Option<Url> {
        self.base.join(address).ok()
    }

    /// A request with the login. `path` is relative to the base address.
    pub(super) fn request(&self, method: Method, path: &str, route: &'static str) -> Request {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{path}", self.base.path().trim_end_matches('/')));
        let request = Request::new(method, url, route).header(header::ACCEPT, "application/json");
        match &self.auth {
            Auth::ApiKey(key) => request.secret_header(header::AUTHORIZATION, "Bearer ", key),
            Auth::OAuth(token) => request.secret_header(header::AUTHORIZATION, "OAuth ", token),
            Auth::Basic { login, password } => request.basic_auth(login, password),
        }
    }

    pub(super) fn get(&self, path: &str, route: &'static str) -> Request {
        self.request(Method::GET, path, route)
    }

    pub(super) fn post(&self, path: &str, route: &'static str) -> Request {
        self.request(Method::POST, path, route)
    }

    /// Sends a request. The service answers 401 both to a bad key and to a missing permission: the two are told apart by
    /// asking who we are.
    pub(super) async fn call(&self, operation: &'static str, item: &str, request: Request) -> Result<Answer> {
        let mut error = match self.client.call(request).await {
            // Somebody in between: a captive portal that took a chunk has acknowledged nothing. (The service itself sends an
            // empty answer as HTML, too.)
            Ok(answer) if answer.is_html() && answer.body.trim_ascii_start().starts_with(b"<") => {
                errors::store_error(operation, item, answer.malformed("a page instead of JSON"))
            }
            Ok(answer) => {
                self.set_clock_by(&answer);
                return Ok(answer);
            }
            Err(e) => errors::store_error(operation, item, e),
        };
        if error.kind == ErrorKind::Unauthenticated && self.login_holds().await {
            error.kind = ErrorKind::Denied;
        }
        Err(error)
    }

    /// Sends a request and reads its answer as JSON.
    pub(super) async fn json<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        item: &str,
        request: Request,
    ) -> Result<T> {
        let answer = self.call(operation, item, request).await?;
        answer.json().map_err(|e| errors::store_error(operation, item, e))
    }

    /// Who is logged in.
    pub(super) async fn me(&self) -> Result<User> {
        let failed = |e| errors::store_error("log in", "", e);
        let answer = self.client.call(self.get("users/me.json", ME)).await.map_err(failed)?;
        answer.json().map_err(failed)
    }

    /// The time by the server's clock, as far as its answers told.
    pub(super) fn server_now(&self) -> Timestamp {
        let now = self.clock.now();
        match *self.ahead.lock() {
            Ahead::Server(span) => now.plus(span),
            Ahead::Us(span) => now.minus(span),
        }
    }

    fn set_clock_by(&self, answer: &Answer) {
        let told = answer
            .header(header::DATE)
            .and_then(|date| httpdate::parse_http_date(date).ok());
        if let Some(server) = told.map(Timestamp::from) {
            let now = self.clock.now();
            *self.ahead.lock() = if server > now {
                Ahead::Server(server.since(now))
            } else {
                Ahead::Us(now.since(server))
            };
        }
    }

    async fn login_holds(&self) -> bool {
        let now = self.clock.elapsed();
        let proven = *self.login_proven_at.lock();
        if proven.is_some_and(|at| now.saturating_sub(at) < LOGIN_PROOF_MAX_AGE) {
            return true;
        }
        let holds = self.me().await.is_ok();
        *self.login_proven_at.lock() = holds.then_some(now);
        holds
    }
}
