//! Carries out one step of several changes as one call to the store. What comes of it is taken down for each of them, so
//! that whatever happens on the way each change goes on as if it had been alone.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::future::join_all;

use crate::model::{Entry, FieldChanges, Ino, ItemId, Kind};
use crate::store::{ErrorKind, NewFile, Retry, StoreError, Support};

use super::doubt::Publishing;
use super::gather::Likeness;
use super::plan::Step;
use super::uploader::{Uploader, waited};
use super::{Change, Source, Ticket};

/// One of several changes, planned.
struct Member {
    change: Arc<Change>,
    step: Step,
    remote: Option<Arc<Entry>>,
}

/// What one call asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Asked {
    Create(ItemId, FieldChanges),
    Relocate(ItemId),
    Remove,
    SetFields(FieldChanges),
}

impl Asked {
    fn of(change: &Change, step: &Step) -> Option<Self> {
        if change.kind != Kind::File || change.copy_of.is_some() {
            return None;
        }
        match step {
            Step::Create { parent, .. } => Some(Self::Create(parent.clone(), change.fields.clone())),
            Step::Relocate {
                name: None,
                entered,
                swapping: false,
                ..
            } => match entered.as_slice() {
                [into] => Some(Self::Relocate(into.clone())),
                _ => None,
            },
            Step::Remove { .. } => Some(Self::Remove),
            Step::SetFields => Some(Self::SetFields(change.fields.clone())),
            _ => None,
        }
    }
}

/// Whether a refusal of a request about several items may be due to one of them, so that each has to be asked for alone.
fn may_be_about_one(error: &StoreError, asked: &Asked) -> bool {
    match error.kind {
        // Told for this one of them.
        ErrorKind::NotFound | ErrorKind::Busy => *asked != Asked::Remove,
        ErrorKind::Denied
        | ErrorKind::Invalid
        | ErrorKind::Exists
        | ErrorKind::NotEmpty
        | ErrorKind::TooLarge
        | ErrorKind::Full
        | ErrorKind::Unsupported
        | ErrorKind::Conflict
        | ErrorKind::Expired
        | ErrorKind::Local => true,
        ErrorKind::Unauthenticated
        | ErrorKind::Throttled { .. }
        | ErrorKind::QuotaExhausted { .. }
        | ErrorKind::NotReady
        | ErrorKind::Network
        | ErrorKind::Timeout
        | ErrorKind::Server
        | ErrorKind::Protocol
        | ErrorKind::Cancelled => false,
    }
}

/// Whether one of several items may be why the server failed: it is then tried alone the next time.
fn may_be_poison(error: &StoreError) -> bool {
    match error.kind {
        ErrorKind::Server | ErrorKind::Protocol | ErrorKind::Timeout => true,
        // Servers break the connection when they are sent too much. One that cannot be reached says nothing.
        _ => error.kind == ErrorKind::Network && error.retry == Retry::Ambiguous,
    }
}

impl Uploader {
    /// What a change may have in common with others.
    pub(super) fn likeness(&self, change: &Change) -> Option<Likeness> {
        // What is in several folders has a request of its own for each.
        if self.capabilities().links == Support::Yes || self.names_count() {
            return None;
        }
        let alone = self.alone.lock().contains(&change.ino);
        (!alone).then(|| Likeness::of(change, self.capabilities()))?
    }

    /// Works on changes that were due together until each of them rests.
    pub(super) async fn drive_together(&self, inos: Vec<Ino>) {
        let rest = if let [one] = inos[..] {
            self.alone.lock().remove(&one);
            inos
        } else {
            self.first_step_together(inos).await
        };
        join_all(rest.into_iter().map(|ino| self.drive(ino))).await;
    }

    /// One step of all that ask for the same. Answers those that are to be driven on, each by itself.
    async fn first_step_together(&self, inos: Vec<Ino>) -> Vec<Ino> {
        let _among_others = self.paths.read().await;
        let planned = join_all(inos.iter().map(|ino| self.planned(*ino))).await;
        let members = planned
            .into_iter()
            .flatten()
            .map(|(change, step, remote, _)| Member { change, step, remote });
        let mut members: Vec<Member> = members.collect();
        let wanted = members.iter().find_map(|m| Asked::of(&m.change, &m.step));
        let Some(asked) = wanted else { return inos };
        let mut names = HashSet::new();
        members.retain(|m| {
            let is_alike = Asked::of(&m.change, &m.step).as_ref() == Some(&asked);
            is_alike && m.create_name().is_none_or(|name| names.insert(name))
        });
        if members.len() < 2 {
            return inos;
        }
        let ended = match &asked {
            Asked::Create(parent, fields) => self.create_together(&members, parent, fields).await,
            Asked::Relocate(into) => self.relocate_together(&members, into).await,
            Asked::Remove => self.remove_together(&members).await,
            Asked::SetFields(fields) => self.set_fields_together(&members, fields).await,
        };
        let taken = members.iter().zip(ended).map(|(member, ended)| async {
            let Err(error) = ended else { return None };
            if may_be_about_one(&error, &asked) {
                tracing::debug!(ino = member.change.ino.0, "asked for alone: {error}");
                return None;
            }
            if may_be_poison(&error) {
                self.alone.lock().insert(member.change.ino);
            }
            self.failed(&member.change, &member.step, &error).await;
            Some(member.change.ino)
        });
        let rests: HashSet<Ino> = join_all(taken).await.into_iter().flatten().collect();
        inos.into_iter().filter(|ino| !rests.contains(ino)).collect()
    }

    /// Takes down what came of each: [`Uploader::finish`] for what succeeded.
    async fn finish_each(
        &self,
        members: &[Member],
        told: Vec<Result<Entry, StoreError>>,
    ) -> Vec<Result<(), StoreError>> {
        let finished = members.iter().zip(told).map(|(member, told)| async move {
            // The names of a file whose fields were set are none of this step's business.
            let names = matches!(member.step, Step::SetFields).then_some(&[][..]);
            self.finish(&member.change, &member.step, Some(&told?), names).await
        });
        join_all(finished).await
    }

    async fn create_together(
        &self,
        members: &[Member],
        parent: &ItemId,
        fields: &FieldChanges,
    ) -> Vec<Result<(), StoreError>> {
        let Ok(_permit) = self.uploads.acquire().await else {
            return members.iter().map(|_| Ok(())).collect();
        };
        let sources = join_all(members.iter().map(|m| self.world.source(&m.change, None))).await;
        let is_whole = sources.iter().all(Result::is_ok);
        let sources: Vec<Source> = match is_whole {
            true => sources.into_iter().flatten().collect(),
            false => {
                let each = sources.into_iter().map(|source| match source {
                    // Nothing was sent: it goes alone.
                    Ok(_) => Ok(()),
                    Err(error) => Err(error),
                });
                return each.collect();
            }
        };
        let follows: Vec<_> = members
            .iter()
            .zip(&sources)
            .map(|(m, source)| self.progress(&m.change, Publishing::Makes, &source.fingerprint))
            .collect();
        let files: Vec<NewFile<'_>> = members
            .iter()
            .zip(&sources)
            .zip(&follows)
            .filter_map(|((m, source), follow)| {
                let Step::Create { name, .. } = &m.step else {
                    return None;
                };
                Some(NewFile {
                    name,
                    body: &source.body,
                    progress: follow,
                })
            })
            .collect();
        let told = self.store.create_together(parent, &files, fields).await;
        self.finish_each(members, told).await
    }

    async fn relocate_together(&self, members: &[Member], into: &ItemId) -> Vec<Result<(), StoreError>> {
        let entries = match known(members) {
            Ok(entries) => entries,
            Err(alone) => return alone,
        };
        let note = |member: &Member, entry: &Entry| self.about_to_move(&member.change, entry, None);
        let Some(noted) = Noted::each(members, entries, note).await else {
            return members.iter().map(|_| Ok(())).collect();
        };
        let told = match noted.entries.is_empty() {
            true => Vec::new(),
            false => self.store.relocate_together(&noted.entries, into).await,
        };
        let finished = members.iter().zip(noted.told(told)).map(|(member, told)| async move {
            let Some(told) = told else { return Ok(()) };
            self.finish(&member.change, &member.step, Some(&told?), None).await
        });
        join_all(finished).await
    }

    async fn set_fields_together(&self, members: &[Member], fields: &FieldChanges) -> Vec<Result<(), StoreError>> {
        let entries = match known(members) {
            Ok(entries) => entries,
            Err(alone) => return alone,
        };
        let told = match self.store.set_fields(&entries, fields).await {
            Ok(told) => told.into_iter().map(Ok).collect(),
            Err(error) => entries.iter().map(|e| Err(error.about(e.id.as_str()))).collect(),
        };
        self.finish_each(members, told).await
    }

    async fn remove_together(&self, members: &[Member]) -> Vec<Result<(), StoreError>> {
        let entries = match known(members) {
            Ok(entries) => entries,
            Err(alone) => return alone,
        };
        let note = |member: &Member, entry: &Entry| {
            if self.brakes(&member.change) {
                self.hold(member.change.ino);
                return None;
            }
            // None either of what nobody wants to have removed any more.
            self.about_to_remove(&member.change, &entry.version)
        };
        let Some(noted) = Noted::each(members, entries, note).await else {
            return members.iter().map(|_| Ok(())).collect();
        };
        let told = match noted.entries.is_empty() {
            true => Vec::new(),
            false => self.store.remove_together(&noted.entries).await,
        };
        let finished = members.iter().zip(noted.told(told)).map(|(member, told)| async move {
            let Some(told) = told else { return Ok(()) };
            told?;
            self.removed(&member.change).await?;
            if let Some(staged) = &member.change.staged {
                self.world.discard(member.change.ino, staged).await;
            }
            Ok(())
        });
        join_all(finished).await
    }
}

impl Member {
    /// The name that a new file is to have in the store.
    fn create_name(&self) -> Option<String> {
        match &self.step {
            Step::Create { name, .. } => Some(name.to_store()),
            _ => None,
        }
    }
}

/// Those of which it is noted that the store was asked.
struct Noted {
    entries: Vec<Entry>,
    /// For each member, whether it is among them.
    is_noted: Vec<bool>,
}

impl Noted {
    /// Notes one after the other, so that the brake lets as many pass as it should; `None` when that fails: nothing is sent
    /// that is not noted, so each goes alone, and hears of it there. What `note` answers nothing for is left out.
    async fn each(
        members: &[Member],
        entries: Vec<Entry>,
        note: impl Fn(&Member, &Entry) -> Option<Ticket>,
    ) -> Option<Self> {
        let mut noted = Self {
            entries: Vec::with_capacity(members.len()),
            is_noted: Vec::with_capacity(members.len()),
        };
        let mut tickets = Vec::with_capacity(members.len());
        for (member, entry) in members.iter().zip(entries) {
            let ticket = note(member, &entry);
            noted.is_noted.push(ticket.is_some());
            noted.entries.extend(ticket.is_some().then_some(entry));
            tickets.extend(ticket);
        }
        for written in join_all(tickets.into_iter().map(waited)).await {
            if let Err(error) = written {
                tracing::debug!("what is to be asked for could not be noted: {error}");
                return None;
            }
        }
        Some(noted)
    }

    /// For each member what was told of it, where it was asked for.
    fn told<T>(&self, told: Vec<T>) -> Vec<Option<T>> {
        let mut told = told.into_iter();
        let each = self.is_noted.iter();
        each.map(|is_noted| is_noted.then(|| told.next())?).collect()
    }
}

/// What the store is known to hold of all of them; when that is not known of one, each finds out alone.
fn known(members: &[Member]) -> Result<Vec<Entry>, Vec<Result<(), StoreError>>> {
    let entries: Vec<Entry> = members.iter().filter_map(|m| m.remote.as_deref().cloned()).collect();
    match entries.len() == members.len() {
        true => Ok(entries),
        false => Err(members.iter().map(|_| Ok(())).collect()),
    }
}
