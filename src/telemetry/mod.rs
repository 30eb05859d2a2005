//! Logging, and the names of everything that is counted.

mod log_file;
pub mod metrics;
mod setup;

pub use log_file::{LogFile, older_log};
pub use setup::{LogConfig, LogFormat, LogTarget, init};
