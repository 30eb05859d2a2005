//! A small site to look around in: entries with pictures, documents, nested folders.

use bytes::Bytes;
use image::ImageFormat;

use crate::model::Timestamp;

use super::images::sample;
use super::tree::{Content, Origin, Stored, Tree, fresh_meta, name_of, parent_of};

/// The sample site.
pub(super) fn tree(now: Timestamp) -> Tree {
    let mut tree = Tree::default();
    let mut put = |path: &str, bytes: Bytes| {
        tree.make_folder(parent_of(path), Origin::Api);
        let meta = fresh_meta(name_of(path), &bytes, now);
        let content = Some(Content { bytes, modified: now });
        tree.files.insert(
            path.to_owned(),
            Stored {
                content,
                meta: Some(meta),
            },
        );
    };
    put("welcome.txt", Bytes::from_static(b"Uploads of the demo site.\n"));
    put("logo.png", sample(320, 120, 3, ImageFormat::Png));
    for season in 1..=3u32 {
        let folder = format!("entries/movies/sg-1/season-{season}");
        put(
            &format!("{folder}/cover.jpg"),
            sample(900, 600, season * 7, ImageFormat::Jpeg),
        );
        for episode in 1..=4u32 {
            let cover = sample(640, 360, season * 31 + episode, ImageFormat::Jpeg);
            put(&format!("{folder}/episode-{episode}/cover.jpg"), cover);
            let synopsis = format!("Season {season}, episode {episode}.\n");
            put(&format!("{folder}/episode-{episode}/synopsis.txt"), synopsis.into());
        }
    }
    put(
        "documents/Price list 2026.txt",
        Bytes::from_static(b"Item,Price\nPoster,12\nPrint,30\n"),
    );
    put("documents/banner.gif", sample(468, 60, 11, ImageFormat::Gif));
    tree.make_folder("documents/drafts", Origin::Api);
    tree
}
