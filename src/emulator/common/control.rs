//! The control plane that every built-in server has, under `/_emulator/`.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use serde::Deserialize;

use super::faults::{FaultRule, RuleState};
use super::gate::Gate;
use super::traffic::{Counters, Seen};

/// `GET counters`, `GET log`, `POST reset`, `GET|POST|DELETE faults`.
pub(super) fn routes(gate: Arc<Gate>) -> Router {
    Router::new()
        .route("/_emulator/counters", get(counters))
        .route("/_emulator/log", get(log))
        .route("/_emulator/reset", post(reset))
        .route("/_emulator/faults", get(faults).post(add_faults).delete(clear_faults))
        .with_state(gate)
}

async fn counters(State(gate): State<Arc<Gate>>) -> Json<Counters> {
    Json(gate.traffic().counters())
}

async fn log(State(gate): State<Arc<Gate>>) -> Json<Vec<Seen>> {
    Json(gate.traffic().log())
}

async fn reset(State(gate): State<Arc<Gate>>) -> StatusCode {
    gate.traffic().reset();
    StatusCode::NO_CONTENT
}

async fn faults(State(gate): State<Arc<Gate>>) -> Json<Vec<RuleState>> {
    Json(gate.faults().rules())
}

/// One rule, or a list of them.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    Many(Vec<FaultRule>),
    One(FaultRule),
}

async fn add_faults(State(gate): State<Arc<Gate>>, Json(rules): Json<OneOrMany>) -> StatusCode {
    let rules = match rules {
        OneOrMany::Many(rules) => rules,
        OneOrMany::One(rule) => vec![rule],
    };
    for rule in rules {
        gate.faults().add(rule);
    }
    StatusCode::NO_CONTENT
}

async fn clear_faults(State(gate): State<Arc<Gate>>) -> StatusCode {
    gate.faults().clear();
    StatusCode::NO_CONTENT
}
