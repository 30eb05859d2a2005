//! What the uploader does when a step has failed.

use std::sync::Arc;
use std::time::Duration;

use crate::model::{Ino, Timestamp};
use crate::store::{ErrorKind, Retry, StoreError};

use super::doubt::still_wanted;
use super::outcome::{self, MISSING_AGE_MIN, Verdict};
use super::plan::Step;
use super::uploader::{Uploader, waited};
use super::{Change, Durability, State, Write};

/// How long what was cancelled here rests at least: it may be for want of room to note it.
const CANCELLED_PAUSE: Duration = Duration::from_secs(1);

impl Uploader {
    /// Judges a failure, and does what follows from it.
    pub(super) async fn failed(&self, change: &Change, step: &Step, error: &StoreError) {
        if *self.stop.borrow() && error.kind == ErrorKind::Network && error.retry == Retry::Never {
            // It was not sent because the mount ends, which is no failure: the next mount begins where this one stopped.
            return;
        }
        let change = &self.seated(change);
        let now = self.clock.now();
        let verdict = self.verdict(change, step, error, now).await;
        if self.journal.change(change.ino).is_some() {
            tell(change, &verdict, error);
        } else {
            tracing::debug!(ino = change.ino.0, ?verdict, "of what is gone by now: {error}");
        }
        let note = |noted: &mut Change, at: Timestamp| note(noted, change, step, error, at);
        let result = match verdict {
            Verdict::Later(at) => {
                self.update(change.ino, Durability::Written, |c| {
                    if error.kind == ErrorKind::Cancelled {
                        c.resume = None;
                        c.ready_at = c.ready_at.max(now.plus(CANCELLED_PAUSE));
                    } else {
                        note(c, at);
                    }
                });
                Ok(())
            }
            Verdict::Look(at) => {
                self.update(change.ino, Durability::Synced, |c| {
                    note(c, at);
                    if !matches!(c.state, State::Ambiguous { .. }) {
                        c.state = State::Ambiguous { at: now };
                    }
                });
                Ok(())
            }
            Verdict::Missing(at) => {
                self.update(change.ino, Durability::Written, |c| {
                    note(c, at);
                    c.missing_since.get_or_insert(now);
                });
                Ok(())
            }
            Verdict::Gone => match step {
                Step::RemoveLeftover(_) => self.finish(change, step, None, None).await,
                _ => self.removed(change).await,
            },
            Verdict::Conflict => {
                let before = self.journal.change(change.ino);
                let done = self.conflicted(change).await;
                let after = self.journal.change(change.ino);
                if before
                    .zip(after)
                    .is_some_and(|(before, after)| Arc::ptr_eq(&before, &after))
                {
                    // Whatever it is, asking again at once does not change it.
                    let at = outcome::pause(change, now, rand::random::<f64>());
                    self.update(change.ino, Durability::Written, |c| note(c, at));
                }
                done
            }
            Verdict::Park(reason) => {
                self.update(change.ino, Durability::Written, |c| {
                    forget_refused_move(c, change, step, error);
                });
                self.park(change.ino, reason);
                Ok(())
            }
            Verdict::Restore(reason) => match step {
                Step::RemoveLeftover(_) => self.keep_both(change, step, &reason).await,
                _ => self.restore(change, &reason).await,
            },
        };
        if let Err(e) = result {
            tracing::error!(ino = change.ino.0, "{e}");
            let at = now.plus(Duration::from_secs(60));
            self.update(change.ino, Durability::Written, |c| note(c, at));
        }
    }

    /// A change that was sent, as that of the inode which the item has by now.
    fn seated(&self, sent: &Change) -> Change {
        Change {
            ino: self.seat_of(sent),
            ..sent.clone()
        }
    }

    /// The node of a change that was sent, which may have got another inode meanwhile.
    pub(super) fn seat_of(&self, sent: &Change) -> Ino {
        let guard = self.journal.lock();
        let overlay = guard.overlay();
        let moved = || overlay.by_id(sent.id.as_ref()?).filter(|now| still_wanted(now, sent));
        match overlay.get(sent.ino) {
            Some(_) => sent.ino,
            None => moved().map_or(sent.ino, |now| now.ino),
        }
    }

    /// What follows from a failure.
    async fn verdict(&self, change: &Change, step: &Step, error: &StoreError, now: Timestamp) -> Verdict {
        if error.kind == ErrorKind::Exists && self.is_ours_for_now(change, step).await {
            return outcome::again(change, now, rand::random::<f64>());
        }
        match outcome::failed(change, step, error, now, rand::random::<f64>()) {
            Verdict::Park(_) | Verdict::Restore(_) if self.is_wanted_otherwise(change) => Verdict::Later(now),
            Verdict::Gone if self.may_be_a_miss(change, now) => Verdict::Missing(now.plus(MISSING_AGE_MIN)),
            verdict => verdict,
        }
    }

    /// Whether "not found" may be said of something that is there: by a store whose answers lag, for the first time, and
    /// not because of an earlier request of ours.
    fn may_be_a_miss(&self, change: &Change, now: Timestamp) -> bool {
        let lags = !self.capabilities().listing_lag_max.is_zero();
        let told_before = change
            .missing_since
            .is_some_and(|since| now.since(since) >= MISSING_AGE_MIN);
        lags && !told_before && change.removing.is_none()
    }

    /// Whether a program has renamed, rewritten or removed the node since `sent` went out: then its refusal says nothing about
    /// what is to be sent now.
    fn is_wanted_otherwise(&self, sent: &Change) -> bool {
        let guard = self.journal.lock();
        guard.overlay().get(sent.ino).is_none_or(|now| {
            let names = |change: &Change| change.placing.as_ref().map(|placing| placing.now.clone());
            let bytes = |change: &Change| change.staged.as_ref().map(|staged| staged.generation);
            names(now) != names(sent) || bytes(now) != bytes(sent)
        })
    }

    pub(super) fn park(&self, ino: Ino, reason: String) {
        self.world.problem(ino, &reason);
        self.update(ino, Durability::Synced, |change| {
            change.last_error = Some(reason.clone());
            change.state = State::Parked { reason };
        });
    }

    /// A deletion that the store refuses: the node is there again.
    async fn restore(&self, change: &Change, reason: &str) -> Result<(), StoreError> {
        self.world.problem(change.ino, reason);
        let ticket = self.journal.write(vec![Write::Drop(change.ino)], Durability::Written);
        waited(ticket).await?;
        self.world.restored(change.ino).await;
        Ok(())
    }

    /// What was replaced cannot be removed. It is a file of its own from then on, and what else is wanted of the node, whose
    /// bytes have arrived, stands.
    pub(super) async fn keep_both(&self, change: &Change, step: &Step, reason: &str) -> Result<(), StoreError> {
        self.finish(change, step, None, None).await?;
        self.world
            .problem(change.ino, &format!("what it replaced stays beside it: {reason}"));
        self.world.stays(change.ino).await;
        Ok(())
    }
}

/// What a failure says in the log.
fn tell(change: &Change, verdict: &Verdict, error: &StoreError) {
    match verdict {
        // Told once, with the path, as a problem.
        Verdict::Park(_) | Verdict::Restore(_) | Verdict::Conflict => {
            tracing::debug!(ino = change.ino.0, ?verdict, "{error}");
        }
        Verdict::Later(_) | Verdict::Look(_) | Verdict::Gone | Verdict::Missing(_) => {
            if error.kind != ErrorKind::Cancelled {
                tracing::warn!(ino = change.ino.0, ?verdict, "{error}");
            }
        }
    }
}

/// Notes in a change that `step`, which was planned of `sent`, has failed, and that it is tried again at `at`.
fn note(change: &mut Change, sent: &Change, step: &Step, error: &StoreError, at: Timestamp) {
    // What fails on this machine may do so after the store has answered.
    let is_certain = error.retry != Retry::Ambiguous && error.kind != ErrorKind::Local;
    let was_in_doubt = sent.unanswered.is_some();
    // The request was refused, so nothing was made. An upload that goes on by its number may have been published all the
    // same, unless it is this one that was refused, and for good. A look that fails says nothing about what it looks for.
    let is_settled = change.resume.is_none() || !was_in_doubt && is_final(&error.kind);
    match step {
        Step::Create { .. } | Step::CreateFolder { .. } | Step::Reupload { .. } if is_certain && is_settled => {
            change.unanswered = None;
        }
        _ => {}
    }
    forget_refused_move(change, sent, step, error);
    change.attempts = change.attempts.saturating_add(1);
    change.last_error = Some(error.to_string());
    change.ready_at = change.ready_at.max(at);
}

/// A move is sent again by itself, also when its answer was lost: only a refusal says that nothing was moved, and that only of
/// this time.
fn forget_refused_move(change: &mut Change, sent: &Change, step: &Step, error: &StoreError) {
    let is_certain = error.retry != Retry::Ambiguous && is_refusal(&error.kind);
    if matches!(step, Step::Relocate { .. }) && is_certain && sent.asked_move().is_none() {
        change.unconfirmed.retain(|note| !note.is_move());
    }
}

/// Whether a store says by this that it does not take something.
pub(super) fn is_final(kind: &ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Denied | ErrorKind::Invalid | ErrorKind::Exists | ErrorKind::TooLarge | ErrorKind::Unsupported
    )
}

/// Whether a store says by this that it has not done what it was asked for.
fn is_refusal(kind: &ErrorKind) -> bool {
    match kind {
        ErrorKind::NotFound
        | ErrorKind::Conflict
        | ErrorKind::NotEmpty
        | ErrorKind::Full
        | ErrorKind::Expired
        | ErrorKind::Busy
        | ErrorKind::Unauthenticated
        | ErrorKind::Throttled { .. }
        | ErrorKind::QuotaExhausted { .. } => true,
        ErrorKind::NotReady
        | ErrorKind::Network
        | ErrorKind::Timeout
        | ErrorKind::Server
        | ErrorKind::Protocol
        | ErrorKind::Local
        | ErrorKind::Cancelled => false,
        other => is_final(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Begun, Unanswered};
    use crate::model::{ItemId, Kind, Name};
    use crate::store::Resume;

    /// What is left of the note that a file may have been made.
    fn in_doubt_after(resumes: bool, was_in_doubt: bool, kind: ErrorKind, retry: Retry) -> bool {
        let at = Timestamp::from_secs(5);
        let mut sent = Change::of(Ino(7), Kind::File, None, 1, at);
        let note_of_it = Unanswered {
            at,
            sent: Box::new(sent.clone()),
            bytes: None,
            moved: None,
        };
        sent.unanswered = was_in_doubt.then(|| note_of_it.clone());
        let mut now = sent.clone();
        now.unanswered = Some(note_of_it);
        let upload = Resume {
            upload: "u".into(),
            chunks: vec![1],
            chunk_bytes: 4,
            fields_told: false,
            half_done: false,
        };
        now.resume = resumes.then(|| Begun {
            upload,
            fields: Default::default(),
            name: None,
        });
        let step = Step::Create {
            parent: ItemId::new("folder:1"),
            name: Name::new("a").expect("valid"),
        };
        let error = StoreError::new(kind, "create", "a").retry(retry);
        note(&mut now, &sent, &step, &error, at);
        now.unanswered.is_some()
    }

    /// The first one may have been carried out: a refusal of the second was taken for one of both.
    #[test]
    fn a_move_that_is_refused_the_second_time_is_still_looked_into() {
        let at = Timestamp::from_secs(5);
        let asked = Change::of(Ino(7), Kind::File, Some(ItemId::new("file:1")), 1, at);
        let step = Step::Relocate {
            name: Some(Name::new("b").expect("valid")),
            left: Vec::new(),
            entered: Vec::new(),
            swapping: false,
        };
        let throttled = StoreError::new(ErrorKind::Throttled { until: None }, "move", "a");
        let lost = StoreError::new(ErrorKind::Network, "move", "a");
        for (was_asked, error, is_asked) in [
            (false, &throttled, false),
            (true, &throttled, true),
            (false, &lost, true),
            (true, &lost, true),
        ] {
            let mut now = asked.clone();
            now.unconfirmed.push(Unanswered {
                at,
                sent: Box::new(asked.clone()),
                bytes: None,
                moved: None,
            });
            let sent = if was_asked { now.clone() } else { asked.clone() };
            note(&mut now, &sent, &step, error, at);
            assert_eq!(now.asked_move().is_some(), is_asked, "{was_asked}, {error}");
        }
    }

    /// The last chunk of an upload may be sent again by its number, so that a lost answer is no doubt for the store: whether
    /// it has published the file is one all the same, once the upload is not gone on with.
    #[test]
    fn an_upload_that_may_have_been_published_is_looked_for() {
        let later = Retry::After(Duration::from_secs(1));
        assert!(in_doubt_after(true, false, ErrorKind::Network, later));
        assert!(in_doubt_after(true, false, ErrorKind::NotReady, later));
        assert!(in_doubt_after(true, true, ErrorKind::Denied, Retry::Never));
        assert!(in_doubt_after(false, false, ErrorKind::Network, Retry::Ambiguous));
        assert!(in_doubt_after(false, false, ErrorKind::Local, Retry::Never));
        assert!(!in_doubt_after(false, false, ErrorKind::Network, later));
        assert!(!in_doubt_after(true, false, ErrorKind::Denied, Retry::Never));
    }
}
