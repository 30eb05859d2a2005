//! `assetfs logs`

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use super::output;
use crate::daemon::places::{LOG_NAME, Places};
use crate::daemon::{Failure, registry};
use crate::telemetry::{IDENTIFIER, STORE_FIELD, journal_socket, older_log};

/// How often a followed log is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// Bytes that are read at a time.
const CHUNK_BYTES: usize = 64 << 10;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A path in a mount, or a store [default: all stores]
    #[arg(value_name = "PATH|STORE")]
    target: Option<String>,
    /// Go on with what is written from now on
    #[arg(long, short)]
    follow: bool,
}

pub fn run(args: &Args, places: &Places) -> Result<ExitCode, Failure> {
    let wanted = args.target.as_deref().map(|target| store_of(target, places));
    let logs = logs_of(&places.state, wanted.as_deref())?;
    let headed = logs.len() > 1;
    let mut tails: Vec<Tail> = logs.into_iter().map(Tail::new).collect();
    for tail in &mut tails {
        if headed {
            output::line(format_args!("==> {} <==", tail.path.display()))?;
        }
        print_file(&older_log(&tail.path))?;
        if !tail.print_new()? {
            return Ok(ExitCode::SUCCESS);
        }
    }
    let mut journal = match journal_socket() {
        Some(_) => journal(wanted.as_deref(), args.follow),
        None => None,
    };
    if tails.is_empty() && journal.is_none() {
        return Err(Failure::new(match wanted {
            Some(store) => format!("{store} has no log: it was never mounted in the background"),
            None => format!("there is no log in {}", places.state.display()),
        }));
    }
    let outcome = match args.follow {
        true => follow(&mut tails, journal.as_mut()),
        false => Ok(()),
    };
    if let Some(mut journal) = journal {
        if args.follow && journal.kill().is_err() {
            tracing::debug!("the journal's reader has ended by itself");
        }
        journal.wait().map_err(Failure::new)?;
    }
    outcome.map(|()| ExitCode::SUCCESS)
}

/// The system's journal, read by its own program; nothing where that is missing.
fn journal(store: Option<&str>, follow: bool) -> Option<Child> {
    let mut reader = Command::new("journalctl");
    reader.args([
        "--quiet",
        "--no-pager",
        "--output",
        "short-iso",
        "--identifier",
        IDENTIFIER,
    ]);
    if let Some(store) = store {
        // What a unit of ours says on standard error has no field of its own.
        let unit = format!("assetfs@{store}.service");
        reader.args([
            format!("{STORE_FIELD}={store}"),
            "+".into(),
            format!("_SYSTEMD_UNIT={unit}"),
        ]);
        reader.args(["+".into(), format!("_SYSTEMD_USER_UNIT={unit}")]);
    }
    if follow {
        reader.arg("--follow");
    }
    reader.stdin(Stdio::null()).spawn().ok()
}

/// Prints what is written, until nobody reads or the user ends it.
fn follow(tails: &mut [Tail], mut journal: Option<&mut Child>) -> Result<(), Failure> {
    loop {
        std::thread::sleep(LOOK_EVERY);
        for tail in &mut *tails {
            if !tail.print_new()? {
                return Ok(());
            }
        }
        let ended = journal
            .as_mut()
            .map_or(Ok(None), |journal| journal.try_wait())
            .map_err(Failure::new)?;
        if ended.is_some() && tails.is_empty() {
            return Ok(());
        }
    }
}

/// The store that `target` names, mounted or not.
fn store_of(target: &str, places: &Places) -> String {
    match registry::find(&places.run, target) {
        Ok((mount, _)) => mount.store,
        Err(_) => target.trim_end_matches(':').to_owned(),
    }
}

/// The logs of all stores, or of one and the mounts of its folders.
fn logs_of(state: &Path, store: Option<&str>) -> Result<Vec<PathBuf>, Failure> {
    let logs = folders_of(state, store)?
        .into_iter()
        .map(|folder| folder.join(LOG_NAME));
    Ok(logs.filter(|log| log.is_file()).collect())
}

/// The folders of all stores, or of one and the mounts of its folders (`studio@Press-…`).
pub fn folders_of(state: &Path, store: Option<&str>) -> Result<Vec<PathBuf>, Failure> {
    let about = |e: io::Error| Failure::new(format!("cannot read {}: {e}", state.display()));
    let folders = match std::fs::read_dir(state) {
        Ok(folders) => folders,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(about(e)),
    };
    let mut found = Vec::new();
    for folder in folders {
        let folder = folder.map_err(about)?;
        let name = folder.file_name().to_string_lossy().into_owned();
        let base = name.split_once('@').map_or(name.as_str(), |(base, _)| base);
        if store.is_none_or(|store| store == base || store == name) {
            found.push(folder.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Prints a file that may not be there.
fn print_file(path: &Path) -> Result<(), Failure> {
    match File::open(path) {
        Ok(mut file) => copy_out(&mut file, path).map(drop),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Failure::new(format!("{}: {e}", path.display()))),
    }
}

/// Prints what is left of `file`. Answers how much that was; `None` when nobody reads any more.
fn copy_out(file: &mut File, path: &Path) -> Result<Option<u64>, Failure> {
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut copied = 0;
    loop {
        let read = file
            .read(&mut buffer)
            .map_err(|e| Failure::new(format!("{}: {e}", path.display())))?;
        if read == 0 {
            return Ok(Some(copied));
        }
        if !output::raw_while_read(&buffer[..read])? {
            return Ok(None);
        }
        copied += read as u64;
    }
}

/// A log that is being followed: by its file, which is renamed when it is full.
struct Tail {
    path: PathBuf,
    open: Option<Open>,
}

struct Open {
    file: File,
    inode: u64,
}

impl Tail {
    fn new(path: PathBuf) -> Self {
        Self { path, open: None }
    }

    /// Prints what is new. Answers whether somebody still reads.
    fn print_new(&mut self) -> Result<bool, Failure> {
        loop {
            let Some(open) = self.open.as_mut() else {
                match Self::open(&self.path) {
                    Ok(open) => self.open = Some(open),
                    // Between the renaming of a full log and the beginning of the next.
                    Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(true),
                    Err(e) => return Err(Failure::new(format!("{}: {e}", self.path.display()))),
                }
                continue;
            };
            // Looked at first: what is written to the old file after this look goes to the new one.
            let moved = std::fs::metadata(&self.path).is_ok_and(|now| now.ino() != open.inode);
            if copy_out(&mut open.file, &self.path)?.is_none() {
                return Ok(false);
            }
            if !moved {
                return self.rewind_when_cut().map(|()| true);
            }
            self.open = None;
        }
    }

    /// Somebody emptied the log by hand: what comes next is new.
    fn rewind_when_cut(&mut self) -> Result<(), Failure> {
        let Some(open) = self.open.as_mut() else { return Ok(()) };
        let about = |e: io::Error| Failure::new(format!("{}: {e}", self.path.display()));
        let at = open.file.stream_position().map_err(about)?;
        let bytes = open.file.metadata().map_err(about)?.len();
        if bytes < at {
            open.file.seek(SeekFrom::Start(0)).map_err(about)?;
        }
        Ok(())
    }

    fn open(path: &Path) -> io::Result<Open> {
        let file = File::open(path)?;
        let inode = file.metadata()?.ino();
        Ok(Open { file, inode })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::write_atomic;

    #[test]
    fn a_stores_logs_are_found_with_those_of_its_folders() {
        let state = tempfile::tempdir().unwrap();
        for store in ["studio", "studio@Press-00000001", "archive", "never"] {
            let folder = state.path().join(store);
            std::fs::create_dir(&folder).unwrap();
            if store != "never" {
                write_atomic(&folder.join("assetfs.log"), b"a line\n").unwrap();
            }
        }
        let found = |store| logs_of(state.path(), store).unwrap().len();
        assert_eq!(found(None), 3);
        assert_eq!(found(Some("studio")), 2);
        assert_eq!(found(Some("studio@Press-00000001")), 1);
        assert_eq!(found(Some("never")), 0);
        assert_eq!(logs_of(Path::new("/no/such/folder"), None).unwrap().len(), 0);
    }

    #[test]
    fn a_full_log_is_followed_into_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("assetfs.log");
        write_atomic(&path, b"first\n").unwrap();
        let mut tail = Tail::new(path.clone());
        assert!(tail.print_new().unwrap());
        let before = tail.open.as_ref().unwrap().inode;
        std::fs::rename(&path, older_log(&path)).unwrap();
        write_atomic(&path, b"second\n").unwrap();
        assert!(tail.print_new().unwrap());
        let open = tail.open.as_mut().unwrap();
        assert_ne!(open.inode, before);
        assert_eq!(
            open.file.stream_position().unwrap(),
            7,
            "all of the new one was printed"
        );
    }
}
