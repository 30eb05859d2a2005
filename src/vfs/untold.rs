//! How far the kernel has been told of what is different.
//!
//! Nobody who serves a program waits for that. But who has just been told that everything is in the store, and looks, is to see
//! what the store has, and not what the kernel remembers.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::model::Clock;

/// Notices that have been sent off and those that have been dealt with, both counted.
#[derive(Default)]
pub struct Untold {
    sent: AtomicU64,
    dealt: AtomicU64,
    /// Whether anybody deals with notices at all.
    followed: AtomicBool,
    moved: Notify,
}

impl Untold {
    /// Somebody takes notices from now on, and will say of each when it is dealt with.
    pub fn follow(&self) {
        self.followed.store(true, Ordering::SeqCst);
    }

    /// So many are dealt with: told, or found not worth telling.
    pub fn dealt_with(&self, notices: usize) {
        self.dealt.fetch_add(notices as u64, Ordering::SeqCst);
        self.moved.notify_waiters();
    }

    /// One more is on its way.
    pub(super) fn sent_off(&self) {
        self.sent.fetch_add(1, Ordering::SeqCst);
    }

    /// Whether anything is on its way.
    pub(super) fn is_behind(&self) -> bool {
        self.followed.load(Ordering::SeqCst) && self.dealt.load(Ordering::SeqCst) < self.sent.load(Ordering::SeqCst)
    }

    /// Waits until what was on its way is dealt with, but not for ever: a program may hold a notice up.
    pub(super) async fn told(&self, clock: &dyn Clock, longest: Duration) {
        if !self.followed.load(Ordering::SeqCst) {
            return;
        }
        let (all, began) = (self.sent.load(Ordering::SeqCst), clock.elapsed());
        loop {
            let moved = self.moved.notified();
            let left = longest.saturating_sub(clock.elapsed().saturating_sub(began));
            if self.dealt.load(Ordering::SeqCst) >= all || left.is_zero() {
                return;
            }
            tokio::select! {
                () = moved => {}
                () = clock.sleep(left) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{ManualClock, Timestamp};

    #[tokio::test]
    async fn waits_for_what_was_on_its_way_and_for_no_more() {
        let clock = ManualClock::starting(Timestamp::from_secs(0));
        let untold = Arc::new(Untold::default());
        untold.sent_off();
        untold.told(&*clock, Duration::from_secs(9)).await; // Nobody deals with it.
        untold.follow();
        untold.sent_off();
        let waiting = {
            let (untold, clock) = (untold.clone(), clock.clone());
            tokio::spawn(async move { untold.told(&*clock, Duration::from_secs(9)).await })
        };
        tokio::task::yield_now().await;
        untold.sent_off();
        untold.dealt_with(1);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        untold.dealt_with(1);
        waiting.await.expect("not the third one");
    }
}
