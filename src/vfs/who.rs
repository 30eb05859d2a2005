//! What the system tells of the asking process.

/// The process (thread group) that a thread belongs to; the thread's own number where the system does not say.
pub fn process_of(pid: u32) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("Tgid:"))
        .and_then(|tgid| tgid.trim().parse().ok())
        .unwrap_or(pid)
}

/// Whether the thread is dying of a signal. Its files are closed by the system then, and what it wrote may be half.
pub fn is_killed(pid: u32) -> bool {
    const EXITING: u64 = 0x4;
    const SIGNALED: u64 = 0x400;
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    // The command name may hold spaces and brackets: count the fields behind its closing bracket.
    let Some((_, fields)) = stat.rsplit_once(')') else {
        return false;
    };
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
    }
}
