//! What needs no key: the bytes behind quick links, thumbnails, the processing picture.

use std::io::Cursor;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State as Extracted};
use axum::http::header::CONTENT_DISPOSITION;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};

use super::app::App;
use super::content::{Content, ContentSource};
use super::listing::parse_day;
use super::options::LinkAfterVersion;
use super::records::{File, Link};
use super::render::content_type;
use super::state::{State, from_millis};
use crate::emulator::common::{ContentHead, MemorySource, mix, serve_content};

/// The longer side of a thumbnail, in pixels.
const THUMBNAIL_PX: u32 = 200;

/// `GET /cdn/{tenant}/ql/{uid}/{name}`.
pub(super) async fn download(
    Extracted(app): Extracted<Arc<App>>,
    Path((_tenant, uid, _name)): Path<(String, String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let (link, content, content_ms) = match app.look(|state| behind(state, &uid)) {
        Ok(found) => found,
        Err(status) => return (status, "This link is not available.\n").into_response(),
    };
    let head = ContentHead {
        content_type: content_type(&link.name),
        etag: Some(content.etag()),
        modified: Some(from_millis(content_ms)),
        ranges: true,
    };
    let source = ContentSource {
        vault: Arc::clone(&app.vault),
        content,
    };
    let mut response = serve_content(&method, &headers, Arc::new(source), &head);
    if link.attachment {
        let value = HeaderValue::from_static("attachment");
        response.headers_mut().insert(CONTENT_DISPOSITION, value);
    }
    response
}

/// The bytes behind a link: 404 when it or its asset is gone or not ready, 410 when its day has come.
fn behind(state: &State, uid: &str) -> Result<(Link, Content, i64), StatusCode> {
    let link = state.link_ids.get(uid).and_then(|id| state.links.get(id));
    let link = link.ok_or(StatusCode::NOT_FOUND)?;
    let expires = link.expires.as_deref().and_then(parse_day);
    if expires.is_some_and(|day| day <= state.now_ms()) {
        return Err(StatusCode::GONE);
    }
    let file = state.file(link.asset).map_err(|_| StatusCode::NOT_FOUND)?;
    let awaited = matches!(link.content, Content::Awaited);
    let (content, content_ms) = match state.quirks.link_after_version {
        _ if awaited => (file.content, file.content_ms),
        LinkAfterVersion::OldBytes => (link.content.clone(), link.content_ms),
        LinkAfterVersion::NewBytes => (file.content, file.content_ms),
        LinkAfterVersion::Gone if file.content_ms != link.content_ms => return Err(StatusCode::NOT_FOUND),
        LinkAfterVersion::Gone => (file.content, file.content_ms),
    };
    match content {
        Content::Awaited => Err(StatusCode::NOT_FOUND),
        content => Ok((link.clone(), content, content_ms)),
    }
}

/// `GET /t/{id}.jpg`.
pub(super) async fn thumbnail(
    Extracted(app): Extracted<Arc<App>>,
    Path(name): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let id = name.strip_suffix(".jpg").and_then(|id| id.parse().ok());
    let Some(Ok(file)) = id.map(|id| app.look(|state| state.file(id))) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let modified = from_millis(file.content_ms);
    let made = tokio::task::spawn_blocking(move || make_thumbnail(&app, &file)).await;
    let Ok(Some(bytes)) = made else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let head = ContentHead {
        content_type: "image/jpeg".into(),
        etag: None,
        modified: Some(modified),
        ranges: true,
    };
    serve_content(&method, &headers, Arc::new(MemorySource(bytes)), &head)
}

/// `GET /static/processing.png`.
pub(super) async fn processing() -> Response {
    let grey = RgbImage::from_pixel(THUMBNAIL_PX, THUMBNAIL_PX, Rgb([200, 200, 200]));
    match encode(&grey.into(), ImageFormat::Png) {
        Some(bytes) => ([("content-type", "image/png")], bytes).into_response(),
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// The uploaded thumbnail, else the image made small, else a coloured square.
fn make_thumbnail(app: &App, file: &File) -> Option<Bytes> {
    let own = file.extra.as_ref().and_then(|extra| extra.thumbnail.as_ref());
    let source = match own {
        Some(own) => Some(own),
        None if file.size_px.is_some() => Some(&file.content),
        None => None,
    };
    let decoded = source
        .and_then(|content| app.vault.read_all(content).ok())
        .and_then(|bytes| image::load_from_memory(&bytes).ok());
    let small: DynamicImage = match decoded {
        Some(image) => image.thumbnail(THUMBNAIL_PX, THUMBNAIL_PX).to_rgb8().into(),
        None => {
            let [red, green, blue, ..] = mix(file.id).to_le_bytes();
            RgbImage::from_pixel(THUMBNAIL_PX, THUMBNAIL_PX, Rgb([red, green, blue])).into()
        }
    };
    encode(&small, ImageFormat::Jpeg)
}

fn encode(image: &DynamicImage, format: ImageFormat) -> Option<Bytes> {
    let mut out = Cursor::new(Vec::new());
    image.write_to(&mut out, format).ok()?;
    Some(out.into_inner().into())
}
