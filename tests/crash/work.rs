//! What programs do before a crash, and what the library is to hold after it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::time::Duration;

/// Longer than the quiet time: uploads begin while the work goes on.
const PAUSE: Duration = Duration::from_millis(350);

/// What the library is to hold: name → bytes, and the asset where it must be a certain one.
pub type Wanted = BTreeMap<String, (Vec<u8>, Option<u64>)>;

/// What the library holds: name, bytes, asset.
pub type Stored = Vec<(String, Vec<u8>, u64)>;

/// One operation that a program sees as done or failed.
#[derive(Clone, Debug)]
pub enum Act {
    Save(&'static str, Vec<u8>),
    /// With an `fsync` in the middle and one before the close.
    SaveAndSync(&'static str, Vec<u8>),
    Append(&'static str, Vec<u8>),
    /// In place, from this offset on.
    Overwrite(&'static str, usize, Vec<u8>),
    Rename(&'static str, &'static str),
    Unlink(&'static str),
    MakeFolder(&'static str),
    SyncFolder(&'static str),
    Pause,
}

pub fn text(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|i| b'a' + ((i + usize::from(seed)) % 23) as u8).collect()
}

/// What the close itself said.
fn close(file: File) -> io::Result<()> {
    nix::unistd::close(file).map_err(io::Error::from)
}

impl Act {
    pub fn carry_out(&self, folder: &Path) -> io::Result<()> {
        match self {
            Act::Save(path, bytes) => {
                let mut file = File::create(folder.join(path))?;
                file.write_all(bytes)?;
                close(file)
            }
            Act::SaveAndSync(path, bytes) => {
                let mut file = File::create(folder.join(path))?;
                let (first, second) = bytes.split_at(bytes.len() / 2);
                file.write_all(first)?;
                file.sync_all()?;
                file.write_all(second)?;
                file.sync_all()?;
                close(file)
            }
            Act::Append(path, bytes) => {
                let mut file = File::options().append(true).open(folder.join(path))?;
                file.write_all(bytes)?;
                close(file)
            }
            Act::Overwrite(path, offset, bytes) => {
                let mut file = File::options().write(true).open(folder.join(path))?;
                file.seek(SeekFrom::Start(*offset as u64))?;
                file.write_all(bytes)?;
                close(file)
            }
            Act::Rename(from, to) => std::fs::rename(folder.join(from), folder.join(to)),
            Act::Unlink(path) => std::fs::remove_file(folder.join(path)),
            Act::MakeFolder(path) => std::fs::create_dir(folder.join(path)),
            Act::SyncFolder(path) => File::open(folder.join(path))?.sync_all(),
            Act::Pause => {
                std::thread::sleep(PAUSE);
                Ok(())
            }
        }
    }

    /// The file whose bytes it changes.
    pub fn writes(&self) -> Option<&'static str> {
        match self {
            Act::Save(path, _) | Act::SaveAndSync(path, _) | Act::Append(path, _) | Act::Overwrite(path, ..) => {
                Some(path)
            }
            Act::Rename(..) | Act::Unlink(_) | Act::MakeFolder(_) | Act::SyncFolder(_) | Act::Pause => None,
        }
    }

    /// What it makes durable before its file is closed.
    pub fn synced_on_the_way(&self) -> Option<Act> {
        match self {
            Act::SaveAndSync(path, bytes) => Some(Act::Save(path, bytes[..bytes.len() / 2].to_vec())),
            _ => None,
        }
    }

    /// Whether it promises that it, and what was done before it, survives a loss of power.
    pub fn is_durable(&self) -> bool {
        self.writes().is_some() || matches!(self, Act::SyncFolder(_))
    }

    pub fn note(&self, wanted: &mut Wanted) {
        match self {
            Act::Save(path, bytes) | Act::SaveAndSync(path, bytes) => {
                let aside = wanted.get(&format!("{path}~")).and_then(|(_, id)| *id);
                let id = wanted.get(*path).and_then(|(_, id)| *id).or(aside);
                wanted.insert((*path).to_owned(), (bytes.clone(), id));
            }
            Act::Append(path, more) => {
                if let Some((bytes, _)) = wanted.get_mut(*path) {
                    bytes.extend(more);
                }
            }
            Act::Overwrite(path, offset, new) => {
                if let Some((bytes, _)) = wanted.get_mut(*path) {
                    bytes.resize(bytes.len().max(offset + new.len()), 0);
                    bytes[*offset..offset + new.len()].copy_from_slice(new);
                }
            }
            Act::Rename(from, to) => {
                if let Some((bytes, id)) = wanted.remove(*from) {
                    let replaced = wanted.get(*to).and_then(|(_, id)| *id);
                    wanted.insert((*to).to_owned(), (bytes, id.or(replaced)));
                }
            }
            Act::Unlink(path) => {
                wanted.remove(*path);
            }
            Act::MakeFolder(_) | Act::SyncFolder(_) | Act::Pause => {}
        }
    }
}

/// Whether the library holds what is wanted. A backup beside a saved file may stay on this machine.
pub fn differs(stored: &Stored, wanted: &Wanted) -> Option<String> {
    for (name, (bytes, id)) in wanted {
        let there: Vec<_> = stored.iter().filter(|(stored, ..)| stored == name).collect();
        match there.as_slice() {
            [] if name.ends_with('~') => {}
            [] => return Some(format!("{name} is missing")),
            [(_, stored, of)] => {
                if stored != bytes {
                    return Some(format!(
                        "{name} has {} bytes, not the {} saved",
                        stored.len(),
                        bytes.len()
                    ));
                }
                if id.is_some_and(|id| id != *of) && !name.ends_with('~') {
                    return Some(format!("{name} is asset {of}, not {id:?}"));
                }
            }
            several => return Some(format!("{name} is there {} times", several.len())),
        }
    }
    let stray = stored.iter().find(|(name, ..)| !wanted.contains_key(name));
    stray.map(|(name, ..)| format!("{name} is too much"))
}
