//! A log file that cannot fill the disk: at its bound it becomes `<name>.1`, in place of the one before.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tracing_subscriber::fmt::MakeWriter;

/// The most bytes of one file; two are kept.
const FILE_BYTES_MAX: u64 = 8 << 20;

struct Open {
    file: File,
    bytes: u64,
}

/// Where a daemon writes its log; only its owner may read it.
#[derive(Clone)]
pub struct LogFile {
    path: PathBuf,
    bytes_max: u64,
    open: Arc<Mutex<Open>>,
}

impl LogFile {
    /// Goes on with the file at `path`.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::bounded(path, FILE_BYTES_MAX)
    }

    fn bounded(path: &Path, bytes_max: u64) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            bytes_max,
            open: Arc::new(Mutex::new(append(path)?)),
        })
    }
}

/// Where the older half of the log at `path` is.
pub fn older_log(path: &Path) -> PathBuf {
    let mut older = path.as_os_str().to_owned();
    older.push(".1");
    PathBuf::from(older)
}

fn append(path: &Path) -> io::Result<Open> {
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    let bytes = file.metadata()?.len();
    Ok(Open { file, bytes })
}

impl Write for &LogFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut open = self.open.lock();
        if open.bytes + line.len() as u64 > self.bytes_max {
            std::fs::rename(&self.path, older_log(&self.path))?;
            *open = append(&self.path)?;
        }
        open.file.write_all(line)?;
        open.bytes += line.len() as u64;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.open.lock().file.flush()
    }
}

impl<'a> MakeWriter<'a> for LogFile {
    type Writer = &'a LogFile;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_keeps_two_files_of_bounded_size() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("assetfs.log");
        let log = LogFile::bounded(&path, 100).unwrap();
        for i in 0..50 {
            writeln!(&log, "line {i:03} of some length").unwrap();
        }
        let (newer, older) = (
            std::fs::read_to_string(&path).unwrap(),
            std::fs::read_to_string(dir.path().join("assetfs.log.1")).unwrap(),
        );
        assert!(newer.len() <= 100 && older.len() <= 100);
        assert!(newer.ends_with("line 049 of some length\n"));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
