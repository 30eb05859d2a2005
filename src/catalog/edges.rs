//! Who is in which folder under which name, one edge at a time.

use rusqlite::{OptionalExtension, Transaction};

use super::names::{Binding, Bindings, candidates};
use super::rows::{Diff, Key, Place, Renamed, id_of, ino_of, local_of};
use crate::model::{Ino, ItemId, Name};

/// An item as edges need it.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub key: Key,
    pub id: ItemId,
    pub ino: Ino,
    pub store_name: String,
}

impl Item {
    pub(super) fn place(&self, parent: &ItemId, local: Name) -> Place {
        Place {
            parent: parent.clone(),
            local,
            id: self.id.clone(),
            ino: self.ino,
        }
    }
}

/// Puts `item` into `parent` under the name that is right for it, or leaves it there under the one that is bound.
pub(super) fn place(
    tx: &Transaction<'_>,
    names: &dyn Bindings,
    parent: &ItemId,
    item: &Item,
    diff: &mut Diff,
) -> rusqlite::Result<()> {
    let bound = binding(tx, parent, item.key)?;
    let forced = names
        .bound(parent, &item.id)
        .and_then(|forced| forced.local_for(&item.store_name));
    if let Some(local) = forced {
        return take(tx, parent, item, bound.map(|b| b.local), local, diff);
    }
    if bound
        .as_ref()
        .and_then(|bound| bound.local_for(&item.store_name))
        .is_some()
    {
        return Ok(());
    }
    let natural = Name::from_store(&item.store_name);
    let gives_way = |other: Item| names.gives_way(parent, &other.id);
    let local = match owner(tx, parent, &natural)?.is_some_and(gives_way) && !names.gives_way(parent, &item.id) {
        true => natural,
        false => free_name(tx, parent, item)?,
    };
    take(tx, parent, item, bound.map(|b| b.local), local, diff)
}

/// Gives `item` the name `local` in `parent`; whoever had it gets another one.
pub(super) fn take(
    tx: &Transaction<'_>,
    parent: &ItemId,
    item: &Item,
    before: Option<Name>,
    local: Name,
    diff: &mut Diff,
) -> rusqlite::Result<()> {
    delete(tx, parent, item.key)?;
    let displaced = owner(tx, parent, &local)?;
    if let Some(other) = &displaced {
        delete(tx, parent, other.key)?;
    }
    insert(tx, parent, item, &local)?;
    if let Some(other) = displaced {
        let elsewhere = free_name(tx, parent, &other)?;
        insert(tx, parent, &other, &elsewhere)?;
        diff.renamed.push(Renamed {
            to: other.place(parent, elsewhere),
            from: local.clone(),
        });
    }
    match before {
        Some(before) if before == local => {}
        Some(from) => diff.renamed.push(Renamed {
            to: item.place(parent, local),
            from,
        }),
        None => diff.added.push(item.place(parent, local)),
    }
    Ok(())
}

/// The best name for `item` that nobody else has in `parent`.
fn free_name(tx: &Transaction<'_>, parent: &ItemId, item: &Item) -> rusqlite::Result<Name> {
    for name in candidates(&item.id, &item.store_name) {
        if owner(tx, parent, &name)?.is_none_or(|other| other.key == item.key) {
            return Ok(name);
        }
    }
    // Candidates are counted without end, and a folder's names are not.
    Err(rusqlite::Error::QueryReturnedNoRows)
}

/// Who is called `local` in `parent`.
fn owner(tx: &Transaction<'_>, parent: &ItemId, local: &Name) -> rusqlite::Result<Option<Item>> {
    tx.prepare_cached(
        "SELECT n.n, n.id, n.ino, n.name FROM edges AS e JOIN nodes AS n ON n.n = e.child
         WHERE e.parent = ?1 AND e.local = ?2",
    )?
    .query_row((parent.as_str(), local.as_str()), |row| {
        Ok(Item {
            key: Key(row.get(0)?),
            id: id_of(row, 1)?,
            ino: ino_of(row, 2)?,
            store_name: row.get(3)?,
        })
    })
    .optional()
}

/// The name that an item has in a folder.
pub(super) fn binding(tx: &Transaction<'_>, parent: &ItemId, key: Key) -> rusqlite::Result<Option<Binding>> {
    tx.prepare_cached("SELECT local, made_for FROM edges WHERE child = ?1 AND parent = ?2")?
        .query_row((key.0, parent.as_str()), |row| {
            Ok(Binding {
                local: local_of(row, 0)?,
                made_for: row.get(1)?,
            })
        })
        .optional()
}

/// All folders that an item is in.
pub(super) fn parents(tx: &Transaction<'_>, key: Key) -> rusqlite::Result<Vec<(ItemId, Name)>> {
    tx.prepare_cached("SELECT parent, local FROM edges WHERE child = ?1")?
        .query_map([key.0], |row| Ok((id_of(row, 0)?, local_of(row, 1)?)))?
        .collect()
}

pub(super) fn insert(tx: &Transaction<'_>, parent: &ItemId, item: &Item, local: &Name) -> rusqlite::Result<()> {
    tx.prepare_cached("INSERT INTO edges (parent, local, child, made_for) VALUES (?1, ?2, ?3, ?4)")?
        .execute((parent.as_str(), local.as_str(), item.key.0, &item.store_name))?;
    Ok(())
}

pub(super) fn delete(tx: &Transaction<'_>, parent: &ItemId, key: Key) -> rusqlite::Result<()> {
    tx.prepare_cached("DELETE FROM edges WHERE child = ?1 AND parent = ?2")?
        .execute((key.0, parent.as_str()))?;
    Ok(())
}

/// Makes the told parents the only ones; `also` is one more that is known to be right.
pub(super) fn settle_parents(
    tx: &Transaction<'_>,
    names: &dyn Bindings,
    item: &Item,
    told: &[ItemId],
    also: Option<&ItemId>,
    diff: &mut Diff,
) -> rusqlite::Result<()> {
    for (parent, local) in parents(tx, item.key)? {
        if !told.contains(&parent) && also != Some(&parent) {
            delete(tx, &parent, item.key)?;
            diff.removed.push(item.place(&parent, local));
        }
    }
    for parent in told.iter().filter(|parent| also != Some(parent)) {
        place(tx, names, parent, item, diff)?;
    }
    Ok(())
}

/// Drops those of `keys` that are in no folder any more, and with a folder everything that was only in it. The root is
/// never in one, and stays.
pub(super) fn drop_orphans(tx: &Transaction<'_>, mut keys: Vec<Key>) -> rusqlite::Result<()> {
    while let Some(key) = keys.pop() {
        let placed: bool = tx
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM edges WHERE child = ?1)
                 OR EXISTS (SELECT 1 FROM nodes WHERE n = ?1 AND ino = ?2)",
            )?
            .query_row([key.0, Ino::ROOT.0 as i64], |row| row.get(0))?;
        if !placed {
            keys.extend(drop_node(tx, key)?);
        }
    }
    Ok(())
}

/// Drops a node and all its edges; answers those who were in it.
pub(super) fn drop_node(tx: &Transaction<'_>, key: Key) -> rusqlite::Result<Vec<Key>> {
    let id: Option<String> = tx
        .prepare_cached("DELETE FROM nodes WHERE n = ?1 RETURNING id")?
        .query_row([key.0], |row| row.get(0))
        .optional()?;
    let Some(id) = id else { return Ok(Vec::new()) };
    tx.prepare_cached("DELETE FROM fields WHERE n = ?1")?.execute([key.0])?;
    tx.prepare_cached("DELETE FROM edges WHERE child = ?1")?
        .execute([key.0])?;
    tx.prepare_cached("DELETE FROM listings WHERE folder = ?1")?
        .execute([&id])?;
    tx.prepare_cached("DELETE FROM edges WHERE parent = ?1 RETURNING child")?
        .query_map([&id], |row| row.get(0).map(Key))?
        .collect()
}
