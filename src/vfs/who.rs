//! What the system tells of the asking process.
//!
//! Only `/proc/PID/status` and `statm` may be read of a process that waits for an answer of ours. Most of what else is there (`stat`,
//! `maps`, `fd`, `environ`, `stack`, …) is read under the lock that a process holds from the moment that it becomes another
//! program until its files that do not go along are closed. Such a close asks us, and would wait for us while we wait for it,
//! and nothing could end either of them.

use crate::disk::{ProcessStatus, has_memory};

/// The process (thread group) that a thread belongs to; the thread's own number where the system does not say.
pub fn process_of(pid: u32) -> u32 {
    ProcessStatus::of(pid).number("Tgid").unwrap_or(pid)
}

/// Whether two threads are known to belong to different processes.
pub fn are_apart(one: u32, other: u32) -> bool {
    // 0 is nobody whom the system tells of.
    let process = |pid| ProcessStatus::of(pid).number::<u32>("Tgid").filter(|_| pid != 0);
    one != other && matches!((process(one), process(other)), (Some(one), Some(other)) if one != other)
}

/// Whether the thread is dying of a signal. Its files are closed by the system then, and what it wrote may be half.
pub fn is_killed(pid: u32) -> bool {
    // Who dies has given back its memory before its files are closed; who becomes another program has new memory by then.
    // So the flags, which are behind the lock, are asked of nobody who could hold it.
    let dies = has_memory(pid) == Some(false);
    dies && std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| exits_by_signal(&stat))
}

fn exits_by_signal(stat: &str) -> bool {
    const EXITING: u64 = 0x4;
    const SIGNALED: u64 = 0x400;
    // The command name may hold spaces and brackets: count the fields behind its closing bracket.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let flags: u64 = fields
        .split_whitespace()
        .nth(6)
        .and_then(|f| f.parse().ok())
        .unwrap_or(0);
    flags & EXITING != 0 && flags & SIGNALED != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_its_own() {
        assert_eq!(process_of(std::process::id()), std::process::id());
        assert!(!is_killed(std::process::id()));
        assert_eq!(process_of(0), 0);
        let others = [0, 1, std::process::id()];
        let apart = others.map(|pid| are_apart(std::process::id(), pid));
        assert_eq!(apart, [false, true, false]);
    }

    #[test]
    fn who_dies_of_a_signal_is_told_from_who_just_ends() {
        assert!(exits_by_signal("7 (a )b) R 1 7 7 0 -1 4195332 0"));
        assert!(!exits_by_signal("7 (a )b) R 1 7 7 0 -1 4194308 0"));
        assert!(!exits_by_signal("7 (a )b) R 1 7 7 0 -1 4194304 0"));
        assert!(!exits_by_signal(""));
    }
}
