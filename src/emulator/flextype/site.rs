//! One site: its state, and the way from a request to an answer.

use std::sync::{Arc, OnceLock};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::response::Response;
use parking_lot::Mutex;

use crate::emulator::common::{ContentHead, MemorySource, Route, serve_content};
use crate::model::SharedClock;

use super::answers::{self, Reply};
use super::api::{self, Noun};
use super::tokens::{Sessions, Tokens};
use super::tree::{SitePath, Tree, name_of};
use super::{FlextypeOptions, Version};

/// Where static files are.
const STATIC: &str = "/project/uploads";

/// Everything that a running site knows.
pub(super) struct Site {
    pub(super) options: FlextypeOptions,
    pub(super) clock: SharedClock,
    pub(super) tree: Mutex<Tree>,
    pub(super) tokens: Arc<Tokens>,
    pub(super) sessions: Sessions,
    /// How many paths led out of the uploads: a client must never send one.
    escapes: Mutex<u64>,
    origin: OnceLock<String>,
}

impl Site {
    pub(super) fn new(options: FlextypeOptions, clock: SharedClock, tree: Tree) -> Arc<Self> {
        let tokens = Arc::new(Tokens::new(&options.tokens));
        Arc::new(Self {
            options,
            clock,
            tree: Mutex::new(tree),
            tokens,
            sessions: Sessions::default(),
            escapes: Mutex::new(0),
            origin: OnceLock::new(),
        })
    }

    /// The address that answers name, once it is bound.
    pub(super) fn set_origin(&self, origin: String) {
        self.origin.get_or_init(|| origin);
    }

    pub(super) fn origin(&self) -> String {
        self.origin.get().cloned().unwrap_or_default()
    }

    /// Resolves a path that was sent.
    pub(super) fn path(&self, raw: &str) -> Option<SitePath> {
        let path = SitePath::parse(raw);
        if path.is_none() {
            *self.escapes.lock() += 1;
        }
        path
    }

    pub(super) fn escapes(&self) -> u64 {
        *self.escapes.lock()
    }

    fn cookie_name(&self) -> &'static str {
        match self.options.version {
            Version::V0_9_12 => "Flextype",
            Version::V0_9_11 => "PHPSESSID",
        }
    }

    fn session_of<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let cookies = headers.get(header::COOKIE)?.to_str().ok()?;
        cookies
            .split(';')
            .filter_map(|cookie| cookie.trim().split_once('='))
            .find_map(|(name, id)| (name == self.cookie_name()).then_some(id))
    }
}

/// Names requests for counters and faults.
pub(super) fn classify(method: &Method, path: &str) -> Route {
    if path.starts_with(STATIC) {
        return Route::content(format!("{method} {STATIC}/{{path}}"));
    }
    Route::api(format!("{method} {path}"))
}

/// Answers any request.
pub(super) async fn handle(State(site): State<Arc<Site>>, request: Request) -> Response {
    let method = overridden(&request);
    let path = request.uri().path().to_owned();
    if let Some(rest) = path.strip_prefix(STATIC)
        && let Some(answer) = static_file(&site, &method, rest, request.headers())
    {
        return answer;
    }
    let headers = request.headers().clone();
    let (reply, fresh) = in_session(&site, &method, &path, request).await;
    let session = fresh.as_deref().map(|id| (site.cookie_name(), id));
    answers::answer(reply, &headers, session)
}

/// `X-Http-Method-Override`, as the site's framework honours it.
fn overridden(request: &Request) -> Method {
    let wanted = request.headers().get("x-http-method-override");
    wanted
        .filter(|_| request.method() == Method::POST)
        .and_then(|method| Method::from_bytes(method.as_bytes()).ok())
        .unwrap_or_else(|| request.method().clone())
}

/// Runs a call after the others of its session, or beside all others without one.
async fn in_session(site: &Arc<Site>, method: &Method, path: &str, request: Request) -> (Reply, Option<String>) {
    let known = site
        .session_of(request.headers())
        .is_some_and(|id| site.sessions.knows(id));
    let fresh = || (!known).then(|| site.sessions.start());
    let (noun, verb) = match path.trim_end_matches('/').strip_prefix("/api/") {
        Some("files") => (Noun::Files, ""),
        Some("files/copy") => (Noun::Files, "copy"),
        Some("files/meta") => (Noun::Files, "meta"),
        Some("folders") => (Noun::Folders, ""),
        Some("folders/copy") => (Noun::Folders, "copy"),
        _ if path == "/" => return (Reply::NoPage, fresh()),
        _ => return (Reply::NotAllowed("OPTIONS"), fresh()),
    };
    let session = site.session_of(request.headers()).map(str::to_owned);
    let turn = match &session {
        Some(id) => site.sessions.enter(id).await,
        None => None,
    };
    let fresh = fresh();
    // The token's file is rewritten for a moment; calls of other sessions may find it half written.
    let Some(running) = site.tokens.enter(match noun {
        Noun::Files => "files",
        Noun::Folders => "folders",
    }) else {
        return (Reply::Exception, fresh);
    };
    if !site.options.token_rewrite.is_zero() {
        tokio::time::sleep(site.options.token_rewrite).await;
    }
    let reply = api::call(site, method, noun, verb, request).await;
    // In this order: the next call of the session finds the token's file at rest.
    drop(running);
    drop(turn);
    (reply, fresh)
}

/// What the web server answers by itself; `None` leaves the request to the site, which has no such route.
fn static_file(site: &Site, method: &Method, rest: &str, asked: &HeaderMap) -> Option<Response> {
    if method != Method::GET && method != Method::HEAD {
        return None;
    }
    let decoded = percent_encoding::percent_decode_str(rest).decode_utf8().ok()?;
    let path = site.path(&decoded)?;
    let hidden = path.key.split('/').any(|part| part.starts_with('.'));
    let is_page = [".md", ".php", ".phtml", ".htaccess", ".yaml"];
    if hidden || is_page.iter().any(|ending| path.key.to_lowercase().ends_with(ending)) {
        return Some(answers::forbidden());
    }
    let tree = site.tree.lock();
    if tree.folder_exists(&path.key) {
        let slashed = rest.ends_with('/');
        let to = format!("{}{STATIC}{rest}/", site.origin());
        return Some(if slashed {
            answers::forbidden()
        } else {
            answers::moved(&to)
        });
    }
    let content = tree.content(&path.key)?.clone();
    drop(tree);
    let micros = content.modified.to_db() / 1_000;
    let head = ContentHead {
        content_type: mime_guess::from_path(name_of(&path.key))
            .first_or_octet_stream()
            .to_string(),
        etag: Some(format!("{:x}-{micros:x}", content.bytes.len())),
        modified: Some(content.modified),
        ranges: true,
    };
    Some(serve_content(
        method,
        asked,
        Arc::new(MemorySource(content.bytes)),
        &head,
    ))
}
