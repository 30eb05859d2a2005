//! Memory for answers to reads: bounded in all, and used again.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::disk::{Buffer, Buffers};

use super::error::{CacheError, Result};

/// The memory for all answers.
pub(super) struct Answers {
    room: Arc<Semaphore>,
    buffers: Buffers,
    kib_max: u32,
}

/// An empty buffer, with the right to fill it.
pub(super) struct Blank {
    buffer: Buffer,
    _room: OwnedSemaphorePermit,
}

impl Answers {
    /// So much in all.
    pub(super) fn new(kib: usize) -> Self {
        Self {
            room: Arc::new(Semaphore::new(kib)),
            buffers: Buffers::default(),
            kib_max: u32::try_from(kib).unwrap_or(u32::MAX),
        }
    }

    /// Waits for room for `len` bytes. Others hold theirs only until their answer is sent.
    pub(super) async fn blank(&self, len: usize) -> Result<Blank> {
        let kib = u32::try_from(len >> 10).unwrap_or(u32::MAX).min(self.kib_max);
        let room = self.room.clone().acquire_many_owned(kib);
        let room = room.await.map_err(|_| CacheError::Stopped)?;
        Ok(Blank {
            buffer: self.buffers.empty(len),
            _room: room,
        })
    }
}

impl Blank {
    /// Lets `fill` fill it, and makes an answer of it; its memory is free again when that has been dropped.
    pub(super) fn filled(mut self, fill: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<Bytes> {
        fill(self.buffer.bytes())?;
        Ok(Bytes::from_owner(self))
    }
}

impl AsRef<[u8]> for Blank {
    fn as_ref(&self) -> &[u8] {
        self.buffer.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(mut blank: Blank, byte: u8) -> Bytes {
        let len = blank.buffer.bytes().capacity();
        let fill = |bytes: &mut Vec<u8>| {
            bytes.resize(len, byte);
            Ok(())
        };
        blank.filled(fill).unwrap()
    }

    #[tokio::test]
    async fn answers_wait_until_others_have_been_sent() {
        let answers = Answers::new(2 << 10);
        let first = full(answers.blank(1 << 20).await.unwrap(), 1);
        let second = full(answers.blank(1 << 20).await.unwrap(), 2);
        let mut third = std::pin::pin!(answers.blank(512 << 10));
        assert!(futures_util::poll!(&mut third).is_pending());
        assert!(first.iter().all(|byte| *byte == 1) && second.iter().all(|byte| *byte == 2));
        drop(second);
        assert!(third.await.is_ok());
        assert_eq!(answers.buffers.kept(), 1, "the one that was dropped unsent");
        let huge = answers.blank(1 << 30);
        drop(first);
        assert!(huge.await.is_ok(), "one that never fits waits for all the others");
    }
}
