//! Memory that is free again goes back to the system.
#![allow(unsafe_code)] // malloc_trim(3), mallopt(3)

/// Lets all threads share two reserves of free memory: with one for each thread, as the C library would have it, what one
/// thread frees is of no use to the next, and a burst of reads leaves a multiple of what it needed behind. To be called
/// before the first thread is started.
pub fn keep_memory_together() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: no other thread runs yet, and the call only sets a number.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
    }
}

/// Gives back what the allocator holds in reserve: after something large went, a folder of 100,000 entries for one, the
/// reserve would stay at its peak for good. Takes milliseconds; nothing happens where the C library cannot do it.
pub fn return_free_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the call takes the allocator's own locks, and touches only memory that nobody has.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Resident memory of this process, where the system tells.
pub fn resident_bytes() -> Option<u64> {
    super::ProcessStatus::own().number("VmRSS").map(|kib: u64| kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_its_size() {
        let bytes = resident_bytes().unwrap();
        assert!((1 << 20..1 << 40).contains(&bytes), "{bytes}");
    }
}
