//! What a webhook says has changed: asked of the store itself before it is believed.

use std::collections::HashSet;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::http::{Class, Context, with_context};
use crate::model::ItemId;

use super::Result;
use super::vfs::Vfs;

/// Items that are each asked for; of more at once the change feed tells with fewer requests.
const ASKED_MAX: usize = 20;
/// Deliveries that come together are one look.
const GATHER: Duration = Duration::from_millis(100);

impl Vfs {
    /// Looks at every item that comes out of `told`, until nobody can tell more.
    pub async fn follow_deliveries(&self, mut told: mpsc::Receiver<ItemId>) {
        while let Some(first) = told.recv().await {
            let mut items = HashSet::from([first]);
            self.clock.sleep(GATHER).await;
            while let Ok(more) = told.try_recv() {
                items.insert(more);
            }
            self.look_at_items(items).await;
        }
    }

    /// Asks the store about items that are said to have changed, and shows what it answers.
    pub(super) async fn look_at_items(&self, items: HashSet<ItemId>) {
        let look = async {
            if items.len() > ASKED_MAX
                && let Ok(()) = self.poll_feed().await
            {
                return;
            }
            for id in items {
                if let Err(error) = self.look_at_item(&id).await {
                    tracing::debug!(%id, "what is said to have changed could not be read: {error}");
                }
            }
        };
        with_context(Context::of(Class::Background), look).await;
    }

    async fn look_at_item(&self, id: &ItemId) -> Result<()> {
        let began = self.clock.now();
        let answer = self.store.stat(id).await;
        let id = id.clone();
        self.blocking(move |vfs| {
            let known = vfs.catalog.by_id(&id)?;
            match answer {
                Ok(entry) => {
                    let mut shown = known.is_some();
                    for parent in &entry.parents {
                        shown |= vfs.catalog.listing(parent)?.is_some();
                    }
                    if shown { vfs.take_news(&entry, began) } else { Ok(()) }
                }
                // Somebody said so, and the store says so too.
                Err(error) if error.is_not_found() => match known {
                    Some(node) if vfs.journal.change(node.ino).is_none() => vfs.take_removal(&id, began),
                    Some(_) | None => Ok(()),
                },
                Err(error) => Err(error.into()),
            }
        })
        .await
    }
}
