//! The two encodings of every body: MessagePack (default) and JSON.

use std::fmt;
use std::io::ErrorKind;
use std::str::FromStr;

use rmp_serde::decode::Error::InvalidMarkerRead;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

/// The deepest nesting that is decoded; what is deeper is refused before it costs memory.
pub const MAX_DEPTH: usize = 128;

/// Bytes that most bodies fit into.
const USUAL_SIZE: usize = 512;

/// How a body is written. Results are written as their task was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Compact; a map by field name, so that fields can be added.
    #[default]
    MessagePack,
    /// Readable with the `nats` CLI.
    Json,
}

/// A body that is not what it should be. Never retried: the same bytes fail again.
#[derive(Debug, thiserror::Error)]
#[error("not valid {encoding}: {reason}")]
pub struct DecodeError {
    encoding: Encoding,
    reason: String,
}

impl Encoding {
    /// The value of the `Content-Type` header.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::MessagePack => "application/msgpack",
            Self::Json => "application/json",
        }
    }

    /// The encoding a body has: what its content type says, else what its first byte says (a
    /// MessagePack map never begins with a brace or white space).
    #[must_use]
    pub fn of(content_type: Option<&str>, body: &[u8]) -> Self {
        match content_type {
            // What everybody writes, before the search for what somebody may.
            Some(text) if text == Self::MessagePack.content_type() => Self::MessagePack,
            Some(text) if text.contains("json") => Self::Json,
            Some(text) if text.contains("msgpack") => Self::MessagePack,
            _ => match body.first() {
                Some(b'{' | b'[' | b'"' | b' ' | b'\n' | b'\r' | b'\t') => Self::Json,
                _ => Self::MessagePack,
            },
        }
    }

    /// Writes `value`.
    ///
    /// # Panics
    /// Never for the types of this crate: their maps have text keys and their numbers are finite.
    #[must_use]
    pub fn encode<T: Serialize>(self, value: &T) -> Vec<u8> {
        match self {
            Self::MessagePack => {
                let mut body = Vec::with_capacity(USUAL_SIZE);
                let mut writer = rmp_serde::Serializer::new(&mut body).with_struct_map();
                value.serialize(&mut writer).expect("encodable");
                body
            }
            Self::Json => serde_json::to_vec(value).expect("encodable"),
        }
    }

    /// Reads a value.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are malformed, nest deeper than [`MAX_DEPTH`], or lack what
    /// the type needs.
    pub fn decode<T: DeserializeOwned>(self, body: &[u8]) -> Result<T, DecodeError> {
        let fail = |reason: String| DecodeError {
            encoding: self,
            reason,
        };
        match self {
            Self::MessagePack => {
                let mut reader = rmp_serde::Deserializer::from_read_ref(body);
                reader.set_max_depth(MAX_DEPTH);
                let value = T::deserialize(&mut reader).map_err(|e| fail(e.to_string()))?;
                match IgnoredAny::deserialize(&mut reader) {
                    Err(InvalidMarkerRead(e)) if e.kind() == ErrorKind::UnexpectedEof => Ok(value),
                    _ => Err(fail("bytes after its end".to_owned())),
                }
            }
            Self::Json => serde_json::from_slice(body).map_err(|e| fail(e.to_string())),
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MessagePack => "MessagePack",
            Self::Json => "JSON",
        })
    }
}

/// An encoding that is neither of the two.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown encoding {0:?}: use msgpack or json")]
pub struct UnknownEncoding(String);

impl FromStr for Encoding {
    type Err = UnknownEncoding;

    fn from_str(text: &str) -> Result<Self, UnknownEncoding> {
        match text {
            "msgpack" | "messagepack" => Ok(Self::MessagePack),
            "json" => Ok(Self::Json),
            _ => Err(UnknownEncoding(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn values_survive_both_encodings() {
        let value = json!({"a": [], "n": i64::MAX, "u": u64::MAX, "f": 0.5, "s": "žluť 🦀\u{0}", "z": null});
        for encoding in [Encoding::MessagePack, Encoding::Json] {
            let bytes = encoding.encode(&value);
            assert_eq!(Encoding::of(None, &bytes), encoding);
            assert_eq!(encoding.decode::<Value>(&bytes).expect("round trip"), value);
        }
    }

    #[test]
    fn deep_nesting_is_refused_not_followed() {
        let json = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(Encoding::Json.decode::<Value>(json.as_bytes()).is_err());
        let pack = [vec![0x91_u8; 100_000], vec![0xc0]].concat();
        assert!(Encoding::MessagePack.decode::<Value>(&pack).is_err());
    }

    #[test]
    fn what_follows_the_body_is_an_error() {
        assert!(
            Encoding::MessagePack
                .decode::<Value>(&[0xc0, 0xc0])
                .is_err()
        );
        assert!(Encoding::Json.decode::<Value>(b"{} x").is_err());
    }
}
