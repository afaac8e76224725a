//! Just enough of DER to find one's way through a certificate. Anything unexpected is `None`.

/// Elements that follow one another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Der<'a>(&'a [u8]);

/// One element.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Element<'a> {
    /// What it is.
    pub(crate) tag: u8,
    /// What it holds.
    pub(crate) value: &'a [u8],
    /// All of it, with tag and length.
    pub(crate) whole: &'a [u8],
}

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(crate) const UTF8_STRING: u8 = 0x0c;
pub(crate) const PRINTABLE_STRING: u8 = 0x13;
pub(crate) const TELETEX_STRING: u8 = 0x14;
pub(crate) const IA5_STRING: u8 = 0x16;
pub(crate) const UTC_TIME: u8 = 0x17;
pub(crate) const GENERALIZED_TIME: u8 = 0x18;
pub(crate) const BMP_STRING: u8 = 0x1e;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;

impl<'a> Der<'a> {
    /// The elements of `bytes`.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next element, whatever it is.
    pub(crate) fn element(&mut self) -> Option<Element<'a>> {
        let [tag, length, rest @ ..] = self.0 else { return None };
        if tag & 0x1f == 0x1f {
            // No certificate has a tag of several bytes.
            return None;
        }
        let (length, rest) = match length {
            short @ ..0x80 => (usize::from(*short), rest),
            long => {
                let (bytes, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
                if bytes.is_empty() || bytes.len() > size_of::<u32>() {
                    return None;
                }
                (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
            }
        };
        let (value, rest) = rest.split_at_checked(length)?;
        let whole = &self.0[..self.0.len() - rest.len()];
        self.0 = rest;
        Some(Element { tag: *tag, value, whole })
    }

    /// What the next element holds, which must be a `tag`.
    pub(crate) fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.element().filter(|element| element.tag == tag).map(|element| element.value)
    }

    /// The elements inside the next one, which must be a `tag`.
    pub(crate) fn enter(&mut self, tag: u8) -> Option<Self> {
        self.take(tag).map(Self)
    }

    /// What the next element holds, if it is a `tag`; otherwise it stays the next.
    pub(crate) fn take_if(&mut self, tag: u8) -> Option<&'a [u8]> {
        if self.0.first() == Some(&tag) { self.take(tag) } else { None }
    }

    /// Whether there is nothing left.
    pub(crate) fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_one_and_of_several_bytes_are_read() {
        let mut long = vec![0x30, 0x82, 0x01, 0x00];
        long.extend([7; 256]);
        assert_eq!(Der::new(&long).take(SEQUENCE).unwrap().len(), 256);
        assert_eq!(Der::new(&[0x02, 0x01, 0x05]).take(INTEGER).unwrap(), [5]);
    }

    #[test]
    fn what_is_cut_or_has_no_length_is_nothing() {
        for bytes in
            [&[][..], &[0x30], &[0x30, 0x05, 0x01], &[0x30, 0x80, 0, 0], &[0x30, 0x84, 1], &[0x1f, 0x01, 0]]
        {
            assert!(Der::new(bytes).element().is_none(), "{bytes:?}");
        }
    }
}
