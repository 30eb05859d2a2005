//! Names that were left a moment ago, and by which program: what tells a save from a new file.

use std::collections::HashMap;
use std::time::Duration;

use crate::journal::Place;
use crate::model::{Ino, Timestamp};

/// Remembered at most.
const VACATED_MAX: usize = 4096;

/// Who left a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Leaving {
    node: Ino,
    process: u32,
    at: Timestamp,
}

/// The names left within the quiet time.
#[derive(Default)]
pub struct Vacated(HashMap<Place, Leaving>);

impl Vacated {
    /// `node`, published, was moved away from or deleted at `place` by `process`.
    pub fn left(&mut self, place: Place, node: Ino, process: u32, at: Timestamp, window: Duration) {
        if self.0.len() >= VACATED_MAX {
            self.0.retain(|_, leaving| at.since(leaving.at) <= window);
        }
        if self.0.len() < VACATED_MAX {
            self.0.insert(place, Leaving { node, process, at });
        }
    }

    /// The item of `from` has the inode `to` from now on.
    pub fn reseat(&mut self, from: Ino, to: Ino) {
        for leaving in self.0.values_mut().filter(|leaving| leaving.node == from) {
            leaving.node = to;
        }
    }

    /// Whether this process would get an answer from [`Self::reclaim`].
    pub fn would_reclaim(&self, place: &Place, process: u32, now: Timestamp, window: Duration) -> bool {
        let leaving = self.0.get(place);
        leaving.is_some_and(|leaving| leaving.process == process && now.since(leaving.at) <= window)
    }

    /// Whether `place` was left lately.
    pub fn remembers(&self, place: &Place) -> bool {
        self.0.contains_key(place)
    }

    /// The node that this process has just taken away from `place`. Answered once.
    pub fn reclaim(&mut self, place: &Place, process: u32, now: Timestamp, window: Duration) -> Option<Ino> {
        let leaving = *self.0.get(place)?;
        if now.since(leaving.at) > window {
            self.0.remove(place);
            return None;
        }
        (leaving.process == process).then(|| {
            self.0.remove(place);
            leaving.node
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Name;

    #[test]
    fn only_the_same_program_within_the_window_takes_a_name_up_again() {
        let window = Duration::from_secs(2);
        let place = Place {
            parent: Ino(1),
            name: Name::new("hero.jpg").expect("valid"),
        };
        let at = Timestamp::from_secs(100);
        let mut vacated = Vacated::default();
        vacated.left(place.clone(), Ino(7), 42, at, window);
        assert!(!vacated.would_reclaim(&place, 43, at, window));
        assert!(vacated.would_reclaim(&place, 42, at.plus(window), window));
        assert!(!vacated.would_reclaim(&place, 42, Timestamp::from_secs(103), window));
        assert_eq!(vacated.reclaim(&place, 43, at, window), None);
        assert_eq!(vacated.reclaim(&place, 42, at.plus(window), window), Some(Ino(7)));
        assert_eq!(vacated.reclaim(&place, 42, at, window), None);
        vacated.left(place.clone(), Ino(7), 42, at, window);
        assert_eq!(vacated.reclaim(&place, 42, Timestamp::from_secs(103), window), None);
    }
}
