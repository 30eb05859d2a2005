//! What the system says is mounted where, from `/proc/self/mountinfo`: never by touching a mount, which may hang.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    /// Device number, as `/sys/class/bdi` names it (`0:58`).
    pub device: String,
    /// Where it is mounted.
    pub mountpoint: PathBuf,
    /// Kind of file system (`fuse`, `fuse.assetfs`, `ext4`).
    pub fs_type: String,
    /// What is mounted.
    pub source: String,
    /// Whose mount it is, where the file system tells.
    pub user: Option<u32>,
}

impl Mounted {
    /// Whether it is one of ours.
    pub fn is_ours(&self) -> bool {
        self.fs_type.starts_with("fuse") && self.source.starts_with("assetfs:")
    }
}

/// What the system is told is mounted: a comma would be read as the start of another option.
pub fn source_of(store: &str) -> String {
    format!("assetfs:{}", store.replace([',', ' '], "_"))
}

/// Everything that is mounted, in the order of mounting.
pub fn all() -> io::Result<Vec<Mounted>> {
    Ok(parse(&std::fs::read("/proc/self/mountinfo")?))
}

/// What is mounted exactly at `path`, the topmost one.
pub fn at(path: &Path) -> io::Result<Option<Mounted>> {
    Ok(all()?.into_iter().rev().find(|m| m.mountpoint == path))
}

/// What `path` lies on.
pub fn holding(path: &Path) -> io::Result<Option<Mounted>> {
    let mut best: Option<Mounted> = None;
    for mounted in all()? {
        let depth = |m: &Mounted| m.mountpoint.components().count();
        if path.starts_with(&mounted.mountpoint) && best.as_ref().is_none_or(|b| depth(&mounted) >= depth(b)) {
            best = Some(mounted);
        }
    }
    Ok(best)
}

fn parse(text: &[u8]) -> Vec<Mounted> {
    text.split(|b| *b == b'\n').filter_map(line).collect()
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
fn line(line: &[u8]) -> Option<Mounted> {
    let fields: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
    let dash = fields.iter().position(|f| *f == b"-")?;
    Some(Mounted {
        device: text(fields.get(2)?),
        mountpoint: PathBuf::from(OsString::from_vec(unescape(fields.get(4)?))),
        fs_type: text(fields.get(dash + 1)?),
        source: text(&unescape(fields.get(dash + 2)?)),
        user: fields.get(dash + 3).and_then(|options| {
            let options = std::str::from_utf8(options).ok()?;
            options
                .split(',')
                .find_map(|o| o.strip_prefix("user_id="))?
                .parse()
                .ok()
        }),
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Blanks, tabs, line feeds and backslashes are written as `\040` and so on.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let octal = tail
            .get(..3)
            .filter(|_| *first == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(byte) => {
                out.push(byte);
                rest = &tail[3..];
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_mountpoints_are_read() {
        let mounts = parse(
            b"22 1 0:21 / /proc rw,nosuid shared:5 - proc proc rw\n\
              90 29 0:58 / /mnt/my\\040assets rw,nosuid,nodev - fuse.assetfs assetfs:studio rw,user_id=0\n",
        );
        assert_eq!(mounts.len(), 2);
        assert_eq!(mounts[1].mountpoint, Path::new("/mnt/my assets"));
        assert_eq!(mounts[1].device, "0:58");
        assert_eq!((mounts[0].user, mounts[1].user), (None, Some(0)));
        assert!(mounts[1].is_ours());
        assert!(!mounts[0].is_ours());
    }

    #[test]
    fn every_path_lies_on_some_mount() {
        assert!(holding(Path::new("/")).unwrap().is_some());
        assert_eq!(at(Path::new("/no/such/place")).unwrap(), None);
    }
}
