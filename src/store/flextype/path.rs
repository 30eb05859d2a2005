//! Paths below the uploads folder: checked once, and the only thing that is ever put into a request.

use std::fmt;

use crate::model::{ItemId, Kind, Name, SLASH_STAND_IN};
use crate::store::{ErrorKind, Result, StoreError};

/// A path without a leading slash; empty for the uploads folder itself. No segment of it is empty, `.`, `..` or `.meta`,
/// and none holds a NUL.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct RemotePath(String);

impl RemotePath {
    /// The uploads folder.
    pub(super) fn root() -> Self {
        Self(String::new())
    }

    /// Checks a path.
    pub(super) fn parse(path: &str) -> Option<Self> {
        let path = path.strip_prefix('/').unwrap_or(path);
        if path.is_empty() {
            return Some(Self::root());
        }
        let climbs = |part: &str| matches!(part, "" | "." | ".." | ".meta") || part.contains('\0');
        (!path.split('/').any(climbs)).then(|| Self(path.to_owned()))
    }

    /// The path behind an id, when it is of that kind.
    pub(super) fn of_id(id: &ItemId, kind: Kind) -> Result<Self> {
        id.key_in(namespace(kind)).and_then(Self::parse).ok_or_else(|| {
            StoreError::new(ErrorKind::Invalid, "read an id", id.as_str())
                .because("this is not a path below the uploads")
        })
    }

    /// The path behind any id.
    pub(super) fn of_any(id: &ItemId) -> Result<(Kind, Self)> {
        let kind = if id.key_in(namespace(Kind::Folder)).is_some() {
            Kind::Folder
        } else {
            Kind::File
        };
        Ok((kind, Self::of_id(id, kind)?))
    }

    /// A child of this folder. A slash in a store's name stands as U+2215 here, because files on the site are real files.
    pub(super) fn child(&self, name: &str) -> Result<Self> {
        let name = name.replace('/', &SLASH_STAND_IN.to_string());
        let path = if self.is_root() {
            name
        } else {
            format!("{}/{name}", self.0)
        };
        Self::parse(&path).filter(|path| !path.is_root()).ok_or_else(|| {
            StoreError::new(ErrorKind::Invalid, "build a path", path).because("this name would lead out of its folder")
        })
    }

    /// A child with a local name.
    pub(super) fn join(&self, name: &Name) -> Result<Self> {
        self.child(name.as_str())
    }

    /// As the API wants it.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The folder it is in; the root for the root.
    pub(super) fn parent(&self) -> Self {
        Self(
            self.0
                .rsplit_once('/')
                .map_or(String::new(), |(parent, _)| parent.to_owned()),
        )
    }

    /// The last segment.
    pub(super) fn name(&self) -> &str {
        self.0.rsplit_once('/').map_or(&self.0, |(_, name)| name)
    }

    /// Whether it is `folder` or lies below it.
    pub(super) fn is_within(&self, folder: &Self) -> bool {
        folder.is_root() || self == folder || self.0.strip_prefix(&folder.0).is_some_and(|rest| rest.starts_with('/'))
    }

    /// The id of the item there.
    pub(super) fn id(&self, kind: Kind) -> ItemId {
        ItemId::of(namespace(kind), format_args!("/{}", self.0))
    }
}

impl fmt::Display for RemotePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.0)
    }
}

fn namespace(kind: Kind) -> &'static str {
    match kind {
        Kind::File => "file",
        Kind::Folder => "folder",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_that_climb_are_never_built() {
        for bad in ["..", "a/../b", "a//b", "./a", "a/.meta/b", "a/", "a\0b"] {
            assert_eq!(RemotePath::parse(bad), None, "{bad}");
        }
        let folder = RemotePath::parse("/docs").unwrap();
        assert_eq!(folder.child("a/b").unwrap().as_str(), "docs/a\u{2215}b");
        assert!(folder.child("..").is_err());
        assert!(folder.child("").is_err());
    }

    #[test]
    fn an_id_is_its_path() {
        let path = RemotePath::parse("a/b.jpg").unwrap();
        let id = path.id(Kind::File);
        assert_eq!(id.as_str(), "file:/a/b.jpg");
        assert_eq!(RemotePath::of_any(&id).unwrap(), (Kind::File, path));
        assert_eq!(RemotePath::root().id(Kind::Folder).as_str(), "folder:/");
        assert!(RemotePath::of_id(&id, Kind::Folder).is_err());
    }

    #[test]
    fn a_folder_is_within_itself_but_not_within_its_namesake() {
        let path = |text| RemotePath::parse(text).unwrap();
        assert!(path("a/b").is_within(&path("a")));
        assert!(path("a").is_within(&path("a")));
        assert!(!path("ab").is_within(&path("a")));
        assert!(path("a").is_within(&RemotePath::root()));
    }

    proptest! {
        #[test]
        fn whatever_is_parsed_stays_below_the_uploads(text in "[a./\0]{0,12}") {
            if let Some(path) = RemotePath::parse(&text) {
                let bad = |part: &str| part == ".." || part == "." || part.is_empty();
                prop_assert!(path.is_root() || !path.as_str().split('/').any(bad));
            }
        }
    }
}
