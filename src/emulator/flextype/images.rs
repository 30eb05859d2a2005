//! What the site does to pictures: every JPEG, PNG and GIF is decoded and encoded anew, smaller and worse.

use std::io::Cursor;

use bytes::Bytes;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::FilterType;
use image::{DynamicImage, ImageFormat};

/// Widest stored picture, in pixels.
const WIDTH_PX_MAX: u32 = 1_600;
/// JPEG quality, out of 100.
const QUALITY: u8 = 70;

/// What became of uploaded bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stored {
    /// No picture: kept as they are.
    AsSent,
    /// A picture: these bytes instead.
    Encoded(Bytes),
    /// A picture under a name that the site cannot encode for: the upload fails.
    Refused,
}

/// Encodes the picture `bytes` for a file with this extension.
pub(super) fn process(bytes: &[u8], extension: &str) -> Stored {
    let Ok(sent) = image::guess_format(bytes) else {
        return Stored::AsSent;
    };
    let wanted = match extension.to_lowercase().as_str() {
        "jpg" | "jpeg" => ImageFormat::Jpeg,
        "png" => ImageFormat::Png,
        "gif" => ImageFormat::Gif,
        _ => return Stored::Refused,
    };
    let Ok(picture) = image::load_from_memory_with_format(bytes, sent) else {
        return Stored::Refused;
    };
    encode(&narrowed(picture), wanted).map_or(Stored::Refused, Stored::Encoded)
}

fn narrowed(picture: DynamicImage) -> DynamicImage {
    if picture.width() <= WIDTH_PX_MAX {
        return picture;
    }
    picture.resize(WIDTH_PX_MAX, u32::MAX, FilterType::Triangle)
}

fn encode(picture: &DynamicImage, format: ImageFormat) -> Option<Bytes> {
    let mut out = Cursor::new(Vec::new());
    let written = match format {
        ImageFormat::Jpeg => picture
            .to_rgb8()
            .write_with_encoder(JpegEncoder::new_with_quality(&mut out, QUALITY)),
        ImageFormat::Gif => DynamicImage::from(picture.to_rgba8()).write_to(&mut out, format),
        other => picture.write_to(&mut out, other),
    };
    written.ok()?;
    Some(out.into_inner().into())
}

/// Width and height of a JPEG, in pixels.
pub(super) fn jpeg_size(bytes: &[u8]) -> Option<(u32, u32)> {
    if image::guess_format(bytes).ok()? != ImageFormat::Jpeg {
        return None;
    }
    image::ImageReader::with_format(Cursor::new(bytes), ImageFormat::Jpeg)
        .into_dimensions()
        .ok()
}

/// A sample picture of many colours, as a JPEG of good quality or in another format.
pub(super) fn sample(width_px: u32, height_px: u32, seed: u32, format: ImageFormat) -> Bytes {
    let picture = image::RgbImage::from_fn(width_px, height_px, |x, y| {
        let wave = |a: u32| ((x * (seed + a) / 3) ^ (y * (a + 2) / 2)) as u8;
        image::Rgb([wave(1).wrapping_add((x / 4) as u8), wave(3), wave(seed % 5)])
    });
    let mut out = Cursor::new(Vec::new());
    let written = match format {
        ImageFormat::Jpeg => picture.write_with_encoder(JpegEncoder::new_with_quality(&mut out, 95)),
        other => DynamicImage::from(picture).write_to(&mut out, other),
    };
    written.map_or_else(|_| Bytes::new(), |()| out.into_inner().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wide_jpeg_is_narrowed_and_others_are_encoded_anew() {
        let wide = sample(2_000, 1_000, 7, ImageFormat::Jpeg);
        let Stored::Encoded(stored) = process(&wide, "JPG") else {
            panic!("a picture");
        };
        assert_eq!(jpeg_size(&stored), Some((1_600, 800)));
        assert_ne!(stored, wide);
        for format in [ImageFormat::Png, ImageFormat::Gif] {
            let small = sample(40, 20, 1, format);
            assert!(!small.is_empty());
            assert!(matches!(
                process(&small, format.extensions_str()[0]),
                Stored::Encoded(_)
            ));
        }
    }

    #[test]
    fn what_is_no_picture_stays_and_a_picture_in_disguise_is_refused() {
        assert_eq!(process(b"hello world\n", "jpg"), Stored::AsSent);
        assert_eq!(process(&sample(10, 10, 1, ImageFormat::Jpeg), "txt"), Stored::Refused);
        assert_eq!(process(b"RIFF\x10\0\0\0WEBPVP8 ", "webp"), Stored::Refused);
    }
}
