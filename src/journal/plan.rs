//! Decides the next request that brings the store closer to what a node is to become. Pure: facts in, one step out.

use crate::model::{Ino, ItemId, Kind, Name, Timestamp};
use crate::store::{Capabilities, IdScheme, MoveFile, Overwrite, RenameFile, SiblingNames, Support};

use super::{Change, KnownItem, LocalReason, Phase, Placing, State};

/// What is known of a folder that a node is to be in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Folder {
    /// It is in the store.
    There(ItemId),
    /// It is still to be created (or moved) there.
    Awaited,
    /// It cannot be created: the user has to decide.
    Stuck,
    /// It is still in the store, and is to be removed from it: what leaves it must leave it there, too.
    Leaving(ItemId),
    /// It was removed.
    Gone,
}

impl Folder {
    /// Its id, while it is in the store.
    pub fn id(&self) -> Option<&ItemId> {
        match self {
            Self::There(id) | Self::Leaving(id) => Some(id),
            Self::Awaited | Self::Stuck | Self::Gone => None,
        }
    }
}

/// Who has the name that a node is to get, where a store allows it only once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occupant {
    /// Nobody that we know of.
    Nobody,
    /// A node that is about to leave it.
    Leaving(Ino),
    /// A node that leaves only when this one has left its own name.
    Swapping,
}

/// A node that the store is to make as a copy of this one, as it is there now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copy {
    /// It is on its way.
    Awaited(Ino),
    /// Nobody knows when it will be made.
    Stuck(Ino),
}

/// Everything a decision rests on.
pub struct Facts<'a> {
    /// What is wanted.
    pub change: &'a Change,
    /// What the store can do.
    pub capabilities: &'a Capabilities,
    /// The time.
    pub now: Timestamp,
    /// Whether a program has it open for writing.
    pub being_written: bool,
    /// Another node that still has work in this folder (only asked for removals of folders).
    pub work_inside: Option<Ino>,
    /// Where ids are paths: a folder above of which nobody knows whether it was moved.
    pub unsure_above: Option<Ino>,
    /// A copy to be made before what is copied changes.
    pub copy: Option<Copy>,
    /// Whether that other node, in the end, waits for this one.
    pub waits_for_this: &'a dyn Fn(Ino) -> bool,
    /// Looks a folder up.
    pub folder: &'a dyn Fn(Ino) -> Folder,
    /// Who has a name.
    pub occupant: &'a dyn Fn(Ino, &Name) -> Occupant,
    /// The store's objection to a name.
    pub objection: &'a dyn Fn(&Name) -> Option<String>,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing is left to tell the store.
    Done,
    /// It never was in the store and is to be gone.
    Forget,
    /// Not now: something else will bring it up again.
    Idle,
    /// Not before this.
    WaitUntil(Timestamp),
    /// Not before another node's change is through.
    WaitFor(Ino),
    /// Decide first whether these bytes are a new version of what that node holds.
    DecideClaim(Ino),
    /// That node, which the store was to make as a copy, needs bytes of its own.
    TakeBytes(Ino),
    /// Look whether a request without an answer was carried out.
    Look {
        /// The folder it went to.
        parent: ItemId,
        /// Under this name.
        name: Name,
        /// When it was sent.
        at: Timestamp,
    },
    /// Make a folder.
    CreateFolder {
        /// In this one.
        parent: ItemId,
        /// Called this.
        name: Name,
    },
    /// Upload a new file.
    Create {
        /// Into this folder.
        parent: ItemId,
        /// Called this.
        name: Name,
    },
    /// Upload a new version, and with a name rename it in the same go.
    Replace {
        /// The new name.
        name: Option<Name>,
    },
    /// Upload a new file that takes the old one's place; the old one becomes a leftover.
    Reupload {
        /// Into this folder.
        parent: ItemId,
        /// Called this.
        name: Name,
    },
    /// Bring in order what an upload that is not gone on with has left in the store.
    RollBack,
    /// Remove an asset that was replaced by a re-upload.
    RemoveLeftover(KnownItem),
    /// Change name and folders natively.
    Relocate {
        /// The new name.
        name: Option<Name>,
        /// Folders to leave.
        left: Vec<ItemId>,
        /// Folders to come into.
        entered: Vec<ItemId>,
        /// The name is only a way-station of a swap.
        swapping: bool,
    },
    /// Leave these folders, and be deleted when no other is left.
    Remove {
        /// Folders to leave.
        left: Vec<ItemId>,
    },
    /// Set fields.
    SetFields,
    /// Keep it on this machine.
    KeepLocal(LocalReason),
    /// Stop and tell the user.
    Park(String),
}

/// The next step of a change.
pub fn plan(facts: &Facts<'_>) -> Step {
    let change = facts.change;
    if is_to_roll_back(facts) {
        return facts.unsure_above.map_or(Step::RollBack, Step::WaitFor);
    }
    match (wanted(facts), facts.copy) {
        // In a circle a copy that the store was to make is the one that can do without it.
        (Step::WaitFor(other), _) if change.copy_of.is_some() && (facts.waits_for_this)(other) => {
            Step::TakeBytes(change.ino)
        }
        (step, Some(copy)) if alters(&step, facts.capabilities) => match copy {
            Copy::Awaited(copy) => Step::WaitFor(copy),
            Copy::Stuck(copy) => Step::TakeBytes(copy),
        },
        (step, _) => step,
    }
}

/// Whether an upload has left something in the store and is not gone on with.
fn is_to_roll_back(facts: &Facts<'_>) -> bool {
    let change = facts.change;
    let is_moved = || change.id.is_some() && change.placing.as_ref().is_some_and(Placing::is_moved);
    let is_closed = || {
        change
            .staged
            .as_ref()
            .is_some_and(|staged| staged.phase == Phase::Closed)
    };
    let is_active = || matches!(change.state, State::Pending | State::Ambiguous { .. });
    let goes_on = || change.resume.is_some() && is_active() && is_closed() && !is_moved() && !change.is_removal();
    change.half_done.is_some() && change.ready_at <= facts.now && !goes_on()
}

/// Whether a copy that is made after a step is another one, or cannot be made.
fn alters(step: &Step, capabilities: &Capabilities) -> bool {
    match step {
        Step::Replace { .. }
        | Step::Reupload { .. }
        | Step::RollBack
        | Step::RemoveLeftover(_)
        | Step::Remove { .. }
        | Step::SetFields => true,
        Step::Relocate { .. } => capabilities.ids == IdScheme::Path,
        Step::Done
        | Step::Forget
        | Step::Idle
        | Step::WaitUntil(_)
        | Step::WaitFor(_)
        | Step::DecideClaim(_)
        | Step::TakeBytes(_)
        | Step::Look { .. }
        | Step::CreateFolder { .. }
        | Step::Create { .. }
        | Step::KeepLocal(_)
        | Step::Park(_) => false,
    }
}

/// The next step, whoever depends on what is there.
fn wanted(facts: &Facts<'_>) -> Step {
    let change = facts.change;
    if let Some(claimer) = change.claimed_by {
        return Step::WaitFor(claimer);
    }
    if change.ready_at > facts.now {
        return Step::WaitUntil(change.ready_at);
    }
    if facts.being_written {
        return Step::Idle;
    }
    match &change.state {
        State::Settling { .. } => return Step::Done,
        State::Held | State::Parked { .. } | State::Conflict { .. } => return Step::Idle,
        State::Local { why } => match why {
            LocalReason::Junk | LocalReason::Empty => return Step::Idle,
            LocalReason::NameRefused => {}
        },
        State::Pending | State::Ambiguous { .. } => {}
    }
    if let Some(folder) = facts.unsure_above {
        return Step::WaitFor(folder);
    }
    if let Some(step) = look(facts) {
        return step;
    }
    if change.is_removal() {
        return removal(facts);
    }
    if change.staged.as_ref().is_some_and(|s| s.phase == Phase::Open) {
        return Step::Park("the program that wrote it did not finish".into());
    }
    match (&change.id, change.kind) {
        (None, _) => creation(facts),
        (Some(_), Kind::Folder) => folder(facts),
        (Some(_), Kind::File) => file(facts),
    }
}

/// Before anything else: what was sent without an answer may be in the store, under the name that it was sent with.
fn look(facts: &Facts<'_>) -> Option<Step> {
    let unanswered = facts.change.to_look_for(facts.capabilities)?;
    let place = unanswered.place()?;
    // In a folder that is gone nothing is left to be found.
    let parent = there(facts, place.parent)?;
    Some(Step::Look {
        parent,
        name: place.name.clone(),
        at: unanswered.at,
    })
}

fn removal(facts: &Facts<'_>) -> Step {
    let change = facts.change;
    if change.id.is_none() {
        return Step::Forget;
    }
    if let Some(old) = change.leftovers.first() {
        return Step::RemoveLeftover(old.clone());
    }
    if let Some(other) = facts.work_inside {
        return Step::WaitFor(other);
    }
    let left = change
        .placing
        .iter()
        .flat_map(|p| p.left())
        .filter_map(|f| there(facts, f))
        .collect();
    Step::Remove { left }
}

fn there(facts: &Facts<'_>, folder: Ino) -> Option<ItemId> {
    (facts.folder)(folder).id().cloned()
}

/// The folder and name of a node that must get there; `Err` is the step to take instead.
fn target(facts: &Facts<'_>) -> Result<(ItemId, Name), Step> {
    let place = facts.change.placing.as_ref().and_then(|p| p.now.first());
    let Some(place) = place else {
        return Err(Step::Park("it has no place in the tree".into()));
    };
    let parent = match (facts.folder)(place.parent) {
        Folder::There(id) => id,
        Folder::Awaited => return Err(Step::WaitFor(place.parent)),
        Folder::Stuck => return Err(Step::WaitFor(place.parent)),
        Folder::Leaving(_) | Folder::Gone => return Err(Step::Park("its folder was removed".into())),
    };
    Ok((parent, place.name.clone()))
}

fn creation(facts: &Facts<'_>) -> Step {
    let change = facts.change;
    if let Some(claimed) = change.claim {
        return Step::DecideClaim(claimed);
    }
    let (parent, name) = match target(facts) {
        Ok(target) => target,
        Err(step) => return step,
    };
    if let Some(rule) = (facts.objection)(&name) {
        return Step::Park(rule);
    }
    let place = change.placing.as_ref().and_then(|p| p.now.first());
    if facts.capabilities.sibling_names == SiblingNames::Unique
        && let Some(place) = place
    {
        match (facts.occupant)(place.parent, &name) {
            Occupant::Nobody | Occupant::Swapping => {}
            Occupant::Leaving(other) => return Step::WaitFor(other),
        }
    }
    match change.kind {
        Kind::Folder => Step::CreateFolder { parent, name },
        Kind::File => {
            let empty = change.staged.as_ref().is_none_or(|s| s.size == 0) && change.copy_of.is_none();
            if empty && facts.capabilities.empty_files == Support::No {
                return Step::KeepLocal(LocalReason::Empty);
            }
            Step::Create { parent, name }
        }
    }
}

fn folder(facts: &Facts<'_>) -> Step {
    match moving(facts) {
        Some(step) => step,
        None if !facts.change.fields.is_empty() => Step::SetFields,
        None => Step::Done,
    }
}

/// A native change of name or folders, when there is one to make.
fn moving(facts: &Facts<'_>) -> Option<Step> {
    let placing = facts.change.placing.as_ref().filter(|p| p.is_moved())?;
    let mut name = placing.renamed().cloned();
    if let Some(name) = &name
        && let Some(rule) = (facts.objection)(name)
    {
        return Some(Step::Park(rule));
    }
    let mut entered = Vec::new();
    for parent in placing.entered() {
        match (facts.folder)(parent) {
            Folder::There(id) => entered.push(id),
            Folder::Awaited | Folder::Stuck => return Some(Step::WaitFor(parent)),
            Folder::Leaving(_) | Folder::Gone => return Some(Step::Park("its new folder was removed".into())),
        }
    }
    let left = placing.left().filter_map(|f| there(facts, f)).collect();
    let mut swapping = false;
    if facts.capabilities.sibling_names == SiblingNames::Unique
        && let Some(place) = placing.now.first()
    {
        match (facts.occupant)(place.parent, &place.name) {
            Occupant::Nobody => {}
            Occupant::Leaving(other) => return Some(Step::WaitFor(other)),
            Occupant::Swapping => {
                swapping = true;
                name = Some(way_station(facts.change.ino, &place.name));
            }
        }
    }
    if name.is_none() && entered.is_empty() && Vec::is_empty(&left) {
        return None;
    }
    Some(Step::Relocate {
        name,
        left,
        entered,
        swapping,
    })
}

/// A name for the moment in which two nodes swap theirs.
fn way_station(ino: Ino, name: &Name) -> Name {
    Name::from_store(&format!("swap-{}{}", ino.0, name.split().1))
}

fn file(facts: &Facts<'_>) -> Step {
    let change = facts.change;
    let capabilities = facts.capabilities;
    let placing = change.placing.as_ref().filter(|p| p.is_moved());
    let moved = placing.is_some_and(|p| p.left().next().is_some() || p.entered().next().is_some());
    let renamed = placing.is_some_and(|p| p.renamed().is_some());
    let bytes_overwrite = change.staged.is_some() && capabilities.overwrite == Overwrite::Reupload;
    let empty = change.staged.as_ref().is_some_and(|s| s.size == 0);
    if empty && capabilities.empty_files == Support::No {
        return Step::KeepLocal(LocalReason::Empty);
    }
    let reupload = bytes_overwrite
        || (moved && capabilities.move_file == MoveFile::Reupload)
        || (renamed && capabilities.rename_file == RenameFile::Reupload);
    if reupload {
        return match target(facts) {
            Err(step) => step,
            Ok((_, name)) if (facts.objection)(&name).is_some() => {
                Step::Park((facts.objection)(&name).unwrap_or_default())
            }
            Ok((parent, name)) => Step::Reupload { parent, name },
        };
    }
    if let Some(old) = change.leftovers.first() {
        return Step::RemoveLeftover(old.clone());
    }
    let native = match capabilities.rename_file {
        RenameFile::Relocate => true,
        // The name travels with the bytes; only the folders move by themselves.
        RenameFile::Replace | RenameFile::Reupload => moved,
    };
    if native && let Some(step) = moving(facts) {
        return match (step, capabilities.rename_file) {
            (step, RenameFile::Relocate) => step,
            (Step::Relocate { left, entered, .. }, RenameFile::Replace | RenameFile::Reupload) => Step::Relocate {
                name: None,
                left,
                entered,
                swapping: false,
            },
            (step, RenameFile::Replace | RenameFile::Reupload) => step,
        };
    }
    let name = placing
        .and_then(|p| p.renamed())
        .or_else(|| change.name_in_doubt())
        .filter(|_| capabilities.rename_file == RenameFile::Replace)
        .cloned();
    if change.staged.is_some() || name.is_some() {
        if let Some(rule) = name.as_ref().and_then(|n| (facts.objection)(n)) {
            return Step::Park(rule);
        }
        return Step::Replace { name };
    }
    if !change.fields.is_empty() {
        return Step::SetFields;
    }
    Step::Done
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Place, Staged};
    use crate::model::ContentVersion;
    use crate::store::memory as presets;

    fn places(list: &[(u64, &str)]) -> Vec<Place> {
        list.iter()
            .map(|(p, n)| Place {
                parent: Ino(*p),
                name: Name::new(n).expect("valid"),
            })
            .collect()
    }

    fn change(id: Option<&str>, base: &[(u64, &str)], now: &[(u64, &str)]) -> Change {
        let mut change = Change::of(Ino(9), Kind::File, id.map(ItemId::new), 1, Timestamp::from_secs(10));
        change.placing = Some(Placing {
            base: places(base),
            now: places(now),
        });
        change
    }

    fn staged(size: u64) -> Option<Staged> {
        let base = Some(ContentVersion::new("1"));
        Some(Staged {
            body: "b".into(),
            size,
            base,
            phase: Phase::Closed,
            whole: true,
            generation: 1,
        })
    }

    fn step(change: &Change, capabilities: &Capabilities) -> Step {
        plan(&Facts {
            change,
            capabilities,
            now: Timestamp::from_secs(20),
            being_written: false,
            work_inside: None,
            unsure_above: None,
            copy: None,
            waits_for_this: &|_| false,
            folder: &|ino| Folder::There(ItemId::of("folder", ino.0)),
            occupant: &|_, _| Occupant::Nobody,
            objection: &|name| name.as_str().ends_with(".bad").then(|| "no .bad here".to_owned()),
        })
    }

    fn name(text: &str) -> Name {
        Name::new(text).expect("valid")
    }

    #[test]
    fn what_was_made_and_removed_again_costs_nothing() {
        assert_eq!(step(&change(None, &[], &[]), &presets::like_imagerelay()), Step::Forget);
        let unmoved = change(Some("file:1"), &[(1, "a")], &[(1, "a")]);
        assert_eq!(step(&unmoved, &presets::like_imagerelay()), Step::Done);
    }

    #[test]
    fn a_rename_of_dirty_bytes_is_one_replace_where_the_name_travels_with_them() {
        let mut change = change(Some("file:1"), &[(1, "a.jpg")], &[(1, "b.jpg")]);
        change.staged = staged(5);
        assert_eq!(
            step(&change, &presets::like_imagerelay()),
            Step::Replace {
                name: Some(name("b.jpg"))
            }
        );
        let parent = ItemId::of("folder", 1);
        assert_eq!(
            step(&change, &presets::like_omeka()),
            Step::Reupload {
                parent,
                name: name("b.jpg")
            }
        );
        let flextype = step(&change, &presets::like_flextype());
        assert!(matches!(flextype, Step::Relocate { name: Some(_), .. }), "{flextype:?}");
    }

    #[test]
    fn a_move_leaves_one_folder_and_enters_the_other() {
        let change = change(Some("file:1"), &[(1, "a"), (3, "a")], &[(2, "a"), (3, "a")]);
        let want = Step::Relocate {
            name: None,
            left: vec![ItemId::of("folder", 1)],
            entered: vec![ItemId::of("folder", 2)],
            swapping: false,
        };
        assert_eq!(step(&change, &presets::like_imagerelay()), want);
    }

    /// A file that was moved out of a folder which was then removed was only linked into its new folder, because the old
    /// one counted as gone: it stayed in the old one, which could not be removed and came back. It is left by name as
    /// long as it is in the store.
    #[test]
    fn a_folder_that_is_to_be_removed_is_left_in_the_store() {
        let moved = change(Some("file:1"), &[(1, "a")], &[(2, "a")]);
        let removed = change(Some("file:1"), &[(1, "a")], &[]);
        let capabilities = presets::like_imagerelay();
        let of = |ino: Ino| match ino.0 {
            1 => Folder::Leaving(ItemId::of("folder", 1)),
            other => Folder::There(ItemId::of("folder", other)),
        };
        let planned = |change: &Change| {
            plan(&Facts {
                change,
                capabilities: &capabilities,
                now: Timestamp::from_secs(20),
                being_written: false,
                work_inside: None,
                unsure_above: None,
                copy: None,
                waits_for_this: &|_| false,
                folder: &of,
                occupant: &|_, _| Occupant::Nobody,
                objection: &|_| None,
            })
        };
        let left = vec![ItemId::of("folder", 1)];
        let want = Step::Relocate {
            name: None,
            left: left.clone(),
            entered: vec![ItemId::of("folder", 2)],
            swapping: false,
        };
        assert_eq!(planned(&moved), want);
        assert_eq!(planned(&removed), Step::Remove { left });
        let back = change(Some("file:1"), &[(2, "a")], &[(1, "a")]);
        assert!(matches!(planned(&back), Step::Park(_)), "nothing is sent into it");
    }

    #[test]
    fn waits_for_its_time_its_writer_and_its_folder() {
        let mut early = change(None, &[], &[(1, "a")]);
        early.ready_at = Timestamp::from_secs(30);
        assert_eq!(
            step(&early, &presets::like_imagerelay()),
            Step::WaitUntil(Timestamp::from_secs(30))
        );
        let change = change(None, &[], &[(5, "a")]);
        let capabilities = presets::like_imagerelay();
        let mut facts = Facts {
            change: &change,
            capabilities: &capabilities,
            now: Timestamp::from_secs(20),
            being_written: true,
            work_inside: None,
            unsure_above: None,
            copy: None,
            waits_for_this: &|_| false,
            folder: &|_| Folder::Awaited,
            occupant: &|_, _| Occupant::Nobody,
            objection: &|_| None,
        };
        assert_eq!(plan(&facts), Step::Idle);
        facts.being_written = false;
        assert_eq!(plan(&facts), Step::WaitFor(Ino(5)));
        facts.folder = &|_| Folder::Gone;
        assert!(
            matches!(plan(&facts), Step::Park(_)),
            "never recreates a folder that somebody removed"
        );
    }

    #[test]
    fn names_that_the_store_refuses_are_parked_with_its_rule() {
        let mut change = change(None, &[], &[(1, "x.bad")]);
        change.state = State::Local {
            why: LocalReason::NameRefused,
        };
        assert_eq!(
            step(&change, &presets::like_imagerelay()),
            Step::Park("no .bad here".into())
        );
    }

    #[test]
    fn bytes_of_a_killed_writer_are_not_published() {
        let mut change = change(Some("file:1"), &[(1, "a")], &[(1, "a")]);
        change.staged = staged(5).map(|s| Staged {
            phase: Phase::Open,
            ..s
        });
        assert!(matches!(step(&change, &presets::like_imagerelay()), Step::Park(_)));
    }

    #[test]
    fn a_reuploaded_file_is_removed_only_after_its_bytes_are_in_place() {
        let mut change = change(Some("file:2"), &[(1, "a.jpg")], &[(1, "a.jpg")]);
        let old = KnownItem {
            id: ItemId::new("file:1"),
            version: Some(ContentVersion::new("1")),
            size: None,
        };
        change.leftovers = vec![old.clone()];
        assert_eq!(step(&change, &presets::like_omeka()), Step::RemoveLeftover(old));
    }
}
