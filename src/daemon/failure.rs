//! What a command ends with when it does not end well.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The exit status of a command that did not do what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It failed, or something is parked or held.
    Failed,
    /// It was asked in the wrong way.
    Usage,
    /// There is no such mount.
    NotMounted,
    /// It took longer than it was given.
    TimedOut,
}

impl Status {
    /// The number for the shell.
    pub fn code(self) -> u8 {
        match self {
            Status::Failed => 1,
            Status::Usage => 2,
            Status::NotMounted => 3,
            Status::TimedOut => 4,
        }
    }
}

/// Why a command did not do what was asked: what happened, about what, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// For the shell.
    pub status: Status,
    /// For people.
    pub message: String,
}

impl Failure {
    /// It failed.
    pub fn new(message: impl fmt::Display) -> Self {
        Self::with(Status::Failed, message)
    }

    /// It was asked in the wrong way.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::with(Status::Usage, message)
    }

    /// With a status of its own.
    pub fn with(status: Status, message: impl fmt::Display) -> Self {
        Self {
            status,
            message: message.to_string(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<crate::disk::DiskError> for Failure {
    fn from(error: crate::disk::DiskError) -> Self {
        Self::new(error)
    }
}
