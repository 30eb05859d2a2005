//! `POST /files`: one multipart body with the parts `data` and `file`, and optionally the key.

use std::sync::Arc;

use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::header::CONTENT_DISPOSITION;
use serde_json::Value;

use super::answer::Refusal;
use super::server::Site;
use super::state::{File, User};
use super::vault::Arrived;
use super::{sniff, texts};
use crate::model::hex;

/// The fields of the form that are kept in memory, in bytes.
const FIELD_BYTES_MAX: usize = 16 << 20;

/// Overhead of a form around its file, in bytes: what the server's limit on bodies exceeds its limit on files by.
const FORM_BYTES_MAX: u64 = 2 << 20;

/// A form as PHP leaves it to the script.
#[derive(Default)]
pub(super) struct Form {
    pub(super) key: Option<String>,
    data: Option<String>,
    file: Option<Part>,
    /// File parts under other names than `file`.
    foreign: usize,
}

struct Part {
    /// As it was sent, without a path; may be no UTF-8.
    name: Vec<u8>,
    arrived: Arrived,
    /// Held until the request is answered; the loser of a race is told apart by not holding it.
    reserved: Option<Reservation>,
}

/// The temporary place of an upload, which goes by the file's name alone.
struct Reservation {
    site: Arc<Site>,
    name: String,
}

impl Reservation {
    fn take(site: &Arc<Site>, name: &[u8]) -> Option<Self> {
        let name = String::from_utf8_lossy(name).into_owned();
        site.archive.lock().uploading.insert(name.clone()).then(|| Self {
            site: Arc::clone(site),
            name,
        })
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.site.archive.lock().uploading.remove(&self.name);
    }
}

/// Reads the form. A body over the limit, or one that is no form, leaves nothing at all: not even the key.
pub(super) async fn read_form(site: &Arc<Site>, request: Request) -> Result<Form, Refusal> {
    let Ok(mut multipart) = Multipart::from_request(request, &()).await else {
        return Ok(Form::default());
    };
    let mut form = Form::default();
    let mut bytes_left = site.upload_bytes_max.saturating_add(FORM_BYTES_MAX);
    loop {
        let field = match multipart.next_field().await {
            Ok(Some(field)) => field,
            Ok(None) => return Ok(form),
            Err(error) => return Ok(broken(&error)),
        };
        let disposition = Disposition::parse(field.headers().get(CONTENT_DISPOSITION).map_or(b"", |v| v.as_bytes()));
        let read = match &disposition.file_name {
            Some(name) => read_file(site, &mut form, name, &disposition.name, field, &mut bytes_left).await,
            None => read_text(&mut form, &disposition.name, field, &mut bytes_left).await,
        };
        match read {
            Ok(()) => {}
            Err(ReadError::Form(error)) => return Ok(broken(&error)),
            Err(ReadError::Disk(error)) => return Err(Refusal::server(error.to_string())),
            Err(ReadError::TooLarge) => {
                drain(&mut multipart).await;
                return Ok(Form::default());
            }
        }
    }
}

enum ReadError {
    Form(MultipartError),
    Disk(std::io::Error),
    TooLarge,
}

fn broken(error: &MultipartError) -> Form {
    tracing::debug!(%error, "a form broke off");
    Form::default()
}

/// The server answers only when it has all of the body.
async fn drain(multipart: &mut Multipart) {
    while let Ok(Some(mut field)) = multipart.next_field().await {
        while let Ok(Some(_)) = field.chunk().await {}
    }
}

async fn read_text(form: &mut Form, name: &str, mut field: Field<'_>, left: &mut u64) -> Result<(), ReadError> {
    let mut text = Vec::new();
    while let Some(piece) = field.chunk().await.map_err(ReadError::Form)? {
        *left = left.checked_sub(piece.len() as u64).ok_or(ReadError::TooLarge)?;
        if text.len() + piece.len() > FIELD_BYTES_MAX {
            return Err(ReadError::TooLarge);
        }
        text.extend_from_slice(&piece);
    }
    let text = String::from_utf8_lossy(&text).into_owned();
    match name {
        "key" => form.key = Some(text),
        "data" => form.data = Some(text),
        _ => {}
    }
    Ok(())
}

async fn read_file(
    site: &Arc<Site>,
    form: &mut Form,
    file_name: &[u8],
    field_name: &str,
    mut field: Field<'_>,
    left: &mut u64,
) -> Result<(), ReadError> {
    let reserved = Reservation::take(site, file_name);
    let mut intake = site.vault.intake().await.map_err(ReadError::Disk)?;
    let mut fits = true;
    while let Some(piece) = field.chunk().await.map_err(ReadError::Form)? {
        match left.checked_sub(piece.len() as u64) {
            Some(rest) => *left = rest,
            None => fits = false,
        }
        if fits {
            intake.push(&piece).await.map_err(ReadError::Disk)?;
        }
    }
    let arrived = intake.finish().await.map_err(ReadError::Disk)?;
    if !fits {
        return Err(ReadError::TooLarge);
    }
    if field_name == "file" {
        form.file = Some(Part {
            name: file_name.to_vec(),
            arrived,
            reserved,
        });
    } else {
        form.foreign += 1;
    }
    Ok(())
}

impl Form {
    /// What the `data` part says.
    fn data(&self) -> Result<Value, Refusal> {
        let text = self
            .data
            .as_deref()
            .ok_or_else(|| Refusal::bad_request("Invalid request. Missing JSON data."))?;
        serde_json::from_str::<Value>(text)
            .ok()
            .filter(Value::is_object)
            .ok_or_else(Refusal::not_an_object)
    }
}

/// Makes the file that the form describes and answers its id.
pub(super) fn create(site: &Arc<Site>, user: &User, form: Form) -> Result<u64, Refusal> {
    let (item, data) = check(site, user, &form)?;
    let part = form.file.ok_or_else(Refusal::not_one_file)?;
    ingest(site, user, item, &data, part)
}

fn check(site: &Site, user: &User, form: &Form) -> Result<(u64, Value), Refusal> {
    if form.file.is_none() || form.foreign > 0 {
        return Err(Refusal::not_one_file());
    }
    let data = form.data()?;
    let archive = site.archive.lock();
    let item = texts::integer(&data["item"]["id"])
        .and_then(|id| archive.items.get(&id))
        .ok_or_else(|| Refusal::bad_request("Invalid item. File must belong to an existing item."))?;
    if !user.may_change(item.record.owner) {
        return Err(Refusal::denied());
    }
    Ok((item.record.id, data))
}

fn ingest(site: &Arc<Site>, user: &User, item: u64, data: &Value, part: Part) -> Result<u64, Refusal> {
    let Part {
        name,
        arrived,
        reserved,
    } = part;
    let found = sniff::sniff(&arrived.head);
    let name = acceptable(site, &name, reserved.is_some(), &arrived, found.mime)?;
    let now = site.now();
    let (size_bytes, md5) = (arrived.size_bytes, arrived.md5.clone());
    let stored_name = site.stored_name(&name);
    if let Err(error) = site.vault.keep(arrived, &stored_name) {
        return Err(Refusal::server(error.to_string()));
    }
    let mut archive = site.archive.lock();
    let id = archive.add_file(user.id, now, |record| File {
        record,
        item,
        order: None,
        original_filename: name,
        stored_name,
        size_bytes,
        md5,
        mime: found.mime.to_owned(),
        type_os: found.type_os,
        metadata: found.metadata,
        has_derivatives: found.has_derivatives,
    });
    // The file is there by now: what follows may fail and leave it.
    super::records::apply_to_file(&mut archive, id, data)?;
    Ok(id)
}

/// The name to keep, or why the server does not take the file.
fn acceptable(site: &Site, name: &[u8], alone: bool, arrived: &Arrived, mime: &str) -> Result<String, Refusal> {
    if name.is_empty() {
        return Err(Refusal::server("File 'file' was not uploaded"));
    }
    if !alone || name.len() > 255 {
        return Err(Refusal::server("Internal Server Error"));
    }
    let shown = String::from_utf8_lossy(name).into_owned();
    if arrived.size_bytes > site.upload_bytes_max {
        return Err(Refusal::server(format!("File '{shown}' exceeds the defined ini size")));
    }
    let objections = match site.validation {
        super::Validation::On => sniff::objections(&shown, mime),
        super::Validation::Off => Vec::new(),
    };
    if !objections.is_empty() {
        return Err(Refusal::server(objections.join("\n\n")));
    }
    let bad = match std::str::from_utf8(name) {
        Ok(name) => texts::four_byte_at(name).map(|at| texts::escaped(&name[at..])),
        Err(error) => Some(hex(&name[error.valid_up_to()..])),
    };
    match bad {
        None => Ok(shown),
        Some(bad) => Err(Refusal::database(&format!(
            "Incorrect string value: '{bad}' for column `omeka`.`omeka_files`.`original_filename` at row 1"
        ))),
    }
}

/// What PHP reads from a part's `Content-Disposition`: `filename*` is no `filename`, and a path is cut off.
struct Disposition {
    name: String,
    file_name: Option<Vec<u8>>,
}

impl Disposition {
    fn parse(header: &[u8]) -> Self {
        let mut found = Self {
            name: String::new(),
            file_name: None,
        };
        for (key, value) in pairs(header) {
            match key.as_str() {
                "name" => found.name = String::from_utf8_lossy(&value).into_owned(),
                "filename" => {
                    let start = value
                        .iter()
                        .rposition(|byte| matches!(byte, b'/' | b'\\'))
                        .map_or(0, |at| at + 1);
                    found.file_name = Some(value[start..].to_vec());
                }
                _ => {}
            }
        }
        found
    }
}

/// `key=value` parts, quoted or not; in quotes `\"` and `\\` stand for the second character.
fn pairs(header: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut pairs = Vec::new();
    let mut rest = header.iter().copied().peekable();
    while rest.peek().is_some() {
        let mut key = Vec::new();
        let mut assigned = false;
        while let Some(byte) = rest.next_if(|byte| *byte != b';') {
            if byte == b'=' {
                assigned = true;
                break;
            }
            key.push(byte);
        }
        let mut value = Vec::new();
        if assigned && rest.next_if_eq(&b'"').is_some() {
            while let Some(byte) = rest.next() {
                match byte {
                    b'"' => break,
                    b'\\' => value.push(rest.next_if(|next| matches!(next, b'"' | b'\\')).unwrap_or(b'\\')),
                    byte => value.push(byte),
                }
            }
        }
        while let Some(byte) = rest.next_if(|byte| *byte != b';') {
            value.push(byte);
        }
        rest.next();
        if assigned {
            let key = String::from_utf8_lossy(&key).trim().to_lowercase();
            pairs.push((key, value));
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_of(header: &str) -> Option<String> {
        Disposition::parse(header.as_bytes())
            .file_name
            .map(|name| String::from_utf8_lossy(&name).into_owned())
    }

    #[test]
    fn file_names_are_read_as_php_reads_them() {
        for (sent, kept) in [
            (r#"filename="note.txt""#, Some("note.txt")),
            (r#"filename="q\"uote.txt""#, Some("q\"uote.txt")),
            (r#"filename="q%22uote.txt""#, Some("q%22uote.txt")),
            (r#"filename="b\\s.txt""#, Some("s.txt")),
            (r#"filename="../../up.txt""#, Some("up.txt")),
            (r#"filename=plain.txt"#, Some("plain.txt")),
            (r#"filename="a;b=c.txt""#, Some("a;b=c.txt")),
            (r#"filename="été.txt""#, Some("été.txt")),
            (r#"filename=""#, Some("")),
            (r#"filename*=utf-8''%C3%A9.txt"#, None),
            (r#"filename*=utf-8''%C3%A9.txt; filename="ete.txt""#, Some("ete.txt")),
        ] {
            let header = format!("form-data; name=\"file\"; {sent}");
            assert_eq!(name_of(&header).as_deref(), kept, "{sent}");
        }
    }
}
