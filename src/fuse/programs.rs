//! Which program asks: its name, remembered for a moment, because every request would have to look it up again.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lru::LruCache;
use parking_lot::Mutex;

/// Names that are remembered.
const NAMES_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(255);

/// How long a name holds: a process keeps its number while it changes its name with exec.
const NAME_HOLDS: Duration = Duration::from_secs(2);

struct Known {
    name: Option<Arc<str>>,
    since: Instant,
}

/// Names of programs by process.
pub struct Programs {
    known: Mutex<LruCache<u32, Known>>,
}

impl Programs {
    /// Nothing known yet.
    pub fn new() -> Self {
        Self {
            known: Mutex::new(LruCache::new(NAMES_MAX)),
        }
    }

    /// The name of the program that runs as `pid`; none for the kernel and for one that has gone.
    pub fn name(&self, pid: u32) -> Option<Arc<str>> {
        if pid == 0 {
            return None;
        }
        if let Some(known) = self.known.lock().get(&pid)
            && known.since.elapsed() < NAME_HOLDS
        {
            return known.name.clone();
        }
        let name: Option<Arc<str>> = std::fs::read_to_string(format!("/proc/{pid}/comm"))
            .ok()
            .map(|name| name.trim_end().into());
        let known = Known {
            name: name.clone(),
            since: Instant::now(),
        };
        self.known.lock().put(pid, known);
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_known_by_its_name() {
        let programs = Programs::new();
        let own = programs.name(std::process::id()).expect("we run");
        assert!(!own.is_empty() && !own.contains('\n'));
        assert_eq!(programs.name(0), None);
        assert_eq!(programs.name(u32::MAX), None);
    }
}
