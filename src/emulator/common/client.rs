//! A client for what the real services do by themselves: fetching a URL, delivering a webhook.
//!
//! It speaks HTTP/1.0 over plain TCP and calls loopback addresses only, so that a request to a built-in server can never
//! make this machine call another.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use url::{Host, Url};

/// How long one call may take in all.
const CALL_MAX: Duration = Duration::from_secs(30);
/// The largest answer that is read.
const ANSWER_BYTES_MAX: u64 = 1 << 30;

/// What a server said.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: bytes::Bytes,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Not a URL, not http, or without a host.
    #[error("not an http URL: {0}")]
    NotHttp(String),
    /// Another machine's address.
    #[error("{0} is not a loopback address; the built-in servers call no other machine")]
    NotLoopback(String),
    /// The network failed.
    #[error("the call failed")]
    Network(#[from] std::io::Error),
    /// No answer in time.
    #[error("no answer within {CALL_MAX:?}")]
    TimedOut,
    /// The answer is not HTTP.
    #[error("the answer is not HTTP")]
    NotAnAnswer,
}

/// Fetches `url`.
///
/// # Errors
/// See [`ClientError`]; a status other than 200 is an answer, not an error.
pub async fn get(url: &str) -> Result<Answer, ClientError> {
    call("GET", url, &[]).await
}

/// Posts a JSON document to `url`.
///
/// # Errors
/// See [`ClientError`].
pub async fn post_json(url: &str, document: &serde_json::Value) -> Result<Answer, ClientError> {
    call("POST", url, document.to_string().as_bytes()).await
}

async fn call(method: &str, url: &str, body: &[u8]) -> Result<Answer, ClientError> {
    let (addr, url) = target(url)?;
    let talk = async {
        let mut stream = TcpStream::connect(addr).await?;
        stream
            .write_all(request_head(method, &url, body.len()).as_bytes())
            .await?;
        stream.write_all(body).await?;
        let mut raw = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut raw).await?;
        parse(raw)
    };
    tokio::time::timeout(CALL_MAX, talk)
        .await
        .map_err(|_| ClientError::TimedOut)?
}

fn target(text: &str) -> Result<(SocketAddr, Url), ClientError> {
    let not_http = || ClientError::NotHttp(text.to_owned());
    let url = Url::parse(text).map_err(|_| not_http())?;
    if url.scheme() != "http" {
        return Err(not_http());
    }
    let ip: IpAddr = match url.host() {
        Some(Host::Ipv4(ip)) => ip.into(),
        Some(Host::Ipv6(ip)) => ip.into(),
        Some(Host::Domain("localhost")) => IpAddr::from([127, 0, 0, 1]),
        Some(Host::Domain(name)) => return Err(ClientError::NotLoopback(name.to_owned())),
        None => return Err(not_http()),
    };
    if !ip.is_loopback() {
        return Err(ClientError::NotLoopback(ip.to_string()));
    }
    Ok((SocketAddr::new(ip, url.port().unwrap_or(80)), url))
}

/// HTTP/1.0, so that the answer ends with the connection and is never chunked.
fn request_head(method: &str, url: &Url, body_bytes: usize) -> String {
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    let host = url.host_str().unwrap_or_default();
    let port = url.port().unwrap_or(80);
    let mut head = format!("{method} {}{query} HTTP/1.0\r\nHost: {host}:{port}\r\n", url.path());
    head.push_str("User-Agent: assetfs-emulator\r\nAccept: */*\r\n");
    if method == "POST" {
        head.push_str(&format!(
            "Content-Type: application/json\r\nContent-Length: {body_bytes}\r\n"
        ));
    }
    head.push_str("\r\n");
    head
}

fn parse(raw: Vec<u8>) -> Result<Answer, ClientError> {
    let end = raw
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .ok_or(ClientError::NotAnAnswer)?;
    let head = String::from_utf8_lossy(&raw[..end]).into_owned();
    let status = head
        .split_ascii_whitespace()
        .nth(1)
        .and_then(|code| code.parse().ok())
        .ok_or(ClientError::NotAnAnswer)?;
    let body = bytes::Bytes::from(raw).slice(end + 4..);
    let promised = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let named = name.eq_ignore_ascii_case("content-length");
        named.then(|| value.trim().parse::<usize>().ok())?
    });
    if promised.is_some_and(|promised| promised > body.len()) {
        return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
    }
    Ok(Answer { status, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_http_addresses_are_called() {
        assert!(target("http://127.0.0.1:8080/a?b").is_ok());
        assert!(target("http://[::1]/").is_ok());
        assert!(target("http://localhost:1/").is_ok());
        for other in ["http://10.0.0.1/", "http://example.com/", "http://169.254.169.254/"] {
            assert!(matches!(target(other), Err(ClientError::NotLoopback(_))), "{other}");
        }
        for other in ["https://127.0.0.1/", "file:///etc/passwd", "nonsense"] {
            assert!(matches!(target(other), Err(ClientError::NotHttp(_))), "{other}");
        }
    }

    #[test]
    fn a_short_body_is_an_error() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab".to_vec();
        assert_eq!(&parse(whole).unwrap().body[..], b"ab");
        assert!(parse(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab".to_vec()).is_err());
        assert!(parse(b"SSH-2.0".to_vec()).is_err());
    }
}
