//! `multipart/form-data` with raw names: PHP-based servers understand neither `filename*=` nor percent-encoding, and all
//! of them understand raw UTF-8 in quotes.

use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::request::{Body, BodyStream};

/// One part of a form.
#[derive(Clone)]
pub struct Part {
    name: String,
    file_name: Option<String>,
    content_type: Option<String>,
    body: Body,
}

impl Part {
    /// A plain field.
    pub fn text(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            file_name: None,
            content_type: None,
            body: Body::bytes(value.into()),
        }
    }

    /// A file; its name goes out as it is, in UTF-8, with `"` and `\` escaped.
    pub fn file(name: impl Into<String>, file_name: impl Into<String>, content_type: &str, body: Body) -> Self {
        Self {
            name: name.into(),
            file_name: Some(file_name.into()),
            content_type: Some(content_type.to_owned()),
            body,
        }
    }
}

/// A form on its way: its content type, length and bytes.
pub(super) struct Encoded {
    pub(super) content_type: String,
    pub(super) len_bytes: u64,
    pub(super) stream: BodyStream,
}

/// Lays the parts out. Fails with a text for names that no header line can carry.
pub(super) fn encode(parts: &[Part]) -> Result<Encoded, String> {
    let boundary = format!("assetfs-{:032x}", rand::random::<u128>());
    let mut pieces: Vec<BodyStream> = Vec::with_capacity(parts.len() * 3 + 1);
    let mut len_bytes = 0;
    let mut text = |text: String, pieces: &mut Vec<BodyStream>| {
        len_bytes += text.len() as u64;
        pieces.push(stream::once(async move { Ok(Bytes::from(text)) }).boxed());
    };
    let mut bodies_bytes = 0;
    for part in parts {
        text(head(&boundary, part)?, &mut pieces);
        let (body_bytes, body) = part.body.open().ok_or("a form inside a form cannot be sent")?;
        bodies_bytes += body_bytes;
        pieces.push(body);
        text("\r\n".to_owned(), &mut pieces);
    }
    text(format!("--{boundary}--\r\n"), &mut pieces);
    Ok(Encoded {
        content_type: format!("multipart/form-data; boundary={boundary}"),
        len_bytes: len_bytes + bodies_bytes,
        stream: stream::iter(pieces).flatten().boxed(),
    })
}

fn head(boundary: &str, part: &Part) -> Result<String, String> {
    let mut head = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name={}",
        quoted(&part.name)?
    );
    if let Some(file_name) = &part.file_name {
        head.push_str("; filename=");
        head.push_str(&quoted(file_name)?);
    }
    head.push_str("\r\n");
    if let Some(content_type) = &part.content_type {
        if content_type.contains(['\r', '\n']) {
            return Err("a content type holds a line break".to_owned());
        }
        head.push_str(&format!("Content-Type: {content_type}\r\n"));
    }
    head.push_str("\r\n");
    Ok(head)
}

fn quoted(name: &str) -> Result<String, String> {
    if name.contains(['\r', '\n', '\0']) {
        return Err("a name with a line break or a NUL cannot be sent".to_owned());
    }
    Ok(format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\"")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::TryStreamExt;

    #[tokio::test]
    async fn names_go_out_raw_and_the_length_is_right() {
        let parts = [
            Part::text("data", "{}"),
            Part::file("file", "Übung \"1\" 100%.txt", "text/plain", Body::bytes("hello")),
        ];
        let form = encode(&parts).expect("a form");
        let pieces: Vec<Bytes> = form.stream.try_collect().await.expect("bytes");
        let text = String::from_utf8(pieces.concat()).expect("UTF-8");
        assert_eq!(form.len_bytes, text.len() as u64);
        assert!(
            text.contains("form-data; name=\"file\"; filename=\"Übung \\\"1\\\" 100%.txt\"\r\n"),
            "{text}"
        );
        assert!(text.contains("\r\n\r\nhello\r\n--assetfs-"), "{text}");
        assert!(!text.contains("filename*"));
    }

    #[test]
    fn a_name_that_would_break_the_header_is_refused() {
        let parts = [Part::file("file", "a\r\nX: y", "text/plain", Body::bytes(""))];
        assert!(encode(&parts).is_err());
    }
}
