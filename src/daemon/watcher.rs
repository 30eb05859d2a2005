//! Looks at the mount from outside, for as long as it lives: tells the desktop and the service manager how it is, and
//! the drive what only the client knows.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::desktop::{self, Desktop};
use super::meter::Meter;
use super::service::ServiceManager;
use crate::http::{Client, Login};
use crate::vfs::{Attention, Vfs};

/// How often it looks while something moves.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often it looks while nothing does.
const IDLE_EVERY: Duration = Duration::from_secs(10);
/// Several things that go wrong together are told together.
const GATHER: Duration = Duration::from_secs(3);

/// What it looks at and whom it tells.
pub struct Watcher {
    /// The drive.
    pub vfs: Vfs,
    /// What asks the store.
    pub client: Arc<Client>,
    /// How fast bytes leave.
    pub meter: Arc<Meter>,
    /// Who started this process.
    pub service: Arc<ServiceManager>,
    /// The store's name.
    pub store: String,
    /// Whether the configuration names it, and so `assetfs login` can mend it.
    pub configured: bool,
    /// Where it is mounted.
    pub mountpoint: PathBuf,
}

impl Watcher {
    /// Looks until it is dropped.
    pub async fn run(self) {
        let mut moved = self.vfs.watch();
        let (mut desktop, mut news) = (Desktop::default(), Desktop::default());
        let mut told: BTreeSet<Attention> = BTreeSet::new();
        loop {
            moved.mark_unchanged();
            self.look_at_login();
            self.meter.note(self.client.sent_bytes());
            let mut waiting = self.waiting().await;
            if waiting.iter().any(|item| !told.contains(item)) {
                tokio::time::sleep(GATHER).await;
                waiting = self.waiting().await;
                if let Some(words) = desktop::words(&self.store, &self.mountpoint, &waiting) {
                    desktop.show(&words).await;
                }
            } else if waiting.is_empty() && !told.is_empty() {
                desktop.clear().await;
            }
            if let Some(words) = desktop::words_of_news(&self.store, &self.vfs.take_announced()) {
                news.show(&words).await;
            }
            self.service.status(&self.line(&waiting));
            told = waiting.into_iter().collect();
            let busy = self.vfs.left().changes > 0;
            let pause = if busy { LOOK_EVERY } else { IDLE_EVERY };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                changed = moved.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            }
        }
    }

    async fn waiting(&self) -> Vec<Attention> {
        self.vfs.attention().await.unwrap_or_default()
    }

    fn look_at_login(&self) {
        let trouble = login_trouble(&self.store, self.configured, &self.client.login());
        if self.vfs.set_login_trouble(trouble.clone()) {
            match trouble {
                Some(trouble) => tracing::warn!("{}; {}", trouble.reason, trouble.way_out),
                None => tracing::info!("{} takes the login again", self.store),
            }
        }
    }

    /// How the mount is, in one line.
    fn line(&self, waiting: &[Attention]) -> String {
        let left = self.vfs.left();
        let mut parts = vec![format!("{} at {}", self.store, self.mountpoint.display())];
        parts.push(match left.changes {
            0 => "everything is in the store".to_owned(),
            1 => "1 change to send".to_owned(),
            many => format!("{many} changes to send"),
        });
        match waiting.len() {
            0 => {}
            1 => parts.push("1 thing needs somebody".into()),
            many => parts.push(format!("{many} things need somebody")),
        }
        parts.join("; ")
    }
}

/// What people are to do about a login that is refused.
fn login_trouble(store: &str, configured: bool, login: &Login) -> Option<Attention> {
    match login {
        Login::Unknown | Login::Accepted => None,
        Login::Refused { since } => Some(Attention {
            path: String::new(),
            id: None,
            state: "login".into(),
            reason: format!("{store} no longer takes the login, since {since}"),
            way_out: match configured {
                true => format!("`assetfs login {store}`, then unmount and mount again; what is pending is kept"),
                false => "unmount and mount again with a key that the store takes; what is pending is kept".into(),
            },
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refused_login_is_trouble() {
        assert_eq!(login_trouble("studio", true, &Login::Unknown), None);
        assert_eq!(login_trouble("studio", true, &Login::Accepted), None);
        let since = "2026-01-02T03:04:05Z".to_owned();
        let refused = Login::Refused { since };
        let trouble = login_trouble("studio", true, &refused).unwrap();
        assert!(trouble.reason.contains("2026-01-02"), "{trouble:?}");
        assert!(trouble.way_out.contains("assetfs login studio"), "{trouble:?}");
        let unnamed = login_trouble("host-1234", false, &refused).unwrap();
        assert!(!unnamed.way_out.contains("assetfs login"), "{unnamed:?}");
    }
}
