//! The calls, with a token that is renewed once when the server takes it no more.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::http::{self, Answer, Client, Method, Part, Request, Response, Secret, Url, header};
use crate::store::from_http::from_http;
use crate::store::{ErrorKind, Result, Retry, StoreError};

use super::config::Im4Config;
use super::decode;
use super::ids::Place;
use super::metadata::Dialect;

/// How long a server may think about a zip or an upload.
const LONG_WORK: Duration = Duration::from_secs(300);
/// Says that the token is not (or no longer) accepted; 419 is what the server's framework says of an expired session.
const NOT_KNOWN: [u16; 2] = [401, 419];

/// One token and which it is, counted from the start.
#[derive(Clone, Default)]
struct Generation {
    number: u64,
    token: Arc<OnceCell<Secret>>,
}

/// A server's API.
pub(super) struct Api {
    client: Arc<Client>,
    pub(super) config: Im4Config,
    pub(super) dialect: Dialect,
    /// Invariant: only grows; a cell is filled once, by whoever needs it first.
    current: Mutex<Generation>,
}

/// What a call is about, for errors.
#[derive(Clone, Copy)]
pub(super) struct About {
    pub(super) operation: &'static str,
    pub(super) place: Place,
}

impl About {
    pub(super) fn error(self, kind: ErrorKind) -> StoreError {
        self.place.error(kind, self.operation)
    }

    fn http(self, error: http::Error) -> StoreError {
        from_http(self.operation, self.place.id().as_str(), error)
    }
}

impl Api {
    pub(super) fn new(client: Arc<Client>, config: Im4Config) -> Self {
        Self {
            client,
            config,
            dialect: Dialect::default(),
            current: Mutex::default(),
        }
    }

    /// An address below the API's.
    pub(super) fn url(&self, parts: &[&str]) -> Url {
        let mut url = self.config.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(parts);
        }
        url
    }

    /// The address of something in a project's files.
    pub(super) fn files_url(&self, project: u64, parts: &[&str]) -> Url {
        let project = project.to_string();
        let mut all = vec!["project", &project, "files"];
        all.extend(parts);
        self.url(&all)
    }

    /// Beside the API, not below it.
    fn token_url(&self) -> Url {
        let mut url = self.config.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().pop().extend(["oauth", "token"]);
        }
        url
    }

    async fn fetch_token(&self) -> Result<Secret> {
        let about = About {
            operation: "log in",
            place: Place::Root,
        };
        let fields = [
            ("grant_type", "client_credentials"),
            ("client_id", &self.config.client_id),
            ("client_secret", self.config.client_secret.expose()),
            ("scope", "*"),
        ];
        let request = || {
            Request::new(Method::POST, self.token_url(), "POST /oauth/token")
                .header(header::ACCEPT, "application/json")
                .scrub(&self.config.client_secret)
                .accept(&[400, 401, 403, 415, 419, 422])
                // A token too many harms nobody.
                .safe()
        };
        let mut answer = self
            .client
            .call(request().form(&fields))
            .await
            .map_err(|e| about.http(e))?;
        if answer.status >= 400 {
            // The documentation says "form data", and a server that reads nothing else sees no client at all: 401 too.
            let parts = fields.iter().map(|(name, value)| Part::text(*name, *value)).collect();
            answer = self
                .client
                .call(request().multipart(parts))
                .await
                .map_err(|e| about.http(e))?;
        }
        if answer.status >= 400 {
            let refused = about.error(ErrorKind::Unauthenticated);
            return Err(refused.because("the server does not accept the client id and secret"));
        }
        let told: Value = answer.json().map_err(|e| about.http(e))?;
        match told.get("access_token").and_then(Value::as_str) {
            Some(token) => Ok(Secret::new(token)),
            None => Err(about.error(ErrorKind::Protocol).because("an answer without a token")),
        }
    }

    async fn token(&self) -> Result<(u64, Secret)> {
        let generation = self.current.lock().clone();
        let token = generation.token.get_or_try_init(|| self.fetch_token()).await?;
        Ok((generation.number, token.clone()))
    }

    /// The token of generation `number` is not accepted: the next request gets a new one.
    fn outdated(&self, number: u64) {
        let mut current = self.current.lock();
        if current.number == number {
            *current = Generation {
                number: number + 1,
                token: Arc::default(),
            };
        }
    }

    fn signed(request: &Request, token: &Secret) -> Request {
        request
            .clone()
            .header(header::ACCEPT, "application/json")
            .secret_header(header::AUTHORIZATION, "Bearer ", token)
            .accept(&NOT_KNOWN)
    }

    /// Sends a request; with one new token when the old one is refused.
    pub(super) async fn call(&self, request: Request, about: About) -> Result<Answer> {
        for _ in 0..2 {
            let (number, token) = self.token().await?;
            let answer = self
                .client
                .call(Self::signed(&request, &token))
                .await
                .map_err(|e| about.http(e))?;
            if !NOT_KNOWN.contains(&answer.status) {
                return Ok(answer);
            }
            self.outdated(number);
        }
        Err(Self::refused(about))
    }

    /// As [`Api::call`], with the answer as a stream.
    pub(super) async fn open(&self, request: Request, about: About) -> Result<Response> {
        let request = request.patience(LONG_WORK).identity();
        for _ in 0..2 {
            let (number, token) = self.token().await?;
            let answer = self
                .client
                .open(Self::signed(&request, &token))
                .await
                .map_err(|e| about.http(e))?;
            if !NOT_KNOWN.contains(&answer.status()) {
                return Ok(answer);
            }
            self.outdated(number);
        }
        Err(Self::refused(about))
    }

    fn refused(about: About) -> StoreError {
        about
            .error(ErrorKind::Unauthenticated)
            .because("the server refuses even a new token")
    }

    /// An answer's JSON.
    pub(super) fn json(answer: &Answer, about: About) -> Result<Value> {
        answer.json().map_err(|e| about.http(e))
    }

    /// GETs JSON.
    pub(super) async fn get(&self, request: Request, about: About) -> Result<Value> {
        let answer = self.call(request, about).await?;
        Self::json(&answer, about)
    }

    /// GETs a list and decodes each of its items; one that cannot be decoded makes the whole an error, because a listing
    /// must not be shorter than the truth.
    pub(super) async fn get_list<T>(
        &self,
        request: Request,
        name: &str,
        about: About,
        decode_item: fn(decode::Object) -> std::result::Result<T, decode::NoId>,
    ) -> Result<Vec<T>> {
        let answer = self.get(request, about).await?;
        let unreadable = |why: &str| {
            let again = Retry::After(Duration::from_secs(5));
            about.error(ErrorKind::Protocol).retry(again).because(why.to_owned())
        };
        let items = decode::items(answer, name).ok_or_else(|| unreadable("the answer is no list"))?;
        let decoded = items.into_iter().map(|item| match item {
            Value::Object(object) => decode_item(object).map_err(|e| unreadable(&e.to_string())),
            _ => Err(unreadable("an item of the list is no object")),
        });
        decoded.collect()
    }

    /// Uploads files, in one request.
    pub(super) async fn upload(&self, project: u64, category: u64, files: Vec<Part>, about: About) -> Result<Value> {
        let url = self.files_url(project, &["category", &category.to_string()]);
        let request = Request::new(Method::POST, url, "POST /project/{id}/files/category/{id}")
            .multipart(files)
            .patience(LONG_WORK);
        let answer = self.call(request, about).await?;
        // The files are there whatever the answer looks like.
        Self::json(&answer, about).map_err(|error| error.retry(Retry::Ambiguous))
    }
}
