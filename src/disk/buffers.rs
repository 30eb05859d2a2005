//! Large buffers that are used again, because fresh memory costs as much as the copy into it.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

/// Buffers from this size on are kept for the next use.
const KEPT_BYTES_MIN: usize = 256 << 10;
/// How many are kept.
const KEPT_MAX: usize = 4;

/// Buffers that wait for their next use. Cheap to clone: all clones share them.
#[derive(Clone, Debug, Default)]
pub struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

/// A buffer that goes back when it is dropped.
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    home: Buffers,
}

impl Buffers {
    /// An empty buffer with room for `len` bytes.
    pub fn empty(&self, len: usize) -> Buffer {
        let kept = if len >= KEPT_BYTES_MIN {
            self.0.lock().pop()
        } else {
            None
        };
        let mut bytes = kept.unwrap_or_default();
        bytes.clear();
        bytes.reserve_exact(len);
        Buffer {
            bytes,
            home: self.clone(),
        }
    }

    /// The same bytes in memory of their own.
    pub fn copy(&self, bytes: &[u8]) -> Bytes {
        if bytes.len() < KEPT_BYTES_MIN {
            return Bytes::copy_from_slice(bytes);
        }
        let mut buffer = self.empty(bytes.len());
        buffer.bytes.extend_from_slice(bytes);
        Bytes::from_owner(buffer)
    }

    /// How many wait.
    pub fn kept(&self) -> usize {
        self.0.lock().len()
    }
}

impl Buffer {
    /// What is filled.
    pub fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if bytes.capacity() >= KEPT_BYTES_MIN {
            let mut kept = self.home.0.lock();
            if kept.len() < KEPT_MAX {
                kept.push(bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_buffer_is_used_again_and_a_few_are_kept() {
        let buffers = Buffers::default();
        let first = buffers.copy(&[1; KEPT_BYTES_MIN]);
        let at = first.as_ptr();
        drop(first);
        let second = buffers.copy(&[2; KEPT_BYTES_MIN]);
        assert_eq!((second.as_ptr(), buffers.kept()), (at, 0));
        assert!(second.iter().all(|byte| *byte == 2));
        let many: Vec<Bytes> = (0..10).map(|_| buffers.copy(&[3; KEPT_BYTES_MIN])).collect();
        drop((many, second));
        assert_eq!(buffers.kept(), KEPT_MAX);
        drop(buffers.copy(b"small"));
        assert_eq!(buffers.kept(), KEPT_MAX);
    }
}
