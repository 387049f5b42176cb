//! A pair of keys. The file is that of a NATS nkey (`SU…`), so that one file can be both the login
//! at the server and the signature; the key's name is its public half, `U…`.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use nkeys::KeyPair;

/// How the text of a user's public key begins, and its seed.
const USER: &str = "U";
const USER_SEED: &str = "SU";

/// A key that cannot be used. The text never has the seed in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The text has no line that begins as a seed does.
    #[error("no line of it is the seed of a user's nkey (SU…)")]
    NoSeed,
    /// The seed or the key is damaged.
    #[error("it is no nkey: {0}; was it copied whole?")]
    Damaged(String),
    /// A public key of something else than a user.
    #[error("{0:?} is not the public key of a user (U…, 56 characters)")]
    NoUser(String),
}

/// The secret half of a key, which signs.
pub struct SigningKey {
    pair: KeyPair,
    id: String,
}

impl SigningKey {
    /// Reads an nkey file's text: the first line that is a user's seed. Comments may be around it.
    ///
    /// # Errors
    /// [`KeyError`], which never says the seed.
    pub fn from_text(text: &str) -> Result<Self, KeyError> {
        let mut lines = text.lines().map(str::trim);
        let seed = lines.find(|line| line.starts_with(USER_SEED) && line.is_ascii());
        let seed = seed.ok_or(KeyError::NoSeed)?;
        let pair = KeyPair::from_seed(seed).map_err(|e| KeyError::Damaged(e.to_string()))?;
        let id = pair.public_key();
        Ok(Self { pair, id })
    }

    /// The public key, `U…`, which names it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The signature of these bytes, base64url without padding.
    #[must_use]
    pub fn sign(&self, bytes: &[u8]) -> String {
        // It fails for a key without its secret half only, and this one has it.
        let signature = self.pair.sign(bytes).unwrap_or_default();
        BASE64.encode(signature)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.id)
    }
}

/// Whether `signature` (base64url) is that of `bytes` by the key with this public half.
#[must_use]
pub fn is_signed_by(key: &str, bytes: &[u8], signature: &str) -> bool {
    let (Ok(pair), Ok(signature)) = (public(key), BASE64.decode(signature)) else {
        return false;
    };
    pair.verify(bytes, &signature).is_ok()
}

/// Reads a public key.
pub(super) fn public(key: &str) -> Result<KeyPair, KeyError> {
    if !key.starts_with(USER) || !key.is_ascii() {
        return Err(KeyError::NoUser(key.to_owned()));
    }
    KeyPair::from_public_key(key).map_err(|_| KeyError::NoUser(key.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: &str = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";

    #[test]
    fn a_signature_is_that_of_its_key_and_bytes_alone() {
        let key = SigningKey::from_text(&format!("# mine\n {SEED}\n")).expect("a seed");
        let other = KeyPair::new_user().public_key();
        let signature = key.sign(b"bytes");
        assert!(key.id().starts_with('U'));
        assert!(is_signed_by(key.id(), b"bytes", &signature));
        assert!(!is_signed_by(key.id(), b"byteS", &signature));
        assert!(!is_signed_by(&other, b"bytes", &signature));
        for bad in ["", "é", "AAAA", &format!("{signature}=")] {
            assert!(!is_signed_by(key.id(), b"bytes", bad), "{bad:?}");
        }
    }

    #[test]
    fn a_seed_is_never_printed() {
        let key = SigningKey::from_text(SEED).expect("a seed");
        assert_eq!(format!("{key:?}"), format!("SigningKey({})", key.id()));
        let damaged = SEED.replace("CU3VY", "CU3VX");
        let error = SigningKey::from_text(&damaged).expect_err("a damaged one");
        assert!(!error.to_string().contains(&damaged[..20]), "{error}");
        assert_eq!(
            SigningKey::from_text("nothing").err(),
            Some(KeyError::NoSeed)
        );
    }
}
