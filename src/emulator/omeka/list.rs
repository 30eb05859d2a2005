//! Lists: parameters, filters, order, pages and the `Link` header.

use std::cmp::Ordering;

use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use serde_json::Value;

use crate::model::Timestamp;

use super::answer::{Refusal, Style, json_answer};
use super::elements;
use super::render::View;
use super::state::{Archive, File, Item, Record};

/// The query of a request, decoded, in its order.
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    /// Reads what stands behind the `?`.
    pub(super) fn parse(query: &str) -> Self {
        Self(
            url::form_urlencoded::parse(query.as_bytes())
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
                .collect(),
        )
    }

    /// The last value of a parameter, as PHP takes it.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .rev()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    /// The first name (without `[…]`) that is not in `allowed`.
    pub(super) fn foreign<'a>(&'a self, allowed: &[&str]) -> Option<&'a str> {
        self.0
            .iter()
            .map(|(name, _)| name.split('[').next().unwrap_or_default())
            .find(|name| !allowed.contains(name) && !COMMON.contains(name))
    }

    fn is_list(&self, name: &str) -> bool {
        self.0.iter().any(|(n, _)| n.strip_prefix(name) == Some("[]"))
    }
}

const COMMON: &[&str] = &[
    "key",
    "page",
    "per_page",
    "sort_field",
    "sort_dir",
    "pretty_print",
    "callback",
];

/// A value to sort by. A missing number comes first, as in the database; a missing text last, whatever the direction.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum SortKey {
    Nothing,
    Number(i64),
    Text(String),
    NoText,
}

/// One page of `rows`, which come in the order of their ids.
pub(super) struct Page<'a> {
    pub(super) url: String,
    pub(super) params: &'a Params,
    pub(super) per_page_max: usize,
    pub(super) style: Style,
}

impl Page<'_> {
    /// Answers with the rows of the page that was asked for.
    pub(super) fn of<T>(&self, rows: &[T], render: impl Fn(&T) -> Value) -> Result<Response, Refusal> {
        self.some_of(rows, |row| Some(render(row)))
    }

    /// The same where some rows are counted and not shown.
    pub(super) fn some_of<T>(&self, rows: &[T], render: impl Fn(&T) -> Option<Value>) -> Result<Response, Refusal> {
        let per_page = self
            .params
            .get("per_page")
            .and_then(|text| text.parse::<usize>().ok())
            .filter(|n| (1..=self.per_page_max).contains(n))
            .unwrap_or(self.per_page_max);
        let page: i64 = match self.params.get("page") {
            None => 1,
            Some(text) => text.parse().map_err(|_| Refusal::Crash)?,
        };
        let start = usize::try_from(page.max(1) - 1)
            .unwrap_or(usize::MAX)
            .saturating_mul(per_page)
            .min(rows.len());
        let body: Vec<Value> = rows[start..].iter().take(per_page).filter_map(render).collect();
        let mut answer = json_answer(StatusCode::OK, &Value::from(body), self.style);
        let headers = answer.headers_mut();
        headers.insert("omeka-total-results", HeaderValue::from(rows.len()));
        let link = self.link(page, rows.len().div_ceil(per_page), per_page);
        if let Ok(link) = HeaderValue::from_str(&link) {
            headers.insert("link", link);
        }
        Ok(answer)
    }

    fn link(&self, page: i64, last: usize, per_page: usize) -> String {
        let last = i64::try_from(last).unwrap_or(i64::MAX);
        let mut rels = vec![("first", 1), ("last", last)];
        if page > 1 {
            rels.push(("prev", page - 1));
        }
        if page < last {
            rels.push(("next", page + 1));
        }
        let links: Vec<String> = rels
            .into_iter()
            .map(|(rel, page)| format!("<{}?{}>; rel=\"{rel}\"", self.url, self.query(page, per_page)))
            .collect();
        links.join(", ")
    }

    /// The request's own parameters without the key, with another page.
    fn query(&self, page: i64, per_page: usize) -> String {
        let mut parts: Vec<(&str, String)> = Vec::new();
        for (name, value) in &self.params.0 {
            let value = match name.as_str() {
                "key" => continue,
                "page" => page.to_string(),
                "per_page" => per_page.to_string(),
                _ => value.clone(),
            };
            parts.push((name, value));
        }
        for (name, value) in [("page", page.to_string()), ("per_page", per_page.to_string())] {
            if parts.iter().all(|(n, _)| *n != name) {
                parts.push((name, value));
            }
        }
        url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(parts)
            .finish()
    }
}

/// The collections that match.
pub(super) fn collections<'a>(
    archive: &'a Archive,
    view: &View<'_>,
    params: &Params,
) -> Result<Vec<&'a Record>, Refusal> {
    let common = CommonFilter::read(params)?;
    let mut rows: Vec<&Record> = archive
        .collections
        .values()
        .filter(|record| view.sees(record.public) && common.takes(record))
        .collect();
    sort(&mut rows, params, |record, field| record_key(record, field));
    Ok(rows)
}

/// The items that match.
pub(super) fn items<'a>(archive: &'a Archive, view: &View<'_>, params: &Params) -> Result<Vec<&'a Item>, Refusal> {
    let common = CommonFilter::read(params)?;
    let filter = ItemFilter::read(params);
    let mut rows: Vec<&Item> = archive
        .items
        .values()
        .filter(|item| view.sees(item.record.public) && common.takes(&item.record) && filter.takes(archive, item))
        .collect();
    sort(&mut rows, params, |item, field| record_key(&item.record, field));
    Ok(rows)
}

/// The files that match.
pub(super) fn files<'a>(archive: &'a Archive, view: &View<'_>, params: &Params) -> Result<Vec<&'a File>, Refusal> {
    if params.is_list("item") {
        return Err(Refusal::server(
            "Mysqli prepare error: Operand should contain 1 column(s)",
        ));
    }
    let common = CommonFilter::read(params)?;
    let item: Option<u64> = params.get("item").map(number);
    let order: Option<Option<u64>> = params.get("order").map(|text| text.parse().ok());
    let derivatives = params.get("has_derivative_image").map(flag);
    let mime = params.get("mime_type");
    let mut rows: Vec<&File> = archive
        .files
        .values()
        .filter(|file| {
            view.sees_file(archive, file)
                && common.takes(&file.record)
                && item.is_none_or(|item| file.item == item)
                && order.is_none_or(|order| file.order == order)
                && derivatives.is_none_or(|wanted| file.has_derivatives == wanted)
                && mime.is_none_or(|mime| file.mime == mime)
        })
        .collect();
    sort(&mut rows, params, |file, field| {
        Some(match field {
            "size" => SortKey::Number(file.size_bytes as i64),
            "original_filename" => SortKey::Text(file.original_filename.to_lowercase()),
            "filename" => SortKey::Text(file.stored_name.clone()),
            "mime_type" => SortKey::Text(file.mime.clone()),
            "order" => file
                .order
                .map_or(SortKey::Nothing, |order| SortKey::Number(order as i64)),
            _ => return record_key(&file.record, field),
        })
    });
    Ok(rows)
}

/// What items, collections and files can all be filtered by.
struct CommonFilter {
    public: Option<bool>,
    featured: Option<bool>,
    owner: Option<u64>,
    added_since: Option<Timestamp>,
    modified_since: Option<Timestamp>,
}

impl CommonFilter {
    fn read(params: &Params) -> Result<Self, Refusal> {
        Ok(Self {
            public: params.get("public").map(flag),
            featured: params.get("featured").map(flag),
            owner: params.get("owner").map(number),
            added_since: params.get("added_since").map(since).transpose()?,
            modified_since: params.get("modified_since").map(since).transpose()?,
        })
    }

    fn takes(&self, record: &Record) -> bool {
        self.public.is_none_or(|wanted| record.public == wanted)
            && self.featured.is_none_or(|wanted| record.featured == wanted)
            && self.owner.is_none_or(|owner| record.owner == owner)
            && self.added_since.is_none_or(|since| record.added > since)
            && self.modified_since.is_none_or(|since| record.modified > since)
    }
}

struct ItemFilter {
    /// `Some(None)`: outside any collection.
    collection: Option<Option<u64>>,
    item_type: Option<u64>,
    tags: Vec<String>,
    without_tags: Vec<String>,
    has_image: Option<bool>,
    range: Option<Vec<(u64, u64)>>,
    words: Option<Vec<String>>,
    advanced: Vec<Advanced>,
}

impl ItemFilter {
    fn read(params: &Params) -> Self {
        let list = |name: &str| -> Vec<String> {
            params
                .get(name)
                .unwrap_or_default()
                .split(',')
                .map(|tag| tag.trim().to_lowercase())
                .filter(|tag| !tag.is_empty())
                .collect()
        };
        Self {
            collection: params
                .get("collection")
                .filter(|text| !text.is_empty())
                .map(|text| Some(number(text)).filter(|id| *id != 0)),
            item_type: params.get("item_type").map(number),
            tags: list("tags"),
            without_tags: list("excludeTags"),
            has_image: params.get("hasImage").map(flag),
            range: params.get("range").map(ranges),
            words: params.get("search").map(|text| words(text).collect()),
            advanced: Advanced::read(params),
        }
    }

    fn takes(&self, archive: &Archive, item: &Item) -> bool {
        let has_tag = |name: &String| {
            item.tags
                .iter()
                .any(|id| archive.tags.get(id).is_some_and(|tag| tag.to_lowercase() == *name))
        };
        let id = item.record.id;
        let says = |word: &String| {
            item.record
                .texts
                .iter()
                .any(|text| words(&text.text).any(|spoken| spoken == *word))
        };
        self.collection.is_none_or(|wanted| item.collection == wanted)
            && self.item_type.is_none_or(|wanted| item.item_type == Some(wanted))
            && self.tags.iter().all(has_tag)
            && !self.without_tags.iter().any(has_tag)
            && self.has_image.is_none_or(|wanted| {
                archive
                    .files
                    .values()
                    .any(|file| file.item == id && file.has_derivatives)
                    == wanted
            })
            && self
                .range
                .as_ref()
                .is_none_or(|ranges| ranges.iter().any(|(from, to)| (*from..=*to).contains(&id)))
            && self.words.as_ref().is_none_or(|words| words.iter().any(says))
            && self.advanced.iter().all(|condition| condition.takes(&item.record))
    }
}

/// `advanced[n][element_id|type|terms]`.
struct Advanced {
    element: u64,
    kind: String,
    terms: String,
}

impl Advanced {
    fn read(params: &Params) -> Vec<Self> {
        let part = |n: usize, name: &str| params.get(&format!("advanced[{n}][{name}]")).map(str::to_owned);
        (0..)
            .map_while(|n| {
                Some(Self {
                    element: number(&part(n, "element_id")?),
                    kind: part(n, "type").unwrap_or_default(),
                    terms: part(n, "terms").unwrap_or_default().to_lowercase(),
                })
            })
            .collect()
    }

    fn takes(&self, record: &Record) -> bool {
        let mut texts = record
            .texts
            .iter()
            .filter(|text| text.element == self.element)
            .map(|text| text.text.to_lowercase());
        let terms = self.terms.as_str();
        match self.kind.as_str() {
            "is exactly" => texts.any(|text| text == terms),
            "contains" => texts.any(|text| text.contains(terms)),
            "does not contain" => !texts.any(|text| text.contains(terms)),
            "starts with" => texts.any(|text| text.starts_with(terms)),
            "ends with" => texts.any(|text| text.ends_with(terms)),
            "is empty" => texts.next().is_none(),
            "is not empty" => texts.next().is_some(),
            _ => true,
        }
    }
}

fn record_key(record: &Record, field: &str) -> Option<SortKey> {
    match field {
        "id" => Some(SortKey::Number(record.id as i64)),
        "added" => Some(SortKey::Number(record.added.secs)),
        "modified" => Some(SortKey::Number(record.modified.secs)),
        _ => {
            let (set, name) = field.split_once(',')?;
            let element = elements::ELEMENTS.iter().find(|element| {
                element.name == name && elements::element_set(element.set).is_some_and(|s| s.name == set)
            })?;
            Some(match record.text(element.id) {
                Some(text) => SortKey::Text(text.to_lowercase()),
                None => SortKey::NoText,
            })
        }
    }
}

/// Sorts by `sort_field`; an unknown one leaves the order as it is, and only `d` means downwards.
fn sort<T>(rows: &mut [T], params: &Params, key: impl Fn(&T, &str) -> Option<SortKey>) {
    let Some(field) = params.get("sort_field") else { return };
    let down = params.get("sort_dir") == Some("d");
    rows.sort_by(|a, b| match (key(a, field), key(b, field)) {
        (Some(SortKey::NoText), Some(SortKey::NoText)) => Ordering::Equal,
        (Some(SortKey::NoText), _) => Ordering::Greater,
        (_, Some(SortKey::NoText)) => Ordering::Less,
        (Some(a), Some(b)) if down => b.cmp(&a),
        (Some(a), Some(b)) => a.cmp(&b),
        _ => Ordering::Equal,
    });
}

/// The words that a full-text index holds: those of three letters and more.
fn words(text: &str) -> impl Iterator<Item = String> {
    text.to_lowercase()
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| word.chars().count() > 2)
        .map(str::to_owned)
        .collect::<Vec<_>>()
        .into_iter()
}

fn ranges(text: &str) -> Vec<(u64, u64)> {
    text.split(',')
        .map(|part| match part.split_once('-') {
            Some((from, to)) => (number(from.trim()), number(to.trim())),
            None => (number(part.trim()), number(part.trim())),
        })
        .collect()
}

fn since(text: &str) -> Result<Timestamp, Refusal> {
    let whole = if text.len() == "2026-11-22".len() {
        format!("{text}T00:00:00Z")
    } else {
        text.to_owned()
    };
    Timestamp::parse(&whole).ok_or_else(|| Refusal::server(format!("unsupported ISO8601 format ({text})")))
}

fn flag(text: &str) -> bool {
    matches!(text, "1" | "true")
}

/// A number as PHP casts it: the leading digits, else 0.
pub(super) fn number(text: &str) -> u64 {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    text[..digits].parse().unwrap_or(0)
}
