//! The sample library's bodies: real pictures and a real PDF, the same at every start.

use std::io::Cursor;

use bytes::Bytes;
use image::{DynamicImage, ImageError, ImageFormat, Rgb, RgbImage};

use super::options::Seed;
use crate::emulator::common::mix;

/// How many pictures there are: numbers 0 to this less one; even ones are JPEG, odd ones PNG.
pub(super) const PICTURES: u32 = 8;
/// The number of the PDF.
pub(super) const PDF: u32 = PICTURES;
/// The pictures' sizes in pixels.
pub(super) const PICTURE_PX: (u32, u32) = (480, 320);

/// The bodies that `seed` refers to by number.
pub(super) fn make(seed: Seed) -> Result<Vec<Bytes>, ImageError> {
    match seed {
        Seed::None | Seed::Files { .. } => Ok(Vec::new()),
        Seed::Small | Seed::Large => {
            let mut bodies = Vec::new();
            for number in 0..PICTURES {
                let format = if number % 2 == 0 {
                    ImageFormat::Jpeg
                } else {
                    ImageFormat::Png
                };
                let mut out = Cursor::new(Vec::new());
                picture(number).write_to(&mut out, format)?;
                bodies.push(out.into_inner().into());
            }
            bodies.push(pdf("Press kit", "A sample document of one page."));
            Ok(bodies)
        }
    }
}

/// A slope of two colours with a disc on it.
fn picture(number: u32) -> DynamicImage {
    let [red, green, blue, x, y, ..] = mix(u64::from(number) + 1).to_le_bytes();
    let (width, height) = PICTURE_PX;
    let (disc_x, disc_y) = (100 + i64::from(x), 60 + i64::from(y) * 3 / 4);
    RgbImage::from_fn(width, height, |at_x, at_y| {
        let (dx, dy) = (i64::from(at_x) - disc_x, i64::from(at_y) - disc_y);
        if dx * dx + dy * dy < 50 * 50 {
            return Rgb([255 - red, 255 - green, 255 - blue]);
        }
        let shade = |channel: u8| (u32::from(channel) * (height - at_y) / height + 128 * at_x / width).min(255) as u8;
        Rgb([shade(red), shade(green), shade(blue)])
    })
    .into()
}

/// A valid PDF 1.4 of one page with two lines of text.
fn pdf(title: &str, line: &str) -> Bytes {
    let content = format!("BT /F1 24 Tf 72 720 Td ({title}) Tj 0 -36 Td /F1 12 Tf ({line}) Tj ET");
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R \
         /Resources << /Font << /F1 5 0 R >> >> >>"
            .to_owned(),
        format!("<< /Length {} >>\nstream\n{content}\nendstream", content.len()),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".to_owned(),
    ];
    let mut out = String::from("%PDF-1.4\n");
    let mut offsets = Vec::new();
    for (object, number) in objects.iter().zip(1..) {
        offsets.push(out.len());
        out.push_str(&format!("{number} 0 obj\n{object}\nendobj\n"));
    }
    let table = out.len();
    out.push_str(&format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1));
    for offset in offsets {
        out.push_str(&format!("{offset:010} 00000 n \n"));
    }
    let size = objects.len() + 1;
    out.push_str(&format!(
        "trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{table}\n%%EOF\n"
    ));
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_real_and_differ() {
        let bodies = make(Seed::Small).unwrap();
        for number in 0..PICTURES as usize {
            let picture = image::load_from_memory(&bodies[number]).unwrap();
            assert_eq!((picture.width(), picture.height()), PICTURE_PX);
            assert!(bodies[..number].iter().all(|other| *other != bodies[number]));
        }
    }

    #[test]
    fn the_pdf_points_at_its_objects() {
        let bytes = pdf("T", "L");
        let text = std::str::from_utf8(&bytes).unwrap();
        let table: usize = text.lines().rev().nth(1).unwrap().parse().unwrap();
        assert!(text[table..].starts_with("xref\n0 6\n"));
        for (entry, number) in text[table..].lines().skip(3).take(5).zip(1..) {
            let offset: usize = entry[..10].parse().unwrap();
            assert!(text[offset..].starts_with(&format!("{number} 0 obj")), "{entry}");
        }
    }
}
