//! Whether requests may be sent at this moment: not while the machine falls asleep, nor once the mount has ended.

use std::sync::Arc;

use tokio::sync::watch;

/// What becomes of a request that is about to be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    /// It is sent.
    #[default]
    Open,
    /// It waits.
    Held,
    /// It fails.
    Shut,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct State {
    mode: Mode,
    /// Requests that were sent and have no answer yet.
    in_flight: usize,
}

/// The gate of one client.
#[derive(Clone, Default)]
pub(super) struct Gate(Arc<watch::Sender<State>>);

/// A request that went through; gone when its answer began or will never come.
pub(super) struct InFlight(Gate);

impl Gate {
    /// Goes through, perhaps after a while; `None` when the gate is shut.
    pub async fn enter(&self) -> Option<InFlight> {
        let mut changes = self.0.subscribe();
        loop {
            let mut mode = Mode::Open;
            // Looked at and counted in one go: who holds the gate then waits for this one as well.
            self.0.send_if_modified(|state| {
                mode = state.mode;
                if mode == Mode::Open {
                    state.in_flight += 1;
                }
                mode == Mode::Open
            });
            match mode {
                Mode::Open => return Some(InFlight(self.clone())),
                Mode::Shut => return None,
                Mode::Held => changes
                    .wait_for(|state| state.mode != Mode::Held)
                    .await
                    .ok()
                    .map(drop)?,
            }
        }
    }

    /// Everything goes through.
    pub fn open(&self) {
        self.set(Mode::Open);
    }

    /// New requests wait until it is open again.
    pub fn hold(&self) {
        self.set(Mode::Held);
    }

    /// New requests fail, and so do those that wait.
    pub fn shut(&self) {
        self.set(Mode::Shut);
    }

    fn set(&self, mode: Mode) {
        self.0.send_modify(|state| state.mode = mode);
    }

    /// Waits until no request is under way.
    pub async fn at_rest(&self) {
        let mut changes = self.0.subscribe();
        if changes.wait_for(|state| state.in_flight == 0).await.is_err() {
            tracing::debug!("the gate is gone");
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.0.send_modify(|state| state.in_flight -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_held_gate_lets_what_is_under_way_finish_and_nothing_new_begin() {
        let gate = Gate::default();
        let under_way = gate.enter().await.unwrap();
        gate.hold();
        let waiting = tokio::spawn({
            let gate = gate.clone();
            async move { gate.enter().await.is_some() }
        });
        let rest = tokio::spawn({
            let gate = gate.clone();
            async move { gate.at_rest().await }
        });
        tokio::task::yield_now().await;
        assert!(!rest.is_finished() && !waiting.is_finished());
        drop(under_way);
        rest.await.unwrap();
        assert!(!waiting.is_finished());
        gate.open();
        assert!(waiting.await.unwrap());
    }

    #[tokio::test]
    async fn a_shut_gate_turns_away_who_comes_and_who_waits() {
        let gate = Gate::default();
        gate.hold();
        let waiting = tokio::spawn({
            let gate = gate.clone();
            async move { gate.enter().await.is_none() }
        });
        tokio::task::yield_now().await;
        gate.shut();
        assert!(waiting.await.unwrap());
        assert!(gate.enter().await.is_none());
        gate.open();
        assert!(gate.enter().await.is_some());
    }
}
