//! Changes to a head, applied while it is written.

use std::rc::Rc;

use super::fields::{Known, KnownSet};

/// A field's value, cheap to copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderText {
    /// Known beforehand.
    Static(&'static str),
    /// Made for one connection or one request: bytes that a field may have.
    Shared(Rc<[u8]>),
}

impl HeaderText {
    /// A value known beforehand.
    pub(crate) const fn from_static(text: &'static str) -> Self {
        Self::Static(text)
    }

    /// `text` as a value; `None` when it has bytes that a field may not have.
    pub(crate) fn new(text: &str) -> Option<Self> {
        let is_clean = text.bytes().all(|byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f));
        is_clean.then(|| Self::Shared(text.as_bytes().into()))
    }

    /// The value as it is written.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Static(text) => text.as_bytes(),
            Self::Shared(bytes) => bytes,
        }
    }

    /// The value as text; empty when it is none.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or("")
    }
}

/// Fields that are the same for every message of a connection, written beforehand.
#[derive(Debug, Default)]
pub(crate) struct Preset {
    /// What is replaced by them, or by nothing.
    known: KnownSet,
    /// The names among that which are not known ones.
    others: Vec<Box<[u8]>>,
    /// Whole lines.
    lines: Vec<u8>,
}

impl Preset {
    /// Sets a field in place of all of its name; once for each name.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        for part in [name, ": ", value, "\r\n"] {
            self.lines.extend_from_slice(part.as_bytes());
        }
    }

    /// Leaves out whatever has this name.
    pub(crate) fn remove(&mut self, name: &str) {
        match Known::of(name.as_bytes()) {
            Known::Other => self.others.push(name.as_bytes().into()),
            known => self.known = self.known.with(known),
        }
    }

    fn replaces_other(&self, name: &[u8]) -> bool {
        self.others.iter().any(|other| name.eq_ignore_ascii_case(other))
    }
}

/// A field that is set in place of all of its name, or beside them.
#[derive(Clone, Debug)]
pub(crate) struct Edit {
    known: Known,
    /// Whether it stands beside others of its name.
    is_added: bool,
    pub(crate) name: &'static str,
    pub(crate) value: HeaderText,
}

/// Fields that are set, in the order in which they are written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Edits {
    list: Vec<Edit>,
    presets: [Option<Rc<Preset>>; 2],
    /// The known names among them.
    known: KnownSet,
    /// Whether any of them has another name than the known ones.
    has_others: bool,
}

impl Edits {
    /// Sets a field in place of all of its name, or of its kind; once for each name.
    pub(crate) fn set(&mut self, known: Known, name: &'static str, value: HeaderText) {
        debug_assert_eq!(known, Known::of(name.as_bytes()));
        if self.list.capacity() == 0 {
            // What a listener tells every target.
            self.list.reserve_exact(4);
        }
        self.list.push(Edit { known, is_added: false, name, value });
        self.known = self.known.with(known);
        self.has_others |= known == Known::Other;
    }

    /// Sets a field beside those of its name.
    pub(crate) fn add(&mut self, name: &'static str, value: HeaderText) {
        self.list.push(Edit { known: Known::of(name.as_bytes()), is_added: true, name, value });
    }

    /// Leaves out every field of a known name, or of its kind, that came.
    pub(crate) fn leave_out(&mut self, known: Known) {
        self.known = self.known.with(known);
    }

    /// Sets fields that are the same for every message of a connection. Two sets of them at most.
    pub(crate) fn preset(&mut self, preset: Rc<Preset>) {
        self.known = self.known.with_all(preset.known);
        self.has_others |= !preset.others.is_empty();
        let [first, second] = &mut self.presets;
        *(if first.is_none() { first } else { second }) = Some(preset);
    }

    /// Sets fields that are the same for every message of a connection, also in place of those that were set before.
    pub(crate) fn preset_at_last(&mut self, preset: Rc<Preset>) {
        self.list.retain(|edit| match edit.known {
            Known::Other => !preset.replaces_other(edit.name.as_bytes()),
            known => !preset.known.has(known),
        });
        self.preset(preset);
    }

    /// The preset fields, as whole lines.
    pub(crate) fn preset_lines(&self) -> [&[u8]; 2] {
        self.presets.each_ref().map(|preset| preset.as_ref().map_or(&[][..], |preset| &preset.lines))
    }

    /// Whether a field that came is replaced.
    pub(crate) fn replaces(&self, known: Known, name: &[u8]) -> bool {
        match known {
            Known::Other => {
                let is_set = |edit: &Edit| !edit.is_added && name.eq_ignore_ascii_case(edit.name.as_bytes());
                self.has_others
                    && (self.list.iter().any(is_set)
                        || self.presets.iter().flatten().any(|preset| preset.replaces_other(name)))
            }
            known => self.known.has(known),
        }
    }

    /// The value that a known field is set to.
    pub(crate) fn get(&self, known: Known) -> Option<&HeaderText> {
        let edit = self.list.iter().find(|edit| edit.known == known)?;
        Some(&edit.value)
    }

    /// The fields that are set one by one.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Edit> {
        self.list.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_is_set_replaces_all_of_its_name() {
        let mut edits = Edits::default();
        edits.set(Known::XForwardedProto, "X-Forwarded-Proto", HeaderText::from_static("http"));
        edits.set(Known::Other, "Strict-Transport-Security", HeaderText::from_static("max-age=1"));
        assert!(edits.replaces(Known::XForwardedProto, b"x-forwarded-proto"));
        assert!(edits.replaces(Known::Other, b"strict-TRANSPORT-security"));
        assert!(!edits.replaces(Known::Other, b"x-other"));
        assert!(!edits.replaces(Known::Host, b"host"));
    }

    #[test]
    fn a_field_that_is_added_replaces_none() {
        let mut edits = Edits::default();
        edits.set(Known::Other, "X-Other", HeaderText::from_static("x"));
        edits.add("Set-Cookie", HeaderText::from_static("a=b"));
        assert!(!edits.replaces(Known::Other, b"set-cookie"));
        assert_eq!(edits.iter().count(), 2);
        edits.leave_out(Known::XAmznOidc);
        assert!(edits.replaces(Known::XAmznOidc, b"x-amzn-oidc-data"));
    }

    #[test]
    fn what_is_preset_at_last_replaces_what_was_set_and_what_came() {
        let mut preset = Preset::default();
        preset.set("X-Frame-Options", "DENY");
        preset.remove("Server");
        let mut edits = Edits::default();
        edits.set(Known::Server, "Server", HeaderText::from_static("weir"));
        edits.set(Known::Other, "x-frame-options", HeaderText::from_static("SAMEORIGIN"));
        edits.set(Known::Other, "X-Other", HeaderText::from_static("1"));
        edits.preset_at_last(Rc::new(preset));
        assert_eq!(edits.iter().map(|edit| edit.name).collect::<Vec<_>>(), ["X-Other"]);
        assert!(edits.replaces(Known::Server, b"server"));
        assert!(edits.replaces(Known::Other, b"X-FRAME-OPTIONS"));
        assert_eq!(edits.preset_lines()[0], b"X-Frame-Options: DENY\r\n");
    }

    #[test]
    fn a_value_with_bytes_that_would_end_the_field_is_none() {
        assert!(HeaderText::new("a\r\nb").is_none());
        assert!(HeaderText::new("a\tb ü").is_some());
    }
}
