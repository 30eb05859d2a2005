//! Somebody else was faster: two versions of one asset, of which none is lost.

use crate::journal::{Change, Durability, Place, Placing, State, World, Write, take_over};
use crate::model::{Entry, Ino, ItemId};

use super::control::Keep;
use super::vfs::{Inner, Vfs};
use super::{Conflicts, Error, Notice, Result};

impl Vfs {
    /// Ends a conflict.
    pub async fn resolve(&self, id: u64, keep: Keep) -> Result<()> {
        let ino = Ino(id);
        let change = self.journal.change(ino);
        let Some(State::Conflict { of }) = change.as_ref().map(|c| c.state.clone()) else {
            return Err(Error::Invalid(format!("{id} is not a conflict: see `assetfs queue`")));
        };
        match keep {
            Keep::Theirs => self.discard(id).await,
            Keep::Both => {
                self.decide(Durability::Synced, move |d| {
                    let Some(change) = d.overlay().get(ino).cloned() else {
                        return Ok(());
                    };
                    let change = Change {
                        state: State::Pending,
                        ready_at: d.now,
                        last_error: None,
                        ..Change::clone(&change)
                    };
                    d.write(Write::Put(Box::new(change)));
                    Ok(())
                })
                .await
            }
            Keep::Mine => {
                let asked = of.clone();
                let other = self.blocking(move |vfs| Ok(vfs.catalog.by_id(&asked)?)).await?;
                let other = other.ok_or_else(|| Error::Invalid("the asset is gone: keep both instead".into()))?;
                let fresh = self.stat_now(other.ino, &of).await?;
                self.keep_mine(ino, other.ino, &fresh).await
            }
        }
    }

    async fn keep_mine(&self, ino: Ino, theirs: Ino, fresh: &Entry) -> Result<()> {
        let version = fresh.version.clone();
        let places = self
            .decide(Durability::Synced, move |d| {
                let Some(ours) = d.overlay().get(ino).cloned() else {
                    return Ok(Vec::new());
                };
                let node = d.vfs.node_in(d.overlay(), theirs)?;
                let places = d.vfs.places(&node)?;
                let old = node.change_or_new(d);
                if old.staged.is_some() {
                    let why = "the other version was changed here too since: `assetfs sync` sends that, then decide";
                    return Err(Error::Invalid(why.into()));
                }
                let mut ours = Change::clone(&ours);
                let shown = ours.placing.iter().flat_map(|p| p.now.clone()).collect::<Vec<_>>();
                ours.placing = Some(Placing {
                    base: Vec::new(),
                    now: places.clone(),
                });
                let mut taken = take_over(&ours, &old, &places, Some(version));
                taken.ready_at = d.now;
                taken.last_error = None;
                d.take_over(taken, theirs);
                Ok([places, shown].concat())
            })
            .await?;
        for place in places {
            self.notice(Notice::Entry {
                parent: place.parent,
                name: place.name,
            });
            self.notice(Notice::Attributes { ino: place.parent });
        }
        Ok(())
    }

    /// Our bytes become a local copy beside somebody else's version.
    pub(super) async fn split_conflict(&self, ino: Ino) -> Result<()> {
        let Some(change) = self.journal.change(ino) else {
            return Ok(());
        };
        let Some(id) = change.id.clone() else { return Ok(()) };
        let theirs = self.store.stat(&id).await?;
        let stamp = self.clock.now().to_local("%Y-%m-%d %H%M%S");
        let tag = format!("conflict {} {stamp}", self.config.host);
        let notices = self
            .blocking(move |vfs| {
                let new = vfs.journal.allocate()?;
                // Their version is in the catalog before ours makes room: nobody reads it by the old entry.
                let names = vfs.names_for(&theirs)?;
                vfs.catalog.set_ino(&id, new)?;
                vfs.catalog.put_entry(new, &theirs, vfs.answered_now(), &names)?;
                let ticket = {
                    let mut guard = vfs.journal.lock();
                    let Some(current) = guard.overlay().get(ino).cloned() else {
                        return Ok(Vec::new());
                    };
                    let Some(placing) = current.placing.clone() else {
                        return Ok(Vec::new());
                    };
                    let mut ours = Change::clone(&current);
                    ours.id = None;
                    ours.resume = None;
                    ours.unconfirmed.clear();
                    ours.attempts = 0;
                    match vfs.config.conflicts {
                        Conflicts::Local => {
                            ours.state = State::Conflict { of: id.clone() };
                            ours.last_error = Some("somebody else changed it in the store too".into());
                        }
                        Conflicts::Upload => {
                            ours.state = State::Pending;
                            ours.ready_at = vfs.clock.now();
                            ours.last_error = None;
                        }
                    }
                    let now: Vec<Place> = match placing.now.first() {
                        Some(place) => vec![vfs.free_beside(guard.overlay(), place, &tag)?],
                        None => Vec::new(),
                    };
                    ours.placing = Some(Placing {
                        base: Vec::new(),
                        now: now.clone(),
                    });
                    let mut writes = vec![Write::Identify(new, id.clone())];
                    writes.extend(vfs.leave_unfinished(&mut ours, new, Some(id)));
                    writes.push(Write::Put(Box::new(ours)));
                    (guard.commit(writes, Durability::Synced), placing, now)
                };
                let (ticket, placing, now) = ticket;
                ticket.wait_blocking()?;
                Ok([placing.now, now].concat())
            })
            .await?;
        for place in notices {
            self.notice(Notice::Entry {
                parent: place.parent,
                name: place.name,
            });
            self.notice(Notice::Attributes { ino: place.parent });
        }
        self.problem(
            ino,
            match self.config.conflicts {
                Conflicts::Local => {
                    "somebody else changed the original in the store too: this version of yours stays beside it until \
                     `assetfs resolve`"
                }
                Conflicts::Upload => {
                    "somebody else changed the original in the store too: this version of yours is sent beside it"
                }
            },
        );
        Ok(())
    }
}

impl Inner {
    /// What an asset has replaced goes, whatever becomes of our version of it, and what an upload has left in the store as
    /// well: the asset, as `ino`, is rid of it. `None` for `asset` where the file was never there.
    pub(super) fn leave_unfinished(&self, ours: &mut Change, ino: Ino, asset: Option<ItemId>) -> Option<Write> {
        let is_new = asset.is_none();
        let mut change = Change::of(ino, ours.kind, asset, self.journal.next_seq(), self.clock.now());
        change.leftovers = std::mem::take(&mut ours.leftovers);
        change.half_done = ours.half_done.take();
        let has_work = change.half_done.is_some() || !change.leftovers.is_empty();
        // Nothing else is to be made of it.
        let was_at = |placing: &Placing| Placing {
            base: placing.now.clone(),
            now: Vec::new(),
        };
        change.placing = is_new.then(|| ours.placing.as_ref().map(was_at).unwrap_or_default());
        has_work.then(|| Write::Put(Box::new(change)))
    }
}
