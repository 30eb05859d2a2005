//! Metadata fields: what a store keeps beside the bytes, and their form as extended attributes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One value of a field.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Value {
    /// The text.
    pub text: String,
    /// Whether the store marks the text as HTML (Omeka's `html` flag).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub html: bool,
}

impl<T: Into<String>> From<T> for Value {
    fn from(text: T) -> Self {
        Self {
            text: text.into(),
            html: false,
        }
    }
}

/// Whether a program may change a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// Readable and writable: shown by listxattr.
    ReadWrite,
    /// Readable by name only.
    ReadOnly,
    /// Writable by name only (`append.<Name>`).
    WriteOnly,
}

/// A field of an item as the store last told it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// The values, in the store's order. A writable field without a value is left out of an item's map.
    pub values: Vec<Value>,
    /// Whether it may be changed.
    pub access: Access,
}

/// All fields of an item, by the store's own name for them without the `user.<store>.` prefix (`term.Credit`, `tags`).
pub type Fields = BTreeMap<String, Field>;

/// Wanted values by field name; an empty list clears the field.
pub type FieldChanges = BTreeMap<String, Vec<Value>>;

/// How several values stand in one extended attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// One a line, `\` as `\\` and a line feed inside a value as `\n`.
    Lines,
    /// Separated by commas, as `user.xdg.tags` is written by desktops; a comma inside a value as `\,`.
    Commas,
}

/// Why bytes are not a list of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the value is not UTF-8 text")]
pub struct NotText;

/// The longest extended attribute, in bytes (the kernel's `XATTR_SIZE_MAX`).
pub const XATTR_BYTES_MAX: usize = 65_536;

/// Writes values as one extended attribute.
pub fn encode(values: &[Value], encoding: Encoding) -> Vec<u8> {
    let mut out = String::new();
    for (i, value) in values.iter().enumerate() {
        if i > 0 {
            out.push(if encoding == Encoding::Lines { '\n' } else { ',' });
        }
        for c in value.text.chars() {
            match (c, encoding) {
                ('\\', _) => out.push_str("\\\\"),
                ('\n', Encoding::Lines) => out.push_str("\\n"),
                (',', Encoding::Commas) => out.push_str("\\,"),
                (c, _) => out.push(c),
            }
        }
    }
    out.into_bytes()
}

/// Reads values from one extended attribute; empty input is no value. A `\` before any other character stands for itself.
pub fn decode(bytes: &[u8], encoding: Encoding) -> Result<Vec<Value>, NotText> {
    let text = std::str::from_utf8(bytes).map_err(|_| NotText)?;
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let separator = if encoding == Encoding::Lines { '\n' } else { ',' };
    let mut values = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let Some(last) = values.last_mut() else { break };
        match c {
            '\\' => match (chars.peek(), encoding) {
                (Some('\\'), _) => {
                    chars.next();
                    last.push('\\');
                }
                (Some('n'), Encoding::Lines) => {
                    chars.next();
                    last.push('\n');
                }
                (Some(','), Encoding::Commas) => {
                    chars.next();
                    last.push(',');
                }
                _ => last.push('\\'),
            },
            c if c == separator => values.push(String::new()),
            c => last.push(c),
        }
    }
    if encoding == Encoding::Commas {
        values = values
            .into_iter()
            .map(|v| v.trim().to_owned())
            .filter(|v| !v.is_empty())
            .collect();
    }
    Ok(values.into_iter().map(Value::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn get_then_set_changes_nothing(texts in proptest::collection::vec("(?s).*", 1..5)) {
            prop_assume!(texts != [""]);
            let values: Vec<Value> = texts.into_iter().map(Value::from).collect();
            prop_assert_eq!(decode(&encode(&values, Encoding::Lines), Encoding::Lines), Ok(values));
        }

        #[test]
        fn tags_survive_commas(texts in proptest::collection::vec("[^\\s]([^\n]*[^\\s])?", 1..5)) {
            let texts: Vec<_> = texts.into_iter().filter(|t| t.trim() == t).collect();
            let values: Vec<Value> = texts.into_iter().map(Value::from).collect();
            prop_assert_eq!(decode(&encode(&values, Encoding::Commas), Encoding::Commas), Ok(values));
        }

        #[test]
        fn any_bytes_decode_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(values) = decode(&bytes, Encoding::Lines) {
                prop_assert!(std::str::from_utf8(&bytes).is_ok());
                prop_assert_eq!(decode(&encode(&values, Encoding::Lines), Encoding::Lines), Ok(values));
            }
        }
    }

    #[test]
    fn forms_that_people_type() {
        assert_eq!(decode(b"a\nb", Encoding::Lines), Ok(vec!["a".into(), "b".into()]));
        assert_eq!(
            decode(b"red, green,,blue", Encoding::Commas),
            Ok(vec!["red".into(), "green".into(), "blue".into()])
        );
        assert_eq!(decode(b"", Encoding::Lines), Ok(vec![]));
        assert_eq!(decode(b"C:\\temp", Encoding::Lines), Ok(vec!["C:\\temp".into()]));
        assert_eq!(decode(b"\xff", Encoding::Lines), Err(NotText));
    }
}
