//! What an upload reads from and reports to.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::{ByteStream, ErrorKind, Result, Retry, StoreError};

/// The content of an upload: a local file of a known size, read by position so that parts can be sent in parallel.
#[derive(Clone)]
pub struct Body {
    file: Arc<File>,
    size_bytes: u64,
}

impl Body {
    /// The first `size_bytes` of `file`.
    pub fn new(file: Arc<File>, size_bytes: u64) -> Self {
        Self { file, size_bytes }
    }

    /// How many bytes it has.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Exactly `len` bytes from `offset`; [`ErrorKind::Cancelled`] when the file has shrunk under the upload.
    pub async fn part(&self, offset: u64, len: usize) -> Result<Bytes> {
        let file = self.file.clone();
        let read = tokio::task::spawn_blocking(move || {
            let mut buffer = BytesMut::zeroed(len);
            file.read_exact_at(&mut buffer, offset).map(|()| buffer.freeze())
        });
        let local = |kind| StoreError::new(kind, "read the upload's bytes", "");
        match read.await {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(e)) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
                Err(local(ErrorKind::Cancelled).retry(Retry::After(std::time::Duration::ZERO)))
            }
            Ok(Err(e)) => Err(local(ErrorKind::Local).because(e)),
            Err(e) => Err(local(ErrorKind::Local).because(e)),
        }
    }

    /// The whole, in parts of at most 256 KiB.
    pub fn stream(&self) -> ByteStream {
        const PART_BYTES: u64 = 256 << 10;
        let body = self.clone();
        futures_util::stream::unfold(0u64, move |offset| {
            let body = body.clone();
            async move {
                let len = PART_BYTES.min(body.size_bytes - offset);
                if len == 0 {
                    return None;
                }
                Some((body.part(offset, len as usize).await, offset + len))
            }
        })
        .boxed()
    }
}

/// What is known about an upload that was begun, so that it goes on where it stopped, also after a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    /// The server's handle for it: an upload id, a job and file, the id of a half-finished copy.
    pub upload: String,
    /// Chunks that the server acknowledged, in the store's own numbering.
    pub chunks: Vec<u32>,
    /// Size of a chunk in bytes, which must stay the same.
    pub chunk_bytes: u64,
    /// Whether the server has been told of the new file's fields: whoever goes on with it does not tell them again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fields_told: bool,
    /// Whether something of it is in the store that does not belong there, or is not where it belongs, when it is not gone on
    /// with: [`Store::roll_back`](super::Store::roll_back) is called then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub half_done: bool,
}

/// Follows an upload.
#[async_trait]
pub trait Progress: Send + Sync {
    /// What an earlier attempt at the very same bytes left behind.
    fn resume(&self) -> Option<Resume>;
    /// Keeps `resume` durably enough to survive a restart of the program; called after each step.
    fn save(&self, resume: &Resume);
    /// `bytes` more have been acknowledged.
    fn sent(&self, bytes: u64);
    /// Asked right before the step that publishes: `false` when newer bytes exist, and then the upload must end with
    /// [`ErrorKind::Cancelled`] and publish nothing. `true` is answered when it is durable here that the step may have been
    /// taken, and with it all that was saved before.
    async fn may_publish(&self) -> bool;
}

/// Progress in memory: for one-off uploads and tests.
#[derive(Default)]
pub struct UploadProgress {
    resume: Mutex<Option<Resume>>,
    sent: AtomicU64,
}

impl UploadProgress {
    /// Bytes acknowledged so far.
    pub fn sent_bytes(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Progress for UploadProgress {
    fn resume(&self) -> Option<Resume> {
        self.resume.lock().clone()
    }

    fn save(&self, resume: &Resume) {
        *self.resume.lock() = Some(resume.clone());
    }

    fn sent(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    async fn may_publish(&self) -> bool {
        true
    }
}
