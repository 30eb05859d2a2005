//! One download for all files of a category: the file itself, or a zip that is unpacked while it arrives.
//!
//! A blocking thread unpacks. It reads from a bounded channel that the download fills and writes to a bounded channel that
//! the caller empties, so that a slow end slows the other and a lost one ends both.

use std::collections::HashSet;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::http::{ByteStream, Response, header};
use crate::model::ContentVersion;
use crate::store::from_http::from_http;
use crate::store::{ErrorKind, Result, Retry, StoreError};

use super::api::About;
use super::spool;

/// Pieces under way in each channel.
const PIECES_MAX: usize = 16;
/// How much is unpacked at once, in bytes.
const PIECE_BYTES: usize = 256 << 10;
/// How many first bytes tell what an answer is.
const HEAD_BYTES: usize = 8;

/// A file that the download should hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) size_bytes: Option<u64>,
    pub(super) version: ContentVersion,
}

/// A part of the unpacked download.
#[derive(Debug)]
pub(super) enum Piece {
    /// The next file begins.
    Begin {
        file: Candidate,
        /// Its size, when it is known in advance.
        size_bytes: Option<u64>,
    },
    /// Bytes of it.
    Data(Bytes),
    /// It is whole.
    End,
}

/// Finds the file that a member of a zip is.
struct Matcher {
    left: Vec<Candidate>,
    /// Names that members have had: a server that numbers names that repeat leaves the first as it is.
    plain: HashSet<String>,
}

impl Matcher {
    fn of(left: Vec<Candidate>) -> Self {
        Self {
            left,
            plain: HashSet::new(),
        }
    }

    /// The first file in the listing's order that has this name and could have this size. With another name, because a
    /// server may number names that repeat or put the id into them: the one file of this size and kind; of several, the one
    /// whose id is in the name, else the first of those of one name that the member's name begins or ends with.
    fn take(&mut self, name: &str, size_bytes: u64) -> Option<Candidate> {
        let name = name.rsplit('/').next().unwrap_or(name);
        let sized = |file: &Candidate| file.size_bytes.is_none_or(|size| size == size_bytes);
        let by_name = self.left.iter().position(|file| file.name == name && sized(file));
        if by_name.is_some() {
            self.plain.insert(name.to_owned());
        }
        let at = by_name.or_else(|| self.renamed(name, size_bytes))?;
        Some(self.left.remove(at))
    }

    fn renamed(&self, name: &str, size_bytes: u64) -> Option<usize> {
        if self.left.iter().any(|file| file.name == name) {
            // Another version than the listed one.
            return None;
        }
        let alike = |file: &Candidate| file.size_bytes == Some(size_bytes) && extension(&file.name) == extension(name);
        let alike: Vec<(usize, &Candidate)> = self.left.iter().enumerate().filter(|(_, file)| alike(file)).collect();
        if let [(at, _)] = alike[..] {
            return Some(at);
        }
        let numbers: Vec<u64> = name
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|number| number.parse().ok())
            .collect();
        let named = |file: &Candidate| {
            let (whole, own) = (stem(name), stem(&file.name));
            !own.is_empty() && (whole.starts_with(own) || whole.ends_with(own))
        };
        let akin: Vec<(usize, &Candidate)> = alike.into_iter().filter(|(_, file)| named(file)).collect();
        let is_it = |file: &Candidate| numbers.contains(&file.id) && !self.plain.contains(&file.name);
        let mut by_id = akin.iter().filter(|(_, file)| is_it(file));
        if let (Some((at, _)), None) = (by_id.next(), by_id.next()) {
            return Some(*at);
        }
        let (at, first) = akin.first()?;
        akin.iter().all(|(_, file)| file.name == first.name).then_some(*at)
    }
}

fn stem(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

fn extension(name: &str) -> String {
    name.rsplit_once('.')
        .map_or(String::new(), |(_, extension)| extension.to_lowercase())
}

/// What an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Container {
    /// The one file itself.
    File,
    /// A zip that can be unpacked while it arrives.
    Zip,
    /// A zip that tells sizes behind the bytes.
    ZipBackwards,
    /// Neither, as far as the listing goes.
    Unknown,
}

fn container(head: &[u8], len: Option<u64>, files: &[Candidate]) -> Container {
    let is_zip = head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06");
    if let [only] = files {
        let size_fits = match (only.size_bytes, len) {
            (Some(size), Some(len)) => size == len,
            _ => true,
        };
        // A single file may be a zip itself; a container shows by its size.
        if !is_zip || size_fits {
            return Container::File;
        }
    }
    match (is_zip, head.get(6)) {
        // Bit 3 of the flags.
        (true, Some(flags)) if flags & 0x08 != 0 => Container::ZipBackwards,
        (true, _) => Container::Zip,
        (false, _) => Container::Unknown,
    }
}

/// Unpacks a download that should hold `files` (in the listing's order).
pub(super) async fn unpack(
    answer: Response,
    files: Vec<Candidate>,
    spool_dir: PathBuf,
    about: About,
) -> Result<BoxStream<'static, Result<Piece>>> {
    let is_page = answer
        .header(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.starts_with("text/html"));
    if is_page && !files.iter().any(|file| extension(&file.name).starts_with("htm")) {
        return Err(about
            .error(ErrorKind::Protocol)
            .because("a page for people instead of files"));
    }
    let len = answer.content_length();
    // It may end with its first bytes, and is asked again for the rest.
    let mut body = answer.stream().fuse();
    let mut head = BytesMut::new();
    while head.len() < HEAD_BYTES {
        match body.next().await {
            Some(piece) => head.extend_from_slice(&piece.map_err(|e| download_error(e, about))?),
            None => break,
        }
    }
    let head = head.freeze();
    let kind = container(&head, len, &files);
    let body: ByteStream = stream::once(async move { Ok(head) }).chain(body).boxed();
    match (kind, files) {
        (Container::File, files) => {
            let missing = || about.error(ErrorKind::NotFound);
            let file = files.into_iter().next().ok_or_else(missing)?;
            Ok(whole(file, body, len, about))
        }
        (Container::Zip, files) => Ok(unzip(body, files, Way::AsItComes, about)),
        (Container::ZipBackwards, files) => Ok(unzip(body, files, Way::ByDirectory(spool_dir), about)),
        (Container::Unknown, _) => {
            let changed = about
                .error(ErrorKind::Protocol)
                .retry(Retry::After(std::time::Duration::from_secs(5)));
            Err(changed.because("neither a zip nor the one file of this category: it has just changed"))
        }
    }
}

fn download_error(error: crate::http::Error, about: About) -> StoreError {
    from_http(about.operation, about.place.id().as_str(), error)
}

/// The file itself.
fn whole(file: Candidate, body: ByteStream, len: Option<u64>, about: About) -> BoxStream<'static, Result<Piece>> {
    let told = file.size_bytes.or(len);
    async_stream::try_stream! {
        yield Piece::Begin { file, size_bytes: told };
        let mut body = body;
        let mut sent = 0u64;
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|e| download_error(e, about))?;
            sent += piece.len() as u64;
            yield Piece::Data(piece);
        }
        if told.is_some_and(|told| told != sent) {
            let why = format!("{sent} bytes arrived, and {} were told", told.unwrap_or_default());
            let again = Retry::After(std::time::Duration::from_secs(1));
            Err(about.error(ErrorKind::Protocol).retry(again).because(why))?;
        }
        yield Piece::End;
    }
    .boxed()
}

/// How a zip is read.
enum Way {
    AsItComes,
    /// By way of a file in this folder.
    ByDirectory(PathBuf),
}

/// The download as the unpacking thread reads it.
struct Incoming {
    pieces: mpsc::Receiver<Result<Bytes>>,
    rest: Bytes,
    /// Why the download broke, for the error that the caller gets.
    broken: Arc<Mutex<Option<StoreError>>>,
}

impl Read for Incoming {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.pieces.blocking_recv() {
                None => return Ok(0),
                Some(Ok(piece)) => self.rest = piece,
                Some(Err(error)) => {
                    *self.broken.lock() = Some(error);
                    return Err(io::Error::other("the download broke"));
                }
            }
        }
        let len = out.len().min(self.rest.len());
        self.rest.copy_to_slice(&mut out[..len]);
        Ok(len)
    }
}

/// The unpacked files as the caller gets them.
struct Outgoing {
    pieces: mpsc::Sender<Result<Piece>>,
}

/// The caller is gone.
struct Abandoned;

/// Why unpacking stopped.
enum Stop {
    Abandoned,
    Failed(Box<dyn std::error::Error + Send + Sync>),
}

impl From<Abandoned> for Stop {
    fn from(_: Abandoned) -> Self {
        Stop::Abandoned
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Stop::Failed(error.into())
    }
}

impl From<zip::result::ZipError> for Stop {
    fn from(error: zip::result::ZipError) -> Self {
        Stop::Failed(error.into())
    }
}

impl Outgoing {
    fn send(&self, piece: Piece) -> std::result::Result<(), Abandoned> {
        self.pieces.blocking_send(Ok(piece)).map_err(|_| Abandoned)
    }
}

fn unzip(body: ByteStream, files: Vec<Candidate>, way: Way, about: About) -> BoxStream<'static, Result<Piece>> {
    let (fill, pieces) = mpsc::channel(PIECES_MAX);
    let (out, unpacked) = mpsc::channel(PIECES_MAX);
    tokio::spawn(async move {
        let mut body = body;
        while let Some(piece) = body.next().await {
            if fill.send(piece.map_err(|e| download_error(e, about))).await.is_err() {
                break;
            }
        }
    });
    let broken = Arc::new(Mutex::new(None));
    let incoming = Incoming {
        pieces,
        rest: Bytes::new(),
        broken: broken.clone(),
    };
    tokio::task::spawn_blocking(move || {
        let out = Outgoing { pieces: out };
        let mut matcher = Matcher::of(files);
        let done = match way {
            Way::AsItComes => as_it_comes(incoming, &mut matcher, &out),
            Way::ByDirectory(dir) => by_directory(incoming, &dir, &mut matcher, &out),
        };
        if let Err(Stop::Failed(cause)) = done {
            let error = broken.lock().take().unwrap_or_else(|| {
                let again = Retry::After(std::time::Duration::from_secs(1));
                about.error(ErrorKind::Protocol).retry(again).because(cause)
            });
            // Nobody to tell is nobody to mind.
            drop(out.pieces.blocking_send(Err(error)));
        }
    });
    stream::unfold(unpacked, |mut unpacked| async move {
        Some((unpacked.recv().await?, unpacked))
    })
    .boxed()
}

fn as_it_comes(mut incoming: Incoming, matcher: &mut Matcher, out: &Outgoing) -> std::result::Result<(), Stop> {
    while let Some(mut member) = zip::read::read_zipfile_from_stream(&mut incoming)? {
        let (name, size) = (name_of(&member), member.size());
        pass_on(&mut member, &name, size, matcher, out)?;
    }
    Ok(())
}

fn by_directory(
    mut incoming: Incoming,
    dir: &Path,
    matcher: &mut Matcher,
    out: &Outgoing,
) -> std::result::Result<(), Stop> {
    let mut file = nameless_file(dir)?;
    io::copy(&mut incoming, &mut file)?;
    file.seek(SeekFrom::Start(0))?;
    for member in spool::members(&mut file)? {
        let mut stream = spool::stream(&mut file, &member)?;
        if let Some(mut unpacked) = zip::read::read_zipfile_from_stream(&mut stream)? {
            let name = name_of(&unpacked);
            pass_on(&mut unpacked, &name, member.bytes, matcher, out)?;
        }
    }
    Ok(())
}

fn name_of<R: Read>(member: &zip::read::ZipFile<'_, R>) -> String {
    match member.name() {
        Ok(name) => name.into_owned(),
        Err(_) => String::from_utf8_lossy(member.name_raw()).into_owned(),
    }
}

/// A file that is gone when it is closed.
fn nameless_file(dir: &Path) -> io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    let path = dir.join(format!("assetfs-zip-{:032x}", rand::random::<u128>()));
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

fn pass_on(
    member: &mut impl Read,
    name: &str,
    size_bytes: u64,
    matcher: &mut Matcher,
    out: &Outgoing,
) -> std::result::Result<(), Stop> {
    let Some(file) = matcher.take(name, size_bytes) else {
        tracing::debug!(name, "a member of a download is in no listing");
        io::copy(member, &mut io::sink())?;
        return Ok(());
    };
    out.send(Piece::Begin {
        file,
        size_bytes: Some(size_bytes),
    })?;
    loop {
        let mut piece = BytesMut::zeroed(PIECE_BYTES);
        // At the end the checksum is compared: a wrong one is an error here, and the file never ends.
        let len = member.read(&mut piece)?;
        if len == 0 {
            break;
        }
        // A little that came alone does not keep the whole buffer.
        let data = match len < PIECE_BYTES / 2 {
            true => Bytes::copy_from_slice(&piece[..len]),
            false => piece.freeze().slice(..len),
        };
        out.send(Piece::Data(data))?;
    }
    out.send(Piece::End)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(id: u64, name: &str, size_bytes: Option<u64>) -> Candidate {
        Candidate {
            id,
            name: name.to_owned(),
            size_bytes,
            version: ContentVersion::new("1"),
        }
    }

    #[test]
    fn members_of_one_name_are_told_apart_by_size_and_then_by_order() {
        let left = vec![
            file(1, "a.jpg", Some(10)),
            file(2, "a.jpg", Some(20)),
            file(3, "a.jpg", Some(20)),
        ];
        let mut matcher = Matcher::of(left);
        let mut take = |size| matcher.take("a.jpg", size).map(|file| file.id);
        assert_eq!(
            [take(20), take(10), take(20), take(20)],
            [Some(2), Some(1), Some(3), None]
        );
    }

    #[test]
    fn a_renamed_member_is_found_by_its_size_only_when_there_is_no_doubt() {
        let left = vec![
            file(1, "a.jpg", Some(10)),
            file(2, "b.jpg", Some(20)),
            file(3, "c.jpg", Some(20)),
        ];
        let mut matcher = Matcher::of(left);
        let mut take = |name: &str, size| matcher.take(name, size).map(|file| file.id);
        assert_eq!(take("folder/a (1).JPG", 10), Some(1));
        assert_eq!(take("x.jpg", 20), None, "two could be meant");
        assert_eq!(take("b.jpg", 21), None, "another version than the listed one");
        assert_eq!(take("b.jpg", 20), Some(2));
    }

    /// Files of one name and one size could not be read from a server that gives them other names in its zip.
    #[test]
    fn renamed_members_of_one_name_and_size_are_told_apart_by_id_and_then_by_order() {
        let left = || {
            vec![
                file(17, "a.jpg", Some(20)),
                file(18, "a.jpg", Some(20)),
                file(19, "a.jpg", Some(20)),
                file(20, "b.jpg", Some(20)),
            ]
        };
        let taken = |names: [&str; 4]| {
            let mut matcher = Matcher::of(left());
            names.map(|name| matcher.take(name, 20).map(|file| file.id))
        };
        let all = [Some(17), Some(18), Some(19), Some(20)];
        assert_eq!(taken(["a.jpg", "a (1).jpg", "a (2).jpg", "b.jpg"]), all);
        assert_eq!(taken(["a.jpg", "a_1.jpg", "a_2.jpg", "b.jpg"]), all);
        // Numbers that happen to be ids.
        let small = [2, 3, 1].map(|id| file(id, "a.jpg", Some(20))).to_vec();
        let mut matcher = Matcher::of(small);
        let numbered = ["a.jpg", "a (1).jpg", "a (2).jpg"].map(|name| matcher.take(name, 20).map(|file| file.id));
        assert_eq!(numbered, [Some(2), Some(3), Some(1)]);
        assert_eq!(taken(["17_a.jpg", "18_a.jpg", "19_a.jpg", "20_b.jpg"]), all);
        let mut matcher = Matcher::of(left());
        let mut take = |name: &str| matcher.take(name, 20).map(|file| file.id);
        assert_eq!(
            [take("a-19.jpg"), take("a-17.jpg"), take("x.jpg")],
            [Some(19), Some(17), None]
        );
    }

    #[test]
    fn an_answer_is_told_by_its_first_bytes_and_the_listing() {
        let one = [file(1, "a.jpg", Some(10))];
        let archive = [file(1, "a.zip", Some(10))];
        let two = [file(1, "a.jpg", None), file(2, "b.jpg", None)];
        let zip = b"PK\x03\x04\x14\0\0\x08";
        assert_eq!(container(b"\xff\xd8\xff", Some(10), &one), Container::File);
        assert_eq!(container(zip, Some(10), &archive), Container::File);
        assert_eq!(container(zip, Some(99), &one), Container::Zip);
        assert_eq!(container(zip, None, &two), Container::Zip);
        assert_eq!(
            container(b"PK\x03\x04\x14\0\x08\x08", None, &two),
            Container::ZipBackwards
        );
        assert_eq!(container(b"\xff\xd8\xff", None, &two), Container::Unknown);
    }
}
