//! New files: upload jobs with chunks, and uploads from a URL.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::ask::{Ask, Outcome, Reply, as_id, id_in, ids_in, list_in, text_in};
use super::content::{Content, Piece};
use super::effects::Effect;
use super::files::check_extension;
use super::listing::parse_day;
use super::records::{Due, File, Job, JobFile, JobState};
use super::render::{job_json, time};
use super::state::State;

/// `POST /upload_jobs`.
pub(super) fn create_job(state: &mut State, ask: &Ask) -> Outcome {
    let body = ask.json()?;
    let folder = state.folder(id_in(&body, "folder_id")?)?.id;
    let file_type = known_type(state, &body)?;
    let terms = state.terms_in(&body, file_type)?.into_iter().collect();
    let listed = list_in(&body, "files")?;
    if listed.is_empty() {
        return Err(Reply::invalid("files is empty"));
    }
    let mut files = Vec::new();
    for entry in listed {
        let name = text_in(entry, "name")?;
        check_extension(&name)?;
        let bytes = entry
            .get("size")
            .and_then(as_id)
            .ok_or_else(|| Reply::invalid("size is required"))?;
        if bytes == 0 && state.quirks.empty_files_dropped {
            continue;
        }
        files.push(JobFile {
            id: state.next_id(),
            name,
            bytes,
            state: JobState::Filling(BTreeMap::new()),
        });
    }
    let keywords = body.get("keyword_ids").and_then(Value::as_array).cloned();
    let now = state.now_ms();
    let job = Job {
        id: state.next_id(),
        folder,
        file_type,
        created_ms: now,
        updated_ms: now,
        terms,
        // Checked only when a chunk comes, as the service does.
        keywords: keywords.unwrap_or_default(),
        expires_on: body.get("expires_on").and_then(Value::as_str).map(str::to_owned),
        files,
    };
    let files: Vec<Value> = job
        .files
        .iter()
        .map(|file| json!({"id": file.id, "name": file.name, "size": file.bytes}))
        .collect();
    let answer = json!({"id": job.id, "created_at": time(job.created_ms), "files": files});
    state.put_job(job);
    Ok(Reply::created(answer))
}

/// `GET /upload_jobs/{id}`.
pub(super) fn get_job(state: &mut State, ask: &Ask) -> Outcome {
    let job = state
        .jobs
        .get(&ask.id(0)?)
        .ok_or_else(|| Reply::missing("upload job"))?;
    Ok(Reply::ok(job_json(job)))
}

/// `POST /upload_jobs/{job}/files/{file}/chunks/{n}`: any order; the same chunk again changes nothing.
pub(super) fn chunk(state: &mut State, ask: &Ask) -> Outcome {
    let (id, file_id, number) = (ask.id(0)?, ask.id(1)?, chunk_number(ask, 2)?);
    let mut job = state
        .jobs
        .get(&id)
        .cloned()
        .ok_or_else(|| Reply::missing("upload job"))?;
    check_late_fields(state, &job)?;
    let index = job
        .files
        .iter()
        .position(|file| file.id == file_id)
        .ok_or_else(|| Reply::missing("file of the upload job"))?;
    let bytes = ask.bytes(state.quirks.chunk_bytes_max)?;
    let file = &mut job.files[index];
    let JobState::Filling(chunks) = &mut file.state else {
        return Ok(Reply::created(job_json(&job)));
    };
    let others: u64 = chunks
        .iter()
        .filter(|(n, _)| **n != number)
        .map(|(_, piece)| piece.bytes)
        .sum();
    let total = others + bytes.len() as u64;
    if total > file.bytes {
        return Err(Reply::invalid(format!("more bytes than the {} announced", file.bytes)));
    }
    let piece = state.vault.put(bytes).map_err(|error| Reply::broken(&error))?;
    chunks.insert(number, piece);
    if total < file.bytes || !is_gapless(chunks) {
        state.put_job(job);
        return Ok(Reply::done());
    }
    let content = joined(chunks);
    file.state = JobState::Queued;
    state.put_job(job);
    let lag = state.processing_lag;
    state.after(
        lag,
        Due::JobFile {
            job: id,
            index,
            content,
        },
    );
    let job = state.jobs.get(&id).ok_or_else(|| Reply::missing("upload job"))?;
    let uploaded = job.files.iter().all(|file| !matches!(file.state, JobState::Filling(_)));
    Ok(match uploaded {
        true => Reply::created(job_json(job)),
        false => Reply::done(),
    })
}

/// `POST /files`: the service fetches the URL.
pub(super) fn from_url(state: &mut State, ask: &Ask) -> Outcome {
    let body = ask.json()?;
    let folder = state.folder(id_in(&body, "folder_id")?)?.id;
    let file_type = known_type(state, &body)?;
    let name = text_in(&body, "filename")?;
    check_extension(&name)?;
    let url = text_in(&body, "url")?;
    let terms: BTreeMap<u64, String> = state.terms_in(&body, file_type)?.into_iter().collect();
    let tags = ids_in(&body, "keyword_ids")?;
    check_keywords(state, &tags)?;
    let now = state.now_ms();
    let mut file = File {
        id: state.next_file_id(),
        name: state.kept_name(&name),
        content: Content::Awaited,
        size_px: None,
        created_ms: now,
        updated_ms: now,
        content_ms: now,
        file_type,
        folders: Box::from([folder]),
        extra: None,
    };
    if !terms.is_empty() || !tags.is_empty() {
        file.extra_mut().terms = terms;
        file.extra_mut().tags = tags.into_iter().collect();
    }
    state.add_file(file.clone());
    state.queue(Effect::Fetch { file: file.id, url });
    let mut answer = state.file_json(&file, &ask.origin);
    answer["tags"] = json!(state.tags_json(&file, "tag_value"));
    Ok(Reply::created(answer))
}

/// The number of a chunk, from 1.
pub(super) fn chunk_number(ask: &Ask, param: usize) -> Result<u64, Reply> {
    match ask.id(param)? {
        0 => Err(Reply::invalid("chunks are numbered from 1")),
        number => Ok(number),
    }
}

/// Whether the chunks are 1, 2, … without a gap.
pub(super) fn is_gapless(chunks: &BTreeMap<u64, Piece>) -> bool {
    chunks.keys().zip(1..).all(|(number, wanted)| *number == wanted)
}

/// The chunks in order.
pub(super) fn joined(chunks: &BTreeMap<u64, Piece>) -> Content {
    Content::Pieces(chunks.values().cloned().collect())
}

fn known_type(state: &State, body: &Value) -> Result<u64, Reply> {
    let id = id_in(body, "file_type_id")?;
    match state.file_types.iter().any(|kind| kind.id == id) {
        true => Ok(id),
        false => Err(Reply::invalid(format!("there is no file type {id}"))),
    }
}

fn check_late_fields(state: &State, job: &Job) -> Result<(), Reply> {
    if let Some(date) = job.expires_on.as_deref().filter(|date| parse_day(date).is_none()) {
        return Err(Reply::invalid(format!("expires_on {date:?} is not a date")));
    }
    let ids: Option<Vec<u64>> = job.keywords.iter().map(as_id).collect();
    check_keywords(state, &ids.ok_or_else(|| Reply::invalid("keyword_ids holds no ids"))?)
}

fn check_keywords(state: &State, ids: &[u64]) -> Result<(), Reply> {
    match ids.iter().find(|id| !state.keywords.contains_key(id)) {
        Some(unknown) => Err(Reply::invalid(format!("there is no keyword {unknown}"))),
        None => Ok(()),
    }
}
