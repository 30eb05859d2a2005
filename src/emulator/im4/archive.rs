//! The zip that a download of several files is: stored members, in the listing's order, under names that may repeat (which
//! is why no library writes it: they refuse to).

use bytes::{BufMut, Bytes, BytesMut};

/// Where a member's sizes and checksum are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZipSizes {
    /// In front of its bytes.
    InFront,
    /// Behind them and in the directory at the end, as servers do that write while they read.
    Behind,
}

const LOCAL: u32 = 0x0403_4b50;
const DESCRIPTOR: u32 = 0x0807_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const VERSION: u16 = 20;
/// Bit 11: names are UTF-8. Bit 3: sizes follow the data.
const UTF8: u16 = 1 << 11;
const SIZES_BEHIND: u16 = 1 << 3;

/// Builds the archive.
pub(super) fn build<'a>(members: impl Iterator<Item = (&'a str, &'a [u8])>, sizes: ZipSizes) -> Bytes {
    let mut out = BytesMut::new();
    let mut directory = BytesMut::new();
    let mut count: u16 = 0;
    for (name, bytes) in members {
        let offset = out.len() as u32;
        let (crc, len) = (crc32(bytes), bytes.len() as u32);
        let flags = UTF8 | if sizes == ZipSizes::Behind { SIZES_BEHIND } else { 0 };
        let in_front = if sizes == ZipSizes::Behind { (0, 0) } else { (crc, len) };
        out.put_u32_le(LOCAL);
        put_common(&mut out, flags, in_front, name);
        out.put_slice(name.as_bytes());
        out.put_slice(bytes);
        if sizes == ZipSizes::Behind {
            out.put_u32_le(DESCRIPTOR);
            out.put_u32_le(crc);
            out.put_u32_le(len);
            out.put_u32_le(len);
        }
        directory.put_u32_le(CENTRAL);
        directory.put_u16_le(VERSION);
        put_common(&mut directory, flags, (crc, len), name);
        // Comment, disk, inner and outer attributes.
        directory.put_bytes(0, 2 + 2 + 2 + 4);
        directory.put_u32_le(offset);
        directory.put_slice(name.as_bytes());
        count += 1;
    }
    let (start, len) = (out.len() as u32, directory.len() as u32);
    out.extend_from_slice(&directory);
    out.put_u32_le(END);
    out.put_u32_le(0);
    out.put_u16_le(count);
    out.put_u16_le(count);
    out.put_u32_le(len);
    out.put_u32_le(start);
    out.put_u16_le(0);
    out.freeze()
}

/// What local and central headers share, from the version to the extra field's length.
fn put_common(out: &mut BytesMut, flags: u16, (crc, len): (u32, u32), name: &str) {
    out.put_u16_le(VERSION);
    out.put_u16_le(flags);
    // Stored; midnight of 1980-01-01.
    out.put_u16_le(0);
    out.put_u32_le(0x0021_0000);
    out.put_u32_le(crc);
    out.put_u32_le(len);
    out.put_u32_le(len);
    out.put_u16_le(name.len() as u16);
    out.put_u16_le(0);
}

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut value = i as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 {
                0xedb8_8320 ^ (value >> 1)
            } else {
                value >> 1
            };
            bit += 1;
        }
        table[i] = value;
        i += 1;
    }
    table
}

static TABLE: [u32; 256] = table();

fn crc32(bytes: &[u8]) -> u32 {
    !bytes
        .iter()
        .fold(!0, |crc, byte| TABLE[usize::from((crc as u8) ^ byte)] ^ (crc >> 8))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn the_checksum_is_the_usual_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn a_zip_reader_finds_every_member_even_of_one_name() {
        let members = [("a.txt", &b"one"[..]), ("a.txt", b"two"), ("\u{fc}.jpg", b"")];
        let mut archive = std::io::Cursor::new(build(members.into_iter(), ZipSizes::InFront));
        for (name, bytes) in members {
            let mut member = zip::read::read_zipfile_from_stream(&mut archive).unwrap().unwrap();
            assert_eq!(member.name().unwrap(), name);
            let mut read = Vec::new();
            member.read_to_end(&mut read).unwrap();
            assert_eq!(read, bytes);
        }
        assert!(zip::read::read_zipfile_from_stream(&mut archive).unwrap().is_none());
        let behind = build(members[1..].iter().copied(), ZipSizes::Behind);
        let mut archive = zip::ZipArchive::new(std::io::Cursor::new(behind)).unwrap();
        let mut read = String::new();
        archive.by_name("a.txt").unwrap().read_to_string(&mut read).unwrap();
        assert_eq!(read, "two");
    }
}
