//! The parameters of a request: a query, JSON, an urlencoded body or a multipart upload.

use std::collections::BTreeMap;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::{HeaderMap, header};
use futures_util::StreamExt as _;
use serde_json::Value;

/// Largest body that the server's PHP takes, in bytes; a larger one arrives without parameters.
const POST_BYTES_MAX: usize = 16 << 20;

/// Parameters by name.
#[derive(Debug, Default)]
pub(super) struct Params(BTreeMap<String, Value>);

/// An uploaded file.
pub(super) struct Upload {
    pub(super) name: String,
    pub(super) bytes: Bytes,
}

impl Params {
    /// Reads `a=b&c=d`; `a[]=b` is an array.
    pub(super) fn from_urlencoded(text: &[u8]) -> Self {
        let mut params = Self::default();
        for (name, value) in url::form_urlencoded::parse(text) {
            match name.split_once('[') {
                Some((array, _)) => params.0.insert(array.to_owned(), Value::Array(vec![value.into()])),
                None => params.0.insert(name.into_owned(), Value::String(value.into_owned())),
            };
        }
        params
    }

    /// Reads a body by its content type; what cannot be read has no parameters.
    pub(super) async fn from_body(headers: &HeaderMap, body: Body) -> Self {
        let kind = headers
            .get(header::CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok())
            .unwrap_or_default();
        let Some(bytes) = whole(body).await else {
            return Self::default();
        };
        if kind.starts_with("application/json") {
            return match serde_json::from_slice(&bytes) {
                Ok(Value::Object(object)) => Self(object.into_iter().collect()),
                Ok(_) | Err(_) => Self::default(),
            };
        }
        if kind.starts_with("application/x-www-form-urlencoded") {
            return Self::from_urlencoded(&bytes);
        }
        Self::default()
    }

    /// Reads a multipart upload; one that is too large has neither parameters nor file.
    pub(super) async fn from_upload(request: Request) -> (Self, Option<Upload>) {
        let (parts, body) = request.into_parts();
        let Some(bytes) = whole(body).await else {
            return (Self::default(), None);
        };
        let request = Request::from_parts(parts, Body::from(bytes));
        let Ok(mut form) = Multipart::from_request(request, &()).await else {
            return (Self::default(), None);
        };
        let mut params = Self::default();
        let mut upload = None;
        while let Ok(Some(field)) = form.next_field().await {
            let name = field.name().unwrap_or_default().to_owned();
            let file_name = field.file_name().map(str::to_owned);
            let Ok(bytes) = field.bytes().await else {
                return (Self::default(), None);
            };
            match file_name {
                Some(file_name) if name == "file" => upload = Some(Upload { name: file_name, bytes }),
                Some(_) => {}
                None => {
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    params.0.insert(name, Value::String(text));
                }
            }
        }
        (params, upload)
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The text of a parameter; empty when it is missing or no text.
    pub(super) fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }
}

/// A body of at most [`POST_BYTES_MAX`]. A larger one is read to its end before it is thrown away, as the web server does it: a
/// client that is still sending hears the answer.
async fn whole(body: Body) -> Option<Bytes> {
    let mut pieces = body.into_data_stream();
    let mut kept = Vec::new();
    let mut length = 0;
    while let Some(piece) = pieces.next().await {
        let piece = piece.ok()?;
        length += piece.len();
        if length <= POST_BYTES_MAX {
            kept.extend_from_slice(&piece);
        }
    }
    (length <= POST_BYTES_MAX).then(|| kept.into())
}
