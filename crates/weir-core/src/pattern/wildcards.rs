//! Wildcards: `*` is any run of characters, `?` exactly one, `\` makes either literal.

use super::Case;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    AnyRun,
    AnyOne,
    Byte(u8),
}

impl Token {
    fn literal(self) -> Option<u8> {
        match self {
            Self::Byte(byte) => Some(byte),
            Self::AnyRun | Self::AnyOne => None,
        }
    }
}

/// A compiled pattern with wildcards.
#[derive(Clone, Debug)]
pub(super) struct Wildcards {
    tokens: Vec<Token>,
    case: Case,
}

impl Wildcards {
    /// Compiles printable ASCII.
    pub(super) fn new(source: &str, case: Case) -> Self {
        let mut tokens = Vec::with_capacity(source.len());
        let mut bytes = source.bytes().peekable();
        while let Some(byte) = bytes.next() {
            let token = match byte {
                b'*' => Token::AnyRun,
                b'?' => Token::AnyOne,
                b'\\' => Token::Byte(fold(
                    bytes.next_if(|b| matches!(b, b'*' | b'?' | b'\\')).unwrap_or(b'\\'),
                    case,
                )),
                _ => Token::Byte(fold(byte, case)),
            };
            // Two `*` in a row mean the same as one and would cost a level of backtracking.
            if token != Token::AnyRun || tokens.last() != Some(&Token::AnyRun) {
                tokens.push(token);
            }
        }
        Self { tokens, case }
    }

    /// Whether the whole of `text` matches. Time is at most pattern length times text length; no allocation.
    pub(super) fn matches(&self, text: &[u8]) -> bool {
        let (mut token, mut at) = (0, 0);
        // Where to resume when a later token fails: just after the last `*`, one byte further into the text.
        let mut resume: Option<(usize, usize)> = None;
        while at < text.len() {
            let step = match self.tokens.get(token) {
                Some(Token::AnyRun) => {
                    resume = Some((token + 1, at));
                    token += 1;
                    continue;
                }
                Some(Token::AnyOne) => true,
                Some(Token::Byte(byte)) => *byte == fold(text[at], self.case),
                None => false,
            };
            if step {
                token += 1;
                at += 1;
            } else if let Some((after_run, from)) = resume {
                token = after_run;
                at = from + 1;
                resume = Some((after_run, at));
            } else {
                return false;
            }
        }
        self.tokens[token..].iter().all(|t| *t == Token::AnyRun)
    }

    /// The bytes that every text begins with that matches, in lower case where case does not matter.
    pub(super) fn literal_start(&self) -> impl Iterator<Item = u8> {
        self.tokens.iter().map_while(|token| token.literal())
    }

    /// The bytes that every text ends with that matches, in lower case where case does not matter; the last one first.
    pub(super) fn literal_end_reversed(&self) -> impl Iterator<Item = u8> {
        self.tokens.iter().rev().map_while(|token| token.literal())
    }
}

fn fold(byte: u8, case: Case) -> u8 {
    match case {
        Case::Insensitive => byte.to_ascii_lowercase(),
        Case::Sensitive => byte,
    }
}
