//! The head of a message: its bytes, and its fields as spans over them.

use std::cell::RefCell;

use weir_core::head::HeaderLines;

use super::buffer::Buffer;
use super::fields::{Field, Fields, Known, KnownSet, Span};

/// Lists of fields that one worker keeps for reuse.
const KEPT_MAX: usize = 256;

/// Longest list that is kept, in fields.
const KEPT_FIELDS_MAX: usize = 128;

thread_local! {
    static LISTS: RefCell<Vec<Vec<Field>>> = const { RefCell::new(Vec::new()) };
}

/// A list of fields, empty: from the worker's pool.
pub(crate) fn borrow_list() -> Vec<Field> {
    LISTS.with_borrow_mut(Vec::pop).unwrap_or_else(|| Vec::with_capacity(16))
}

/// Gives a list back to the worker's pool.
pub(crate) fn give_back(mut list: Vec<Field>) {
    if list.capacity() > 0 && list.capacity() <= KEPT_FIELDS_MAX {
        list.clear();
        // A thread that ends has no pool any more.
        let _ = LISTS.try_with(|lists| {
            let mut lists = lists.borrow_mut();
            if lists.len() < KEPT_MAX {
                lists.push(list);
            }
        });
    }
}

/// A head, with the spans of its fields.
#[derive(Debug)]
pub(crate) struct Head {
    /// As many as there are: a head is held for as long as its target takes to answer, a buffer is not.
    bytes: Box<[u8]>,
    list: Vec<Field>,
    /// The known names among its fields: most that are asked for are not there.
    known: KnownSet,
}

impl Head {
    /// A head from its bytes and the fields that were found in them.
    pub(crate) fn new(bytes: &[u8], list: Vec<Field>) -> Self {
        let known = list.iter().fold(KnownSet::default(), |set, field| set.with(field.known));
        Self { bytes: bytes.into(), list, known }
    }

    /// All of its bytes.
    pub(crate) fn whole(&self) -> &[u8] {
        &self.bytes
    }

    /// What a span of it spans.
    pub(crate) fn bytes(&self, span: Span) -> &[u8] {
        span.of(&self.bytes)
    }

    /// A span as text; empty when it is not UTF-8.
    pub(crate) fn text(&self, span: Span) -> &str {
        std::str::from_utf8(self.bytes(span)).unwrap_or("")
    }

    /// Its fields.
    pub(crate) fn fields(&self) -> Fields<'_> {
        Fields { bytes: &self.bytes, list: &self.list, known: self.known }
    }

    /// The first value of a known name.
    pub(crate) fn first(&self, known: Known) -> Option<&[u8]> {
        self.fields().values(known).next()
    }

    /// Whether a `Connection` says more than most do, and so may name other fields as its own.
    pub(crate) fn nominates(&self) -> bool {
        const PLAIN: [&[u8]; 3] = [b"keep-alive", b"close", b"upgrade"];
        let is_plain = |value: &[u8]| PLAIN.iter().any(|plain| value.eq_ignore_ascii_case(plain));
        self.fields().values(Known::Connection).any(|value| !is_plain(value))
    }

    /// Whether names of fields have other characters than letters, digits and hyphens; `drops` leaves such fields out.
    ///
    /// Source: Application Load Balancer, `routing.http.drop_invalid_header_fields.enabled`.
    pub(crate) fn find_invalid_names(&mut self, drops: bool) -> bool {
        let is_usual = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
        let bytes = &self.bytes;
        let is_valid =
            |field: &Field| field.known != Known::Other || field.name.of(bytes).iter().all(is_usual);
        let are_all_valid = self.list.iter().all(is_valid);
        if drops && !are_all_valid {
            self.list.retain(is_valid);
        }
        !are_all_valid
    }

    /// Takes a head out of the beginning of what has come; the rest stays, without a buffer if there is none.
    pub(crate) fn take(input: &mut Option<Buffer>, count: usize, list: Vec<Field>) -> Self {
        let buffer = input.as_mut().expect("a head is in it");
        let head = Self::new(&buffer.data()[..count], list);
        buffer.consume(count);
        if buffer.is_empty() {
            *input = None;
        }
        head
    }

    /// Whether a comma-separated field has `token`, whatever its case.
    pub(crate) fn has_token(&self, known: Known, token: &str) -> bool {
        self.fields().values(known).any(|value| has_token(value, token))
    }
}

/// Whether a head that was not whole may be so with these bytes: a look that is cheaper than reading all of it anew,
/// however slowly a peer lets it drip in.
pub(crate) fn may_end_head(new: &[u8]) -> bool {
    new.contains(&b'\n')
}

/// Whether a comma-separated value has `token`, whatever its case.
pub(crate) fn has_token(value: &[u8], token: &str) -> bool {
    // Most values are one token.
    value.eq_ignore_ascii_case(token.as_bytes())
        || value.split(|byte| *byte == b',').any(|t| t.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

impl HeaderLines for Head {
    fn any_value(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.fields().any_value(name, test)
    }

    fn first_value(&self, name: &str) -> Option<&[u8]> {
        self.fields().named(name).next()
    }
}

impl Drop for Head {
    fn drop(&mut self) {
        give_back(std::mem::take(&mut self.list));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::h1::request_head::parse;

    // Conformance: A5.0.21
    #[test]
    fn names_with_other_than_letters_digits_and_hyphens_are_found_and_can_be_left_out() {
        let mut bytes = *b"GET / HTTP/1.1\r\nHost: a\r\nX_Y: a\r\nX-1: b\r\nX.Y: c\r\n\r\n";
        let mut fields = Vec::new();
        parse(&mut bytes, &mut fields).unwrap().unwrap();
        let mut head = Head::new(&bytes, fields);
        assert!(head.find_invalid_names(false));
        assert_eq!(names(&head), ["Host", "X_Y", "X-1", "X.Y"]);
        assert!(head.find_invalid_names(true));
        assert_eq!(names(&head), ["Host", "X-1"]);
        assert!(!head.find_invalid_names(true));
    }

    fn names(head: &Head) -> Vec<&str> {
        head.list.iter().map(|field| head.text(field.name)).collect()
    }
}
