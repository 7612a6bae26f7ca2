//! The bytes of a frame around its text.

use std::fs::File;
use std::io::{self, BufRead, Read as _};
use std::os::unix::fs::FileExt as _;

/// What a frame begins with (RFC 7464 §2.2).
const SEPARATOR: u8 = 0x1E;
/// What it ends with.
const END: u8 = b'\n';
/// How many hexadecimal digits the length has.
const LENGTH_DIGITS: usize = 12;
/// How many the checksum has.
const CHECKSUM_DIGITS: usize = 8;
/// The bytes before the text: separator, length, space, checksum, space.
const HEAD_BYTES: usize = 1 + LENGTH_DIGITS + 1 + CHECKSUM_DIGITS + 1;
/// What a disk writes as a whole, in bytes: of a write that a power cut tore, some of these are
/// there and others are zero.
pub const SECTOR_BYTES: usize = 512;

/// The beginning of a frame, to which its text is to be appended.
pub fn begin_frame() -> Vec<u8> {
    vec![0; HEAD_BYTES]
}

/// Puts the head before the text, now that it is known.
pub fn end_frame(mut frame: Vec<u8>) -> Vec<u8> {
    let head = head(&frame[HEAD_BYTES..]);
    frame[..HEAD_BYTES].copy_from_slice(&head);
    frame.push(END);
    frame
}

fn head(text: &[u8]) -> [u8; HEAD_BYTES] {
    let length = (text.len() as u64).to_be_bytes();
    let length = &length[size_of::<u64>() - LENGTH_DIGITS / 2..];
    let mut head = [b' '; HEAD_BYTES];
    head[0] = SEPARATOR;
    put_digits(&mut head[1..=LENGTH_DIGITS], length);
    put_digits(
        &mut head[LENGTH_DIGITS + 2..HEAD_BYTES - 1],
        &crc32fast::hash(text).to_be_bytes(),
    );
    head
}

fn put_digits(digits: &mut [u8], bytes: &[u8]) {
    hex::encode_to_slice(bytes, digits).expect("two digits for a byte");
}

/// Reads the next frame into `frame` and returns its text. `None` if it is not whole; `frame` has
/// what was read of it then.
pub fn next_frame<'a>(
    reader: &mut impl BufRead,
    frame: &'a mut Vec<u8>,
) -> io::Result<Option<&'a [u8]>> {
    frame.clear();
    reader.take(HEAD_BYTES as u64).read_to_end(frame)?;
    let Some(length) = length_in(frame) else {
        return Ok(None);
    };
    reader.take(length + 1).read_to_end(frame)?;
    Ok(text_of(frame).filter(|text| text.len() as u64 == length))
}

/// The length in a frame's head.
fn length_in(frame: &[u8]) -> Option<u64> {
    let digits = frame.strip_prefix(&[SEPARATOR])?.get(..LENGTH_DIGITS)?;
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// The text of a whole frame at the beginning of `bytes`.
fn text_of(bytes: &[u8]) -> Option<&[u8]> {
    let length = usize::try_from(length_in(bytes)?).ok()?;
    let end = HEAD_BYTES.checked_add(length)?;
    let text = bytes.get(HEAD_BYTES..end)?;
    let is_whole = bytes.get(end) == Some(&END) && bytes.starts_with(&head(text));
    is_whole.then_some(text)
}

/// Whether what follows the last whole frame, from `offset` on, is what a torn write leaves.
pub fn is_torn(offset: u64, rest: &[u8]) -> bool {
    let begins_frame = |at: usize| rest[at] == SEPARATOR && text_of(&rest[at..]).is_some();
    if (0..rest.len()).any(begins_frame) {
        return false;
    }
    let ends_early = match length_in(rest) {
        Some(length) => (rest.len() as u64) <= HEAD_BYTES as u64 + length && !rest.contains(&END),
        None => {
            let digits = rest.strip_prefix(&[SEPARATOR]);
            digits.is_some_and(|digits| {
                digits.len() < LENGTH_DIGITS && digits.iter().all(u8::is_ascii_hexdigit)
            })
        }
    };
    ends_early || has_zero_sector(offset, rest)
}

/// Whether one of the sectors over which `rest` lies holds nothing of it.
fn has_zero_sector(offset: u64, rest: &[u8]) -> bool {
    let before = usize::try_from(offset % SECTOR_BYTES as u64).unwrap_or(0);
    let (first, others) = rest.split_at(rest.len().min(SECTOR_BYTES - before));
    let is_zero = |sector: &[u8]| !sector.is_empty() && sector.iter().all(|byte| *byte == 0);
    is_zero(first) || others.chunks(SECTOR_BYTES).any(is_zero)
}

/// Reads the whole frame at a place, and returns its text.
///
/// # Errors
/// Those of reading, or if there is no whole frame.
pub fn read_frame_at(file: &File, at: u64) -> io::Result<Vec<u8>> {
    let mut head = [0; HEAD_BYTES];
    file.read_exact_at(&mut head, at)?;
    let damaged = || io::Error::other(format!("the frame at byte {at} is damaged"));
    let length = length_in(&head).ok_or_else(damaged)?;
    let mut text = vec![0; usize::try_from(length).map_err(|_| damaged())?];
    file.read_exact_at(&mut text, at + HEAD_BYTES as u64)?;
    if head == self::head(&text) {
        Ok(text)
    } else {
        Err(damaged())
    }
}

/// How long the frame of a text is, in bytes.
pub fn frame_bytes(text: &[u8]) -> u64 {
    (HEAD_BYTES + text.len() + 1) as u64
}

/// The text of a frame that was made by [`end_frame`].
#[cfg(feature = "internals")]
#[must_use]
pub fn text_of_frame(frame: &[u8]) -> &[u8] {
    text_of(frame).unwrap_or_default()
}
