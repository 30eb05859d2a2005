//! What a failed request means to a store's caller.

use super::{ErrorKind, Retry, StoreError};
use crate::http;

/// The usual meaning of a failed request. A store that knows better about a status changes the answer's kind.
pub fn kind_of(error: &http::Error) -> ErrorKind {
    match &error.kind {
        http::ErrorKind::Setup | http::ErrorKind::Refused => ErrorKind::Invalid,
        http::ErrorKind::Connect | http::ErrorKind::Broken => ErrorKind::Network,
        http::ErrorKind::Stalled => ErrorKind::Timeout,
        http::ErrorKind::Throttled { until } => ErrorKind::Throttled { until: *until },
        http::ErrorKind::QuotaExhausted { until } => ErrorKind::QuotaExhausted { until: *until },
        http::ErrorKind::Answer => ErrorKind::Protocol,
        http::ErrorKind::Body => ErrorKind::Local,
        http::ErrorKind::Status => kind_of_status(error.status.unwrap_or_default()),
    }
}

/// The usual meaning of a status that is no success.
pub fn kind_of_status(status: u16) -> ErrorKind {
    match status {
        401 => ErrorKind::Unauthenticated,
        403 => ErrorKind::Denied,
        404 | 410 => ErrorKind::NotFound,
        405 | 501 => ErrorKind::Unsupported,
        408 => ErrorKind::Timeout,
        409 => ErrorKind::Exists,
        // Not one byte of the range is there: the file has become shorter than it is known to be.
        412 | 416 => ErrorKind::Conflict,
        413 => ErrorKind::TooLarge,
        423 => ErrorKind::Busy,
        429 => ErrorKind::Throttled { until: None },
        507 => ErrorKind::Full,
        400..=499 => ErrorKind::Invalid,
        500..=599 => ErrorKind::Server,
        _ => ErrorKind::Protocol,
    }
}

/// A failed request as a store's error. A store's own failure that came up through an upload's body comes back as it was.
pub fn from_http(operation: &'static str, item: impl Into<String>, mut error: http::Error) -> StoreError {
    if error.kind == http::ErrorKind::Body
        && let Some(cause) = error.source.take()
    {
        match cause.downcast::<StoreError>() {
            Ok(own) => return *own,
            Err(other) => error.source = Some(other),
        }
    }
    let kind = kind_of(&error);
    let retry = match error.retry {
        http::Retry::Never => Retry::Never,
        http::Retry::After(span) => Retry::After(span),
        http::Retry::Ambiguous => Retry::Ambiguous,
    };
    StoreError::new(kind, operation, item).retry(retry).because(error)
}

/// The failed request behind a store's error, if that was its cause.
pub fn cause_of(error: &StoreError) -> Option<&http::Error> {
    error.source.as_deref()?.downcast_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_have_their_usual_meaning() {
        for (status, kind) in [
            (401, ErrorKind::Unauthenticated),
            (403, ErrorKind::Denied),
            (404, ErrorKind::NotFound),
            (405, ErrorKind::Unsupported),
            (409, ErrorKind::Exists),
            (413, ErrorKind::TooLarge),
            (416, ErrorKind::Conflict),
            (422, ErrorKind::Invalid),
            (429, ErrorKind::Throttled { until: None }),
            (503, ErrorKind::Server),
            (302, ErrorKind::Protocol),
        ] {
            assert_eq!(kind_of_status(status), kind, "{status}");
        }
    }
}
