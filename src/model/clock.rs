//! Time as an argument: nothing else in the crate asks the system for it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::Timestamp;

/// Tells the time and waits.
pub trait Clock: Send + Sync + 'static {
    /// The wall clock, for what people and stores see.
    fn now(&self) -> Timestamp;
    /// Time since the clock was made; never goes back.
    fn elapsed(&self) -> Duration;
    /// Waits for `span`.
    fn sleep(&self, span: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// A shared clock.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clock.
pub struct SystemClock {
    start: std::time::Instant,
}

impl SystemClock {
    /// The clock of a running program.
    pub fn shared() -> SharedClock {
        Arc::new(Self {
            start: std::time::Instant::now(),
        })
    }
}

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods)] // The one home of the wall clock.
    fn now(&self) -> Timestamp {
        std::time::SystemTime::now().into()
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep(&self, span: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(tokio::time::sleep(span))
    }
}

/// A clock that moves only when a test says so.
pub struct ManualClock {
    start: Mutex<Timestamp>,
    elapsed: Mutex<Duration>,
    moved: watch::Sender<Duration>,
}

impl ManualClock {
    /// Starts at `start` and stands still.
    pub fn starting(start: Timestamp) -> Arc<Self> {
        Arc::new(Self {
            start: Mutex::new(start),
            elapsed: Mutex::new(Duration::ZERO),
            moved: watch::Sender::new(Duration::ZERO),
        })
    }

    /// Moves time forward and wakes who waits.
    pub fn advance(&self, span: Duration) {
        let now = {
            let mut elapsed = self.elapsed.lock();
            *elapsed += span;
            *elapsed
        };
        self.moved.send_replace(now);
    }

    /// Sets the wall clock ahead, as somebody does, or the sleep of the machine: who waits has not come closer to the end.
    pub fn jump(&self, span: Duration) {
        let mut start = self.start.lock();
        *start = start.plus(span);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.start.lock().plus(*self.elapsed.lock())
    }

    fn elapsed(&self) -> Duration {
        *self.elapsed.lock()
    }

    fn sleep(&self, span: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            let mut moved = self.moved.subscribe();
            let until = self.elapsed() + span;
            // The sender lives as long as `self`, so waiting cannot fail.
            if moved.wait_for(|now| *now >= until).await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_manual_clock_wakes_sleepers_when_it_is_moved() {
        let clock = ManualClock::starting(Timestamp::from_secs(100));
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep(Duration::from_secs(5)).await }
        });
        // It falls asleep first: its five seconds begin when it is polled.
        tokio::task::yield_now().await;
        clock.advance(Duration::from_secs(4));
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        clock.advance(Duration::from_secs(1));
        sleeper.await.expect("no panic");
        assert_eq!(clock.now(), Timestamp::from_secs(105));
    }
}
