//! The service behind the network: authenticates a request, routes it, and runs its handler under one lock.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::to_bytes;
use axum::extract::{Request, State as Extracted};
use axum::http::header::{AUTHORIZATION, HOST, USER_AGENT};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;

use super::ask::{Ask, Outcome, Reply, ReplyBody};
use super::content::Vault;
use super::effects::Effects;
use super::options::ImageRelayOptions;
use super::render::with_string_ids;
use super::routes::{Found, Handler, find};
use super::state::State;
use crate::model::{SharedClock, Timestamp};

/// The largest body that is read; larger ones get 413.
const BODY_BYTES_MAX: usize = 64 << 20;

const DAY_SECONDS: i64 = 86_400;

/// The whole service.
pub(super) struct App {
    state: Mutex<State>,
    effects: Effects,
    pub(super) vault: Arc<Vault>,
    clock: SharedClock,
    api_key: String,
    user_agent_required: bool,
    ids_as_strings: bool,
    daily_quota: Option<u64>,
    /// The day since 1970 and the requests made in it.
    today: Mutex<(i64, u64)>,
}

impl App {
    /// A service around a state.
    pub(super) fn new(options: &ImageRelayOptions, state: State, effects: Effects) -> Arc<Self> {
        Arc::new(Self {
            vault: Arc::clone(&state.vault),
            state: Mutex::new(state),
            effects,
            clock: Arc::clone(&options.clock),
            api_key: options.api_key.clone(),
            user_agent_required: options.quirks.user_agent_required,
            ids_as_strings: options.quirks.ids_as_strings,
            daily_quota: options.daily_quota,
            today: Mutex::new((0, 0)),
        })
    }

    /// Looks at the state as it is now.
    pub(super) fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        self.change(|state| look(state))
    }

    /// Changes the state; what changed is saved and announced.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        state.settle();
        let result = change(&mut state);
        if let Err(reply) = state.commit() {
            tracing::error!(?reply, "a change is not saved");
        }
        for effect in state.take_effects() {
            self.effects.send(effect);
        }
        result
    }

    fn run(&self, handler: Handler, ask: &Ask) -> Outcome {
        let mut state = self.state.lock();
        state.settle();
        let outcome = handler(&mut state, ask);
        // Saved before the answer: what was promised survives a crash.
        state.commit()?;
        for effect in state.take_effects() {
            self.effects.send(effect);
        }
        outcome
    }

    /// 429 with the service's own words, once the day's requests are used up.
    fn spend(&self) -> Result<(), Reply> {
        let Some(quota) = self.daily_quota else { return Ok(()) };
        let day = self.clock.now().secs.div_euclid(DAY_SECONDS);
        let mut today = self.today.lock();
        if today.0 != day {
            *today = (day, 0);
        }
        if today.1 < quota {
            today.1 += 1;
            return Ok(());
        }
        let midnight = Timestamp::from_secs((day + 1) * DAY_SECONDS).to_rfc3339();
        let date = midnight.split('T').next().unwrap_or_default();
        Err(Reply::text(
            StatusCode::TOO_MANY_REQUESTS,
            format!("You have reached your daily API usage limit. Access will resume at {date} 00:00:00 UTC"),
        ))
    }

    fn admit(&self, headers: &HeaderMap) -> Result<(), Reply> {
        if self.user_agent_required && headers.get(USER_AGENT).is_none_or(|agent| agent.is_empty()) {
            let text = "Please set a User-Agent header with the name of your app and a way to reach you";
            return Err(Reply::text(StatusCode::FORBIDDEN, text));
        }
        self.spend()?;
        let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        match given.is_some_and(|given| self.knows(given)) {
            true => Ok(()),
            false => Err(Reply::text(StatusCode::UNAUTHORIZED, "HTTP Token: Access denied.")),
        }
    }

    /// `Bearer KEY`, `OAuth TOKEN`, or `Basic` with the key as user or password.
    fn knows(&self, given: &str) -> bool {
        let Some((scheme, rest)) = given.split_once(' ') else {
            return false;
        };
        match scheme {
            "Bearer" | "OAuth" => rest == self.api_key,
            "Basic" => decode_base64(rest).is_some_and(|pair| {
                let (user, password) = pair.split_once(':').unwrap_or((&pair, ""));
                user == self.api_key || password == self.api_key
            }),
            _ => false,
        }
    }
}

/// Answers every request that is not for content or control.
pub(super) async fn answer(Extracted(app): Extracted<Arc<App>>, request: Request) -> Response {
    match answer_api(&app, request).await {
        Ok(mut reply) | Err(mut reply) => {
            if let (true, ReplyBody::Json(value)) = (app.ids_as_strings, &mut reply.body) {
                with_string_ids(value);
            }
            reply.into_response()
        }
    }
}

async fn answer_api(app: &Arc<App>, request: Request) -> Outcome {
    app.admit(request.headers())?;
    let (parts, body) = request.into_parts();
    let (handler, params) = match find(&parts.method, parts.uri.path()) {
        Found::Handler(handler, _, params) => (handler, params),
        Found::WrongMethod => return Err(Reply::text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed")),
        Found::Nothing => return Err(Reply::unknown_route()),
    };
    let body = to_bytes(body, BODY_BYTES_MAX)
        .await
        .map_err(|_| Reply::text(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large or broke off"))?;
    let query = parts.uri.query().unwrap_or_default();
    let ask = Ask {
        params,
        path: parts.uri.path().to_owned(),
        query: url::form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect::<HashMap<_, _>>(),
        origin: origin(&parts.headers),
        headers: parts.headers,
        body,
    };
    // Handlers may wait for the disk.
    let app = Arc::clone(app);
    tokio::task::spawn_blocking(move || app.run(handler, &ask))
        .await
        .map_err(|error| Reply::broken(&error))?
}

/// `http://HOST` as the client called it, so that URLs lead back the same way.
pub(super) fn origin(headers: &HeaderMap) -> String {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    format!("http://{}", host.unwrap_or("localhost"))
}

fn decode_base64(text: &str) -> Option<String> {
    let (mut bits, mut held, mut out) = (0u32, 0, Vec::new());
    for byte in text.trim_end_matches('=').bytes() {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(six)) & 0xffff;
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read() {
        assert_eq!(decode_base64("dXNlcjpwYXNz").as_deref(), Some("user:pass"));
        assert_eq!(decode_base64("YTpi").as_deref(), Some("a:b"));
        assert_eq!(decode_base64("YTo=").as_deref(), Some("a:"));
        assert_eq!(decode_base64("?"), None);
    }
}
