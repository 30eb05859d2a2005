//! A pending change: what a node is to become in the store. One row per node, holding the wanted state and not a list of
//! operations, so that renames collapse, fields coalesce and what is created and removed again costs nothing.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{ContentVersion, Entry, FieldChanges, Ino, ItemId, Kind, Name, Timestamp};
use crate::store::{Capabilities, IdScheme, RenameFile, Resume};

/// A listing that began before this much after a change may not show it, whatever the store promises.
const SETTLE_MIN: Duration = Duration::from_secs(60);

/// One name of a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// The folder.
    pub parent: Ino,
    /// The name in it.
    pub name: Name,
}

/// Where a node was when its change began, and where it is to be. Hides the catalog's edges of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placing {
    /// The names the store knows; empty for a node that is not there yet.
    pub base: Vec<Place>,
    /// The names shown; empty for a removed node.
    pub now: Vec<Place>,
}

impl Placing {
    /// Stays where it is.
    pub fn unmoved(places: Vec<Place>) -> Self {
        Self {
            base: places.clone(),
            now: places,
        }
    }

    /// Whether anything is to be done in the store.
    pub fn is_moved(&self) -> bool {
        self.base != self.now
    }

    /// The new name, when it is to change. All names of a node are one name in a store.
    pub fn renamed(&self) -> Option<&Name> {
        let now = self.now.first()?;
        let kept = self
            .base
            .iter()
            .any(|base| self.now.iter().any(|now| now.name == base.name));
        (!kept && !self.base.is_empty()).then_some(&now.name)
    }

    /// Folders that it left.
    pub fn left(&self) -> impl Iterator<Item = Ino> + '_ {
        self.base
            .iter()
            .map(|p| p.parent)
            .filter(|p| !self.now.iter().any(|n| n.parent == *p))
    }

    /// Folders that it came into.
    pub fn entered(&self) -> impl Iterator<Item = Ino> + '_ {
        self.now
            .iter()
            .map(|p| p.parent)
            .filter(|p| !self.base.iter().any(|b| b.parent == *p))
    }
}

/// Whether a staged body may be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// A program is writing. After a crash such a body is kept aside and not uploaded by itself.
    Open,
    /// Complete and synced: the last close (or fsync) returned 0.
    Closed,
}

/// New bytes of a file, in `staging/`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staged {
    /// The body's name in `staging/`.
    pub body: String,
    /// Its length in bytes at the last flush.
    pub size: u64,
    /// The store's version that the writing began on; `None` for a file that is new.
    pub base: Option<ContentVersion>,
    /// Whether it may be published.
    pub phase: Phase,
    /// Whether every byte is there: not while the rest of an asset's old bytes is still to be fetched.
    pub whole: bool,
    /// Counts the closes, so that an upload knows whether it sent the last one.
    pub generation: u64,
}

/// Where a change stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// To be carried out when it is ready.
    Pending,
    /// Carried out at that time; kept until a listing that began later shows it.
    Settling {
        /// When the store confirmed it.
        at: Timestamp,
    },
    /// The request may or may not have been carried out: the store is asked before it is sent again.
    Ambiguous {
        /// When the answer failed to come.
        at: Timestamp,
    },
    /// A deletion beyond the brake: not sent until it is approved.
    Held,
    /// The store refuses it for good; only the user moves it on.
    Parked {
        /// Why, for people.
        reason: String,
    },
    /// Somebody else changed the asset: these bytes are a local copy beside it.
    Conflict {
        /// The asset that both were changes of.
        of: ItemId,
    },
    /// Stays on this machine.
    Local {
        /// Why.
        why: LocalReason,
    },
}

/// Why a file stays on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LocalReason {
    /// A program's own scratch file, told by its name.
    Junk,
    /// The store refuses such names; parked when it still has it 60 s after its last close.
    NameRefused,
    /// The store keeps no file without bytes.
    Empty,
}

/// A request that publishes something and of which no answer has come yet. It is noted before it is sent, so that neither
/// a lost answer nor the end of the program makes a second copy, or a conflict of ours with ourselves, whatever the user
/// does to the node in the meantime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unanswered {
    /// When it was sent.
    pub at: Timestamp,
    /// The change as it was then: under this name, with these bytes, the store may have it.
    pub sent: Box<Change>,
    /// What tells the bytes that were sent from others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Fingerprint>,
    /// What was moved: where ids are paths, another may have the old one by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved: Option<KnownItem>,
}

/// What tells bytes from others without keeping them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// How many they are.
    pub size: u64,
    /// Lower-case hex.
    pub md5: String,
}

/// An item of the store as it was known at some time: what is to be done with it is about that version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "KnownItemRow")]
pub struct KnownItem {
    /// Which one.
    pub id: ItemId,
    /// Its version then; `None` in rows of a time when that was not kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<ContentVersion>,
    /// Its length in bytes, where that matters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

impl KnownItem {
    /// Whether what the store has now is what it was then.
    pub fn is(&self, entry: &Entry) -> bool {
        self.id == entry.id && self.version.as_ref().is_none_or(|version| *version == entry.version)
    }
}

impl From<&Entry> for KnownItem {
    /// As it is now.
    fn from(entry: &Entry) -> Self {
        Self {
            id: entry.id.clone(),
            version: Some(entry.version.clone()),
            size: entry.size,
        }
    }
}

/// The forms in which rows have it.
#[derive(Deserialize)]
#[serde(untagged)]
enum KnownItemRow {
    Id(ItemId),
    Whole {
        id: ItemId,
        version: Option<ContentVersion>,
        size: Option<u64>,
    },
}

impl From<KnownItemRow> for KnownItem {
    fn from(row: KnownItemRow) -> Self {
        match row {
            KnownItemRow::Id(id) => Self {
                id,
                version: None,
                size: None,
            },
            KnownItemRow::Whole { id, version, size } => Self { id, version, size },
        }
    }
}

/// An upload that goes on where it stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// How far it got.
    #[serde(flatten)]
    pub upload: Resume,
    /// The fields that the store has been told of with it, if [`Resume::fields_told`]. Those set since follow by themselves.
    #[serde(default, skip_serializing_if = "FieldChanges::is_empty")]
    pub fields: FieldChanges,
    /// What the file was to be called then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
}

impl Begun {
    /// What is kept of an upload of this change; `None` where there is nothing to go on with, and what it may have made is to
    /// be looked for.
    pub(super) fn of(upload: &Resume, change: &Change) -> Option<Self> {
        let fields = match upload.fields_told {
            true => change.fields.clone(),
            false => FieldChanges::new(),
        };
        (*upload != Resume::default()).then(|| Self {
            upload: upload.clone(),
            fields,
            name: change.name().cloned(),
        })
    }
}

/// The wanted state of one node, as far as it differs from what the catalog says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Which node.
    pub ino: Ino,
    /// File or folder.
    pub kind: Kind,
    /// Who it is in the store; `None` while it is not there.
    pub id: Option<ItemId>,
    /// Its names, when they are not the catalog's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placing: Option<Placing>,
    /// Its bytes, when they are not the store's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staged: Option<Staged>,
    /// Fields to set.
    #[serde(default, skip_serializing_if = "FieldChanges::is_empty")]
    pub fields: FieldChanges,
    /// Where it stands.
    pub state: State,
    /// Order in which changes began.
    pub seq: u64,
    /// Not to be carried out before this.
    pub ready_at: Timestamp,
    /// Failed tries in a row.
    #[serde(default)]
    pub attempts: u32,
    /// What the last try said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// An upload of the staged bytes that was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<Begun>,
    /// The store's note of an upload that has left something behind there ([`Resume::half_done`]): it is gone on with, or
    /// rolled back before anything else is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub half_done: Option<String>,
    /// What may have been made already: looked for before anything is made again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unanswered: Option<Unanswered>,
    /// What the store may have done to the item: new versions, against which another version there than the base is first
    /// held, and a move ([`Unanswered::is_move`]), which is looked into before anything else is sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unconfirmed: Vec<Unanswered>,
    /// Not yet published, but made under a name that the same program had just moved this node away from: if that one
    /// goes, these bytes are its new version (identity rules 1 and 2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<Ino>,
    /// A node that claims this one's identity: this one waits until that is decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_by: Option<Ino>,
    /// Assets that these bytes replace in a store without versions: removed once the new one is verified.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leftovers: Vec<KnownItem>,
    /// When the store last confirmed a change of its names: listings may not show them for a while yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placed_at: Option<Timestamp>,
    /// First sight of "not found" for a published node: believed only when it is repeated a minute later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_since: Option<Timestamp>,
    /// The version that the store was asked to remove, whatever became of that: where ids are paths, another is another file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removing: Option<ContentVersion>,
    /// What it is a copy of that the store is to make by itself: there are no bytes of its own here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_of: Option<KnownItem>,
    /// Approved by the user although it is beyond the deletion brake.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub approved: bool,
}

impl Change {
    /// An empty change of a node.
    pub fn of(ino: Ino, kind: Kind, id: Option<ItemId>, seq: u64, ready_at: Timestamp) -> Self {
        Self {
            ino,
            kind,
            id,
            placing: None,
            staged: None,
            fields: FieldChanges::new(),
            state: State::Pending,
            seq,
            ready_at,
            attempts: 0,
            last_error: None,
            resume: None,
            half_done: None,
            unanswered: None,
            unconfirmed: Vec::new(),
            claim: None,
            claimed_by: None,
            leftovers: Vec::new(),
            placed_at: None,
            missing_since: None,
            removing: None,
            copy_of: None,
            approved: false,
        }
    }

    /// The change as its upload carries it out, which may have been begun with other fields.
    pub(super) fn as_begun(&self) -> Cow<'_, Self> {
        match &self.resume {
            Some(begun) if begun.upload.fields_told && begun.fields != self.fields => Cow::Owned(Self {
                fields: begun.fields.clone(),
                ..self.clone()
            }),
            Some(_) | None => Cow::Borrowed(self),
        }
    }

    /// The change as a request carries it out.
    pub(super) fn as_sent(&self) -> Box<Self> {
        Box::new(Self {
            unanswered: None,
            unconfirmed: Vec::new(),
            resume: None,
            half_done: None,
            ..self.clone()
        })
    }

    /// What is to be looked for before the next request: the store itself does that for an upload that it can resume, unless
    /// that takes the place of an asset, of which the catalog may no longer know. A move that is asked for again changes
    /// nothing where it was carried out, as long as the item is found.
    pub fn to_look_for(&self, capabilities: &Capabilities) -> Option<&Unanswered> {
        let lost = matches!(self.state, State::Ambiguous { .. }) || self.resume.is_none() || self.id.is_some();
        let is_repeated = |note: &Unanswered| {
            capabilities.ids == IdScheme::Stable && note.sent.placing == self.placing_asked(None, capabilities)
        };
        let moved = || self.asked_move().filter(|note| !is_repeated(note));
        self.unanswered.as_ref().filter(|_| lost).or_else(moved)
    }

    /// Where a native change of place brings it, which where the name travels with the bytes leaves that as it is. `name` is
    /// that of a way-station.
    pub(super) fn placing_asked(&self, name: Option<&Name>, capabilities: &Capabilities) -> Option<Placing> {
        let mut asked = self.placing.clone()?;
        let is_native = self.kind == Kind::Folder || capabilities.rename_file == RenameFile::Relocate;
        let old = || asked.renamed().and(asked.base.first()).map(|place| place.name.clone());
        let other = match is_native {
            true => name.cloned(),
            false => old(),
        };
        if let Some(other) = other {
            asked.now.iter_mut().for_each(|place| place.name = other.clone());
        }
        Some(asked)
    }

    /// The move that the store was asked for and that has not been answered.
    pub fn asked_move(&self) -> Option<&Unanswered> {
        self.unconfirmed.iter().find(|note| note.is_move())
    }

    /// Requests without an answer, of each of which something may show under another name than before.
    pub fn asked(&self) -> impl Iterator<Item = &Unanswered> {
        self.unanswered.iter().chain(self.asked_move())
    }

    /// Until when listings may show the names that it had before; `lag` is what the store admits.
    pub fn settles_at(&self, lag: Duration) -> Option<Timestamp> {
        self.placed_at.map(|at| at.plus(lag.max(SETTLE_MIN)))
    }

    /// The same change of a node that the store no longer has.
    pub fn unpublished(&self) -> Self {
        let mut own = self.clone();
        own.id = None;
        own.resume = None;
        own.unconfirmed.clear();
        if let Some(placing) = &mut own.placing {
            placing.base.clear();
        }
        if let Some(staged) = &mut own.staged {
            staged.base = None;
        }
        own
    }

    /// Whether the node is to be gone.
    pub fn is_removal(&self) -> bool {
        self.placing.as_ref().is_some_and(|p| p.now.is_empty())
    }

    /// Whether anything is left to tell the store.
    pub fn is_empty(&self) -> bool {
        self.staged.is_none()
            && self.fields.is_empty()
            && self.leftovers.is_empty()
            && self.half_done.is_none()
            && self.unanswered.is_none()
            && self.asked_move().is_none()
            && self.name_in_doubt().is_none()
            && self.id.is_some()
            && self.placing.as_ref().is_none_or(|p| !p.is_moved())
    }

    /// Its name, where bytes that were sent under another one may be in the store.
    pub fn name_in_doubt(&self) -> Option<&Name> {
        self.sent_under_another_name().next().and(self.name())
    }

    /// Requests without an answer that may have given it another name, with bytes.
    pub fn sent_under_another_name(&self) -> impl Iterator<Item = &Unanswered> {
        let asked = self.unconfirmed.iter().filter(|note| note.bytes.is_some());
        asked.filter(|note| note.sent.name().is_some_and(|name| Some(name) != self.name()))
    }

    /// Whether an upload that was begun may have been published under another name than this one.
    pub(super) fn is_begun_otherwise(&self, begun: &Begun, bytes: &Fingerprint) -> bool {
        let mut sent = self.sent_under_another_name().filter_map(|note| note.bytes.as_ref());
        begun.name.as_ref() != self.name() && sent.any(|sent| sent == bytes)
    }

    /// Its name, when it is not the catalog's.
    pub(super) fn name(&self) -> Option<&Name> {
        Some(&self.placing.as_ref()?.now.first()?.name)
    }

    /// Whether it still waits for the store or the user (a settled or local one does not).
    pub fn is_outstanding(&self) -> bool {
        match self.state {
            State::Pending | State::Ambiguous { .. } | State::Held | State::Parked { .. } | State::Conflict { .. } => {
                true
            }
            State::Settling { .. } | State::Local { .. } => false,
        }
    }

    /// Whether only the user moves it on.
    pub fn waits_for_user(&self) -> bool {
        match self.state {
            State::Held | State::Parked { .. } | State::Conflict { .. } => true,
            State::Pending | State::Ambiguous { .. } | State::Settling { .. } | State::Local { .. } => false,
        }
    }

    /// Whether the uploader is to look at it.
    pub fn is_scheduled(&self) -> bool {
        match self.state {
            // Whatever becomes of it, the store is not left like that.
            _ if self.half_done.is_some() => true,
            State::Pending | State::Ambiguous { .. } | State::Settling { .. } => true,
            State::Local { why } => match why {
                LocalReason::NameRefused => true,
                LocalReason::Junk | LocalReason::Empty => false,
            },
            State::Held | State::Parked { .. } | State::Conflict { .. } => false,
        }
    }
}

/// Whether a store may keep other bytes than it was sent (a re-encoded image).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alteration {
    /// What is sent is kept.
    Never,
    /// Sizes and digests prove nothing.
    Possible,
}

impl Alteration {
    /// Of a file of this name, by a store with these capabilities.
    pub fn of(name: &str, capabilities: &Capabilities) -> Self {
        match capabilities.may_alter(name) {
            true => Self::Possible,
            false => Self::Never,
        }
    }
}

impl Unanswered {
    /// Whether another name or folder was asked for, which sends no bytes.
    pub fn is_move(&self) -> bool {
        self.sent.id.is_some() && self.bytes.is_none()
    }

    /// The name that it may have given, with the folder.
    pub fn place(&self) -> Option<&Place> {
        self.sent.placing.as_ref()?.now.first()
    }

    /// Whether an entry of `folder` may be what the request made.
    pub fn may_have_made(&self, folder: Ino, entry: &Entry, capabilities: &Capabilities) -> bool {
        if self.is_move() && capabilities.ids == IdScheme::Stable {
            // It is what it was before, under whatever name.
            return false;
        }
        let altered = match self.is_move() {
            // What was moved has the bytes of the store, not those that wait here.
            true => Alteration::Possible,
            false => Alteration::of(&entry.name, capabilities),
        };
        let places = self.sent.placing.iter().flat_map(|p| &p.now);
        let mut places = places.take(1).filter(|place| place.parent == folder);
        entry.kind == self.sent.kind && places.any(|place| resembles(entry, &place.name, &self.sent, altered))
    }
}

/// Whether an entry is what a request for this change, under this name, would have made.
pub(super) fn resembles(entry: &Entry, name: &Name, change: &Change, alteration: Alteration) -> bool {
    let size = match alteration {
        Alteration::Never => {
            let copied = change.copy_of.as_ref().and_then(|source| source.size);
            change.staged.as_ref().map(|s| s.size).or(copied)
        }
        Alteration::Possible => None,
    };
    name.may_be_stored_as(&entry.name)
        && (change.kind == Kind::Folder || size.is_none() || entry.size.is_none() || entry.size == size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(parent: u64, name: &str) -> Place {
        Place {
            parent: Ino(parent),
            name: Name::new(name).expect("valid"),
        }
    }

    /// A field that the store refused could never be corrected: the first one was sent for ever.
    #[test]
    fn an_upload_goes_on_with_the_fields_that_the_store_has_been_told_of() {
        let fields = |text: &str| FieldChanges::from([("caption".to_owned(), vec![text.into()])]);
        let note = Resume {
            upload: "what was there before".into(),
            ..Resume::default()
        };
        let job = Resume {
            fields_told: true,
            ..note.clone()
        };
        assert_eq!(
            Begun::of(
                &Resume::default(),
                &Change {
                    fields: fields("x"),
                    ..Change::of(Ino(7), Kind::File, None, 1, Timestamp::from_secs(5))
                }
            ),
            None,
            "nothing to go on with"
        );
        for (upload, expected) in [(note, "corrected"), (job, "refused")] {
            let mut change = Change::of(Ino(7), Kind::File, None, 1, Timestamp::from_secs(5));
            change.fields = fields("refused");
            change.resume = Begun::of(&upload, &change);
            change.fields = fields("corrected");
            assert_eq!(change.as_begun().fields, fields(expected));
        }
    }

    /// Rows of a time when fields were not kept with them.
    #[test]
    fn an_upload_that_an_older_version_began_is_read() {
        let row = serde_json::json!({"upload": "job 1 2", "chunks": [1], "chunk_bytes": 4});
        let begun: Begun = serde_json::from_value(row).expect("a row");
        assert_eq!((begun.upload.chunks, begun.fields.len()), (vec![1], 0));
    }

    #[test]
    fn a_move_is_not_a_rename_and_back_again_is_nothing() {
        let moved = Placing {
            base: vec![place(1, "a")],
            now: vec![place(2, "a")],
        };
        assert_eq!(moved.renamed(), None);
        assert_eq!(moved.left().collect::<Vec<_>>(), [Ino(1)]);
        assert_eq!(moved.entered().collect::<Vec<_>>(), [Ino(2)]);
        let renamed = Placing {
            base: vec![place(1, "a")],
            now: vec![place(1, "b")],
        };
        assert_eq!(renamed.renamed().map(Name::as_str), Some("b"));
        assert!(!Placing::unmoved(vec![place(1, "a")]).is_moved());
    }

    #[test]
    fn rows_survive_the_database() {
        let mut change = Change::of(Ino(7), Kind::File, None, 1, Timestamp::from_secs(5));
        change.placing = Some(Placing {
            base: vec![],
            now: vec![place(1, "ä\n")],
        });
        change.fields.insert("tags".into(), vec!["x".into()]);
        change.copy_of = Some(KnownItem {
            id: ItemId::new("file:1"),
            version: Some(ContentVersion::new("7")),
            size: Some(3),
        });
        let text = serde_json::to_string(&change).expect("encodes");
        assert_eq!(serde_json::from_str::<Change>(&text).expect("decodes"), change);
        let old = text.replace(r#"{"id":"file:1","version":"7","size":3}"#, r#""file:1""#);
        let old: Change = serde_json::from_str(&old).expect("decodes");
        assert_eq!(old.copy_of.map(|source| source.id), Some(ItemId::new("file:1")));
    }
}
