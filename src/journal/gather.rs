//! Which of the due changes go to the store together. Pure: what is due in, groups out.

use std::collections::HashMap;
use std::time::Duration;

use crate::model::{FieldChanges, Ino, Kind, Timestamp};
use crate::store::{Batches, Capabilities};

use super::{Change, Phase, State};

/// A group waits for changes that become due within this: a program that copies twenty files closes one after the other.
pub(super) const LINGER: Duration = Duration::from_secs(1);
/// For so long at most after its first was due.
const LINGER_MAX: Duration = Duration::from_secs(2);

/// What changes have in common that may be one request. It only brings them together: the plans decide.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Likeness {
    /// New files of a folder, with the same fields.
    Create(Ino, FieldChanges),
    /// Files that go into a folder.
    Move(Ino),
    /// Files that go out of a folder for good.
    Remove(Option<Ino>),
    /// Files with the same new values.
    SetFields(FieldChanges),
}

impl Likeness {
    /// What a change has in common with others; `None` when it goes alone.
    pub(super) fn of(change: &Change, capabilities: &Capabilities) -> Option<Self> {
        let batches = &capabilities.batches;
        let undisturbed = change.kind == Kind::File
            && change.state == State::Pending
            && change.claim.is_none()
            && change.claimed_by.is_none()
            && change.leftovers.is_empty()
            && change.half_done.is_none()
            && change.copy_of.is_none()
            && change.to_look_for(capabilities).is_none();
        if !undisturbed {
            return None;
        }
        let likeness = match (&change.id, &change.staged, &change.placing) {
            (Some(_), _, Some(placing)) if placing.now.is_empty() => {
                Self::Remove(placing.base.first().map(|place| place.parent))
            }
            (None, Some(staged), Some(placing)) if staged.phase == Phase::Closed => match placing.now.as_slice() {
                [place] if staged.size <= batches.create_bytes_max => Self::Create(place.parent, change.fields.clone()),
                _ => return None,
            },
            (Some(_), None, Some(placing)) if placing.is_moved() => match (placing.now.as_slice(), placing.renamed()) {
                ([place], None) => Self::Move(place.parent),
                _ => return None,
            },
            (Some(_), None, _) if !change.fields.is_empty() => Self::SetFields(change.fields.clone()),
            _ => return None,
        };
        (likeness.files_max(batches) > 1).then_some(likeness)
    }

    /// How many of them one request may be about.
    pub(super) fn files_max(&self, batches: &Batches) -> usize {
        match self {
            Self::Create(..) => batches.create_files_max,
            Self::Move(_) => batches.relocate_files_max,
            Self::Remove(_) => batches.remove_files_max,
            Self::SetFields(_) => batches.set_fields_files_max,
        }
    }
}

/// A change that is due, or will be within [`LINGER`].
#[derive(Clone, Debug)]
pub(super) struct Due {
    pub(super) ino: Ino,
    pub(super) at: Timestamp,
    pub(super) likeness: Option<Likeness>,
    /// What it would send.
    pub(super) bytes: u64,
}

struct Group {
    members: Vec<Due>,
    bytes: u64,
}

/// Groups of changes to begin with now, in the order of the first of each; and when the next will be due.
pub(super) fn gather(due: Vec<Due>, now: Timestamp, batches: &Batches) -> (Vec<Vec<Ino>>, Option<Timestamp>) {
    let mut groups: Vec<Group> = Vec::new();
    let mut open: HashMap<Likeness, usize> = HashMap::new();
    for member in due {
        let Some(likeness) = &member.likeness else {
            groups.push(Group {
                bytes: 0,
                members: vec![member],
            });
            continue;
        };
        let fits = |group: &Group| {
            let is_creation = matches!(likeness, Likeness::Create(..));
            group.members.len() < likeness.files_max(batches)
                && (!is_creation || group.bytes.saturating_add(member.bytes) <= batches.create_bytes_max)
        };
        match open.get(likeness).filter(|at| fits(&groups[**at])) {
            Some(at) => {
                groups[*at].bytes += member.bytes;
                groups[*at].members.push(member);
            }
            None => {
                open.insert(likeness.clone(), groups.len());
                groups.push(Group {
                    bytes: member.bytes,
                    members: vec![member],
                });
            }
        }
    }
    let mut ready = Vec::new();
    let mut next: Option<Timestamp> = None;
    for group in groups {
        let times = || group.members.iter().map(|member| member.at);
        let (Some(first), Some(last)) = (times().min(), times().max()) else {
            continue;
        };
        let begins = last.min(first.plus(LINGER_MAX));
        if begins > now {
            next = Some(next.map_or(begins, |next| next.min(begins)));
            continue;
        }
        let members = group.members.iter().filter(|member| member.at <= now);
        ready.push(members.map(|member| member.ino).collect());
    }
    (ready, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BATCHES: Batches = Batches {
        create_files_max: 3,
        create_bytes_max: 100,
        relocate_files_max: 1,
        remove_files_max: 10,
        set_fields_files_max: 10,
    };

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_secs(1_000).plus(Duration::from_millis(millis as u64))
    }

    fn due(ino: u64, millis: i64, likeness: Option<Likeness>, bytes: u64) -> Due {
        Due {
            ino: Ino(ino),
            at: at(millis),
            likeness,
            bytes,
        }
    }

    fn new_in(folder: u64) -> Option<Likeness> {
        Some(Likeness::Create(Ino(folder), FieldChanges::new()))
    }

    fn groups(due: Vec<Due>, now: i64) -> (Vec<Vec<u64>>, Option<Timestamp>) {
        let (groups, next) = gather(due, at(now), &BATCHES);
        let numbers = |group: Vec<Ino>| group.into_iter().map(|ino| ino.0).collect();
        (groups.into_iter().map(numbers).collect(), next)
    }

    #[test]
    fn what_is_alike_goes_together_and_the_rest_alone_in_order() {
        let all = vec![
            due(1, 0, new_in(7), 10),
            due(2, 0, None, 10),
            due(3, 0, new_in(8), 10),
            due(4, 0, new_in(7), 10),
        ];
        assert_eq!(groups(all, 0), (vec![vec![1, 4], vec![2], vec![3]], None));
    }

    #[test]
    fn a_group_is_bounded_by_files_and_by_bytes() {
        let many = (1..=5).map(|ino| due(ino, 0, new_in(7), 1)).collect();
        assert_eq!(groups(many, 0).0, [vec![1, 2, 3], vec![4, 5]]);
        let large = (1..=3).map(|ino| due(ino, 0, new_in(7), 60)).collect();
        assert_eq!(groups(large, 0).0, [[1], [2], [3]]);
    }

    #[test]
    fn a_group_waits_for_the_others_but_not_for_ever() {
        let all = |last: i64| vec![due(1, 0, new_in(7), 1), due(2, last, new_in(7), 1)];
        assert_eq!(groups(all(900), 0), (vec![], Some(at(900))));
        assert_eq!(groups(all(900), 900), (vec![vec![1, 2]], None));
        assert_eq!(groups(all(2_500), 1_600), (vec![], Some(at(2_000))));
        assert_eq!(groups(all(2_500), 2_000), (vec![vec![1]], None));
        let alone = vec![due(1, 0, None, 1), due(2, 500, None, 1)];
        assert_eq!(groups(alone, 0), (vec![vec![1]], Some(at(500))));
    }
}
