//! The ids of this store: `project:12`, `category:12-2`, `file:12-17`. A file's id holds its project, which it never
//! leaves, and not its category, which it may.

use crate::model::ItemId;
use crate::store::{ErrorKind, Result, StoreError};

/// What an id names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Place {
    /// The folder of all projects.
    Root,
    /// A project.
    Project(u64),
    /// A category of a project; 0 is the uncategorised.
    Category(u64, u64),
    /// A file of a project.
    File(u64, u64),
}

impl Place {
    /// Reads an id.
    pub(super) fn of(id: &ItemId) -> Result<Self> {
        let pair = |key: &str| {
            let (project, inner) = key.split_once('-')?;
            Some((project.parse().ok()?, inner.parse().ok()?))
        };
        let place = if let Some(key) = id.key_in("project") {
            key.parse().ok().map(Place::Project)
        } else if let Some(key) = id.key_in("category") {
            pair(key).map(|(project, category)| Place::Category(project, category))
        } else if let Some(key) = id.key_in("file") {
            pair(key).map(|(project, file)| Place::File(project, file))
        } else {
            (id.as_str() == "root:").then_some(Place::Root)
        };
        let unknown =
            || StoreError::new(ErrorKind::Invalid, "read an id", id.as_str()).because("no im4 item has such an id");
        place.ok_or_else(unknown)
    }

    /// The id.
    pub(super) fn id(self) -> ItemId {
        match self {
            Place::Root => ItemId::of("root", ""),
            Place::Project(project) => ItemId::of("project", project),
            Place::Category(project, category) => ItemId::of("category", format_args!("{project}-{category}")),
            Place::File(project, file) => ItemId::of("file", format_args!("{project}-{file}")),
        }
    }

    /// An error about it.
    pub(super) fn error(self, kind: ErrorKind, operation: &'static str) -> StoreError {
        StoreError::new(kind, operation, self.id().as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_survives_as_an_id() {
        for place in [
            Place::Root,
            Place::Project(12),
            Place::Category(12, 0),
            Place::File(12, 17),
        ] {
            assert_eq!(Place::of(&place.id()).unwrap(), place);
        }
        for bad in ["file:12", "file:a-b", "project:", "item:1", "category:1-2-3"] {
            assert!(Place::of(&ItemId::new(bad)).is_err(), "{bad}");
        }
    }
}
