//! The bytes of assets: computed, sampled, in memory, or on disk.

use std::fs;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::emulator::common::{Pattern, Source};
use crate::model::hex;

/// How much is hashed at once.
const HASH_STEP_BYTES: u64 = 1 << 20;

/// One version's bytes. Cheap to clone.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Content {
    /// Not there yet: a URL upload that is still being processed.
    Awaited,
    /// Computed when read.
    Pattern(Pattern),
    /// One of the sample library's bodies, by number.
    Sample {
        /// Its place in the vault's samples.
        index: u32,
        /// Its length.
        bytes: u64,
    },
    /// Uploaded, in the chunks it came in.
    Pieces(Arc<[Piece]>),
}

/// One uploaded chunk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Piece {
    place: Place,
    pub(super) bytes: u64,
    hash: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Place {
    #[serde(skip)]
    Memory(Bytes),
    Disk(u64),
}

impl Content {
    /// The length in bytes; 0 while the bytes are awaited.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Awaited => 0,
            Self::Pattern(pattern) => pattern.bytes,
            Self::Sample { bytes, .. } => *bytes,
            Self::Pieces(pieces) => pieces.iter().map(|piece| piece.bytes).sum(),
        }
    }

    /// A strong entity tag: equal only for equal bytes.
    pub(super) fn etag(&self) -> String {
        match self {
            Self::Awaited => "awaited".into(),
            Self::Pattern(pattern) => format!("{:x}-{:x}-{}", pattern.seed, pattern.bytes, pattern.text),
            Self::Sample { index, bytes } => format!("sample-{index}-{bytes:x}"),
            Self::Pieces(pieces) => {
                let hashes: Vec<u8> = pieces.iter().flat_map(|piece| piece.hash.to_le_bytes()).collect();
                format!("{:016x}-{}", xxhash_rust::xxh3::xxh3_64(&hashes), pieces.len())
            }
        }
    }

    /// The numbers of the blobs on disk that it needs.
    pub(super) fn blobs(&self) -> impl Iterator<Item = u64> {
        let pieces: &[Piece] = match self {
            Self::Pieces(pieces) => pieces,
            Self::Awaited | Self::Pattern(_) | Self::Sample { .. } => &[],
        };
        pieces.iter().filter_map(Piece::blob)
    }
}

impl Piece {
    /// The number of its blob, when it is on disk.
    pub(super) fn blob(&self) -> Option<u64> {
        match self.place {
            Place::Disk(blob) => Some(blob),
            Place::Memory(_) => None,
        }
    }
}

/// Where bytes are kept.
pub(super) struct Vault {
    /// None keeps uploads in memory.
    dir: Option<PathBuf>,
    next: AtomicU64,
    samples: Vec<Bytes>,
}

impl Vault {
    /// A vault; `dir` is made when it is missing.
    pub(super) fn open(dir: Option<PathBuf>, samples: Vec<Bytes>) -> io::Result<Self> {
        let mut next = 1;
        if let Some(dir) = &dir {
            fs::create_dir_all(dir)?;
            for name in blob_names(dir)? {
                next = next.max(name + 1);
            }
        }
        Ok(Self {
            dir,
            next: AtomicU64::new(next),
            samples,
        })
    }

    /// The length of a sample; 0 when there is none of that number.
    pub(super) fn sample_bytes(&self, index: u32) -> u64 {
        self.samples.get(index as usize).map_or(0, |sample| sample.len() as u64)
    }

    /// Keeps `bytes`. On disk they appear whole or not at all.
    pub(super) fn put(&self, bytes: Bytes) -> io::Result<Piece> {
        let len = bytes.len() as u64;
        let hash = xxhash_rust::xxh3::xxh3_64(&bytes);
        let place = match &self.dir {
            None => Place::Memory(bytes),
            Some(dir) => {
                let blob = self.next.fetch_add(1, Ordering::Relaxed);
                let partial = dir.join(format!("{blob}.part"));
                fs::File::create(&partial)?.write_all(&bytes)?;
                fs::rename(&partial, dir.join(blob.to_string()))?;
                Place::Disk(blob)
            }
        };
        Ok(Piece {
            place,
            bytes: len,
            hash,
        })
    }

    /// One body of its own.
    pub(super) fn put_whole(&self, bytes: Bytes) -> io::Result<Content> {
        Ok(Content::Pieces(Arc::from([self.put(bytes)?])))
    }

    /// Deletes every blob on disk that `needed` does not hold.
    pub(super) fn sweep(&self, needed: &std::collections::HashSet<u64>) -> io::Result<()> {
        let Some(dir) = &self.dir else { return Ok(()) };
        for blob in blob_names(dir)? {
            if !needed.contains(&blob) {
                fs::remove_file(dir.join(blob.to_string()))?;
            }
        }
        Ok(())
    }

    /// The bytes of `range`, which lies inside the body.
    pub(super) fn read(&self, content: &Content, range: Range<u64>) -> io::Result<Bytes> {
        match content {
            Content::Awaited => Ok(Bytes::new()),
            Content::Pattern(pattern) => Ok(pattern.read(range)),
            Content::Sample { index, .. } => {
                let sample = self.samples.get(*index as usize).ok_or(io::ErrorKind::NotFound)?;
                Ok(sample.slice(range.start as usize..range.end as usize))
            }
            Content::Pieces(pieces) => self.read_pieces(pieces, range),
        }
    }

    /// All of a body.
    pub(super) fn read_all(&self, content: &Content) -> io::Result<Bytes> {
        self.read(content, 0..content.bytes())
    }

    /// The SHA-256 of a body, in hex.
    pub(super) fn sha256(&self, content: &Content) -> io::Result<String> {
        let mut hasher = Sha256::new();
        let bytes = content.bytes();
        let mut at = 0;
        while at < bytes {
            let end = bytes.min(at + HASH_STEP_BYTES);
            hasher.update(self.read(content, at..end)?);
            at = end;
        }
        Ok(hex(&hasher.finalize()))
    }

    fn read_pieces(&self, pieces: &[Piece], range: Range<u64>) -> io::Result<Bytes> {
        let mut out = BytesMut::new();
        let mut start = 0;
        for piece in pieces {
            let here = range.start.max(start)..range.end.min(start + piece.bytes);
            if here.start < here.end {
                let part = self.read_piece(piece, here.start - start..here.end - start)?;
                if part.len() as u64 == range.end - range.start {
                    return Ok(part);
                }
                out.extend_from_slice(&part);
            }
            start += piece.bytes;
        }
        Ok(out.freeze())
    }

    fn read_piece(&self, piece: &Piece, range: Range<u64>) -> io::Result<Bytes> {
        match (&piece.place, &self.dir) {
            (Place::Memory(bytes), _) => Ok(bytes.slice(range.start as usize..range.end as usize)),
            (Place::Disk(blob), Some(dir)) => {
                let mut file = fs::File::open(dir.join(blob.to_string()))?;
                file.seek(SeekFrom::Start(range.start))?;
                let mut out = vec![0; (range.end - range.start) as usize];
                file.read_exact(&mut out)?;
                Ok(out.into())
            }
            (Place::Disk(_), None) => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

fn blob_names(dir: &std::path::Path) -> io::Result<Vec<u64>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        if let Some(blob) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
            names.push(blob);
        }
    }
    Ok(names)
}

/// A body as the file server reads it.
pub(super) struct ContentSource {
    pub(super) vault: Arc<Vault>,
    pub(super) content: Content,
}

impl Source for ContentSource {
    fn bytes(&self) -> u64 {
        self.content.bytes()
    }

    fn read(&self, range: Range<u64>) -> io::Result<Bytes> {
        self.vault.read(&self.content, range)
    }

    fn waits(&self) -> bool {
        self.content.blobs().next().is_some()
    }
}
