//! The table of all API routes.

use axum::http::Method;

use super::ask::{Ask, Outcome};
use super::state::State;
use super::{files, folders, links, lists, uploads, versions};
use crate::emulator::common::Route;

/// Where the API lives.
pub(super) const PREFIX: &str = "/api/v2";

/// Answers one kind of request.
pub(super) type Handler = fn(&mut State, &Ask) -> Outcome;

/// `METHOD /template` and who answers; the first match wins, so literal segments stand before placeholders.
const ROUTES: &[(&str, Handler)] = &[
    ("GET /folders/root", folders::root),
    ("GET /folders", folders::top_level),
    ("GET /folders/{id}/children", folders::children),
    ("POST /folders/{id}/children", folders::create),
    ("GET /folders/{id}/files", files::list),
    ("GET /folders/{id}", folders::get),
    ("PUT /folders/{id}", folders::change),
    ("DELETE /folders/{id}", folders::delete_plural),
    ("DELETE /folder/{id}", folders::delete),
    ("POST /files", uploads::from_url),
    ("GET /files/{id}", files::get),
    ("DELETE /files/{id}", files::delete),
    ("POST /files/{id}/move", files::relocate),
    ("POST /files/{id}/synced_file", files::sync_into),
    ("POST /files/{id}/copy", files::sync_into),
    ("POST /files/{id}/duplicate", files::duplicate),
    ("POST /files/{id}/dupicate", files::duplicate),
    ("POST /files/{id}/terms", files::set_terms),
    ("POST /files/{id}/tags", files::set_tags),
    ("POST /files/{id}/thumbnail", files::set_thumbnail),
    ("POST /files/{id}/versions", versions::begin),
    ("POST /files/{id}/versions/{uuid}/chunk/{n}", versions::chunk),
    ("POST /files/{id}/versions/{uuid}/complete", versions::complete),
    ("POST /upload_jobs", uploads::create_job),
    ("GET /upload_jobs/{id}", uploads::get_job),
    ("POST /upload_jobs/{id}/files/{id}/chunks/{n}", uploads::chunk),
    ("GET /file_types", lists::file_types),
    ("GET /file_types/{id}", lists::file_type),
    ("GET /keyword_sets", lists::keyword_sets),
    ("POST /keyword_sets", lists::create_keyword_set),
    ("GET /keyword_sets/{id}", lists::keyword_set),
    ("GET /keyword_sets/{id}/keywords", lists::keywords),
    ("POST /keyword_sets/{id}/keywords", lists::create_keyword),
    ("GET /quick_links", links::list),
    ("POST /quick_links", links::create),
    ("GET /quick_links/{id}", links::get),
    ("DELETE /quick_links/{id}", links::delete),
    ("GET /collections", lists::collections),
    ("POST /collections", lists::create_collection),
    ("GET /collections/{id}", lists::collection),
    ("PUT /collections/{id}", lists::add_to_collection),
    ("GET /collections/{id}/files", lists::collection_files),
    ("GET /webhooks", lists::webhooks),
    ("POST /webhooks", lists::create_webhook),
    ("GET /webhooks/{id}", lists::webhook),
    ("PUT /webhooks/{id}", lists::change_webhook),
    ("DELETE /webhooks/{id}", lists::delete_webhook),
    ("GET /users/me", lists::me),
];

/// What a method and path lead to.
pub(super) enum Found {
    /// A handler, its template, and the placeholders' values.
    Handler(Handler, &'static str, Vec<String>),
    /// The path exists, the method does not.
    WrongMethod,
    /// Nothing.
    Nothing,
}

/// Finds the handler; `path` is the whole path, with or without the `.json` suffix.
pub(super) fn find(method: &Method, path: &str) -> Found {
    let Some(path) = path.strip_prefix(PREFIX) else {
        return Found::Nothing;
    };
    let path = path.strip_suffix(".json").unwrap_or(path);
    let mut found = Found::Nothing;
    for (template, handler) in ROUTES {
        let Some((verb, template_path)) = template.split_once(' ') else {
            continue;
        };
        if let Some(params) = matched(template_path, path) {
            if verb == method.as_str() {
                return Found::Handler(*handler, template, params);
            }
            found = Found::WrongMethod;
        }
    }
    found
}

/// The values of the placeholders, when `path` has the form of `template`.
fn matched(template: &str, path: &str) -> Option<Vec<String>> {
    let mut params = Vec::new();
    let mut segments = path.split('/');
    for wanted in template.split('/') {
        let segment = segments.next()?;
        if wanted.starts_with('{') {
            if segment.is_empty() {
                return None;
            }
            params.push(segment.strip_suffix(".json").unwrap_or(segment).to_owned());
        } else if wanted != segment {
            return None;
        }
    }
    segments.next().is_none().then_some(params)
}

/// Names a request for counters and faults.
pub(super) fn classify(method: &Method, path: &str) -> Route {
    if path.starts_with("/cdn/") {
        return Route::content(if *method == Method::HEAD { "HEAD cdn" } else { "GET cdn" });
    }
    if path.starts_with("/t/") {
        return Route::content("GET thumbnail");
    }
    if path.starts_with("/static/") {
        return Route::content("GET static");
    }
    match find(method, path) {
        Found::Handler(_, template, _) => Route::api(template),
        Found::WrongMethod => Route::api("wrong method"),
        Found::Nothing => Route::api("unknown route"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(method: Method, path: &str) -> &'static str {
        match find(&method, path) {
            Found::Handler(_, template, _) => template,
            Found::WrongMethod => "405",
            Found::Nothing => "404",
        }
    }

    #[test]
    fn the_json_suffix_is_optional_and_literals_win() {
        assert_eq!(template(Method::GET, "/api/v2/folders/root.json"), "GET /folders/root");
        assert_eq!(template(Method::GET, "/api/v2/folders/17.json"), "GET /folders/{id}");
        assert_eq!(
            template(Method::GET, "/api/v2/folders/17/files"),
            "GET /folders/{id}/files"
        );
        assert_eq!(template(Method::PATCH, "/api/v2/folders/17"), "405");
        assert_eq!(template(Method::GET, "/api/v2/nonsense"), "404");
        assert_eq!(template(Method::GET, "/folders/17"), "404");
        let Found::Handler(_, _, params) = find(&Method::POST, "/api/v2/upload_jobs/1/files/2/chunks/3") else {
            panic!("no route");
        };
        assert_eq!(params, ["1", "2", "3"]);
    }
}
