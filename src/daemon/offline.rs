//! Sending what waits without a mount: `assetfs sync STORE`.

use std::time::Duration;

use super::assemble::{self, Stack};
use super::control::Answer;
use super::run::{Plan, come_to_rest, lock_state, until_signal};
use super::{Failure, control};
use crate::journal::Journal;
use crate::vfs::SyncReport;

/// How long a daemon that still sends is waited for when nobody said how long.
const LOCK_WAIT: Duration = Duration::from_secs(300);

/// How often who waits is told how far it is.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);

/// Sends what waits for the store of `plan`, for `wait` at most, and tells how far it is. A store with nothing to send is
/// not asked at all.
pub async fn send(plan: &Plan, wait: Option<Duration>, tell: impl FnMut(&Answer)) -> Result<SyncReport, Failure> {
    let places = plan.places.store(&plan.source.state_name())?;
    let lock = lock_state(plan, &places, wait.unwrap_or(LOCK_WAIT)).await?;
    let state = places.state.clone();
    let nothing = tokio::task::spawn_blocking(move || {
        let journal = Journal::open(&state)?;
        let waits = journal.lock().overlay().iter().any(|change| change.is_outstanding());
        Ok::<bool, crate::journal::JournalError>(!waits)
    });
    if nothing.await.map_err(Failure::new)?.map_err(Failure::new)? {
        return Ok(SyncReport::default());
    }
    let stack = assemble::assemble(plan, &places).await?;
    let outcome = follow(&stack, wait, tell).await;
    let left = come_to_rest(&stack).await;
    drop(lock);
    outcome.map(|()| left)
}

async fn follow(stack: &Stack, wait: Option<Duration>, mut tell: impl FnMut(&Answer)) -> Result<(), Failure> {
    let drive = stack.drive();
    let syncing = stack.vfs.sync(None, wait);
    tokio::pin!(syncing);
    let interrupted = until_signal();
    tokio::pin!(interrupted);
    loop {
        tokio::select! {
            done = &mut syncing => return done.map(drop).map_err(Failure::new),
            signalled = &mut interrupted => {
                signalled?;
                return Err(Failure::new("interrupted: what is left goes on with the next mount, or the next sync"));
            }
            () = tokio::time::sleep(PROGRESS_EVERY) => tell(&control::progress(&drive)),
        }
    }
}
