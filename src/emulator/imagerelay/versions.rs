//! New versions of a file, in chunks.

use std::collections::BTreeMap;

use serde_json::json;

use super::ask::{Ask, Outcome, Reply, id_in, text_in};
use super::files::check_extension;
use super::records::{Due, Version};
use super::state::State;
use super::uploads::{chunk_number, is_gapless, joined};

/// `POST /files/{id}/versions`.
pub(super) fn begin(state: &mut State, ask: &Ask) -> Outcome {
    let file = state.file(ask.id(0)?)?.id;
    let uuid = as_uuid(&state.next_token());
    let version = Version {
        uuid: uuid.clone(),
        file,
        chunks: BTreeMap::new(),
    };
    state.save(&version);
    state.versions.insert(uuid.clone(), version);
    Ok(Reply::created(json!({"uuid": uuid})))
}

/// `POST /files/{id}/versions/{uuid}/chunk/{n}`.
pub(super) fn chunk(state: &mut State, ask: &Ask) -> Outcome {
    let mut version = open_version(state, ask)?;
    let number = chunk_number(ask, 2)?;
    let bytes = ask.bytes(state.quirks.chunk_bytes_max)?;
    let piece = state.vault.put(bytes).map_err(|error| Reply::broken(&error))?;
    version.chunks.insert(number, piece);
    state.save(&version);
    state.versions.insert(version.uuid.clone(), version);
    Ok(Reply::done())
}

/// `POST /files/{id}/versions/{uuid}/complete`: queued, so that it shows later.
pub(super) fn complete(state: &mut State, ask: &Ask) -> Outcome {
    let version = open_version(state, ask)?;
    let body = ask.json()?;
    let name = text_in(&body, "file_name")?;
    check_extension(&name)?;
    let count = id_in(&body, "chunk_count")?;
    if count == 0 || count != version.chunks.len() as u64 || !is_gapless(&version.chunks) {
        let here: Vec<&u64> = version.chunks.keys().collect();
        return Err(Reply::invalid(format!(
            "{count} chunks were announced, {here:?} are here"
        )));
    }
    state.versions.remove(&version.uuid);
    state.drop_record::<Version>(&version.uuid);
    let due = Due::Version {
        file: version.file,
        name,
        content: joined(&version.chunks),
    };
    let lag = state.version_lag;
    state.after(lag, due);
    let file = state.file(version.file)?;
    Ok(Reply::created(state.file_json(&file, &ask.origin)))
}

fn open_version(state: &State, ask: &Ask) -> Result<Version, Reply> {
    let file = state.file(ask.id(0)?)?.id;
    state
        .versions
        .get(ask.param(1))
        .filter(|version| version.file == file)
        .cloned()
        .ok_or_else(|| Reply::missing("version upload"))
}

/// 32 hex digits in the form of a version 4 UUID.
fn as_uuid(hex: &str) -> String {
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!(
        "{}-{}-4{}-9{}-{}",
        part(0, 8),
        part(8, 12),
        part(13, 16),
        part(17, 20),
        part(20, 32)
    )
}
