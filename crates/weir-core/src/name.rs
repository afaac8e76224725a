//! Names that people give to load balancers and target groups.

use std::fmt;
use std::sync::Arc;

/// Longest name, in characters (AWS allows 32; labels and Compose services are longer).
pub const NAME_CHARS_MAX: usize = 128;

/// Why a text is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A character outside letters, digits, `-`, `_` and `.`, which would be ambiguous in logs and URLs.
    #[error("has the character {0:?}; use letters, digits, `-`, `_` and `.`")]
    Character(char),
    /// No character at all.
    #[error("is empty")]
    Empty,
    /// Longer than [`NAME_CHARS_MAX`].
    #[error("is longer than {NAME_CHARS_MAX} characters")]
    TooLong,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses a name.
            ///
            /// # Errors
            /// [`NameError`] when the text is empty, too long or has a character that names may not have.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                check(text)?;
                Ok(Self(text.into()))
            }

            /// The name as written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// The name of a target group, unique among target groups.
    GroupName
}
name! {
    /// The name of a load balancer, unique among load balancers.
    LoadBalancerName
}

fn check(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > NAME_CHARS_MAX {
        return Err(NameError::TooLong);
    }
    match text.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))) {
        Some(c) => Err(NameError::Character(c)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Conformance: A3.1.14
    #[test]
    fn a_name_has_letters_digits_and_three_marks() {
        assert!(GroupName::parse("shop.api-1_x").is_ok());
        assert_eq!(GroupName::parse(""), Err(NameError::Empty));
        assert_eq!(GroupName::parse("a b"), Err(NameError::Character(' ')));
        assert_eq!(GroupName::parse(&"x".repeat(129)), Err(NameError::TooLong));
    }
}
