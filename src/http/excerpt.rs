//! What an error shows of a body it did not expect.

use super::Secret;

/// The most that is read of an answer that means failure, in bytes.
pub const EXCERPT_BYTES_MAX: usize = 4096;

/// Whether a body is a page for people.
pub(super) fn is_html(content_type: Option<&str>, body: &[u8]) -> bool {
    let start = String::from_utf8_lossy(&body[..body.len().min(256)])
        .trim_start()
        .to_ascii_lowercase();
    content_type.is_some_and(|t| t.to_ascii_lowercase().contains("html"))
        || start.starts_with("<!doctype html")
        || start.starts_with("<html")
}

/// The body as one line of text: tags, control characters and secrets taken out.
pub(super) fn excerpt(body: &[u8], html: bool, secrets: &[Secret]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(EXCERPT_BYTES_MAX)]);
    let text = if html { strip_tags(&text) } else { text.into_owned() };
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|w| !w.is_empty())
        .collect();
    let mut line = redact(words.join(" "), secrets);
    let mut end = line.len().min(EXCERPT_BYTES_MAX);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line.truncate(end);
    line
}

/// Servers like to repeat the address they were asked, and with it the key in its query.
pub(super) fn redact(mut text: String, secrets: &[Secret]) -> String {
    for secret in secrets.iter().map(Secret::expose).filter(|s| s.len() >= 4) {
        text = text.replace(secret, "[redacted]");
        let encoded = super::path_segment(secret);
        if encoded != secret {
            text = text.replace(&encoded, "[redacted]");
        }
    }
    text
}

fn strip_tags(html: &str) -> String {
    let mut out = String::with_capacity(html.len());
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        out.push_str(&rest[..at]);
        out.push(' ');
        rest = &rest[at..];
        // What scripts and styles hold is no text.
        let closing = ["script", "style"].iter().find_map(|name| {
            let opens = rest
                .get(1..=name.len())
                .is_some_and(|tag| tag.eq_ignore_ascii_case(name));
            opens.then(|| format!("</{name}"))
        });
        if let Some(closing) = closing {
            // ASCII lower case keeps every byte's place.
            rest = rest.to_ascii_lowercase().find(&closing).map_or("", |end| &rest[end..]);
        }
        rest = rest.find('>').map_or("", |end| &rest[end + 1..]);
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_page_is_reduced_to_its_text() {
        let page = b"<!DOCTYPE html><html><head><style>p{}</style><SCRIPT>if (a<b) x()</SCRIPT></head><body><h1>Not\nFound</h1></body>";
        assert!(is_html(None, page));
        assert_eq!(excerpt(page, true, &[]), "Not Found");
        assert_eq!(excerpt(b"a\r\n\x1b[31mb", false, &[]), "a [31mb");
    }

    #[test]
    fn a_repeated_key_is_taken_out_also_when_encoded() {
        let secrets = [Secret::new("s3cr+t/key")];
        let text = excerpt(b"GET /items?key=s3cr%2Bt%2Fkey or s3cr+t/key", false, &secrets);
        assert_eq!(text, "GET /items?key=[redacted] or [redacted]");
    }

    proptest! {
        #[test]
        fn any_body_gives_a_short_line(body in proptest::collection::vec(any::<u8>(), 0..6000), html in any::<bool>()) {
            let line = excerpt(&body, html, &[]);
            prop_assert!(line.len() <= EXCERPT_BYTES_MAX);
            prop_assert!(!line.contains(char::is_control));
        }

        #[test]
        fn any_markup_is_stripped_without_a_panic(text in "(<|>|/|script|style|é|[a-z ]){0,60}") {
            prop_assert!(!strip_tags(&text).contains('<'));
        }
    }
}
