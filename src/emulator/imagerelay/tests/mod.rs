//! Drives the server over loopback, as a client does.

mod content;
mod files;
mod folders;
mod service;
mod uploads;

use std::sync::Arc;

use bytes::Bytes;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::*;
use crate::model::{ManualClock, Timestamp};

/// 2026-06-09 12:00:00 UTC.
const NOON: Timestamp = Timestamp::from_secs(1_781_006_400);

/// A server and a well-behaved client of it.
struct Bench {
    running: Running,
    clock: Arc<ManualClock>,
    client: reqwest::Client,
}

fn plain_client() -> reqwest::Client {
    // A second installation fails, and that is fine: one is there.
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::new()
}

impl Bench {
    async fn with(change: impl FnOnce(&mut ImageRelayOptions)) -> Self {
        let clock = ManualClock::starting(NOON);
        let mut options = ImageRelayOptions {
            clock: clock.clone(),
            ..ImageRelayOptions::default()
        };
        change(&mut options);
        Self {
            running: serve(options).await.unwrap(),
            clock,
            client: plain_client(),
        }
    }

    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    fn root(&self) -> u64 {
        self.running.remote().root()
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client
            .request(method, format!("{}{path}", self.running.url))
            .bearer_auth("emulator")
            .header("User-Agent", "tests (tests@example.com)")
    }

    async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Response {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.json(&body);
        }
        request.send().await.unwrap()
    }

    async fn get(&self, path: &str) -> Value {
        let response = self.send(Method::GET, path, None).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        response.json().await.unwrap()
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let response = self.send(Method::POST, path, Some(body)).await;
        let status = response.status().as_u16();
        (status, response.json().await.unwrap_or(Value::Null))
    }

    async fn status(&self, method: Method, path: &str) -> u16 {
        self.send(method, path, None).await.status().as_u16()
    }

    async fn chunk(&self, path: &str, bytes: impl Into<Bytes>) -> Response {
        let bytes = bytes.into();
        let request = self
            .request(Method::POST, path)
            .header("Content-Type", "application/octet-stream")
            // Said aloud, because the client leaves it out for an empty body.
            .header("Content-Length", bytes.len());
        request.body(bytes).send().await.unwrap()
    }

    async fn job(&self, name: &str, size: usize) -> (u64, u64) {
        let body = json!({"folder_id": self.root(), "file_type_id": 6001, "files": [{"name": name, "size": size}],
            "terms": [], "prefix": ""});
        let (status, job) = self.post("/upload_jobs.json", body).await;
        assert_eq!(status, 201, "{job}");
        (job["id"].as_u64().unwrap(), job["files"][0]["id"].as_u64().unwrap())
    }

    async fn link(&self, asset: u64) -> Value {
        let body = json!({"purpose": "assetfs", "asset_id": asset, "expires": "2026-06-12"});
        let (status, link) = self.post("/quick_links.json", body).await;
        assert_eq!(status, 201, "{link}");
        link
    }

    /// Without any header of ours.
    async fn download(&self, url: &str) -> Response {
        self.client.get(url).send().await.unwrap()
    }
}

fn ids(list: &Value) -> Vec<u64> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["id"].as_u64().unwrap())
        .collect()
}
