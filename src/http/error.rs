//! What goes wrong with a request, and whether it may be sent again.

use std::fmt;
use std::time::Duration;

use crate::model::Timestamp;

/// Whether and how a failed request may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It will fail in the same way.
    Never,
    /// It was surely not carried out, or carrying it out twice is harmless: again after this.
    After(Duration),
    /// It may have been carried out: look before sending it again.
    Ambiguous,
}

/// The kind of failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The client could not be set up.
    Setup,
    /// The request was not sent: plain http to another machine, a redirect to it, or a request that makes no sense.
    Refused,
    /// No connection (name, TCP, TLS); the request was surely not sent.
    Connect,
    /// The connection broke.
    Broken,
    /// No progress within the deadline.
    Stalled,
    /// The server answered with a status that means failure.
    Status,
    /// One request too many; with the server's own time when it named one.
    Throttled {
        /// When it may be asked again.
        until: Option<Timestamp>,
    },
    /// The allowance is used up; not sent, or refused as the first to notice.
    QuotaExhausted {
        /// When requests are accepted again, by this machine's clock.
        until: Timestamp,
    },
    /// The answer is not what it must be (no JSON, too long, redirects without end).
    Answer,
    /// The request's own body could not be read.
    Body,
}

/// A failed request. Carries neither a query string nor a secret.
pub struct Error {
    /// What went wrong.
    pub kind: ErrorKind,
    /// The counter's name of the call (`POST /upload_jobs`).
    pub route: &'static str,
    /// Host and path that were asked.
    pub host_and_path: Box<str>,
    /// Whether to send it again.
    pub retry: Retry,
    /// The server's status, when it answered.
    pub status: Option<u16>,
    /// Whether the answer was a page for people.
    pub html: bool,
    /// The beginning of the answer's body, without tags, at most [`super::EXCERPT_BYTES_MAX`] bytes.
    pub excerpt: Box<str>,
    /// The cause.
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    pub(super) fn new(kind: ErrorKind, route: &'static str, host_and_path: impl Into<Box<str>>) -> Self {
        Self {
            kind,
            route,
            host_and_path: host_and_path.into(),
            retry: Retry::Never,
            status: None,
            html: false,
            excerpt: Box::default(),
            source: None,
        }
    }

    pub(super) fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    pub(super) fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The server's reason: the text of a JSON error's usual members, else the excerpt.
    pub fn message(&self) -> String {
        message(&self.excerpt)
    }

    fn what(&self) -> String {
        match &self.kind {
            ErrorKind::Setup => "the HTTP client cannot be set up".to_owned(),
            ErrorKind::Refused => "not sent".to_owned(),
            ErrorKind::Connect => "no connection".to_owned(),
            ErrorKind::Broken => "the connection broke".to_owned(),
            ErrorKind::Stalled => "no progress within the deadline".to_owned(),
            ErrorKind::Status => "refused".to_owned(),
            ErrorKind::Throttled { until: None } => "too many requests".to_owned(),
            ErrorKind::Throttled { until: Some(until) } => format!("too many requests, not before {until}"),
            ErrorKind::QuotaExhausted { until } => format!("the request allowance is used up until {until}"),
            ErrorKind::Answer => "the answer makes no sense".to_owned(),
            ErrorKind::Body => "the bytes to be sent cannot be read".to_owned(),
        }
    }
}

/// The reason inside an error's body.
fn message(excerpt: &str) -> String {
    if let Ok(serde_json::Value::Object(body)) = serde_json::from_str(excerpt) {
        let texts: Vec<String> = ["message", "error_description", "error", "errors"]
            .iter()
            .filter_map(|key| body.get(*key))
            .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
            .collect();
        if !texts.is_empty() {
            return texts.join(": ");
        }
    }
    excerpt.to_owned()
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.what(), self.route)?;
        if !self.host_and_path.is_empty() {
            write!(f, " at {}", self.host_and_path)?;
        }
        if let Some(status) = self.status {
            write!(f, ", status {status}")?;
        }
        let message = self.message();
        if !message.is_empty() {
            write!(f, ": {message}")?;
        }
        // The causes below say it in their own words ("connection refused", "certificate expired").
        let mut cause = self.source.as_deref().map(|e| e as &dyn std::error::Error);
        while let Some(e) = cause {
            write!(f, ": {e}")?;
            cause = e.source();
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}: {self}", self.kind, self.retry)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|e| e as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_found_in_json_and_elsewhere() {
        assert_eq!(message(r#"{"message":"Invalid key."}"#), "Invalid key.");
        assert_eq!(message(r#"{"errors":{"file":["bad"]}}"#), r#"{"file":["bad"]}"#);
        assert_eq!(message("Bad Gateway"), "Bad Gateway");
        assert_eq!(message("[1]"), "[1]");
    }
}
