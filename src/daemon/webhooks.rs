//! Deliveries of the store's webhooks: a small server for a reverse proxy that the user runs.
//!
//! Deliveries carry no signature. Who knows the secret part of the address may tell that something changed; what it is
//! now, the store itself is asked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{Method, StatusCode, Uri};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Failure;
use super::places::StorePlaces;
use crate::disk::write_atomic;
use crate::model::ItemId;
use crate::vfs::Vfs;

/// The largest delivery.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Items that wait to be looked at; of more, the next poll tells.
const WAITING_MAX: usize = 10_000;
/// How long the end of a mount waits for the store to take subscriptions back.
const UNSUBSCRIBE_WAIT: Duration = Duration::from_secs(10);
/// Pause before a subscription that failed is tried again.
const SUBSCRIBE_AGAIN: Duration = Duration::from_secs(300);

/// Serves deliveries while a mount lives.
pub struct Webhooks {
    vfs: Vfs,
    /// What is subscribed; it has the secret in it.
    address: Option<String>,
    tasks: Vec<JoinHandle<()>>,
}

struct Inbox {
    secret: String,
    vfs: Vfs,
    items: mpsc::Sender<ItemId>,
}

impl Webhooks {
    /// Listens at `listen`. With `public`, the address under which the user's proxy leads there, the store is asked to
    /// deliver; else that is the user's to do.
    pub async fn start(
        listen: SocketAddr,
        public: Option<&url::Url>,
        places: &StorePlaces,
        vfs: Vfs,
    ) -> Result<Self, Failure> {
        let listener = TcpListener::bind(listen)
            .await
            .map_err(|e| Failure::new(format!("cannot listen for webhooks at {listen}: {e}")))?;
        let secret = secret(places)?;
        let address = public.map(|url| format!("{}/{secret}", url.as_str().trim_end_matches('/')));
        let (items, waiting) = mpsc::channel(WAITING_MAX);
        let inbox = Arc::new(Inbox {
            secret,
            vfs: vfs.clone(),
            items,
        });
        let router = Router::new()
            .fallback(deliver)
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .with_state(inbox);
        let looking = vfs.clone();
        let mut tasks = vec![
            tokio::spawn(async move { looking.follow_deliveries(waiting).await }),
            tokio::spawn(async move {
                if let Err(error) = axum::serve(listener, router).await {
                    tracing::warn!(%error, "webhooks are no longer listened for");
                }
            }),
        ];
        if let Some(address) = address.clone() {
            tasks.push(tokio::spawn(subscribe(vfs.clone(), address)));
        }
        tracing::info!(%listen, "webhooks are listened for");
        Ok(Self { vfs, address, tasks })
    }

    /// Takes the subscriptions back and ends.
    pub async fn end(self) {
        self.vfs.rely_on_webhooks(false);
        if let Some(address) = &self.address {
            let taken_back = self.vfs.store().unsubscribe(address);
            match tokio::time::timeout(UNSUBSCRIBE_WAIT, taken_back).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "the store still delivers webhooks; the next mount uses them"),
                Err(_) => tracing::warn!("the store did not take the webhooks back in time; the next mount uses them"),
            }
        }
    }
}

impl Drop for Webhooks {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// The secret part of the address; it stays the same, so that a proxy may be set up for it.
fn secret(places: &StorePlaces) -> Result<String, Failure> {
    let path = places.state.join("webhook-secret");
    if let Ok(text) = std::fs::read_to_string(&path)
        && text.trim().len() >= 32
    {
        return Ok(text.trim().to_owned());
    }
    let secret: String = (0..4).map(|_| format!("{:016x}", rand::random::<u64>())).collect();
    write_atomic(&path, secret.as_bytes())?;
    Ok(secret)
}

async fn subscribe(vfs: Vfs, address: String) {
    loop {
        match vfs.store().subscribe(&address).await {
            Ok(()) => {
                tracing::info!("the store delivers webhooks: polling is only a safety net");
                return vfs.rely_on_webhooks(true);
            }
            Err(error) if error.is_transient() => {
                tracing::warn!(%error, "the store cannot be asked for webhooks now");
                tokio::time::sleep(SUBSCRIBE_AGAIN).await;
            }
            Err(error) => return tracing::warn!(%error, "the store delivers no webhooks: polling goes on"),
        }
    }
}

async fn deliver(State(inbox): State<Arc<Inbox>>, method: Method, uri: Uri, body: Bytes) -> StatusCode {
    let given = uri.path().rsplit('/').next().unwrap_or_default();
    if !same(given.as_bytes(), inbox.secret.as_bytes()) {
        return StatusCode::NOT_FOUND;
    }
    if method != Method::POST {
        return StatusCode::METHOD_NOT_ALLOWED;
    }
    let Some(item) = inbox.vfs.store().delivered(&body) else {
        return StatusCode::BAD_REQUEST;
    };
    // Somebody has set it up to lead here, whoever that was.
    inbox.vfs.rely_on_webhooks(true);
    match inbox.items.try_send(item) {
        Ok(()) => StatusCode::NO_CONTENT,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// Takes equally long wherever the two differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}
