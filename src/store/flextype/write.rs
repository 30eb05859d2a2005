//! Changes of the tree and of metadata. A refusal says little on this site, so every one is settled by looking.

use crate::model::{Entry, FieldChanges, Kind};
use crate::store::{ErrorKind, Result, Retry, StoreError};

use super::api::{Api, Looked, Noun, Written, failure};
use super::decode::{self, Data, Object};
use super::fields;
use super::listing::{self, Memory};
use super::path::RemotePath;

fn noun(kind: Kind) -> Noun {
    match kind {
        Kind::File => Noun::Files,
        Kind::Folder => Noun::Folders,
    }
}

/// Where a move stands, seen from both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    /// Only the target is there: it was done.
    Done,
    /// Both are there.
    Taken,
    /// Only the source is there.
    Undone,
    /// Neither is.
    Gone,
}

fn ends(source: Option<Kind>, target: Option<Kind>) -> Ends {
    match (source, target) {
        (None, Some(_)) => Ends::Done,
        (Some(_), Some(_)) => Ends::Taken,
        (Some(_), None) => Ends::Undone,
        (None, None) => Ends::Gone,
    }
}

/// Why the site refused, when the source is there and the target is not.
async fn reason(api: &Api, operation: &'static str, to: &RemotePath, unclear: StoreError) -> StoreError {
    if unclear.kind != ErrorKind::NotFound {
        return unclear;
    }
    let parent = to.parent();
    match api.look(Noun::Folders, &parent, false).await {
        Ok(Looked::Absent) => failure(ErrorKind::NotFound, operation, &parent).because("the folder is not there"),
        Ok(Looked::Found(_)) => {
            failure(ErrorKind::Denied, operation, to).because("the site refuses it without a reason")
        }
        Ok(Looked::Failed(error)) | Err(error) => error,
    }
}

/// Whoever cannot look afterwards does not know, and says so.
fn unknown(error: StoreError) -> StoreError {
    error.retry(Retry::Ambiguous)
}

/// Moves a file or folder; never over something else.
pub(super) async fn relocate(api: &Api, kind: Kind, from: &RemotePath, to: &RemotePath) -> Result<Entry> {
    const OPERATION: &str = "move";
    if from == to {
        return listing::stat(api, kind, from).await;
    }
    if kind == Kind::Folder && to.is_within(from) {
        return Err(failure(ErrorKind::Invalid, OPERATION, from).because("a folder cannot go into itself"));
    }
    match api.move_to(noun(kind), from, to).await? {
        Written::Done(answer) => told_or_asked(api, kind, to, answer).await.map_err(unknown),
        Written::Unclear(error) => {
            let source = listing::kind_at(api, from).await.map_err(unknown)?;
            let target = listing::kind_at(api, to).await.map_err(unknown)?;
            match ends(source, target) {
                Ends::Done => listing::stat(api, kind, to).await.map_err(unknown),
                Ends::Taken => Err(failure(ErrorKind::Exists, OPERATION, to)),
                Ends::Gone => Err(failure(ErrorKind::NotFound, OPERATION, from)),
                Ends::Undone => Err(reason(api, OPERATION, to, error).await),
            }
        }
    }
}

/// The entry at `path` from a write's answer (before 0.9.12), or asked for.
async fn told_or_asked(api: &Api, kind: Kind, path: &RemotePath, answer: Option<Data>) -> Result<Entry> {
    match (kind, answer) {
        (Kind::Folder, _) => Ok(decode::folder_entry(path)),
        (Kind::File, Some(Data::One(object))) => listing::entry(api, path, &object).await,
        (Kind::File, Some(Data::Many(_)) | None) => listing::stat(api, kind, path).await,
    }
}

/// Copies a file or folder on the server; never over something else.
pub(super) async fn copy(api: &Api, kind: Kind, from: &RemotePath, to: &RemotePath) -> Result<Entry> {
    const OPERATION: &str = "copy";
    if kind == Kind::Folder && to.is_within(from) {
        return Err(failure(ErrorKind::Invalid, OPERATION, from).because("a folder cannot be copied into itself"));
    }
    // Looked at before, because afterwards a lost answer and a taken name look alike.
    if listing::kind_at(api, to).await?.is_some() {
        return Err(failure(ErrorKind::Exists, OPERATION, to));
    }
    match api.copy_to(noun(kind), from, to).await? {
        Written::Done(answer) => told_or_asked(api, kind, to, answer).await.map_err(unknown),
        Written::Unclear(error) => {
            let source = listing::kind_at(api, from).await.map_err(unknown)?;
            let target = listing::kind_at(api, to).await.map_err(unknown)?;
            match (source, target) {
                // A folder's copy that broke off half-way is not whole: that is for the caller to see.
                (_, Some(Kind::Folder)) if error.kind != ErrorKind::NotFound => Err(error),
                (_, Some(there)) if error.kind != ErrorKind::NotFound => {
                    listing::stat(api, there, to).await.map_err(unknown)
                }
                (_, Some(_)) => Err(failure(ErrorKind::Exists, OPERATION, to)),
                (None, None) => Err(failure(ErrorKind::NotFound, OPERATION, from)),
                (Some(_), None) => Err(reason(api, OPERATION, to, error).await),
            }
        }
    }
}

/// Makes a folder in one that is there.
pub(super) async fn make_folder(api: &Api, path: &RemotePath) -> Result<Entry> {
    const OPERATION: &str = "make the folder";
    // The site would make the missing parents too.
    if let Looked::Absent = api.look(Noun::Folders, &path.parent(), false).await? {
        return Err(failure(ErrorKind::NotFound, OPERATION, &path.parent()));
    }
    if listing::kind_at(api, path).await?.is_some() {
        return Err(failure(ErrorKind::Exists, OPERATION, path));
    }
    match api.make_folder(path).await? {
        Written::Done(_) => Ok(decode::folder_entry(path)),
        Written::Unclear(error) => match listing::kind_at(api, path).await.map_err(unknown)? {
            // Nobody was refused (404), so it is ours.
            Some(Kind::Folder) if error.kind != ErrorKind::NotFound => Ok(decode::folder_entry(path)),
            Some(_) => Err(failure(ErrorKind::Exists, OPERATION, path)),
            None => Err(reason(api, OPERATION, path, error).await),
        },
    }
}

/// Deletes a file.
pub(super) async fn remove_file(api: &Api, path: &RemotePath) -> Result<()> {
    const OPERATION: &str = "remove";
    match api.delete(Noun::Files, path).await? {
        Written::Done(_) => Ok(()),
        Written::Unclear(error) => match listing::single(api, path).await? {
            Some(_) if error.kind == ErrorKind::NotFound => {
                Err(failure(ErrorKind::Denied, OPERATION, path).because("the site refuses it without a reason"))
            }
            Some(_) => Err(error),
            None if error.kind == ErrorKind::NotFound => Err(failure(ErrorKind::NotFound, OPERATION, path)),
            None => Ok(()),
        },
    }
}

/// Deletes a folder that both listings show to be empty: the site would take everything in it along.
pub(super) async fn remove_folder(api: &Api, path: &RemotePath) -> Result<()> {
    const OPERATION: &str = "remove";
    if path.is_root() {
        return Err(failure(ErrorKind::Denied, OPERATION, path).because("the uploads folder itself is never removed"));
    }
    if !listing::raw(api, path).await?.is_empty() {
        return Err(failure(ErrorKind::NotEmpty, OPERATION, path));
    }
    match api.delete(Noun::Folders, path).await? {
        Written::Done(_) => Ok(()),
        Written::Unclear(error) => match api.look(Noun::Folders, path, false).await? {
            // It was there a moment ago, so it went by this call whatever the answer was.
            Looked::Absent => Ok(()),
            Looked::Found(_) if error.kind == ErrorKind::NotFound => {
                Err(failure(ErrorKind::Denied, OPERATION, path).because("the site refuses it without a reason"))
            }
            Looked::Found(_) => Err(error),
            Looked::Failed(error) => Err(error),
        },
    }
}

/// Brings fields of a file to the wanted texts; `None` removes one. `object` is the file as it is now.
pub(super) async fn set_fields(
    api: &Api,
    path: &RemotePath,
    object: &Object,
    wanted: &[(String, Option<String>)],
) -> Result<()> {
    for (field, text) in wanted {
        let now = fields::find(object, field);
        let written = match (now, text.as_deref()) {
            (None, None) => continue,
            (Some(now), Some(text)) if now.as_str() == Some(text) => continue,
            (Some(_), None) => api.delete_field(path, field).await?,
            (Some(_), Some(text)) => api.patch_field(path, field, text).await?,
            (None, Some(text)) => api.add_field(path, field, text).await?,
        };
        if let Written::Unclear(error) = written {
            settle_field(api, path, field, text.as_deref(), error).await?;
        }
    }
    Ok(())
}

/// Looks whether a field has become what it was to be.
async fn settle_field(api: &Api, path: &RemotePath, field: &str, text: Option<&str>, error: StoreError) -> Result<()> {
    const OPERATION: &str = "set a field";
    let missing = || failure(ErrorKind::NotFound, OPERATION, path);
    let object = listing::single(api, path).await?.ok_or_else(missing)?;
    let now = fields::find(&object, field);
    if now.and_then(|now| now.as_str()) == text && (text.is_some() || now.is_none()) {
        return Ok(());
    }
    if error.kind != ErrorKind::NotFound {
        return Err(error);
    }
    // Somebody added or removed the field in between: the same wish in the other form.
    let written = match (now, text) {
        (Some(_), None) => api.delete_field(path, field).await?,
        (Some(_), Some(text)) => api.patch_field(path, field, text).await?,
        (None, Some(text)) => api.add_field(path, field, text).await?,
        (None, None) => return Ok(()),
    };
    match written {
        Written::Done(_) => Ok(()),
        Written::Unclear(error) if error.kind == ErrorKind::NotFound => {
            let why = format!("the site refuses the field {field} without a reason");
            Err(failure(ErrorKind::Denied, OPERATION, path).because(why))
        }
        Written::Unclear(error) => Err(error),
    }
}

/// Sets fields of one file and answers its new entry.
pub(super) async fn change_fields(
    api: &Api,
    memory: &Memory,
    path: &RemotePath,
    changes: &FieldChanges,
) -> Result<Entry> {
    let missing = || failure(ErrorKind::NotFound, "set fields", path);
    let object = listing::single(api, path).await?.ok_or_else(missing)?;
    let wanted = changes.iter().map(|(field, values)| {
        let text = fields::joined(values);
        // An empty text is no value, as for a field that was cleared.
        (field.clone(), (!text.is_empty()).then_some(text))
    });
    set_fields(api, path, &object, &wanted.collect::<Vec<_>>()).await?;
    memory.note(path);
    listing::stat(api, Kind::File, path).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_move_is_judged_by_both_ends() {
        let file = Some(Kind::File);
        assert_eq!(ends(None, file), Ends::Done);
        assert_eq!(ends(file, file), Ends::Taken);
        assert_eq!(ends(file, None), Ends::Undone);
        assert_eq!(ends(None, None), Ends::Gone);
    }
}
