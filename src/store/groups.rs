//! Assets that belong together without being in one folder.

use crate::model::{ItemId, Timestamp};

use super::Support;

/// What [`super::Store::group`] is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Group {
    /// What carries this tag.
    Tag(String),
    /// What was made or changed after this time.
    Recent(Timestamp),
    /// What somebody put together under a name.
    Collection(ItemId),
}

/// A collection by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collection {
    /// Who it is.
    pub id: ItemId,
    /// What the store calls it.
    pub name: String,
}

/// Which groups a store knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Groups {
    /// [`Group::Tag`].
    pub tags: Support,
    /// [`Group::Recent`].
    pub recent: Support,
    /// [`Group::Collection`], with [`super::Store::collections`] and [`super::Store::add_to_collection`].
    pub collections: Support,
}

impl Groups {
    /// A store without any.
    pub const NONE: Groups = Groups {
        tags: Support::No,
        recent: Support::No,
        collections: Support::No,
    };
}
