//! Zips that tell sizes behind the bytes: they are put on the disk whole and read by the directory at their end.
//!
//! The directory is read here and not by the `zip` crate, which keeps one member of a name only, while names repeat in
//! these archives. Each member is then handed to that crate as if its sizes had been in front.

use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};

const END: [u8; 4] = *b"PK\x05\x06";
const END64_LOCATOR: [u8; 4] = *b"PK\x06\x07";
const END64: [u8; 4] = *b"PK\x06\x06";
const CENTRAL: [u8; 4] = *b"PK\x01\x02";
const LOCAL: [u8; 4] = *b"PK\x03\x04";
const END_BYTES: u64 = 22;
const LOCAL_BYTES: u64 = 30;
/// The largest directory that is read, in bytes.
const DIRECTORY_BYTES_MAX: u64 = 64 << 20;
/// Bit 3: the sizes follow the data.
const SIZES_BEHIND: u16 = 1 << 3;

/// One member, as the directory tells it.
#[derive(Clone, Debug)]
pub(super) struct Member {
    flags: u16,
    method: u16,
    crc: u32,
    packed_bytes: u64,
    pub(super) bytes: u64,
    offset: u64,
    name: Vec<u8>,
}

fn bad(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}

fn u16_at(bytes: &[u8], at: usize) -> io::Result<u16> {
    let part = bytes.get(at..at + 2).and_then(|part| part.try_into().ok());
    part.map(u16::from_le_bytes)
        .ok_or_else(|| bad("a zip record is cut off"))
}

fn u32_at(bytes: &[u8], at: usize) -> io::Result<u32> {
    let part = bytes.get(at..at + 4).and_then(|part| part.try_into().ok());
    part.map(u32::from_le_bytes)
        .ok_or_else(|| bad("a zip record is cut off"))
}

fn u64_at(bytes: &[u8], at: usize) -> io::Result<u64> {
    let part = bytes.get(at..at + 8).and_then(|part| part.try_into().ok());
    part.map(u64::from_le_bytes)
        .ok_or_else(|| bad("a zip record is cut off"))
}

fn read_at(file: &mut File, at: u64, len: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(at))?;
    let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The members of the archive in `file`, in the order of their bytes.
pub(super) fn members(file: &mut File) -> io::Result<Vec<Member>> {
    let len = file.seek(SeekFrom::End(0))?;
    let tail_at = len.saturating_sub(END_BYTES + u64::from(u16::MAX));
    let tail = read_at(file, tail_at, len - tail_at)?;
    let end = (0..tail.len().saturating_sub(END_BYTES as usize - 1))
        .rev()
        .find(|at| tail[*at..].starts_with(&END))
        .ok_or_else(|| bad("the zip has no end: the download was cut off"))?;
    let mut size = u64::from(u32_at(&tail, end + 12)?);
    let mut at = u64::from(u32_at(&tail, end + 16)?);
    if (size == u64::from(u32::MAX) || at == u64::from(u32::MAX))
        && end >= 20
        && tail[end - 20..].starts_with(&END64_LOCATOR)
    {
        let end64 = read_at(file, u64_at(&tail, end - 20 + 8)?, 56)?;
        if !end64.starts_with(&END64) {
            return Err(bad("the zip's large end is not where it should be"));
        }
        (size, at) = (u64_at(&end64, 40)?, u64_at(&end64, 48)?);
    }
    if size > DIRECTORY_BYTES_MAX || at.checked_add(size).is_none_or(|end| end > len) {
        return Err(bad("the zip's directory is not where it should be"));
    }
    let directory = read_at(file, at, size)?;
    let mut members = Vec::new();
    let mut rest = &directory[..];
    while rest.starts_with(&CENTRAL) {
        let (member, used) = member(rest)?;
        members.push(member);
        rest = rest.get(used..).unwrap_or_default();
    }
    members.sort_by_key(|member| member.offset);
    Ok(members)
}

fn member(record: &[u8]) -> io::Result<(Member, usize)> {
    let (name_len, extra_len, comment_len) = (u16_at(record, 28)?, u16_at(record, 30)?, u16_at(record, 32)?);
    let name_end = 46 + usize::from(name_len);
    let extra_end = name_end + usize::from(extra_len);
    let name = record.get(46..name_end).ok_or_else(|| bad("a zip record is cut off"))?;
    let mut large = large_sizes(record.get(name_end..extra_end).unwrap_or_default());
    let mut sized = |small: u32| -> io::Result<u64> {
        if small != u32::MAX {
            return Ok(u64::from(small));
        }
        let (now, rest) = large
            .split_at_checked(8)
            .ok_or_else(|| bad("a zip record lacks its large sizes"))?;
        large = rest;
        u64_at(now, 0)
    };
    let bytes = sized(u32_at(record, 24)?)?;
    let packed_bytes = sized(u32_at(record, 20)?)?;
    let offset = sized(u32_at(record, 42)?)?;
    let member = Member {
        flags: u16_at(record, 8)?,
        method: u16_at(record, 10)?,
        crc: u32_at(record, 16)?,
        packed_bytes,
        bytes,
        offset,
        name: name.to_vec(),
    };
    Ok((member, extra_end + usize::from(comment_len)))
}

/// The record of 64-bit sizes among a member's extra fields.
fn large_sizes(mut extra: &[u8]) -> &[u8] {
    while let (Ok(id), Ok(len)) = (u16_at(extra, 0), u16_at(extra, 2)) {
        let end = 4 + usize::from(len);
        let Some(body) = extra.get(4..end) else { break };
        if id == 1 {
            return body;
        }
        extra = &extra[end..];
    }
    &[]
}

/// A member as a stream of its own that begins with a header that tells all.
pub(super) fn stream<'a>(file: &'a mut File, member: &Member) -> io::Result<impl Read + 'a> {
    let local = read_at(file, member.offset, LOCAL_BYTES)?;
    if !local.starts_with(&LOCAL) {
        return Err(bad("a zip member is not where it should be"));
    }
    let data = member.offset + LOCAL_BYTES + u64::from(u16_at(&local, 26)?) + u64::from(u16_at(&local, 28)?);
    file.seek(SeekFrom::Start(data))?;
    Ok(Cursor::new(header(member)).chain(file.take(member.packed_bytes)))
}

fn header(member: &Member) -> Vec<u8> {
    let is_large = member.bytes.max(member.packed_bytes) >= u64::from(u32::MAX);
    let small = |bytes: u64| if is_large { u32::MAX } else { bytes as u32 };
    let mut out = LOCAL.to_vec();
    out.extend(if is_large { 45u16 } else { 20 }.to_le_bytes());
    out.extend((member.flags & !SIZES_BEHIND).to_le_bytes());
    out.extend(member.method.to_le_bytes());
    // Midnight of 1980-01-01; nobody asks.
    out.extend(0x0021_0000u32.to_le_bytes());
    out.extend(member.crc.to_le_bytes());
    out.extend(small(member.packed_bytes).to_le_bytes());
    out.extend(small(member.bytes).to_le_bytes());
    out.extend((member.name.len() as u16).to_le_bytes());
    out.extend(if is_large { 20u16 } else { 0 }.to_le_bytes());
    out.extend(&member.name);
    if is_large {
        out.extend(1u16.to_le_bytes());
        out.extend(16u16.to_le_bytes());
        out.extend(member.bytes.to_le_bytes());
        out.extend(member.packed_bytes.to_le_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    #[test]
    fn packed_members_are_read_back_with_their_checksum() {
        let mut writer = zip::ZipWriter::new(tempfile::tempfile().unwrap());
        let packed = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
        for (name, text) in [("a.txt", "one ".repeat(1_000)), ("b.txt", "two".to_owned())] {
            writer.start_file(name, packed).unwrap();
            writer.write_all(text.as_bytes()).unwrap();
        }
        let mut file = writer.finish().unwrap();
        let members = members(&mut file).unwrap();
        let mut read = Vec::new();
        for member in &members {
            let mut stream = stream(&mut file, member).unwrap();
            let mut unpacked = zip::read::read_zipfile_from_stream(&mut stream).unwrap().unwrap();
            let mut text = String::new();
            unpacked.read_to_string(&mut text).unwrap();
            let name = unpacked.name().unwrap().into_owned();
            read.push((name, text.len() as u64 == member.bytes));
        }
        assert_eq!(read, [("a.txt".to_owned(), true), ("b.txt".to_owned(), true)]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_directory_reader_panic(junk in proptest::collection::vec(any::<u8>(), 0..200), at in 0usize..200) {
            let mut bytes = junk;
            let at = at.min(bytes.len());
            bytes.splice(at..at, END);
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&bytes).unwrap();
            if let Ok(members) = members(&mut file) {
                for member in members {
                    prop_assert!(stream(&mut file, &member).is_err() || member.offset < bytes.len() as u64);
                }
            }
        }
    }
}
