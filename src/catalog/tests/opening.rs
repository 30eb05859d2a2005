//! Opening catalogs that are whole, damaged, or not ours.

use super::*;

fn with_one_file(folder: &TempDir) -> PathBuf {
    let path = folder.path().join("catalog.db");
    let catalog = Catalog::open(&path).expect("opens");
    list(
        &catalog,
        &root(),
        10,
        (0..500).map(|n| file(n, &format!("f{n}"), &[])).collect(),
    );
    path
}

#[test]
fn a_catalog_is_there_again_after_a_restart() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = with_one_file(&folder);
    let catalog = Catalog::open(&path).expect("opens");
    assert_eq!(catalog.child_count(&root()).expect("count"), 500);
    assert_eq!(catalog.file(), path);
}

#[test]
fn a_damaged_catalog_is_set_aside_and_begun_anew() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = with_one_file(&folder);
    let mut bytes = std::fs::read(&path).expect("read");
    bytes[..64].fill(0x5a);
    std::io::Write::write_all(&mut std::fs::File::create(&path).expect("create"), &bytes).expect("write");
    let catalog = Catalog::open(&path).expect("opens");
    assert_eq!(catalog.child_count(&root()).expect("count"), 0);
    assert!(folder.path().join("catalog.db.set-aside").exists());
    list(&catalog, &root(), 20, vec![file(1, "a", &[])]);
}

#[test]
fn damage_in_the_middle_is_found_before_anything_is_shown() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = with_one_file(&folder);
    let mut bytes = std::fs::read(&path).expect("read");
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 4096].fill(0x5a);
    std::io::Write::write_all(&mut std::fs::File::create(&path).expect("create"), &bytes).expect("write");
    let catalog = Catalog::open(&path).expect("opens");
    assert_eq!(catalog.child_count(&root()).expect("count"), 0);
    assert!(folder.path().join("catalog.db.set-aside").exists());
}

#[test]
fn damage_that_is_met_later_is_mended_by_the_next_start() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = with_one_file(&folder);
    {
        let catalog = Catalog::open(&path).expect("opens");
        let raw = rusqlite::Connection::open(&path).expect("opens");
        raw.execute("UPDATE nodes SET kind = 9 WHERE id = 'file:17'", [])
            .expect("damage");
        assert!(matches!(catalog.by_id(&file_id(17)), Err(Error::Damaged { .. })));
    }
    let catalog = Catalog::open(&path).expect("opens");
    assert_eq!(catalog.child_count(&root()).expect("count"), 0);
    drop(catalog);
    list(
        &Catalog::open(&path).expect("opens"),
        &root(),
        20,
        vec![file(1, "a", &[])],
    );
    assert_eq!(
        Catalog::open(&path)
            .expect("opens")
            .child_count(&root())
            .expect("count"),
        1,
        "only once"
    );
}

#[test]
fn a_catalog_of_another_version_is_set_aside() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = with_one_file(&folder);
    let raw = rusqlite::Connection::open(&path).expect("opens");
    raw.pragma_update(None, "user_version", 999).expect("set");
    drop(raw);
    let catalog = Catalog::open(&path).expect("opens");
    assert_eq!(catalog.child_count(&root()).expect("count"), 0);
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error_with_its_path() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = with_one_file(&folder);
    let error = Catalog::open(&path.join("below/a/file.db")).err().expect("fails");
    assert!(error.to_string().contains("below/a/file.db"), "{error}");
}
