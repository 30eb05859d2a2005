//! The description of a request.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use reqwest::Method;
use reqwest::header::{HeaderName, HeaderValue};
use serde::Serialize;
use url::Url;

use super::Secret;
use super::multipart::{self, Part};

/// Bytes go out in pieces of this size, so that a slow line shows progress.
const PIECE_BYTES: usize = 64 << 10;

/// What the source of a request's body may fail with.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A request's body on its way.
pub type BodyStream = BoxStream<'static, Result<Bytes, BodyError>>;

/// Whether a request whose answer was lost may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idempotency {
    /// Sending it twice is the same as once.
    Safe,
    /// It might be carried out twice: a lost answer is ambiguous.
    Unsafe,
}

/// A request's body. It can be opened again for each attempt.
#[derive(Clone, Default)]
pub enum Body {
    /// None.
    #[default]
    None,
    /// Bytes in memory.
    Bytes(Bytes),
    /// A stream of known length, opened by the function.
    Stream {
        /// Its exact length.
        len_bytes: u64,
        /// Opens it from the start.
        open: Arc<dyn Fn() -> BodyStream + Send + Sync>,
    },
    /// `multipart/form-data`.
    Multipart(Arc<Vec<Part>>),
}

impl Body {
    /// Bytes in memory.
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        Body::Bytes(bytes.into())
    }

    /// A stream of exactly `len_bytes` that `open` starts anew for each attempt.
    pub fn stream<S, E>(len_bytes: u64, open: impl Fn() -> S + Send + Sync + 'static) -> Self
    where
        S: futures_util::Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: Into<BodyError> + 'static,
    {
        Body::Stream {
            len_bytes,
            open: Arc::new(move || open().map_err(Into::into).boxed()),
        }
    }

    /// Length and bytes; `None` for a form, which [`multipart::encode`] lays out.
    pub(super) fn open(&self) -> Option<(u64, BodyStream)> {
        match self {
            Body::None => Some((0, stream::empty().boxed())),
            Body::Bytes(bytes) => {
                let pieces = stream::unfold(bytes.clone(), |mut rest| async move {
                    let piece = rest.split_to(rest.len().min(PIECE_BYTES));
                    (!piece.is_empty()).then_some((Ok(piece), rest))
                });
                Some((bytes.len() as u64, pieces.boxed()))
            }
            Body::Stream { len_bytes, open } => Some((*len_bytes, open())),
            Body::Multipart(_) => None,
        }
    }

    /// Length, content type where the body brings its own, and bytes.
    pub(super) fn encode(&self) -> Result<(u64, Option<String>, BodyStream), String> {
        if let Body::Multipart(parts) = self {
            let form = multipart::encode(parts)?;
            return Ok((form.len_bytes, Some(form.content_type), form.stream));
        }
        self.open()
            .map(|(len, stream)| (len, None, stream))
            .ok_or_else(|| "no body".to_owned())
    }
}

/// One request, to be sent by [`super::Client::call`] or [`super::Client::open`].
#[derive(Clone)]
pub struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) route: &'static str,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) secret_query: Vec<(String, Secret)>,
    pub(super) secrets: Vec<Secret>,
    pub(super) body: Body,
    pub(super) idempotency: Idempotency,
    pub(super) budgeted: bool,
    pub(super) accepted: Vec<u16>,
    pub(super) patience: Option<Duration>,
    pub(super) answer_bytes_max: usize,
    /// What made the description invalid: told when it is sent, so that building stays a chain.
    pub(super) flaw: Option<String>,
}

impl Request {
    /// A request without a body. `route` is its name for counters, errors and logs (`POST /upload_jobs`). GET, HEAD, PUT
    /// and DELETE start out as [`Idempotency::Safe`], the others as [`Idempotency::Unsafe`]; it counts as an API request.
    pub fn new(method: Method, url: Url, route: &'static str) -> Self {
        let idempotency = if [Method::GET, Method::HEAD, Method::PUT, Method::DELETE].contains(&method) {
            Idempotency::Safe
        } else {
            Idempotency::Unsafe
        };
        Self {
            method,
            url,
            route,
            headers: Vec::new(),
            secret_query: Vec::new(),
            secrets: Vec::new(),
            body: Body::None,
            idempotency,
            budgeted: true,
            accepted: Vec::new(),
            patience: None,
            answer_bytes_max: 64 << 20,
            flaw: None,
        }
    }

    /// A GET.
    pub fn get(url: Url, route: &'static str) -> Self {
        Self::new(Method::GET, url, route)
    }

    /// Adds a parameter to the query.
    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.url.query_pairs_mut().append_pair(name, value);
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: HeaderName, value: &str) -> Self {
        match HeaderValue::from_str(value) {
            Ok(value) => self.headers.push((name, value)),
            Err(_) => self.flaw = Some(format!("the header {name} cannot carry this value")),
        }
        self
    }

    /// Adds a header whose value is a secret (`Authorization`), after a plain prefix such as `Bearer `. It is not sent on
    /// to another server by a redirect.
    pub fn secret_header(mut self, name: HeaderName, prefix: &str, secret: &Secret) -> Self {
        match HeaderValue::from_str(&format!("{prefix}{}", secret.expose())) {
            Ok(mut value) => {
                value.set_sensitive(true);
                self.headers.push((name, value));
            }
            Err(_) => {
                self.flaw = Some(format!(
                    "the secret for the header {name} holds a character it cannot carry"
                ))
            }
        }
        self.scrub(secret)
    }

    /// Adds a parameter to the query whose value is a secret (`?key=`). It is not sent on by a redirect.
    pub fn secret_query(mut self, name: &str, secret: &Secret) -> Self {
        self.secret_query.push((name.to_owned(), secret.clone()));
        self.scrub(secret)
    }

    /// Keeps `secret`, which the body carries, out of the excerpts of answers that repeat it.
    pub fn scrub(mut self, secret: &Secret) -> Self {
        self.secrets.push(secret.clone());
        self
    }

    /// A JSON body.
    pub fn json(mut self, value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(bytes) => {
                self.body = Body::bytes(bytes);
                self.header(reqwest::header::CONTENT_TYPE, "application/json")
            }
            Err(e) => {
                self.flaw = Some(format!("the body cannot be written as JSON: {e}"));
                self
            }
        }
    }

    /// A form body (`application/x-www-form-urlencoded`).
    pub fn form(mut self, fields: &[(&str, &str)]) -> Self {
        let text: String = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        self.body = Body::bytes(text);
        self.header(reqwest::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
    }

    /// A form with files.
    pub fn multipart(mut self, parts: Vec<Part>) -> Self {
        self.body = Body::Multipart(Arc::new(parts));
        self
    }

    /// Any other body with its content type.
    pub fn body(mut self, content_type: &str, body: Body) -> Self {
        self.body = body;
        self.header(reqwest::header::CONTENT_TYPE, content_type)
    }

    /// Sending it twice is the same as once.
    pub fn safe(mut self) -> Self {
        self.idempotency = Idempotency::Safe;
        self
    }

    /// A lost answer is ambiguous.
    pub fn not_safe(mut self) -> Self {
        self.idempotency = Idempotency::Unsafe;
        self
    }

    /// A download from a CDN or static folder: it spends no API budget.
    pub fn unbudgeted(mut self) -> Self {
        self.budgeted = false;
        self
    }

    /// The bytes as they are stored: no compression on the way, so that ranges and lengths mean what they say.
    pub fn identity(self) -> Self {
        self.header(reqwest::header::ACCEPT_ENCODING, "identity")
    }

    /// The bytes `range` only (half-open, not empty).
    pub fn range(self, range: &std::ops::Range<u64>) -> Self {
        let value = format!("bytes={}-{}", range.start, range.end.saturating_sub(1));
        self.header(reqwest::header::RANGE, &value)
    }

    /// Statuses that the caller wants to see itself rather than as an error, besides 2xx.
    pub fn accept(mut self, statuses: &[u16]) -> Self {
        self.accepted.extend_from_slice(statuses);
        self
    }

    /// Another time without progress than the client's, for calls that a server is known to think long about.
    pub fn patience(mut self, span: Duration) -> Self {
        self.patience = Some(span);
        self
    }

    /// The longest answer that [`super::Client::call`] takes, in bytes (64 MiB by default).
    pub fn answer_bytes_max(mut self, bytes_max: usize) -> Self {
        self.answer_bytes_max = bytes_max;
        self
    }
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {}", self.route, super::redirect::host_and_path(&self.url))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_prints_neither_query_nor_secret() {
        let key = Secret::new("s3cr3t-key");
        let request = Request::get("https://x.org/items?page=1".parse().expect("a URL"), "GET /items")
            .secret_query("key", &key)
            .secret_header(reqwest::header::AUTHORIZATION, "Bearer ", &key)
            .json(&serde_json::json!({"token": key.expose()}));
        assert_eq!(format!("{request:?}"), "GET /items at x.org/items");
        assert!(!format!("{:?}", request.headers).contains("s3cr3t"));
    }

    #[tokio::test]
    async fn bytes_go_out_in_small_pieces() {
        let body = Body::bytes(vec![7u8; PIECE_BYTES * 2 + 1]);
        for _attempt in 0..2 {
            let (len, stream) = body.open().expect("bytes");
            let pieces: Vec<Bytes> = stream.try_collect().await.expect("bytes");
            assert_eq!(
                pieces.iter().map(Bytes::len).collect::<Vec<_>>(),
                [PIECE_BYTES, PIECE_BYTES, 1]
            );
            assert_eq!(len, PIECE_BYTES as u64 * 2 + 1);
        }
    }
}
