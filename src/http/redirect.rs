//! Where a request may go: never over plain http to another machine, and no further than a redirect may lead.

use reqwest::Method;
use reqwest::header::{HeaderMap, LOCATION};
use url::{Host, Url};

/// How many redirects one request follows.
pub(super) const REDIRECTS_MAX: usize = 5;

/// Host (with a port that is not the scheme's own) and path: all that logs and errors show of an address.
pub(super) fn host_and_path(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}{port}{}", url.host_str().unwrap_or_default(), url.path())
}

/// Whether the address is this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// Why an address must not be asked, if it must not.
pub(super) fn objection(url: &Url, allow_http: bool) -> Option<String> {
    match url.scheme() {
        "https" => None,
        "http" if allow_http || is_loopback(url) => None,
        "http" => Some(format!(
            "plain http to {} would show the login to everyone on the way; use https, or allow it with --allow-http",
            url.host_str().unwrap_or_default()
        )),
        other => Some(format!("{other} addresses are not supported")),
    }
}

/// Where an answer sends the request on to. `None` when it is no redirect that may be followed: only reads are, because
/// a write that is sent on becomes another request, or none.
pub(super) fn target(method: &Method, from: &Url, status: u16, headers: &HeaderMap) -> Option<Url> {
    let readable = *method == Method::GET || *method == Method::HEAD;
    if !readable || !matches!(status, 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    from.join(headers.get(LOCATION)?.to_str().ok()?).ok()
}

/// Whether a redirect would leave TLS.
pub(super) fn is_downgrade(from: &Url, to: &Url) -> bool {
    from.scheme() == "https" && to.scheme() != "https"
}

/// Whether two addresses are one server, so that secrets for one may be shown to the other.
pub(super) fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme() && a.host() == b.host() && a.port_or_known_default() == b.port_or_known_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().expect("a URL")
    }

    #[test]
    fn plain_http_is_for_this_machine_only() {
        for here in [
            "http://127.0.0.1:80/",
            "http://127.9.9.9/",
            "http://[::1]/",
            "http://localhost:1/",
            "https://x.org/",
        ] {
            assert_eq!(objection(&url(here), false), None, "{here}");
        }
        for away in [
            "http://x.org/",
            "http://10.0.0.1/",
            "http://localhost.x.org/",
            "http://127.0.0.1.x.org/",
        ] {
            assert!(
                objection(&url(away), false).expect("refused").contains("--allow-http"),
                "{away}"
            );
            assert_eq!(objection(&url(away), true), None);
        }
        assert!(objection(&url("file:///etc/passwd"), true).is_some());
    }

    #[test]
    fn an_address_is_shown_without_query_and_login() {
        let shown = host_and_path(&url("https://me:pw@x.org:8443/a/b?key=s3cret#f"));
        assert_eq!(shown, "x.org:8443/a/b");
    }

    #[test]
    fn only_reads_are_sent_on() {
        let headers: HeaderMap = [(LOCATION, "/b?x=1".parse().expect("value"))].into_iter().collect();
        let from = url("https://x.org/a");
        assert_eq!(
            target(&Method::GET, &from, 302, &headers),
            Some(url("https://x.org/b?x=1"))
        );
        assert_eq!(target(&Method::POST, &from, 302, &headers), None);
        assert_eq!(target(&Method::GET, &from, 200, &headers), None);
        assert!(is_downgrade(&from, &url("http://127.0.0.1/")));
        assert!(!same_origin(&from, &url("https://cdn.x.org/a")));
        assert!(same_origin(&from, &url("https://x.org:443/z")));
    }
}
