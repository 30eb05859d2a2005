//! The brake on deletions: a burst of them is more often a mistake than a wish. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::{Ino, Timestamp};

/// How far back deletions count.
pub const WINDOW: Duration = Duration::from_secs(600);

/// Deletions of published assets within the window.
#[derive(Debug, Default)]
pub struct Brake {
    /// Those that passed, oldest first.
    passed: VecDeque<(Timestamp, Ino)>,
    /// The user was told that it holds.
    told: bool,
}

impl Brake {
    /// Whether one more deletion may go on, of `max` in the window; 0 is no brake. One that is tried again counts once.
    pub fn lets_pass(&mut self, ino: Ino, now: Timestamp, max: usize) -> bool {
        if max == 0 {
            return true;
        }
        while self.passed.front().is_some_and(|(at, _)| now.since(*at) > WINDOW) {
            self.passed.pop_front();
        }
        if self.passed.iter().any(|(_, passed)| *passed == ino) {
            return true;
        }
        if self.passed.len() >= max {
            return false;
        }
        self.passed.push_back((now, ino));
        self.told = false;
        true
    }

    /// Whether the user is still to be told that deletions are held: once for a whole burst.
    pub fn is_to_tell(&mut self) -> bool {
        !std::mem::replace(&mut self.told, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_held_told_once_and_over_when_the_window_has_passed() {
        let mut brake = Brake::default();
        let at = Timestamp::from_secs;
        assert!(brake.lets_pass(Ino(1), at(0), 2));
        assert!(brake.lets_pass(Ino(2), at(1), 2));
        assert!(!brake.lets_pass(Ino(3), at(2), 2));
        assert!(brake.is_to_tell());
        assert!(!brake.lets_pass(Ino(4), at(2), 2));
        assert!(!brake.is_to_tell(), "one word for the whole burst");
        assert!(brake.lets_pass(Ino(1), at(3), 2), "a second try is the same deletion");
        assert!(brake.lets_pass(Ino(3), at(700), 2));
        assert!(brake.lets_pass(Ino(4), at(701), 2));
        assert!(!brake.lets_pass(Ino(5), at(702), 2));
        assert!(brake.is_to_tell(), "another burst is told again");
        assert!(brake.lets_pass(Ino(6), at(702), 0));
    }
}
