//! The routes under `/api` and `/oauth`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequest, Multipart, Path, Query, Request, State as Extract};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::archive;
use super::shapes::{self, Include};
use super::state::{Project, Queue, State};
use super::{Im4Options, Understands, ZipSizes};
use crate::emulator::common::Route;

/// How far back projects are listed when nothing is said about it, in days.
const DAYS: u64 = 120;

/// Largest upload, in bytes.
const BODY_BYTES_MAX: usize = 512 << 20;

/// What all routes share.
pub(super) struct Server {
    pub(super) options: Im4Options,
    pub(super) state: Mutex<State>,
    pub(super) origin: std::sync::OnceLock<String>,
}

type Shared = Arc<Server>;
type Parameters = BTreeMap<String, String>;

/// Names requests for counters and faults.
pub(super) fn classify(method: &Method, path: &str) -> Route {
    let mut name = String::new();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        let is_id = part.bytes().all(|b| b.is_ascii_digit() || b == b',');
        name.push('/');
        name.push_str(if is_id { "{id}" } else { part });
    }
    if name.ends_with("/download") || name.starts_with("/preview/") {
        return Route::content(format!("{method} {name}"));
    }
    Route::api(format!("{method} {name}"))
}

pub(super) fn routes(server: Shared) -> Router {
    let project = "/api/project/{id}";
    let route = |rest: &str| format!("{project}/files/{rest}");
    Router::new()
        .route("/oauth/token", post(token))
        .route("/api/version", get(version))
        .route("/api/projects", get(projects))
        .route("/api/projects/{agency}", get(projects_of))
        .route(project, get(one_project))
        .route(&format!("{project}/{{keys}}"), get(project_keys))
        .route(&route("categories"), get(categories))
        .route(&route("all"), get(all_files))
        .route(&route("all/download"), get(download_all))
        .route(&route("category/{cid}"), get(category_files).post(upload))
        .route(&route("category/{cid}/download"), get(download_category))
        .route(&route("{ids}/set-metadata"), post(set_metadata))
        .route(&route("sortorder/{ids}"), post(sort_order))
        .route(&route("{ids}/pfc-apply/{preset}"), get(apply_preset))
        .route(&route("{ids}"), delete(remove))
        .fallback(|| async { error(StatusCode::NOT_FOUND, "Not Found") })
        .layer(axum::middleware::from_fn_with_state(server.clone(), authorize))
        .layer(axum::extract::DefaultBodyLimit::disable())
        .with_state(server)
}

fn error(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "message": message }))).into_response()
}

fn not_found() -> Response {
    error(StatusCode::NOT_FOUND, "No query results")
}

/// Only requests with a living token pass.
async fn authorize(Extract(server): Extract<Shared>, request: Request, next: axum::middleware::Next) -> Response {
    if !request.uri().path().starts_with("/api") {
        return next.run(request).await;
    }
    let bearer = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let token = bearer.and_then(|value| value.strip_prefix("Bearer "));
    let known = token.is_some_and(|token| server.state.lock().tokens.contains(token));
    if known {
        next.run(request).await
    } else {
        error(StatusCode::UNAUTHORIZED, "Unauthenticated.")
    }
}

fn is_json(request: &Request) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"))
}

/// A form in any of the encodings that the framework reads.
async fn form(request: Request) -> Option<Parameters> {
    let kind = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().to_owned();
    if kind.starts_with("multipart/form-data") {
        let mut form = Multipart::from_request(request, &()).await.ok()?;
        let mut parameters = Parameters::new();
        while let Ok(Some(field)) = form.next_field().await {
            let name = field.name().unwrap_or_default().to_owned();
            parameters.insert(name, field.text().await.ok()?);
        }
        return Some(parameters);
    }
    let bytes = axum::body::to_bytes(request.into_body(), 1 << 20).await.ok()?;
    if kind.starts_with("application/json") {
        let object: BTreeMap<String, Value> = serde_json::from_slice(&bytes).ok()?;
        let text = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        return Some(object.into_iter().map(|(name, value)| (name, text(value))).collect());
    }
    Some(url::form_urlencoded::parse(&bytes).into_owned().collect())
}

async fn token(Extract(server): Extract<Shared>, request: Request) -> Response {
    let Some(form) = form(request).await else {
        return error(StatusCode::BAD_REQUEST, "invalid_request");
    };
    let is = |name: &str, wanted: &str| form.get(name).is_some_and(|value| value == wanted);
    if !is("grant_type", "client_credentials") {
        return error(StatusCode::BAD_REQUEST, "unsupported_grant_type");
    }
    if !is("client_id", &server.options.client_id) || !is("client_secret", &server.options.client_secret) {
        return error(StatusCode::UNAUTHORIZED, "invalid_client");
    }
    let token = server.state.lock().give_token();
    Json(json!({"token_type": "Bearer", "expires_in": 31_536_000, "access_token": token})).into_response()
}

async fn version() -> Response {
    Json(json!({"version": "0.25"})).into_response()
}

async fn projects(Extract(server): Extract<Shared>, Query(query): Query<Parameters>) -> Response {
    list_projects(&server, None, &query)
}

async fn projects_of(
    Extract(server): Extract<Shared>,
    Path(agency): Path<u64>,
    Query(query): Query<Parameters>,
) -> Response {
    list_projects(&server, Some(agency), &query)
}

fn list_projects(server: &Server, agency: Option<u64>, query: &Parameters) -> Response {
    let number = |name: &str| query.get(name).and_then(|value| value.parse::<u64>().ok());
    let wanted = query.get("search").map(|text| text.to_lowercase()).unwrap_or_default();
    let take = number("take").map(|take| take as usize);
    // As documented: `days` is passed over beside `search` and `take`, and `skip` works with `take` only.
    let days = match (wanted.is_empty(), take) {
        (true, None) => number("days").unwrap_or(DAYS),
        (false, _) | (_, Some(_)) => u64::MAX,
    };
    let skip = take.and(number("skip")).unwrap_or(0) as usize;
    let state = server.state.lock();
    let fits = |project: &Project| {
        let text = format!("{} {} {}", project.firstname, project.lastname, project.ordernumber).to_lowercase();
        agency.is_none_or(|agency| agency == project.agency) && project.age_days <= days && text.contains(&wanted)
    };
    let found = state
        .projects
        .iter()
        .filter(|(_, project)| fits(project))
        .skip(skip)
        .take(take.unwrap_or(usize::MAX));
    let shape = server.options.shape;
    let items = found
        .map(|(id, project)| Value::Object(shapes::project(shape, *id, project)))
        .collect();
    Json(shapes::list(shape, "projects", items)).into_response()
}

/// Runs `read` on a project, or answers 404.
fn with_project(server: &Server, id: u64, read: impl FnOnce(&Project) -> Response) -> Response {
    server.state.lock().projects.get(&id).map_or_else(not_found, read)
}

async fn one_project(Extract(server): Extract<Shared>, Path(id): Path<u64>) -> Response {
    let shape = server.options.shape;
    with_project(&server, id, |project| {
        let object = Value::Object(shapes::project(shape, id, project));
        let object = if shape == super::Shape::B {
            json!({ "project": object })
        } else {
            object
        };
        Json(object).into_response()
    })
}

async fn project_keys(Extract(server): Extract<Shared>, Path((id, keys)): Path<(u64, String)>) -> Response {
    let shape = server.options.shape;
    with_project(&server, id, |project| {
        let mut object = shapes::project(shape, id, project);
        object.retain(|key, _| keys.split(',').any(|wanted| wanted == key));
        Json(Value::Object(object)).into_response()
    })
}

async fn categories(Extract(server): Extract<Shared>, Path(id): Path<u64>) -> Response {
    let shape = server.options.shape;
    with_project(&server, id, |project| {
        let all = project.categories.iter();
        let items = all.map(|(id, name)| shapes::category(shape, *id, name)).collect();
        Json(shapes::list(shape, "categories", items)).into_response()
    })
}

async fn all_files(Extract(server): Extract<Shared>, Path(id): Path<u64>, Query(query): Query<Parameters>) -> Response {
    // This listing knows no other option.
    let include = Include {
        details: is_set(&query, "include_details"),
        ..Include::default()
    };
    list_files(&server, id, None, include)
}

async fn category_files(
    Extract(server): Extract<Shared>,
    Path((id, category)): Path<(u64, u64)>,
    Query(query): Query<Parameters>,
) -> Response {
    let include = Include {
        details: is_set(&query, "include_details"),
        size: is_set(&query, "include_size"),
        filter: is_set(&query, "include_filter"),
    };
    list_files(&server, id, Some(category), include)
}

fn is_set(query: &Parameters, name: &str) -> bool {
    query.get(name).is_some_and(|value| value == "true" || value == "1")
}

fn list_files(server: &Server, id: u64, category: Option<u64>, include: Include) -> Response {
    let (shape, sizes) = (server.options.shape, server.options.tell_sizes);
    let origin = server.origin.get().cloned().unwrap_or_default();
    with_project(server, id, |project| {
        if category.is_some_and(|c| c != 0 && !project.categories.contains_key(&c)) {
            return not_found();
        }
        let files = project.sorted(category).into_iter();
        let placed = category.is_some() || server.options.tell_categories;
        let told = |(id, file)| {
            let mut told = shapes::file(shape, &origin, id, file, include, sizes);
            if let (false, Some(object)) = (placed, told.as_object_mut()) {
                object.retain(|name, _| name != "category_id" && name != "category");
            }
            told
        };
        let items = files.map(told).collect();
        Json(shapes::list(shape, "files", items)).into_response()
    })
}

async fn download_all(Extract(server): Extract<Shared>, Path(id): Path<u64>) -> Response {
    download(&server, id, None)
}

async fn download_category(Extract(server): Extract<Shared>, Path((id, category)): Path<(u64, u64)>) -> Response {
    download(&server, id, Some(category))
}

/// The file itself when there is one, else a zip.
fn download(server: &Server, id: u64, category: Option<u64>) -> Response {
    let sizes: ZipSizes = server.options.zip_sizes;
    with_project(server, id, |project| {
        let files = project.sorted(category);
        let (kind, name, bytes) = match files.as_slice() {
            [] => return not_found(),
            [(_, file)] => {
                let kind = mime_guess::from_path(&file.name).first_or_octet_stream().to_string();
                (kind, file.name.clone(), file.bytes.clone())
            }
            several => {
                let members = several.iter().map(|(_, file)| (file.name.as_str(), &file.bytes[..]));
                (
                    "application/zip".to_owned(),
                    format!("project-{id}.zip"),
                    archive::build(members, sizes),
                )
            }
        };
        let name = name.replace(['"', '\\', '\r', '\n'], "_");
        let mut answer = Response::new(Body::from(bytes));
        for (header, value) in [
            (header::CONTENT_TYPE, kind),
            (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
        ] {
            if let Ok(value) = value.parse() {
                answer.headers_mut().insert(header, value);
            }
        }
        answer
    })
}

async fn upload(
    Extract(server): Extract<Shared>,
    Path((id, category)): Path<(u64, u64)>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(bytes) = axum::body::to_bytes(body, BODY_BYTES_MAX).await else {
        return error(StatusCode::BAD_REQUEST, "The upload is too large");
    };
    let request = Request::from_parts(parts, Body::from(bytes));
    let Ok(mut form) = Multipart::from_request(request, &()).await else {
        return error(StatusCode::BAD_REQUEST, "The files field is required.");
    };
    let mut files: Vec<(String, Bytes)> = Vec::new();
    while let Ok(Some(field)) = form.next_field().await {
        let is_file = matches!(field.name(), Some("files[]" | "files"));
        let Some(name) = field.file_name().map(str::to_owned).filter(|_| is_file) else {
            continue;
        };
        match field.bytes().await {
            Ok(bytes) => files.push((name, bytes)),
            Err(_) => return error(StatusCode::BAD_REQUEST, "The upload broke off"),
        }
    }
    if files.is_empty() {
        return error(StatusCode::BAD_REQUEST, "The files field is required.");
    }
    let mut state = server.state.lock();
    let mut ids = Vec::new();
    for (name, bytes) in files {
        let Some(new) = state.add_file(id, category, &name, bytes) else {
            return not_found();
        };
        if server.options.queue_uploads
            && let Some(file) = state
                .projects
                .get_mut(&id)
                .and_then(|project| project.files.get_mut(&new))
        {
            file.queue = Some(Queue::Upload);
        }
        ids.push(new);
    }
    Json(shapes::ids(server.options.shape, "file_ids", &ids)).into_response()
}

fn parse_ids(text: &str) -> Option<Vec<u64>> {
    text.split(',').map(|id| id.trim().parse().ok()).collect()
}

async fn set_metadata(
    Extract(server): Extract<Shared>,
    Path((id, ids)): Path<(u64, String)>,
    request: Request,
) -> Response {
    let is_json = is_json(&request);
    let (Some(ids), Some(mut form)) = (parse_ids(&ids), form(request).await) else {
        return error(StatusCode::BAD_REQUEST, "The given data was invalid.");
    };
    match (server.options.metadata, is_json) {
        (Understands::Any, _) | (Understands::Json, true) | (Understands::Forms, false) => {}
        (Understands::Json, false) | (Understands::Forms, true) => form.clear(),
    }
    let number = |name: &str| form.get(name).map(|value| value.parse::<u64>());
    let priority = match number("priority") {
        None => None,
        Some(Ok(priority @ 0..=2)) => Some(priority as u8),
        Some(_) => return error(StatusCode::BAD_REQUEST, "The priority must be 0, 1 or 2."),
    };
    let mut state = server.state.lock();
    let now = state.clock.now();
    let Some(project) = state.projects.get_mut(&id) else {
        return not_found();
    };
    let category = match number("category_id") {
        None => None,
        Some(Ok(category)) if category == 0 || project.categories.contains_key(&category) => Some(category),
        Some(_) => return error(StatusCode::BAD_REQUEST, "The category does not exist."),
    };
    if ids.iter().any(|id| !project.files.contains_key(id)) {
        return not_found();
    }
    for id in &ids {
        let Some(file) = project.files.get_mut(id) else {
            continue;
        };
        if let Some(caption) = form.get("caption") {
            file.caption.clone_from(caption);
        }
        if let Some(byline) = form.get("byline") {
            file.byline.clone_from(byline);
        }
        file.priority = priority.unwrap_or(file.priority);
        file.category = category.unwrap_or(file.category);
        file.updated = now;
    }
    Json(json!({"success": true})).into_response()
}

async fn sort_order(Extract(server): Extract<Shared>, Path((id, ids)): Path<(u64, String)>) -> Response {
    let Some(ids) = parse_ids(&ids) else {
        return error(StatusCode::BAD_REQUEST, "The given data was invalid.");
    };
    let mut state = server.state.lock();
    let Some(project) = state.projects.get_mut(&id) else {
        return not_found();
    };
    if ids.iter().any(|id| !project.files.contains_key(id)) {
        return not_found();
    }
    let mut told = Vec::new();
    for (id, sortcode) in ids.iter().zip(1u64..) {
        if let Some(file) = project.files.get_mut(id) {
            file.sortcode = sortcode;
            told.push(json!({"file_id": id, "sortcode": sortcode}));
        }
    }
    Json(shapes::list(server.options.shape, "order", told)).into_response()
}

async fn remove(Extract(server): Extract<Shared>, Path((id, ids)): Path<(u64, String)>) -> Response {
    let Some(ids) = parse_ids(&ids) else {
        return error(StatusCode::BAD_REQUEST, "The given data was invalid.");
    };
    let mut state = server.state.lock();
    let Some(project) = state.projects.get_mut(&id) else {
        return not_found();
    };
    let mut deleted = Vec::new();
    for id in ids {
        // A file that a product uses stays, and nothing is said about it.
        if project.files.get(&id).is_some_and(|file| !file.in_use) {
            project.files.remove(&id);
            deleted.push(id);
        }
    }
    Json(shapes::ids(server.options.shape, "deleted", &deleted)).into_response()
}

async fn apply_preset(
    Extract(server): Extract<Shared>,
    Path((id, ids, preset)): Path<(u64, String, String)>,
) -> Response {
    let Some(ids) = parse_ids(&ids) else {
        return error(StatusCode::BAD_REQUEST, "The given data was invalid.");
    };
    let mut state = server.state.lock();
    let now = state.clock.now();
    let Some(project) = state.projects.get_mut(&id) else {
        return not_found();
    };
    for id in &ids {
        let Some(file) = project.files.get_mut(id) else {
            return not_found();
        };
        file.filter = (preset != "clear").then(|| preset.clone());
        file.queue = Some(Queue::Pfc);
        file.updated = now;
    }
    Json(shapes::ids(server.options.shape, "queued", &ids)).into_response()
}
