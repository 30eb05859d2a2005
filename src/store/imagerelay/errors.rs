//! What failed requests mean here (contract, section 1).

use crate::http;
use crate::store::{ErrorKind, Retry, StoreError, from_http};

/// A failed request as a store's error. A page instead of data means an unknown route, which says nothing about the item.
pub(super) fn store_error(operation: &'static str, item: &str, error: http::Error) -> StoreError {
    let page_for_404 = error.status == Some(404) && error.html;
    let taken = matches!(error.status, Some(409 | 422)) && says_taken(&error.message());
    let mut out = from_http::from_http(operation, item, error);
    if page_for_404 {
        out.kind = ErrorKind::Unsupported;
    } else if taken {
        out.kind = ErrorKind::Exists;
    } else if out.kind == ErrorKind::Exists {
        // 409 is used for anything invalid.
        out.kind = ErrorKind::Invalid;
    }
    out
}

fn says_taken(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    ["already", "taken", "maybe exists"]
        .iter()
        .any(|word| message.contains(word))
}

/// Whether the service does not know this route or verb, so that its other spelling is worth a try.
pub(super) fn is_unknown_route(error: &StoreError) -> bool {
    error.kind == ErrorKind::Unsupported
}

/// The status behind an error, if the server answered.
pub(super) fn status(error: &StoreError) -> Option<u16> {
    from_http::cause_of(error)?.status
}

/// The request makes no sense to us, before anything is sent.
pub(super) fn invalid(operation: &'static str, item: &str, why: impl Into<String>) -> StoreError {
    StoreError::new(ErrorKind::Invalid, operation, item).because(why.into())
}

/// The server's answer makes no sense.
pub(super) fn protocol(operation: &'static str, item: &str, why: impl Into<String>) -> StoreError {
    StoreError::new(ErrorKind::Protocol, operation, item).because(why.into())
}

/// The server has not got there yet.
pub(super) fn not_ready(operation: &'static str, item: &str, why: impl Into<String>) -> StoreError {
    StoreError::new(ErrorKind::NotReady, operation, item)
        .retry(Retry::After(std::time::Duration::from_secs(5)))
        .because(why.into())
}
