//! Extended attributes: the store's fields under names that programs know.

use crate::journal::{Durability, LocalReason, Place, State};
use crate::model::{
    Access, Checksum, Encoding, Entry, Ino, Kind, Value, XATTR_BYTES_MAX, decode_values, encode_values,
};
use crate::store::{FieldName, Support};

use super::files::{id_text, writable_fields};
use super::notes;
use super::tree::Node;
use super::vfs::{Inner, Vfs};
use super::views::is_virtual;
use super::{Caller, Error, Notice, Result, SetXattrMode};

/// Our own attributes, read-only.
const OWN: [&str; 9] = [
    "id", "store", "state", "error", "version", "url", "md5", "pinned", "altered",
];

impl Vfs {
    /// The value of an attribute.
    pub async fn getxattr(&self, ino: Ino, name: &str) -> Result<Vec<u8>> {
        let name = user_name(name)?;
        if is_virtual(ino) {
            return Err(Error::NoData);
        }
        let node = self.xattr_node(ino).await?;
        let value = match name.strip_prefix("assetfs.") {
            Some(own) => self.own_attribute(&node, own).await?,
            None => self.field_value(&node, name).await?,
        };
        if value.len() > XATTR_BYTES_MAX {
            Err(Error::AttrTooBig)
        } else {
            Ok(value)
        }
    }

    /// The names of the attributes that can be written, each once, so that copying tools neither fail nor write twice.
    pub async fn listxattr(&self, ino: Ino) -> Result<Vec<String>> {
        if is_virtual(ino) || notes::is_note(ino) {
            return Ok(Vec::new());
        }
        let mut node = self.xattr_node(ino).await?;
        self.complete_fields(&mut node).await?;
        let mut names = Vec::new();
        let pending = node.change.as_ref().map(|c| c.fields.clone()).unwrap_or_default();
        if let Some(entry) = &node.entry {
            for (field, held) in writable_fields(entry) {
                let pends = pending.get(field);
                let shown = match pends {
                    Some(values) => !values.is_empty(),
                    None => !held.values.is_empty() && self.store.lists_field(entry, field),
                };
                if shown {
                    names.push(field.clone());
                }
            }
        }
        for (field, values) in &pending {
            if !values.is_empty() && !names.contains(field) {
                names.push(field.clone());
            }
        }
        Ok(names
            .into_iter()
            .map(|field| format!("user.{}", self.store.xattr_name(&field)))
            .collect())
    }

    /// Sets an attribute: the store is told later, with whatever else changes about the item by then.
    pub async fn setxattr(&self, caller: Caller, ino: Ino, name: &str, value: &[u8], mode: SetXattrMode) -> Result<()> {
        let _ = caller;
        self.writable()?;
        let name = user_name(name)?;
        let node = self.xattr_node(ino).await?;
        if name.starts_with("assetfs.") {
            return Err(Error::NotPermitted(format!("user.{name} is read-only")));
        }
        if self.is_folders(&node, name) {
            return self.set_folders(ino, value).await;
        }
        let field = self
            .known_field(name, node.kind)
            .ok_or_else(|| Error::Unsupported(format!("{} has no attribute user.{name}", self.capabilities().label)))?;
        let exists = match mode {
            SetXattrMode::Any => None,
            SetXattrMode::Create | SetXattrMode::Replace => Some(self.field_value(&node, name).await.is_ok()),
        };
        match (mode, exists) {
            (SetXattrMode::Create, Some(true)) => return Err(Error::Exists),
            (SetXattrMode::Replace, Some(false)) => return Err(Error::NoData),
            _ => {}
        }
        let values = decode_values(value, field.encoding).map_err(|e| Error::Invalid(e.to_string()))?;
        self.set_field(node, field, values).await
    }

    /// Clears an attribute.
    pub async fn removexattr(&self, caller: Caller, ino: Ino, name: &str) -> Result<()> {
        let _ = caller;
        self.writable()?;
        let name = user_name(name)?;
        let node = self.xattr_node(ino).await?;
        if name.starts_with("assetfs.") {
            return Err(Error::NotPermitted(format!("user.{name} is read-only")));
        }
        if self.is_folders(&node, name) {
            return Err(Error::NotPermitted(
                "a file is in one folder at least: rm it instead".into(),
            ));
        }
        let field = self.known_field(name, node.kind).ok_or(Error::NoData)?;
        self.field_value(&node, name).await?;
        self.set_field(node, field, Vec::new()).await
    }

    async fn xattr_node(&self, ino: Ino) -> Result<Node> {
        self.used();
        if notes::is_note(ino) || self.opens.get(ino).is_some_and(|open| open.is_ghost()) {
            return Err(Error::NoData);
        }
        self.blocking(move |vfs| vfs.seated_node(ino)).await
    }

    fn known_field(&self, name: &str, kind: Kind) -> Option<FieldName> {
        self.store.field_name(name, kind)
    }

    /// Makes sure that an absent field is absent, and not only untold.
    pub(super) async fn complete_fields(&self, node: &mut Node) -> Result<()> {
        let Some(entry) = &node.entry else { return Ok(()) };
        if !entry.fields_complete {
            node.entry = Some(self.detailed(node.ino, &entry.clone()).await?);
        }
        Ok(())
    }

    async fn field_value(&self, node: &Node, name: &str) -> Result<Vec<u8>> {
        if name == "mime_type"
            && let Some(mime) = node.entry.as_ref().and_then(|e| e.mime.clone())
        {
            return Ok(mime.into_bytes());
        }
        if self.is_folders(node, name) {
            return self.folders_of(node).await;
        }
        let field = self.known_field(name, node.kind).ok_or(Error::NoData)?;
        if let Some(values) = node.change.as_ref().and_then(|c| c.fields.get(&field.field)) {
            return non_empty(values, field.encoding);
        }
        let mut node = node.clone();
        if node
            .entry
            .as_ref()
            .is_some_and(|e| !e.fields.contains_key(&field.field))
        {
            self.complete_fields(&mut node).await?;
        }
        let held = node.entry.as_ref().and_then(|e| e.fields.get(&field.field));
        let held = held.filter(|f| f.access != Access::WriteOnly).ok_or(Error::NoData)?;
        non_empty(&held.values, field.encoding)
    }

    async fn set_field(&self, node: Node, field: FieldName, values: Vec<Value>) -> Result<()> {
        let held = node.entry.as_ref().and_then(|entry| entry.fields.get(&field.field));
        // A value at the position of an old one keeps that one's form.
        let mut values = values;
        for (value, old) in values.iter_mut().zip(held.iter().flat_map(|f| &f.values)) {
            value.html = old.html;
        }
        self.set_fields(node, [(field.field, values)].into()).await
    }

    /// Whether the attribute is the list of folders that a file is in.
    fn is_folders(&self, node: &Node, name: &str) -> bool {
        let own = name
            .strip_prefix(self.capabilities().kind)
            .and_then(|rest| rest.strip_prefix('.'));
        node.kind == Kind::File && own == Some("folders") && self.capabilities().links == Support::Yes
    }

    /// Puts a file into exactly these folders, given as paths, one a line.
    async fn set_folders(&self, ino: Ino, value: &[u8]) -> Result<()> {
        let paths = decode_values(value, Encoding::Lines).map_err(|e| Error::Invalid(e.to_string()))?;
        if paths.is_empty() {
            return Err(Error::Invalid("a file is in one folder at least: rm it instead".into()));
        }
        let mut folders: Vec<Ino> = Vec::new();
        for path in &paths {
            let folder = self.node_at(&path.text).await?;
            self.ensure_listed(&folder).await?;
            if !folders.contains(&folder.ino) {
                folders.push(folder.ino);
            }
        }
        self.decide(Durability::Written, move |d| {
            let node = d.vfs.node_in(d.overlay(), ino)?;
            let mut placing = d.vfs.placing(&node)?;
            let name = placing
                .now
                .first()
                .map(|place| place.name.clone())
                .ok_or(Error::Stale)?;
            let mut now = Vec::new();
            for parent in folders {
                if let Some(kept) = placing.now.iter().find(|place| place.parent == parent) {
                    now.push(kept.clone());
                    continue;
                }
                let folder = d.vfs.node_in(d.overlay(), parent)?;
                if !folder.is_folder() {
                    return Err(Error::NotDir);
                }
                if d.vfs.child_in(d.overlay(), &folder, name.as_str())?.is_some() {
                    return Err(Error::Exists);
                }
                d.vfs.may_create(d.overlay(), &folder, &name, Kind::File)?;
                now.push(Place {
                    parent,
                    name: name.clone(),
                });
                d.touch_folder(parent);
            }
            for place in placing.now.iter().filter(|place| !now.contains(place)) {
                d.touch_folder(place.parent);
                d.vfs.notice(Notice::Entry {
                    parent: place.parent,
                    name: place.name.clone(),
                });
            }
            for place in now.iter().filter(|place| !placing.now.contains(place)) {
                d.vfs.notice(Notice::Entry {
                    parent: place.parent,
                    name: place.name.clone(),
                });
            }
            placing.now = now;
            let mut change = node.change_or_new(d);
            change.placing = Some(placing);
            change.ready_at = d.ready_at();
            d.put_or_forget(change);
            Ok(())
        })
        .await
    }

    /// Every folder that a file is in, as paths, one a line.
    async fn folders_of(&self, node: &Node) -> Result<Vec<u8>> {
        let node = node.clone();
        self.blocking(move |vfs| {
            let mut paths = Vec::new();
            for place in vfs.places(&node)? {
                paths.push(Value::from(vfs.path_of(place.parent)?));
            }
            Ok(encode_values(&paths, Encoding::Lines))
        })
        .await
    }

    async fn own_attribute(&self, node: &Node, name: &str) -> Result<Vec<u8>> {
        let change = node.change.as_deref();
        let entry = node.entry.as_deref();
        let text = match name {
            "id" => id_text(node.id.as_ref())
                .split_once(':')
                .map_or(id_text(node.id.as_ref()), |(_, key)| key)
                .to_owned(),
            "store" => self.capabilities().kind.to_owned(),
            "state" => self.state_text(node).to_owned(),
            "error" => {
                let told = change.and_then(|c| c.last_error.clone());
                told.or_else(|| self.why_local(node)).ok_or(Error::NoData)?
            }
            "version" => entry
                .map(|e| e.version.as_str().to_owned())
                .filter(|v| !v.is_empty())
                .ok_or(Error::NoData)?,
            "url" => entry.and_then(|e| self.store.web_url(e)).ok_or(Error::NoData)?,
            "md5" => match entry.and_then(|e| e.checksum.as_ref()) {
                Some(Checksum::Md5(md5)) if change.is_none_or(|c| c.staged.is_none()) => md5.clone(),
                Some(_) | None => return Err(Error::NoData),
            },
            "altered" => {
                let entry = node.entry.clone().ok_or(Error::NoData)?;
                let told = self.blocking(move |vfs| vfs.altered_text(&entry)).await?;
                told.ok_or(Error::NoData)?
            }
            "pinned" => match entry {
                Some(entry) if self.cache.is_pinned(entry).await? => "yes".to_owned(),
                Some(_) | None => return Err(Error::NoData),
            },
            _ => return Err(Error::NoData),
        };
        debug_assert!(OWN.contains(&name), "listed in the documentation");
        Ok(text.into_bytes())
    }
}

impl Inner {
    /// Why a file stays on this machine although nothing was tried, if it does.
    pub(super) fn why_local(&self, node: &Node) -> Option<String> {
        let change = node.change.as_ref()?;
        let State::Local { why } = change.state else {
            return None;
        };
        let label = self.capabilities().label;
        match why {
            LocalReason::Junk => Some("names like this stay on this machine".to_owned()),
            LocalReason::Empty => Some(format!("{label} keeps no empty files: it is sent when it has bytes")),
            LocalReason::NameRefused => {
                let place = change.placing.as_ref()?.now.first()?;
                self.store
                    .check_name(&place.name, node.kind)
                    .err()
                    .map(|rule| rule.to_string())
            }
        }
    }

    /// Where a node stands, in one word.
    pub(super) fn state_text(&self, node: &Node) -> &'static str {
        let Some(change) = &node.change else { return "synced" };
        match &change.state {
            State::Pending if self.uploader().is_some_and(|u| u.sent_bytes(node.ino).is_some()) => "uploading",
            State::Pending if !self.has_work(change) => "synced",
            State::Pending | State::Ambiguous { .. } => "pending",
            State::Settling { .. } => "synced",
            State::Held => "held",
            State::Parked { .. } => "parked",
            State::Conflict { .. } => "conflict",
            State::Local {
                why: LocalReason::Junk | LocalReason::NameRefused | LocalReason::Empty,
            } => "local",
        }
    }
}

/// The name behind `user.`; other namespaces do not exist here.
fn user_name(name: &str) -> Result<&str> {
    name.strip_prefix("user.")
        .ok_or_else(|| Error::Unsupported("only user.* attributes are kept".into()))
}

fn non_empty(values: &[Value], encoding: Encoding) -> Result<Vec<u8>> {
    if values.is_empty() {
        Err(Error::NoData)
    } else {
        Ok(encode_values(values, encoding))
    }
}

/// What a store can be asked about a file that it does not have yet.
pub(super) fn unpublished(node: &Node) -> Entry {
    let name = node
        .change
        .iter()
        .flat_map(|c| c.placing.iter())
        .flat_map(|p| p.now.first())
        .next();
    let name = name.map(|p| p.name.to_store()).unwrap_or_default();
    let id = crate::model::ItemId::new("");
    match node.kind {
        Kind::Folder => Entry::folder(id, name, Vec::new()),
        Kind::File => Entry::file(id, name, Vec::new(), 0, crate::model::ContentVersion::new("")),
    }
}
