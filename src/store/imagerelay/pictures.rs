//! Thumbnails.

use bytes::Bytes;

use super::{Core, errors, keys};
use crate::http::{Body, Request};
use crate::model::Entry;
use crate::store::{ErrorKind, Result, StoreError};

const GET: &str = "read thumbnail";
const SET: &str = "set thumbnail";
/// The largest picture the service takes, in bytes.
const PICTURE_BYTES_MAX: usize = 5_000_000;

/// Whether the bytes are a JPEG or a PNG.
fn is_picture(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\xff\xd8\xff") || bytes.starts_with(b"\x89PNG\r\n\x1a\n")
}

impl Core {
    /// The service's small JPEG: its address is good for about a day, so an old one is asked for anew, once.
    pub(super) async fn thumbnail(&self, item: &Entry) -> Result<Bytes> {
        let id = keys::file(GET, &item.id)?;
        if let Some(address) = self.known.thumbnail(id)
            && !address.ends_with("/processing.png")
        {
            match self.download_thumbnail(item, &address).await {
                Err(e) if matches!(errors::status(&e), Some(401 | 403 | 404 | 410)) => {}
                done => return done,
            }
        }
        match self.fetch_file(GET, id).await?.short_lived_thumbnail {
            Some(address) if address.ends_with("/processing.png") => {
                Err(errors::not_ready(GET, item.id.as_str(), "it is being made"))
            }
            Some(address) => self.download_thumbnail(item, &address).await,
            None => Err(StoreError::unsupported(GET, item.id.as_str()).because("this file has none")),
        }
    }

    async fn download_thumbnail(&self, item: &Entry, address: &str) -> Result<Bytes> {
        let Some(url) = self.api.absolute(address) else {
            return Err(errors::protocol(GET, item.id.as_str(), "its address makes no sense"));
        };
        let request = Request::get(url, "GET thumbnail")
            .unbudgeted()
            .answer_bytes_max(PICTURE_BYTES_MAX);
        let sent = self.api.client().call(request).await;
        let answer = sent.map_err(|e| errors::store_error(GET, item.id.as_str(), e))?;
        if !is_picture(&answer.body) {
            return Err(errors::protocol(GET, item.id.as_str(), "the answer is no picture"));
        }
        Ok(answer.body)
    }

    pub(super) async fn set_thumbnail(&self, item: &Entry, image: Bytes, file_name: &str) -> Result<()> {
        let id = keys::file(SET, &item.id)?;
        if image.len() > PICTURE_BYTES_MAX {
            let why = "a thumbnail may have 5,000,000 bytes at most";
            return Err(StoreError::new(ErrorKind::TooLarge, SET, item.id.as_str()).because(why));
        }
        if !is_picture(&image) {
            return Err(errors::invalid(
                SET,
                item.id.as_str(),
                "a thumbnail must be a JPEG or a PNG",
            ));
        }
        if !file_name.contains('.') {
            return Err(errors::invalid(SET, file_name, "the picture's name needs an extension"));
        }
        let request = self
            .api
            .post(&format!("files/{id}/thumbnail"), "POST /files/{id}/thumbnail")
            .query("file_name", file_name)
            .body("application/octet-stream", Body::Bytes(image))
            .safe();
        self.api.call(SET, item.id.as_str(), request).await?;
        // The old address shows the old picture.
        self.known.forget_file(id);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_told_by_their_bytes() {
        assert!(is_picture(b"\xff\xd8\xff\xe0..") && is_picture(b"\x89PNG\r\n\x1a\n.."));
        assert!(!is_picture(b"GIF89a") && !is_picture(b""));
    }
}
