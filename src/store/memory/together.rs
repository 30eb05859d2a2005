//! Several files in one call, each with an outcome of its own.

use crate::model::{Entry, FieldChanges, ItemId, Kind};
use crate::store::{ErrorKind, NewFile, Placement, Result, Retry, Store, StoreError};

use super::faults::Fate;
use super::{MemoryStore, Op};

/// What a call about several files comes to: those that were carried out, as the answer tells them.
fn told<'a, T>(
    operation: &'static str,
    fate: Fate,
    items: impl Iterator<Item = &'a str>,
    mut act: impl FnMut(usize) -> Result<T>,
) -> Vec<Result<T>> {
    items
        .enumerate()
        .map(|(at, item)| match fate {
            Fate::Partly(files) if at >= files => {
                let unsaid = StoreError::new(ErrorKind::Protocol, operation, item).retry(Retry::Ambiguous);
                Err(unsaid.because("the answer does not mention it"))
            }
            _ => fate.deliver(operation, item, act(at)?),
        })
        .collect()
}

fn all_failed<'a, T>(items: impl Iterator<Item = &'a str>, error: &StoreError) -> Vec<Result<T>> {
    items.map(|item| Err(error.about(item))).collect()
}

impl MemoryStore {
    /// The limit that a caller has to keep to.
    fn check_count(&self, operation: &'static str, files: usize, files_max: usize) -> Result<()> {
        self.require(files <= files_max, operation, "so many files")
    }

    pub(super) async fn make_together(
        &self,
        parent: &ItemId,
        files: &[NewFile<'_>],
        fields: &FieldChanges,
    ) -> Vec<Result<Entry>> {
        const OPERATION: &str = "create files";
        let names = || files.iter().map(|file| file.name.as_str());
        let begun = async {
            self.check_count(OPERATION, files.len(), self.capabilities.batches.create_files_max)?;
            for file in files {
                self.check_name(file.name, Kind::File)?;
            }
            self.check_level(OPERATION, parent, Kind::File)?;
            self.check_changes(OPERATION, fields)
        };
        if let Err(error) = begun.await {
            return all_failed(names(), &error);
        }
        let mut contents = Vec::with_capacity(files.len());
        for file in files {
            let received = self
                .receive(OPERATION, &file.name.to_store(), file.body, fields, file.progress)
                .await;
            // Of many files the fields are told at the end.
            contents.push(received.map(|(content, _)| content));
        }
        let fate = match self.faults.meet(Op::Create, OPERATION, parent.as_str()).await {
            Ok(fate) => fate,
            Err(error) => return all_failed(names(), &error),
        };
        let mut contents = contents.into_iter();
        told(OPERATION, fate, names(), |at| {
            let content = match contents.next() {
                Some(content) => content?,
                None => return Err(StoreError::new(ErrorKind::Local, OPERATION, parent.as_str())),
            };
            if let Some(made) = self.made_by(files[at].progress) {
                return Ok(made);
            }
            let name = self.spelled(&files[at].name.to_store());
            let entry = {
                let mut tree = self.tree.lock();
                let entry = tree.add(OPERATION, self.now(), parent, &name, Some(content))?;
                match fields.is_empty() {
                    true => entry,
                    false => tree.set_fields(OPERATION, self.now(), &entry.id, fields)?,
                }
            };
            self.note_made(files[at].progress, &entry);
            Ok(entry)
        })
    }

    pub(super) async fn move_together(&self, items: &[Entry], into: &ItemId) -> Vec<Result<Entry>> {
        const OPERATION: &str = "relocate files";
        let ids = || items.iter().map(|item| item.id.as_str());
        let to = |item: &Entry| Placement {
            name: item.name.clone(),
            parents: vec![into.clone()],
        };
        let begun = async {
            self.check_count(OPERATION, items.len(), self.capabilities.batches.relocate_files_max)?;
            for item in items {
                let now = self.tree.lock().answer(&item.id, OPERATION)?;
                self.check_relocation(&now, &to(&now))?;
            }
            self.faults.meet(Op::Relocate, OPERATION, into.as_str()).await
        };
        let fate = match begun.await {
            Ok(fate) => fate,
            Err(error) => return all_failed(ids(), &error),
        };
        told(OPERATION, fate, ids(), |at| {
            let to = to(&items[at]);
            let mut tree = self.tree.lock();
            tree.relocate(OPERATION, self.now(), &items[at].id, &to.name, &to.parents)
        })
    }

    pub(super) async fn delete_together(&self, items: &[Entry]) -> Vec<Result<()>> {
        const OPERATION: &str = "remove files";
        let ids = || items.iter().map(|item| item.id.as_str());
        let begun = async {
            self.check_count(OPERATION, items.len(), self.capabilities.batches.remove_files_max)?;
            self.faults
                .meet(Op::Remove, OPERATION, items.first().map_or("", |item| item.id.as_str()))
                .await
        };
        let fate = match begun.await {
            Ok(fate) => fate,
            Err(error) => return all_failed(ids(), &error),
        };
        told(OPERATION, fate, ids(), |at| {
            self.tree.lock().remove(OPERATION, self.now(), &items[at].id)
        })
    }
}
