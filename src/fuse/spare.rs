//! Threads that read the kernel's requests, and may do a short work themselves: handing it to another thread and waking that
//! takes longer than most of it. Some are never lent, so that a slow disk keeps nobody from being heard.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Threads that read requests.
pub const THREADS: usize = 4;

/// Those among them that read on whatever happens.
const THREADS_KEPT: usize = 2;

/// The threads that can be spared.
#[derive(Debug, Default)]
pub struct Spare {
    lent: AtomicUsize,
}

/// One of them, at work until this is dropped.
struct Lent<'a>(&'a Spare);

impl Spare {
    /// Runs `work` on this very thread; `None` where it can't be spared now. A panic ends the work and not the thread: the
    /// answer is then `None` inside.
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> Option<Option<T>> {
        let _lent = self.lend()?;
        Some(catch_unwind(AssertUnwindSafe(work)).ok())
    }

    fn lend(&self) -> Option<Lent<'_>> {
        let most = THREADS - THREADS_KEPT;
        let one_more = |lent: usize| (lent < most).then_some(lent + 1);
        let lent = self.lent.fetch_update(Ordering::Acquire, Ordering::Relaxed, one_more);
        lent.ok().map(|_| Lent(self))
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.0.lent.fetch_sub(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_threads_are_never_lent_and_a_panic_gives_its_own_back() {
        let spare = Spare::default();
        let inner = spare.run(|| spare.run(|| spare.run(|| 3)));
        assert_eq!(inner, Some(Some(Some(Some(None)))), "two at a time");
        assert_eq!(spare.run(|| panic!("for the test")), Some(None::<()>));
        assert_eq!(spare.run(|| spare.run(|| 2)), Some(Some(Some(Some(2)))), "all are back");
    }
}
