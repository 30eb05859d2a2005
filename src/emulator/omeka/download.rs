//! Static files: originals with ranges and validators, derivatives, and the login page in place of what is missing.

use std::io::Cursor;
use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{ACCEPT_ENCODING, ACCEPT_RANGES, CONTENT_ENCODING, SET_COOKIE, VARY};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use image::imageops::FilterType;
use image::{DynamicImage, ImageFormat};

use crate::emulator::common::{ContentHead, MemorySource, Source, serve_content};

use super::answer::Refusal;
use super::render::SITE_TITLE;
use super::server::Site;

/// A file under `/files/`, or what the site shows instead.
pub(super) async fn serve(site: &Site, method: &Method, headers: &HeaderMap, path: &str) -> Response {
    let (folder, name) = path.split_once('/').unwrap_or((path, ""));
    match folder {
        "original" => original(site, method, headers, name),
        "fullsize" | "thumbnails" | "square_thumbnails" => derivative(site, method, headers, folder, name).await,
        _ => page(method, headers, StatusCode::NOT_FOUND, "404 Page Not Found"),
    }
}

fn original(site: &Site, method: &Method, headers: &HeaderMap, name: &str) -> Response {
    let known = site
        .archive
        .lock()
        .files
        .values()
        .find(|file| file.stored_name == name)
        .map(|file| (file.size_bytes, file.record.added));
    // A script is never handed out as a file: the site runs its own page instead.
    let script = name.ends_with(".php");
    let Some(((size_bytes, added), source)) = known.filter(|_| !script).zip(site.vault.source(name)) else {
        // The site's router takes every path that is no file, and asks for a login.
        return page(method, headers, StatusCode::OK, "Log In");
    };
    let content_type = mime_guess::from_path(name)
        .first_raw()
        .unwrap_or("application/octet-stream")
        .to_owned();
    let etag = format!("{size_bytes:x}-{:x}", added.secs);
    let compressible = content_type.starts_with("text/");
    if compressible && accepts_gzip(headers) {
        return gzipped(method, source, &content_type, &etag);
    }
    let head = ContentHead {
        content_type,
        etag: Some(etag),
        modified: Some(added),
        ranges: true,
    };
    let mut answer = serve_content(method, headers, source, &head);
    if compressible {
        answer
            .headers_mut()
            .insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    answer
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    headers
        .get(ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|encodings| encodings.contains("gzip"))
}

/// The whole text compressed, whatever range was asked for: what happens to a client that does not say `identity`.
fn gzipped(method: &Method, source: Arc<dyn Source>, content_type: &str, etag: &str) -> Response {
    let Ok(plain) = source.read(0..source.bytes()) else {
        return axum::response::IntoResponse::into_response(Refusal::Crash);
    };
    let head = ContentHead {
        content_type: content_type.to_owned(),
        etag: Some(format!("{etag}-gzip")),
        modified: None,
        ranges: false,
    };
    let body = Arc::new(MemorySource(gzip(&plain)));
    let mut answer = serve_content(method, &HeaderMap::new(), body, &head);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    answer
}

/// A gzip stream of stored blocks: valid, if not small.
fn gzip(plain: &[u8]) -> Bytes {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    let mut blocks = plain.chunks(0xffff).peekable();
    if blocks.peek().is_none() {
        out.extend_from_slice(&[1, 0, 0, 0xff, 0xff]);
    }
    while let Some(block) = blocks.next() {
        let len = block.len() as u16;
        out.push(u8::from(blocks.peek().is_none()));
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&(!len).to_le_bytes());
        out.extend_from_slice(block);
    }
    out.extend_from_slice(&crc32(plain).to_le_bytes());
    out.extend_from_slice(&(plain.len() as u32).to_le_bytes());
    Bytes::from(out)
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

/// The picture's edges in pixels, and whether it is cut to a square.
fn derivative_size(folder: &str) -> (u32, bool) {
    match folder {
        "fullsize" => (800, false),
        "square_thumbnails" => (200, true),
        _ => (200, false),
    }
}

async fn derivative(site: &Site, method: &Method, headers: &HeaderMap, folder: &str, name: &str) -> Response {
    let stem = name.trim_end_matches(".jpg");
    let known = site
        .archive
        .lock()
        .files
        .values()
        .find(|file| file.has_derivatives && file.stored_name.split('.').next() == Some(stem))
        .map(|file| (file.stored_name.clone(), file.record.added));
    let Some((source, added)) = known.and_then(|(name, added)| Some((site.vault.source(&name)?, added))) else {
        return page(method, headers, StatusCode::OK, "Log In");
    };
    let (edge, square) = derivative_size(folder);
    let made = tokio::task::spawn_blocking(move || shrink(&source.read(0..source.bytes()).ok()?, edge, square)).await;
    let Ok(Some(jpeg)) = made else {
        return page(method, headers, StatusCode::OK, "Log In");
    };
    let head = ContentHead {
        content_type: "image/jpeg".to_owned(),
        etag: Some(format!("{:x}-{:x}", jpeg.len(), added.secs)),
        modified: Some(added),
        ranges: true,
    };
    serve_content(method, headers, Arc::new(MemorySource(jpeg)), &head)
}

fn shrink(original: &[u8], edge: u32, square: bool) -> Option<Bytes> {
    let picture = image::load_from_memory(original).ok()?;
    let small = if square {
        picture.resize_to_fill(edge, edge, FilterType::Triangle)
    } else if picture.width() > edge || picture.height() > edge {
        picture.resize(edge, edge, FilterType::Triangle)
    } else {
        picture
    };
    let mut jpeg = Vec::new();
    DynamicImage::from(small.to_rgb8())
        .write_to(&mut Cursor::new(&mut jpeg), ImageFormat::Jpeg)
        .ok()?;
    Some(Bytes::from(jpeg))
}

/// A page of the site's own; ranges apply to it as to anything that Apache sends.
pub(super) fn page(method: &Method, headers: &HeaderMap, status: StatusCode, title: &str) -> Response {
    let filler = "<p>This is a page of the site, and no file.</p>\n".repeat(100);
    let html = format!(
        "<!DOCTYPE html>\n<html lang=\"en-US\">\n<head>\n<meta charset=\"utf-8\">\n\
         <title>{title} &middot; {SITE_TITLE}</title>\n</head>\n<body>\n{filler}</body>\n</html>\n"
    );
    let head = ContentHead {
        content_type: "text/html; charset=utf-8".to_owned(),
        etag: None,
        modified: None,
        ranges: true,
    };
    let mut answer = serve_content(method, headers, Arc::new(MemorySource(Bytes::from(html))), &head);
    if answer.status() == StatusCode::OK {
        *answer.status_mut() = status;
    }
    answer.headers_mut().remove(ACCEPT_RANGES);
    answer
        .headers_mut()
        .insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    answer.headers_mut().insert(
        SET_COOKIE,
        HeaderValue::from_static("9ce067bc7423cdd95315b2450099bdf2=session; path=/; HttpOnly"),
    );
    answer
}

/// What `/api` itself answers.
pub(super) fn api_root(origin: &str) -> Response {
    let html = format!(
        "<p>This is the endpoint URL for the {SITE_TITLE} REST API.</p>\n\
         <p>You can view site information here: <a href=\"{origin}/api/site?pretty_print\">{origin}/api/site</a></p>\n"
    );
    let mut answer = Response::new(Body::from(html));
    answer.headers_mut().insert(
        axum::http::header::CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_gzip_is_right() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
