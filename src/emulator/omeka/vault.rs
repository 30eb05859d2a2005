//! Where the bytes of originals are: in memory, or in a directory for what is larger.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use md5::{Digest, Md5};
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt;

use crate::emulator::common::{MemorySource, Source};
use crate::model::hex;

/// How much of a body's beginning is looked at to tell what it is.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// All originals by their stored name.
pub(super) enum Vault {
    Memory(Mutex<HashMap<String, Bytes>>),
    Directory { root: PathBuf, uploads: AtomicU64 },
}

/// Bytes that have arrived and are not filed yet.
pub(super) struct Arrived {
    pub(super) size_bytes: u64,
    pub(super) md5: String,
    /// The first bytes, at most 64 KiB.
    pub(super) head: Bytes,
    place: Place,
}

enum Place {
    Memory(Bytes),
    File(Temporary),
}

/// A file that goes when nobody has kept it: its request was refused, or broke off.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

/// Takes a body as it comes.
pub(super) struct Intake {
    md5: Md5,
    size_bytes: u64,
    head: BytesMut,
    sink: Sink,
}

enum Sink {
    Memory(BytesMut),
    File(Temporary, tokio::fs::File),
}

impl Vault {
    /// In `root`, made if need be, or in memory.
    pub(super) fn open(root: Option<PathBuf>) -> io::Result<Self> {
        let Some(root) = root else {
            return Ok(Vault::Memory(Mutex::default()));
        };
        std::fs::create_dir_all(root.join("original"))?;
        std::fs::create_dir_all(root.join("uploading"))?;
        Ok(Vault::Directory {
            root,
            uploads: AtomicU64::new(0),
        })
    }

    /// A place for a new body.
    pub(super) async fn intake(&self) -> io::Result<Intake> {
        let sink = match self {
            Vault::Memory(_) => Sink::Memory(BytesMut::new()),
            Vault::Directory { root, uploads } => {
                let path = root
                    .join("uploading")
                    .join(uploads.fetch_add(1, Ordering::Relaxed).to_string());
                let file = tokio::fs::File::create(&path).await?;
                Sink::File(Temporary(path), file)
            }
        };
        Ok(Intake {
            md5: Md5::new(),
            size_bytes: 0,
            head: BytesMut::new(),
            sink,
        })
    }

    /// A whole body at once.
    pub(super) async fn take(&self, bytes: &[u8]) -> io::Result<Arrived> {
        let mut intake = self.intake().await?;
        intake.push(bytes).await?;
        intake.finish().await
    }

    /// Keeps what has arrived under `name`.
    pub(super) fn keep(&self, arrived: Arrived, name: &str) -> io::Result<()> {
        match (self, arrived.place) {
            (Vault::Memory(all), Place::Memory(bytes)) => {
                all.lock().insert(name.to_owned(), bytes);
                Ok(())
            }
            (Vault::Directory { root, .. }, Place::File(file)) => {
                std::fs::rename(&file.0, root.join("original").join(name))
            }
            (Vault::Memory(_), Place::File(_)) | (Vault::Directory { .. }, Place::Memory(_)) => {
                Err(io::Error::other("the upload belongs to another server"))
            }
        }
    }

    /// Drops an original.
    pub(super) fn remove(&self, name: &str) {
        match self {
            Vault::Memory(all) => {
                all.lock().remove(name);
            }
            Vault::Directory { root, .. } => remove(&root.join("original").join(name)),
        }
    }

    /// The bytes of an original, if they are there.
    pub(super) fn source(&self, name: &str) -> Option<Arc<dyn Source>> {
        match self {
            Vault::Memory(all) => {
                let bytes = all.lock().get(name).cloned()?;
                Some(Arc::new(MemorySource(bytes)))
            }
            Vault::Directory { root, .. } => {
                let file = File::open(root.join("original").join(name)).ok()?;
                let size_bytes = file.metadata().ok()?.len();
                Some(Arc::new(FileSource { file, size_bytes }))
            }
        }
    }
}

fn remove(path: &std::path::Path) {
    match std::fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(%error, path = %path.display(), "a file cannot be removed"),
    }
}

impl Intake {
    /// The next piece.
    pub(super) async fn push(&mut self, piece: &[u8]) -> io::Result<()> {
        self.md5.update(piece);
        self.size_bytes += piece.len() as u64;
        let room = HEAD_BYTES_MAX.saturating_sub(self.head.len());
        self.head.extend_from_slice(&piece[..piece.len().min(room)]);
        match &mut self.sink {
            Sink::Memory(all) => {
                all.extend_from_slice(piece);
                Ok(())
            }
            Sink::File(_, file) => file.write_all(piece).await,
        }
    }

    /// That was all.
    pub(super) async fn finish(self) -> io::Result<Arrived> {
        let place = match self.sink {
            Sink::Memory(all) => Place::Memory(all.freeze()),
            Sink::File(path, mut file) => {
                file.flush().await?;
                Place::File(path)
            }
        };
        Ok(Arrived {
            size_bytes: self.size_bytes,
            md5: hex(&self.md5.finalize()),
            head: self.head.freeze(),
            place,
        })
    }
}

struct FileSource {
    file: File,
    size_bytes: u64,
}

impl Source for FileSource {
    fn bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read(&self, range: Range<u64>) -> io::Result<Bytes> {
        let mut buffer = BytesMut::zeroed((range.end - range.start) as usize);
        self.file.read_exact_at(&mut buffer, range.start)?;
        Ok(buffer.freeze())
    }

    fn waits(&self) -> bool {
        true
    }
}
