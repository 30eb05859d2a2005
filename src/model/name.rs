//! Names: one component of a path, and the mapping between what a store calls an item and what the drive shows.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The longest name of a directory entry, in bytes.
pub const NAME_BYTES_MAX: usize = 255;

/// What stands for `/` in a local name (U+2215, DIVISION SLASH).
pub const SLASH_STAND_IN: char = '\u{2215}';

/// A valid name of one directory entry: 1 to 255 bytes of UTF-8, without `/` and NUL, and neither `.` nor `..`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Name(Arc<str>);

/// Why bytes are not a [`Name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// More than [`NAME_BYTES_MAX`] bytes.
    #[error("the name is longer than 255 bytes")]
    TooLong,
    /// Empty, `.`, `..`, or with a `/` or a NUL.
    #[error("the name is empty, a dot name, or holds a slash or a NUL")]
    Invalid,
    /// Not UTF-8: no store could keep it.
    #[error("the name is not UTF-8")]
    NotUtf8,
}

impl Name {
    /// Checks a name as a program gave it.
    pub fn new(name: impl AsRef<str>) -> Result<Self, NameError> {
        let name = name.as_ref();
        if name.len() > NAME_BYTES_MAX {
            return Err(NameError::TooLong);
        }
        if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
            return Err(NameError::Invalid);
        }
        Ok(Self(name.into()))
    }

    /// Checks a name as the kernel gave it.
    pub fn from_bytes(name: &[u8]) -> Result<Self, NameError> {
        if name.len() > NAME_BYTES_MAX {
            return Err(NameError::TooLong);
        }
        Self::new(std::str::from_utf8(name).map_err(|_| NameError::NotUtf8)?)
    }

    /// `.` or `..`: no valid names of children, but every listing of a folder begins with them.
    pub fn dots() -> [Self; 2] {
        [Self(".".into()), Self("..".into())]
    }

    /// The local name for what a store calls an item: the same bytes, except `/` → U+2215, NUL and empty → `_`,
    /// `.`/`..` → with a trailing `_`, more than 255 bytes → cut before the extension.
    pub fn from_store(name: &str) -> Self {
        let mut local: String = name
            .chars()
            .map(|c| {
                if c == '/' {
                    SLASH_STAND_IN
                } else if c == '\0' {
                    '_'
                } else {
                    c
                }
            })
            .collect();
        if local.is_empty() {
            local.push('_');
        }
        if local == "." || local == ".." {
            local.push('_');
        }
        Self(fit(&local, "").into())
    }

    /// Whether a server that was given this name may show it as `stored`. Servers normalise names: compared is what no rule is
    /// known to touch. Other characters may be replaced or left out, and none is added.
    pub fn may_be_stored_as(&self, stored: &str) -> bool {
        let plain = |text: &str| {
            let letters = text.chars().filter(|c| c.is_alphanumeric());
            letters.collect::<String>().to_lowercase()
        };
        let others = |text: &str| text.chars().filter(|c| !c.is_alphanumeric()).count();
        let wanted = self.to_store();
        plain(stored) == plain(&wanted) && others(stored) <= others(&wanted)
    }

    /// What to call this item in a store: the reverse of [`Name::from_store`].
    pub fn to_store(&self) -> String {
        self.0.replace(SLASH_STAND_IN, "/")
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Stem and extension (with its dot); a leading dot is no extension.
    pub fn split(&self) -> (&str, &str) {
        split(&self.0)
    }

    /// The extension in lower case, without its dot; empty when there is none.
    pub fn extension(&self) -> String {
        self.split().1.trim_start_matches('.').to_lowercase()
    }

    /// This name with ` (tag)` before its extension, cut so that it stays a name.
    pub fn tagged(&self, tag: &str) -> Self {
        Self(fit(&self.0, &format!(" ({tag})")).into())
    }
}

fn split(name: &str) -> (&str, &str) {
    match name.rfind('.') {
        Some(dot) if dot > 0 => name.split_at(dot),
        _ => (name, ""),
    }
}

/// `stem + insert + extension`, the stem (and, at the very worst, the extension) cut to [`NAME_BYTES_MAX`].
fn fit(name: &str, insert: &str) -> String {
    let (stem, extension) = split(name);
    let extension = if extension.len() > 64 { "" } else { extension };
    let stem = if extension.is_empty() { name } else { stem };
    let room = NAME_BYTES_MAX.saturating_sub(insert.len() + extension.len());
    let mut end = stem.len().min(room);
    while !stem.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{insert}{extension}", &stem[..end])
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn odd_store_names_become_valid_local_ones() {
        for (store, local) in [
            ("a.jpg", "a.jpg"),
            ("", "_"),
            (".", "._"),
            ("..", ".._"),
            ("AC/DC.png", "AC\u{2215}DC.png"),
            ("nul\0.txt", "nul_.txt"),
        ] {
            assert_eq!(Name::from_store(store).as_str(), local);
        }
        let long = format!("{}.jpeg", "ü".repeat(200));
        let local = Name::from_store(&long);
        assert!(local.as_str().len() <= NAME_BYTES_MAX);
        assert!(local.as_str().ends_with("ü.jpeg"));
    }

    #[test]
    fn invalid_names_are_told_apart() {
        assert_eq!(Name::new("x".repeat(256)), Err(NameError::TooLong));
        assert_eq!(Name::new("a/b"), Err(NameError::Invalid));
        assert_eq!(Name::new(".."), Err(NameError::Invalid));
        assert_eq!(Name::from_bytes(b"\xff"), Err(NameError::NotUtf8));
        assert!(Name::new("x".repeat(255)).is_ok());
    }

    #[test]
    fn a_tag_goes_before_the_extension() {
        assert_eq!(Name::from_store("hero.jpg").tagged("17").as_str(), "hero (17).jpg");
        assert_eq!(Name::from_store(".bashrc").tagged("17").as_str(), ".bashrc (17)");
        assert!(
            Name::from_store(&"x".repeat(255))
                .tagged("17")
                .as_str()
                .ends_with("x (17)")
        );
    }

    proptest! {
        #[test]
        fn any_store_name_maps_to_a_valid_name(store in ".*") {
            let local = Name::from_store(&store);
            prop_assert!(Name::new(local.as_str()).is_ok());
            let tagged = local.tagged("201000123");
            prop_assert!(Name::new(tagged.as_str()).is_ok());
        }

        #[test]
        fn names_survive_the_way_to_the_store_and_back(name in "[^/\0\u{2215}]{1,60}") {
            prop_assume!(name != "." && name != ".." && name.len() <= NAME_BYTES_MAX);
            let name = Name::new(&name).expect("valid");
            prop_assert_eq!(Name::from_store(&name.to_store()), name);
        }
    }
}
