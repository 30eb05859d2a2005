//! `set-metadata`, and whether it was taken.
//!
//! The documentation says that input is JSON and that exceptions are named, but a token's form is the only one named and no
//! answer is documented at all. So what was sent is looked for in the listing that follows anyway, and until it has been
//! found there once, a server that passed the JSON over is given the same as a form.

use parking_lot::Mutex;
use serde_json::{Map, Value};

use crate::http::{Method, Request};
use crate::model::{Entry, Fields};
use crate::store::{ErrorKind, Result};

use super::api::{About, Api};
use super::decode::File;
use super::fields;
use super::ids::Place;

/// Files named in one address.
pub(super) const IDS_A_REQUEST: usize = 200;

/// What is to be set: parameters and their values.
pub(super) type Metadata = [(&'static str, String)];

/// How parameters are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Json,
    Form,
}

/// How this server wants them, as far as that is known.
pub(super) struct Dialect(Mutex<(Encoding, Known)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// What was set that way was listed afterwards.
    Surely,
    NotYet,
}

impl Default for Dialect {
    fn default() -> Self {
        Self(Mutex::new((Encoding::Json, Known::NotYet)))
    }
}

impl Dialect {
    fn encoding(&self) -> Encoding {
        self.0.lock().0
    }

    fn is_known(&self) -> bool {
        self.0.lock().1 == Known::Surely
    }

    fn settle(&self) {
        self.0.lock().1 = Known::Surely;
    }

    /// Tries the other one, unless this one has worked.
    fn switch(&self) {
        let mut dialect = self.0.lock();
        if *dialect == (Encoding::Json, Known::NotYet) {
            dialect.0 = Encoding::Form;
        } else if *dialect == (Encoding::Form, Known::NotYet) {
            dialect.0 = Encoding::Json;
        }
    }
}

fn joined(ids: &[u64]) -> String {
    ids.iter().map(u64::to_string).collect::<Vec<_>>().join(",")
}

/// Numbers as numbers: the documentation calls two of the parameters integers.
fn as_json(metadata: &Metadata) -> Value {
    let value = |name: &str, text: &str| match (name, text.parse::<u64>()) {
        ("priority" | "category_id", Ok(number)) => Value::from(number),
        _ => Value::from(text),
    };
    let pairs = metadata
        .iter()
        .map(|(name, text)| ((*name).to_owned(), value(name, text)));
    Value::Object(pairs.collect::<Map<String, Value>>())
}

async fn send(api: &Api, project: u64, ids: &[u64], metadata: &Metadata) -> Result<()> {
    for ids in ids.chunks(IDS_A_REQUEST) {
        let about = About {
            operation: "set metadata",
            place: Place::File(project, ids[0]),
        };
        let url = api.files_url(project, &[&joined(ids), "set-metadata"]);
        // The same values twice are the same as once.
        let request = Request::new(Method::POST, url, "POST /project/{id}/files/{ids}/set-metadata").safe();
        let request = match api.dialect.encoding() {
            Encoding::Json => request.json(&as_json(metadata)),
            Encoding::Form => {
                let pairs: Vec<(&str, &str)> = metadata.iter().map(|(name, text)| (*name, text.as_str())).collect();
                request.form(&pairs)
            }
        };
        api.call(request, about).await?;
    }
    Ok(())
}

/// Sets the same values on files of one project.
pub(super) async fn set(api: &Api, project: u64, ids: &[u64], metadata: &Metadata) -> Result<()> {
    match send(api, project, ids, metadata).await {
        Err(refused) if refused.kind == ErrorKind::Invalid && !api.dialect.is_known() => {
            api.dialect.switch();
            let again = send(api, project, ids, metadata).await;
            if again.is_err() {
                api.dialect.switch();
            }
            again
        }
        done => done,
    }
}

/// Sets them once more in the other way.
pub(super) async fn set_otherwise(api: &Api, project: u64, ids: &[u64], metadata: &Metadata) -> Result<()> {
    api.dialect.switch();
    send(api, project, ids, metadata).await
}

/// It was passed over in either way: the next time begins as the first did.
pub(super) fn give_up(api: &Api) {
    let mut dialect = api.dialect.0.lock();
    if dialect.1 == Known::NotYet {
        dialect.0 = Encoding::Json;
    }
}

/// Whether a listing after [`set`] shows that a server has passed everything over which it may understand if it is told
/// otherwise. `shown` are the fields and the category of the files that were set, as far as they were listed.
pub(super) fn is_unheard<'a>(
    api: &Api,
    metadata: &Metadata,
    mut shown: impl Iterator<Item = Option<Shown<'a>>>,
) -> bool {
    if metadata.is_empty() || api.dialect.is_known() {
        return false;
    }
    let is_taken = shown.all(|file| file.is_some_and(|file| file.has(metadata)));
    if is_taken {
        api.dialect.settle();
    }
    !is_taken
}

/// A file as it was listed.
pub(super) struct Shown<'a> {
    pub(super) fields: std::borrow::Cow<'a, Fields>,
    pub(super) category: Option<u64>,
}

impl<'a> Shown<'a> {
    /// As a listing tells it.
    pub(super) fn of(file: &File) -> Self {
        Self {
            fields: std::borrow::Cow::Owned(fields::of_file(file)),
            category: Some(file.category),
        }
    }

    /// As it is known after a listing; the category is not looked at.
    pub(super) fn entry(entry: &'a Entry) -> Self {
        Self {
            fields: std::borrow::Cow::Borrowed(&entry.fields),
            category: None,
        }
    }

    fn has(&self, metadata: &Metadata) -> bool {
        metadata.iter().all(|(name, wanted)| match *name {
            "category_id" => self.category.is_some_and(|category| category.to_string() == *wanted),
            name => {
                let values = self.fields.get(name).map(|field| field.values.as_slice());
                let text = values.and_then(|values| values.first()).map_or("", |value| &value.text);
                // No priority is the lowest one.
                text == wanted || (name == "priority" && text.is_empty() && wanted == "0")
            }
        })
    }
}
