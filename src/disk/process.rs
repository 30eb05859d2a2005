//! What the system tells of a process in `/proc/PID/status` and `statm`: the files there that can be read of one that waits for us.

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

/// Whether a process or thread has memory: who ends gives it back before anything else, and the kernel's own have none.
/// `None`: there is no such process. Told in a fraction of the time that its status takes.
pub fn has_memory(pid: u32) -> Option<bool> {
    let mut pages = [0; 2];
    let mut sizes = std::fs::File::open(format!("/proc/{pid}/statm")).ok()?;
    sizes.read_exact(&mut pages).ok()?;
    Some(pages != *b"0 ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_ended_and_was_not_waited_for_has_no_memory() {
        assert_eq!(has_memory(std::process::id()), Some(true));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let ended = || {
            ProcessStatus::of(child.id())
                .field("State")
                .is_some_and(|state| state.starts_with('Z'))
        };
        while !ended() {
            std::thread::yield_now();
        }
        assert_eq!(has_memory(child.id()), Some(false));
        let pid = child.id();
        child.wait().unwrap();
        assert_eq!(has_memory(pid), None);
    }

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
