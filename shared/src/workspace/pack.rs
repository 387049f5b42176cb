//! Packs: many small contents, or a part of a large one, in one message.
//!
//! A pack is the contents one after the other, compressed by zstd as a whole, under the digest of
//! what they are uncompressed. 20,000 files of source text are a few hundred messages.

use bytes::Bytes;

use crate::protocol::{Digest, Place, clock};

/// The most bytes of contents in a pack: also what does not compress fits a message of 1 MiB, and
/// of a pack that one file is wanted from, little is fetched in vain.
pub const PACK_SIZE: usize = 256 * 1024;

/// Source text at this level becomes a quarter, faster than a network takes it.
const LEVEL: i32 = 3;

/// A pack, ready to be stored.
#[derive(Debug, Clone)]
pub struct Pack {
    /// Of the bytes before compression.
    pub digest: Digest,
    /// Compressed.
    pub body: Bytes,
}

/// A pack that is not what its name says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("pack {digest} is damaged: {why}")]
pub struct Damaged {
    /// Its name.
    pub digest: Digest,
    /// What is wrong.
    pub why: String,
}

impl Pack {
    /// The pack of `bytes`, of which there are at most [`PACK_SIZE`].
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let digest = Digest::of(bytes);
        // Compression into memory does not fail; an empty body would be found damaged.
        let body = zstd::bulk::compress(bytes, LEVEL).unwrap_or_default();
        Self {
            digest,
            body: body.into(),
        }
    }

    /// The bytes of a pack, verified.
    ///
    /// # Errors
    /// [`Damaged`], also when there would be more than [`PACK_SIZE`] of them.
    pub fn open(digest: Digest, body: &[u8]) -> Result<Vec<u8>, Damaged> {
        let damaged = |why: String| Damaged { digest, why };
        let bytes = zstd::bulk::decompress(body, PACK_SIZE).map_err(|e| damaged(e.to_string()))?;
        if Digest::of(&bytes) != digest {
            return Err(damaged("its digest is another one".to_owned()));
        }
        Ok(bytes)
    }
}

/// A full pack, and where its contents are in it.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The pack.
    pub pack: Pack,
    /// The contents, or their parts, in order.
    pub places: Vec<(Digest, Place)>,
}

/// Fills packs.
#[derive(Debug, Default)]
pub struct Packer {
    bytes: Vec<u8>,
    /// Content, offset and length.
    parts: Vec<(Digest, u32, u32)>,
}

impl Packer {
    /// Adds a content or a part of one, at most [`PACK_SIZE`] bytes; the pack that had no room for
    /// it, if there is one.
    pub fn add(&mut self, content: Digest, bytes: &[u8]) -> Option<Finished> {
        let full = self.bytes.len() + bytes.len() > PACK_SIZE;
        let finished = if full { self.finish() } else { None };
        // Both are at most PACK_SIZE.
        let small = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        self.parts
            .push((content, small(self.bytes.len()), small(bytes.len())));
        self.bytes.extend_from_slice(bytes);
        finished
    }

    /// What is left, as a pack; none when nothing is.
    pub fn finish(&mut self) -> Option<Finished> {
        if self.parts.is_empty() {
            return None;
        }
        let pack = Pack::of(&self.bytes);
        self.bytes.clear();
        let stored_s = clock::now_ms() / 1_000;
        let place = |(content, offset, length)| {
            let place = Place {
                pack: pack.digest,
                offset,
                length,
                stored_s,
            };
            (content, place)
        };
        let places = self.parts.drain(..).map(place).collect();
        Some(Finished { pack, places })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_are_found_at_their_places() {
        let mut packer = Packer::default();
        let contents: Vec<Vec<u8>> = (0..9_u8).map(|n| vec![n; 50_000]).collect();
        let mut finished = Vec::new();
        for content in &contents {
            finished.extend(packer.add(Digest::of(content), content));
        }
        finished.extend(packer.finish());
        assert_eq!(finished.len(), 2, "five of 50,000 bytes fit one");
        assert!(packer.finish().is_none());
        let mut found = 0;
        for Finished { pack, places } in &finished {
            let bytes = Pack::open(pack.digest, &pack.body).expect("whole");
            for (content, place) in places {
                let from = place.offset as usize;
                let part = &bytes[from..from + place.length as usize];
                assert_eq!(Digest::of(part), *content);
                found += 1;
            }
        }
        assert_eq!(found, contents.len());
    }

    #[test]
    fn an_empty_content_has_a_place_too() {
        let mut packer = Packer::default();
        assert!(packer.add(Digest::of(b""), b"").is_none());
        let finished = packer.finish().expect("a pack");
        assert_eq!(finished.places[0].1.length, 0);
        assert_eq!(
            Pack::open(finished.pack.digest, &finished.pack.body),
            Ok(vec![])
        );
    }

    #[test]
    fn a_damaged_pack_is_found_out() {
        let pack = Pack::of(b"content");
        let other = Digest::of(b"other");
        assert!(Pack::open(other, &pack.body).is_err());
        assert!(Pack::open(pack.digest, &pack.body[1..]).is_err());
        let bomb = zstd::bulk::compress(&vec![0; PACK_SIZE + 1], LEVEL).expect("it compresses");
        assert!(bomb.len() < 1_000);
        assert!(Pack::open(Digest::of(&vec![0; PACK_SIZE + 1]), &bomb).is_err());
    }
}
