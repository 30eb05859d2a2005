//! Questions about assets to the daemon behind a mount.

use serde::de::DeserializeOwned;

use super::sync;
use crate::daemon::Failure;
use crate::daemon::control::{AssetRequest, Request};
use crate::daemon::registry::MountRecord;

/// Asks, and reads the answer; a bar shows meanwhile how far it is.
pub fn ask_with_bar<T: DeserializeOwned>(mount: &MountRecord, asked: AssetRequest) -> Result<T, Failure> {
    read(sync::ask_with_bar(&mount.socket, &Request::Asset { asked })?)
}

/// Asks, and reads the answer.
pub fn ask<T: DeserializeOwned>(mount: &MountRecord, asked: AssetRequest) -> Result<T, Failure> {
    let answer = crate::daemon::control::ask(&mount.socket, &Request::Asset { asked })?;
    read(answer)
}

fn read<T: DeserializeOwned>(answer: serde_json::Value) -> Result<T, Failure> {
    serde_json::from_value(answer).map_err(|e| {
        Failure::new(format!(
            "the daemon's answer makes no sense, is it another version? {e}"
        ))
    })
}
