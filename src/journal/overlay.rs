//! All pending changes in memory, indexed the ways that the tree and the uploader ask.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::model::{Ino, ItemId, Name, Timestamp};

use super::{Change, Place, State};

/// The pending changes. Pure: no database, no clock.
#[derive(Default)]
pub struct Overlay {
    changes: HashMap<Ino, Arc<Change>>,
    /// When each change was put, counted in commits.
    committed: HashMap<Ino, u64>,
    commits: u64,
    /// Names shown because of a change: the catalog's own edges of those nodes are hidden.
    children: HashMap<Ino, BTreeMap<Name, Ino>>,
    /// Every change that has, had, or may have got a name in a folder: what a removal of that folder waits for.
    touching: HashMap<Ino, BTreeSet<Ino>>,
    by_id: HashMap<ItemId, Ino>,
    /// Nodes that the store was asked to move and has not answered for.
    moving: BTreeSet<Ino>,
    /// Nodes that the store is to make as copies of the key.
    copies: HashMap<ItemId, BTreeSet<Ino>>,
    schedule: BTreeSet<(Timestamp, u64, Ino)>,
    /// When the uploader looks at the schedule by itself; `None`: only when it is woken, for it can begin nothing.
    looks_at: Option<Timestamp>,
    /// Whether something that is due before that has come onto the schedule since.
    is_early: bool,
    /// Who waits for a change of the key.
    waiting: HashMap<Ino, Vec<Ino>>,
    /// The same the other way round.
    waits_for: HashMap<Ino, Ino>,
}

/// Who waits for whom is followed so far: deeper than any tree.
const CHAIN_MAX: usize = 4096;

impl Overlay {
    /// The change of a node.
    pub fn get(&self, ino: Ino) -> Option<&Arc<Change>> {
        self.changes.get(&ino)
    }

    /// How many changes were put so far.
    pub fn commits(&self) -> u64 {
        self.commits
    }

    /// The count of [`Overlay::commits`] when a node's change was put.
    pub fn committed(&self, ino: Ino) -> Option<u64> {
        self.committed.get(&ino).copied()
    }

    /// The change that holds a store's item.
    pub fn by_id(&self, id: &ItemId) -> Option<&Arc<Change>> {
        self.changes.get(self.by_id.get(id)?)
    }

    /// Puts a change in the place of the node's earlier one.
    pub fn put(&mut self, change: Change) {
        self.remove(change.ino);
        let ino = change.ino;
        if let Some(placing) = &change.placing {
            for place in &placing.now {
                self.children
                    .entry(place.parent)
                    .or_default()
                    .insert(place.name.clone(), ino);
            }
        }
        for folder in folders_of(&change) {
            self.touching.entry(folder).or_default().insert(ino);
        }
        if let Some(id) = &change.id {
            self.by_id.insert(id.clone(), ino);
        }
        for old in &change.leftovers {
            self.by_id.insert(old.id.clone(), ino);
        }
        if change.asked_move().is_some() {
            self.moving.insert(ino);
        }
        if let Some(source) = &change.copy_of {
            self.copies.entry(source.id.clone()).or_default().insert(ino);
        }
        self.commits += 1;
        self.committed.insert(ino, self.commits);
        self.changes.insert(ino, Arc::new(change));
        self.reschedule(ino);
        self.resume_waiting(ino);
    }

    /// Forgets the change of a node.
    pub fn remove(&mut self, ino: Ino) -> Option<Arc<Change>> {
        self.resume_waiting(ino);
        let change = self.changes.remove(&ino)?;
        self.committed.remove(&ino);
        self.waits_for.remove(&ino);
        if let Some(placing) = &change.placing {
            for place in &placing.now {
                self.unname(place, ino);
            }
        }
        for folder in folders_of(&change) {
            if let Some(set) = self.touching.get_mut(&folder) {
                set.remove(&ino);
                if set.is_empty() {
                    self.touching.remove(&folder);
                }
            }
        }
        for id in change.id.iter().chain(change.leftovers.iter().map(|old| &old.id)) {
            if self.by_id.get(id) == Some(&ino) {
                self.by_id.remove(id);
            }
        }
        self.moving.remove(&ino);
        if let Some(source) = &change.copy_of
            && let Some(copies) = self.copies.get_mut(&source.id)
        {
            copies.remove(&ino);
            if copies.is_empty() {
                self.copies.remove(&source.id);
            }
        }
        self.schedule.remove(&(change.ready_at, change.seq, ino));
        Some(change)
    }

    /// Where ids are paths: a folder's id changed, and with it every id below. Answers the changes that moved along.
    pub fn rekey(&mut self, old: &ItemId, new: &ItemId) -> Vec<Change> {
        let mut rekeyed = Vec::new();
        for change in self.changes.values() {
            let mut moved = Change::clone(change);
            let ids = moved
                .id
                .iter_mut()
                .chain(
                    moved
                        .leftovers
                        .iter_mut()
                        .chain(&mut moved.copy_of)
                        .map(|known| &mut known.id),
                )
                .chain(moved.unconfirmed.iter_mut().flat_map(|note| {
                    let known = note.moved.iter_mut().map(|known| &mut known.id);
                    note.sent.id.iter_mut().chain(known)
                }));
            let of = match &mut moved.state {
                State::Conflict { of } => Some(of),
                _ => None,
            };
            let mut any = false;
            for id in ids.chain(of) {
                if let Some(to) = id.rekeyed(old, new) {
                    *id = to;
                    any = true;
                }
            }
            if any {
                rekeyed.push(moved);
            }
        }
        for change in &rekeyed {
            self.put(change.clone());
        }
        rekeyed
    }

    fn unname(&mut self, place: &Place, ino: Ino) {
        let Some(names) = self.children.get_mut(&place.parent) else {
            return;
        };
        if names.get(&place.name) == Some(&ino) {
            names.remove(&place.name);
        }
        if names.is_empty() {
            self.children.remove(&place.parent);
        }
    }

    /// The node that a change puts under this name.
    pub fn child(&self, parent: Ino, name: &str) -> Option<Ino> {
        self.children.get(&parent)?.get(name).copied()
    }

    /// The names that changes put into a folder.
    pub fn children(&self, parent: Ino) -> impl Iterator<Item = (&Name, Ino)> + '_ {
        self.children
            .get(&parent)
            .into_iter()
            .flatten()
            .map(|(name, ino)| (name, *ino))
    }

    /// Whether the catalog's edges of this item are not to be shown.
    pub fn hides(&self, ino: Ino, id: &ItemId) -> bool {
        self.get(ino).is_some_and(|c| c.placing.is_some())
            || self
                .by_id(id)
                .is_some_and(|c| c.placing.is_some() || c.leftovers.iter().any(|old| old.id == *id))
    }

    /// Changes that the store is to carry out by making a copy of an item.
    pub fn copies(&self, of: &ItemId) -> impl Iterator<Item = &Arc<Change>> + '_ {
        let copies = self.copies.get(of).into_iter().flatten();
        copies.filter_map(|ino| self.changes.get(ino))
    }

    /// Takes a change off the schedule until it, or `on`, is put or removed. Where that closes a circle, a copy in it that
    /// the store is to make is planned anew: it can do without its source. So can one that waits for the user.
    pub fn suspend(&mut self, ino: Ino, on: Option<Ino>) {
        let Some(change) = self.changes.get(&ino) else { return };
        self.schedule.remove(&(change.ready_at, change.seq, ino));
        let Some(on) = on else { return };
        self.waiting.entry(on).or_default().push(ino);
        self.waits_for.insert(ino, on);
        if self.stuck_behind(ino).is_some() {
            // Who waits for a copy behind this would wait for the user: that can have bytes of its own.
            let copies = self.copies.values().flatten().copied();
            let stuck: Vec<Ino> = copies.filter(|copy| self.waits_behind(*copy, ino)).collect();
            for copy in stuck {
                self.resume_waiting(copy);
            }
        }
        let circle = self.waits_behind(on, ino);
        let copy = self.chain(ino).filter(|_| circle).find(|at| self.is_copy(*at));
        if let Some(copy) = copy {
            self.waits_for.remove(&copy);
            self.reschedule(copy);
        }
    }

    fn is_copy(&self, ino: Ino) -> bool {
        self.get(ino).is_some_and(|change| change.copy_of.is_some())
    }

    /// A node, who it waits for, and so on.
    fn chain(&self, from: Ino) -> impl Iterator<Item = Ino> + '_ {
        std::iter::successors(Some(from), |at| self.waits_for.get(at).copied()).take(CHAIN_MAX)
    }

    /// Whether a node waits, in the end, for that other one.
    pub fn waits_behind(&self, ino: Ino, other: Ino) -> bool {
        self.chain(ino).any(|at| at == other)
    }

    /// The change at the end of those that a node waits for, when only the user moves that one on.
    pub fn stuck_behind(&self, ino: Ino) -> Option<&Arc<Change>> {
        let mut behind = self.chain(ino).skip(1).map_while(|at| self.get(at));
        behind.find(|change| change.waits_for_user())
    }

    fn resume_waiting(&mut self, on: Ino) {
        for ino in self.waiting.remove(&on).unwrap_or_default() {
            self.waits_for.remove(&ino);
            self.reschedule(ino);
        }
    }

    /// Puts a change on the schedule, or back on it.
    fn reschedule(&mut self, ino: Ino) {
        if let Some(change) = self.changes.get(&ino)
            && change.is_scheduled()
        {
            self.schedule.insert((change.ready_at, change.seq, ino));
            self.is_early |= self.looks_at.is_some_and(|at| change.ready_at < at);
        }
    }

    /// Notes when the uploader, which has just looked at the schedule, looks again by itself.
    pub fn looks_next(&mut self, at: Option<Timestamp>) {
        (self.looks_at, self.is_early) = (at, false);
    }

    /// Whether the uploader is to look earlier than it would by itself; asked once for what has come since.
    pub fn take_early(&mut self) -> bool {
        std::mem::take(&mut self.is_early)
    }

    /// Changes that have or had a name in a folder.
    pub fn touching(&self, folder: Ino) -> impl Iterator<Item = &Arc<Change>> + '_ {
        self.touching
            .get(&folder)
            .into_iter()
            .flatten()
            .filter_map(|ino| self.changes.get(ino))
    }

    /// Changes whose node may have another name in the store than is known, until the store has answered.
    pub fn moving(&self) -> impl Iterator<Item = &Arc<Change>> + '_ {
        self.moving.iter().filter_map(|ino| self.changes.get(ino))
    }

    /// Scheduled changes in the order in which they become ready.
    pub fn schedule(&self) -> impl Iterator<Item = (Timestamp, Ino)> + '_ {
        self.schedule.iter().map(|(at, _, ino)| (*at, *ino))
    }

    /// All changes, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Change>> + '_ {
        self.changes.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

/// The folders that a change has to do with.
fn folders_of(change: &Change) -> impl Iterator<Item = Ino> + '_ {
    let asked = change.asked().flat_map(|u| &u.sent.placing);
    let asked = asked.flat_map(|placing| &placing.now);
    let own = change.placing.iter().flat_map(|p| p.now.iter().chain(&p.base));
    own.chain(asked).map(|place| place.parent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Placing;
    use crate::model::Kind;

    fn change(ino: u64, id: Option<&str>, base: &[(u64, &str)], now: &[(u64, &str)]) -> Change {
        let places = |list: &[(u64, &str)]| {
            list.iter()
                .map(|(p, n)| Place {
                    parent: Ino(*p),
                    name: Name::new(n).expect("valid"),
                })
                .collect()
        };
        let mut change = Change::of(
            Ino(ino),
            Kind::File,
            id.map(ItemId::new),
            ino,
            Timestamp::from_secs(ino as i64),
        );
        change.placing = Some(Placing {
            base: places(base),
            now: places(now),
        });
        change
    }

    #[test]
    fn shows_new_names_and_hides_old_ones() {
        let mut overlay = Overlay::default();
        overlay.put(change(10, Some("file:1"), &[(1, "a")], &[(2, "b")]));
        assert_eq!(overlay.child(Ino(2), "b"), Some(Ino(10)));
        assert_eq!(overlay.child(Ino(1), "a"), None);
        assert!(overlay.hides(Ino(10), &ItemId::new("file:1")));
        assert!(
            overlay.hides(Ino(99), &ItemId::new("file:1")),
            "also under the inode that the catalog still has"
        );
        assert_eq!(overlay.touching(Ino(1)).count(), 1);
        overlay.put(change(10, Some("file:1"), &[(1, "a")], &[]));
        assert_eq!(overlay.child(Ino(2), "b"), None);
        overlay.remove(Ino(10));
        assert!(overlay.is_empty() && overlay.touching.is_empty() && overlay.by_id.is_empty());
        assert_eq!(overlay.schedule().count(), 0);
    }

    #[test]
    fn who_waits_for_another_change_comes_back_when_that_one_moves() {
        let mut overlay = Overlay::default();
        overlay.put(change(10, None, &[], &[(1, "folder")]));
        overlay.put(change(11, None, &[], &[(10, "file")]));
        overlay.suspend(Ino(11), Some(Ino(10)));
        assert_eq!(overlay.schedule().map(|(_, ino)| ino).collect::<Vec<_>>(), [Ino(10)]);
        overlay.remove(Ino(10));
        assert_eq!(overlay.schedule().map(|(_, ino)| ino).collect::<Vec<_>>(), [Ino(11)]);
    }

    #[test]
    fn the_uploader_is_woken_for_what_is_due_before_it_looks_by_itself() {
        let mut overlay = Overlay::default();
        overlay.looks_next(Some(Timestamp::from_secs(20)));
        overlay.put(change(30, None, &[], &[(1, "later")]));
        overlay.put(change(20, None, &[], &[(1, "then")]));
        assert!(!overlay.take_early());
        overlay.put(change(10, None, &[], &[(20, "sooner")]));
        assert!(overlay.take_early() && !overlay.take_early());
        overlay.suspend(Ino(10), Some(Ino(20)));
        overlay.remove(Ino(20));
        assert!(overlay.take_early(), "what waited for another is due");
        overlay.looks_next(None);
        overlay.put(change(5, None, &[], &[(1, "first")]));
        assert!(!overlay.take_early(), "it can begin nothing");
    }

    #[test]
    fn a_copy_that_waits_in_a_circle_is_planned_anew() {
        let mut overlay = Overlay::default();
        let mut copy = change(12, None, &[], &[(2, "a")]);
        copy.copy_of = Some(crate::journal::KnownItem {
            id: ItemId::new("file:1"),
            version: None,
            size: None,
        });
        overlay.put(copy);
        overlay.put(change(10, Some("file:1"), &[(1, "a")], &[]));
        overlay.put(change(11, None, &[], &[(1, "a")]));
        let scheduled = |overlay: &Overlay| overlay.schedule().map(|(_, ino)| ino.0).collect::<Vec<_>>();
        overlay.suspend(Ino(12), Some(Ino(11)));
        overlay.suspend(Ino(10), Some(Ino(12)));
        assert_eq!(scheduled(&overlay), [11]);
        overlay.suspend(Ino(11), Some(Ino(10)));
        assert_eq!(scheduled(&overlay), [12], "it can have bytes of its own");
        assert!(overlay.waits_behind(Ino(11), Ino(12)));
        let copies: Vec<Ino> = overlay.copies(&ItemId::new("file:1")).map(|c| c.ino).collect();
        assert_eq!(copies, [Ino(12)]);
        overlay.remove(Ino(12));
        assert!(overlay.copies.is_empty());
    }

    #[test]
    fn who_waits_for_a_copy_that_waits_for_the_user_is_planned_anew() {
        let mut overlay = Overlay::default();
        let mut copy = change(12, None, &[], &[(11, "a")]);
        copy.copy_of = Some(crate::journal::KnownItem {
            id: ItemId::new("file:1"),
            version: None,
            size: None,
        });
        let mut parked = change(9, None, &[], &[(1, "p")]);
        parked.state = State::Parked { reason: "no".into() };
        for change in [
            copy,
            change(10, Some("file:1"), &[(1, "a")], &[(1, "a")]),
            change(11, None, &[], &[(9, "q")]),
            parked,
        ] {
            overlay.put(change);
        }
        overlay.suspend(Ino(10), Some(Ino(12)));
        overlay.suspend(Ino(12), Some(Ino(11)));
        overlay.suspend(Ino(11), Some(Ino(9)));
        assert_eq!(overlay.schedule().map(|(_, ino)| ino.0).collect::<Vec<_>>(), [10]);
    }

    #[test]
    fn a_name_taken_over_by_another_node_survives_the_first_ones_end() {
        let mut overlay = Overlay::default();
        overlay.put(change(10, None, &[], &[(1, "a")]));
        overlay.put(change(11, None, &[], &[(1, "a")]));
        overlay.remove(Ino(10));
        assert_eq!(overlay.child(Ino(1), "a"), Some(Ino(11)));
    }
}
