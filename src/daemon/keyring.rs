//! The desktop's keyring (the freedesktop Secret Service): a place for secrets that opens with the user's session.

use std::collections::HashMap;
use std::time::Duration;

use secret_service::{EncryptionType, SecretService};

use super::Failure;
use crate::http::Secret;

/// How long the keyring may take: it may ask the user to unlock it.
const DEADLINE: Duration = Duration::from_secs(120);

/// How long it may take to say whether it is there.
const LOOK_DEADLINE: Duration = Duration::from_secs(5);

/// Which secret: that of a store, by the store's name and the secret's key in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The store's name.
    pub store: String,
    /// The secret's key (`api_key`).
    pub key: String,
}

impl Label {
    /// The secret `key` of `store`.
    pub fn new(store: &str, key: &str) -> Self {
        Self {
            store: store.to_owned(),
            key: key.to_owned(),
        }
    }

    /// What the keyring finds it by.
    fn attributes(&self) -> HashMap<&str, &str> {
        HashMap::from([("application", "assetfs"), ("store", &self.store), ("key", &self.key)])
    }

    /// What the keyring's own window shows.
    fn title(&self) -> String {
        format!("assetfs: {} of {}", self.key.replace('_', " "), self.store)
    }
}

/// Whether there is a keyring to use: a session bus with a Secret Service and a default collection.
pub fn is_there() -> bool {
    within(LOOK_DEADLINE, async {
        let service = SecretService::connect(EncryptionType::Dh).await?;
        service.get_default_collection().await.map(drop)
    })
    .is_ok()
}

/// Keeps a secret, in the place of an earlier one. May ask the user to unlock the keyring.
pub fn keep(label: &Label, secret: &Secret) -> Result<(), Failure> {
    let (label, secret) = (label.clone(), secret.clone());
    within(DEADLINE, async move {
        let service = SecretService::connect(EncryptionType::Dh).await?;
        let collection = service.get_default_collection().await?;
        if collection.is_locked().await? {
            collection.unlock().await?;
        }
        let bytes = secret.expose().as_bytes();
        collection
            .create_item(&label.title(), label.attributes(), bytes, true, "text/plain")
            .await
            .map(drop)
    })
}

/// The secret, or `None` where the keyring has none. May ask the user to unlock the keyring.
pub fn find(label: &Label) -> Result<Option<Secret>, Failure> {
    let label = label.clone();
    within(DEADLINE, async move {
        let service = SecretService::connect(EncryptionType::Dh).await?;
        let found = service.search_items(label.attributes()).await?;
        let Some(item) = found.unlocked.first().or(found.locked.first()) else {
            return Ok(None);
        };
        item.unlock().await?;
        let bytes = item.get_secret().await?;
        Ok(Some(Secret::new(String::from_utf8_lossy(&bytes).trim())))
    })
}

/// Forgets a secret. Answers whether there was one.
pub fn forget(label: &Label) -> Result<bool, Failure> {
    let label = label.clone();
    within(DEADLINE, async move {
        let service = SecretService::connect(EncryptionType::Dh).await?;
        let found = service.search_items(label.attributes()).await?;
        let mut any = false;
        for item in found.unlocked.iter().chain(&found.locked) {
            item.unlock().await?;
            item.delete().await?;
            any = true;
        }
        Ok(any)
    })
}

/// Runs `work` on a thread of its own: whoever asks may be in an async task or not.
fn within<T: Send + 'static>(
    deadline: Duration,
    work: impl Future<Output = Result<T, secret_service::Error>> + Send + 'static,
) -> Result<T, Failure> {
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Failure::new)?;
        runtime.block_on(async {
            match tokio::time::timeout(deadline, work).await {
                Ok(Ok(done)) => Ok(done),
                Ok(Err(error)) => Err(explain(&error)),
                Err(_) => Err(Failure::new(format!(
                    "the desktop's keyring does not answer within {} s: is a window waiting for its password?",
                    deadline.as_secs()
                ))),
            }
        })
    });
    thread
        .join()
        .unwrap_or_else(|_| Err(Failure::new("the keyring cannot be asked")))
}

fn explain(error: &secret_service::Error) -> Failure {
    let why = match error {
        secret_service::Error::Locked => "it is locked".to_owned(),
        secret_service::Error::Prompt => "the request to unlock it was dismissed".to_owned(),
        secret_service::Error::Unavailable => "no service provides it on the session bus".to_owned(),
        other => other.to_string(),
    };
    Failure::new(format!(
        "the desktop's keyring cannot be used: {why}; a file does as well (`assetfs login --file`)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_by_store_and_key_and_shown_by_a_title() {
        let label = Label::new("studio", "api_key");
        assert_eq!(label.attributes()["store"], "studio");
        assert_eq!(label.attributes()["key"], "api_key");
        assert_eq!(label.title(), "assetfs: api key of studio");
    }
}
