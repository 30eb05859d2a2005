//! The site's element sets, elements and item types by name. Their ids differ from site to site, so they are looked up.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::model::SharedClock;
use crate::store::Result;

use super::api::Api;
use super::decode::list;
use super::id::Resource;
use super::pages::all_records;

/// How long a name that is missing is believed to be missing.
const FRESH: Duration = Duration::from_secs(60);

/// Names and ids as the site told them once.
#[derive(Default)]
pub(super) struct Words {
    /// `<set>.<element>`, as the site spells it, and its id.
    elements: HashMap<String, u64>,
    item_types: HashMap<String, u64>,
}

/// The words, asked for when they are first needed and again when a name is not among them.
pub(super) struct Vocabulary {
    api: Api,
    clock: SharedClock,
    known: tokio::sync::Mutex<Option<(Duration, Arc<Words>)>>,
}

impl Vocabulary {
    pub(super) fn new(api: Api, clock: SharedClock) -> Self {
        Self {
            api,
            clock,
            known: tokio::sync::Mutex::new(None),
        }
    }

    /// Words that are at most a minute old, or any in which every name of `names` is known.
    pub(super) async fn words(&self, names: &[&str]) -> Result<Arc<Words>> {
        // Held while asking on purpose: whoever comes meanwhile waits for the same answer.
        let mut known = self.known.lock().await;
        if let Some((at, words)) = known.as_ref() {
            let complete = names.iter().all(|name| words.knows(name));
            if complete || self.clock.elapsed().saturating_sub(*at) < FRESH {
                return Ok(words.clone());
            }
        }
        let words = Arc::new(fetch(&self.api).await?);
        *known = Some((self.clock.elapsed(), words.clone()));
        Ok(words)
    }
}

async fn fetch(api: &Api) -> Result<Words> {
    let (sets, elements, types) = futures_util::try_join!(
        all_records(api, Resource::ElementSets, Vec::new()),
        all_records(api, Resource::Elements, Vec::new()),
        all_records(api, Resource::ItemTypes, Vec::new()),
    )?;
    Ok(Words::read(
        &Value::from(sets),
        &Value::from(elements),
        &Value::from(types),
    ))
}

impl Words {
    pub(super) fn read(sets: &Value, elements: &Value, types: &Value) -> Self {
        let named = |value: &Value| -> HashMap<u64, String> {
            list(value)
                .filter_map(|one| Some((one["id"].as_u64()?, one["name"].as_str()?.to_owned())))
                .collect()
        };
        let sets = named(sets);
        Self {
            elements: list(elements)
                .filter_map(|element| {
                    let set = sets.get(&element["element_set"]["id"].as_u64()?)?;
                    Some((format!("{set}.{}", element["name"].as_str()?), element["id"].as_u64()?))
                })
                .collect(),
            item_types: named(types).into_iter().map(|(id, name)| (name, id)).collect(),
        }
    }

    /// The id of an element by `<set>.<element>`.
    pub(super) fn element(&self, field: &str) -> Option<u64> {
        self.elements.get(field).copied()
    }

    /// The id of an item type by its name.
    pub(super) fn item_type(&self, name: &str) -> Option<u64> {
        self.item_types.get(name).copied()
    }

    fn knows(&self, name: &str) -> bool {
        self.elements.contains_key(name) || self.item_types.contains_key(name)
    }
}
