//! New content under an exact name: an upload to a temporary slug name, its metadata, and a move that never overwrites.
//!
//! What lies on the site in between is kept in the upload's [`Resume`], so that an attempt that was cut off goes on or is
//! swept up by the next one:
//! - `temporary`: our upload, not yet under its name;
//! - `aside`: the old content while the new one takes its name, so that at no point the only copy is gone.

use std::time::Duration;

use futures_util::StreamExt;
use serde::{Deserialize, Serialize};

use crate::model::{ContentVersion, Entry, Field, FieldChanges, Kind, Timestamp};
use crate::store::from_http::from_http;
use crate::store::{Body, ErrorKind, Progress, Result, Resume, Retry, StoreError};

use super::api::{Api, Looked, Noun, Written, failure};
use super::decode::Object;
use super::listing::{self, Memory};
use super::path::RemotePath;
use super::rules::{self, Treatment};
use super::{fields, write};

const TEMPORARY: &str = "assetfs-tmp-";
const ASIDE: &str = "assetfs-old-";
/// For how long a temporary is taken for an upload on its way, and not listed.
const IN_PROGRESS_FOR: Duration = Duration::from_secs(3_600);

/// What an attempt has put on the site.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Steps {
    #[serde(skip_serializing_if = "Option::is_none")]
    temporary: Option<String>,
    /// How many bytes the site stored under the temporary name, once all were sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    stored_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aside: Option<String>,
    /// The temporary file of a new one has its metadata.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    dressed: bool,
}

impl Steps {
    fn of(progress: &dyn Progress) -> Self {
        let resume = progress.resume();
        resume.and_then(|resume| Self::read(&resume.upload)).unwrap_or_default()
    }

    fn read(upload: &str) -> Option<Self> {
        serde_json::from_str(upload).ok()
    }

    fn save(&self, progress: &dyn Progress) {
        let upload = if *self == Self::default() {
            String::new()
        } else {
            serde_json::json!(self).to_string()
        };
        progress.save(&Resume {
            upload,
            fields_told: self.dressed,
            half_done: self.temporary.is_some() || self.aside.is_some(),
            ..Resume::default()
        });
    }

    /// Where the upload is, if it still is: as noted, or beside `target`, whose folder may have got another name since.
    async fn temporary(&self, api: &Api, target: &RemotePath) -> Result<Option<(RemotePath, Object)>> {
        find(api, self.temporary.as_deref(), target).await
    }

    /// Removes the upload; answers whether it was there.
    async fn remove_temporary(&self, api: &Api, target: &RemotePath) -> Result<bool> {
        match self.temporary(api, target).await? {
            Some((temporary, _)) => remove_if_there(api, &temporary).await,
            None => Ok(false),
        }
    }

    /// The old content, likewise.
    async fn aside(&self, api: &Api, target: &RemotePath) -> Result<Option<RemotePath>> {
        let found = find(api, self.aside.as_deref(), target).await?;
        Ok(found.map(|(path, _)| path))
    }
}

async fn find(api: &Api, noted: Option<&str>, target: &RemotePath) -> Result<Option<(RemotePath, Object)>> {
    let Some(noted) = noted.and_then(RemotePath::parse) else {
        return Ok(None);
    };
    let beside = target
        .parent()
        .child(noted.name())
        .ok()
        .filter(|beside| *beside != noted);
    for path in [Some(noted), beside].into_iter().flatten() {
        if let Some(object) = listing::single(api, &path).await? {
            return Ok(Some((path, object)));
        }
    }
    Ok(None)
}

/// The same name as `noted`, in the folder of `target`.
fn at_the_side_of(target: &RemotePath, noted: &str) -> Result<RemotePath> {
    let name = RemotePath::parse(noted).map(|noted| noted.name().to_owned());
    target.parent().child(&name.unwrap_or_default())
}

/// A fresh slug name beside `target`, which the site stores as it is: it tells when it was made, because a moved file
/// keeps its own time.
fn beside(target: &RemotePath, prefix: &str, now: Timestamp) -> Result<RemotePath> {
    let extension = target.name().rsplit_once('.').map_or("", |(_, extension)| extension);
    let (made, random) = (now.secs as u32, rand::random::<u32>());
    target
        .parent()
        .child(&format!("{prefix}{made:08x}{random:08x}.{extension}"))
}

/// Whether this is an upload that somebody is just making, or the old content that is about to go.
pub(super) fn is_in_progress(file: &Entry, now: Timestamp) -> bool {
    let rest = [TEMPORARY, ASIDE]
        .iter()
        .find_map(|prefix| file.name.strip_prefix(prefix));
    let digits = rest.and_then(|rest| rest.get(..16));
    let Some(digits) = digits.filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit())) else {
        return false;
    };
    let made = i64::from_str_radix(&digits[..8], 16).map(Timestamp::from_secs);
    // Other machines' clocks are not ours.
    made.is_ok_and(|made| now.since(made) < IN_PROGRESS_FOR && made.since(now) < IN_PROGRESS_FOR)
}

/// Fields and the texts that they are to have.
type Wanted = Vec<(String, Option<String>)>;

/// One upload on its way.
struct Attempt<'a> {
    api: &'a Api,
    target: &'a RemotePath,
    body: &'a Body,
    progress: &'a dyn Progress,
    steps: Steps,
    now: Timestamp,
}

impl Attempt<'_> {
    fn error(&self, kind: ErrorKind) -> StoreError {
        failure(kind, "upload", self.target)
    }

    /// Keeps the steps before what they speak of is done: what nobody knows of would stay on the site.
    fn note(&self) -> Result<()> {
        self.steps.save(self.progress);
        match self.is_noted() {
            true => Ok(()),
            false => Err(self.overtaken()),
        }
    }

    /// Whether the steps are still kept: not when other bytes or another name are wanted by now.
    fn is_noted(&self) -> bool {
        Steps::of(self.progress) == self.steps
    }

    fn overtaken(&self) -> StoreError {
        self.error(ErrorKind::Cancelled).retry(Retry::After(Duration::ZERO))
    }

    async fn treatment(&self) -> Result<Treatment> {
        let head_bytes = self.body.size_bytes().min(rules::HEAD_BYTES as u64) as usize;
        let head = self.body.part(0, head_bytes).await?;
        rules::check_content(&self.api.config, self.target.name(), self.body.size_bytes(), &head)
    }

    /// Sends the bytes to the temporary name and answers what the site made of them.
    async fn send(&mut self, treatment: Treatment) -> Result<(RemotePath, Object)> {
        if self.steps.stored_bytes.is_some()
            && let Some(sent) = self.steps.temporary(self.api, self.target).await?
        {
            // An earlier attempt at the same bytes has sent them all.
            return Ok(sent);
        }
        let noted = self.steps.temporary.as_deref().and_then(RemotePath::parse);
        let temporary = match noted {
            Some(noted) if noted.parent() == self.target.parent() => noted,
            // Part of it may be where the folder is by now.
            Some(_) => {
                match self.steps.remove_temporary(self.api, self.target).await {
                    Err(left) if !left.is_transient() => {
                        tracing::warn!(%left, "a temporary upload is left on the site")
                    }
                    removed => drop(removed?),
                }
                beside(self.target, TEMPORARY, self.now)?
            }
            None => beside(self.target, TEMPORARY, self.now)?,
        };
        self.steps.temporary = Some(temporary.as_str().to_owned());
        self.note()?;
        let refusal = match self.api.upload(&temporary, self.body).await? {
            Written::Done(_) => None,
            Written::Unclear(error) => Some(error),
        };
        let Some(object) = listing::single(self.api, &temporary).await? else {
            return Err(match refusal {
                Some(error) if error.kind == ErrorKind::NotFound => self
                    .error(ErrorKind::Denied)
                    .because("the site refuses it without a reason"),
                Some(error) => error,
                None => self
                    .error(ErrorKind::Protocol)
                    .because("the site took the upload and does not have it"),
            });
        };
        let stored = listing::entry(self.api, &temporary, &object).await?.size;
        let is_whole = treatment == Treatment::Encoded || stored == Some(self.body.size_bytes());
        if !is_whole {
            let why = format!("{} bytes were sent and {stored:?} arrived", self.body.size_bytes());
            return Err(self
                .error(ErrorKind::Protocol)
                .retry(Retry::After(Duration::from_secs(1)))
                .because(why));
        }
        self.progress.sent(self.body.size_bytes());
        self.steps.stored_bytes = stored;
        self.steps.save(self.progress);
        Ok((temporary, object))
    }

    /// Gives the temporary file its metadata, so that the file is complete when it gets its name.
    async fn dress(&self, temporary: &RemotePath, object: &Object, mut wanted: Wanted) -> Result<()> {
        if !wanted.iter().any(|(field, _)| field == "title") {
            // The site takes the title from the name it sees, which is not the real one.
            let stem = self
                .target
                .name()
                .rsplit_once('.')
                .map_or(self.target.name(), |(stem, _)| stem);
            wanted.push(("title".to_owned(), Some(stem.to_owned())));
        }
        write::set_fields(self.api, temporary, object, &wanted).await
    }

    async fn check_publish(&self) -> Result<()> {
        if self.progress.may_publish().await {
            return Ok(());
        }
        Err(self.overtaken())
    }

    /// After a final failure: takes away what this attempt has put there. A failure that may pass leaves it for the next, if
    /// that will know of it.
    async fn sweep(&mut self, error: &StoreError) {
        let for_good = !error.is_transient() || error.kind == ErrorKind::Cancelled || !self.is_noted();
        if !for_good || self.steps.temporary.is_none() || self.steps.aside.is_some() {
            return;
        }
        match self.steps.remove_temporary(self.api, self.target).await {
            Err(left) => tracing::warn!(%left, "a temporary upload is left on the site"),
            Ok(_) => {
                self.steps = Steps::default();
                self.steps.save(self.progress);
            }
        }
    }

    /// Whether the site has the very bytes: as many of them are no proof.
    async fn is_stored_as_sent(&self, entry: &Entry) -> Result<bool> {
        if entry.size != Some(self.body.size_bytes()) {
            return Ok(false);
        }
        let mut stored = self.api.open(self.target, None).await?.stream();
        let mut at = 0;
        while let Some(piece) = stored.next().await {
            let piece = piece.map_err(|e| from_http("compare", self.target.to_string(), e))?;
            if at + piece.len() as u64 > self.body.size_bytes() || self.body.part(at, piece.len()).await? != piece {
                return Ok(false);
            }
            at += piece.len() as u64;
        }
        Ok(at == self.body.size_bytes())
    }

    /// The finished file; marked when the site has changed its bytes.
    async fn finish(&mut self, treatment: Treatment) -> Result<Entry> {
        let mut entry = listing::stat(self.api, Kind::File, self.target).await?;
        if treatment == Treatment::Encoded && !self.is_stored_as_sent(&entry).await? {
            let why = format!(
                "the site encoded this picture anew: {} bytes were sent, {} are stored",
                self.body.size_bytes(),
                entry.size.map_or_else(|| "other".to_owned(), |size| size.to_string()),
            );
            let field = Field {
                values: vec![why.into()],
                access: crate::model::Access::ReadOnly,
            };
            entry.fields.insert(Entry::ALTERED.to_owned(), field);
        }
        // Until nothing can fail any more: without them nobody knows that it is ours.
        self.steps = Steps::default();
        self.steps.save(self.progress);
        Ok(entry)
    }
}

/// Makes a new file.
pub(super) async fn create(
    api: &Api,
    memory: &Memory,
    target: &RemotePath,
    body: &Body,
    wanted: &FieldChanges,
    progress: &dyn Progress,
) -> Result<Entry> {
    let mut attempt = Attempt {
        api,
        target,
        body,
        progress,
        steps: Steps::of(progress),
        now: memory.now(),
    };
    let treatment = attempt.treatment().await?;
    let wanted: Wanted = fields::writable(wanted)
        .map(|(f, text)| (f.to_owned(), Some(text)))
        .collect();
    let done = create_steps(&mut attempt, treatment, wanted).await;
    memory.note(target);
    match done {
        Ok(()) => attempt.finish(treatment).await,
        Err(error) => {
            attempt.sweep(&error).await;
            Err(error)
        }
    }
}

async fn create_steps(attempt: &mut Attempt<'_>, treatment: Treatment, wanted: Wanted) -> Result<()> {
    // The site would make a missing folder.
    if let Looked::Absent = attempt.api.look(Noun::Folders, &attempt.target.parent(), false).await? {
        return Err(failure(ErrorKind::NotFound, "upload", &attempt.target.parent()));
    }
    if listing::kind_at(attempt.api, attempt.target).await?.is_some() {
        // An earlier attempt of ours may have come this far, and only its answer was lost.
        return if is_published(attempt).await? {
            Ok(())
        } else {
            Err(attempt.error(ErrorKind::Exists))
        };
    }
    let (temporary, object) = attempt.send(treatment).await?;
    attempt.dress(&temporary, &object, wanted).await?;
    attempt.steps.dressed = true;
    attempt.note()?;
    attempt.check_publish().await?;
    write::relocate(attempt.api, Kind::File, &temporary, attempt.target).await?;
    Ok(())
}

/// Whether the file at the target is this attempt's: all was sent, the temporary is gone, and the size is right.
async fn is_published(attempt: &Attempt<'_>) -> Result<bool> {
    let (Some(_), Some(stored)) = (&attempt.steps.temporary, attempt.steps.stored_bytes) else {
        return Ok(false);
    };
    if attempt.steps.temporary(attempt.api, attempt.target).await?.is_some() {
        return Ok(false);
    }
    let there = listing::stat(attempt.api, Kind::File, attempt.target).await?;
    Ok(there.size == Some(stored))
}

/// What [`replace`] is to do.
pub(super) struct Replacement<'a> {
    /// The file whose content is replaced.
    pub(super) old: &'a RemotePath,
    /// The version that the new content was made from.
    pub(super) base: Option<&'a ContentVersion>,
    /// Where the new content goes: the same path, or another name in the same folder.
    pub(super) target: &'a RemotePath,
}

/// Gives a file new content (and a new name), with its metadata kept.
pub(super) async fn replace(
    api: &Api,
    memory: &Memory,
    wish: &Replacement<'_>,
    body: &Body,
    progress: &dyn Progress,
) -> Result<Entry> {
    let mut attempt = Attempt {
        api,
        target: wish.target,
        body,
        progress,
        steps: Steps::of(progress),
        now: memory.now(),
    };
    let treatment = attempt.treatment().await?;
    let done = replace_steps(&mut attempt, wish, treatment).await;
    memory.note(wish.target);
    match done {
        Ok(()) => attempt.finish(treatment).await,
        Err(error) => {
            attempt.sweep(&error).await;
            Err(error)
        }
    }
}

async fn replace_steps(attempt: &mut Attempt<'_>, wish: &Replacement<'_>, treatment: Treatment) -> Result<()> {
    if attempt.steps.aside.is_some() {
        return finish_swap(attempt, wish).await;
    }
    let old = current(attempt, wish).await?;
    if wish.old != wish.target && listing::kind_at(attempt.api, wish.target).await?.is_some() {
        return Err(attempt.error(ErrorKind::Exists));
    }
    let (temporary, object) = attempt.send(treatment).await?;
    let carried: Wanted = fields::carried(&old.fields)
        .map(|(f, text)| (f.to_owned(), Some(text)))
        .collect();
    attempt.dress(&temporary, &object, carried).await?;
    // Before it may be published, which makes the note durable: without it the old content would not be found again.
    let aside = beside(wish.old, ASIDE, attempt.now)?;
    attempt.steps.aside = Some(aside.as_str().to_owned());
    let may = match attempt.note() {
        Ok(()) => may_swap(attempt, wish).await,
        overtaken => overtaken,
    };
    if let Err(error) = may {
        attempt.steps.aside = None;
        attempt.steps.save(attempt.progress);
        return Err(error);
    }
    write::relocate(attempt.api, Kind::File, wish.old, &aside).await?;
    finish_swap(attempt, wish).await
}

async fn may_swap(attempt: &Attempt<'_>, wish: &Replacement<'_>) -> Result<()> {
    attempt.check_publish().await?;
    // Once more, right before: the upload took its time. What is left of the gap is the next two calls.
    current(attempt, wish).await.map(drop)
}

/// The file as it is now, when it still is the one that the new content was made from.
async fn current(attempt: &Attempt<'_>, wish: &Replacement<'_>) -> Result<Entry> {
    let now = listing::stat(attempt.api, Kind::File, wish.old).await?;
    if wish.base.is_some_and(|base| *base != now.version) {
        return Err(attempt.error(ErrorKind::Conflict));
    }
    Ok(now)
}

/// With the old content aside (perhaps): puts the new one in its place and drops the old one. Also how an attempt that was
/// cut off in between goes on.
async fn finish_swap(attempt: &mut Attempt<'_>, wish: &Replacement<'_>) -> Result<()> {
    let (api, target) = (attempt.api, attempt.target);
    let waiting = attempt.steps.temporary(api, target).await?.map(|(path, _)| path);
    let mut aside = attempt.steps.aside(api, wish.old).await?;
    if let (Some(_), None, Some(noted)) = (&waiting, &aside, &attempt.steps.aside) {
        // Cut off before the old content was moved: nothing has happened yet.
        current(attempt, wish).await?;
        let to = at_the_side_of(wish.old, noted)?;
        write::relocate(api, Kind::File, wish.old, &to).await?;
        aside = Some(to);
    }
    match &waiting {
        Some(waiting) => {
            if let Err(error) = write::relocate(api, Kind::File, waiting, target).await {
                // Where it has left its name it has taken the other one all the same, and the next attempt sees that.
                let is_waiting = attempt
                    .steps
                    .temporary(api, target)
                    .await
                    .is_ok_and(|left| left.is_some());
                if is_waiting && let Err(left) = put_back(attempt, wish, aside.as_ref()).await {
                    tracing::warn!(%left, "the old content waits beside its name for the next attempt");
                }
                return Err(error);
            }
        }
        None if has_taken_place(attempt, wish).await? => {}
        None => {
            // An attempt that was overtaken has taken it away.
            put_back(attempt, wish, aside.as_ref()).await?;
            attempt.steps = Steps::default();
            attempt.steps.save(attempt.progress);
            return Err(attempt
                .error(ErrorKind::Protocol)
                .retry(Retry::After(Duration::ZERO))
                .because("what was uploaded is no longer there; it begins anew"));
        }
    }
    match aside {
        Some(aside) => remove_if_there(api, &aside).await.map(drop),
        None => Ok(()),
    }
}

/// Whether the new content, which is no longer under its temporary name, is where it belongs.
async fn has_taken_place(attempt: &Attempt<'_>, wish: &Replacement<'_>) -> Result<bool> {
    if listing::kind_at(attempt.api, attempt.target).await? != Some(Kind::File) {
        return Ok(false);
    }
    let there = listing::stat(attempt.api, Kind::File, attempt.target).await?;
    let is_old = wish.base.is_some_and(|base| *base == there.version);
    Ok(!is_old && there.size.is_some() && there.size == attempt.steps.stored_bytes)
}

/// The new content could not take the name: the old one gets it back, unless others have taken that.
async fn put_back(attempt: &mut Attempt<'_>, wish: &Replacement<'_>, aside: Option<&RemotePath>) -> Result<()> {
    if let Some(aside) = aside {
        match write::relocate(attempt.api, Kind::File, aside, wish.old).await {
            Err(error) if error.kind != ErrorKind::Exists => return Err(error),
            Ok(_) | Err(_) => {}
        }
    }
    attempt.steps.aside = None;
    attempt.steps.save(attempt.progress);
    Ok(())
}

/// Takes away what an upload has left, of which `upload` is the note. Where the old content is aside it gets its name back, or
/// goes when the new one has that.
pub(super) async fn roll_back(api: &Api, old: Option<&RemotePath>, upload: &str) -> Result<()> {
    let Some(steps) = Steps::read(upload) else {
        return Ok(());
    };
    let noted = steps.temporary.as_deref().and_then(RemotePath::parse);
    let Some(target) = old.or(noted.as_ref()) else {
        return Ok(());
    };
    if let Some(old) = old
        && let Some(aside) = steps.aside(api, old).await?
    {
        let is_waiting = steps.temporary(api, old).await?.is_some();
        match listing::kind_at(api, old).await? {
            None => {
                // Nobody else would know where it is: this is tried until it works.
                let back = write::relocate(api, Kind::File, &aside, old).await;
                back.map_err(|error| failure(ErrorKind::NotReady, "put back", old).because(error.to_string()))?;
            }
            Some(Kind::Folder) => {}
            Some(Kind::File) => {
                // What is there is the new content, unless others have put theirs there: then the old stays beside it.
                let there = listing::stat(api, Kind::File, old).await?;
                let is_new = steps.stored_bytes.is_some() && there.size == steps.stored_bytes;
                if !is_waiting && is_new {
                    remove_if_there(api, &aside).await?;
                }
            }
        }
    }
    // Last of all: as long as it is there it tells how far this came.
    steps.remove_temporary(api, target).await.map(drop)
}

/// Removes a file; answers whether it was there.
async fn remove_if_there(api: &Api, path: &RemotePath) -> Result<bool> {
    match write::remove_file(api, path).await {
        Err(error) if error.is_not_found() => Ok(false),
        removed => removed.map(|()| true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ItemId;
    use crate::store::UploadProgress;

    #[test]
    fn notes_survive_and_nothing_is_noted_for_nothing() {
        let progress = UploadProgress::default();
        let steps = Steps {
            temporary: Some("a/assetfs-tmp-1.jpg".to_owned()),
            ..Steps::default()
        };
        steps.save(&progress);
        assert_eq!(Steps::of(&progress), steps);
        Steps::default().save(&progress);
        assert_eq!(Steps::of(&progress), Steps::default());
        assert_eq!(progress.resume().map(|r| r.upload), Some(String::new()));
    }

    #[test]
    fn a_temporary_is_hidden_while_it_is_young() {
        let target = RemotePath::parse("docs/Photo.JPG").unwrap();
        let now = Timestamp::from_secs(1_800_000_000);
        let path = beside(&target, TEMPORARY, now).unwrap();
        assert!(
            path.as_str().starts_with("docs/assetfs-tmp-") && path.as_str().ends_with(".JPG"),
            "{path}"
        );
        let mut file = Entry::file(
            ItemId::new("file:/x"),
            path.name(),
            Vec::new(),
            1,
            ContentVersion::new("1"),
        );
        // The old content that steps aside keeps its own, older time.
        file.modified = Some(Timestamp::from_secs(1_000));
        assert!(is_in_progress(&file, Timestamp::from_secs(1_800_001_000)));
        assert!(!is_in_progress(&file, Timestamp::from_secs(1_800_003_600)));
        file.name = beside(&target, ASIDE, now).unwrap().name().to_owned();
        assert!(is_in_progress(&file, now));
        file.name = "assetfs-tmp-notes.txt".to_owned();
        assert!(!is_in_progress(&file, now));
    }
}
