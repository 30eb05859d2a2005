//! Templates, keywords, collections, webhooks, the user: small tables.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::ask::{Ask, Outcome, Reply, ids_in, text_in};
use super::listing::paged;
use super::records::{Collection, Keyword, KeywordSet, Webhook};
use super::render::{collection_json, file_type_json, keyword_json, keyword_set_json, webhook_json};
use super::state::{State, USER};

/// `GET /file_types`.
pub(super) fn file_types(state: &mut State, ask: &Ask) -> Outcome {
    let ids: Vec<u64> = state.file_types.iter().map(|kind| kind.id).collect();
    paged(state, ask, &ids, |id| {
        state.file_types.iter().find(|kind| kind.id == id).map(file_type_json)
    })
}

/// `GET /file_types/{id}`.
pub(super) fn file_type(state: &mut State, ask: &Ask) -> Outcome {
    let id = ask.id(0)?;
    let kind = state.file_types.iter().find(|kind| kind.id == id);
    Ok(Reply::ok(file_type_json(
        kind.ok_or_else(|| Reply::missing("file type"))?,
    )))
}

/// `GET /keyword_sets`.
pub(super) fn keyword_sets(state: &mut State, ask: &Ask) -> Outcome {
    let ids: Vec<u64> = state.keyword_sets.keys().copied().collect();
    paged(state, ask, &ids, |id| state.keyword_sets.get(&id).map(keyword_set_json))
}

/// `POST /keyword_sets`.
pub(super) fn create_keyword_set(state: &mut State, ask: &Ask) -> Outcome {
    let set = KeywordSet {
        name: text_in(&ask.json()?, "name")?,
        id: state.next_id(),
        created_ms: state.now_ms(),
    };
    state.save(&set);
    let answer = keyword_set_json(&set);
    state.keyword_sets.insert(set.id, set);
    Ok(Reply::created(answer))
}

/// `GET /keyword_sets/{id}`.
pub(super) fn keyword_set(state: &mut State, ask: &Ask) -> Outcome {
    let set = state.keyword_sets.get(&ask.id(0)?);
    Ok(Reply::ok(keyword_set_json(
        set.ok_or_else(|| Reply::missing("keyword set"))?,
    )))
}

/// `GET /keyword_sets/{id}/keywords`.
pub(super) fn keywords(state: &mut State, ask: &Ask) -> Outcome {
    let set = known_set(state, ask)?;
    let all = state.keywords.values();
    let ids: Vec<u64> = all
        .filter(|keyword| keyword.set == set)
        .map(|keyword| keyword.id)
        .collect();
    paged(state, ask, &ids, |id| state.keywords.get(&id).map(keyword_json))
}

/// `POST /keyword_sets/{id}/keywords`.
pub(super) fn create_keyword(state: &mut State, ask: &Ask) -> Outcome {
    let set = known_set(state, ask)?;
    let name = text_in(&ask.json()?, "name")?;
    let mut others = state.keywords.values();
    if others.any(|other| other.set == set && other.name == name) {
        return Err(Reply::invalid("Name has already been taken"));
    }
    let keyword = Keyword {
        id: state.next_id(),
        set,
        name,
        created_ms: state.now_ms(),
    };
    state.save(&keyword);
    let answer = keyword_json(&keyword);
    state.keywords.insert(keyword.id, keyword);
    Ok(Reply::created(answer))
}

fn known_set(state: &State, ask: &Ask) -> Result<u64, Reply> {
    let set = state.keyword_sets.get(&ask.id(0)?);
    Ok(set.ok_or_else(|| Reply::missing("keyword set"))?.id)
}

/// `GET /collections`.
pub(super) fn collections(state: &mut State, ask: &Ask) -> Outcome {
    let ids: Vec<u64> = state.collections.keys().copied().collect();
    paged(state, ask, &ids, |id| state.collections.get(&id).map(collection_json))
}

/// `POST /collections`.
pub(super) fn create_collection(state: &mut State, ask: &Ask) -> Outcome {
    let body = ask.json()?;
    let collection = Collection {
        name: text_in(&body, "name")?,
        assets: known_assets(state, &body)?,
        id: state.next_id(),
        created_ms: state.now_ms(),
    };
    put_collection(state, collection, true)
}

/// `GET /collections/{id}`.
pub(super) fn collection(state: &mut State, ask: &Ask) -> Outcome {
    Ok(Reply::ok(collection_json(&known_collection(state, ask)?)))
}

/// `PUT /collections/{id}`: only adds.
pub(super) fn add_to_collection(state: &mut State, ask: &Ask) -> Outcome {
    let mut collection = known_collection(state, ask)?;
    let body = ask.json()?;
    if body.get("name").is_some() {
        collection.name = text_in(&body, "name")?;
    }
    collection.assets.extend(known_assets(state, &body)?);
    put_collection(state, collection, false)
}

/// `GET /collections/{id}/files`.
pub(super) fn collection_files(state: &mut State, ask: &Ask) -> Outcome {
    let assets: Vec<u64> = known_collection(state, ask)?.assets.into_iter().collect();
    let listed = state.listed();
    paged(state, ask, &assets, |id| {
        listed.file(id).map(|file| state.file_json(&file, &ask.origin))
    })
}

fn known_collection(state: &State, ask: &Ask) -> Result<Collection, Reply> {
    let collection = state.collections.get(&ask.id(0)?).cloned();
    collection.ok_or_else(|| Reply::missing("collection"))
}

fn known_assets(state: &State, body: &Value) -> Result<BTreeSet<u64>, Reply> {
    let ids = ids_in(body, "asset_ids")?;
    match ids.iter().find(|id| state.file(**id).is_err()) {
        Some(unknown) => Err(Reply::invalid(format!("there is no file {unknown}"))),
        None => Ok(ids.into_iter().collect()),
    }
}

fn put_collection(state: &mut State, collection: Collection, new: bool) -> Outcome {
    state.save(&collection);
    let answer = collection_json(&collection);
    state.collections.insert(collection.id, collection);
    Ok(if new { Reply::created(answer) } else { Reply::ok(answer) })
}

const FILE_ACTIONS: &[&str] = &[
    "created",
    "processed",
    "updated_file",
    "name_changed",
    "added_to_folder",
    "removed_from_folder",
    "deleted",
    "recovered",
    "keywords_updated",
    "file_type_changed",
    "expiration_date_set",
    "expiration_date_removed",
];
const FOLDER_ACTIONS: &[&str] = &["created", "renamed", "moved", "deleted", "recovered"];

/// `GET /webhooks`.
pub(super) fn webhooks(state: &mut State, ask: &Ask) -> Outcome {
    let ids: Vec<u64> = state.webhooks.keys().copied().collect();
    paged(state, ask, &ids, |id| state.webhooks.get(&id).map(webhook_json))
}

/// `POST /webhooks`.
pub(super) fn create_webhook(state: &mut State, ask: &Ask) -> Outcome {
    let body = ask.json()?;
    let hook = Webhook {
        id: state.next_id(),
        resource: text_in(&body, "resource")?,
        action: text_in(&body, "action")?,
        url: text_in(&body, "url")?,
        notification_emails: emails_in(&body),
        created_ms: state.now_ms(),
    };
    put_webhook(state, hook, true)
}

/// `GET /webhooks/{id}`.
pub(super) fn webhook(state: &mut State, ask: &Ask) -> Outcome {
    Ok(Reply::ok(webhook_json(&known_webhook(state, ask)?)))
}

/// `PUT /webhooks/{id}`.
pub(super) fn change_webhook(state: &mut State, ask: &Ask) -> Outcome {
    let mut hook = known_webhook(state, ask)?;
    let body = ask.json()?;
    for (field, slot) in [
        ("resource", &mut hook.resource),
        ("action", &mut hook.action),
        ("url", &mut hook.url),
    ] {
        if body.get(field).is_some() {
            *slot = text_in(&body, field)?;
        }
    }
    if body.get("notification_emails").is_some() {
        hook.notification_emails = emails_in(&body);
    }
    put_webhook(state, hook, false)
}

/// `DELETE /webhooks/{id}`.
pub(super) fn delete_webhook(state: &mut State, ask: &Ask) -> Outcome {
    let id = known_webhook(state, ask)?.id;
    state.webhooks.remove(&id);
    state.drop_record::<Webhook>(id);
    Ok(Reply::done())
}

fn known_webhook(state: &State, ask: &Ask) -> Result<Webhook, Reply> {
    let hook = state.webhooks.get(&ask.id(0)?).cloned();
    hook.ok_or_else(|| Reply::missing("webhook"))
}

fn put_webhook(state: &mut State, hook: Webhook, new: bool) -> Outcome {
    let actions = match hook.resource.as_str() {
        "file" => FILE_ACTIONS,
        "folder" => FOLDER_ACTIONS,
        other => return Err(Reply::invalid(format!("resource {other:?} is not known"))),
    };
    if !actions.contains(&hook.action.as_str()) {
        return Err(Reply::invalid(format!("action {:?} is not known", hook.action)));
    }
    state.save(&hook);
    let answer = webhook_json(&hook);
    state.webhooks.insert(hook.id, hook);
    Ok(if new { Reply::created(answer) } else { Reply::ok(answer) })
}

fn emails_in(body: &Value) -> Vec<String> {
    let list = body.get("notification_emails").and_then(Value::as_array);
    let texts = list.into_iter().flatten().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

/// `GET /users/me`.
pub(super) fn me(_state: &mut State, _ask: &Ask) -> Outcome {
    Ok(Reply::ok(json!({
        "id": USER,
        "login": "jdoe",
        "email": "j@example.com",
        "company": "Ex",
        "first_name": "J",
        "last_name": "Doe",
        "permission_group_id": 31,
        "permissions": [{"id": 31, "name": "Admin", "description": ""}],
        "subdomain": {"domain_with_sub_domain": "ex.imagerelay.com", "http_base": "https://ex.imagerelay.com"},
    })))
}
