//! What a server says about coming back later.

use std::time::Duration;

use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

use crate::model::Timestamp;

/// A server's allowance is a day's or a month's: a time further away than this is no such time.
const EXHAUSTED_MAX: Duration = Duration::from_secs(32 * 86_400);
/// When it is asked again whether an allowance is renewed, where no time is told.
const ASK_AGAIN: Duration = Duration::from_secs(900);
/// The longest `Retry-After` that is believed.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

fn text(headers: &HeaderMap, name: reqwest::header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn http_date(text: &str) -> Option<Timestamp> {
    httpdate::parse_http_date(text).ok().map(Timestamp::from)
}

/// `at`, a time of the server's clock, by this machine's: the `Date` header tells how far the two are apart.
fn to_local(at: Timestamp, headers: &HeaderMap, now: Timestamp) -> Timestamp {
    let server_now = text(headers, DATE).and_then(http_date).unwrap_or(now);
    if at >= server_now {
        now.plus(at.since(server_now))
    } else {
        now.minus(server_now.since(at))
    }
}

/// `Retry-After`, in seconds or as a date.
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = text(headers, RETRY_AFTER)?.trim();
    let span = match value.parse::<u64>() {
        Ok(secs) => Duration::from_secs(secs),
        Err(_) => to_local(http_date(value)?, headers, now).since(now),
    };
    Some(span.min(RETRY_AFTER_MAX))
}

/// When an allowance that is used up is renewed, by this machine's clock, from a body such as `You have reached your daily
/// API usage limit. Access will resume at 2026-06-10 00:00:00 UTC`. `None` when it names no time that lies ahead.
pub(super) fn exhausted_until(body: &str, headers: &HeaderMap, now: Timestamp) -> Option<Timestamp> {
    const MARK: &str = "resume at ";
    let text = body.to_ascii_lowercase();
    let Some(from) = text.find(MARK).map(|at| at + MARK.len()) else {
        // Used up, but nobody says until when: asked again now and then, not with every request.
        return text.contains("usage limit").then(|| now.plus(ASK_AGAIN));
    };
    // `2026-06-10 00:00:00` is 19 characters, as is its form with a `T`.
    let until = Timestamp::parse(body.get(from..from + 19)?)?;
    let until = to_local(until, headers, now);
    (until > now && until.since(now) <= EXHAUSTED_MAX).then_some(until)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "You have reached your daily API usage limit. Access will resume at 2026-06-10 00:00:00 UTC";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(k, v)| (k.parse().expect("name"), v.parse().expect("value")))
            .collect()
    }

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).expect("a time")
    }

    #[test]
    fn the_quota_text_is_read_with_the_servers_clock() {
        let now = at("2026-06-09 20:00:00");
        assert_eq!(
            exhausted_until(TEXT, &HeaderMap::new(), now),
            Some(at("2026-06-10 00:00:00"))
        );
        // The server's clock is an hour ahead of ours: its midnight comes an hour earlier here.
        let ahead = headers(&[("date", "Tue, 09 Jun 2026 21:00:00 GMT")]);
        assert_eq!(exhausted_until(TEXT, &ahead, now), Some(at("2026-06-09 23:00:00")));
    }

    #[test]
    fn a_quota_text_without_a_time_ahead_is_none() {
        assert_eq!(
            exhausted_until(TEXT, &HeaderMap::new(), at("2026-06-10 00:00:01")),
            None
        );
        assert_eq!(
            exhausted_until(TEXT, &HeaderMap::new(), at("2020-06-10 00:00:01")),
            None
        );
        assert_eq!(
            exhausted_until("resume at noon", &HeaderMap::new(), at("2026-06-09 20:00:00")),
            None
        );
        assert_eq!(
            exhausted_until("slow down", &HeaderMap::new(), at("2026-06-09 20:00:00")),
            None
        );
    }

    #[test]
    fn a_limit_without_a_time_is_asked_about_again_after_a_while() {
        let now = at("2026-06-09 20:00:00");
        let until = exhausted_until("You have reached your monthly API usage limit.", &HeaderMap::new(), now);
        assert_eq!(until, Some(at("2026-06-09 20:15:00")));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = at("2026-06-09 20:00:00");
        assert_eq!(
            retry_after(&headers(&[("retry-after", "7")]), now),
            Some(Duration::from_secs(7))
        );
        let date = headers(&[("retry-after", "Tue, 09 Jun 2026 20:00:30 GMT")]);
        assert_eq!(retry_after(&date, now), Some(Duration::from_secs(30)));
        let skewed = headers(&[
            ("retry-after", "Tue, 09 Jun 2026 21:00:30 GMT"),
            ("date", "Tue, 09 Jun 2026 21:00:00 GMT"),
        ]);
        assert_eq!(retry_after(&skewed, now), Some(Duration::from_secs(30)));
        assert_eq!(retry_after(&headers(&[("retry-after", "soon")]), now), None);
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    proptest! {
        #[test]
        fn any_text_is_a_time_ahead_or_none(text in "(?i)(resume at )?.{0,40}") {
            let now = Timestamp::from_secs(0);
            prop_assert!(exhausted_until(&text, &HeaderMap::new(), now).is_none_or(|until| until > now));
        }
    }
}
