//! What an operation fails with, and the one place where that becomes an errno.

use std::sync::Arc;

use crate::cache::CacheError;
use crate::journal::JournalError;
use crate::model::NameError;
use crate::store::{ErrorKind, StoreError};

/// What operations answer.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed operation.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Nothing of that name; positively known.
    #[error("no such file or folder")]
    NotFound,
    /// Something has that name.
    #[error("it already exists")]
    Exists,
    /// A folder was needed.
    #[error("not a folder")]
    NotDir,
    /// A file was needed.
    #[error("it is a folder")]
    IsDir,
    /// The folder has children.
    #[error("the folder is not empty")]
    NotEmpty,
    /// Makes no sense as asked; the text says why.
    #[error("{0}")]
    Invalid(String),
    /// A name beyond 255 bytes.
    #[error("the name is longer than 255 bytes")]
    NameTooLong,
    /// Not allowed on this mount or by this store's rules; the text says why.
    #[error("{0}")]
    NotPermitted(String),
    /// The login may change nothing; the text says why.
    #[error("{0}")]
    LoginMayNot(&'static str),
    /// Nothing may be changed on this mount.
    #[error("the drive is mounted read-only")]
    ReadOnly,
    /// The store keeps the two places apart: copy and delete instead.
    #[error("the store cannot move this to there")]
    CrossDevice,
    /// Larger than the store takes, or than a rename may cost.
    #[error("{0}")]
    TooBig(String),
    /// The disk with the local copies is full.
    #[error("the disk that holds the local copies is full")]
    NoSpace,
    /// The node is gone.
    #[error("the file is no longer there")]
    Stale,
    /// No such handle.
    #[error("the file is not open")]
    BadHandle,
    /// No such attribute.
    #[error("no such attribute")]
    NoData,
    /// The attribute does not fit.
    #[error("the attribute is larger than 64 KiB: use `assetfs meta`")]
    AttrTooBig,
    /// Never works here.
    #[error("{0}")]
    Unsupported(String),
    /// Past the end.
    #[error("past the end of the file")]
    PastEnd,
    /// Not within its deadline.
    #[error("no answer from the store within {0} s")]
    TimedOut(u64),
    /// The store has not got it yet, and the caller asked to wait: the text is the store's word. It stays queued.
    #[error("saved here, but not in the store: {0}")]
    NotStored(String),
    /// The request allowance ran out while the caller waited.
    #[error("saved here; the store's request allowance is used up")]
    QuotaWhileWaiting,
    /// The store failed.
    #[error(transparent)]
    Store(Arc<StoreError>),
    /// The local copies failed.
    #[error(transparent)]
    Cache(CacheError),
    /// The journal failed.
    #[error("{0}")]
    Journal(Arc<JournalError>),
    /// The catalog failed.
    #[error("the catalog failed: {0}")]
    Catalog(String),
    /// A task of ours died.
    #[error("an internal task failed")]
    Internal,
}

impl Error {
    /// The number that programs see.
    pub fn errno(&self) -> i32 {
        match self {
            Error::NotFound => libc::ENOENT,
            Error::Exists => libc::EEXIST,
            Error::NotDir => libc::ENOTDIR,
            Error::IsDir => libc::EISDIR,
            Error::NotEmpty => libc::ENOTEMPTY,
            Error::Invalid(_) => libc::EINVAL,
            Error::NameTooLong => libc::ENAMETOOLONG,
            Error::NotPermitted(_) => libc::EPERM,
            Error::LoginMayNot(_) => libc::EACCES,
            Error::ReadOnly => libc::EROFS,
            Error::CrossDevice => libc::EXDEV,
            Error::TooBig(_) => libc::EFBIG,
            Error::NoSpace => libc::ENOSPC,
            Error::Stale => libc::ESTALE,
            Error::BadHandle => libc::EBADF,
            Error::NoData => libc::ENODATA,
            Error::AttrTooBig => libc::E2BIG,
            Error::Unsupported(_) => libc::EOPNOTSUPP,
            Error::PastEnd => libc::ENXIO,
            Error::QuotaWhileWaiting => libc::EDQUOT,
            Error::TimedOut(_) | Error::NotStored(_) | Error::Catalog(_) | Error::Internal => libc::EIO,
            Error::Store(e) => store_errno(&e.kind),
            Error::Cache(e) => cache_errno(e),
            Error::Journal(e) => match **e {
                JournalError::Full => libc::ENOSPC,
                JournalError::Database { .. }
                | JournalError::Write(_)
                | JournalError::Closed
                | JournalError::Io { .. }
                | JournalError::Newer { .. }
                | JournalError::OtherAccount { .. } => libc::EIO,
            },
        }
    }
}

fn store_errno(kind: &ErrorKind) -> i32 {
    match kind {
        ErrorKind::NotFound => libc::ENOENT,
        ErrorKind::Unauthenticated | ErrorKind::Expired => libc::EACCES,
        ErrorKind::Denied => libc::EPERM,
        ErrorKind::Invalid => libc::EINVAL,
        ErrorKind::Exists => libc::EEXIST,
        ErrorKind::NotEmpty => libc::ENOTEMPTY,
        ErrorKind::Busy => libc::EBUSY,
        ErrorKind::TooLarge => libc::EFBIG,
        ErrorKind::Full => libc::ENOSPC,
        ErrorKind::Unsupported => libc::EOPNOTSUPP,
        ErrorKind::Conflict => libc::ESTALE,
        ErrorKind::NotReady => libc::EAGAIN,
        ErrorKind::Throttled { .. }
        | ErrorKind::QuotaExhausted { .. }
        | ErrorKind::Network
        | ErrorKind::Timeout
        | ErrorKind::Server
        | ErrorKind::Protocol
        | ErrorKind::Local
        | ErrorKind::Cancelled => libc::EIO,
    }
}

fn cache_errno(error: &CacheError) -> i32 {
    match error {
        // Bytes that the store no longer has are stale, not absent: the name is another matter.
        CacheError::Store(e) if e.kind == ErrorKind::NotFound => libc::ESTALE,
        CacheError::Store(e) => store_errno(&e.kind),
        CacheError::Changed { .. } | CacheError::Discarded => libc::ESTALE,
        CacheError::Full => libc::ENOSPC,
        CacheError::Disk(e) if e.is_full() => libc::ENOSPC,
        // The staging disk bounds files too: programs know this answer, and not EIO.
        CacheError::Disk(e) if e.kind() == std::io::ErrorKind::FileTooLarge => libc::EFBIG,
        CacheError::Disk(_)
        | CacheError::Index(_)
        | CacheError::Stalled { .. }
        | CacheError::Corrupt { .. }
        | CacheError::Short { .. }
        | CacheError::SizeUnknown { .. }
        | CacheError::Incomplete { .. }
        | CacheError::Stopped => libc::EIO,
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Error::Store(Arc::new(error))
    }
}

impl From<CacheError> for Error {
    fn from(error: CacheError) -> Self {
        if error.is_full() {
            Error::NoSpace
        } else {
            Error::Cache(error)
        }
    }
}

impl From<JournalError> for Error {
    fn from(error: JournalError) -> Self {
        Error::Journal(Arc::new(error))
    }
}

impl From<crate::catalog::Error> for Error {
    fn from(error: crate::catalog::Error) -> Self {
        Error::Catalog(error.to_string())
    }
}

impl From<NameError> for Error {
    fn from(error: NameError) -> Self {
        match error {
            NameError::TooLong => Error::NameTooLong,
            NameError::Invalid | NameError::NotUtf8 => Error::Invalid(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::Path;

    use super::*;
    use crate::disk::DiskError;

    /// `truncate -s 16T` on a drive whose staging disk holds files of less said "input/output error", as if the disk were
    /// broken. What the disk says of the size of a file is what the program is told.
    #[test]
    fn a_file_that_is_too_large_for_the_staging_disk_is_efbig() {
        let errno = |source: i32| {
            let error = DiskError::new("write", Path::new("f"), io::Error::from_raw_os_error(source));
            Error::from(CacheError::from(error)).errno()
        };
        assert_eq!(errno(libc::EFBIG), libc::EFBIG);
        assert_eq!((errno(libc::ENOSPC), errno(libc::EDQUOT)), (libc::ENOSPC, libc::ENOSPC));
        assert_eq!(errno(libc::EIO), libc::EIO);
    }
}
