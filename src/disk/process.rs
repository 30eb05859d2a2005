//! What the system tells of a process in `/proc/PID/status`: the one file there that can be read of a process that waits for us.

use std::io::Read;
use std::path::Path;
use std::str::FromStr;

/// Room for a status in one piece: the system writes its text anew for every read.
const STATUS_BYTES: usize = 4096;

/// The text of a process's status; empty for one that is not there.
pub struct ProcessStatus(String);

impl ProcessStatus {
    /// Of process or thread `pid`.
    pub fn of(pid: u32) -> Self {
        Self::below(Path::new("/proc"), pid)
    }

    /// Of this process.
    pub fn own() -> Self {
        Self::at(Path::new("/proc/self"))
    }

    /// Of `pid` where `proc` is what tells of processes.
    pub fn below(proc: &Path, pid: u32) -> Self {
        Self::at(&proc.join(pid.to_string()))
    }

    fn at(process: &Path) -> Self {
        let mut text = Vec::with_capacity(STATUS_BYTES);
        let read = std::fs::File::open(process.join("status")).and_then(|mut file| file.read_to_end(&mut text));
        if read.is_err() {
            text.clear();
        }
        // A program may call itself what it likes.
        Self(String::from_utf8_lossy(&text).into_owned())
    }

    /// Whether there is such a process.
    pub fn is_there(&self) -> bool {
        !self.0.is_empty()
    }

    /// What stands behind a name (`Tgid`), without the blanks around it.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut lines = self.0.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
    }

    /// The number that stands first behind a name.
    pub fn number<N: FromStr>(&self, name: &str) -> Option<N> {
        self.field(name)?.split_whitespace().next()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let status = ProcessStatus("Name:\ta b\nTgid:\t7\nNStgid:\t8\nVmRSS:\t  12 kB\n".into());
        assert_eq!((status.field("Name"), status.field("Tg")), (Some("a b"), None));
        assert_eq!(
            (status.number("Tgid"), status.number("VmRSS")),
            (Some(7_u32), Some(12_u64))
        );
        assert!(ProcessStatus::own().is_there() && !ProcessStatus::of(u32::MAX).is_there());
    }
}
