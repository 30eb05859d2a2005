//! Searches, as the lists' own filters.

use crate::store::{ErrorKind, Query, Result, StoreError};

use super::fields::Meaning;
use super::id::{Id, Resource};
use super::pages::{Params, param};
use super::vocabulary::Words;

/// Filters of items.
const ITEM_FILTERS: &[&str] = &[
    "collection",
    "item_type",
    "featured",
    "public",
    "added_since",
    "modified_since",
    "owner",
    "tags",
    "excludeTags",
    "hasImage",
    "range",
];

/// The site's documents know it, its releases do not.
const LARGER_THAN: &str = "size_greater_than";

/// Filters of files.
const FILE_FILTERS: &[&str] = &[
    "item",
    "order",
    LARGER_THAN,
    "has_derivative_image",
    "mime_type",
    "added_since",
    "modified_since",
];

/// Filters of collections.
const COLLECTION_FILTERS: &[&str] = &["public", "featured", "added_since", "modified_since", "owner"];

/// A search as one list to read.
pub(super) struct Plan {
    pub(super) resource: Resource,
    pub(super) params: Params,
    /// Words that must be in the name, lower-case: lists other than that of items cannot search for them.
    pub(super) name_words: Vec<String>,
    /// Only files of the items of this collection: no list can be asked for them.
    pub(super) within_collection: Option<u64>,
    /// Only files of more bytes: the site takes this filter and does nothing.
    pub(super) larger_than: Option<u64>,
    /// Nothing of this kind can be there.
    pub(super) is_empty: bool,
}

fn invalid(filter: &str, why: &'static str) -> StoreError {
    StoreError::new(ErrorKind::Invalid, "search", filter).because(why)
}

/// Names in a query that the vocabulary must know.
pub(super) fn names_to_know(query: &Query) -> Vec<&str> {
    query
        .filters
        .iter()
        .map(|(name, value)| if name == "item_type" { value } else { name })
        .map(String::as_str)
        .collect()
}

/// Decides which list answers `query`, and how it is asked. `kind=items|files|collections` chooses; otherwise the filters and
/// the scope do.
pub(super) fn plan(query: &Query, words: &Words) -> Result<Plan> {
    check(query)?;
    let resource = resource(query)?;
    let mut params = Params::new();
    let (mut advanced, mut larger_than) = (0, None);
    let mut all_words = vec![query.words.as_str()];
    for (name, value) in &query.filters {
        let name = alias(name);
        match Meaning::of(name) {
            _ if name == "kind" => {}
            _ if name == "search" => all_words.push(value),
            _ if name == LARGER_THAN => larger_than = value.parse().ok(),
            Some(Meaning::Element(field)) => {
                let id = words
                    .element(field)
                    .ok_or_else(|| invalid(name, "the site has no such element"))?;
                for (part, value) in [
                    ("element_id", id.to_string()),
                    ("type", "contains".to_owned()),
                    ("terms", value.clone()),
                ] {
                    params.push((format!("advanced[{advanced}][{part}]"), value));
                }
                advanced += 1;
            }
            _ => params.push(param(name, filter_value(name, value, words)?)),
        }
    }
    let (within_collection, is_empty) = scope(query, resource, &mut params)?;
    let all_words = all_words.join(" ");
    let all_words = all_words.trim();
    let name_words = if resource == Resource::Items {
        if !all_words.is_empty() {
            params.push(param("search", all_words));
        }
        Vec::new()
    } else {
        all_words.to_lowercase().split_whitespace().map(str::to_owned).collect()
    };
    Ok(Plan {
        resource,
        params,
        name_words,
        within_collection,
        larger_than,
        is_empty,
    })
}

/// Whether the list that answers `query` has its filters, as far as that is known without asking.
pub(super) fn check(query: &Query) -> Result<()> {
    let resource = resource(query)?;
    for (name, value) in &query.filters {
        let name = alias(name);
        match Meaning::of(name) {
            _ if name == "kind" || name == "search" => {}
            Some(Meaning::Element(_)) if resource != Resource::Items => {
                return Err(invalid(name, "only items can be searched by element"));
            }
            Some(Meaning::Element(_)) => {}
            _ if !allowed(resource).contains(&name) => return Err(invalid(name, "the site cannot filter by it")),
            _ if name == LARGER_THAN && value.parse::<u64>().is_err() => {
                return Err(invalid(value, "size_greater_than is a number of bytes"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Names that people use beside the API's.
fn alias(name: &str) -> &str {
    match name {
        "tag" => "tags",
        "type" => "item_type",
        "mime" => "mime_type",
        _ => name,
    }
}

fn filter_value(name: &str, value: &str, words: &Words) -> Result<String> {
    match name {
        "item_type" if value.parse::<u64>().is_err() => words
            .item_type(value)
            .map(|id| id.to_string())
            .ok_or_else(|| invalid(value, "the site has no such item type")),
        _ => Ok(value.to_owned()),
    }
}

fn allowed(resource: Resource) -> &'static [&'static str] {
    match resource {
        Resource::Items => ITEM_FILTERS,
        Resource::Files => FILE_FILTERS,
        Resource::Collections => COLLECTION_FILTERS,
        Resource::Site | Resource::Elements | Resource::ElementSets | Resource::ItemTypes => &[],
    }
}

fn resource(query: &Query) -> Result<Resource> {
    let kind = query
        .filters
        .iter()
        .find(|(name, _)| name == "kind")
        .map(|(_, kind)| kind.as_str());
    match kind {
        Some("items" | "item") => return Ok(Resource::Items),
        Some("files" | "file") => return Ok(Resource::Files),
        Some("collections" | "collection") => return Ok(Resource::Collections),
        Some(_) => return Err(invalid("kind", "items, files or collections")),
        None => {}
    }
    let in_item = query
        .scope
        .as_ref()
        .is_some_and(|scope| matches!(Id::parse(scope), Ok(Id::Item(_))));
    let by_file = query.filters.iter().any(|(name, _)| {
        let name = alias(name);
        FILE_FILTERS.contains(&name) && !ITEM_FILTERS.contains(&name)
    });
    Ok(if in_item || by_file {
        Resource::Files
    } else {
        Resource::Items
    })
}

/// Narrows the list to the folder that the search was asked in. Answers the collection that only a choice among the files
/// can keep to, and whether nothing of the kind can be there.
fn scope(query: &Query, resource: Resource, params: &mut Params) -> Result<(Option<u64>, bool)> {
    let Some(scope) = &query.scope else {
        return Ok((None, false));
    };
    match (Id::parse(scope)?, resource) {
        (Id::Collection(id), Resource::Items) => params.push(param("collection", id)),
        (Id::Item(id), Resource::Files) => params.push(param("item", id)),
        (Id::Site, Resource::Items) if !query.recursive => params.push(param("collection", 0)),
        // Files lie in items, never in the site or a collection itself.
        (Id::Site | Id::Collection(_), Resource::Files) if !query.recursive => return Ok((None, true)),
        (Id::Collection(id), Resource::Files) => return Ok((Some(id), false)),
        (Id::Site, _) => {}
        (Id::Collection(_) | Id::Item(_) | Id::File(_), _) => {
            return Err(invalid(
                scope.as_str(),
                "the site cannot search this kind of record there",
            ));
        }
    }
    Ok((None, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(words: &str, filters: &[(&str, &str)], scope: Option<Id>) -> Result<(Resource, Vec<(String, String)>)> {
        let query = Query {
            words: words.to_owned(),
            filters: filters
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect(),
            scope: scope.map(Id::to_item_id),
            recursive: true,
        };
        plan(&query, &Words::default()).map(|plan| (plan.resource, plan.params))
    }

    #[test]
    fn the_filters_choose_the_list() {
        let (resource, params) = planned("old ship", &[("tag", "sea")], Some(Id::Collection(3))).expect("a plan");
        assert_eq!(resource, Resource::Items);
        assert_eq!(
            params,
            [
                param("tags", "sea"),
                param("collection", 3),
                param("search", "old ship")
            ]
        );
        let (resource, params) = planned("", &[("mime_type", "image/png")], None).expect("a plan");
        assert_eq!(
            (resource, params),
            (Resource::Files, vec![param("mime_type", "image/png")])
        );
        assert!(planned("", &[("size_greater_than", "large")], None).is_err());
        let (_, params) = planned("", &[("search", "ship")], None).expect("a plan");
        assert_eq!(params, [param("search", "ship")]);
        assert!(planned("", &[("tags", "sea"), ("kind", "files")], None).is_err());
    }
}
