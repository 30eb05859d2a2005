//! What only a person can move on, with the reason and the way out: one list for `status`, the file in the mount, the
//! desktop and the service manager.

use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::journal::{Change, State};
use crate::model::{Ino, Kind};

use super::Result;
use super::control::Event;
use super::vfs::{Inner, Vfs};

/// The most that the file in the mount lists.
const LISTED_MAX: usize = 1000;

/// One thing that waits for a person.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Attention {
    /// Which file, from the root of the mount; empty for the store as a whole.
    pub path: String,
    /// How commands call the change; none for what is no change.
    pub id: Option<u64>,
    /// `parked`, `held`, `conflict`, `waiting`, `login`.
    pub state: String,
    /// What happened.
    pub reason: String,
    /// What to do.
    pub way_out: String,
}

/// The most news that are kept for a desktop that does not ask.
const NEWS_MAX: usize = 100;

/// What the daemon knows and the journal does not, and what it is to tell.
#[derive(Default)]
pub(super) struct Outside {
    login: Mutex<Option<Attention>>,
    news: Mutex<Vec<Event>>,
}

impl Vfs {
    /// Everything that waits for a person: the login first, then files by path.
    pub async fn attention(&self) -> Result<Vec<Attention>> {
        self.blocking(|vfs| Ok(vfs.attention_now())).await
    }

    /// The store no longer takes the login, or takes it again. Answers whether that is news.
    pub fn set_login_trouble(&self, trouble: Option<Attention>) -> bool {
        let mut login = self.outside.login.lock();
        let news = *login != trouble;
        *login = trouble;
        news
    }

    /// What people should hear of though nothing waits for them: each once, oldest first.
    pub fn take_announced(&self) -> Vec<Event> {
        std::mem::take(&mut *self.outside.news.lock())
    }
}

impl Inner {
    /// Notes what came up for `status`, and for the desktop.
    pub(super) fn announce(&self, ino: Ino, path: String, text: &str) {
        let event = self.note_event(ino, path, text);
        let mut news = self.outside.news.lock();
        if news.len() < NEWS_MAX {
            news.push(event);
        }
    }

    /// Everything that waits for a person. Blocks.
    pub(super) fn attention_now(&self) -> Vec<Attention> {
        let (stuck, behind) = self.stuck();
        let mut listed: Vec<Attention> = stuck.iter().filter_map(|change| self.attention_of(change)).collect();
        for (change, blocker) in behind {
            let first = self.journal_path(blocker.ino);
            let (reason, way_out) = match blocker.kind == Kind::Folder && blocker.id.is_none() {
                true => (
                    format!("it waits for the folder {first}, which the store does not take"),
                    format!("settle {first} first, or `assetfs export {} FILE`", change.0),
                ),
                false => (
                    format!("it waits for {first}, which waits for you"),
                    format!("settle {first} first"),
                ),
            };
            listed.push(Attention {
                path: self.journal_path(change),
                id: Some(change.0),
                state: "waiting".into(),
                reason,
                way_out,
            });
        }
        listed.sort();
        let login = self.outside.login.lock().clone();
        login.into_iter().chain(listed).collect()
    }

    /// The changes that only the user moves on, and those that wait behind one of these.
    fn stuck(&self) -> (Vec<Change>, Vec<(Ino, Arc<Change>)>) {
        let guard = self.journal.lock();
        let overlay = guard.overlay();
        let waits = |change: &&Arc<Change>| change.waits_for_user();
        let stuck: Vec<Change> = overlay.iter().filter(waits).map(|c| Change::clone(c)).collect();
        let mut behind = Vec::new();
        if !stuck.is_empty() {
            // Of a burst of deletions each file that is held is told: the folders follow by themselves.
            let follows = |change: &Change, blocker: &Change| change.is_removal() && blocker.state == State::Held;
            for change in overlay.iter().filter(|c| c.is_scheduled() && c.is_outstanding()) {
                let blocker = Self::stuck_behind_in(overlay, change).filter(|blocker| !follows(change, blocker));
                behind.extend(blocker.map(|blocker| (change.ino, blocker)));
            }
        }
        (stuck, behind)
    }

    fn attention_of(&self, change: &Change) -> Option<Attention> {
        let id = change.ino.0;
        let whole = change.staged.as_ref().is_none_or(|staged| staged.whole);
        let (state, reason, way_out) = match &change.state {
            State::Parked { reason } if !whole => (
                "parked",
                reason.clone(),
                format!("`assetfs export {id} FILE` copies what is there, `assetfs discard {id}` gives it up"),
            ),
            State::Parked { reason } if change.staged.is_some() => (
                "parked",
                reason.clone(),
                format!(
                    "mend the reason and `assetfs retry {id}`; `assetfs export {id} FILE` copies it elsewhere, `assetfs \
                     discard {id}` gives it up"
                ),
            ),
            State::Parked { reason } => (
                "parked",
                reason.clone(),
                format!("mend the reason and `assetfs retry {id}`, or `assetfs discard {id}` gives it up"),
            ),
            State::Held => (
                "held",
                "it was deleted here in a burst of deletions, and is still in the store".to_owned(),
                format!(
                    "`assetfs approve {id}` deletes it there too (without a number: all that are held), `assetfs discard \
                     {id}` brings it back"
                ),
            ),
            State::Conflict { .. } => (
                "conflict",
                "somebody else changed the original in the store too; this is the version made here".to_owned(),
                format!("`assetfs resolve {id} --keep mine`, `--keep theirs` or `--keep both`"),
            ),
            State::Pending | State::Ambiguous { .. } | State::Settling { .. } | State::Local { .. } => return None,
        };
        Some(Attention {
            path: self.journal_path(change.ino),
            id: Some(id),
            state: state.to_owned(),
            reason,
            way_out,
        })
    }

    /// The list as people read it in the mount.
    pub(super) fn attention_text(&self) -> String {
        let now = self.clock.now().to_local("%Y-%m-%d %H:%M:%S");
        text_of(&self.attention_now(), &now)
    }
}

/// One entry a file: path, reason, way out.
fn text_of(listed: &[Attention], now: &str) -> String {
    let mut text = match listed.len() {
        0 => return format!("{now}: nothing waits for you.\n"),
        1 => format!("{now}: one thing waits for you.\n"),
        many => format!("{now}: {many} things wait for you.\n"),
    };
    for item in listed.iter().take(LISTED_MAX) {
        let place = match item.path.is_empty() {
            true => "The store",
            false => item.path.as_str(),
        };
        text.push_str(&format!(
            "\n{place}\n  {}: {}\n  way out: {}\n",
            item.state, item.reason, item.way_out
        ));
    }
    if listed.len() > LISTED_MAX {
        let more = listed.len() - LISTED_MAX;
        text.push_str(&format!("\n… and {more} more: `assetfs queue` lists them all.\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_one_entry_for_each_with_reason_and_way_out() {
        let item = |path: &str| Attention {
            path: path.into(),
            id: Some(7),
            state: "parked".into(),
            reason: "the store says no".into(),
            way_out: "`assetfs retry 7`".into(),
        };
        assert_eq!(text_of(&[], "now"), "now: nothing waits for you.\n");
        assert_eq!(
            text_of(&[item("/a.jpg"), item("")], "now"),
            "now: 2 things wait for you.\n\n/a.jpg\n  parked: the store says no\n  way out: `assetfs retry 7`\n\nThe \
             store\n  parked: the store says no\n  way out: `assetfs retry 7`\n"
        );
        let many: Vec<Attention> = (0..1200).map(|n| item(&format!("/{n}"))).collect();
        assert!(text_of(&many, "now").ends_with("… and 200 more: `assetfs queue` lists them all.\n"));
    }
}
