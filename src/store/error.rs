//! What goes wrong when a store is asked for something, and whether asking again helps.

use std::fmt;
use std::time::Duration;

use crate::model::Timestamp;

/// The kind of failure; the edge maps it to an errno.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The server says that it does not exist.
    NotFound,
    /// The login is not accepted.
    Unauthenticated,
    /// The account may not do this.
    Denied,
    /// The server refuses the request as it is; the text is its reason.
    Invalid,
    /// Something of this name is there.
    Exists,
    /// The folder still has children.
    NotEmpty,
    /// The item is in use.
    Busy,
    /// The content is larger than the store takes.
    TooLarge,
    /// No space or bandwidth left in the account.
    Full,
    /// Too many requests; with a time when the server named one.
    Throttled {
        /// When it may be asked again.
        until: Option<Timestamp>,
    },
    /// The daily or monthly allowance is used up until then.
    QuotaExhausted {
        /// When requests are accepted again.
        until: Timestamp,
    },
    /// The store cannot do this, ever.
    Unsupported,
    /// The store's version is not the one this change was based on.
    Conflict,
    /// The bytes are not there yet (still processing).
    NotReady,
    /// The asset has expired.
    Expired,
    /// No connection, or it broke.
    Network,
    /// No progress within the deadline.
    Timeout,
    /// The server failed (5xx).
    Server,
    /// An answer that is not what the contract says.
    Protocol,
    /// A local file could not be read (an upload's body).
    Local,
    /// The caller gave up on purpose (newer bytes overtook an upload).
    Cancelled,
}

/// Whether and how a failed call may be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The same request will fail in the same way.
    Never,
    /// It was surely not carried out; try again after this.
    After(Duration),
    /// It may have been carried out: look before sending it again.
    Ambiguous,
}

/// A failed call. Carries no secret: URLs are host and path only.
#[derive(Debug)]
pub struct StoreError {
    /// What went wrong.
    pub kind: ErrorKind,
    /// Which operation (`upload chunk`, `list folder`).
    pub operation: &'static str,
    /// The item or path it was about; may be empty.
    pub item: String,
    /// Whether to ask again.
    pub retry: Retry,
    /// The server's or the system's own words.
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl StoreError {
    /// A failure that trying again does not mend.
    pub fn new(kind: ErrorKind, operation: &'static str, item: impl Into<String>) -> Self {
        Self {
            kind,
            operation,
            item: item.into(),
            retry: Retry::Never,
            source: None,
        }
    }

    /// The store cannot do `operation`.
    pub fn unsupported(operation: &'static str, item: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, operation, item)
    }

    /// The server's reason, or the cause.
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// How it may be tried again.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// The same failure, as told of another item of the same request.
    pub fn about(&self, item: impl Into<String>) -> Self {
        let told = Self::new(self.kind.clone(), self.operation, item).retry(self.retry);
        match &self.source {
            Some(source) => told.because(source.to_string()),
            None => told,
        }
    }

    /// Whether the cause is the line, the server or the allowance, so that the same request may work later.
    pub fn is_transient(&self) -> bool {
        match self.kind {
            ErrorKind::Throttled { .. }
            | ErrorKind::QuotaExhausted { .. }
            | ErrorKind::Network
            | ErrorKind::Timeout
            | ErrorKind::Server
            | ErrorKind::Protocol
            | ErrorKind::NotReady
            | ErrorKind::Cancelled
            | ErrorKind::Busy => true,
            ErrorKind::NotFound
            | ErrorKind::Unauthenticated
            | ErrorKind::Denied
            | ErrorKind::Invalid
            | ErrorKind::Exists
            | ErrorKind::NotEmpty
            | ErrorKind::TooLarge
            | ErrorKind::Full
            | ErrorKind::Unsupported
            | ErrorKind::Conflict
            | ErrorKind::Expired
            | ErrorKind::Local => false,
        }
    }

    /// Whether the server positively said that the item does not exist.
    pub fn is_not_found(&self) -> bool {
        self.kind == ErrorKind::NotFound
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.operation)?;
        if !self.item.is_empty() {
            write!(f, " {}", self.item)?;
        }
        f.write_str(": ")?;
        match &self.kind {
            ErrorKind::NotFound => f.write_str("not found in the store"),
            ErrorKind::Unauthenticated => f.write_str("the store does not accept the login"),
            ErrorKind::Denied => f.write_str("the account is not allowed to do this"),
            ErrorKind::Invalid => f.write_str("the store refuses this"),
            ErrorKind::Exists => f.write_str("it already exists"),
            ErrorKind::NotEmpty => f.write_str("the folder is not empty"),
            ErrorKind::Busy => f.write_str("it is in use in the store"),
            ErrorKind::TooLarge => f.write_str("larger than the store takes"),
            ErrorKind::Full => f.write_str("the account has no space left"),
            ErrorKind::Throttled { .. } => f.write_str("too many requests"),
            ErrorKind::QuotaExhausted { until } => write!(f, "the request allowance is used up until {until}"),
            ErrorKind::Unsupported => f.write_str("this store cannot do that"),
            ErrorKind::Conflict => f.write_str("somebody else changed it in the store"),
            ErrorKind::NotReady => f.write_str("the store is still processing it"),
            ErrorKind::Expired => f.write_str("the asset has expired"),
            ErrorKind::Network => f.write_str("the store cannot be reached"),
            ErrorKind::Timeout => f.write_str("no answer within the deadline"),
            ErrorKind::Server => f.write_str("the server failed"),
            ErrorKind::Protocol => f.write_str("the server's answer makes no sense"),
            ErrorKind::Local => f.write_str("the local copy cannot be read"),
            ErrorKind::Cancelled => f.write_str("given up"),
        }?;
        match &self.source {
            Some(source) => write!(f, " ({source})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|e| e as _)
    }
}
