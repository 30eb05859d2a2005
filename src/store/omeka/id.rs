//! The four kinds of ids.

use crate::model::ItemId;
use crate::store::{ErrorKind, Result, StoreError};

/// What an [`ItemId`] of this store names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Id {
    /// The root.
    Site,
    /// A folder of the top level.
    Collection(u64),
    /// A folder that holds files.
    Item(u64),
    /// A file.
    File(u64),
}

impl Id {
    /// Reads an id that this store gave out.
    pub(super) fn parse(id: &ItemId) -> Result<Self> {
        let number = |namespace: &str| id.key_in(namespace).and_then(|key| key.parse().ok());
        if id.as_str() == "site:" {
            return Ok(Id::Site);
        }
        number("collection")
            .map(Id::Collection)
            .or_else(|| number("item").map(Id::Item))
            .or_else(|| number("file").map(Id::File))
            .ok_or_else(|| StoreError::new(ErrorKind::Invalid, "read an id", id.as_str()))
    }

    /// As the rest of the program knows it.
    pub(super) fn to_item_id(self) -> ItemId {
        match self {
            Id::Site => ItemId::new("site:"),
            Id::Collection(id) => ItemId::of("collection", id),
            Id::Item(id) => ItemId::of("item", id),
            Id::File(id) => ItemId::of("file", id),
        }
    }

    /// The API's word for this kind of record and the record's number.
    pub(super) fn resource(self) -> (Resource, u64) {
        match self {
            Id::Site => (Resource::Site, 0),
            Id::Collection(id) => (Resource::Collections, id),
            Id::Item(id) => (Resource::Items, id),
            Id::File(id) => (Resource::Files, id),
        }
    }
}

/// A resource of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resource {
    Site,
    Collections,
    Items,
    Files,
    Elements,
    ElementSets,
    ItemTypes,
}

impl Resource {
    /// Its path below the API's address.
    pub(super) fn path(self) -> &'static str {
        match self {
            Resource::Site => "site",
            Resource::Collections => "collections",
            Resource::Items => "items",
            Resource::Files => "files",
            Resource::Elements => "elements",
            Resource::ElementSets => "element_sets",
            Resource::ItemTypes => "item_types",
        }
    }

    /// The names of its calls in counters and logs: list, get, post, put, delete.
    pub(super) fn routes(self) -> [&'static str; 5] {
        match self {
            Resource::Site => ["GET /site", "GET /site", "POST /site", "PUT /site", "DELETE /site"],
            Resource::Collections => [
                "GET /collections",
                "GET /collections/{id}",
                "POST /collections",
                "PUT /collections/{id}",
                "DELETE /collections/{id}",
            ],
            Resource::Items => [
                "GET /items",
                "GET /items/{id}",
                "POST /items",
                "PUT /items/{id}",
                "DELETE /items/{id}",
            ],
            Resource::Files => [
                "GET /files",
                "GET /files/{id}",
                "POST /files",
                "PUT /files/{id}",
                "DELETE /files/{id}",
            ],
            Resource::Elements => ["GET /elements"; 5],
            Resource::ElementSets => ["GET /element_sets"; 5],
            Resource::ItemTypes => ["GET /item_types"; 5],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_the_way_out_and_back() {
        for id in [Id::Site, Id::Collection(3), Id::Item(7), Id::File(435)] {
            assert_eq!(Id::parse(&id.to_item_id()).ok(), Some(id));
        }
        for foreign in ["item:", "item:x", "file:-1", "thing:3", ""] {
            assert!(Id::parse(&ItemId::new(foreign)).is_err(), "{foreign}");
        }
    }
}
