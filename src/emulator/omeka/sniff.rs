//! What a file is, told from its first bytes, and whether the site takes it.

use image::ImageReader;
use serde_json::{Value, json};

/// What the server finds out about a new file.
pub(super) struct Found {
    pub(super) mime: &'static str,
    pub(super) type_os: String,
    pub(super) metadata: Value,
    pub(super) has_derivatives: bool,
}

/// Magic numbers at the start of a file.
const MAGIC: &[(&[u8], &str, &str)] = &[
    (b"\xff\xd8\xff", "image/jpeg", "JPEG image data"),
    (b"\x89PNG\r\n\x1a\n", "image/png", "PNG image data"),
    (b"GIF8", "image/gif", "GIF image data"),
    (b"%PDF-", "application/pdf", "PDF document"),
    (b"PK\x03\x04", "application/zip", "Zip archive data"),
    (b"\x1f\x8b", "application/gzip", "gzip compressed data"),
    (b"OggS", "audio/ogg", "Ogg data"),
    (b"ID3", "audio/mpeg", "Audio file with ID3"),
    (b"\xff\xfb", "audio/mpeg", "MPEG ADTS, layer III"),
    (b"fLaC", "audio/flac", "FLAC audio bitstream data"),
    (b"II*\0", "image/tiff", "TIFF image data, little-endian"),
    (b"MM\0*", "image/tiff", "TIFF image data, big-endian"),
    (b"BM", "image/bmp", "PC bitmap"),
    (b"{\\rtf", "text/rtf", "Rich Text Format data"),
    (
        b"\xd0\xcf\x11\xe0",
        "application/msword",
        "Composite Document File V2 Document",
    ),
    (b"\x1a\x45\xdf\xa3", "video/webm", "WebM"),
    (b"\0\0\x01\0", "image/x-icon", "MS Windows icon resource"),
];

/// Tells what `head`, the beginning of a file, is.
pub(super) fn sniff(head: &[u8]) -> Found {
    let (mime, type_os) = kind(head);
    let size = match mime {
        "image/jpeg" | "image/png" | "image/gif" => ImageReader::new(std::io::Cursor::new(head))
            .with_guessed_format()
            .ok()
            .and_then(|reader| reader.into_dimensions().ok()),
        _ => None,
    };
    let metadata = match (mime, size) {
        (_, Some((width, height))) => json!({
            "mime_type": mime,
            "video": {
                "dataformat": mime.trim_start_matches("image/").replace("jpeg", "jpg"),
                "lossless": false,
                "resolution_x": width,
                "resolution_y": height,
            },
        }),
        ("application/pdf", None) => json!({ "mime_type": mime }),
        // An empty map of PHP's.
        _ => json!([]),
    };
    Found {
        mime,
        type_os: match size {
            Some((width, height)) => format!("{type_os}, {width} x {height}"),
            None => type_os.to_owned(),
        },
        metadata,
        has_derivatives: size.is_some(),
    }
}

fn kind(head: &[u8]) -> (&'static str, &'static str) {
    if head.is_empty() {
        return ("inode/x-empty", "empty");
    }
    if let Some((_, mime, name)) = MAGIC.iter().find(|(magic, _, _)| head.starts_with(magic)) {
        return (mime, name);
    }
    match (head.get(..4), head.get(4..8), head.get(8..12)) {
        (Some(b"RIFF"), _, Some(b"WAVE")) => return ("audio/x-wav", "RIFF (little-endian) data, WAVE audio"),
        (Some(b"RIFF"), _, Some(b"AVI ")) => return ("video/x-msvideo", "RIFF (little-endian) data, AVI"),
        (Some(b"RIFF"), _, Some(b"WEBP")) => return ("image/webp", "RIFF (little-endian) data, Web/P image"),
        (_, Some(b"ftyp"), Some(b"qt  ")) => return ("video/quicktime", "ISO Media, Apple QuickTime movie"),
        (_, Some(b"ftyp"), _) => return ("video/mp4", "ISO Media, MP4"),
        _ => {}
    }
    if head.get(257..262) == Some(b"ustar") {
        return ("application/x-tar", "POSIX tar archive");
    }
    text_kind(head).unwrap_or(("application/octet-stream", "data"))
}

fn text_kind(head: &[u8]) -> Option<(&'static str, &'static str)> {
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        // The head may end within a character.
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&head[..error.valid_up_to()]).ok()?,
        Err(_) => return None,
    };
    if text
        .chars()
        .any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\x0c' | '\x1b'))
    {
        return None;
    }
    let start = text.trim_start().to_lowercase();
    Some(if start.starts_with("<?php") {
        ("text/x-php", "PHP script, ASCII text")
    } else if start.starts_with("<svg") {
        ("image/svg+xml", "SVG Scalable Vector Graphics image")
    } else if start.starts_with("<!doctype html") || start.starts_with("<html") {
        ("text/html", "HTML document, ASCII text")
    } else if start.starts_with(['{', '[']) && serde_json::from_str::<Value>(text).is_ok() {
        ("application/json", "JSON data")
    } else if text.is_ascii() {
        ("text/plain", "ASCII text")
    } else {
        ("text/plain", "UTF-8 Unicode text")
    })
}

/// Extensions that a fresh site takes.
const EXTENSIONS: &[&str] = &[
    "aac", "aif", "aiff", "asf", "asx", "avi", "bmp", "c", "cc", "class", "css", "divx", "doc", "docx", "exe", "flac",
    "gif", "gz", "gzip", "h", "ico", "j2k", "jp2", "jpe", "jpeg", "jpg", "m4a", "m4v", "mdb", "mid", "midi", "mov",
    "mp2", "mp3", "mp4", "mpa", "mpe", "mpeg", "mpg", "mpp", "odb", "odc", "odf", "odg", "odp", "ods", "odt", "oga",
    "ogg", "ogv", "opus", "pdf", "png", "pot", "pps", "ppt", "pptx", "qt", "ra", "ram", "rtf", "rtx", "swf", "tar",
    "tif", "tiff", "txt", "wav", "wax", "webm", "webp", "wma", "wmv", "wmx", "wri", "xla", "xls", "xlsx", "xlt", "xlw",
    "zip",
];

/// Types that a fresh site takes, beside audio, video and images other than SVG.
const TYPES: &[&str] = &[
    "application/gzip",
    "application/msword",
    "application/pdf",
    "application/x-tar",
    "application/zip",
    "text/plain",
    "text/rtf",
];

/// Why a site that validates does not take a file: what it has against the name and against the content.
pub(super) fn objections(name: &str, mime: &str) -> Vec<String> {
    let mut objections = Vec::new();
    let extension = extension(name);
    if !EXTENSIONS.contains(&extension.to_lowercase().as_str()) {
        objections.push(format!(
            "The file '{name}' could not be ingested because it has a disallowed file extension ({extension})."
        ));
    }
    let media = ["audio/", "video/", "image/"].iter().any(|kind| mime.starts_with(kind));
    if !(TYPES.contains(&mime) || media && mime != "image/svg+xml") {
        objections.push(format!(
            "The file '/tmp/phpUpload' could not be ingested because it has a disallowed MIME type ({mime})."
        ));
    }
    objections
}

/// What the server takes for the extension: all but the first letter of a name without a dot, for want of checking.
fn extension(name: &str) -> &str {
    match name.rfind('.') {
        Some(dot) => &name[dot + 1..],
        None => name.char_indices().nth(1).map_or("", |(at, _)| &name[at..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_refused_for_the_reasons_that_were_recorded() {
        let ext = |name: &str, e: &str| {
            format!("The file '{name}' could not be ingested because it has a disallowed file extension ({e}).")
        };
        for (name, body, reasons) in [
            ("note.txt", "Hello plain text\n", vec![]),
            ("fake.jpg", "Hello plain text\n", vec![]),
            ("atxt", "Hello plain text\n", vec![]),
            ("UPPER.TXT", "Hello plain text\n", vec![]),
            ("readme.md", "# hello\n", vec![ext("readme.md", "md")]),
            ("Makefile", "all:\n", vec![ext("Makefile", "akefile")]),
            ("x.txt.", "text", vec![ext("x.txt.", "")]),
        ] {
            assert_eq!(objections(name, sniff(body.as_bytes()).mime), reasons, "{name}");
        }
        for (name, body, count) in [
            ("empty.txt", &b""[..], 1),
            ("prog.exe", b"MZ\0\x01", 1),
            ("page.html", b"<html></html>", 2),
            ("pic.svg", b"<svg></svg>", 2),
            ("data.json", b"{\"a\":1}", 2),
            ("evil.php", b"<?php x();", 2),
            ("blob.bin", b"\0\x01\x02", 2),
        ] {
            assert_eq!(objections(name, sniff(body).mime).len(), count, "{name}");
        }
    }
}
