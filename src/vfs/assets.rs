//! Assets by what is known of them: their fields as a whole, where an id is shown, where a person finds one, searches.

use serde::{Deserialize, Serialize};

use crate::journal::{Durability, State};
use crate::model::{Access, Entry, Field, FieldChanges, Fields, Ino, ItemId, Kind, Name, Value};

use super::tree::Node;
use super::vfs::{Inner, Vfs};
use super::xattr::unpublished;
use super::{Error, Result};

/// Children of a folder that are looked at in one step.
const PAGE_ROWS: usize = 256;

/// An asset with its fields, pending changes included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asset {
    /// Where it is shown, without a slash at the beginning; empty for the root.
    pub path: String,
    /// Who it is; `None` while the store does not have it.
    pub id: Option<String>,
    /// Whether it may have children.
    pub is_folder: bool,
    /// In how many places it is shown.
    pub places: usize,
    /// Its fields by the store's own names; those without a value are left out.
    pub fields: Fields,
    /// Whether these are all its fields: listings of some stores leave fields out.
    pub complete: bool,
}

/// Some of a folder's children, in the order of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssetPage {
    /// They.
    pub assets: Vec<Asset>,
    /// The name after which the next page begins; `None`: these were the last.
    pub next: Option<String>,
    /// Whether the folder was ever read from the store: otherwise children may be missing.
    pub listed: bool,
}

/// What is to become of one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "edit", rename_all = "kebab-case")]
pub enum FieldEdit {
    /// Exactly these values, with their form.
    Exactly {
        /// The field.
        field: String,
        /// In order; none clears the field.
        values: Vec<Value>,
    },
    /// These texts; each keeps the form (HTML or not) of the value that it takes the place of.
    Texts {
        /// The field.
        field: String,
        /// In order; none clears the field.
        texts: Vec<String>,
    },
    /// One more value after the others, unless it is there already.
    Add {
        /// The field.
        field: String,
        /// The value.
        text: String,
    },
}

/// Which asset is meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssetRef {
    /// Where it is shown.
    pub path: String,
    /// Who it is, where that is known: it is then found wherever it is by now.
    pub id: Option<String>,
}

/// What an edit changes about an asset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldDiff {
    /// Where it is shown.
    pub path: String,
    /// The fields that differ, with their new values; empty: nothing to do.
    pub changes: FieldChanges,
}

/// What a search found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Where it is shown: in its folder as far as that is known, else under `.id`.
    pub path: String,
    /// Who it is.
    pub id: String,
    /// What the store calls it.
    pub name: String,
}

impl FieldEdit {
    fn field(&self) -> &str {
        match self {
            FieldEdit::Exactly { field, .. } | FieldEdit::Texts { field, .. } | FieldEdit::Add { field, .. } => field,
        }
    }

    /// The field's values afterwards.
    fn apply(&self, held: &[Value]) -> Vec<Value> {
        match self {
            FieldEdit::Exactly { values, .. } => values.clone(),
            FieldEdit::Texts { texts, .. } => texts
                .iter()
                .enumerate()
                .map(|(at, text)| Value {
                    text: text.clone(),
                    html: held.get(at).is_some_and(|old| old.html),
                })
                .collect(),
            FieldEdit::Add { text, .. } => {
                let mut values = held.to_vec();
                if !values.iter().any(|value| value.text == *text) {
                    values.push(text.as_str().into());
                }
                values
            }
        }
    }
}

/// The fields that differ once `edits`, by the store's own names, were applied to `held`.
fn plan(held: &Fields, edits: &[(String, FieldEdit)]) -> FieldChanges {
    let before = |field: &str| held.get(field).map_or(&[][..], |held| &held.values);
    let mut wanted = FieldChanges::new();
    for (field, edit) in edits {
        let now = wanted.get(field).map_or(before(field), Vec::as_slice);
        let values = edit.apply(now);
        wanted.insert(field.clone(), values);
    }
    wanted.retain(|field, values| field.starts_with("append.") || before(field) != values.as_slice());
    wanted
}

/// A node's fields with the pending ones laid over them.
fn fields_of(node: &Node) -> Fields {
    let mut fields = node.entry.as_ref().map(|e| e.fields.clone()).unwrap_or_default();
    fields.retain(|_, field| field.access != Access::WriteOnly && !field.values.is_empty());
    let pending = node.change.iter().flat_map(|change| &change.fields);
    for (name, values) in pending.filter(|(name, _)| !name.starts_with("append.")) {
        if values.is_empty() {
            fields.remove(name);
        } else {
            let field = Field {
                values: values.clone(),
                access: Access::ReadWrite,
            };
            fields.insert(name.clone(), field);
        }
    }
    fields
}

impl Vfs {
    /// All fields of the asset at `path`, asked of the store where its listing left some out.
    pub async fn asset(&self, path: &str) -> Result<Asset> {
        self.used();
        let mut node = self.node_at(path).await?;
        self.complete_fields(&mut node).await?;
        self.blocking(move |vfs| vfs.asset_of(&node, None)).await
    }

    /// Children of the folder at `path` after the name `after`, with their fields, as they are known: asks nobody.
    pub async fn known_assets(&self, path: &str, after: Option<&str>) -> Result<AssetPage> {
        let after = after.map(Name::new).transpose()?;
        let path = path.trim_matches('/').to_owned();
        self.blocking(move |vfs| {
            let folder = vfs.known_node(&path)?;
            if folder.kind == Kind::File {
                return Err(Error::NotDir);
            }
            vfs.page_of(&folder, &path, after.as_ref())
        })
        .await
    }

    /// Applies edits to one asset as one pending change, or only tells what they would change (`rehearse`).
    pub async fn edit_fields(&self, asset: &AssetRef, edits: Vec<FieldEdit>, rehearse: bool) -> Result<FieldDiff> {
        if !rehearse {
            self.writable()?;
        }
        self.used();
        let mut node = self.referred(asset).await?;
        let mut named = Vec::with_capacity(edits.len());
        for edit in edits {
            named.push((self.field_called(edit.field(), node.kind)?, edit));
        }
        let mut held = fields_of(&node);
        if named.iter().any(|(field, _)| !held.contains_key(field)) {
            self.complete_fields(&mut node).await?;
            held = fields_of(&node);
        }
        let changes = plan(&held, &named);
        let ino = node.ino;
        if changes.is_empty() {
            // Nothing to be checked or kept.
        } else if rehearse {
            self.check_fields(&node, &changes).await?;
        } else {
            self.set_fields(node, changes.clone()).await?;
        }
        let path = self.blocking(move |vfs| vfs.path_of(ino)).await?;
        Ok(FieldDiff {
            path: path.trim_start_matches('/').to_owned(),
            changes,
        })
    }

    async fn referred(&self, asset: &AssetRef) -> Result<Node> {
        let Some(id) = asset.id.as_deref().map(ItemId::new) else {
            return self.node_at(&asset.path).await;
        };
        let asked = id.clone();
        let known = self
            .blocking(move |vfs| {
                let node = vfs.catalog.by_id(&asked)?;
                node.map(|node| vfs.node(node.ino)).transpose()
            })
            .await?;
        if let Some(node) = known {
            return Ok(node);
        }
        let node = self.node_at(&asset.path).await?;
        // In a table people have the id as `user.assetfs.id` shows it: the key alone, which says enough beside the path.
        if node
            .id
            .as_ref()
            .is_some_and(|held| *held == id || held.key() == id.as_str())
        {
            Ok(node)
        } else {
            Err(Error::Invalid(format!(
                "it is another asset than {id} by now; leave the id out to change whatever is there"
            )))
        }
    }

    /// The store's own name for a field that may be called by an attribute's name too (`user.xdg.tags`).
    fn field_called(&self, name: &str, kind: Kind) -> Result<String> {
        let name = name.strip_prefix("user.").unwrap_or(name);
        let known = self
            .store
            .field_name(&self.store.xattr_name(name), kind)
            .or_else(|| self.store.field_name(name, kind));
        known
            .map(|known| known.field)
            .ok_or_else(|| Error::Unsupported(format!("{} has no field `{name}`", self.capabilities().label)))
    }

    /// Whether the store would take these values.
    async fn check_fields(&self, node: &Node, changes: &FieldChanges) -> Result<()> {
        if node.kind == Kind::File && changes.contains_key("folders") {
            return Err(Error::NotPermitted(
                "use mv or ln to change the folders of a file".into(),
            ));
        }
        let probe = match &node.entry {
            Some(entry) => Entry::clone(entry),
            None if node.is_folder() => {
                let folder = node.clone();
                let place = self
                    .blocking(move |vfs| {
                        let guard = vfs.journal.lock();
                        vfs.place_of(guard.overlay(), &folder)
                    })
                    .await?;
                place.map_or_else(|| unpublished(node), |place| Entry::clone(&place))
            }
            None => unpublished(node),
        };
        let read_only = |field: &String| probe.fields.get(field).is_some_and(|f| f.access == Access::ReadOnly);
        if let Some(field) = changes.keys().find(|field| read_only(field)) {
            return Err(Error::NotPermitted(format!("{field} is read-only")));
        }
        Ok(self.store.check_fields(&probe, changes).await?)
    }

    /// Sets fields as one pending change, together with what else changes about the asset by then.
    pub(super) async fn set_fields(&self, node: Node, changes: FieldChanges) -> Result<()> {
        self.check_fields(&node, &changes).await?;
        let ino = node.ino;
        self.decide(Durability::Written, move |d| {
            let node = d.vfs.node_in(d.overlay(), ino)?;
            let mut change = node.change_or_new(d);
            let stored = node.entry.as_ref().map(|e| e.fields.clone()).unwrap_or_default();
            for (field, values) in changes {
                let is_stored = stored.get(&field).map_or(&[][..], |held| &held.values) == values.as_slice();
                // What was to be set before that may be on its way, or be there without an answer.
                let is_first = !change.fields.contains_key(&field);
                let is_known = node.is_published() && is_stored && is_first;
                if !is_known || field.starts_with("append.") {
                    change.fields.insert(field, values);
                }
            }
            change.ready_at = d.ready_at();
            if let State::Parked { .. } = change.state {
                change.state = State::Pending;
            }
            let now = d.now;
            d.attr(ino, |attr| attr.ctime = Some(now));
            d.put_or_forget(change);
            Ok(())
        })
        .await
    }

    /// Where a person finds the asset at `path` in a browser; `None` where the store has no such address.
    pub async fn web_url(&self, path: &str) -> Result<Option<String>> {
        let node = self.node_at(path).await?;
        let entry = node
            .entry
            .ok_or_else(|| Error::Invalid("it is not in the store yet".into()))?;
        Ok(self.store.web_url(&entry))
    }
}

impl Inner {
    /// The node at a path, without asking the store. Blocks.
    fn known_node(&self, path: &str) -> Result<Node> {
        let mut node = self.node(Ino::ROOT)?;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            let guard = self.journal.lock();
            node = self.child_in(guard.overlay(), &node, part)?.ok_or(Error::NotFound)?;
        }
        Ok(node)
    }

    /// A node for people, under `path` or wherever it is shown. Blocks.
    fn asset_of(&self, node: &Node, path: Option<String>) -> Result<Asset> {
        let path = match path {
            Some(path) => path,
            None => self.path_of(node.ino)?.trim_start_matches('/').to_owned(),
        };
        Ok(Asset {
            path,
            id: node.id.as_ref().map(|id| id.as_str().to_owned()),
            is_folder: node.is_folder(),
            places: self.places(node)?.len(),
            fields: fields_of(node),
            complete: node.entry.as_ref().is_none_or(|entry| entry.fields_complete),
        })
    }

    /// Children of a folder after the name `after`, and the name after which the next ones begin. Blocks.
    pub(super) fn known_children(
        &self,
        folder: &Node,
        after: Option<&Name>,
    ) -> Result<(Vec<(Name, Ino)>, Option<Name>)> {
        let rows = match &folder.id {
            Some(id) => self.catalog.children_page(id, after, PAGE_ROWS)?,
            None => Vec::new(),
        };
        // What lies behind the last row of a full page belongs to the next one.
        let horizon = rows
            .last()
            .filter(|_| rows.len() == PAGE_ROWS)
            .map(|row| row.local.clone());
        let mut children: Vec<(Name, Ino)> = {
            let guard = self.journal.lock();
            let overlay = guard.overlay();
            let pending = overlay
                .children(folder.ino)
                .filter(|(name, _)| after.is_none_or(|after| *name > after))
                .filter(|(name, _)| horizon.as_ref().is_none_or(|horizon| *name <= horizon))
                .map(|(name, ino)| (name.clone(), ino));
            let known = rows
                .iter()
                .filter(|row| !overlay.hides(row.ino, &row.id))
                .map(|row| (row.local.clone(), row.ino));
            pending.chain(known).collect()
        };
        children.sort();
        Ok((children, horizon))
    }

    fn page_of(&self, folder: &Node, path: &str, after: Option<&Name>) -> Result<AssetPage> {
        let (children, horizon) = self.known_children(folder, after)?;
        let listed = match &folder.id {
            Some(id) => self.catalog.listing(id)?.is_some(),
            None => true,
        };
        let mut assets = Vec::with_capacity(children.len());
        for (name, ino) in children {
            let below = if path.is_empty() {
                name.to_string()
            } else {
                format!("{path}/{name}")
            };
            match self.node(ino) {
                Ok(node) => assets.push(self.asset_of(&node, Some(below))?),
                // It went between the two looks.
                Err(Error::Stale) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(AssetPage {
            assets,
            next: horizon.map(|name| name.to_string()),
            listed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(values: &[(&str, bool)]) -> Fields {
        let values = values
            .iter()
            .map(|(text, html)| Value {
                text: (*text).into(),
                html: *html,
            })
            .collect();
        let access = Access::ReadWrite;
        [("title".to_owned(), Field { values, access })].into()
    }

    fn planned(held: &Fields, edits: &[FieldEdit]) -> FieldChanges {
        let named: Vec<_> = edits.iter().map(|e| (e.field().to_owned(), e.clone())).collect();
        plan(held, &named)
    }

    fn texts(texts: &[&str]) -> FieldEdit {
        FieldEdit::Texts {
            field: "title".into(),
            texts: texts.iter().map(|t| (*t).to_owned()).collect(),
        }
    }

    #[test]
    fn what_is_so_already_changes_nothing() {
        let held = held(&[("a\nb\\", false), ("<i>c</i>", true)]);
        assert!(planned(&held, &[texts(&["a\nb\\", "<i>c</i>"])]).is_empty());
        let exactly = FieldEdit::Exactly {
            field: "title".into(),
            values: held["title"].values.clone(),
        };
        assert!(planned(&held, &[exactly]).is_empty());
        let cleared = FieldEdit::Exactly {
            field: "creator".into(),
            values: Vec::new(),
        };
        assert!(planned(&held, &[cleared]).is_empty(), "it has none");
    }

    #[test]
    fn a_text_keeps_the_form_of_the_value_it_replaces() {
        let held = held(&[("plain", false), ("<i>c</i>", true)]);
        let changes = planned(&held, &[texts(&["new", "<i>d</i>", "third"])]);
        let forms: Vec<bool> = changes["title"].iter().map(|value| value.html).collect();
        assert_eq!(forms, [false, true, false]);
    }

    #[test]
    fn values_are_added_once_and_after_the_others() {
        let held = held(&[("a", false)]);
        let add = |text: &str| FieldEdit::Add {
            field: "title".into(),
            text: text.into(),
        };
        assert!(planned(&held, &[add("a")]).is_empty());
        let changes = planned(&held, &[add("b"), add("c"), add("b")]);
        assert_eq!(changes["title"], ["a", "b", "c"].map(Value::from));
    }
}
