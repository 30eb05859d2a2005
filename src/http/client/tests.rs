use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::Request as Incoming;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use axum::routing::{any, get, post};
use futures_util::TryStreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::http::{LocalBudget, Login, Method, Part, Secret, header, with_context};
use crate::model::{ManualClock, SystemClock, Timestamp};

const KEY: &str = "s3cr3t-k3y";

fn deadlines() -> Deadlines {
    Deadlines {
        progress: Duration::from_millis(200),
        ..Deadlines::default()
    }
}

fn client_at(base: &str, clock: SharedClock) -> Arc<Client> {
    let budget = LocalBudget::unlimited(clock.clone());
    let config = ClientConfig {
        deadlines: deadlines(),
        cookies: true,
        ..ClientConfig::new(base.parse().expect("a URL"), budget)
    };
    Client::new(config, clock).expect("a client")
}

fn client(base: &str) -> Arc<Client> {
    client_at(base, SystemClock::shared())
}

async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let base = format!("http://{}/", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    base
}

/// Answers the nth connection with the nth bytes (the last ones again and again), then closes it.
async fn scripted(answers: Vec<&'static str>) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let base = format!("http://{}/", listener.local_addr().expect("an address"));
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut seen = Vec::new();
            let mut buffer = [0u8; 4096];
            while !seen.windows(4).any(|w| w == b"\r\n\r\n") {
                match socket.read(&mut buffer).await {
                    Ok(n) if n > 0 => seen.extend_from_slice(&buffer[..n]),
                    _ => break,
                }
            }
            let nth = count.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1);
            socket.write_all(answers[nth].as_bytes()).await.expect("written");
            socket.shutdown().await.expect("closed");
        }
    });
    (base, asked)
}

fn request(base: &str, method: Method, path: &str) -> Request {
    let url = format!("{base}{path}").parse().expect("a URL");
    Request::new(method, url, "TEST").secret_query("key", &Secret::new(KEY))
}

fn failed<T>(result: Result<T, Error>) -> Error {
    match result {
        Ok(_) => panic!("it must fail"),
        Err(e) => e,
    }
}

#[tokio::test]
async fn a_server_that_never_answers_is_left_after_the_deadline() {
    let base = serve(Router::new().route("/hang", any(std::future::pending::<()>))).await;
    let client = client(&base);
    let error = failed(client.call(request(&base, Method::POST, "hang")).await);
    assert_eq!((error.kind, error.retry), (ErrorKind::Stalled, Retry::Ambiguous));
    assert_eq!(client.snapshot().requests, 1);
}

#[tokio::test]
async fn a_body_that_stops_in_the_middle_is_left_after_the_deadline() {
    let router = Router::new().route(
        "/",
        get(|| async {
            let pieces = futures_util::stream::iter([Ok::<_, std::io::Error>("begin")]);
            axum::body::Body::from_stream(pieces.chain(futures_util::stream::pending()))
        }),
    );
    let base = serve(router).await;
    let response = client(&base)
        .open(request(&base, Method::GET, ""))
        .await
        .expect("a head");
    let mut stream = response.stream();
    assert_eq!(stream.next().await.expect("a piece").expect("bytes"), "begin");
    let error = failed(stream.next().await.expect("an end"));
    assert_eq!(error.kind, ErrorKind::Stalled);
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn a_slow_upload_that_moves_is_not_cut_off() {
    let base = serve(Router::new().route("/", post(|body: String| async move { body.len().to_string() }))).await;
    let slow = Body::stream(8, || {
        futures_util::stream::unfold(0, |n| async move {
            tokio::time::sleep(Duration::from_millis(80)).await;
            (n < 8).then(|| (Ok::<_, std::io::Error>(bytes::Bytes::from_static(b"x")), n + 1))
        })
    });
    let answer = client(&base)
        .call(request(&base, Method::POST, "").body("text/plain", slow))
        .await;
    assert_eq!(answer.expect("an answer").body, "8");
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_only_when_that_is_harmless() {
    let whole = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{";
    let (base, asked) = scripted(vec!["", cut, whole]).await;
    let client = client(&base);
    assert_eq!(
        client
            .call(request(&base, Method::GET, ""))
            .await
            .expect("an answer")
            .body,
        "{}"
    );
    assert_eq!(asked.load(Ordering::SeqCst), 3);
    assert_eq!(client.snapshot().retries, 2);

    for lost in ["", cut] {
        let (base, asked) = scripted(vec![lost, whole]).await;
        let error = failed(client.call(request(&base, Method::POST, "")).await);
        assert_eq!((error.kind, error.retry), (ErrorKind::Broken, Retry::Ambiguous));
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn attempts_are_bounded() {
    let (base, asked) = scripted(vec!["HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"]).await;
    let error = failed(client(&base).call(request(&base, Method::GET, "")).await);
    assert_eq!(error.status, Some(502));
    assert_eq!(asked.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn a_request_that_was_not_sent_may_be_sent_again_whatever_it_is() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let base = format!("http://{}/", listener.local_addr().expect("an address"));
    drop(listener);
    let client = client(&base);
    let error = failed(client.call(request(&base, Method::POST, "")).await);
    assert_eq!(error.kind, ErrorKind::Connect);
    assert!(matches!(error.retry, Retry::After(_)));
    assert_eq!(client.snapshot().requests, 4);
}

#[tokio::test]
async fn a_page_instead_of_data_is_told_as_text() {
    let page = "HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nContent-Length: 46\r\n\r\n<html><body><h1>No such page</h1></body></html";
    let (base, _) = scripted(vec![page]).await;
    let error = failed(client(&base).call(request(&base, Method::GET, "x")).await);
    assert_eq!((error.status, error.html, error.retry), (Some(404), true, Retry::Never));
    assert_eq!(error.message().trim(), "No such page");

    let (base, _) = scripted(vec!["HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n<html>hi</html"]).await;
    let answer = client(&base)
        .call(request(&base, Method::POST, "x"))
        .await
        .expect("an answer");
    let error = failed(answer.json::<serde_json::Value>());
    assert_eq!(
        (error.kind, error.html, error.retry),
        (ErrorKind::Answer, true, Retry::Ambiguous)
    );
}

#[tokio::test]
async fn too_many_requests_is_waited_out_also_for_what_must_not_be_sent_twice() {
    let busy = "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n";
    let (base, asked) = scripted(vec![busy, "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"]).await;
    let client = client(&base);
    let begun = client.clock.elapsed();
    assert_eq!(
        client
            .call(request(&base, Method::POST, ""))
            .await
            .expect("an answer")
            .status,
        201
    );
    assert!(client.clock.elapsed() - begun >= Duration::from_secs(1));
    assert_eq!((asked.load(Ordering::SeqCst), client.snapshot().throttled), (2, 1));
}

#[tokio::test]
async fn an_interactive_request_fails_rather_than_wait_long() {
    let busy = "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 100\r\nContent-Length: 0\r\n\r\n";
    let (base, asked) = scripted(vec![busy]).await;
    let client = client(&base);
    for _ in 0..3 {
        let error = failed(client.call(request(&base, Method::GET, "")).await);
        assert!(
            matches!(error.kind, ErrorKind::Throttled { until: Some(_) }),
            "{error:?}"
        );
        assert!(matches!(error.retry, Retry::After(span) if span > Duration::from_secs(90)));
    }
    // The pause is everyone's: the others were not even sent.
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_429_without_a_time_pauses_all_requests_for_a_while() {
    let busy = "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 9\r\n\r\nslow down";
    let (base, asked) = scripted(vec![busy, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]).await;
    let client = client(&base);
    let begun = client.clock.elapsed();
    client.call(request(&base, Method::GET, "")).await.expect("an answer");
    assert!(client.clock.elapsed() - begun >= Duration::from_secs(2));
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn nothing_is_sent_while_the_daily_allowance_is_used_up() {
    let spent = "HTTP/1.1 429 Too Many Requests\r\nDate: Tue, 09 Jun 2026 20:00:00 GMT\r\nContent-Length: 90\r\n\r\n\
        You have reached your daily API usage limit. Access will resume at 2026-06-10 00:00:00 UTC";
    let (base, asked) = scripted(vec![spent, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]).await;
    // Our clock is 10 minutes behind the server's.
    let clock = ManualClock::starting(Timestamp::parse("2026-06-09 19:50:00").expect("a time"));
    let until = Timestamp::parse("2026-06-09 23:50:00").expect("a time");
    let client = client_at(&base, clock.clone());
    for _ in 0..3 {
        let error = failed(client.call(request(&base, Method::GET, "")).await);
        assert_eq!(error.kind, ErrorKind::QuotaExhausted { until });
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    // What does not count against the allowance goes on.
    client
        .call(request(&base, Method::GET, "cdn").unbudgeted())
        .await
        .expect("an answer");
    clock.advance(Duration::from_secs(4 * 3600));
    client.call(request(&base, Method::GET, "")).await.expect("an answer");
    assert_eq!(asked.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn no_secret_and_no_query_reach_an_error_or_the_counters() {
    let router = Router::new().fallback(|incoming: Incoming| async move {
        let echo = format!(
            "you sent {} {:?}",
            incoming.uri(),
            incoming.headers().get("authorization")
        );
        (axum::http::StatusCode::FORBIDDEN, echo)
    });
    let base = serve(router).await;
    let client = client(&base);
    let secret = Secret::new(KEY);
    let error = failed(
        client
            .call(request(&base, Method::GET, "items").secret_header(header::AUTHORIZATION, "Bearer ", &secret))
            .await,
    );
    let counters = serde_json::to_string(&client.snapshot()).expect("JSON");
    let shown = format!("{error} {error:?} {counters}");
    assert!(shown.contains("you sent"), "{shown}");
    assert!(!shown.contains(KEY), "{shown}");

    for gone in ["http://127.0.0.1:1/", "http://assetfs.invalid/", "https://127.0.0.1:1/"] {
        let config = ClientConfig {
            allow_http: true,
            attempts_max: 1,
            ..client.config.clone()
        };
        let client = Client::new(config, client.clock.clone()).expect("a client");
        let error = failed(client.call(request(gone, Method::GET, "items")).await);
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains(KEY) && !shown.contains("key="), "{shown}");
    }
}

#[tokio::test]
async fn plain_http_to_another_machine_is_refused_with_the_way_out() {
    let clock = SystemClock::shared();
    let budget = LocalBudget::unlimited(clock.clone());
    let config = ClientConfig::new("http://archive.example.org/api".parse().expect("a URL"), budget);
    let error = failed(Client::new(config, clock));
    assert!(error.to_string().contains("--allow-http"), "{error}");
    let error = failed(
        client("http://127.0.0.1:1/")
            .call(request("http://archive.example.org/", Method::GET, ""))
            .await,
    );
    assert_eq!((error.kind, error.retry), (ErrorKind::Refused, Retry::Never));
}

#[tokio::test]
async fn a_redirect_to_another_server_takes_no_secret_along() {
    let other = serve(Router::new().fallback(|incoming: Incoming| async move {
        format!("{} {:?}", incoming.uri(), incoming.headers().get("authorization"))
    }))
    .await;
    let target = format!("{other}there?x=1");
    let base =
        serve(Router::new().fallback(move || async move { (axum::http::StatusCode::FOUND, [("location", target)]) }))
            .await;
    let secret = Secret::new(KEY);
    let get = request(&base, Method::GET, "here").secret_header(header::AUTHORIZATION, "Bearer ", &secret);
    assert_eq!(
        client(&base).call(get).await.expect("an answer").body,
        "/there?x=1 None"
    );
    // A write is not sent on.
    let error = failed(client(&base).call(request(&base, Method::POST, "here")).await);
    assert_eq!(error.status, Some(302));
}

#[tokio::test]
async fn every_request_tells_who_asks_and_cookies_are_sent_back() {
    let router = Router::new().fallback(|headers: HeaderMap| async move {
        let seen = format!("{:?} {:?}", headers.get("user-agent"), headers.get("cookie"));
        ([("set-cookie", "flextype=abc; path=/")], seen).into_response()
    });
    let base = serve(router).await;
    let client = client(&base);
    let first = client
        .call(request(&base, Method::GET, ""))
        .await
        .expect("an answer")
        .body;
    let second = client
        .call(request(&base, Method::GET, ""))
        .await
        .expect("an answer")
        .body;
    assert!(first.starts_with(b"Some(\"assetfs/"), "{first:?}");
    assert!(
        first.ends_with(b"None") && second.ends_with(b"Some(\"flextype=abc\")"),
        "{second:?}"
    );
}

#[tokio::test]
async fn lengths_are_told_for_empty_and_large_bodies_and_forms() {
    let router = Router::new().route(
        "/",
        post(|headers: HeaderMap, body: bytes::Bytes| async move {
            let get = |name| {
                headers
                    .get(name)
                    .and_then(|v: &HeaderValue| v.to_str().ok())
                    .unwrap_or("-")
                    .to_owned()
            };
            format!("{} {} {}", get("content-length"), get("transfer-encoding"), body.len())
        })
        .layer(axum::extract::DefaultBodyLimit::disable()),
    );
    let base = serve(router).await;
    let client = client(&base);
    let large = Body::bytes(vec![0u8; 5 << 20]);
    for (body, want) in [
        (Body::None, "0 - 0"),
        (Body::bytes(""), "0 - 0"),
        (large, "5242880 - 5242880"),
    ] {
        let answer = client
            .call(request(&base, Method::POST, "").body("application/octet-stream", body))
            .await;
        assert_eq!(answer.expect("an answer").body, want);
    }
    let form = vec![
        Part::text("data", "{}"),
        Part::file("file", "ü.txt", "text/plain", Body::bytes("hi")),
    ];
    let answer = client
        .call(request(&base, Method::POST, "").multipart(form))
        .await
        .expect("an answer");
    let text = String::from_utf8(answer.body.to_vec()).expect("text");
    let (told, got) = text.split_once(" - ").expect("two numbers");
    assert_eq!(told, got);
}

#[tokio::test]
async fn a_body_that_cannot_be_read_here_is_no_fault_of_the_line() {
    let base = serve(Router::new().route("/", post(|body: String| async move { body }))).await;
    let broken = Body::stream(10, || {
        futures_util::stream::once(async { Err(std::io::Error::other("disk on fire")) })
    });
    let error = failed(
        client(&base)
            .call(request(&base, Method::POST, "").body("text/plain", broken))
            .await,
    );
    assert_eq!((&error.kind, error.retry), (&ErrorKind::Body, Retry::Never));
    assert!(error.to_string().contains("disk on fire"), "{error}");
}

#[tokio::test]
async fn counters_tell_who_asked_for_what_and_whether_the_login_holds() {
    let router = Router::new()
        .route("/ok", get(|| async { "hello" }))
        .route("/no", get(|| async { axum::http::StatusCode::UNAUTHORIZED }));
    let base = serve(router).await;
    let client = client(&base);
    let context = Context {
        class: Class::Background,
        program: Some("rsync".into()),
    };
    with_context(context, client.call(request(&base, Method::GET, "ok")))
        .await
        .expect("an answer");
    let stream = client
        .open(request(&base, Method::GET, "ok").unbudgeted())
        .await
        .expect("an answer")
        .stream();
    stream.try_collect::<Vec<_>>().await.expect("bytes");
    assert_eq!(client.snapshot().login, Login::Accepted);
    assert_eq!(
        failed(client.call(request(&base, Method::GET, "no")).await).status,
        Some(401)
    );
    let all = client.snapshot();
    assert!(matches!(all.login, Login::Refused { .. }));
    assert!(all.last_error.is_some());
    assert_eq!((all.requests, all.api_requests, all.bytes_in), (3, 2, 10));
    assert_eq!(all.classes[&Class::Background], 1);
    assert_eq!(all.programs["rsync"], 1);
    assert_eq!(all.routes["TEST"].answers["2xx"], 2);
    assert_eq!(all.routes["TEST"].answers["4xx"], 1);
}

#[tokio::test]
async fn statuses_that_the_caller_knows_are_no_errors() {
    let base = serve(Router::new()).await;
    let answer = client(&base)
        .call(request(&base, Method::GET, "x").accept(&[404]))
        .await;
    assert_eq!(answer.expect("an answer").status, 404);
}

/// Each folder that was deleted left "error … folder not found" in `status` for good: the store is asked whether it has
/// gone. That is an answer; a failure stays told.
#[tokio::test]
async fn that_something_has_gone_is_no_error_to_tell() {
    let base = serve(Router::new().route("/no", get(|| async { axum::http::StatusCode::FORBIDDEN }))).await;
    let client = client(&base);
    let gone = failed(client.call(request(&base, Method::GET, "gone")).await);
    assert_eq!(gone.status, Some(404));
    assert!(client.snapshot().last_error.is_none());
    // Content that should be there is another matter.
    let lost = failed(client.call(request(&base, Method::GET, "gone").unbudgeted()).await);
    assert_eq!(lost.status, Some(404));
    assert!(client.snapshot().last_error.is_some_and(|e| e.text.contains("404")));
    assert_eq!(
        failed(client.call(request(&base, Method::GET, "no")).await).status,
        Some(403)
    );
    failed(client.call(request(&base, Method::GET, "gone")).await);
    assert!(client.snapshot().last_error.is_some_and(|e| e.text.contains("403")));
}
