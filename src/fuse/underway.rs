//! What programs wait for at the moment, by what it is about.
//!
//! While an operation is under way the kernel may hold its folder's lock or its file's pages, and a notification about them
//! waits for it inside the kernel. A daemon that is killed in that moment cannot be cleared away: its thread waits for a
//! program that waits for the daemon. So notices are held back until nobody waits.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::model::Ino;

/// The operations under way of a mount. The kernel bounds their number.
#[derive(Debug, Default)]
pub struct Underway {
    counts: Mutex<HashMap<Ino, u32>>,
}

impl Underway {
    /// An operation on `ino` begins; it ends when the answer is dropped.
    pub fn begin(self: &Arc<Self>, ino: Ino) -> Waiting {
        *self.counts.lock().entry(ino).or_default() += 1;
        Waiting {
            ino,
            underway: self.clone(),
        }
    }

    /// Whether nobody waits for an answer about `ino`.
    pub fn is_idle(&self, ino: Ino) -> bool {
        !self.counts.lock().contains_key(&ino)
    }
}

/// Somebody waits for an answer.
#[derive(Debug)]
pub struct Waiting {
    ino: Ino,
    underway: Arc<Underway>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut counts = self.underway.counts.lock();
        if let Some(count) = counts.get_mut(&self.ino) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.ino);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_idle_when_the_last_of_its_operations_has_ended() {
        let underway = Arc::new(Underway::default());
        let (first, second) = (underway.begin(Ino(5)), underway.begin(Ino(5)));
        drop(first);
        assert!(!underway.is_idle(Ino(5)) && underway.is_idle(Ino(6)));
        drop(second);
        assert!(underway.is_idle(Ino(5)));
    }
}
