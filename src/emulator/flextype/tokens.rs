//! Who may ask: tokens with their limits, and the race of parallel calls that rewrite the same token's file.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

/// What a token opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TokenKind {
    /// `/api/files`.
    Files,
    /// `/api/folders`.
    Folders,
    /// Every write.
    Access,
}

/// Whether a token still opens it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenState {
    /// It does.
    Enabled,
    /// It was switched off.
    Disabled,
    /// It does so many times more.
    Limited(u32),
}

/// One token of the site.
#[derive(Clone, Debug)]
pub struct Token {
    /// What it opens.
    pub kind: TokenKind,
    /// Its text.
    pub text: String,
    /// Whether it still does.
    pub state: TokenState,
}

/// The answer to a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Accepted,
    Unknown,
    /// Disabled or used up.
    Closed,
}

/// The site's tokens.
pub(super) struct Tokens {
    states: Mutex<BTreeMap<(TokenKind, String), TokenState>>,
    clashes: Mutex<Clashes>,
}

#[derive(Default)]
struct Clashes {
    in_flight: BTreeMap<String, u32>,
    seen: u64,
    failed: u64,
}

/// One of so many clashes fails, as on the real site.
const CLASHES_PER_FAILURE: u64 = 4;

impl Tokens {
    pub(super) fn new(tokens: &[Token]) -> Self {
        let states = tokens.iter().map(|t| ((t.kind, t.text.clone()), t.state)).collect();
        Self {
            states: Mutex::new(states),
            clashes: Mutex::default(),
        }
    }

    pub(super) fn set(&self, kind: TokenKind, text: &str, state: TokenState) {
        self.states.lock().insert((kind, text.to_owned()), state);
    }

    /// Checks a token and counts the call against its limit.
    pub(super) fn check(&self, kind: TokenKind, text: &str) -> Verdict {
        let mut states = self.states.lock();
        match states.get_mut(&(kind, text.to_owned())) {
            None => Verdict::Unknown,
            Some(TokenState::Enabled) => Verdict::Accepted,
            Some(TokenState::Disabled | TokenState::Limited(0)) => Verdict::Closed,
            Some(TokenState::Limited(left)) => {
                *left -= 1;
                Verdict::Accepted
            }
        }
    }

    /// How many calls failed because another one was rewriting their token's file.
    pub(super) fn failed(&self) -> u64 {
        self.clashes.lock().failed
    }

    /// Marks a call with this token as running until the guard goes. `None`: it clashed with another one and failed.
    pub(super) fn enter(self: &Arc<Self>, text: &str) -> Option<InFlight> {
        let mut clashes = self.clashes.lock();
        let running = clashes.in_flight.entry(text.to_owned()).or_default();
        let clash = *running > 0;
        *running += 1;
        let guard = InFlight {
            tokens: self.clone(),
            text: text.to_owned(),
        };
        if clash {
            clashes.seen += 1;
            if clashes.seen.is_multiple_of(CLASHES_PER_FAILURE) {
                clashes.failed += 1;
                drop(clashes);
                return None;
            }
        }
        Some(guard)
    }
}

/// A call that is running.
pub(super) struct InFlight {
    tokens: Arc<Tokens>,
    text: String,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut clashes = self.tokens.clashes.lock();
        if let Some(running) = clashes.in_flight.get_mut(&self.text) {
            *running -= 1;
            if *running == 0 {
                clashes.in_flight.remove(&self.text);
            }
        }
    }
}

/// Sessions by cookie: calls of one session run one after the other.
#[derive(Default)]
pub(super) struct Sessions {
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    locks: BTreeMap<String, Arc<tokio::sync::Mutex<()>>>,
    count: u64,
}

/// Most sessions that are remembered.
const SESSIONS_MAX: usize = 1_000;

impl Sessions {
    /// A fresh session id.
    pub(super) fn start(&self) -> String {
        let mut open = self.open.lock();
        open.count += 1;
        let id = format!("{:026x}", open.count.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        if open.locks.len() >= SESSIONS_MAX {
            open.locks.pop_first();
        }
        open.locks.insert(id.clone(), Arc::default());
        id
    }

    /// Forgets all sessions, as a server does with those that were long unused.
    pub(super) fn end(&self) {
        self.open.lock().locks.clear();
    }

    /// Whether this session was started here.
    pub(super) fn knows(&self, id: &str) -> bool {
        self.open.lock().locks.contains_key(id)
    }

    /// Waits for the other calls of this session, if it is one.
    pub(super) async fn enter(&self, id: &str) -> Option<OwnedMutexGuard<()>> {
        let lock = self.open.lock().locks.get(id).cloned()?;
        Some(lock.lock_owned().await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> Arc<Tokens> {
        Arc::new(Tokens::new(&[Token {
            kind: TokenKind::Files,
            text: "two".to_owned(),
            state: TokenState::Limited(2),
        }]))
    }

    #[test]
    fn a_limited_token_is_used_up() {
        let tokens = tokens();
        let ask = || tokens.check(TokenKind::Files, "two");
        assert_eq!(
            [ask(), ask(), ask()],
            [Verdict::Accepted, Verdict::Accepted, Verdict::Closed]
        );
        assert_eq!(tokens.check(TokenKind::Folders, "two"), Verdict::Unknown);
    }

    #[test]
    fn one_of_four_clashes_fails_and_nothing_fails_without_one() {
        let tokens = tokens();
        for _ in 0..20 {
            assert!(tokens.enter("two").is_some(), "alone");
        }
        let held = tokens.enter("two");
        let failed = (0..20).filter(|_| tokens.enter("two").is_none()).count();
        assert_eq!(failed, 5);
        drop(held);
        assert!(tokens.enter("two").is_some());
    }
}
