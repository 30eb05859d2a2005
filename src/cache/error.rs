//! Why bytes cannot be had or kept.

use std::sync::Arc;
use std::time::Duration;

use crate::disk::DiskError;
use crate::model::ItemId;
use crate::store::StoreError;

/// What the cache answers.
pub type Result<T> = std::result::Result<T, CacheError>;

/// A failure of the cache; shared by everyone who waited for the same bytes.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CacheError {
    /// The store failed.
    #[error("{0}")]
    Store(Arc<StoreError>),
    /// The disk failed.
    #[error("{0}")]
    Disk(Arc<DiskError>),
    /// The disk is full, even after clean bodies were evicted.
    #[error("the disk is full: free some space on it")]
    Full,
    /// The index of the content folder failed.
    #[error("the cache's index failed: {0}; the cache may be deleted while nothing is mounted")]
    Index(Arc<rusqlite::Error>),
    /// No byte came within the deadline; a later read tries again.
    #[error("no data of {item} arrived for {} s; it will be tried again at the next read", waited.as_secs())]
    Stalled {
        /// What was being fetched.
        item: ItemId,
        /// The deadline.
        waited: Duration,
    },
    /// The store sends other bytes than those of the version that is known: its entry must be looked up again.
    #[error("the content of {item} has changed in the store")]
    Changed {
        /// What was being fetched.
        item: ItemId,
    },
    /// The bytes do not have the checksum that the store has for them, twice.
    #[error("the data of {item} does not have the checksum that the store tells")]
    Corrupt {
        /// What was being fetched.
        item: ItemId,
    },
    /// The download ended before its end, again and again.
    #[error("the data of {item} ended too early")]
    Short {
        /// What was being fetched.
        item: ItemId,
    },
    /// Nobody can say how many bytes it has.
    #[error("the size of {item} is not known yet")]
    SizeUnknown {
        /// Which item.
        item: ItemId,
    },
    /// The rest of the content did not arrive in time.
    #[error("the rest of the content did not arrive within {} s", waited.as_secs())]
    Incomplete {
        /// The deadline.
        waited: Duration,
    },
    /// The body has been thrown away.
    #[error("the local copy has been discarded")]
    Discarded,
    /// The program is shutting down.
    #[error("the cache is shutting down")]
    Stopped,
}

impl CacheError {
    /// Whether the disk is full.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Full => true,
            Self::Disk(error) => error.is_full(),
            Self::Index(error) => error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull),
            _ => false,
        }
    }
}

impl From<StoreError> for CacheError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl From<DiskError> for CacheError {
    fn from(error: DiskError) -> Self {
        Self::Disk(Arc::new(error))
    }
}

impl From<rusqlite::Error> for CacheError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Index(Arc::new(error))
    }
}
