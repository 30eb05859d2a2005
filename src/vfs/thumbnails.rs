//! Thumbnails: a program that makes them would fetch the original of every picture that somebody looks past. The store has
//! made them already, so its own are put where the desktop looks for them, and the program is refused.

use std::path::Path;

use md5::{Digest, Md5};

use crate::disk;
use crate::model::{Entry, Ino, Timestamp, hex};
use crate::store::ErrorKind;

use super::config::ThumbnailPlace;
use super::vfs::Vfs;
use super::{Caller, Error, Result};

/// An original that a thumbnail may be made of where the store has none, in bytes.
const ORIGINAL_BYTES_MAX: u64 = 1 << 20;

/// The desktop's sizes: the folder, and the longer side in pixels.
const SIZES: [(&str, u32); 2] = [("normal", 128), ("large", 256)];

/// Bytes that stay as they are in the address of a file, besides letters and digits.
const PLAIN: &[u8] = b"!$&'()*+,-./:=@_~";

impl Vfs {
    /// Refuses an original that is not here yet to a program that makes thumbnails, once the desktop has the store's own.
    pub(super) async fn no_original_for_a_thumbnail(&self, caller: Caller, ino: Ino) -> Result<()> {
        let node = self.blocking(move |vfs| vfs.node(ino)).await?;
        let staged = node.change.as_ref().is_some_and(|change| change.staged.is_some());
        let Some(entry) = node.entry.clone().filter(|_| !staged && !node.is_folder()) else {
            return Ok(());
        };
        let body = self.cache.body(&entry);
        if body.file().await.is_ok() && body.is_complete() {
            return Ok(());
        }
        match self.store.thumbnail(&entry).await {
            Ok(picture) => {
                let place = self.config.thumbnails.clone().filter(|place| place.uid == caller.uid);
                if let Some(place) = place {
                    self.blocking(move |vfs| vfs.give_thumbnail(&place, ino, &entry, &picture))
                        .await?;
                }
                Err(Error::NotPermitted(
                    "the desktop has the store's thumbnail: no original is fetched for one".into(),
                ))
            }
            Err(error)
                if error.kind == ErrorKind::Unsupported && entry.size.is_some_and(|s| s <= ORIGINAL_BYTES_MAX) =>
            {
                Ok(())
            }
            Err(error) => Err(Error::NotPermitted(format!(
                "no original is fetched for a thumbnail, and the store has none: {error}"
            ))),
        }
    }

    /// Puts a picture where the desktop looks for the thumbnail of a file. Blocks.
    fn give_thumbnail(&self, place: &ThumbnailPlace, ino: Ino, entry: &Entry, picture: &[u8]) -> Result<()> {
        let path = self.path_of(ino)?;
        let file = place.mountpoint.join(path.trim_start_matches('/'));
        let told = Told {
            uri: uri_of(&file),
            mtime: self.attr(ino)?.mtime,
            size: entry.size,
            mime: entry.mime.clone(),
        };
        let failed = |what: &str| Error::Invalid(format!("the store's thumbnail {what}"));
        let picture = image::load_from_memory(picture).map_err(|e| failed(&format!("is no picture: {e}")))?;
        for (folder, pixels) in SIZES {
            // It is never made larger than it is.
            let small = match picture.width().max(picture.height()) > pixels {
                true => picture.thumbnail(pixels, pixels),
                false => picture.clone(),
            };
            let bytes = png(&small.to_rgba8(), &told).map_err(|e| failed(&format!("cannot be written: {e}")))?;
            let folder = place.folder.join(folder);
            let write = || -> disk::Result<()> {
                disk::create_private_dir(&place.folder)?;
                disk::create_private_dir(&folder)?;
                disk::write_atomic(&folder.join(name_of(&told.uri)), &bytes)
            };
            write().map_err(crate::cache::CacheError::from)?;
        }
        Ok(())
    }
}

/// What a thumbnail says of its file, so that the desktop sees whether it still holds.
struct Told {
    uri: String,
    mtime: Timestamp,
    size: Option<u64>,
    mime: Option<String>,
}

/// A PNG with the texts that the desktop's specification asks for.
fn png(picture: &image::RgbaImage, told: &Told) -> std::result::Result<Vec<u8>, png::EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, picture.width(), picture.height());
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_depth(png::BitDepth::Eight);
    let mut tell = |key: &str, value: String| encoder.add_text_chunk(key.into(), value);
    tell("Thumb::URI", told.uri.clone())?;
    tell("Thumb::MTime", told.mtime.secs.to_string())?;
    tell("Software", env!("CARGO_PKG_NAME").into())?;
    if let Some(size) = told.size {
        tell("Thumb::Size", size.to_string())?;
    }
    if let Some(mime) = told.mime.clone().filter(|mime| mime.is_ascii()) {
        tell("Thumb::Mimetype", mime)?;
    }
    let mut writer = encoder.write_header()?;
    writer.write_image_data(picture.as_raw())?;
    writer.finish()?;
    Ok(bytes)
}

/// The address of a file as desktops write it.
fn uri_of(path: &Path) -> String {
    use std::fmt::Write;
    use std::os::unix::ffi::OsStrExt;
    let mut uri = "file://".to_owned();
    for byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || PLAIN.contains(byte) {
            uri.push(char::from(*byte));
        } else if write!(uri, "%{byte:02X}").is_err() {
            // Text in memory takes everything.
            break;
        }
    }
    uri
}

/// The name of the thumbnail of what has this address.
fn name_of(uri: &str) -> String {
    format!("{}.png", hex(&Md5::digest(uri.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_and_its_thumbnail_are_named_as_the_specification_does() {
        assert_eq!(
            uri_of(Path::new("/home/jens/photos/me.png")),
            "file:///home/jens/photos/me.png"
        );
        assert_eq!(
            name_of("file:///home/jens/photos/me.png"),
            "c6ee772d9e49320e97ec29a7eb5b1697.png"
        );
        assert_eq!(
            uri_of(Path::new("/m/L'été 100%.jpg")),
            "file:///m/L'%C3%A9t%C3%A9%20100%25.jpg"
        );
    }

    #[test]
    fn a_thumbnail_tells_whose_it_is() {
        let told = Told {
            uri: "file:///m/a%20b.jpg".into(),
            mtime: Timestamp::from_secs(1_780_000_000),
            size: Some(12_345),
            mime: Some("image/jpeg".into()),
        };
        let bytes = png(&image::RgbaImage::new(4, 3), &told).expect("encodes");
        let reader = png::Decoder::new(std::io::Cursor::new(&bytes))
            .read_info()
            .expect("a PNG");
        let texts: Vec<_> = reader
            .info()
            .uncompressed_latin1_text
            .iter()
            .map(|t| (&*t.keyword, &*t.text))
            .collect();
        assert!(texts.contains(&("Thumb::URI", "file:///m/a%20b.jpg")), "{texts:?}");
        assert!(texts.contains(&("Thumb::MTime", "1780000000")), "{texts:?}");
        assert_eq!((reader.info().width, reader.info().height), (4, 3));
    }
}
