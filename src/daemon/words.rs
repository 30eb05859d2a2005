//! Words that people type: the nearest known one, spans of time, numbers of bytes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// The known word that `word` was probably meant to be.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let far = word.chars().count().div_ceil(2).min(3);
    known
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= far)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `(did you mean …?)`, when something is near.
pub fn suggestion<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, known).map_or_else(String::new, |near| format!(" (did you mean `{near}`?)"))
}

/// How many characters must be added, removed or replaced to turn `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// Reads `250ms`, `2s`, `5m`, `1h`, `2d`; a bare number is seconds.
pub fn span(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err(format!("`{unit}` is no unit of time: use ms, s, m, h or d")),
    };
    let number: f64 = number
        .trim()
        .parse()
        .map_err(|_| format!("`{text}` is no span of time, such as 2s or 5m"))?;
    Duration::try_from_secs_f64(number * factor).map_err(|_| format!("`{text}` is out of range"))
}

/// Reads `500M`, `10G`, `1.5GiB`; a bare number is bytes, and the units are powers of 1024.
pub fn bytes(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let power = match unit.to_ascii_lowercase().trim_end_matches("ib").trim_end_matches('b') {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return Err(format!("`{unit}` is no unit of size: use K, M, G or T")),
    };
    let number: f64 = number
        .trim()
        .parse()
        .map_err(|_| format!("`{text}` is no size, such as 500M or 10G"))?;
    if !(0.0..=1e9).contains(&number) && power > 0 || number < 0.0 {
        return Err(format!("`{text}` is out of range"));
    }
    Ok((number * 1024f64.powi(power)) as u64)
}

/// Reads an address to listen at: `127.0.0.1:9090`, `localhost:9090`, `[::1]:9090`; a port alone means this machine only.
pub fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let text = text.trim();
    if let Ok(port) = text.parse() {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    let numeric = text.replacen("localhost:", "127.0.0.1:", 1);
    numeric
        .parse()
        .map_err(|_| format!("`{text}` is no address with a port, such as 127.0.0.1:9090"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        let known = ["read-only", "quiet", "commit", "rate"];
        assert_eq!(nearest("comit", known), Some("commit"));
        assert_eq!(nearest("readonly", known), Some("read-only"));
        assert_eq!(nearest("xyzzy", known), None);
    }

    #[test]
    fn a_port_alone_is_this_machines() {
        let local = SocketAddr::from(([127, 0, 0, 1], 9090));
        for text in ["9090", "127.0.0.1:9090", "localhost:9090"] {
            assert_eq!(listen_address(text), Ok(local), "{text}");
        }
        assert!(listen_address("[::1]:9090").is_ok_and(|address| address.ip().is_loopback()));
        assert!(listen_address("0.0.0.0:9090").is_ok_and(|address| !address.ip().is_loopback()));
        for text in ["", "127.0.0.1", "99999", "example.org:80"] {
            assert!(listen_address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn spans_and_sizes_are_read_as_people_write_them() {
        assert_eq!(span("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(span("2"), Ok(Duration::from_secs(2)));
        assert_eq!(span("1.5h"), Ok(Duration::from_secs(5400)));
        assert!(span("-1s").is_err());
        assert!(span("soon").is_err());
        assert_eq!(bytes("10G"), Ok(10 << 30));
        assert_eq!(bytes("1.5KiB"), Ok(1536));
        assert_eq!(bytes("4096"), Ok(4096));
        assert!(bytes("-5").is_err());
        assert!(bytes("3 potatoes").is_err());
    }
}
