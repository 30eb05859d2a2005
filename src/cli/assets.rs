//! Questions about assets to the daemon behind a mount.

use serde::de::DeserializeOwned;

use crate::daemon::Failure;
use crate::daemon::control::{AssetRequest, Request};
use crate::daemon::registry::MountRecord;

/// Asks, and reads the answer.
pub fn ask<T: DeserializeOwned>(mount: &MountRecord, asked: AssetRequest) -> Result<T, Failure> {
    let answer = crate::daemon::control::ask(&mount.socket, &Request::Asset { asked })?;
    serde_json::from_value(answer).map_err(|e| {
        Failure::new(format!(
            "the daemon's answer makes no sense, is it another version? {e}"
        ))
    })
}
