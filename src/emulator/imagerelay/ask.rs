//! A request as handlers see it, and the answers they give.

use std::collections::HashMap;

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// A request to the API: routed, authenticated, with its body.
pub(super) struct Ask {
    /// The values of the template's placeholders, in order.
    pub(super) params: Vec<String>,
    pub(super) path: String,
    pub(super) query: HashMap<String, String>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// `http://HOST:PORT` as the client called it.
    pub(super) origin: String,
}

/// What a handler says; the error is an answer, too.
pub(super) type Outcome = Result<Reply, Reply>;

/// An answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) body: ReplyBody,
    pub(super) link: Option<String>,
}

/// Its body.
#[derive(Debug)]
pub(super) enum ReplyBody {
    Empty,
    Json(Value),
    Text(String),
    Html(&'static str),
}

const NOT_FOUND_PAGE: &str = "<!DOCTYPE html>\n<html>\n<head><title>The page you were looking for doesn't exist (404)</title></head>\n\
     <body><h1>The page you were looking for doesn't exist.</h1></body>\n</html>\n";

impl Reply {
    /// A JSON document.
    pub(super) fn json(status: StatusCode, value: Value) -> Self {
        Self {
            status,
            body: ReplyBody::Json(value),
            link: None,
        }
    }

    /// 200 with a document.
    pub(super) fn ok(value: Value) -> Self {
        Self::json(StatusCode::OK, value)
    }

    /// 201 with a document.
    pub(super) fn created(value: Value) -> Self {
        Self::json(StatusCode::CREATED, value)
    }

    /// 204.
    pub(super) fn done() -> Self {
        Self {
            status: StatusCode::NO_CONTENT,
            body: ReplyBody::Empty,
            link: None,
        }
    }

    /// A plain text.
    pub(super) fn text(status: StatusCode, text: impl Into<String>) -> Self {
        Self {
            status,
            body: ReplyBody::Text(text.into()),
            link: None,
        }
    }

    /// 404 for something that is not there.
    pub(super) fn missing(what: &str) -> Self {
        Self::json(StatusCode::NOT_FOUND, json!({"error": format!("{what} not found")}))
    }

    /// 422 with the reason.
    pub(super) fn invalid(why: impl Into<String>) -> Self {
        Self::json(StatusCode::UNPROCESSABLE_ENTITY, json!({"errors": [why.into()]}))
    }

    /// The page that the service shows for a route it does not know.
    pub(super) fn unknown_route() -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            body: ReplyBody::Html(NOT_FOUND_PAGE),
            link: None,
        }
    }

    /// 500: the emulator itself failed.
    pub(super) fn broken(error: &dyn std::error::Error) -> Self {
        tracing::error!(%error, "the emulator failed");
        Self::text(StatusCode::INTERNAL_SERVER_ERROR, "the emulator failed; see its log")
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let (kind, body) = match self.body {
            ReplyBody::Empty => (None, Body::empty()),
            ReplyBody::Json(value) => (Some("application/json; charset=utf-8"), Body::from(value.to_string())),
            ReplyBody::Text(text) => (Some("text/plain; charset=utf-8"), Body::from(text)),
            ReplyBody::Html(page) => (Some("text/html; charset=utf-8"), Body::from(page)),
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        if let Some(kind) = kind {
            response
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        if let Some(Ok(link)) = self.link.map(|link| HeaderValue::from_str(&link)) {
            response.headers_mut().insert(HeaderName::from_static("link"), link);
        }
        response
    }
}

impl Ask {
    /// The n-th placeholder as an id; what is no number is nowhere.
    pub(super) fn id(&self, n: usize) -> Result<u64, Reply> {
        self.params
            .get(n)
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| Reply::missing("record"))
    }

    /// The n-th placeholder.
    pub(super) fn param(&self, n: usize) -> &str {
        self.params.get(n).map_or("", String::as_str)
    }

    /// The page asked for, from 1.
    pub(super) fn page(&self) -> Result<usize, Reply> {
        match self.query.get("page") {
            None => Ok(1),
            Some(text) => text
                .parse()
                .ok()
                .filter(|page| *page >= 1)
                .ok_or_else(|| Reply::invalid(format!("page {text:?} is not a number from 1"))),
        }
    }

    /// Entries a page: at most 100.
    pub(super) fn per_page(&self) -> usize {
        let asked = self.query.get("per_page").and_then(|text| text.parse().ok());
        asked.unwrap_or(100).clamp(1, 100)
    }

    /// The body as a JSON object.
    pub(super) fn json(&self) -> Result<Value, Reply> {
        self.require_type("application/json")?;
        match serde_json::from_slice::<Value>(&self.body) {
            Ok(value) if value.is_object() => Ok(value),
            Ok(_) => Err(Reply::text(StatusCode::BAD_REQUEST, "a JSON object is expected")),
            Err(error) => Err(Reply::text(StatusCode::BAD_REQUEST, format!("bad JSON: {error}"))),
        }
    }

    /// The body as raw bytes of at most `bytes_max`.
    pub(super) fn bytes(&self, bytes_max: u64) -> Result<Bytes, Reply> {
        self.require_type("application/octet-stream")?;
        if !self.headers.contains_key(CONTENT_LENGTH) {
            return Err(Reply::text(StatusCode::LENGTH_REQUIRED, "Content-Length is required"));
        }
        if self.body.len() as u64 > bytes_max {
            return Err(Reply::invalid(format!("the body is larger than {bytes_max} bytes")));
        }
        Ok(self.body.clone())
    }

    fn require_type(&self, wanted: &str) -> Result<(), Reply> {
        let kind = self.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
        if kind.eq_ignore_ascii_case(wanted) {
            return Ok(());
        }
        Err(Reply::text(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("Content-Type must be {wanted}"),
        ))
    }
}

/// An id as clients send it: a number, or a string of digits.
pub(super) fn as_id(value: &Value) -> Option<u64> {
    value
        .as_u64()
        .or_else(|| value.as_str().and_then(|text| text.trim().parse().ok()))
}

/// A required id in an object.
pub(super) fn id_in(object: &Value, field: &str) -> Result<u64, Reply> {
    object
        .get(field)
        .and_then(as_id)
        .ok_or_else(|| Reply::invalid(format!("{field} is required")))
}

/// A required, non-empty text in an object.
pub(super) fn text_in(object: &Value, field: &str) -> Result<String, Reply> {
    object
        .get(field)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
        .ok_or_else(|| Reply::invalid(format!("{field} is required")))
}

/// A required list in an object.
pub(super) fn list_in<'a>(object: &'a Value, field: &str) -> Result<&'a Vec<Value>, Reply> {
    object
        .get(field)
        .and_then(Value::as_array)
        .ok_or_else(|| Reply::invalid(format!("{field} must be a list")))
}

/// A list of ids in an object; absent or null is empty.
pub(super) fn ids_in(object: &Value, field: &str) -> Result<Vec<u64>, Reply> {
    match object.get(field) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(list)) => list
            .iter()
            .map(|value| as_id(value).ok_or_else(|| Reply::invalid(format!("{field} holds {value}, which is no id"))))
            .collect(),
        Some(_) => Err(Reply::invalid(format!("{field} must be a list"))),
    }
}
