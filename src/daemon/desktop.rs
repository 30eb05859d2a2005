//! What people see on their desktop: one notification a mount for what waits for them, and one for what came up. Each is
//! replaced, and not followed by another.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use zbus::zvariant::Value;

use crate::vfs::{Attention, Event};

/// The service, its object and its interface have names of one family.
const SERVICE: &str = "org.freedesktop.Notifications";
const OBJECT: &str = "/org/freedesktop/Notifications";

/// How long the bus may take.
const BUS_DEADLINE: Duration = Duration::from_secs(10);

/// Files that one notification names.
const NAMED_MAX: usize = 3;

/// What a notification says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// The first line.
    pub summary: String,
    /// The rest.
    pub body: String,
}

/// One notification of a mount.
#[derive(Default)]
pub struct Desktop {
    bus: Option<zbus::Connection>,
    /// The one that is shown.
    shown: u32,
}

impl Desktop {
    /// Shows this in the place of what was shown before. Without a session bus nobody is told.
    pub async fn show(&mut self, words: &Words) {
        match tokio::time::timeout(BUS_DEADLINE, self.notify(words)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(%error, "no notification could be shown");
                // The desktop may have been restarted: the next one looks for its bus anew.
                self.bus = None;
            }
            Err(_) => self.bus = None,
        }
    }

    /// Takes away what is shown.
    pub async fn clear(&mut self) {
        let (Some(bus), shown) = (&self.bus, std::mem::take(&mut self.shown)) else {
            return;
        };
        if shown == 0 {
            return;
        }
        let which = (shown,);
        let closed = bus.call_method(Some(SERVICE), OBJECT, Some(SERVICE), "CloseNotification", &which);
        if !matches!(tokio::time::timeout(BUS_DEADLINE, closed).await, Ok(Ok(_))) {
            tracing::debug!("the notification was gone already");
        }
    }

    async fn notify(&mut self, words: &Words) -> zbus::Result<()> {
        if self.bus.is_none() && !has_session_bus() {
            return Ok(());
        }
        let bus = match &self.bus {
            Some(bus) => bus,
            None => self.bus.insert(zbus::connection::Builder::session()?.build().await?),
        };
        let hints: HashMap<&str, Value<'_>> = [
            ("desktop-entry", Value::from("assetfs")),
            ("category", Value::from("transfer.error")),
        ]
        .into();
        let none: [&str; 0] = [];
        let answer = bus
            .call_method(
                Some(SERVICE),
                OBJECT,
                Some(SERVICE),
                "Notify",
                &(
                    "assetfs",
                    self.shown,
                    "dialog-warning",
                    words.summary.as_str(),
                    words.body.as_str(),
                    &none[..],
                    hints,
                    -1_i32,
                ),
            )
            .await?;
        self.shown = answer.body().deserialize()?;
        Ok(())
    }
}

fn has_session_bus() -> bool {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    set("DBUS_SESSION_BUS_ADDRESS").is_some()
        || set("XDG_RUNTIME_DIR").is_some_and(|folder| Path::new(&folder).join("bus").exists())
}

/// One notification for everything that waits; none when nothing does.
pub fn words(store: &str, mountpoint: &Path, waiting: &[Attention]) -> Option<Words> {
    let files = waiting.iter().filter(|item| item.id.is_some()).count();
    let login = waiting.iter().find(|item| item.id.is_none());
    let summary = match (files, login) {
        (0, None) => return None,
        (0, Some(_)) => format!("{store} no longer takes the login"),
        (1, _) => format!("A file in {store} needs you"),
        (many, _) => format!("{many} files in {store} need you"),
    };
    let told = waiting.iter().map(|item| (item.path.as_str(), item.reason.as_str()));
    let mut lines = lines(told, "");
    let listed = mountpoint.join(".assetfs/problems.txt");
    lines.push(format!("What to do: {}", escaped(&listed.display().to_string())));
    Some(Words {
        summary,
        body: lines.join("\n"),
    })
}

/// One notification for everything that came up and asks nothing of anybody; none when nothing did.
pub fn words_of_news(store: &str, news: &[Event]) -> Option<Words> {
    let summary = match news {
        [] => return None,
        [one] if one.path.is_empty() => format!("About {store}"),
        [_] => format!("About a file in {store}"),
        many => format!("{} things about {store}", many.len()),
    };
    let told = news.iter().map(|event| (event.path.as_str(), event.text.as_str()));
    Some(Words {
        summary,
        body: lines(told, &format!(": assetfs status {store}")).join("\n"),
    })
}

/// A line each for the first of these paths and texts, and one for how many more there are, and `where_` they stand.
fn lines<'a>(told: impl ExactSizeIterator<Item = (&'a str, &'a str)>, where_: &str) -> Vec<String> {
    let more = told.len().saturating_sub(NAMED_MAX);
    let named = told.take(NAMED_MAX).map(|(path, text)| match path.rsplit_once('/') {
        Some((_, name)) => format!("{}: {}", escaped(name), escaped(text)),
        None => escaped(text),
    });
    let more = (more > 0).then(|| format!("… and {more} more{where_}"));
    named.chain(more).collect()
}

/// The body may hold markup, so what people named their files must not be read as such.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(path: &str, id: Option<u64>) -> Attention {
        Attention {
            path: path.into(),
            id,
            state: "parked".into(),
            reason: "refused <b>".into(),
            way_out: "retry".into(),
        }
    }

    #[test]
    fn everything_that_waits_is_one_notification() {
        let place = Path::new("/mnt/studio");
        assert_eq!(words("studio", place, &[]), None);
        let one = words("studio", place, &[waits("/Press/a&b.jpg", Some(7))]).unwrap();
        assert_eq!(one.summary, "A file in studio needs you");
        assert_eq!(
            one.body,
            "a&amp;b.jpg: refused &lt;b&gt;\nWhat to do: /mnt/studio/.assetfs/problems.txt"
        );
        let many: Vec<Attention> = (1..=5).map(|n| waits(&format!("/{n}"), Some(n))).collect();
        let many = words("studio", place, &many).unwrap();
        assert_eq!(many.summary, "5 files in studio need you");
        assert_eq!(many.body.lines().count(), 5);
        assert!(many.body.contains("… and 2 more"));
        let login = words("studio", place, &[waits("", None)]).unwrap();
        assert_eq!(login.summary, "studio no longer takes the login");
    }

    #[test]
    fn everything_that_came_up_is_one_notification() {
        let event = |path: &str| Event {
            at: "now".into(),
            path: path.into(),
            text: "the store made it smaller".into(),
        };
        assert_eq!(words_of_news("studio", &[]), None);
        let one = words_of_news("studio", &[event("/Press/a.jpg")]).unwrap();
        assert_eq!(one.summary, "About a file in studio");
        assert_eq!(one.body, "a.jpg: the store made it smaller");
        assert_eq!(
            words_of_news("studio", &[event("")]).unwrap().body,
            "the store made it smaller"
        );
        let many = words_of_news("studio", &vec![event("/a.jpg"); 5]).unwrap();
        assert_eq!(many.summary, "5 things about studio");
        assert!(
            many.body.ends_with("… and 2 more: assetfs status studio"),
            "{}",
            many.body
        );
    }
}
