//! Element texts as requests carry them, with the server's way of half-applying a bad list.

use serde_json::Value;

use super::answer::Refusal;
use super::elements;
use super::state::Text;

/// A text as it was sent.
pub(super) struct NewText {
    element: u64,
    html: Option<bool>,
    text: String,
}

/// Reads the `element_texts` of a body. A list or map where a text should be kills the real server's script.
pub(super) fn parse(value: &Value) -> Result<Vec<NewText>, Refusal> {
    let Some(list) = value.as_array() else {
        return Ok(Vec::new());
    };
    let mut texts = Vec::new();
    for item in list {
        let Some(element) = integer(&item["element"]["id"]) else {
            return Err(Refusal::server("There is no element \"0\", \"html\"!"));
        };
        let text = match &item["text"] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Bool(flag) => if *flag { "1" } else { "" }.to_owned(),
            Value::Array(_) | Value::Object(_) => return Err(Refusal::Crash),
        };
        texts.push(NewText {
            element,
            html: (!item["html"].is_null()).then(|| truth(&item["html"])),
            text,
        });
    }
    Ok(texts)
}

/// Replaces `rows` by `texts`, one after the other as the server does: rows of the same element are written over, more
/// are added, and what is left over is deleted at the very end. The first text that the database refuses stops
/// everything, with what was done until then kept.
pub(super) fn replace(
    rows: &mut Vec<Text>,
    texts: Vec<NewText>,
    mut next_row: impl FnMut() -> u64,
) -> Result<(), Refusal> {
    let mut free: Vec<(u64, u64)> = rows.iter().map(|row| (row.row, row.element)).collect();
    for new in texts {
        if new.text.is_empty() || elements::element(new.element).is_none() {
            continue;
        }
        let Some(html) = new.html else {
            return Err(Refusal::database("Column 'html' cannot be null"));
        };
        if let Some(at) = four_byte_at(&new.text) {
            return Err(Refusal::database(&format!(
                "Incorrect string value: '{}' for column `omeka`.`omeka_element_texts`.`text` at row 1",
                escaped(&new.text[at..])
            )));
        }
        match free.iter().position(|(_, element)| *element == new.element) {
            Some(at) => {
                let (row, _) = free.remove(at);
                if let Some(old) = rows.iter_mut().find(|old| old.row == row) {
                    old.html = html;
                    old.text = new.text;
                }
            }
            None => rows.push(Text {
                row: next_row(),
                element: new.element,
                html,
                text: new.text,
            }),
        }
    }
    rows.retain(|row| free.iter().all(|(free, _)| *free != row.row));
    Ok(())
}

/// Where the first character lies that the database's three-byte UTF-8 cannot hold.
pub(super) fn four_byte_at(text: &str) -> Option<usize> {
    text.char_indices().find(|(_, c)| c.len_utf8() > 3).map(|(at, _)| at)
}

/// The first bytes of `text` as MySQL shows them.
pub(super) fn escaped(text: &str) -> String {
    let mut shown = String::new();
    for byte in text.bytes().take(6) {
        if byte.is_ascii_graphic() || byte == b' ' {
            shown.push(char::from(byte));
        } else {
            shown.push_str(&format!("\\x{byte:02X}"));
        }
    }
    if text.len() > 6 {
        shown.push_str("...");
    }
    shown
}

/// A whole number, sent as one or as digits.
pub(super) fn integer(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Whether the server takes a value as true.
pub(super) fn truth(value: &Value) -> bool {
    match value {
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64().is_some_and(|n| n != 0.0),
        Value::String(text) => matches!(text.as_str(), "1" | "true" | "TRUE" | "True"),
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(row: u64, element: u64, text: &str) -> Text {
        Text {
            row,
            element,
            html: false,
            text: text.to_owned(),
        }
    }

    fn shown(rows: &[Text]) -> Vec<(u64, &str)> {
        let mut rows: Vec<&Text> = rows.iter().collect();
        rows.sort_by_key(|row| row.row);
        rows.iter().map(|row| (row.element, row.text.as_str())).collect()
    }

    #[test]
    fn rows_of_an_element_are_written_over_in_place() {
        let mut rows = vec![
            row(1, 41, "Desc"),
            row(2, 50, "Title"),
            row(3, 39, "c1"),
            row(4, 39, "c2"),
        ];
        let texts = parse(&json!([
            {"html":false,"text":"c2","element":{"id":39}},
            {"html":false,"text":"Title","element":{"id":50}},
            {"html":false,"text":"c1","element":{"id":39}},
            {"html":false,"text":"Subj","element":{"id":49}},
            {"html":false,"text":"Desc","element":{"id":41}}
        ]));
        let texts = texts.unwrap_or_default();
        assert!(replace(&mut rows, texts, || 5).is_ok());
        assert_eq!(
            shown(&rows),
            [(41, "Desc"), (50, "Title"), (39, "c2"), (39, "c1"), (49, "Subj")]
        );
    }

    #[test]
    fn a_bad_text_leaves_what_went_before() {
        let mut rows = vec![row(1, 50, "same"), row(2, 50, "same"), row(3, 50, "other")];
        let texts = parse(&json!([
            {"html":false,"text":"newtitle","element":{"id":50}},
            {"text":"x","element":{"id":39}}
        ]));
        let texts = texts.unwrap_or_default();
        assert!(replace(&mut rows, texts, || 4).is_err());
        assert_eq!(shown(&rows), [(50, "newtitle"), (50, "same"), (50, "other")]);
    }
}
