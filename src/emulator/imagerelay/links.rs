//! Quick links: the only way to the bytes.

use serde_json::Value;

use super::ask::{Ask, Outcome, Reply, id_in, text_in};
use super::listing::{paged, parse_day};
use super::records::Link;
use super::state::State;

/// `GET /quick_links`.
pub(super) fn list(state: &mut State, ask: &Ask) -> Outcome {
    let ids: Vec<u64> = state.links.keys().copied().collect();
    paged(state, ask, &ids, |id| {
        state.links.get(&id).map(|link| state.link_json(link, &ask.origin))
    })
}

/// `POST /quick_links`.
pub(super) fn create(state: &mut State, ask: &Ask) -> Outcome {
    let body = ask.json()?;
    let purpose = text_in(&body, "purpose")?;
    let file = state.file(id_in(&body, "asset_id")?)?;
    let now = state.now_ms();
    let expires = match body.get("expires") {
        None | Some(Value::Null) => None,
        Some(date) => {
            let date = date.as_str().unwrap_or_default();
            match parse_day(date) {
                Some(day) if day > now => Some(date.to_owned()),
                Some(_) => return Err(Reply::invalid("expires must lie ahead")),
                None => return Err(Reply::invalid("expires must be a YYYY-MM-DD")),
            }
        }
    };
    let expired = file
        .extra
        .as_ref()
        .and_then(|extra| extra.expires_on.as_deref())
        .and_then(parse_day);
    if state.quirks.expired_refuse_links && expired.is_some_and(|day| day <= now) {
        return Err(Reply::invalid("the asset has expired"));
    }
    let link = Link {
        id: state.next_id(),
        uid: state.next_token(),
        purpose,
        created_ms: now,
        asset: file.id,
        name: file.name.to_string(),
        content: file.content,
        content_ms: file.content_ms,
        expires,
        attachment: body.get("disposition").is_some_and(|value| value == "attachment"),
    };
    state.put_link(link.clone());
    Ok(Reply::created(state.link_json(&link, &ask.origin)))
}

/// `GET /quick_links/{id}`.
pub(super) fn get(state: &mut State, ask: &Ask) -> Outcome {
    let link = state
        .links
        .get(&ask.id(0)?)
        .ok_or_else(|| Reply::missing("quick link"))?;
    Ok(Reply::ok(state.link_json(link, &ask.origin)))
}

/// `DELETE /quick_links/{id}`.
pub(super) fn delete(state: &mut State, ask: &Ask) -> Outcome {
    match state.drop_link(ask.id(0)?) {
        true => Ok(Reply::done()),
        false => Err(Reply::missing("quick link")),
    }
}
