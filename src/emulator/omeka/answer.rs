//! Answers as PHP writes them: JSON with its own escapes, bare error bodies, and HTML where a script died.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};

/// Why a request is not served.
#[derive(Debug)]
pub(super) enum Refusal {
    /// `{"message": …}` with a status.
    Message(StatusCode, String),
    /// `{"message":"Error when saving record.","errors":{…}}`.
    Invalid(Vec<(&'static str, &'static str)>),
    /// The script died: 500 with an empty HTML body.
    Crash,
}

impl Refusal {
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Refusal::Message(StatusCode::BAD_REQUEST, message.into())
    }

    pub(super) fn not_an_object() -> Self {
        Self::bad_request("Invalid request. Request body must be a JSON object.")
    }

    pub(super) fn not_one_file() -> Self {
        Self::bad_request("Invalid request. Exactly one file must be uploaded per request.")
    }

    pub(super) fn server(message: impl Into<String>) -> Self {
        Refusal::Message(StatusCode::INTERNAL_SERVER_ERROR, message.into())
    }

    pub(super) fn database(reason: &str) -> Self {
        Self::server(format!("Mysqli statement execute error : {reason}"))
    }

    pub(super) fn not_found() -> Self {
        Refusal::Message(StatusCode::NOT_FOUND, "Invalid record. Record not found.".to_owned())
    }

    pub(super) fn denied() -> Self {
        Refusal::Message(StatusCode::FORBIDDEN, "Permission denied.".to_owned())
    }

    pub(super) fn invalid_key() -> Self {
        Refusal::Message(StatusCode::FORBIDDEN, "Invalid key.".to_owned())
    }

    pub(super) fn no_action(action: &str) -> Self {
        Self::method(format!("This resource does not implement the \"{action}\" action."))
    }

    pub(super) fn method(message: impl Into<String>) -> Self {
        Refusal::Message(StatusCode::METHOD_NOT_ALLOWED, message.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Refusal::Message(status, message) => json_answer(status, &json!({ "message": message }), Style::Compact),
            Refusal::Invalid(errors) => {
                let errors: serde_json::Map<String, Value> = errors
                    .into_iter()
                    .map(|(field, reason)| (field.to_owned(), Value::from(reason)))
                    .collect();
                json_answer(
                    StatusCode::BAD_REQUEST,
                    &json!({ "message": "Error when saving record.", "errors": errors }),
                    Style::Compact,
                )
            }
            Refusal::Crash => {
                let mut answer = Response::new(Body::empty());
                *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                answer.headers_mut().insert(
                    header::CONTENT_TYPE,
                    HeaderValue::from_static("text/html; charset=UTF-8"),
                );
                answer
            }
        }
    }
}

/// How JSON is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// On one line.
    Compact,
    /// Indented by four, as `pretty_print` asks.
    Pretty,
}

/// An answer with a JSON body.
pub(super) fn json_answer(status: StatusCode, body: &Value, style: Style) -> Response {
    let mut answer = Response::new(Body::from(php_json(body, style)));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// JSON with `/` as `\/` and everything beyond ASCII as `\uXXXX`.
fn php_json(body: &Value, style: Style) -> String {
    let mut bytes = Vec::new();
    let written = match style {
        Style::Compact => serde_json::to_writer(&mut bytes, body),
        Style::Pretty => {
            let layout = serde_json::ser::PrettyFormatter::with_indent(b"    ");
            body.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, layout))
        }
    };
    // A value that came from this module always serialises, and always as UTF-8.
    let plain = match written {
        Ok(()) => String::from_utf8(bytes).unwrap_or_default(),
        Err(_) => String::new(),
    };
    let mut escaped = String::with_capacity(plain.len() + plain.len() / 8);
    for c in plain.chars() {
        match c {
            '/' => escaped.push_str("\\/"),
            c if c.is_ascii() => escaped.push(c),
            c => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    escaped.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_escaped_as_php_does() {
        assert_eq!(
            php_json(&json!({"url": "http://h/a", "t": "é😀"}), Style::Compact),
            r#"{"url":"http:\/\/h\/a","t":"\u00e9\ud83d\ude00"}"#
        );
    }
}
