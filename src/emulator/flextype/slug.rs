//! The name under which an upload is stored: a slug of the stem, the extension as it was sent.

/// The stored name of an upload that was sent as `sent`; a path in front of it is dropped.
pub(super) fn stored_name(sent: &str) -> String {
    let name = sent.rsplit(['/', '\\']).next().unwrap_or_default();
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    format!("{}.{extension}", slug(stem))
}

/// Lower-case letters and digits, everything between them one `-`.
fn slug(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().flat_map(char::to_lowercase) {
        if c.is_ascii_alphanumeric() {
            out.push(c);
        } else if let Some(latin) = transliterated(c) {
            out.push_str(latin);
        } else if !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
    }
    out.trim_end_matches('-').to_owned()
}

/// Letters that the site writes in ASCII.
fn transliterated(c: char) -> Option<&'static str> {
    const LETTERS: &[(char, &str)] = &[
        ('ä', "ae"),
        ('ö', "oe"),
        ('ü', "ue"),
        ('ß', "ss"),
        ('à', "a"),
        ('á', "a"),
        ('â', "a"),
        ('ã', "a"),
        ('å', "a"),
        ('æ', "ae"),
        ('ç', "c"),
        ('è', "e"),
        ('é', "e"),
        ('ê', "e"),
        ('ë', "e"),
        ('ì', "i"),
        ('í', "i"),
        ('î', "i"),
        ('ï', "i"),
        ('ñ', "n"),
        ('ò', "o"),
        ('ó', "o"),
        ('ô', "o"),
        ('õ', "o"),
        ('ø', "o"),
        ('ù', "u"),
        ('ú', "u"),
        ('û', "u"),
        ('ý', "y"),
        ('ÿ', "y"),
        ('а', "a"),
        ('б', "b"),
        ('в', "v"),
        ('г', "g"),
        ('д', "d"),
        ('е', "e"),
        ('ё', "yo"),
        ('ж', "zh"),
        ('з', "z"),
        ('и', "i"),
        ('й', "y"),
        ('к', "k"),
        ('л', "l"),
        ('м', "m"),
        ('н', "n"),
        ('о', "o"),
        ('п', "p"),
        ('р', "r"),
        ('с', "s"),
        ('т', "t"),
        ('у', "u"),
        ('ф', "f"),
        ('х', "h"),
        ('ц', "ts"),
        ('ч', "ch"),
        ('ш', "sh"),
        ('щ', "sch"),
        ('ъ', ""),
        ('ы', "y"),
        ('ь', ""),
        ('э', "e"),
        ('ю', "yu"),
        ('я', "ya"),
    ];
    LETTERS.iter().find(|(letter, _)| *letter == c).map(|(_, latin)| *latin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_what_the_real_site_made_of_them() {
        for (sent, stored) in [
            ("Hello World_1.TXT", "hello-world-1.TXT"),
            ("Makefile", "makefile."),
            ("My Archive.v2.tar.gz", "my-archive-v2-tar.gz"),
            ("../../evil.txt", "evil.txt"),
            ("Тест файл.txt", "test-fayl.txt"),
            ("___.txt", ".txt"),
            (".hidden.txt", "hidden.txt"),
            ("Big Photo.JPG", "big-photo.JPG"),
        ] {
            assert_eq!(stored_name(sent), stored);
        }
    }
}
