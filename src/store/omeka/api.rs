//! Calls of the API: addresses, the key, and what its errors mean.
//!
//! A 5xx is mostly a refusal that would come again; a 404 counts only when the API itself says that there is no such
//! record, never when some page of a web server does.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::http::{self, Answer, Client, Method, Part, Request, Secret, Url};
use crate::store::from_http::{cause_of, from_http};
use crate::store::{ErrorKind, Result, Retry, StoreError};

use super::id::{Id, Resource};

/// The API of one site.
#[derive(Clone)]
pub(super) struct Api {
    client: Arc<Client>,
    base: Url,
    key: Option<Secret>,
}

impl Api {
    /// The API at `base`.
    pub(super) fn new(client: Arc<Client>, base: Url, key: Option<Secret>) -> Self {
        Self { client, base, key }
    }

    /// The HTTP client, for what is not the API.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Whether writes can work at all.
    pub(super) fn has_key(&self) -> bool {
        self.key.is_some()
    }

    /// The key, to be hashed.
    pub(super) fn key(&self) -> Option<&Secret> {
        self.key.as_ref()
    }

    fn url(&self, resource: Resource, id: Option<u64>) -> Url {
        let mut url = self.base.clone();
        let mut path = format!("{}/{}", self.base.path().trim_end_matches('/'), resource.path());
        if let Some(id) = id {
            path.push_str(&format!("/{id}"));
        }
        url.set_path(&path);
        url
    }

    fn request(&self, method: Method, resource: Resource, id: Option<u64>, route: &'static str) -> Request {
        let request = Request::new(method, self.url(resource, id), route);
        match &self.key {
            Some(key) => request.secret_query("key", key),
            None => request,
        }
    }

    async fn call(&self, request: Request, operation: &'static str, item: &str) -> Result<Answer> {
        match self.client.call(request).await {
            Ok(answer) if answer.status != 204 && answer.is_html() => {
                Err(from_http(operation, item, answer.malformed("a page instead of JSON")))
            }
            Ok(answer) => Ok(answer),
            Err(error) => Err(meaning(operation, item, error)),
        }
    }

    /// One page of a list; the parameters must be among the resource's own.
    pub(super) async fn list(
        &self,
        resource: Resource,
        params: &[(String, String)],
        operation: &'static str,
    ) -> Result<Answer> {
        let [route, ..] = resource.routes();
        let mut request = self.request(Method::GET, resource, None, route);
        for (name, value) in params {
            request = request.query(name, value);
        }
        self.call(request, operation, "").await
    }

    /// One record.
    pub(super) async fn get(&self, id: Id) -> Result<Value> {
        let (resource, number) = id.resource();
        let [_, route, ..] = resource.routes();
        let number = (id != Id::Site).then_some(number);
        let request = self.request(Method::GET, resource, number, route);
        let item = id.to_item_id();
        let answer = self.call(request, "look at", item.as_str()).await?;
        json(&answer, "look at", item.as_str())
    }

    /// Makes a collection or an item.
    pub(super) async fn post(&self, resource: Resource, body: &Value, name: &str) -> Result<Value> {
        let [_, _, route, ..] = resource.routes();
        let request = self.request(Method::POST, resource, None, route).json(body);
        let answer = self.call(request, "create folder", name).await?;
        json(&answer, "create folder", name)
    }

    /// Whether the key belongs to somebody who may make records. The site looks at that before it looks at what is to be
    /// made, so it is asked for nothing.
    pub(super) async fn may_make_items(&self) -> Result<bool> {
        let [_, _, route, ..] = Resource::Items.routes();
        let request = self
            .request(Method::POST, Resource::Items, None, route)
            .json(&Value::Array(Vec::new()));
        match self.call(request, "ask for the key's rights", "").await {
            Err(error) if error.kind == ErrorKind::Denied => Ok(false),
            Err(error) if status(&error) == Some(400) => Ok(true),
            Err(error) => Err(error),
            Ok(_) => Ok(true),
        }
    }

    /// Changes a record.
    pub(super) async fn put(&self, id: Id, body: &Value, operation: &'static str) -> Result<Value> {
        let (resource, number) = id.resource();
        let [_, _, _, route, _] = resource.routes();
        let request = self.request(Method::PUT, resource, Some(number), route).json(body);
        let item = id.to_item_id();
        let answer = self.call(request, operation, item.as_str()).await?;
        json(&answer, operation, item.as_str())
    }

    /// Deletes a record.
    pub(super) async fn delete(&self, id: Id) -> Result<()> {
        let (resource, number) = id.resource();
        let [.., route] = resource.routes();
        let request = self.request(Method::DELETE, resource, Some(number), route);
        self.call(request, "remove", id.to_item_id().as_str()).await.map(drop)
    }

    /// `POST /files`. The key goes as a field of the form, which keeps it out of the server's access log.
    pub(super) async fn post_file(&self, data: &Value, file: Option<Part>, name: &str) -> Result<Value> {
        let mut parts = Vec::new();
        let mut request = Request::new(Method::POST, self.url(Resource::Files, None), "POST /files");
        if let Some(key) = &self.key {
            parts.push(Part::text("key", key.expose()));
            request = request.scrub(key);
        }
        parts.push(Part::text("data", data.to_string()));
        parts.extend(file);
        // The server makes thumbnails before it answers.
        let request = request.multipart(parts).patience(Duration::from_secs(120));
        let answer = self.call(request, "upload", name).await?;
        json(&answer, "upload", name)
    }
}

/// The body as JSON.
pub(super) fn json(answer: &Answer, operation: &'static str, item: &str) -> Result<Value> {
    answer.json().map_err(|error| from_http(operation, item, error))
}

/// What an error of the API means.
fn meaning(operation: &'static str, item: &str, error: http::Error) -> StoreError {
    let (status, message, html) = (error.status, error.message(), error.html);
    // The API's own words come as JSON, and only writes are refused with a 500.
    let refused_write = error.excerpt.starts_with('{') && !error.route.starts_with("GET") && is_refusal(&message);
    let mut failed = from_http(operation, item, error);
    let refused = |kind| (kind, Retry::Never);
    let (kind, retry) = match status {
        Some(403) if message.starts_with("Invalid key") => refused(ErrorKind::Unauthenticated),
        Some(404) if html || !message.contains("Record not found") => refused(ErrorKind::Protocol),
        Some(400) if message.contains("Exactly one file") => refused(ErrorKind::TooLarge),
        Some(500) if message.contains("exceeds the defined ini size") => refused(ErrorKind::TooLarge),
        Some(500) if refused_write => refused(ErrorKind::Invalid),
        Some(400) if message.contains("Invalid item.") || message.contains("Invalid collection.") => {
            refused(ErrorKind::NotFound)
        }
        _ => return failed,
    };
    failed.kind = kind;
    failed.retry = retry;
    failed
}

/// Whether the message of a 500 says that the same request will fail again.
fn is_refusal(message: &str) -> bool {
    const PASSING: &[&str] = &[
        "gone away",
        "Deadlock",
        "Lock wait",
        "Too many connections",
        "Internal Server Error",
        // Zend's trial of the upload folder fails now and then when several uploads arrive at once.
        "destination is not writable",
    ];
    !message.is_empty() && !PASSING.iter().any(|words| message.contains(words))
}

/// The server's own words behind an error, for rules that hang on them.
pub(super) fn words(error: &StoreError) -> String {
    cause_of(error).map(http::Error::message).unwrap_or_default()
}

/// Whether the server answered at all, and with a failure of its own.
pub(super) fn status(error: &StoreError) -> Option<u16> {
    cause_of(error).and_then(|cause| cause.status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_500_is_a_refusal_when_it_says_why() {
        for (message, refusal) in [
            ("Mysqli statement execute error : Column 'html' cannot be null", true),
            ("There is no element \"0\", \"html\"!", true),
            ("Mysqli statement execute error : MySQL server has gone away", false),
            ("Internal Server Error", false),
            ("The given destination is not writable", false),
            ("", false),
        ] {
            assert_eq!(is_refusal(message), refusal, "{message}");
        }
    }
}
