//! What the catalog answers, and how it stands in rows.

use std::sync::Arc;

use rusqlite::types::Type;
use rusqlite::{OptionalExtension, Row, Transaction, named_params};

use crate::model::{
    Availability, Checksum, ChildCounts, ContentVersion, Entry, Fields, Ino, ItemId, Kind, Name, Timestamp,
};

/// An item of the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its inode.
    pub ino: Ino,
    /// What the store said of it; the parents in the order of their ids.
    pub entry: Arc<Entry>,
    /// When the request that told it began.
    pub stat_at: Timestamp,
}

/// An entry of a folder: what readdir needs, without decoding metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// Its inode.
    pub ino: Ino,
    /// Who it is.
    pub id: ItemId,
    /// File or folder.
    pub kind: Kind,
    /// What the drive shows.
    pub local: Name,
    /// Bytes, where known.
    pub size: Option<u64>,
    /// When it came to be.
    pub created: Option<Timestamp>,
    /// When the store says it last changed.
    pub modified: Option<Timestamp>,
    /// Which bytes it has.
    pub version: ContentVersion,
    /// Whether it can be read.
    pub availability: Availability,
    /// When the request that told it began.
    pub stat_at: Timestamp,
    /// How many names it has in all folders.
    pub links: u32,
}

/// What is known of a folder's listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listing {
    /// When the request began.
    pub at: Timestamp,
    /// Whether the children are all that there were then; `false` once something said that they must be read again.
    pub complete: bool,
}

/// One name of one item.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The folder.
    pub parent: ItemId,
    /// The name in it.
    pub local: Name,
    /// Whose name it is.
    pub id: ItemId,
    /// Its inode.
    pub ino: Ino,
}

/// An item that has another name in the same folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renamed {
    /// Where it is now.
    pub to: Place,
    /// What it was called before.
    pub from: Name,
}

/// How far an item changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Its bytes are others (or may be): version or size moved.
    Content,
    /// Only what is said about it.
    Metadata,
}

/// An item that is no longer as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Who it is.
    pub id: ItemId,
    /// Its inode.
    pub ino: Ino,
    /// How far.
    pub change: Change,
}

/// What a write changed: what must be told to the kernel. Names in *any* folder are in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// New names.
    pub added: Vec<Place>,
    /// Names that are gone; their items too, where it was the last one.
    pub removed: Vec<Place>,
    /// Items under another name.
    pub renamed: Vec<Renamed>,
    /// Items that were known and are different.
    pub changed: Vec<Changed>,
}

impl Diff {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.renamed.is_empty() && self.changed.is_empty()
    }
}

/// A row's small key in `nodes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key(pub i64);

/// The columns that [`node_of`] reads, of `nodes AS n`.
pub(super) const NODE_COLUMNS: &str = "n.id, n.ino, n.kind, n.name, n.size, n.version, n.revision, n.created, n.modified, \
    n.mime, n.checksum, n.availability, n.child_folders, n.child_files, n.fields_complete, n.stat_at, n.n, \
    (SELECT json FROM fields WHERE fields.n = n.n), \
    (SELECT json_group_array(parent) FROM (SELECT parent FROM edges WHERE child = n.n ORDER BY parent))";

pub(super) fn node_of(row: &Row<'_>) -> rusqlite::Result<Node> {
    let counts: (Option<i64>, Option<i64>) = (row.get(12)?, row.get(13)?);
    let fields: Option<String> = row.get(17)?;
    let parents: String = row.get(18)?;
    let entry = Entry {
        id: id_of(row, 0)?,
        kind: kind_of(row, 2)?,
        name: row.get(3)?,
        parents: json(&parents, 18)?,
        size: row.get::<_, Option<i64>>(4)?.map(|size| size as u64),
        version: version_of(row, 5)?,
        revision: row.get(6)?,
        created: time_of(row, 7)?,
        modified: time_of(row, 8)?,
        mime: row.get(9)?,
        checksum: row.get::<_, Option<String>>(10)?.map(Checksum::Md5),
        availability: availability_of(row, 11)?,
        children: match counts {
            (Some(folders), Some(files)) => Some(ChildCounts {
                folders: folders as u64,
                files: files as u64,
            }),
            _ => None,
        },
        fields_complete: row.get(14)?,
        fields: fields.map_or_else(|| Ok(Fields::new()), |text| json(&text, 17))?,
    };
    let stat_at = Timestamp::from_db(row.get(15)?);
    Ok(Node {
        ino: ino_of(row, 1)?,
        entry: Arc::new(entry),
        stat_at,
    })
}

/// The columns that [`child_of`] reads.
pub(super) const CHILD_COLUMNS: &str = "n.ino, n.id, n.kind, e.local, n.size, n.created, n.modified, n.version, n.availability, n.stat_at, \
     (SELECT count(*) FROM edges AS l WHERE l.child = n.n)";

pub(super) fn child_of(row: &Row<'_>) -> rusqlite::Result<Child> {
    Ok(Child {
        ino: ino_of(row, 0)?,
        id: id_of(row, 1)?,
        kind: kind_of(row, 2)?,
        local: local_of(row, 3)?,
        size: row.get::<_, Option<i64>>(4)?.map(|size| size as u64),
        created: time_of(row, 5)?,
        modified: time_of(row, 6)?,
        version: version_of(row, 7)?,
        availability: availability_of(row, 8)?,
        stat_at: Timestamp::from_db(row.get(9)?),
        links: row.get(10)?,
    })
}

pub(super) fn id_of(row: &Row<'_>, column: usize) -> rusqlite::Result<ItemId> {
    row.get_ref(column)?
        .as_str()
        .map(ItemId::new)
        .map_err(|e| unreadable(column, e))
}

pub(super) fn ino_of(row: &Row<'_>, column: usize) -> rusqlite::Result<Ino> {
    row.get::<_, i64>(column).map(|ino| Ino(ino as u64))
}

pub(super) fn local_of(row: &Row<'_>, column: usize) -> rusqlite::Result<Name> {
    let text = row.get_ref(column)?.as_str().map_err(|e| unreadable(column, e))?;
    Name::new(text).map_err(|e| unreadable(column, e))
}

pub(super) fn version_of(row: &Row<'_>, column: usize) -> rusqlite::Result<ContentVersion> {
    row.get_ref(column)?
        .as_str()
        .map(ContentVersion::new)
        .map_err(|e| unreadable(column, e))
}

fn time_of(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_db))
}

fn kind_of(row: &Row<'_>, column: usize) -> rusqlite::Result<Kind> {
    match row.get::<_, i64>(column)? {
        0 => Ok(Kind::File),
        1 => Ok(Kind::Folder),
        other => Err(unreadable(column, format!("no kind of item has the number {other}"))),
    }
}

fn availability_of(row: &Row<'_>, column: usize) -> rusqlite::Result<Availability> {
    match row.get::<_, i64>(column)? {
        0 => Ok(Availability::Ready),
        1 => Ok(Availability::Processing),
        2 => Ok(Availability::Expired),
        other => Err(unreadable(column, format!("no availability has the number {other}"))),
    }
}

fn json<T: serde::de::DeserializeOwned>(text: &str, column: usize) -> rusqlite::Result<T> {
    serde_json::from_str(text).map_err(|e| unreadable(column, e))
}

fn unreadable(column: usize, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, why.into())
}

/// Whether an entry's fields must be written, or what is kept of them is as good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldsWrite {
    Write,
    Keep,
}

/// Writes a node: a new row, or all columns of the one with its id except the inode, which stays.
pub(super) fn save(
    tx: &Transaction<'_>,
    ino: Ino,
    entry: &Entry,
    at: Timestamp,
    fields: FieldsWrite,
) -> rusqlite::Result<Key> {
    let kind = match entry.kind {
        Kind::File => 0,
        Kind::Folder => 1,
    };
    let availability = match entry.availability {
        Availability::Ready => 0,
        Availability::Processing => 1,
        Availability::Expired => 2,
    };
    let checksum = entry.checksum.as_ref().map(|Checksum::Md5(hex)| hex);
    let key: i64 = tx
        .prepare_cached(
            "INSERT INTO nodes (id, ino, kind, name, size, version, revision, created, modified, mime, checksum,
                 availability, child_folders, child_files, fields_complete, stat_at)
             VALUES (:id, :ino, :kind, :name, :size, :version, :revision, :created, :modified, :mime, :checksum,
                 :availability, :child_folders, :child_files, :fields_complete, :stat_at)
             ON CONFLICT (id) DO UPDATE SET kind = :kind, name = :name, size = :size, version = :version,
                 revision = :revision, created = :created, modified = :modified, mime = :mime, checksum = :checksum,
                 availability = :availability, child_folders = :child_folders, child_files = :child_files,
                 fields_complete = :fields_complete, stat_at = :stat_at
             RETURNING n",
        )?
        .query_row(
            named_params! {
                ":id": entry.id.as_str(),
                ":ino": ino.0 as i64,
                ":kind": kind,
                ":name": entry.name,
                ":size": entry.size.map(|size| size as i64),
                ":version": entry.version.as_str(),
                ":revision": entry.revision,
                ":created": entry.created.map(Timestamp::to_db),
                ":modified": entry.modified.map(Timestamp::to_db),
                ":mime": entry.mime,
                ":checksum": checksum,
                ":availability": availability,
                ":child_folders": entry.children.map(|c| c.folders as i64),
                ":child_files": entry.children.map(|c| c.files as i64),
                ":fields_complete": entry.fields_complete,
                ":stat_at": at.to_db(),
            },
            |row| row.get(0),
        )?;
    if fields == FieldsWrite::Write {
        save_fields(tx, Key(key), &entry.fields)?;
    }
    Ok(Key(key))
}

fn save_fields(tx: &Transaction<'_>, key: Key, fields: &Fields) -> rusqlite::Result<()> {
    if fields.is_empty() {
        tx.prepare_cached("DELETE FROM fields WHERE n = ?1")?.execute([key.0])?;
        return Ok(());
    }
    let text = serde_json::to_string(fields).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
    tx.prepare_cached("INSERT INTO fields (n, json) VALUES (?1, ?2) ON CONFLICT (n) DO UPDATE SET json = ?2")?
        .execute((key.0, text))?;
    Ok(())
}

/// A node together with its key, read inside a transaction.
pub(super) fn load(tx: &Transaction<'_>, id: &ItemId) -> rusqlite::Result<Option<(Key, Node)>> {
    tx.prepare_cached(&format!("SELECT {NODE_COLUMNS} FROM nodes AS n WHERE n.id = ?1"))?
        .query_row([id.as_str()], |row| Ok((Key(row.get(16)?), node_of(row)?)))
        .optional()
}
