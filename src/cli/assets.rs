//! Questions about assets to the daemon behind a mount.

use serde::de::DeserializeOwned;

use super::sync::Bar;
use crate::daemon::Failure;
use crate::daemon::control::{AssetRequest, Request, ask_with_progress};
use crate::daemon::registry::MountRecord;

/// Asks, and reads the answer; a bar shows meanwhile how far it is.
pub fn ask_with_bar<T: DeserializeOwned>(mount: &MountRecord, asked: AssetRequest) -> Result<T, Failure> {
    let mut bar = Bar::new();
    let request = Request::Asset { asked };
    let answer = ask_with_progress(&mount.socket, &request, |under_way| bar.show(under_way));
    bar.end();
    read(answer?)
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
