//! What the fixtures over built-in servers share: an impatient HTTP client, and faults by route.

use std::sync::Arc;
use std::time::Duration;

use assetfs::emulator::common::{Action, FaultRule, Faults, When};
use assetfs::http::{Client, ClientConfig, Deadlines};
use assetfs::model::SystemClock;

use crate::fixture::Break;

/// After this the stores of the suite give up a server that says nothing.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// A client for a server on this machine: short deadlines, and no more than one repeat.
pub fn client(config: ClientConfig) -> Arc<Client> {
    let deadlines = Deadlines {
        connect: PATIENCE,
        progress: Duration::from_secs(1),
        interactive_wait: PATIENCE,
        other_wait: PATIENCE,
    };
    let config = ClientConfig {
        deadlines,
        attempts_max: 2,
        ..config
    };
    Client::new(config, SystemClock::shared()).expect("a client for a server on this machine")
}

/// Breaks every request to one of `routes`.
pub fn break_routes(faults: &Faults, routes: &[&str], how: Break) {
    for route in routes {
        let action = match how {
            Break::Overloaded => Action::status(503),
            Break::Page => Action::Html,
            Break::Reset => Action::Reset,
            Break::LoseAnswer => Action::ApplyThenDropAnswer,
            Break::Hang => Action::Hang(None),
            Break::CutAfter(bytes) => Action::TruncateBody(bytes),
        };
        faults.add(FaultRule::new(*route, When::Always, action));
    }
}
