//! Local names: which name of a folder belongs to which of its children.
//!
//! A store may call two items of one folder the same, or call one what no directory entry can be called. Each item still
//! gets one name, and keeps it: a local name stays bound to its id until that id leaves the folder or the *store's* name
//! of it changes.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

use crate::model::{ItemId, Name};

/// A local name and the store's name it was chosen for: when the store's name differs, the binding is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// What the drive shows.
    pub local: Name,
    /// What the store called the item when the binding was made.
    pub made_for: String,
}

impl Binding {
    /// The local name, as long as the store still calls the item what it was made for.
    pub fn local_for(&self, store_name: &str) -> Option<Name> {
        (self.made_for == store_name).then(|| self.local.clone())
    }
}

/// Names that the user chose and the store spelled differently; the caller keeps them where nothing is lost.
pub trait Bindings {
    /// The name that `child` must have in `parent`, if the caller holds one.
    fn bound(&self, parent: &ItemId, child: &ItemId) -> Option<Binding>;

    /// Whether something that the catalog does not know (a change that is still pending) has this name in `parent`, and
    /// is not `child` itself.
    fn is_taken(&self, parent: &ItemId, child: &ItemId, name: &Name) -> bool {
        let (_, _, _) = (parent, child, name);
        false
    }

    /// Whether the caller shows `child` elsewhere than the store has it, so that any other child of `parent` may have its
    /// name.
    fn gives_way(&self, parent: &ItemId, child: &ItemId) -> bool {
        let (_, _) = (parent, child);
        false
    }
}

/// No names of the user's own.
pub struct NoBindings;

impl Bindings for NoBindings {
    fn bound(&self, _: &ItemId, _: &ItemId) -> Option<Binding> {
        None
    }
}

impl Bindings for HashMap<(ItemId, ItemId), Binding> {
    fn bound(&self, parent: &ItemId, child: &ItemId) -> Option<Binding> {
        self.get(&(parent.clone(), child.clone())).cloned()
    }
}

/// A child that needs a name.
#[derive(Clone, Debug)]
pub struct Slot<'a> {
    /// Who it is.
    pub id: &'a ItemId,
    /// What the store calls it.
    pub store_name: &'a str,
    /// The user's own name for it.
    pub forced: Option<Binding>,
    /// The name it has had so far.
    pub bound: Option<Binding>,
    /// Whether every other child's claim comes first.
    pub gives_way: bool,
}

/// Names for all children of one folder, in the order of `slots`: valid, distinct, and independent of that order.
///
/// The user's own names come first, then the names that items already have, then the store's names, the oldest id first;
/// who comes too late gets its key before the extension. `is_taken` tells names that are not free for an item.
pub fn assign(slots: &[Slot<'_>], is_taken: &dyn Fn(&ItemId, &Name) -> bool) -> Vec<Name> {
    let mut order: Vec<usize> = (0..slots.len()).collect();
    order.sort_by(|&a, &b| by_age(slots[a].id, slots[b].id));
    let mut names: Vec<Option<Name>> = vec![None; slots.len()];
    let mut taken: HashSet<Name> = HashSet::with_capacity(slots.len());
    let (last, first): (Vec<usize>, Vec<usize>) = order.iter().partition(|i| slots[**i].gives_way);
    for group in [first, last] {
        for claim in [forced_claim, bound_claim, natural_claim] {
            for &i in &group {
                if names[i].is_none()
                    && let Some(name) = claim(&slots[i])
                    && !is_taken(slots[i].id, &name)
                    && taken.insert(name.clone())
                {
                    names[i] = Some(name);
                }
            }
        }
    }
    for &i in &order {
        if names[i].is_none() {
            names[i] = candidates(slots[i].id, slots[i].store_name).find(|name| {
                let id = slots[i].id;
                !is_taken(id, name) && taken.insert(name.clone())
            });
        }
    }
    names.into_iter().flatten().collect()
}

/// Names for an item from the best to the worst: the store's, then with the key, then with the whole id, then counted
/// without end.
pub fn candidates(id: &ItemId, store_name: &str) -> impl Iterator<Item = Name> {
    let natural = Name::from_store(store_name);
    let key = Name::from_store(id.key());
    let whole = Name::from_store(id.as_str());
    let tagged = [
        natural.clone(),
        natural.tagged(key.as_str()),
        natural.tagged(whole.as_str()),
    ];
    tagged
        .into_iter()
        .chain((2u64..).map(move |n| natural.tagged(&format!("{n}"))))
}

fn forced_claim(slot: &Slot<'_>) -> Option<Name> {
    slot.forced
        .as_ref()
        .and_then(|binding| binding.local_for(slot.store_name))
}

fn bound_claim(slot: &Slot<'_>) -> Option<Name> {
    slot.bound
        .as_ref()
        .and_then(|binding| binding.local_for(slot.store_name))
}

fn natural_claim(slot: &Slot<'_>) -> Option<Name> {
    Some(Name::from_store(slot.store_name))
}

/// Orders ids by age, as far as keys tell it: numbers inside them count as numbers.
pub fn by_age(a: &ItemId, b: &ItemId) -> Ordering {
    numeric_aware(a.key(), b.key()).then_with(|| a.as_str().cmp(b.as_str()))
}

fn numeric_aware(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    while !a.is_empty() && !b.is_empty() {
        let (digits_a, digits_b) = (digits(a), digits(b));
        if digits_a > 0 && digits_b > 0 {
            let (x, y) = (
                a[..digits_a].trim_start_matches('0'),
                b[..digits_b].trim_start_matches('0'),
            );
            let order = x.len().cmp(&y.len()).then_with(|| x.cmp(y));
            if order.is_ne() {
                return order;
            }
            (a, b) = (&a[digits_a..], &b[digits_b..]);
            continue;
        }
        let (mut left, mut right) = (a.chars(), b.chars());
        let order = left.next().cmp(&right.next());
        if order.is_ne() {
            return order;
        }
        (a, b) = (left.as_str(), right.as_str());
    }
    a.len().cmp(&b.len())
}

fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn slot<'a>(id: &'a ItemId, store_name: &'a str) -> Slot<'a> {
        Slot {
            id,
            store_name,
            gives_way: false,
            forced: None,
            bound: None,
        }
    }

    fn binding(local: &str, made_for: &str) -> Option<Binding> {
        Some(Binding {
            local: Name::new(local).expect("valid"),
            made_for: made_for.into(),
        })
    }

    fn names(slots: &[Slot<'_>]) -> Vec<String> {
        assign(slots, &|_, _| false)
            .iter()
            .map(|n| n.as_str().to_owned())
            .collect()
    }

    #[test]
    fn of_two_equal_names_the_older_id_keeps_it() {
        let (old, new) = (ItemId::of("file", 99), ItemId::of("file", 100));
        assert_eq!(
            names(&[slot(&new, "hero.jpg"), slot(&old, "hero.jpg")]),
            ["hero (100).jpg", "hero.jpg"]
        );
    }

    #[test]
    fn of_two_equal_names_who_gives_way_loses_it() {
        let (old, new) = (ItemId::of("file", 99), ItemId::of("file", 100));
        let mut leaves = slot(&old, "hero.jpg");
        leaves.gives_way = true;
        assert_eq!(
            names(&[leaves.clone(), slot(&new, "hero.jpg")]),
            ["hero (99).jpg", "hero.jpg"]
        );
        leaves.bound = binding("hero.jpg", "hero.jpg");
        assert_eq!(names(&[leaves, slot(&new, "hero.jpg")]), ["hero (99).jpg", "hero.jpg"]);
    }

    #[test]
    fn a_shown_name_is_not_taken_over_by_an_older_id() {
        let (old, new) = (ItemId::of("file", 99), ItemId::of("file", 100));
        let mut shown = slot(&new, "hero.jpg");
        shown.bound = binding("hero.jpg", "hero.jpg");
        assert_eq!(names(&[slot(&old, "hero.jpg"), shown]), ["hero (99).jpg", "hero.jpg"]);
    }

    #[test]
    fn a_tagged_name_stays_when_the_namesake_has_left() {
        let id = ItemId::of("file", 100);
        let mut left = slot(&id, "hero.jpg");
        left.bound = binding("hero (100).jpg", "hero.jpg");
        assert_eq!(names(&[left]), ["hero (100).jpg"]);
    }

    #[test]
    fn a_new_store_name_ends_the_binding() {
        let id = ItemId::of("file", 7);
        let mut renamed = slot(&id, "new.jpg");
        renamed.bound = binding("old.jpg", "old.jpg");
        renamed.forced = binding("mine.jpg", "old.jpg");
        assert_eq!(names(&[renamed]), ["new.jpg"]);
    }

    #[test]
    fn the_users_name_wins_over_a_shown_one() {
        let (a, b) = (ItemId::of("file", 1), ItemId::of("file", 2));
        let mut shown = slot(&a, "x y.txt");
        shown.bound = binding("x y.txt", "x y.txt");
        let mut mine = slot(&b, "x-y.txt");
        mine.forced = binding("x y.txt", "x-y.txt");
        assert_eq!(names(&[shown, mine]), ["x y (1).txt", "x y.txt"]);
    }

    #[test]
    fn a_name_that_something_unknown_to_the_catalog_has_is_not_given_again() {
        let (mine, theirs) = (ItemId::of("file", 1), ItemId::of("file", 2));
        let slots = [slot(&mine, "a.txt"), slot(&theirs, "b.txt")];
        let pending = |id: &ItemId, name: &Name| name.as_str() == "b.txt" && *id != mine;
        assert_eq!(
            assign(&slots, &pending).iter().map(Name::as_str).collect::<Vec<_>>(),
            ["a.txt", "b (2).txt"]
        );
    }

    #[test]
    fn ids_of_two_namespaces_with_one_key_get_two_names() {
        let ids = [ItemId::of("file", 0), ItemId::of("file", 1), ItemId::of("folder", 1)];
        let slots: Vec<_> = ids.iter().map(|id| slot(id, "a")).collect();
        assert_eq!(names(&slots), ["a", "a (1)", "a (folder:1)"]);
    }

    #[test]
    fn a_natural_name_goes_before_another_items_tagged_one() {
        let ids = [ItemId::of("file", 1), ItemId::of("file", 2), ItemId::of("file", 3)];
        assert_eq!(
            names(&[slot(&ids[0], "a"), slot(&ids[1], "a"), slot(&ids[2], "a (2)")]),
            ["a", "a (file:2)", "a (2)"]
        );
    }

    #[test]
    fn keys_with_slashes_make_valid_tags() {
        let ids = [ItemId::new("file:a/x"), ItemId::new("file:b/x")];
        assert_eq!(
            names(&[slot(&ids[0], "x"), slot(&ids[1], "x")]),
            ["x", "x (b\u{2215}x)"]
        );
    }

    #[test]
    fn age_reads_numbers_as_numbers() {
        let mut ids = [
            ItemId::of("f", "10"),
            ItemId::of("f", "9"),
            ItemId::of("f", "a10"),
            ItemId::of("f", "a9"),
        ];
        ids.sort_by(by_age);
        assert_eq!(ids.map(|id| id.key().to_owned()), ["9", "10", "a9", "a10"]);
    }

    fn folders() -> impl Strategy<Value = Vec<(u8, String)>> {
        proptest::collection::vec(
            (any::<u8>(), prop_oneof!["[ab]{0,2}", "a \\([0-9]{1,2}\\)", "..?"]),
            0..24,
        )
    }

    proptest! {
        #[test]
        fn names_are_valid_distinct_stable_and_independent_of_order(folder in folders(), later in folders()) {
            let unique: HashMap<u8, String> = folder.into_iter().collect();
            let ids: Vec<(ItemId, String)> =
                unique.into_iter().map(|(n, name)| (ItemId::of(if n % 2 == 0 { "file" } else { "folder" }, n / 2), name)).collect();
            let slots: Vec<_> = ids.iter().map(|(id, name)| slot(id, name)).collect();
            let first = assign(&slots, &|_, _| false);
            prop_assert_eq!(first.len(), slots.len());
            prop_assert!(first.iter().all(|n| Name::new(n.as_str()).is_ok()));
            prop_assert_eq!(first.iter().collect::<HashSet<_>>().len(), slots.len());

            let mut backwards: Vec<_> = slots.clone();
            backwards.reverse();
            let mut again = assign(&backwards, &|_, _| false);
            again.reverse();
            prop_assert_eq!(&again, &first);

            // Whoever comes later, the names that are shown stay.
            let newcomers: HashMap<u8, String> = later.into_iter().collect();
            let newcomers: Vec<_> = newcomers.into_iter().map(|(n, name)| (ItemId::of("late", n), name)).collect();
            let mut all: Vec<_> = slots
                .into_iter()
                .zip(&first)
                .map(|(s, local)| Slot { bound: Some(Binding { local: local.clone(), made_for: s.store_name.into() }), ..s })
                .collect();
            all.extend(newcomers.iter().map(|(id, name)| slot(id, name)));
            let second = assign(&all, &|_, _| false);
            prop_assert_eq!(&second[..first.len()], &first[..]);
            prop_assert_eq!(second.iter().collect::<HashSet<_>>().len(), second.len());
        }
    }
}
