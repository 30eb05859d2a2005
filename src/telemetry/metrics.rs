//! The names of everything that is counted: what `status --json` and metrics exports call it, in one place so that one
//! thing never has two names. Counters end with `_total`, sizes with `_bytes`, times with `_seconds`.

/// Requests to the store that count against its allowance, by class.
pub const API_REQUESTS: &str = "assetfs_api_requests_total";
/// Requests for content, which do not count against it.
pub const CONTENT_REQUESTS: &str = "assetfs_content_requests_total";
/// Requests that failed, by kind of error.
pub const REQUESTS_FAILED: &str = "assetfs_requests_failed_total";
/// Bytes received from the store.
pub const RECEIVED: &str = "assetfs_received_bytes";
/// Bytes sent to the store.
pub const SENT: &str = "assetfs_sent_bytes";
/// Bytes of clean bodies on this machine.
pub const CACHE_HELD: &str = "assetfs_cache_held_bytes";
/// Reads that found their bytes on this machine.
pub const CACHE_HITS: &str = "assetfs_cache_hits_total";
/// Reads that had to ask the store.
pub const CACHE_MISSES: &str = "assetfs_cache_misses_total";
/// Changes that the store does not have yet.
pub const PENDING: &str = "assetfs_pending_changes";
/// Their bytes.
pub const PENDING_BYTES: &str = "assetfs_pending_bytes";
/// Changes that the store refuses.
pub const PARKED: &str = "assetfs_parked_changes";
/// Deletions that wait for approval.
pub const HELD: &str = "assetfs_held_changes";
/// The age of the oldest pending change.
pub const OLDEST_PENDING: &str = "assetfs_oldest_pending_seconds";

/// All of them.
pub const ALL: [&str; 13] = [
    API_REQUESTS,
    CONTENT_REQUESTS,
    REQUESTS_FAILED,
    RECEIVED,
    SENT,
    CACHE_HELD,
    CACHE_HITS,
    CACHE_MISSES,
    PENDING,
    PENDING_BYTES,
    PARKED,
    HELD,
    OLDEST_PENDING,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_well_formed() {
        let mut seen = std::collections::HashSet::new();
        for name in ALL {
            assert!(seen.insert(name), "{name} twice");
            assert!(name.starts_with("assetfs_"));
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'));
        }
    }
}
