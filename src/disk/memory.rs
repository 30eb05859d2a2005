//! Memory that is free again goes back to the system.
#![allow(unsafe_code)] // malloc_trim(3)

/// Gives back what the allocator holds in reserve: after something large went, a folder of 100,000 entries for one, the
/// reserve would stay at its peak for good. Takes milliseconds; nothing happens where the C library cannot do it.
pub fn return_free_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the call takes the allocator's own locks, and touches only memory that nobody has.
    unsafe {
        libc::malloc_trim(0);
    }
}
