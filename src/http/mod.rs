//! One HTTP client for every store: User-Agent, deadlines, retry, request budget, cookies, redaction, counters.
//!
//! A store describes each call as a [`Request`] and gets an [`Answer`] (the whole body) from [`Client::call`] or a
//! [`Response`] (its stream) from [`Client::open`]. Everything that must hold for *all* traffic lives here, once: nothing
//! is sent beyond the [`Budget`], nothing waits without a deadline, nothing that is not known to be harmless is sent
//! twice, and no secret and no query string reaches an error or a log.
//!
//! Who asks travels beside the calls as a [`Context`], so that the layers between need not pass it on.

mod allowance;
mod answer;
mod basic;
mod budget;
mod client;
mod context;
mod counters;
mod error;
mod excerpt;
mod gate;
mod multipart;
mod pulse;
mod pushback;
mod redirect;
mod request;
mod secret;
mod slots;

pub use allowance::{Book, Ledger, Limits, MemoryLedger, Period, Used};
pub use answer::{Answer, ByteStream, Response};
pub use budget::{Budget, BudgetState, LocalBudget, Permit, Unavailable};
pub use client::{Client, ClientConfig, Deadlines};
pub use context::{Class, Context, current_context, with_context, within_context};
pub use counters::{LastError, Login, RouteCounters, Snapshot};
pub use error::{Error, ErrorKind, Retry};
pub use excerpt::EXCERPT_BYTES_MAX;
pub use multipart::Part;
pub use request::{Body, BodyError, BodyStream, Idempotency, Request};
pub use reqwest::Method;
pub use reqwest::header;
pub use secret::Secret;
pub use url::Url;

/// Percent-encodes one segment of a path: everything but unreserved characters.
pub fn path_segment(text: &str) -> String {
    const SEGMENT: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~');
    percent_encoding::utf8_percent_encode(text, SEGMENT).to_string()
}
