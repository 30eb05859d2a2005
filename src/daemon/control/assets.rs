//! What commands ask about assets: their fields, their places, searches.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::daemon::Failure;
use crate::vfs::{AssetRef, FieldEdit, PinProgress, Vfs};

/// A question about assets. Paths are as in [`super::Request`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum AssetRequest {
    /// One asset with all its fields.
    Fields {
        /// The asset.
        path: String,
    },
    /// A page of a folder's children with their fields, as they are known; the store is not asked.
    Children {
        /// The folder.
        path: String,
        /// The last name of the page before.
        after: Option<String>,
    },
    /// Changes fields of one asset, as one pending change.
    Edit {
        /// The asset.
        asset: AssetRef,
        /// In order.
        edits: Vec<FieldEdit>,
        /// Only tell what would change.
        rehearse: bool,
    },
    /// The paths of an asset.
    Paths {
        /// Its id, or the key of it that people see.
        id: String,
    },
    /// The address of an asset for a browser.
    Url {
        /// The asset.
        path: String,
    },
    /// Keeps files on this machine for good, or no longer.
    Pin {
        /// A file, or a folder with everything in it.
        path: String,
        /// Or no longer.
        keep: bool,
    },
    /// What the store finds.
    Search {
        /// In and below this folder.
        path: String,
        /// Words and filters, as in the name of a `.search` folder.
        query: String,
    },
}

/// Answers a question about assets.
pub(super) async fn carry_out(request: AssetRequest, vfs: &Vfs, pinning: &PinProgress) -> Result<Value, Failure> {
    match request {
        AssetRequest::Fields { path } => value(vfs.asset(&path).await),
        AssetRequest::Children { path, after } => value(vfs.known_assets(&path, after.as_deref()).await),
        AssetRequest::Edit { asset, edits, rehearse } => value(vfs.edit_fields(&asset, edits, rehearse).await),
        AssetRequest::Paths { id } => value(vfs.paths_of_id(&id).await),
        AssetRequest::Url { path } => {
            let url = vfs.web_url(&path).await.map_err(Failure::new)?;
            Ok(json!({ "url": url, "store": vfs.store().capabilities().label }))
        }
        AssetRequest::Pin { path, keep: true } => value(vfs.pin(&path, pinning).await),
        AssetRequest::Pin { path, keep: false } => value(vfs.unpin(&path).await),
        AssetRequest::Search { path, query } => value(vfs.search(&path, &query).await),
    }
}

fn value(of: crate::vfs::Result<impl Serialize>) -> Result<Value, Failure> {
    serde_json::to_value(of.map_err(Failure::new)?).map_err(Failure::new)
}
