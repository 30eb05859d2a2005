//! What is in the archive at the start.

use std::io;

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};

use super::Seed;
use super::handle::Handle;

/// Fills the archive.
pub(super) async fn fill(archive: &Handle, seed: Seed) -> io::Result<()> {
    match seed {
        Seed::Empty => Ok(()),
        Seed::Sample => sample(archive).await,
        Seed::Bulk {
            collections,
            items_each,
            files_each,
        } => bulk(archive, collections, items_each, files_each).await,
    }
}

async fn bulk(archive: &Handle, collections: u32, items_each: u32, files_each: u32) -> io::Result<()> {
    for c in 1..=collections {
        let collection = archive.add_collection(&format!("Collection {c:04}"));
        for i in 1..=items_each {
            let item = archive.add_item(Some(collection), &format!("Item {c:04}-{i:05}"));
            for f in 1..=files_each {
                let name = format!("file {f:05}.txt");
                let text = format!("File {f} of item {i} in collection {c}.\n");
                archive.add_file(item, &name, text.as_bytes()).await?;
            }
        }
    }
    Ok(())
}

async fn sample(archive: &Handle) -> io::Result<()> {
    let letters = archive.add_collection("Letters and notes");
    let photographs = archive.add_collection("Photographs");
    archive.add_collection("Empty collection");
    archive.add_collection("");

    let letter = archive.add_item(Some(letters), "Letter to Mary");
    for (element, text, html) in [
        ("Creator", "A. Writer", false),
        ("Creator", "B. Writer", false),
        ("Date", "1901-02-03", false),
        ("Description", "<p>Hello <b>bold</b></p>", true),
        ("Description", "A second, plain description\nof two lines", false),
        ("Subject", "Correspondence", false),
        ("Text", "Dear Mary,\nall is well here.", false),
    ] {
        archive.add_item_text(letter, element, text, html);
    }
    archive.set_item_type(letter, "Text");
    archive.tag_item(letter, "alpha");
    archive.tag_item(letter, "Beta two");
    archive
        .add_file(letter, "letter.txt", b"Dear Mary,\nall is well here.\n")
        .await?;
    archive.add_file(letter, "letter.pdf", &pdf("Dear Mary")).await?;
    archive
        .add_file(letter, "scan.png", &picture(320, 200, ImageFormat::Png)?)
        .await?;

    // Titles that are the same, hold a slash, or are not there at all.
    archive.add_item(Some(letters), "Same title");
    archive.add_item(Some(letters), "Same title");
    archive.add_item(Some(letters), "A/B testing / notes");
    archive.add_item(Some(letters), "");
    archive.add_item(Some(letters), "Ünïcødé 日本語");

    let harbour = archive.add_item(Some(photographs), "Harbour");
    archive.add_item_text(harbour, "Creator", "C. Photographer", false);
    archive.set_item_type(harbour, "Still Image");
    archive.tag_item(harbour, "sea");
    let jpeg = picture(1200, 900, ImageFormat::Jpeg)?;
    archive.add_file(harbour, "harbour.jpg", &jpeg).await?;
    archive
        .add_file(harbour, "harbour.jpg", &picture(600, 450, ImageFormat::Jpeg)?)
        .await?;
    let hidden = archive.add_item(Some(photographs), "Not published yet");
    archive.set_item_public(hidden, false);
    archive.add_file(hidden, "draft.txt", b"Not for everybody.\n").await?;

    let loose = archive.add_item(None, "Uncollected item");
    archive
        .add_file(loose, "note.txt", b"Hello plain text\nline two\n")
        .await?;
    archive.add_item(None, "");
    Ok(())
}

/// A picture with some structure.
pub(super) fn picture(width: u32, height: u32, format: ImageFormat) -> io::Result<Vec<u8>> {
    let pixels = RgbImage::from_fn(width, height, |x, y| {
        let shade = |v: u32, of: u32| u8::try_from(v * 255 / of.max(1)).unwrap_or(u8::MAX);
        Rgb([
            shade(x, width),
            shade(y, height),
            if (x / 16 + y / 16) % 2 == 0 { 40 } else { 200 },
        ])
    });
    let mut bytes = Vec::new();
    DynamicImage::from(pixels)
        .write_to(&mut io::Cursor::new(&mut bytes), format)
        .map_err(io::Error::other)?;
    Ok(bytes)
}

/// A PDF of one page.
fn pdf(text: &str) -> Vec<u8> {
    let stream = format!("BT /F1 24 Tf 72 720 Td ({text}) Tj ET");
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>"
            .to_owned(),
        format!("<< /Length {} >>\nstream\n{stream}\nendstream", stream.len()),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".to_owned(),
    ];
    let mut pdf = String::from("%PDF-1.4\n");
    let mut offsets = Vec::new();
    for (n, object) in objects.iter().enumerate() {
        offsets.push(pdf.len());
        pdf.push_str(&format!("{} 0 obj\n{object}\nendobj\n", n + 1));
    }
    let table = pdf.len();
    pdf.push_str(&format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1));
    for offset in offsets {
        pdf.push_str(&format!("{offset:010} 00000 n \n"));
    }
    pdf.push_str(&format!(
        "trailer\n<< /Size {} /Root 1 0 R >>\nstartxref\n{table}\n%%EOF\n",
        objects.len() + 1
    ));
    pdf.into_bytes()
}
