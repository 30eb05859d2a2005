//! The control plane's own routes: the tree, and edits from elsewhere.

use std::sync::Arc;

use axum::extract::{Query, State as Extracted};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::app::App;
use super::remote::{Edit, Remote};

/// `GET tree`, `POST edits`.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/_emulator/tree", get(tree))
        .route("/_emulator/edits", post(edits))
}

#[derive(Deserialize)]
struct TreeQuery {
    /// Whether each file's SHA-256 is told; true by default.
    hashes: Option<bool>,
}

async fn tree(Extracted(app): Extracted<Arc<App>>, Query(query): Query<TreeQuery>) -> Response {
    let hashes = query.hashes.unwrap_or(true);
    match tokio::task::spawn_blocking(move || Remote::new(app).tree(hashes)).await {
        Ok(tree) => Json(tree).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// One edit or a list of them; stops at the first that is refused.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    Many(Vec<Edit>),
    One(Edit),
}

async fn edits(Extracted(app): Extracted<Arc<App>>, Json(edits): Json<OneOrMany>) -> Response {
    let edits = match edits {
        OneOrMany::Many(edits) => edits,
        OneOrMany::One(edit) => vec![edit],
    };
    let remote = Remote::new(app);
    let mut ids: Vec<Value> = Vec::new();
    for edit in edits {
        match remote.edit(edit) {
            Ok(id) => ids.push(json!(id)),
            Err(error) => {
                let body = json!({"error": error.to_string(), "ids": ids});
                return (StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response();
            }
        }
    }
    Json(json!({"ids": ids})).into_response()
}
