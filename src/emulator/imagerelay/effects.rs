//! What the service does on its own after an answer: deliver webhooks, fetch URLs.

use std::sync::{Arc, Weak};

use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use super::app::App;
use super::records::Due;
use crate::emulator::common::{get, post_json};

/// How many effects may wait; more are dropped with a warning.
const QUEUE_MAX: usize = 10_000;
/// How many URLs are fetched at once.
const FETCHES_MAX: usize = 8;

/// One piece of work.
#[derive(Clone, Debug)]
pub(super) enum Effect {
    /// Post `document` to `url`.
    Deliver { url: String, document: serde_json::Value },
    /// Fetch `url`; its bytes are those of `file`.
    Fetch { file: u64, url: String },
}

/// Where effects are sent.
pub(super) struct Effects {
    deliveries: mpsc::Sender<Effect>,
    fetches: mpsc::Sender<Effect>,
}

/// The receiving ends.
pub(super) struct Inbox {
    deliveries: mpsc::Receiver<Effect>,
    fetches: mpsc::Receiver<Effect>,
}

/// A pair of connected ends.
pub(super) fn channel() -> (Effects, Inbox) {
    let (deliveries, deliveries_inbox) = mpsc::channel(QUEUE_MAX);
    let (fetches, fetches_inbox) = mpsc::channel(QUEUE_MAX);
    let inbox = Inbox {
        deliveries: deliveries_inbox,
        fetches: fetches_inbox,
    };
    (Effects { deliveries, fetches }, inbox)
}

impl Effects {
    /// Queues without waiting.
    pub(super) fn send(&self, effect: Effect) {
        let sent = match effect {
            Effect::Deliver { .. } => self.deliveries.try_send(effect),
            Effect::Fetch { .. } => self.fetches.try_send(effect),
        };
        if let Err(error) = sent {
            tracing::warn!(%error, "work of the emulator was dropped");
        }
    }
}

/// Starts the workers; they end when the app is dropped.
pub(super) fn start(inbox: Inbox, app: &Arc<App>) -> [JoinHandle<()>; 2] {
    [
        tokio::spawn(deliver_all(inbox.deliveries)),
        tokio::spawn(fetch_all(inbox.fetches, Arc::downgrade(app))),
    ]
}

/// In order and one at a time; a listener that fails misses the event, as with the service.
async fn deliver_all(mut inbox: mpsc::Receiver<Effect>) {
    while let Some(effect) = inbox.recv().await {
        let Effect::Deliver { url, document } = effect else {
            continue;
        };
        if let Err(error) = post_json(&url, &document).await {
            tracing::debug!(%error, "a webhook was not delivered");
        }
    }
}

async fn fetch_all(mut inbox: mpsc::Receiver<Effect>, app: Weak<App>) {
    let mut running = JoinSet::new();
    while let Some(effect) = inbox.recv().await {
        let Effect::Fetch { file, url } = effect else { continue };
        while running.len() >= FETCHES_MAX {
            running.join_next().await;
        }
        let app = Weak::clone(&app);
        running.spawn(async move { fetch(&app, file, &url).await });
    }
}

async fn fetch(app: &Weak<App>, file: u64, url: &str) {
    let answer = match get(url).await {
        Ok(answer) if answer.status == 200 => answer,
        Ok(answer) => return tracing::debug!(file, status = answer.status, "the URL of an upload was refused"),
        Err(error) => return tracing::debug!(file, %error, "the URL of an upload cannot be fetched"),
    };
    let Some(app) = app.upgrade() else { return };
    let stored = app.change(|state| {
        let content = state.vault.put_whole(answer.body)?;
        let lag = state.processing_lag;
        state.after(lag, Due::Fetched { file, content });
        Ok::<(), std::io::Error>(())
    });
    if let Err(error) = stored {
        tracing::warn!(file, %error, "the bytes of a URL cannot be kept");
    }
}
