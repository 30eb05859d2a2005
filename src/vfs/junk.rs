//! Names of files that programs make for themselves and no store should see.

use crate::model::Name;

/// Born under such a name, a file stays on this machine.
const JUNK: [&str; 20] = [
    ".~lock.*#",
    ".*.sw?",
    ".*.sw??",
    "*~",
    "4913",
    ".goutputstream-*",
    "~$*",
    ".DS_Store",
    "._*",
    "Thumbs.db",
    "thumbs.db",
    "desktop.ini",
    ".directory",
    ".#*",
    "#*#",
    ".fuse_hidden*",
    ".nfs*",
    ".Spotlight-V100",
    ".Trashes",
    ".localized",
];

/// Tells them apart.
pub struct Junk {
    more: Vec<String>,
}

impl Junk {
    /// The built-in list and `more`.
    pub fn new(more: Vec<String>) -> Self {
        Self { more }
    }

    /// Whether a file born under this name stays here.
    pub fn is(&self, name: &Name) -> bool {
        let matches = |pattern: &str| matches(pattern.as_bytes(), name.as_str().as_bytes());
        JUNK.iter().any(|p| matches(p)) || self.more.iter().any(|p| matches(p))
    }
}

/// `*` is any run of bytes, `?` any one.
pub(crate) fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => (0..=name.len()).any(|skip| matches(rest, &name[skip..])),
        (Some((b'?', rest)), Some((_, tail))) => matches(rest, tail),
        (Some((a, rest)), Some((b, tail))) if a == b => matches(rest, tail),
        (_, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scratch_files_are_told_from_assets() {
        let junk = Junk::new(vec!["*.tmp".into()]);
        for name in [
            ".~lock.plan.odt#",
            ".hero.svg.swp",
            "hero.jpg~",
            ".goutputstream-AB12CD",
            "~$plan.docx",
            "._x",
            "x.tmp",
        ] {
            assert!(junk.is(&Name::new(name).expect("valid")), "{name}");
        }
        for name in ["hero.jpg", "a~b.txt", "lock.odt", "My Thumbs.db", "4913.jpg", "swp"] {
            assert!(!junk.is(&Name::new(name).expect("valid")), "{name}");
        }
    }
}
