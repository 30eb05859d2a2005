use assetfs::model::{Access, Entry, FieldChanges, Kind, Value};

use crate::fixture::{Fixture, TextField};
use crate::support::{create, field};

async fn made(f: &dyn Fixture, name: &str) -> Entry {
    create(&f.store(), &f.rooms()[0], name, b"content")
        .await
        .expect("a new file")
}

/// What the store says afresh of the text field.
async fn told(f: &dyn Fixture, entry: &Entry) -> Vec<String> {
    let fresh = f.store().stat(&entry.id).await.expect("a stat");
    let field = fresh.fields.get(f.text_field().name());
    field
        .map(|field| field.values.iter().map(|value| value.text.clone()).collect())
        .unwrap_or_default()
}

async fn set(f: &dyn Fixture, entry: &Entry, values: &[&str]) -> Entry {
    let changes = field(f.text_field().name(), values);
    f.store()
        .check_fields(entry, &changes)
        .await
        .expect("a field that takes any text");
    let answered = f
        .store()
        .set_fields(std::slice::from_ref(entry), &changes)
        .await
        .expect("a change");
    let [answered] = &answered[..] else {
        panic!("one entry for one item: {answered:?}")
    };
    assert_eq!(answered.id, entry.id);
    answered.clone()
}

pub async fn a_field_is_set_changed_and_cleared(f: &dyn Fixture) {
    let entry = made(f, "a.txt").await;
    assert_eq!(told(f, &entry).await, [""; 0]);
    let first = set(f, &entry, &["first"]).await;
    assert_eq!(told(f, &entry).await, ["first"]);
    let known = first.fields.get(f.text_field().name()).expect("the answer tells it");
    assert_eq!(
        (known.values.as_slice(), known.access),
        (&[Value::from("first")][..], Access::ReadWrite)
    );
    let second = set(f, &first, &["second"]).await;
    assert_eq!(told(f, &entry).await, ["second"]);
    set(f, &second, &[]).await;
    assert_eq!(told(f, &entry).await, [""; 0]);
}

pub async fn line_feeds_and_backslashes_survive(f: &dyn Fixture) {
    let entry = made(f, "a.txt").await;
    for text in [
        "two\nlines",
        "C:\\temp\\new",
        "a \\n that is no line feed",
        "\"quoted\" & <b>not bold</b>",
        "ümläut",
    ] {
        set(f, &entry, &[text]).await;
        let now = told(f, &entry).await;
        match f.text_field() {
            // Where values are lines, a line feed is the border of two.
            TextField::Joined(_) => assert_eq!(now.join("\n"), text),
            TextField::Single(_) | TextField::Several(_) => assert_eq!(now, [text]),
        }
    }
}

pub async fn several_values_keep_their_order(f: &dyn Fixture) {
    let entry = made(f, "a.txt").await;
    match f.text_field() {
        TextField::Several(_) => {
            set(f, &entry, &["zebra", "apple", "two\nlines"]).await;
            assert_eq!(told(f, &entry).await, ["zebra", "apple", "two\nlines"]);
            set(f, &entry, &["apple"]).await;
            assert_eq!(told(f, &entry).await, ["apple"]);
        }
        TextField::Joined(_) => {
            set(f, &entry, &["zebra", "apple"]).await;
            assert_eq!(told(f, &entry).await.join("\n"), "zebra\napple");
        }
        TextField::Single(name) => {
            let changes = field(name, &["zebra", "apple"]);
            assert!(
                f.store().check_fields(&entry, &changes).await.is_err(),
                "two values do not fit"
            );
            assert!(
                f.store()
                    .set_fields(std::slice::from_ref(&entry), &changes)
                    .await
                    .is_err()
            );
            assert_eq!(told(f, &entry).await, [""; 0]);
        }
    }
}

pub async fn many_items_are_set_at_once(f: &dyn Fixture) {
    let entries = [made(f, "a.txt").await, made(f, "b.txt").await, made(f, "c.txt").await];
    let changes = field(f.text_field().name(), &["the same"]);
    let answered = f.store().set_fields(&entries[..2], &changes).await.expect("a change");
    let ids: Vec<_> = answered.iter().map(|e| e.id.clone()).collect();
    assert_eq!(ids, [entries[0].id.clone(), entries[1].id.clone()], "in order");
    assert_eq!(told(f, &entries[0]).await, ["the same"]);
    assert_eq!(told(f, &entries[1]).await, ["the same"]);
    assert_eq!(told(f, &entries[2]).await, [""; 0]);
}

pub async fn metadata_leave_the_content_alone(f: &dyn Fixture) {
    let entry = made(f, "a.txt").await;
    let changed = set(f, &entry, &["something"]).await;
    assert_eq!((&changed.name, changed.size.or(entry.size)), (&entry.name, entry.size));
    assert_eq!(f.held(&entry.id).await.as_deref(), Some(&b"content"[..]));
    assert!(f.store().check_fields(&entry, &FieldChanges::new()).await.is_ok());
}

pub async fn xattr_names_lead_to_fields_and_back(f: &dyn Fixture) {
    let store = f.store();
    let name = f.text_field().name();
    let xattr = store.xattr_name(name);
    assert!(
        xattr.starts_with(&format!("{}.", store.capabilities().kind)) || !xattr.starts_with("user."),
        "{xattr}"
    );
    assert_eq!(
        store.field_name(&xattr, Kind::File).map(|found| found.field).as_deref(),
        Some(name)
    );
    assert_eq!(store.field_name("somebody.elses", Kind::File), None);
    assert_eq!(
        store.field_name(&format!("{}.", store.capabilities().kind), Kind::File),
        None
    );
}
