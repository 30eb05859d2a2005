//! Queries as they are typed: `words&filter=value`, with `%20` and the like for what a name cannot hold.

use percent_encoding::percent_decode_str;

use super::super::{Error, Result};

/// A query, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Free words.
    pub words: String,
    /// The store's own filters with their values.
    pub filters: Vec<(String, String)>,
    /// Whether folders below count.
    pub recursive: bool,
}

/// Reads a query: parts joined by `&`, each either words or `filter=value`. Words and values may be percent-encoded, as a
/// `/` has to be in a name. `recursive=false` is for us: only the folder itself is searched.
pub fn parse(query: &str) -> Result<Asked> {
    let mut asked = Asked {
        words: String::new(),
        filters: Vec::new(),
        recursive: true,
    };
    let mut words = Vec::new();
    for part in query.split('&').map(str::trim).filter(|part| !part.is_empty()) {
        match part.split_once('=') {
            None => words.push(decoded(part)?),
            Some((name, value)) => {
                let (name, value) = (decoded(name.trim())?, decoded(value.trim())?);
                match (name.as_str(), value.as_str()) {
                    ("", _) => return Err(Error::Invalid(format!("`{part}` is not NAME=VALUE"))),
                    ("recursive", "true") => asked.recursive = true,
                    ("recursive", "false") => asked.recursive = false,
                    ("recursive", _) => return Err(Error::Invalid("recursive is true or false".into())),
                    _ => asked.filters.push((name, value)),
                }
            }
        }
    }
    asked.words = words.join(" ");
    if asked.words.is_empty() && asked.filters.is_empty() {
        return Err(Error::Invalid("say what to search for: words, or NAME=VALUE".into()));
    }
    Ok(asked)
}

/// A text without its percent-encoding; a `%` that begins none stays.
pub(super) fn decoded(text: &str) -> Result<String> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded
        .map(|text| text.into_owned())
        .map_err(|_| Error::Invalid(format!("`{text}` is no UTF-8 once it is decoded")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn words_and_filters_are_told_apart() {
        let asked = parse("old ship & tag=sea&Dublin Core.Title=a=b").expect("a query");
        assert_eq!(asked.words, "old ship");
        assert_eq!(
            asked.filters,
            [filter("tag", "sea"), filter("Dublin Core.Title", "a=b")]
        );
        assert!(asked.recursive);
        assert_eq!(parse("tag=").expect("a query").filters, [filter("tag", "")]);
    }

    #[test]
    fn values_are_percent_decoded_after_they_are_taken_apart() {
        let asked = parse("black%26white&mime_type=image%2Fpng&title=a%3Db&50%").expect("a query");
        assert_eq!(asked.words, "black&white 50%");
        assert_eq!(
            asked.filters,
            [filter("mime_type", "image/png"), filter("title", "a=b")]
        );
        assert!(parse("%ff").is_err(), "not UTF-8");
    }

    #[test]
    fn the_scope_is_ours_and_no_filter() {
        let asked = parse("ship&recursive=false").expect("a query");
        assert_eq!((asked.recursive, asked.filters.len()), (false, 0));
        assert!(parse("ship&recursive=maybe").is_err());
        assert!(parse("recursive=false").is_err(), "nothing is searched for");
    }

    #[test]
    fn what_asks_for_nothing_is_refused() {
        for nothing in ["", " & ", "=x", "&"] {
            assert!(parse(nothing).is_err(), "{nothing:?}");
        }
    }
}
