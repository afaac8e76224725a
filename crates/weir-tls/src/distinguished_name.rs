//! Names of subjects and issuers as RFC 2253 writes them, fit for a header: `CN=client,O=Example,C=US`.

use crate::der::{
    BMP_STRING, Der, Element, IA5_STRING, OBJECT_IDENTIFIER, PRINTABLE_STRING, SEQUENCE, SET, TELETEX_STRING,
    UTF8_STRING,
};

/// Attributes that have a name, those of RFC 2253 and those that OpenSSL adds, by their object identifiers in DER.
const ATTRIBUTES: [(&[u8], &str); 15] = [
    (&[0x55, 4, 3], "CN"),
    (&[0x55, 4, 4], "SN"),
    (&[0x55, 4, 5], "serialNumber"),
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 9], "street"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
    (&[0x55, 4, 12], "title"),
    (&[0x55, 4, 42], "GN"),
    (&[0x55, 4, 43], "initials"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1], "emailAddress"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1], "UID"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25], "DC"),
];

/// The object identifier of a common name.
const COMMON_NAME: &[u8] = &[0x55, 4, 3];

/// One attribute: its object identifier, and its value.
type Attribute<'a> = (&'a [u8], Element<'a>);

/// The name that `name`, what the sequence of a name holds, stands for: its last part first. `None` when it is none.
pub(crate) fn written(name: &[u8]) -> Option<String> {
    let mut parts = Vec::new();
    for part in parts_of(name)? {
        let mut text = String::new();
        // Their order means nothing; this is OpenSSL's.
        for (number, (kind, value)) in part.into_iter().rev().enumerate() {
            if number > 0 {
                text.push('+');
            }
            write_attribute(kind, value, &mut text);
        }
        parts.push(text);
    }
    parts.reverse();
    Some(parts.join(","))
}

/// The last common name in `name`, if it is text.
pub(crate) fn common_name(name: &[u8]) -> Option<String> {
    let (_, value) = parts_of(name)?.into_iter().flatten().rfind(|(kind, _)| *kind == COMMON_NAME)?;
    text_of(value)
}

fn parts_of(name: &[u8]) -> Option<Vec<Vec<Attribute<'_>>>> {
    let mut parts = Vec::new();
    let mut rest = Der::new(name);
    while !rest.is_empty() {
        let mut set = rest.enter(SET)?;
        let mut attributes = Vec::new();
        while !set.is_empty() {
            let mut attribute = set.enter(SEQUENCE)?;
            attributes.push((attribute.take(OBJECT_IDENTIFIER)?, attribute.element()?));
        }
        parts.push(attributes);
    }
    Some(parts)
}

fn write_attribute(kind: &[u8], value: Element<'_>, text: &mut String) {
    let name = ATTRIBUTES.iter().find(|(identifier, _)| *identifier == kind).map(|(_, name)| *name);
    match name {
        Some(name) => text.push_str(name),
        None => text.push_str(&dotted(kind)),
    }
    text.push('=');
    match text_of(value).filter(|_| name.is_some()) {
        Some(value) => escape(&value, text),
        None => {
            text.push('#');
            text.push_str(&hex(value.whole));
        }
    }
}

fn text_of(value: Element<'_>) -> Option<String> {
    match value.tag {
        UTF8_STRING | PRINTABLE_STRING | IA5_STRING => String::from_utf8(value.value.to_vec()).ok(),
        // Whatever the standard says, those who use it mean Latin-1.
        TELETEX_STRING => Some(value.value.iter().map(|byte| char::from(*byte)).collect()),
        BMP_STRING => {
            let units = value.value.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            String::from_utf16(&units.collect::<Vec<u16>>()).ok()
        }
        _ => None,
    }
}

/// Escapes what RFC 2253 asks for, and by code what a header could not carry.
fn escape(value: &str, text: &mut String) {
    let last = value.chars().count().saturating_sub(1);
    for (at, c) in value.chars().enumerate() {
        match c {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => text.extend(['\\', c]),
            '#' if at == 0 => text.push_str("\\#"),
            ' ' if at == 0 || at == last => text.push_str("\\ "),
            ' '..='~' => text.push(c),
            _ => {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    text.push('\\');
                    text.push_str(&hex(&[byte]));
                }
            }
        }
    }
}

/// `1.2.840.113549.1.9.1`.
fn dotted(identifier: &[u8]) -> String {
    let mut arcs: Vec<u128> = Vec::new();
    let mut arc: u128 = 0;
    for byte in identifier {
        // What is longer than any identifier in use loses its highest bits.
        arc = arc << 7 | u128::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            if arcs.is_empty() {
                let first = (arc / 40).min(2);
                arcs.extend([first, arc - first * 40]);
            } else {
                arcs.push(arc);
            }
            arc = 0;
        }
    }
    arcs.iter().map(ToString::to_string).collect::<Vec<_>>().join(".")
}

/// Two digits for each byte, in upper case.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digits =
        bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    digits.map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name of one attribute for each pair.
    fn name(attributes: &[(&[u8], u8, &[u8])]) -> Vec<u8> {
        let element = |tag: u8, value: &[u8]| [&[tag, value.len() as u8], value].concat();
        let part = |(kind, tag, value): &(&[u8], u8, &[u8])| {
            let attribute = [element(OBJECT_IDENTIFIER, kind), element(*tag, value)].concat();
            element(SET, &element(SEQUENCE, &attribute))
        };
        attributes.iter().flat_map(part).collect()
    }

    #[test]
    fn the_last_part_comes_first() {
        let name = name(&[
            (&[0x55, 4, 6], PRINTABLE_STRING, b"US"),
            (&[0x55, 4, 10], UTF8_STRING, b"mTLS"),
            (&[0x55, 4, 3], UTF8_STRING, b"rootcamtls.com"),
        ]);
        assert_eq!(written(&name).unwrap(), "CN=rootcamtls.com,O=mTLS,C=US");
        assert_eq!(common_name(&name).unwrap(), "rootcamtls.com");
    }

    #[test]
    fn what_would_break_the_name_or_the_header_is_escaped() {
        let name = name(&[(&[0x55, 4, 3], UTF8_STRING, " #a,b+\"c\\<d>;=é\r\n ".as_bytes())]);
        assert_eq!(written(&name).unwrap(), r#"CN=\ #a\,b\+\"c\\\<d\>\;=\C3\A9\0D\0A\ "#);
    }

    #[test]
    fn unknown_attributes_are_numbers_and_bytes() {
        let name = name(&[(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 2], UTF8_STRING, b"x")]);
        assert_eq!(written(&name).unwrap(), "1.2.840.113549.1.9.2=#0C0178");
    }

    #[test]
    fn old_kinds_of_text_are_read() {
        let name = name(&[
            (&[0x55, 4, 10], BMP_STRING, &[0, b'a', 0, b'b']),
            (&[0x55, 4, 3], TELETEX_STRING, &[0xe9]),
        ]);
        assert_eq!(written(&name).unwrap(), r"CN=\C3\A9,O=ab");
    }
}
