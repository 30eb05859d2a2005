//! Answers: whole, or as a stream.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName};
use serde::de::DeserializeOwned;

use super::counters::Counters;
use super::error::{Error, ErrorKind, Retry};
use super::excerpt;
use super::{Idempotency, Secret};
use crate::model::SharedClock;

/// The bytes of an answer on their way; each piece has the deadline of a request that makes no progress.
pub type ByteStream = BoxStream<'static, Result<Bytes, Error>>;

/// What stays the same for one request, whatever becomes of its answer.
#[derive(Clone)]
pub(super) struct Origin {
    pub(super) route: &'static str,
    pub(super) host_and_path: String,
    pub(super) idempotency: Idempotency,
    pub(super) secrets: Vec<Secret>,
    pub(super) patience: Duration,
}

impl Origin {
    pub(super) fn error(&self, kind: ErrorKind) -> Error {
        Error::new(kind, self.route, self.host_and_path.clone())
    }

    /// How a request whose answer was lost may be sent again.
    pub(super) fn lost(&self) -> Retry {
        match self.idempotency {
            Idempotency::Safe => Retry::After(Duration::from_secs(1)),
            Idempotency::Unsafe => Retry::Ambiguous,
        }
    }
}

/// An answer whose body has not been read yet.
pub struct Response {
    pub(super) inner: reqwest::Response,
    pub(super) origin: Origin,
    pub(super) clock: SharedClock,
    pub(super) counters: Arc<Counters>,
}

impl Response {
    /// The status.
    pub fn status(&self) -> u16 {
        self.inner.status().as_u16()
    }

    /// A header as text.
    pub fn header(&self, name: HeaderName) -> Option<&str> {
        self.inner.headers().get(name)?.to_str().ok()
    }

    /// All headers.
    pub fn headers(&self) -> &HeaderMap {
        self.inner.headers()
    }

    /// The body's length, when the server told it.
    pub fn content_length(&self) -> Option<u64> {
        self.inner.content_length()
    }

    /// The body as it arrives.
    pub fn stream(self) -> ByteStream {
        stream::unfold(Some(self), |response| async move {
            let mut response = response?;
            match response.next_piece().await {
                Ok(Some(bytes)) => Some((Ok(bytes), Some(response))),
                Ok(None) => None,
                Err(e) => Some((Err(e), None)),
            }
        })
        .boxed()
    }

    async fn next_piece(&mut self) -> Result<Option<Bytes>, Error> {
        let piece = tokio::select! {
            piece = self.inner.chunk() => piece,
            () = self.clock.sleep(self.origin.patience) => {
                return Err(self.origin.error(ErrorKind::Stalled).retry(self.origin.lost()));
            }
        };
        match piece {
            Ok(piece) => {
                self.counters.bytes_in(piece.as_ref().map_or(0, Bytes::len));
                Ok(piece)
            }
            Err(e) => Err(self
                .origin
                .error(ErrorKind::Broken)
                .retry(self.origin.lost())
                .because(e.without_url())),
        }
    }

    /// The whole body; an error when it is longer than `bytes_max`.
    pub(super) async fn collect(mut self, bytes_max: usize) -> Result<Answer, Error> {
        let mut body = BytesMut::new();
        while let Some(piece) = self.next_piece().await? {
            if body.len() + piece.len() > bytes_max {
                return Err(self.origin.error(ErrorKind::Answer).because("the answer is too long"));
            }
            body.extend_from_slice(&piece);
        }
        Ok(Answer {
            status: self.status(),
            headers: self.inner.headers().clone(),
            body: body.freeze(),
            origin: self.origin,
        })
    }

    /// The beginning of the body; what comes after it, or breaks, is of no interest.
    pub(super) async fn beginning(mut self) -> Vec<u8> {
        let mut body = Vec::new();
        while body.len() < excerpt::EXCERPT_BYTES_MAX {
            match self.next_piece().await {
                Ok(Some(piece)) => body.extend_from_slice(&piece),
                Ok(None) | Err(_) => break,
            }
        }
        body
    }
}

/// A whole answer.
pub struct Answer {
    /// The status: 2xx, or one that the request accepts.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    pub(super) origin: Origin,
}

impl Answer {
    /// A header as text.
    pub fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Whether the body is a page for people.
    pub fn is_html(&self) -> bool {
        excerpt::is_html(self.header(CONTENT_TYPE), &self.body)
    }

    /// The body as JSON; an [`ErrorKind::Answer`] with the body's beginning when it is something else. Whatever the request
    /// asked for has been done by then, so the error is ambiguous for a request that must not be sent twice.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|e| self.malformed(e))
    }

    /// An error about this answer: it is not what the contract says.
    pub fn malformed(&self, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        let html = self.is_html();
        let retry = match self.origin.idempotency {
            Idempotency::Safe => Retry::Never,
            Idempotency::Unsafe => Retry::Ambiguous,
        };
        Error {
            status: Some(self.status),
            html,
            excerpt: excerpt::excerpt(&self.body, html, &self.origin.secrets).into(),
            ..self.origin.error(ErrorKind::Answer).retry(retry).because(why)
        }
    }
}
