//! Requests in, answers out: paths, keys and methods.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{CONTENT_TYPE, HOST, LOCATION};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use md5::{Digest, Md5};
use parking_lot::Mutex;
use serde_json::Value;

use crate::emulator::common::{Gate, Route};
use crate::model::{SharedClock, Timestamp, hex};

use super::answer::{Refusal, Style, json_answer};
use super::list::{Page, Params, number};
use super::render::{RESOURCES, View};
use super::state::{Archive, Role, USERS, User};
use super::vault::Vault;
use super::{Keys, Validation, download, elements, list, records, upload};

/// The site behind the server. Nothing is awaited while the archive is locked.
pub(super) struct Site {
    pub(super) archive: Mutex<Archive>,
    pub(super) vault: Vault,
    pub(super) keys: Keys,
    pub(super) per_page_max: usize,
    pub(super) upload_bytes_max: u64,
    pub(super) validation: Validation,
    pub(super) api_enabled: bool,
    pub(super) clock: SharedClock,
}

impl Site {
    /// The time in whole seconds, as the database keeps it.
    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from_secs(self.clock.now().secs)
    }

    /// A new name on the server's disk: 32 hex digits, and the extension if it is a plain one.
    pub(super) fn stored_name(&self, name: &str) -> String {
        let row = self.archive.lock().next_text_row();
        let mut digest = Md5::new();
        digest.update(format!("{name}/{row}/{:?}", self.clock.elapsed()));
        let stem = hex(&digest.finalize());
        match name.rfind('.').map(|dot| &name[dot..]) {
            Some(extension) if extension[1..].chars().all(|c| c.is_ascii_alphanumeric()) => {
                format!("{stem}{extension}")
            }
            _ => stem,
        }
    }
}

/// Names a request for counters and faults.
pub(super) fn classify(method: &Method, path: &str) -> Route {
    if let Some(path) = path.strip_prefix("/files/") {
        let folder = path.split('/').next().unwrap_or_default();
        return Route::content(format!("{method} /files/{folder}/{{name}}"));
    }
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    match (parts.next(), parts.next(), parts.next()) {
        (Some("api"), Some(resource), Some(_)) => Route::api(format!("{method} /api/{resource}/{{id}}")),
        (Some("api"), Some(resource), None) => Route::api(format!("{method} /api/{resource}")),
        _ => Route::api(format!("{method} {path}")),
    }
}

/// The whole server behind its gate.
pub(super) fn router(site: Arc<Site>, gate: &Arc<Gate>) -> Router {
    let routes = Router::new()
        .fallback(answer)
        .layer(DefaultBodyLimit::disable())
        .with_state(site);
    Arc::clone(gate).around(routes)
}

async fn answer(State(site): State<Arc<Site>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    if let Some(path) = path.strip_prefix("/files/") {
        return download::serve(&site, request.method(), request.headers(), path).await;
    }
    let origin = origin(request.headers());
    match path.strip_prefix("/api") {
        Some("" | "/") => download::api_root(&origin),
        Some(path) if path.starts_with('/') => Call::begin(&site, &origin, path, request)
            .await
            .unwrap_or_else(IntoResponse::into_response),
        _ => download::page(
            request.method(),
            request.headers(),
            StatusCode::NOT_FOUND,
            "404 Page Not Found",
        ),
    }
}

/// Where the client thinks that it is.
fn origin(headers: &HeaderMap) -> String {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let scheme = match text("x-forwarded-proto") {
        Some("https") => "https",
        _ => "http",
    };
    format!("{scheme}://{}", text(HOST.as_str()).unwrap_or("localhost"))
}

/// One call of the API.
struct Call<'a> {
    site: &'a Arc<Site>,
    origin: &'a str,
    resource: String,
    id: Option<String>,
    params: Params,
    user: Option<&'static User>,
}

impl<'a> Call<'a> {
    async fn begin(site: &'a Arc<Site>, origin: &'a str, path: &str, request: Request) -> Result<Response, Refusal> {
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        let mut call = Call {
            site,
            origin,
            resource: parts.next().unwrap_or_default().to_owned(),
            id: parts.next().map(str::to_owned),
            params: Params::parse(request.uri().query().unwrap_or_default()),
            user: None,
        };
        if !site.api_enabled {
            return Err(Refusal::Message(StatusCode::FORBIDDEN, "API is disabled".to_owned()));
        }
        let action = Action::of(&request, call.id.is_some());
        let head = *request.method() == Method::HEAD;
        match call.run(action, request).await {
            Err(refusal) if head => Ok(without_body(refusal.into_response())),
            done => done,
        }
    }

    async fn run(&mut self, action: Action, request: Request) -> Result<Response, Refusal> {
        let multipart = request
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|kind| kind.starts_with("multipart/form-data"));
        if multipart && *request.method() == Method::POST {
            let form = upload::read_form(self.site, request).await?;
            let permitted = self.enter(form.key.as_deref()).and_then(|()| self.allow(&action));
            return match (permitted, self.resource.as_str(), action) {
                (Ok(()), "files", Action::Post) => self.post_file(form),
                (permitted, ..) => {
                    permitted?;
                    // PHP hands a form to the script as an empty body.
                    Err(Refusal::not_an_object())
                }
            };
        }
        let form_key = form_key(&request);
        let body = to_bytes(request.into_body(), BODY_BYTES_MAX)
            .await
            .map_err(|_| Refusal::Crash)?;
        let key = form_key.then(|| Params::parse(&String::from_utf8_lossy(&body)));
        self.enter(key.as_ref().and_then(|form| form.get("key")))?;
        self.allow(&action)?;
        match action {
            Action::Index => self.index(),
            Action::Get => self.get(),
            Action::Post => self.post(&body),
            Action::Put => self.put(&body),
            Action::Delete => self.delete(),
            Action::Other(name) => Err(Refusal::no_action(&name)),
        }
    }

    /// Finds whose key it is; a wrong one is refused even for what anybody may see.
    fn enter(&mut self, form_key: Option<&str>) -> Result<(), Refusal> {
        let Some(key) = self.params.get("key").or(form_key) else {
            return Ok(());
        };
        let role = self.site.keys.role_of(key).ok_or_else(Refusal::invalid_key)?;
        self.user = USERS.iter().find(|user| user.role == role);
        Ok(())
    }

    /// Whether the resource has the action, and the request the form for it.
    fn allow(&self, action: &Action) -> Result<(), Refusal> {
        let Some((_, actions, params)) = RESOURCES.iter().find(|(name, _, _)| *name == self.resource) else {
            return Err(Refusal::Message(
                StatusCode::NOT_FOUND,
                format!("The \"{}\" resource is unavailable.", self.resource),
            ));
        };
        if !actions.contains(&action.name()) {
            return Err(Refusal::no_action(action.name()));
        }
        match action {
            Action::Post if self.id.is_some() => Err(Refusal::method("POST requests must not include an ID.")),
            Action::Put | Action::Delete if self.id.is_none() => {
                Err(Refusal::method("PUT and DELETE requests must include an ID."))
            }
            Action::Index => self.check_params(params),
            Action::Get => self.check_params(&[]),
            Action::Post | Action::Put | Action::Delete | Action::Other(_) => Ok(()),
        }
    }

    fn check_params(&self, allowed: &[&str]) -> Result<(), Refusal> {
        match self.params.foreign(allowed) {
            None => Ok(()),
            Some(name) => Err(Refusal::bad_request(format!(
                "Invalid GET request parameter: \"{name}\""
            ))),
        }
    }

    fn view(&self) -> View<'_> {
        View {
            origin: self.origin,
            user: self.user,
        }
    }

    fn style(&self) -> Style {
        match self.params.get("pretty_print") {
            Some(_) => Style::Pretty,
            None => Style::Compact,
        }
    }

    fn id(&self) -> u64 {
        self.id.as_deref().map_or(0, number)
    }

    fn index(&self) -> Result<Response, Refusal> {
        let archive = self.site.archive.lock();
        let view = self.view();
        let page = Page {
            url: format!("{}/api/{}", self.origin, self.resource),
            params: &self.params,
            per_page_max: self.site.per_page_max,
            style: self.style(),
        };
        let wanted = |name: &str| self.params.get(name);
        match self.resource.as_str() {
            "site" => Ok(json_answer(StatusCode::OK, &view.site(), self.style())),
            "resources" => Ok(json_answer(StatusCode::OK, &view.resources(), self.style())),
            "collections" => page.of(&list::collections(&archive, &view, &self.params)?, |record| {
                view.collection(&archive, record)
            }),
            "items" => page.of(&list::items(&archive, &view, &self.params)?, |item| {
                view.item(&archive, item)
            }),
            "files" => page.of(&list::files(&archive, &view, &self.params)?, |file| view.file(file)),
            "elements" => {
                let rows: Vec<_> = elements::ELEMENTS
                    .iter()
                    .filter(|element| {
                        wanted("element_set").is_none_or(|set| element.set == number(set))
                            && wanted("name").is_none_or(|name| element.name == name)
                            && wanted("item_type").is_none_or(|kind| {
                                elements::item_type(number(kind))
                                    .is_some_and(|kind| kind.elements.contains(&element.id))
                            })
                    })
                    .collect();
                page.of(&rows, |element| view.element(element))
            }
            "element_sets" => {
                let rows: Vec<_> = elements::ELEMENT_SETS
                    .iter()
                    .filter(|set| {
                        wanted("name").is_none_or(|name| set.name == name)
                            && wanted("record_type").is_none_or(|kind| set.record_type == Some(kind))
                    })
                    .collect();
                page.of(&rows, |set| view.element_set(set))
            }
            "item_types" => {
                let rows: Vec<_> = elements::ITEM_TYPES
                    .iter()
                    .filter(|kind| wanted("name").is_none_or(|name| kind.name == name))
                    .collect();
                page.of(&rows, |kind| view.item_type(&archive, kind))
            }
            _ => {
                let rows: Vec<_> = archive.tags.iter().collect();
                // Tags that nothing carries are counted, and that is all.
                page.some_of(&rows, |(id, name)| {
                    let used = archive.items.values().any(|item| item.tags.contains(id));
                    used.then(|| view.tag(**id, name))
                })
            }
        }
    }

    fn get(&self) -> Result<Response, Refusal> {
        self.show(StatusCode::OK, self.id())
    }

    /// One record as it is now.
    fn show(&self, status: StatusCode, id: u64) -> Result<Response, Refusal> {
        let archive = self.site.archive.lock();
        let view = self.view();
        let body = match self.resource.as_str() {
            "collections" => archive
                .collections
                .get(&id)
                .filter(|record| view.sees(record.public))
                .map(|record| view.collection(&archive, record)),
            "items" => archive
                .items
                .get(&id)
                .filter(|item| view.sees(item.record.public))
                .map(|item| view.item(&archive, item)),
            "files" => archive
                .files
                .get(&id)
                .filter(|file| view.sees_file(&archive, file))
                .map(|file| view.file(file)),
            "elements" => elements::element(id).map(|element| view.element(element)),
            "element_sets" => elements::element_set(id).map(|set| view.element_set(set)),
            "item_types" => elements::item_type(id).map(|kind| view.item_type(&archive, kind)),
            "tags" => archive.tags.get(&id).map(|name| view.tag(id, name)),
            _ => self.user_record(&view, id)?,
        };
        let body = body.ok_or_else(Refusal::not_found)?;
        let mut answer = json_answer(status, &body, self.style());
        if status == StatusCode::CREATED {
            let location = body["url"].as_str().unwrap_or_default();
            if let Ok(location) = HeaderValue::from_str(location) {
                answer.headers_mut().insert(LOCATION, location);
            }
        }
        Ok(answer)
    }

    fn user_record(&self, view: &View<'_>, id: u64) -> Result<Option<Value>, Refusal> {
        let Some(user) = USERS.iter().find(|user| user.id == id) else {
            return Ok(None);
        };
        match self.user {
            Some(asking) if asking.id == id || matches!(asking.role, Role::Super | Role::Admin) => {
                Ok(Some(view.user(user)))
            }
            _ => Err(Refusal::denied()),
        }
    }

    fn author(&self) -> Result<&'static User, Refusal> {
        self.user.filter(|user| user.may_create()).ok_or_else(Refusal::denied)
    }

    fn post(&self, body: &[u8]) -> Result<Response, Refusal> {
        let author = self.author()?;
        if self.resource == "files" {
            return Err(Refusal::not_one_file());
        }
        let body = object(body)?;
        let now = self.site.now();
        let id = {
            let mut archive = self.site.archive.lock();
            match self.resource.as_str() {
                "collections" => records::post_collection(&mut archive, author, &body, now)?,
                _ => records::post_item(&mut archive, author, &body, now)?,
            }
        };
        self.show(StatusCode::CREATED, id)
    }

    fn post_file(&self, form: upload::Form) -> Result<Response, Refusal> {
        let id = upload::create(self.site, self.author()?, form)?;
        self.show(StatusCode::CREATED, id)
    }

    /// The record is there, and the user may change it.
    fn check_owner(&self, archive: &Archive, id: u64) -> Result<(), Refusal> {
        let owner = match self.resource.as_str() {
            "collections" => archive.collections.get(&id).map(|record| record.owner),
            "items" => archive.items.get(&id).map(|item| item.record.owner),
            "files" => archive.files.get(&id).map(|file| file.record.owner),
            _ => archive.tags.get(&id).map(|_| USERS[0].id),
        };
        let owner = owner.ok_or_else(Refusal::not_found)?;
        match self.user {
            Some(user) if user.may_change(owner) => Ok(()),
            _ => Err(Refusal::denied()),
        }
    }

    fn put(&self, body: &[u8]) -> Result<Response, Refusal> {
        let id = self.id();
        let now = self.site.now();
        {
            let mut archive = self.site.archive.lock();
            self.check_owner(&archive, id)?;
            let body = object(body)?;
            match self.resource.as_str() {
                "collections" => records::put_collection(&mut archive, id, &body, now)?,
                "items" => records::put_item(&mut archive, id, &body, now)?,
                _ => records::put_file(&mut archive, id, &body, now)?,
            }
        }
        self.show(StatusCode::OK, id)
    }

    fn delete(&self) -> Result<Response, Refusal> {
        let id = self.id();
        let originals = {
            let mut archive = self.site.archive.lock();
            self.check_owner(&archive, id)?;
            match self.resource.as_str() {
                "collections" => {
                    archive.remove_collection(id, self.site.now());
                    Vec::new()
                }
                "items" => archive.remove_item(id).unwrap_or_default(),
                "files" => archive
                    .files
                    .remove(&id)
                    .map(|file| file.stored_name)
                    .into_iter()
                    .collect(),
                _ => {
                    archive.tags.remove(&id);
                    Vec::new()
                }
            }
        };
        for name in originals {
            self.site.vault.remove(&name);
        }
        Ok(StatusCode::NO_CONTENT.into_response())
    }
}

/// The largest body that is not a form, in bytes; more kills the script.
const BODY_BYTES_MAX: usize = 50 << 20;

fn object(body: &[u8]) -> Result<Value, Refusal> {
    serde_json::from_slice::<Value>(body)
        .ok()
        .filter(Value::is_object)
        .ok_or_else(Refusal::not_an_object)
}

fn form_key(request: &Request) -> bool {
    *request.method() == Method::POST
        && request
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"))
}

fn without_body(answer: Response) -> Response {
    let (parts, _) = answer.into_parts();
    Response::from_parts(parts, axum::body::Body::empty())
}

/// What is asked for.
enum Action {
    Index,
    Get,
    Post,
    Put,
    Delete,
    Other(String),
}

impl Action {
    fn of(request: &Request, has_id: bool) -> Self {
        let overridden = request
            .headers()
            .get("x-http-method-override")
            .and_then(|value| value.to_str().ok())
            .filter(|_| *request.method() == Method::POST);
        match overridden.unwrap_or(request.method().as_str()) {
            "GET" if has_id => Action::Get,
            "GET" => Action::Index,
            "POST" => Action::Post,
            "PUT" => Action::Put,
            "DELETE" => Action::Delete,
            other => Action::Other(other.to_lowercase()),
        }
    }

    fn name(&self) -> &str {
        match self {
            Action::Index => "index",
            Action::Get => "get",
            Action::Post => "post",
            Action::Put => "put",
            Action::Delete => "delete",
            Action::Other(name) => name,
        }
    }
}

/// Where to listen when nothing else is said: any free port of this machine alone.
pub(super) const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
