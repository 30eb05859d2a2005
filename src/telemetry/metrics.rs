//! The names of everything that is counted: what metrics exports call it, in one place so that one thing never has two
//! names. Counters end with `_total`, sizes with `_bytes`, times with `_seconds`.

/// Operations of programs that were answered, by what they are.
pub const OPERATIONS: &str = "assetfs_operations_total";
/// Operations that were answered with an error, by its number.
pub const OPERATION_ERRORS: &str = "assetfs_operation_errors_total";
/// How long operations took.
pub const OPERATION_TIME: &str = "assetfs_operation_seconds";
/// Requests to the store that count against its allowance.
pub const API_REQUESTS: &str = "assetfs_api_requests_total";
/// Requests to the store by route, downloads included.
pub const REQUESTS: &str = "assetfs_requests_total";
/// Answers of the store by route and class of status.
pub const ANSWERS: &str = "assetfs_answers_total";
/// Requests by urgency.
pub const REQUESTS_BY_CLASS: &str = "assetfs_requests_by_class_total";
/// Requests that repeat an earlier one.
pub const REQUESTS_REPEATED: &str = "assetfs_requests_repeated_total";
/// Answers that said "too many requests".
pub const THROTTLED: &str = "assetfs_throttled_total";
/// Bytes received from the store.
pub const RECEIVED: &str = "assetfs_received_bytes_total";
/// Bytes sent to the store.
pub const SENT: &str = "assetfs_sent_bytes_total";
/// Downloads that were asked for.
pub const FETCHES: &str = "assetfs_fetches_total";
/// Bytes of content that came from the store.
pub const FETCHED: &str = "assetfs_fetched_bytes_total";
/// Bytes of content that were asked for ahead of readers.
pub const FETCHED_AHEAD: &str = "assetfs_fetched_ahead_bytes_total";
/// Of these, what was read afterwards.
pub const FETCHED_AHEAD_READ: &str = "assetfs_fetched_ahead_read_bytes_total";
/// Bytes on their way.
pub const IN_FLIGHT: &str = "assetfs_in_flight_bytes";
/// Bytes of clean bodies on this machine.
pub const CACHE_HELD: &str = "assetfs_cache_held_bytes";
/// The most of them.
pub const CACHE_LIMIT: &str = "assetfs_cache_limit_bytes";
/// Reads that found their bytes on this machine.
pub const CACHE_HITS: &str = "assetfs_cache_hits_total";
/// Reads that had to wait for the store.
pub const CACHE_MISSES: &str = "assetfs_cache_misses_total";
/// Bytes that readers got, by where they came from.
pub const READ: &str = "assetfs_read_bytes_total";
/// Bodies thrown out for space.
pub const EVICTIONS: &str = "assetfs_cache_evictions_total";
/// Damaged blocks and bodies that were fetched again.
pub const HEALED: &str = "assetfs_cache_healed_total";
/// Files that are open.
pub const OPEN_FILES: &str = "assetfs_open_files";
/// Changes that the store does not have yet.
pub const PENDING: &str = "assetfs_pending_changes";
/// Their bytes.
pub const PENDING_BYTES: &str = "assetfs_pending_bytes";
/// Changes that the store refuses.
pub const PARKED: &str = "assetfs_parked_changes";
/// Deletions that wait for approval.
pub const HELD: &str = "assetfs_held_changes";
/// Memory of the process.
pub const RESIDENT: &str = "process_resident_memory_bytes";

/// All of them.
pub const ALL: [&str; 30] = [
    OPERATIONS,
    OPERATION_ERRORS,
    OPERATION_TIME,
    API_REQUESTS,
    REQUESTS,
    ANSWERS,
    REQUESTS_BY_CLASS,
    REQUESTS_REPEATED,
    THROTTLED,
    RECEIVED,
    SENT,
    FETCHES,
    FETCHED,
    FETCHED_AHEAD,
    FETCHED_AHEAD_READ,
    IN_FLIGHT,
    CACHE_HELD,
    CACHE_LIMIT,
    CACHE_HITS,
    CACHE_MISSES,
    READ,
    EVICTIONS,
    HEALED,
    OPEN_FILES,
    PENDING,
    PENDING_BYTES,
    PARKED,
    HELD,
    RESIDENT,
    UPTIME,
];

/// How long the mount has been served.
pub const UPTIME: &str = "assetfs_uptime_seconds";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_well_formed() {
        let mut seen = std::collections::HashSet::new();
        for name in ALL {
            assert!(seen.insert(name), "{name} twice");
            // The one that all exporters share has the name that they share.
            assert!(name.starts_with("assetfs_") || name == RESIDENT);
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'));
        }
    }

    /// Alert examples that name what is not counted never fire, and nobody notices.
    #[test]
    fn every_name_in_the_documents_is_counted() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut named = std::collections::HashSet::new();
        for document in ["README.md", "docs/admin.md", "docs/control.md", "docs/errors.md"] {
            let text = std::fs::read_to_string(root.join(document)).expect("a document");
            for word in text.split(|c: char| !(c.is_ascii_lowercase() || c == '_')) {
                if word.starts_with("assetfs_") {
                    assert!(ALL.contains(&word), "{document} names {word}, which nothing counts");
                    named.insert(word.to_owned());
                }
            }
        }
        for name in [PENDING, PENDING_BYTES, PARKED, HELD, SENT] {
            assert!(named.contains(name), "the alert examples lack {name}");
        }
    }
}
