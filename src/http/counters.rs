//! What the client has done so far, for `status`.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;

use super::{BudgetState, Class, Context, Error};
use crate::model::Timestamp;

/// Programs that are told apart; the rest counts as one.
const PROGRAMS_MAX: usize = 64;

/// Counts of one route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RouteCounters {
    /// Requests sent, with repeats.
    pub requests: u64,
    /// Answers by the first digit of their status (`2xx`); `none` without an answer.
    pub answers: BTreeMap<&'static str, u64>,
}

/// The last failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LastError {
    /// When, RFC 3339.
    pub at: String,
    /// What.
    pub text: String,
}

/// What is known about the login.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Login {
    /// Nothing was asked yet.
    #[default]
    Unknown,
    /// The last answer that says something about it accepted it.
    Accepted,
    /// It has been refused (401) since then.
    Refused {
        /// RFC 3339.
        since: String,
    },
}

/// All counts.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Snapshot {
    /// Requests sent, with repeats.
    pub requests: u64,
    /// Of these, how many count against the store's allowance.
    pub api_requests: u64,
    /// By route.
    pub routes: BTreeMap<&'static str, RouteCounters>,
    /// Requests by class.
    pub classes: BTreeMap<Class, u64>,
    /// Requests by the program that caused them.
    pub programs: BTreeMap<Arc<str>, u64>,
    /// Bytes of request bodies.
    pub bytes_out: u64,
    /// Bytes of answer bodies.
    pub bytes_in: u64,
    /// Requests that repeat an earlier one.
    pub retries: u64,
    /// Answers that said "too many requests".
    pub throttled: u64,
    /// The last failure.
    pub last_error: Option<LastError>,
    /// The login.
    pub login: Login,
    /// How far the server's clock is ahead of this machine's, in seconds; `None` before the first answer with a date.
    pub server_clock_ahead_s: Option<i64>,
    /// The request budget.
    pub budget: BudgetState,
}

#[derive(Default)]
pub(super) struct Counters(Mutex<Snapshot>);

impl Counters {
    pub(super) fn sent(&self, route: &'static str, context: &Context, budgeted: bool, repeat: bool) {
        let mut all = self.0.lock();
        all.requests += 1;
        all.api_requests += u64::from(budgeted);
        all.retries += u64::from(repeat);
        all.routes.entry(route).or_default().requests += 1;
        *all.classes.entry(context.class).or_default() += 1;
        if let Some(program) = &context.program {
            let known = all.programs.contains_key(program) || all.programs.len() < PROGRAMS_MAX;
            let program = if known { program.clone() } else { "(others)".into() };
            *all.programs.entry(program).or_default() += 1;
        }
    }

    /// Only API requests tell about the login: downloads may need none.
    pub(super) fn answered(&self, route: &'static str, status: Option<u16>, api: bool, now: Timestamp) {
        let class = match status.map(|s| s / 100) {
            None => "none",
            Some(1) => "1xx",
            Some(2) => "2xx",
            Some(3) => "3xx",
            Some(4) => "4xx",
            Some(_) => "5xx",
        };
        let mut all = self.0.lock();
        *all.routes.entry(route).or_default().answers.entry(class).or_default() += 1;
        all.throttled += u64::from(status == Some(429));
        match status {
            Some(401) if api && !matches!(all.login, Login::Refused { .. }) => {
                all.login = Login::Refused {
                    since: now.to_rfc3339(),
                };
            }
            Some(200..=299) if api => all.login = Login::Accepted,
            _ => {}
        }
    }

    /// The server's own time, which has whole seconds. An offset of a second or two is the line and the rounding.
    pub(super) fn server_time(&self, server: Timestamp, now: Timestamp) {
        const NANOS: i64 = 1_000_000_000;
        self.0.lock().server_clock_ahead_s = Some((server.to_db() - now.to_db()) / NANOS);
    }

    pub(super) fn failed(&self, error: &Error, now: Timestamp) {
        self.0.lock().last_error = Some(LastError {
            at: now.to_rfc3339(),
            text: error.to_string(),
        });
    }

    pub(super) fn bytes_out(&self, bytes: usize) {
        self.0.lock().bytes_out += bytes as u64;
    }

    pub(super) fn bytes_in(&self, bytes: usize) {
        self.0.lock().bytes_in += bytes as u64;
    }

    pub(super) fn login(&self) -> Login {
        self.0.lock().login.clone()
    }

    pub(super) fn sent_bytes(&self) -> u64 {
        self.0.lock().bytes_out
    }

    pub(super) fn snapshot(&self, budget: BudgetState) -> Snapshot {
        Snapshot {
            budget,
            ..self.0.lock().clone()
        }
    }
}
