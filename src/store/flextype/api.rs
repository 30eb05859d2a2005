//! The calls of the files and folders API, one function each, and what their statuses mean.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::http::{self, Client, Method, Part, Request, Secret, Url, header};
use crate::model::SharedClock;
use crate::store::from_http::from_http;
use crate::store::{Body, ErrorKind, Result, Retry, StoreError};

use super::config::FlextypeConfig;
use super::decode::{self, Data};
use super::path::RemotePath;

/// Statuses that are part of the API's language.
const SPOKEN: [u16; 5] = [400, 401, 404, 405, 500];
/// How long the site may think about an upload (it encodes pictures) or about copying a folder.
const LONG_WORK: Duration = Duration::from_secs(180);

/// An upload of more bytes may have been too long for the server, and not only for the site.
const SUSPICIOUS_BYTES: u64 = 1 << 20;

/// Pauses before a read that failed (500) is asked again: another client's call may have been rewriting the token. Of calls
/// beside busy ones nearly every fourth fails so.
const ONCE_MORE: [Duration; 5] = [
    Duration::from_millis(50),
    Duration::from_millis(150),
    Duration::from_millis(400),
    Duration::from_millis(1000),
    Duration::from_millis(2500),
];
/// The same where 500 is one of the two answers that are expected.
const ONCE_MORE_WHEN_EXPECTED: usize = 2;

/// Which of the two halves of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Noun {
    Files,
    Folders,
}

/// What a GET found.
#[derive(Debug)]
pub(super) enum Looked {
    /// Something is there.
    Found(Data),
    /// The site's own word that there is nothing.
    Absent,
    /// The site failed (500): nothing may be concluded.
    Failed(StoreError),
}

/// What a write came to.
#[derive(Debug)]
pub(super) enum Written {
    /// It was done; before 0.9.12 with the object.
    Done(Option<Data>),
    /// It was refused or its answer was lost, which says little: it may have been done. Look.
    Unclear(StoreError),
}

/// How the releases differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Release {
    /// 0.9.12: collections are recursive.
    Recursive,
    /// 0.9.9 to 0.9.11: a folder with a subfolder cannot list its files.
    Flat,
}

/// What is learnt of a site once.
#[derive(Clone, Debug)]
pub(super) struct Site {
    /// The full path of the uploads folder, as answers spell it.
    pub(super) uploads: String,
    pub(super) release: Release,
}

/// What the web server says about a static file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Static {
    /// It is there, of this size.
    There(Option<u64>),
    /// It is there for sure or perhaps, and not given out (`.md`).
    Kept,
    Absent,
}

/// A site's API.
pub(super) struct Api {
    client: Arc<Client>,
    pub(super) config: FlextypeConfig,
    clock: SharedClock,
    site: OnceCell<Site>,
}

/// An error about a path.
pub(super) fn failure(kind: ErrorKind, operation: &'static str, path: &RemotePath) -> StoreError {
    StoreError::new(kind, operation, path.to_string())
}

impl Api {
    pub(super) fn new(client: Arc<Client>, config: FlextypeConfig, clock: SharedClock) -> Self {
        Self {
            client,
            config,
            clock,
            site: OnceCell::new(),
        }
    }

    fn url(&self, parts: &[&str]) -> Url {
        let mut url = self.config.site.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(parts);
        }
        url
    }

    fn endpoint(&self, noun: Noun, verb: &str) -> Url {
        let noun = match noun {
            Noun::Files => "files",
            Noun::Folders => "folders",
        };
        let parts = ["api", noun, verb];
        self.url(if verb.is_empty() { &parts[..2] } else { &parts })
    }

    fn token(&self, noun: Noun) -> &Secret {
        match noun {
            Noun::Files => &self.config.files_token,
            Noun::Folders => &self.config.folders_token,
        }
    }

    fn access_token(&self, operation: &'static str, path: &RemotePath) -> Result<&Secret> {
        self.config.access_token.as_ref().ok_or_else(|| {
            failure(ErrorKind::Denied, operation, path).because("there is no access token, so the site is read-only")
        })
    }

    /// What a site is, asked once. The first call is alone, so that the later ones share its session.
    pub(super) async fn site(&self) -> Result<&Site> {
        self.site.get_or_try_init(|| self.probe()).await
    }

    async fn probe(&self) -> Result<Site> {
        const OPERATION: &str = "open the site";
        let root = RemotePath::root();
        let uploads = match self.fetch_again(Noun::Folders, &root, false, OPERATION).await? {
            Looked::Found(Data::One(object)) => object.get("full_path").and_then(Value::as_str).map(str::to_owned),
            Looked::Found(Data::Many(_)) => None,
            Looked::Absent => {
                let missing = failure(ErrorKind::NotFound, OPERATION, &root);
                return Err(missing.because("the site has no uploads folder"));
            }
            Looked::Failed(error) => return Err(error),
        };
        // 0.9.12 fails on the collection of a folder that is not there; the older ones say so.
        let nowhere = RemotePath::root().child(&format!("assetfs-probe-{:016x}", rand::random::<u64>()))?;
        let release = match self
            .fetch_often((Noun::Folders, &nowhere, true), OPERATION, ONCE_MORE_WHEN_EXPECTED)
            .await?
        {
            Looked::Absent => Release::Flat,
            Looked::Found(_) | Looked::Failed(_) => Release::Recursive,
        };
        let uploads = uploads.unwrap_or_else(|| "project/uploads".to_owned());
        Ok(Site { uploads, release })
    }

    /// One item, or a folder's children.
    pub(super) async fn look(&self, noun: Noun, path: &RemotePath, collection: bool) -> Result<Looked> {
        self.site().await?;
        self.fetch(noun, path, collection, "look").await
    }

    /// As [`Api::look`], for one item: asked again when the site fails, because a token that another client's call is
    /// just rewriting looks like that.
    pub(super) async fn look_patiently(&self, noun: Noun, path: &RemotePath) -> Result<Looked> {
        self.site().await?;
        self.fetch_again(noun, path, false, "look").await
    }

    /// The same for the children of a folder that is there.
    pub(super) async fn list_patiently(&self, noun: Noun, path: &RemotePath) -> Result<Looked> {
        self.site().await?;
        self.fetch_again(noun, path, true, "look").await
    }

    async fn fetch_again(
        &self,
        noun: Noun,
        path: &RemotePath,
        collection: bool,
        operation: &'static str,
    ) -> Result<Looked> {
        self.fetch_often((noun, path, collection), operation, ONCE_MORE.len())
            .await
    }

    async fn fetch_often(
        &self,
        (noun, path, collection): (Noun, &RemotePath, bool),
        operation: &'static str,
        repeats: usize,
    ) -> Result<Looked> {
        for pause in ONCE_MORE.into_iter().take(repeats) {
            match self.fetch(noun, path, collection, operation).await? {
                Looked::Failed(_) => self.clock.sleep(pause).await,
                told => return Ok(told),
            }
        }
        self.fetch(noun, path, collection, operation).await
    }

    async fn fetch(&self, noun: Noun, path: &RemotePath, collection: bool, operation: &'static str) -> Result<Looked> {
        let route = match noun {
            Noun::Files => "GET /api/files",
            Noun::Folders => "GET /api/folders",
        };
        let mut request = Request::get(self.endpoint(noun, ""), route)
            .query("path", path.as_str())
            .secret_query("token", self.token(noun))
            .header(header::ACCEPT, "application/json")
            .accept(&SPOKEN);
        if collection {
            request = request.query("collection", "true");
        }
        let answer = self
            .client
            .call(request)
            .await
            .map_err(|e| from_http(operation, path.to_string(), e))?;
        match answer.status {
            404 if is_said_by_the_api(&answer) => Ok(Looked::Absent),
            404 => {
                let not_the_site = answer.malformed("a 404 that is not the API's");
                Err(from_http(operation, path.to_string(), not_the_site))
            }
            500 => {
                let failed = failure(ErrorKind::Server, operation, path).retry(Retry::After(Duration::from_secs(1)));
                Ok(Looked::Failed(failed.because("the site failed (500)")))
            }
            status @ (400 | 401 | 405) => Err(refusal(operation, path, status)),
            _ => {
                let json = answer.json().map_err(|e| from_http(operation, path.to_string(), e))?;
                let data = decode::data(json).ok_or_else(|| answer.malformed("an answer without data"));
                data.map(Looked::Found)
                    .map_err(|e| from_http(operation, path.to_string(), e))
            }
        }
    }

    /// A write with a JSON body. `extra` are its parameters besides path and tokens.
    async fn write(
        &self,
        (method, noun, verb, route): (Method, Noun, &str, &'static str),
        path: &RemotePath,
        extra: &[(&str, &str)],
    ) -> Result<Written> {
        if path.is_root() {
            // With an empty path the site deletes every upload it has.
            return Err(failure(ErrorKind::Denied, route, path).because("the uploads folder itself is never changed"));
        }
        let access = self.access_token(route, path)?.clone();
        self.site().await?;
        let token = self.token(noun);
        let mut body = json!({"path": path.as_str(), "token": token.expose(), "access_token": access.expose()});
        for (name, value) in extra {
            body[*name] = Value::String((*value).to_owned());
        }
        let request = Request::new(method, self.endpoint(noun, verb), route)
            .json(&body)
            .scrub(token)
            .scrub(&access)
            .not_safe()
            .patience(LONG_WORK);
        self.conclude(request, route, path, 0).await
    }

    /// Sends a write that carries so many bytes of a file.
    async fn conclude(
        &self,
        request: Request,
        operation: &'static str,
        path: &RemotePath,
        bytes: u64,
    ) -> Result<Written> {
        let request = request.header(header::ACCEPT, "application/json").accept(&SPOKEN);
        let answer = match self.client.call(request).await {
            Ok(answer) => answer,
            Err(error) => {
                let error = from_http(operation, path.to_string(), error);
                // Sent, and then nothing: the site may well have acted.
                return if error.retry == Retry::Ambiguous {
                    Ok(Written::Unclear(error))
                } else {
                    Err(error)
                };
            }
        };
        Ok(match answer.status {
            404 => Written::Unclear(failure(ErrorKind::NotFound, operation, path)),
            405 | 500 => {
                let failed = failure(ErrorKind::Server, operation, path).retry(Retry::After(Duration::from_secs(1)));
                Written::Unclear(failed.because(format!("the site failed ({})", answer.status)))
            }
            // PHP throws a body that is too long away, with the tokens in it.
            400 if bytes > SUSPICIOUS_BYTES => {
                let why = "the server takes no bodies of this size (post_max_size)";
                return Err(failure(ErrorKind::TooLarge, operation, path).because(why));
            }
            status @ (400 | 401) => return Err(refusal(operation, path, status)),
            _ => Written::Done(answer.json().ok().and_then(decode::data)),
        })
    }

    pub(super) async fn move_to(&self, noun: Noun, path: &RemotePath, to: &RemotePath) -> Result<Written> {
        let route = match noun {
            Noun::Files => "PUT /api/files",
            Noun::Folders => "PUT /api/folders",
        };
        self.write((Method::PUT, noun, "", route), path, &[("new_path", to.as_str())])
            .await
    }

    pub(super) async fn copy_to(&self, noun: Noun, path: &RemotePath, to: &RemotePath) -> Result<Written> {
        let route = match noun {
            Noun::Files => "PUT /api/files/copy",
            Noun::Folders => "PUT /api/folders/copy",
        };
        self.write((Method::PUT, noun, "copy", route), path, &[("new_path", to.as_str())])
            .await
    }

    pub(super) async fn delete(&self, noun: Noun, path: &RemotePath) -> Result<Written> {
        let route = match noun {
            Noun::Files => "DELETE /api/files",
            Noun::Folders => "DELETE /api/folders",
        };
        self.write((Method::DELETE, noun, "", route), path, &[]).await
    }

    pub(super) async fn make_folder(&self, path: &RemotePath) -> Result<Written> {
        self.write((Method::POST, Noun::Folders, "", "POST /api/folders"), path, &[])
            .await
    }

    /// Changes a field that is there.
    pub(super) async fn patch_field(&self, path: &RemotePath, field: &str, value: &str) -> Result<Written> {
        let route = (Method::PATCH, Noun::Files, "meta", "PATCH /api/files/meta");
        self.write(route, path, &[("field", field), ("value", value)]).await
    }

    /// Adds a field that is not there.
    pub(super) async fn add_field(&self, path: &RemotePath, field: &str, value: &str) -> Result<Written> {
        let route = (Method::POST, Noun::Files, "meta", "POST /api/files/meta");
        self.write(route, path, &[("field", field), ("value", value)]).await
    }

    pub(super) async fn delete_field(&self, path: &RemotePath, field: &str) -> Result<Written> {
        let route = (Method::DELETE, Noun::Files, "meta", "DELETE /api/files/meta");
        self.write(route, path, &[("field", field)]).await
    }

    /// Uploads to `to`, whose name must be a slug already: it is overwritten without a word.
    pub(super) async fn upload(&self, to: &RemotePath, body: &Body) -> Result<Written> {
        const ROUTE: &str = "POST /api/files";
        let access = self.access_token(ROUTE, to)?.clone();
        self.site().await?;
        let token = &self.config.files_token;
        let content = body.clone();
        let stream = http::Body::stream(body.size_bytes(), move || content.stream());
        let parts = vec![
            Part::text("token", token.expose()),
            Part::text("access_token", access.expose()),
            Part::text("folder", to.parent().as_str()),
            Part::file("file", to.name(), "application/octet-stream", stream),
        ];
        let request = Request::new(Method::POST, self.endpoint(Noun::Files, ""), ROUTE)
            .multipart(parts)
            .scrub(token)
            .scrub(&access)
            .patience(LONG_WORK);
        self.conclude(request, ROUTE, to, body.size_bytes()).await
    }

    fn static_url(&self, path: &RemotePath) -> Url {
        let mut parts = vec!["project", "uploads"];
        parts.extend(path.as_str().split('/'));
        self.url(&parts)
    }

    /// Where a browser finds the file.
    pub(super) fn public_url(&self, path: &RemotePath) -> String {
        self.static_url(path).into()
    }

    /// Opens a file's bytes; `None` for all of them.
    pub(super) async fn open(&self, path: &RemotePath, range: Option<&std::ops::Range<u64>>) -> Result<http::Response> {
        let mut request = Request::get(self.static_url(path), "GET /project/uploads")
            .identity()
            .unbudgeted()
            .accept(&[403, 405, 416]);
        if let Some(range) = range {
            request = request.range(range);
        }
        self.client
            .open(request)
            .await
            .map_err(|e| from_http("read", path.to_string(), e))
    }

    /// Asks the web server about a file, without its bytes.
    pub(super) async fn head(&self, path: &RemotePath) -> Result<Static> {
        let request = Request::new(Method::HEAD, self.static_url(path), "HEAD /project/uploads")
            .identity()
            .unbudgeted()
            .accept(&[403, 404, 405]);
        let answer = self
            .client
            .open(request)
            .await
            .map_err(|e| from_http("look", path.to_string(), e))?;
        Ok(match answer.status() {
            // The site's own page for what is not there.
            404 | 405 => Static::Absent,
            403 => Static::Kept,
            _ => {
                let size = answer.header(header::CONTENT_LENGTH).and_then(|len| len.parse().ok());
                Static::There(size)
            }
        })
    }
}

/// Whether a 404 comes from the API and not from something in between.
fn is_said_by_the_api(answer: &http::Answer) -> bool {
    let said: std::result::Result<Value, _> = answer.json();
    said.is_ok_and(|said| said.get("http_status_code").is_some() || said.get("message").is_some())
}

fn refusal(operation: &'static str, path: &RemotePath, status: u16) -> StoreError {
    let (kind, why) = match status {
        401 => (
            ErrorKind::Unauthenticated,
            "the site does not know a token, or it is used up",
        ),
        // All parameters are always sent, so this is what the site says of a disabled token or of a body over its limit.
        400 => (
            ErrorKind::Unauthenticated,
            "the site takes no parameters: a token is disabled or used up",
        ),
        _ => (
            ErrorKind::Unsupported,
            "the site has no such API: is it Flextype 0.9.9 to 0.9.12, with the REST API on?",
        ),
    };
    failure(kind, operation, path).because(why)
}
