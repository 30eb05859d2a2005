//! Brings the store to what people see here: takes changes as they become ready, parent before child, many at a time.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};

use crate::http::{Class, Context, with_context};
use crate::model::{ContentVersion, Entry, Ino, Kind, SharedClock, Timestamp};
use crate::store::{Batches, Capabilities, ErrorKind, IdScheme, SharedStore, SiblingNames, StoreError};

use super::brake::{self, Brake};
use super::gather::{Due, LINGER, gather};
use super::identity::followers;
use super::outcome;
use super::plan::{Facts, Folder, Occupant, Step, plan};
use super::world::World;
use super::{Change, Durability, Journal, Overlay, Place, Placing, Staged, State, Ticket, Write};

/// Nodes worked on at the same time.
const NODES_IN_FLIGHT_MAX: usize = 16;
/// Due changes that are looked at for what may go together.
const DUE_MAX: usize = 1_000;
/// Bodies uploaded at the same time, or groups of them.
const UPLOADS_IN_FLIGHT_MAX: usize = 4;
/// How long a stray copy stays at least: time for the catalog to hear of it.
const STRAY_PAUSE: Duration = Duration::from_secs(1);
/// How long the uploader sleeps at most: it does not notice that the machine has slept meanwhile, or that its clock was set.
const SLEEP_MAX: Duration = Duration::from_secs(10);
/// Steps of one node without a pause: more means that planning does not converge.
const STEPS_MAX: usize = 16;

/// What the uploader is allowed.
#[derive(Clone, Debug)]
pub struct UploaderConfig {
    /// Deletions of published assets in ten minutes before the rest is held; 0 is no brake.
    pub delete_max: usize,
}

impl Default for UploaderConfig {
    fn default() -> Self {
        Self { delete_max: 1000 }
    }
}

/// Bytes of an upload that is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Acknowledged so far.
    pub bytes: u64,
}

/// The uploader of one store.
pub struct Uploader {
    pub(super) journal: Arc<Journal>,
    pub(super) store: SharedStore,
    pub(super) world: Arc<dyn World>,
    pub(super) clock: SharedClock,
    config: UploaderConfig,
    /// Nodes that are worked on, each with the nodes that it was when the work on it began: with two where one that is
    /// being sent takes the place of another that is.
    in_flight: Mutex<HashMap<Ino, Vec<Ino>>>,
    /// Moves when something has come to rest.
    rested: watch::Sender<u64>,
    /// Changes that failed together with others, for a reason that may lie in one of them: the next time each goes alone.
    pub(super) alone: Mutex<HashSet<Ino>>,
    pub(super) sent: Mutex<HashMap<Ino, Sent>>,
    nodes: Arc<Semaphore>,
    /// Held shared by every step, and alone by the move of a folder whose path is in the ids below it.
    pub(super) paths: tokio::sync::RwLock<()>,
    pub(super) uploads: Semaphore,
    brake: Mutex<Brake>,
    pub(super) stop: watch::Sender<bool>,
}

/// Wakes the uploader when it is dropped.
struct End(Arc<Journal>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.wake();
    }
}

/// How one step ended.
pub(super) enum Acted {
    /// The change is as it was left by the step; plan again.
    Again,
    /// Nothing more for now.
    Rest,
}

impl Uploader {
    /// An uploader that does nothing until [`Uploader::run`].
    pub fn new(
        journal: Arc<Journal>,
        store: SharedStore,
        world: Arc<dyn World>,
        clock: SharedClock,
        config: UploaderConfig,
    ) -> Arc<Self> {
        Arc::new(Self {
            journal,
            store,
            world,
            clock,
            config,
            in_flight: Mutex::default(),
            rested: watch::Sender::default(),
            alone: Mutex::default(),
            sent: Mutex::default(),
            nodes: Arc::new(Semaphore::new(NODES_IN_FLIGHT_MAX)),
            paths: tokio::sync::RwLock::default(),
            uploads: Semaphore::new(UPLOADS_IN_FLIGHT_MAX),
            brake: Mutex::default(),
            stop: watch::Sender::new(false),
        })
    }

    /// Bytes of a node's upload that the store has acknowledged.
    pub fn sent_bytes(&self, ino: Ino) -> Option<u64> {
        self.sent.lock().get(&ino).map(|s| s.bytes)
    }

    /// Whether nothing is under way and nothing is due.
    pub fn is_at_rest(&self) -> bool {
        let next = self.journal.lock().overlay().schedule().next().map(|(at, _)| at);
        self.in_flight.lock().is_empty() && next.is_none_or(|at| at > self.clock.now())
    }

    /// Waits until what is in the store already is no longer worked on, though not longer than that.
    pub async fn tidied(&self, longest: Duration) {
        let mut rested = self.rested.subscribe();
        let done: Vec<Ino> = {
            let guard = self.journal.lock();
            let in_flight = self.in_flight.lock();
            let is_done = |ino: &&Ino| guard.overlay().get(**ino).is_none_or(|change| !change.is_outstanding());
            in_flight.keys().filter(is_done).copied().collect()
        };
        let all = async {
            while done.iter().any(|ino| self.in_flight.lock().contains_key(ino)) {
                if rested.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = all => {}
            () = self.clock.sleep(longest) => {}
        }
    }

    /// The item of `from` shows under the inode `to` from now on, and its change is going there: while a request of it is
    /// under way, none is begun for `to`. Answers whether there is one. Called with the tree locked.
    pub fn reseat(&self, from: Ino, to: Ino) -> bool {
        let mut in_flight = self.in_flight.lock();
        let Some(began_as) = in_flight.get(&from).cloned() else {
            return false;
        };
        in_flight.entry(to).or_default().extend(began_as);
        true
    }

    /// Whether a request of that node may be under way. Called with the tree locked.
    pub fn works_on(&self, ino: Ino) -> bool {
        self.in_flight.lock().contains_key(&ino)
    }

    /// Ends [`Uploader::run`] once what is in flight has come to rest.
    pub fn stop(&self) {
        self.stop.send_replace(true);
        self.journal.wake();
    }

    /// Works until [`Uploader::stop`].
    pub async fn run(self: Arc<Self>) {
        let mut stop = self.stop.subscribe();
        while !*stop.borrow_and_update() {
            let next = self.start_ready();
            tokio::select! {
                () = self.journal.woken() => {}
                () = self.clock.sleep(next.since(self.clock.now())) => {}
                _ = stop.changed() => {}
            }
        }
        // What is in flight holds a permit each.
        if self.nodes.acquire_many(NODES_IN_FLIGHT_MAX as u32).await.is_err() {
            tracing::error!("the uploader's permits are gone");
        }
    }

    /// Starts what is ready; answers when to look again.
    fn start_ready(self: &Arc<Self>) -> Timestamp {
        let now = self.clock.now();
        let mut guard = self.journal.lock();
        if self.nodes.available_permits() == 0 {
            guard.looks_next(None);
            return now.plus(SLEEP_MAX);
        }
        let mut in_flight = self.in_flight.lock();
        let (due, later) = self.due(guard.overlay(), &in_flight, now);
        let (groups, next) = gather(due, now, &self.capabilities().batches);
        for group in groups {
            let Ok(permit) = self.nodes.clone().try_acquire_owned() else {
                guard.looks_next(None);
                return now.plus(SLEEP_MAX);
            };
            in_flight.extend(group.iter().map(|ino| (*ino, vec![*ino])));
            let uploader = self.clone();
            tokio::spawn(with_context(Context::of(Class::Upload), async move {
                // Last of all, and also after a panic: the permit is free by then.
                let _end = End(uploader.journal.clone());
                let _permit = permit;
                uploader.drive_together(group.clone()).await;
                uploader.in_flight.lock().retain(|_, began_as| {
                    began_as.retain(|ino| !group.contains(ino));
                    !began_as.is_empty()
                });
                for ino in &group {
                    uploader.sent.lock().remove(ino);
                }
                uploader.rested.send_modify(|count| *count += 1);
            }));
        }
        let next = next.into_iter().chain(later).fold(now.plus(SLEEP_MAX), Timestamp::min);
        guard.looks_next(Some(next));
        next
    }

    /// What is due now, and what may go with it; and when the first of the rest will be.
    fn due(
        &self,
        overlay: &Overlay,
        in_flight: &HashMap<Ino, Vec<Ino>>,
        now: Timestamp,
    ) -> (Vec<Due>, Option<Timestamp>) {
        let (horizon, most) = match self.capabilities().batches == Batches::NONE {
            true => (now, NODES_IN_FLIGHT_MAX),
            false => (now.plus(LINGER), DUE_MAX),
        };
        let mut due = Vec::new();
        for (at, ino) in overlay.schedule() {
            if at > horizon || due.len() >= most {
                return (due, Some(at).filter(|at| *at > now));
            }
            if let Some(change) = overlay.get(ino).filter(|_| !in_flight.contains_key(&ino)) {
                due.push(Due {
                    ino,
                    at,
                    likeness: self.likeness(change),
                    bytes: change.staged.as_ref().map_or(0, |staged| staged.size),
                });
            }
        }
        (due, None)
    }

    /// One step after the other, until the node rests.
    pub(super) async fn drive(&self, ino: Ino) {
        for _ in 0..STEPS_MAX {
            let Some((change, step, acted)) = self.step(ino).await else {
                return;
            };
            match acted {
                Ok(Acted::Again) => {}
                Ok(Acted::Rest) => return,
                Err(error) => {
                    self.failed(&change, &step, &error).await;
                    return;
                }
            }
        }
        tracing::error!(ino = ino.0, "a change does not come to rest; trying again in a minute");
        let at = self.clock.now().plus(Duration::from_secs(60));
        self.update(ino, Durability::Written, |change| change.ready_at = at);
    }

    /// Decides on one step and carries it out. Where ids are paths, a folder moves alone: every id below it changes.
    async fn step(&self, ino: Ino) -> Option<(Arc<Change>, Step, Result<Acted, StoreError>)> {
        {
            let _among_others = self.paths.read().await;
            let (change, step, remote, decided) = self.planned(ino).await?;
            let moves_paths = change.kind == Kind::Folder
                && self.capabilities().ids == IdScheme::Path
                && (matches!(step, Step::Relocate { .. })
                    || matches!(step, Step::Look { .. }) && change.asked_move().is_some());
            if !moves_paths {
                let acted = self.act(&change, &step, remote.as_deref(), decided).await;
                return Some((change, step, acted));
            }
        }
        let _alone = self.paths.write().await;
        let (change, step, remote, decided) = self.planned(ino).await?;
        let acted = self.act(&change, &step, remote.as_deref(), decided).await;
        Some((change, step, acted))
    }

    /// A change, its next step, what the store was last known to hold of it, and the commit that this rests on.
    pub(super) async fn planned(&self, ino: Ino) -> Option<(Arc<Change>, Step, Option<Arc<Entry>>, u64)> {
        loop {
            let (change, decided) = {
                let guard = self.journal.lock();
                let change = guard.overlay().get(ino).cloned()?;
                (change, guard.overlay().commits())
            };
            if self.free_unclaimed(&change) {
                continue;
            }
            let (step, remote) = self.decide(&change).await;
            // A file that was being written when the change was read may be closed by now: parked is what still stands.
            if let Step::Park(_) = step
                && self.journal.change(ino).is_none_or(|now| !Arc::ptr_eq(&now, &change))
            {
                continue;
            }
            tracing::debug!(ino = ino.0, ?step, "next step");
            return Some((change, step, remote, decided));
        }
    }

    /// A node waits for a file that may become its next version only while that one is on its way: not when it is gone, or
    /// itself waits for the user.
    fn free_unclaimed(&self, change: &Change) -> bool {
        let Some(by) = change.claimed_by else { return false };
        let claimer = self.journal.change(by);
        let waits = claimer.is_some_and(|c| c.claim == Some(change.ino) && c.is_scheduled());
        if !waits {
            self.update(change.ino, Durability::Written, |c| {
                if c.claimed_by == Some(by) {
                    c.claimed_by = None;
                }
            });
        }
        !waits
    }

    async fn decide(&self, change: &Change) -> (Step, Option<Arc<Entry>>) {
        let remote = match &change.id {
            Some(id) => self.world.entry(id).await,
            None => None,
        };
        let mut folders = HashMap::new();
        let mut occupants = HashMap::new();
        let places: Vec<Place> = match &change.placing {
            Some(placing) => placing.now.iter().chain(&placing.base).cloned().collect(),
            None => Vec::new(),
        };
        let asked = change.asked().flat_map(|u| &u.sent.placing);
        let places: Vec<Place> = places.into_iter().chain(asked.flat_map(|p| p.now.clone())).collect();
        for place in &places {
            let folder = self.folder(place.parent).await;
            if let Folder::There(id) = &folder
                && self.store.capabilities().sibling_names == SiblingNames::Unique
            {
                let occupant = self.occupant(change, place, id).await;
                occupants.insert((place.parent, place.name.clone()), occupant);
            }
            folders.insert(place.parent, folder);
        }
        let work_inside = if change.is_removal() {
            self.work_inside(change.ino)
        } else {
            None
        };
        let parents = folders.values().filter_map(Folder::id);
        let copied = change.copy_of.iter().map(|source| &source.id);
        let unsure_above = self.unsure_above(change, parents.chain(&change.id).chain(copied));
        let copy = self.copy_to_be_made(change, remote.as_deref());
        let facts = Facts {
            change,
            capabilities: self.store.capabilities(),
            now: self.clock.now(),
            being_written: self.world.being_written(change.ino),
            work_inside,
            unsure_above,
            copy,
            waits_for_this: &|other| self.journal.lock().overlay().waits_behind(other, change.ino),
            folder: &|ino| folders.get(&ino).cloned().unwrap_or(Folder::Gone),
            occupant: &|ino, name| occupants.get(&(ino, name.clone())).copied().unwrap_or(Occupant::Nobody),
            objection: &|name| self.store.check_name(name, change.kind).err().map(|e| e.to_string()),
        };
        (plan(&facts), remote)
    }

    async fn folder(&self, ino: Ino) -> Folder {
        if let Some(change) = self.journal.change(ino) {
            if change.is_removal() {
                return match &change.id {
                    Some(id) if !is_settling(&change) => Folder::Leaving(id.clone()),
                    Some(_) | None => Folder::Gone,
                };
            }
            match (&change.id, &change.state) {
                (Some(id), _) => return Folder::There(id.clone()),
                (None, State::Parked { .. } | State::Held) => return Folder::Stuck,
                (None, _) => return Folder::Awaited,
            }
        }
        match self.world.item_of(ino).await {
            Some(id) => Folder::There(id),
            None => Folder::Gone,
        }
    }

    fn work_inside(&self, folder: Ino) -> Option<Ino> {
        let guard = self.journal.lock();
        let busy = guard
            .overlay()
            .touching(folder)
            .find(|c| c.ino != folder && c.is_outstanding());
        busy.map(|c| c.ino)
    }

    /// Alters a change under the lock, if it is still there.
    pub(super) fn update(&self, ino: Ino, durability: Durability, alter: impl FnOnce(&mut Change)) -> Option<Ticket> {
        let mut guard = self.journal.lock();
        let mut change = Change::clone(guard.overlay().get(ino)?);
        alter(&mut change);
        Some(guard.commit(vec![Write::Put(Box::new(change))], durability))
    }

    /// Whether one more deletion goes beyond the brake.
    pub(super) fn brakes(&self, change: &Change) -> bool {
        let max = self.config.delete_max;
        !change.approved && !self.brake.lock().lets_pass(change.ino, self.clock.now(), max)
    }

    /// A deletion beyond the brake waits for the user.
    pub(super) fn hold(&self, ino: Ino) {
        if self.brake.lock().is_to_tell() {
            let (max, minutes) = (self.config.delete_max, brake::WINDOW.as_secs() / 60);
            let text = format!(
                "more than {max} deletions within {minutes} minutes: this one and those after it are held until \
                 `assetfs approve`, or taken back with `assetfs discard --held`"
            );
            self.world.problem(ino, &text);
        }
        self.update(ino, Durability::Synced, |change| change.state = State::Held);
    }

    /// The item is gone in the store.
    pub(super) async fn removed(&self, sent: &Change) -> Result<(), StoreError> {
        let Some(id) = &sent.id else { return Ok(()) };
        self.world.gone(sent.ino, id).await?;
        let ticket = {
            let mut guard = self.journal.lock();
            let lag = self.capabilities().listing_lag_max;
            let mut writes = Vec::new();
            match guard.overlay().get(sent.ino).filter(|c| c.id.as_ref() == Some(id)) {
                Some(current) if current.is_removal() => {
                    writes.push(put_or_drop(
                        sent.ino,
                        outcome::removed(current, id, self.clock.now(), lag),
                    ));
                }
                // A program took the node up again while the request was under way: it is made anew.
                Some(current) => writes.push(Write::Put(Box::new(current.unpublished()))),
                None => {}
            }
            let heir = guard.overlay().by_id(id);
            if let Some(heir) = heir.filter(|c| c.ino != sent.ino && c.id.as_ref() == Some(id)) {
                writes.push(Write::Put(Box::new(heir.unpublished())));
            }
            guard.commit(writes, Durability::Written)
        };
        waited(ticket).await
    }

    /// A step is through: the catalog has its result before the journal lets go of the wish.
    pub(super) async fn finish(
        &self,
        sent: &Change,
        step: &Step,
        entry: Option<&Entry>,
        names: Option<&[Place]>,
    ) -> Result<(), StoreError> {
        let sends_bytes = matches!(step, Step::Create { .. } | Step::Replace { .. } | Step::Reupload { .. });
        let staged = sent.staged.as_ref().filter(|_| sends_bytes);
        let before = self.known_before(sent, entry.filter(|_| !sends_bytes)).await;
        // Where listings tell no sizes, that of what was sent is known all the same.
        let sized = entry.zip(staged).and_then(|(entry, staged)| {
            let unsized_here = entry.size.is_none() && !self.capabilities().alters_content;
            unsized_here.then(|| Entry {
                size: Some(staged.size),
                ..entry.clone()
            })
        });
        let entry = sized.as_ref().or(entry);
        let made = entry.filter(|_| matches!(step, Step::Create { .. } | Step::CreateFolder { .. }));
        let find_heir = || heir_of(self.journal.lock().overlay(), sent, entry);
        if let Some(stray) = made.filter(|_| find_heir().is_none()) {
            return self.remove_stray(sent, stray).await;
        }
        let heir = || find_heir().map_or(sent.ino, |heir| heir.ino);
        let mut ino = heir();
        if let Some(entry) = entry {
            // Who sends bytes alone says nothing of the name, which others may have changed meanwhile.
            let tells_names = |placing: &&Placing| placing.is_moved() || sent.id.as_ref() != Some(&entry.id);
            let places = names
                .or_else(|| sent.placing.as_ref().filter(tells_names).map(|p| p.now.as_slice()))
                .unwrap_or_default();
            let old = sent.id.as_ref().filter(|old| **old != entry.id);
            // The identity may move on to another node while the catalog is written: that one has it then.
            loop {
                self.world.took(ino, entry, places, old, staged).await?;
                match heir() {
                    same if same == ino => break,
                    other => ino = other,
                }
            }
        }
        let taken = 'taken: {
            let mut guard = self.journal.lock();
            let Some(current) = heir_of(guard.overlay(), sent, entry) else {
                break 'taken None;
            };
            let mut left = outcome::succeeded(&current, sent, step, entry, before.as_ref());
            // What a program did meanwhile has its own quiet time; our own next step need not wait.
            left.ready_at = if Arc::as_ptr(&current) == std::ptr::from_ref(sent) {
                self.clock.now()
            } else {
                current.ready_at
            };
            let still_staged = left.staged.is_some();
            let mut writes = identified(guard.overlay(), &left, sent, step);
            let settles = left.is_empty() && left.state == State::Pending && left.claimed_by.is_none();
            if sent.placing.as_ref().is_some_and(|p| p.is_moved()) {
                left.placed_at = Some(self.clock.now());
            }
            if entry.is_some_and(|entry| went_elsewhere(entry, step)) {
                // Where it was asked to be is no place that listings could still catch up with.
                left.placed_at = None;
            }
            let lag = self.capabilities().listing_lag_max;
            let left = if settles {
                outcome::settled(left, self.clock.now(), lag)
            } else {
                Some(left)
            };
            writes.push(put_or_drop(current.ino, left));
            // Before the bytes leave the staging folder, where the journal would look for them after a loss of power, and
            // before what they replace is removed.
            let durability = if sends_bytes {
                Durability::Synced
            } else {
                Durability::Written
            };
            Some((guard.commit(writes, durability), still_staged))
        };
        let Some((ticket, still_staged)) = taken else {
            return match made {
                Some(stray) => self.remove_stray(sent, stray).await,
                None => Ok(()),
            };
        };
        waited(ticket).await?;
        self.tell_of_bytes(ino, sent, staged.zip(entry), still_staged).await;
        Ok(())
    }

    /// Bytes were published as an item: they are its clean ones now, or what the newer ones are based on.
    async fn tell_of_bytes(&self, ino: Ino, sent: &Change, published: Option<(&Staged, &Entry)>, is_overtaken: bool) {
        match published {
            Some((staged, entry)) if !is_overtaken => self.world.published(sent.ino, staged, entry).await,
            Some((_, entry)) => self.world.overtaken(ino, entry).await,
            None => {}
        }
    }

    /// The version that was known before the answer `told` of a request without bytes came. Where that is the first to tell
    /// of somebody else's bytes, what waits here is not based on those.
    async fn known_before(&self, sent: &Change, told: Option<&Entry>) -> Option<ContentVersion> {
        let before = self.world.entry(sent.id.as_ref()?).await?;
        let is_theirs = told.is_some_and(|told| {
            let is_moved = sent.id.as_ref() != Some(&told.id);
            told.has_other_bytes_than(&before) || is_moved && told.version != before.version
        });
        (!is_theirs).then(|| before.version.clone())
    }

    /// An item was made for a node that was removed, or became another item's next version, while the request was under
    /// way: it is removed again.
    async fn remove_stray(&self, sent: &Change, entry: &Entry) -> Result<(), StoreError> {
        let journal = self.journal.clone();
        let allocated = tokio::task::spawn_blocking(move || journal.allocate()).await;
        let ino = match allocated {
            Ok(Ok(ino)) => ino,
            Ok(Err(e)) => {
                return Err(StoreError::new(ErrorKind::Local, "note a stray copy", entry.id.as_str()).because(e));
            }
            Err(e) => return Err(StoreError::new(ErrorKind::Local, "note a stray copy", entry.id.as_str()).because(e)),
        };
        let mut stray = Change::of(
            ino,
            sent.kind,
            Some(entry.id.clone()),
            self.journal.next_seq(),
            self.clock.now(),
        );
        stray.placing = Some(Placing {
            base: sent.placing.iter().flat_map(|p| p.now.clone()).take(1).collect(),
            now: Vec::new(),
        });
        // The catalog is told of it first, and that it is not the node which it was made for.
        stray.ready_at = self.clock.now().plus(STRAY_PAUSE);
        let mut writes = vec![Write::Identify(ino, entry.id.clone()), Write::Put(Box::new(stray))];
        {
            let mut guard = self.journal.lock();
            if let Some(current) = guard.overlay().get(sent.ino) {
                // What is in doubt about the item that the node has become stays so.
                writes.push(Write::Put(Box::new(Change {
                    unanswered: None,
                    resume: None,
                    ..Change::clone(current)
                })));
                if let Some(id) = &current.id {
                    writes.push(Write::Identify(sent.ino, id.clone()));
                }
            }
            guard.commit(writes, Durability::Written)
        }
        .wait()
        .await
        .map_err(|e| StoreError::new(ErrorKind::Local, "note a stray copy", entry.id.as_str()).because(e))?;
        if let Err(error) = self.world.took(ino, entry, &[], None, None).await {
            tracing::debug!(id = %entry.id, "the catalog does not know of a stray copy: {error}");
        }
        Ok(())
    }

    pub(super) fn capabilities(&self) -> &Capabilities {
        self.store.capabilities()
    }
}

pub(super) fn is_settling(change: &Change) -> bool {
    matches!(change.state, State::Settling { .. })
}

/// What else is to be noted where a step has given a node an id.
fn identified(overlay: &Overlay, left: &Change, sent: &Change, step: &Step) -> Vec<Write> {
    let Some(id) = left.id.as_ref().filter(|id| Some(*id) != sent.id.as_ref()) else {
        return Vec::new();
    };
    let mut writes = vec![Write::Identify(left.ino, id.clone())];
    if let Some(old) = &sent.id {
        writes.extend(followers(overlay, step, old, id));
    }
    // Where ids are paths, one is given anew: what is remembered of its last owner's removal ends.
    let last_owner = overlay.by_id(id).filter(|c| c.ino != left.ino);
    writes.extend(last_owner.filter(|c| is_settling(c)).map(|c| Write::Drop(c.ino)));
    writes
}

/// Who has the result of a request coming: the node it was sent for, or the one that took over its identity meanwhile.
fn heir_of(overlay: &Overlay, sent: &Change, told: Option<&Entry>) -> Option<Arc<Change>> {
    // A folder that was moved where ids are paths has its new id already.
    let is_rekeyed = |c: &Change| sent.id.is_some() && told.is_some_and(|told| c.id.as_ref() == Some(&told.id));
    let current = overlay.get(sent.ino).filter(|c| c.id == sent.id || is_rekeyed(c));
    let heir = || sent.id.as_ref().and_then(|id| overlay.by_id(id));
    current.or_else(heir).cloned()
}

/// Whether the store, on purpose, put a new item into another folder than the one that was asked for.
fn went_elsewhere(entry: &Entry, step: &Step) -> bool {
    match step {
        Step::Create { parent, .. } | Step::Reupload { parent, .. } => {
            !entry.parents.is_empty() && !entry.parents.contains(parent)
        }
        _ => false,
    }
}

pub(super) fn put_or_drop(ino: Ino, change: Option<Change>) -> Write {
    match change {
        Some(change) => Write::Put(Box::new(change)),
        None => Write::Drop(ino),
    }
}

/// Waits for the journal, as a step of a store would fail.
pub(super) async fn waited(ticket: Ticket) -> Result<(), StoreError> {
    let lost = |e| StoreError::new(ErrorKind::Local, "write the journal", "").because(e);
    ticket.wait().await.map_err(lost)
}
