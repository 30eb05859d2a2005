//! The routes of `/api/files` and `/api/folders`.

use axum::extract::Request;
use axum::http::Method;
use serde_json::{Map, Value};

use super::Version;
use super::answers::Reply;
use super::images::{self, Stored};
use super::params::{Params, Upload};
use super::site::Site;
use super::slug::stored_name;
use super::tokens::{TokenKind, Verdict};
use super::tree::{Failure, SitePath, Tree};

/// What a route is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Noun {
    Files,
    Folders,
}

impl Noun {
    fn token(self) -> TokenKind {
        match self {
            Noun::Files => TokenKind::Files,
            Noun::Folders => TokenKind::Folders,
        }
    }

    fn closed(self) -> Reply {
        match self {
            Noun::Files => Reply::Unauthorized,
            // Folder routes take a disabled token for a wrong parameter.
            Noun::Folders => Reply::BadBody,
        }
    }

    fn missing(self) -> Reply {
        match self {
            Noun::Files => Reply::NoFile,
            Noun::Folders => Reply::NoFolder,
        }
    }

    fn failure(self, failure: Failure) -> Reply {
        match failure {
            Failure::NotFound => self.missing(),
            Failure::Exception => Reply::Exception,
        }
    }
}

/// Handles a call of `/api/<noun>[/copy|/meta]`.
pub(super) async fn call(site: &Site, method: &Method, noun: Noun, verb: &str, request: Request) -> Reply {
    let allowed = match (noun, verb) {
        (_, "") => "GET, POST, PUT, DELETE, OPTIONS",
        (_, "copy") => "PUT, OPTIONS",
        (Noun::Files, "meta") => "POST, PATCH, DELETE, OPTIONS",
        _ => return Reply::NotAllowed("OPTIONS"),
    };
    let (parts, body) = request.into_parts();
    match (verb, method.as_str()) {
        (_, "OPTIONS") => Reply::Options,
        ("", "GET" | "HEAD") => {
            let query = Params::from_urlencoded(parts.uri.query().unwrap_or_default().as_bytes());
            fetch(site, noun, &query)
        }
        ("", "POST") if noun == Noun::Files => {
            let (params, upload) = Params::from_upload(Request::from_parts(parts, body)).await;
            store(site, &params, upload).await
        }
        (_, method) if allowed.contains(method) => {
            let params = Params::from_body(&parts.headers, body).await;
            write(site, noun, verb, method, &params)
        }
        _ => Reply::NotAllowed(allowed),
    }
}

fn fetch(site: &Site, noun: Noun, query: &Params) -> Reply {
    if !query.has("path") || !query.has("token") {
        return Reply::BadQuery;
    }
    if let Some(refusal) = admit(site, noun, noun.token(), query.text("token")) {
        return refusal;
    }
    let Some(raw) = query.get("path").and_then(Value::as_str) else {
        return Reply::Exception;
    };
    let Some(path) = site.path(raw) else {
        return noun.missing();
    };
    let tree = site.tree.lock();
    let is_collection = query.text("collection") == "true";
    let found = match noun {
        Noun::Files if tree.folder_exists(&path.key) => {
            tree.file_collection(&path, &site.origin(), site.options.version, site.options.collision)
        }
        Noun::Files => tree.file_object(&path, &site.origin()),
        Noun::Folders if is_collection => tree.folder_collection(&path, &site.origin(), site.options.version),
        Noun::Folders => tree.folder_object(&path, &site.origin()),
    };
    found.map_or_else(|failure| noun.failure(failure), Reply::Data)
}

/// `None` when the token opens the route.
fn admit(site: &Site, noun: Noun, kind: TokenKind, token: &str) -> Option<Reply> {
    match site.tokens.check(kind, token) {
        Verdict::Accepted => None,
        Verdict::Unknown => Some(Reply::Unauthorized),
        Verdict::Closed => Some(noun.closed()),
    }
}

fn admit_write(site: &Site, noun: Noun, params: &Params) -> Option<Reply> {
    admit(site, noun, noun.token(), params.text("token"))
        .or_else(|| admit(site, noun, TokenKind::Access, params.text("access_token")))
}

fn write(site: &Site, noun: Noun, verb: &str, method: &str, params: &Params) -> Reply {
    let wanted: &[&str] = match (verb, method) {
        ("meta", "DELETE") => &["path", "field"],
        ("meta", _) => &["path", "field", "value"],
        (_, "PUT") => &["path", "new_path"],
        _ => &["path"],
    };
    if wanted.iter().any(|name| !params.has(name)) {
        return Reply::BadBody;
    }
    if let Some(refusal) = admit_write(site, noun, params) {
        return refusal;
    }
    let (Some(raw), new_raw) = (params.get("path").and_then(Value::as_str), params.text("new_path")) else {
        return Reply::Exception;
    };
    let (Some(path), Some(to)) = (site.path(raw), site.path(new_raw)) else {
        return noun.missing();
    };
    let mut tree = site.tree.lock();
    let tree = &mut *tree;
    let done = match (noun, verb, method) {
        (Noun::Files, "meta", _) => return change_meta(site, tree, &path, method, params),
        (Noun::Files, "copy", _) => tree.copy_file(&path.key, &to).map(|()| &to),
        (Noun::Files, _, "PUT") => tree.move_file(&path.key, &to).map(|()| &to),
        (Noun::Files, _, _) => return ended(noun, tree.delete_file(&path.key)),
        (Noun::Folders, "copy", _) => tree.copy_folder(&path.key, &to.key).map(|()| &to),
        (Noun::Folders, _, "PUT") => tree.move_folder(&path.key, &to.key).map(|()| &to),
        (Noun::Folders, _, "POST") => tree.create_folder(&path.key).map(|()| &path),
        (Noun::Folders, _, _) => return ended(noun, tree.delete_folder(&path.key)),
    };
    match done {
        Ok(path) => written(site, noun, tree, path),
        Err(failure) => noun.failure(failure),
    }
}

fn ended(noun: Noun, done: Result<(), Failure>) -> Reply {
    done.map_or_else(|failure| noun.failure(failure), |()| Reply::Deleted)
}

/// The answer to a write: nothing in 0.9.12, the object before.
fn written(site: &Site, noun: Noun, tree: &Tree, path: &SitePath) -> Reply {
    let object = match (site.options.version, noun) {
        (Version::V0_9_12, _) => Ok(Value::Object(Map::new())),
        (Version::V0_9_11, Noun::Files) => tree.file_object(path, &site.origin()),
        (Version::V0_9_11, Noun::Folders) => tree.folder_object(path, &site.origin()),
    };
    object.map_or_else(|failure| noun.failure(failure), Reply::Data)
}

fn change_meta(site: &Site, tree: &mut Tree, path: &SitePath, method: &str, params: &Params) -> Reply {
    let meta = match tree.meta_mut(&path.key) {
        Ok(meta) => meta,
        Err(failure) => return Noun::Files.failure(failure),
    };
    let field = params.text("field");
    let value = match (method, params.get("value")) {
        ("DELETE", _) => None,
        (_, Some(Value::String(text))) => Some(text.clone()),
        _ => return Reply::Exception,
    };
    let is_there = find(meta, field).is_some();
    let wanted_there = method != "POST";
    if field.is_empty() || is_there != wanted_there {
        return Reply::NoFile;
    }
    put(meta, field, value);
    written(site, Noun::Files, tree, path)
}

/// The value of a field whose dots lead into objects.
fn find<'a>(meta: &'a Map<String, Value>, field: &str) -> Option<&'a Value> {
    match field.split_once('.') {
        None => meta.get(field),
        Some((outer, inner)) => find(meta.get(outer)?.as_object()?, inner),
    }
}

fn put(meta: &mut Map<String, Value>, field: &str, value: Option<String>) {
    let Some((outer, inner)) = field.split_once('.') else {
        match value {
            Some(text) => meta.insert(field.to_owned(), Value::String(text)),
            None => meta.shift_remove(field),
        };
        return;
    };
    let below = meta.entry(outer).or_insert_with(|| Value::Object(Map::new()));
    if !below.is_object() {
        *below = Value::Object(Map::new());
    }
    if let Some(below) = below.as_object_mut() {
        put(below, inner, value);
    }
}

async fn store(site: &Site, params: &Params, upload: Option<Upload>) -> Reply {
    let complete = ["token", "access_token", "folder"].iter().all(|name| params.has(name));
    let Some(upload) = upload.filter(|_| complete) else {
        return Reply::BadBody;
    };
    if let Some(refusal) = admit_write(site, Noun::Files, params) {
        return refusal;
    }
    let Some(folder) = site.path(params.text("folder")) else {
        return Reply::NoFile;
    };
    let name = stored_name(&upload.name);
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension).to_owned();
    // The site looks for the extension anywhere in its list, so that `p` passes because of `jpg`.
    let accepted = site.options.accepted_types.contains(&extension.to_lowercase());
    if !accepted || upload.bytes.len() as u64 > site.options.max_file_size {
        return Reply::Exception;
    }
    let sent = upload.bytes.clone();
    let processed = tokio::task::spawn_blocking(move || images::process(&sent, &extension)).await;
    let bytes = match processed {
        Ok(Stored::AsSent) => upload.bytes,
        Ok(Stored::Encoded(bytes)) => bytes,
        Ok(Stored::Refused) | Err(_) => return Reply::Exception,
    };
    let now = site.clock.now();
    let mut tree = site.tree.lock();
    match tree.store_upload(&folder.key, &name, bytes, now) {
        Ok(key) => {
            let raw = format!("{}/{name}", folder.raw);
            let raw = if folder.key.is_empty() { raw } else { key.clone() };
            written(site, Noun::Files, &tree, &SitePath { raw, key })
        }
        Err(failure) => Noun::Files.failure(failure),
    }
}
