//! Names that become a part of a subject.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use super::SessionLane;

/// The longest session, pool or task id, in characters.
pub(crate) const MAX_TOKEN_LEN: usize = 64;

/// Which bytes a token may hold. A table, because each task has some hundred of them to check.
const ALLOWED: [bool; 256] = {
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
    let mut allowed = [false; 256];
    let mut at = 0;
    while at < letters.len() {
        allowed[letters[at] as usize] = true;
        at += 1;
    }
    allowed
};

/// A session id, pool or task id: 1 to 64 of `A-Z a-z 0-9 _ -`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(String);

/// A name that cannot be a part of a subject.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid {what} {value:?}: use 1 to 64 letters, digits, '_' or '-'")]
pub struct InvalidToken {
    what: &'static str,
    value: String,
}

/// Checks that `value` can be a part of a subject. `what` names it in the error.
///
/// # Errors
/// [`InvalidToken`] when it is empty, longer than 64 characters, or holds another character.
pub fn validate_token(what: &'static str, value: &str) -> Result<(), InvalidToken> {
    let fits = (1..=MAX_TOKEN_LEN).contains(&value.len());
    if fits && value.bytes().all(|byte| ALLOWED[usize::from(byte)]) {
        return Ok(());
    }
    Err(InvalidToken {
        what,
        value: value.to_owned(),
    })
}

/// Whether a pool may not bear this name, because it has a meaning in subjects.
#[must_use]
pub fn is_reserved_pool(name: &str) -> bool {
    name == "own" || name.parse::<SessionLane>().is_ok()
}

impl Token {
    /// Checks and wraps `value`. `what` names it in the error: `"session id"`.
    ///
    /// # Errors
    /// As [`validate_token`].
    pub fn new(what: &'static str, value: impl Into<String>) -> Result<Self, InvalidToken> {
        let value = value.into();
        validate_token(what, &value)?;
        Ok(Self(value))
    }

    /// A new id that is unique in space and time (UUID version 7, 32 hexadecimal digits).
    #[must_use]
    pub fn unique() -> Self {
        let id = Uuid::now_v7().simple();
        Self(id.encode_lower(&mut Uuid::encode_buffer()).to_owned())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Token {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        Self::new("name", text)
    }
}

impl From<Token> for String {
    fn from(token: Token) -> Self {
        token.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_meaning_in_subjects_is_refused() {
        for bad in ["", "a.b", "a b", "*", ">", "é", &"x".repeat(65)] {
            assert!(validate_token("session id", bad).is_err(), "{bad:?}");
        }
        let error = Token::new("session id", "a.b").expect_err("a dot");
        assert_eq!(
            error.to_string(),
            "invalid session id \"a.b\": use 1 to 64 letters, digits, '_' or '-'"
        );
        assert!(Token::new("session id", "x".repeat(64)).is_ok());
        assert!(validate_token("id", Token::unique().as_str()).is_ok());
    }
}
