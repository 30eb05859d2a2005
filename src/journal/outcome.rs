//! What is left of a change after a step succeeded or failed. Pure.

use std::time::Duration;

use crate::model::{ContentVersion, Entry, ItemId, Timestamp};
use crate::store::{ErrorKind, Retry, StoreError};

use super::plan::Step;
use super::{Change, KnownItem, Placing, State};

/// Longest pause between two tries.
const BACKOFF_MAX: Duration = Duration::from_secs(300);
/// How long "not found" must hold before it is believed.
pub const MISSING_AGE_MIN: Duration = Duration::from_secs(60);
/// The change after `step` was carried out as planned on `sent`, while the user may have gone on to `current`.
/// `before` is the version that the store had until then.
pub fn succeeded(
    current: &Change,
    sent: &Change,
    step: &Step,
    entry: Option<&Entry>,
    before: Option<&ContentVersion>,
) -> Change {
    let mut left = current.clone();
    left.attempts = 0;
    left.last_error = None;
    left.missing_since = None;
    if matches!(
        step,
        Step::Create { .. } | Step::CreateFolder { .. } | Step::Reupload { .. }
    ) {
        left.unanswered = None;
    }
    if let Step::Replace { .. } = step {
        left.unconfirmed.clear();
        left.half_done = None;
    }
    if let State::Ambiguous { .. } | State::Local { .. } = left.state {
        left.state = State::Pending;
    }
    if let Some(entry) = entry {
        left.id = Some(entry.id.clone());
    }
    if let (Some(entry), Some(before), Some(staged)) = (entry, before, &mut left.staged)
        && staged.base.as_ref() == Some(before)
    {
        // A change of our own that moved the version is no conflict for the bytes that follow.
        staged.base = Some(entry.version.clone());
    }
    match step {
        Step::CreateFolder { .. } => created(&mut left, sent),
        Step::Create { .. } => {
            created(&mut left, sent);
            sent_bytes(&mut left, sent, entry);
            sent_fields(&mut left, sent);
            left.copy_of = None;
        }
        Step::Reupload { .. } => {
            created(&mut left, sent);
            sent_bytes(&mut left, sent, entry);
            sent_fields(&mut left, sent);
            let old = sent.id.clone().filter(|old| Some(old) != left.id.as_ref());
            let based_on = sent.staged.as_ref().and_then(|staged| staged.base.as_ref());
            left.leftovers.extend(old.map(|id| KnownItem {
                id,
                version: based_on.or(before).cloned(),
                size: None,
            }));
        }
        Step::Replace { name } => {
            if name.is_some() {
                placed(&mut left, sent);
            }
            sent_bytes(&mut left, sent, entry);
        }
        Step::Relocate { name, swapping, .. } => {
            // Where the name needs the bytes, only the folders have changed so far.
            let old = sent.placing.as_ref().filter(|p| p.renamed().is_some());
            let old = old.and_then(|p| p.base.first()).map(|place| &place.name);
            let stored = match name {
                Some(name) => Some(name).filter(|_| *swapping),
                None => old,
            };
            relocated(&mut left, sent, stored);
            left.unconfirmed.retain(|note| !note.is_move());
            // Where ids are paths it is another item by now; what may have been done to it was done to this one.
            for note in &mut left.unconfirmed {
                note.sent.id.clone_from(&left.id);
            }
        }
        Step::RemoveLeftover(old) => left.leftovers.retain(|other| other != old),
        Step::SetFields => sent_fields(&mut left, sent),
        Step::Remove { .. }
        | Step::Done
        | Step::Forget
        | Step::Idle
        | Step::WaitUntil(_)
        | Step::WaitFor(_)
        | Step::DecideClaim(_)
        | Step::TakeBytes(_)
        | Step::Look { .. }
        | Step::RollBack
        | Step::KeepLocal(_)
        | Step::Park(_) => {}
    }
    left
}

/// A new item is in one folder; the others follow.
fn created(left: &mut Change, sent: &Change) {
    let Some(wanted) = &sent.placing else { return };
    let done: Vec<_> = wanted.now.iter().take(1).cloned().collect();
    match &mut left.placing {
        Some(placing) => placing.base = done,
        None => {
            left.placing = Some(Placing {
                base: done,
                now: wanted.now.clone(),
            })
        }
    }
}

fn placed(left: &mut Change, sent: &Change) {
    let done = sent.placing.as_ref().map(|p| p.now.clone()).unwrap_or_default();
    match &mut left.placing {
        Some(placing) => placing.base = done,
        None => left.placing = sent.placing.as_ref().map(|p| Placing::unmoved(p.now.clone())),
    }
}

/// The folders are as they were wanted, and the name too unless the store has another one: `stored`.
fn relocated(left: &mut Change, sent: &Change, stored: Option<&crate::model::Name>) {
    let Some(wanted) = &sent.placing else { return };
    let mut done = wanted.now.clone();
    if let Some(name) = stored {
        for place in &mut done {
            place.name = name.clone();
        }
    }
    if let Some(placing) = &mut left.placing {
        placing.base = done;
    }
}

fn sent_bytes(left: &mut Change, sent: &Change, entry: Option<&Entry>) {
    left.resume = None;
    let same = match (&left.staged, &sent.staged) {
        (Some(now), Some(then)) => now.body == then.body && now.generation == then.generation,
        (None, _) | (_, None) => false,
    };
    if same {
        left.staged = None;
    } else if let Some(staged) = &mut left.staged {
        // Newer bytes came meanwhile: they are based on what has just been published.
        staged.base = entry.map(|e| e.version.clone()).or(staged.base.take());
    }
}

fn sent_fields(left: &mut Change, sent: &Change) {
    for (field, values) in &sent.fields {
        if left.fields.get(field) == Some(values) {
            left.fields.remove(field);
        }
    }
}

/// What becomes of a change that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Try again at that time.
    Later(Timestamp),
    /// Ask the store whether it was carried out, at that time.
    Look(Timestamp),
    /// It is gone in the store: for a removal that is success.
    Gone,
    /// "Not found" for the first time: ask again then.
    Missing(Timestamp),
    /// Somebody else's version is there.
    Conflict,
    /// Only the user can help.
    Park(String),
    /// The node is shown again, and the user told.
    Restore(String),
}

/// Judges a failure. `jitter` lies in 0..1.
pub fn failed(change: &Change, step: &Step, error: &StoreError, now: Timestamp, jitter: f64) -> Verdict {
    let later = match (&error.kind, error.retry) {
        (ErrorKind::QuotaExhausted { until }, _) | (ErrorKind::Throttled { until: Some(until) }, _) => *until,
        (_, Retry::After(least)) => now.plus(least.max(backoff(change.attempts, jitter))),
        (_, Retry::Never | Retry::Ambiguous) => now.plus(backoff(change.attempts, jitter)),
    };
    let creates = matches!(
        step,
        Step::Create { .. } | Step::CreateFolder { .. } | Step::Reupload { .. }
    );
    if error.retry == Retry::Ambiguous && creates {
        return Verdict::Look(later);
    }
    if matches!(step, Step::RollBack) {
        return Verdict::Later(later);
    }
    let removal = matches!(step, Step::Remove { .. } | Step::RemoveLeftover(_));
    match &error.kind {
        ErrorKind::NotFound if removal => Verdict::Gone,
        ErrorKind::NotFound => match change.missing_since {
            Some(since) if now.since(since) >= MISSING_AGE_MIN => Verdict::Park(match step {
                Step::Create { .. } | Step::CreateFolder { .. } => "its folder is gone in the store".into(),
                _ => "somebody removed it in the store".into(),
            }),
            _ => Verdict::Missing(now.plus(MISSING_AGE_MIN)),
        },
        ErrorKind::Conflict => Verdict::Conflict,
        ErrorKind::Denied
        | ErrorKind::Invalid
        | ErrorKind::Exists
        | ErrorKind::NotEmpty
        | ErrorKind::TooLarge
        | ErrorKind::Full
        | ErrorKind::Unsupported
        | ErrorKind::Expired
        | ErrorKind::Local => refused(removal, error),
        ErrorKind::Busy if removal => refused(removal, error),
        ErrorKind::Unauthenticated
        | ErrorKind::Busy
        | ErrorKind::Throttled { .. }
        | ErrorKind::QuotaExhausted { .. }
        | ErrorKind::NotReady
        | ErrorKind::Network
        | ErrorKind::Timeout
        | ErrorKind::Server
        | ErrorKind::Protocol => Verdict::Later(later),
        // Newer bytes overtook the upload: they set their own time.
        ErrorKind::Cancelled => Verdict::Later(now),
    }
}

/// When a change is to be tried again.
pub fn pause(change: &Change, now: Timestamp, jitter: f64) -> Timestamp {
    now.plus(backoff(change.attempts, jitter))
}

/// One more try, after a pause.
pub fn again(change: &Change, now: Timestamp, jitter: f64) -> Verdict {
    Verdict::Later(pause(change, now, jitter))
}

fn refused(removal: bool, error: &StoreError) -> Verdict {
    if removal {
        Verdict::Restore(error.to_string())
    } else {
        Verdict::Park(error.to_string())
    }
}

/// 1 s, doubling to 5 min, give or take a quarter.
fn backoff(attempts: u32, jitter: f64) -> Duration {
    let base = Duration::from_secs(1 << attempts.min(9)).min(BACKOFF_MAX);
    base.mul_f64(0.75 + 0.5 * jitter)
}

/// What is kept of a change with nothing left to send: its names, until the listings have caught up with them.
pub fn settled(mut change: Change, now: Timestamp, lag: Duration) -> Option<Change> {
    let (at, until) = (change.placed_at?, change.settles_at(lag)?);
    if until <= now || change.placing.is_none() {
        return None;
    }
    change.state = State::Settling { at };
    change.ready_at = until;
    if let Some(placing) = &mut change.placing {
        placing.base = placing.now.clone();
    }
    Some(change)
}

/// A removal that was carried out.
pub fn removed(current: &Change, id: &ItemId, now: Timestamp, lag: Duration) -> Option<Change> {
    let mut gone = current.clone();
    gone.id = Some(id.clone());
    gone.staged = None;
    gone.fields.clear();
    gone.placed_at = Some(now);
    settled(gone, now, lag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Phase, Place, Staged};
    use crate::model::{Ino, Kind, Name};

    #[test]
    fn tries_begin_a_second_apart_and_end_five_minutes_apart() {
        let now = Timestamp::from_secs(1000);
        let mut change = file();
        let mut pauses = Vec::new();
        for attempts in 0..12 {
            change.attempts = attempts;
            pauses.push(pause(&change, now, 0.5).since(now).as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        change.attempts = u32::MAX;
        let spread = [0.0, 1.0].map(|jitter| pause(&change, now, jitter).since(now).as_secs());
        assert_eq!(spread, [225, 375], "not all at once");
    }

    fn file() -> Change {
        let mut change = Change::of(
            Ino(9),
            Kind::File,
            Some(ItemId::new("file:1")),
            1,
            Timestamp::from_secs(0),
        );
        let place = Place {
            parent: Ino(1),
            name: Name::new("a").expect("valid"),
        };
        change.placing = Some(Placing::unmoved(vec![place]));
        change.staged = Some(Staged {
            body: "b".into(),
            size: 1,
            base: None,
            phase: Phase::Closed,
            whole: true,
            generation: 1,
        });
        change
    }

    #[test]
    fn newer_bytes_are_sent_again_on_top_of_what_was_published() {
        let sent = file();
        let mut current = sent.clone();
        current.staged.as_mut().expect("staged").generation = 2;
        let entry = Entry::file(ItemId::new("file:1"), "a", vec![], 1, ContentVersion::new("v2"));
        let left = succeeded(&current, &sent, &Step::Replace { name: None }, Some(&entry), None);
        assert_eq!(left.staged.and_then(|s| s.base), Some(ContentVersion::new("v2")));
        let done = succeeded(&sent, &sent, &Step::Replace { name: None }, Some(&entry), None);
        assert!(done.is_empty());
    }

    #[test]
    fn a_field_set_again_meanwhile_is_sent_again() {
        let mut sent = file();
        sent.fields.insert("x".into(), vec!["1".into()]);
        sent.fields.insert("y".into(), vec!["1".into()]);
        let mut current = sent.clone();
        current.fields.insert("x".into(), vec!["2".into()]);
        let left = succeeded(&current, &sent, &Step::SetFields, None, None);
        assert_eq!(left.fields.keys().collect::<Vec<_>>(), ["x"]);
    }

    #[test]
    fn one_miss_is_not_a_deletion() {
        let error = StoreError::new(ErrorKind::NotFound, "replace", "file:1");
        let now = Timestamp::from_secs(1000);
        let mut change = file();
        let step = Step::Replace { name: None };
        assert_eq!(
            failed(&change, &step, &error, now, 0.5),
            Verdict::Missing(Timestamp::from_secs(1060))
        );
        change.missing_since = Some(Timestamp::from_secs(930));
        assert!(matches!(failed(&change, &step, &error, now, 0.5), Verdict::Park(_)));
        assert_eq!(
            failed(&change, &Step::Remove { left: vec![] }, &error, now, 0.5),
            Verdict::Gone
        );
    }

    #[test]
    fn a_lost_answer_to_a_create_is_looked_into_and_a_busy_server_asked_later() {
        let now = Timestamp::from_secs(1000);
        let lost = StoreError::new(ErrorKind::Timeout, "create", "").retry(Retry::Ambiguous);
        let create = Step::Create {
            parent: ItemId::new("folder:1"),
            name: Name::new("a").expect("valid"),
        };
        assert!(matches!(failed(&file(), &create, &lost, now, 0.5), Verdict::Look(_)));
        let mut change = file();
        change.attempts = 30;
        let down = StoreError::new(ErrorKind::Network, "create", "").retry(Retry::After(Duration::from_secs(2)));
        assert_eq!(
            failed(&change, &create, &down, now, 0.5),
            Verdict::Later(Timestamp::from_secs(1300))
        );
    }
}
