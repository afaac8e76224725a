//! As much of HPACK as a generator needs: requests in literals, and of responses the status and one field.
//!
//! The peer is told that there is no dynamic table, so that every block stands for itself.
//!
//! Source: RFC 7541.

use super::http1::Malformed;

/// What a header block says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head<'a> {
    /// Zero when there is none, as in trailers.
    pub(super) status: u16,
    pub(super) target: Option<Text<'a>>,
}

/// Statuses in the static table, from entry 8 on. Source: RFC 7541, appendix A.
const STATUSES: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];

/// Entries of the static table.
const STATIC: usize = 61;

const TARGET: &[u8] = b"x-lab-target";

/// Characters whose codes have 5 to 8 bits, in the order of these; names of targets have no others.
///
/// Source: RFC 7541, appendix B.
const CODES: [(u8, u8, &[u8]); 4] = [
    (5, 0x00, b"012aceiost"),
    (6, 0x14, b" %-./3456789=A_bdfghlmnpru"),
    (7, 0x5c, b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"),
    (8, 0xf8, b"&*,;XZ"),
];

/// Character and bits of the code that begins with these eight bits; no bits where a longer code does.
const DECODE: [(u8, u8); 256] = decode_table();

const fn decode_table() -> [(u8, u8); 256] {
    let mut table = [(0, 0); 256];
    let mut group = 0;
    while group < CODES.len() {
        let (bits, first, characters) = CODES[group];
        let mut at = 0;
        while at < characters.len() {
            let begin = (first as usize + at) << (8 - bits);
            let mut rest = 0;
            while rest < 1 << (8 - bits) {
                table[begin + rest] = (characters[at], bits);
                rest += 1;
            }
            at += 1;
        }
        group += 1;
    }
    table
}

/// Appends a field whose name is that entry of the static table, to be entered in no table.
pub(super) fn write_indexed(out: &mut Vec<u8>, entry: u8, value: &[u8]) {
    out.push(entry);
    write_text(out, value);
}

/// Appends a field, to be entered in no table.
pub(super) fn write(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.push(0);
    write_text(out, name);
    write_text(out, value);
}

fn write_text(out: &mut Vec<u8>, text: &[u8]) {
    if text.len() < 127 {
        out.push(text.len() as u8);
    } else {
        out.push(127);
        let mut rest = text.len() - 127;
        while rest >= 128 {
            out.push(rest as u8 | 128);
            rest >>= 7;
        }
        out.push(rest as u8);
    }
    out.extend_from_slice(text);
}

/// Reads a header block. `scratch` is for strings, so that none is allocated.
pub(super) fn read<'a>(mut block: &'a [u8], scratch: &mut Vec<u8>) -> Result<Head<'a>, Malformed> {
    let mut head = Head { status: 0, target: None };
    while let Some(&first) = block.first() {
        let is_indexed = first & 0x80 != 0;
        let is_size = first & 0xe0 == 0x20;
        let prefix = match first {
            _ if is_indexed => 7,
            0x40..=0x7f => 6,
            _ if is_size => 5,
            _ => 4,
        };
        let entry = read_number(&mut block, prefix)?;
        if is_size {
            continue;
        }
        if entry > STATIC {
            return Err(Malformed);
        }
        if is_indexed {
            if let Some(status) = entry.checked_sub(8).and_then(|at| STATUSES.get(at)) {
                head.status = *status;
            }
            continue;
        }
        let name = if entry == 0 { Some(read_text(&mut block)?) } else { None };
        let value = read_text(&mut block)?;
        scratch.clear();
        if (8..8 + STATUSES.len()).contains(&entry) {
            let digits = value.write(scratch).and_then(|()| std::str::from_utf8(scratch).ok());
            head.status = digits.and_then(|digits| digits.parse().ok()).ok_or(Malformed)?;
        } else if let Some(name) = name.filter(|name| name.bytes.len() <= TARGET.len())
            && name.write(scratch).is_some()
            && scratch == TARGET
        {
            head.target = Some(value);
        }
    }
    Ok(head)
}

/// A string as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Text<'a> {
    is_huffman: bool,
    bytes: &'a [u8],
}

impl Text<'_> {
    /// Writes what it says; `None` when it has characters that are none of [`CODES`].
    pub(super) fn write(&self, out: &mut Vec<u8>) -> Option<()> {
        if !self.is_huffman {
            out.extend_from_slice(self.bytes);
            return Some(());
        }
        let (mut bits, mut held) = (0_u32, 0_u32);
        let mut bytes = self.bytes.iter();
        loop {
            while held <= 16
                && let Some(byte) = bytes.next()
            {
                bits = bits << 8 | u32::from(*byte);
                held += 8;
            }
            if held == 0 {
                return Some(());
            }
            // The end is padded with ones.
            let next = if held >= 8 { bits >> (held - 8) } else { bits << (8 - held) | 0xff >> held } & 0xff;
            let (character, length) = DECODE[next as usize];
            if length == 0 || u32::from(length) > held {
                let is_padding = held < 8 && next == 0xff;
                return is_padding.then_some(());
            }
            out.push(character);
            held -= u32::from(length);
        }
    }
}

fn read_text<'a>(block: &mut &'a [u8]) -> Result<Text<'a>, Malformed> {
    let is_huffman = block.first().ok_or(Malformed)? & 0x80 != 0;
    let length = read_number(block, 7)?;
    let (bytes, rest) = block.split_at_checked(length).ok_or(Malformed)?;
    *block = rest;
    Ok(Text { is_huffman, bytes })
}

/// A number that begins in so many bits of the first byte.
fn read_number(block: &mut &[u8], prefix: u32) -> Result<usize, Malformed> {
    let (first, mut rest) = block.split_first().ok_or(Malformed)?;
    let most = (1_usize << prefix) - 1;
    let mut number = usize::from(*first) & most;
    if number == most {
        // Four more bytes are far beyond any block that would be read.
        for shift in [0, 7, 14, 21] {
            let (byte, after) = rest.split_first().ok_or(Malformed)?;
            rest = after;
            number += usize::from(byte & 127) << shift;
            if byte & 128 == 0 {
                *block = rest;
                return Ok(number);
            }
        }
        return Err(Malformed);
    }
    *block = rest;
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: Text<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        text.write(&mut out).unwrap();
        out
    }

    #[test]
    fn a_response_of_the_rfc_is_read() {
        // Source: RFC 7541, appendix C.6.1: `:status: 302` and three more, coded after Huffman.
        let block = [
            0x48, 0x82, 0x64, 0x02, 0x58, 0x85, 0xae, 0xc3, 0x77, 0x1a, 0x4b, 0x61, 0x96, 0xd0, 0x7a, 0xbe,
            0x94, 0x10, 0x54, 0xd4, 0x44, 0xa8, 0x20, 0x05, 0x95, 0x04, 0x0b, 0x81, 0x66, 0xe0, 0x82, 0xa6,
            0x2d, 0x1b, 0xff, 0x6e, 0x91, 0x9d, 0x29, 0xad, 0x17, 0x18, 0x63, 0xc7, 0x8f, 0x0b, 0x97, 0xc8,
            0xe9, 0xae, 0x82, 0xae, 0x43, 0xd3,
        ];
        assert_eq!(read(&block, &mut Vec::new()), Ok(Head { status: 302, target: None }));
        let date = Text { is_huffman: true, bytes: &block[13..35] };
        assert_eq!(said(date), b"Mon, 21 Oct 2013 20:13:21 GMT");
        let place = Text { is_huffman: true, bytes: &block[37..] };
        assert_eq!(said(place), b"https://www.example.com");
    }

    #[test]
    fn the_target_is_read_and_blocks_that_end_early_are_malformed() {
        let mut block = vec![0x20, 0x88];
        write(&mut block, b"server", b"x");
        write(&mut block, b"x-lab-target", b"task-1");
        let mut scratch = Vec::new();
        let head = read(&block, &mut scratch).unwrap();
        assert_eq!((head.status, said(head.target.unwrap())), (200, b"task-1".to_vec()));
        for end in 4..block.len() - 1 {
            let is_whole_field = end == 12;
            assert_eq!(read(&block[..end], &mut scratch).is_err(), !is_whole_field, "{end}");
        }
        let long = vec![b'a'; 300];
        let mut block = Vec::new();
        write(&mut block, b"x-lab-target", &long);
        assert_eq!(said(read(&block, &mut scratch).unwrap().target.unwrap()), long);
    }
}
