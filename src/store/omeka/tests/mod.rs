//! The store against the built-in site.

mod listing;
mod records;
mod uploads;

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;

use crate::emulator::common::{Action, FaultRule, When};
use crate::emulator::omeka::{OmekaOptions, Running, Seed, Validation, serve};
use crate::http::{Client, LocalBudget, Request, Secret, Url};
use crate::model::{Access, Checksum, Entry, FieldChanges, ItemId, Kind, Name, SystemClock, Timestamp, Value};
use crate::store::{Body, ErrorKind, Placement, Query, Result, Retry, SharedStore, StoreError, UploadProgress};

use super::{OmekaConfig, OmekaStore};

const KEY: &str = "0123456789abcdef0123456789abcdef01234567";

struct Fixture {
    server: Running,
    store: SharedStore,
}

fn store_at(api: &str, key: &str, adjust: impl FnOnce(&mut OmekaConfig)) -> SharedStore {
    let clock = SystemClock::shared();
    let api: Url = api.parse().expect("a URL");
    let mut config = OmekaConfig::new(api, Some(Secret::new(key)));
    adjust(&mut config);
    let client = Client::new(config.client(LocalBudget::unlimited(clock.clone())), clock.clone()).expect("a client");
    Arc::new(OmekaStore::new(config, client, clock))
}

async fn fixture_with(options: OmekaOptions, adjust: impl FnOnce(&mut OmekaConfig)) -> Fixture {
    let server = serve(options).await.expect("a free port");
    let store = store_at(&server.api_url(), KEY, adjust);
    Fixture { server, store }
}

async fn fixture(seed: Seed) -> Fixture {
    let options = OmekaOptions {
        seed,
        ..OmekaOptions::default()
    };
    fixture_with(options, |_| {}).await
}

fn body(bytes: &[u8]) -> Body {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(bytes).expect("written");
    Body::new(Arc::new(file), bytes.len() as u64)
}

fn name(name: &str) -> Name {
    Name::new(name).expect("a name")
}

fn fields(pairs: &[(&str, &[&str])]) -> FieldChanges {
    pairs
        .iter()
        .map(|(field, values)| ((*field).to_owned(), values.iter().map(|v| Value::from(*v)).collect()))
        .collect()
}

fn kind_of<T>(result: Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind)
}

fn texts(entry: &Entry, field: &str) -> Vec<String> {
    entry
        .fields
        .get(field)
        .map(|field| field.values.iter().map(|value| value.text.clone()).collect())
        .unwrap_or_default()
}

impl Fixture {
    async fn list(&self, folder: &Entry) -> Vec<Entry> {
        let batches: Vec<Vec<Entry>> = self.store.list(folder).try_collect().await.expect("a listing");
        batches.concat()
    }

    async fn root(&self) -> Entry {
        self.store.root().await.expect("the root")
    }

    async fn child(&self, folder: &Entry, name: &str) -> Entry {
        let all = self.list(folder).await;
        all.into_iter().find(|entry| entry.name == name).expect("the child")
    }

    async fn at(&self, path: &[&str]) -> Entry {
        let mut entry = self.root().await;
        for part in path {
            entry = self.child(&entry, part).await;
        }
        entry
    }

    async fn stat(&self, namespace: &str, id: u64) -> Result<Entry> {
        self.store.stat(&ItemId::of(namespace, id)).await
    }

    async fn read(&self, file: &Entry, range: std::ops::Range<u64>) -> Result<Bytes> {
        let download = self.store.read(file, range.clone()).await?;
        assert_eq!(download.range, range);
        let pieces: Vec<Bytes> = download.stream.try_collect().await?;
        Ok(pieces.concat().into())
    }

    async fn upload(&self, parent: &ItemId, file: &str, bytes: &[u8]) -> Result<Entry> {
        let progress = UploadProgress::default();
        self.store
            .create(parent, &name(file), &body(bytes), &FieldChanges::new(), &progress)
            .await
    }

    fn fault(&self, route: &str, when: When, action: Action) {
        self.server.gate().faults().add(FaultRule::new(route, when, action));
    }

    fn count(&self, route: &str) -> u64 {
        self.server.gate().traffic().counters().of(route)
    }
}
