//! Logging, and the names of everything that is counted.

mod exposition;
mod journald;
mod log_file;
pub mod metrics;
mod operations;
mod setup;

pub use exposition::{EXPOSITION_TYPE, Exposition, Figure};
pub use journald::{IDENTIFIER, STORE_FIELD, journal_socket};
pub use log_file::{LogFile, older_log};
pub use operations::{BOUNDS_US, OperationCounts, Operations};
pub use setup::{LogConfig, LogFormat, LogLevel, LogTarget, init, under_systemd};
