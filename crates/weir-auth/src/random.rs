//! Numbers that nobody guesses.

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use weir_core::seal::{NONCE_BYTES, Nonce};

/// Bytes of an identifier.
const IDENTIFIER_BYTES: usize = 18;

/// A nonce to seal with.
pub(crate) fn nonce() -> Nonce {
    Nonce(bytes::<NONCE_BYTES>())
}

/// A text that nobody guesses: letters, digits, `-` and `_`.
pub(crate) fn identifier() -> String {
    URL_SAFE_NO_PAD.encode(bytes::<IDENTIFIER_BYTES>())
}

/// Whether a text may be an identifier.
pub(crate) fn is_identifier(text: &str) -> bool {
    URL_SAFE_NO_PAD.decode(text).is_ok_and(|bytes| bytes.len() == IDENTIFIER_BYTES)
}

fn bytes<const COUNT: usize>() -> [u8; COUNT] {
    let mut bytes = [0; COUNT];
    rand::fill(&mut bytes).expect("the system has random numbers");
    bytes
}
