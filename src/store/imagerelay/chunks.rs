//! Sending a body in chunks: the part that new files and new versions share (contract, section 2).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::{Core, errors};
use crate::http::{Answer, Request};
use crate::store::{Body, ErrorKind, Progress, Result, Resume, StoreError};

/// What the service was seen to take at most, in bytes; the documents say "5 MB".
const CHUNK_BYTES_MAX: u64 = 5 << 20;
/// What it surely takes.
const CHUNK_BYTES_SURE: u64 = 5_000_000;
/// Chunks of one upload on their way at the same time.
const CHUNKS_IN_FLIGHT_MAX: usize = 4;

/// How large chunks may be, as far as this service has shown.
pub(super) struct ChunkLimit {
    bytes_max: AtomicU64,
    /// Whether a chunk above [`CHUNK_BYTES_SURE`] has been taken.
    proven: AtomicBool,
}

impl ChunkLimit {
    pub(super) fn new() -> Self {
        Self {
            bytes_max: AtomicU64::new(CHUNK_BYTES_MAX),
            proven: AtomicBool::new(false),
        }
    }
}

/// Where chunks go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A file of an upload job: its last chunk publishes it.
    Job { job: u64, file: u64 },
    /// A new version of a file, published by a call of its own.
    Version { file: u64, uuid: String },
}

impl Target {
    fn request(&self, core: &Core, number: u32) -> Request {
        match self {
            Target::Job { job, file } => {
                let path = format!("upload_jobs/{job}/files/{file}/chunks/{number}");
                core.api.post(&path, "POST /upload_jobs/{id}/files/{id}/chunks/{n}")
            }
            Target::Version { file, uuid } => {
                let path = format!(
                    "files/{file}/versions/{}/chunk/{number}",
                    crate::http::path_segment(uuid)
                );
                core.api.post(&path, "POST /files/{id}/versions/{uuid}/chunk/{n}")
            }
        }
    }

    fn parse(upload: &str) -> Option<Self> {
        let (kind, rest) = upload.split_once(' ')?;
        let (a, b) = rest.split_once(' ')?;
        match kind {
            "job" => Some(Target::Job {
                job: a.parse().ok()?,
                file: b.parse().ok()?,
            }),
            "version" => Some(Target::Version {
                file: a.parse().ok()?,
                uuid: b.to_owned(),
            }),
            _ => None,
        }
    }

    fn to_text(&self) -> String {
        match self {
            Target::Job { job, file } => format!("job {job} {file}"),
            Target::Version { file, uuid } => format!("version {file} {uuid}"),
        }
    }
}

/// How far an upload that was begun earlier had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing that publishes it has been sent.
    Sending,
    /// The publishing request was sent; whether it arrived is unknown.
    Publishing,
}

const PUBLISHING: &str = "publishing ";

/// One upload on its way.
pub(super) struct Transfer<'a> {
    pub(super) operation: &'static str,
    /// What errors are about.
    pub(super) item: &'a str,
    pub(super) body: &'a Body,
    /// Stands for the content where the service takes no empty one.
    pub(super) stand_in: Option<Bytes>,
    pub(super) progress: &'a dyn Progress,
    pub(super) target: Target,
    pub(super) stage: Stage,
    pub(super) chunk_bytes: u64,
    pub(super) acknowledged: Vec<u32>,
}

/// What an earlier attempt left behind, if it can be used.
pub(super) fn resumed(progress: &dyn Progress) -> Option<(Target, Stage, Resume)> {
    let resume = progress.resume().filter(|resume| resume.chunk_bytes > 0)?;
    let (stage, upload) = match resume.upload.strip_prefix(PUBLISHING) {
        Some(rest) => (Stage::Publishing, rest),
        None => (Stage::Sending, resume.upload.as_str()),
    };
    Some((Target::parse(upload)?, stage, resume))
}

impl Transfer<'_> {
    pub(super) fn size_bytes(&self) -> u64 {
        self.stand_in
            .as_ref()
            .map_or(self.body.size_bytes(), |bytes| bytes.len() as u64)
    }

    /// How many chunks there are: at least one, which may be empty.
    pub(super) fn count(&self) -> u32 {
        let count = self.size_bytes().div_ceil(self.chunk_bytes.max(1)).max(1);
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    fn chunk_len(&self, number: u32) -> u64 {
        let offset = u64::from(number - 1) * self.chunk_bytes;
        self.chunk_bytes.min(self.size_bytes().saturating_sub(offset))
    }

    async fn bytes(&self, number: u32) -> Result<Bytes> {
        match &self.stand_in {
            Some(bytes) => Ok(bytes.clone()),
            None => {
                let offset = u64::from(number - 1) * self.chunk_bytes;
                self.body.part(offset, self.chunk_len(number) as usize).await
            }
        }
    }

    pub(super) fn missing(&self) -> Vec<u32> {
        (1..=self.count()).filter(|n| !self.acknowledged.contains(n)).collect()
    }

    pub(super) fn save(&self) {
        let mark = match self.stage {
            Stage::Sending => "",
            Stage::Publishing => PUBLISHING,
        };
        self.progress.save(&Resume {
            upload: format!("{mark}{}", self.target.to_text()),
            chunks: self.acknowledged.clone(),
            chunk_bytes: self.chunk_bytes,
            // A job begins with them.
            fields_told: true,
            half_done: false,
        });
    }

    pub(super) fn acknowledge(&mut self, number: u32) {
        self.acknowledged.push(number);
        self.progress.sent(self.chunk_len(number));
        self.save();
    }

    /// Notes that from now on these bytes may be published, and asks whether they are still the newest: the answer makes
    /// the note durable.
    pub(super) async fn begin_publishing(&mut self) -> Result<()> {
        self.stage = Stage::Publishing;
        self.save();
        if !self.progress.may_publish().await {
            let error = StoreError::new(ErrorKind::Cancelled, self.operation, self.item);
            return Err(error.because("newer bytes have taken over"));
        }
        Ok(())
    }

    /// Starts over with chunks that the service surely takes.
    fn rechunk(&mut self) {
        self.chunk_bytes = CHUNK_BYTES_SURE;
        self.stage = Stage::Sending;
        self.save();
    }
}

impl Core {
    /// Chunk size for a new upload.
    pub(super) fn chunk_bytes(&self) -> u64 {
        self.chunks.bytes_max.load(Ordering::Relaxed)
    }

    /// Sends one chunk. Sending it again changes nothing.
    pub(super) async fn send_chunk(&self, transfer: &Transfer<'_>, number: u32) -> Result<Answer> {
        let body = crate::http::Body::Bytes(transfer.bytes(number).await?);
        let request = transfer
            .target
            .request(self, number)
            .body("application/octet-stream", body)
            .safe();
        let answer = self.api.call(transfer.operation, transfer.item, request).await?;
        if transfer.chunk_len(number) > CHUNK_BYTES_SURE {
            self.chunks.proven.store(true, Ordering::Relaxed);
        }
        Ok(answer)
    }

    /// Sends `numbers`, some at a time. The first alone while it is not known whether chunks of this size are taken.
    pub(super) async fn send_chunks(&self, transfer: &mut Transfer<'_>, numbers: &[u32]) -> Result<()> {
        let mut rest = numbers;
        if transfer.chunk_bytes > CHUNK_BYTES_SURE
            && !self.chunks.proven.load(Ordering::Relaxed)
            && let [first, others @ ..] = numbers
        {
            self.send_chunk(transfer, *first).await?;
            transfer.acknowledge(*first);
            rest = others;
        }
        for batch in rest.chunks(256) {
            self.send_parallel(transfer, batch).await?;
        }
        Ok(())
    }

    async fn send_parallel(&self, transfer: &mut Transfer<'_>, numbers: &[u32]) -> Result<()> {
        let mut waiting = numbers.iter().copied();
        let mut done = Vec::new();
        let mut outcome = Ok(());
        {
            let shared: &Transfer<'_> = transfer;
            let mut flying = FuturesUnordered::new();
            loop {
                while flying.len() < CHUNKS_IN_FLIGHT_MAX && outcome.is_ok() {
                    let Some(number) = waiting.next() else { break };
                    flying.push(async move { (number, self.send_chunk(shared, number).await) });
                }
                // After a failure the others are let finish: what arrives need not be sent again.
                match flying.next().await {
                    Some((number, Ok(_))) => {
                        done.push(number);
                        shared.progress.sent(shared.chunk_len(number));
                        let mut so_far = shared.acknowledged.clone();
                        so_far.extend(&done);
                        shared.progress.save(&Resume {
                            upload: shared.target.to_text(),
                            chunks: so_far,
                            chunk_bytes: shared.chunk_bytes,
                            fields_told: true,
                            half_done: false,
                        });
                    }
                    Some((_, Err(e))) if outcome.is_ok() => outcome = Err(e),
                    Some((_, Err(_))) => {}
                    None => break,
                }
            }
        }
        transfer.acknowledged.extend(done);
        outcome
    }

    /// After a refusal: whether it may have been for the chunks' size, and then they are cut smaller.
    pub(super) fn cut_smaller(&self, transfer: &mut Transfer<'_>, error: &StoreError) -> bool {
        let for_size = matches!(errors::status(error), Some(413 | 422));
        let largest = transfer.chunk_bytes.min(transfer.size_bytes());
        let untouched = transfer.acknowledged.is_empty() && !self.chunks.proven.load(Ordering::Relaxed);
        let may = for_size && largest > CHUNK_BYTES_SURE && untouched;
        if may {
            transfer.rechunk();
        }
        may
    }

    /// Remembers what was learnt, after the server has taken all of a transfer's chunks.
    pub(super) fn learn_limit(&self, transfer: &Transfer<'_>, was_cut: bool) {
        if was_cut && transfer.chunk_bytes <= CHUNK_BYTES_SURE {
            self.chunks.bytes_max.store(CHUNK_BYTES_SURE, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::UploadProgress;

    #[test]
    fn an_upload_that_was_begun_is_recognised() {
        for target in [
            Target::Job { job: 36, file: 32 },
            Target::Version {
                file: 7,
                uuid: "5b0f6c1e-2d3a".to_owned(),
            },
        ] {
            assert_eq!(Target::parse(&target.to_text()), Some(target));
        }
        let progress = UploadProgress::default();
        assert!(resumed(&progress).is_none());
        progress.save(&Resume {
            upload: "publishing job 1 2".to_owned(),
            chunks: vec![1],
            chunk_bytes: 10,
            fields_told: true,
            half_done: false,
        });
        let (target, stage, _) = resumed(&progress).expect("an upload");
        assert_eq!((target, stage), (Target::Job { job: 1, file: 2 }, Stage::Publishing));
        progress.save(&Resume {
            upload: "of another store".to_owned(),
            ..Resume::default()
        });
        assert!(resumed(&progress).is_none());
    }
}
