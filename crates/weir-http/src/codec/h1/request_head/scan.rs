//! Runs over bytes that need no attention, eight at a time where that pays.

/// A byte in every place of a word.
const fn everywhere(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

const HIGH: u64 = everywhere(0x80);

/// Bits of the places in which a byte is below `floor`, DEL, or not ASCII. The lowest bit is exact; higher ones may be
/// carried over from it.
const fn odd_bytes(word: u64, floor: u8) -> u64 {
    let below = word.wrapping_sub(everywhere(floor));
    let delete = word.wrapping_add(everywhere(1));
    (below | delete | word) & HIGH
}

/// Bits of the places in which a byte is `byte`, as exact as [`odd_bytes`].
const fn same_bytes(word: u64, byte: u8) -> u64 {
    let difference = word ^ everywhere(byte);
    difference.wrapping_sub(everywhere(1)) & !difference & HIGH
}

/// Where, from `at`, the first byte stands for which `is_odd` holds, or the end. `odd_of_word` says the same of words.
#[inline]
fn run(bytes: &[u8], mut at: usize, odd_of_word: impl Fn(u64) -> u64, is_odd: impl Fn(u8) -> bool) -> usize {
    while let Some(word) = bytes[at..].first_chunk() {
        let odd = odd_of_word(u64::from_le_bytes(*word));
        if odd != 0 {
            return at + (odd.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while at < bytes.len() && !is_odd(bytes[at]) {
        at += 1;
    }
    at
}

/// The first control byte (HT among them) or byte that is not ASCII, from `at`; or the end.
pub(in super::super) fn plain_end(bytes: &[u8], at: usize) -> usize {
    run(bytes, at, |word| odd_bytes(word, b' '), |byte| !(b' '..=b'~').contains(&byte))
}

/// The first byte that is no part of a request target, or not ASCII, from `at`; or the end.
pub(super) fn target_end(bytes: &[u8], at: usize) -> usize {
    let odd_of_word = |word| odd_bytes(word, b'!') | same_bytes(word, b'#');
    run(bytes, at, odd_of_word, |byte| byte == b'#' || !byte.is_ascii_graphic())
}

/// The first byte that is no part of a token, from `at`; or the end.
#[inline]
pub(in super::super) fn token_end(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    at + rest.iter().position(|byte| !TOKEN[*byte as usize]).unwrap_or(rest.len())
}

/// Whether a byte is part of a token.
#[inline]
pub(in super::super) fn is_token(byte: u8) -> bool {
    TOKEN[byte as usize]
}

/// Which bytes tokens are made of. Source: RFC 9110 section 5.6.2.
static TOKEN: [bool; 256] = {
    let (mut table, mut byte) = ([false; 256], 0_u8);
    while byte < 0x80 {
        let is_sign = matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        );
        table[byte as usize] = byte.is_ascii_alphanumeric() || is_sign;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    /// Where `run` stops, for every byte in every place of a text of nine bytes.
    fn check(run: fn(&[u8], usize) -> usize, is_odd: fn(u8) -> bool) {
        for byte in 0..=u8::MAX {
            for place in 0..9 {
                for filler in [b'a', b'~', b'!'] {
                    let mut text = [filler; 9];
                    text[place] = byte;
                    let expected = if is_odd(byte) { place } else { 9 };
                    assert_eq!(run(&text, 0), expected, "{byte:#04x} in place {place}");
                    assert_eq!(run(&text, place), expected, "{byte:#04x} from place {place}");
                }
            }
        }
    }

    #[test]
    fn plain_text_ends_at_controls_and_at_what_is_not_ascii() {
        check(plain_end, |byte| !(b' '..=b'~').contains(&byte));
    }

    #[test]
    fn a_target_ends_at_spaces_and_fragments_too() {
        check(target_end, |byte| byte <= b' ' || byte >= 0x7f || byte == b'#');
    }

    #[test]
    fn a_token_ends_at_separators() {
        check(token_end, |byte| byte <= b' ' || byte >= 0x7f || b"\"(),/:;<=>?@[\\]{}".contains(&byte));
    }
}
