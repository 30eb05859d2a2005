//! Small things that several test binaries need.

use std::sync::Arc;

use assetfs::model::{Entry, FieldChanges, Name, Value};
use assetfs::store::{Body, BundlePart, ErrorKind, Reads, Result, SharedStore, UploadProgress};
use futures_util::TryStreamExt;

/// A name that is valid.
pub fn name(text: &str) -> Name {
    Name::new(text).expect("a valid name")
}

/// An upload's body.
pub fn body(bytes: &[u8]) -> Body {
    let mut file = tempfile::tempfile().expect("a temporary file");
    std::io::Write::write_all(&mut file, bytes).expect("room in the temporary folder");
    Body::new(Arc::new(file), bytes.len() as u64)
}

/// A body of `len` zero bytes that takes no space.
pub fn hollow_body(len: u64) -> Body {
    let file = tempfile::tempfile().expect("a temporary file");
    file.set_len(len).expect("a sparse file");
    Body::new(Arc::new(file), len)
}

/// Text that repeats nowhere within reach: a part from a wrong place is seen, and a server that looks sees a text.
pub fn pattern(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..len)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            b'0' + (state >> 58) as u8
        })
        .collect()
}

/// Changes of one field.
pub fn field(name: &str, values: &[&str]) -> FieldChanges {
    [(name.to_owned(), values.iter().map(|text| Value::from(*text)).collect())].into()
}

/// Uploads a new file without fields.
pub async fn create(store: &SharedStore, parent: &Entry, file_name: &str, bytes: &[u8]) -> Result<Entry> {
    let progress = UploadProgress::default();
    store
        .create(
            &parent.id,
            &name(file_name),
            &body(bytes),
            &FieldChanges::new(),
            &progress,
        )
        .await
}

/// All children of a folder; an error in any batch is the whole's.
pub async fn list(store: &SharedStore, folder: &Entry) -> Result<Vec<Entry>> {
    Ok(store.list(folder).try_collect::<Vec<_>>().await?.concat())
}

/// The names of all children, sorted.
pub async fn listed_names(store: &SharedStore, folder: &Entry) -> Vec<String> {
    let mut names: Vec<_> = list(store, folder)
        .await
        .expect("a listing")
        .into_iter()
        .map(|e| e.name)
        .collect();
    names.sort();
    names
}

/// A file's whole content, in the way that the store can.
pub async fn content(store: &SharedStore, file: &Entry) -> Result<Vec<u8>> {
    if store.capabilities().reads == Reads::Bundle {
        return bundled(store, file).await;
    }
    let size = store.stat(&file.id).await?.size.unwrap_or_default();
    let download = store.read(file, 0..size).await?;
    let parts: Vec<_> = download.stream.try_collect().await?;
    Ok(parts.concat())
}

async fn bundled(store: &SharedStore, file: &Entry) -> Result<Vec<u8>> {
    let mut parts = store.read_bundle(file).await?;
    let (mut wanted, mut bytes) = (false, Vec::new());
    while let Some(part) = parts.try_next().await? {
        match part {
            BundlePart::Begin { item, .. } => wanted = item == file.id,
            BundlePart::Data(data) if wanted => bytes.extend_from_slice(&data),
            BundlePart::End if wanted => return Ok(bytes),
            BundlePart::Data(_) | BundlePart::End => {}
        }
    }
    Err(assetfs::store::StoreError::new(
        ErrorKind::NotFound,
        "read bundle",
        file.id.as_str(),
    ))
}

/// What kind of failure it was.
pub fn kind<T: std::fmt::Debug>(outcome: Result<T>) -> ErrorKind {
    outcome.expect_err("this must be refused").kind
}
