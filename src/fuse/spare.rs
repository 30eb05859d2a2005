//! Threads that read the kernel's requests, and may do a short work themselves: handing it to another thread and waking that
//! takes longer than most of it. Some are never lent, so that a slow disk does not keep all of them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Threads that read requests.
pub const THREADS: usize = 8;

/// Those among them that read on whatever happens.
const THREADS_KEPT: usize = 2;

/// The threads that can be spared.
#[derive(Debug, Default)]
pub struct Spare {
    lent: AtomicUsize,
}

/// One of them, at work until this is dropped.
pub struct Lent<'a>(&'a Spare);

impl Spare {
    /// Takes this very thread, if it can be spared now.
    pub fn lend(&self) -> Option<Lent<'_>> {
        let most = THREADS - THREADS_KEPT;
        let one_more = |lent: usize| (lent < most).then_some(lent + 1);
        let lent = self.lent.fetch_update(Ordering::Acquire, Ordering::Relaxed, one_more);
        lent.ok().map(|_| Lent(self))
    }
}

impl Lent<'_> {
    /// Does `work` here. A panic ends the work, with `None`, and not the thread: an answer that it still had to give is then an
    /// error by itself.
    pub fn run<T>(self, work: impl FnOnce() -> T) -> Option<T> {
        catch_unwind(AssertUnwindSafe(work)).ok()
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
        let lend_all = || -> Vec<Lent<'_>> { std::iter::from_fn(|| spare.lend()).collect() };
        let mut lent = lend_all();
        assert_eq!(lent.len(), THREADS - THREADS_KEPT);
        let mut one = || lent.pop().expect("lent");
        assert_eq!(one().run(|| 1), Some(1));
        assert_eq!(one().run(|| panic!("for the test")), None::<()>);
        drop(lent);
        assert_eq!(lend_all().len(), THREADS - THREADS_KEPT, "all are back");
    }
}
