//! Which asset a save belongs to: the moves of an identity from one node to another. Pure.

use crate::model::{ContentVersion, Ino, ItemId, Name};

use super::plan::Step;
use super::{Change, Overlay, Place, Placing, Staged, State, Write};

/// Marks that programs add to a name to keep the old file beside the new one.
const BACKUP_MARKS: [&str; 4] = ["~", ".bak", ".orig", "_original"];

/// Whether `aside` is how a program keeps a backup of `original` in the same folder.
pub fn is_backup(original: &Place, aside: &Place) -> bool {
    original.parent == aside.parent
        && BACKUP_MARKS.iter().any(|mark| {
            aside
                .name
                .as_str()
                .strip_suffix(mark)
                .is_some_and(|stem| stem == original.name.as_str() || stem == original.name.split().0)
        })
}

/// `new`, a file that was never published, becomes the next version of the asset that `old` held: it takes over its id,
/// its memberships, its pending fields and the version to compare with. `old_places` are the names the store knows.
pub fn take_over(new: &Change, old: &Change, old_places: &[Place], version: Option<ContentVersion>) -> Change {
    let mut taken = new.clone();
    taken.id = old.id.clone();
    taken.claim = None;
    taken.resume = None;
    taken.half_done = old.half_done.clone().or_else(|| new.half_done.clone());
    taken.copy_of = None;
    taken.unconfirmed = old.unconfirmed.clone();
    taken.unanswered = new.unanswered.clone().or_else(|| old.unanswered.clone());
    for note in taken.unanswered.iter_mut().chain(&mut taken.unconfirmed) {
        note.sent.ino = new.ino;
    }
    taken.state = State::Pending;
    taken.leftovers = old.leftovers.clone();
    let base = old
        .placing
        .as_ref()
        .map_or_else(|| old_places.to_vec(), |p| p.base.clone());
    let mut now = new.placing.as_ref().map(|p| p.now.clone()).unwrap_or_default();
    // Its other folders keep it: the names that the old node still had elsewhere.
    let elsewhere = old.placing.as_ref().map_or(old_places, |p| &p.now);
    let name: Option<Name> = now.first().map(|p| p.name.clone());
    for place in elsewhere {
        if !now.iter().any(|n| n.parent == place.parent) && base.iter().any(|b| b.parent == place.parent) {
            let name = name.clone().unwrap_or_else(|| place.name.clone());
            now.push(Place {
                parent: place.parent,
                name,
            });
        }
    }
    taken.placing = Some(Placing { base, now });
    let mut fields = old.fields.clone();
    fields.extend(new.fields.clone());
    taken.fields = fields;
    if let Some(staged) = &mut taken.staged {
        staged.base = old.staged.as_ref().and_then(|s| s.base.clone()).or(version);
    }
    taken
}

/// Who speaks of an item, which has another id after `step`, speaks of it under that: a version of ours that lies beside it, and
/// after a move what is to be a copy of it. After other steps the old id is that of what is replaced, which those are about.
pub(super) fn followers(overlay: &Overlay, step: &Step, old: &ItemId, new: &ItemId) -> Vec<Write> {
    let is_moved = matches!(step, Step::Relocate { .. });
    let mut writes = Vec::new();
    for change in overlay.iter() {
        let is_version = matches!(&change.state, State::Conflict { of } if of == old);
        let is_copy = is_moved && change.copy_of.as_ref().is_some_and(|source| source.id == *old);
        if !is_version && !is_copy {
            continue;
        }
        let mut follower = Change::clone(change);
        if let State::Conflict { of } = &mut follower.state {
            of.clone_from(new);
        }
        if let Some(source) = follower.copy_of.as_mut().filter(|_| is_copy) {
            source.id.clone_from(new);
        }
        writes.push(Write::Put(Box::new(follower)));
    }
    writes
}

/// The item of `from` shows under the inode `to` from now on: what waits for it waits for that one.
pub fn reseat(overlay: &Overlay, from: Ino, to: Ino) -> Vec<Write> {
    let Some(change) = overlay.get(from) else {
        return Vec::new();
    };
    let mut moved = Change::clone(change);
    moved.ino = to;
    for note in moved.unanswered.iter_mut().chain(&mut moved.unconfirmed) {
        note.sent.ino = to;
    }
    let claimer = moved.claimed_by.and_then(|ino| overlay.get(ino));
    let claimer = claimer.filter(|claimer| claimer.claim == Some(from)).map(|claimer| {
        Write::Put(Box::new(Change {
            claim: Some(to),
            ..Change::clone(claimer)
        }))
    });
    let mut writes = vec![Write::Drop(from), Write::Put(Box::new(moved))];
    writes.extend(claimer);
    writes
}

/// `old`, moved aside as a backup, becomes a file of its own with the secured bytes.
pub fn set_aside(old: &Change, bytes: Staged) -> Change {
    let mut aside = old.clone();
    aside.id = None;
    aside.claimed_by = None;
    aside.fields.clear();
    aside.leftovers.clear();
    aside.unanswered = None;
    aside.unconfirmed.clear();
    aside.resume = None;
    aside.half_done = None;
    aside.placed_at = None;
    aside.missing_since = None;
    aside.removing = None;
    aside.staged = Some(Staged { base: None, ..bytes });
    aside.placing = Some(Placing {
        base: Vec::new(),
        now: old.placing.iter().flat_map(|p| p.now.clone()).collect(),
    });
    aside
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Phase;
    use crate::model::{Kind, Timestamp};

    fn place(parent: u64, name: &str) -> Place {
        Place {
            parent: Ino(parent),
            name: Name::new(name).expect("valid"),
        }
    }

    #[test]
    fn backups_are_told_by_name_and_folder() {
        for name in [
            "hero.jpg~",
            "hero.jpg.bak",
            "hero.jpg.orig",
            "hero.bak",
            "hero.jpg_original",
        ] {
            assert!(is_backup(&place(1, "hero.jpg"), &place(1, name)), "{name}");
        }
        assert!(!is_backup(&place(1, "hero.jpg"), &place(2, "hero.jpg~")));
        assert!(!is_backup(&place(1, "hero.jpg"), &place(1, "old.jpg")));
    }

    #[test]
    fn a_taken_over_asset_keeps_its_other_folders_its_fields_and_its_base() {
        let mut new = Change::of(Ino(20), Kind::File, None, 2, Timestamp::from_secs(1));
        new.placing = Some(Placing {
            base: vec![],
            now: vec![place(1, "hero.jpg")],
        });
        new.staged = Some(Staged {
            body: "b".into(),
            size: 3,
            base: None,
            phase: Phase::Closed,
            whole: true,
            generation: 1,
        });
        let mut old = Change::of(
            Ino(10),
            Kind::File,
            Some(ItemId::new("file:1")),
            1,
            Timestamp::from_secs(1),
        );
        old.fields.insert("tags".into(), vec!["a".into()]);
        let known = [place(1, "hero.jpg"), place(5, "hero.jpg")];
        let taken = take_over(&new, &old, &known, Some(ContentVersion::new("7")));
        assert_eq!(taken.id, Some(ItemId::new("file:1")));
        assert_eq!(taken.placing.as_ref().map(|p| p.is_moved()), Some(false));
        assert_eq!(taken.fields, old.fields);
        assert_eq!(taken.staged.and_then(|s| s.base), Some(ContentVersion::new("7")));
    }
}
