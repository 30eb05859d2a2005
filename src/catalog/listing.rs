//! A folder's listing, taken whole.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use rusqlite::{OptionalExtension, Transaction};

use super::db::{Catalog, Result};
use super::edges::{self, Item};
use super::entries::{News, removed_at, take_entry};
use super::names::{Binding, Bindings, Slot, assign};
use super::rows::{Diff, Key, Node, Renamed, id_of, ino_of, load, local_of};
use crate::model::{Entry, Ino, ItemId, Name, Timestamp};

impl Catalog {
    /// Takes a whole listing of `parent`, whose request began at `began_at`, in one transaction.
    ///
    /// Children that are not in it leave the folder; items that are in no folder any more are dropped. Names are given by
    /// [`assign`]; non-empty parents of an entry replace the ones that are known (with `parent` always among them), so
    /// names in other folders may change too.
    ///
    /// Of an item that is known and for which `keep` is true (the caller has changes of its own that the listing may not
    /// know yet), nothing that the listing says or leaves out is taken. The same holds for items known from a later time
    /// than `began_at`. A listing older than the last one is not taken at all.
    pub fn put_listing(
        &self,
        parent: &ItemId,
        began_at: Timestamp,
        entries: Vec<(Ino, Entry)>,
        keep: &dyn Fn(&ItemId) -> bool,
        names: &dyn Bindings,
    ) -> Result<Diff> {
        self.write(|tx| {
            let mut diff = Diff::default();
            if is_overtaken(tx, parent, began_at)? {
                return Ok(diff);
            }
            let mut before = members(tx, parent)?;
            let mut late_items = HashSet::new();
            let mut now: HashMap<ItemId, Member> = HashMap::with_capacity(entries.len());
            for (ino, entry) in entries {
                let known = load(tx, &entry.id)?.map(|(_, node)| node);
                let late = known
                    .as_ref()
                    .is_some_and(|node| is_late(node, &entry, began_at, self.lag()));
                let passed_over = match &known {
                    Some(node) => node.stat_at > began_at || late || keep(&entry.id),
                    None => removed_at(tx, &entry.id)?.is_some_and(|gone| gone >= began_at),
                };
                if passed_over {
                    if late {
                        late_items.insert(entry.id);
                    }
                    continue;
                }
                let item = take_entry(tx, known.as_ref(), ino, &entry, began_at, News::Look, &mut diff)?;
                if !entry.parents.is_empty() {
                    edges::settle_parents(tx, names, &item, &entry.parents, Some(parent), &mut diff)?;
                }
                let bound = before.remove(&entry.id).and_then(|member| member.bound);
                // Told twice (pages shift while they are read): the later word counts, the old name stays.
                let bound = bound.or_else(|| now.remove(&entry.id).and_then(|twice| twice.bound));
                now.insert(
                    entry.id,
                    Member {
                        item,
                        bound,
                        stat_at: began_at,
                    },
                );
            }
            let (kept, gone): (Vec<_>, Vec<_>) = before.into_values().partition(|member| {
                let id = &member.item.id;
                member.stat_at > began_at || late_items.contains(id) || keep(id)
            });
            let silent: HashSet<ItemId> = kept.iter().map(|member| member.item.id.clone()).collect();
            let present: Vec<Member> = kept
                .into_iter()
                .map(Member::with_bound_name)
                .chain(now.into_values())
                .collect();
            // Of what the listing says nothing about, the name is no business of its either.
            let is_taken = |id: &ItemId, name: &Name| !silent.contains(id) && names.is_taken(parent, id, name);
            rename_all(tx, parent, (&present, &gone), (names, &is_taken), &mut diff)?;
            edges::drop_orphans(tx, gone.iter().map(|member| member.item.key).collect())?;
            tx.prepare_cached(
                "INSERT INTO listings (folder, listed_at, complete) VALUES (?1, ?2, 1)
                 ON CONFLICT (folder) DO UPDATE SET listed_at = ?2, complete = 1",
            )?
            .execute((parent.as_str(), began_at.to_db()))?;
            Ok(diff)
        })
    }
}

/// Whether a listing tells an older state of an item than the one that is known: its index is late.
fn is_late(known: &Node, told: &Entry, began_at: Timestamp, lag: Duration) -> bool {
    if lag.is_zero() || began_at >= known.stat_at.plus(lag) {
        return false;
    }
    let (Some(then), Some(now)) = (told.modified, known.entry.modified) else {
        return false;
    };
    // What a change of ours was answered with is told before the server's own clock moves.
    let differs = told.name != known.entry.name || told.version != known.entry.version;
    then < now || (then == now && differs)
}

/// A child of the folder that is listed.
struct Member {
    item: Item,
    /// The name it has had so far.
    bound: Option<Binding>,
    stat_at: Timestamp,
}

impl Member {
    /// Of a child that the listing says nothing about, the name stays whatever the store calls it now.
    fn with_bound_name(mut self) -> Self {
        if let Some(bound) = &self.bound {
            self.item.store_name.clone_from(&bound.made_for);
        }
        self
    }
}

fn is_overtaken(tx: &Transaction<'_>, folder: &ItemId, began_at: Timestamp) -> rusqlite::Result<bool> {
    let last: Option<i64> = tx
        .prepare_cached("SELECT listed_at FROM listings WHERE folder = ?1")?
        .query_row([folder.as_str()], |row| row.get(0))
        .optional()?;
    Ok(last.is_some_and(|last| Timestamp::from_db(last) > began_at))
}

fn members(tx: &Transaction<'_>, parent: &ItemId) -> rusqlite::Result<HashMap<ItemId, Member>> {
    tx.prepare_cached(
        "SELECT n.n, n.id, n.ino, n.name, n.stat_at, e.local, e.made_for
         FROM edges AS e JOIN nodes AS n ON n.n = e.child WHERE e.parent = ?1",
    )?
    .query_map([parent.as_str()], |row| {
        let id = id_of(row, 1)?;
        let item = Item {
            key: Key(row.get(0)?),
            id: id.clone(),
            ino: ino_of(row, 2)?,
            store_name: row.get(3)?,
        };
        let bound = Some(Binding {
            local: local_of(row, 5)?,
            made_for: row.get(6)?,
        });
        Ok((
            id,
            Member {
                item,
                bound,
                stat_at: Timestamp::from_db(row.get(4)?),
            },
        ))
    })?
    .collect()
}

/// Gives every child its name. All edges that change are taken out before any is put in, so that names may be swapped.
fn rename_all(
    tx: &Transaction<'_>,
    parent: &ItemId,
    (present, gone): (&[Member], &[Member]),
    (names, is_taken): (&dyn Bindings, &dyn Fn(&ItemId, &Name) -> bool),
    diff: &mut Diff,
) -> rusqlite::Result<()> {
    let slots: Vec<Slot<'_>> = present
        .iter()
        .map(|member| Slot {
            id: &member.item.id,
            store_name: &member.item.store_name,
            forced: names.bound(parent, &member.item.id),
            bound: member.bound.clone(),
            gives_way: names.gives_way(parent, &member.item.id),
        })
        .collect();
    let locals = assign(&slots, is_taken);
    let mut changed: Vec<(&Member, Name)> = Vec::new();
    for (member, local) in present.iter().zip(locals) {
        let same = member
            .bound
            .as_ref()
            .is_some_and(|b| b.local == local && b.made_for == member.item.store_name);
        if !same {
            changed.push((member, local));
        }
    }
    for member in gone.iter().chain(changed.iter().map(|(member, _)| *member)) {
        edges::delete(tx, parent, member.item.key)?;
    }
    for member in gone {
        if let Some(bound) = &member.bound {
            diff.removed.push(member.item.place(parent, bound.local.clone()));
        }
    }
    // In name order: the table is clustered by it, and neighbours are written together.
    changed.sort_by(|(_, a), (_, b)| a.cmp(b));
    for (member, local) in changed {
        edges::insert(tx, parent, &member.item, &local)?;
        let place = member.item.place(parent, local);
        match &member.bound {
            Some(bound) if bound.local == place.local => {}
            Some(bound) => diff.renamed.push(Renamed {
                to: place,
                from: bound.local.clone(),
            }),
            None => diff.added.push(place),
        }
    }
    Ok(())
}
