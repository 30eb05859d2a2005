//! Answers with the words and headers of the real service.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

pub(super) type Answer = Response<Body>;

/// Everything that an answer can be.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reply {
    /// 200 with `{"data":…}`.
    Data(Value),
    /// 204.
    Deleted,
    /// 400 for parameters in the query.
    BadQuery,
    /// 400 for parameters in the body.
    BadBody,
    /// 401.
    Unauthorized,
    /// 404 for files.
    NoFile,
    /// 404 for folders.
    NoFolder,
    /// 500, an exception.
    Exception,
    /// 405 for routes that are not, with the methods that there are.
    NotAllowed(&'static str),
    /// 404 page of the site.
    NoPage,
    /// 200 without a body, to OPTIONS.
    Options,
}

fn json_answer(status: StatusCode, body: &Value) -> Answer {
    let mut answer = Response::new(Body::from(body.to_string()));
    *answer.status_mut() = status;
    set(&mut answer, header::CONTENT_TYPE, "application/json;charset=UTF-8");
    answer
}

fn error(status: StatusCode, message: &str) -> Answer {
    json_answer(
        status,
        &json!({"http_status_code": status.as_u16(), "message": message}),
    )
}

fn page(status: StatusCode, title: &str) -> Answer {
    let text = format!(
        "<html>\n    <head>\n        <title>{title}</title>\n    </head>\n    <body><h1>{title}</h1></body>\n</html>\n"
    );
    let mut answer = Response::new(Body::from(text));
    *answer.status_mut() = status;
    set(&mut answer, header::CONTENT_TYPE, "text/html;charset=UTF-8");
    answer
}

pub(super) fn set(answer: &mut Answer, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}

fn exception(wants_json: bool) -> Answer {
    if !wants_json {
        return page(StatusCode::INTERNAL_SERVER_ERROR, "Slim Application Error");
    }
    let mut answer = Response::new(Body::from("{\n    \"message\": \"Slim Application Error\"\n}"));
    *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    set(&mut answer, header::CONTENT_TYPE, "application/json");
    answer
}

/// The answer on the wire. `session`: a new session's cookie.
pub(super) fn answer(reply: Reply, asked: &HeaderMap, session: Option<(&str, &str)>) -> Answer {
    let wants_json = asked
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("application/json"));
    let is_exception = reply == Reply::Exception;
    let mut answer = match reply {
        Reply::Data(data) => json_answer(StatusCode::OK, &json!({ "data": data })),
        Reply::Deleted => {
            let mut answer = Response::new(Body::empty());
            *answer.status_mut() = StatusCode::NO_CONTENT;
            answer
        }
        Reply::BadQuery => error(StatusCode::BAD_REQUEST, "Wrong query params or not defined"),
        Reply::BadBody => error(StatusCode::BAD_REQUEST, "Wrong body params or not defined"),
        Reply::Unauthorized => error(StatusCode::UNAUTHORIZED, "Unauthorized"),
        Reply::NoFile => error(StatusCode::NOT_FOUND, "File not found"),
        Reply::NoFolder => error(StatusCode::NOT_FOUND, "Folder not found"),
        Reply::Exception => exception(wants_json),
        Reply::NotAllowed(methods) => {
            let mut answer = page(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed");
            set(&mut answer, header::ALLOW, methods);
            answer
        }
        Reply::NoPage => page(StatusCode::NOT_FOUND, "Page Not Found"),
        Reply::Options => {
            let mut answer = Response::new(Body::empty());
            set(&mut answer, header::CONTENT_TYPE, "text/html; charset=UTF-8");
            answer
        }
    };
    if let Some((cookie, id)) = session {
        set(&mut answer, header::SET_COOKIE, &format!("{cookie}={id}; path=/"));
    }
    set(&mut answer, header::EXPIRES, "Thu, 19 Nov 1981 08:52:00 GMT");
    set(
        &mut answer,
        header::CACHE_CONTROL,
        "no-store, no-cache, must-revalidate",
    );
    set(&mut answer, header::PRAGMA, "no-cache");
    if !is_exception {
        set(&mut answer, header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
        set(
            &mut answer,
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "X-Requested-With, Content-Type, Accept, Origin, Authorization",
        );
        set(
            &mut answer,
            header::ACCESS_CONTROL_ALLOW_METHODS,
            "GET, POST, PUT, DELETE, PATCH, OPTIONS",
        );
    }
    answer
}

/// The web server's own 403 page.
pub(super) fn forbidden() -> Answer {
    let mut answer = page(StatusCode::FORBIDDEN, "403 Forbidden");
    set(&mut answer, header::CONTENT_TYPE, "text/html; charset=iso-8859-1");
    answer
}

/// The web server's own redirect to a folder.
pub(super) fn moved(to: &str) -> Answer {
    let mut answer = page(StatusCode::MOVED_PERMANENTLY, "301 Moved Permanently");
    set(&mut answer, header::CONTENT_TYPE, "text/html; charset=iso-8859-1");
    set(&mut answer, header::LOCATION, to);
    answer
}
